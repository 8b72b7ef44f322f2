//! Where the daemon listens, and how it is reached.

use std::fmt;
use std::io;
#[cfg(test)]
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;

use rustls::ClientConfig;
use tokio::net::UnixStream;

use crate::net::{Failure, dial, tls};

/// The socket when nothing else is said.
pub(crate) const DEFAULT_HOST: &str = "unix:///run/taffrail/docker.sock";

/// A host that this client cannot talk to.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HostError {
    #[error("invalid host {0:?}: write unix:///path/to/socket or tcp://host:port")]
    Unsupported(String),
    #[error(transparent)]
    Tls(#[from] tls::TlsError),
}

/// TLS as asked for by flags and variables (Docker's).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct TlsChoice {
    /// `None`: no TLS. Else whether the daemon's certificate is checked.
    pub(crate) verify: Option<bool>,
    /// Given explicitly; else the file of the usual name, if it is there.
    pub(crate) ca: Option<PathBuf>,
    pub(crate) cert: Option<PathBuf>,
    pub(crate) key: Option<PathBuf>,
    /// Folder of `ca.pem`, `cert.pem` and `key.pem`.
    pub(crate) folder: Option<PathBuf>,
}

impl TlsChoice {
    /// The client's side. Reads the files.
    fn config(&self) -> Result<Option<Arc<ClientConfig>>, tls::TlsError> {
        let Some(verify) = self.verify else {
            return Ok(None);
        };
        let usual = |name: &str| self.folder.as_ref().map(|folder| folder.join(name));
        let there = |given: &Option<PathBuf>, name: &str| {
            given
                .clone()
                .or_else(|| usual(name).filter(|path| path.exists()))
        };
        // Without a file of that name the error says where it was looked for.
        let ca = verify.then(|| {
            self.ca
                .clone()
                .or_else(|| usual("ca.pem"))
                .unwrap_or_default()
        });
        let own = match (there(&self.cert, "cert.pem"), there(&self.key, "key.pem")) {
            (None, None) => None,
            (cert, key) => Some((cert.unwrap_or_default(), key.unwrap_or_default())),
        };
        let own = own.as_ref().map(|(cert, key)| (&**cert, &**key));
        tls::client(ca.as_deref(), own).map(Some)
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Target {
    Unix(PathBuf),
    Tcp { host: String, port: u16 },
}

/// Address of a daemon.
#[derive(Clone)]
pub(crate) struct Host {
    target: Target,
    tls: Option<Arc<ClientConfig>>,
    failure: Failure,
}

impl fmt::Debug for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Host")
            .field("target", &self.target)
            .field("tls", &self.tls.is_some())
            .finish()
    }
}

impl Host {
    /// Reads `unix://PATH`, a bare absolute path, or `tcp://HOST[:PORT]`; the port is 2376 with TLS,
    /// else 2375.
    ///
    /// # Errors
    /// Any other scheme; TLS files that cannot be read.
    pub(crate) fn parse(text: &str, tls: &TlsChoice) -> Result<Self, HostError> {
        let unsupported = || HostError::Unsupported(text.to_owned());
        let path = text.strip_prefix("unix://").unwrap_or(text);
        if path.starts_with('/') {
            return Ok(Self {
                target: Target::Unix(path.into()),
                tls: None,
                failure: Failure::default(),
            });
        }
        let address = text.strip_prefix("tcp://").ok_or_else(unsupported)?;
        let standard = if tls.verify.is_some() { 2376 } else { 2375 };
        let (host, port) =
            split(address.trim_end_matches('/'), standard).ok_or_else(unsupported)?;
        Ok(Self {
            target: Target::Tcp { host, port },
            tls: tls.config()?,
            failure: Failure::default(),
        })
    }

    /// `-H`, else `TAFFRAIL_HOST`, else `DOCKER_HOST` when it names a socket or port, else the
    /// default.
    ///
    /// # Errors
    /// A `-H` or `TAFFRAIL_HOST` of another kind. A `DOCKER_HOST` of another kind (`ssh://`) is
    /// meant for other programs and is passed over.
    pub(crate) fn choose(
        flag: Option<&str>,
        taffrail: Option<&str>,
        docker: Option<&str>,
        tls: &TlsChoice,
    ) -> Result<Self, HostError> {
        if let Some(text) = flag.or(taffrail.filter(|t| !t.is_empty())) {
            return Self::parse(text, tls);
        }
        let known = |t: &&str| t.starts_with("unix://") || t.starts_with("tcp://");
        if let Some(text) = docker.filter(known) {
            return Self::parse(text, tls);
        }
        Self::parse(DEFAULT_HOST, tls)
    }

