//! One daemon a root: locks on data root, exec root and pid file. A lock goes with its process,
//! so nothing that is left behind, and no zombie, can keep a daemon from starting.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

/// How long a daemon that was killed may take to be gone: its locks go with its last breath.
const DYING: Duration = Duration::from_millis(1000);

/// Why a root or the pid file cannot be had.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LockError {
    #[error("cannot create {path}")]
    Create { path: PathBuf, source: io::Error },
    #[error("{what} {path} cannot be written")]
    Unwritable {
        what: &'static str,
        path: PathBuf,
        source: io::Error,
    },
    #[error("{what} {path} is in use by another daemon (pid {holder}); give each daemon its own")]
    Held {
        what: &'static str,
        path: PathBuf,
        holder: String,
    },
}

/// A lock file with the holder's pid in it, for as long as this lives.
#[derive(Debug)]
pub(crate) struct PidLock {
    // Closing the file ends the lock.
    _file: Flock<File>,
}

impl PidLock {
    /// Locks `path`, and writes this process's pid into it. `what` and `shown` are for the texts.
    fn take(what: &'static str, shown: &Path, path: &Path) -> Result<Self, LockError> {
        let unwritable = |source| LockError::Unwritable {
            what,
            path: shown.to_owned(),
            source,
        };
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o644)
            .open(path)
            .map_err(unwritable)?;
        let end = Instant::now() + DYING;
        let mut file = loop {
            let refused = match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
                Ok(file) => break file,
                Err((back, Errno::EWOULDBLOCK)) if Instant::now() < end => {
                    std::thread::sleep(Duration::from_millis(10));
                    file = back;
                    continue;
                }
                Err(refused) => refused,
            };
            match refused {
                (mut file, Errno::EWOULDBLOCK) => {
                    let mut holder = String::new();
                    // A holder that has not written yet is shown as unknown.
                    let _ = file.read_to_string(&mut holder);
                    let holder = match holder.trim() {
                        "" => "unknown".to_owned(),
                        pid => pid.to_owned(),
                    };
                    return Err(LockError::Held {
                        what,
                        path: shown.to_owned(),
                        holder,
                    });
                }
                (_, errno) => return Err(unwritable(errno.into())),
            }
        };
        file.set_len(0).map_err(unwritable)?;
        file.rewind().map_err(unwritable)?;
        writeln!(file, "{}", std::process::id()).map_err(unwritable)?;
        Ok(Self { _file: file })
    }
}

/// Makes a root (and what is above it) if it is not there, and locks it.
pub(crate) fn lock_root(what: &'static str, root: &Path, mode: u32) -> Result<PidLock, LockError> {
    make_dir(root, mode)?;
    PidLock::take(what, root, &root.join("lock"))
}

/// Makes a folder and those above it; being there is success.
pub(crate) fn make_dir(path: &Path, mode: u32) -> Result<(), LockError> {
    DirBuilder::new()
        .recursive(true)
        .mode(mode)
        .create(path)
        .map_err(|source| LockError::Create {
            path: path.to_owned(),
            source,
        })
}

/// The pid file; removed when the daemon ends.
#[derive(Debug)]
pub(crate) struct PidFile {
    path: PathBuf,
    _lock: PidLock,
}

impl PidFile {
    /// Writes the pid file. What an earlier daemon left in it does not matter.
    pub(crate) fn write(path: &Path) -> Result<Self, LockError> {
        if let Some(parent) = path.parent() {
            make_dir(parent, 0o755)?;
        }
        Ok(Self {
            path: path.to_owned(),
            _lock: PidLock::take("pid file", path, path)?,
        })
    }
}

impl Drop for PidFile {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_file(&self.path)
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(path = %self.path.display(), error = %error, "pid file cannot be removed");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_holder_by_name() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("a/b");
        let lock = lock_root("data root", &root, 0o711).unwrap();
        let error = lock_root("data root", &root, 0o711).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!(
                "data root {} is in use by another daemon (pid {}); give each daemon its own",
                root.display(),
                std::process::id()
            )
        );
        drop(lock);
        lock_root("data root", &root, 0o711).unwrap();
    }

    #[test]
    fn stale_pid_file_does_not_matter() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("d.pid");
        // The pid of a process that lives, and much longer than ours.
        std::fs::write(&path, "1\nrubbish rubbish rubbish\n").unwrap();
        let file = PidFile::write(&path).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(text, format!("{}\n", std::process::id()));
        assert!(matches!(PidFile::write(&path), Err(LockError::Held { .. })));
        drop(file);
        assert!(!path.exists());
    }

    #[test]
    fn unwritable_root() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        std::fs::write(&file, "").unwrap();
        let error = lock_root("data root", &file.join("x"), 0o711).unwrap_err();
        assert!(matches!(error, LockError::Create { .. }));
        let error = lock_root("data root", &file, 0o711).unwrap_err();
        assert!(error.to_string().contains("file"), "{error}");
    }
}
