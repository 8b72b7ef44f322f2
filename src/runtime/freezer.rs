//! Freezing all processes of a control group, and letting them go on.

use std::fs;
use std::io;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use super::cgroup::CgroupLayout;
use super::error::RuntimeError;

/// How long the kernel may take to freeze all of them: one in an uninterruptible wait holds it up.
const LIMIT: Duration = Duration::from_secs(10);
/// Version 1 may stay halfway when processes fork; a thaw in between lets it begin anew.
const ATTEMPT: Duration = Duration::from_millis(100);
const STEP: Duration = Duration::from_millis(1);

/// The file that freezes, what to write into it, and how the kernel says that it is done.
struct Freezer {
    file: PathBuf,
    frozen: &'static str,
    thawed: &'static str,
    state: PathBuf,
}

impl Freezer {
    fn of(layout: &CgroupLayout, path: &str) -> Result<Self, RuntimeError> {
        let dir = layout.group("freezer", path).ok_or_else(|| {
            RuntimeError::file("use control group", "freezer")(io::ErrorKind::NotFound.into())
        })?;
        Ok(match layout {
            CgroupLayout::V1 { .. } => Self {
                file: dir.join("freezer.state"),
                frozen: "FROZEN",
                thawed: "THAWED",
                state: dir.join("freezer.state"),
            },
            CgroupLayout::V2 { .. } => Self {
                file: dir.join("cgroup.freeze"),
                frozen: "1",
                thawed: "0",
                state: dir.join("cgroup.events"),
            },
        })
    }

    fn set(&self, frozen: bool) -> Result<(), RuntimeError> {
        let word = if frozen { self.frozen } else { self.thawed };
        fs::write(&self.file, word).map_err(RuntimeError::file("write", &self.file))
    }

    fn is_frozen(&self) -> io::Result<bool> {
        let text = fs::read_to_string(&self.state)?;
        Ok(says_frozen(&text))
    }
}

/// `FROZEN` of version 1, `frozen 1` of version 2.
fn says_frozen(text: &str) -> bool {
    text.lines()
        .any(|line| matches!(line.trim_end(), "FROZEN" | "frozen 1"))
}

/// Freezes the group `path` and all below, or lets them go on; done when this returns. Blocking.
///
/// # Errors
/// No freezer, no such group, or the kernel does not get it done within 10 s: it then runs.
pub(crate) fn set_frozen(
    layout: &CgroupLayout,
    path: &str,
    frozen: bool,
) -> Result<(), RuntimeError> {
    let freezer = Freezer::of(layout, path)?;
    let end = Instant::now() + LIMIT;
    loop {
        freezer.set(frozen)?;
        let attempt = Instant::now() + ATTEMPT;
        while Instant::now() < attempt {
            let now = freezer
                .is_frozen()
                .map_err(RuntimeError::file("read", &freezer.state))?;
            if now == frozen {
                return Ok(());
            }
            thread::sleep(STEP);
        }
        if Instant::now() > end {
            if frozen {
                freezer.set(false)?;
            }
            return Err(RuntimeError::file("write", &freezer.file)(
                io::ErrorKind::TimedOut.into(),
            ));
        }
        if frozen && layout.version() == "1" {
            freezer.set(false)?;
        }
    }
}

/// Whether the group is frozen; `None` if that cannot be said. Blocking.
pub(crate) fn is_frozen(layout: &CgroupLayout, path: &str) -> Option<bool> {
    Freezer::of(layout, path).ok()?.is_frozen().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_versions_are_understood() {
        assert!(says_frozen("FROZEN\n"));
        assert!(!says_frozen("FREEZING\n"));
        assert!(!says_frozen("THAWED\n"));
        assert!(says_frozen("populated 1\nfrozen 1\n"));
        assert!(!says_frozen("populated 1\nfrozen 0\n"));
    }

    #[test]
    fn version_two_by_its_files() {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("p/c");
        fs::create_dir_all(&dir).unwrap();
        fs::write(dir.join("cgroup.freeze"), "0").unwrap();
        fs::write(dir.join("cgroup.events"), "populated 1\nfrozen 1\n").unwrap();
        let layout = CgroupLayout::V2 {
            root: root.path().to_owned(),
        };
        set_frozen(&layout, "/p/c", true).unwrap();
        assert_eq!(fs::read_to_string(dir.join("cgroup.freeze")).unwrap(), "1");
        assert_eq!(is_frozen(&layout, "/p/c"), Some(true));
        assert_eq!(is_frozen(&layout, "/p/none"), None);
        assert!(set_frozen(&layout, "/p/none", true).is_err());
        let none = CgroupLayout::V1 {
            controllers: Vec::new(),
            unified: None,
        };
        assert!(set_frozen(&none, "/p/c", true).is_err());
    }
}
