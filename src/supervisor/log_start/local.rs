//! The end of a log of segments.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use taffrail_log_core::crc32c;
use taffrail_log_core::local::{
    ALIGN, BLOCK, Batch, SegmentHeader, copy_at, kind, payload_at, table_entries,
};
use taffrail_log_core::side::Header;
use taffrail_log_core::state::Slot;

use super::{LogEnd, LogFile, Seen, Side, new_side, no_log, number_of, read_at};
use crate::supervisor::{SupervisorError, at};

pub(super) fn resume(log: &LogFile, end: Option<&LogEnd>) -> Result<Slot, SupervisorError> {
    let dir = log.segments_dir();
    let segments = list(&dir).map_err(at("cannot read folder", &dir))?;
    let newest = segments.last_key_value().map(|(n, plain)| (*n, *plain));
    let oldest = segments.first_key_value().map(|(n, _)| *n);
    if let Some(end) = end {
        let clean = if end.offset == 0 {
            newest.is_none_or(|(n, _)| n < end.file_no)
        } else {
            newest == Some((end.file_no, true))
        };
        if clean && let Some(mut slot) = goes_on(log, end)? {
            slot.oldest_file_no = oldest.unwrap_or(end.file_no).min(end.file_no);
            return Ok(slot);
        }
    }
    let mut seen = Seen::of(&log.index_dir(), end);
    let mut last_time = end.map_or(0, |end| end.last_time);
    if let Some((number, plain)) = newest {
        seen.take(number, 0, 0);
        let path = dir.join(format!("{number}.seg"));
        if plain && let Some(last) = scan(&path, None).map_err(at("cannot read log", &path))? {
            seen.take(0, last.epoch, last.next_seq);
            last_time = last_time.max(last.time);
            // With a note the run ended well and the damage is in the middle: all of it stays.
            if end.is_none() && last.end < last.size {
                let file = File::options().write(true).open(&path);
                file.and_then(|file| file.set_len(last.end))
                    .map_err(at("cannot cut log", &path))?;
            }
        }
    }
    if seen.nothing() && newest.is_none() {
        return Ok(no_log());
    }
    let file_no = seen.file_no + 1;
    Ok(Slot {
        file_no,
        oldest_file_no: oldest.unwrap_or(file_no),
        epoch: seen.epoch + 1,
        next_seq: seen.next_seq.max(1),
        last_time,
        ..no_log()
    })
}

/// The slot that begins the segment behind the one of `slot`.
pub(super) fn next_segment(slot: &Slot) -> Slot {
    Slot {
        file_no: slot.file_no + 1,
        oldest_file_no: slot.oldest_file_no,
        epoch: slot.epoch,
        next_seq: slot.next_seq,
        last_time: slot.last_time,
        ..no_log()
    }
}

/// Numbers of the segments, and whether each is there uncompressed. Empty files are left out: a
/// start that failed made them.
fn list(dir: &Path) -> io::Result<BTreeMap<u64, bool>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(dir)?.flatten() {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        let Some(number) = number_of(&name) else {
            continue;
        };
        let plain = name.ends_with(".seg");
        if plain && entry.metadata().is_ok_and(|meta| meta.len() == 0) {
            continue;
        }
        *found.entry(number).or_insert(false) |= plain;
    }
    Ok(found)
}

/// The slot behind a log that ends as the note says; `None` if it does not.
fn goes_on(log: &LogFile, end: &LogEnd) -> Result<Option<Slot>, SupervisorError> {
    let mut slot = Slot {
        file_no: end.file_no,
        epoch: end.epoch,
        next_seq: end.next_seq,
        last_time: end.last_time,
        ..no_log()
    };
    if end.offset == 0 {
        return Ok(Some(slot));
    }
    let path = log.segments_dir().join(format!("{}.seg", end.file_no));
    let inode = fs::metadata(&path)
        .map_err(at("cannot read log", &path))?
        .ino();
    let index = log.index_dir();
    let side = Side::read(&index.join(end.file_no.to_string()))
        .filter(|side| side.header.inode == inode && side.at.0 <= end.offset);
    let from = side.as_ref().map_or(ALIGN as u64, |side| side.at.0);
    let Some(last) = scan(&path, Some((from, end.offset))).map_err(at("cannot read log", &path))?
    else {
        return Ok(None);
    };
    if inode != end.inode || last.end != end.offset {
        return Ok(None);
    }
    slot.inode = inode;
    slot.offset = end.offset;
    slot.block_offset = end.offset;
    slot.block_seq = end.next_seq;
    slot.salt = last.header.salt;
    slot.segment_used = 1;
    slot.index_offset = match side {
        Some(side) => side.len,
        None => new_side(
            &index,
            &Header {
                file_no: end.file_no,
                inode,
                epoch: u64::from(last.header.epoch),
                first_seq: last.header.first_seq,
                time: last.header.time,
            },
        )?,
    };
    Ok(Some(slot))
}

