//! Data of `/info` and `/version`.
use crate::daemon::Daemon;
use serde_json::{Value, json};
impl Daemon {
    /// Answer of `/info`.
    pub(crate) async fn info(&self) -> Value {
        json!({})
    }
    /// Answer of `/version`.
    pub(crate) fn version(&self) -> Value {
        json!({})
    }
}
