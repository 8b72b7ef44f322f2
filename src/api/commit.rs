//! `POST /commit` and `GET /containers/{name}/export`.

use std::sync::Arc;

use http::StatusCode;
use serde_json::json;

use super::outgoing::Outgoing;
use super::reply::{self, Reply};
use super::request::Request;
use super::{images, types::ContainerConfig};
use crate::container::CommitOptions;
use crate::daemon::Daemon;
use crate::errors::ApiError;

/// An image of a container. The container stands still meanwhile unless `pause` is false.
pub(crate) async fn commit(daemon: &Arc<Daemon>, request: &mut Request) -> Result<Reply, ApiError> {
    // Clients send `null`, too.
    let config: Option<Option<ContainerConfig>> = request.json().await?;
    let query = &request.query;
    let container = daemon.find(query.text("container"))?;
    let text = |key: &str| query.text(key).to_owned();
    let options = CommitOptions {
        pause: query.some("pause").is_none() || query.flag("pause"),
        config: config.flatten(),
        changes: query.all("changes"),
        author: text("author"),
        comment: text("comment"),
        repo: text("repo"),
        tag: text("tag"),
    };
    let (id, name) = daemon.commit(&container, options).await?;
    if !name.is_empty() {
        images::publish(daemon, "tag", &id, &name);
    }
    Ok(reply::json(StatusCode::CREATED, &json!({"Id": id})))
}

/// A container's whole file system as a tar archive, without what is mounted into it.
pub(crate) async fn export(daemon: &Arc<Daemon>, name: &str) -> Result<Reply, ApiError> {
    let container = daemon.find(name)?;
    let export = daemon.export(&container).await?;
    let (chunks, reply) = reply::fallible_stream("application/octet-stream");
    tokio::task::spawn_blocking(move || {
        let mut out = Outgoing::new(chunks);
        if let Err(error) = export.write(&mut out) {
            out.cut("an export", &error);
        }
    });
    Ok(reply)
}
