//! Closed files that rotation has no place for any more: removed, or moved to the spool while a
//! reader or sink still needs them (decision 13).

use core::ops::Range;
use core::sync::atomic::Ordering;

use taffrail_log_core::side::{ENTRY, Header};
use taffrail_log_core::state::Slot;

use super::{Files, segments};
use crate::probe::Probe;
use crate::sys::{self, Errno, Fd, O_NOFOLLOW, O_RDONLY, Result};
use crate::text::Name;

impl<P: Probe> Files<'_, P> {
    /// Whether somebody needs file `number`, and there is a place for it.
    pub(super) fn held(&self, number: u64) -> bool {
        self.spool >= 0 && self.state.page().held_from.load(Ordering::Acquire) <= number
    }

    /// Takes file `number`, plain and compressed under `names`, out of the log.
    pub(super) fn move_out(&self, held: bool, number: u64, names: &[Name; 2]) -> Result<()> {
        for (name, to) in names.iter().zip(self.spool_names(number)) {
            let done = if held {
                sys::rename_to(self.dir, name.path(), self.spool, to.path())
            } else {
                sys::unlink(self.dir, name.path())
            };
            match done {
                Ok(()) | Err(Errno::ENOENT) => {}
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }

    fn spool_names(&self, number: u64) -> [Name; 2] {
        if self.conf.local {
            [
                segments::name(number, b".seg"),
                segments::name(number, b".seg.zst"),
            ]
        } else {
            [segments::name(number, b""), segments::name(number, b".gz")]
        }
    }

    /// Takes into `slot` what [`Files::move_out`] did with the oldest file.
    pub(super) fn moved_out(&self, slot: &mut Slot, number: u64) {
        let empty = slot.spool_oldest >= number;
        match self.spooled(number) {
            Some(bytes) => {
                if empty {
                    slot.spool_oldest = number;
                }
                slot.spool_bytes += bytes;
            }
            None => {
                self.drop_index(number);
                if empty {
                    slot.spool_oldest = number + 1;
                }
            }
        }
    }

    /// Bytes of file `number` in the spool, `None` if it is not there.
    fn spooled(&self, number: u64) -> Option<u64> {
        let sizes = self.spool_names(number).map(|n| size(self.spool, &n));
        match sizes {
            [None, None] => None,
            [a, b] => Some(a.unwrap_or(0) + b.unwrap_or(0)),
        }
    }

    fn drop_index(&self, number: u64) {
        if self.index >= 0 {
            let _ = sys::unlink(self.index, segments::name(number, b"").path());
            let _ = sys::unlink(self.index, segments::name(number, b".gz").path());
        }
    }

    /// Takes out of `slot` what the spool lets go of: files that nobody needs, then the oldest until
    /// the spool is within its bound. What a reader has not read is counted. The files themselves
    /// are removed by [`Files::drop_spooled`] once that is committed, so that each is counted once.
    #[must_use]
    pub fn bound_spool(&self, slot: &mut Slot) -> Range<u64> {
        let page = self.state.page();
        let held_from = page.held_from.load(Ordering::Acquire);
        let share = page.spool_share.load(Ordering::Acquire);
        let first = slot.spool_oldest;
        while slot.spool_oldest < slot.oldest_file_no {
            let number = slot.spool_oldest;
            let needed = held_from <= number;
            if needed && (slot.spool_bytes <= share || self.keep_all) {
                return first..number;
            }
            let bytes = self.spooled(number).unwrap_or(0);
            if needed && bytes > 0 {
                slot.spool_lost_bytes += bytes;
                slot.spool_lost_records += self.records(number);
            }
            slot.spool_bytes = slot.spool_bytes.saturating_sub(bytes);
            slot.spool_oldest += 1;
        }
        slot.spool_bytes = 0;
        first..slot.spool_oldest
    }

    /// Whether the spool is at its bound with files that somebody needs.
    pub fn spool_is_full(&self, slot: &Slot) -> bool {
        let page = self.state.page();
        slot.spool_oldest < slot.oldest_file_no
            && page.held_from.load(Ordering::SeqCst) < slot.oldest_file_no
            && slot.spool_bytes > page.spool_share.load(Ordering::SeqCst)
    }

    /// Removes files of the spool and their indexes, the oldest first.
    pub fn drop_spooled(&self, numbers: Range<u64>) {
        if !numbers.is_empty() {
            P::step(33);
        }
        for number in numbers {
            for name in self.spool_names(number) {
                let _ = sys::unlink(self.spool, name.path());
            }
            self.drop_index(number);
            P::step(34);
        }
    }

    /// Records of a closed file, from the first numbers of its index and the next one's.
    fn records(&self, number: u64) -> u64 {
        let first = |number| {
            let name = segments::name(number, b"");
            let fd = sys::open(self.index, name.path(), O_RDONLY | O_NOFOLLOW, 0).ok()?;
            let mut bytes = [0; ENTRY];
            let got = sys::pread(fd, &mut bytes, 0);
            sys::close(fd);
            (got == Ok(ENTRY))
                .then(|| Header::decode(&bytes))
                .flatten()
                .map(|h| h.first_seq)
        };
        match (first(number), first(number + 1)) {
            (Some(a), Some(b)) => b.saturating_sub(a),
            _ => 0,
        }
    }

    /// After a death: removes what was let go of and not removed, and counts the spool's bytes anew.
    pub fn recount_spool(&self, slot: &mut Slot) {
        let mut gone = slot.spool_oldest;
        while gone > 1 && self.spooled(gone - 1).is_some() {
            gone -= 1;
        }
        self.drop_spooled(gone..slot.spool_oldest);
        slot.spool_bytes = (slot.spool_oldest..slot.oldest_file_no)
            .filter_map(|n| self.spooled(n))
            .sum();
    }
}

fn size(dir: Fd, name: &Name) -> Option<u64> {
    if dir < 0 {
        return None;
    }
    let fd = sys::open(dir, name.path(), O_RDONLY | O_NOFOLLOW, 0).ok()?;
    let stat = sys::fstat(fd);
    sys::close(fd);
    stat.ok().map(|s| s.size)
}
