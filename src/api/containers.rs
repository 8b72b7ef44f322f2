//! `/containers/...` without the streams, which have files of their own.

use std::sync::Arc;

use http::StatusCode;
use hyper::body::Body;
use serde_json::{Map, Value, json};

use super::filters::Filters;
use super::reply::{self, Reply};
use super::request::Request;
use super::types::HostConfig;
use super::version;
use crate::container::{CreateBody, ListOptions, RemoveOptions, SignalError, parse_signal};
use crate::daemon::Daemon;
use crate::errors::ApiError;

/// `GET /containers/json`.
pub(crate) async fn list(daemon: &Arc<Daemon>, request: &Request) -> Result<Reply, ApiError> {
    let query = &request.query;
    let filters = Filters::parse(query.text("filters"))?;
    let options = ListOptions {
        all: query.flag("all"),
        limit: query.number("limit")?.unwrap_or(0),
        size: query.flag("size"),
        filters,
    };
    let mut list = daemon.list(options).await?;
    if query.flag("logs") {
        // Taffrail's own: `ps --logs`.
        for one in &mut list {
            let id = one["Id"].as_str().unwrap_or_default().to_owned();
            if let Ok(container) = daemon.find(&id) {
                one["LogDriver"] = container.record().host.log_config.kind.into();
            }
            let delivery = Arc::clone(&daemon.delivery);
            let sinks = tokio::task::spawn_blocking(move || delivery.shown(&id)).await;
            if let Ok(Some(sinks)) = sinks {
                one["LogSinks"] = sinks;
            }
        }
    }
    Ok(reply::json(StatusCode::OK, &list))
}

/// `POST /containers/create`.
pub(crate) async fn create(daemon: &Arc<Daemon>, request: &mut Request) -> Result<Reply, ApiError> {
    let fields: Map<String, Value> = request
        .json()
        .await?
        .ok_or_else(|| ApiError::invalid("invalid JSON: got EOF while reading request body"))?;
    let mut body = create_body(fields)?;
    if request.version < version::PRIVATE_IPC && body.host.ipc_mode.is_empty() {
        "shareable".clone_into(&mut body.host.ipc_mode);
    }
    if request.version < version::CGROUPNS && body.host.cgroupns_mode.is_empty() {
        "host".clone_into(&mut body.host.cgroupns_mode);
    }
    if request.version < version::PIDS_LIMIT {
        body.host.pids_limit = None;
    }
    if request.version < version::VOLUME_RULES {
        forget_later_options(&mut body.host);
    }
    body.platform = request.query.text("platform").to_ascii_lowercase();
    let created = daemon.create(request.query.some("name"), body).await?;
    Ok(reply::json(
        StatusCode::CREATED,
        &json!({"Id": created.id, "Warnings": created.warnings}),
    ))
}

/// Options that the version of the request does not know, or did not look at, are passed over.
fn forget_later_options(host: &mut HostConfig) {
    for mount in host.mounts.iter_mut().flatten() {
        if mount.kind != "tmpfs" {
            mount.tmpfs_options = None;
        }
        if let Some(Value::Object(bind)) = &mut mount.bind_options {
            bind.remove("CreateMountpoint");
        }
    }
}

/// The settings of a create request. Without `HostConfig` its fields may stand beside the others,
/// as in the API's first versions.
fn create_body(mut fields: Map<String, Value>) -> Result<CreateBody, ApiError> {
    let of_host = |key: &String| key == "HostConfig" || key == "NetworkingConfig";
    if fields.keys().all(of_host) {
        return Err(ApiError::invalid(
            "Config cannot be empty in order to create a container",
        ));
    }
    if fields.get("HostConfig").is_none_or(Value::is_null) {
        fields.insert("HostConfig".to_owned(), Value::Object(fields.clone()));
    }
    serde_json::from_value(Value::Object(fields))
        .map_err(|error| ApiError::invalid(format!("invalid JSON: {error}")))
}

/// `POST /containers/{name}/start`.
pub(crate) async fn start(
    daemon: &Arc<Daemon>,
    name: &str,
    request: &Request,
) -> Result<Reply, ApiError> {
    // As Docker: up to seven bytes may be `null` or `{}`; a chunked body is one.
    let hint = request.body.size_hint();
    if hint.upper().is_none_or(|length| length > 7) {
        return Err(ApiError::invalid(
            "starting container with non-empty request body was deprecated since API v1.22 and \
             removed in v1.24",
        ));
    }
    let container = daemon.find(name)?;
    daemon.start(&container).await?;
    Ok(reply::empty(StatusCode::NO_CONTENT))
}

/// `POST /containers/{name}/stop`.
pub(crate) async fn stop(
    daemon: &Arc<Daemon>,
    name: &str,
    request: &Request,
) -> Result<Reply, ApiError> {
    let seconds = request.query.number("t")?;
    let container = daemon.find(name)?;
    daemon
        .stop(&container, request.query.some("signal"), seconds)
        .await?;
    Ok(reply::empty(StatusCode::NO_CONTENT))
}

/// `POST /containers/{name}/kill`.
pub(crate) async fn kill(
    daemon: &Arc<Daemon>,
    name: &str,
    request: &Request,
) -> Result<Reply, ApiError> {
    let signal = request.query.text("signal");
    // Before the container is looked for, and in these words alone.
    if !signal.is_empty()
        && let Err(error @ SignalError::Invalid(_)) = parse_signal(signal)
    {
        return Err(error.into());
    }
    let killed = match daemon.find(name) {
        Ok(container) => daemon.kill(&container, signal).await,
        Err(error) => Err(error),
    };
    killed.map_err(|error| {
        ApiError::new(
            error.kind,
            format!("Cannot kill container: {name}: {error}"),
        )
    })?;
    Ok(reply::empty(StatusCode::NO_CONTENT))
}

/// `POST /containers/{name}/resize`.
pub(crate) async fn resize(
    daemon: &Arc<Daemon>,
    name: &str,
    request: &Request,
) -> Result<Reply, ApiError> {
    let height = size(request, "h")?;
    let width = size(request, "w")?;
    let container = daemon.find(name)?;
    daemon.resize(&container, height, width).await?;
    Ok(reply::empty(StatusCode::OK))
}

/// A terminal's size in cells.
pub(super) fn size(request: &Request, key: &str) -> Result<u16, ApiError> {
    let text = request.query.text(key);
    text.parse()
        .map_err(|_| ApiError::invalid(format!("strconv.Atoi: parsing \"{text}\": invalid syntax")))
}

/// `GET /containers/{name}/json`.
pub(crate) async fn inspect(
    daemon: &Arc<Daemon>,
    name: &str,
    request: &Request,
) -> Result<Reply, ApiError> {
    let container = daemon.find(name)?;
    let shape = daemon
        .inspect(&container, request.query.flag("size"))
        .await?;
    Ok(reply::json(StatusCode::OK, &shape))
}

/// `DELETE /containers/{name}`.
pub(crate) async fn remove(
    daemon: &Arc<Daemon>,
    name: &str,
    request: &Request,
) -> Result<Reply, ApiError> {
    let query = &request.query;
    if query.flag("link") {
        daemon.remove_link(name).await?;
        return Ok(reply::empty(StatusCode::NO_CONTENT));
    }
    let options = RemoveOptions {
        force: query.flag("force"),
        volumes: query.flag("v"),
        drop_undelivered: query.flag("dropUndelivered"),
    };
    let container = daemon.find(name)?;
    daemon.remove(&container, name, options).await?;
    Ok(reply::empty(StatusCode::NO_CONTENT))
}
