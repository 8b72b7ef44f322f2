//! A request as handlers see it, and reading its body within bounds.

use std::io;
use std::time::Duration;

use bytes::{Buf, Bytes};
use http::{HeaderMap, header};
use http_body_util::BodyExt;
use hyper::body::{Body, Incoming};
use serde::de::DeserializeOwned;
use tokio::sync::mpsc;

use super::connection::Peer;
use super::json_error;
use super::query::Query;
use super::version::ApiVersion;
use crate::errors::{ApiError, ErrorKind};

/// Most bytes of a JSON body.
pub(crate) const JSON_BYTES: usize = 4 << 20;
/// Longest pause of a client within a JSON body.
const BODY_PAUSE: Duration = Duration::from_secs(30);
/// Longest pause within a streamed body, which holds a thread.
const BODY_STALL: Duration = Duration::from_secs(600);
/// Chunks of a streamed body that wait for their reader.
const BODY_QUEUE: usize = 8;

/// A request whose path was understood.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) query: Query,
    pub(crate) version: ApiVersion,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Incoming,
    pub(crate) peer: Peer,
}

impl Request {
    /// A header's value as text, `""` if it is missing or not text.
    pub(crate) fn header(&self, name: impl header::AsHeaderName) -> &str {
        self.headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .unwrap_or("")
    }

    /// The body may hold something: it has a length or is chunked.
    pub(crate) fn has_body(&self) -> bool {
        !self.body.is_end_stream()
    }

    /// Reads a JSON body; `None` if there is none.
    ///
    /// # Errors
    /// 400 for another content type, broken JSON or more than one value; 413 for more than
    /// [`JSON_BYTES`].
    pub(crate) async fn json<T: DeserializeOwned>(&mut self) -> Result<Option<T>, ApiError> {
        check_json(self.header(header::CONTENT_TYPE), self.has_body())?;
        let bytes = collect(&mut self.body, JSON_BYTES).await?;
        if bytes.iter().all(u8::is_ascii_whitespace) {
            return Ok(None);
        }
        serde_json::from_slice(&bytes).map(Some).map_err(|error| {
            ApiError::invalid(format!(
                "invalid JSON: {}",
                json_error::words(&bytes, &error)
            ))
        })
    }

    /// The body as a blocking reader, for a thread of its own. Bounded: the client waits while
    /// the reader does.
    pub(crate) fn into_reader(self) -> BodyReader {
        let (sender, chunks) = mpsc::channel(BODY_QUEUE);
        let mut body = self.body;
        tokio::spawn(async move {
            while let Some(frame) = body.frame().await {
                let chunk = match frame {
                    Ok(frame) => match frame.into_data() {
                        Ok(data) => Ok(data),
                        Err(_) => continue,
                    },
                    Err(error) => Err(io::Error::other(error)),
                };
                let failed = chunk.is_err();
                if sender.send(chunk).await.is_err() || failed {
                    break;
                }
            }
        });
        BodyReader {
            chunks,
            current: Bytes::new(),
        }
    }
}

/// Docker's check of a JSON body's type: it may be missing only together with the body.
fn check_json(content_type: &str, has_body: bool) -> Result<(), ApiError> {
    if content_type.is_empty() {
        return if has_body {
            Err(ApiError::invalid(
                "malformed Content-Type header (): mime: no media type",
            ))
        } else {
            Ok(())
        };
    }
    let kind = content_type.split(';').next().unwrap_or("").trim();
    if kind.eq_ignore_ascii_case("application/json") {
        return Ok(());
    }
    Err(ApiError::invalid(format!(
        "unsupported Content-Type header ({content_type}): must be 'application/json'"
    )))
}

async fn collect(body: &mut Incoming, limit: usize) -> Result<Bytes, ApiError> {
    let too_large = || {
        ApiError::new(
            ErrorKind::TooLarge,
            format!("request body is larger than {limit} bytes"),
        )
    };
    if body.size_hint().lower() > limit as u64 {
        return Err(too_large());
    }
    let mut bytes = Vec::new();
    loop {
        let frame = tokio::time::timeout(BODY_PAUSE, body.frame())
            .await
            .map_err(|_| ApiError::invalid("request body did not arrive in time"))?;
        let Some(frame) = frame else {
            return Ok(bytes.into());
        };
        let frame = frame
            .map_err(|error| ApiError::invalid(format!("request body cannot be read: {error}")))?;
        if let Ok(data) = frame.into_data() {
            if bytes.len() + data.len() > limit {
                return Err(too_large());
            }
            bytes.extend_from_slice(&data);
        }
    }
}

/// A request body for blocking code, on a thread of the runtime.
#[derive(Debug)]
pub(crate) struct BodyReader {
    chunks: mpsc::Receiver<io::Result<Bytes>>,
    current: Bytes,
}

impl BodyReader {
    /// Reads on without keeping anything, to the end or for `time`. For a
    /// blocking thread of the runtime.
    pub(crate) fn discard(&mut self, time: Duration) {
        let rest = async { while let Some(Ok(_)) = self.chunks.recv().await {} };
        // What comes later than that is cut off with the connection.
        let _ = tokio::runtime::Handle::current()
            .block_on(async { tokio::time::timeout(time, rest).await });
    }
}

impl io::Read for BodyReader {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        while self.current.is_empty() {
            let next = tokio::time::timeout(BODY_STALL, self.chunks.recv());
            match tokio::runtime::Handle::current().block_on(next) {
                Ok(None) => return Ok(0),
                Ok(Some(chunk)) => self.current = chunk?,
                Err(_) => {
                    return Err(io::Error::new(
                        io::ErrorKind::TimedOut,
                        format!("nothing of the body came for {} s", BODY_STALL.as_secs()),
                    ));
                }
            }
        }
        let count = self.current.len().min(buf.len());
        self.current.copy_to_slice(&mut buf[..count]);
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_types() {
        assert!(check_json("", false).is_ok());
        assert!(check_json("application/json", true).is_ok());
        assert!(check_json("application/json; charset=utf-8", true).is_ok());
        assert!(check_json("Application/JSON", false).is_ok());
        assert_eq!(
            check_json("text/plain", true).unwrap_err().message,
            "unsupported Content-Type header (text/plain): must be 'application/json'"
        );
        assert_eq!(
            check_json("", true).unwrap_err().message,
            "malformed Content-Type header (): mime: no media type"
        );
    }
}
