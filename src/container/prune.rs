//! `prune`: all containers that do not run are removed.

use std::sync::Arc;

use super::RemoveOptions;
use crate::api::filters::Filters;
use crate::daemon::Daemon;
use crate::errors::ApiError;

/// Held by the prune that is under way.
static PRUNE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

/// What a prune has done.
#[derive(Debug, Default)]
pub(crate) struct Pruned {
    /// Ids of the containers that were removed.
    pub(crate) containers: Vec<String>,
    /// Bytes that they had written.
    pub(crate) bytes: u64,
}

impl Daemon {
    /// Removes containers that do not run, were created before `until_ns` and have the labels
    /// (docs: Engine API `ContainerPrune`). One that cannot be removed is said in the log.
    ///
    /// # Errors
    /// 409 while another prune is under way.
    pub(crate) async fn prune_containers(
        self: &Arc<Self>,
        filters: &Filters,
        until_ns: Option<i64>,
    ) -> Result<Pruned, ApiError> {
        let _prune = PRUNE
            .try_lock()
            .map_err(|_| ApiError::conflict("a prune operation is already running"))?;
        let mut pruned = Pruned::default();
        for container in self.containers.all() {
            let record = container.record();
            let labels = &record.config.labels;
            if record.state.status.is_up()
                || until_ns.is_some_and(|until| record.created_ns > until)
                || !filters.labels("label", labels)
                || (filters.has("label!") && filters.labels("label!", labels))
            {
                continue;
            }
            let (own, _) = self.sizes(&record.id, &record.image_id).await;
            match self
                .remove(&container, &record.id, RemoveOptions::default())
                .await
            {
                Ok(()) => {
                    pruned.bytes += own;
                    pruned.containers.push(record.id);
                }
                Err(error) => {
                    tracing::warn!(container = record.id, %error, "container cannot be pruned");
                }
            }
        }
        let attributes = [("reclaimed".to_owned(), pruned.bytes.to_string())];
        self.events
            .publish("container", "prune", "", attributes.into());
        Ok(pruned)
    }
}
