//! `kill`.
use super::Container;
use crate::daemon::Daemon;
use crate::errors::ApiError;
use std::sync::Arc;
impl Daemon {
    /// Sends a signal (name with or without SIG, number; empty is KILL).
    pub(crate) async fn kill(
        self: &Arc<Self>,
        container: &Arc<Container>,
        signal: &str,
    ) -> Result<(), ApiError> {
        let _ = (container, signal);
        Err(ApiError::new(
            crate::errors::ErrorKind::NotImplemented,
            "not built yet",
        ))
    }
}
