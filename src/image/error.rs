//! What can go wrong in the image store. The texts that clients compare are Docker's.

use std::io;
use std::path::{Path, PathBuf};

use crate::errors::ErrorKind;

/// Error of an operation on the image store. Nothing was registered or changed when one is returned,
/// except where a variant says so.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum ImageError {
    #[error("No such image: {0}")]
    NoSuchImage(String),
    /// `detail` is empty or begins with `: `.
    #[error("invalid reference format{detail}")]
    Reference { detail: String },
    #[error("refusing to create an ambiguous tag using digest algorithm as name")]
    AmbiguousTag,
    /// A name with a tag that means no image; `save` says it in these words.
    #[error("reference does not exist")]
    NoSuchReference,
    /// A name with a digest, where only a tag can be given.
    #[error("{0} digest reference")]
    DigestReference(&'static str),
    #[error(
        "conflict: unable to remove repository reference \"{reference}\" (must force) - container {container} is using its referenced image {image}"
    )]
    ReferenceInUse {
        reference: String,
        container: String,
        image: String,
    },
    #[error(
        "conflict: unable to delete {image} (must be forced) - image is referenced in multiple repositories"
    )]
    ManyRepositories { image: String },
    #[error(
        "conflict: unable to delete {image} (cannot be forced) - image is being used by running container {container}"
    )]
    UsedByRunning { image: String, container: String },
    #[error(
        "conflict: unable to delete {image} (must be forced) - image is being used by stopped container {container}"
    )]
    UsedByStopped { image: String, container: String },
    /// The archive or an image within it.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    /// A layer's or a root file system's tar.
    #[error("{what}: {source}")]
    Layer { what: String, source: LayerError },
    /// One of the `changes` of an import.
    #[error(transparent)]
    Change(#[from] ChangeError),
    /// A name that would not stay below the store's folder.
    #[error("invalid container id \"{0}\"")]
    ContainerId(String),
    #[error("no root file system prepared for container {0}")]
    NoRootfs(String),
    /// Removed between resolving an image and using it, or deleted by hand.
    #[error("layer {layer} of image {image} is missing")]
    LayerMissing { image: String, layer: String },
    #[error(
        "layer {layer} was stored by an older version, without what save needs: remove its images and load them again"
    )]
    NoTape { layer: String },
    #[error("cannot read layer {layer}: {source}")]
    Play { layer: String, source: io::Error },
    #[error("{layer} has changed on disk since it was loaded: remove the image and load it again")]
    Changed { layer: String },
    /// The client is gone, mostly.
    #[error("cannot write the archive: {source}")]
    Write { source: io::Error },
    #[error("{path}: version {found} is newer than {known}, the newest known one")]
    StateVersion {
        path: PathBuf,
        found: u64,
        known: u64,
    },
    #[error("{path} is damaged")]
    Damaged {
        path: PathBuf,
        source: serde_json::Error,
    },
    #[error("cannot mount the root file system of container {container} at {path}: {source}")]
    Mount {
        container: String,
        path: PathBuf,
        source: io::Error,
    },
    #[error("cannot read what the container has written: {0}")]
    Upper(&'static str),
    #[error("cannot write the layer: {0}")]
    Pack(#[source] crate::files::FileError),
    #[error("cannot {action} {path}: {source}")]
    Io {
        action: &'static str,
        path: PathBuf,
        source: io::Error,
    },
}

impl ImageError {
    /// Class that decides the API's status.
    pub(crate) fn kind(&self) -> ErrorKind {
        match self {
            Self::NoSuchImage(_) | Self::NoSuchReference => ErrorKind::NotFound,
            Self::Reference { .. }
            | Self::AmbiguousTag
            | Self::DigestReference(_)
            | Self::Change(_)
            | Self::ContainerId(_) => ErrorKind::Invalid,
            Self::ReferenceInUse { .. }
            | Self::ManyRepositories { .. }
            | Self::UsedByRunning { .. }
            | Self::UsedByStopped { .. } => ErrorKind::Conflict,
            Self::Archive(error) => error.kind(),
            Self::Layer { source, .. } => source.kind(),
            Self::NoRootfs(_)
            | Self::LayerMissing { .. }
            | Self::NoTape { .. }
            | Self::Play { .. }
            | Self::Changed { .. }
            | Self::Write { .. }
            | Self::StateVersion { .. }
            | Self::Damaged { .. }
            | Self::Mount { .. }
            | Self::Upper(_)
            | Self::Pack(_)
            | Self::Io { .. } => ErrorKind::System,
        }
    }

    /// For `map_err`: a failed operation of the host's file system.
    pub(super) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_path_buf();
        move |source| Self::Io {
            action,
            path,
            source,
        }
    }
}

