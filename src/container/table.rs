//! All containers, by id and by name.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, PoisonError, RwLock};

use super::Container;
use crate::errors::ApiError;

/// The containers of a daemon.
#[derive(Debug, Default)]
pub(crate) struct ContainerTable {
    maps: RwLock<Maps>,
}

#[derive(Debug, Default)]
struct Maps {
    by_id: BTreeMap<String, Arc<Container>>,
    /// Name to id; also of containers that are being created.
    names: HashMap<String, String>,
    /// Records that the logs of removed containers could not take.
    removed_lost: u64,
}

impl ContainerTable {
    fn read<T>(&self, f: impl FnOnce(&Maps) -> T) -> T {
        // The maps are consistent after each statement.
        f(&self.maps.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn write<T>(&self, f: impl FnOnce(&mut Maps) -> T) -> T {
        f(&mut self.maps.write().unwrap_or_else(PoisonError::into_inner))
    }

    /// By full id, name (with or without `/`), then unique id prefix.
    ///
    /// # Errors
    /// 404 `No such container: x`, 400 for a prefix of several.
    pub(crate) fn find(&self, reference: &str) -> Result<Arc<Container>, ApiError> {
        let missing = || ApiError::not_found(format!("No such container: {reference}"));
        if reference.is_empty() {
            return Err(ApiError::invalid(
                "No container name or ID supplied".to_owned(),
            ));
        }
        self.read(|maps| {
            if let Some(container) = maps.by_id.get(reference) {
                return Ok(Arc::clone(container));
            }
            let name = reference.strip_prefix('/').unwrap_or(reference);
            if let Some(container) = maps.names.get(name).and_then(|id| maps.by_id.get(id)) {
                return Ok(Arc::clone(container));
            }
            let mut matches = maps
                .by_id
                .range(reference.to_owned()..)
                .take_while(|(id, _)| id.starts_with(reference));
            match (matches.next(), matches.next()) {
                (Some((_, container)), None) => Ok(Arc::clone(container)),
                (Some(_), Some(_)) => Err(ApiError::invalid(format!(
                    "Multiple IDs found with provided prefix: {reference}"
                ))),
                (None, _) => Err(missing()),
            }
        })
    }

    /// By full id alone.
    pub(crate) fn by_id(&self, id: &str) -> Option<Arc<Container>> {
        self.read(|maps| maps.by_id.get(id).cloned())
    }

    /// All containers, in the order of their ids.
    pub(crate) fn all(&self) -> Vec<Arc<Container>> {
        self.read(|maps| maps.by_id.values().cloned().collect())
    }

    /// Something of each container, with the lost records of those that were removed: a container
    /// is in exactly one of the two.
    pub(super) fn with_removed<T>(&self, of: impl Fn(&Container) -> T) -> (Vec<T>, u64) {
        self.read(|maps| {
            let all = maps.by_id.values().map(|container| of(container)).collect();
            (all, maps.removed_lost)
        })
    }

    /// Takes a name for an id.
    ///
    /// # Errors
    /// The id that has it.
    pub(crate) fn reserve(&self, name: &str, id: &str) -> Result<(), String> {
        self.write(|maps| match maps.names.get(name) {
            Some(holder) => Err(holder.clone()),
            None => {
                maps.names.insert(name.to_owned(), id.to_owned());
                Ok(())
            }
        })
    }

    /// Gives a name back that was taken for an id.
    pub(super) fn release(&self, name: &str, id: &str) {
        self.write(|maps| {
            if maps.names.get(name).is_some_and(|holder| holder == id) {
                maps.names.remove(name);
            }
        });
    }

    /// Adds a container whose name was reserved.
    pub(crate) fn insert(&self, container: &Arc<Container>) {
        self.write(|maps| {
            maps.by_id
                .insert(container.id.clone(), Arc::clone(container))
        });
    }

    /// Removes a container and its name.
    pub(super) fn remove(&self, container: &Container) {
        let name = container.name();
        let lost = container.figures().lost_records;
        self.write(|maps| {
            if maps.by_id.remove(&container.id).is_some() {
                maps.removed_lost += lost;
            }
        });
        self.release(&name, &container.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn add(table: &ContainerTable, id: &str, name: &str) {
        let mut record = super::super::state::tests::record();
        record.id = id.to_owned();
        record.name = name.to_owned();
        table.reserve(name, id).unwrap();
        table.insert(&Container::new("/nowhere".into(), record));
    }

    #[test]
    fn order_of_lookup() {
        let table = ContainerTable::default();
        let (a, b) = ("ab1".repeat(21) + "0", "ab2".repeat(21) + "0");
        add(&table, &a, "web");
        add(&table, &b, "ab1");
        assert_eq!(table.find("web").unwrap().id, a);
        assert_eq!(table.find("/web").unwrap().id, a);
        assert_eq!(table.find(&a).unwrap().id, a);
        // A name beats a prefix.
        assert_eq!(table.find("ab1").unwrap().id, b);
        assert_eq!(table.find("ab1a").unwrap().id, a);
        assert_eq!(
            table.find("ab").unwrap_err().message,
            "Multiple IDs found with provided prefix: ab"
        );
        let missing = table.find("x").unwrap_err();
        assert_eq!(missing.kind.status(), 404);
        assert_eq!(missing.message, "No such container: x");
        table.remove(&table.find("web").unwrap());
        assert!(table.find("web").is_err());
        assert_eq!(table.find("ab").unwrap().id, b);
        assert_eq!(table.reserve("ab1", &a), Err(b));
    }
}
