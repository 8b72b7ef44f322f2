//! `/containers/{name}/archive` (`cp`) and `/containers/{name}/changes` (`diff`).

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use http::{HeaderValue, StatusCode};
use serde_json::{Value, json};

use super::outgoing::Outgoing;
use super::reply::{self, Reply};
use super::request::Request;
use crate::container::ExtractOptions;
use crate::daemon::Daemon;
use crate::errors::ApiError;
use crate::files::PathStat;

const STAT: &str = "x-docker-container-path-stat";
/// How long the rest of a body is taken after an error: a client that cannot finish sending may not
/// read the answer.
const DRAIN: Duration = Duration::from_secs(10);

/// `HEAD /containers/{name}/archive`: what a path is.
pub(crate) async fn stat(
    daemon: &Arc<Daemon>,
    name: &str,
    request: &Request,
) -> Result<Reply, ApiError> {
    let path = path(request)?;
    let container = daemon.find(name)?;
    let stat = daemon.stat_path(&container, name, path).await?;
    let mut reply = reply::empty(StatusCode::OK);
    set_stat(&mut reply, &stat);
    Ok(reply)
}

/// `GET /containers/{name}/archive`: a file or a tree as a tar archive.
pub(crate) async fn get(
    daemon: &Arc<Daemon>,
    name: &str,
    request: &Request,
) -> Result<Reply, ApiError> {
    let path = path(request)?;
    let container = daemon.find(name)?;
    let source = daemon.archive_source(&container, name, path).await?;
    let (chunks, mut reply) = reply::fallible_stream("application/x-tar");
    set_stat(&mut reply, &source.stat);
    tokio::task::spawn_blocking(move || {
        let mut out = Outgoing::new(chunks);
        if let Err(error) = source.write(&mut out) {
            out.cut("an archive of files", &error);
        }
    });
    Ok(reply)
}

/// `PUT /containers/{name}/archive`: unpacks a tar archive (plain or compressed) into a folder. The
/// body's type is not looked at, as by Docker: its own client sends `text/plain`.
pub(crate) async fn put(
    daemon: &Arc<Daemon>,
    name: &str,
    request: Request,
) -> Result<Reply, ApiError> {
    let path = path(&request)?.to_owned();
    let container = daemon.find(name)?;
    let options = ExtractOptions {
        keep_kinds: request.query.flag("noOverwriteDirNonDir"),
        container_user: request.query.flag("copyUIDGID"),
    };
    let body = Drained(request.into_reader());
    daemon
        .extract_to(&container, name, &path, options, body)
        .await?;
    Ok(reply::empty(StatusCode::OK))
}

/// `GET /containers/{name}/changes`: what a container has changed of its image; `null` for nothing.
pub(crate) async fn changes(daemon: &Arc<Daemon>, name: &str) -> Result<Reply, ApiError> {
    let container = daemon.find(name)?;
    let changes: Vec<Value> = daemon
        .changes(&container)
        .await?
        .into_iter()
        .map(|(path, kind)| json!({"Path": path, "Kind": kind as u8}))
        .collect();
    let changes = Some(changes).filter(|list| !list.is_empty());
    Ok(reply::json(StatusCode::OK, &changes))
}

/// A body that is taken to its end, whatever becomes of it.
struct Drained(super::request::BodyReader);

impl std::io::Read for Drained {
    fn read(&mut self, buf: &mut [u8]) -> std::io::Result<usize> {
        self.0.read(buf)
    }
}

impl Drop for Drained {
    fn drop(&mut self) {
        self.0.discard(DRAIN);
    }
}

fn path(request: &Request) -> Result<&str, ApiError> {
    request
        .query
        .some("path")
        .ok_or_else(|| ApiError::invalid("bad parameter: path cannot be empty"))
}

fn set_stat(reply: &mut Reply, stat: &PathStat) {
    let text = json!(stat).to_string();
    let text = base64::engine::general_purpose::STANDARD.encode(text);
    // Base64 is visible ASCII.
    if let Ok(value) = HeaderValue::from_str(&text) {
        reply.headers_mut().insert(STAT, value);
    }
}
