//! What a reader is asked for, and what it says about its progress.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use crate::grep::Grep;

/// How a log is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LogFormat {
    /// Docker's JSON lines, in files that are renamed at each rotation.
    JsonFile,
    /// Numbered segments of checksummed batches (`docs/design/local-format.md`).
    Local,
}

/// Where a container's log lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogFiles {
    pub format: LogFormat,
    /// json-file: the current file `F`, usually `<data-root>/containers/<id>/<id>-json.log`.
    /// Rotated files are `F.1`, `F.2`, and so on, or `F.1.gz`; higher is older.
    /// local: the folder of the segments, `<data-root>/containers/<id>/local-logs`.
    pub path: PathBuf,
    /// Folder of the side files (`index/<file number>`).
    pub index_dir: PathBuf,
    /// Folder of the files past the log's retention that somebody still needs.
    pub spool_dir: PathBuf,
    /// Docker's `max-file`: the number of files including the current one. Of a stopped container
    /// only `F.1` to `F.(max_file - 1)` are read, as in Docker. Segments are all read.
    pub max_file: u32,
}

/// Place of a record. Records are ordered by it: first by epoch, then by sequence number. Its text
/// is `<epoch>.<seq>`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cursor {
    pub epoch: u64,
    pub seq: u64,
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.epoch, self.seq)
    }
}

/// A text that is no cursor.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "invalid cursor {0:?}: it is <epoch>.<seq>, two decimal numbers, as in a record's \"Cursor\""
)]
pub struct BadCursor(pub String);

impl FromStr for Cursor {
    type Err = BadCursor;

    fn from_str(text: &str) -> Result<Self, BadCursor> {
        let number = |part: &str| {
            // `parse` would take a sign.
            let digits = !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
            digits.then(|| part.parse().ok()).flatten()
        };
        text.split_once('.')
            .and_then(|(epoch, seq)| {
                Some(Self {
                    epoch: number(epoch)?,
                    seq: number(seq)?,
                })
            })
            .ok_or_else(|| BadCursor(text.to_owned()))
    }
}

/// One run of a container: from a start to the end that followed it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Run {
    /// The container's run of that number, from 1.
    Number(u32),
    /// So many before the newest run that has left anything in the log; 0 is that one. A caller
    /// that knows the number of the current run had better say [`Run::Number`].
    Back(u32),
}

/// Which records are wanted: the parameters of `GET /containers/{id}/logs` and ours.
#[derive(Clone, Debug, PartialEq, Eq)]
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
    /// Only records behind this one. It need not exist (any more): what is missing is told.
    pub after: Option<Cursor>,
    /// Only records that match.
    pub grep: Option<Grep>,
    /// Only records of this run.
    pub run: Option<Run>,
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
            after: None,
            grep: None,
            run: None,
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
    /// The record's attributes before each record; in NDJSON its `Attrs`.
    pub details: bool,
    /// Consecutive records of one stream may share a frame of up to 64 KiB. Only for clients that
    /// do not take a frame for a record.
    pub coalesce: bool,
    /// One JSON object a record and a line, whatever `multiplexed` and `timestamps` say. See
    /// `docs/design/reading.md`.
    pub ndjson: bool,
    /// Items of [`packed`](crate::packed), whatever the others say.
    pub packed: bool,
}

/// Where a reader is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Position {
    /// Number of the oldest file that the reader still needs.
    pub file: u64,
    /// The last record that was passed, put out or not; `None` before the first, or if the log's
    /// numbers are not known.
    pub cursor: Option<Cursor>,
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
    /// Number of the oldest file in the spool; `oldest_file_no` (or 0) if it is empty.
    pub spool_oldest: u64,
    pub epoch: u64,
    /// Sequence number of the next record.
    pub next_seq: u64,
    /// Records that were given up and that no file says yet.
    pub gap: Option<PendingGap>,
}

/// Records that capture has given up (the `gap_*` of the state page).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PendingGap {
    pub records: u64,
    pub bytes: u64,
    /// Times of the first and of the last loss, nanoseconds since 1970.
    pub from: u64,
    pub until: u64,
    /// Why: an errno.
    pub cause: u32,
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

impl ReadStats {
    /// Counts what is missing. What a log says of itself may be any number.
    pub(crate) fn miss(&mut self, records: u64, bytes: u64) {
        self.gaps += 1;
        self.missed_records = self.missed_records.saturating_add(records);
        self.missed_bytes = self.missed_bytes.saturating_add(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cursors_as_text() {
        let cursor = Cursor { epoch: 3, seq: 77 };
        assert_eq!(cursor.to_string(), "3.77");
        assert_eq!("3.77".parse(), Ok(cursor));
        for bad in [
            "",
            "3",
            "3.",
            ".7",
            "3.-7",
            "+3.7",
            "3.7.1",
            "3.99999999999999999999",
            "a.b",
        ] {
            assert_eq!(
                bad.parse::<Cursor>(),
                Err(BadCursor(bad.to_owned())),
                "{bad}"
            );
        }
    }
}
