//! What can go wrong with an archive of files. Where Docker has a text it is Docker's.

use std::io;

use nix::errno::Errno;

use crate::errors::{ApiError, ErrorKind};
use crate::image::TarError;

#[derive(Debug, thiserror::Error)]
pub(crate) enum FileError {
    #[error("lstat {0}: no such file or directory")]
    NotFound(String),
    #[error("lstat {0}: not a directory")]
    NotDirectory(String),
    #[error("too many links on the way to {0}")]
    Links(String),
    #[error("extraction point is not a directory")]
    ExtractPoint,
    #[error("{0} is marked read-only")]
    ReadOnly(&'static str),
    /// The archive cannot be read, or asks for what is not allowed.
    #[error(transparent)]
    Tar(#[from] TarError),
    #[error("{name:?} is outside of {base:?}")]
    Outside { name: String, base: String },
    #[error("invalid hardlink {name:?} -> {target:?}")]
    HardLink { name: String, target: String },
    #[error("link {target} {name}: no such file or directory")]
    LinkTarget { name: String, target: String },
    #[error("cannot overwrite directory {path:?} with non-directory {base:?}")]
    DirectoryByOther { path: String, base: String },
    #[error("cannot overwrite non-directory {path:?} with directory {base:?}")]
    OtherByDirectory { path: String, base: String },
    #[error("tar entry {0:?}: invalid path")]
    Path(String),
    /// A system call on a file of the tree.
    #[error("{action} {path}: {}", lower(.source.desc()))]
    File {
        action: &'static str,
        path: String,
        source: Errno,
    },
    /// Reading or writing what a file holds, or the archive.
    #[error("{action} {path}: {source}")]
    Io {
        action: &'static str,
        path: String,
        source: io::Error,
    },
    /// Whoever takes the archive is gone.
    #[error("cannot write the archive: {0}")]
    Write(#[source] io::Error),
}

impl FileError {
    pub(super) fn file(action: &'static str, path: &[u8]) -> impl FnOnce(Errno) -> Self {
        let path = shown(path);
        move |source| Self::File {
            action,
            path,
            source,
        }
    }

    pub(super) fn io(action: &'static str, path: &[u8]) -> impl FnOnce(io::Error) -> Self {
        let path = shown(path);
        move |source| Self::Io {
            action,
            path,
            source,
        }
    }

    /// The class that decides the API's status.
    fn kind(&self) -> ErrorKind {
        match self {
            Self::NotFound(_) => ErrorKind::NotFound,
            Self::ReadOnly(_) => ErrorKind::Forbidden,
            Self::Write(_) => ErrorKind::System,
            Self::Tar(TarError::Read(error)) => of_disk(error.raw_os_error()),
            Self::File { source, .. } => of_disk(Some(*source as i32)),
            Self::Io { source, .. } => of_disk(source.raw_os_error()),
            _ => ErrorKind::Invalid,
        }
    }

    /// Whether it is the archive that is at fault, or what it would do to the files.
    pub(crate) fn in_archive(&self) -> bool {
        !matches!(
            self,
            Self::NotFound(_) | Self::NotDirectory(_) | Self::ExtractPoint | Self::ReadOnly(_)
        )
    }
}

/// A disk that is full or broken is the host's; what else a file system refuses, the request asked for.
fn of_disk(errno: Option<i32>) -> ErrorKind {
    match errno {
        Some(
            libc::ENOSPC | libc::EDQUOT | libc::EIO | libc::EMFILE | libc::ENFILE | libc::ENOMEM,
        ) => ErrorKind::System,
        _ => ErrorKind::Invalid,
    }
}

impl From<FileError> for ApiError {
    fn from(error: FileError) -> Self {
        Self::new(error.kind(), error.to_string())
    }
}

/// As Go writes the kernel's errors.
fn lower(text: &str) -> String {
    text.chars()
        .take(1)
        .flat_map(char::to_lowercase)
        .chain(text.chars().skip(1))
        .collect()
}

pub(super) fn shown(path: &[u8]) -> String {
    String::from_utf8_lossy(path).into_owned()
}
