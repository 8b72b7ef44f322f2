//! `GET /containers/{name}/stats`.

use std::sync::Arc;

use http::StatusCode;

use super::reply::{self, Reply};
use super::request::Request;
use crate::daemon::Daemon;
use crate::errors::ApiError;

/// A sample a second until the client is gone, or the one that was asked for.
pub(crate) async fn stats(
    daemon: &Arc<Daemon>,
    name: &str,
    request: &Request,
) -> Result<Reply, ApiError> {
    let stream = request.query.some("stream").is_none() || request.query.flag("stream");
    let one_shot = request.query.flag("one-shot");
    if stream && one_shot {
        return Err(ApiError::invalid(
            "cannot have stream=true and one-shot=true",
        ));
    }
    let container = daemon.find(name)?;
    if !stream && (one_shot || !container.is_running()) {
        let sample = daemon.stats_now(&container).await;
        return Ok(reply::json(StatusCode::OK, &sample));
    }
    let mut samples = daemon.stats(&container);
    if !stream {
        // The first is what the second is compared with.
        samples.next().await;
        let Some(sample) = samples.next().await else {
            return Err(ApiError::not_found(format!("No such container: {name}")));
        };
        return Ok(reply::json(StatusCode::OK, &sample));
    }
    let (sender, reply) = reply::stream("application/json");
    tokio::spawn(async move {
        loop {
            tokio::select! {
                sample = samples.next() => {
                    let Some(sample) = sample else { break };
                    if sender.send(reply::json_line(&sample)).await.is_err() {
                        break;
                    }
                }
                () = sender.closed() => break,
            }
        }
    });
    Ok(reply)
}
