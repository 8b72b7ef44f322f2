//! What a driver that sends records elsewhere is made of. One file a driver gives three things: its checked options
//! ([`SinkSettings`]), an [`Encoder`] from records to bytes, and a [`Connection`] that takes batches and says what was accepted.
//!
//! Everything else is the delivery engine's (`src/delivery/`), once for all drivers: reading the log, cursors, batching, retry and
//! back-off, sharing of connections, bounds, figures. A driver never sleeps, retries, spawns a thread or keeps a queue of its own.

mod batch;
mod connection;

pub use batch::Batch;
pub use connection::{
    Connection, Destination, Failure, FailureKind, Limits, Opener, Rejected, Trace,
};

use std::fmt;
use std::path::PathBuf;

use crate::attrs::{ContainerFacts, TagError};

/// Stream of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Stream {
    /// file descriptor 1
    Stdout,
    /// file descriptor 2
    Stderr,
}

impl Stream {
    /// Docker's word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
        }
    }
    /// Syslog severity, as Docker has it: 6 for stdout, 3 for stderr.
    #[must_use]
    pub fn severity(self) -> u8 {
        match self {
            Self::Stdout => 6,
            Self::Stderr => 3,
        }
    }
}

/// A piece of a line longer than 16 KiB, or of one that had no end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Partial<'a> {
    /// the same 64 hex digits on all pieces of a line; another line of the container has others
    pub id: &'a str,
    /// from 1
    pub ordinal: u32,
    /// whether the piece ends its line; a line that the end of the stream cut has no last piece, as in Docker
    pub last: bool,
}

/// One record to be sent.
#[derive(Clone, Copy, Debug)]
pub struct Record<'a> {
    /// with `seq`: the record's place in its container's log; never used for other content
    pub epoch: u64,
    /// sequence number within the epoch
    pub seq: u64,
    /// nanoseconds since 1970
    pub time_ns: i64,
    /// where it was written
    pub stream: Stream,
    /// any bytes, without the newline
    pub line: &'a [u8],
    /// absent for a whole line
    pub partial: Option<Partial<'a>>,
}

/// What became of a record in [`Encoder::encode`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Encoded {
    /// It was appended.
    Yes,
    /// The driver does not send such records (Docker's syslog: empty lines). Nothing was appended.
    Skipped,
    /// It cannot be sent at all, for this reason; it is counted as rejected. Nothing was appended.
    Refused(String),
}

/// Makes bytes of one container's records. Keeps what is the same for all of them ready; allocates nothing per record.
pub trait Encoder: Send {
    /// Appends a record to `out`, framed as it is to be on the wire. One call appends at most one record, which
    /// [`Batch`] then remembers the end of.
    fn encode(&mut self, record: &Record<'_>, out: &mut Vec<u8>) -> Encoded;

    /// What the connection must know of a batch beside its bytes, for example fluentd's tag. Batches of different values are never
    /// mixed: `None` if records of all containers with the same destination may share a batch.
    fn scope(&self) -> Option<&str> {
        None
    }
}

/// Where files and names outside the container's own settings are found.
#[derive(Clone, Debug, Default)]
pub struct Environment {
    /// folder of named secrets (`secret:NAME`), `<data-root>/secrets`
    pub secrets_dir: PathBuf,
}

/// A file that the options name cannot be used: 400 at create, a state of the sink later.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct PrepareError(pub String);

/// Checked options of one sink of one container.
pub trait SinkSettings: fmt::Debug + Send + Sync {
    /// Where the records go. Reads what the options name (CA, certificate, key, secrets) but touches no network.
    ///
    /// # Errors
    /// A file that cannot be read or is not what it should be; the text names option and path.
    fn destination(&self, environment: &Environment) -> Result<Destination, PrepareError>;

    /// An encoder for a container, with labels, variables and tag as they are now.
    ///
    /// # Errors
    /// The tag cannot be made for this container.
    fn encoder(&self, container: &ContainerFacts<'_>) -> Result<Box<dyn Encoder>, TagError>;

    /// What works, but not as the user may expect.
    fn warnings(&self) -> Vec<String> {
        Vec::new()
    }
}
