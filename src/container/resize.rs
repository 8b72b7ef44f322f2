//! `resize`: the size of a container's terminal.

use std::sync::Arc;

use super::Container;
use crate::daemon::Daemon;
use crate::errors::ApiError;

impl Daemon {
    /// Sets the size of a container's terminal, in characters (docs: Engine API
    /// `ContainerResize`). Without a terminal there is nothing to set, and that is no error.
    ///
    /// # Errors
    /// 409 if it does not run, 500 if the kernel refuses.
    pub(crate) async fn resize(
        &self,
        container: &Arc<Container>,
        height: u16,
        width: u16,
    ) -> Result<(), ApiError> {
        let capture = container.inner().capture.clone();
        let Some(capture) = capture.filter(|_| container.has_process()) else {
            return Err(ApiError::conflict(format!(
                "container {} is not running",
                container.id
            )));
        };
        if container.tty() {
            capture.resize(height, width).map_err(|error| {
                ApiError::system(format!("cannot resize container {}: {error}", container.id))
            })?;
        }
        self.container_event(
            container,
            "resize",
            [("height", height.to_string()), ("width", width.to_string())],
        );
        Ok(())
    }
}
