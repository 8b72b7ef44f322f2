//! Device nodes and the device list of the control group.

use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use serde_json::{Value, json};

use super::error::RuntimeError;
use crate::api::types::{DeviceMapping, HostConfig};

/// `linux.devices` and `linux.resources.devices`.
#[derive(Debug, Default)]
pub(super) struct Devices {
    pub(super) nodes: Vec<Value>,
    pub(super) rules: Vec<Value>,
}

/// Below `/dev`, what a privileged container gets from its own mounts.
const NOT_SHARED: [&str; 7] = ["pts", "shm", "fd", "mqueue", ".lxc", ".lxd-mounts", ".udev"];

/// The devices of a container. The nodes every container has (null, zero, full, random, urandom,
/// tty, ptmx, console) are made by the runtime; here are their permissions and what is added.
pub(super) fn resolve(host: &HostConfig) -> Result<Devices, RuntimeError> {
    let mut out = Devices::default();
    if host.privileged {
        out.rules.push(json!({"allow": true, "access": "rwm"}));
        // A device that goes away while the list is made is not an error.
        walk(Path::new("/dev"), "/dev", &NOT_SHARED, &mut |path, meta| {
            if path != "/dev/console" {
                out.nodes.push(node(path, meta));
            }
        });
        for mapping in host.devices.iter().flatten() {
            let to = mapping.path_in_container.as_str();
            // It is there by its own name already.
            if !to.is_empty() && to != mapping.path_on_host {
                add(mapping, &mut out)?;
            }
        }
        return Ok(out);
    }
    out.rules.push(json!({"allow": false, "access": "rwm"}));
    for (minor, access) in [(5, "rwm"), (3, "rwm"), (9, "rwm"), (8, "rwm")] {
        out.rules.push(
            json!({"allow": true, "type": "c", "major": 1, "minor": minor, "access": access}),
        );
    }
    for (major, minor) in [(5, 0), (5, 1)] {
        out.rules.push(
            json!({"allow": true, "type": "c", "major": major, "minor": minor, "access": "rwm"}),
        );
    }
    out.rules
        .push(json!({"allow": false, "type": "c", "major": 10, "minor": 229, "access": "rwm"}));
    for mapping in host.devices.iter().flatten() {
        add(mapping, &mut out)?;
    }
    for rule in host.device_cgroup_rules.iter().flatten() {
        out.rules.push(parse_rule(rule)?);
    }
    Ok(out)
}

fn add(mapping: &DeviceMapping, out: &mut Devices) -> Result<(), RuntimeError> {
    let from = mapping.path_on_host.as_str();
    let to = match mapping.path_in_container.as_str() {
        "" => from,
        path => path,
    };
    let access = match mapping.cgroup_permissions.as_str() {
        "" => "rwm",
        access => access,
    };
    check_access(access)?;
    let path = fs::canonicalize(from).map_err(|source| device_error(from, source))?;
    let meta = fs::metadata(&path).map_err(|source| device_error(from, source))?;
    let before = out.nodes.len();
    let mut push = |target: &str, meta: &fs::Metadata| {
        let node = node(target, meta);
        out.rules.push(json!({
            "allow": true, "type": node["type"], "major": node["major"], "minor": node["minor"],
            "access": access,
        }));
        out.nodes.push(node);
    };
    if meta.is_dir() {
        walk(&path, to, &[], &mut push);
    } else if kind(&meta).is_some() {
        push(to, &meta);
    }
    if out.nodes.len() == before {
        return Err(RuntimeError::NotADevice(from.to_owned()));
    }
    Ok(())
}

fn device_error(path: &str, source: io::Error) -> RuntimeError {
    RuntimeError::Device {
        path: path.to_owned(),
        source,
    }
}

pub(super) fn check_access(access: &str) -> Result<(), RuntimeError> {
    let valid = |c| "rwm".contains(c) && access.matches(c).count() == 1;
    if !access.is_empty() && access.chars().all(valid) {
        Ok(())
    } else {
        Err(RuntimeError::DeviceMode(access.to_owned()))
    }
}

