//! All execs that the daemon knows.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::{Exec, Phase};
use crate::errors::{ApiError, ErrorKind};

/// How long the end of an exec can be asked for (Moby forgets it after five to ten minutes).
const KEPT: Duration = Duration::from_secs(5 * 60);
/// Ended ones that are kept at most; beyond that the oldest go first.
const MOST_ENDED: usize = 10_000;
/// Ones that were not started, or run, at most: each is a few hundred bytes here, and a running one
/// a process of its own.
const MOST_LIVE: usize = 20_000;

/// By id.
#[derive(Debug, Default)]
pub(crate) struct ExecTable(Mutex<HashMap<String, Arc<Exec>>>);

impl ExecTable {
    fn all(&self) -> MutexGuard<'_, HashMap<String, Arc<Exec>>> {
        // The map is whole after each statement.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// # Errors
    /// 503 if there are too many.
    pub(super) fn add(&self, exec: &Arc<Exec>) -> Result<(), ApiError> {
        let mut all = self.all();
        purge(&mut all, Instant::now());
        if all.values().filter(|e| e.is_live()).count() >= MOST_LIVE {
            return Err(ApiError::new(
                ErrorKind::Unavailable,
                format!(
                    "{MOST_LIVE} exec instances run or wait for their start: start them, or end their containers"
                ),
            ));
        }
        all.insert(exec.id.clone(), Arc::clone(exec));
        Ok(())
    }

    /// # Errors
    /// 404 `No such exec instance: x`.
    pub(crate) fn find(&self, id: &str) -> Result<Arc<Exec>, ApiError> {
        let mut all = self.all();
        purge(&mut all, Instant::now());
        all.get(id)
            .cloned()
            .ok_or_else(|| ApiError::not_found(format!("No such exec instance: {id}")))
    }

    /// Those of a container that were not started or run, in no order.
    fn live_of(&self, container: &str) -> Vec<Arc<Exec>> {
        let live = |e: &&Arc<Exec>| e.container == container && e.is_live();
        self.all().values().filter(live).cloned().collect()
    }

    /// As container inspect shows them; `None` if there are none.
    pub(crate) fn ids_of(&self, container: &str) -> Option<Vec<String>> {
        let mut ids: Vec<String> = self
            .live_of(container)
            .iter()
            .map(|e| e.id.clone())
            .collect();
        ids.sort();
        (!ids.is_empty()).then_some(ids)
    }

    /// A run of a container has ended: what was not started never will be.
    pub(crate) fn container_ended(&self, container: &str) {
        self.all()
            .retain(|_, e| e.container != container || e.phase() != Phase::Created);
    }

    /// A container is gone, and its execs with it.
    pub(crate) fn container_removed(&self, container: &str) {
        self.all().retain(|_, e| e.container != container);
    }
}

fn purge(all: &mut HashMap<String, Arc<Exec>>, now: Instant) {
    let ended = |e: &Exec| e.inner().ended;
    all.retain(|_, e| ended(e).is_none_or(|at| now.saturating_duration_since(at) < KEPT));
    let mut kept: Vec<(Instant, String)> = all
        .iter()
        .filter_map(|(id, e)| Some((ended(e)?, id.clone())))
        .collect();
    if kept.len() > MOST_ENDED {
        kept.sort();
        for (_, id) in &kept[..kept.len() - MOST_ENDED] {
            all.remove(id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::ExecConfig;
    use super::*;
    use crate::container::{Container, Record};

    fn container(id: &str) -> Arc<Container> {
        let record = Record {
            id: id.to_owned(),
            ..crate::container::state::tests::record()
        };
        Container::new("/nowhere".into(), record)
    }

    #[test]
    fn ended_ones_are_forgotten() {
        let of = container("c");
        let table = ExecTable::default();
        for id in ["a", "b", "c"] {
            let exec = Exec::new(id.to_owned(), &of, ExecConfig::default());
            table.add(&exec).unwrap();
        }
        assert_eq!(table.live_of("c").len(), 3);
        assert!(table.find("a").unwrap().end(5));
        assert!(!table.find("a").unwrap().end(6));
        assert_eq!(table.find("a").unwrap().shown()["ExitCode"], 5);
        assert_eq!(table.live_of("c").len(), 2);
        table.find("b").unwrap().inner().phase = Phase::Running;
        table.container_ended("c");
        assert_eq!(
            table.find("c").unwrap_err().message,
            "No such exec instance: c"
        );
        table.find("a").unwrap();
        table.find("b").unwrap();
        let later = Instant::now() + KEPT;
        purge(&mut table.all(), later);
        assert!(table.find("a").is_err());
        table.container_removed("other");
        table.find("b").unwrap();
        table.container_removed("c");
        assert!(table.find("b").is_err());
    }
}
