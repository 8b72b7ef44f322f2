//! What the kernel knows of a socket's unacknowledged bytes and of its peer.

use std::io;
use std::mem;
use std::os::fd::{AsRawFd as _, BorrowedFd};
use std::time::Duration;

/// Bytes written to the socket that its peer does not have yet. TCP: not acknowledged; the number stays after a reset and after the end
/// of the connection. Unix: an upper bound (memory rather than payload) of what the peer has not read; 0 if it has read everything.
///
/// # Errors
/// It is no socket of these kinds.
pub(super) fn unacknowledged(socket: BorrowedFd<'_>) -> io::Result<u64> {
    let mut bytes: libc::c_int = 0;
    // SAFETY: SIOCOUTQ (the same number as TIOCOUTQ) writes one int, to `bytes`, which lives through the call.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), libc::TIOCOUTQ, &raw mut bytes) };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(u64::try_from(bytes).unwrap_or(0))
}

/// For how long a TCP peer has acknowledged nothing although the kernel asked at least twice (by sending data again, or by asking whether
/// a full peer has room); `None` while it answers, or if the socket is not TCP. A peer that only does not read answers.
pub(super) fn silent_for(socket: BorrowedFd<'_>) -> Option<Duration> {
    // SAFETY: tcp_info is plain numbers; all zero is a value of it.
    let mut info: libc::tcp_info = unsafe { mem::zeroed() };
    let mut size = libc::socklen_t::try_from(mem::size_of_val(&info)).ok()?;
    // SAFETY: the kernel writes at most `size` bytes to `info`, which has that size and lives through the call.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_INFO,
            (&raw mut info).cast(),
            &raw mut size,
        )
    };
    let asked = info.tcpi_retransmits >= 2 || info.tcpi_probes >= 2;
    (result == 0 && asked).then(|| Duration::from_millis(info.tcpi_last_ack_recv.into()))
}

/// The receive window that a TCP peer offered last, in bytes: how much more it has room for. `None` if the kernel does not say (before
/// Linux 5.4), or if the socket is not TCP.
pub(super) fn window(socket: BorrowedFd<'_>) -> Option<u64> {
    /// Place of `tcpi_snd_wnd` in the kernel's `struct tcp_info`, which libc's does not have.
    const AT: usize = 228;
    let mut info = [0u8; AT + 4];
    let mut size = libc::socklen_t::try_from(info.len()).ok()?;
    // SAFETY: the kernel writes at most `size` bytes to `info`, which has that size and lives through the call.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_INFO,
            info.as_mut_ptr().cast(),
            &raw mut size,
        )
    };
    let whole = result == 0 && size as usize == info.len();
    let bytes = info.last_chunk::<4>()?;
    whole.then(|| u32::from_ne_bytes(*bytes).into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read as _, Write as _};
    use std::net::{TcpListener, TcpStream};
    use std::os::fd::AsFd as _;
    use std::os::unix::net::{UnixDatagram, UnixStream};
    use std::time::Instant;

    #[test]
    fn tcp_counts_what_is_not_acknowledged_and_keeps_it_after_a_reset() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut ours = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (peer, _) = listener.accept().unwrap();
        assert_eq!(unacknowledged(ours.as_fd()).unwrap(), 0);
        ours.set_nonblocking(true).unwrap();
        let mut written = 0_u64;
        while let Ok(n) = ours.write(&[b'x'; 65536]) {
            written += n as u64;
        }
        let full = unacknowledged(ours.as_fd()).unwrap();
        assert!(0 < full && full < written, "{full} of {written}");
        assert_eq!(silent_for(ours.as_fd()), None);
        drop(peer);
        let until = Instant::now() + Duration::from_secs(5);
        while ours.take_error().unwrap().is_none() {
            assert!(Instant::now() < until, "no reset");
            std::thread::yield_now();
        }
        assert!(unacknowledged(ours.as_fd()).unwrap() <= full);
        assert!(unacknowledged(ours.as_fd()).unwrap() > 0);
    }

    #[test]
    fn the_window_shrinks_by_what_is_not_read() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut ours = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (_peer, _) = listener.accept().unwrap();
        let before = window(ours.as_fd()).unwrap();
        assert!(before > 1000, "{before}");
        ours.set_nonblocking(true).unwrap();
        let until = Instant::now() + Duration::from_secs(5);
        while window(ours.as_fd()).unwrap() > before / 2 {
            let _ = ours.write(&[b'x'; 65536]);
            assert!(Instant::now() < until, "the window does not shrink");
        }
        let (stream, _other) = UnixStream::pair().unwrap();
        assert_eq!(window(stream.as_fd()), None);
    }

    #[test]
    fn unix_is_an_upper_bound_and_0_in_the_end() {
        let (mut ours, mut peer) = UnixStream::pair().unwrap();
        ours.write_all(&[1; 100]).unwrap();
        assert!(unacknowledged(ours.as_fd()).unwrap() >= 100);
        let mut buffer = [0; 100];
        peer.read_exact(&mut buffer[..50]).unwrap();
        assert!(unacknowledged(ours.as_fd()).unwrap() >= 50);
        peer.read_exact(&mut buffer[50..]).unwrap();
        assert_eq!(unacknowledged(ours.as_fd()).unwrap(), 0);
        assert_eq!(silent_for(ours.as_fd()), None);
    }

    #[test]
    fn what_is_no_socket_is_an_error() {
        let file = tempfile::tempfile().unwrap();
        assert!(unacknowledged(file.as_fd()).is_err());
        let (datagram, _other) = UnixDatagram::pair().unwrap();
        assert_eq!(unacknowledged(datagram.as_fd()).unwrap(), 0);
    }
}
