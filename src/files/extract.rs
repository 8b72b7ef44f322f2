//! Unpacking an archive into a folder of a tree that somebody else may be changing, by the rules of
//! `docker cp` (source: Moby `pkg/archive`, `Unpack`): names are relative to the folder whatever they
//! look like, none leads above it; what is there is replaced, folders are merged.
//!
//! A symbolic link of the archive may lead anywhere; it means a place below the root whoever follows it.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write as _};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::PermissionsExt as _;

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat};
use nix::sys::stat::{
    FileStat, Mode, SFlag, UtimensatFlags, fstat, fstatat, futimens, makedev, mkdirat, mknodat,
    utimensat,
};
use nix::sys::time::TimeSpec;
use nix::unistd::{Gid, Uid, UnlinkatFlags, fchown, fchownat, linkat, symlinkat, unlinkat};

use super::error::{FileError, shown};
use super::pack::{is_folder, joined};
use super::path::{Root, by_descriptor, c_string};
use crate::image::tarball::{Entry, Kind, TarReader};

/// Bytes that are written to a file at once.
const BUFFER: usize = 128 * 1024;
/// Folders whose times are set at the end, because filling them changes those; later ones keep what
/// filling gave them.
const MAX_TIMES: usize = 1 << 18;
/// How often a name that somebody else makes anew is replaced.
const TRIES: usize = 16;
/// Attributes of overlayfs: an archive does not decide where a folder's content comes from.
const NOT_SET: [&[u8]; 2] = [b"trusted.overlay.", b"user.overlay."];

/// Who owns what is unpacked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Owner {
    /// As the archive says.
    Archive,
    /// User and group.
    Fixed(u32, u32),
    /// Whoever unpacks.
    Caller,
}

/// How an archive is unpacked.
#[derive(Clone, Debug)]
pub(crate) struct Extract {
    pub(crate) owner: Owner,
    /// A folder is not replaced by something else, nor something else by a folder.
    pub(crate) keep_kinds: bool,
    /// Names that begin with the first component are unpacked as if they began with the second; an
    /// empty first one is put before all.
    pub(crate) rename: Option<(String, String)>,
    /// What messages put before the paths: where the root is for whoever reads them.
    pub(crate) prefix: String,
}

impl Extract {
    /// Unpacks into the folder `base` of `root`, an absolute path without links.
    ///
    /// # Errors
    /// What was unpacked before stays.
    pub(crate) fn run(
        &self,
        archive: &mut dyn Read,
        root: &Root,
        base: &[u8],
    ) -> Result<(), FileError> {
        let plain = crate::image::compress::decompress(archive)
            .map_err(|error| FileError::Tar(error.into()))?;
        let mut tar = TarReader::new(plain);
        let mut target = Target {
            rules: self,
            root,
            base,
            times: BTreeMap::new(),
            buffer: vec![0; BUFFER],
        };
        while let Some(mut entry) = tar.next()? {
            if let Some((old, new)) = &self.rename {
                entry.path = renamed(&entry.path, old, new);
                if entry.kind == Kind::HardLink {
                    entry.link = renamed(&entry.link, old, new);
                }
            }
            target.apply(&entry, &mut tar)?;
        }
        target.set_times();
        Ok(())
    }
}

struct Target<'a> {
    rules: &'a Extract,
    root: &'a Root,
    base: &'a [u8],
    /// Times of folders, by path below the root.
    times: BTreeMap<Vec<u8>, (i64, u32)>,
    buffer: Vec<u8>,
}

/// Where an entry goes.
struct Place<'a> {
    /// Path below the root.
    path: &'a [u8],
    parent: BorrowedFd<'a>,
    name: &'a OsStr,
}

