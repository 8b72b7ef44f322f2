//! Looking at files of a container's root file system without being led out of it by its links.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2};

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
