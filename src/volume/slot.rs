//! One volume in memory, and who has it. A slot is there as long as the volume is, or while it is
//! being made.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::state::Meta;

/// A volume's place in the table.
#[derive(Debug, Default)]
pub(super) struct Slot {
    /// Held during work on the disk, so that the work on one volume comes one after the other and
    /// that on different ones does not wait.
    busy: Mutex<()>,
    state: Mutex<SlotState>,
}

/// Never held during work on the disk: lists do not wait for a mount.
#[derive(Debug, Default)]
pub(super) struct SlotState {
    /// `None` while it is being made, and once it is removed.
    pub(super) meta: Option<Arc<Meta>>,
    /// Containers that it belongs to, also ones that do not run.
    pub(super) owners: BTreeSet<String>,
    /// Containers that have it mounted.
    pub(super) users: BTreeSet<String>,
    /// It is in the table no more.
    detached: bool,
}

impl Slot {
    pub(super) fn state(&self) -> MutexGuard<'_, SlotState> {
        // Plain values that are consistent after every statement.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// All volumes by name.
#[derive(Debug, Default)]
pub(super) struct Slots {
    map: Mutex<BTreeMap<String, Arc<Slot>>>,
}

impl Slots {
    fn map(&self) -> MutexGuard<'_, BTreeMap<String, Arc<Slot>>> {
        // The map is consistent after each statement.
        self.map.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Those that are there, in the order of their names.
    pub(super) fn all(&self) -> Vec<Arc<Slot>> {
        self.map().values().cloned().collect()
    }

    /// The slot of a name, if there is one.
    pub(super) fn get(&self, name: &str) -> Option<Arc<Slot>> {
        self.map().get(name).cloned()
    }

    /// Works on the slot of a name alone; it is made if it is not there, and goes afterwards if
    /// there is no volume in it.
    pub(super) fn with<T>(&self, name: &str, work: impl FnOnce(&Slot) -> T) -> T {
        loop {
            let slot = Arc::clone(self.map().entry(name.to_owned()).or_default());
            let _busy = slot.busy.lock().unwrap_or_else(PoisonError::into_inner);
            if slot.state().detached {
                // Whoever held it has removed the volume.
                continue;
            }
            let done = work(&slot);
            let mut state = slot.state();
            if state.meta.is_none() {
                state.detached = true;
                drop(state);
                self.map().remove(name);
            }
            return done;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_lives_as_long_as_its_volume() {
        let slots = Slots::default();
        slots.with("v1", |_| ());
        assert!(slots.get("v1").is_none());
        let make = |slot: &Slot| {
            let there = slot.state().meta.is_some();
            slot.state()
                .meta
                .get_or_insert_with(|| Arc::new(Meta::new("v1", None, None)));
            there
        };
        // Of many at once exactly one makes it.
        let makers = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8)
                .map(|_| scope.spawn(|| slots.with("v1", make)))
                .collect();
            threads
                .into_iter()
                .filter(|_| true)
                .map(|thread| thread.join().unwrap())
                .filter(|there| !there)
                .count()
        });
        assert_eq!(makers, 1);
        slots.with("v1", |slot| slot.state().meta = None);
        assert!(slots.all().is_empty());
        assert!(!slots.with("v1", make));
    }
}
