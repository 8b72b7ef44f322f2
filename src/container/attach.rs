//! `attach`: raw output from now on, and the container's stdin. An attach may come before the
//! start that it waits for.

use std::sync::Arc;

use bytes::Bytes;
use taffrail_log::{Format, Query};
use tokio::io::AsyncWriteExt as _;
use tokio::sync::oneshot;

use super::{Container, LogStream, Status};
use crate::daemon::Daemon;
use crate::errors::ApiError;
use crate::supervisor::{AttachStream, Capture, StdinWriter};

/// Which of the application's streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stream {
    Stdout,
    Stderr,
}

/// What a client asks for (docs: Engine API `ContainerAttach`).
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct AttachOptions {
    pub(crate) stdin: bool,
    pub(crate) stdout: bool,
    pub(crate) stderr: bool,
    /// Live output and input; without it only `logs`.
    pub(crate) stream: bool,
    /// The log so far comes first.
    pub(crate) logs: bool,
}

/// An attached client.
#[derive(Debug)]
pub(crate) struct AttachSession {
    /// Raw output without frames; else 8-byte frames.
    pub(crate) tty: bool,
    /// The log so far, already formatted (framed if not `tty`); to be sent before `output`.
    pub(crate) logs: Option<LogStream>,
    /// Live output; `None` if neither stream was asked for live.
    pub(crate) output: Option<AttachOutput>,
    /// Input; `None` if not asked for, or the container has no stdin.
    pub(crate) input: Option<AttachInput>,
}

enum Source<T> {
    Waiting(oneshot::Receiver<T>),
    Ready(T),
    Ended,
}

impl<T> Source<T> {
    /// Waits for the start. `None` if it failed or the container was removed.
    async fn ready(&mut self) -> Option<&mut T> {
        if let Self::Waiting(receiver) = self {
            *self = match receiver.await {
                Ok(value) => Self::Ready(value),
                Err(_) => Self::Ended,
            };
        }
        match self {
            Self::Ready(value) => Some(value),
            Self::Waiting(_) | Self::Ended => None,
        }
    }
}

/// Raw output of a container, from the start of the attach to the container's end.
pub(crate) struct AttachOutput {
    source: Source<AttachStream>,
    stdout: bool,
    stderr: bool,
}

impl std::fmt::Debug for AttachOutput {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AttachOutput").finish_non_exhaustive()
    }
}

impl AttachOutput {
    /// The next chunk; `None` when the container has ended (or could not be started).
    pub(crate) async fn next(&mut self) -> Option<(Stream, Bytes)> {
        loop {
            let (stream, bytes) = self.source.ready().await?.next().await?;
            // 1 is stdout (and a terminal), 2 stderr.
            let (stream, wanted) = match stream {
                1 => (Stream::Stdout, self.stdout),
                _ => (Stream::Stderr, self.stderr),
            };
            if wanted {
                return Some((stream, bytes));
            }
        }
    }
}

/// What the end of a client's input means for its output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum InputEnd {
    /// The container's stdin is closed (StdinOnce); the client's output goes on.
    Closed,
    /// The container's stdin stays open for others; Docker ends this client's output as well.
    Detached,
}

/// A client's way into the container's stdin.
pub(crate) struct AttachInput {
    source: Source<Arc<Capture>>,
    writer: Option<StdinWriter>,
    once: bool,
}

impl std::fmt::Debug for AttachInput {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AttachInput").finish_non_exhaustive()
    }
}

impl AttachInput {
    /// Writes all of it, once the container has started. The caller reads from its client only
    /// after that, so a client that is too fast waits.
    ///
    /// # Errors
    /// `BrokenPipe` if the container has ended or never started, or its stdin is closed.
    pub(crate) async fn write(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        if self.writer.is_none() {
            let Some(capture) = self.source.ready().await else {
                return Err(std::io::ErrorKind::BrokenPipe.into());
            };
            self.writer = Some(capture.stdin().await?);
        }
        match &mut self.writer {
            Some(writer) => writer.write_all(bytes).await,
            None => Err(std::io::ErrorKind::BrokenPipe.into()),
        }
    }

