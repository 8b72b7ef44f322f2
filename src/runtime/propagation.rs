//! Propagation of binds: the source must lie on a mount that spreads what is mounted in it, and the
//! container's root must let it through (source: Moby `daemon/oci_linux.go`).

use std::path::{Path, PathBuf};

use super::error::RuntimeError;
use super::mounts::{MountPoint, Source};
use crate::volume::{Mounted, mounts_of_host};

/// `linux.rootfsPropagation` that the binds need, if any.
///
/// # Errors
/// A bind is to be shared or a slave, and its source is on a mount that is neither.
pub(super) fn of_rootfs(
    mounts: &[MountPoint],
    data_root: Option<&Path>,
) -> Result<Option<&'static str>, RuntimeError> {
    let wanted = |m: &MountPoint| match &m.source {
        Source::Bind {
            path,
            propagation: Some(propagation),
            ..
        } if !propagation.ends_with("private") => Some((PathBuf::from(path), propagation.clone())),
        _ => None,
    };
    let binds: Vec<_> = mounts.iter().filter_map(wanted).collect();
    if binds.is_empty() {
        return Ok(None);
    }
    let list = mounts_of_host().map_err(RuntimeError::file(
        "read",
        Path::new("/proc/self/mountinfo"),
    ))?;
    decide(&binds, &list, data_root)
}

fn decide(
    binds: &[(PathBuf, String)],
    list: &[Mounted],
    data_root: Option<&Path>,
) -> Result<Option<&'static str>, RuntimeError> {
    let (mut shared, mut slave) = (false, false);
    for (path, propagation) in binds {
        let real = std::fs::canonicalize(path).unwrap_or_else(|_| path.clone());
        let Some(on) = holder(list, &real) else {
            continue;
        };
        let refuse = |wanted| RuntimeError::NotShared {
            path: path.clone(),
            on: on.path.clone(),
            wanted,
        };
        if propagation.ends_with("shared") {
            if !on.shared {
                return Err(refuse("shared"));
            }
            shared = true;
        } else if on.shared || on.slave {
            slave = true;
        } else if !data_root.is_some_and(|root| path.starts_with(root) || root.starts_with(path)) {
            return Err(refuse("shared or slave"));
        }
        // Around the data root it was not the user who asked for it: then there is nothing to follow.
    }
    Ok(match (shared, slave) {
        (true, _) => Some("shared"),
        (false, true) => Some("rslave"),
        (false, false) => None,
    })
}

/// The mount that a path lies on: the deepest, and of those on each other the last.
fn holder<'a>(list: &'a [Mounted], path: &Path) -> Option<&'a Mounted> {
    list.iter()
        .filter(|mount| path.starts_with(&mount.path))
        .max_by_key(|mount| mount.path.as_os_str().len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_must_spread() {
        let mount = |path: &str, shared, slave| Mounted {
            path: path.into(),
            shared,
            slave,
        };
        let list = [
            mount("/", false, false),
            mount("/s", true, false),
            mount("/l", false, true),
        ];
        let ask = |path: &str, propagation: &str| {
            decide(
                &[(path.into(), propagation.to_owned())],
                &list,
                Some(Path::new("/data/root")),
            )
            .map_err(|error| error.to_string())
        };
        assert_eq!(ask("/s/x", "rshared").unwrap(), Some("shared"));
        assert_eq!(ask("/s", "slave").unwrap(), Some("rslave"));
        assert_eq!(ask("/l/x", "rslave").unwrap(), Some("rslave"));
        assert_eq!(ask("/data", "rslave").unwrap(), None);
        assert_eq!(
            ask("/l/x", "shared").unwrap_err(),
            "path /l/x is mounted on /l but it is not a shared mount"
        );
        assert_eq!(
            ask("/tmp", "rslave").unwrap_err(),
            "path /tmp is mounted on / but it is not a shared or slave mount"
        );
    }
}
