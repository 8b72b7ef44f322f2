//! Checks of single values. Each returns what is right and tells the rest.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::error::{ConfigError, Origin};
use crate::file::{duplicates, wrong_type};
use crate::json::{Json, Node};
use crate::keys::{Kind, nearest};
use crate::model::{IpcMode, LogFormat, LogLevel, Runtime, Ulimit};

pub(crate) type Errors = Vec<ConfigError>;

pub(crate) fn bad(
    origin: Origin,
    key: &str,
    value: &str,
    reason: impl Into<String>,
    allowed: impl Into<String>,
) -> ConfigError {
    ConfigError::BadValue {
        origin,
        key: key.to_owned(),
        value: value.to_owned(),
        reason: reason.into(),
        allowed: allowed.into(),
    }
}

pub(crate) fn level(origin: Origin, text: &str, errors: &mut Errors) -> LogLevel {
    match text.to_ascii_lowercase().as_str() {
        "panic" | "fatal" | "error" => LogLevel::Error,
        "warn" | "warning" => LogLevel::Warn,
        "info" => LogLevel::Info,
        "debug" => LogLevel::Debug,
        "trace" => LogLevel::Trace,
        _ => {
            errors.push(bad(
                origin,
                "log-level",
                text,
                format!("invalid logging level: {text}"),
                "write one of trace, debug, info, warn, error, fatal, panic",
            ));
            LogLevel::Info
        }
    }
}

pub(crate) fn format(origin: Origin, text: &str, errors: &mut Errors) -> LogFormat {
    match text {
        "text" | "" => LogFormat::Text,
        "json" => LogFormat::Json,
        _ => {
            errors.push(bad(
                origin,
                "log-format",
                text,
                format!("invalid log format: {text}"),
                "write text or json",
            ));
            LogFormat::Text
        }
    }
}

pub(crate) fn ipc_mode(origin: Origin, text: &str, errors: &mut Errors) -> IpcMode {
    match text {
        "private" | "" => IpcMode::Private,
        "shareable" => IpcMode::Shareable,
        _ => {
            errors.push(bad(
                origin,
                "default-ipc-mode",
                text,
                format!("IPC can only be private or shareable by default, not {text}"),
                "write private or shareable",
            ));
            IpcMode::Private
        }
    }
}

pub(crate) fn cgroupns_mode(origin: Origin, text: &str, errors: &mut Errors) -> Option<String> {
    match text {
        "" => None,
        "host" | "private" => Some(text.to_owned()),
        _ => {
            errors.push(bad(
                origin,
                "default-cgroupns-mode",
                text,
                format!("default cgroup namespace mode ({text}) is invalid"),
                "write host or private",
            ));
            None
        }
    }
}