    /// The client has sent all its input.
    pub(crate) async fn finish(mut self) -> InputEnd {
        let capture = self.source.ready().await.cloned();
        // The descriptor must be gone before the stdin can be at its end.
        self.writer = None;
        if !self.once {
            return InputEnd::Detached;
        }
        if let Some(capture) = capture {
            capture.close_stdin().await;
        }
        InputEnd::Closed
    }
}

impl Daemon {
    /// Attaches to a container. Output is complete from this call on; if the container does not
    /// run, from its next start on.
    ///
    /// # Errors
    /// 409 while it is being removed; those of [`Daemon::logs`] if the log was asked for.
    pub(crate) async fn attach(
        &self,
        container: &Arc<Container>,
        options: AttachOptions,
    ) -> Result<AttachSession, ApiError> {
        let mut session = {
            let mut inner = container.inner();
            if matches!(inner.record.state.status, Status::Removing | Status::Dead) {
                return Err(ApiError::conflict(format!(
                    "container {} is marked for removal and cannot be attached to",
                    container.id
                )));
            }
            let config = &inner.record.config;
            let (tty, open_stdin, once) = (config.tty, config.open_stdin, config.stdin_once);
            let live_output = options.stream && (options.stdout || options.stderr);
            let live_input = options.stream && options.stdin && open_stdin;
            let mut output = None;
            let mut input = None;
            if live_output || live_input {
                let (output_source, input_source) = match &inner.capture {
                    Some(capture) => (
                        Source::Ready(capture.attach()),
                        Source::Ready(Arc::clone(capture)),
                    ),
                    None => inner.wait_for_start(),
                };
                output = live_output.then_some(AttachOutput {
                    source: output_source,
                    stdout: options.stdout,
                    stderr: options.stderr,
                });
                input = live_input.then_some(AttachInput {
                    source: input_source,
                    writer: None,
                    once,
                });
            }
            AttachSession {
                tty,
                logs: None,
                output,
                input,
            }
        };
        if options.logs {
            let query = Query {
                stdout: options.stdout,
                stderr: options.stderr,
                ..Query::all()
            };
            let format = Format {
                multiplexed: !session.tty,
                ..Format::default()
            };
            session.logs = Some(self.logs(container, query, format, false).await?);
        }
        self.container_event(container, "attach", []);
        Ok(session)
    }

    /// A client left by its detach keys; the container goes on.
    pub(crate) fn detached(&self, container: &Container) {
        self.container_event(container, "detach", []);
    }
}

impl Container {
    /// Refuses what Docker does not attach to; `asked` is how the client named it.
    ///
    /// # Errors
    /// 409 if it is paused or waits for its restart.
    pub(crate) fn check_attachable(&self, asked: &str) -> Result<(), ApiError> {
        let text = match self.inner().record.state.status {
            Status::Paused => "is paused, unpause the container before attach",
            Status::Restarting => "is restarting, wait until the container is running",
            _ => return Ok(()),
        };
        Err(ApiError::conflict(format!("container {asked} {text}")))
    }
}

impl super::Inner {
    fn wait_for_start(&mut self) -> (Source<AttachStream>, Source<Arc<Capture>>) {
        let (output, output_receiver) = oneshot::channel();
        let (input, input_receiver) = oneshot::channel();
        self.pending_output.retain(|p| !p.is_closed());
        self.pending_output.push(output);
        self.pending_input.retain(|p| !p.is_closed());
        self.pending_input.push(input);
        (
            Source::Waiting(output_receiver),
            Source::Waiting(input_receiver),
        )
    }

    /// Hands a container that is created, but runs nothing yet, to the attach calls that wait.
    pub(super) fn answer_attach(&mut self, capture: &Arc<Capture>) {
        for pending in self.pending_output.drain(..) {
            if !pending.is_closed() {
                // A client that left in this moment drops the stream.
                let _ = pending.send(capture.attach());
            }
        }
        for pending in self.pending_input.drain(..) {
            let _ = pending.send(Arc::clone(capture));
        }
    }

    /// Ends the attach calls that wait for a start: it failed, or there will be none.
    pub(super) fn end_attach(&mut self) {
        self.pending_output.clear();
        self.pending_input.clear();
    }
}
