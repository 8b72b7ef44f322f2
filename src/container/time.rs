//! Times as the API has them: RFC 3339 with what is needed of the fraction, and durations in
//! words.

use std::time::{SystemTime, UNIX_EPOCH};

use jiff::Timestamp;

/// `StartedAt` and `FinishedAt` of what never happened (Go's zero time).
pub(crate) const ZERO: &str = "0001-01-01T00:00:00Z";

/// Nanoseconds since 1970; 0 for a clock before that.
pub(crate) fn now_ns() -> i64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |d| i64::try_from(d.as_nanos()).unwrap_or(i64::MAX))
}

/// RFC 3339 in UTC, trailing zeros of the fraction cut (Go's `RFC3339Nano`).
pub(crate) fn rfc3339(ns: i64) -> String {
    Timestamp::from_nanosecond(i128::from(ns)).map_or_else(|_| ZERO.to_owned(), |t| t.to_string())
}

/// A time span as `docker ps` shows it (docs: `go-units` `HumanDuration`).
pub(crate) fn human(ns: i64) -> String {
    let seconds = ns.max(0) / 1_000_000_000;
    let minutes = seconds / 60;
    // Rounded half up from minutes, as go-units does.
    let hours = (ns.max(0) + 1_800_000_000_000) / 3_600_000_000_000;
    match () {
        () if seconds < 1 => "Less than a second".to_owned(),
        () if seconds == 1 => "1 second".to_owned(),
        () if seconds < 60 => format!("{seconds} seconds"),
        () if minutes == 1 => "About a minute".to_owned(),
        () if minutes < 60 => format!("{minutes} minutes"),
        () if hours == 1 => "About an hour".to_owned(),
        () if hours < 48 => format!("{hours} hours"),
        () if hours < 24 * 7 * 2 => format!("{} days", hours / 24),
        () if hours < 24 * 30 * 2 => format!("{} weeks", hours / 24 / 7),
        () if hours < 24 * 365 * 2 => format!("{} months", hours / 24 / 30),
        () => format!("{} years", hours / 24 / 365),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fractions() {
        assert_eq!(rfc3339(1_700_000_000_000_000_000), "2023-11-14T22:13:20Z");
        assert_eq!(
            rfc3339(1_700_000_000_120_841_900),
            "2023-11-14T22:13:20.1208419Z"
        );
    }

    #[test]
    fn words() {
        const S: i64 = 1_000_000_000;
        for (ns, text) in [
            (S / 2, "Less than a second"),
            (S, "1 second"),
            (59 * S, "59 seconds"),
            (60 * S, "About a minute"),
            (119 * S, "About a minute"),
            (120 * S, "2 minutes"),
            (3599 * S, "59 minutes"),
            (3600 * S, "About an hour"),
            (3600 * S * 47, "47 hours"),
            (3600 * S * 48, "2 days"),
            (86400 * S * 13, "13 days"),
            (86400 * S * 14, "2 weeks"),
            (86400 * S * 60, "2 months"),
            (86400 * S * 730, "2 years"),
        ] {
            assert_eq!(human(ns), text, "{ns}");
        }
    }
}
