//! `start`.
use super::Container;
use crate::daemon::Daemon;
use crate::errors::ApiError;
use std::sync::Arc;
impl Daemon {
    /// Starts a container. Errors: 304 running, 400/500 with Docker's texts.
    pub(crate) async fn start(
        self: &Arc<Self>,
        container: &Arc<Container>,
    ) -> Result<(), ApiError> {
        let _ = container;
        Err(ApiError::new(
            crate::errors::ErrorKind::NotImplemented,
            "not built yet",
        ))
    }
}
