//! `/metrics`: what the daemon counts, in Prometheus' text form.
//!
//! Figures stay where they are counted, as plain atomics; a scrape reads them. To add some, give
//! the module that counts them a function that writes its families to a [`Text`], and call it in
//! [`gather::gather`]. Reading changes nothing.

mod containers;
mod gather;
mod process;
mod text;

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderValue, Method, StatusCode, header};
use hyper::body::Incoming;
use tokio::sync::watch;

pub(crate) use text::{Counter, Text};

use crate::api::connection::Peer;
use crate::api::reply::{self, Answer};
use crate::api::server::{self, Limits, Listener, Service};
use crate::daemon::Daemon;
use crate::errors::ApiError;

/// Prometheus' text format, as its own servers name it.
const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// A few scrapers, no more.
const LIMITS: Limits = Limits {
    active: 8,
    quiet: 8,
    head_time: Duration::from_secs(10),
    idle_time: Duration::from_secs(300),
    head_bytes: 16 * 1024,
    headers: 100,
};

/// Serves `GET /metrics` until `stop` becomes true.
pub(crate) async fn serve(daemon: Arc<Daemon>, listener: Listener, stop: watch::Receiver<bool>) {
    server::serve(listener, Arc::new(Scrape(daemon)), LIMITS, stop).await;
}

struct Scrape(Arc<Daemon>);

impl Service for Scrape {
    async fn answer(self: Arc<Self>, request: http::Request<Incoming>, _: Peer) -> Answer {
        if request.uri().path() != "/metrics" {
            return reply::error(&ApiError::not_found("page not found: see /metrics")).into();
        }
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            return reply::error(&ApiError::not_found("page not found")).into();
        }
        // Sizes of log files are asked of the file system.
        let gathered = tokio::task::spawn_blocking(move || gather::gather(&self.0)).await;
        let Ok(text) = gathered else {
            return reply::error(&ApiError::system("metrics cannot be gathered")).into();
        };
        let mut reply = reply::text(StatusCode::OK, text);
        reply
            .headers_mut()
            .insert(header::CONTENT_TYPE, HeaderValue::from_static(CONTENT_TYPE));
        reply.into()
    }
}
