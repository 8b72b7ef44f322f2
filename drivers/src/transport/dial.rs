//! From a name to a socket.

use std::io;
use std::net::{SocketAddr, TcpStream, ToSocketAddrs as _, UdpSocket};
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::path::Path;
use std::time::{Duration, Instant};

use super::Timeouts;
use crate::sink::{Failure, FailureKind, Trace};

/// All addresses of a name, in the resolver's order. Asked anew each time: nothing is kept.
///
/// # Errors
/// The name is not known, or nobody can be asked.
pub fn resolve(host: &str, port: u16, trace: Trace<'_>) -> Result<Vec<SocketAddr>, Failure> {
    let failed = |why: String| {
        Failure::new(
            FailureKind::Unreachable,
            format!("cannot resolve {host:?}: {why}"),
        )
    };
    let found: Vec<_> = (host, port)
        .to_socket_addrs()
        .map_err(|error| failed(error.to_string()))?
        .collect();
    if found.is_empty() {
        return Err(failed("it has no address".to_owned()));
    }
    let list: Vec<_> = found.iter().map(|a| a.ip().to_string()).collect();
    trace(format!("resolved {host}: {}", list.join(", ")));
    Ok(found)
}

/// A failure of the system as one of the connection.
pub(crate) fn failure(what: &str, error: &io::Error) -> Failure {
    let kind = match error.kind() {
        io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => FailureKind::Timeout,
        _ => FailureKind::Unreachable,
    };
    let why = match kind {
        FailureKind::Timeout => "timed out".to_owned(),
        _ => error.to_string(),
    };
    Failure::new(kind, format!("{what}: {why}"))
}

/// Connects to the first address of the name that answers.
///
/// # Errors
/// None does; the text is that of the last one.
pub fn tcp(
    host: &str,
    port: u16,
    timeouts: &Timeouts,
    trace: Trace<'_>,
) -> Result<TcpStream, Failure> {
    let until = Instant::now() + timeouts.connect;
    let mut last = None;
    for address in resolve(host, port, trace)? {
        let left = until.saturating_duration_since(Instant::now());
        let left = left.max(Duration::from_millis(100));
        match TcpStream::connect_timeout(&address, left) {
            Ok(socket) => {
                set(&socket, timeouts).map_err(|e| failure("cannot set up the socket", &e))?;
                trace(format!("connected to {address}"));
                return Ok(socket);
            }
            Err(error) => {
                trace(format!("cannot connect to {address}: {error}"));
                last = Some(failure(&format!("cannot connect to {address}"), &error));
            }
        }
    }
    Err(last.unwrap_or_else(|| {
        Failure::new(FailureKind::Unreachable, format!("{host} has no address"))
    }))
}

fn set(socket: &TcpStream, timeouts: &Timeouts) -> io::Result<()> {
    socket.set_nodelay(true)?;
    socket.set_read_timeout(timeouts.read)?;
    socket.set_write_timeout(timeouts.write)
}

/// A UDP socket that sends to, and hears refusals from, the first address of the name that the machine has a route to.
///
/// # Errors
/// The name is not known, or there is no route to it.
pub fn udp(host: &str, port: u16, trace: Trace<'_>) -> Result<UdpSocket, Failure> {
    let mut last = None;
    for address in resolve(host, port, trace)? {
        let any: SocketAddr = if address.is_ipv4() {
            (std::net::Ipv4Addr::UNSPECIFIED, 0).into()
        } else {
            (std::net::Ipv6Addr::UNSPECIFIED, 0).into()
        };
        match UdpSocket::bind(any).and_then(|socket| socket.connect(address).map(|()| socket)) {
            Ok(socket) => {
                trace(format!("sending to {address}"));
                return Ok(socket);
            }
            Err(error) => last = Some(failure(&format!("cannot send to {address}"), &error)),
        }
    }
    Err(last.unwrap_or_else(|| {
        Failure::new(FailureKind::Unreachable, format!("{host} has no address"))
    }))
}

/// Connects to a stream socket in the file system.
///
/// # Errors
/// It is not there, or nobody listens.
pub fn unix_stream(
    path: &Path,
    timeouts: &Timeouts,
    trace: Trace<'_>,
) -> Result<UnixStream, Failure> {
    let what = || format!("cannot connect to {}", path.display());
    let socket = UnixStream::connect(path).map_err(|e| failure(&what(), &e))?;
    socket
        .set_read_timeout(timeouts.read)
        .and_then(|()| socket.set_write_timeout(timeouts.write))
        .map_err(|e| failure(&what(), &e))?;
    trace(format!("connected to {}", path.display()));
    Ok(socket)
}

/// Connects to a datagram socket in the file system.
///
/// # Errors
/// It is not there, or nobody listens.
pub fn unix_datagram(
    path: &Path,
    timeouts: &Timeouts,
    trace: Trace<'_>,
) -> Result<UnixDatagram, Failure> {
    let what = || format!("cannot connect to {}", path.display());
    let socket = UnixDatagram::unbound().map_err(|e| failure(&what(), &e))?;
    socket
        .set_write_timeout(timeouts.write)
        .and_then(|()| socket.connect(path))
        .map_err(|e| failure(&what(), &e))?;
    trace(format!("connected to {}", path.display()));
    Ok(socket)
}
