//! `/containers/...`: restart, pause, unpause, rename, update, top, prune.

use std::sync::Arc;

use http::StatusCode;
use serde_json::{Value, json};

use super::filters::Filters;
use super::reply::{self, Reply};
use super::request::Request;
use super::time;
use super::types::HostConfig;
use super::version;
use crate::daemon::Daemon;
use crate::errors::ApiError;

/// `POST /containers/{name}/restart`.
pub(crate) async fn restart(
    daemon: &Arc<Daemon>,
    name: &str,
    request: &Request,
) -> Result<Reply, ApiError> {
    let seconds = request.query.number("t")?;
    let container = daemon.find(name)?;
    daemon
        .restart(&container, name, request.query.some("signal"), seconds)
        .await?;
    Ok(reply::empty(StatusCode::NO_CONTENT))
}

/// `POST /containers/{name}/pause`.
pub(crate) async fn pause(daemon: &Arc<Daemon>, name: &str) -> Result<Reply, ApiError> {
    let container = daemon.find(name)?;
    daemon.pause(&container).await?;
    Ok(reply::empty(StatusCode::NO_CONTENT))
}

/// `POST /containers/{name}/unpause`.
pub(crate) async fn unpause(daemon: &Arc<Daemon>, name: &str) -> Result<Reply, ApiError> {
    let container = daemon.find(name)?;
    daemon.unpause(&container).await?;
    Ok(reply::empty(StatusCode::NO_CONTENT))
}

/// `POST /containers/{name}/rename`.
pub(crate) async fn rename(
    daemon: &Arc<Daemon>,
    name: &str,
    request: &Request,
) -> Result<Reply, ApiError> {
    let container = daemon.find(name)?;
    daemon
        .rename(&container, request.query.text("name"))
        .await?;
    Ok(reply::empty(StatusCode::NO_CONTENT))
}

/// `POST /containers/{name}/update`: the limits of a host configuration, and its restart policy.
pub(crate) async fn update(
    daemon: &Arc<Daemon>,
    name: &str,
    request: &mut Request,
) -> Result<Reply, ApiError> {
    let mut given: HostConfig = request
        .json()
        .await?
        .ok_or_else(|| ApiError::invalid("invalid JSON: got EOF while reading request body"))?;
    if request.version < version::PIDS_LIMIT {
        given.pids_limit = None;
    }
    let container = daemon.find(name)?;
    let warnings = daemon.update(&container, given).await?;
    // As Docker has it: no list where there is nothing to say.
    let warnings = Some(warnings).filter(|list| !list.is_empty());
    Ok(reply::json(StatusCode::OK, &json!({"Warnings": warnings})))
}

/// `GET /containers/{name}/top`.
pub(crate) async fn top(
    daemon: &Arc<Daemon>,
    name: &str,
    request: &Request,
) -> Result<Reply, ApiError> {
    let container = daemon.find(name)?;
    let top: Value = daemon
        .top(&container, request.query.text("ps_args"))
        .await?;
    Ok(reply::json(StatusCode::OK, &top))
}

/// `POST /containers/prune`.
pub(crate) async fn prune(daemon: &Arc<Daemon>, request: &Request) -> Result<Reply, ApiError> {
    let filters = Filters::parse(request.query.text("filters"))?;
    filters.validate(&["label", "label!", "until"])?;
    let until = match filters.get("until") {
        [] => None,
        [one] => time::moment("until", one)?,
        _ => return Err(ApiError::invalid("more than one until filter specified")),
    };
    let pruned = daemon.prune_containers(&filters, until).await?;
    let ids = Some(pruned.containers).filter(|list| !list.is_empty());
    Ok(reply::json(
        StatusCode::OK,
        &json!({"ContainersDeleted": ids, "SpaceReclaimed": pruned.bytes}),
    ))
}
