//! The terminal of an exec: OCI runtimes make it inside the container and send its other end over a
//! socket.

use std::io::{self, IoSliceMut};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::path::Path;

use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg};
use tokio::net::{UnixListener, UnixStream};

/// Longest path in a `sockaddr_un`.
const MAX_SOCKET_PATH: usize = 107;

/// Where the runtime connects to.
#[derive(Debug)]
pub(super) struct Console(UnixListener);

impl Console {
    /// Makes the socket. Blocking; within the async runtime.
    pub(super) fn bind(path: &Path) -> io::Result<Self> {
        let listener = if path.as_os_str().len() <= MAX_SOCKET_PATH {
            std::os::unix::net::UnixListener::bind(path)?
        } else {
            // By its folder, which is open meanwhile. The runtime is in it and needs the name only.
            let folder = std::fs::File::open(path.parent().unwrap_or(Path::new("/")))?;
            let name = path.file_name().unwrap_or_default();
            let short = Path::new("/proc/self/fd")
                .join(folder.as_raw_fd().to_string())
                .join(name);
            std::os::unix::net::UnixListener::bind(short)?
        };
        listener.set_nonblocking(true)?;
        Ok(Self(UnixListener::from_std(listener)?))
    }

    /// The terminal. Cancelled, it cannot be had any more.
    pub(super) async fn terminal(&self) -> io::Result<OwnedFd> {
        let (stream, _) = self.0.accept().await?;
        loop {
            stream.readable().await?;
            match stream.try_io(tokio::io::Interest::READABLE, || receive(&stream)) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                done => return done,
            }
        }
    }
}

fn receive(stream: &UnixStream) -> io::Result<OwnedFd> {
    // The name of the terminal comes with it; nobody needs it.
    let mut buf = [0; 4096];
    let mut space = nix::cmsg_space!([RawFd; 1]);
    let mut iov = [IoSliceMut::new(&mut buf)];
    let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_CMSG_CLOEXEC;
    let got = recvmsg::<()>(stream.as_raw_fd(), &mut iov, Some(&mut space), flags)?;
    let mut given = None;
    for control in got.cmsgs()? {
        if let ControlMessageOwned::ScmRights(fds) = control {
            for fd in fds {
                // SAFETY: the kernel has just made this descriptor for us and nobody else has it.
                given = Some(unsafe { OwnedFd::from_raw_fd(fd) });
            }
        }
    }
    given.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "the runtime sent no terminal"))
}
