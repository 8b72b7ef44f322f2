//! An archive on its way out, written by blocking code at the pace of its client.

use std::io::{self, Write};
use std::time::Duration;

use bytes::Bytes;
use tokio::runtime::Handle;
use tokio::sync::mpsc;

/// Bytes that go out at once.
const CHUNK: usize = 64 * 1024;
/// How long a client may take nothing: a copy holds a thread and mounts.
const STALL: Duration = Duration::from_secs(600);

/// Writes into the body of an answer ([`super::reply::fallible_stream`]). For a blocking thread of
/// the runtime.
#[derive(Debug)]
pub(crate) struct Outgoing {
    chunks: mpsc::Sender<io::Result<Bytes>>,
    buffer: Vec<u8>,
    runtime: Handle,
}

impl Outgoing {
    /// To be called on a thread of the runtime.
    pub(crate) fn new(chunks: mpsc::Sender<io::Result<Bytes>>) -> Self {
        Self {
            chunks,
            buffer: Vec::with_capacity(CHUNK),
            runtime: Handle::current(),
        }
    }

    /// Cuts the answer off, so that no client takes it for complete.
    pub(crate) fn cut(self, what: &str, error: &dyn std::error::Error) {
        // Whose client is gone was cut off by it.
        if !self.chunks.is_closed() {
            tracing::error!(error = %error, "{what} was cut short");
            let cut = io::Error::other(error.to_string());
            let _ = self.chunks.try_send(Err(cut));
        }
    }
}

impl Write for Outgoing {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let n = bytes.len().min(CHUNK - self.buffer.len());
        self.buffer.extend_from_slice(&bytes[..n]);
        if self.buffer.len() == CHUNK {
            self.flush()?;
        }
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let chunk = std::mem::replace(&mut self.buffer, Vec::with_capacity(CHUNK));
        let send = self.chunks.send(Ok(chunk.into()));
        match self.runtime.block_on(tokio::time::timeout(STALL, send)) {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(io::ErrorKind::BrokenPipe.into()),
            Err(_) => Err(io::Error::new(
                io::ErrorKind::TimedOut,
                format!("the client took nothing for {} s", STALL.as_secs()),
            )),
        }
    }
}
