//! What the kernel says of a container's processes: where stdout and stderr lead, which files grow.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, Metadata};
use std::io;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::Path;

use crate::supervisor::open_fifo;

/// Most descriptors that are looked at.
const DESCRIPTORS: usize = 20_000;
/// Most files that are told of.
const FILES: usize = 50;

/// What a descriptor leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The captured pipe: stdout's or stderr's.
    Captured,
    Terminal,
    Null,
    File,
    Pipe,
    Socket,
    Closed,
    Other,
}

impl Kind {
    /// The word in codes and in the answer.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Captured => "captured",
            Self::Terminal => "terminal",
            Self::Null => "null",
            Self::File => "file",
            Self::Pipe => "pipe",
            Self::Socket => "socket",
            Self::Closed => "closed",
            Self::Other => "other",
        }
    }
}

/// A descriptor of a process.
#[derive(Clone, Debug)]
pub(crate) struct Descriptor {
    pub(crate) kind: Kind,
    /// As the kernel names it, within the container.
    pub(crate) target: String,
}

/// A regular file that a process has open for writing.
#[derive(Clone, Debug)]
pub(crate) struct OpenFile {
    /// Within the container.
    pub(crate) path: String,
    pub(crate) pid: i32,
    pub(crate) size: u64,
    /// Bytes since the last look.
    pub(crate) grown: u64,
    /// To look again.
    handle: String,
    inode: (u64, u64),
}

/// Device and inode, if the file is there.
pub(crate) fn inode(path: &Path) -> Option<(u64, u64)> {
    let meta = fs::metadata(path).ok()?;
    Some((meta.dev(), meta.ino()))
}

/// Where descriptor `fd` of `pid` leads; `pipes` are those that are captured. `None`: the process
/// is gone, or cannot be looked at.
pub(crate) fn descriptor(pid: i32, fd: i32, pipes: &[(u64, u64)]) -> Option<Descriptor> {
    let path = format!("/proc/{pid}/fd/{fd}");
    let target = match fs::read_link(&path) {
        Ok(target) => target.to_string_lossy().into_owned(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Path::new(&format!("/proc/{pid}"))
                .exists()
                .then(|| Descriptor {
                    kind: Kind::Closed,
                    target: String::new(),
                });
        }
        Err(_) => return None,
    };
    let meta = fs::metadata(&path).ok()?;
    Some(Descriptor {
        kind: kind(&meta, pipes),
        target,
    })
}

fn kind(meta: &Metadata, pipes: &[(u64, u64)]) -> Kind {
    let of = meta.file_type();
    let (major, minor) = (nix::libc::major(meta.rdev()), nix::libc::minor(meta.rdev()));
    match () {
        () if pipes.contains(&(meta.dev(), meta.ino())) => Kind::Captured,
        () if of.is_file() => Kind::File,
        () if of.is_fifo() => Kind::Pipe,
        () if of.is_socket() => Kind::Socket,
        () if of.is_char_device() && (major, minor) == (1, 3) => Kind::Null,
        // Pseudo terminals, consoles (Linux' devices.txt).
        () if of.is_char_device() && ((136..=143).contains(&major) || matches!(major, 4 | 5)) => {
            Kind::Terminal
        }
        () => Kind::Other,
    }
}

/// Regular files that processes have open for writing, each once.
pub(crate) fn written(pids: &BTreeSet<i32>) -> Vec<OpenFile> {
    let mut found = BTreeMap::new();
    let mut looked = 0;
    for pid in pids {
        let folder = format!("/proc/{pid}/fd");
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
            looked += 1;
            if looked > DESCRIPTORS {
                return found.into_values().collect();
            }
            let fd = entry.file_name().to_string_lossy().into_owned();
            let info = fs::read_to_string(format!("/proc/{pid}/fdinfo/{fd}"));
            if !info.is_ok_and(|text| for_writing(&text)) {
                continue;
            }
            let Ok(meta) = fs::metadata(entry.path()) else {
                continue;
            };
            let Ok(path) = fs::read_link(entry.path()) else {
                continue;
            };
            let path = path.to_string_lossy().into_owned();
            if !meta.is_file() || path.starts_with("/memfd:") || path.starts_with("/proc/") {
                continue;
            }
            let inode = (meta.dev(), meta.ino());
            found.entry(inode).or_insert_with(|| OpenFile {
                path,
                pid: *pid,
                size: meta.len(),
                grown: 0,
                handle: format!("{folder}/{fd}"),
                inode,
            });
        }
    }
    found.into_values().collect()
}

