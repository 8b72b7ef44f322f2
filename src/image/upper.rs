//! What a container has written: its upper folder, beside the layers below.
//!
//! The container may run, and make links of its folders meanwhile: every path is opened from the top of
//! the upper folder, links not followed. Layers do not change.
//!
//! The daemon and the runtime put files there themselves, which Docker has in a layer of its own below
//! the container's (source: Moby `daemon/initlayer`): these are no changes.

use std::ffi::OsStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;

use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2};
use nix::sys::stat::{FileStat, fstat};

use super::error::ImageError;
use crate::files::{read_folder, xattr};

const OPAQUE: &[u8] = b"trusted.overlay.opaque";
const CAPABILITY: &[u8] = b"security.capability";
/// Folders that every container has.
const OWN_FOLDERS: [&[u8]; 6] = [b"dev", b"dev/pts", b"dev/shm", b"etc", b"proc", b"sys"];
/// Files that every container has, empty but for a link.
const OWN_FILES: [&[u8]; 5] = [
    b".dockerenv",
    b"dev/console",
    b"etc/hostname",
    b"etc/hosts",
    b"etc/resolv.conf",
];
const MTAB: &[u8] = b"etc/mtab";

/// How a path differs from the image (docs: Engine API `ContainerChanges`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ChangeKind {
    Modified = 0,
    Added = 1,
    Deleted = 2,
}

/// An object of the upper folder.
pub(super) struct Object {
    /// Below the top.
    pub(super) path: Vec<u8>,
    pub(super) fd: OwnedFd,
    pub(super) stat: FileStat,
}

impl Object {
    pub(super) fn is_folder(&self) -> bool {
        kind(&self.stat) == libc::S_IFDIR
    }

    /// It hides an object of the same name below.
    pub(super) fn is_whiteout(&self) -> bool {
        is_whiteout(&self.stat)
    }

    /// A folder that hides what its namesakes below hold.
    pub(super) fn is_opaque(&self) -> bool {
        xattr(self.fd.as_fd(), OPAQUE).is_some_and(|value| value == b"y")
    }
}

/// Takes what is found; a folder is entered, its content follows, and it is left.
pub(super) trait Visitor {
    /// Whether a folder's content is wanted.
    fn enter(&mut self, object: &Object) -> Result<bool, ImageError>;
    fn leave(&mut self);
}

/// Goes through an upper folder in the order of names, each folder before its content.
pub(super) fn walk(upper: &OwnedFd, visitor: &mut dyn Visitor) -> Result<(), ImageError> {
    // Names that are still to come, the next one last, and the folder that they are in.
    let mut levels = vec![(Vec::new(), names(upper.as_fd())?)];
    while let Some((folder, names_left)) = levels.last_mut() {
        let Some(name) = names_left.pop() else {
            if levels.len() > 1 {
                visitor.leave();
            }
            levels.pop();
            continue;
        };
        let path = joined(folder, &name);
        let Some((fd, stat)) = look(upper.as_fd(), &path) else {
            continue;
        };
        let object = Object { path, fd, stat };
        if !visitor.enter(&object)? || !object.is_folder() {
            continue;
        }
        let content = names(object.fd.as_fd())?;
        levels.push((object.path, content));
    }
    Ok(())
}

/// An object below a folder, links not followed; `None` if there is none any more.
fn look(top: BorrowedFd<'_>, path: &[u8]) -> Option<(OwnedFd, FileStat)> {
    let how = OpenHow::new()
        .flags(OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC)
        .resolve(ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_SYMLINKS);
    let fd = openat2(top, OsStr::from_bytes(path), how).ok()?;
    let stat = fstat(&fd).ok()?;
    Some((fd, stat))
}

fn names(folder: BorrowedFd<'_>) -> Result<Vec<Vec<u8>>, ImageError> {
    match read_folder(folder) {
        Ok(names) => Ok(names),
        // Removed, or replaced, meanwhile.
        Err(Errno::ENOENT | Errno::ENOTDIR) => Ok(Vec::new()),
        Err(errno) => Err(ImageError::Upper(errno.desc())),
    }
}

