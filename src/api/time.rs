//! Times in queries: Unix seconds with an optional fraction (`since=1700000000.123456789`).

use crate::errors::ApiError;

/// Parses a time into nanoseconds since 1970; `None` for an empty value or 0.
///
/// # Errors
/// 400 with Docker's text, which names the query key.
pub(crate) fn parse(key: &str, text: &str) -> Result<Option<i64>, ApiError> {
    if text.is_empty() {
        return Ok(None);
    }
    let bad = |reason: String| {
        ApiError::invalid(format!(
            "invalid value for \"{key}\": invalid timestamp \"{text}\": {reason}"
        ))
    };
    let (seconds, fraction) = text.split_once('.').unwrap_or((text, ""));
    let whole: i64 = seconds.parse().map_err(|error: std::num::ParseIntError| {
        let reason = match error.kind() {
            std::num::IntErrorKind::PosOverflow | std::num::IntErrorKind::NegOverflow => {
                "value out of range"
            }
            _ => "invalid syntax",
        };
        bad(format!("invalid seconds \"{seconds}\": {reason}"))
    })?;
    let nanos =
        nanoseconds(fraction).map_err(|reason| bad(format!("invalid nanoseconds: {reason}")))?;
    let total = i128::from(whole) * 1_000_000_000 + i128::from(nanos);
    if total == 0 {
        return Ok(None);
    }
    // Beyond the years that 64 bits of nanoseconds reach, every record is before or after.
    let clamped = total.clamp(i128::from(i64::MIN), i128::from(i64::MAX));
    Ok(Some(i64::try_from(clamped).unwrap_or(i64::MAX)))
}

/// Parses what filters such as `until` may be given: a time as in [`parse`], a date, or a span back
/// from now (docs: Engine API, `filters` of the prunes).
///
/// # Errors
/// 400 with Docker's text.
pub(crate) fn moment(key: &str, text: &str) -> Result<Option<i64>, ApiError> {
    let zone = jiff::tz::TimeZone::system();
    let seconds = crate::cli::times::since(text, jiff::Timestamp::now(), &zone)
        .map_err(|error| ApiError::invalid(format!("invalid value for \"{key}\": {error}")))?;
    parse(key, &seconds)
}

/// Up to 20 digits, padded or cut to nine.
fn nanoseconds(digits: &str) -> Result<i64, String> {
    if digits.len() > 20 {
        return Err(format!("length {} exceeds maximum 20", digits.len()));
    }
    if let Some((at, wrong)) = digits.char_indices().find(|(_, c)| !c.is_ascii_digit()) {
        return Err(format!("invalid character '{wrong}' at position {at}"));
    }
    Ok(digits
        .bytes()
        .chain(std::iter::repeat(b'0'))
        .take(9)
        .fold(0, |sum, digit| sum * 10 + i64::from(digit - b'0')))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments() {
        let hour = moment("until", "1h").unwrap().unwrap();
        let second = moment("until", "1s").unwrap().unwrap();
        assert!((3_598_000_000_000..=3_600_000_000_000).contains(&(second - hour)));
        assert_eq!(
            moment("until", "2023-11-14T22:13:20Z").unwrap(),
            Some(1_700_000_000_000_000_000)
        );
        assert_eq!(
            moment("until", "1700000000.5").unwrap(),
            Some(1_700_000_000_500_000_000)
        );
        assert_eq!(
            moment("until", "soon").unwrap_err().message,
            "invalid value for \"until\": failed to parse value as time or duration: \"soon\""
        );
    }

    #[test]
    fn values() {
        assert_eq!(parse("since", "").unwrap(), None);
        assert_eq!(parse("until", "0").unwrap(), None);
        assert_eq!(parse("until", "0.000000000").unwrap(), None);
        assert_eq!(
            parse("since", "1700000000").unwrap(),
            Some(1_700_000_000_000_000_000)
        );
        assert_eq!(
            parse("since", "1700000000.").unwrap(),
            Some(1_700_000_000_000_000_000)
        );
        assert_eq!(
            parse("since", "1700000000.5").unwrap(),
            Some(1_700_000_000_500_000_000)
        );
        assert_eq!(
            parse("since", "1.00000000199").unwrap(),
            Some(1_000_000_001)
        );
        assert_eq!(parse("since", "-1").unwrap(), Some(-1_000_000_000));
        assert_eq!(
            parse("since", "9223372036854775807").unwrap(),
            Some(i64::MAX)
        );
    }

    #[test]
    fn errors_in_dockers_words() {
        for (text, reason) in [
            ("abc", "invalid seconds \"abc\": invalid syntax"),
            (
                "1.x",
                "invalid nanoseconds: invalid character 'x' at position 0",
            ),
            (
                "1.12y",
                "invalid nanoseconds: invalid character 'y' at position 2",
            ),
            (
                "1.123456789012345678901",
                "invalid nanoseconds: length 21 exceeds maximum 20",
            ),
            (
                "99999999999999999999",
                "invalid seconds \"99999999999999999999\": value out of range",
            ),
        ] {
            assert_eq!(
                parse("since", text).unwrap_err().message,
                format!("invalid value for \"since\": invalid timestamp \"{text}\": {reason}")
            );
        }
    }
}
