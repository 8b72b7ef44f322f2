//! What the API says of one file: the header `X-Docker-Container-Path-Stat`, base64 of JSON (docs:
//! Engine API `ContainerArchiveInfo`), with the mode in the form of Go's `fs.FileMode`.

use nix::sys::stat::FileStat;
use serde::{Deserialize, Serialize};

const DIRECTORY: u32 = 1 << 31;
const SYMLINK: u32 = 1 << 27;
const DEVICE: u32 = 1 << 26;
const FIFO: u32 = 1 << 25;
const SOCKET: u32 = 1 << 24;
const SET_UID: u32 = 1 << 23;
const SET_GID: u32 = 1 << 22;
const CHAR_DEVICE: u32 = 1 << 21;
const STICKY: u32 = 1 << 20;

/// One file as the API describes it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct PathStat {
    /// Last component of the path as asked; `.` if it ends in that, `/` for the root.
    pub(crate) name: String,
    pub(crate) size: i64,
    /// Go's `fs.FileMode`.
    pub(crate) mode: u32,
    /// RFC 3339.
    pub(crate) mtime: String,
    /// Where a symbolic link leads in the end, absolute in the container.
    pub(crate) link_target: String,
}

impl PathStat {
    pub(crate) fn is_dir(&self) -> bool {
        self.mode & DIRECTORY != 0
    }

    pub(crate) fn is_link(&self) -> bool {
        self.mode & SYMLINK != 0
    }

    /// A device, which nothing is copied over.
    pub(crate) fn is_device(&self) -> bool {
        self.mode & DEVICE != 0
    }
}

/// A file's mode as Go writes it.
pub(crate) fn go_mode(stat: &FileStat) -> u32 {
    let mode = stat.st_mode;
    let kind = match mode & libc::S_IFMT {
        libc::S_IFDIR => DIRECTORY,
        libc::S_IFLNK => SYMLINK,
        libc::S_IFBLK => DEVICE,
        libc::S_IFCHR => DEVICE | CHAR_DEVICE,
        libc::S_IFIFO => FIFO,
        libc::S_IFSOCK => SOCKET,
        _ => 0,
    };
    let bit = |unix: u32, go: u32| if mode & unix == 0 { 0 } else { go };
    kind | (mode & 0o777)
        | bit(libc::S_ISUID, SET_UID)
        | bit(libc::S_ISGID, SET_GID)
        | bit(libc::S_ISVTX, STICKY)
}
