//! An attached container: its output to ours, our input to its, and the size of the terminal.
//!
//! Both directions are threads with blocking calls: output runs at the speed of two system calls,
//! and neither direction waits for the other or for the program's timers and signals.

use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;

use crate::client::{Body, Client, ClientError, Demux, Hijacked, Query, Stream, segment};

use super::create_body::Streams;
use super::detach_keys::DetachKeys;
use super::error::CliError;
use super::out::{self, To};
use super::terminal;

const BUFFER: usize = 64 * 1024;

/// How to attach.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    pub(crate) streams: Streams,
    pub(crate) tty: bool,
    pub(crate) detach_keys: Option<String>,
}

/// Why the stream ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// The daemon closed it: the container has ended.
    Closed,
    /// The detach keys were typed.
    Detached,
}

/// Streams under way.
#[derive(Debug)]
pub(crate) struct Session {
    output: oneshot::Receiver<Result<(), ClientError>>,
    detached: Arc<AtomicBool>,
}

impl Session {
    /// Attaches to `container`; on return the daemon has answered.
    ///
    /// # Errors
    /// The daemon refuses, or the terminal cannot be switched to raw mode.
    pub(crate) async fn begin(
        client: &Client,
        container: &str,
        options: &Options,
    ) -> Result<Self, CliError> {
        let mut query = Query::new();
        query
            .option("detachKeys", options.detach_keys.as_deref())
            .flag("stderr", options.streams.stderr)
            .flag("stdin", options.streams.stdin)
            .flag("stdout", options.streams.stdout)
            .flag("stream", true);
        let path = format!(
            "/containers/{}/attach{}",
            segment(container),
            query.as_str()
        );
        Self::over(client, &path, Body::Empty, options).await
    }

    /// The streams of a request whose answer is the connection itself.
    ///
    /// # Errors
    /// As [`Session::begin`].
    pub(crate) async fn over(
        client: &Client,
        path: &str,
        body: Body,
        options: &Options,
    ) -> Result<Self, CliError> {
        let Hijacked { socket, early } = client.hijack(path, body).await?;
        let input = socket.try_clone().map_err(ClientError::Stream)?;

        let detached = Arc::new(AtomicBool::new(false));
        let keys = (options.tty && options.streams.stdin && terminal::stdin_is_terminal())
            .then(|| DetachKeys::new(options.detach_keys.as_deref()));
        if keys.is_some() {
            terminal::make_raw().map_err(CliError::io("cannot use the terminal"))?;
        }
        if options.streams.stdin {
            let detached = Arc::clone(&detached);
            std::thread::spawn(move || copy_input(input, keys, &detached));
        } else {
            // Nothing will be sent; the daemon may already have closed its side.
            let _ = input.shutdown(Shutdown::Write);
        }
        let (done, output) = oneshot::channel();
        let tty = options.tty;
        std::thread::spawn(move || {
            // The other side has gone when nobody waits any more.
            let _ = done.send(copy_output(socket, &early, tty));
        });
        Ok(Self { output, detached })
    }

    /// Waits for the end of the stream, the output being written.
    ///
    /// # Errors
    /// The stream broke, or the daemon reported an error in it.
    pub(crate) async fn ended(&mut self) -> Result<Ended, ClientError> {
        if let Ok(result) = (&mut self.output).await
            && !self.detached.load(Ordering::Acquire)
        {
            result?;
        }
        terminal::restore();
        if self.detached.load(Ordering::Acquire) {
            Ok(Ended::Detached)
        } else {
            Ok(Ended::Closed)
        }
    }
}

fn copy_output(mut socket: UnixStream, early: &Bytes, tty: bool) -> Result<(), ClientError> {
    let mut demux = Demux::default();
    let mut show = |bytes: &[u8]| {
        if tty {
            out::write(To::Out, bytes);
            return Ok(());
        }
        demux.feed(bytes, |stream, bytes| {
            out::write(
                match stream {
                    Stream::Stdout => To::Out,
                    Stream::Stderr => To::Err,
                },
                bytes,
            );
            Ok::<_, ClientError>(())
        })
    };
    show(early)?;
    let mut buffer = vec![0; BUFFER];
    loop {
        match socket.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(n) => show(&buffer[..n])?,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) if e.kind() == io::ErrorKind::ConnectionReset => return Ok(()),
            Err(e) => return Err(ClientError::Stream(e)),
        }
    }
}

/// Ends by itself only at the end of input; the program does not wait for it.
fn copy_input(mut socket: UnixStream, mut keys: Option<DetachKeys>, detached: &AtomicBool) {
    let mut stdin = io::stdin().lock();
    let mut buffer = vec![0; BUFFER];
    loop {
        let n = match stdin.read(&mut buffer) {
            Ok(0) => break,
            Ok(n) => n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            Err(_) => break,
        };
        let end = keys.as_mut().and_then(|k| k.find(&buffer[..n]));
        // The daemon gets the keys too: it sends the event. It may have closed already.
        let sent = socket.write_all(&buffer[..end.unwrap_or(n)]);
        if end.is_some() {
            detached.store(true, Ordering::Release);
            // A daemon that knows the keys closes; this is for one that does not.
            std::thread::sleep(Duration::from_millis(100));
            let _ = socket.shutdown(Shutdown::Both);
            return;
        }
        if sent.is_err() {
            return;
        }
    }
    let _ = socket.shutdown(Shutdown::Write);
}

/// Tells the daemon our terminal's size now and whenever it changes; to be spawned once the
/// container has been started. Without a terminal it ends at once. `of` is `/containers/NAME` or
/// `/exec/ID`.
pub(crate) async fn follow_size(client: &Client, of: &str) {
    let Ok(mut changes) = signal(SignalKind::window_change()) else {
        return;
    };
    // The container may not be ready for it right after start.
    for attempt in 1..=10u64 {
        if resize(client, of).await {
            break;
        }
        tokio::time::sleep(Duration::from_millis(attempt * 10)).await;
    }
    while changes.recv().await.is_some() {
        resize(client, of).await;
    }
}

/// Whether there is nothing (more) to do.
async fn resize(client: &Client, of: &str) -> bool {
    let Some((rows, columns)) = terminal::size() else {
        return true;
    };
    let mut query = Query::new();
    query
        .push("h", &rows.to_string())
        .push("w", &columns.to_string());
    let path = format!("{of}/resize{}", query.as_str());
    client.post(&path, Body::Empty).await.is_ok()
}
