//! Paths below a root that somebody else may be changing.

use std::ffi::{CString, OsStr, OsString};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2};
use nix::sys::stat::{FileStat, Mode, fstat};

use super::error::{FileError, shown};
use super::stat::{PathStat, go_mode};
use crate::container::time::rfc3339;

/// Links that are followed on one way, as by Go's `EvalSymlinks`.
const MAX_LINKS: usize = 255;
/// `openat2` answers EAGAIN when a rename on the way made it impossible to say where the path leads.
const RACES: usize = 128;

/// A path as a request names it: absolute and clean, with what its end says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct WantedPath {
    /// Absolute, without `.`, `..` and doubled slashes.
    pub(crate) clean: String,
    /// It ends in `/` or `/.`: it means a folder, and a link's target.
    pub(crate) folder: bool,
    /// It ends in `.`: what is in the folder.
    pub(crate) content: bool,
}

impl WantedPath {
    /// Cleaned as text, as Docker does, before any link is looked at.
    pub(crate) fn new(path: &str) -> Self {
        let last = path.trim_end_matches('/').rsplit('/').next().unwrap_or("");
        Self {
            clean: clean(path),
            folder: path.ends_with('/') || last == ".",
            content: last == ".",
        }
    }

    /// Go's `filepath.Base` of it.
    pub(crate) fn base(&self) -> &str {
        if self.content {
            return ".";
        }
        match self.clean.rsplit('/').next() {
            None | Some("") => "/",
            Some(name) => name,
        }
    }
}

/// Absolute, and without `.`, `..` and empty parts.
pub(super) fn clean(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    format!("/{}", parts.join("/"))
}

/// A folder that is `/` for every path below it.
#[derive(Debug)]
pub(crate) struct Root {
    dir: OwnedFd,
}

impl Root {
    pub(crate) fn new(dir: OwnedFd) -> Self {
        Self { dir }
    }

    /// Opens a folder of this process's own view.
    pub(crate) fn open(path: &Path) -> Result<Self, FileError> {
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        nix::fcntl::open(path, flags, Mode::empty())
            .map(Self::new)
            .map_err(FileError::file("open", path.as_os_str().as_bytes()))
    }

    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.dir.as_fd()
    }

    /// Opens what a path means; links on the way stay below the root.
    pub(crate) fn at(&self, path: &[u8], flags: OFlag) -> Result<OwnedFd, Errno> {
        let path = match path {
            b"" => &b"."[..],
            path => path,
        };
        open_below(self.fd(), path, flags, ResolveFlag::RESOLVE_IN_ROOT)
    }

    /// The object itself (a link is not followed unless the path ends in a slash), without opening it.
    pub(crate) fn find(&self, path: &WantedPath) -> Result<(OwnedFd, FileStat), FileError> {
        let flags = match path.folder {
            true => OFlag::O_PATH | OFlag::O_DIRECTORY,
            false => OFlag::O_PATH | OFlag::O_NOFOLLOW,
        };
        let failed = |errno| match errno {
            Errno::ENOENT => FileError::NotFound(path.clean.clone()),
            Errno::ENOTDIR => FileError::NotDirectory(path.clean.clone()),
            errno => FileError::file("lstat", path.clean.as_bytes())(errno),
        };
        let fd = self.at(path.clean.as_bytes(), flags).map_err(failed)?;
        let stat = fstat(&fd).map_err(failed)?;
        Ok((fd, stat))
    }

    /// What the API says of the object that `find` gave.
    pub(crate) fn describe(
        &self,
        path: &WantedPath,
        stat: &FileStat,
    ) -> Result<PathStat, FileError> {
        let link = stat.st_mode & libc::S_IFMT == libc::S_IFLNK;
        Ok(PathStat {
            name: path.base().to_owned(),
            size: stat.st_size,
            mode: go_mode(stat),
            mtime: rfc3339(
                stat.st_mtime
                    .saturating_mul(1_000_000_000)
                    .saturating_add(stat.st_mtime_nsec),
            ),
            link_target: match link {
                true => shown(&self.follow(path.clean.as_bytes())?),
                false => String::new(),
            },
        })
    }

    /// The absolute path that all links on the way lead to; what does not exist stays as it is
    /// written. For messages and comparisons: by the time it is used it may lead elsewhere.
    pub(crate) fn follow(&self, path: &[u8]) -> Result<Vec<u8>, FileError> {
        let mut todo: Vec<OsString> = parts(path);
        let mut done: Vec<OsString> = Vec::new();
        let mut links = 0;
        while let Some(part) = todo.pop() {
            if part == ".." {
                done.pop();
                continue;
            }
            done.push(part);
            let here = join(&done);
            match self.read_link(&here) {
                Some(target) => {
                    links += 1;
                    if links > MAX_LINKS {
                        return Err(FileError::Links(shown(path)));
                    }
                    done.pop();
                    if target.starts_with(b"/") {
                        done.clear();
                    }
                    todo.extend(parts(&target));
                }
                None => continue,
            }
        }
        Ok(join(&done))
    }

    fn read_link(&self, path: &[u8]) -> Option<Vec<u8>> {
        let fd = self.at(path, OFlag::O_PATH | OFlag::O_NOFOLLOW).ok()?;
        let stat = fstat(&fd).ok()?;
        (stat.st_mode & libc::S_IFMT == libc::S_IFLNK)
            .then(|| link_target(fd.as_fd()).ok())
            .flatten()
    }
}

/// Components of a path, the last one first; `.` left out.
fn parts(path: &[u8]) -> Vec<OsString> {
    path.split(|byte| *byte == b'/')
        .rev()
        .filter(|part| !part.is_empty() && *part != b".")
        .map(|part| OsString::from_vec(part.to_vec()))
        .collect()
}

fn join(parts: &[OsString]) -> Vec<u8> {
    let mut path = Vec::new();
    for part in parts {
        path.push(b'/');
        path.extend_from_slice(part.as_bytes());
    }
    if path.is_empty() {
        path.push(b'/');
    }
    path
}

/// Opens below a folder with the kernel's bounds on the way.
pub(super) fn open_below(
    dir: BorrowedFd<'_>,
    path: &[u8],
    flags: OFlag,
    resolve: ResolveFlag,
) -> Result<OwnedFd, Errno> {
    let how = OpenHow::new()
        .flags(flags | OFlag::O_CLOEXEC)
        .resolve(resolve | ResolveFlag::RESOLVE_NO_MAGICLINKS);
    for _ in 0..RACES {
        match openat2(dir, OsStr::from_bytes(path), how) {
            Err(Errno::EAGAIN | Errno::EINTR) => {}
            other => return other,
        }
    }
    Err(Errno::EAGAIN)
}

/// Name of an open object for calls that take paths only: the kernel goes to the object itself.
pub(super) fn by_descriptor(fd: BorrowedFd<'_>) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", fd.as_raw_fd()))
}

/// What an open symbolic link says.
pub(super) fn link_target(fd: BorrowedFd<'_>) -> Result<Vec<u8>, Errno> {
    nix::fcntl::readlinkat(fd, "").map(OsString::into_vec)
}

/// A string for the kernel.
pub(super) fn c_string(bytes: &[u8]) -> Result<CString, Errno> {
    CString::new(bytes).map_err(|_| Errno::EINVAL)
}
