//! Go's durations: `90s`, `1h30m`, `1.5h`.

use std::time::Duration;

use crate::go::quote;

/// A duration that is not negative, with the texts of Go's `time.ParseDuration`.
///
/// # Errors
/// What is wrong with it, in Go's words; a negative one in ours.
pub(crate) fn parse_duration(text: &str) -> Result<Duration, String> {
    let invalid = || format!("time: invalid duration {}", quote(text));
    let mut rest = text.strip_prefix('+').unwrap_or(text);
    if rest.starts_with('-') {
        return Err(format!("{text} is negative"));
    }
    if rest == "0" {
        return Ok(Duration::ZERO);
    }
    if rest.is_empty() {
        return Err(invalid());
    }
    let mut sum = 0f64;
    while !rest.is_empty() {
        let digits = rest
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .unwrap_or(rest.len());
        let (number, after) = rest.split_at(digits);
        let value: f64 = number.parse().map_err(|_| invalid())?;
        let unit = after
            .find(|c: char| c.is_ascii_digit() || c == '.')
            .unwrap_or(after.len());
        let (unit, after) = after.split_at(unit);
        let seconds = match unit {
            "" => return Err(format!("time: missing unit in duration {}", quote(text))),
            "ns" => 1e-9,
            "us" | "\u{b5}s" | "\u{3bc}s" => 1e-6,
            "ms" => 1e-3,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            _ => {
                return Err(format!(
                    "time: unknown unit {} in duration {}",
                    quote(unit),
                    quote(text)
                ));
            }
        };
        sum += value * seconds;
        rest = after;
    }
    // Go's int64 nanoseconds.
    if sum > 9_223_372_036.0 {
        return Err(invalid());
    }
    Duration::try_from_secs_f64(sum).map_err(|_| invalid())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_in_go() {
        let ms = |text: &str| parse_duration(text).map(|d| d.as_millis());
        assert_eq!(ms("1h2m3.5s"), Ok(3_723_500));
        assert_eq!(ms("0"), Ok(0));
        assert_eq!(ms("250ms"), Ok(250));
        assert_eq!(
            ms("10").unwrap_err(),
            "time: missing unit in duration \"10\""
        );
        assert_eq!(ms("x").unwrap_err(), "time: invalid duration \"x\"");
        assert_eq!(ms("").unwrap_err(), "time: invalid duration \"\"");
        assert_eq!(
            ms("1d").unwrap_err(),
            "time: unknown unit \"d\" in duration \"1d\""
        );
        assert!(ms("-1s").is_err() && ms("1e300h").is_err() && ms("99999999999h").is_err());
    }
}
