//! What comes after the last byte that may be read: the next file, more of this one, or nothing
//! for now.

use taffrail_log_core::local::{ALIGN, Batch};

use crate::error::ReadError;
use crate::files::Opened;
use crate::gap::{self, Gap};
use crate::query::{Committed, Step};
use crate::reader::{Current, Next, Reader};
use crate::scan::{self, Prober};
use crate::segment::{self, Head, Walk};
use crate::time::Moment;

impl Reader {
    /// Everything that may be read was read: finds out whether there is more, and where.
    pub(crate) fn advance(&mut self, out: &mut Vec<u8>) -> Result<Next, ReadError> {
        if !self.follow {
            return self.advance_snapshot(out);
        }
        let Some(committed) = self.files.committed() else {
            return self.source_gone();
        };
        let Some(current) = &mut self.current else {
            if self.next > committed.file_no {
                if committed.done {
                    self.anchor(&committed, out);
                }
                return Ok(Next::Step(wait_or_end(&committed)));
            }
            return self.enter(None, Some(&committed), out);
        };
        if committed.file_no > current.number {
            // It is closed, and all of it is valid.
            let size = match size_of(current) {
                Ok(size) => size,
                Err(e) => return Err(self.read_error(e)),
            };
            if current.limit < size {
                current.limit = size;
                return Ok(Next::More);
            }
            if self.pad_cut_batch() {
                return Ok(Next::More);
            }
            self.drop_torn();
            self.leave();
            return Ok(Next::More);
        }
        if committed.offset < current.pos {
            self.truncated(&committed, out)?;
            return Ok(Next::More);
        }
        if committed.offset > current.limit {
            current.limit = committed.offset;
            let from = current.pos;
            self.more_marks(from);
            return Ok(Next::More);
        }
        if current.pos == current.limit {
            self.anchor(&committed, out);
        }
        // Else the file is shorter than what was committed: cut from outside, and the writer has
        // not noticed yet. Its next commit tells where it goes on.
        Ok(Next::Step(wait_or_end(&committed)))
    }

    fn advance_snapshot(&mut self, out: &mut Vec<u8>) -> Result<Next, ReadError> {
        if let Some(current) = &self.current {
            let number = current.number;
            if self.pad_cut_batch() {
                return Ok(Next::More);
            }
            self.drop_torn();
            // The last file stays open: the container's next run may go on in it.
            if number < self.last.0 {
                self.leave();
            }
            self.next = number + 1;
        }
        if self.next > self.last.0 {
            if std::mem::take(&mut self.skipped) {
                self.missing(None, None, gap::ROTATED, out);
            }
            return Ok(Next::Step(Step::End));
        }
        let limit = (self.next == self.last.0).then_some(self.last.1);
        self.enter(limit, None, out)
    }

    /// All that is committed was read, so the number of the next line is known. If a lower one
    /// was expected, lines are missing.
    fn anchor(&mut self, committed: &Committed, out: &mut Vec<u8>) {
        let skipped = std::mem::take(&mut self.skipped);
        let cause = if skipped { gap::ROTATED } else { gap::LOST };
        match self.seq {
            Some((epoch, seq)) if epoch == committed.epoch => {
                if let Some(records @ 1..) = committed.next_seq.checked_sub(seq) {
                    if committed.gap.is_some_and(|g| g.records == records) && !skipped {
                        self.pending_gap(committed, out);
                    } else {
                        self.missing(Some(records), None, cause, out);
                    }
                }
            }
            _ if skipped => self.missing(None, None, cause, out),
            _ => {}
        }
        self.seq = Some((committed.epoch, committed.next_seq));
        self.caught_up = true;
    }

    /// Records were lost that no file says yet.
    fn pending_gap(&mut self, committed: &Committed, out: &mut Vec<u8>) {
        let Some(lost) = committed.gap else {
            return;
        };
        self.stats.miss(lost.records, lost.bytes);
        let moment = |ns: u64| Moment::from_ns(i64::try_from(ns).unwrap_or(i64::MAX));
        let gap = Gap {
            records: Some(lost.records),
            bytes: Some(lost.bytes),
            from: Some(moment(lost.from)),
            to: Some(moment(lost.until)),
            cause: gap::capture_cause(lost.cause).into(),
        };
        self.output.notice(&gap, out);
    }

    /// As [`Reader::truncated`]: goes to the first batch that was not read.
    fn truncated_segment(&mut self, committed: &Committed) -> Result<(), ReadError> {
        let expected = self.seq;
        let Some(current) = &mut self.current else {
            return Ok(());
        };
        let limit = committed.offset;
        let number = current.number;
        let found = match segment::head(&current.file, limit) {
            Ok(Head::Salt(salt, _)) => {
                let mut walk = Walk::new(&current.file, salt, limit);
                let reached = |b: &Batch| {
                    let end = segment::end_of(b);
                    expected.is_none_or(|seq| (end.epoch, end.seq) > seq)
                };
                walk.search(ALIGN as u64, None, |_| false, reached)
            }
            Ok(_) => Ok(limit),
            Err(e) => Err(e),
        };
        let start = found.map_err(|e| ReadError::read(&self.files.path(number), e))?;
        current.pos = start;
        current.limit = limit;
        // The salt may be another one: a new file begins with a new header.
        self.local.restart(false);
        Ok(())
    }

