//! A client of the Docker Engine API over a unix socket or a port, as our own command line uses it.
//!
//! One connection a request: a command makes few of them, and a stream never blocks another.

mod error;
mod frames;
mod host;
mod query;

use std::io::Read;
use std::os::unix::net::UnixStream as StdUnixStream;

use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Empty, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::UnixStream;
use tokio::sync::mpsc;

pub(crate) use error::ClientError;
pub(crate) use frames::{Demux, Stream};
pub(crate) use host::{Host, HostError, TlsChoice};
pub(crate) use query::{Query, segment};

/// Newest API version whose shapes this client knows.
pub(crate) const MAX_API: (u32, u32) = (1, 43);
/// What a daemon speaks that does not say (docs: Docker SDKs).
const FALLBACK_API: (u32, u32) = (1, 24);
/// An error body longer than this is cut.
const MAX_ERROR_BODY: usize = 1 << 20;

type BodyError = Box<dyn std::error::Error + Send + Sync>;
type ReqBody = UnsyncBoxBody<Bytes, BodyError>;

/// What a request carries.
#[derive(Debug)]
pub(crate) enum Body {
    Empty,
    Json(Value),
    /// Chunked, with this content type.
    Stream(mpsc::Receiver<std::io::Result<Bytes>>, &'static str),
}

impl Body {
    /// A body that a thread of its own reads from `source`.
    pub(crate) fn read_from(mut source: impl Read + Send + 'static, kind: &'static str) -> Self {
        let (tx, rx) = mpsc::channel(4);
        std::thread::spawn(move || {
            loop {
                let mut buf = vec![0; 256 * 1024];
                let item = match source.read(&mut buf) {
                    Ok(0) => return,
                    Ok(n) => {
                        buf.truncate(n);
                        Ok(Bytes::from(buf))
                    }
                    Err(e) if e.kind() == std::io::ErrorKind::Interrupted => continue,
                    Err(e) => Err(e),
                };
                let last = item.is_err();
                if tx.blocking_send(item).is_err() || last {
                    return;
                }
            }
        });
        Self::Stream(rx, kind)
    }
}

/// A daemon, with the API version that both sides know.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    host: Host,
    api: (u32, u32),
}

/// A connection that has left HTTP: raw bytes both ways.
#[derive(Debug)]
pub(crate) struct Hijacked {
    /// Blocking; its two directions are shut separately.
    pub(crate) socket: StdUnixStream,
    /// Bytes that came together with the header.
    pub(crate) early: Bytes,
}

impl Client {
    /// Asks the daemon for its version and settles on one.
    ///
    /// # Errors
    /// The daemon cannot be reached, or does not speak HTTP.
    pub(crate) async fn connect(host: Host) -> Result<Self, ClientError> {
        let mut client = Self {
            host,
            api: FALLBACK_API,
        };
        let mut answer = client
            .raw(&Method::HEAD, "/_ping", Body::Empty, false, &[])
            .await?;
        if answer.status() != 200 {
            answer = client
                .raw(&Method::GET, "/_ping", Body::Empty, false, &[])
                .await?;
        }
        if let Some(api) = answer
            .headers()
            .get("api-version")
            .and_then(|v| v.to_str().ok())
            .and_then(parse_api)
        {
            client.api = api.min(MAX_API);
        }
        // For the tests of daemons; Docker's variable.
        if let Some(api) = std::env::var("DOCKER_API_VERSION")
            .ok()
            .as_deref()
            .and_then(parse_api)
        {
            client.api = api;
        }
        Ok(client)
    }

    /// Whether the version in use is at least 1.`minor`.
    pub(crate) fn speaks(&self, minor: u32) -> bool {
        self.api >= (1, minor)
    }

    /// The version in use, as `1.43`.
    pub(crate) fn api_version(&self) -> String {
        format!("{}.{}", self.api.0, self.api.1)
    }

