//! The sockets that the API is served on.

use std::io;
use std::net::{TcpListener, ToSocketAddrs as _};
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use nix::unistd::{Gid, Group, chown};
use taffrail_config::{Address, Host};
use tokio_rustls::TlsAcceptor;

use super::activation::{ActivationError, Handed, HandedOver};
use super::locks::{LockError, make_dir};
use crate::api::Listener;
use crate::net::Front;

/// Longest path of a unix socket (`sockaddr_un`, with its final zero byte 108).
const MAX_PATH: usize = 107;

/// Group whose members may use the API, as with dockerd.
const DEFAULT_GROUP: &str = "docker";

/// Why a socket cannot be listened on.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SocketError {
    #[error(
        "path of socket {path} has {length} bytes, the kernel allows at most {MAX_PATH}: use a \
         shorter one"
    )]
    TooLong { path: PathBuf, length: usize },
    #[error("{0} exists and is not a socket")]
    NotASocket(PathBuf),
    #[error("another process is listening on {0}")]
    InUse(PathBuf),
    #[error("cannot listen on {path}")]
    Listen { path: PathBuf, source: io::Error },
    #[error("group {0:?} of the socket does not exist")]
    NoGroup(String),
    #[error(transparent)]
    Folder(#[from] LockError),
    #[error(transparent)]
    Activation(#[from] ActivationError),
    #[error("cannot listen on {address}")]
    Port { address: String, source: io::Error },
}

#[derive(Debug)]
enum Kind {
    Unix(UnixListener),
    Tcp(TcpListener),
}

/// A socket that is listened on.
#[derive(Debug)]
pub(crate) struct Socket {
    kind: Kind,
    /// File to remove at the end; `None`: there is none, or it is the service manager's.
    pub(crate) path: Option<PathBuf>,
    /// As in `hosts`, with the port that the kernel chose.
    pub(crate) shown: String,
}

impl Socket {
    pub(crate) fn is_tcp(&self) -> bool {
        matches!(self.kind, Kind::Tcp(_))
    }

    /// For the event loop.
    ///
    /// # Errors
    /// The descriptor cannot be watched.
    pub(crate) fn into_listener(self, tls: Option<&TlsAcceptor>) -> Result<Listener, SocketError> {
        let address = self.shown;
        let error = |source| SocketError::Port { address, source };
        match self.kind {
            Kind::Unix(listener) => tokio::net::UnixListener::from_std(listener)
                .map(Listener::Unix)
                .map_err(error),
            Kind::Tcp(listener) => tokio::net::TcpListener::from_std(listener)
                .map(|listener| Listener::Tcp(Front::new(listener, tls.cloned())))
                .map_err(error),
        }
    }
}

/// Listens where a host says.
pub(crate) fn listen(
    host: &Host,
    group: Option<&str>,
    handed_over: &mut HandedOver,
) -> Result<Vec<Socket>, SocketError> {
    match host {
        Host::Unix(path) => unix(path, group).map(|listener| {
            vec![Socket {
                kind: Kind::Unix(listener),
                path: Some(path.clone()),
                shown: host.to_string(),
            }]
        }),
        Host::Tcp(address) => tcp("tcp://", address),
        Host::Fd(which) => handed_over
            .listeners(which)?
            .into_iter()
            .map(|(name, handed)| {
                let shown = format!("fd://{name}");
                let error = |source| SocketError::Port {
                    address: shown.clone(),
                    source,
                };
                let kind = match handed {
                    Handed::Unix(listener) => {
                        listener.set_nonblocking(true).map_err(error)?;
                        Kind::Unix(listener)
                    }
                    Handed::Tcp(listener) => {
                        listener.set_nonblocking(true).map_err(error)?;
                        Kind::Tcp(listener)
                    }
                };
                Ok(Socket {
                    kind,
                    path: None,
                    shown,
                })
            })
            .collect(),
        other => Err(SocketError::Port {
            address: other.to_string(),
            source: io::ErrorKind::Unsupported.into(),
        }),
    }
}

/// Listens on each address that a name has; an empty one is all of this machine's.
pub(crate) fn tcp(scheme: &str, address: &Address) -> Result<Vec<Socket>, SocketError> {
    let error = |source| SocketError::Port {
        address: format!("{scheme}{address}"),
        source,
    };
    // Both families at once, where there is IPv6.
    let host = match address.host.as_str() {
        "" if Path::new("/proc/net/if_inet6").exists() => "::",
        "" => "0.0.0.0",
        host => host,
    };
    let mut sockets: Vec<Socket> = Vec::new();
    let mut last = None;
    let mut port = address.port;
    for mut found in (host, port).to_socket_addrs().map_err(error)? {
        // The kernel's choice for the first address is every other one's, too.
        found.set_port(port);
        match TcpListener::bind(found) {
            Ok(listener) => {
                listener.set_nonblocking(true).map_err(error)?;
                let local = listener.local_addr().map_err(error)?;
                port = local.port();
                sockets.push(Socket {
                    kind: Kind::Tcp(listener),
                    path: None,
                    shown: format!("{scheme}{local}"),
                });
            }
            Err(why) => last = Some(why),
        }
    }
    match last {
        // `localhost` without IPv6 is still served.
        Some(why) if sockets.is_empty() => Err(error(why)),
        _ if sockets.is_empty() => Err(error(io::ErrorKind::AddrNotAvailable.into())),
        _ => Ok(sockets),
    }
}

/// Listens on a path: mode 0660, of the group. A socket file that nobody listens on is replaced.
/// Without a group it is [`DEFAULT_GROUP`]'s, if there is that.
fn unix(path: &Path, group: Option<&str>) -> Result<UnixListener, SocketError> {
    let path = path.to_owned();
    let length = path.as_os_str().len();
    if length > MAX_PATH {
        return Err(SocketError::TooLong { path, length });
    }
    let gid = match group {
        Some(name) => Some(find_group(name)?),
        None => find_group(DEFAULT_GROUP).ok(),
    };
    if let Some(parent) = path.parent() {
        make_dir(parent, 0o755)?;
    }
    remove_stale(&path)?;
    let error = |source| SocketError::Listen {
        path: path.clone(),
        source,
    };
    let listener = UnixListener::bind(&path).map_err(error)?;
    // Until here the umask lets at most the owner connect, as that needs the right to write.
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o660)).map_err(error)?;
    if let Some(gid) = gid {
        chown(&path, None, Some(gid)).map_err(|errno| error(errno.into()))?;
    }
    listener.set_nonblocking(true).map_err(error)?;
    Ok(listener)
}

