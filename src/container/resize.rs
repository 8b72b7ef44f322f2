//! `resize`.
use super::Container;
use crate::daemon::Daemon;
use crate::errors::ApiError;
use std::sync::Arc;
impl Daemon {
    /// Sets the size of a container's terminal, in characters.
    pub(crate) async fn resize(
        &self,
        container: &Arc<Container>,
        height: u16,
        width: u16,
    ) -> Result<(), ApiError> {
        let _ = (container, height, width);
        Err(ApiError::new(
            crate::errors::ErrorKind::NotImplemented,
            "not built yet",
        ))
    }
}
