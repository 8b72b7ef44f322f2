//! Finding places in a segment of the `local` format.
//!
//! A place is found by the side file as far as there is one, then by halving: a batch's header is
//! known by itself at any multiple of 64, thanks to its checksum and the segment's salt.

use std::io;

use taffrail_log_core::local::{
    ALIGN, BATCH_MAGIC, BadSegment, Batch, COPY_MAGIC, SegmentHeader, copy_at, kind,
};
use taffrail_log_core::side::Entry;

use crate::access::Input;
use crate::index::Index;
use crate::query::Cursor;
use crate::scan::read_full;

/// Bytes that are read at a time while going from header to header.
const WINDOW: usize = 4096;
/// Bytes that are read at a time while looking for the next header.
const WIDE: usize = 64 * 1024;
/// How far back a header is looked for at first.
const BACK: u64 = 256 * 1024;
/// Halving stops here.
const NEAR: u64 = 64 * 1024;

/// What a segment begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Head {
    /// Its salt, and the header if it is whole.
    Salt(u32, Option<SegmentHeader>),
    /// Neither the header nor any batch can be read.
    Lost,
    /// A version that is not known here.
    Version(u32),
}

/// Reads the segment's header, or finds the salt on which two batches agree.
pub(crate) fn head(input: &Input, limit: u64) -> io::Result<Head> {
    let mut bytes = [0; ALIGN];
    if read_full(input, &mut bytes, 0)? == ALIGN {
        match SegmentHeader::decode(&bytes) {
            Ok(header) => return Ok(Head::Salt(header.salt, Some(header))),
            Err(BadSegment::Version(version)) => return Ok(Head::Version(version)),
            Err(BadSegment::Damaged) => {}
        }
    }
    if let Some(salt) = salt_of_first(input, limit)? {
        return Ok(Head::Salt(salt, None));
    }
    let mut seen: Vec<u32> = Vec::new();
    let mut buf = vec![0; WIDE];
    let mut at = ALIGN as u64;
    while at < limit {
        let n = buf.len().min((limit - at) as usize);
        let got = read_full(input, &mut buf[..n], at)?;
        let (blocks, _) = buf[..got].as_chunks::<ALIGN>();
        for block in blocks {
            if let Some(salt) = Batch::salt_of(block) {
                if seen.contains(&salt) {
                    return Ok(Head::Salt(salt, None));
                }
                // What a container prints may look like headers with as many salts as it likes.
                if seen.len() < 4096 {
                    seen.push(salt);
                }
            }
        }
        if blocks.is_empty() {
            break;
        }
        at += (blocks.len() * ALIGN) as u64;
    }
    // A segment of one batch has nobody to agree with.
    Ok(match seen[..] {
        [salt] => Head::Salt(salt, None),
        _ => Head::Lost,
    })
}

/// The salt by the first batch, if the one behind it has the same or there is none. No container can
/// choose what stands there.
fn salt_of_first(input: &Input, limit: u64) -> io::Result<Option<u32>> {
    let mut block = [0; ALIGN];
    if read_full(input, &mut block, ALIGN as u64)? < ALIGN {
        return Ok(None);
    }
    let salt = Batch::salt_of(&block);
    let Some((salt, batch)) = salt.and_then(|s| Some((s, Batch::decode(&block, s)?))) else {
        return Ok(None);
    };
    let next = ALIGN as u64 + batch.size();
    let agrees = next >= limit
        || read_full(input, &mut block, next)? == ALIGN && Batch::salt_of(&block) == Some(salt);
    Ok(agrees.then_some(salt))
}

/// Goes from header to header of one segment.
pub(crate) struct Walk<'i> {
    input: &'i Input,
    salt: u32,
    pub(crate) limit: u64,
    buf: Vec<u8>,
    at: u64,
}

/// Position behind a batch's last record.
pub(crate) fn end_of(batch: &Batch) -> Cursor {
    Cursor {
        epoch: u64::from(batch.epoch),
        seq: batch.seq.saturating_add(u64::from(batch.count)),
    }
}

/// Time of a batch's last record.
pub(crate) fn last_time(batch: &Batch) -> u64 {
    batch
        .time
        .saturating_add(u64::from(batch.count.saturating_sub(1)))
}

