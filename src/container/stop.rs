//! `stop`.
use super::Container;
use crate::daemon::Daemon;
use crate::errors::ApiError;
use std::sync::Arc;
impl Daemon {
    /// Stops a container: signal (default its stop signal), `timeout` seconds (default its own, -1 for ever), SIGKILL. Errors: 304 not running.
    pub(crate) async fn stop(
        self: &Arc<Self>,
        container: &Arc<Container>,
        signal: Option<&str>,
        timeout: Option<i64>,
    ) -> Result<(), ApiError> {
        let _ = (container, signal, timeout);
        Err(ApiError::new(
            crate::errors::ErrorKind::NotImplemented,
            "not built yet",
        ))
    }
}
