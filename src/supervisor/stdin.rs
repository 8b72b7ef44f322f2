//! Bytes to an application's stdin: a FIFO, or the terminal's master.

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::AsyncWrite;
use tokio::io::unix::AsyncFd;
use tokio::net::unix::pipe;

/// Dropping it detaches; the application's stdin stays open for others.
#[derive(Debug)]
pub(crate) struct StdinWriter(Kind);

#[derive(Debug)]
enum Kind {
    Pipe(pipe::Sender),
    Terminal(AsyncFd<OwnedFd>),
}

impl StdinWriter {
    pub(super) fn pipe(path: &Path) -> io::Result<Self> {
        pipe::OpenOptions::new()
            .open_sender(path)
            .map(|s| Self(Kind::Pipe(s)))
    }

    pub(super) fn terminal(master: &OwnedFd) -> io::Result<Self> {
        let own = master.try_clone()?;
        let flags = nix::fcntl::fcntl(&own, nix::fcntl::FcntlArg::F_GETFL)?;
        let flags = nix::fcntl::OFlag::from_bits_truncate(flags) | nix::fcntl::OFlag::O_NONBLOCK;
        nix::fcntl::fcntl(&own, nix::fcntl::FcntlArg::F_SETFL(flags))?;
        // SAFETY: the descriptor is owned by what is registered, and closed with it only.
        let fd = unsafe { AsyncFd::register_with_interest(own, tokio::io::Interest::WRITABLE) }?;
        Ok(Self(Kind::Terminal(fd)))
    }
}

impl AsyncWrite for StdinWriter {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        match &mut self.get_mut().0 {
            Kind::Pipe(pipe) => Pin::new(pipe).poll_write(cx, buf),
            Kind::Terminal(fd) => loop {
                let mut guard = ready!(fd.poll_write_ready(cx))?;
                let wrote = guard
                    .try_io(|fd| nix::unistd::write(fd.get_ref(), buf).map_err(io::Error::from));
                if let Ok(done) = wrote {
                    return Poll::Ready(done);
                }
            },
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
