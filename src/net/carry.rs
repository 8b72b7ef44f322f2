//! Bytes of a TCP connection, with or without TLS, to one end of a socket pair and back.

use std::io;
use std::os::fd::{AsFd, AsRawFd as _};

use nix::sys::socket::{Shutdown, shutdown};
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, Interest};
use tokio::net::UnixStream;

/// Bytes under way in each direction; what TLS has in a record.
const CHUNK: usize = 16 * 1024;

/// Carries bytes until both sides have ended or one is gone. The end of one side's sending is
/// passed on. Over TLS a bare end of TCP counts as that, too: Python's clients end so.
///
/// # Errors
/// Reading from or writing to the outer side failed. The caller closes the inner one.
pub(super) async fn carry<S>(outer: S, inner: &UnixStream) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let (mut from_outer, mut to_outer) = tokio::io::split(outer);
    let inwards = async {
        let mut buf = vec![0; CHUNK];
        loop {
            let count = match from_outer.read(&mut buf).await {
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => 0,
                result => result?,
            };
            // An inner side that is gone wants nothing; what is on its way out still leaves.
            if count == 0 || write_all(inner, &buf[..count]).await.is_err() {
                break;
            }
        }
        let _ = shutdown(inner.as_raw_fd(), Shutdown::Write);
        // The other direction decides about the end.
        std::future::pending::<io::Result<()>>().await
    };
    let outwards = async {
        let mut buf = vec![0; CHUNK];
        loop {
            let count = match read(inner, &mut buf).await {
                Ok(0) | Err(_) => break,
                Ok(count) => count,
            };
            to_outer.write_all(&buf[..count]).await?;
            to_outer.flush().await?;
        }
        to_outer.shutdown().await?;
        // The inner side may still want to read.
        hung_up(inner, false).await;
        Ok(())
    };
    tokio::select! {
        result = inwards => result,
        result = outwards => result,
    }
}

async fn read(stream: &UnixStream, buf: &mut [u8]) -> io::Result<usize> {
    loop {
        stream.readable().await?;
        match stream.try_read(buf) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            result => return result,
        }
    }
}

async fn write_all(stream: &UnixStream, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        stream.writable().await?;
        match stream.try_write(bytes) {
            Ok(count) => bytes = &bytes[count..],
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Resolves when the other end of a socket has closed it; with `half`, already when it has ended
/// its sending.
pub(crate) async fn hung_up(socket: &impl AsFd, half: bool) {
    if watch(socket, half).await.is_err() {
        // Not watchable (no descriptor left): reads and writes will tell.
        std::future::pending::<()>().await;
    }
}

async fn watch(socket: &impl AsFd, half: bool) -> io::Result<()> {
    // A descriptor of its own, because its readiness is cleared here, which must not be seen by
    // those who use the socket.
    let fd = socket.as_fd().try_clone_to_owned()?;
    let interest = if half {
        Interest::READABLE | Interest::WRITABLE
    } else {
        Interest::WRITABLE
    };
    // SAFETY: `fd` is owned, so it stays open, and the same socket, for as long as it is
    // registered.
    let fd = unsafe { AsyncFd::register_with_interest(fd, interest) }.map_err(io::Error::from)?;
    loop {
        let mut guard = fd.ready(interest).await?;
        let ready = guard.ready();
        if ready.is_write_closed() || half && ready.is_read_closed() {
            return Ok(());
        }
        guard.clear_ready();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    async fn soon<T>(future: impl Future<Output = T>) -> T {
        tokio::time::timeout(Duration::from_secs(20), future)
            .await
            .expect("in time")
    }

    fn pairs() -> (UnixStream, UnixStream, UnixStream, UnixStream) {
        let (client, outer) = UnixStream::pair().unwrap();
        let (inner, server) = UnixStream::pair().unwrap();
        (client, outer, inner, server)
    }

    #[tokio::test]
    async fn ends_are_passed_on_one_by_one() {
        let (mut client, outer, inner, mut server) = pairs();
        let task = tokio::spawn(async move { carry(outer, &inner).await });
        client.write_all(b"request").await.unwrap();
        client.shutdown().await.unwrap();
        let mut text = Vec::new();
        soon(server.read_to_end(&mut text)).await.unwrap();
        assert_eq!(text, b"request");
        let answer = vec![7; 1 << 20];
        let sent = answer.clone();
        let writer = tokio::spawn(async move {
            server.write_all(&sent).await.unwrap();
            server.shutdown().await.unwrap();
            server
        });
        let mut got = Vec::new();
        soon(client.read_to_end(&mut got)).await.unwrap();
        assert!(got == answer);
        assert!(!task.is_finished(), "the server may still want to read");
        drop(writer.await.unwrap());
        soon(task).await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn a_client_that_is_gone_shows_half_then_whole() {
        let (client, outer, inner, mut server) = pairs();
        let task = tokio::spawn(async move { carry(outer, &inner).await });
        drop(client);
        soon(hung_up(&server, true)).await;
        // Whether the client still reads shows only by writing.
        server.write_all(b"x").await.unwrap();
        assert!(soon(task).await.unwrap().is_err());
        soon(hung_up(&server, false)).await;
    }

    #[tokio::test]
    async fn a_server_that_closes_ends_the_connection() {
        let (mut client, outer, inner, server) = pairs();
        let task = tokio::spawn(async move { carry(outer, &inner).await });
        drop(server);
        let mut text = Vec::new();
        soon(client.read_to_end(&mut text)).await.unwrap();
        soon(task).await.unwrap().unwrap();
    }
}
