//! Where the answer to a query begins in segments: walks them from the newest backwards, and finds
//! the place in each by its side file and by halving.

use taffrail_log_core::local::{ALIGN, Batch};

use crate::access::Input;
use crate::error::ReadError;
use crate::files::Opened;
use crate::index::Index;
use crate::query::{Committed, Cursor, Query, Run};
use crate::reader::{Current, Reader};
use crate::segment::{self, Head, Walk};

/// What is looked for.
struct Wanted {
    tail: Option<u64>,
    since: Option<i64>,
    after: Option<Cursor>,
    run: Option<u32>,
}

/// The wanted part of one segment.
struct Place {
    start: u64,
    floor: Option<Cursor>,
    /// Nothing older is wanted.
    enough: bool,
    /// Nothing of it is wanted: the position behind its last record.
    end: Option<Cursor>,
}

impl Reader {
    /// Sets the reader to the first record that may be wanted, and without follow the end.
    pub(crate) fn locate_in_segments(
        &mut self,
        query: &Query,
        committed: Option<Committed>,
    ) -> Result<(), ReadError> {
        let listed = self.files.list_stopped()?;
        let numbers: Vec<u64> = match committed {
            Some(c) => {
                self.last = (c.file_no, c.offset);
                self.files.committed();
                listed.into_iter().filter(|n| *n <= c.file_no).collect()
            }
            None => {
                self.last = (listed.first().copied().unwrap_or(0), u64::MAX);
                listed
            }
        };
        let newest = self.last.0;
        let run = match query.run {
            None => None,
            Some(Run::Number(run)) => Some(run),
            Some(Run::Back(back)) => match self.newest_run(&numbers)? {
                Some(newest) if back < newest => Some(newest - back),
                Some(newest) => {
                    return Err(ReadError::NoRun {
                        run: i64::from(newest) - i64::from(back),
                        first: 1,
                        last: newest,
                    });
                }
                None => None,
            },
        };
        self.run = run;
        let mut wanted = Wanted {
            tail: query.tail,
            since: query.since,
            after: query.after,
            run,
        };
        let mut begin: Option<(u64, Place)> = None;
        for number in numbers {
            let Opened::File(file) = self.files.take(number)? else {
                continue;
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
            let place = first_wanted(&file, index.as_ref(), limit, &mut wanted);
            let place = place.map_err(error)?;
            let enough = place.enough;
            begin = Some((number, place));
            self.files.hold(number, file, newest);
            if enough {
                break;
            }
        }
        if let Some(after) = query.after {
            let next = Cursor {
                seq: after.seq.saturating_add(1),
                ..after
            };
            self.floor = Some(next);
            // What is missing between it and the first record there is will be told.
            self.seq = Some((next.epoch, next.seq));
        }
        let Some((number, place)) = begin else {
            self.next = newest.max(1);
            return Ok(());
        };
        self.next = number;
        self.floor = self.floor.max(place.floor);
        if let Some(end) = place.end {
            let end = self.floor.map_or(end, |floor| floor.max(end));
            self.seq = Some((end.epoch, end.seq));
        }
        let Opened::File(file) = self.files.take(number)? else {
            return Ok(());
        };
        let size = file.len();
        let size = size.map_err(|e| ReadError::read(&self.files.path(number), e))?;
        self.current = Some(Current {
            file,
            number,
            pos: place.start,
            limit: if number == newest {
                size.min(self.last.1)
            } else {
                size
            },
        });
        Ok(())
    }

    /// The run of the newest batch.
    fn newest_run(&mut self, numbers: &[u64]) -> Result<Option<u32>, ReadError> {
        for number in numbers {
            let Opened::File(file) = self.files.take(*number)? else {
                continue;
            };
            let error = |e| ReadError::read(&self.files.path(*number), e);
            let mut limit = file.len().map_err(error)?;
            if *number == self.last.0 {
                limit = limit.min(self.last.1);
            }
            let Head::Salt(salt, header) = segment::head(&file, limit).map_err(error)? else {
                continue;
            };
            let index = self.files.index(*number);
            let last = Walk::new(&file, salt, limit).last(index.as_ref());
            let last = last.map_err(error)?.map(|(_, batch)| batch.run);
            if let Some(run) = last.or(header.map(|h| h.run)) {
                return Ok(Some(run));
            }
        }
        Ok(None)
    }
}

fn first_wanted(
    file: &Input,
    index: Option<&Index>,
    limit: u64,
    wanted: &mut Wanted,
) -> std::io::Result<Place> {
    let mut place = Place {
        start: 0,
        floor: None,
        enough: false,
        end: None,
    };
    let narrow = wanted.tail.is_some()
        || wanted.since.is_some()
        || wanted.after.is_some()
        || wanted.run.is_some();
    if !narrow || limit <= ALIGN as u64 {
        return Ok(place);
    }
    let Head::Salt(salt, _) = segment::head(file, limit)? else {
        return Ok(place);
    };
    let mut walk = Walk::new(file, salt, limit);
    let Some((first_at, first)) = walk.next(ALIGN as u64, limit)? else {
        return Ok(place);
    };
    if let Some(left) = &mut wanted.tail {
        let (start, floor, found) = walk.tail(index, *left)?;
        *left -= found;
        place.floor = floor;
        if *left == 0 {
            place.start = start;
            place.enough = true;
        }
    }
    let from = |place: &Place| place.start.max(first_at);
    if let Some(after) = wanted.after
        && first_of(&first) <= after
    {
        let start = walk.search(
            from(&place),
            index,
            |e| {
                (Cursor {
                    epoch: e.epoch,
                    seq: e.seq,
                }) > after
            },
            // A batch that ends with the cursor's record is not wanted, a mark behind it is.
            |b| {
                let end = segment::end_of(b);
                end.epoch > after.epoch
                    || end.epoch == after.epoch && end.seq > after.seq.saturating_add(1)
            },
        )?;
        place.start = start;
        place.enough = true;
    }
    if let Some(since) = wanted.since.and_then(|t| u64::try_from(t).ok())
        && first.time < since
    {
        let start = walk.search(
            from(&place),
            index,
            |e| e.time >= since,
            |b| segment::last_time(b) >= since,
        )?;
        place.start = place.start.max(start);
        place.enough = true;
    }
    if let Some(run) = wanted.run
        && first.run < run
    {
        let start = walk.search(from(&place), None, |_| false, |b| b.run >= run)?;
        place.start = place.start.max(start);
        place.enough = true;
    }
    if place.start >= limit {
        place.end = walk.last(index)?.map(|(_, batch)| segment::end_of(&batch));
    }
    Ok(place)
}

fn first_of(batch: &Batch) -> Cursor {
    Cursor {
        epoch: u64::from(batch.epoch),
        seq: batch.seq,
    }
}
