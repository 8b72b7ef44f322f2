//! Moments and spans: `--since`, Go durations, times in tables (source: Moby `api/types/time`).

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

/// A value of `--since` or `--until` that is no time.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum TimeError {
    #[error("failed to parse value as time or duration: {0:?}")]
    Unreadable(String),
}

/// A span that Go's `time.ParseDuration` refuses.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum DurationError {
    #[error("time: invalid duration {0:?}")]
    Invalid(String),
    #[error("time: missing unit in duration {0:?}")]
    MissingUnit(String),
    #[error("time: unknown unit {unit:?} in duration {text:?}")]
    UnknownUnit { unit: String, text: String },
}

/// Reads `1h2m3.5s`, `-5ms`, `0` in nanoseconds.
///
/// # Errors
/// Go's texts.
pub(crate) fn go_duration(text: &str) -> Result<i64, DurationError> {
    let invalid = || DurationError::Invalid(text.to_owned());
    let (negative, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Ok(0);
    }
    if rest.is_empty() {
        return Err(invalid());
    }
    let mut total: i128 = 0;
    while !rest.is_empty() {
        let number = rest
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .unwrap_or(rest.len());
        let (value, after) = rest.split_at(number);
        let (whole, fraction) = value.split_once('.').unwrap_or((value, ""));
        if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') {
            return Err(invalid());
        }
        let end = after
            .find(|c: char| c.is_ascii_digit() || c == '.')
            .unwrap_or(after.len());
        let (unit, next) = after.split_at(end);
        let factor: i128 = match unit {
            "" => return Err(DurationError::MissingUnit(text.to_owned())),
            "ns" => 1,
            "us" | "µs" | "μs" => 1_000,
            "ms" => 1_000_000,
            "s" => 1_000_000_000,
            "m" => 60_000_000_000,
            "h" => 3_600_000_000_000,
            _ => {
                return Err(DurationError::UnknownUnit {
                    unit: unit.to_owned(),
                    text: text.to_owned(),
                });
            }
        };
        let whole: i128 = match whole {
            "" => 0,
            w if w.len() > 19 => return Err(invalid()),
            w => w.parse().map_err(|_| invalid())?,
        };
        total += whole * factor;
        // Digits beyond the ninteenth are below a nanosecond for every unit.
        let fraction = &fraction[..fraction.len().min(19)];
        if !fraction.is_empty() {
            let digits: i128 = fraction.parse().map_err(|_| invalid())?;
            let scale = 10i128.pow(u32::try_from(fraction.len()).map_err(|_| invalid())?);
            total += digits * factor / scale;
        }
        rest = next;
    }
    let total = if negative { -total } else { total };
    i64::try_from(total).map_err(|_| invalid())
}

/// What to send for `--since`/`--until`: Unix seconds, with nine decimals where they are known.
/// Spans count back from `now`; dates without a zone are in `zone`.
///
/// # Errors
/// Neither a span, a date nor a stamp.
pub(crate) fn since(text: &str, now: Timestamp, zone: &TimeZone) -> Result<String, TimeError> {
    let bad = || TimeError::Unreadable(text.to_owned());
    if text != "0"
        && let Ok(nanos) = go_duration(text)
    {
        let then = now
            .checked_sub(SignedDuration::from_nanos(nanos))
            .map_err(|_| bad())?;
        return Ok(then.as_second().to_string());
    }
    if let Some(moment) = date(text, zone) {
        let (mut s, mut n) = (moment.as_second(), moment.subsec_nanosecond());
        if n < 0 {
            s -= 1;
            n += 1_000_000_000;
        }
        return Ok(format!("{s}.{n:09}"));
    }
    if text.contains('-') && !text.starts_with('-') {
        return Err(bad());
    }
    // A stamp is sent as it is written; the daemon has the last word on its fraction.
    let (seconds, fraction) = text.split_once('.').unwrap_or((text, "0"));
    seconds.parse::<i64>().map_err(|_| bad())?;
    if !fraction.bytes().all(|b| b.is_ascii_digit()) {
        return Err(bad());
    }
    Ok(text.to_owned())
}

/// RFC 3339 and its shorter forms: a date alone, hours, minutes, seconds, fraction; zone optional.
fn date(text: &str, zone: &TimeZone) -> Option<Timestamp> {
    let day = text.get(..10)?;
    if day.as_bytes()[4] != b'-' || day.as_bytes()[7] != b'-' {
        return None;
    }
    let rest = &text[10..];
    let (clock, offset) = match rest.strip_prefix('T') {
        None => ("", rest),
        Some(clock) => {
            let cut = clock.find(['Z', 'z', '+', '-']).unwrap_or(clock.len());
            clock.split_at(cut)
        }
    };
    let full = match clock.len() {
        0 => format!("{day}T00:00:00"),
        2 => format!("{day}T{clock}:00:00"),
        5 => format!("{day}T{clock}:00"),
        _ => format!("{day}T{clock}"),
    };
    let local: DateTime = full.parse().ok()?;
    match offset {
        "" => Some(
            zone.to_ambiguous_zoned(local)
                .compatible()
                .ok()?
                .timestamp(),
        ),
        _ => format!("{full}{offset}").parse().ok(),
    }
}

