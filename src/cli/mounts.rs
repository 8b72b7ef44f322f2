//! `-v`, `--mount`, `--device`, `--ulimit` and ports: values with a grammar of their own.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::flags::{FlagError, Reason};
use super::units::ram_in_bytes;

/// One `-v`: a path in the container alone, or something bound to one.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Volume {
    Anonymous(String),
    Bind(String),
}

/// Reads `[SOURCE:]TARGET[:OPTIONS]`; a source that starts with `.` is relative to `cwd`.
pub(crate) fn volume(item: &str, cwd: &str) -> Result<Volume, FlagError> {
    if item.is_empty() {
        return Err(FlagError::EmptyVolume);
    }
    let parts: Vec<&str> = item.split(':').collect();
    if parts.len() > 3 {
        return Err(FlagError::VolumeColons(item.to_owned()));
    }
    if parts.iter().any(|p| p.is_empty()) {
        return Err(FlagError::VolumeSection(item.to_owned()));
    }
    if parts.len() == 1 {
        return Ok(Volume::Anonymous(item.to_owned()));
    }
    if parts[0].starts_with('.') {
        let source = clean(&format!("{cwd}/{}", parts[0]));
        return Ok(Volume::Bind(format!("{source}:{}", parts[1..].join(":"))));
    }
    Ok(Volume::Bind(item.to_owned()))
}

/// Lexical clean-up of an absolute path, as Go's `filepath.Clean`.
fn clean(path: &str) -> String {
    let mut out: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                out.pop();
            }
            p => out.push(p),
        }
    }
    format!("/{}", out.join("/"))
}

/// Reads one `--mount`: comma-separated `key=value`, quoted as CSV where needed.
pub(crate) fn mount(item: &str, cwd: &str) -> Result<Value, FlagError> {
    parse_mount(item, cwd).map_err(FlagError::argument("--mount", item))
}

fn parse_mount(item: &str, cwd: &str) -> Result<Value, Reason> {
    let mut out = Map::new();
    let (mut bind, mut volume, mut tmpfs) = (Map::new(), Map::new(), Map::new());
    let (mut labels, mut driver) = (Map::new(), Map::new());
    let (mut driver_options, mut kind) = (Map::new(), "volume".to_owned());
    let (mut source, mut target) = (None, None);
    let (mut read_only, mut consistency) = (false, None);
    for field in csv(item)? {
        let (key, value) = match field.split_once('=') {
            Some((k, v)) => (k.trim().to_ascii_lowercase(), Some(v)),
            None => (field.trim().to_ascii_lowercase(), None),
        };
        let on = || match value {
            None => Ok(true),
            Some(v) => go_bool(v).ok_or_else(|| format!("invalid value for {key}: {v}")),
        };
        match key.as_str() {
            "readonly" | "ro" => {
                read_only = on()?;
                continue;
            }
            "volume-nocopy" => {
                volume.insert("NoCopy".into(), on()?.into());
                continue;
            }
            "bind-nonrecursive" => {
                bind.insert("NonRecursive".into(), on()?.into());
                continue;
            }
            _ => {}
        }
        let Some(value) = value else {
            return Err(format!("invalid field '{field}' must be a key=value pair").into());
        };
        match key.as_str() {
            "type" => kind = value.to_ascii_lowercase(),
            "source" | "src" => {
                source = Some(
                    if value == "." || value.starts_with("./") || value.starts_with("../") {
                        clean(&format!("{cwd}/{value}"))
                    } else {
                        value.to_owned()
                    },
                );
            }
            "target" | "dst" | "destination" => target = Some(value.to_owned()),
            "consistency" => consistency = Some(value.to_ascii_lowercase()),
            "bind-propagation" => {
                bind.insert("Propagation".into(), value.to_ascii_lowercase().into());
            }
            "bind-recursive" => match value {
                "enabled" => {}
                "disabled" => {
                    bind.insert("NonRecursive".into(), true.into());
                }
                "writable" => {
                    bind.insert("ReadOnlyNonRecursive".into(), true.into());
                }
                "readonly" => {
                    bind.insert("ReadOnlyForceRecursive".into(), true.into());
                }
                _ => {
                    return Err(format!(
                        "invalid value for {key}: {value} (must be \"enabled\", \"disabled\", \"writable\", or \"readonly\")"
                    )
                    .into());
                }
            },
            "volume-subpath" => {
                volume.insert("Subpath".into(), value.into());
            }
            "volume-label" => {
                let (k, v) = value.split_once('=').unwrap_or((value, ""));
                labels.insert(k.into(), v.into());
            }
            "volume-driver" => {
                driver.insert("Name".into(), value.into());
            }
            "volume-opt" => {
                let (k, v) = value.split_once('=').unwrap_or((value, ""));
                driver_options.insert(k.into(), v.into());
            }
            "tmpfs-size" => {
                let size =
                    ram_in_bytes(value).map_err(|_| format!("invalid value for {key}: {value}"))?;
                tmpfs.insert("SizeBytes".into(), size.into());
            }
            "tmpfs-mode" => {
                let mode = u32::from_str_radix(value, 8)
                    .map_err(|_| format!("invalid value for {key}: {value}"))?;
                tmpfs.insert("Mode".into(), mode.into());
            }
            _ => return Err(format!("unexpected key '{key}' in '{field}'").into()),
        }
    }
    if kind.is_empty() {
        return Err("type is required".into());
    }
    let Some(target) = target else {
        return Err("target is required".into());
    };
    for (name, has) in [
        (
            "volume",
            !volume.is_empty() || !labels.is_empty() || !driver.is_empty(),
        ),
        ("bind", !bind.is_empty()),
        ("tmpfs", !tmpfs.is_empty()),
    ] {
        if has && kind != name {
            return Err(format!("cannot mix '{name}-*' options with mount type '{kind}'").into());
        }
    }
    out.insert("Type".into(), kind.into());
    if let Some(source) = source {
        out.insert("Source".into(), source.into());
    }
    out.insert("Target".into(), target.into());
    if read_only {
        out.insert("ReadOnly".into(), true.into());
    }
    if let Some(consistency) = consistency {
        out.insert("Consistency".into(), consistency.into());
    }
    if !bind.is_empty() {
        out.insert("BindOptions".into(), bind.into());
    }
    if !labels.is_empty() {
        volume.insert("Labels".into(), labels.into());
    }
    if !driver_options.is_empty() {
        driver.insert("Options".into(), driver_options.into());
    }
    if !driver.is_empty() {
        volume.insert("DriverConfig".into(), driver.into());
    }
    if !volume.is_empty() {
        out.insert("VolumeOptions".into(), volume.into());
    }
    if !tmpfs.is_empty() {
        out.insert("TmpfsOptions".into(), tmpfs.into());
    }
    Ok(out.into())
}

