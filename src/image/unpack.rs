//! Applying a layer's tar to a folder, in the form that overlayfs reads.
//!
//! Paths are resolved by the kernel with the layer's folder as root (`openat2`, `RESOLVE_IN_ROOT`), so
//! a symbolic link in the archive never leads out of it; the last component is never followed. Absolute
//! paths and paths with more `..` than depth are refused.
//!
//! Whiteouts (source: OCI image layer specification): `.wh.NAME` becomes a character device 0/0,
//! `.wh..wh..opq` the attribute `trusted.overlay.opaque=y` of its folder.

use std::collections::BTreeMap;
use std::ffi::{CString, OsStr};
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, OpenHow, ResolveFlag, openat, openat2};
use nix::sys::stat::{
    FchmodatFlags, FileStat, Mode, SFlag, UtimensatFlags, fchmodat, fstatat, makedev, mkdirat,
    mknodat, utimensat,
};
use nix::sys::time::TimeSpec;
use nix::unistd::{Gid, Uid, UnlinkatFlags, fchownat, geteuid, linkat, symlinkat, unlinkat};

use super::error::LayerError;
use super::tape::{Recorder, Taped};
use super::tarball::{Entry, Kind, TarReader};

const WHITEOUT: &[u8] = b".wh.";
const WHITEOUT_META: &[u8] = b".wh..wh.";
const OPAQUE: &[u8] = b".wh..wh..opq";
const OPAQUE_ATTRIBUTE: &str = "trusted.overlay.opaque";
/// Attributes of overlayfs itself: an archive does not decide where a folder's content comes from.
const OVERLAY: [&[u8]; 2] = [b"trusted.overlay.", b"user.overlay."];
const BUFFER: usize = 128 * 1024;

/// Unpacks all entries below `root`, an existing empty folder. `lower` are the folders of the layers
/// below, topmost first: a folder that the archive does not name gets owner and mode from there.
/// Returns the sum of the files' sizes in bytes.
pub(super) fn unpack<R: Read>(
    tar: &mut TarReader<Taped<R>>,
    root: &Path,
    lower: &[PathBuf],
) -> Result<u64, LayerError> {
    let mut target = Target {
        root: open_root(root)?,
        lower: lower
            .iter()
            .map(|path| open_root(path))
            .collect::<Result<_, _>>()?,
        parent: None,
        times: BTreeMap::new(),
        privileged: geteuid().is_root(),
        replaced: 0,
        buffer: vec![0; BUFFER],
    };
    let mut size: u64 = 0;
    while let Some(entry) = tar.next()? {
        // As Docker counts: a link has the length of its target.
        size = size.saturating_add(match entry.kind {
            Kind::File => entry.size,
            Kind::Symlink => entry.link.len() as u64,
            _ => 0,
        });
        target.apply(&entry, tar)?;
    }
    target.set_times();
    Ok(size)
}

struct Target {
    root: OwnedFd,
    lower: Vec<OwnedFd>,
    /// The folder of the last entry: most entries share it with the one before.
    parent: Option<(Vec<u8>, OwnedFd)>,
    /// Times of folders, set last because filling a folder changes them.
    times: BTreeMap<Vec<u8>, (i64, u32)>,
    privileged: bool,
    /// Objects that were replaced by a later entry.
    replaced: u64,
    buffer: Vec<u8>,
}

/// Where an entry goes.
struct Place<'a> {
    /// The entry's path, for messages.
    shown: &'a str,
    parent: BorrowedFd<'a>,
    name: &'a OsStr,
}

impl Place<'_> {
    fn failed(&self, action: &'static str) -> impl FnOnce(Errno) -> LayerError {
        let name = self.shown.to_owned();
        move |errno| LayerError::Apply {
            name,
            action,
            source: errno.into(),
        }
    }

    fn stat(&self) -> Result<Option<FileStat>, LayerError> {
        match fstatat(self.parent, self.name, AtFlags::AT_SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(stat)),
            Err(Errno::ENOENT) => Ok(None),
            Err(errno) => Err(self.failed("look at it")(errno)),
        }
    }

    /// A path through the folder's descriptor, for calls that have no `at` form.
    fn path(&self) -> PathBuf {
        Path::new(&format!("/proc/self/fd/{}", self.parent.as_raw_fd())).join(self.name)
    }

    fn set_xattr(&self, name: &[u8], value: &[u8]) -> Result<(), Errno> {
        let path = CString::new(self.path().as_os_str().as_bytes()).map_err(|_| Errno::EINVAL)?;
        let name = CString::new(name).map_err(|_| Errno::EINVAL)?;
        // SAFETY: both strings end in NUL, and the value's pointer is valid for its length.
        let result = unsafe {
            libc::lsetxattr(
                path.as_ptr(),
                name.as_ptr(),
                value.as_ptr().cast(),
                value.len(),
                0,
            )
        };
        Errno::result(result).map(drop)
    }

    fn make_opaque(&self) -> Result<(), LayerError> {
        self.set_xattr(OPAQUE_ATTRIBUTE.as_bytes(), b"y")
            .map_err(self.failed("mark it as opaque"))
    }
}

