//! Segments of the `local` format: each keeps its number as its name.

use taffrail_log_core::capture::Log;
use taffrail_log_core::local::{ALIGN, SegmentHeader};
use taffrail_log_core::segment;
use taffrail_log_core::state::{Slot, phase};

use super::Files;
use crate::probe::Probe;
use crate::sys::{self, O_CREAT, O_NOFOLLOW, O_RDWR, O_TRUNC, Result};
use crate::text::Name;

/// `number` with an ending.
pub(super) fn name(number: u64, ending: &[u8]) -> Name {
    let mut name = Name::new(&[]).number(number);
    name.push(ending);
    name
}

impl<P: Probe> Files<'_, P> {
    /// What the current segment and the run begin with, as far as it is not there yet. All of it is
    /// written again if the batch behind it is not committed.
    ///
    /// # Errors
    /// The log does not take it.
    pub(super) fn begin_segment(&mut self, slot: &mut Slot) -> Result<()> {
        let time = sys::now(sys::REALTIME).max(slot.last_time);
        if slot.offset < ALIGN as u64 {
            let mut salt = [0; 4];
            let _ = sys::getrandom(&mut salt);
            slot.salt = u32::from_le_bytes(salt);
            let header = SegmentHeader {
                salt: slot.salt,
                number: slot.file_no,
                first_seq: segment::next_seq(slot),
                epoch: slot.epoch as u32,
                run: self.conf.run,
                time,
            };
            self.write(0, &header.encode())?;
            slot.offset = ALIGN as u64;
            slot.block_offset = slot.offset;
            slot.attrs_at = 0;
            slot.segment_used = 0;
        }
        if slot.attrs_at == 0 {
            let format = self.format(0);
            segment::write_attrs(self, slot, &format, time)?;
        }
        Ok(())
    }

    /// See [`Files::run_rotation`]. No step depends on how often it was done.
    pub(super) fn rotate_segments(&mut self, slot: &mut Slot) -> Result<()> {
        let before = *slot;
        let next = name(slot.file_no + 1, b".seg");
        let made = O_RDWR | O_CREAT | O_TRUNC | O_NOFOLLOW;
        let fresh = sys::open(self.dir, next.path(), made, 0o640)?;
        let old = core::mem::replace(&mut self.log, fresh);
        P::step(15);
        slot.file_no += 1;
        slot.offset = 0;
        slot.block_crc = 0;
        let begun = sys::fstat(fresh).and_then(|stat| {
            slot.inode = stat.inode;
            self.begin_segment(slot)?;
            self.sync()
        });
        if let Err(e) = begun {
            self.log = old;
            sys::close(fresh);
            let _ = sys::unlink(self.dir, next.path());
            *slot = before;
            return Err(e);
        }
        if old >= 0 {
            sys::close(old);
        }
        P::step(16);
        self.open_side(slot.file_no, true);
        self.side_header(slot);
        self.mark_file(slot);
        let keep = self.conf.max_file.max(1);
        while slot.oldest_file_no + keep <= slot.file_no {
            let number = slot.oldest_file_no;
            let names = [name(number, b".seg"), name(number, b".seg.zst")];
            // A file that cannot be moved or removed stays, and is tried again with the next.
            if self.move_out(self.held(number), number, &names).is_err() {
                break;
            }
            P::step(13);
            self.moved_out(slot, number);
            slot.oldest_file_no += 1;
        }
        P::step(14);
        let gone = self.bound_spool(slot);
        P::step(17);
        self.commit(slot, phase::BATCH);
        self.drop_spooled(gone);
        Ok(())
    }
}
