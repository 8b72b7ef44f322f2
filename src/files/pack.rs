//! A tree of files as a tar archive.
//!
//! Folders are read one after the other in the order of their names. A folder that is deep down is
//! opened from the top again, links not followed, so that the depth of a tree costs neither
//! descriptors nor stack. What vanishes meanwhile is left out; a file that shrinks while it is read is
//! filled up with zeros, as GNU tar does, and said in the daemon's log.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;

use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{OFlag, ResolveFlag};
use nix::sys::stat::{FileStat, Mode, fstat, major, minor};

use super::error::{FileError, shown};
use super::header::{BLOCK, Header, Kind, pad};
use super::path::{by_descriptor, c_string, link_target, open_below};
use super::sparse::{self, Piece};

/// Bytes that are read of a file at once.
const BUFFER: usize = 128 * 1024;
/// Folders on the way down that are kept open.
const OPEN_FOLDERS: usize = 32;
/// Hard links whose first name is remembered; later ones of more files are written as files.
const MAX_LINKS: usize = 1 << 20;
/// Bytes of a file's list of attributes, and of one attribute (source: xattr(7)).
const MAX_XATTR: usize = 64 * 1024;
/// What is written of a file's attributes; others are the host's business.
const XATTRS: [&[u8]; 3] = [b"security.capability", b"user.", b"system.posix_acl_"];

/// How a tree is written.
#[derive(Clone, Debug, Default)]
pub(crate) struct PackOptions {
    /// Holes are left out, in a form that GNU tar, Go and Python read.
    pub(crate) sparse: bool,
    /// Folders whose content is left out, as paths below the top.
    pub(crate) empty: Vec<Vec<u8>>,
    /// Folders that are file systems of the kernel (`/proc`, `/sys`, ...) are written empty.
    pub(crate) no_kernel: bool,
}

/// Writes an archive.
pub(crate) struct Packer<'a> {
    out: &'a mut dyn Write,
    options: PackOptions,
    /// Device and inode of what has several names, and its name in the archive.
    links: HashMap<(u64, u64), Vec<u8>>,
    buffer: Vec<u8>,
}

/// A folder on the way down.
struct Level {
    /// Below the top; empty for the top itself.
    below: Vec<u8>,
    /// Closed when the way goes far below.
    dir: Option<OwnedFd>,
    device: u64,
    /// Names that are still to be written, the next one last.
    names: Vec<Vec<u8>>,
}

impl<'a> Packer<'a> {
    pub(crate) fn new(out: &'a mut dyn Write, options: PackOptions) -> Self {
        Self {
            out,
            options,
            links: HashMap::new(),
            buffer: vec![0; BUFFER],
        }
    }

    /// Writes an object as `name`, and all below it. `object` may be an `O_PATH` descriptor. With an
    /// empty name a folder itself is left out.
    pub(crate) fn tree(&mut self, object: OwnedFd, name: &[u8]) -> Result<(), FileError> {
        let stat = fstat(&object).map_err(FileError::file("stat", name))?;
        if !is_folder(&stat) {
            return self.one(object.as_fd(), &stat, name);
        }
        if !name.is_empty() {
            self.one(object.as_fd(), &stat, name)?;
        }
        let names = match read_folder(object.as_fd()) {
            Ok(names) => names,
            Err(errno) => return Err(FileError::file("read", name)(errno)),
        };
        let mut levels = vec![Level {
            below: Vec::new(),
            dir: object.try_clone().ok(),
            device: stat.st_dev,
            names,
        }];
        while let Some(level) = levels.last_mut() {
            let Some(child) = level.names.pop() else {
                levels.pop();
                continue;
            };
            if level.dir.is_none() {
                level.dir = self.reopen(object.as_fd(), &level.below);
            }
            let Some(dir) = &level.dir else {
                level.names.clear();
                continue;
            };
            let below = joined(&level.below, &child);
            if below.len() >= libc::PATH_MAX as usize {
                tracing::warn!(path = %shown(&below), "left out of an archive: its path is too long");
                continue;
            }
            let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW;
            let Some((fd, stat)) = seen(
                open_below(dir.as_fd(), &child, flags, ResolveFlag::RESOLVE_BENEATH)
                    .and_then(|fd| fstat(&fd).map(|stat| (fd, stat))),
                &below,
            ) else {
                continue;
            };
            let shown_as = match name {
                b"" => below.clone(),
                name => joined(name, &below),
            };
            self.one(fd.as_fd(), &stat, &shown_as)?;
            if !is_folder(&stat) || self.stays_empty(fd.as_fd(), &below, &stat, level.device) {
                continue;
            }
            let Some(names) = seen(read_folder(fd.as_fd()), &below) else {
                continue;
            };
            let deep = levels.len();
            if let Some(above) = deep.checked_sub(OPEN_FOLDERS) {
                levels[above].dir = None;
            }
            levels.push(Level {
                below,
                dir: Some(fd),
                device: stat.st_dev,
                names,
            });
        }
        Ok(())
    }

