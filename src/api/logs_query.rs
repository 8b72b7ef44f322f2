//! What `GET /containers/{id}/logs` asks for: Docker's parameters, and ours, which are strict.

use taffrail_config::ExtraStreams;
use taffrail_log::{Cursor, Grep, Run};

use super::query::Query;
use super::time;
use super::version::{self, ApiVersion};
use crate::errors::ApiError;

/// `Content-Type` of framed output, from API 1.42 on.
pub(crate) const MULTIPLEXED: &str = "application/vnd.docker.multiplexed-stream";
/// `Content-Type` of a terminal's output, and of all output for older clients.
pub(crate) const RAW: &str = "application/vnd.docker.raw-stream";
/// `Content-Type` of one JSON object a line.
pub(crate) const NDJSON: &str = "application/x-ndjson";

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
    /// `follow=restarts`: a stop of the container does not end the stream.
    pub(crate) over_restarts: bool,
    /// `cursor`: only records behind it.
    pub(crate) cursor: Option<Cursor>,
    /// `grep`: only records that match.
    pub(crate) grep: Option<Grep>,
    /// `run`: only records of this run.
    pub(crate) run: Option<Run>,
    /// `format=json`, or a header that accepts nothing else.
    pub(crate) ndjson: bool,
    /// `frames=record`: each record in a frame of its own, also for a terminal.
    pub(crate) record_frames: bool,
    /// `streams=exec,health,events`: those beside stdout and stderr.
    pub(crate) extra: ExtraStreams,
}

impl LogsQuery {
    /// Reads and checks the query; `accept` is the header of that name.
    ///
    /// # Errors
    /// 400 with Docker's texts for neither stream, bad times and formats; with what is allowed for
    /// our own parameters.
    pub(crate) fn parse(query: &Query, accept: &str) -> Result<Self, ApiError> {
        let (stdout, stderr) = (query.flag("stdout"), query.flag("stderr"));
        let extra = parsed(query, "streams", ExtraStreams::parse)?.unwrap_or_default();
        if !extra.is_empty() && query.some("cursor").is_some() {
            return Err(ApiError::invalid(
                "\"cursor\" cannot be used with \"streams\": records of extra streams have no cursors, use \"since\"",
            ));
        }
        if !stdout && !stderr && extra.is_empty() {
            return Err(ApiError::invalid(
                "Bad parameters: you must choose at least one stream",
            ));
        }
        let follow = query.text("follow");
        Ok(Self {
            since: time::parse("since", query.text("since"))?,
            until: time::parse("until", query.text("until"))?,
            tail: tail(query.text("tail")),
            stdout,
            stderr,
            follow: query.flag("follow"),
            timestamps: query.flag("timestamps"),
            details: query.flag("details"),
            over_restarts: follow == "restarts",
            cursor: parsed(query, "cursor", str::parse)?,
            grep: parsed(query, "grep", Grep::new)?,
            run: query.some("run").map(run).transpose()?,
            ndjson: match query.text("format") {
                "" => accepts_json(accept),
                "json" => true,
                _ => return Err(ApiError::invalid("unsupported log format")),
            },
            extra,
            record_frames: match query.text("frames") {
                "" => false,
                "record" => true,
                other => {
                    return Err(ApiError::invalid(format!(
                        "invalid value for \"frames\": {other:?}: only \"record\" is known"
                    )));
                }
            },
        })
    }

    /// Type of the answer.
    pub(crate) fn content_type(&self, tty: bool, version: ApiVersion) -> &'static str {
        if self.ndjson {
            NDJSON
        } else if self.record_frames {
            MULTIPLEXED
        } else {
            content_type(tty, version)
        }
    }
}

/// Docker takes what is no number, and negative numbers, as "all".
fn tail(text: &str) -> Option<u64> {
    text.parse::<i64>()
        .ok()
        .and_then(|count| u64::try_from(count).ok())
}

fn parsed<T, E: std::fmt::Display>(
    query: &Query,
    key: &str,
    parse: impl FnOnce(&str) -> Result<T, E>,
) -> Result<Option<T>, ApiError> {
    let value = query.some(key).map(parse).transpose();
    value.map_err(|error| ApiError::invalid(format!("invalid value for {key:?}: {error}")))
}

/// `3` is the third run, `0` the newest, `-1` the one before it.
fn run(text: &str) -> Result<Run, ApiError> {
    let number = text.parse::<i64>().ok();
    let small = |n: i64| u32::try_from(n).ok();
    let run = match number {
        Some(n @ 1..) => small(n).map(Run::Number),
        Some(n) => n.checked_neg().and_then(small).map(Run::Back),
        None => None,
    };
    run.ok_or_else(|| {
        ApiError::invalid(format!(
            "invalid value for \"run\": {text:?}: it is the number of a run from 1 on, 0 for the newest, or -1 for the one before it"
        ))
    })
}

/// Docker's rule (API 1.54): a header that names one of the JSON types, and nothing else, exactly.
fn accepts_json(accept: &str) -> bool {
    matches!(accept.trim(), NDJSON | "application/jsonl")
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
    user_agent.starts_with("Docker-Client/") || user_agent.starts_with("Taffrail-Client/")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(raw: &str) -> Result<LogsQuery, ApiError> {
        LogsQuery::parse(&Query::parse(raw).unwrap(), "")
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
                over_restarts: false,
                cursor: None,
                grep: None,
                run: None,
                ndjson: false,
                record_frames: false,
                extra: ExtraStreams::default(),
            }
        );
    }

    #[test]
    fn our_own() {
        let query = parse(
            "stdout=1&follow=restarts&cursor=2.77&grep=a%2Bb&run=-1&format=json&frames=record",
        )
        .unwrap();
        assert!(query.follow && query.over_restarts && query.ndjson && query.record_frames);
        assert_eq!(query.cursor, Some(Cursor { epoch: 2, seq: 77 }));
        assert_eq!(query.grep, Some(Grep::new("a+b").unwrap()));
        assert_eq!(query.run, Some(Run::Back(1)));
        assert_eq!(query.content_type(false, version::MAX), NDJSON);
        for (text, expected) in [
            ("3", Run::Number(3)),
            ("0", Run::Back(0)),
            ("-12", Run::Back(12)),
        ] {
            assert_eq!(run(text).unwrap(), expected);
        }
        for accept in ["application/x-ndjson", " application/jsonl"] {
            let query = Query::parse("stdout=1").unwrap();
            assert!(LogsQuery::parse(&query, accept).unwrap().ndjson, "{accept}");
        }
        assert!(!accepts_json("*/*"));
    }

    #[test]
    fn our_own_are_strict() {
        for (raw, text) in [
            ("cursor=7", "invalid value for \"cursor\": "),
            ("cursor=-1.2", "invalid value for \"cursor\": "),
            ("grep=(", "invalid value for \"grep\": "),
            ("run=x", "invalid value for \"run\": \"x\": it is"),
            ("run=1.5", "invalid value for \"run\": "),
            ("run=99999999999", "invalid value for \"run\": "),
            ("format=xml", "unsupported log format"),
            ("frames=bulk", "invalid value for \"frames\": "),
        ] {
            let error = parse(&format!("stdout=1&{raw}")).unwrap_err();
            assert_eq!(error.kind.status(), 400);
            assert!(error.message.starts_with(text), "{raw}: {}", error.message);
        }
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
            "Bad parameters: you must choose at least one stream"
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