/// `2026-11-24 02:30:00 +0000 UTC`, as Go prints a time.
pub(crate) fn go_string(unix: i64) -> String {
    Timestamp::from_second(unix).map_or_else(
        |_| unix.to_string(),
        |t| {
            t.to_zoned(TimeZone::system())
                .strftime("%Y-%m-%d %H:%M:%S %z %Z")
                .to_string()
        },
    )
}

/// `2026-11-24T02:30:00Z`, local zone, whole seconds.
pub(crate) fn rfc3339(unix: i64) -> String {
    let text = nano_string(unix.saturating_mul(1_000_000_000));
    text.replacen(".000000000", "", 1)
}

/// `2026-11-24T02:30:00.000000001Z`, local zone, always nine decimals.
pub(crate) fn nano_string(unix_nanos: i64) -> String {
    Timestamp::from_nanosecond(i128::from(unix_nanos)).map_or_else(
        |_| unix_nanos.to_string(),
        |t| {
            let zoned = t.to_zoned(TimeZone::system());
            let zone = if zoned.offset().seconds() == 0 {
                "Z".to_owned()
            } else {
                zoned.strftime("%:z").to_string()
            };
            format!("{}{zone}", zoned.strftime("%Y-%m-%dT%H:%M:%S.%9f"))
        },
    )
}

/// `Thu May  7 21:09:36 2026`: an RFC 3339 time as Go's `time.ANSIC`; anything else unchanged.
pub(crate) fn ansi_c(rfc3339: &str) -> String {
    rfc3339.parse::<Timestamp>().map_or_else(
        |_| rfc3339.to_owned(),
        |t| {
            t.to_zoned(TimeZone::UTC)
                .strftime("%a %b %e %H:%M:%S %Y")
                .to_string()
        },
    )
}

/// Seconds since `unix`.
pub(crate) fn age(unix: i64) -> i64 {
    Timestamp::now().as_second() - unix
}

/// A time of the daemon's, RFC 3339, as Go prints it: `2026-11-26 22:15:49.38 +0000 UTC`.
pub(crate) fn go_string_of(rfc3339: &str) -> String {
    let Some((date, time)) = rfc3339.split_once('T') else {
        return rfc3339.to_owned();
    };
    match time.strip_suffix('Z') {
        Some(time) => format!("{date} {time} +0000 UTC"),
        // Go names a zone of numbers by its numbers.
        None => {
            let (time, zone) = time.split_at(time.find(['+', '-']).unwrap_or(time.len()));
            let zone = zone.replace(':', "");
            format!("{date} {time} {zone} {zone}")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn go_durations() {
        assert_eq!(go_duration("1h2m3.5s"), Ok(3_723_500_000_000));
        assert_eq!(go_duration("-1.5ms"), Ok(-1_500_000));
        assert_eq!(go_duration("100us"), Ok(100_000));
        assert_eq!(
            go_duration("5").unwrap_err().to_string(),
            "time: missing unit in duration \"5\""
        );
        assert_eq!(
            go_duration("5d").unwrap_err().to_string(),
            "time: unknown unit \"d\" in duration \"5d\""
        );
        assert!(go_duration("").is_err());
        assert!(go_duration("1..2s").is_err());
        assert!(go_duration("99999999999999999999h").is_err());
    }

    #[test]
    fn since_takes_spans_dates_and_stamps() {
        let now = Timestamp::from_second(1_700_000_000).unwrap();
        let utc = TimeZone::UTC;
        let east = TimeZone::fixed(jiff::tz::offset(2));
        let s = |t: &str| since(t, now, &utc).unwrap();
        assert_eq!(s("10m"), "1699999400");
        assert_eq!(s("1.5s"), "1699999998");
        assert_eq!(s("0"), "0");
        assert_eq!(s("1136073600.000000001"), "1136073600.000000001");
        assert_eq!(s("2006-01-02T15:04:05"), "1136214245.000000000");
        assert_eq!(s("2006-01-02T15:04:05.5Z"), "1136214245.500000000");
        assert_eq!(s("2006-01-02T15:04:05+02:00"), "1136207045.000000000");
        assert_eq!(s("2006-01-02T15:04"), "1136214240.000000000");
        assert_eq!(s("2006-01-02T15"), "1136214000.000000000");
        assert_eq!(s("2006-01-02"), "1136160000.000000000");
        assert_eq!(
            since("2006-01-02", now, &east).unwrap(),
            "1136152800.000000000"
        );
        for bad in ["abc", "2006-13-02", "1.x", "", "2006-01-02T15:04:05X"] {
            assert!(since(bad, now, &utc).is_err(), "{bad}");
        }
    }

    #[test]
    fn fixed_decimals() {
        assert_eq!(
            ansi_c("2026-05-07T21:09:36.000000000+00:00"),
            "Thu May  7 21:09:36 2026"
        );
        assert_eq!(ansi_c("unknown"), "unknown");
        assert!(nano_string(1_700_000_000_000_000_001).contains(".000000001"));
    }
}
