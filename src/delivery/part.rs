//! What is under way: for each stretch of a batch, whose records they are and where they stand in the
//! log.

use std::sync::Arc;

use taffrail_log::Cursor;

use super::sink::Sink;

/// Records of one sink in a batch, in order.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) sink: Arc<Sink>,
    /// Records in the batch.
    pub(super) sent: u64,
    /// Where runs of consecutive numbers begin: the record of the part, from 0, and its place.
    runs: Vec<(u64, Cursor)>,
    /// The last place that was read, sent or not.
    pub(super) end: Option<Cursor>,
    /// Number of the log file that the first of them lies in.
    pub(super) file: u64,
    /// Bytes of the lines that were sent.
    pub(super) bytes: u64,
    /// Sent records that say what is missing.
    pub(super) notices: u64,
    /// Records that the driver does not send.
    pub(super) skipped: u64,
    /// Records that cannot be sent, are too old, or are missing.
    pub(super) dropped: u64,
    /// Bytes of those, as far as known.
    pub(super) dropped_bytes: u64,
    /// Time of the first record, nanoseconds since 1970.
    pub(super) first_time: Option<i64>,
    /// How many of the sent ones were settled.
    pub(super) done: u64,
}

impl Part {
    pub(super) fn new(sink: Arc<Sink>, file: u64) -> Self {
        Self {
            sink,
            sent: 0,
            runs: Vec::new(),
            end: None,
            file,
            bytes: 0,
            notices: 0,
            skipped: 0,
            dropped: 0,
            dropped_bytes: 0,
            first_time: None,
            done: 0,
        }
    }

    /// A record was read whose place is `cursor`; `sent`: it is in the batch.
    #[inline]
    pub(super) fn push(&mut self, cursor: Option<Cursor>, sent: bool) {
        if let Some(cursor) = cursor {
            if sent {
                let next = self.runs.last().map(|(from, first)| Cursor {
                    epoch: first.epoch,
                    seq: first.seq + (self.sent - from),
                });
                if next != Some(cursor) {
                    self.runs.push((self.sent, cursor));
                }
            }
            self.end = Some(cursor);
        }
        self.sent += u64::from(sent);
    }

    /// Place of the `n`th sent record, from 0.
    pub(super) fn place(&self, n: u64) -> Option<Cursor> {
        let at = self.runs.partition_point(|(from, _)| *from <= n);
        let (from, first) = self.runs.get(at.checked_sub(1)?)?;
        Some(Cursor {
            epoch: first.epoch,
            seq: first.seq + (n - from),
        })
    }

    /// Nothing of it is to be told to anybody.
    pub(super) fn is_empty(&self) -> bool {
        self.sent == 0 && self.end.is_none() && self.dropped == 0
    }
}