    /// Writes the end of the archive.
    pub(crate) fn finish(self) -> Result<(), FileError> {
        self.out
            .write_all(&[0; 2 * BLOCK as usize])
            .and_then(|()| self.out.flush())
            .map_err(FileError::Write)
    }

    fn reopen(&self, top: BorrowedFd<'_>, below: &[u8]) -> Option<OwnedFd> {
        let path = if below.is_empty() { &b"."[..] } else { below };
        let resolve = ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_SYMLINKS;
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY;
        seen(open_below(top, path, flags, resolve), below)
    }

    fn stays_empty(
        &self,
        folder: BorrowedFd<'_>,
        below: &[u8],
        stat: &FileStat,
        above: u64,
    ) -> bool {
        self.options.empty.iter().any(|path| path == below)
            || (self.options.no_kernel && stat.st_dev != above && is_kernels(folder))
    }

    /// Writes one object.
    pub(crate) fn one(
        &mut self,
        fd: BorrowedFd<'_>,
        stat: &FileStat,
        name: &[u8],
    ) -> Result<(), FileError> {
        let Some(mut header) = header_of(fd, stat, name) else {
            return Ok(());
        };
        if stat.st_nlink > 1 && header.kind != Kind::Directory {
            let key = (stat.st_dev, stat.st_ino);
            match self.links.get(&key) {
                Some(first) => {
                    header.kind = Kind::HardLink;
                    header.link = first.clone();
                    header.size = 0;
                }
                None if self.links.len() < MAX_LINKS => {
                    self.links.insert(key, name.to_vec());
                }
                None => {}
            }
        }
        if header.kind != Kind::File {
            return self.header(&header);
        }
        // Not the name, which may mean something else by now: this very file.
        let flags = OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
        let opened = nix::fcntl::open(&by_descriptor(fd), flags, Mode::empty());
        let Some(file) = seen(opened, name) else {
            return Ok(());
        };
        self.file(&File::from(file), header)
    }

    /// Writes a header that stands for no file of the tree.
    pub(crate) fn header(&mut self, header: &Header) -> Result<(), FileError> {
        header.write(self.out).map_err(FileError::Write)
    }

    fn file(&mut self, file: &File, mut header: Header) -> Result<(), FileError> {
        header.pieces = self
            .options
            .sparse
            .then(|| sparse::pieces(file, header.size))
            .flatten();
        self.header(&header)?;
        let whole = [Piece {
            offset: 0,
            len: header.size,
        }];
        for piece in header.pieces.as_deref().unwrap_or(&whole) {
            self.piece(file, piece, &header.path)?;
        }
        pad(self.out, header.content()).map_err(FileError::Write)
    }

