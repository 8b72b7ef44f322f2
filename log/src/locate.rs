//! Where the answer to a query begins: walks the files from the newest backwards.
//!
//! The search for `since` relies on times that rise. After the clock was set back it may begin at a
//! later record than Docker's linear search would, never at one before `since`.

use taffrail_log_core::side::{Entry, Mark};

use crate::access::Input;
use crate::error::ReadError;
use crate::files::Opened;
use crate::index::Index;
use crate::query::{Committed, Cursor, Query, Run};
use crate::reader::{Current, Reader};
use crate::scan::{self, Prober};
use crate::time::Moment;

impl Reader {
    /// Sets the reader to the first record that may be wanted, and without follow the end.
    pub(crate) fn locate(
        &mut self,
        query: &Query,
        committed: Option<Committed>,
    ) -> Result<(), ReadError> {
        let numbers: Box<dyn Iterator<Item = u64>> = match committed {
            Some(c) => {
                self.last = (c.file_no, c.offset);
                Box::new((c.oldest_file_no.min(c.file_no)..=c.file_no).rev())
            }
            None => {
                let numbers = self.files.list_stopped()?;
                self.last = (numbers.first().copied().unwrap_or(0), u64::MAX);
                Box::new(numbers.into_iter())
            }
        };
        let newest = self.last.0;
        let numbers: Vec<u64> = numbers.collect();
        let run = self.run_of(query, &numbers)?;
        self.end_at = run.and_then(|run| run.end);
        let since = query.since.map(Moment::from_ns);
        let mut tail = query.tail;
        let mut prober = Prober::new();
        // The oldest place so far that belongs to the answer.
        let mut begin: Option<(u64, u64)> = None;
        for number in numbers {
            let file = match self.files.take(number)? {
                Opened::File(file) => file,
                // Rotated away meanwhile, and so is all that is older.
                Opened::Gone { .. } if number < newest && committed.is_some() => break,
                Opened::Gone { .. } | Opened::Future => continue,
            };
            let error = |e| ReadError::read(&self.files.path(number), e);
            let size = file.len().map_err(error)?;
            let limit = if number == newest {
                size.min(self.last.1)
            } else {
                size
            };
            if number == newest && committed.is_none() {
                self.last.1 = size;
            }
            let index = self.files.index(number);
            let place = first_wanted(&file, index.as_ref(), limit, &mut tail, since, &mut prober);
            let (mut start, mut enough) = place.map_err(error)?;
            if let (Some(after), Some(index)) = (query.after, &index)
                && let Some(place) = behind(index, after)
            {
                start = start.max(place);
                enough = true;
            }
            if let Some(run) = &run
                && number <= run.start.0
            {
                start = start.max(if number == run.start.0 {
                    run.start.1
                } else {
                    limit
                });
                enough = true;
            }
            begin = Some((number, start));
            self.files.hold(number, file, newest);
            if enough {
                break;
            }
        }
        // Nothing that can be read: wait for the next file, or end.
        let (number, start) = begin.unwrap_or((newest + 1, 0));
        self.next = number;
        if begin.is_none() {
            return Ok(());
        }
        let Opened::File(file) = self.files.take(number)? else {
            return Ok(());
        };
        let size = file.len();
        let size = size.map_err(|e| ReadError::read(&self.files.path(number), e))?;
        self.current = Some(Current {
            file,
            number,
            pos: start,
            limit: if number == newest {
                size.min(self.last.1)
            } else {
                size
            },
        });
        self.load_marks();
        self.floor = query.after.map(|after| Cursor {
            seq: after.seq.saturating_add(1),
            ..after
        });
        let exact = self.output.shows_cursors() || query.after.is_some();
        self.number_first(number, start, exact)?;
        if let (Some(floor), Some((epoch, seq))) = (self.floor, self.seq)
            && epoch == floor.epoch
            && seq > floor.seq
            && query.tail.is_none()
            && query.since.is_none()
        {
            self.first_gap = Some(seq - floor.seq);
        }
        Ok(())
    }

    /// Learns the number of the record at `start` of the current file, unless that takes long and
    /// is not necessary.
    fn number_first(&mut self, number: u64, start: u64, exact: bool) -> Result<(), ReadError> {
        let (Some(current), Some(index)) = (&self.current, self.files.index(number)) else {
            return Ok(());
        };
        let anchor = index.anchor(start);
        if !exact && start - anchor.offset > NEAR {
            return Ok(());
        }
        let lines = scan::newlines(&current.file, anchor.offset, start)
            .map_err(|e| ReadError::read(&self.files.path(number), e))?;
        let mut seq = anchor.first.seq + lines;
        if let Some(before) = self.marks.gap_at(start) {
            // Told before the first record.
            seq = seq.min(before);
        }
        self.seq = Some((anchor.first.epoch, seq));
        Ok(())
    }

