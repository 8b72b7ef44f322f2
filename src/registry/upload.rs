//! Bringing one blob into a repository: it is there already, it is mounted from another repository, or it
//! is sent (docs: distribution API, "Pushing an Image").

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use reqwest::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderValue};
use reqwest::{Method, StatusCode, Url};
use tokio::sync::mpsc;

use super::download::pause;
use super::error::{MAX_ERROR_BODY, RegistryError, parse_answer};
use super::http::{Ask, Session, limited};
use super::progress::Meter;

/// Bytes that are read from a file at once, and pieces that wait for the connection.
const PIECE: usize = 256 * 1024;
const PIECES: usize = 4;

/// Size of a blob that a repository has; `None` if it has it not.
///
/// # Errors
/// The registry's.
pub(super) async fn exists(session: &Session, digest: &str) -> Result<Option<u64>, RegistryError> {
    let ask = session.ask(Method::HEAD, &format!("blobs/{digest}"))?;
    let response = session.send(&ask).await?;
    match response.status() {
        StatusCode::NOT_FOUND => Ok(None),
        status if status.is_success() => {
            let size = response
                .headers()
                .get(CONTENT_LENGTH)
                .and_then(|value| value.to_str().ok())
                .and_then(|text| text.parse().ok());
            Ok(Some(size.unwrap_or_default()))
        }
        status => Err(parse_answer(status, &[])),
    }
}

/// Asks the registry to take a blob from another of its repositories. False if it does not.
pub(super) async fn mount(session: &Session, digest: &str, from: &str) -> bool {
    let attempt = async {
        let mut ask = session.ask(Method::POST, "blobs/uploads/")?;
        ask.url
            .query_pairs_mut()
            .append_pair("mount", digest)
            .append_pair("from", from);
        ask.headers
            .insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
        ask.from = from;
        let response = session.send(&ask).await?;
        if response.status() == StatusCode::CREATED {
            return Ok(true);
        }
        // An upload was begun instead: it is not wanted.
        if response.status() == StatusCode::ACCEPTED
            && let Ok(url) = session.location(&response)
        {
            let ask = Ask {
                method: Method::DELETE,
                url,
                ..session.ask(Method::DELETE, "")?
            };
            // The registry forgets it by itself, too.
            let _ = session.send(&ask).await;
        }
        Ok::<bool, RegistryError>(false)
    };
    attempt.await.unwrap_or_else(|error| {
        tracing::debug!(digest, from, error = %error, "blob is not mounted");
        false
    })
}

/// What is sent.
#[derive(Clone, Debug)]
pub(super) enum Source {
    Bytes(Bytes),
    File(PathBuf),
}

/// Sends a blob, with several attempts, each from the beginning.
///
/// # Errors
/// The last attempt's.
pub(super) async fn send(
    session: &Session,
    digest: &str,
    size: u64,
    source: &Source,
    attempts: u32,
    meter: Option<&Meter>,
) -> Result<(), RegistryError> {
    let mut failures = 0;
    loop {
        let error = match attempt(session, digest, size, source, meter).await {
            Ok(()) => return Ok(()),
            Err(error) => error,
        };
        failures += 1;
        if !error.is_transient() || failures >= attempts {
            return Err(error);
        }
        tracing::info!(digest, error = %error, "upload failed and is tried again");
        tokio::time::sleep(pause(failures)).await;
    }
}

