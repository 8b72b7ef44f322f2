//! What can go wrong between this client and a daemon.

use std::io;

/// An exchange that did not end in an answer, or ended in a refusal.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ClientError {
    /// Nobody listens on the socket, or it must not be opened by this user.
    #[error("Cannot connect to the Taffrail daemon at {host}: is it running? ({source})")]
    Unreachable { host: String, source: io::Error },
    /// The daemon said no; the text is the one of its JSON body.
    #[error("Error response from daemon: {message}")]
    Daemon { status: u16, message: String },
    /// The connection broke or the answer was no HTTP.
    #[error("error during connect: {request}: {source}")]
    Http {
        request: String,
        source: hyper::Error,
    },
    /// Reading or writing a raw stream failed.
    #[error("error on the stream from the daemon: {0}")]
    Stream(#[source] io::Error),
    /// A frame of kind 3, by which a daemon reports a failure within a stream.
    #[error("error from daemon in stream: {0}")]
    InStream(String),
    /// A frame header that no daemon sends.
    #[error("unrecognized stream: {0}")]
    BadFrame(u8),
    /// The body is not the JSON that the API describes.
    #[error("invalid answer to {request}: {source}")]
    Json {
        request: String,
        source: serde_json::Error,
    },
    /// The daemon answered a request to upgrade without upgrading.
    #[error("unable to upgrade to tcp, received {status}")]
    NotUpgraded { status: u16 },
    /// A request that cannot be written as HTTP, for example a NUL in a name.
    #[error("invalid request {path:?}: {source}")]
    BadRequest { path: String, source: http::Error },
}

impl ClientError {
    /// HTTP status, when there was an answer.
    pub(crate) fn status(&self) -> Option<u16> {
        match self {
            Self::Daemon { status, .. } => Some(*status),
            _ => None,
        }
    }

    /// Whether the daemon said that the thing does not exist.
    pub(crate) fn is_not_found(&self) -> bool {
        self.status() == Some(404)
    }
}
