//! Transport rules over a real socket, with a backend that needs no daemon.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;

use super::reply::{self, Answer};
use super::request::Request;
use super::router::{Backend, Route, Router};
use super::server::{self, Limits};
use crate::errors::ApiError;

/// Nothing here takes longer unless it hangs.
const DEADLINE: Duration = Duration::from_secs(10);

/// Echoes JSON (create), streams for ever (events), hijacks (attach).
struct Stub {
    /// Reports when a stream noticed that its client is gone.
    gone: mpsc::UnboundedSender<()>,
}

impl Backend for Stub {
    async fn serve(
        self: Arc<Self>,
        route: Route,
        name: String,
        mut request: Request,
    ) -> Result<Answer, ApiError> {
        match route {
            Route::ContainerCreate => {
                let body: Option<serde_json::Value> = request.json().await?;
                Ok(reply::json(StatusCode::CREATED, &body).into())
            }
            Route::ContainerStop => Ok(reply::empty(StatusCode::NO_CONTENT).into()),
            Route::ContainerInspect => Ok(reply::json(StatusCode::OK, &name).into()),
            Route::Events => {
                let (sender, reply) = reply::stream("application/json");
                let gone = self.gone.clone();
                tokio::spawn(async move {
                    request.peer.gone().await;
                    drop(sender);
                    let _ = gone.send(());
                });
                Ok(reply.into())
            }
            Route::ContainerLogs => {
                let (sender, reply) = reply::stream("text/plain");
                tokio::spawn(async move {
                    // What hyper's own refusals look like must pass through as content.
                    let _ = sender.send(Bytes::from_static(b"HTTP/1.1 400 x\n")).await;
                });
                Ok(reply.into())
            }
            Route::ContainerAttach => Ok(Answer::Hijack(Box::new(|mut raw| {
                Box::pin(async move {
                    raw.writer
                        .write_head("HTTP/1.1 101 UPGRADED\r\n\r\n")
                        .await
                        .unwrap();
                    // Comes in a read of its own, whatever the size of the client's buffer.
                    raw.writer.write_all(b"first|").await.unwrap();
                    let mut buf = [0; 64];
                    loop {
                        let count = raw.reader.read(&mut buf).await.unwrap();
                        if count == 0 {
                            break;
                        }
                        raw.writer.write_all(&buf[..count]).await.unwrap();
                    }
                    raw.writer.write_all(b"|end").await.unwrap();
                    raw.writer.finish().await;
                })
            }))),
            _ => Err(ApiError::not_found("stub")),
        }
    }
}

struct Server {
    path: PathBuf,
    gone: mpsc::UnboundedReceiver<()>,
    stop: watch::Sender<bool>,
    task: tokio::task::JoinHandle<()>,
    _dir: tempfile::TempDir,
}

impl Server {
    fn start(limits: Limits) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        let listener = UnixListener::bind(&path).unwrap();
        let (gone_sender, gone) = mpsc::unbounded_channel();
        let (stop, stopped) = watch::channel(false);
        let router = Arc::new(Router(Arc::new(Stub { gone: gone_sender })));
        let task = tokio::spawn(server::serve(
            server::Listener::Unix(listener),
            router,
            limits,
            stopped,
        ));
        Self {
            path,
            gone,
            stop,
            task,
            _dir: dir,
        }
    }

    async fn connect(&self) -> UnixStream {
        UnixStream::connect(&self.path).await.unwrap()
    }

    /// Sends bytes, half-closes, and reads to the end.
    async fn raw(&self, request: &[u8]) -> Response {
        let mut stream = self.connect().await;
        stream.write_all(request).await.unwrap();
        stream.shutdown().await.unwrap();
        read_all(&mut stream).await
    }

    async fn get(&self, path: &str) -> Response {
        self.raw(format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes())
            .await
    }

    async fn create(&self, kind: &str, body: &str) -> Response {
        let length = body.len();
        self.raw(
            format!(
                "POST /containers/create HTTP/1.1\r\nHost: x\r\n{kind}Content-Length: {length}\r\n\r\n{body}"
            )
            .as_bytes(),
        )
        .await
    }
}

struct Response {
    status: u16,
    headers: BTreeMap<String, String>,
    body: String,
}

impl Response {
    fn parse(bytes: &[u8]) -> Self {
        let text = String::from_utf8_lossy(bytes);
        let (head, body) = text
            .split_once("\r\n\r\n")
            .unwrap_or_else(|| panic!("no head in {text:?}"));
        let mut lines = head.split("\r\n");
        let status = lines.next().unwrap().split(' ').nth(1).unwrap();
        Self {
            status: status.parse().unwrap(),
            headers: lines
                .map(|line| {
                    let (name, value) = line.split_once(": ").unwrap();
                    (name.to_lowercase(), value.to_owned())
                })
                .collect(),
            body: body.to_owned(),
        }
    }

