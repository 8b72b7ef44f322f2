//! HTTP/1.1 on sockets: accepting, bounds, standard headers, and taking a connection out of
//! HTTP for `attach`. What is served is the business of a [`Service`].

use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderName, HeaderValue};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::connection::{self, ConnIo, ConnState, Hijacked, Peer, Registry};
use crate::net::Front;

use super::reply::{Answer, AnswerDone, Reply, Takeover};

/// `Server:`. Docker's clients match `Docker/<version> (<os>)`, so the product name is in the
/// version's suffix.
pub(crate) const SERVER: &str = concat!("Docker/", env!("CARGO_PKG_VERSION"), "+taffrail (linux)");

/// On every answer (docs: Engine API, `/_ping`). `Date` comes from hyper.
pub(crate) const STANDARD_HEADERS: [(&str, &str); 4] = [
    ("api-version", "1.43"),
    ("docker-experimental", "false"),
    ("ostype", "linux"),
    ("server", SERVER),
];

/// Bounds of a listener.
#[derive(Clone, Debug)]
pub(crate) struct Limits {
    /// Connections that are being served; more wait in the listener's backlog.
    pub(crate) active: usize,
    /// Connections that wait for a request: half-open or kept alive. At the bound the one that
    /// has waited longest is closed, so that silent clients cannot keep others out.
    pub(crate) quiet: usize,
    /// From the first byte (or the connection) to the end of a request's head.
    pub(crate) head_time: Duration,
    /// How long a connection is kept alive without a request.
    pub(crate) idle_time: Duration,
    /// Bytes of a request's head.
    pub(crate) head_bytes: usize,
    /// Headers of a request.
    pub(crate) headers: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            active: 1024,
            quiet: 512,
            head_time: Duration::from_secs(30),
            idle_time: Duration::from_secs(300),
            head_bytes: 64 * 1024,
            headers: 100,
        }
    }
}

/// How long answers under way may take once the daemon stops.
const STOP_TIME: Duration = Duration::from_secs(3);
/// How long streams (logs, events, wait, attach), which may have no end, go on then.
const STOP_STREAM_TIME: Duration = Duration::from_millis(300);

/// What the server serves.
pub(crate) trait Service: Send + Sync + 'static {
    /// Answers a request. Runs in a task of its own and to its end, also when the client leaves.
    fn answer(
        self: Arc<Self>,
        request: http::Request<Incoming>,
        peer: Peer,
    ) -> impl Future<Output = Answer> + Send;
}

/// Where connections come from.
#[derive(Debug)]
pub(crate) enum Listener {
    Unix(UnixListener),
    Tcp(Front),
}

impl Listener {
    async fn accept(&self) -> io::Result<UnixStream> {
        match self {
            Self::Unix(listener) => listener.accept().await.map(|(stream, _)| stream),
            Self::Tcp(front) => front.accept().await,
        }
    }

    /// Whether the end of a client's sending is the only sign of its end.
    fn is_tcp(&self) -> bool {
        matches!(self, Self::Tcp(_))
    }
}

/// Serves a listener until `stop` becomes true; answers under way then get a few seconds.
pub(crate) async fn serve<S: Service>(
    listener: Listener,
    service: Arc<S>,
    limits: Limits,
    mut stop: watch::Receiver<bool>,
) {
    let registry = Registry::new(limits);
    let half = listener.is_tcp();
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = accept(&listener, &registry) => accepted,
            () = stopped(&mut stop) => break,
            Some(_) = connections.join_next(), if !connections.is_empty() => continue,
        };
        let state = ConnState::new(Arc::clone(&registry));
        let service = Arc::clone(&service);
        connections.spawn(drive(accepted, half, state, service, stop.clone()));
    }
    drop(listener);
    let rest = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(STOP_TIME, rest).await.is_err() {
        connections.shutdown().await;
    }
}

/// Resolves when the daemon stops (or nobody is left who could stop it).
async fn stopped(stop: &mut watch::Receiver<bool>) {
    // An error means that the sender is gone, which is a stop as well.
    let _ = stop.wait_for(|stop| *stop).await;
}

async fn accept(listener: &Listener, registry: &Registry) -> UnixStream {
    loop {
        registry.room().await;
        match listener.accept().await {
            Ok(stream) => return stream,
            Err(error) => {
                // Out of descriptors: the oldest silent connection gives one back.
                let made_room = out_of_descriptors(&error) && registry.evict_one();
                tracing::warn!(error = %error, "connection cannot be accepted");
                // The descriptor is free once the evicted task has run; a failing accept must not
                // spin either.
                let pause = if made_room { 5 } else { 100 };
                tokio::time::sleep(Duration::from_millis(pause)).await;
            }
        }
    }
}