/// Whether `/proc/<pid>/fdinfo/<fd>` tells of a descriptor that can be written to.
fn for_writing(info: &str) -> bool {
    let flags = info.lines().find_map(|line| line.strip_prefix("flags:"));
    let flags = flags.and_then(|text| u32::from_str_radix(text.trim(), 8).ok());
    // O_ACCMODE: O_WRONLY or O_RDWR.
    flags.is_some_and(|flags| matches!(flags & 3, 1 | 2))
}

/// Looks again; those that have grown most come first.
pub(crate) fn look_again(files: &mut Vec<OpenFile>) {
    for file in files.iter_mut() {
        if let Ok(meta) = fs::metadata(&file.handle)
            && (meta.dev(), meta.ino()) == file.inode
        {
            file.grown = meta.len().saturating_sub(file.size);
            file.size = meta.len();
        }
    }
    files.sort_by(|a, b| b.grown.cmp(&a.grown).then_with(|| a.path.cmp(&b.path)));
    files.truncate(FILES);
}

/// Bytes that lie in a pipe.
pub(crate) fn unread(pipe: &Path) -> u64 {
    nix::ioctl_read_bad!(unread_bytes, nix::libc::FIONREAD, nix::libc::c_int);
    let Ok(file) = open_fifo(pipe) else { return 0 };
    let mut bytes = 0;
    // SAFETY: an open descriptor, and a place for an int.
    match unsafe { unread_bytes(file.as_raw_fd(), &raw mut bytes) } {
        Ok(_) => u64::try_from(bytes).unwrap_or(0),
        Err(_) => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    #[test]
    fn descriptors_of_this_process() {
        let dir = tempfile::tempdir().unwrap();
        let file = fs::File::create(dir.path().join("x.log")).unwrap();
        let pid = i32::try_from(std::process::id()).unwrap();
        let found = descriptor(pid, file.as_raw_fd(), &[]).unwrap();
        assert_eq!(found.kind, Kind::File);
        assert!(found.target.ends_with("/x.log"));
        let null = fs::File::open("/dev/null").unwrap();
        assert_eq!(
            descriptor(pid, null.as_raw_fd(), &[]).unwrap().kind,
            Kind::Null
        );
        assert_eq!(descriptor(pid, 1_000_000, &[]).unwrap().kind, Kind::Closed);
        let own = inode(&dir.path().join("x.log")).unwrap();
        let captured = descriptor(pid, file.as_raw_fd(), &[own]).unwrap();
        assert_eq!(captured.kind, Kind::Captured);
    }

    #[test]
    fn files_that_grow() {
        let dir = tempfile::tempdir().unwrap();
        let mut file = fs::File::create(dir.path().join("x.log")).unwrap();
        let _read = fs::File::open(dir.path().join("x.log")).unwrap();
        let pid = i32::try_from(std::process::id()).unwrap();
        let mut files = written(&BTreeSet::from([pid]));
        files.retain(|f| f.path.starts_with(dir.path().to_str().unwrap()));
        assert_eq!(files.len(), 1);
        file.write_all(b"hello").unwrap();
        look_again(&mut files);
        assert_eq!((files[0].grown, files[0].size), (5, 5));
    }

    #[test]
    fn flags() {
        assert!(for_writing("pos:\t0\nflags:\t02100001\nmnt_id:\t1\n"));
        assert!(for_writing("flags:\t0100002\n"));
        assert!(!for_writing("flags:\t0100000\n"));
        assert!(!for_writing(""));
    }

    #[test]
    fn bytes_in_a_pipe() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("p");
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
        let _reader = open_fifo(&path).unwrap();
        let mut writer = fs::OpenOptions::new().write(true).open(&path).unwrap();
        assert_eq!(unread(&path), 0);
        writer.write_all(b"abc").unwrap();
        assert_eq!(unread(&path), 3);
        assert_eq!(unread(Path::new("/nowhere")), 0);
    }
}
