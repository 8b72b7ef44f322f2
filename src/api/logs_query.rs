//! What `GET /containers/{id}/logs` asks for.

use super::query::Query;
use super::time;
use super::version::{self, ApiVersion};
use crate::errors::ApiError;

/// `Content-Type` of framed output, from API 1.42 on.
pub(crate) const MULTIPLEXED: &str = "application/vnd.docker.multiplexed-stream";
/// `Content-Type` of a terminal's output, and of all output for older clients.
pub(crate) const RAW: &str = "application/vnd.docker.raw-stream";

/// The query, validated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LogsQuery {
    /// Nanoseconds since 1970.
    pub(crate) since: Option<i64>,
    pub(crate) until: Option<i64>,
    /// Last so many records; `None` is all.
    pub(crate) tail: Option<u64>,
    pub(crate) stdout: bool,
    pub(crate) stderr: bool,
    pub(crate) follow: bool,
    pub(crate) timestamps: bool,
    pub(crate) details: bool,
}

impl LogsQuery {
    /// Reads and checks the query.
    ///
    /// # Errors
    /// 400 with Docker's texts for neither stream and for bad times.
    pub(crate) fn parse(query: &Query) -> Result<Self, ApiError> {
        let (stdout, stderr) = (query.flag("stdout"), query.flag("stderr"));
        if !stdout && !stderr {
            return Err(ApiError::invalid(
                "must specify at least one of 'stdout' or 'stderr'",
            ));
        }
        Ok(Self {
            since: time::parse("since", query.text("since"))?,
            until: time::parse("until", query.text("until"))?,
            tail: tail(query.text("tail")),
            stdout,
            stderr,
            follow: query.flag("follow"),
            timestamps: query.flag("timestamps"),
            details: query.flag("details"),
        })
    }
}

/// Docker takes what is no number, and negative numbers, as "all".
fn tail(text: &str) -> Option<u64> {
    text.parse::<i64>()
        .ok()
        .and_then(|count| u64::try_from(count).ok())
}

/// Type of a stream of container output.
pub(crate) fn content_type(tty: bool, version: ApiVersion) -> &'static str {
    if !tty && version >= version::MULTIPLEXED {
        MULTIPLEXED
    } else {
        RAW
    }
}

/// Clients that take frames apart without regard to records; others get a record a frame.
pub(crate) fn demultiplexes(user_agent: &str) -> bool {
    user_agent.starts_with("Docker-Client/") || user_agent.starts_with("taffrail")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(raw: &str) -> Result<LogsQuery, ApiError> {
        LogsQuery::parse(&Query::parse(raw).unwrap())
    }

    #[test]
    fn as_the_cli_asks() {
        let query = parse("follow=1&since=1795477333&stderr=1&stdout=1&tail=10&timestamps=1");
        assert_eq!(
            query.unwrap(),
            LogsQuery {
                since: Some(1_795_477_333_000_000_000),
                until: None,
                tail: Some(10),
                stdout: true,
                stderr: true,
                follow: true,
                timestamps: true,
                details: false,
            }
        );
    }

    #[test]
    fn tail_values() {
        for (text, expected) in [
            ("all", None),
            ("", None),
            ("-1", None),
            ("x", None),
            ("0", Some(0)),
            ("7", Some(7)),
        ] {
            assert_eq!(tail(text), expected, "{text}");
        }
    }

    #[test]
    fn refusals() {
        assert_eq!(
            parse("stdout=0&follow=1").unwrap_err().message,
            "must specify at least one of 'stdout' or 'stderr'"
        );
        assert!(
            parse("stdout=1&until=abc")
                .unwrap_err()
                .message
                .starts_with("invalid value for \"until\": ")
        );
    }

    #[test]
    fn content_types() {
        assert_eq!(content_type(false, ApiVersion::new(1, 42)), MULTIPLEXED);
        assert_eq!(content_type(false, ApiVersion::new(1, 41)), RAW);
        assert_eq!(content_type(true, version::MAX), RAW);
    }
}
