//! Options of the local driver (docs: `docker volume create --opt`): `type`, `device` and `o` as of
//! mount(8), and `size`, which needs a quota.

use std::collections::BTreeMap;

use super::error::Problem;

/// What is to be mounted on a volume's directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct MountOptions {
    /// Type of the file system: `nfs`, `tmpfs`, `none` for a bind.
    pub(super) kind: String,
    pub(super) device: String,
    /// Separated by commas.
    pub(super) o: String,
}

/// Checks options and gives those of the mount; `None` is a plain directory.
///
/// # Errors
/// An unknown option, one that needs another, a size.
pub(super) fn parse(options: &BTreeMap<String, String>) -> Result<Option<MountOptions>, Problem> {
    for (key, value) in options {
        match key.as_str() {
            "type" | "device" | "o" => {}
            "size" => {
                let size = bytes(value).ok_or_else(|| Problem::Size(value.clone()))?;
                if size > 0 {
                    // Volumes lie on the data root's file system, whose quotas are not ours to set.
                    return Err(Problem::NoQuota);
                }
            }
            other => return Err(Problem::Option(other.to_owned())),
        }
    }
    let has = |key: &str| options.contains_key(key);
    for (given, needed) in [
        ("device", "type"),
        ("type", "device"),
        ("o", "device"),
        ("o", "type"),
    ] {
        if has(given) && !has(needed) {
            return Err(Problem::Missing(needed));
        }
    }
    let get = |key: &str| options.get(key).cloned().unwrap_or_default();
    let mount = MountOptions {
        kind: get("type"),
        device: get("device"),
        o: get("o"),
    };
    Ok((!mount.kind.is_empty() || !mount.device.is_empty()).then_some(mount))
}

/// Go's `units.RAMInBytes`: a number with an optional unit, powers of 1024.
fn bytes(text: &str) -> Option<u64> {
    let end = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let number: f64 = number.parse().ok()?;
    let unit = unit.trim_start().to_ascii_lowercase();
    let power = match unit.trim_end_matches("ib").trim_end_matches('b') {
        "" => 0,
        "k" => 1,
        "m" => 2,
        "g" => 3,
        "t" => 4,
        "p" => 5,
        _ => return None,
    };
    // Only whether it is more than nothing counts.
    Some((number * 1024f64.powi(power)) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(pairs: &[(&str, &str)]) -> Result<Option<MountOptions>, String> {
        let map = pairs
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
            .collect();
        parse(&map).map_err(|problem| problem.to_string())
    }

    #[test]
    fn what_needs_what() {
        assert_eq!(parsed(&[]).unwrap(), None);
        assert_eq!(parsed(&[("size", "0")]).unwrap(), None);
        let mount = parsed(&[("type", "tmpfs"), ("device", "x"), ("o", "size=1m")]);
        assert_eq!(mount.unwrap().unwrap().o, "size=1m");
        for (pairs, text) in [
            (vec![("foo", "bar")], "invalid option: \"foo\""),
            (vec![("type", "x")], "missing required option: \"device\""),
            (vec![("device", "x")], "missing required option: \"type\""),
            (vec![("o", "x")], "missing required option: \"device\""),
            (vec![("size", "x")], "invalid size: 'x'"),
            (
                vec![("size", "10m")],
                "quota size requested but no quota support",
            ),
        ] {
            assert_eq!(parsed(&pairs).unwrap_err(), text);
        }
    }
}
