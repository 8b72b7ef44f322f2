//! What the side file of a json-file log says of places between two records.

use std::collections::VecDeque;

use taffrail_log_core::side::Mark;

use crate::gap::{self, Gap};
use crate::index::Index;
use crate::reader::Reader;
use crate::time::Moment;

/// Most gaps that are kept of one file; what is beyond is known by the numbers alone.
const KEPT: usize = 4096;

/// Marks of the current file that lie ahead.
#[derive(Debug, Default)]
pub(crate) struct Marks {
    index: Option<Index>,
    number: u64,
    /// Slots of the side file that were looked at.
    seen: u64,
    ahead: VecDeque<Mark>,
    /// Where the wanted run ends in this file.
    end: Option<u64>,
}

fn place(mark: &Mark) -> u64 {
    match *mark {
        Mark::Gap { offset, .. } | Mark::Run { offset, .. } => offset,
    }
}

impl Marks {
    /// Number of the first record that is missing at `offset`.
    pub(crate) fn gap_at(&self, offset: u64) -> Option<u64> {
        match self.ahead.front() {
            Some(Mark::Gap {
                offset: at, seq, ..
            }) if *at == offset => Some(*seq),
            _ => None,
        }
    }

    /// Offset of the next place of interest.
    #[inline]
    pub(crate) fn next(&self) -> u64 {
        let mark = self.ahead.front().map_or(u64::MAX, place);
        mark.min(self.end.unwrap_or(u64::MAX))
    }
}

impl Reader {
    /// The current file is another one, or is read from another place.
    pub(crate) fn load_marks(&mut self) {
        let Some(current) = &self.current else {
            self.marks = Marks::default();
            return;
        };
        let end = self
            .end_at
            .and_then(|(number, offset)| match number.cmp(&current.number) {
                std::cmp::Ordering::Less => Some(0),
                std::cmp::Ordering::Equal => Some(offset),
                std::cmp::Ordering::Greater => None,
            });
        let from = current.pos;
        self.marks = Marks {
            index: self.files.index(current.number),
            number: current.number,
            end,
            ..Marks::default()
        };
        self.more_marks(from);
    }

    /// The current file has grown: takes what its side file has got meanwhile.
    pub(crate) fn more_marks(&mut self, from: u64) {
        if self.files.is_local() {
            return;
        }
        if self.marks.index.is_none() {
            self.marks.index = self.files.index(self.marks.number);
        }
        let Some(index) = &self.marks.index else {
            return;
        };
        if index.slots() == self.marks.seen {
            return;
        }
        let (marks, seen) = index.marks(self.marks.seen);
        self.marks.seen = seen;
        let wanted = |mark: &Mark| match mark {
            Mark::Gap { offset, .. } => *offset >= from,
            Mark::Run { .. } => false,
        };
        let room = KEPT - self.marks.ahead.len().min(KEPT);
        self.marks
            .ahead
            .extend(marks.into_iter().filter(wanted).take(room));
    }

    /// The reader stands at `offset`: tells the gaps up to there, or finds that the run ends.
    pub(crate) fn pass_marks(&mut self, offset: u64, out: &mut Vec<u8>) {
        if self.marks.end.is_some_and(|end| offset >= end) {
            self.finished = true;
            return;
        }
        while let Some(mark) = self.marks.ahead.front()
            && place(mark) <= offset
        {
            if let Some(Mark::Gap {
                seq,
                count,
                bytes,
                time,
                until,
                cause,
                ..
            }) = self.marks.ahead.pop_front()
            {
                let after = seq.saturating_add(count);
                let known = self.seq.is_some_and(|(_, next)| next >= after) && count > 0;
                if let Some((_, next)) = &mut self.seq {
                    *next = after.max(*next);
                }
                if known || self.floor.is_some_and(|floor| floor.seq >= after) {
                    // Told when it happened, or not asked for.
                    continue;
                }
                let moment = |ns: u64| Moment::from_ns(i64::try_from(ns).unwrap_or(i64::MAX));
                if self.output.is_before(moment(until)) || self.output.is_past(moment(time)) {
                    continue;
                }
                self.stats.miss(count, bytes);
                let gap = Gap {
                    records: Some(count),
                    bytes: Some(bytes),
                    from: Some(moment(time)),
                    to: Some(moment(until)),
                    cause: gap::capture_cause(cause).into(),
                };
                self.output.notice(&gap, out);
            }
        }
    }
}