fn find_group(name: &str) -> Result<Gid, SocketError> {
    if let Ok(number) = name.parse() {
        return Ok(Gid::from_raw(number));
    }
    match Group::from_name(name) {
        Ok(Some(group)) => Ok(group.gid),
        _ => Err(SocketError::NoGroup(name.to_owned())),
    }
}

/// Removes a socket file that nobody listens on. The roots' locks are held, so no other daemon
/// with these roots is about to.
fn remove_stale(path: &Path) -> Result<(), SocketError> {
    let error = |source| SocketError::Listen {
        path: path.to_owned(),
        source,
    };
    match std::fs::symlink_metadata(path) {
        Err(missing) if missing.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(other) => return Err(error(other)),
        Ok(meta) if !meta.file_type().is_socket() => {
            return Err(SocketError::NotASocket(path.to_owned()));
        }
        Ok(_) => {}
    }
    match UnixStream::connect(path) {
        Ok(_) => Err(SocketError::InUse(path.to_owned())),
        Err(refused) if refused.kind() == io::ErrorKind::ConnectionRefused => {
            std::fs::remove_file(path).map_err(error)
        }
        // A full backlog means a listener as well.
        Err(full) if full.kind() == io::ErrorKind::WouldBlock => {
            Err(SocketError::InUse(path.to_owned()))
        }
        Err(other) => Err(error(other)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stale_live_and_foreign() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("sub/d.sock");
        let socket = unix(&path, None).unwrap();
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o7777, 0o660);
        assert!(matches!(unix(&path, None), Err(SocketError::InUse(_))));
        drop(socket);
        assert!(path.exists());
        drop(unix(&path, Some("0")).unwrap());
        std::fs::remove_file(&path).unwrap();
        std::fs::write(&path, "precious").unwrap();
        assert!(matches!(unix(&path, None), Err(SocketError::NotASocket(_))));
        assert_eq!(std::fs::read(&path).unwrap(), b"precious");
    }

    #[test]
    fn bad_addresses() {
        let long = format!("/{}", "x".repeat(107));
        assert!(matches!(
            unix(Path::new(&long), None),
            Err(SocketError::TooLong { length: 108, .. })
        ));
        let dir = tempfile::tempdir().unwrap();
        assert!(matches!(
            unix(&dir.path().join("s"), Some("no-such-group")),
            Err(SocketError::NoGroup(_))
        ));
    }

    #[test]
    fn ports() {
        let address = |host: &str, port| Address {
            host: host.to_owned(),
            port,
        };
        let sockets = tcp("tcp://", &address("127.0.0.1", 0)).unwrap();
        assert_eq!(sockets.len(), 1);
        let port = sockets[0].shown.rsplit_once(':').unwrap().1;
        assert!(port.parse::<u16>().unwrap() > 0);
        let taken = tcp("tcp://", &address("127.0.0.1", port.parse().unwrap()));
        assert!(taken.unwrap_err().to_string().contains(port));
        assert!(!tcp("tcp://", &address("localhost", 0)).unwrap().is_empty());
        assert!(!tcp("", &address("", 0)).unwrap().is_empty());
    }
}
