//! `/containers/{name}/exec` and `/exec/{id}/...`.

use std::sync::Arc;

use http::StatusCode;
use serde::Deserialize;
use serde_json::json;
use taffrail_config::ExtraStream;

use super::containers::size;
use super::detach::DetachKeys;
use super::exec_stream;
use super::reply::{self, Answer, Reply};
use super::request::Request;
use super::version;
use crate::container::exec::{ExecConfig, ExecStart, console_size};
use crate::daemon::Daemon;
use crate::errors::ApiError;

/// `POST /containers/{name}/exec`.
pub(crate) async fn create(
    daemon: &Arc<Daemon>,
    name: &str,
    request: &mut Request,
) -> Result<Reply, ApiError> {
    let mut config: ExecConfig = request
        .json()
        .await?
        .ok_or_else(|| ApiError::invalid("invalid JSON: got EOF while reading request body"))?;
    config.check()?;
    if request.version < version::CONSOLE_SIZE {
        config.console_size = None;
    }
    let container = daemon.find(name)?;
    keys(&config.detach_keys)?;
    let asked = config.log;
    let exec = daemon.exec_create(&container, name, config)?;
    if let Some(tap) = daemon.extra_tap(&container, ExtraStream::Exec, asked) {
        exec.tap(tap);
    }
    Ok(reply::json(StatusCode::CREATED, &json!({"Id": exec.id})))
}

fn keys(text: &str) -> Result<DetachKeys, ApiError> {
    DetachKeys::parse(text)
        .map_err(|_| ApiError::invalid(format!("Invalid escape keys ({text}) provided")))
}

/// Body of a start (docs: Engine API `ExecStart`).
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct StartBody {
    detach: Option<bool>,
    tty: Option<bool>,
    #[serde(deserialize_with = "console_size")]
    console_size: Option<(u16, u16)>,
}

/// `POST /exec/{id}/start`: the connection leaves HTTP, unless the exec is detached.
pub(crate) async fn start(
    daemon: &Arc<Daemon>,
    id: &str,
    mut request: Request,
) -> Result<Answer, ApiError> {
    let body: StartBody = request
        .json()
        .await?
        .ok_or_else(|| ApiError::invalid("invalid JSON: got EOF while reading request body"))?;
    let detach = body.detach == Some(true);
    let start = ExecStart {
        detach,
        console_size: body
            .console_size
            .filter(|_| body.tty == Some(true) && request.version >= version::CONSOLE_SIZE),
    };
    let given = request.query.some("detachKeys").map(keys).transpose()?;
    // Before the connection leaves HTTP: what is refused here has its status.
    let claim = daemon.exec_claim(id)?;
    if detach {
        claim.start(start).await?;
        return Ok(reply::empty(StatusCode::OK).into());
    }
    let keys = match given {
        Some(keys) => keys,
        None => keys(&claim.exec().config.detach_keys)?,
    };
    let client = exec_stream::Client {
        daemon: Arc::clone(daemon),
        claim,
        start,
        keys,
        // As Docker: the client says how it reads, whatever the exec is.
        tty: body.tty == Some(true),
        upgrade: request.headers.contains_key(http::header::UPGRADE),
        version: request.version,
    };
    drop(request);
    Ok(Answer::Hijack(Box::new(move |raw| {
        Box::pin(client.run(raw))
    })))
}

/// `POST /exec/{id}/resize`.
pub(crate) fn resize(daemon: &Arc<Daemon>, id: &str, request: &Request) -> Result<Reply, ApiError> {
    let (rows, columns) = (size(request, "h")?, size(request, "w")?);
    let exec = daemon.execs.find(id)?;
    daemon.exec_resize(&exec, rows, columns)?;
    Ok(reply::empty(StatusCode::OK))
}

/// `GET /exec/{id}/json`.
pub(crate) fn inspect(daemon: &Arc<Daemon>, id: &str) -> Result<Reply, ApiError> {
    Ok(reply::json(StatusCode::OK, &daemon.execs.find(id)?.shown()))
}
