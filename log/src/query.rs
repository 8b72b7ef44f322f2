//! What a reader is asked for, and what it says about its progress.

use std::path::PathBuf;

/// Where a container's json-file log lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogFiles {
    /// The current file `F`, usually `<data-root>/containers/<id>/<id>-json.log`. Rotated files are
    /// `F.1`, `F.2`, and so on; higher is older.
    pub path: PathBuf,
    /// Folder of the side files (`index/<file number>`).
    pub index_dir: PathBuf,
    /// Docker's `max-file`: the number of files including the current one. Of a stopped container
    /// only `F.1` to `F.(max_file - 1)` are read, as in Docker.
    pub max_file: u32,
}

/// Which records are wanted: the parameters of `GET /containers/{id}/logs`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Query {
    /// Nanoseconds since 1970, inclusive: records are skipped until the first that is not older.
    pub since: Option<i64>,
    /// Nanoseconds since 1970, inclusive: the first newer record ends the read.
    pub until: Option<i64>,
    /// The last so many records of both streams, counted before any other choice; `None` is all.
    pub tail: Option<u64>,
    pub stdout: bool,
    pub stderr: bool,
    /// Go on with what is written later. Without a live source there is nothing to follow.
    pub follow: bool,
}

impl Query {
    /// Everything of both streams, no follow.
    #[must_use]
    pub const fn all() -> Self {
        Self {
            since: None,
            until: None,
            tail: None,
            stdout: true,
            stderr: true,
            follow: false,
        }
    }
}

/// How records are put out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Format {
    /// Eight bytes before each payload (stream, three zeros, length big endian); not with a TTY.
    pub multiplexed: bool,
    /// An RFC 3339 time with nine digits and `Z` before each record.
    pub timestamps: bool,
    /// The record's attributes before each record.
    pub details: bool,
    /// Consecutive records of one stream may share a frame of up to 64 KiB. Only for clients that
    /// do not take a frame for a record.
    pub coalesce: bool,
}

/// How far a live container's log is complete. See `docs/design/state-page.md`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Committed {
    /// Number of the commit; only rises.
    pub commit: u64,
    /// A rotation is under way: which file has which name is undefined.
    pub rotating: bool,
    /// The log is complete: nothing will be added.
    pub done: bool,
    /// Number of the current file, from 1, never reused.
    pub file_no: u64,
    /// Bytes of the current file that count. What lies behind them is a batch in flight.
    pub offset: u64,
    /// Number of the oldest file that still exists.
    pub oldest_file_no: u64,
    pub epoch: u64,
    /// Sequence number of the next record.
    pub next_seq: u64,
}

/// A live container's commit state.
pub trait CommitSource: Send + Sync {
    /// A consistent copy; `None` once there is no live container, which ends a follow.
    fn committed(&self) -> Option<Committed>;
}

/// Outcome of one [`Reader::read`](crate::Reader::read).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Call again at once. Usually bytes were appended; after a long stretch without a wanted
    /// record there may be none.
    Data,
    /// Nothing was appended, and nothing will be until the commit number is greater than `commit`.
    CaughtUp { commit: u64 },
    /// Nothing was appended and nothing will ever be.
    End,
}

/// Counters of one reader; they only go up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReadStats {
    /// Records put out.
    pub records: u64,
    /// Pieces that are not a record and were skipped.
    pub damaged: u64,
    /// Records known to be missing.
    pub missed_records: u64,
    /// Bytes known to be missing, where that could be learned.
    pub missed_bytes: u64,
    /// Missing stretches of any kind, also those of unknown size.
    pub gaps: u64,
    /// How often the file was found cut from outside while it was followed.
    pub truncations: u64,
}