    /// The file became shorter than what was read of it. The records written since are those at
    /// its end whose numbers were not seen yet.
    fn truncated(&mut self, committed: &Committed, out: &mut Vec<u8>) -> Result<(), ReadError> {
        self.stats.truncations += 1;
        self.drop_torn();
        if self.files.is_local() {
            return self.truncated_segment(committed);
        }
        let expected = self
            .seq
            .filter(|(epoch, seq)| *epoch == committed.epoch && *seq <= committed.next_seq)
            .map(|(_, seq)| committed.next_seq - seq);
        let Some(current) = &mut self.current else {
            return Ok(());
        };
        let (mut start, mut missing) = (committed.offset, 0);
        if let Some(new) = expected {
            let (at, found) = scan::lines_back(&current.file, committed.offset, new)
                .map_err(|e| ReadError::read(&self.files.path(current.number), e))?;
            start = at;
            missing = new - found;
        }
        current.pos = start;
        current.limit = committed.offset;
        self.seq = expected.map(|new| (committed.epoch, committed.next_seq - (new - missing)));
        if missing > 0 {
            self.missing(Some(missing), None, gap::LOST, out);
        }
        Ok(())
    }

    /// The live container is gone without having said that its log is complete: the rest is read
    /// as that of a stopped one.
    fn source_gone(&mut self) -> Result<Next, ReadError> {
        self.follow = false;
        let newest = self.files.forget_source();
        self.last = (newest, u64::MAX);
        if let Some(current) = &mut self.current {
            let size = match size_of(current) {
                Ok(size) => size,
                Err(e) => return Err(self.read_error(e)),
            };
            current.limit = current.limit.max(size);
            self.last.0 = newest.max(current.number);
        }
        Ok(Next::More)
    }

    /// The current file was read to its end.
    fn leave(&mut self) {
        if let Some(current) = self.current.take() {
            self.next = current.number + 1;
        }
        self.local.restart(false);
    }

    /// Opens the file `self.next`, or makes the next one that exists `self.next`.
    fn enter(
        &mut self,
        limit: Option<u64>,
        committed: Option<&Committed>,
        out: &mut Vec<u8>,
    ) -> Result<Next, ReadError> {
        let number = self.next;
        let opened = match (self.files.take(number), committed) {
            // The end of the rotation is a commit, so it can be waited for like any other.
            (Err(ReadError::Rotating { .. }), Some(committed)) => {
                return Ok(Next::Step(wait_or_end(committed)));
            }
            (opened, _) => opened?,
        };
        match opened {
            Opened::File(file) => {
                let limit = match committed {
                    // How far a file may be read that may be the current one is asked for when
                    // its end is reached.
                    Some(_) => 0,
                    None => {
                        let size = file.len();
                        let size =
                            size.map_err(|e| ReadError::read(&self.files.path(number), e))?;
                        limit.map_or(size, |limit| limit.min(size))
                    }
                };
                self.local.restart(false);
                self.current = Some(Current {
                    file,
                    number,
                    pos: 0,
                    limit,
                });
                if !self.files.is_local() {
                    self.load_marks();
                    self.join(number, out);
                }
                Ok(Next::More)
            }
            Opened::Gone { next } => {
                // A hole in the names of a stopped container's files is no news.
                self.skipped |= self.files.is_live();
                self.next = next;
                Ok(Next::More)
            }
            Opened::Future => Ok(Next::Step(match committed {
                Some(committed) => wait_or_end(committed),
                None => Step::End,
            })),
        }
    }

    /// Before the first record of a file: compares its number with the one expected.
    fn join(&mut self, number: u64, out: &mut Vec<u8>) {
        let mut first = self.files.first_seq(number);
        if let (Some(first), Some(before)) = (&mut first, self.marks.gap_at(0)) {
            // What the mark says is told with it.
            first.1 = first.1.min(before);
        }
        let records = match (self.seq, first) {
            (Some((old, seq)), Some((new, first))) if old == new => Some(first.saturating_sub(seq)),
            // The side file went away with a rotation that is faster than we are. How much is
            // missing will be known at the next file, or when we have caught up.
            (Some(_), None) => return,
            _ => None,
        };
        self.seq = first;
        let skipped = std::mem::take(&mut self.skipped);
        if records.map_or(skipped, |n| n > 0) {
            let cause = if skipped { gap::ROTATED } else { gap::LOST };
            let next = self.current.as_ref().and_then(|current| {
                let size = current.file.len().ok()?;
                let next = Prober::new().at_or_after(&current.file, 0, size, false);
                next.ok().flatten()
            });
            let to = next.map(|probe| probe.time);
            self.missing(records, to, cause, out);
        }
    }

    /// Counts missing records. The client is told of what it missed itself: files that went away
    /// while it read, and what was lost since it had caught up. What was lost before it asked is
    /// only counted: most often somebody has emptied the file on purpose.
    pub(crate) fn missing(
        &mut self,
        records: Option<u64>,
        to: Option<Moment>,
        cause: &'static str,
        out: &mut Vec<u8>,
    ) {
        self.stats.miss(records.unwrap_or(0), 0);
        let told = self.caught_up || cause == gap::ROTATED || self.output.is_packed();
        if !told && !self.files.is_local() {
            return;
        }
        let gap = Gap {
            records,
            bytes: None,
            from: self.output.last_time(),
            to,
            cause: cause.into(),
        };
        self.output.notice(&gap, out);
    }
}

fn size_of(current: &Current) -> std::io::Result<u64> {
    current.file.len()
}

fn wait_or_end(committed: &Committed) -> Step {
    if committed.done {
        Step::End
    } else {
        Step::CaughtUp {
            commit: committed.commit,
        }
    }
}
