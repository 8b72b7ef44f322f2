//! The daemon's fields of the state page about the spool: what is needed, and how much it may take.

use std::sync::atomic::Ordering;

use super::Capture;

/// What lies in a running container's spool, and what its bound has taken from readers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct SpoolState {
    pub(crate) bytes: u64,
    pub(crate) lost_records: u64,
    pub(crate) lost_bytes: u64,
}

impl Capture {
    /// Files from this number on are needed; `None`: none is.
    pub(crate) fn hold_from(&self, number: Option<u64>) {
        let page = self.page().get();
        let number = number.unwrap_or(u64::MAX);
        let before = page.held_from.swap(number, Ordering::SeqCst);
        // Only what is let go gives the monitor something to do.
        if number > before && self.spool().bytes > 0 {
            self.kick();
        }
    }

    /// Bytes that the spool may take.
    pub(crate) fn share_spool(&self, bytes: u64) {
        let page = self.page().get();
        let before = page.spool_share.swap(bytes, Ordering::SeqCst);
        let waits = page.spool_blocked.load(Ordering::SeqCst) != 0;
        if (bytes < before && self.spool().bytes > bytes) || (bytes > before && waits) {
            self.kick();
        }
    }

    pub(crate) fn spool(&self) -> SpoolState {
        let slot = self.page().get().committed().map(|(_, slot)| slot);
        slot.map_or_else(SpoolState::default, |slot| SpoolState {
            bytes: slot.spool_bytes,
            lost_records: slot.spool_lost_records,
            lost_bytes: slot.spool_lost_bytes,
        })
    }
}
