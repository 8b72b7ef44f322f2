//! Whether a receiver acknowledges: found out once a destination, and remembered.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// One that did not answer is asked again after this.
const ASK_AGAIN: Duration = Duration::from_secs(600);

/// What is known of the receiver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Acks {
    /// It is to be found out.
    Unknown,
    /// It does, or must.
    Yes,
    No,
}

/// What earlier connections to a destination have found out.
#[derive(Debug, Default)]
pub(super) struct Learned(Mutex<Option<(bool, Instant)>>);

impl Learned {
    fn inner(&self) -> MutexGuard<'_, Option<(bool, Instant)>> {
        // It is whole after each statement.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn get(&self) -> Acks {
        match *self.inner() {
            Some((true, _)) => Acks::Yes,
            Some((false, at)) if at.elapsed() < ASK_AGAIN => Acks::No,
            _ => Acks::Unknown,
        }
    }

    /// It did not do what was known of it: another one may be there by now, which is asked again.
    pub(super) fn forget(&self) {
        *self.inner() = None;
    }

    pub(super) fn put(&self, acknowledges: bool) {
        *self.inner() = Some((acknowledges, Instant::now()));
    }
}