impl Target {
    fn apply<R: Read>(
        &mut self,
        entry: &Entry,
        tar: &mut TarReader<Taped<R>>,
    ) -> Result<(), LayerError> {
        let shown = String::from_utf8_lossy(&entry.path).into_owned();
        let components = components(&entry.path, &shown)?;
        let Some((name, folder)) = components.split_last() else {
            return self.apply_root(entry, &shown);
        };
        let parent = self.take_parent(folder, &shown)?;
        let place = Place {
            shown: &shown,
            parent: parent.as_fd(),
            name: OsStr::from_bytes(name),
        };
        let mut replaced = false;
        if name.starts_with(WHITEOUT) {
            apply_whiteout(&place, name)?;
        } else {
            replaced = self.create(entry, &place, tar)?;
            if entry.kind != Kind::HardLink {
                self.set_metadata(entry, &place)?;
            }
            let key = components.join(&b'/');
            if entry.kind == Kind::Directory {
                self.times.insert(key, entry.mtime);
            } else if replaced {
                self.times.remove(&key);
            }
        }
        // What was replaced may be on the way to the folder that is kept open.
        if !replaced {
            self.parent = Some((folder.join(&b'/'), parent));
        }
        Ok(())
    }

    /// The entry `./`: metadata of the root itself.
    fn apply_root(&mut self, entry: &Entry, shown: &str) -> Result<(), LayerError> {
        if entry.kind != Kind::Directory {
            return Err(LayerError::Path(shown.to_owned()));
        }
        let root = self.root.try_clone().map_err(|source| LayerError::Apply {
            name: shown.to_owned(),
            action: "open it",
            source,
        })?;
        let place = Place {
            shown,
            parent: root.as_fd(),
            name: OsStr::new("."),
        };
        self.set_metadata(entry, &place)?;
        self.times.insert(Vec::new(), entry.mtime);
        Ok(())
    }

    /// Makes the object; true if another one had to go for it.
    fn create<R: Read>(
        &mut self,
        entry: &Entry,
        place: &Place<'_>,
        tar: &mut TarReader<Taped<R>>,
    ) -> Result<bool, LayerError> {
        let mut replaced = false;
        let mut over_whiteout = false;
        if let Some(stat) = place.stat()? {
            if entry.kind == Kind::Directory && is_folder(&stat) {
                return Ok(false);
            }
            over_whiteout = is_whiteout(&stat);
            let kept = tar.inner_mut().tape.as_mut().map(Recorder::replaced);
            self.remove(place, &stat, kept.as_deref())?;
            replaced = true;
        }
        match entry.kind {
            Kind::File => self.write_file(entry, place, tar)?,
            Kind::HardLink => self.hard_link(entry, place)?,
            Kind::Symlink => symlinkat(OsStr::from_bytes(&entry.link), place.parent, place.name)
                .map_err(place.failed("make the symbolic link"))?,
            Kind::Directory => {
                mkdirat(place.parent, place.name, Mode::S_IRWXU)
                    .map_err(place.failed("make the folder"))?;
                if over_whiteout {
                    // What the whiteout hid stays hidden.
                    place.make_opaque()?;
                }
            }
            Kind::Fifo => mknodat(place.parent, place.name, SFlag::S_IFIFO, Mode::S_IRWXU, 0)
                .map_err(place.failed("make the fifo"))?,
            Kind::CharDevice | Kind::BlockDevice => {
                let kind = if entry.kind == Kind::CharDevice {
                    SFlag::S_IFCHR
                } else {
                    SFlag::S_IFBLK
                };
                let (major, minor) = entry.device;
                let device = makedev(u64::from(major), u64::from(minor));
                mknodat(place.parent, place.name, kind, Mode::S_IRWXU, device)
                    .map_err(place.failed("make the device"))?;
            }
        }
        Ok(replaced)
    }