fn kind(meta: &fs::Metadata) -> Option<&'static str> {
    let t = meta.file_type();
    if t.is_char_device() {
        Some("c")
    } else if t.is_block_device() {
        Some("b")
    } else {
        None
    }
}

fn node(path: &str, meta: &fs::Metadata) -> Value {
    json!({
        "path": path,
        "type": kind(meta).unwrap_or("c"),
        "major": libc::major(meta.rdev()),
        "minor": libc::minor(meta.rdev()),
        "fileMode": meta.mode() & 0o7777,
        "uid": meta.uid(),
        "gid": meta.gid(),
    })
}

/// Calls `each` with every device node below `dir`, named as if `dir` were `prefix`; links are not
/// followed.
fn walk(dir: &Path, prefix: &str, skip: &[&str], each: &mut dyn FnMut(&str, &fs::Metadata)) {
    let Ok(entries) = fs::read_dir(dir) else {
        return;
    };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let (Some(name), Ok(meta)) = (name.to_str(), entry.metadata()) else {
            continue;
        };
        let target = format!("{prefix}/{name}");
        if meta.is_dir() {
            if !skip.contains(&name) {
                walk(&entry.path(), &target, &[], each);
            }
        } else if kind(&meta).is_some() {
            each(&target, &meta);
        }
    }
}

/// One of `DeviceCgroupRules`: `a|b|c major|*:minor|* [rwm]`.
pub(super) fn parse_rule(rule: &str) -> Result<Value, RuntimeError> {
    let bad = || RuntimeError::DeviceRule(rule.to_owned());
    let mut words = rule.split(' ');
    let (Some(kind @ ("a" | "b" | "c")), Some(numbers), Some(access), None) =
        (words.next(), words.next(), words.next(), words.next())
    else {
        return Err(bad());
    };
    let (major, minor) = numbers.split_once(':').ok_or_else(bad)?;
    check_access(access).map_err(|_| bad())?;
    let number = |text: &str| match text {
        "*" => Ok(-1),
        digits => digits.parse::<u32>().map(i64::from).map_err(|_| bad()),
    };
    Ok(json!({
        "allow": true, "type": kind, "major": number(major)?, "minor": number(minor)?,
        "access": access,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_are_parsed_whole() {
        assert_eq!(
            parse_rule("c 81:* rw").unwrap(),
            json!({"allow": true, "type": "c", "major": 81, "minor": -1, "access": "rw"})
        );
        for bad in [
            "", "c", "x 1:2 r", "c 1 r", "c 1:2", "c 1:2 q", "c 1:2 rr", "c -1:2 r",
        ] {
            let e = parse_rule(bad).unwrap_err();
            assert_eq!(
                e.to_string(),
                format!("invalid device cgroup rule format: '{bad}'")
            );
        }
    }

    #[test]
    fn a_device_becomes_a_node_and_a_rule() {
        let host = HostConfig {
            devices: Some(vec![DeviceMapping {
                path_on_host: "/dev/null".into(),
                path_in_container: "/dev/nothing".into(),
                cgroup_permissions: "rw".into(),
            }]),
            ..Default::default()
        };
        let d = resolve(&host).unwrap();
        assert_eq!(d.nodes.len(), 1);
        assert_eq!(d.nodes[0]["path"], "/dev/nothing");
        let rule = d.rules.last().unwrap();
        assert_eq!((&rule["major"], &rule["minor"]), (&json!(1), &json!(3)));
        assert_eq!(rule["access"], "rw");
        assert_eq!(d.rules[0], json!({"allow": false, "access": "rwm"}));
    }

    #[test]
    fn what_is_no_device_is_refused() {
        let with = |path: &str| HostConfig {
            devices: Some(vec![DeviceMapping {
                path_on_host: path.into(),
                ..Default::default()
            }]),
            ..Default::default()
        };
        let e = resolve(&with("/dev/nosuchdevice")).unwrap_err();
        assert_eq!(
            e.to_string(),
            "error gathering device information while adding custom device \"/dev/nosuchdevice\": no such file or directory"
        );
        assert!(matches!(
            resolve(&with("/etc/passwd")),
            Err(RuntimeError::NotADevice(_))
        ));
    }
}
