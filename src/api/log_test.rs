//! `POST /logs/test` and `GET /containers/{name}/logs/explain`, which are ours: whether records
//! arrive, and why not.

use std::sync::Arc;

use http::StatusCode;
use serde::Deserialize;

use super::reply::{self, Reply};
use super::request::Request;
use super::types::LogConfig;
use crate::container::LogTest;
use crate::daemon::Daemon;
use crate::errors::ApiError;

/// What a test is asked for; everything may be left out.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase", deny_unknown_fields)]
struct Body {
    #[serde(rename = "Type")]
    kind: Option<String>,
    config: Option<std::collections::BTreeMap<String, String>>,
    message: Option<String>,
    container: Option<String>,
}

/// Sends a record to each receiver of log settings, or of a container's.
///
/// # Errors
/// 400 for settings that are not valid, 404 for no such container.
pub(crate) async fn test(daemon: &Arc<Daemon>, request: &mut Request) -> Result<Reply, ApiError> {
    let body: Body = request.json().await?.unwrap_or_default();
    let container = match body.container.as_deref() {
        None | Some("") => None,
        Some(name) => Some(daemon.find(name)?),
    };
    let test = LogTest {
        config: Some(LogConfig {
            kind: body.kind.unwrap_or_default(),
            config: body.config.unwrap_or_default(),
        }),
        message: body.message,
    };
    let told = daemon.test_logs(container.as_ref(), test).await?;
    Ok(reply::json(StatusCode::OK, &told))
}

/// Why a container's log is empty, late or does not arrive.
///
/// # Errors
/// 404 for no such container.
pub(crate) async fn explain(daemon: &Arc<Daemon>, name: &str) -> Result<Reply, ApiError> {
    let container = daemon.find(name)?;
    let told = daemon.explain_logs(&container).await?;
    Ok(reply::json(StatusCode::OK, &told))
}
