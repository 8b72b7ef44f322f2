//! The way to a receiver.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::Batch;

/// Why a connection cannot be had or is of no use any more. The engine closes it, waits, and begins anew from the cursor.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub struct Failure {
    /// which kind
    pub kind: FailureKind,
    /// what happened, for `inspect`; names the address, never a secret
    pub text: String,
}

/// Kinds of failures, as `inspect` and metrics show them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FailureKind {
    /// name not resolved, refused, reset, closed
    Unreachable,
    /// no answer in time
    Timeout,
    /// certificate, name, protocol version
    Tls,
    /// the receiver does not accept token, key or password: nothing will be until somebody acts; tried again slowly
    Denied,
    /// the receiver asked to wait (429, 503), at least so long if it said how long
    Busy(Option<Duration>),
    /// something that the protocol does not allow
    Protocol,
}

impl Failure {
    /// A failure with its text.
    pub fn new(kind: FailureKind, text: impl Into<String>) -> Self {
        Self {
            kind,
            text: text.into(),
        }
    }
}

/// A record that the receiver does not want, now or later. It is counted, named once, and passed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejected {
    /// which of the records sent on this connection, from 0
    pub record: u64,
    /// the receiver's words
    pub reason: String,
}

/// An open connection. It blocks; each has a thread of its own while it is in use. The kernel's time-outs are set so that no call blocks
/// for longer than [`Limits::write_timeout`] without any progress.
pub trait Connection: Send {
    /// Hands a batch over. May take `batch.bytes` away. Returns when it was written (not: accepted), or put where it goes out without
    /// further calls. A receiver that takes nothing for `write_timeout` is a `Timeout`, except where a new connection could lose more than
    /// waiting (plain TCP): then it returns only on an error of the connection or when `cancelled` says so.
    ///
    /// # Errors
    /// The connection is of no use any more. Part of the batch may have been sent.
    fn send(&mut self, batch: &mut Batch, cancelled: &dyn Fn() -> bool) -> Result<(), Failure>;

    /// How many records, counted from the connection's begin in the order in which they were sent, are settled: accepted (or rejected, with an
    /// entry in `rejected`). Waits up to `wait` for the number to be more than at the last call.
    ///
    /// # Errors
    /// The connection is of no use any more.
    fn settled(&mut self, wait: Duration, rejected: &mut Vec<Rejected>) -> Result<u64, Failure>;

    /// After a failure, or at the end: the last number of [`Self::settled`], by what is known now. Asks nobody and does not wait.
    fn close(self: Box<Self>) -> u64;
}

/// How much, how long.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// most bytes of a batch; a single larger record is one of its own
    pub batch_bytes: usize,
    /// most records of a batch
    pub batch_records: usize,
    /// how long records may be waited for to fill a batch
    pub linger: Duration,
    /// most batches that are not settled
    pub window: usize,
    /// for connecting, TLS included
    pub connect_timeout: Duration,
    /// without progress of a write
    pub write_timeout: Duration,
    /// for a batch to be acknowledged
    pub ack_timeout: Duration,
    /// first and longest pause before a new attempt
    pub retry: (Duration, Duration),
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            batch_bytes: 512 * 1024,
            batch_records: 8192,
            linger: Duration::from_millis(10),
            window: 4,
            connect_timeout: Duration::from_secs(10),
            write_timeout: Duration::from_secs(30),
            ack_timeout: Duration::from_secs(30),
            retry: (Duration::from_millis(200), Duration::from_secs(30)),
        }
    }
}

/// Hears what happens while a connection is made: `taffrail log-test` prints it. Lines such as `resolved logs.example.org: 10.0.0.7, 10.0.0.8`,
/// `connected to 10.0.0.7:6514`, `TLS 1.3, certificate of "logs.example.org"`; never a secret.
pub type Trace<'a> = &'a mut dyn FnMut(String);

/// Opens connections to one destination. Called on the destination's own thread; names are resolved at each call.
pub trait Opener: Send + Sync {
    /// Connects and does what the protocol wants first (handshake, authentication). Secrets given as `@file` are read anew.
    ///
    /// # Errors
    /// Why it did not work.
    fn open(&self, trace: Trace<'_>) -> Result<Box<dyn Connection>, Failure>;
}

/// Where records go. Sinks with equal keys share one connection.
#[derive(Clone)]
pub struct Destination {
    /// driver, address, and everything else that makes one connection differ from another (TLS files and their contents, credentials, options
    /// of the protocol) as a text; may hold secrets, so it is never shown
    pub key: String,
    /// for people, without secrets: `tcp+tls://logs.example.org:6514`
    pub address: String,
    /// opens the connection
    pub opener: Arc<dyn Opener>,
    /// its limits
    pub limits: Limits,
}

impl fmt::Debug for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Destination")
            .field("address", &self.address)
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}