/// Fields of one CSV line; a field in double quotes may hold commas.
pub(super) fn csv(line: &str) -> Result<Vec<String>, Reason> {
    let mut out = Vec::new();
    let mut field = String::new();
    let mut chars = line.chars().peekable();
    let mut quoted = false;
    while let Some(c) = chars.next() {
        match c {
            '"' if quoted && chars.peek() == Some(&'"') => {
                chars.next();
                field.push('"');
            }
            '"' if quoted => quoted = false,
            '"' if field.is_empty() => quoted = true,
            '"' => return Err("parse error: bare \" in non-quoted field".into()),
            ',' if !quoted => out.push(std::mem::take(&mut field)),
            c => field.push(c),
        }
    }
    if quoted {
        return Err("parse error: extraneous or missing \" in quoted-field".into());
    }
    out.push(field);
    Ok(out)
}

/// Go's `strconv.ParseBool`.
pub(crate) fn go_bool(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "TRUE" | "true" | "True" => Some(true),
        "0" | "f" | "F" | "FALSE" | "false" | "False" => Some(false),
        _ => None,
    }
}

/// Reads `HOST[:CONTAINER][:rwm]`.
pub(crate) fn device(item: &str) -> Result<Value, FlagError> {
    let mode = |m: &str| {
        !m.is_empty()
            && m.bytes().all(|b| b"rwm".contains(&b))
            && (1..m.len()).all(|i| !m[..i].contains(&m[i..=i]))
    };
    let parts: Vec<&str> = item.split(':').collect();
    let (inside, permissions) = match parts[..] {
        [path] => (path, "rwm"),
        [path, m] if mode(m) => (path, m),
        [_, inside] => (inside, "rwm"),
        [_, inside, m] if mode(m) => (inside, m),
        [_, _, m] => return Err(FlagError::DeviceMode(m.to_owned())),
        _ => return Err(FlagError::Device(item.to_owned())),
    };
    Ok(json!({
        "PathOnHost": parts[0],
        "PathInContainer": inside,
        "CgroupPermissions": permissions,
    }))
}

/// Reads `NAME=SOFT[:HARD]`; the last of one name wins, sorted by name.
pub(crate) fn ulimits(list: &[String]) -> Result<Vec<Value>, FlagError> {
    let mut out = BTreeMap::new();
    for item in list {
        let bad = |reason: String| FlagError::argument("--ulimit", item)(reason.into());
        let (name, limits) = item
            .split_once('=')
            .ok_or_else(|| bad(format!("invalid ulimit argument: {item}")))?;
        if !taffrail_config::ULIMITS.contains(&name) {
            return Err(bad(format!("invalid ulimit type: {name}")));
        }
        let number = |text: &str| -> Result<i64, FlagError> {
            text.parse().map_err(|_| {
                bad(format!(
                    "strconv.ParseInt: parsing {text:?}: invalid syntax"
                ))
            })
        };
        let (soft, hard) = limits.split_once(':').unwrap_or((limits, limits));
        let (soft, hard) = (number(soft)?, number(hard)?);
        if hard != -1 && (soft == -1 || soft > hard) {
            return Err(bad(if soft == -1 {
                format!(
                    "ulimit soft limit must be less than or equal to hard limit: soft: -1 (unlimited), hard: {hard}"
                )
            } else {
                format!(
                    "ulimit soft limit must be less than or equal to hard limit: {soft} > {hard}"
                )
            }));
        }
        out.insert(
            name.to_owned(),
            json!({"Name": name, "Hard": hard, "Soft": soft}),
        );
    }
    Ok(out.into_values().collect())
}

