//! `SecurityOpt`, masked and read-only paths, and what `info` says of them.

use std::path::Path;

use serde_json::Value;

use super::error::RuntimeError;
use super::seccomp;

const MASKED: [&str; 12] = [
    "/proc/asound",
    "/proc/acpi",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/sys/firmware",
    "/sys/devices/virtual/powercap",
];

const READONLY: [&str; 5] = [
    "/proc/bus",
    "/proc/fs",
    "/proc/irq",
    "/proc/sys",
    "/proc/sysrq-trigger",
];

/// `HostConfig.MaskedPaths` when the client names none.
pub(crate) fn default_masked_paths() -> Vec<String> {
    MASKED.iter().map(|p| (*p).to_owned()).collect()
}

/// `HostConfig.ReadonlyPaths` when the client names none.
pub(crate) fn default_readonly_paths() -> Vec<String> {
    READONLY.iter().map(|p| (*p).to_owned()).collect()
}

/// `SecurityOptions` of `info`.
pub(crate) fn security_options() -> Vec<String> {
    let mut out = vec!["name=seccomp,profile=default".to_owned()];
    // As Docker: where containers get a cgroup namespace of their own unless they ask for the host's.
    let private = super::cgroup_layout().version() == "2";
    if private && Path::new("/proc/self/ns/cgroup").exists() {
        out.push("name=cgroupns".to_owned());
    }
    out
}

/// Which system call filter a container gets.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum SeccompChoice {
    Default,
    Unconfined,
    Custom(Value),
}

/// What `SecurityOpt` asks for.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Security {
    pub(super) no_new_privileges: bool,
    pub(super) seccomp: SeccompChoice,
    pub(super) apparmor: Option<String>,
    pub(super) unconfined_paths: bool,
    pub(super) warnings: Vec<String>,
}

/// Parses `SecurityOpt` (`key=value`, older `key:value`, or `no-new-privileges` alone).
pub(super) fn parse(options: &[String]) -> Result<Security, RuntimeError> {
    let mut out = Security {
        no_new_privileges: false,
        seccomp: SeccompChoice::Default,
        apparmor: None,
        unconfined_paths: false,
        warnings: Vec::new(),
    };
    for option in options {
        let refuse = |step| RuntimeError::SecurityOpt {
            step,
            option: option.clone(),
        };
        if option == "no-new-privileges" {
            out.no_new_privileges = true;
            continue;
        }
        if option == "disable" {
            continue;
        }
        let split = option.split_once('=').or_else(|| option.split_once(':'));
        let (key, value) = split.ok_or_else(|| refuse(1))?;
        match key {
            "no-new-privileges" => {
                out.no_new_privileges = match value {
                    "1" | "t" | "T" | "true" | "True" | "TRUE" => true,
                    "0" | "f" | "F" | "false" | "False" | "FALSE" => false,
                    _ => return Err(refuse(2)),
                };
            }
            "seccomp" => {
                out.seccomp = match value {
                    "unconfined" => SeccompChoice::Unconfined,
                    "builtin" => SeccompChoice::Default,
                    json => SeccompChoice::Custom(
                        seccomp::parse_profile(json).map_err(RuntimeError::SeccompProfile)?,
                    ),
                };
            }
            "apparmor" => {
                if apparmor_enabled() {
                    out.apparmor = (value != "unconfined").then(|| value.to_owned());
                } else if value != "unconfined" {
                    out.warnings.push(format!(
                        "AppArmor is not enabled on this host: security option {option} has no effect"
                    ));
                }
            }
            "label" => {
                if value != "disable" {
                    out.warnings.push(format!(
                        "SELinux labels are not applied: security option {option} has no effect"
                    ));
                }
            }
            "systempaths" if value == "unconfined" => out.unconfined_paths = true,
            _ => return Err(refuse(2)),
        }
    }
    Ok(out)
}

fn apparmor_enabled() -> bool {
    std::fs::read_to_string("/sys/module/apparmor/parameters/enabled")
        .is_ok_and(|text| text.trim_end() == "Y")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(options: &[&str]) -> Result<Security, RuntimeError> {
        let list: Vec<String> = options.iter().map(|s| (*s).to_owned()).collect();
        parse(&list)
    }

    #[test]
    fn the_options_that_docker_has() {
        assert!(of(&["no-new-privileges"]).unwrap().no_new_privileges);
        assert!(of(&["no-new-privileges:true"]).unwrap().no_new_privileges);
        assert!(!of(&["no-new-privileges=false"]).unwrap().no_new_privileges);
        assert_eq!(
            of(&["seccomp=unconfined"]).unwrap().seccomp,
            SeccompChoice::Unconfined
        );
        assert_eq!(of(&["label=disable"]).unwrap(), of(&[]).unwrap());
        assert!(of(&["systempaths=unconfined"]).unwrap().unconfined_paths);
    }

    #[test]
    fn anything_else_is_named() {
        for (given, text) in [
            ("nonsense", "invalid --security-opt 1: \"nonsense\""),
            ("foo=bar", "invalid --security-opt 2: \"foo=bar\""),
            (
                "no-new-privileges=maybe",
                "invalid --security-opt 2: \"no-new-privileges=maybe\"",
            ),
        ] {
            let e = of(&[given]).unwrap_err();
            assert_eq!(e.to_string(), text);
            assert_eq!(e.kind().status(), 400);
        }
        let e = of(&["seccomp={nojson"]).unwrap_err();
        assert!(
            e.to_string().starts_with("decoding seccomp profile failed"),
            "{e}"
        );
    }
}
