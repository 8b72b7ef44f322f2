//! Which of a container's log files somebody still needs. Followers hold from the file that they
//! are reading on; a sink's cursor joins by holding from the file of the first record that its
//! receiver has not accepted.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use crate::supervisor::Capture;

/// The holds on one container's log.
#[derive(Debug, Default)]
pub(crate) struct Holds {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    /// By hold: the lowest file number that it needs.
    needed: HashMap<u64, u64>,
    next: u64,
    /// Who has to know.
    capture: Weak<Capture>,
}

impl Inner {
    fn lowest(&self) -> Option<u64> {
        self.needed.values().min().copied()
    }

    /// Writes the lowest number to the state page.
    fn publish(&self) {
        if let Some(capture) = self.capture.upgrade() {
            capture.hold_from(self.lowest());
        }
    }
}

impl Holds {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        // The map is consistent after each statement.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Holds from file `from` on until the hold is dropped; 0 is all there is. What is to be read
    /// must be held before it is looked for.
    pub(crate) fn begin(self: &Arc<Self>, from: u64) -> Hold {
        let mut inner = self.inner();
        inner.next += 1;
        let id = inner.next;
        inner.needed.insert(id, from);
        inner.publish();
        Hold {
            holds: Arc::clone(self),
            id,
        }
    }

    /// From now on this capture's state page says what is held.
    pub(crate) fn watch(&self, capture: &Arc<Capture>) {
        let mut inner = self.inner();
        inner.capture = Arc::downgrade(capture);
        inner.publish();
    }

    /// The lowest file number that somebody needs; `None`: nobody needs any.
    pub(crate) fn lowest(&self) -> Option<u64> {
        self.inner().lowest()
    }
}

/// Keeps files of a log from being removed.
#[derive(Debug)]
pub(crate) struct Hold {
    holds: Arc<Holds>,
    id: u64,
}

impl Hold {
    /// Files below `number` are not needed any more.
    pub(crate) fn advance(&self, number: u64) {
        let mut inner = self.holds.inner();
        let before = inner.lowest();
        if inner.needed.insert(self.id, number) == Some(number) {
            return;
        }
        if inner.lowest() != before {
            inner.publish();
        }
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        let mut inner = self.holds.inner();
        inner.needed.remove(&self.id);
        inner.publish();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lowest_counts() {
        let holds = Arc::new(Holds::default());
        assert_eq!(holds.lowest(), None);
        let a = holds.begin(0);
        a.advance(7);
        assert_eq!(holds.lowest(), Some(7));
        let b = holds.begin(0);
        b.advance(5);
        assert_eq!(holds.lowest(), Some(5));
        a.advance(9);
        assert_eq!(holds.lowest(), Some(5));
        drop(b);
        assert_eq!(holds.lowest(), Some(9));
        drop(a);
        assert_eq!(holds.lowest(), None);
    }
}
