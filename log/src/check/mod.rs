//! Checking a whole log for `taffrail log-check`: every damaged place is named, whatever a reader
//! would make of it.

mod json;
mod repair;
mod segments;

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use taffrail_log_core::side::{ENTRY, Entry, Header, Mark};

pub use self::repair::{Repair, repair};
use crate::access::Input;
use crate::error::ReadError;
use crate::files::{Files, Opened};
use crate::index::Index;
use crate::query::{CommitSource, Committed, Cursor, LogFiles};
use crate::segment::{self, Head};

/// Most places that are listed; more are only counted.
const LISTED: usize = 10_000;

/// What is damaged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Damage {
    /// A segment's header: nothing is lost by it.
    SegmentHeader,
    /// A segment in which no batch can be read.
    Segment,
    /// A layout of a newer version.
    Version(u32),
    /// Bytes where a batch should stand.
    Batch,
    /// A batch's header or its checksum table: nothing is lost by it, there is a copy.
    BatchHeader,
    /// That copy: nothing is lost by it.
    BatchCopy,
    /// 4 KiB of a batch's payload.
    Block,
    /// A line of a json-file log that is no record.
    Record,
    /// Bytes of a json-file log that differ from what was written, in lines that can be read.
    Checksum,
    /// A record or batch that is cut at the end of its file.
    Torn,
    /// A compressed frame.
    Frame,
    /// The seek table or frame table of a compressed file.
    FrameTable,
    /// A side file that is missing, or its header.
    Index,
    /// An entry of a side file.
    IndexEntry,
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::SegmentHeader => "segment header damaged",
            Self::Segment => "no batch of the segment can be read",
            Self::Version(version) => return write!(f, "version {version} is not known here"),
            Self::Batch => "batch damaged",
            Self::BatchHeader => "batch header damaged",
            Self::BatchCopy => "copy of a batch header damaged",
            Self::Block => "block damaged",
            Self::Record => "not a record",
            Self::Checksum => "checksum differs",
            Self::Torn => "cut at the end",
            Self::Frame => "compressed frame damaged",
            Self::FrameTable => "frame table damaged",
            Self::Index => "index missing or damaged",
            Self::IndexEntry => "index entry damaged",
        })
    }
}

/// A damaged place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    pub file: PathBuf,
    /// Offset and length in that file; of a compressed file's contents in plain bytes, but for
    /// [`Damage::Frame`] and [`Damage::FrameTable`].
    pub offset: u64,
    pub length: u64,
    /// First and last record that are lost by it, as far as the numbers tell.
    pub lost: Option<(Cursor, Cursor)>,
    pub what: Damage,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (file, offset, length) = (self.file.display(), self.offset, self.length);
        write!(f, "{file}: {} at {offset}, {length} bytes", self.what)?;
        match self.lost {
            Some((first, last)) if first == last => write!(f, ", record {first} lost"),
            Some((first, last)) => write!(f, ", records {first} to {last} lost"),
            None => Ok(()),
        }
    }
}

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Damaged places, at most 10,000.
    pub places: Vec<Place>,
    /// Places beyond those.
    pub more: u64,
    pub files: u64,
    /// Plain bytes that were looked at.
    pub bytes: u64,
    /// Undamaged records.
    pub records: u64,
}

impl Report {
    /// Nothing is damaged.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.places.is_empty()
    }

    fn add(&mut self, place: Place) {
        if self.places.len() < LISTED {
            self.places.push(place);
        } else {
            self.more += 1;
        }
    }
}

/// One log file under check.
struct Target<'t> {
    number: u64,
    path: PathBuf,
    input: &'t Input,
    limit: u64,
    /// Place of the file's first record, and of the one behind its last, if other files tell.
    first: Option<Cursor>,
    end: Option<Cursor>,
    /// The file may still be written to: what lies behind `limit` is a batch in flight.
    live: bool,
}

/// Checks every file of a log, indexes and frame tables too. `source` is a live container's: what
/// lies behind its commit at the beginning is left alone, and the caller keeps its files from being
/// removed meanwhile. `None` for a stopped container.
///
/// # Errors
/// [`ReadError`], if something cannot be opened, listed or read. Damage is none.
pub fn check(files: &LogFiles, source: Option<Arc<dyn CommitSource>>) -> Result<Report, ReadError> {
    check_to(files, source, None)
}

/// As [`check`], of a stopped container of which it is known where its log ended: `end` is the place
/// behind its last record.
///
/// # Errors
/// As [`check`].
pub fn check_to(
    files: &LogFiles,
    source: Option<Arc<dyn CommitSource>>,
    end: Option<Cursor>,
) -> Result<Report, ReadError> {
    let mut report = Report::default();
    let mut list = Files::new(files.clone(), source);
    let now = list.settled()?;
    let numbers: Vec<u64> = match &now {
        Some(now) if now.spool_oldest == 0 => (now.oldest_file_no..=now.file_no).collect(),
        Some(now) => (now.oldest_file_no.min(now.spool_oldest)..=now.file_no).collect(),
        None => list.list_stopped()?.into_iter().rev().collect(),
    };
    let newest = numbers.last().copied();
    let end = match &now {
        Some(now) => Some(Cursor {
            epoch: now.epoch,
            seq: now
                .next_seq
                .saturating_sub(now.gap.map_or(0, |gap| gap.records)),
        }),
        None => end,
    };
    for number in numbers {
        let end = match newest {
            Some(newest) if newest == number => end,
            _ => start_of(files, &mut list, number + 1)?,
        };
        one(&mut report, files, &mut list, number, now.as_ref(), end)?;
    }
    Ok(report)
}

