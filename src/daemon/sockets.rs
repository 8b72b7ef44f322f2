//! The sockets that the API is served on.

use std::io;
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use nix::unistd::{Gid, Group, chown};

use super::locks::{LockError, make_dir};

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
}

/// A socket that is listened on; its file is removed at the end.
#[derive(Debug)]
pub(crate) struct Socket {
    pub(crate) listener: UnixListener,
    pub(crate) path: PathBuf,
}

/// Listens on a path: mode 0660, of the group. A socket file that nobody listens on is replaced.
/// Without a group it is [`DEFAULT_GROUP`]'s, if there is that.
pub(crate) fn listen(path: &Path, group: Option<&str>) -> Result<Socket, SocketError> {
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
    Ok(Socket { listener, path })
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
        let socket = listen(&path, None).unwrap();
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o7777, 0o660);
        assert!(matches!(listen(&path, None), Err(SocketError::InUse(_))));
        drop(socket);
        assert!(path.exists());
        drop(listen(&path, Some("0")).unwrap());
        std::fs::remove_file(&path).unwrap();
        std::fs::write(&path, "precious").unwrap();
        assert!(matches!(
            listen(&path, None),
            Err(SocketError::NotASocket(_))
        ));
        assert_eq!(std::fs::read(&path).unwrap(), b"precious");
    }

    #[test]
    fn bad_addresses() {
        let long = format!("/{}", "x".repeat(107));
        assert!(matches!(
            listen(Path::new(&long), None),
            Err(SocketError::TooLong { length: 108, .. })
        ));
        let dir = tempfile::tempdir().unwrap();
        assert!(matches!(
            listen(&dir.path().join("s"), Some("no-such-group")),
            Err(SocketError::NoGroup(_))
        ));
    }
}
