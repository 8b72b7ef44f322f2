//! Rotation of json-file logs: Docker's names, so every file is renamed.

use core::sync::atomic::Ordering;

use taffrail_log_core::capture::Log;
use taffrail_log_core::state::{Slot, phase};

use super::Files;
use crate::probe::Probe;
use crate::sys::{self, Errno, O_CREAT, O_NOFOLLOW, O_RDONLY, O_RDWR, O_TRUNC, Result};
use crate::text::Name;

impl<P: Probe> Files<'_, P> {
    pub(super) fn name(&self, generation: u64) -> Name {
        let name = Name::new(&[self.conf.log_name]);
        if generation == 0 {
            name
        } else {
            let mut name = name;
            name.push(b".");
            name.number(generation)
        }
    }

    /// Name of a compressed file.
    pub(super) fn packed(&self, generation: u64) -> Name {
        let mut name = self.name(generation);
        name.push(b".gz");
        name
    }

    /// See [`Files::run_rotation`]. The counter in the page is at most one behind, and a rename that
    /// was done finds no source.
    pub(super) fn rotate_names(&mut self, slot: &mut Slot) -> Result<()> {
        let page = self.state.page();
        let existing = slot.file_no - slot.oldest_file_no.min(slot.file_no);
        let keep = self.conf.max_file.max(1) - 1;
        // The next file first: when it cannot be made, nothing has been given up for it.
        let (fresh, current) = (Name::new(&[self.conf.log_name, b".new"]), self.name(0));
        let made = O_RDWR | O_CREAT | O_TRUNC | O_NOFOLLOW;
        sys::open(self.dir, fresh.path(), made, 0o640).map(sys::close)?;
        P::step(15);
        let mut step = 0;
        let mut todo = |act: &mut dyn FnMut() -> Result<()>| -> Result<()> {
            step += 1;
            if page.rotate_step.load(Ordering::Relaxed) >= step {
                return Ok(());
            }
            P::step(13);
            match act() {
                Ok(()) | Err(Errno::ENOENT) => {}
                Err(e) => return Err(e),
            }
            P::step(14);
            page.rotate_step.store(step, Ordering::Release);
            Ok(())
        };
        let oldest = slot.file_no - keep.min(slot.file_no);
        if existing + 1 > keep {
            // The oldest makes room: with keep 0 that is the current file itself.
            let names = [self.name(keep), self.packed(keep)];
            let held = self.held(oldest);
            todo(&mut || self.move_out(held, oldest, &names))?;
        }
        for to in (1..=keep.min(existing + 1)).rev() {
            if to > 1 {
                let (from, to) = (self.packed(to - 1), self.packed(to));
                todo(&mut || sys::rename(self.dir, from.path(), to.path()))?;
            }
            let (from, to) = (self.name(to - 1), self.name(to));
            todo(&mut || sys::rename(self.dir, from.path(), to.path()))?;
        }
        todo(&mut || sys::rename(self.dir, fresh.path(), current.path()))?;
        // Made once more by a replay that had nothing left to do.
        let _ = sys::unlink(self.dir, fresh.path());
        let log = sys::open(
            self.dir,
            current.path(),
            O_RDWR | O_CREAT | O_NOFOLLOW,
            0o640,
        )?;
        if self.log >= 0 {
            sys::close(self.log);
        }
        self.log = log;
        if existing + 1 > keep {
            self.moved_out(slot, oldest);
        }
        slot.file_no += 1;
        slot.oldest_file_no = slot
            .oldest_file_no
            .max(slot.file_no - keep.min(slot.file_no - 1));
        slot.offset = 0;
        slot.inode = sys::fstat(log)?.inode;
        slot.block_offset = 0;
        slot.block_crc = 0;
        self.open_side(slot.file_no, true);
        self.side_header(slot);
        self.mark_file(slot);
        P::step(16);
        let gone = self.bound_spool(slot);
        P::step(17);
        self.commit(slot, phase::BATCH);
        self.drop_spooled(gone);
        Ok(())
    }

    /// After a rotation that failed: the file itself is still open, and is put back under its name
    /// where that is free.
    pub(super) fn put_names_back(&self) {
        let fresh = Name::new(&[self.conf.log_name, b".new"]);
        let _ = sys::unlink(self.dir, fresh.path());
        if sys::open(self.dir, self.name(0).path(), O_RDONLY, 0).map(sys::close)
            == Err(Errno::ENOENT)
        {
            let _ = sys::rename(self.dir, self.name(1).path(), self.name(0).path());
        }
    }
}