    /// Takes an object away that another entry of the tar replaces. What has content goes to the folder
    /// `kept`, if there is one: the layer's tape needs it.
    fn remove(
        &mut self,
        place: &Place<'_>,
        stat: &FileStat,
        kept: Option<&Path>,
    ) -> Result<(), LayerError> {
        let file = stat.st_mode & libc::S_IFMT == libc::S_IFREG && stat.st_size > 0;
        if let Some(kept) = kept.filter(|_| file || is_folder(stat)) {
            let target = kept.join(self.replaced.to_string());
            self.replaced += 1;
            return std::fs::create_dir_all(kept)
                .and_then(|()| std::fs::rename(place.path(), target))
                .map_err(|source| LayerError::Apply {
                    name: place.shown.to_owned(),
                    action: "replace it",
                    source,
                });
        }
        if is_folder(stat) {
            // The standard library removes a tree without following links.
            std::fs::remove_dir_all(place.path()).map_err(|source| LayerError::Apply {
                name: place.shown.to_owned(),
                action: "replace the folder",
                source,
            })
        } else {
            unlinkat(place.parent, place.name, UnlinkatFlags::NoRemoveDir)
                .map_err(place.failed("replace it"))
        }
    }

    fn write_file<R: Read>(
        &mut self,
        entry: &Entry,
        place: &Place<'_>,
        tar: &mut TarReader<Taped<R>>,
    ) -> Result<(), LayerError> {
        let flags =
            OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let fd = openat(
            place.parent,
            place.name,
            flags,
            Mode::S_IRUSR | Mode::S_IWUSR,
        )
        .map_err(place.failed("make the file"))?;
        let mut file = File::from(fd);
        let failed = |action| {
            move |source| LayerError::Apply {
                name: place.shown.to_owned(),
                action,
                source,
            }
        };
        let whole = [(0, entry.size)];
        let pieces = entry.fragments.as_deref().unwrap_or(&whole);
        let stored: u64 = pieces.iter().map(|(_, len)| len).sum();
        if let Some(tape) = tar.inner_mut().tape.as_mut().filter(|_| stored > 0) {
            tape.begin_file(&entry.path, pieces, &file)
                .map_err(failed("record it"))?;
        }
        match &entry.fragments {
            None => copy(tar, &mut file, entry.size, &mut self.buffer, place)?,
            Some(fragments) => {
                for (offset, len) in fragments {
                    file.seek(SeekFrom::Start(*offset))
                        .map_err(failed("write the file"))?;
                    copy(tar, &mut file, *len, &mut self.buffer, place)?;
                }
                file.set_len(entry.size).map_err(failed("size the file"))?;
            }
        }
        if let Some(tape) = &mut tar.inner_mut().tape {
            tape.end_file();
        }
        Ok(())
    }

    fn hard_link(&mut self, entry: &Entry, place: &Place<'_>) -> Result<(), LayerError> {
        let target = String::from_utf8_lossy(&entry.link).into_owned();
        let escape = || LayerError::LinkEscape {
            name: place.shown.to_owned(),
            target: target.clone(),
        };
        let parts = components(&entry.link, place.shown).map_err(|_| escape())?;
        let (name, folder) = parts.split_last().ok_or_else(escape)?;
        let missing = || LayerError::LinkTarget {
            name: place.shown.to_owned(),
            target: target.clone(),
        };
        let folder = match resolve(self.root.as_fd(), &folder.join(&b'/')) {
            Ok(folder) => folder,
            Err(Errno::ENOENT | Errno::ENOTDIR) => return Err(missing()),
            Err(errno) => return Err(place.failed("find the hard link's target")(errno)),
        };
        match linkat(
            folder.as_fd(),
            OsStr::from_bytes(name),
            place.parent,
            place.name,
            AtFlags::empty(),
        ) {
            Ok(()) => Ok(()),
            Err(Errno::ENOENT) => Err(missing()),
            Err(errno) => Err(place.failed("make the hard link")(errno)),
        }
    }

    /// Owner, mode, attributes and times, in this order: a change of owner clears setuid and
    /// capabilities. A folder's times are set at the end.
    fn set_metadata(&self, entry: &Entry, place: &Place<'_>) -> Result<(), LayerError> {
        if self.privileged {
            fchownat(
                place.parent,
                place.name,
                Some(Uid::from_raw(entry.uid)),
                Some(Gid::from_raw(entry.gid)),
                AtFlags::AT_SYMLINK_NOFOLLOW,
            )
            .map_err(place.failed("set the owner"))?;
        }
        if entry.kind != Kind::Symlink {
            fchmodat(
                place.parent,
                place.name,
                Mode::from_bits_truncate(entry.mode),
                FchmodatFlags::FollowSymlink,
            )
            .map_err(place.failed("set the mode"))?;
        }
        for (name, value) in &entry.xattrs {
            if OVERLAY.iter().any(|prefix| name.starts_with(prefix)) {
                continue;
            }
            match place.set_xattr(name, value) {
                Ok(()) => {}
                // As Docker: not every file system and kind of file takes every attribute.
                Err(Errno::ENOTSUP) => {}
                Err(Errno::EPERM) if !self.privileged || entry.kind != Kind::File => {}
                Err(errno) => return Err(place.failed("set an extended attribute")(errno)),
            }
        }
        if entry.kind != Kind::Directory {
            set_time(place.parent, place.name, entry.mtime)
                .map_err(place.failed("set the time"))?;
        }
        Ok(())
    }

