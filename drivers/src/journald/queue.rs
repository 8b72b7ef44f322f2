//! System calls on a connected unix datagram socket: many datagrams at once, and how much of what was sent is still unread.

use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd};

/// Most datagrams of one call.
pub(super) const GROUP: usize = 64;

/// The least that the kernel charges for a datagram in a queue: its `sk_buff` and `skb_shared_info`, some 230 and 320 bytes. Taken too small
/// on purpose: more datagrams are then thought unread than are.
const LEAST_CHARGE: u64 = 256;

/// Sends up to [`GROUP`] datagrams without waiting; how many were taken, at least one.
pub(super) fn send_group<'a>(
    socket: BorrowedFd<'_>,
    datagrams: impl Iterator<Item = &'a [u8]>,
) -> io::Result<usize> {
    let mut parts = [libc::iovec {
        iov_base: std::ptr::null_mut(),
        iov_len: 0,
    }; GROUP];
    let mut count = 0;
    for (part, datagram) in parts.iter_mut().zip(datagrams) {
        part.iov_base = datagram.as_ptr().cast_mut().cast();
        part.iov_len = datagram.len();
        count += 1;
    }
    // SAFETY: all-zero is a valid mmsghdr: no address, no parts, no control data.
    let mut headers: [libc::mmsghdr; GROUP] = unsafe { std::mem::zeroed() };
    for (header, part) in headers.iter_mut().zip(&mut parts).take(count) {
        header.msg_hdr.msg_iov = part;
        header.msg_hdr.msg_iovlen = 1;
    }
    // SAFETY: the first `count` headers point to one part each; parts and the datagrams that they point to (which are only read)
    // outlive the call.
    let sent = unsafe {
        libc::sendmmsg(
            socket.as_raw_fd(),
            headers.as_mut_ptr(),
            count as libc::c_uint,
            libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL,
        )
    };
    match sent {
        -1 => Err(io::Error::last_os_error()),
        sent => Ok(sent as usize),
    }
}

/// At most so many of the datagrams that were sent are still in the receiver's queue.
pub(super) fn unread(socket: BorrowedFd<'_>) -> io::Result<u64> {
    let mut bytes: libc::c_int = 0;
    // SAFETY: SIOCOUTQ writes one int, to a variable that outlives the call.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), libc::TIOCOUTQ, &raw mut bytes) };
    if result == -1 {
        return Err(io::Error::last_os_error());
    }
    Ok(u64::try_from(bytes).unwrap_or(0).div_ceil(LEAST_CHARGE))
}

/// Whether the receiver's socket still exists: the kernel refuses a datagram to one that does not, before it looks at anything else.
/// journald ignores empty datagrams.
pub(super) fn probe(socket: BorrowedFd<'_>) -> io::Result<()> {
    let empty: &[u8] = &[];
    match send_group(socket, std::iter::once(empty)) {
        Err(error) if error.kind() != io::ErrorKind::WouldBlock => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd as _;
    use std::os::unix::net::UnixDatagram;

    #[test]
    fn groups_arrive_in_order_and_are_seen_as_read() {
        let (ours, theirs) = UnixDatagram::pair().unwrap();
        let all: Vec<Vec<u8>> = (0..5_u8).map(|n| vec![n; usize::from(n)]).collect();
        let sent = send_group(ours.as_fd(), all.iter().map(Vec::as_slice)).unwrap();
        assert_eq!(sent, 5);
        assert!(unread(ours.as_fd()).unwrap() >= 5);
        let mut buffer = [0; 16];
        for (left, datagram) in (0..5).rev().zip(&all) {
            let got = theirs.recv(&mut buffer).unwrap();
            assert_eq!(&buffer[..got], datagram);
            assert!(unread(ours.as_fd()).unwrap() >= left);
        }
        assert_eq!(unread(ours.as_fd()).unwrap(), 0);
    }

    #[test]
    fn a_dead_receiver_is_found_even_if_nothing_is_unread() {
        let (ours, theirs) = UnixDatagram::pair().unwrap();
        probe(ours.as_fd()).unwrap();
        while send_group(ours.as_fd(), std::iter::once(&b"x"[..])).is_ok() {}
        probe(ours.as_fd()).unwrap();
        drop(theirs);
        assert_eq!(unread(ours.as_fd()).unwrap(), 0);
        assert!(probe(ours.as_fd()).is_err());
    }
}
