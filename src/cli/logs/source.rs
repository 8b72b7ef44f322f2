//! One container's log as it comes from the daemon: chunks, and the cursor at its end.

use bytes::Bytes;
use futures_util::FutureExt;
use http_body_util::BodyExt;
use hyper::Method;
use hyper::body::Incoming;

use crate::client::{Body, Client, ClientError, Query, segment};

use crate::cli::error::CliError;

/// Trailer with the position of the last record that was passed.
const CURSOR: &str = "taffrail-cursor";

/// A container whose log is wanted.
#[derive(Clone, Debug)]
pub(super) struct Source {
    pub(super) id: String,
    /// Without the leading `/`.
    pub(super) name: String,
    pub(super) tty: bool,
}

impl Source {
    /// Looks a container up.
    ///
    /// # Errors
    /// There is none of that name.
    pub(super) async fn find(client: &Client, name: &str) -> Result<Self, CliError> {
        let found = client
            .get(&format!("/containers/{}/json", segment(name)))
            .await?;
        let text = |value: &serde_json::Value| value.as_str().map(str::to_owned);
        Ok(Self {
            id: text(&found["Id"]).unwrap_or_else(|| name.to_owned()),
            name: text(&found["Name"]).map_or_else(
                || name.to_owned(),
                |name| name.trim_start_matches('/').to_owned(),
            ),
            tty: found["Config"]["Tty"] == true,
        })
    }
}

/// A log being received.
#[derive(Debug)]
pub(super) struct Stream {
    body: Incoming,
    request: String,
    /// In frames, whatever the container is.
    pub(super) framed: bool,
    pub(super) cursor: Option<String>,
}

impl Stream {
    /// Asks for a container's log.
    ///
    /// # Errors
    /// The daemon's refusal.
    pub(super) async fn open(
        client: &Client,
        source: &Source,
        query: &Query,
    ) -> Result<Self, CliError> {
        let path = super::path(&source.id, query);
        let answer = client.send(Method::GET, &path, Body::Empty).await?;
        let kind = answer.headers().get("content-type");
        let multiplexed = kind.is_some_and(|k| k == "application/vnd.docker.multiplexed-stream");
        Ok(Self {
            framed: multiplexed || !source.tty,
            body: answer.into_body(),
            request: format!("GET {path}"),
            cursor: None,
        })
    }

    /// The next chunk. `idle` is called before anything has to be waited for.
    ///
    /// # Errors
    /// The connection breaks.
    pub(super) async fn next(
        &mut self,
        mut idle: impl FnMut(),
    ) -> Result<Option<Bytes>, ClientError> {
        loop {
            // The connection's own task may have more as soon as it gets its turn.
            let mut ready = self.body.frame().now_or_never();
            if ready.is_none() {
                tokio::task::yield_now().await;
                ready = self.body.frame().now_or_never();
            }
            let frame = match ready {
                Some(frame) => frame,
                None => {
                    idle();
                    self.body.frame().await
                }
            };
            let Some(frame) = frame else { return Ok(None) };
            let frame = frame.map_err(|source| ClientError::Http {
                request: self.request.clone(),
                source,
            })?;
            match frame.into_data() {
                Ok(data) => return Ok(Some(data)),
                Err(frame) => {
                    if let Some(cursor) = frame.trailers_ref().and_then(|t| t.get(CURSOR)) {
                        self.cursor = cursor.to_str().ok().map(str::to_owned);
                    }
                }
            }
        }
    }
}