impl Place<'_> {
    fn failed(&self, action: &'static str) -> impl FnOnce(Errno) -> FileError {
        FileError::file(action, self.path)
    }

    fn stat(&self) -> Result<Option<FileStat>, FileError> {
        match fstatat(self.parent, self.name, AtFlags::AT_SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(stat)),
            Err(Errno::ENOENT) => Ok(None),
            Err(errno) => Err(self.failed("lstat")(errno)),
        }
    }

    fn open(&self, flags: OFlag) -> Result<OwnedFd, Errno> {
        let flags = flags | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        openat(self.parent, self.name, flags, Mode::empty())
    }
}

impl Target<'_> {
    fn apply<R: Read>(&mut self, entry: &Entry, tar: &mut TarReader<R>) -> Result<(), FileError> {
        let parts = below(&entry.path, self.base)?;
        let Some((name, folders)) = parts.split_last() else {
            return self.apply_base(entry);
        };
        let folder = joined(self.base, &folders.join(&b'/'));
        let path = joined(&folder, name);
        let parent = self.parent(&folder)?;
        let place = Place {
            path: &path,
            parent: parent.as_fd(),
            name: OsStr::from_bytes(name),
        };
        for _ in 0..TRIES {
            if self.make_room(entry, &place)? {
                return self.remember(entry, &place);
            }
            match self.create(entry, &place, tar) {
                // Somebody made it between the look and the call.
                Err(FileError::File {
                    source: Errno::EEXIST,
                    ..
                }) => {}
                other => {
                    other?;
                    return self.remember(entry, &place);
                }
            }
        }
        Err(place.failed("create")(Errno::EEXIST))
    }

    /// A path as messages have it.
    fn shown(&self, path: &[u8]) -> String {
        let text = format!("{}{}", self.rules.prefix, shown(path));
        match text.trim_end_matches('/') {
            "" => "/".to_owned(),
            text => text.to_owned(),
        }
    }

    /// The entry for the folder itself: it is there, and stays as it is, as by Docker.
    fn apply_base(&self, entry: &Entry) -> Result<(), FileError> {
        if entry.kind == Kind::Directory || !self.rules.keep_kinds {
            return Ok(());
        }
        Err(FileError::DirectoryByOther {
            path: self.shown(self.base),
            base: self.shown(self.base),
        })
    }

    /// Looks at what is there and takes it away. True if it is a folder that stays.
    fn make_room(&self, entry: &Entry, place: &Place<'_>) -> Result<bool, FileError> {
        let Some(stat) = place.stat()? else {
            return Ok(false);
        };
        let (path, base) = (self.shown(place.path), self.shown(self.base));
        match (is_folder(&stat), entry.kind == Kind::Directory) {
            (true, true) => return Ok(true),
            (true, false) if self.rules.keep_kinds => {
                return Err(FileError::DirectoryByOther { path, base });
            }
            (false, true) if self.rules.keep_kinds => {
                return Err(FileError::OtherByDirectory { path, base });
            }
            // The standard library removes a tree without following links.
            (true, false) => {
                let path = by_descriptor(place.parent).join(place.name);
                std::fs::remove_dir_all(path).map_err(FileError::io("remove", place.path))?;
            }
            (false, _) => match unlinkat(place.parent, place.name, UnlinkatFlags::NoRemoveDir) {
                Ok(()) | Err(Errno::ENOENT) => {}
                Err(errno) => return Err(place.failed("remove")(errno)),
            },
        }
        Ok(false)
    }

    fn create<R: Read>(
        &mut self,
        entry: &Entry,
        place: &Place<'_>,
        tar: &mut TarReader<R>,
    ) -> Result<(), FileError> {
        let private = Mode::S_IRUSR | Mode::S_IWUSR;
        match entry.kind {
            Kind::File => self.write_file(entry, place, tar),
            Kind::HardLink => self.hard_link(entry, place),
            Kind::Directory => {
                mkdirat(place.parent, place.name, Mode::S_IRWXU).map_err(place.failed("mkdir"))
            }
            Kind::Symlink => symlinkat(OsStr::from_bytes(&entry.link), place.parent, place.name)
                .map_err(place.failed("symlink")),
            Kind::Fifo => mknodat(place.parent, place.name, SFlag::S_IFIFO, private, 0)
                .map_err(place.failed("mkfifo")),
            Kind::CharDevice | Kind::BlockDevice => {
                let kind = match entry.kind {
                    Kind::CharDevice => SFlag::S_IFCHR,
                    _ => SFlag::S_IFBLK,
                };
                let (major, minor) = entry.device;
                let device = makedev(u64::from(major), u64::from(minor));
                mknodat(place.parent, place.name, kind, private, device)
                    .map_err(place.failed("mknod"))
            }
        }
    }

    fn write_file<R: Read>(
        &mut self,
        entry: &Entry,
        place: &Place<'_>,
        tar: &mut TarReader<R>,
    ) -> Result<(), FileError> {
        let flags =
            OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let fd = openat(
            place.parent,
            place.name,
            flags,
            Mode::S_IRUSR | Mode::S_IWUSR,
        )
        .map_err(place.failed("open"))?;
        let mut file = File::from(fd);
        match &entry.fragments {
            None => self.copy(tar, &mut file, entry.size, place)?,
            Some(fragments) => {
                for (offset, len) in fragments {
                    file.seek(SeekFrom::Start(*offset))
                        .map_err(FileError::io("write", place.path))?;
                    self.copy(tar, &mut file, *len, place)?;
                }
                file.set_len(entry.size)
                    .map_err(FileError::io("write", place.path))?;
            }
        }
        self.set_metadata(entry, place, file.as_fd())?;
        let time = time_of(entry.mtime);
        futimens(&file, &time, &time).map_err(place.failed("chtimes"))
    }

    /// Exactly `len` bytes of the current entry.
    fn copy<R: Read>(
        &mut self,
        tar: &mut TarReader<R>,
        file: &mut File,
        mut len: u64,
        place: &Place<'_>,
    ) -> Result<(), FileError> {
        while len > 0 {
            let want = self
                .buffer
                .len()
                .min(usize::try_from(len).unwrap_or(usize::MAX));
            let n = match tar.read(&mut self.buffer[..want]) {
                Ok(n) => n,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(FileError::Tar(error.into())),
            };
            file.write_all(&self.buffer[..n])
                .map_err(FileError::io("write", place.path))?;
            len -= n as u64;
        }
        Ok(())
    }

    /// The target is named from the folder that is unpacked into.
    fn hard_link(&self, entry: &Entry, place: &Place<'_>) -> Result<(), FileError> {
        let parts = below(&entry.link, self.base).map_err(|_| FileError::HardLink {
            name: shown(&lexical(self.base, &entry.link)),
            target: shown(&entry.link),
        })?;
        let target = joined(self.base, &parts.join(&b'/'));
        let missing = || FileError::LinkTarget {
            name: shown(place.path),
            target: shown(&target),
        };
        let (name, folders) = parts.split_last().ok_or_else(missing)?;
        let folder = joined(self.base, &folders.join(&b'/'));
        let folder = match self.root.at(&folder, OFlag::O_PATH | OFlag::O_DIRECTORY) {
            Ok(folder) => folder,
            Err(Errno::ENOENT | Errno::ENOTDIR) => return Err(missing()),
            Err(errno) => return Err(place.failed("link")(errno)),
        };
        let name = OsStr::from_bytes(name);
        match linkat(&folder, name, place.parent, place.name, AtFlags::empty()) {
            Ok(()) => Ok(()),
            Err(Errno::ENOENT) => Err(missing()),
            Err(errno) => Err(place.failed("link")(errno)),
        }
    }

    /// Sets owner, mode and times of what is there now; a folder's times come at the end.
    fn remember(&mut self, entry: &Entry, place: &Place<'_>) -> Result<(), FileError> {
        match entry.kind {
            // Done while it was open; a link has what its target has.
            Kind::File | Kind::HardLink => Ok(()),
            Kind::Symlink => {
                if let Some((uid, gid)) = self.owner(entry) {
                    let flags = AtFlags::AT_SYMLINK_NOFOLLOW;
                    fchownat(place.parent, place.name, uid, gid, flags)
                        .map_err(place.failed("lchown"))?;
                }
                let time = time_of(entry.mtime);
                let flags = UtimensatFlags::NoFollowSymlink;
                utimensat(place.parent, place.name, &time, &time, flags)
                    .map_err(place.failed("chtimes"))
            }
            Kind::Directory => {
                let fd = place
                    .open(OFlag::O_RDONLY | OFlag::O_DIRECTORY)
                    .map_err(place.failed("open"))?;
                self.set_metadata(entry, place, fd.as_fd())?;
                if self.times.len() < MAX_TIMES {
                    self.times.insert(place.path.to_vec(), entry.mtime);
                }
                Ok(())
            }
            Kind::Fifo | Kind::CharDevice | Kind::BlockDevice => {
                // Never opened for what it is.
                let fd = place.open(OFlag::O_PATH).map_err(place.failed("open"))?;
                let stat = fstat(&fd).map_err(place.failed("lstat"))?;
                if !matches!(
                    stat.st_mode & libc::S_IFMT,
                    libc::S_IFIFO | libc::S_IFCHR | libc::S_IFBLK
                ) {
                    // It is another's by now.
                    return Ok(());
                }
                self.set_metadata(entry, place, fd.as_fd())?;
                let time = time_of(entry.mtime);
                let path = by_descriptor(fd.as_fd());
                let flags = UtimensatFlags::FollowSymlink;
                utimensat(nix::fcntl::AT_FDCWD, &path, &time, &time, flags)
                    .map_err(place.failed("chtimes"))
            }
        }
    }

    fn owner(&self, entry: &Entry) -> Option<(Option<Uid>, Option<Gid>)> {
        let (uid, gid) = match self.rules.owner {
            Owner::Archive => (entry.uid, entry.gid),
            Owner::Fixed(uid, gid) => (uid, gid),
            Owner::Caller => return None,
        };
        Some((Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid))))
    }

    /// Owner, mode and attributes in this order: a change of owner clears setuid and capabilities.
    fn set_metadata(
        &self,
        entry: &Entry,
        place: &Place<'_>,
        fd: BorrowedFd<'_>,
    ) -> Result<(), FileError> {
        // The kernel goes from here to the object itself, which is no link.
        let path = by_descriptor(fd);
        if let Some((uid, gid)) = self.owner(entry) {
            match fchown(fd, uid, gid) {
                // An `O_PATH` descriptor is for names only.
                Err(Errno::EBADF) => {
                    fchownat(nix::fcntl::AT_FDCWD, &path, uid, gid, AtFlags::empty())
                }
                other => other,
            }
            .map_err(place.failed("lchown"))?;
        }
        let mode = std::fs::Permissions::from_mode(entry.mode);
        std::fs::set_permissions(&path, mode).map_err(FileError::io("chmod", place.path))?;
        for (name, value) in &entry.xattrs {
            if NOT_SET.iter().any(|prefix| name.starts_with(prefix)) {
                continue;
            }
            match set_xattr(path.as_os_str().as_bytes(), name, value) {
                // As Docker: not every file system and caller may set every attribute.
                Ok(()) | Err(Errno::ENOTSUP | Errno::EPERM) => {}
                Err(errno) => return Err(place.failed("setxattr")(errno)),
            }
        }
        Ok(())
    }

    /// A folder's time is a detail: one that has gone again is left out.
    fn set_times(&self) {
        for (path, mtime) in &self.times {
            let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW;
            if let Ok(folder) = self.root.at(path, flags) {
                let time = time_of(*mtime);
                let _ = futimens(&folder, &time, &time);
            }
        }
    }

    /// The folder of an entry, made with those above it if need be.
    fn parent(&self, folder: &[u8]) -> Result<OwnedFd, FileError> {
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY;
        let failed = |errno| FileError::file("open", folder)(errno);
        match self.root.at(folder, flags) {
            Err(Errno::ENOENT) => {}
            other => return other.map_err(failed),
        }
        let mut path = Vec::new();
        for part in folder
            .split(|byte| *byte == b'/')
            .filter(|part| !part.is_empty())
        {
            let above = self.root.at(&path, flags).map_err(failed)?;
            path = joined(&path, part);
            match self.root.at(&path, flags) {
                Err(Errno::ENOENT) => {}
                other => {
                    other.map_err(failed)?;
                    continue;
                }
            }
            let place = Place {
                path: &path,
                parent: above.as_fd(),
                name: OsStr::from_bytes(part),
            };
            match mkdirat(place.parent, place.name, Mode::from_bits_truncate(0o755)) {
                Ok(()) => {}
                Err(errno) => return Err(place.failed("mkdir")(errno)),
            }
            let made = place
                .open(OFlag::O_RDONLY | OFlag::O_DIRECTORY)
                .map_err(place.failed("open"))?;
            // Whatever this process's mask is.
            nix::sys::stat::fchmod(&made, Mode::from_bits_truncate(0o755))
                .map_err(place.failed("chmod"))?;
            if let Owner::Fixed(uid, gid) = self.rules.owner {
                fchown(&made, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))
                    .map_err(place.failed("lchown"))?;
            }
        }
        self.root.at(folder, flags).map_err(failed)
    }
}

