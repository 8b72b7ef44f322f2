//! What Splunk's answers mean.

use std::time::Duration;

use serde::Deserialize;

use crate::sink::{Failure, FailureKind};

/// An answer as read from the connection.
#[derive(Clone, Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    /// its beginning, at most 64 KiB
    pub(super) body: Vec<u8>,
    pub(super) retry_after: Option<Duration>,
}

/// Splunk's JSON in an answer.
#[derive(Debug, Default, Deserialize)]
struct Reply {
    text: Option<String>,
    code: Option<i64>,
    #[serde(rename = "invalid-event-number")]
    invalid: Option<u64>,
    #[serde(rename = "ackId")]
    ack: Option<u64>,
}

/// What became of a request with events.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// all were taken; with the number to ask for later
    Taken(Option<u64>),
    /// something among them is not wanted
    Unwanted {
        /// which one it may be, from 0; not to be relied on
        suspect: Option<u64>,
        /// Splunk's words
        reason: String,
    },
    /// the connection is of no use
    Failed(Failure),
}

impl Answer {
    fn reply(&self) -> Reply {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    /// Status and Splunk's words, for people.
    pub(super) fn text(&self) -> String {
        let status = reqwest::StatusCode::from_u16(self.status)
            .ok()
            .and_then(|status| status.canonical_reason())
            .unwrap_or_default();
        let reply = self.reply();
        let words = match (&reply.text, reply.code) {
            (Some(text), Some(code)) => format!("{text} (code {code})"),
            _ => {
                let start = &self.body[..self.body.len().min(200)];
                let words = String::from_utf8_lossy(start);
                words.split_whitespace().collect::<Vec<_>>().join(" ")
            }
        };
        match words.as_str() {
            "" => format!("{} {status}", self.status),
            words => format!("{} {status}: {words}", self.status),
        }
    }

    /// For an answer that is none of a request's own: of which kind it is, and what can be done.
    pub(super) fn failure(&self, address: &str) -> Failure {
        let reply = self.reply();
        let (kind, advice) = match (self.status, reply.code) {
            (401 | 403, Some(1)) => (FailureKind::Denied, "enable the token in Splunk"),
            (401 | 403, _) => (FailureKind::Denied, "check splunk-token"),
            (400, Some(7)) => (
                FailureKind::Denied,
                "let the token write to the index of splunk-index, or change that",
            ),
            (400, Some(10 | 11)) => (
                FailureKind::Denied,
                "the token wants acknowledgements: set splunk-index-acknowledgment=true",
            ),
            (400, Some(14)) => (
                FailureKind::Denied,
                "enable indexer acknowledgement for the token in Splunk, or set splunk-index-acknowledgment=false",
            ),
            (404 | 405, _) => (
                FailureKind::Protocol,
                "is splunk-url the HTTP event collector (port 8088)?",
            ),
            (300..400, _) => (
                FailureKind::Protocol,
                "redirects are not followed: put the final address into splunk-url",
            ),
            (408 | 429 | 500 | 503, _) => (FailureKind::Busy(self.retry_after), ""),
            (500.., _) => (FailureKind::Unreachable, ""),
            _ => (
                FailureKind::Protocol,
                "this is not what an HTTP event collector answers",
            ),
        };
        let text = self.text();
        let colon = if advice.is_empty() { "" } else { ": " };
        Failure::new(kind, format!("{address}: {text}{colon}{advice}"))
    }

    /// For a request with events.
    pub(super) fn verdict(&self, address: &str, ack: bool) -> Verdict {
        let reply = self.reply();
        match (self.status, reply.code) {
            (200, _) if !ack => Verdict::Taken(None),
            (200, _) => match reply.ack {
                Some(id) => Verdict::Taken(Some(id)),
                None => Verdict::Failed(Failure::new(
                    FailureKind::Denied,
                    format!(
                        "{address}: the answer has no ackId: enable indexer acknowledgement for the token in Splunk, or set splunk-index-acknowledgment=false"
                    ),
                )),
            },
            // Not about the events but about the settings: nothing is thrown away for that.
            (400, Some(7 | 10 | 11 | 14 | 16)) => Verdict::Failed(self.failure(address)),
            // Only Splunk's own answer is believed; a proxy's 400 says nothing about an event.
            (400, Some(_)) => Verdict::Unwanted {
                suspect: reply.invalid,
                reason: self.text(),
            },
            (413, _) => Verdict::Unwanted {
                suspect: None,
                reason: self.text(),
            },
            _ => Verdict::Failed(self.failure(address)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, body: &str) -> Answer {
        Answer {
            status,
            body: body.as_bytes().to_vec(),
            retry_after: (status == 429).then_some(Duration::from_secs(7)),
        }
    }

    #[test]
    fn taken() {
        let plain = answer(200, r#"{"text":"Success","code":0}"#);
        assert_eq!(plain.verdict("a", false), Verdict::Taken(None));
        assert!(matches!(
            plain.verdict("a", true),
            Verdict::Failed(Failure {
                kind: FailureKind::Denied,
                ..
            })
        ));
        let ack = answer(200, r#"{"text":"Success","code":0,"ackId":3}"#);
        assert_eq!(ack.verdict("a", true), Verdict::Taken(Some(3)));
    }

    #[test]
    fn unwanted() {
        let bad = answer(
            400,
            r#"{"text":"Invalid data format","code":6,"invalid-event-number":30}"#,
        );
        assert_eq!(
            bad.verdict("a", false),
            Verdict::Unwanted {
                suspect: Some(30),
                reason: "400 Bad Request: Invalid data format (code 6)".to_owned()
            }
        );
        assert!(matches!(
            answer(413, "").verdict("a", false),
            Verdict::Unwanted { suspect: None, .. }
        ));
    }

    #[test]
    fn failures() {
        for (status, body, kind) in [
            (401, "", FailureKind::Denied),
            (
                403,
                r#"{"text":"Invalid token","code":4}"#,
                FailureKind::Denied,
            ),
            (
                400,
                r#"{"text":"Incorrect index","code":7,"invalid-event-number":1}"#,
                FailureKind::Denied,
            ),
            (
                400,
                r#"{"text":"Data channel is missing","code":10}"#,
                FailureKind::Denied,
            ),
            (400, "<html>bad request</html>", FailureKind::Protocol),
            (404, "", FailureKind::Protocol),
            (307, "", FailureKind::Protocol),
            (204, "", FailureKind::Protocol),
            (429, "", FailureKind::Busy(Some(Duration::from_secs(7)))),
            (
                503,
                r#"{"text":"Server is busy","code":9}"#,
                FailureKind::Busy(None),
            ),
            (502, "", FailureKind::Unreachable),
        ] {
            match answer(status, body).verdict("https://x:8088", false) {
                Verdict::Failed(failure) => {
                    assert_eq!(failure.kind, kind, "{status}");
                    let start = format!("https://x:8088: {status} ");
                    assert!(failure.text.starts_with(&start), "{failure}");
                }
                other => panic!("{status}: {other:?}"),
            }
        }
        assert_eq!(
            answer(403, r#"{"text":"Invalid token","code":4}"#)
                .failure("https://x:8088")
                .text,
            "https://x:8088: 403 Forbidden: Invalid token (code 4): check splunk-token"
        );
    }
}
