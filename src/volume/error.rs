//! What can go wrong with a volume, in Docker's words.

use std::io;
use std::path::PathBuf;

use super::fill::CopyError;
use crate::errors::{ApiError, ErrorKind, chain};

/// An operation on a volume that failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum VolumeError {
    #[error("get {0}: no such volume")]
    NotFound(String),
    #[error("remove {name}: volume is in use - [{}]", users.join(", "))]
    InUse { name: String, users: Vec<String> },
    /// Something is mounted in it that no container of ours has there.
    #[error("remove {name}: {} is mounted in it, unmount it first", path.display())]
    MountInside { name: String, path: PathBuf },
    #[error("remove {name}: {source}")]
    Remove { name: String, source: io::Error },
    #[error("create {name}: {problem}")]
    Create { name: String, problem: Problem },
    #[error("error while mounting volume '{}': {problem}", path.display())]
    Mount { path: PathBuf, problem: Problem },
    #[error("volume {name} cannot be filled from the image")]
    Fill { name: String, source: CopyError },
    #[error("{action} {}: {source}", path.display())]
    File {
        action: &'static str,
        path: PathBuf,
        source: io::Error,
    },
    #[error("no random numbers: {0}")]
    Random(String),
}

/// What is wrong with a name or with options.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Problem {
    #[error("error looking up volume plugin {0}: plugin \"{0}\" not found")]
    NoPlugin(String),
    #[error("volume name is too short, names should be at least two alphanumeric characters")]
    ShortName,
    #[error(
        "\"{0}\" includes invalid characters for a local volume name, only \
         \"[a-zA-Z0-9][a-zA-Z0-9_.-]\" are allowed. If you intended to pass a host directory, use \
         absolute path"
    )]
    Name(String),
    #[error("invalid option: \"{0}\"")]
    Option(String),
    #[error("missing required option: \"{0}\"")]
    Missing(&'static str),
    #[error("invalid size: '{0}'")]
    Size(String),
    #[error("quota size requested but no quota support")]
    NoQuota,
    #[error("missing device in volume options")]
    NoDevice,
    #[error("error resolving passed in network volume address: lookup {host}: {source}")]
    Address { host: String, source: io::Error },
    /// `what` is the call: device, target, flags, data.
    #[error("failed to mount local volume: mount {what}: {}", desc(source))]
    Mount { what: String, source: io::Error },
    #[error("mkdir {}: {}", path.display(), desc(source))]
    Folder { path: PathBuf, source: io::Error },
    /// A folder of that name is there and is no volume: it was left alone when the daemon started.
    #[error("{} is there already and is no volume, move it away", .0.display())]
    Occupied(PathBuf),
}

/// The system's error as Go writes it: without the number, in lower case.
fn desc(error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(code) => nix::errno::Errno::from_raw(code).desc().to_lowercase(),
        None => error.to_string(),
    }
}

impl Problem {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::NoPlugin(_) => ErrorKind::NotFound,
            Self::ShortName
            | Self::Name(_)
            | Self::Option(_)
            | Self::Missing(_)
            | Self::Size(_)
            | Self::NoQuota
            | Self::NoDevice => ErrorKind::Invalid,
            Self::Occupied(_) => ErrorKind::Conflict,
            Self::Address { .. } | Self::Mount { .. } | Self::Folder { .. } => ErrorKind::System,
        }
    }
}

impl VolumeError {
    pub(super) fn file(
        action: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::File {
            action,
            path,
            source,
        }
    }
}

impl From<VolumeError> for ApiError {
    fn from(error: VolumeError) -> Self {
        let kind = match &error {
            VolumeError::NotFound(_) => ErrorKind::NotFound,
            VolumeError::InUse { .. } | VolumeError::MountInside { .. } => ErrorKind::Conflict,
            VolumeError::Create { problem, .. } => problem.kind(),
            VolumeError::Mount { .. }
            | VolumeError::Remove { .. }
            | VolumeError::Fill { .. }
            | VolumeError::File { .. }
            | VolumeError::Random(_) => ErrorKind::System,
        };
        Self::new(kind, chain(&error))
    }
}
