//! How it stands with a sink, in a sentence.

use super::SinkFigures;
use super::lane::Status;
use crate::container::time;

impl SinkFigures {
    /// `syslog tcp://h:1: retrying for 3 minutes: connection refused; 120 records wait, none is lost`.
    pub(crate) fn sentence(&self, now_ns: i64) -> String {
        let since = (self.lane.since_ns > 0)
            .then(|| time::human(now_ns.saturating_sub(self.lane.since_ns)).to_lowercase());
        let mut text = format!("{} {}: ", self.name, self.address);
        text.push_str(match self.lane.status {
            Status::Idle => "idle",
            Status::Connected => "connected",
            Status::Stalled => "connected, but the receiver takes nothing",
            Status::Retrying => "retrying",
            Status::Denied => "refused by the receiver",
        });
        if let Some(since) = since {
            text.push_str(&format!(" for {since}"));
        }
        if self.lane.status.is_down()
            && let Some((_, error)) = &self.lane.last_error
        {
            text.push_str(&format!(": {error}"));
        }
        text.push_str("; ");
        text.push_str(&self.waiting());
        if let Some(oldest) = self.oldest_pending_ns {
            text.push_str(&format!("; the oldest is from {}", time::rfc3339(oldest)));
        }
        match (self.delivered, self.last_delivered_ns) {
            (0, _) => text.push_str("; nothing was delivered yet"),
            (n, Some(at)) => text.push_str(&format!(
                "; {} delivered, the last at {}",
                records(n),
                time::rfc3339(at)
            )),
            (n, None) => text.push_str(&format!("; {} delivered", records(n))),
        }
        text
    }

    fn waiting(&self) -> String {
        let waiting = match self.pending {
            Some(0) => "nothing waits".to_owned(),
            Some(1) => "1 record waits".to_owned(),
            Some(n) => format!("{n} records wait"),
            None => format!(
                "up to {} bytes of the log are still to be read",
                self.pending_bytes
            ),
        };
        match (self.dropped, self.rejected) {
            (0, _) => format!("{waiting}, none is lost"),
            (n, 0) => format!("{waiting}, {} lost", are(n)),
            (n, _) => format!(
                "{waiting}, {} lost, among them what the receiver does not want",
                are(n)
            ),
        }
    }
}

fn are(n: u64) -> String {
    match n {
        1 => "1 is".to_owned(),
        n => format!("{n} are"),
    }
}

fn records(n: u64) -> String {
    match n {
        1 => "1 record".to_owned(),
        n => format!("{n} records"),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::delivery::lane::LaneState;

    const S: i64 = 1_000_000_000;

    /// A sink that has waited for three minutes.
    pub(crate) fn retrying() -> SinkFigures {
        SinkFigures {
            name: "syslog".to_owned(),
            driver: "syslog",
            address: "tcp://h:1".to_owned(),
            lane: LaneState {
                status: Status::Retrying,
                since_ns: 1000 * S,
                last_error: Some((1000 * S, "connection refused".to_owned())),
                ..LaneState::default()
            },
            cursor: None,
            delivered: 0,
            delivered_bytes: 0,
            pending: Some(120),
            pending_bytes: 1,
            dropped: 0,
            dropped_bytes: 0,
            skipped: 0,
            rejected: 0,
            oldest_pending_ns: Some(1001 * S),
            last_delivered_ns: None,
            last_rejection: None,
            read_error: None,
        }
    }

    #[test]
    fn in_words() {
        let mut figures = retrying();
        assert_eq!(
            figures.sentence(1180 * S),
            "syslog tcp://h:1: retrying for 3 minutes: connection refused; 120 records wait, none is lost; \
             the oldest is from 1970-01-01T00:16:41Z; nothing was delivered yet"
        );
        figures.lane.status = Status::Connected;
        figures.pending = Some(0);
        figures.oldest_pending_ns = None;
        figures.delivered = 7;
        figures.dropped = 1;
        assert_eq!(
            figures.sentence(1001 * S),
            "syslog tcp://h:1: connected for 1 second; nothing waits, 1 is lost; 7 records delivered"
        );
    }
}
