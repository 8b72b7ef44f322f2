//! Capabilities: Docker's default set, and what `CapAdd`, `CapDrop` and `Privileged` make of it.

use std::fs;

use super::error::RuntimeError;

/// Names by number (source: Linux `include/uapi/linux/capability.h`).
const NAMES: [&str; 41] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_DAC_READ_SEARCH",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETPCAP",
    "CAP_LINUX_IMMUTABLE",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_BROADCAST",
    "CAP_NET_ADMIN",
    "CAP_NET_RAW",
    "CAP_IPC_LOCK",
    "CAP_IPC_OWNER",
    "CAP_SYS_MODULE",
    "CAP_SYS_RAWIO",
    "CAP_SYS_CHROOT",
    "CAP_SYS_PTRACE",
    "CAP_SYS_PACCT",
    "CAP_SYS_ADMIN",
    "CAP_SYS_BOOT",
    "CAP_SYS_NICE",
    "CAP_SYS_RESOURCE",
    "CAP_SYS_TIME",
    "CAP_SYS_TTY_CONFIG",
    "CAP_MKNOD",
    "CAP_LEASE",
    "CAP_AUDIT_WRITE",
    "CAP_AUDIT_CONTROL",
    "CAP_SETFCAP",
    "CAP_MAC_OVERRIDE",
    "CAP_MAC_ADMIN",
    "CAP_SYSLOG",
    "CAP_WAKE_ALARM",
    "CAP_BLOCK_SUSPEND",
    "CAP_AUDIT_READ",
    "CAP_PERFMON",
    "CAP_BPF",
    "CAP_CHECKPOINT_RESTORE",
];

/// Docker's default set: CapEff 00000000a80425fb.
const DEFAULT: [&str; 14] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FSETID",
    "CAP_FOWNER",
    "CAP_MKNOD",
    "CAP_NET_RAW",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETFCAP",
    "CAP_SETPCAP",
    "CAP_NET_BIND_SERVICE",
    "CAP_SYS_CHROOT",
    "CAP_KILL",
    "CAP_AUDIT_WRITE",
];

const ALL: &str = "ALL";
const SYS_RESOURCE: u32 = 24;

/// A set as a bit mask, bit n for capability n.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct CapSet(u64);

impl CapSet {
    /// What this process could hand on: its bounding set. All known ones if it cannot be read.
    pub(super) fn bounding() -> Self {
        Self(status_mask("CapBnd:").unwrap_or((1 << NAMES.len()) - 1))
    }

    fn has(self, name: &str) -> bool {
        NAMES
            .iter()
            .position(|n| *n == name)
            .is_some_and(|bit| self.0 & (1 << bit) != 0)
    }

    fn names(self) -> Vec<String> {
        NAMES
            .iter()
            .enumerate()
            .filter(|(bit, _)| self.0 & (1 << bit) != 0)
            .map(|(_, n)| (*n).to_owned())
            .collect()
    }
}

/// Whether this process may raise hard resource limits.
pub(super) fn may_raise_limits() -> bool {
    status_mask("CapEff:").is_some_and(|mask| mask & (1 << SYS_RESOURCE) != 0)
}

fn status_mask(key: &str) -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|l| l.strip_prefix(key))?;
    u64::from_str_radix(line.trim(), 16).ok()
}

fn normalize(
    option: &'static str,
    list: Option<&[String]>,
    available: CapSet,
) -> Result<Vec<String>, RuntimeError> {
    let mut out = Vec::new();
    for given in list.unwrap_or_default() {
        let mut name = given.trim().to_ascii_uppercase();
        if name != ALL {
            if !name.starts_with("CAP_") {
                name.insert_str(0, "CAP_");
            }
            if !NAMES.contains(&name.as_str()) {
                return Err(RuntimeError::UnknownCapability { option, name });
            }
            if option == "CapAdd" && !available.has(&name) {
                return Err(RuntimeError::UnavailableCapability { option, name });
            }
        }
        out.push(name);
    }
    Ok(out)
}

/// The capabilities of a container's first process. `ALL` in `CapAdd` wins over `ALL` in `CapDrop`;
/// otherwise what is added is added after the drop. Unavailable ones of the default set are left out.
pub(super) fn resolve(
    add: Option<&[String]>,
    drop: Option<&[String]>,
    privileged: bool,
    available: CapSet,
) -> Result<Vec<String>, RuntimeError> {
    let add = normalize("CapAdd", add, available)?;
    let drop = normalize("CapDrop", drop, available)?;
    let has = |list: &[String], name: &str| list.iter().any(|n| n == name);
    if privileged {
        return Ok(available.names());
    }
    let mut out: Vec<String> = if has(&add, ALL) {
        return Ok(available
            .names()
            .into_iter()
            .filter(|n| !has(&drop, n))
            .collect());
    } else if has(&drop, ALL) {
        Vec::new()
    } else {
        DEFAULT
            .iter()
            .filter(|n| !has(&drop, n) && available.has(n))
            .map(|n| (*n).to_owned())
            .collect()
    };
    for name in add {
        if !has(&out, &name) {
            out.push(name);
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVERY: CapSet = CapSet((1 << 41) - 1);

    fn list(names: &[&str]) -> Vec<String> {
        names.iter().map(|n| (*n).to_owned()).collect()
    }

    fn mask(names: &[String]) -> u64 {
        names
            .iter()
            .map(|n| 1u64 << NAMES.iter().position(|x| x == n).unwrap())
            .sum()
    }

    #[test]
    fn the_default_set_is_dockers() {
        let caps = resolve(None, None, false, EVERY).unwrap();
        assert_eq!(mask(&caps), 0xa804_25fb);
    }

    #[test]
    fn names_come_with_or_without_prefix_in_any_case() {
        let caps = resolve(
            Some(&list(&["net_admin", "CAP_SYS_TIME"])),
            Some(&list(&["Chown", "cap_kill"])),
            false,
            EVERY,
        )
        .unwrap();
        assert_eq!(
            mask(&caps),
            0xa804_25fb & !1 & !(1 << 5) | 1 << 12 | 1 << 25
        );
    }

    #[test]
    fn all_may_be_added_or_dropped() {
        let add = list(&["ALL"]);
        let drop = list(&["SYS_ADMIN"]);
        let caps = resolve(Some(&add), Some(&drop), false, EVERY).unwrap();
        assert_eq!(mask(&caps), EVERY.0 & !(1 << 21));
        let caps = resolve(Some(&list(&["CHOWN"])), Some(&list(&["all"])), false, EVERY).unwrap();
        assert_eq!(caps, ["CAP_CHOWN"]);
    }

    #[test]
    fn unknown_and_unavailable_names_are_refused() {
        let e = resolve(Some(&list(&["nonsense"])), None, false, EVERY).unwrap_err();
        assert_eq!(
            e.to_string(),
            "invalid CapAdd: unknown capability: \"CAP_NONSENSE\""
        );
        assert_eq!(e.kind().status(), 400);
        let e = resolve(None, Some(&list(&["x"])), false, EVERY).unwrap_err();
        assert_eq!(
            e.to_string(),
            "invalid CapDrop: unknown capability: \"CAP_X\""
        );
        let without = CapSet(EVERY.0 & !(1 << SYS_RESOURCE));
        let e = resolve(Some(&list(&["SYS_RESOURCE"])), None, false, without).unwrap_err();
        assert!(
            e.to_string().contains("not supported by your kernel"),
            "{e}"
        );
        let caps = resolve(None, None, true, without).unwrap();
        assert_eq!(mask(&caps), without.0);
    }
}
