//! Checking a whole log for `taffrail log-check`: every damaged place is named, whatever a reader
//! would make of it.

mod json;
mod repair;
mod segment;

use std::fmt;
use std::path::PathBuf;

use taffrail_log_core::side::{ENTRY, Entry, Header, Mark};

pub use self::repair::{Repair, repair};
use crate::access::Input;
use crate::error::ReadError;
use crate::files::{Files, Opened};
use crate::query::{Committed, Cursor, LogFiles};

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
    /// Bytes where a batch's header should stand.
    Batch,
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
    /// The file may still be written to: what lies behind `limit` is a batch in flight.
    live: bool,
}

/// Checks every file of a log, indexes and frame tables too. `committed` is the state of a live
/// container: what lies behind it is left alone.
///
/// # Errors
/// [`ReadError`], if something cannot be opened, listed or read. Damage is none.
pub fn check(files: &LogFiles, committed: Option<&Committed>) -> Result<Report, ReadError> {
    let mut report = Report::default();
    let mut list = Files::new(files.clone(), None);
    let mut numbers = list.list_stopped()?;
    if let (Some(now), false) = (committed, list.is_local()) {
        list.number_as(now.file_no);
        numbers = list.list_stopped()?;
    }
    let newest = numbers.first().copied();
    for number in numbers.into_iter().rev() {
        let Opened::File(input) = list.take(number)? else {
            continue;
        };
        let path = list.path_now(number);
        let error = |e| ReadError::read(&path, e);
        let live = committed.is_some() && newest == Some(number);
        let mut limit = input.len().map_err(error)?;
        if let (true, Some(now)) = (live, committed) {
            limit = limit.min(now.offset);
        }
        report.files += 1;
        report.bytes += limit;
        frames(&mut report, &path, &input).map_err(error)?;
        let target = Target {
            number,
            path: path.clone(),
            input: &input,
            limit,
            live,
        };
        let index = index(&mut report, files, number, live);
        if list.is_local() {
            segment::check(&mut report, &target).map_err(error)?;
        } else {
            json::check(&mut report, &target, index.as_deref()).map_err(error)?;
        }
    }
    Ok(report)
}

fn frames(report: &mut Report, path: &std::path::Path, input: &Input) -> std::io::Result<()> {
    let Some(frames) = input.frames() else {
        return Ok(());
    };
    let mut frames = frames.borrow_mut();
    if frames.is_rebuilt() {
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
