//! Looking at files of a container's root file system without being led out of it by its links.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat, openat2};
use nix::sys::stat::{Mode, mkdirat};
use nix::unistd::symlinkat;

use super::error::RuntimeError;

/// Bound on a file that is read from an image; a passwd file is a few kilobytes.
const MAX_READ: u64 = 4 << 20;

/// A root file system, held open: every path is resolved as if it were `/`.
#[derive(Debug)]
pub(super) struct Rootfs {
    dir: File,
}

impl Rootfs {
    pub(super) fn open(path: &Path) -> Result<Self, RuntimeError> {
        let dir = File::open(path).map_err(RuntimeError::file("open root file system", path))?;
        Ok(Self { dir })
    }

    /// Opens `path` below the root with `flags` (links are followed within it).
    pub(super) fn open_at(&self, path: &Path, flags: OFlag) -> io::Result<OwnedFd> {
        let how = OpenHow::new()
            .flags(flags | OFlag::O_CLOEXEC)
            .resolve(ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS);
        Ok(openat2(self.dir.as_fd(), path, how)?)
    }

    /// Adds what every container of Docker's has (docs: Moby `daemon/initlayer`) and programs look
    /// for: `/.dockerenv` and `/etc/mtab`. What the image or the container has already stays.
    pub(super) fn add_dockers_files(&self) -> Result<(), RuntimeError> {
        let mark = Path::new(".dockerenv");
        let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_CLOEXEC;
        match openat(
            self.dir.as_fd(),
            mark,
            flags,
            Mode::from_bits_truncate(0o755),
        ) {
            Ok(_) | Err(Errno::EEXIST) => {}
            Err(e) => return Err(RuntimeError::file("create", mark)(e.into())),
        }
        let folder = Path::new("/etc");
        let etc = match self.open_at(folder, OFlag::O_RDONLY | OFlag::O_DIRECTORY) {
            Ok(etc) => etc,
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                mkdirat(self.dir.as_fd(), "etc", Mode::from_bits_truncate(0o755))
                    .map_err(|e| RuntimeError::file("create", folder)(e.into()))?;
                self.open_at(folder, OFlag::O_RDONLY | OFlag::O_DIRECTORY)
                    .map_err(RuntimeError::file("open", folder))?
            }
            Err(e) => return Err(RuntimeError::file("open", folder)(e)),
        };
        match symlinkat("/proc/mounts", etc.as_fd(), "mtab") {
            Ok(()) | Err(Errno::EEXIST) => Ok(()),
            Err(e) => Err(RuntimeError::file("create", Path::new("/etc/mtab"))(
                e.into(),
            )),
        }
    }

    /// Content of a regular file, `None` if there is none; bytes that are not UTF-8 are replaced.
    pub(super) fn read_text(&self, path: &Path) -> Result<Option<String>, RuntimeError> {
        // Nonblocking: an image may hold a FIFO of that name.
        let fd = match self.open_at(path, OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_NOCTTY) {
            Ok(fd) => fd,
            Err(e) if matches!(e.raw_os_error(), Some(libc::ENOENT | libc::ENOTDIR)) => {
                return Ok(None);
            }
            Err(e) => return Err(RuntimeError::file("open", path)(e)),
        };
        let file = File::from(fd);
        let meta = file.metadata().map_err(RuntimeError::file("stat", path))?;
        if !meta.is_file() || meta.len() > MAX_READ {
            return Err(RuntimeError::BadFile {
                path: path.to_owned(),
                limit: MAX_READ,
            });
        }
        let mut bytes = Vec::new();
        file.take(MAX_READ)
            .read_to_end(&mut bytes)
            .map_err(RuntimeError::file("read", path))?;
        Ok(Some(String::from_utf8_lossy(&bytes).into_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dockers_files_replace_nothing_and_stay_inside() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("root");
        std::fs::create_dir(&root).unwrap();
        let rootfs = Rootfs::open(&root).unwrap();
        rootfs.add_dockers_files().unwrap();
        assert_eq!(std::fs::read(root.join(".dockerenv")).unwrap(), b"");
        let mtab = std::fs::read_link(root.join("etc/mtab")).unwrap();
        assert_eq!(mtab, Path::new("/proc/mounts"));

        std::fs::write(root.join(".dockerenv"), "own").unwrap();
        std::fs::remove_dir_all(root.join("etc")).unwrap();
        // An image's absolute link means a place within it.
        std::fs::create_dir(root.join("real")).unwrap();
        std::os::unix::fs::symlink("/real", root.join("etc")).unwrap();
        std::fs::write(root.join("real/mtab"), "own").unwrap();
        rootfs.add_dockers_files().unwrap();
        assert_eq!(std::fs::read(root.join(".dockerenv")).unwrap(), b"own");
        assert_eq!(std::fs::read(root.join("real/mtab")).unwrap(), b"own");
    }
}
