//! `create`.
use crate::api::types::{ContainerConfig, HostConfig, null_default};
use crate::daemon::Daemon;
use crate::errors::ApiError;
use serde::Deserialize;
use serde_json::Value;
use std::sync::Arc;

/// Body of a create request (docs: Engine API `ContainerCreate`).
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct CreateBody {
    #[serde(flatten)]
    pub(crate) config: ContainerConfig,
    #[serde(rename = "HostConfig", deserialize_with = "null_default")]
    pub(crate) host: HostConfig,
    #[serde(rename = "NetworkingConfig", deserialize_with = "null_default")]
    pub(crate) networking: Value,
}

/// Answer of a create request.
#[derive(Clone, Debug)]
pub(crate) struct Created {
    pub(crate) id: String,
    pub(crate) warnings: Vec<String>,
}

impl Daemon {
    /// Creates a container; `name` with or without `/`, `None` or empty: one is made up.
    pub(crate) async fn create(
        self: &Arc<Self>,
        name: Option<&str>,
        body: CreateBody,
    ) -> Result<Created, ApiError> {
        let _ = (name, body);
        Err(ApiError::new(
            crate::errors::ErrorKind::NotImplemented,
            "not built yet",
        ))
    }
}
