//! What `POST /containers/{id}/attach` asks for, and the head that is written by hand because the
//! connection leaves HTTP with it.

use http::HeaderMap;

use super::detach::DetachKeys;
use super::logs_query;
use super::query::Query;
use super::reply;
use super::server::STANDARD_HEADERS;
use super::version::ApiVersion;
use crate::errors::ApiError;

/// The query.
#[derive(Clone, Debug)]
pub(crate) struct AttachQuery {
    pub(crate) stdin: bool,
    pub(crate) stdout: bool,
    pub(crate) stderr: bool,
    /// Live data.
    pub(crate) stream: bool,
    /// The log so far first.
    pub(crate) logs: bool,
    pub(crate) keys: DetachKeys,
    /// The client asked for 101; without, it gets 200 and the same stream.
    pub(crate) upgrade: bool,
}

impl AttachQuery {
    /// Reads the query and the `Upgrade` header.
    ///
    /// # Errors
    /// 400 for bad detach keys.
    pub(crate) fn parse(query: &Query, headers: &HeaderMap) -> Result<Self, ApiError> {
        Ok(Self {
            stdin: query.flag("stdin"),
            stdout: query.flag("stdout"),
            stderr: query.flag("stderr"),
            stream: query.flag("stream"),
            logs: query.flag("logs"),
            keys: DetachKeys::parse(query.text("detachKeys"))?,
            upgrade: headers.contains_key(http::header::UPGRADE),
        })
    }
}

/// Head of a successful answer.
pub(crate) fn head(upgrade: bool, tty: bool, version: ApiVersion) -> String {
    if upgrade {
        let kind = logs_query::content_type(tty, version);
        format!(
            "HTTP/1.1 101 UPGRADED\r\nContent-Type: {kind}\r\nConnection: Upgrade\r\n\
             Upgrade: tcp\r\n{}\r\n",
            standard()
        )
    } else {
        format!(
            "HTTP/1.1 200 OK\r\nContent-Type: {}\r\n{}\r\n",
            logs_query::RAW,
            standard()
        )
    }
}

/// A refusal, in plain text as Docker writes it on this connection.
pub(crate) fn refusal(error: &ApiError) -> String {
    let status = reply::status(error.kind);
    format!(
        "HTTP/1.1 {} {}\r\nContent-Type: {}\r\nConnection: close\r\n{}\r\n{}\r\n",
        status.as_u16(),
        status.canonical_reason().unwrap_or(""),
        logs_query::RAW,
        standard(),
        error.message
    )
}

fn standard() -> String {
    STANDARD_HEADERS
        .iter()
        .map(|(name, value)| format!("{name}: {value}\r\n"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads() {
        let upgraded = head(true, false, ApiVersion::new(1, 42));
        assert!(upgraded.starts_with(
            "HTTP/1.1 101 UPGRADED\r\nContent-Type: application/vnd.docker.multiplexed-stream\r\n\
             Connection: Upgrade\r\nUpgrade: tcp\r\n"
        ));
        assert!(upgraded.ends_with("\r\n\r\n"));
        let old = head(true, false, ApiVersion::new(1, 41));
        assert!(old.contains("Content-Type: application/vnd.docker.raw-stream\r\n"));
        let plain = head(false, false, ApiVersion::new(1, 43));
        assert!(
            plain.starts_with(
                "HTTP/1.1 200 OK\r\nContent-Type: application/vnd.docker.raw-stream\r\n"
            )
        );
        assert!(!plain.to_lowercase().contains("content-length"));
        assert!(!plain.contains("Upgrade"));
    }

    #[test]
    fn refusals_are_plain_text() {
        let text = refusal(&ApiError::not_found("No such container: x"));
        assert!(text.starts_with(
            "HTTP/1.1 404 Not Found\r\nContent-Type: application/vnd.docker.raw-stream\r\n"
        ));
        assert!(text.ends_with("\r\n\r\nNo such container: x\r\n"));
    }

    #[test]
    fn bad_keys() {
        let query = Query::parse("stream=1&detachKeys=ctrl-1").unwrap();
        let error = AttachQuery::parse(&query, &HeaderMap::new()).unwrap_err();
        assert_eq!(error.message, "Invalid detach keys (ctrl-1) provided");
    }
}