/// A path from the file must be absolute: which folder the daemon was started in is not known to who writes it. One from a flag is
/// taken from the current folder, as usual.
pub(crate) fn path(origin: Origin, key: &str, path: &Path, errors: &mut Errors) -> PathBuf {
    let shown = path.to_string_lossy();
    if path.as_os_str().is_empty() {
        errors.push(bad(
            origin,
            key,
            "",
            "the path is empty",
            "write an absolute path or remove it",
        ));
    } else if shown.contains('\0') {
        errors.push(bad(
            origin,
            key,
            &shown,
            "the path has a NUL byte",
            "write an absolute path",
        ));
    } else if path.is_relative() && origin != Origin::Flag {
        errors.push(bad(
            origin,
            key,
            &shown,
            "the path is relative",
            format!(
                "write an absolute path such as /{}",
                shown.trim_start_matches("./")
            ),
        ));
    }
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

/// Name and value of `k=v` labels; equal ones once.
pub(crate) fn labels(items: &[(Origin, &str)], errors: &mut Errors) -> Vec<String> {
    let mut kept: Vec<(&str, &str)> = Vec::new();
    for (origin, text) in items {
        let bad = |reason: String, allowed: &str| bad(*origin, "labels", text, reason, allowed);
        let Some((name, _)) = text.split_once('=').filter(|(name, _)| !name.is_empty()) else {
            errors.push(bad(
                format!("bad attribute format: {text}"),
                "write key=value",
            ));
            continue;
        };
        if ["com.docker.", "io.docker.", "org.dockerproject."]
            .iter()
            .any(|reserved| name.to_ascii_lowercase().starts_with(reserved))
        {
            errors.push(bad(
                format!(
                    "label {text} is not allowed: the namespaces com.docker.*, io.docker.*, and org.dockerproject.* are reserved for internal use"
                ),
                "choose another name",
            ));
            continue;
        }
        match kept.iter().find(|(other, _)| *other == name) {
            Some((_, first)) if first == text => {}
            Some((_, first)) => errors.push(bad(
                format!("conflict labels for {text} and {first}"),
                "keep one of them",
            )),
            None => kept.push((name, text)),
        }
    }
    kept.into_iter().map(|(_, text)| text.to_owned()).collect()
}

/// `log-spool-size`.
pub(crate) fn spool_size(origin: Origin, text: &str, errors: &mut Errors) -> u64 {
    taffrail_drivers::parse_size(text, taffrail_drivers::Units::Binary).unwrap_or_else(|error| {
        errors.push(bad(
            origin,
            "log-spool-size",
            text,
            error.to_string(),
            "write a size with binary units, such as 4g",
        ));
        0
    })
}

pub(crate) fn seconds(origin: Origin, key: &str, value: i64, errors: &mut Errors) -> i64 {
    // What fits a timer without overflow: 100 years.
    if (-1..=3_153_600_000).contains(&value) {
        return value;
    }
    errors.push(bad(
        origin,
        key,
        &value.to_string(),
        "not a number of seconds",
        "write 0 or more, or -1 for no limit",
    ));
    0
}

/// Names of ulimits, in `default-ulimits`, at create and on the command line (source:
/// docker/go-units; `as` is left out there, because a runtime could not start under it).
pub const ULIMITS: [&str; 15] = [
    "core",
    "cpu",
    "data",
    "fsize",
    "locks",
    "memlock",
    "msgqueue",
    "nice",
    "nofile",
    "nproc",
    "rss",
    "rtprio",
    "rttime",
    "sigpending",
    "stack",
];

fn ulimit(origin: Origin, name: &str, soft: i64, hard: i64, errors: &mut Errors) -> Option<Ulimit> {
    let key = "default-ulimits";
    if !ULIMITS.contains(&name) {
        let near = nearest(name, ULIMITS.iter().copied())
            .map_or(String::new(), |near| format!(" (did you mean {near}?)"));
        errors.push(bad(
            origin,
            key,
            name,
            format!("invalid ulimit type: {name}"),
            format!("write one of {}{near}", ULIMITS.join(", ")),
        ));
        return None;
    }
    // -1 is unlimited, so the largest.
    if soft < -1 || hard < -1 || (hard != -1 && (soft == -1 || soft > hard)) {
        errors.push(bad(
            origin,
            key,
            &format!("{name}={soft}:{hard}"),
            format!("ulimit soft limit must be less than or equal to hard limit: {soft} > {hard}"),
            "write a soft limit up to the hard one; -1 is unlimited",
        ));
        return None;
    }
    Some(Ulimit {
        name: name.to_owned(),
        soft,
        hard,
    })
}

/// `name=soft[:hard]` of a flag.
pub(crate) fn ulimit_flag(text: &str, errors: &mut Errors) -> Option<Ulimit> {
    let parts = text.split_once('=').and_then(|(name, limits)| {
        let (soft, hard) = limits.split_once(':').unwrap_or((limits, limits));
        Some((name, soft.parse().ok()?, hard.parse().ok()?))
    });
    let Some((name, soft, hard)) = parts else {
        errors.push(bad(
            Origin::Flag,
            "default-ulimits",
            text,
            format!("invalid ulimit argument: {text}"),
            "write name=soft or name=soft:hard, such as nofile=1024:4096",
        ));
        return None;
    };
    ulimit(Origin::Flag, name, soft, hard, errors)
}

/// Members of an object with fixed keys (in any case, as Go reads them); unknown keys and wrong types are told.
pub(crate) fn members<'a>(
    path: &str,
    node: &'a Node,
    known: &[(&'static str, Kind)],
    errors: &mut Errors,
) -> BTreeMap<&'static str, &'a Node> {
    let mut found = BTreeMap::new();
    let Json::Map(items) = &node.value else {
        errors.push(wrong_type(
            path.to_owned(),
            node.line,
            &node.value,
            Kind::Object,
        ));
        return found;
    };
    duplicates(&format!("{path}."), items, errors);
    for (name, line, value) in items {
        let Some((known_name, kind)) = known.iter().find(|(k, _)| k.eq_ignore_ascii_case(name))
        else {
            errors.push(ConfigError::UnknownKey {
                line: *line,
                key: format!("{path}.{name}"),
                nearest: nearest(name, known.iter().map(|(name, _)| *name)),
            });
            continue;
        };
        let right = match (kind, &value.value) {
            (_, Json::Null) => continue,
            (Kind::Str, Json::Str(_)) | (Kind::Object, Json::Map(_)) => true,
            (Kind::Int, Json::Number(n)) => n.parse::<i64>().is_ok(),
            (Kind::Strings, Json::List(items)) => {
                items.iter().all(|item| matches!(item.value, Json::Str(_)))
            }
            _ => false,
        };
        if right {
            found.insert(*known_name, value);
        } else {
            errors.push(wrong_type(
                format!("{path}.{name}"),
                *line,
                &value.value,
                *kind,
            ));
        }
    }
    found
}

/// `"nofile": {"Name": "nofile", "Soft": 1024, "Hard": 4096}`; the name may be left out.
pub(crate) fn ulimit_entry(
    name: &str,
    line: usize,
    node: &Node,
    errors: &mut Errors,
) -> Option<Ulimit> {
    let before = errors.len();
    let path = format!("default-ulimits.{name}");
    let known = [
        ("Name", Kind::Str),
        ("Soft", Kind::Int),
        ("Hard", Kind::Int),
    ];
    let found = members(&path, node, &known, errors);
    let number = |key| match found.get(key).map(|node| &node.value) {
        Some(Json::Number(n)) => n.parse().ok(),
        _ => None,
    };
    if errors.len() > before {
        return None;
    }
    if let Some(Json::Str(inner)) = found.get("Name").map(|node| &node.value)
        && inner != name
    {
        errors.push(bad(
            Origin::Line(line),
            &format!("{path}.Name"),
            inner,
            "differs from its key",
            format!("write {name:?} or leave Name out"),
        ));
        return None;
    }
    let (Some(soft), Some(hard)) = (number("Soft"), number("Hard")) else {
        errors.push(bad(
            Origin::Line(line),
            &path,
            &node.value.go(),
            "Soft or Hard is missing",
            "write both, such as {\"Soft\": 1024, \"Hard\": 4096}",
        ));
        return None;
    };
    ulimit(Origin::Line(line), name, soft, hard, errors)
}

/// `"crun": {"path": "/usr/bin/crun", "runtimeArgs": ["--debug"]}`.
pub(crate) fn runtime_entry(
    name: &str,
    line: usize,
    node: &Node,
    errors: &mut Errors,
) -> Option<Runtime> {
    let key = format!("runtimes.{name}");
    let origin = Origin::Line(line);
    let before = errors.len();
    let known = [
        ("path", Kind::Str),
        ("runtimeArgs", Kind::Strings),
        ("runtimeType", Kind::Str),
        ("options", Kind::Object),
    ];
    let found = members(&key, node, &known, errors);
    if found.contains_key("runtimeType") || found.contains_key("options") {
        errors.push(bad(
            origin,
            &key,
            &node.value.go(),
            "runtimeType and options name containerd shims, which Taffrail does not use",
            "write the OCI runtime's path as \"path\"",
        ));
    }
    if errors.len() > before {
        return None;
    }
    let path = match found.get("path").map(|node| &node.value) {
        Some(Json::Str(path)) => path.as_str(),
        _ => "",
    };
    let args = match found.get("runtimeArgs").map(|node| &node.value) {
        Some(Json::List(items)) => items.iter().map(|item| item.value.go()).collect(),
        _ => Vec::new(),
    };
    runtime(origin, &key, name, path, args, errors)
}

pub(crate) fn runtime(
    origin: Origin,
    key: &str,
    name: &str,
    path: &str,
    args: Vec<String>,
    errors: &mut Errors,
) -> Option<Runtime> {
    if name.is_empty() {
        errors.push(bad(
            origin,
            key,
            path,
            "the runtime has no name",
            "write a name",
        ));
        return None;
    }
    if path.is_empty() || path.contains('\0') || (path.contains('/') && !path.starts_with('/')) {
        errors.push(bad(
            origin,
            key,
            path,
            "not a program",
            "write an absolute path, or a name to look up in PATH",
        ));
        return None;
    }
    Some(Runtime {
        path: path.into(),
        args,
    })
}
