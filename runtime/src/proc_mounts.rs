//! Which mounts at and below /proc are refused, as by runc.

use std::ffi::CString;
use std::fs;
use std::mem::MaybeUninit;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use libcontainer::oci_spec::runtime::Spec;

/// Files of procfs that may be mounted over: they tell of resources and set nothing (the list is
/// runc's, `checkProcMount`).
const PROC_FILES: [&str; 11] = [
    "cpuinfo",
    "diskstats",
    "meminfo",
    "stat",
    "swaps",
    "uptime",
    "loadavg",
    "slabinfo",
    "net/dev",
    "sys/kernel/ns_last_pid",
    "sys/crypto/fips_enabled",
];
/// Links that are followed in a destination.
const MOST_LINKS: usize = 255;

/// Refuses mounts that would hide parts of /proc, through which a container is confined, from those
/// who rely on them.
pub(crate) fn check(rootfs: &Path, spec: &Spec) -> Result<(), String> {
    for mount in spec.mounts().iter().flatten() {
        let kind = mount.typ().as_deref().unwrap_or("none");
        if matches!(kind, "proc" | "sysfs") {
            continue;
        }
        let at = resolved(rootfs, mount.destination());
        let Ok(rest) = at.strip_prefix("/proc") else {
            continue;
        };
        let source = mount.source().as_deref().unwrap_or(Path::new(""));
        let options = mount.options().as_deref().unwrap_or(&[]);
        let bind = kind == "bind" || options.iter().any(|o| o == "bind" || o == "rbind");
        let why = if rest.as_os_str().is_empty() {
            if bind && !is_proc(source) {
                "it is not of type proc"
            } else {
                continue;
            }
        } else if PROC_FILES.iter().any(|file| rest == Path::new(file)) {
            continue;
        } else {
            "it is inside /proc"
        };
        return Err(format!(
            "unable to start container process: error mounting {:?} to rootfs at {:?}: {:?} cannot be mounted because {why}",
            source.display().to_string(),
            mount.destination().display().to_string(),
            at.display().to_string(),
        ));
    }
    Ok(())
}

fn is_proc(path: &Path) -> bool {
    let Ok(path) = CString::new(path.as_os_str().as_bytes()) else {
        return false;
    };
    let mut found = MaybeUninit::<libc::statfs>::uninit();
    // SAFETY: `path` ends with a zero byte, and the kernel writes at most one `statfs`.
    if unsafe { libc::statfs(path.as_ptr(), found.as_mut_ptr()) } != 0 {
        return false;
    }
    // SAFETY: the call has succeeded, so all of it is written.
    let found = unsafe { found.assume_init() };
    found.f_type == libc::PROC_SUPER_MAGIC
}

/// Where `at` leads in a root file system: its links are followed, also to what is not there yet.
/// Nothing else works on the file system meanwhile.
fn resolved(rootfs: &Path, at: &Path) -> PathBuf {
    let names = |path: &Path| -> Vec<std::ffi::OsString> {
        path.components()
            .rev()
            .filter(|c| matches!(c, Component::Normal(_) | Component::ParentDir))
            .map(|c| c.as_os_str().to_owned())
            .collect()
    };
    let mut rest = names(at);
    let mut here = PathBuf::from("/");
    let mut links = 0;
    while let Some(name) = rest.pop() {
        if name == ".." {
            here.pop();
            continue;
        }
        let next = here.join(&name);
        let inside = rootfs.join(next.strip_prefix("/").unwrap_or(&next));
        match fs::read_link(inside) {
            Ok(target) if links < MOST_LINKS => {
                links += 1;
                if target.is_absolute() {
                    here = PathBuf::from("/");
                }
                rest.extend(names(&target));
            }
            _ => here = next,
        }
    }
    here
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(rootfs: &Path, mount: serde_json::Value) -> String {
        let spec: Spec = serde_json::from_value(serde_json::json!({
            "ociVersion": "1.0.2",
            "mounts": [mount],
        }))
        .unwrap();
        check(rootfs, &spec).err().unwrap_or_default()
    }

    #[test]
    fn proc_is_not_hidden_by_mounts() {
        let dir = tempfile::tempdir().unwrap();
        let rootfs = dir.path();
        fs::create_dir(rootfs.join("proc")).unwrap();
        std::os::unix::fs::symlink("/proc/sys", rootfs.join("there")).unwrap();
        std::os::unix::fs::symlink("../../../there", rootfs.join("over")).unwrap();
        std::os::unix::fs::symlink("round", rootfs.join("round")).unwrap();
        let bind = |at: &str, source: &str| serde_json::json!({"destination": at, "type": "bind", "source": source, "options": ["rbind"]});
        for at in [
            "/proc/sys",
            "/proc/self/attr",
            "/x/../proc/1",
            "/there",
            "/over/kernel",
        ] {
            let text = refusal(rootfs, bind(at, "/tmp"));
            assert!(
                text.ends_with("cannot be mounted because it is inside /proc"),
                "{at}: {text:?}"
            );
        }
        let tmpfs =
            serde_json::json!({"destination": "/proc/sys", "type": "tmpfs", "source": "tmpfs"});
        assert!(refusal(rootfs, tmpfs).contains("inside /proc"));
        let text = refusal(rootfs, bind("/proc", "/tmp"));
        assert!(text.ends_with("because it is not of type proc"), "{text:?}");
        for (at, source) in [
            ("/proc", "/proc"),
            ("/proc/uptime", "/tmp/x"),
            ("/proc/net/dev", "/tmp/x"),
            ("/procs", "/tmp"),
            ("/round", "/tmp"),
            ("/sys/fs", "/tmp"),
        ] {
            assert_eq!(refusal(rootfs, bind(at, source)), "", "{at}");
        }
        let own = serde_json::json!({"destination": "/proc", "type": "proc", "source": "proc"});
        assert_eq!(refusal(rootfs, own), "");
    }
}