/// The layers below, topmost first.
pub(super) struct Lower(pub(super) Vec<OwnedFd>);

/// What a path is in the layers.
enum Below {
    Nothing,
    /// Not a folder.
    Other(FileStat, Option<Vec<u8>>),
    /// A folder, and the layers whose folders of that name are merged.
    Folder(FileStat, Vec<usize>),
}

impl Lower {
    fn all(&self) -> Vec<usize> {
        (0..self.0.len()).collect()
    }

    /// Looks in the layers that are seen where the path is.
    fn find(&self, path: &[u8], seen: &[usize]) -> Below {
        let mut folder: Option<FileStat> = None;
        let mut merged = Vec::new();
        for layer in seen {
            let Some((fd, stat)) = look(self.0[*layer].as_fd(), path) else {
                continue;
            };
            if is_whiteout(&stat) {
                break;
            }
            if kind(&stat) != libc::S_IFDIR {
                if folder.is_none() {
                    return Below::Other(stat, xattr(fd.as_fd(), CAPABILITY));
                }
                break;
            }
            folder.get_or_insert(stat);
            merged.push(*layer);
            if xattr(fd.as_fd(), OPAQUE).is_some_and(|value| value == b"y") {
                break;
            }
        }
        match folder {
            Some(stat) => Below::Folder(stat, merged),
            None => Below::Nothing,
        }
    }

    /// A folder that the layers have with the same owner and mode, or that they have not.
    pub(super) fn is_as_below(&self, object: &Object) -> bool {
        match self.find(&object.path, &self.all()) {
            Below::Nothing => true,
            Below::Folder(stat, _) => !differs(&stat, &object.stat),
            Below::Other(..) => false,
        }
    }

    /// Names in a folder of the layers, without those that one of them hides.
    fn names(&self, path: &[u8], merged: &[usize]) -> Vec<Vec<u8>> {
        let mut found = std::collections::BTreeMap::new();
        for layer in merged {
            let Some((fd, _)) = look(self.0[*layer].as_fd(), path) else {
                continue;
            };
            for name in read_folder(fd.as_fd()).unwrap_or_default() {
                let whiteout = look(fd.as_fd(), &name).is_none_or(|(_, stat)| is_whiteout(&stat));
                found.entry(name).or_insert(!whiteout);
            }
        }
        found
            .into_iter()
            .filter_map(|(name, there)| there.then_some(name))
            .collect()
    }
}

/// A folder on the way down.
struct Level {
    path: Vec<u8>,
    /// Layers that are seen in it.
    seen: Vec<usize>,
    /// It is in the list.
    listed: bool,
    /// Names below that an opaque folder hides unless it has them itself.
    hidden: std::collections::BTreeSet<Vec<u8>>,
}

/// Compares an upper folder with the layers below.
pub(super) struct Compare<'a> {
    lower: &'a Lower,
    levels: Vec<Level>,
    changes: Vec<(Vec<u8>, ChangeKind)>,
}

impl<'a> Compare<'a> {
    pub(super) fn new(lower: &'a Lower) -> Self {
        Self {
            lower,
            levels: Vec::new(),
            changes: Vec::new(),
        }
    }

    /// Absolute paths with what became of them, in order.
    pub(super) fn finish(self) -> Vec<(Vec<u8>, ChangeKind)> {
        self.changes
    }

    /// Adds a change, and the folders that it is in.
    fn add(&mut self, path: &[u8], kind: ChangeKind) {
        // Nothing was added since the topmost of them was entered.
        for level in self.levels.iter_mut().filter(|level| !level.listed) {
            level.listed = true;
            let entry = (absolute(&level.path), ChangeKind::Modified);
            self.changes.push(entry);
        }
        self.changes.push((absolute(path), kind));
    }
}