    fn piece(&mut self, mut file: &File, piece: &Piece, name: &[u8]) -> Result<(), FileError> {
        let mut left = piece.len;
        if left == 0 {
            return Ok(());
        }
        file.seek(SeekFrom::Start(piece.offset))
            .map_err(FileError::io("read", name))?;
        while left > 0 {
            let want = self
                .buffer
                .len()
                .min(usize::try_from(left).unwrap_or(usize::MAX));
            match file.read(&mut self.buffer[..want]) {
                Ok(0) => {
                    tracing::warn!(path = %shown(name), bytes = left, "shrank while it was read into an archive: filled up with zeros");
                    io::copy(&mut io::repeat(0).take(left), &mut self.out)
                        .map_err(FileError::Write)?;
                    return Ok(());
                }
                Ok(n) => {
                    self.out
                        .write_all(&self.buffer[..n])
                        .map_err(FileError::Write)?;
                    left -= n as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(FileError::io("read", name)(error)),
            }
        }
        Ok(())
    }
}

/// What there is to see of an object; one that has gone is left out, one that refuses is said.
fn seen<T>(result: Result<T, Errno>, path: &[u8]) -> Option<T> {
    match result {
        Ok(value) => Some(value),
        Err(Errno::ENOENT) => None,
        Err(errno) => {
            tracing::warn!(path = %shown(path), error = errno.desc(), "left out of an archive");
            None
        }
    }
}

/// The header of an object; `None` for a socket, which no archive can hold.
pub(super) fn header_of(fd: BorrowedFd<'_>, stat: &FileStat, name: &[u8]) -> Option<Header> {
    let kind = match stat.st_mode & libc::S_IFMT {
        libc::S_IFREG => Kind::File,
        libc::S_IFDIR => Kind::Directory,
        libc::S_IFLNK => Kind::Symlink,
        libc::S_IFCHR => Kind::CharDevice,
        libc::S_IFBLK => Kind::BlockDevice,
        libc::S_IFIFO => Kind::Fifo,
        _ => return None,
    };
    let mut path = name.to_vec();
    if kind == Kind::Directory && !path.ends_with(b"/") {
        path.push(b'/');
    }
    let number = |n: u64| u32::try_from(n).unwrap_or(0);
    Some(Header {
        kind,
        path,
        link: match kind {
            Kind::Symlink => seen(link_target(fd), name)?,
            _ => Vec::new(),
        },
        mode: stat.st_mode & 0o7777,
        uid: stat.st_uid,
        gid: stat.st_gid,
        mtime: stat.st_mtime,
        device: (number(major(stat.st_rdev)), number(minor(stat.st_rdev))),
        size: match kind {
            Kind::File => u64::try_from(stat.st_size).unwrap_or(0),
            _ => 0,
        },
        xattrs: match kind {
            Kind::File | Kind::Directory => xattrs(fd),
            _ => Vec::new(),
        },
        pieces: None,
    })
}

/// The attributes that archives carry. A file system without any has none.
fn xattrs(fd: BorrowedFd<'_>) -> Vec<(Vec<u8>, Vec<u8>)> {
    let Ok(path) = c_string(by_descriptor(fd).as_os_str().as_bytes()) else {
        return Vec::new();
    };
    // SAFETY: the path ends in NUL; without a buffer only the length is told.
    if unsafe { libc::listxattr(path.as_ptr(), std::ptr::null_mut(), 0) } <= 0 {
        return Vec::new();
    }
    let mut list = vec![0_u8; MAX_XATTR];
    // SAFETY: the path ends in NUL and the buffer is valid for its length.
    let len = unsafe { libc::listxattr(path.as_ptr(), list.as_mut_ptr().cast(), list.len()) };
    list.truncate(usize::try_from(len).unwrap_or(0));
    list.split(|byte| *byte == 0)
        .filter(|name| XATTRS.iter().any(|prefix| name.starts_with(prefix)))
        .filter_map(|name| Some((name.to_vec(), xattr(fd, name)?)))
        .collect()
}

/// One attribute of an object; `None` if it has it not.
pub(crate) fn xattr(fd: BorrowedFd<'_>, name: &[u8]) -> Option<Vec<u8>> {
    let path = c_string(by_descriptor(fd).as_os_str().as_bytes()).ok()?;
    let name = c_string(name).ok()?;
    let mut value = vec![0_u8; MAX_XATTR];
    // SAFETY: both strings end in NUL and the buffer is valid for its length.
    let len = unsafe {
        libc::getxattr(
            path.as_ptr(),
            name.as_ptr(),
            value.as_mut_ptr().cast(),
            value.len(),
        )
    };
    value.truncate(usize::try_from(len).ok()?);
    Some(value)
}

/// The names in a folder, the last one first.
pub(crate) fn read_folder(folder: BorrowedFd<'_>) -> Result<Vec<Vec<u8>>, Errno> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY;
    let own = open_below(folder, b".", flags, ResolveFlag::RESOLVE_BENEATH)?;
    let mut names = Vec::new();
    for entry in Dir::from_fd(own)?.iter() {
        let name = entry?.file_name().to_bytes().to_vec();
        if name != b"." && name != b".." {
            names.push(name);
        }
    }
    names.sort_unstable_by(|a, b| b.cmp(a));
    Ok(names)
}

/// Whether a folder is of a file system that the kernel makes up.
fn is_kernels(folder: BorrowedFd<'_>) -> bool {
    const MAGIC: [u32; 13] = [
        0x9fa0,      // proc
        0x6265_6572, // sysfs
        0x27_e0eb,   // cgroup
        0x6367_7270, // cgroup2
        0x1cd1,      // devpts
        0x1980_0202, // mqueue
        0x7363_6673, // securityfs
        0x6462_6720, // debugfs
        0x7472_6163, // tracefs
        0xcafe_4a11, // bpf
        0x6165_676c, // pstore
        0x6265_6570, // configfs
        0xde5e_81e4, // efivarfs
    ];
    nix::sys::statfs::fstatfs(folder)
        .is_ok_and(|stat| MAGIC.contains(&(stat.filesystem_type().0 as u32)))
}

pub(super) fn is_folder(stat: &FileStat) -> bool {
    stat.st_mode & libc::S_IFMT == libc::S_IFDIR
}

/// `above/name`, without a second slash, and without one at the start.
pub(super) fn joined(above: &[u8], name: &[u8]) -> Vec<u8> {
    match above {
        b"" => name.to_vec(),
        above if above.ends_with(b"/") => [above, name].concat(),
        above => [above, b"/", name].concat(),
    }
}