    /// Where the wanted run begins and ends, by the marks of the side files.
    fn run_of(&self, query: &Query, numbers: &[u64]) -> Result<Option<RunPlace>, ReadError> {
        let Some(wanted) = query.run else {
            return Ok(None);
        };
        let mut runs = Vec::new();
        for number in numbers.iter().rev() {
            let Some(index) = self.files.index(*number) else {
                continue;
            };
            let (marks, _) = index.marks(0);
            runs.extend(marks.into_iter().filter_map(|mark| match mark {
                Mark::Run { offset, run, .. } => Some((run, (*number, offset))),
                Mark::Gap { .. } => None,
            }));
        }
        let oldest = numbers.last().copied().unwrap_or(1);
        let (Some(first), Some(last)) = (runs.first().copied(), runs.last().copied()) else {
            // Nothing is known of runs: what is there may be any.
            return Ok(None);
        };
        let run = match wanted {
            Run::Number(run) => i64::from(run),
            Run::Back(back) => i64::try_from(last.0).unwrap_or(i64::MAX) - i64::from(back),
        };
        let place_of = |wanted: i64| {
            let found = runs
                .iter()
                .find(|(run, _)| i64::try_from(*run) == Ok(wanted));
            found.map(|(_, place)| *place)
        };
        let end = runs
            .iter()
            .find(|(number, _)| i64::try_from(*number).is_ok_and(|number| number > run))
            .map(|(_, place)| *place);
        let start = match place_of(run) {
            Some(start) => start,
            // The beginning of the run before the first mark was rotated away.
            None if i64::try_from(first.0).ok() == run.checked_add(1) && first.1 != (oldest, 0) => {
                (oldest, 0)
            }
            // It has written nothing yet.
            None if i64::try_from(last.0).is_ok_and(|last| run > last) => (u64::MAX, u64::MAX),
            None => {
                let number = |run: u64| u32::try_from(run).unwrap_or(u32::MAX);
                return Err(ReadError::NoRun {
                    run,
                    first: number(first.0),
                    last: number(last.0),
                });
            }
        };
        Ok(Some(RunPlace { start, end }))
    }
}

/// Bytes in which lines are counted for their numbers only.
const NEAR: u64 = 4 * 1024 * 1024;

/// File number and offset of a run's first record, and of the next run's.
#[derive(Clone, Copy, Debug)]
struct RunPlace {
    start: (u64, u64),
    end: Option<(u64, u64)>,
}

/// A place of a file from where it is not far to the record behind `after`; `None` if that lies in
/// an older file.
fn behind(index: &Index, after: Cursor) -> Option<u64> {
    let first = Cursor {
        epoch: index.header.epoch,
        seq: index.header.first_seq,
    };
    if first > after {
        return None;
    }
    let not_after = |e: &Entry| {
        let first = Cursor {
            epoch: e.epoch,
            seq: e.seq,
        };
        first <= after
    };
    Some(index.around(not_after).0.map_or(0, |entry| entry.offset))
}

/// Where the wanted part of one file begins, and whether nothing older is wanted. `tail` is
/// lowered by what the file gives.
fn first_wanted(
    file: &Input,
    index: Option<&Index>,
    limit: u64,
    tail: &mut Option<u64>,
    since: Option<Moment>,
    prober: &mut Prober,
) -> std::io::Result<(u64, bool)> {
    let mut start = 0;
    let mut enough = false;
    if let Some(left) = tail {
        if *left == 0 {
            return Ok((limit, true));
        }
        let (at, found) = scan::lines_back(file, limit, *left)?;
        start = at;
        *left -= found;
        enough = *left == 0;
    }
    if let Some(since) = since {
        // One record that is older means that the place, or a later file's start, is reached.
        let first = prober.at_or_after(file, start, limit, false)?;
        if let Some(first) = first
            && first.time < since
        {
            let (low, high) = around(index, since, first.end, limit);
            start = prober.search(file, low, high, since)?;
            enough = true;
        }
    }
    Ok((start, enough))
}

/// Narrows `low..high` by the side file's times.
fn around(index: Option<&Index>, since: Moment, low: u64, high: u64) -> (u64, u64) {
    let Some(index) = index else {
        return (low, high);
    };
    let older = |e: &Entry| Moment::from_ns(i64::try_from(e.time).unwrap_or(i64::MAX)) < since;
    let (before, next) = index.around(older);
    let inside = |e: Option<Entry>| e.map(|e| e.offset).filter(|at| (low..high).contains(at));
    (inside(before).unwrap_or(low), inside(next).unwrap_or(high))
}
