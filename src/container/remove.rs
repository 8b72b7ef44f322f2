//! `remove`.
use super::Container;
use crate::daemon::Daemon;
use crate::errors::ApiError;
use std::sync::Arc;

/// Query of a remove.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct RemoveOptions {
    pub(crate) force: bool,
    /// Anonymous volumes as well.
    pub(crate) volumes: bool,
    pub(crate) link: bool,
}
impl Daemon {
    /// Removes a container; `asked` is how the client named it, for texts.
    pub(crate) async fn remove(
        self: &Arc<Self>,
        container: &Arc<Container>,
        asked: &str,
        options: RemoveOptions,
    ) -> Result<(), ApiError> {
        let _ = (container, asked, options);
        Err(ApiError::new(
            crate::errors::ErrorKind::NotImplemented,
            "not built yet",
        ))
    }
}
