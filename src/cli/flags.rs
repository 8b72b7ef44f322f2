//! What is wrong with a flag, in Docker's words, and the parsers of single values.

use std::collections::BTreeMap;
use std::io;
use std::net::IpAddr;
use std::path::Path;

use super::times::go_duration;
use super::units::{nano_cpus, ram_in_bytes};

/// Why a value was refused.
pub(crate) type Reason = Box<dyn std::error::Error + Send + Sync>;

/// A flag that cannot be sent to a daemon.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FlagError {
    #[error("invalid argument {value:?} for {flag:?} flag: {reason}")]
    Argument {
        value: String,
        flag: &'static str,
        reason: Reason,
    },
    #[error("invalid empty volume spec")]
    EmptyVolume,
    #[error("invalid spec: {0}: too many colons")]
    VolumeColons(String),
    #[error("invalid spec: {0}: empty section between colons")]
    VolumeSection(String),
    #[error("--{flag}: invalid {what} mode")]
    Mode {
        flag: &'static str,
        what: &'static str,
    },
    #[error("invalid restart policy format: maximum retry count must be an integer")]
    RestartCount,
    #[error("invalid restart policy format: no policy provided before colon")]
    RestartEmpty,
    #[error("invalid logging opts for driver none")]
    LogNone,
    #[error("bad mode specified: {0}")]
    DeviceMode(String),
    #[error("bad format for path: {0}")]
    Device(String),
    #[error("Invalid --security-opt: {0:?}")]
    SecurityOpt(String),
    #[error(
        "opening seccomp profile ({path}) failed: open {path}: {}",
        errno(source)
    )]
    Seccomp { path: String, source: io::Error },
    #[error("compacting json for seccomp profile ({path}) failed: {source}")]
    SeccompJson {
        path: String,
        source: serde_json::Error,
    },
    #[error("invalid value: {0}. Valid memory swappiness range is 0-100")]
    Swappiness(i64),
    #[error("open {path}: {}", errno(source))]
    File { path: String, source: io::Error },
    #[error("{file}: {line:?}: {reason}")]
    FileLine {
        file: String,
        line: String,
        reason: &'static str,
    },
    #[error("invalid containerPort: {0}")]
    ContainerPort(String),
    #[error("invalid hostPort: {0}")]
    HostPort(String),
    #[error("invalid ranges specified for container and host Ports: {0} and {1}")]
    PortRanges(String, String),
    #[error("invalid IP address: {0}")]
    PortIp(String),
    #[error("invalid proto: {0}")]
    Proto(String),
    #[error(
        "invalid range format for --expose: {0}, error: strconv.ParseUint: parsing {0:?}: invalid syntax"
    )]
    Expose(String),
    #[error("invalid pull option: '{0}': must be one of \"always\", \"missing\" or \"never\"")]
    Pull(String),
    #[error("--no-healthcheck conflicts with --health-* options")]
    HealthConflict,
    #[error("{0} cannot be negative")]
    Negative(&'static str),
    #[error("{flag} is not built: {hint}")]
    NotBuilt {
        flag: &'static str,
        hint: &'static str,
    },
    #[error("invalid storage option")]
    StorageOpt,
    #[error("conflicting options: cannot specify both --restart and --rm")]
    RestartAndRm,
    #[error("invalid value for {0:?}: {1}")]
    Time(&'static str, #[source] super::times::TimeError),
    #[error(transparent)]
    Moment(super::times::TimeError),
}

impl FlagError {
    /// A value that its parser refused; `flag` as Docker names it, `-m, --memory`.
    pub(crate) fn argument(flag: &'static str, value: &str) -> impl FnOnce(Reason) -> Self + use<> {
        let value = value.to_owned();
        move |reason| Self::Argument {
            value,
            flag,
            reason,
        }
    }

    /// Exit status: Docker's 125, but for what is no flag of `run`.
    pub(crate) fn status(&self) -> u8 {
        match self {
            Self::Time(..) | Self::Moment(..) => 1,
            _ => 125,
        }
    }
}

/// Go's text for the usual errors of `open`.
pub(crate) fn errno(e: &io::Error) -> String {
    match e.raw_os_error() {
        Some(code) => {
            let text = nix::errno::Errno::from_raw(code).desc();
            let mut chars = text.chars();
            chars.next().map_or_else(String::new, |c| {
                c.to_lowercase().chain(chars).collect::<String>()
            })
        }
        None => e.to_string(),
    }
}

/// A number of bytes; `-1` where `unlimited` allows it.
pub(crate) fn bytes(
    flag: &'static str,
    text: Option<&str>,
    unlimited: bool,
) -> Result<i64, FlagError> {
    match text {
        None => Ok(0),
        Some("-1") if unlimited => Ok(-1),
        Some(text) => ram_in_bytes(text).map_err(|e| FlagError::argument(flag, text)(e.into())),
    }
}

/// Billionths of a CPU.
pub(crate) fn cpus(text: Option<&str>) -> Result<i64, FlagError> {
    text.map_or(Ok(0), |text| {
        nano_cpus(text).map_err(|e| FlagError::argument("--cpus", text)(e.into()))
    })
}

/// Nanoseconds of a Go duration.
pub(crate) fn duration(flag: &'static str, text: Option<&str>) -> Result<i64, FlagError> {
    text.map_or(Ok(0), |text| {
        go_duration(text).map_err(|e| FlagError::argument(flag, text)(e.into()))
    })
}

/// A decimal integer, with Go's text when it is none.
pub(crate) fn integer(flag: &'static str, text: &str) -> Result<i64, FlagError> {
    text.parse().map_err(|e: std::num::ParseIntError| {
        use std::num::IntErrorKind::{NegOverflow, PosOverflow};
        let why = match e.kind() {
            PosOverflow | NegOverflow => "value out of range",
            _ => "invalid syntax",
        };
        FlagError::argument(flag, text)(format!("strconv.ParseInt: parsing {text:?}: {why}").into())
    })
}

/// As [`integer`], with a value for a flag that was not given.
pub(crate) fn integer_or(
    flag: &'static str,
    text: Option<&str>,
    default: i64,
) -> Result<i64, FlagError> {
    text.map_or(Ok(default), |text| integer(flag, text))
}

/// `key=value` pairs; without `=` the value is empty.
pub(crate) fn pairs(list: &[String]) -> BTreeMap<String, String> {
    list.iter()
        .map(|item| {
            let (k, v) = item.split_once('=').unwrap_or((item, ""));
            (k.to_owned(), v.to_owned())
        })
        .collect()
}

/// Environment as the daemon wants it: files first, then `-e`; a bare name takes our value.
pub(crate) fn environment(
    files: &[String],
    list: &[String],
    var: impl Fn(&str) -> Option<String>,
) -> Result<Vec<String>, FlagError> {
    let mut out = Vec::new();
    for file in files {
        for line in key_file(file)? {
            let (key, value) = split(&line);
            check_key(file, &line, key)?;
            match value {
                Some(_) => out.push(line),
                // A name without a value takes ours, or is left out.
                None => out.extend(var(key).map(|v| format!("{key}={v}"))),
            }
        }
    }
    for item in list {
        let (key, value) = split(item);
        if key.is_empty() {
            return Err(FlagError::argument("-e, --env", item)(
                format!("invalid environment variable: {item}").into(),
            ));
        }
        match (value, var(key)) {
            (None, Some(v)) => out.push(format!("{key}={v}")),
            // Kept as it is: the daemon removes a variable of that name.
            _ => out.push(item.clone()),
        }
    }
    Ok(out)
}

/// Labels of files and `-l`.
pub(crate) fn labels(
    files: &[String],
    list: &[String],
) -> Result<BTreeMap<String, String>, FlagError> {
    let mut out = BTreeMap::new();
    for file in files {
        for line in key_file(file)? {
            let (key, value) = split(&line);
            check_key(file, &line, key)?;
            out.insert(key.to_owned(), value.unwrap_or("").to_owned());
        }
    }
    for item in list {
        let (key, value) = split(item);
        if key.is_empty() {
            return Err(FlagError::argument("-l, --label", item)(
                format!("invalid label '{item}': empty name").into(),
            ));
        }
        out.insert(key.to_owned(), value.unwrap_or("").to_owned());
    }
    Ok(out)
}

fn split(item: &str) -> (&str, Option<&str>) {
    match item.split_once('=') {
        Some((k, v)) => (k, Some(v)),
        None => (item, None),
    }
}

/// Lines of an env or label file without comments, blank lines and leading blanks.
fn key_file(path: &str) -> Result<Vec<String>, FlagError> {
    let text = std::fs::read(Path::new(path)).map_err(|source| FlagError::File {
        path: path.to_owned(),
        source,
    })?;
    let text = String::from_utf8(text).map_err(|_| FlagError::FileLine {
        file: path.to_owned(),
        line: String::new(),
        reason: "not valid UTF-8",
    })?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    Ok(text
        .lines()
        .map(str::trim_start)
        .filter(|l| !l.is_empty() && !l.starts_with('#'))
        .map(str::to_owned)
        .collect())
}

fn check_key(file: &str, line: &str, key: &str) -> Result<(), FlagError> {
    let reason = if key.is_empty() {
        "no variable name on line"
    } else if key.contains(char::is_whitespace) {
        "variable contains whitespaces"
    } else {
        return Ok(());
    };
    Err(FlagError::FileLine {
        file: file.to_owned(),
        line: line.to_owned(),
        reason,
    })
}

/// `host:ip` or `host=ip`, brackets around an IPv6 address allowed; `host-gateway` for the
/// daemon's own.
pub(crate) fn extra_host(item: &str) -> Result<String, FlagError> {
    let bad = |reason: String| FlagError::argument("--add-host", item)(reason.into());
    let (name, ip) = match (item.split_once('='), item.split_once(':')) {
        (Some(pair), _) | (None, Some(pair)) if !pair.0.is_empty() => pair,
        _ => return Err(bad(format!("bad format for add-host: {item:?}"))),
    };
    if ip == "host-gateway" {
        return Ok(format!("{name}:{ip}"));
    }
    let plain = ip
        .strip_prefix('[')
        .and_then(|s| s.strip_suffix(']'))
        .unwrap_or(ip);
    if plain.parse::<IpAddr>().is_err() {
        return Err(bad(format!("invalid IP address in add-host: {ip:?}")));
    }
    Ok(format!("{name}:{plain}"))
}

/// An address of `--dns`.
pub(crate) fn dns(item: &str) -> Result<String, FlagError> {
    item.trim()
        .parse::<IpAddr>()
        .map(|ip| ip.to_string())
        .map_err(|_| {
            FlagError::argument("--dns", item)(
                format!("IP address is not correctly formatted: {item}").into(),
            )
        })
}

/// A capability in the daemon's spelling.
pub(crate) fn capability(item: &str) -> String {
    let upper = item.trim().to_ascii_uppercase();
    if upper == "ALL" || upper.starts_with("CAP_") {
        upper
    } else {
        format!("CAP_{upper}")
    }
}

/// Filters as the API wants them: `{"key":{"value":true}}`.
pub(crate) fn filters(list: &[String]) -> Result<Option<String>, FlagError> {
    filters_of("-f, --filter", list)
}

/// As `filters`, of a flag that is written differently.
pub(crate) fn filters_of(flag: &'static str, list: &[String]) -> Result<Option<String>, FlagError> {
    let mut map: BTreeMap<String, BTreeMap<String, bool>> = BTreeMap::new();
    for item in list {
        let (key, value) = item.split_once('=').ok_or_else(|| {
            FlagError::argument(flag, item)("bad format of filter (expected name=value)".into())
        })?;
        map.entry(key.trim().to_ascii_lowercase())
            .or_default()
            .insert(value.trim().to_owned(), true);
    }
    Ok((!map.is_empty()).then(|| serde_json::json!(map).to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_names_and_capabilities() {
        assert_eq!(extra_host("c=[::1]").unwrap(), "c:::1");
        assert_eq!(extra_host("a:1.2.3.4").unwrap(), "a:1.2.3.4");
        assert_eq!(
            extra_host("bad").unwrap_err().to_string(),
            "invalid argument \"bad\" for \"--add-host\" flag: bad format for add-host: \"bad\""
        );
        assert_eq!(capability("sys_admin"), "CAP_SYS_ADMIN");
        assert_eq!(capability("cap_kill"), "CAP_KILL");
        assert_eq!(capability("all"), "ALL");
    }

    #[test]
    fn filters_are_one_json_object() {
        let list = ["label=a=b".to_owned(), "Name=x".into(), "name=y".into()];
        assert_eq!(
            filters(&list).unwrap().unwrap(),
            r#"{"label":{"a=b":true},"name":{"x":true,"y":true}}"#
        );
        assert_eq!(filters(&[]).unwrap(), None);
        assert!(filters(&["x".into()]).is_err());
    }

    #[test]
    fn environment_of_files_and_flags() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("env");
        std::fs::write(&path, "A=1\n# c\n\nB=two words\nHERE\nGONE\n  C=x\n").unwrap();
        let file = path.to_str().unwrap().to_owned();
        let var = |k: &str| (k == "HERE").then(|| "yes".to_owned());
        let env = environment(
            std::slice::from_ref(&file),
            &["HERE".into(), "GONE".into(), "Z=".into()],
            var,
        )
        .unwrap();
        assert_eq!(
            env,
            [
                "A=1",
                "B=two words",
                "HERE=yes",
                "C=x",
                "HERE=yes",
                "GONE",
                "Z="
            ]
        );
        std::fs::write(&path, "=x\n").unwrap();
        assert!(environment(&[file], &[], var).is_err());
    }
}