async fn attempt(
    session: &Session,
    digest: &str,
    size: u64,
    source: &Source,
    meter: Option<&Meter>,
) -> Result<(), RegistryError> {
    let mut ask = session.ask(Method::POST, "blobs/uploads/")?;
    ask.headers
        .insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
    let begun = expect(session, &ask, &[StatusCode::ACCEPTED, StatusCode::CREATED]).await?;
    // All of it in one piece, then its name: as Docker does, which every registry takes.
    let mut ask = at(session, Method::PATCH, session.location(&begun)?)?;
    ask.headers.insert(
        CONTENT_TYPE,
        HeaderValue::from_static("application/octet-stream"),
    );
    ask.headers.insert(CONTENT_LENGTH, HeaderValue::from(size));
    let body = || match source {
        Source::Bytes(bytes) => reqwest::Body::from(bytes.clone()),
        Source::File(path) => reqwest::Body::wrap(Sized {
            pieces: read(path, meter.cloned()),
            left: size,
        }),
    };
    ask.body = Some(&body);
    let sent = expect(
        session,
        &ask,
        &[
            StatusCode::ACCEPTED,
            StatusCode::NO_CONTENT,
            StatusCode::CREATED,
        ],
    )
    .await?;
    let mut url = session.location(&sent)?;
    url.query_pairs_mut().append_pair("digest", digest);
    let mut ask = at(session, Method::PUT, url)?;
    ask.headers
        .insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
    expect(
        session,
        &ask,
        &[StatusCode::CREATED, StatusCode::NO_CONTENT],
    )
    .await?;
    Ok(())
}

fn at<'a>(session: &Session, method: Method, url: Url) -> Result<Ask<'a>, RegistryError> {
    let Ask { headers, .. } = session.ask(method.clone(), "")?;
    Ok(Ask {
        method,
        url,
        headers,
        body: None,
        from: "",
    })
}

async fn expect(
    session: &Session,
    ask: &Ask<'_>,
    good: &[StatusCode],
) -> Result<reqwest::Response, RegistryError> {
    let response = session.send(ask).await?;
    let status = response.status();
    if good.contains(&status) {
        return Ok(response);
    }
    let body = limited(response, MAX_ERROR_BODY, "Put", &ask.url).await?;
    Err(parse_answer(status, &body))
}

/// Reads a file in pieces on a thread of its own.
fn read(path: &Path, meter: Option<Meter>) -> mpsc::Receiver<std::io::Result<Bytes>> {
    let (pieces, waiting) = mpsc::channel(PIECES);
    let path = path.to_path_buf();
    tokio::task::spawn_blocking(move || {
        let mut sent = 0;
        let mut file = match File::open(&path) {
            Ok(file) => file,
            Err(error) => {
                let _ = pieces.blocking_send(Err(error));
                return;
            }
        };
        loop {
            let mut piece = vec![0; PIECE];
            let item = match file.read(&mut piece) {
                Ok(0) => return,
                Ok(n) => {
                    piece.truncate(n);
                    sent += n as u64;
                    Ok(Bytes::from(piece))
                }
                Err(error) => Err(error),
            };
            let last = item.is_err();
            // Taken once the connection has room for it.
            if pieces.blocking_send(item).is_err() || last {
                return;
            }
            if let Some(meter) = &meter {
                meter.at(sent);
            }
        }
    });
    waiting
}

/// Pieces whose sum is known, so that they are sent with a length.
struct Sized {
    pieces: mpsc::Receiver<std::io::Result<Bytes>>,
    left: u64,
}

impl Body for Sized {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, std::io::Error>>> {
        self.pieces.poll_recv(cx).map(|item| {
            item.map(|piece| {
                piece.map(|bytes| {
                    self.left = self.left.saturating_sub(bytes.len() as u64);
                    Frame::data(bytes)
                })
            })
        })
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}

/// Sends a manifest; the digest that the registry gives it.
///
/// # Errors
/// The registry's.
pub(super) async fn manifest(
    session: &Session,
    reference: &str,
    media_type: &str,
    bytes: &[u8],
) -> Result<(), RegistryError> {
    let mut ask = session.ask(Method::PUT, &format!("manifests/{reference}"))?;
    let kind = HeaderValue::try_from(media_type)
        .map_err(|_| RegistryError::Invalid(format!("media type {media_type:?}")))?;
    ask.headers.insert(CONTENT_TYPE, kind);
    let bytes = Bytes::copy_from_slice(bytes);
    let body = || reqwest::Body::from(bytes.clone());
    ask.body = Some(&body);
    session.succeed(&ask).await.map(drop)
}