    /// Sends a request below the version prefix; any status from 400 is an error. The body may
    /// still be on its way.
    ///
    /// # Errors
    /// No connection, a broken one, or the daemon's refusal.
    pub(crate) async fn send(
        &self,
        method: Method,
        path: &str,
        body: Body,
    ) -> Result<Response<Incoming>, ClientError> {
        self.send_with(method, path, body, &[]).await
    }

    /// As [`Self::send`], with more headers.
    ///
    /// # Errors
    /// As [`Self::send`].
    pub(crate) async fn send_with(
        &self,
        method: Method,
        path: &str,
        body: Body,
        headers: &[(&'static str, String)],
    ) -> Result<Response<Incoming>, ClientError> {
        let path = format!("/v{}.{}{path}", self.api.0, self.api.1);
        let answer = self.raw(&method, &path, body, false, headers).await?;
        refuse(answer, &method, &path).await
    }

    /// As [`Self::send_with`], and the body as JSON.
    ///
    /// # Errors
    /// As [`Self::get`].
    pub(crate) async fn json_with(
        &self,
        method: Method,
        path: &str,
        body: Body,
        headers: &[(&'static str, String)],
    ) -> Result<Value, ClientError> {
        let request = format!("{method} {path}");
        let answer = self.send_with(method, path, body, headers).await?;
        json(answer, &request).await
    }

    /// GET, and the body as JSON.
    ///
    /// # Errors
    /// As [`Self::send`], and a body that is no JSON.
    pub(crate) async fn get(&self, path: &str) -> Result<Value, ClientError> {
        let answer = self.send(Method::GET, path, Body::Empty).await?;
        json(answer, &format!("GET {path}")).await
    }

    /// POST with a body, and the answer as JSON; `null` when there is none.
    ///
    /// # Errors
    /// As [`Self::get`].
    pub(crate) async fn post(&self, path: &str, body: Body) -> Result<Value, ClientError> {
        let answer = self.send(Method::POST, path, body).await?;
        json(answer, &format!("POST {path}")).await
    }

    /// DELETE, and the answer as JSON; `null` when there is none.
    ///
    /// # Errors
    /// As [`Self::get`].
    pub(crate) async fn delete(&self, path: &str) -> Result<Value, ClientError> {
        let answer = self.send(Method::DELETE, path, Body::Empty).await?;
        json(answer, &format!("DELETE {path}")).await
    }

    /// POST with `Upgrade: tcp`; afterwards the connection is a raw stream.
    ///
    /// # Errors
    /// As [`Self::send`], and a daemon that does not upgrade.
    pub(crate) async fn hijack(&self, path: &str, body: Body) -> Result<Hijacked, ClientError> {
        let path = format!("/v{}.{}{path}", self.api.0, self.api.1);
        let answer = self.raw(&Method::POST, &path, body, true, &[]).await?;
        let answer = refuse(answer, &Method::POST, &path).await?;
        let status = answer.status().as_u16();
        if status != 101 {
            return Err(ClientError::NotUpgraded { status });
        }
        let upgraded = hyper::upgrade::on(answer)
            .await
            .map_err(|source| ClientError::Http {
                request: format!("POST {path}"),
                source,
            })?;
        let parts = upgraded
            .downcast::<TokioIo<UnixStream>>()
            // The transport is the one that `raw` gave to hyper.
            .map_err(|_| ClientError::NotUpgraded { status })?;
        let socket = parts
            .io
            .into_inner()
            .into_std()
            .map_err(ClientError::Stream)?;
        socket.set_nonblocking(false).map_err(ClientError::Stream)?;
        Ok(Hijacked {
            socket,
            early: parts.read_buf,
        })
    }

    async fn raw(
        &self,
        method: &Method,
        path: &str,
        body: Body,
        upgrade: bool,
        headers: &[(&'static str, String)],
    ) -> Result<Response<Incoming>, ClientError> {
        let unreachable = |source| ClientError::Unreachable {
            host: self.host.to_string(),
            source,
        };
        let stream = self.host.dial().await.map_err(unreachable)?;
        let failed = |source| match self.host.failure() {
            Some(text) => unreachable(std::io::Error::other(text)),
            None => ClientError::Http {
                request: format!("{method} {path}"),
                source,
            },
        };
        let (mut sender, connection) = hyper::client::conn::http1::Builder::new()
            .max_buf_size(1 << 20)
            .handshake::<_, ReqBody>(TokioIo::new(stream))
            .await
            .map_err(failed)?;
        tokio::spawn(connection.with_upgrades());

        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header("Host", "taffrail")
            .header(
                "User-Agent",
                concat!("Taffrail-Client/", env!("CARGO_PKG_VERSION"), " (linux)"),
            );
        for (name, value) in headers {
            request = request.header(*name, value);
        }
        if path.contains("/logs?") {
            // The cursor at the end of a log is a trailer.
            request = request.header("TE", "trailers");
        }
        if upgrade {
            request = request
                .header("Connection", "Upgrade")
                .header("Upgrade", "tcp");
            if matches!(body, Body::Empty) {
                request = request.header("Content-Type", "text/plain");
            }
        }
        let body: ReqBody = match body {
            Body::Empty => {
                if method == Method::POST {
                    request = request.header("Content-Length", "0");
                }
                Empty::new().map_err(|e| match e {}).boxed_unsync()
            }
            Body::Json(value) => {
                request = request.header("Content-Type", "application/json");
                Full::new(Bytes::from(value.to_string()))
                    .map_err(|e| match e {})
                    .boxed_unsync()
            }
            Body::Stream(mut rx, kind) => {
                request = request.header("Content-Type", kind);
                let stream = futures_util::stream::poll_fn(move |cx| {
                    rx.poll_recv(cx)
                        .map(|item| item.map(|r| r.map(Frame::data).map_err(BodyError::from)))
                });
                StreamBody::new(stream).boxed_unsync()
            }
        };
        let request = request
            .body(body)
            .map_err(|source| ClientError::BadRequest {
                path: path.to_owned(),
                source,
            })?;
        sender.send_request(request).await.map_err(failed)
    }
}

/// Turns an answer from 400 on into an error with the daemon's text.
async fn refuse(
    answer: Response<Incoming>,
    method: &Method,
    path: &str,
) -> Result<Response<Incoming>, ClientError> {
    let status = answer.status().as_u16();
    if status < 400 {
        return Ok(answer);
    }
    let body = http_body_util::Limited::new(answer.into_body(), MAX_ERROR_BODY)
        .collect()
        .await
        .map(http_body_util::Collected::to_bytes)
        .unwrap_or_default();
    let text = String::from_utf8_lossy(&body);
    let message = serde_json::from_slice::<Value>(&body)
        .ok()
        .and_then(|v| v.get("message").and_then(Value::as_str).map(str::to_owned))
        .unwrap_or_else(|| text.trim().to_owned());
    let message = if message.is_empty() {
        format!("request returned {status} for {method} {path}")
    } else {
        message
    };
    Err(ClientError::Daemon { status, message })
}

/// Reads a whole body as JSON; an empty one is `null`.
async fn json(answer: Response<Incoming>, request: &str) -> Result<Value, ClientError> {
    let body = answer
        .into_body()
        .collect()
        .await
        .map_err(|source| ClientError::Http {
            request: request.to_owned(),
            source,
        })?
        .to_bytes();
    if body.iter().all(u8::is_ascii_whitespace) {
        return Ok(Value::Null);
    }
    serde_json::from_slice(&body).map_err(|source| ClientError::Json {
        request: request.to_owned(),
        source,
    })
}

fn parse_api(text: &str) -> Option<(u32, u32)> {
    let (major, minor) = text.split_once('.')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}
