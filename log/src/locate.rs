//! Where the answer to a query begins: walks the files from the newest backwards.
//!
//! The search for `since` relies on times that rise. After the clock was set back it may begin at a
//! later record than Docker's linear search would, never at one before `since`.

use std::fs::File;

use crate::error::ReadError;
use crate::files::Opened;
use crate::query::{Committed, Query};
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
            let size = file.metadata().map_err(error)?.len();
            let limit = if number == newest {
                size.min(self.last.1)
            } else {
                size
            };
            if number == newest && committed.is_none() {
                self.last.1 = size;
            }
            let place = first_wanted(&file, limit, &mut tail, since, &mut prober);
            let (start, enough) = place.map_err(error)?;
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
        let size = file.metadata();
        let size = size.map_err(|e| ReadError::read(&self.files.path(number), e))?;
        let size = size.len();
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
        if start == 0 {
            self.seq = self.files.first_seq(number);
        }
        Ok(())
    }
}

/// Where the wanted part of one file begins, and whether nothing older is wanted. `tail` is
/// lowered by what the file gives.
fn first_wanted(
    file: &File,
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
            start = prober.search(file, first.end, limit, since)?;
            enough = true;
        }
    }
    Ok((start, enough))
}
