//! `inspect`.
use super::Container;
use crate::daemon::Daemon;
use crate::errors::ApiError;
use serde_json::Value;
use std::sync::Arc;
impl Daemon {
    /// A container in the shape of inspect.
    pub(crate) async fn inspect(
        &self,
        container: &Arc<Container>,
        size: bool,
    ) -> Result<Value, ApiError> {
        let _ = (container, size);
        Err(ApiError::new(
            crate::errors::ErrorKind::NotImplemented,
            "not built yet",
        ))
    }
    /// Publishes an event of a container.
    pub(super) fn container_event<const N: usize>(
        &self,
        container: &Container,
        action: &str,
        more: [(&str, String); N],
    ) {
        let attributes = more.into_iter().map(|(k, v)| (k.to_owned(), v)).collect();
        self.events
            .publish("container", action, &container.id, attributes);
    }
}