impl Visitor for Compare<'_> {
    fn enter(&mut self, object: &Object) -> Result<bool, ImageError> {
        let all = self.lower.all();
        let seen = self.levels.last().map_or(&all, |level| &level.seen).clone();
        if let Some(level) = self.levels.last_mut() {
            let name = object.path.rsplit(|byte| *byte == b'/').next();
            level.hidden.remove(name.unwrap_or_default());
        }
        let below = self.lower.find(&object.path, &seen);
        if object.is_whiteout() {
            if !matches!(below, Below::Nothing) {
                self.add(&object.path, ChangeKind::Deleted);
            }
            return Ok(false);
        }
        let mut listed = false;
        let (mut merged, mut hidden) = (Vec::new(), std::collections::BTreeSet::new());
        match &below {
            Below::Nothing if is_own(object) => {
                if !object.is_folder() {
                    return Ok(false);
                }
            }
            Below::Nothing => {
                self.add(&object.path, ChangeKind::Added);
                listed = true;
            }
            Below::Other(stat, capability) => {
                if differs(stat, &object.stat)
                    || *capability != xattr(object.fd.as_fd(), CAPABILITY)
                {
                    self.add(&object.path, ChangeKind::Modified);
                    listed = true;
                }
            }
            Below::Folder(stat, layers) => {
                if differs(stat, &object.stat) {
                    self.add(&object.path, ChangeKind::Modified);
                    listed = true;
                }
                merged = layers.clone();
                if object.is_folder() && object.is_opaque() {
                    hidden = self
                        .lower
                        .names(&object.path, &merged)
                        .into_iter()
                        .collect();
                }
            }
        }
        if object.is_folder() {
            self.levels.push(Level {
                path: object.path.clone(),
                seen: merged,
                listed,
                hidden,
            });
        }
        Ok(true)
    }

    fn leave(&mut self) {
        let Some(level) = self.levels.last_mut() else {
            return;
        };
        let (path, hidden) = (level.path.clone(), std::mem::take(&mut level.hidden));
        for name in hidden {
            self.add(&joined(&path, &name), ChangeKind::Deleted);
        }
        self.levels.pop();
    }
}

/// Whether the daemon or the runtime has put it there.
pub(super) fn is_own(object: &Object) -> bool {
    let path = object.path.as_slice();
    if object.is_folder() {
        return OWN_FOLDERS.contains(&path);
    }
    let empty = kind(&object.stat) == libc::S_IFREG && object.stat.st_size == 0;
    (OWN_FILES.contains(&path) && empty)
        || (path == MTAB
            && nix::fcntl::readlinkat(object.fd.as_fd(), "").is_ok_and(|to| to == "/proc/mounts"))
}

/// As Docker compares: a folder's size and times say nothing.
fn differs(old: &FileStat, new: &FileStat) -> bool {
    let same_time = old.st_mtime == new.st_mtime
        && (old.st_mtime_nsec == new.st_mtime_nsec
            || old.st_mtime_nsec == 0
            || new.st_mtime_nsec == 0);
    old.st_mode != new.st_mode
        || old.st_uid != new.st_uid
        || old.st_gid != new.st_gid
        || old.st_rdev != new.st_rdev
        || (kind(new) != libc::S_IFDIR && (!same_time || old.st_size != new.st_size))
}

fn kind(stat: &FileStat) -> u32 {
    stat.st_mode & libc::S_IFMT
}

fn is_whiteout(stat: &FileStat) -> bool {
    kind(stat) == libc::S_IFCHR && stat.st_rdev == 0
}

fn joined(folder: &[u8], name: &[u8]) -> Vec<u8> {
    match folder {
        b"" => name.to_vec(),
        folder => [folder, b"/", name].concat(),
    }
}

fn absolute(path: &[u8]) -> Vec<u8> {
    [b"/", path].concat()
}