impl<'i> Walk<'i> {
    pub(crate) fn new(input: &'i Input, salt: u32, limit: u64) -> Self {
        Self {
            input,
            salt,
            limit,
            buf: Vec::new(),
            at: 0,
        }
    }

    fn load(&mut self, at: u64, size: usize) -> io::Result<()> {
        let n = size.min(self.limit.saturating_sub(at) as usize);
        self.buf.resize(n, 0);
        let got = read_full(self.input, &mut self.buf, at)?;
        self.buf.truncate(got);
        self.at = at;
        Ok(())
    }

    /// The batch whose header stands exactly at `at`.
    pub(crate) fn batch_at(&mut self, at: u64) -> io::Result<Option<Batch>> {
        if at + ALIGN as u64 > self.limit {
            return Ok(None);
        }
        if at < self.at || at + ALIGN as u64 > self.at + self.buf.len() as u64 {
            self.load(at, WINDOW)?;
        }
        let from = (at - self.at) as usize;
        Ok(self.buf[from.min(self.buf.len())..]
            .first_chunk()
            .and_then(|bytes| Batch::decode(bytes, self.salt)))
    }

    /// The first batch at `from` or behind it, before `end`: by its header, or by the copy of one
    /// that is damaged.
    pub(crate) fn next(&mut self, from: u64, end: u64) -> io::Result<Option<(u64, Batch)>> {
        let from = from.next_multiple_of(ALIGN as u64).max(ALIGN as u64);
        let mut at = from;
        let mut size = WINDOW;
        while at < end {
            let inside = at >= self.at && at + ALIGN as u64 <= self.at + self.buf.len() as u64;
            if !inside {
                self.load(at, size)?;
                size = WIDE;
            }
            let (blocks, _) = self.buf[(at - self.at) as usize..].as_chunks::<ALIGN>();
            if blocks.is_empty() {
                break;
            }
            for block in blocks {
                if at >= end {
                    return Ok(None);
                }
                if block[..4] == BATCH_MAGIC.to_le_bytes()
                    && let Some(batch) = Batch::decode(block, self.salt)
                {
                    return Ok(Some((at, batch)));
                }
                if block[..4] == COPY_MAGIC.to_le_bytes()
                    && let Some(batch) = Batch::decode_copy(block, self.salt)
                    && let Some(start) = at.checked_sub(copy_at(batch.length) as u64)
                    && start >= from
                {
                    return Ok(Some((start, batch)));
                }
                at += ALIGN as u64;
            }
        }
        Ok(None)
    }

    /// The batch behind the one at `at`, over damage if there is some.
    pub(crate) fn after(
        &mut self,
        at: u64,
        batch: &Batch,
        end: u64,
    ) -> io::Result<Option<(u64, Batch)>> {
        let next = at + batch.size();
        if next >= end {
            return Ok(None);
        }
        match self.batch_at(next)? {
            Some(batch) => Ok(Some((next, batch))),
            None => self.next(next, end),
        }
    }

    /// Where the first batch in `from..limit` stands of which `reached` is true; `limit` if there
    /// is none. `reached` is false of a first part of the batches, and `entry_reached` says the
    /// same of the first record of an index entry.
    pub(crate) fn search(
        &mut self,
        from: u64,
        index: Option<&Index>,
        entry_reached: impl Fn(&Entry) -> bool,
        reached: impl Fn(&Batch) -> bool,
    ) -> io::Result<u64> {
        let (mut low, mut high) = (from, self.limit);
        if let Some(index) = index {
            let (before, next) = index.around(|e| !entry_reached(e));
            // An entry is only a hint: it is believed if there is a header where it says.
            if let Some(entry) = before
                && entry.offset > low
                && entry.offset < high
                && self
                    .batch_at(entry.offset)?
                    .is_some_and(|b| b.seq == entry.seq)
            {
                low = entry.offset;
            }
            if let Some(entry) = next
                && entry.offset > low
                && entry.offset < high
                && self.batch_at(entry.offset)?.is_some_and(|b| reached(&b))
            {
                high = entry.offset;
            }
        }
        while high - low > NEAR {
            let middle = low + (high - low) / 2;
            match self.next(middle, high)? {
                Some((at, batch)) if !reached(&batch) => low = at,
                _ => high = middle,
            }
        }
        // What is reached first may stand at `high` or behind it, if it is long.
        let mut found = self.next(low, self.limit)?;
        while let Some((at, batch)) = found {
            if reached(&batch) {
                return Ok(at);
            }
            found = self.after(at, &batch, self.limit)?;
        }
        Ok(self.limit)
    }