    /// A folder's time is a detail: one that is gone again, or was replaced, is left out.
    fn set_times(&self) {
        for (path, mtime) in &self.times {
            let path = if path.is_empty() { &b"."[..] } else { path };
            if let Ok(folder) = resolve(self.root.as_fd(), path) {
                let _ = set_time(folder.as_fd(), OsStr::new("."), *mtime);
            }
        }
    }

    /// The folder of an entry; made, with those above it, if the archive did not name it.
    fn take_parent(&mut self, folder: &[&[u8]], shown: &str) -> Result<OwnedFd, LayerError> {
        let path = folder.join(&b'/');
        if let Some((known, fd)) = self.parent.take()
            && known == path
        {
            return Ok(fd);
        }
        match resolve(self.root.as_fd(), &path) {
            Ok(fd) => Ok(fd),
            Err(Errno::ENOENT | Errno::ENOTDIR) => self.make_parents(folder, shown),
            Err(errno) => Err(apply_error(shown, "open the folder", errno)),
        }
    }

    fn make_parents(&self, folder: &[&[u8]], shown: &str) -> Result<OwnedFd, LayerError> {
        let mut current = resolve(self.root.as_fd(), b".")
            .map_err(|errno| apply_error(shown, "open the root", errno))?;
        for depth in 1..=folder.len() {
            let path = folder[..depth].join(&b'/');
            current = match resolve(self.root.as_fd(), &path) {
                Ok(fd) => fd,
                Err(Errno::ENOENT | Errno::ENOTDIR) => {
                    let place = Place {
                        shown,
                        parent: current.as_fd(),
                        name: OsStr::from_bytes(folder[depth - 1]),
                    };
                    self.make_parent(&place, &path)?;
                    resolve(self.root.as_fd(), &path)
                        .map_err(|errno| apply_error(shown, "open the folder", errno))?
                }
                Err(errno) => return Err(apply_error(shown, "open the folder", errno)),
            };
        }
        Ok(current)
    }

    fn make_parent(&self, place: &Place<'_>, path: &[u8]) -> Result<(), LayerError> {
        let over_whiteout = place.stat()?.is_some_and(|stat| is_whiteout(&stat));
        if over_whiteout {
            unlinkat(place.parent, place.name, UnlinkatFlags::NoRemoveDir)
                .map_err(place.failed("replace it"))?;
        }
        // Fails for a file, and for a link that leads nowhere.
        mkdirat(place.parent, place.name, Mode::S_IRWXU)
            .map_err(place.failed("make the folder above"))?;
        let (mode, owner) = match self.lower_folder(path) {
            Some(stat) if !over_whiteout => {
                (stat.st_mode & 0o7777, Some((stat.st_uid, stat.st_gid)))
            }
            _ => (0o755, None),
        };
        if self.privileged {
            let (uid, gid) = owner.unwrap_or((0, 0));
            fchownat(
                place.parent,
                place.name,
                Some(Uid::from_raw(uid)),
                Some(Gid::from_raw(gid)),
                AtFlags::AT_SYMLINK_NOFOLLOW,
            )
            .map_err(place.failed("set the owner"))?;
        }
        fchmodat(
            place.parent,
            place.name,
            Mode::from_bits_truncate(mode),
            FchmodatFlags::FollowSymlink,
        )
        .map_err(place.failed("set the mode"))?;
        if over_whiteout {
            place.make_opaque()?;
        }
        Ok(())
    }

    /// The topmost folder of that name in the layers below.
    fn lower_folder(&self, path: &[u8]) -> Option<FileStat> {
        for root in &self.lower {
            let how = OpenHow::new()
                .flags(OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC)
                .resolve(ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_SYMLINKS);
            match openat2(root.as_fd(), OsStr::from_bytes(path), how) {
                Ok(fd) => {
                    let stat = nix::sys::stat::fstat(fd.as_fd()).ok()?;
                    return is_folder(&stat).then_some(stat);
                }
                Err(Errno::ENOENT) => {}
                Err(_) => return None,
            }
        }
        None
    }
}