/// The parts of a name below the folder that is unpacked into; empty for the folder itself. Absolute
/// names are taken from there, too.
fn below<'a>(name: &'a [u8], base: &[u8]) -> Result<Vec<&'a [u8]>, FileError> {
    if name.contains(&0) || name.len() >= libc::PATH_MAX as usize {
        return Err(FileError::Path(shown(name)));
    }
    let mut parts: Vec<&[u8]> = Vec::new();
    for part in name.split(|byte| *byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." => {
                // `/..` is `/`; `..` is above.
                if parts.pop().is_none() && !name.starts_with(b"/") {
                    return Err(FileError::Outside {
                        name: shown(&cleaned(name)),
                        base: shown(base),
                    });
                }
            }
            part => parts.push(part),
        }
    }
    Ok(parts)
}

/// A relative name with `.` and what `..` takes back left out (Go's `filepath.Clean`).
fn cleaned(name: &[u8]) -> Vec<u8> {
    let mut parts: Vec<&[u8]> = Vec::new();
    for part in name.split(|byte| *byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." if parts.last().is_some_and(|last| *last != b"..") => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    parts.join(&b'/')
}

/// `base` and `name` as one clean path (Go's `filepath.Join`).
fn lexical(base: &[u8], name: &[u8]) -> Vec<u8> {
    let text = joined(base, name);
    super::path::clean(&String::from_utf8_lossy(&text)).into_bytes()
}

/// A name of the archive as it is unpacked.
fn renamed(name: &[u8], old: &str, new: &str) -> Vec<u8> {
    match name.strip_prefix(old.as_bytes()) {
        Some(rest) if old.is_empty() || rest.is_empty() || rest.starts_with(b"/") => {
            [new.as_bytes(), rest].concat()
        }
        _ => name.to_vec(),
    }
}

fn set_xattr(path: &[u8], name: &[u8], value: &[u8]) -> Result<(), Errno> {
    let path = c_string(path)?;
    let name = c_string(name)?;
    // SAFETY: both strings end in NUL, and the value's pointer is valid for its length.
    let result = unsafe {
        libc::setxattr(
            path.as_ptr(),
            name.as_ptr(),
            value.as_ptr().cast(),
            value.len(),
            0,
        )
    };
    Errno::result(result).map(drop)
}

fn time_of((seconds, nanos): (i64, u32)) -> TimeSpec {
    TimeSpec::new(seconds, i64::from(nanos))
}
