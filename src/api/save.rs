//! `GET /images/get`, `GET /images/{name}/get` and `POST /images/prune`.

use std::io::{self, Write};
use std::sync::Arc;

use bytes::Bytes;
use http::StatusCode;
use serde_json::json;
use tokio::sync::{mpsc, oneshot};

use super::filters::Filters;
use super::images;
use super::reply::{self, Reply};
use super::request::Request;
use super::time;
use crate::daemon::Daemon;
use crate::errors::ApiError;
use crate::image::Removed;

/// Bytes of an archive that go out at once.
const CHUNK: usize = 64 * 1024;
/// Keys of `docker image prune --filter`.
const PRUNE_KEYS: &[&str] = &["dangling", "label", "label!", "until"];

/// An archive of images. What is missing is an error; what happens after the first byte cuts the
/// connection, so that no client takes the archive for complete.
pub(crate) async fn save(daemon: &Arc<Daemon>, names: Vec<String>) -> Result<Reply, ApiError> {
    if names.is_empty() {
        return Err(ApiError::invalid("no image is named"));
    }
    let (chunks, reply) = reply::fallible_stream("application/x-tar");
    let (ready, prepared) = oneshot::channel();
    let daemon = Arc::clone(daemon);
    tokio::task::spawn_blocking(move || {
        let mut out = Chunks {
            chunks: chunks.clone(),
            buffer: Vec::with_capacity(CHUNK),
        };
        let mut ready = Some(ready);
        let result = daemon.images.save(
            &names,
            &mut |ids| {
                for id in ids {
                    images::publish(&daemon, "save", id, id);
                }
                if let Some(ready) = ready.take() {
                    let _ = ready.send(Ok(()));
                }
            },
            &mut out,
        );
        let Err(error) = result else { return };
        match ready.take() {
            Some(ready) => {
                let _ = ready.send(Err(ApiError::from(error)));
            }
            None if chunks.is_closed() => {}
            None => {
                tracing::error!(error = %error, "an image archive was cut short");
                let _ = chunks.blocking_send(Err(io::Error::other(error)));
            }
        }
    });
    prepared
        .await
        .map_err(|_| ApiError::system("image store: the archive was not begun"))??;
    Ok(reply)
}

/// Sends what is written in chunks.
struct Chunks {
    chunks: mpsc::Sender<io::Result<Bytes>>,
    buffer: Vec<u8>,
}

impl Write for Chunks {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let n = bytes.len().min(CHUNK - self.buffer.len());
        self.buffer.extend_from_slice(&bytes[..n]);
        if self.buffer.len() == CHUNK {
            self.flush()?;
        }
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let chunk = std::mem::replace(&mut self.buffer, Vec::with_capacity(CHUNK));
        self.chunks
            .blocking_send(Ok(chunk.into()))
            .map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}

/// Removes images that no container uses.
pub(crate) async fn prune(daemon: &Arc<Daemon>, request: &Request) -> Result<Reply, ApiError> {
    let filters = Filters::parse(request.query.text("filters"))?;
    filters.validate(PRUNE_KEYS)?;
    let named = !filters.boolean("dangling")?.unwrap_or(true);
    let until = match filters.get("until") {
        [] => None,
        [text] => time::moment("until", text)?.map(i128::from),
        _ => {
            return Err(ApiError::invalid("more than one until filter specified"));
        }
    };
    let users = Arc::clone(daemon);
    let pruned = images::blocking(daemon, move |store| {
        let chosen = |image: &crate::image::Image| {
            until.is_none_or(|bound| images::created(image) <= bound)
                && filters.labels("label", &image.config.labels)
                && (!filters.has("label!") || !filters.labels("label!", &image.config.labels))
        };
        Ok(store.prune(named, &chosen, &|id| images::in_use(&users, id)))
    })
    .await?;
    let mut list = Vec::new();
    let mut reclaimed: u64 = 0;
    for (image, removed) in &pruned {
        list.extend(images::report_removed(
            daemon,
            &image.id,
            &image.config.labels,
            removed,
        ));
        for entry in removed {
            if let Removed::Layer { size, .. } = entry {
                reclaimed = reclaimed.saturating_add(*size);
            }
        }
    }
    let attributes = [("reclaimed".to_owned(), reclaimed.to_string())].into();
    daemon.events.publish("image", "prune", "", attributes);
    let deleted = (!list.is_empty()).then_some(list);
    Ok(reply::json(
        StatusCode::OK,
        &json!({"ImagesDeleted": deleted, "SpaceReclaimed": reclaimed}),
    ))
}
