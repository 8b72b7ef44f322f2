//! Where a container's log stands when a monitor begins to write it: after a first start nothing,
//! after a restart the end of what is there. A log that does not end as the run before noted goes
//! on in a new epoch.

mod json;
mod local;
#[cfg(test)]
mod tests;

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt};
use std::path::Path;

use taffrail_log_core::side::{ENTRY, Entry, Header, Mark};
use taffrail_log_core::state::Slot;

use super::log_end::LogEnd;
use super::{LogFile, LogFormat, SupervisorError, at};
use crate::container::time;

/// A clock that stands so far behind the last record was set back (decision 6): a new epoch begins.
const STEP_BACK_NS: u64 = 2_000_000_000;

/// The slot of a container that keeps no log.
pub(super) fn no_log() -> Slot {
    Slot {
        file_no: 1,
        oldest_file_no: 1,
        spool_oldest: 1,
        epoch: 1,
        next_seq: 1,
        ..Slot::default()
    }
}

/// The slot that a fresh state file begins with.
pub(super) fn first_slot(log: &LogFile) -> Result<Slot, SupervisorError> {
    let segments = (log.format == LogFormat::Local).then(|| log.segments_dir());
    let folders = [log.index_dir(), log.spool_dir(), log.tmp_dir()];
    for folder in folders.iter().chain(&segments) {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)
            .map_err(at("cannot make", folder))?;
    }
    let end = LogEnd::load(&log.dir);
    let mut slot = match &log.format {
        LogFormat::JsonFile(name) => json::resume(log, &log.dir.join(name), end.as_ref())?,
        LogFormat::Local => local::resume(log, end.as_ref())?,
    };
    let now = u64::try_from(time::now_ns()).unwrap_or(0);
    if now.saturating_add(STEP_BACK_NS) < slot.last_time {
        slot.epoch += 1;
        slot.last_time = 0;
        if log.format == LogFormat::Local && slot.offset > 0 {
            slot = local::next_segment(&slot);
        }
    }
    if let Some(told) = crate::delivery::highest(&log.dir)
        && (told.epoch, told.seq) >= (slot.epoch, slot.next_seq)
    {
        // A receiver has records with these numbers that the log has lost.
        slot.epoch = told.epoch + 1;
        if log.format == LogFormat::Local && slot.offset > 0 {
            slot = local::next_segment(&slot);
        }
    }
    if let Some(end) = &end {
        end.take_gap(&mut slot);
    }
    slot.run = log.run;
    spool(&log.spool_dir(), &mut slot);
    // Whatever becomes of this run, its log has moved on from here.
    if let Err(error) = LogEnd::forget(&log.dir) {
        tracing::warn!(path = %log.dir.display(), %error, "note of the log's end cannot be removed");
    }
    Ok(slot)
}

/// What the spool holds.
fn spool(dir: &Path, slot: &mut Slot) {
    slot.spool_oldest = slot.oldest_file_no;
    slot.spool_bytes = 0;
    let Ok(entries) = fs::read_dir(dir) else {
        return;
    };
    for entry in entries.flatten() {
        let number = number_of(&entry.file_name().to_string_lossy());
        if let (Some(number), Ok(meta)) = (number, entry.metadata())
            && number < slot.oldest_file_no
        {
            slot.spool_oldest = slot.spool_oldest.min(number);
            slot.spool_bytes += meta.len();
        }
    }
}

/// The number that a file's name begins with: `12`, `12.seg`, `12.seg.zst`.
fn number_of(name: &str) -> Option<u64> {
    name.split('.').next()?.parse().ok().filter(|n| *n > 0)
}

/// The highest values in all side files; 0 without one.
#[derive(Debug, Default)]
struct Seen {
    file_no: u64,
    epoch: u64,
    /// Above the first record of every block.
    next_seq: u64,
}

impl Seen {
    /// Of the side files in `dir`, and of the note.
    fn of(dir: &Path, end: Option<&LogEnd>) -> Self {
        let mut seen = Self::default();
        if let Some(end) = end {
            seen.take(end.file_no, end.epoch, end.next_seq);
        }
        let entries = fs::read_dir(dir).into_iter().flatten().flatten();
        for side in entries.filter_map(|e| Side::read(&e.path())) {
            let header = side.header;
            seen.take(header.file_no, header.epoch, header.first_seq);
            seen.take(0, side.epoch, side.at.1);
        }
        seen
    }

    fn take(&mut self, file_no: u64, epoch: u64, next_seq: u64) {
        self.file_no = self.file_no.max(file_no);
        self.epoch = self.epoch.max(epoch);
        self.next_seq = self.next_seq.max(next_seq);
    }

    fn nothing(&self) -> bool {
        self.epoch == 0
    }
}

/// A side file up to its first damaged entry.
struct Side {
    header: Header,
    /// Bytes of whole entries.
    len: u64,
    /// The last offset of which the number of the record there is known, and that number.
    at: (u64, u64),
    epoch: u64,
}

impl Side {
    fn read(path: &Path) -> Option<Self> {
        let bytes = fs::read(path).ok()?;
        let (blocks, _) = bytes.as_chunks::<ENTRY>();
        let (header, entries) = blocks.split_first()?;
        let header = Header::decode(header)?;
        let mut side = Self {
            header,
            len: ENTRY as u64,
            at: (0, header.first_seq),
            epoch: header.epoch,
        };
        for entry in entries {
            side.at = match (Entry::decode(entry), Mark::decode(entry)) {
                (Some(block), _) => {
                    side.epoch = side.epoch.max(block.epoch);
                    (block.offset, block.seq)
                }
                (
                    None,
                    Some(Mark::Gap {
                        offset, seq, count, ..
                    }),
                ) => (offset, seq + count),
                (
                    None,
                    Some(Mark::Run {
                        offset, seq, epoch, ..
                    }),
                ) => {
                    side.epoch = side.epoch.max(epoch);
                    (offset, seq)
                }
                (None, None) => break,
            };
            side.len += ENTRY as u64;
        }
        Some(side)
    }
}

/// Makes the side file of a log file that lost it. The monitor goes on behind the header.
fn new_side(dir: &Path, header: &Header) -> Result<u64, SupervisorError> {
    let path = dir.join(header.file_no.to_string());
    fs::write(&path, header.encode()).map_err(at("cannot write", &path))?;
    Ok(ENTRY as u64)
}

fn read_at(file: &File, buf: &mut [u8], at: u64) -> io::Result<usize> {
    let mut done = 0;
    while done < buf.len() {
        match file.read_at(&mut buf[done..], at + done as u64) {
            Ok(0) => break,
            Ok(n) => done += n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(done)
}