fn out_of_descriptors(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE))
}

/// How the HTTP part of a connection ended.
enum End {
    /// hyper is through; after a refusal the client may still be sending.
    Http,
    /// A handler took the connection.
    Hijack(Takeover),
    /// A bound of ours.
    Cut,
}

async fn drive<S: Service>(
    stream: UnixStream,
    half: bool,
    state: Arc<ConnState>,
    service: Arc<S>,
    mut stop: watch::Receiver<bool>,
) {
    /// Gives the connection's place back however its task ends.
    struct Place(Arc<ConnState>);
    impl Drop for Place {
        fn drop(&mut self) {
            self.0.close();
        }
    }
    let _place = Place(Arc::clone(&state));

    let stream = Arc::new(stream);
    let (takeover, mut takeovers) = mpsc::channel::<Takeover>(1);
    let handler = {
        let stream = Arc::clone(&stream);
        let state = Arc::clone(&state);
        service_fn(move |request: http::Request<Incoming>| {
            state.request();
            let service = Arc::clone(&service);
            let peer = Peer::new(Arc::clone(&stream), half);
            let takeover = takeover.clone();
            let done = AnswerDone(Arc::clone(&state));
            async move {
                let answer = tokio::spawn(service.answer(request, peer)).await;
                match answer {
                    Ok(Answer::Http(reply)) => Ok::<_, Infallible>(finish(reply, done)),
                    Ok(Answer::Hijack(run)) => {
                        // The receiver lives as long as this future, which ends by being
                        // dropped when the driver takes the connection.
                        let _ = takeover.send(run).await;
                        std::future::pending().await
                    }
                    Err(error) => {
                        tracing::error!(error = %error, "handler did not finish");
                        let error = crate::errors::ApiError::system("request was not finished");
                        Ok(finish(super::reply::error(&error), done))
                    }
                }
            }
        })
    };
    let limits = state.limits().clone();
    let io = TokioIo::new(ConnIo::new(Arc::clone(&stream), Arc::clone(&state)));
    let mut http = http1::Builder::new()
        .timer(TokioTimer::new())
        // Our own deadline tells a new connection from one kept alive.
        .header_read_timeout(None)
        .half_close(true)
        .max_headers(limits.headers)
        .max_header_size(limits.head_bytes)
        .max_buf_size(limits.head_bytes)
        .serve_connection(io, handler);
    let mut stream_end = None;
    let end = loop {
        let deadline = state
            .deadline()
            .unwrap_or_else(|| Instant::now() + limits.head_time);
        tokio::select! {
            _ = &mut http => break End::Http,
            Some(run) = takeovers.recv() => break End::Hijack(run),
            () = tokio::time::sleep_until(deadline) => {
                if state.deadline().is_some_and(|deadline| deadline <= Instant::now()) {
                    break End::Cut;
                }
            }
            () = state.evicted() => {
                if state.is_quiet() {
                    break End::Cut;
                }
            }
            () = stopped(&mut stop), if stream_end.is_none() => {
                if state.is_quiet() {
                    break End::Cut;
                }
                stream_end = Some(Instant::now() + STOP_STREAM_TIME);
                std::pin::Pin::new(&mut http).graceful_shutdown();
            }
            () = at(stream_end) => {
                if state.is_streaming() {
                    break End::Cut;
                }
                stream_end = Some(Instant::now() + STOP_STREAM_TIME);
            }
        }
    };
    match end {
        End::Cut => {}
        End::Http => {
            drop(http);
            connection::linger(&stream).await;
        }
        End::Hijack(run) => {
            let pending = http.into_parts().read_buf;
            tokio::select! {
                () = run(Hijacked::new(stream, pending)) => {}
                () = async {
                    stopped(&mut stop).await;
                    tokio::time::sleep(STOP_STREAM_TIME).await;
                } => {}
            }
        }
    }
}

/// Resolves at a time, or never.
async fn at(time: Option<Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time).await,
        None => std::future::pending().await,
    }
}

/// Adds the standard headers, and the guard that marks the answer's end.
fn finish(mut reply: Reply, done: AnswerDone) -> Reply {
    let headers = reply.headers_mut();
    for (name, value) in STANDARD_HEADERS {
        headers.insert(
            HeaderName::from_static(name),
            HeaderValue::from_static(value),
        );
    }
    done.0.streams(reply.body().is_stream());
    reply.map(|body| body.with_guard(done))
}
