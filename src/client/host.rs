//! Where the daemon listens.

use std::path::{Path, PathBuf};

/// The socket when nothing else is said.
pub(crate) const DEFAULT_HOST: &str = "unix:///run/taffrail/docker.sock";

/// A host that this client cannot talk to.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum HostError {
    #[error("invalid host {0:?}: only unix:///path/to/socket is supported")]
    Unsupported(String),
}

/// Address of a daemon: a unix socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Host {
    path: PathBuf,
}

impl Host {
    /// Reads `unix://PATH`, or a bare absolute path.
    ///
    /// # Errors
    /// Any other scheme.
    pub(crate) fn parse(text: &str) -> Result<Self, HostError> {
        let path = text.strip_prefix("unix://").unwrap_or(text);
        if path.starts_with('/') {
            Ok(Self { path: path.into() })
        } else {
            Err(HostError::Unsupported(text.to_owned()))
        }
    }

    /// `-H`, else `TAFFRAIL_HOST`, else `DOCKER_HOST` when it names a unix socket, else the default.
    ///
    /// # Errors
    /// A `-H` or `TAFFRAIL_HOST` that is no unix socket. A `DOCKER_HOST` elsewhere is meant for
    /// other programs and is passed over.
    pub(crate) fn choose(
        flag: Option<&str>,
        taffrail: Option<&str>,
        docker: Option<&str>,
    ) -> Result<Self, HostError> {
        if let Some(text) = flag.or(taffrail.filter(|t| !t.is_empty())) {
            return Self::parse(text);
        }
        if let Some(text) = docker.filter(|t| t.starts_with("unix://")) {
            return Self::parse(text);
        }
        Self::parse(DEFAULT_HOST)
    }

    /// The socket.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

impl std::fmt::Display for Host {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "unix://{}", self.path.display())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_flag_wins_then_our_variable_then_dockers() {
        let h = |f, t, d| Host::choose(f, t, d).unwrap().to_string();
        assert_eq!(
            h(Some("unix:///a"), Some("unix:///b"), Some("unix:///c")),
            "unix:///a"
        );
        assert_eq!(h(None, Some("/b"), Some("unix:///c")), "unix:///b");
        assert_eq!(h(None, Some(""), Some("unix:///c")), "unix:///c");
        assert_eq!(h(None, None, Some("tcp://x:2375")), DEFAULT_HOST);
        assert_eq!(
            Host::choose(Some("tcp://x"), None, None),
            Err(HostError::Unsupported("tcp://x".into()))
        );
    }
}
