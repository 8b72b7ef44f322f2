//! `GET /containers/{name}/attach/ws`: as `attach`, over a web socket. Output comes in binary
//! messages, both streams as they come and without frames of their own, as in Docker.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;

use super::attach_query::AttachQuery;
use super::connection::{Hijacked, RawWriter};
use super::detach::DetachKeys;
use super::frame;
use super::reply::Answer;
use super::request::Request;
use super::version;
use super::websocket::{self, Frames, Incoming};
use crate::container::{
    AttachInput, AttachOptions, AttachOutput, AttachSession, Container, InputEnd, LogStream,
};
use crate::daemon::Daemon;
use crate::errors::ApiError;

/// How long the last frame may take.
const GOODBYE: Duration = Duration::from_secs(2);

/// Answers the request.
///
/// # Errors
/// As `attach`; 400 if it is no web socket's handshake.
pub(crate) async fn attach(
    daemon: &Arc<Daemon>,
    name: &str,
    request: Request,
) -> Result<Answer, ApiError> {
    let container = daemon.find(name)?;
    let mut query = AttachQuery::parse(&request.query, &request.headers)?;
    container.check_attachable(name)?;
    let head = websocket::accept(&request.headers)?;
    if request.version < version::MULTIPLEXED {
        // Until then all three were attached, whatever was asked for.
        (query.stdin, query.stdout, query.stderr) = (true, true, true);
    }
    let options = AttachOptions {
        stdin: query.stdin,
        stdout: query.stdout,
        stderr: query.stderr,
        stream: query.stream,
        logs: query.logs,
    };
    let session = daemon.attach(&container, options).await?;
    let end = if query.stream && !query.stdout && !query.stderr {
        Some(daemon.wait(&container, "next-exit")?)
    } else {
        None
    };
    let daemon = Arc::clone(daemon);
    drop(request);
    Ok(Answer::Hijack(Box::new(move |mut raw: Hijacked| {
        Box::pin(async move {
            if raw.writer.write_head(&head).await.is_err() {
                return;
            }
            let ended = async move {
                match end {
                    Some(end) => drop(end.finish().await),
                    None => std::future::pending().await,
                }
            };
            serve(&daemon, &container, query.keys, session, ended, raw).await;
        })
    })))
}

/// Why the client's side is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Over {
    /// It has closed, or left.
    Left,
    Keys,
    Broken,
}

async fn serve(
    daemon: &Arc<Daemon>,
    container: &Arc<Container>,
    keys: DetachKeys,
    session: AttachSession,
    ended: impl Future<Output = ()>,
    raw: Hijacked,
) {
    let AttachSession {
        tty,
        logs,
        output,
        input,
    } = session;
    let Hijacked {
        reader,
        writer,
        peer,
    } = raw;
    // Both directions write: the answer to a ping goes between two messages.
    let writer = Mutex::new(writer);
    let sent = async {
        if let Some(log) = logs {
            replay(log, tty, &writer).await?;
        }
        match output {
            Some(output) => copy_output(output, &writer).await,
            None => {
                ended.await;
                Ok(())
            }
        }
    };
    let read = copy_input(input, Frames::new(reader), keys, tty, &writer);
    let over = tokio::select! {
        result = sent => {
            if let Err(error) = result {
                tracing::debug!(container = container.id, %error, "attach ended");
            }
            None
        }
        over = read => Some(over),
        () = peer.gone() => Some(Over::Left),
    };
    if over == Some(Over::Keys) {
        daemon.detached(container);
    }
    let code = match over {
        Some(Over::Broken) => websocket::PROTOCOL_ERROR,
        _ => websocket::NORMAL,
    };
    let mut writer = writer.into_inner();
    // A client that is gone needs no goodbye; one that takes nothing is not waited for.
    let goodbye = websocket::close(code);
    let _ = tokio::time::timeout(GOODBYE, writer.write_all(&goodbye)).await;
    writer.finish().await;
}

async fn replay(mut log: LogStream, tty: bool, writer: &Mutex<RawWriter>) -> io::Result<()> {
    let mut unframed = frame::Unframed::default();
    loop {
        let message = match log.next().await {
            Ok(Some(chunk)) if tty => websocket::message(&chunk),
            Ok(Some(chunk)) => websocket::message(&unframed.feed(&chunk)),
            Ok(None) => return Ok(()),
            Err(error) => {
                let text = format!("Error attaching: {error}\n");
                let message = websocket::message(text.as_bytes());
                return writer.lock().await.write_all(&message).await;
            }
        };
        writer.lock().await.write_all(&message).await?;
    }
}

async fn copy_output(mut output: AttachOutput, writer: &Mutex<RawWriter>) -> io::Result<()> {
    while let Some((_, bytes)) = output.next().await {
        let message = websocket::message(&bytes);
        writer.lock().await.write_all(&message).await?;
    }
    Ok(())
}

async fn copy_input(
    mut input: Option<AttachInput>,
    mut frames: Frames,
    mut keys: DetachKeys,
    tty: bool,
    writer: &Mutex<RawWriter>,
) -> Over {
    loop {
        let bytes = match frames.next(frame::MAX_PAYLOAD).await {
            Incoming::Data(bytes) => bytes,
            Incoming::Ping(payload) => {
                let pong = websocket::pong(&payload);
                if writer.lock().await.write_all(&pong).await.is_err() {
                    return Over::Left;
                }
                continue;
            }
            Incoming::Broken => return Over::Broken,
            Incoming::Close => {
                // With `StdinOnce` this is the end of the container's input.
                if let Some(input) = input {
                    let (InputEnd::Closed | InputEnd::Detached) = input.finish().await;
                }
                return Over::Left;
            }
        };
        let Some(open) = &mut input else { continue };
        let (bytes, detached) = if tty {
            let scanned = keys.scan(&bytes);
            (scanned.forward, scanned.detached)
        } else {
            (bytes, false)
        };
        if !bytes.is_empty() && open.write(&bytes).await.is_err() {
            // The container takes no more; its output may still be under way.
            input = None;
        }
        if detached {
            return Over::Keys;
        }
    }
}