/// What is wrong with an image archive as a whole.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum ArchiveError {
    #[error("not an image archive: neither manifest.json nor index.json is in it")]
    Unknown,
    /// In Docker's words, where a program of its own unpacks.
    #[error("Error processing tar file(exit status 1): {0}")]
    Tar(#[from] TarError),
    #[error("image archive: {0} is missing")]
    Missing(String),
    #[error("image archive: {name} is larger than {limit} bytes")]
    TooLarge { name: String, limit: u64 },
    #[error("image archive: more than {0} files")]
    TooManyFiles(usize),
    #[error("image archive: {name} is not valid: {source}")]
    Json {
        name: String,
        source: serde_json::Error,
    },
    #[error("image archive: {name} has digest sha256:{found}")]
    Digest { name: String, found: String },
    #[error("image archive: {name} has {found} bytes, its descriptor says {expected}")]
    Size {
        name: String,
        found: u64,
        expected: u64,
    },
    #[error("image archive: unsupported digest \"{0}\"")]
    DigestFormat(String),
    #[error("image archive: {name}: unsupported media type \"{media_type}\"")]
    MediaType { name: String, media_type: String },
    #[error("image archive: no image for {platform} in {name}")]
    Platform { name: String, platform: String },
    #[error("image archive: indexes are nested more than {0} deep")]
    Nesting(usize),
    #[error("image {config}: {layers} layers but {diff_ids} diff_ids")]
    LayerCount {
        config: String,
        layers: usize,
        diff_ids: usize,
    },
    #[error("image {config}: max depth exceeded: {layers} layers, at most {limit}")]
    Depth {
        config: String,
        layers: usize,
        limit: usize,
    },
    #[error("image {config}: cannot be used on linux: its operating system is \"{os}\"")]
    OperatingSystem { config: String, os: String },
    #[error("image archive: invalid name \"{name}\": {source}")]
    Name {
        name: String,
        source: Box<ImageError>,
    },
    #[error("image archive: {0} is a chain of links that ends nowhere")]
    Links(String),
}

impl ArchiveError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Tar(error) => error.kind(),
            _ => ErrorKind::Invalid,
        }
    }
}

/// A tar stream that cannot be read on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum TarError {
    /// Go's name for an archive that is cut short.
    #[error("unexpected EOF")]
    Truncated,
    #[error("the tar archive has no end marker: it is truncated or empty")]
    NoEnd,
    #[error("corrupt tar header at offset {0}")]
    Header(u64),
    #[error("corrupt extended tar header at offset {0}")]
    Extended(u64),
    #[error("extended tar header at offset {offset} is larger than {limit} bytes")]
    ExtendedSize { offset: u64, limit: u64 },
    #[error("corrupt map of a sparse file at offset {0}")]
    Sparse(u64),
    #[error("tar entry {name}: unsupported type {kind:?}")]
    Kind { name: String, kind: char },
    #[error("more than {0} tar entries")]
    Entries(u64),
    /// The stream below, or its compression.
    #[error("cannot read the tar archive: {0}")]
    Read(#[source] io::Error),
}

impl TarError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Read(error) => match error.kind() {
                io::ErrorKind::InvalidData
                | io::ErrorKind::InvalidInput
                | io::ErrorKind::UnexpectedEof
                | io::ErrorKind::Other => ErrorKind::Invalid,
                _ => ErrorKind::System,
            },
            _ => ErrorKind::Invalid,
        }
    }
}

impl From<io::Error> for TarError {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::UnexpectedEof {
            Self::Truncated
        } else {
            Self::Read(error)
        }
    }
}

/// A layer that is refused or could not be unpacked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum LayerError {
    #[error(transparent)]
    Tar(#[from] TarError),
    #[error("layer digest is {found}, expected {expected}")]
    Digest { found: String, expected: String },
    #[error("tar entry {0}: absolute path refused")]
    Absolute(String),
    #[error("tar entry {0}: path leaves the root")]
    Escape(String),
    #[error("tar entry {name}: hard link to {target} leaves the root")]
    LinkEscape { name: String, target: String },
    #[error("tar entry {name}: target {target} of the hard link does not exist")]
    LinkTarget { name: String, target: String },
    #[error("tar entry {0}: invalid path")]
    Path(String),
    #[error("tar entry {0}: invalid whiteout")]
    Whiteout(String),
    #[error("tar entry {name}: cannot {action}: {source}")]
    Apply {
        name: String,
        action: &'static str,
        source: io::Error,
    },
    #[error("cannot {action} {path}: {source}")]
    Io {
        action: &'static str,
        path: PathBuf,
        source: io::Error,
    },
}

impl LayerError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Tar(error) => error.kind(),
            Self::Io { .. } => ErrorKind::System,
            // What the archive asks for and a file system cannot have is the archive's fault; a full
            // disk is not.
            Self::Apply { source, .. } => match source.raw_os_error() {
                Some(libc::ENOSPC | libc::EDQUOT | libc::EIO | libc::EROFS | libc::EMFILE) => {
                    ErrorKind::System
                }
                _ => ErrorKind::Invalid,
            },
            _ => ErrorKind::Invalid,
        }
    }
}

/// A Dockerfile instruction in `changes` that cannot be applied.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum ChangeError {
    #[error("{0} is not a valid change command")]
    Unknown(String),
    #[error("{0} is not a valid change command")]
    NotAllowed(String),
    #[error("{0} requires at least one argument")]
    NoArgument(&'static str),
    #[error("{0} must have two arguments")]
    TwoArguments(&'static str),
    #[error("file with no instructions")]
    NoInstructions,
    #[error("HEALTHCHECK NONE takes no arguments")]
    NoneTakesNothing,
    #[error("Missing command after HEALTHCHECK CMD")]
    NoHealthCommand,
    #[error("Unknown type \"{0}\" in HEALTHCHECK (try CMD)")]
    HealthKind(String),
    #[error(
        "{instruction}: invalid --{flag}={value}; allowed are --interval, --timeout and --start-period with a duration of 1 ms or more, and --retries with a number from 1"
    )]
    Flag {
        instruction: &'static str,
        flag: String,
        value: String,
    },
    #[error("{0} requires exactly one argument")]
    OneArgument(&'static str),
    #[error(
        "syntax error in {instruction}: can't find = in \"{word}\", must be of the form: name=value"
    )]
    KeyValue {
        instruction: &'static str,
        word: String,
    },
    #[error("{0} names can not be blank")]
    BlankName(&'static str),
    #[error("invalid containerPort: {0}")]
    Port(String),
    #[error("Invalid signal: {0}")]
    Signal(String),
    #[error("{0}: unterminated quote")]
    Quote(&'static str),
}