    /// Connects.
    ///
    /// # Errors
    /// Nobody listens, or TLS fails.
    pub(super) async fn dial(&self) -> io::Result<UnixStream> {
        match &self.target {
            Target::Unix(path) => UnixStream::connect(path).await,
            Target::Tcp { host, port } => {
                dial(host.clone(), *port, self.tls.clone(), self.failure.clone()).await
            }
        }
    }

    /// Why a connection broke that was made, if the network or TLS told.
    pub(super) fn failure(&self) -> Option<String> {
        self.failure.take()
    }

    /// The socket, if it is one.
    #[cfg(test)]
    pub(crate) fn path(&self) -> Option<&Path> {
        match &self.target {
            Target::Unix(path) => Some(path),
            Target::Tcp { .. } => None,
        }
    }
}

fn split(address: &str, standard: u16) -> Option<(String, u16)> {
    if let Some(rest) = address.strip_prefix('[') {
        let (host, rest) = rest.split_once(']')?;
        let port = match rest.strip_prefix(':') {
            Some(port) => port.parse().ok()?,
            None if rest.is_empty() => standard,
            None => return None,
        };
        return Some((host.to_owned(), port));
    }
    let (host, port) = match address.split_once(':') {
        Some((host, port)) => (host, port.parse().ok()?),
        None => (address, standard),
    };
    if host.contains(['/', '@', '?']) {
        return None;
    }
    let host = if host.is_empty() { "localhost" } else { host };
    Some((host.to_owned(), port))
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.target {
            Target::Unix(path) => write!(f, "unix://{}", path.display()),
            Target::Tcp { host, port } if host.contains(':') => write!(f, "tcp://[{host}]:{port}"),
            Target::Tcp { host, port } => write!(f, "tcp://{host}:{port}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_flag_wins_then_our_variable_then_dockers() {
        let none = TlsChoice::default();
        let h = |f, t, d| Host::choose(f, t, d, &none).unwrap().to_string();
        assert_eq!(
            h(Some("unix:///a"), Some("unix:///b"), Some("unix:///c")),
            "unix:///a"
        );
        assert_eq!(h(None, Some("/b"), Some("unix:///c")), "unix:///b");
        assert_eq!(h(None, Some(""), Some("unix:///c")), "unix:///c");
        assert_eq!(h(None, None, Some("ssh://x")), DEFAULT_HOST);
        assert_eq!(h(None, None, Some("tcp://x:1")), "tcp://x:1");
        assert_eq!(h(Some("tcp://x"), None, None), "tcp://x:2375");
        assert_eq!(h(Some("tcp://[::1]:7/"), None, None), "tcp://[::1]:7");
        for bad in ["ssh://x", "x", "tcp://x:y", "tcp://a/b", "tcp://[x"] {
            assert!(
                matches!(
                    Host::choose(Some(bad), None, None, &none),
                    Err(HostError::Unsupported(_))
                ),
                "{bad}"
            );
        }
        assert_eq!(
            Host::parse("/x.sock", &none).unwrap().path(),
            Some(Path::new("/x.sock"))
        );
    }

    #[test]
    fn tls_files_are_looked_for() {
        let folder = tempfile::tempdir().unwrap();
        let verify = |verify| TlsChoice {
            verify: Some(verify),
            folder: Some(folder.path().to_owned()),
            ..TlsChoice::default()
        };
        let error = Host::parse("tcp://x", &verify(true))
            .unwrap_err()
            .to_string();
        assert!(error.contains("ca.pem: no such file"), "{error}");
        assert_eq!(
            Host::parse("tcp://x", &verify(false)).unwrap().to_string(),
            "tcp://x:2376"
        );
        // Unix sockets need none.
        assert!(Host::parse("unix:///x", &verify(true)).is_ok());
        std::fs::write(folder.path().join("cert.pem"), "").unwrap();
        let error = Host::parse("tcp://x", &verify(false))
            .unwrap_err()
            .to_string();
        assert!(error.contains("could not load X509 key pair"), "{error}");
    }
}