    fn message(&self) -> String {
        assert!(self.body.ends_with('\n'), "{:?}", self.body);
        assert_eq!(self.headers["content-type"], "application/json");
        let value: serde_json::Value = serde_json::from_str(&self.body).unwrap();
        value["message"].as_str().unwrap().to_owned()
    }
}

async fn read_all(stream: &mut UnixStream) -> Response {
    let mut bytes = Vec::new();
    timeout(DEADLINE, stream.read_to_end(&mut bytes))
        .await
        .expect("answer does not end")
        .unwrap();
    Response::parse(&bytes)
}

async fn read_head(stream: &mut UnixStream) -> String {
    let mut bytes = Vec::new();
    while !bytes.ends_with(b"\r\n\r\n") {
        let byte = timeout(DEADLINE, stream.read_u8()).await.unwrap().unwrap();
        bytes.push(byte);
    }
    String::from_utf8(bytes).unwrap()
}

#[tokio::test]
async fn ping_and_its_headers() {
    let server = Server::start(Limits::default());
    for path in ["/_ping", "/v1.41/_ping", "/v1.24/_ping"] {
        let get = server.get(path).await;
        assert_eq!((get.status, get.body.as_str()), (200, "OK"));
        let head = server
            .raw(format!("HEAD {path} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes())
            .await;
        assert_eq!((head.status, head.body.as_str()), (200, ""));
        assert_eq!(head.headers["content-length"], "0");
        for answer in [&get, &head] {
            assert_eq!(answer.headers["api-version"], "1.43");
            assert_eq!(answer.headers["docker-experimental"], "false");
            assert_eq!(answer.headers["ostype"], "linux");
            assert_eq!(
                answer.headers["cache-control"],
                "no-cache, no-store, must-revalidate"
            );
            assert_eq!(answer.headers["pragma"], "no-cache");
            assert_eq!(answer.headers["content-type"], "text/plain; charset=utf-8");
            assert!(answer.headers["server"].starts_with("Docker/"));
            assert!(answer.headers.contains_key("date"));
            assert!(!answer.headers.contains_key("builder-version"));
        }
    }
    let error = server.get("/v1.999/_ping").await;
    assert_eq!(error.status, 400);
    assert_eq!(error.headers["api-version"], "1.43");
    assert_eq!(error.headers["pragma"], "no-cache");
    assert_eq!(
        error.message(),
        "client version 1.999 is too new. Maximum supported API version is 1.43"
    );
}

#[tokio::test]
async fn unknown_paths_swarm_and_what_is_not_built() {
    let server = Server::start(Limits::default());
    for path in [
        "/nosuch",
        "/v1.41/nosuch",
        "/",
        "/%zz",
        "/containers/x/start",
    ] {
        let answer = server.get(path).await;
        assert_eq!(answer.status, 404, "{path}");
        assert_eq!(answer.message(), "page not found");
    }
    let swarm = server.get("/v1.41/services").await;
    assert_eq!(swarm.status, 503);
    assert!(
        swarm
            .message()
            .starts_with("This node is not a swarm manager.")
    );
    let build =
        b"POST /build HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";
    let build = server.raw(build).await;
    assert_eq!(build.status, 501);
    assert_eq!(
        build.message(),
        "POST /build is not built in this version of Taffrail"
    );
    let old = server.get("/v1.1/containers/x/json").await;
    assert_eq!(old.status, 400);
    assert_eq!(server.get("/containers/a%2Fb/json").await.body, "\"a/b\"\n");
}

#[tokio::test]
async fn bodies() {
    let server = Server::start(Limits::default());
    let json = "Content-Type: application/json\r\n";
    let good = server.create(json, r#"{"Image":"x"}"#).await;
    assert_eq!(
        (good.status, good.body.as_str()),
        (201, "{\"Image\":\"x\"}\n")
    );
    let wrong = server.create("Content-Type: text/plain\r\n", "{}").await;
    assert_eq!(wrong.status, 400);
    assert_eq!(
        wrong.message(),
        "unsupported Content-Type header (text/plain): must be 'application/json'"
    );
    assert_eq!(server.create("", "{}").await.status, 400);
    for bad in ["{", "{} {}", "nonsense"] {
        let answer = server.create(json, bad).await;
        assert_eq!(answer.status, 400, "{bad}");
        assert!(answer.message().starts_with("invalid JSON: "));
    }
    let large = server.create(json, &" ".repeat(5 << 20)).await;
    assert_eq!(large.status, 413);
    let stop = server
        .raw(b"POST /containers/x/stop HTTP/1.1\r\nHost: x\r\n\r\n")
        .await;
    assert_eq!((stop.status, stop.body.as_str()), (204, ""));
    assert_eq!(stop.headers["api-version"], "1.43");
}

#[tokio::test]
async fn large_chunked_body_is_refused_and_the_client_reads_why() {
    let server = Server::start(Limits::default());
    let mut request =
        b"POST /containers/create HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
            .to_vec();
    for _ in 0..100 {
        request.extend_from_slice(b"10000\r\n");
        request.resize(request.len() + 0x10000, b' ');
        request.extend_from_slice(b"\r\n");
    }
    request.extend_from_slice(b"0\r\n\r\n");
    let mut stream = server.connect().await;
    // The answer may come, and the connection end, before all is sent.
    let _ = timeout(DEADLINE, stream.write_all(&request)).await.unwrap();
    assert_eq!(read_all(&mut stream).await.status, 413);
}

#[tokio::test]
async fn oversized_and_broken_heads() {
    let server = Server::start(Limits::default());
    let long = format!("GET /_ping HTTP/1.1\r\nX: {}\r\n\r\n", "a".repeat(70_000));
    let many = format!("GET /_ping HTTP/1.1\r\n{}\r\n", "X: a\r\n".repeat(101));
    for request in [long, many] {
        let answer = server.raw(request.as_bytes()).await;
        assert_eq!(answer.status, 431);
        assert_eq!(answer.headers["api-version"], "1.43");
        assert!(answer.message().contains("too large"));
    }
    let fits = format!("GET /_ping HTTP/1.1\r\nX: {}\r\n\r\n", "a".repeat(60_000));
    assert_eq!(server.raw(fits.as_bytes()).await.status, 200);
    let broken = server.raw(b"\x16\x03\x01 nonsense\r\n\r\n").await;
    assert_eq!(broken.status, 400);
    assert_eq!(broken.message(), "malformed HTTP request");
    // The same bytes as content are left alone.
    let logs = server.get("/containers/x/logs").await;
    assert!(logs.body.contains("HTTP/1.1 400 x\n"), "{}", logs.body);
}

#[tokio::test]
async fn keep_alive_and_pipelining() {
    let server = Server::start(Limits::default());
    let two = "GET /_ping HTTP/1.1\r\nHost: x\r\n\r\n".repeat(2);
    let mut stream = server.connect().await;
    stream.write_all(two.as_bytes()).await.unwrap();
    stream.shutdown().await.unwrap();
    let mut text = String::new();
    timeout(DEADLINE, stream.read_to_string(&mut text))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(text.matches("HTTP/1.1 200 OK").count(), 2, "{text}");
}

#[tokio::test]
async fn stream_sends_its_head_at_once_and_notices_a_client_that_leaves() {
    let mut server = Server::start(Limits::default());
    let mut stream = server.connect().await;
    stream
        .write_all(b"GET /events HTTP/1.1\r\nHost: x\r\n\r\n")
        .await
        .unwrap();
    let head = read_head(&mut stream).await;
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    // Half-closing is not leaving.
    stream.shutdown().await.unwrap();
    assert!(
        timeout(Duration::from_millis(100), server.gone.recv())
            .await
            .is_err()
    );
    drop(stream);
    timeout(DEADLINE, server.gone.recv())
        .await
        .unwrap()
        .unwrap();
}

#[tokio::test]
async fn hijack_keeps_bytes_that_came_with_the_head() {
    let server = Server::start(Limits::default());
    for upgrade in ["", "Connection: Upgrade\r\nUpgrade: tcp\r\n"] {
        let mut stream = server.connect().await;
        stream
            .write_all(
                format!(
                    "POST /containers/x/attach HTTP/1.1\r\nHost: x\r\n{upgrade}Content-Length: 0\r\n\r\nearly "
                )
                .as_bytes(),
            )
            .await
            .unwrap();
        let mut head = [0; 1024];
        let count = timeout(DEADLINE, stream.read(&mut head))
            .await
            .unwrap()
            .unwrap();
        assert_eq!(&head[..count], b"HTTP/1.1 101 UPGRADED\r\n\r\n");
        stream.write_all(b"late").await.unwrap();
        stream.shutdown().await.unwrap();
        let mut rest = String::new();
        timeout(DEADLINE, stream.read_to_string(&mut rest))
            .await
            .unwrap()
            .unwrap();
        assert_eq!(rest, "first|early late|end");
    }
}

#[tokio::test]
async fn half_open_connections_leave_the_server_responsive() {
    let limits = Limits {
        quiet: 50,
        ..Limits::default()
    };
    let server = Server::start(limits);
    let mut silent = Vec::new();
    for n in 0..200 {
        let mut stream = server.connect().await;
        if n % 2 == 0 {
            stream.write_all(b"GET /_ping HT").await.unwrap();
        }
        silent.push(stream);
        if n % 20 == 0 {
            let answer = timeout(DEADLINE, server.get("/_ping")).await.unwrap();
            assert_eq!(answer.status, 200);
        }
    }
    // The oldest made room.
    let mut byte = [0];
    let end = timeout(DEADLINE, silent[0].read(&mut byte)).await.unwrap();
    assert!(matches!(end, Ok(0) | Err(_)));
    // The newest may still go on with its request.
    let mut newest = silent.pop().unwrap();
    newest
        .write_all(b"GET /_ping HTTP/1.1\r\nConnection: close\r\n\r\n")
        .await
        .unwrap();
    assert_eq!(read_all(&mut newest).await.status, 200);
}

#[tokio::test]
async fn deadlines_of_heads_and_of_idle_connections() {
    let limits = Limits {
        head_time: Duration::from_millis(200),
        idle_time: Duration::from_millis(400),
        ..Limits::default()
    };
    let server = Server::start(limits);
    let mut silent = server.connect().await;
    silent.write_all(b"GET /_ping HT").await.unwrap();
    let mut kept = server.connect().await;
    let began = std::time::Instant::now();
    kept.write_all(b"POST /containers/x/stop HTTP/1.1\r\n\r\n")
        .await
        .unwrap();
    read_head(&mut kept).await;
    let mut rest = Vec::new();
    timeout(DEADLINE, silent.read_to_end(&mut rest))
        .await
        .unwrap()
        .unwrap();
    assert!(rest.is_empty());
    timeout(DEADLINE, kept.read_to_end(&mut rest))
        .await
        .unwrap()
        .unwrap();
    assert!(began.elapsed() >= Duration::from_millis(400));
    // A connection that is served is not bound by either.
    let mut serving = server.connect().await;
    serving
        .write_all(b"GET /events HTTP/1.1\r\n\r\n")
        .await
        .unwrap();
    read_head(&mut serving).await;
    let mut byte = [0];
    assert!(
        timeout(Duration::from_millis(600), serving.read(&mut byte))
            .await
            .is_err()
    );
}

#[tokio::test]
async fn at_the_bound_new_connections_wait_in_the_backlog() {
    let limits = Limits {
        active: 2,
        ..Limits::default()
    };
    let server = Server::start(limits);
    let mut streams = Vec::new();
    for _ in 0..2 {
        let mut stream = server.connect().await;
        stream
            .write_all(b"GET /events HTTP/1.1\r\n\r\n")
            .await
            .unwrap();
        read_head(&mut stream).await;
        streams.push(stream);
    }
    // One connection may have been accepted before the bound was reached.
    let mut early = server.connect().await;
    early
        .write_all(b"GET /events HTTP/1.1\r\n\r\n")
        .await
        .unwrap();
    let _ = timeout(Duration::from_millis(100), early.read_u8()).await;
    let mut waiting = server.connect().await;
    waiting
        .write_all(b"GET /_ping HTTP/1.1\r\nConnection: close\r\n\r\n")
        .await
        .unwrap();
    let mut byte = [0];
    assert!(
        timeout(Duration::from_millis(200), waiting.read(&mut byte))
            .await
            .is_err()
    );
    drop(streams);
    drop(early);
    assert_eq!(read_all(&mut waiting).await.status, 200);
}

#[tokio::test]
async fn stop_ends_quiet_connections_and_the_server() {
    let server = Server::start(Limits::default());
    let mut idle = server.connect().await;
    idle.write_all(b"POST /containers/x/stop HTTP/1.1\r\n\r\n")
        .await
        .unwrap();
    read_head(&mut idle).await;
    let mut half_open = server.connect().await;
    half_open.write_all(b"GET /_ping HT").await.unwrap();
    let mut events = server.connect().await;
    events
        .write_all(b"GET /events HTTP/1.1\r\n\r\n")
        .await
        .unwrap();
    read_head(&mut events).await;
    let mut attached = server.connect().await;
    attached
        .write_all(b"POST /containers/x/attach HTTP/1.1\r\n\r\n")
        .await
        .unwrap();
    read_head(&mut attached).await;
    let began = std::time::Instant::now();
    server.stop.send(true).unwrap();
    let mut rest = Vec::new();
    timeout(DEADLINE, idle.read_to_end(&mut rest))
        .await
        .unwrap()
        .unwrap();
    timeout(DEADLINE, server.task).await.unwrap().unwrap();
    assert!(began.elapsed() < Duration::from_secs(2));
}
