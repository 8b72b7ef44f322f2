//! `GET /containers/{name}/logs`: header at once, then the log as it is read, a chunk a read.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, header};
use taffrail_log::{Format, Query};

use super::frame::{self, StreamId};
use super::logs_query::{self, LogsQuery};
use super::reply::{self, Reply};
use super::request::Request;
use crate::container::extra::{AnyLog, ExtraQuery};
use crate::daemon::Daemon;
use crate::errors::ApiError;

/// How long the end of a followed log is held back for the container's end.
const EXIT_TIME: Duration = Duration::from_secs(2);
/// Trailer: position of the last record that was passed, for `cursor`.
const CURSOR: &str = "taffrail-cursor";

/// Streams a container's log.
///
/// # Errors
/// Those of section "logs" of the Engine API: 400 for a bad query, 404, 409, 501.
pub(crate) async fn stream(
    daemon: &Arc<Daemon>,
    name: &str,
    request: &Request,
) -> Result<Reply, ApiError> {
    let wanted = LogsQuery::parse(&request.query, request.header(header::ACCEPT))?;
    let container = daemon.find(name)?;
    let tty = container.tty();
    let content_type = wanted.content_type(tty, request.version);
    let framed = wanted.record_frames || !tty;
    let format = Format {
        multiplexed: framed,
        timestamps: wanted.timestamps,
        details: wanted.details,
        // Many clients show a frame as a record; those that do not get bulk in fewer frames.
        coalesce: !wanted.follow
            && !wanted.record_frames
            && logs_query::demultiplexes(request.header(header::USER_AGENT)),
        ndjson: wanted.ndjson,
        packed: false,
    };
    let query = Query {
        since: wanted.since,
        until: wanted.until,
        tail: wanted.tail,
        stdout: wanted.stdout,
        stderr: wanted.stderr,
        follow: wanted.follow,
        after: wanted.cursor,
        grep: wanted.grep,
        run: wanted.run,
    };
    // A follow ends when the log does, which is a moment before the container counts as ended;
    // `docker logs -f x && docker rm x` expects the latter.
    let exit = if wanted.follow && wanted.until.is_none() && !wanted.over_restarts {
        Some(daemon.wait(&container, "not-running")?)
    } else {
        None
    };
    let mut log = if wanted.extra.is_empty() {
        let log = daemon.logs(&container, query, format, wanted.over_restarts);
        AnyLog::Plain(Box::new(log.await?))
    } else {
        let extra = ExtraQuery {
            streams: wanted.extra,
            log: wanted.stdout || wanted.stderr,
            query,
            format,
            over_restarts: wanted.over_restarts,
        };
        daemon.extra_logs(&container, extra).await?
    };
    let (sender, trailers, reply) = reply::trailed_stream(content_type, CURSOR);
    let peer = request.peer.clone();
    if !wanted.follow {
        // A follower that stands still must not cost so much.
        peer.expect_bulk();
    }
    tokio::spawn(async move {
        let gone = peer.gone();
        tokio::pin!(gone);
        loop {
            let next = tokio::select! {
                next = log.next() => next,
                () = &mut gone => return,
            };
            let chunk = match next {
                Ok(Some(chunk)) => chunk,
                Ok(None) => break,
                Err(error) => {
                    tracing::warn!(container = container.id, error = %error, "log cannot be read");
                    let chunk = in_band(&error, format);
                    // The stream ends either way.
                    let _ = sender.send(chunk).await;
                    return;
                }
            };
            if sender.send(chunk).await.is_err() {
                return;
            }
        }
        if let Some(exit) = exit {
            tokio::select! {
                // The outcome is not this client's business, only that there is one.
                _ = tokio::time::timeout(EXIT_TIME, exit.finish()) => {}
                () = &mut gone => {}
            }
        }
        if let Some(cursor) = log.cursor()
            && let Ok(value) = HeaderValue::try_from(cursor.to_string())
        {
            // Nobody is left to want it, or it is sent.
            let _ = trailers.send(HeaderMap::from_iter([(
                header::HeaderName::from_static(CURSOR),
                value,
            )]));
        }
        drop(sender);
    });
    Ok(reply)
}

/// An error after the header, as Docker puts it into the stream.
fn in_band(error: &ApiError, format: Format) -> Bytes {
    if format.ndjson {
        return reply::json_line(&serde_json::json!({
            "Timestamp": "0001-01-01T00:00:00Z",
            "Error": error.to_string(),
        }));
    }
    let text = format!("Error grabbing logs: {error}\n");
    let mut out = Vec::new();
    frame::append(
        &mut out,
        format.multiplexed,
        StreamId::SystemError,
        text.as_bytes(),
    );
    out.into()
}