    /// The last batch before `limit`.
    pub(crate) fn last(&mut self, index: Option<&Index>) -> io::Result<Option<(u64, Batch)>> {
        let mut found = None;
        self.blocks_back(index, |batches| {
            found = batches.last().copied();
            found.is_some()
        })?;
        Ok(found)
    }

    /// Where the last `want` records begin: the batch, the first wanted record if it is not the
    /// batch's first, and how many there are (fewer only if all of the segment is wanted).
    pub(crate) fn tail(
        &mut self,
        index: Option<&Index>,
        want: u64,
    ) -> io::Result<(u64, Option<Cursor>, u64)> {
        let (mut place, mut floor, mut found) = (self.limit, None, 0);
        if want == 0 {
            return Ok((place, floor, found));
        }
        self.blocks_back(index, |batches| {
            for (at, batch) in batches.iter().rev() {
                place = *at;
                if batch.kind != kind::RECORDS {
                    continue;
                }
                let count = u64::from(batch.count);
                if found + count >= want {
                    floor = Some(Cursor {
                        epoch: u64::from(batch.epoch),
                        seq: batch.seq + (count - (want - found)),
                    });
                    found = want;
                    return true;
                }
                found += count;
            }
            false
        })?;
        if found < want {
            place = ALIGN as u64;
        }
        Ok((place, floor, found))
    }

    /// Gives the batches in stretches from the end to the beginning, each in order, until `enough`
    /// says so.
    fn blocks_back(
        &mut self,
        index: Option<&Index>,
        mut enough: impl FnMut(&[(u64, Batch)]) -> bool,
    ) -> io::Result<()> {
        let mut end = self.limit;
        let mut batches = Vec::new();
        let mut hint = index;
        while end > ALIGN as u64 {
            let entry = hint.and_then(|index| index.around(|e| e.offset < end).0);
            let mut from = end.saturating_sub(BACK).max(ALIGN as u64);
            // A side file without entries near the end does not make the stretch longer.
            let entry = entry.filter(|e| e.offset >= from.saturating_sub(BACK));
            if let Some(entry) = entry {
                from = entry.offset.max(ALIGN as u64);
            }
            batches.clear();
            let mut found = self.next(from, end)?;
            while let Some((at, batch)) = found {
                batches.push((at, batch));
                found = self.after(at, &batch, end)?;
            }
            match batches.first() {
                Some((first, _)) => {
                    end = *first;
                    hint = index;
                    if enough(&batches) {
                        return Ok(());
                    }
                }
                // What the entry says begins there is damaged: without it more is looked at.
                None if entry.is_some() => hint = None,
                None if from == ALIGN as u64 => return Ok(()),
                // Nothing but damage, or the inside of a long batch.
                None => {
                    let mut back = BACK;
                    loop {
                        back *= 4;
                        let from = end.saturating_sub(back).max(ALIGN as u64);
                        if let Some(last) = self.near_last(from, end)? {
                            end = last;
                            hint = index;
                            break;
                        } else if from == ALIGN as u64 {
                            return Ok(());
                        }
                    }
                }
            }
        }
        Ok(())
    }

    /// A place in `from..end` that is no more than [`BACK`] behind a header and before which all
    /// headers of the stretch begin; `None` if it has none.
    fn near_last(&mut self, from: u64, end: u64) -> io::Result<Option<u64>> {
        let Some((mut low, _)) = self.next(from, end)? else {
            return Ok(None);
        };
        let mut high = end;
        while high - low > BACK {
            match self.next(low + (high - low) / 2, high)? {
                Some((at, _)) => low = at,
                None => high = low + (high - low) / 2,
            }
        }
        Ok(Some(high))
    }
}