fn apply_whiteout(place: &Place<'_>, name: &[u8]) -> Result<(), LayerError> {
    if name == OPAQUE {
        let folder = Place {
            shown: place.shown,
            parent: place.parent,
            name: OsStr::new("."),
        };
        return folder.make_opaque();
    }
    // Bookkeeping of aufs, such as `.wh..wh.plnk`.
    if name.starts_with(WHITEOUT_META) {
        return Ok(());
    }
    let hidden = &name[WHITEOUT.len()..];
    if hidden.is_empty() || hidden == b"." || hidden == b".." {
        return Err(LayerError::Whiteout(place.shown.to_owned()));
    }
    let hidden = Place {
        shown: place.shown,
        parent: place.parent,
        name: OsStr::from_bytes(hidden),
    };
    match hidden.stat()? {
        // This layer has its own object of that name, which already hides the one below.
        Some(stat) if is_folder(&stat) => hidden.make_opaque(),
        Some(_) => Ok(()),
        None => mknodat(
            hidden.parent,
            hidden.name,
            SFlag::S_IFCHR,
            Mode::empty(),
            makedev(0, 0),
        )
        .map_err(hidden.failed("make the whiteout")),
    }
}

/// Copies exactly `len` bytes of the current entry.
fn copy<R: Read>(
    tar: &mut TarReader<Taped<R>>,
    file: &mut File,
    mut len: u64,
    buffer: &mut [u8],
    place: &Place<'_>,
) -> Result<(), LayerError> {
    use std::io::Write as _;
    while len > 0 {
        let want = buffer.len().min(usize::try_from(len).unwrap_or(usize::MAX));
        let n = match tar.read(&mut buffer[..want]) {
            Ok(n) => n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(LayerError::Tar(error.into())),
        };
        file.write_all(&buffer[..n])
            .map_err(|source| LayerError::Apply {
                name: place.shown.to_owned(),
                action: "write the file",
                source,
            })?;
        len -= n as u64;
    }
    Ok(())
}

/// The parts of a path below the root, `.` and `..` worked out; empty for the root itself.
fn components<'a>(path: &'a [u8], shown: &str) -> Result<Vec<&'a [u8]>, LayerError> {
    let bad = || LayerError::Path(shown.to_owned());
    if path.is_empty() || path.contains(&0) || path.len() >= libc::PATH_MAX as usize {
        return Err(bad());
    }
    let mut parts: Vec<&[u8]> = Vec::new();
    for part in path.split(|byte| *byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." => {
                parts
                    .pop()
                    .ok_or_else(|| LayerError::Escape(shown.to_owned()))?;
            }
            part => parts.push(part),
        }
    }
    // `/` alone is another way to write `./`.
    if path.starts_with(b"/") && !parts.is_empty() {
        return Err(LayerError::Absolute(shown.to_owned()));
    }
    Ok(parts)
}

/// Opens a folder below `root`, which is also the root for links on the way.
fn resolve(root: BorrowedFd<'_>, path: &[u8]) -> Result<OwnedFd, Errno> {
    let path = if path.is_empty() { &b"."[..] } else { path };
    let how = OpenHow::new()
        .flags(OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC)
        .resolve(ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS);
    openat2(root, OsStr::from_bytes(path), how)
}

fn open_root(path: &Path) -> Result<OwnedFd, LayerError> {
    nix::fcntl::open(
        path,
        OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC,
        Mode::empty(),
    )
    .map_err(|errno| LayerError::Io {
        action: "open",
        path: path.to_path_buf(),
        source: errno.into(),
    })
}

fn set_time(folder: BorrowedFd<'_>, name: &OsStr, mtime: (i64, u32)) -> Result<(), Errno> {
    let time = TimeSpec::new(mtime.0, i64::from(mtime.1));
    utimensat(folder, name, &time, &time, UtimensatFlags::NoFollowSymlink)
}

fn apply_error(shown: &str, action: &'static str, errno: Errno) -> LayerError {
    LayerError::Apply {
        name: shown.to_owned(),
        action,
        source: errno.into(),
    }
}

fn is_folder(stat: &FileStat) -> bool {
    stat.st_mode & libc::S_IFMT == libc::S_IFDIR
}

/// How overlayfs marks a removed name.
fn is_whiteout(stat: &FileStat) -> bool {
    stat.st_mode & libc::S_IFMT == libc::S_IFCHR && stat.st_rdev == 0
}