/// Exposed ports and bindings of `-p` and `--expose`.
#[derive(Debug, Default)]
pub(crate) struct Ports {
    pub(crate) exposed: Map<String, Value>,
    pub(crate) bindings: Map<String, Value>,
}

impl Ports {
    /// `[[IP:]HOST:]CONTAINER[/PROTO]`, ranges on both sides.
    pub(crate) fn publish(&mut self, item: &str) -> Result<(), FlagError> {
        let (spec, proto) = proto(item)?;
        let (ip, rest) = match spec.strip_prefix('[').and_then(|s| s.split_once("]:")) {
            Some((ip, rest)) => (ip, rest),
            None => match spec.split(':').collect::<Vec<_>>()[..] {
                [_] | [_, _] => ("", spec),
                [ip, ..] => (ip, &spec[ip.len() + 1..]),
                [] => ("", spec),
            },
        };
        if !ip.is_empty() && ip.parse::<std::net::IpAddr>().is_err() {
            return Err(FlagError::PortIp(ip.to_owned()));
        }
        let (host, inside) = rest.split_once(':').unwrap_or(("", rest));
        let (first, last) =
            range(inside).ok_or_else(|| FlagError::ContainerPort(inside.to_owned()))?;
        let host_range = if host.is_empty() {
            None
        } else {
            Some(range(host).ok_or_else(|| FlagError::HostPort(host.to_owned()))?)
        };
        if let Some((a, b)) = host_range
            && b - a != last - first
            && first != last
        {
            return Err(FlagError::PortRanges(inside.to_owned(), host.to_owned()));
        }
        for port in first..=last {
            let host_port = match host_range {
                None => String::new(),
                // One port inside and a range outside: the daemon picks.
                Some((a, b)) if first == last && a != b => format!("{a}-{b}"),
                Some((a, _)) => (a + (port - first)).to_string(),
            };
            let key = format!("{port}/{proto}");
            self.exposed.insert(key.clone(), json!({}));
            let binding = json!({"HostIp": ip, "HostPort": host_port});
            match self.bindings.entry(key).or_insert_with(|| json!([])) {
                Value::Array(list) => list.push(binding),
                other => *other = json!([binding]),
            }
        }
        Ok(())
    }

    /// `PORT[-PORT][/PROTO]`.
    pub(crate) fn expose(&mut self, item: &str) -> Result<(), FlagError> {
        let (spec, proto) = proto(item)?;
        let bad = || FlagError::Expose(spec.to_owned());
        if spec.contains(':') {
            return Err(bad());
        }
        let (first, last) = range(spec).ok_or_else(bad)?;
        for port in first..=last {
            self.exposed.insert(format!("{port}/{proto}"), json!({}));
        }
        Ok(())
    }
}

fn proto(item: &str) -> Result<(&str, &str), FlagError> {
    match item.split_once('/') {
        None => Ok((item, "tcp")),
        Some((spec, p @ ("tcp" | "udp" | "sctp"))) => Ok((spec, p)),
        Some((_, p)) => Err(FlagError::Proto(p.to_owned())),
    }
}

fn range(text: &str) -> Option<(u16, u16)> {
    let (a, b) = text.split_once('-').unwrap_or((text, text));
    let (a, b) = (a.parse().ok()?, b.parse().ok()?);
    (a <= b).then_some((a, b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn volumes_are_checked_for_colons() {
        assert_eq!(volume("/d", "/w").unwrap(), Volume::Anonymous("/d".into()));
        assert_eq!(
            volume("./a/../r:/y:ro", "/w").unwrap(),
            Volume::Bind("/w/r:/y:ro".into())
        );
        assert_eq!(volume("n:/y", "/w").unwrap(), Volume::Bind("n:/y".into()));
        for bad in ["", "/a:/b:/c:ro", ":/b"] {
            assert!(volume(bad, "/").is_err(), "{bad}");
        }
    }

    #[test]
    fn quoted_mount_fields_hold_commas() {
        let m = mount(r#"type=bind,"src=/a,b",dst=/x"#, "/").unwrap();
        assert_eq!(m["Source"], "/a,b");
        assert!(mount("type=bind,tmpfs-size=1m,dst=/x", "/").is_err());
        assert!(mount("type=bind,src=/x", "/").is_err());
    }
}
