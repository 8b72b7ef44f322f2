//! The connection of a started exec: output as it comes, input as the client sends it, until the
//! process ends or the client leaves.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use super::attach_query;
use super::connection::{Hijacked, RawReader, RawWriter};
use super::detach::DetachKeys;
use super::frame::{self, StreamId};
use super::version::ApiVersion;
use crate::container::Stream;
use crate::container::exec::{Claim, Exec, ExecInput, ExecOutput, ExecStart};
use crate::daemon::Daemon;

/// A client that takes nothing for so long, once the process has ended, is cut.
const PATIENCE: Duration = Duration::from_secs(30);

/// What the connection is for.
pub(super) struct Client {
    pub(super) daemon: Arc<Daemon>,
    pub(super) claim: Claim,
    pub(super) start: ExecStart,
    pub(super) keys: DetachKeys,
    /// Raw output without frames.
    pub(super) tty: bool,
    /// The client asked for 101; without, it gets 200 and the same stream.
    pub(super) upgrade: bool,
    pub(super) version: ApiVersion,
}

/// Why the client's input is over.
enum InputOver {
    /// Output goes on.
    Closed,
    /// A terminal's client has left.
    Left,
    /// The detach keys.
    Keys,
}

impl Client {
    pub(super) async fn run(self, raw: Hijacked) {
        let Hijacked {
            reader,
            mut writer,
            peer,
        } = raw;
        let head = attach_query::head(self.upgrade, self.tty, self.version);
        // As Docker: what was asked for runs, also when the client has left meanwhile.
        let _ = writer.write_head(&head).await;
        let exec = Arc::clone(self.claim.exec());
        let session = match self.claim.start(self.start).await {
            Ok(session) => session,
            Err(error) => {
                let mut out = Vec::new();
                let text = format!("{error}\r\n");
                frame::append(&mut out, !self.tty, StreamId::Stdout, text.as_bytes());
                // A client that is gone needs no words.
                let _ = writer.write_all(&out).await;
                writer.finish().await;
                return;
            }
        };
        let is_tty = exec.config.tty;
        let detached = {
            let output = copy_output(&exec, session.output, self.tty, &mut writer);
            let input = async {
                match session.input {
                    Some(input) => copy_input(input, reader, self.keys, is_tty).await,
                    // Nothing to read; that the client leaves is seen by its socket.
                    None => InputOver::Closed,
                }
            };
            tokio::pin!(output, input);
            let mut input_over = false;
            loop {
                tokio::select! {
                    result = &mut output => {
                        if let Err(error) = result {
                            tracing::debug!(exec = exec.id, %error, "client of an exec left");
                        }
                        break false;
                    }
                    over = &mut input, if !input_over => match over {
                        InputOver::Closed => input_over = true,
                        InputOver::Left => break false,
                        InputOver::Keys => break true,
                    },
                    () = peer.gone() => break false,
                }
            }
        };
        if detached {
            self.daemon.exec_detached(&exec);
        }
        writer.finish().await;
    }
}

async fn copy_output(
    exec: &Exec,
    mut output: ExecOutput,
    tty: bool,
    writer: &mut RawWriter,
) -> io::Result<()> {
    let mut out = Vec::new();
    while let Some((stream, bytes)) = output.next().await {
        let stream = match stream {
            Stream::Stdout => StreamId::Stdout,
            Stream::Stderr => StreamId::Stderr,
        };
        out.clear();
        frame::append(&mut out, !tty, stream, &bytes);
        let too_late = async {
            exec.ended().await;
            tokio::time::sleep(PATIENCE).await;
        };
        tokio::select! {
            written = writer.write_all(&out) => written?,
            () = too_late => return Err(io::ErrorKind::TimedOut.into()),
        }
    }
    // The exit code is there before the client can ask for it.
    exec.ended().await;
    Ok(())
}

async fn copy_input(
    mut input: ExecInput,
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
            // The process takes no more; its output may still be under way.
            drop(input);
            reader.drain(&mut buf).await;
            return InputOver::Closed;
        }
        if scanned.detached {
            return InputOver::Keys;
        }
        if count == 0 {
            // A terminal has no end of input; as Docker, its client just leaves.
            return if tty {
                InputOver::Left
            } else {
                InputOver::Closed
            };
        }
    }
}
