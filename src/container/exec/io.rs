//! Bytes to and from an exec'd process: pipes, or a terminal.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use tokio::io::unix::AsyncFd;
use tokio::sync::mpsc;

use super::Exec;
use crate::container::Stream;

/// Most bytes of one piece, as in Docker.
const PIECE: usize = 32 * 1024;
/// Pieces that a client may be behind; then the process waits on its own pipe.
const QUEUE: usize = 8;
/// How long after the end of the process somebody else may hold its output open (as in Docker).
const GRACE: Duration = Duration::from_secs(2);
/// What is still read after that: as much as a pipe holds (source: pipe(7), the most that an
/// unprivileged process may set).
const REST: usize = 1 << 20;

/// Our end of a pipe or terminal.
#[derive(Debug)]
pub(super) struct Channel(AsyncFd<OwnedFd>);

impl Channel {
    pub(super) fn new(fd: OwnedFd) -> io::Result<Arc<Self>> {
        let flags = OFlag::from_bits_truncate(fcntl(&fd, FcntlArg::F_GETFL)?);
        fcntl(&fd, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK))?;
        // SAFETY: an owned descriptor stays the same until it is dropped, with the registration.
        let fd = unsafe { AsyncFd::register(fd) }.map_err(io::Error::from)?;
        Ok(Arc::new(Self(fd)))
    }

    /// 0 at the end. May be cancelled without loss.
    async fn read(&self, buf: &mut [u8]) -> io::Result<usize> {
        loop {
            let mut ready = self.0.readable().await?;
            if let Ok(read) = ready.try_io(|fd| read(fd.get_ref(), buf)) {
                return read;
            }
        }
    }

    /// Without waiting: `WouldBlock` if there is nothing.
    fn try_read(&self, buf: &mut [u8]) -> io::Result<usize> {
        read(self.0.get_ref(), buf)
    }

    async fn write_all(&self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let mut ready = self.0.writable().await?;
            let written = ready.try_io(|fd| Ok(nix::unistd::write(fd.get_ref(), bytes)?));
            match written {
                Ok(Ok(count)) => bytes = &bytes[count..],
                Ok(Err(error)) if error.kind() == io::ErrorKind::Interrupted => {}
                Ok(Err(error)) => return Err(error),
                // Not ready after all.
                Err(_) => {}
            }
        }
        Ok(())
    }

    pub(super) fn resize(&self, rows: u16, columns: u16) -> io::Result<()> {
        nix::ioctl_write_ptr_bad!(set_window, libc::TIOCSWINSZ, libc::winsize);
        let size = libc::winsize {
            ws_row: rows,
            ws_col: columns,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        // SAFETY: an open descriptor and a whole `winsize`.
        unsafe { set_window(self.0.get_ref().as_raw_fd(), &raw const size) }?;
        Ok(())
    }
}

fn read(fd: &OwnedFd, buf: &mut [u8]) -> io::Result<usize> {
    match nix::unistd::read(fd, buf) {
        Ok(count) => Ok(count),
        // A terminal that nobody has open any more.
        Err(Errno::EIO) => Ok(0),
        Err(errno) => Err(errno.into()),
    }
}

/// The way into a process's stdin or terminal. Dropped, a pipe's end is the end of the input.
#[derive(Debug)]
pub(crate) struct ExecInput(pub(super) Arc<Channel>);

impl ExecInput {
    /// Writes all of it, as fast as the process takes it.
    ///
    /// # Errors
    /// `BrokenPipe` if it has ended or closed its input.
    pub(crate) async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all(bytes).await
    }
}

/// Output of a process, in the order in which it was read. Dropped, the rest of the output is
/// thrown away, and the process goes on.
#[derive(Debug)]
pub(crate) struct ExecOutput(mpsc::Receiver<(Stream, Bytes)>);

impl ExecOutput {
    /// The next piece; `None` at the end: all is read, or the process ended two seconds ago and
    /// others hold its output.
    pub(crate) async fn next(&mut self) -> Option<(Stream, Bytes)> {
        self.0.recv().await
    }
}

/// Reads the output of `exec` in the background until its end.
pub(super) fn read_output(
    exec: &Arc<Exec>,
    sources: Vec<(Stream, Arc<Channel>)>,
    wanted: bool,
) -> ExecOutput {
    let (sender, receiver) = mpsc::channel(QUEUE);
    for (stream, source) in sources {
        let exec = Arc::clone(exec);
        let sender = wanted.then(|| sender.clone());
        tokio::spawn(async move {
            if let Err(error) = pump(&exec, stream, &source, sender).await {
                tracing::warn!(exec = exec.id, %error, "output of an exec cannot be read");
            }
        });
    }
    ExecOutput(receiver)
}

async fn pump(
    exec: &Exec,
    stream: Stream,
    source: &Channel,
    mut client: Option<mpsc::Sender<(Stream, Bytes)>>,
) -> io::Result<()> {
    let mut buf = vec![0; PIECE];
    let over = async {
        exec.ended().await;
        tokio::time::sleep(GRACE).await;
    };
    tokio::pin!(over);
    loop {
        let count = tokio::select! {
            // First: a writer that never stops is not waited for.
            biased;
            () = &mut over => break,
            count = source.read(&mut buf) => count?,
        };
        if count == 0 {
            return Ok(());
        }
        hand_over(exec, stream, &buf[..count], &mut client).await;
    }
    let mut left = REST;
    while left > 0 {
        match source.try_read(&mut buf) {
            Ok(0) => break,
            Ok(count) => {
                hand_over(exec, stream, &buf[..count], &mut client).await;
                left = left.saturating_sub(count);
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

async fn hand_over(
    exec: &Exec,
    stream: Stream,
    bytes: &[u8],
    client: &mut Option<mpsc::Sender<(Stream, Bytes)>>,
) {
    if let Some(tap) = exec.tap.get() {
        tap.output(exec, stream, bytes).await;
    }
    if let Some(sender) = client {
        let piece = (stream, Bytes::copy_from_slice(bytes));
        if sender.send(piece).await.is_err() {
            // The client is gone.
            *client = None;
        }
    }
}
