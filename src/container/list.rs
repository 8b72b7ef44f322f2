//! `list`.
use crate::api::filters::Filters;
use crate::daemon::Daemon;
use crate::errors::ApiError;
use serde_json::Value;

/// Query of a list.
#[derive(Clone, Debug, Default)]
pub(crate) struct ListOptions {
    pub(crate) all: bool,
    /// Newest so many, also of those that do not run; 0 or less: all.
    pub(crate) limit: i64,
    pub(crate) size: bool,
    pub(crate) filters: Filters,
}
impl Daemon {
    /// Containers, newest first, in the shape of the list.
    pub(crate) async fn list(&self, options: ListOptions) -> Result<Vec<Value>, ApiError> {
        let _ = options;
        Err(ApiError::new(
            crate::errors::ErrorKind::NotImplemented,
            "not built yet",
        ))
    }
}
