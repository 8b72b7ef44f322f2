//! What a handler answers: a body of known size, a stream, or the connection itself (hijack).

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use serde::Serialize;
use tokio::sync::{mpsc, oneshot};

use super::connection::{ConnState, Hijacked};
use crate::errors::{ApiError, ErrorKind};

/// Chunks a stream may hold that the client has not taken yet.
const STREAM_QUEUE: usize = 4;

/// A handler's answer.
pub(crate) enum Answer {
    Http(Reply),
    /// The rest of the connection belongs to this function; nothing was sent yet.
    Hijack(Takeover),
}

/// Runs a hijacked connection to its end.
pub(crate) type Takeover =
    Box<dyn FnOnce(Hijacked) -> Pin<Box<dyn Future<Output = ()> + Send>> + Send>;

pub(crate) type Reply = http::Response<Body>;

impl From<Reply> for Answer {
    fn from(reply: Reply) -> Self {
        Self::Http(reply)
    }
}

impl std::fmt::Debug for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Http(reply) => f.debug_tuple("Http").field(&reply.status()).finish(),
            Self::Hijack(_) => f.write_str("Hijack"),
        }
    }
}

/// Body of an answer.
#[derive(Debug)]
pub(crate) struct Body {
    content: Content,
    /// Tells the connection, when dropped, that the answer is handed over.
    done: Option<AnswerDone>,
}

#[derive(Debug)]
enum Content {
    Full(Option<Bytes>),
    Stream(mpsc::Receiver<Bytes>),
    /// Chunks, then trailers.
    Trailed(mpsc::Receiver<Bytes>, Option<oneshot::Receiver<HeaderMap>>),
    Fallible(mpsc::Receiver<io::Result<Bytes>>),
}

/// Marks the answer of a connection as complete when it is dropped.
#[derive(Debug)]
pub(crate) struct AnswerDone(pub(crate) Arc<ConnState>);

impl Drop for AnswerDone {
    fn drop(&mut self) {
        self.0.answer_done();
    }
}

impl Body {
    fn full(bytes: impl Into<Bytes>) -> Self {
        let bytes = bytes.into();
        Self {
            content: Content::Full((!bytes.is_empty()).then_some(bytes)),
            done: None,
        }
    }

    pub(crate) fn is_stream(&self) -> bool {
        matches!(
            self.content,
            Content::Stream(_) | Content::Trailed(..) | Content::Fallible(_)
        )
    }

    pub(crate) fn with_guard(mut self, done: AnswerDone) -> Self {
        self.done = Some(done);
        self
    }
}

impl HttpBody for Body {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        match &mut self.content {
            Content::Full(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Content::Stream(chunks) => chunks
                .poll_recv(cx)
                .map(|chunk| chunk.map(|chunk| Ok(Frame::data(chunk)))),
            Content::Trailed(chunks, trailers) => {
                if let Some(chunk) = std::task::ready!(chunks.poll_recv(cx)) {
                    return Poll::Ready(Some(Ok(Frame::data(chunk))));
                }
                let Some(waiting) = trailers else {
                    return Poll::Ready(None);
                };
                // Whoever sent no trailers before the end has none.
                let found = waiting.try_recv().ok();
                *trailers = None;
                Poll::Ready(found.map(|found| Ok(Frame::trailers(found))))
            }
            Content::Fallible(chunks) => chunks
                .poll_recv(cx)
                .map(|chunk| chunk.map(|chunk| chunk.map(Frame::data))),
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self.content, Content::Full(None))
    }

    fn size_hint(&self) -> SizeHint {
        match &self.content {
            Content::Full(bytes) => {
                SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64))
            }
            Content::Stream(_) | Content::Trailed(..) | Content::Fallible(_) => SizeHint::new(),
        }
    }
}

/// An answer without a body.
pub(crate) fn empty(status: StatusCode) -> Reply {
    let mut reply = http::Response::new(Body::full(Bytes::new()));
    *reply.status_mut() = status;
    if !matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED) {
        // hyper leaves it out of answers to HEAD.
        reply
            .headers_mut()
            .insert(header::CONTENT_LENGTH, HeaderValue::from_static("0"));
    }
    reply
}

/// An answer in plain text.
pub(crate) fn text(status: StatusCode, text: impl Into<Bytes>) -> Reply {
    let mut reply = http::Response::new(Body::full(text));
    *reply.status_mut() = status;
    reply.headers_mut().insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("text/plain; charset=utf-8"),
    );
    reply
}

/// A JSON answer; the body ends with a newline.
pub(crate) fn json<T: Serialize + ?Sized>(status: StatusCode, value: &T) -> Reply {
    let body = match serde_json::to_vec(value) {
        Ok(mut body) => {
            body.push(b'\n');
            body
        }
        Err(problem) => {
            tracing::error!(error = %problem, "answer cannot be encoded");
            return error(&ApiError::system(format!(
                "answer cannot be encoded: {problem}"
            )));
        }
    };
    let mut reply = http::Response::new(Body::full(body));
    *reply.status_mut() = status;
    set_json(&mut reply);
    reply
}

/// An error as clients expect it: `{"message":"..."}`.
pub(crate) fn error(error: &ApiError) -> Reply {
    let status = status(error.kind);
    if error.kind == ErrorKind::NotModified {
        return empty(status);
    }
    json(status, &serde_json::json!({ "message": error.message }))
}

/// Status of an error's class.
pub(crate) fn status(kind: ErrorKind) -> StatusCode {
    StatusCode::from_u16(kind.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}

/// A stream: header at once, then each chunk as it comes. Dropping the sender ends it; the sender
/// sees a client that is gone as a closed channel.
pub(crate) fn stream(content_type: &'static str) -> (mpsc::Sender<Bytes>, Reply) {
    let (sender, receiver) = mpsc::channel(STREAM_QUEUE);
    let mut reply = http::Response::new(Body {
        content: Content::Stream(receiver),
        done: None,
    });
    reply
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    (sender, reply)
}

/// As [`stream`], with room for one chunk only, and with trailers of the names `trailers` at its
/// end, which must be sent before the chunks end. Clients get them that ask with `TE: trailers`.
pub(crate) fn trailed_stream(
    content_type: &'static str,
    trailers: &'static str,
) -> (mpsc::Sender<Bytes>, oneshot::Sender<HeaderMap>, Reply) {
    let (sender, receiver) = mpsc::channel(1);
    let (last, waiting) = oneshot::channel();
    let mut reply = http::Response::new(Body {
        content: Content::Trailed(receiver, Some(waiting)),
        done: None,
    });
    let headers = reply.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(header::TRAILER, HeaderValue::from_static(trailers));
    (sender, last, reply)
}

/// As `stream`; an error ends it without its end mark, which clients see as a broken connection.
pub(crate) fn fallible_stream(
    content_type: &'static str,
) -> (mpsc::Sender<io::Result<Bytes>>, Reply) {
    let (sender, receiver) = mpsc::channel(STREAM_QUEUE);
    let mut reply = http::Response::new(Body {
        content: Content::Fallible(receiver),
        done: None,
    });
    reply
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    (sender, reply)
}

/// One JSON value and a newline, as a chunk of a stream.
pub(crate) fn json_line<T: Serialize + ?Sized>(value: &T) -> Bytes {
    let mut line = serde_json::to_vec(value).unwrap_or_else(|problem| {
        tracing::error!(error = %problem, "record cannot be encoded");
        b"{}".to_vec()
    });
    line.push(b'\n');
    line.into()
}

fn set_json(reply: &mut Reply) {
    reply.headers_mut().insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/json"),
    );
}
