//! Why a command failed, and what the shell gets to see of it.

use std::io;

use crate::client::{ClientError, HostError};

use super::flags::{FlagError, errno};
use super::format::FormatError;

/// A failed command; the text goes to standard error.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CliError {
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error(transparent)]
    Host(#[from] HostError),
    #[error(transparent)]
    Flag(#[from] FlagError),
    #[error(transparent)]
    Format(#[from] FormatError),
    #[error("{what}: {}", errno(source))]
    Io { what: String, source: io::Error },
    #[error("the input device is not a TTY")]
    NotATty,
    /// Docker's words for an exec that was left by its detach keys.
    #[error("read escape sequence")]
    Escaped,
    #[error("conflicting options: {0}")]
    Conflict(&'static str),
    #[error("container ID file found, make sure the other container isn't running or delete {0}")]
    CidFileExists(String),
    #[error("{0}")]
    NotRunning(&'static str),
    #[error("you cannot start and attach multiple containers at once")]
    AttachSeveral,
    #[error("you must provide one or more flags when using this command")]
    NoFlags,
    #[error("container prune has been cancelled")]
    PruneCancelled,
    /// Paths that do not go together, or a disk's refusal.
    #[error("{0}")]
    Copy(String),
    #[error("requested load from stdin, but stdin is empty")]
    LoadFromTerminal,
    #[error("cowardly refusing to save to a terminal. Use the -o flag or redirect")]
    SaveToTerminal,
    #[error("{0} has been cancelled")]
    Cancelled(&'static str),
    #[error("Error: failed to start containers: {0}")]
    NotStarted(String),
    /// A daemon's message about an image that it could not take in.
    #[error("{0}")]
    Image(String),
    #[error("error waiting for container: {0}")]
    Wait(String),
    #[error("{0:?} is not a valid reference for an image")]
    Reference(String),
    #[error("tag can't be used with --all-tags/-a")]
    AllTags,
    #[error(
        "unknown type: {0:?}: must be one of \"container\", \"image\", \"network\", \"volume\""
    )]
    Kind(String),
    #[error("{0} is for the cluster volumes of a swarm, which there are none of; leave it out")]
    ClusterVolume(&'static str),
    #[error("{flag:?} requires API version {needs}, but the daemon API version is {has}")]
    TooOld {
        flag: &'static str,
        needs: &'static str,
        has: String,
    },
    /// An address of `network create` that belongs to no subnet.
    #[error("{0}")]
    Ipam(String),
    #[error("invalid key/value pair format in driver options")]
    DriverOption,
    #[error("the daemon's answer has no id")]
    NoId,
    /// A failure of `run` or `create`, which names the command and has a status of its own.
    #[error("taffrail: {source}\n\nRun 'taffrail {command} --help' for more information")]
    Of {
        command: &'static str,
        status: u8,
        source: Box<CliError>,
    },
}

impl CliError {
    /// For `map_err` on file operations: the error with its path.
    pub(crate) fn io(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let what = what.into();
        move |source| Self::Io { what, source }
    }

    /// Whether a flag's value could not be read: then the usage is shown.
    pub(crate) fn is_usage(&self) -> bool {
        match self {
            Self::Of { source, .. } => source.is_usage(),
            Self::Flag(e) => matches!(e, FlagError::Argument { .. }),
            _ => false,
        }
    }

    /// The error itself, without the command that it happened in.
    pub(crate) fn inner(&self) -> &Self {
        match self {
            Self::Of { source, .. } => source.inner(),
            other => other,
        }
    }

    /// This error as one of `command`, with the status that Docker gives it there.
    pub(crate) fn of(self, command: &'static str, status: u8) -> Self {
        Self::Of {
            command,
            status,
            source: Box::new(self),
        }
    }

    /// Exit status of a command that fails with this.
    pub(crate) fn status(&self) -> u8 {
        match self {
            Self::Of { status, .. } => *status,
            Self::Flag(e) => e.status(),
            _ => 1,
        }
    }
}