/// What a segment ends with.
#[derive(Debug)]
struct Last {
    header: SegmentHeader,
    /// Behind the last whole batch.
    end: u64,
    size: u64,
    epoch: u64,
    next_seq: u64,
    time: u64,
}

/// Reads a segment's batches. With `clean` only the headers from one offset up to another, which
/// must follow one another without a hole; else all of it, checksums too, over damage to the last
/// whole batch. `None`: no segment header, or none of this version.
fn scan(path: &Path, clean: Option<(u64, u64)>) -> io::Result<Option<Last>> {
    let file = File::open(path)?;
    let size = file.metadata()?.len();
    let mut window = Window::new(&file);
    let Some(head) = window.header(0)? else {
        return Ok(None);
    };
    let Ok(header) = SegmentHeader::decode(&head) else {
        return Ok(None);
    };
    let (from, to) = clean.unwrap_or((ALIGN as u64, size));
    let mut last = Last {
        header,
        end: from.max(ALIGN as u64),
        size,
        epoch: u64::from(header.epoch),
        next_seq: header.first_seq,
        time: 0,
    };
    let mut at = last.end;
    while at < to {
        let Some(head) = window.header(at)? else {
            break;
        };
        let batch = Batch::decode(&head, header.salt)
            // A copy that is cut off is not needed while the header is whole.
            .filter(|b| at + copy_at(b.length) as u64 <= size);
        let whole = match &batch {
            Some(_) if clean.is_some() => true,
            Some(batch) => window.whole(at, batch)?,
            None => false,
        };
        if clean.is_some() && !whole {
            break;
        }
        at += batch.as_ref().map_or(ALIGN as u64, Batch::size);
        if let (Some(batch), true) = (batch, whole) {
            last.end = at.min(size);
            last.epoch = last.epoch.max(u64::from(batch.epoch));
            last.next_seq = last.next_seq.max(batch.seq + u64::from(batch.count));
            let more = match batch.kind {
                kind::RECORDS => u64::from(batch.count.saturating_sub(1)),
                _ => 0,
            };
            last.time = last.time.max(batch.time + more);
        }
    }
    Ok(Some(last))
}

/// A file read through a buffer.
struct Window<'f> {
    file: &'f File,
    bytes: Vec<u8>,
    at: u64,
}

impl<'f> Window<'f> {
    const SIZE: usize = 2 * 1024 * 1024;

    fn new(file: &'f File) -> Self {
        Self {
            file,
            bytes: Vec::new(),
            at: 0,
        }
    }

    /// `len` bytes at `at`; `None` beyond the end of the file.
    fn get(&mut self, at: u64, len: usize) -> io::Result<Option<&[u8]>> {
        let have = |this: &Self| {
            let from = usize::try_from(at.checked_sub(this.at)?).ok()?;
            (from + len <= this.bytes.len()).then_some(from)
        };
        if have(self).is_none() {
            self.bytes.resize(len.max(Self::SIZE), 0);
            let n = read_at(self.file, &mut self.bytes, at)?;
            self.bytes.truncate(n);
            self.at = at;
        }
        Ok(have(self).map(|from| &self.bytes[from..from + len]))
    }

    fn header(&mut self, at: u64) -> io::Result<Option<[u8; ALIGN]>> {
        let bytes = self.get(at, ALIGN)?;
        Ok(bytes.and_then(|b| b.try_into().ok()))
    }

    /// Whether the blocks of a batch are what their checksums say.
    fn whole(&mut self, at: u64, batch: &Batch) -> io::Result<bool> {
        let begin = payload_at(batch.length);
        let Some(bytes) = self.get(at, begin + batch.length as usize)? else {
            return Ok(false);
        };
        let (table, _) = bytes[ALIGN..][..4 * table_entries(batch.length)].as_chunks::<4>();
        let sums = std::iter::once(batch.crc0).chain(table.iter().map(|c| u32::from_le_bytes(*c)));
        Ok(bytes[begin..]
            .chunks(BLOCK)
            .zip(sums)
            .all(|(block, sum)| crc32c::update(0, block) == sum))
    }
}
