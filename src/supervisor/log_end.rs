//! Where a run left its log, noted at its clean end in `containers/<id>/log-end`. A start that does
//! not find its log as the note says begins a new epoch (decision 15): after a power loss, damage,
//! or a log that was put back, no position is given twice.

use std::fs::{self, File};
use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};
use taffrail_log::Cursor;
use taffrail_log_core::state::Slot;

use crate::state_file::replace;

const NAME: &str = "log-end";
const VERSION: u32 = 1;

/// Where the log of a stopped container ended, if its end is noted: the place behind its last
/// record.
pub(crate) fn log_end(dir: &Path) -> Option<Cursor> {
    LogEnd::load(dir).map(|end| end.cursor())
}

/// See the module.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct LogEnd {
    version: u32,
    pub(super) run: u32,
    pub(super) epoch: u64,
    pub(super) next_seq: u64,
    pub(super) file_no: u64,
    pub(super) offset: u64,
    pub(super) inode: u64,
    /// Time of the last record, nanoseconds since 1970.
    pub(super) last_time: u64,
    /// What was given up and is not in the log yet: seq, records, bytes, from, until, errno.
    pub(super) gap: Option<(u64, u64, u64, u64, u64, u32)>,
}

impl LogEnd {
    pub(super) fn of(slot: &Slot) -> Self {
        let gap = (slot.gap_records > 0 || slot.gap_bytes > 0).then_some((
            slot.gap_seq,
            slot.gap_records,
            slot.gap_bytes,
            slot.gap_from,
            slot.gap_until,
            slot.gap_cause,
        ));
        Self {
            version: VERSION,
            run: slot.run,
            epoch: slot.epoch,
            next_seq: slot.next_seq,
            file_no: slot.file_no,
            offset: slot.offset,
            inode: slot.inode,
            last_time: slot.last_time,
            gap,
        }
    }

    /// Writes the note; a container without a folder keeps no log.
    pub(super) fn store(&self, dir: &Path) -> io::Result<()> {
        if !dir.is_dir() {
            return Ok(());
        }
        let mut bytes = serde_json::to_vec(self)?;
        bytes.push(b'\n');
        // Not synced: without the note a new epoch begins, which is what a power loss asks for.
        replace(dir, NAME, &bytes, false)
    }

    /// The note, if there is one of this version.
    pub(super) fn load(dir: &Path) -> Option<Self> {
        let bytes = fs::read(dir.join(NAME)).ok()?;
        let end: Self = serde_json::from_slice(&bytes).ok()?;
        (end.version == VERSION).then_some(end)
    }

    /// Place behind the last record that is in the log.
    fn cursor(&self) -> Cursor {
        Cursor {
            epoch: self.epoch,
            seq: self.gap.map_or(self.next_seq, |(seq, ..)| seq),
        }
    }

    /// Removes the note for good: whatever becomes of the run that begins now, it must not be
    /// believed again.
    pub(super) fn forget(dir: &Path) -> io::Result<()> {
        match fs::remove_file(dir.join(NAME)) {
            Ok(()) => File::open(dir)?.sync_all(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Puts the pending gap into the slot of the next run.
    pub(super) fn take_gap(&self, slot: &mut Slot) {
        if let Some((seq, records, bytes, from, until, cause)) = self.gap {
            slot.gap_seq = seq;
            slot.gap_records = records;
            slot.gap_bytes = bytes;
            slot.gap_from = from;
            slot.gap_until = until;
            slot.gap_cause = cause;
        }
    }
}