/// Checks file `number`, if it exists. `end`: the place behind its last record.
fn one(
    report: &mut Report,
    files: &LogFiles,
    list: &mut Files,
    number: u64,
    now: Option<&Committed>,
    end: Option<Cursor>,
) -> Result<(), ReadError> {
    let Opened::File(input) = list.take(number)? else {
        return Ok(());
    };
    let path = list.path_now(number);
    let error = |e| ReadError::read(&path, e);
    // The file that was the newest is one although it may be closed by now.
    let live = now.filter(|now| now.file_no == number);
    let mut limit = input.len().map_err(error)?;
    if let Some(now) = live {
        limit = limit.min(now.offset);
    }
    report.files += 1;
    report.bytes += limit;
    frames(report, &path, &input).map_err(error)?;
    let target = Target {
        number,
        path: path.clone(),
        input: &input,
        limit,
        first: first_of(files, number),
        end,
        live: live.is_some(),
    };
    let index = index(report, files, number, target.live);
    let next = if list.is_local() {
        segments::check(report, &target)
    } else {
        json::check(report, &target, index.as_deref())
    };
    cut(report, &target, index.as_deref(), next.map_err(error)?);
    Ok(())
}

/// What is missing at the end of a file of which `next` is the place behind the last record that
/// was found, or was named as lost.
fn cut(report: &mut Report, target: &Target<'_>, index: Option<&[u8]>, next: Option<Cursor>) {
    let (slots, _) = index.unwrap_or_default().as_chunks::<ENTRY>();
    let indexed = slots.iter().filter_map(Entry::decode);
    let size = indexed.map(|e| e.offset.saturating_add(e.length)).max();
    let missing = size.map_or(0, |size| size.saturating_sub(target.limit));
    let lost = between(next, target.end);
    if lost.is_none() && (missing == 0 || target.live) {
        return;
    }
    let torn = |p: &&mut Place| p.file == target.path && p.what == Damage::Torn && p.lost.is_none();
    match report.places.last_mut().filter(torn) {
        // What is left of the first record or batch that is not whole is named already.
        Some(place) => place.lost = lost,
        None => report.add(Place {
            file: target.path.clone(),
            offset: target.limit,
            length: missing,
            lost,
            what: Damage::Torn,
        }),
    }
}

/// Place of a file's first record, as its side file tells.
fn first_of(files: &LogFiles, number: u64) -> Option<Cursor> {
    let index = Index::open(&files.index_dir, number)?;
    let mut first = Cursor {
        epoch: index.header.epoch,
        seq: index.header.first_seq,
    };
    // Records that were given up before the file began are marked in it.
    for mark in index.marks(0).0 {
        if let Mark::Gap { offset: 0, seq, .. } = mark {
            first.seq = first.seq.min(seq);
        }
    }
    Some(first)
}

/// Place of the first record that belongs to file `number`.
fn start_of(files: &LogFiles, list: &mut Files, number: u64) -> Result<Option<Cursor>, ReadError> {
    if list.is_local()
        && let Opened::File(input) = list.take(number)?
    {
        let read = |e| ReadError::read(&list.path(number), e);
        let size = input.len().map_err(read)?;
        if let Head::Salt(_, Some(header)) = segment::head(&input, size).map_err(read)? {
            return Ok(Some(Cursor {
                epoch: u64::from(header.epoch),
                seq: header.first_seq,
            }));
        }
    }
    Ok(first_of(files, number))
}

/// The records from `next` on that are missing before `first`.
fn between(next: Option<Cursor>, first: Option<Cursor>) -> Option<(Cursor, Cursor)> {
    let (next, first) = (next?, first?);
    (next.epoch == first.epoch && next.seq < first.seq).then(|| {
        let last = Cursor {
            seq: first.seq - 1,
            ..first
        };
        (next, last)
    })
}

fn frames(report: &mut Report, path: &std::path::Path, input: &Input) -> std::io::Result<()> {
    let Some(frames) = input.frames() else {
        return Ok(());
    };
    let mut frames = frames.borrow_mut();
    if frames.is_rebuilt() && frames.has_table() {
        report.add(Place {
            file: path.to_owned(),
            offset: frames.table().compressed(),
            length: 0,
            lost: None,
            what: Damage::FrameTable,
        });
    }
    let mut from = 0;
    while let Some(bad) = frames.next_bad(&mut from)? {
        report.add(Place {
            file: path.to_owned(),
            offset: bad.at,
            length: u64::from(bad.size),
            lost: None,
            what: Damage::Frame,
        });
    }
    Ok(())
}

/// Checks a side file; gives its bytes if its header is whole.
fn index(report: &mut Report, files: &LogFiles, number: u64, live: bool) -> Option<Vec<u8>> {
    let path = files.index_dir.join(number.to_string());
    let bytes = std::fs::read(&path).unwrap_or_default();
    let (slots, rest) = bytes.as_chunks::<ENTRY>();
    let place = |offset: usize, length: usize, what| Place {
        file: path.clone(),
        offset: offset as u64,
        length: length as u64,
        lost: None,
        what,
    };
    let header = slots.first().and_then(Header::decode);
    if header.is_none_or(|h| h.file_no != number) {
        report.add(place(0, bytes.len().min(ENTRY), Damage::Index));
        return None;
    }
    for (n, slot) in slots.iter().enumerate().skip(1) {
        let last = live && n + 1 == slots.len();
        if Entry::decode(slot).is_none() && Mark::decode(slot).is_none() && !last {
            report.add(place(n * ENTRY, ENTRY, Damage::IndexEntry));
        }
    }
    if !rest.is_empty() && !live {
        report.add(place(slots.len() * ENTRY, rest.len(), Damage::IndexEntry));
    }
    Some(bytes)
}
