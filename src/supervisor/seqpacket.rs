//! `SOCK_SEQPACKET` unix sockets under tokio: one control message a packet, with at most one
//! descriptor.

use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::path::Path;

use nix::sys::socket::{
    AddressFamily, ControlMessage, ControlMessageOwned, MsgFlags, SockFlag, SockType, UnixAddr,
    connect, recvmsg, sendmsg, socket,
};
use taffrail_monitor::proto::{Message, SIZE};
use tokio::io::unix::AsyncFd;

/// A connected socket.
#[derive(Debug)]
pub(super) struct SeqPacket(AsyncFd<OwnedFd>);

impl SeqPacket {
    /// Connects to the socket `name` in `dir`. Goes by the folder's descriptor, because a path may
    /// be longer than a socket address holds.
    pub(super) fn connect(dir: &Path, name: &str) -> io::Result<Self> {
        let dir = std::fs::File::open(dir)?;
        let fd = socket(
            AddressFamily::Unix,
            SockType::SeqPacket,
            SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC,
            None,
        )?;
        let address = UnixAddr::new(format!("/proc/self/fd/{}/{name}", dir.as_raw_fd()).as_str())?;
        connect(fd.as_raw_fd(), &address)?;
        // SAFETY: the descriptor is owned by what is registered, and closed with it only.
        Ok(Self(unsafe { AsyncFd::register(fd) }?))
    }

    pub(super) async fn send(
        &self,
        message: &Message,
        fd: Option<BorrowedFd<'_>>,
    ) -> io::Result<()> {
        let bytes = message.encode();
        let raw: Vec<RawFd> = fd.iter().map(AsRawFd::as_raw_fd).collect();
        loop {
            let mut ready = self.0.writable().await?;
            let sent = ready.try_io(|socket| {
                let iov = [IoSlice::new(&bytes)];
                let rights = [ControlMessage::ScmRights(&raw)];
                let control: &[ControlMessage<'_>] = if raw.is_empty() { &[] } else { &rights };
                let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
                Ok(sendmsg::<()>(
                    socket.as_raw_fd(),
                    &iov,
                    control,
                    flags,
                    None,
                )?)
            });
            if let Ok(done) = sent {
                return done.map(drop);
            }
        }
    }

    /// The next message; `None` at the end. A packet that is no message is an error.
    pub(super) async fn recv(&self) -> io::Result<Option<(Message, Option<OwnedFd>)>> {
        loop {
            let mut ready = self.0.readable().await?;
            if let Ok(done) = ready.try_io(|socket| receive(socket.as_raw_fd())) {
                return done;
            }
        }
    }
}

fn receive(socket: RawFd) -> io::Result<Option<(Message, Option<OwnedFd>)>> {
    let mut buf = [0; SIZE];
    let mut space = nix::cmsg_space!([RawFd; 1]);
    let mut iov = [IoSliceMut::new(&mut buf)];
    let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_CMSG_CLOEXEC;
    let got = recvmsg::<()>(socket, &mut iov, Some(&mut space), flags)?;
    let n = got.bytes;
    let mut given = None;
    for control in got.cmsgs()? {
        if let ControlMessageOwned::ScmRights(fds) = control {
            for fd in fds {
                // SAFETY: the kernel has just made this descriptor for us and nobody else has it.
                given = Some(unsafe { OwnedFd::from_raw_fd(fd) });
            }
        }
    }
    if n == 0 {
        return Ok(None);
    }
    let message = Message::decode(&buf[..n]);
    match message {
        Some(m) => Ok(Some((m, given))),
        None => Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "a packet that is no control message",
        )),
    }
}
