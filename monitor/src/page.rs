//! The state file, mapped.

use core::sync::atomic::{Ordering, fence};

use taffrail_log_core::state::{
    MAGIC, RING, RING_AT, STAGE, STAGE_AT, STATE_FILE, Slot, StatePage, VERSION, Word,
};

use crate::sys::{self, AT_FDCWD, CPath, Errno, LOCK_EX, LOCK_NB, O_RDWR, Result};

/// A mapped state file, locked by this process for as long as it lives.
#[derive(Clone, Copy, Debug)]
pub struct State {
    base: *mut u8,
}

impl State {
    /// Maps and locks `state` in the working directory. A monitor that is just dying still holds
    /// the lock, so this waits for up to five seconds.
    ///
    /// # Errors
    /// No such file, no lock, or not a state file of this version (EINVAL).
    pub fn open() -> Result<Self> {
        let fd = sys::open(AT_FDCWD, CPath::new(b"state\0"), O_RDWR, 0)?;
        if sys::fstat(fd)?.size != STATE_FILE as u64 {
            return Err(Errno::EINVAL);
        }
        let mut tries = 500;
        while let Err(e) = sys::flock(fd, LOCK_EX | LOCK_NB) {
            tries -= 1;
            if e != Errno::EAGAIN || tries == 0 {
                return Err(e);
            }
            sys::sleep(10_000_000);
        }
        // The descriptor stays open for the lock.
        let this = Self {
            base: sys::mmap(fd, STATE_FILE, true)?,
        };
        let page = this.page();
        if page.magic.load(Ordering::Relaxed) != MAGIC
            || page.version.load(Ordering::Relaxed) != VERSION
        {
            return Err(Errno::EINVAL);
        }
        Ok(this)
    }

    /// The page.
    #[must_use]
    pub fn page(&self) -> &'static StatePage {
        // SAFETY: `base` maps a whole state file for the life of the process; all fields that
        // change are atomics, and slots are only reached by `slot_ptr`.
        unsafe { &*self.base.cast::<StatePage>() }
    }

    /// The stage.
    #[must_use]
    pub fn stage(&self) -> *mut u8 {
        // SAFETY: inside the mapping.
        unsafe { self.base.add(STAGE_AT) }
    }

    /// The first `len` bytes of the stage.
    #[must_use]
    pub fn staged(&self, len: usize) -> &'static [u8] {
        // SAFETY: inside the mapping; only this process writes the stage, and not while a batch
        // is worked on.
        unsafe { core::slice::from_raw_parts(self.stage(), len.min(STAGE)) }
    }

    /// The carry ring of a stream.
    #[must_use]
    pub fn ring(&self, stream: usize) -> &'static mut [u8] {
        // SAFETY: inside the mapping; one ring is borrowed at a time, by the batch in work.
        unsafe {
            core::slice::from_raw_parts_mut(self.base.add(RING_AT + stream.min(1) * RING), RING)
        }
    }

    /// The word taken apart.
    #[must_use]
    pub fn word(&self) -> Word {
        Word::unpack(self.page().word.load(Ordering::Acquire))
    }

    fn slot_ptr(&self, slot: u8) -> *mut Slot {
        // SAFETY: a field address inside the mapping.
        unsafe {
            (&raw mut (*self.base.cast::<StatePage>()).slots)
                .cast::<Slot>()
                .add(usize::from(slot & 1))
        }
    }

    /// The committed slot.
    #[must_use]
    pub fn slot(&self) -> Slot {
        // SAFETY: only this process writes slots.
        unsafe { self.slot_ptr(self.word().slot).read_volatile() }
    }

    /// Enters another phase with the same slot.
    pub fn set_phase(&self, phase: u8) {
        let word = Word {
            phase,
            ..self.word()
        };
        self.page().word.store(word.pack(), Ordering::Release);
    }

    /// Writes the slot that is not committed.
    pub fn write_other(&self, slot: &Slot) {
        // SAFETY: inside the mapping; readers take copies and throw torn ones away.
        unsafe { self.slot_ptr(self.word().slot ^ 1).write_volatile(*slot) };
    }

    /// Makes the other slot the committed one. This store is the commit.
    pub fn switch(&self, phase: u8) {
        let old = self.word();
        let new = Word {
            commit: old.commit + 1,
            phase,
            slot: old.slot ^ 1,
        };
        self.page().word.store(new.pack(), Ordering::Release);
        // The next write to the slot that was committed must not be seen before the word.
        fence(Ordering::SeqCst);
    }
}
