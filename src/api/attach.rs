//! `POST /containers/{name}/attach`: the connection leaves HTTP; output as it comes, input as the
//! client sends it, until the container ends or the client detaches.

use std::io;
use std::sync::Arc;

use super::attach_query::{self, AttachQuery};
use super::connection::{Hijacked, RawReader, RawWriter};
use super::detach::DetachKeys;
use super::frame::{self, StreamId};
use super::reply::Answer;
use super::request::Request;
use crate::container::Stream;
use crate::container::{
    AttachInput, AttachOptions, AttachOutput, AttachSession, Container, InputEnd, LogStream,
    WaitHandle,
};
use crate::daemon::Daemon;
use crate::errors::ApiError;

/// Answers the request. Errors are written by hand too, as plain text.
pub(crate) async fn attach(daemon: &Arc<Daemon>, name: &str, request: Request) -> Answer {
    let prepared = prepare(daemon, name, &request).await;
    let version = request.version;
    // What the client sent with the request's head is its first input; the body is not read.
    drop(request);
    Answer::Hijack(Box::new(move |mut raw: Hijacked| {
        Box::pin(async move {
            match prepared {
                Ok(client) => {
                    let head =
                        attach_query::head(client.query.upgrade, client.session.tty, version);
                    if raw.writer.write_head(&head).await.is_ok() {
                        client.run(raw).await;
                    }
                }
                Err(error) => {
                    let text = attach_query::refusal(&error);
                    // A client that is gone needs no refusal.
                    let _ = raw.writer.write_all(text.as_bytes()).await;
                    raw.writer.finish().await;
                }
            }
        })
    }))
}

struct Client {
    daemon: Arc<Daemon>,
    container: Arc<Container>,
    query: AttachQuery,
    session: AttachSession,
    /// The container's end, for a client without output.
    end: Option<WaitHandle>,
}

async fn prepare(daemon: &Arc<Daemon>, name: &str, request: &Request) -> Result<Client, ApiError> {
    let container = daemon.find(name)?;
    let query = AttachQuery::parse(&request.query, &request.headers)?;
    container.check_attachable(name)?;
    let end = if query.stream && !query.stdout && !query.stderr {
        Some(daemon.wait(&container, "next-exit")?)
    } else {
        None
    };
    let options = AttachOptions {
        stdin: query.stdin,
        stdout: query.stdout,
        stderr: query.stderr,
        stream: query.stream,
        logs: query.logs,
    };
    let session = daemon.attach(&container, options).await?;
    Ok(Client {
        daemon: Arc::clone(daemon),
        container,
        query,
        session,
        end,
    })
}

/// Why the client's input is over.
enum InputOver {
    /// Output goes on.
    Closed,
    /// End of input that is not the container's: Docker ends the output, too.
    Left,
    /// The detach keys.
    Keys,
}

impl Client {
    async fn run(self, raw: Hijacked) {
        let Self {
            daemon,
            container,
            query,
            session,
            end,
        } = self;
        let Hijacked {
            reader,
            mut writer,
            peer,
        } = raw;
        let AttachSession {
            tty,
            logs,
            output,
            input,
        } = session;
        let output = async {
            if let Some(log) = logs {
                replay(log, tty, &mut writer).await?;
            }
            match output {
                Some(output) => copy_output(output, tty, &mut writer).await,
                None => {
                    if let Some(end) = end {
                        end.finish().await;
                    }
                    Ok(())
                }
            }
        };
        let input = async {
            match input {
                Some(input) => copy_input(input, reader, query.keys, tty).await,
                // Nothing to read; that the client leaves is seen by its socket.
                None => InputOver::Closed,
            }
        };
        let detached = {
            tokio::pin!(output, input);
            let mut input_over = false;
            loop {
                tokio::select! {
                    result = &mut output => {
                        if let Err(error) = result {
                            tracing::debug!(container = container.id, %error, "attach ended");
                        }
                        break false;
                    }
                    over = &mut input, if !input_over => match over {
                        InputOver::Closed => input_over = true,
                        // The docker CLI looks for the keys itself and then just leaves.
                        InputOver::Left => break tty,
                        InputOver::Keys => break true,
                    },
                    () = peer.gone() => break false,
                }
            }
        };
        if detached {
            daemon.detached(&container);
        }
        writer.finish().await;
    }
}

async fn replay(mut log: LogStream, tty: bool, writer: &mut RawWriter) -> io::Result<()> {
    loop {
        match log.next().await {
            Ok(Some(chunk)) => writer.write_all(&chunk).await?,
            Ok(None) => return Ok(()),
            Err(error) => {
                let mut out = Vec::new();
                let text = format!("Error attaching: {error}\n");
                frame::append(&mut out, !tty, StreamId::SystemError, text.as_bytes());
                return writer.write_all(&out).await;
            }
        }
    }
}

async fn copy_output(
    mut output: AttachOutput,
    tty: bool,
    writer: &mut RawWriter,
) -> io::Result<()> {
    let mut out = Vec::new();
    while let Some((stream, bytes)) = output.next().await {
        if tty {
            writer.write_all(&bytes).await?;
            continue;
        }
        let stream = match stream {
            Stream::Stdout => StreamId::Stdout,
            Stream::Stderr => StreamId::Stderr,
        };
        out.clear();
        frame::append(&mut out, true, stream, &bytes);
        writer.write_all(&out).await?;
    }
    Ok(())
}

async fn copy_input(
    mut input: AttachInput,
    mut reader: RawReader,
    mut keys: DetachKeys,
    tty: bool,
) -> InputOver {
    let mut buf = vec![0; frame::MAX_PAYLOAD];
    loop {
        // A broken connection ends the input as its end does.
        let count = reader.read(&mut buf).await.unwrap_or(0);
        let scanned = keys.take(&buf[..count], tty);
        if !scanned.forward.is_empty() && input.write(&scanned.forward).await.is_err() {
            // The container takes no more; its output may still be under way.
            reader.drain(&mut buf).await;
            return InputOver::Closed;
        }
        if scanned.detached {
            return InputOver::Keys;
        }
        if count == 0 {
            if tty {
                // A terminal has no end of input; as Docker, this client just leaves.
                return InputOver::Left;
            }
            return match input.finish().await {
                InputEnd::Closed => InputOver::Closed,
                InputEnd::Detached => InputOver::Left,
            };
        }
    }
}
