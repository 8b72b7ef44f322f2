//! A container's state file, mapped by the daemon. The daemon writes only the fields that the
//! layout marks as its own.

use std::fs::File;
use std::io;
use std::num::NonZeroUsize;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::ptr::NonNull;
use std::sync::atomic::Ordering;

use nix::sys::mman::{MapFlags, ProtFlags, mmap, munmap};
use taffrail_log_core::state::{
    MAGIC, PAGE, STAGE, STATE_FILE, Slot, StatePage, VERSION, Word, phase,
};
use taffrail_monitor::proto::unhex;

use super::{SupervisorError, at};

/// The mapped state page.
#[derive(Debug)]
pub(crate) struct Page {
    base: NonNull<StatePage>,
}

// SAFETY: the page is shared memory that other processes write; everything is reached by atomics
// or by `StatePage::committed`.
unsafe impl Send for Page {}
// SAFETY: as above.
unsafe impl Sync for Page {}

impl Page {
    /// Makes the state file in `dir` with `slot` committed.
    pub(super) fn make(
        dir: &Path,
        id: &str,
        slot: &Slot,
        spool_share: u64,
    ) -> Result<(), SupervisorError> {
        let path = dir.join("state");
        let mut options = File::options();
        options.read(true).write(true).create_new(true).mode(0o600);
        let file = options.open(&path).map_err(at("cannot make", &path))?;
        file.set_len(STATE_FILE as u64)
            .map_err(at("cannot size", &path))?;
        let mut head = [0u8; 48];
        head[..8].copy_from_slice(&MAGIC.to_le_bytes());
        head[8..12].copy_from_slice(&VERSION.to_le_bytes());
        head[12..16].copy_from_slice(&(STAGE as u32).to_le_bytes());
        head[16..].copy_from_slice(
            &unhex(id.as_bytes()).ok_or_else(|| SupervisorError::BadId(id.to_owned()))?,
        );
        file.write_all_at(&head, 0)
            .map_err(at("cannot write", &path))?;
        let this = Self::of(&file, &path)?;
        // SAFETY: nobody else knows the file yet; the address is inside the mapping.
        unsafe {
            (&raw mut (*this.base.as_ptr()).slots)
                .cast::<Slot>()
                .write_volatile(*slot)
        };
        let page = this.get();
        page.held_from.store(u64::MAX, Ordering::Relaxed);
        page.spool_share.store(spool_share, Ordering::Relaxed);
        let word = Word {
            commit: 1,
            phase: phase::IDLE,
            slot: 0,
        };
        page.word.store(word.pack(), Ordering::Release);
        Ok(())
    }

    /// Maps the state file in `dir`.
    pub(super) fn map(dir: &Path) -> Result<Self, SupervisorError> {
        let path = dir.join("state");
        let file = File::options()
            .read(true)
            .write(true)
            .open(&path)
            .map_err(at("cannot open", &path))?;
        let size = file.metadata().map_err(at("cannot read", &path))?.len();
        if size != STATE_FILE as u64 {
            return Err(SupervisorError::BadState { path });
        }
        let this = Self::of(&file, &path)?;
        if this.get().committed().is_none() {
            return Err(SupervisorError::BadState { path });
        }
        Ok(this)
    }

    fn of(file: &File, path: &Path) -> Result<Self, SupervisorError> {
        let len = NonZeroUsize::new(PAGE)
            .ok_or(io::ErrorKind::InvalidInput.into())
            .map_err(at("cannot map", path))?;
        // SAFETY: a shared mapping of a file that is large enough; unmapped on drop only.
        let base = unsafe {
            mmap(
                None,
                len,
                ProtFlags::PROT_READ | ProtFlags::PROT_WRITE,
                MapFlags::MAP_SHARED,
                file,
                0,
            )
        }
        .map_err(|e| at("cannot map", path)(e.into()))?;
        Ok(Self { base: base.cast() })
    }

    pub(super) fn get(&self) -> &StatePage {
        // SAFETY: mapped for the life of `self`; see `Sync`.
        unsafe { self.base.as_ref() }
    }

    /// Whether a monitor would still work with this page.
    pub(super) fn intact(&self) -> bool {
        let page = self.get();
        page.magic.load(Ordering::Relaxed) == MAGIC
            && page.version.load(Ordering::Relaxed) == VERSION
    }

    pub(super) fn lifecycle(&self) -> u32 {
        self.get().lifecycle.load(Ordering::Acquire)
    }

    pub(super) fn create_status(&self) -> i32 {
        self.get().create_status.load(Ordering::Acquire)
    }

    pub(super) fn attach_want(&self, want: bool) {
        self.get()
            .attach_want
            .store(u32::from(want), Ordering::SeqCst);
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        // SAFETY: mapped in `of`, and no reference outlives `self`.
        let _ = unsafe { munmap(self.base.cast(), PAGE) };
    }
}
