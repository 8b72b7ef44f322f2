//! Sizes and spans of time as Docker writes and reads them (source: docker/go-units).

/// What is wrong with a size.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SizeError {
    #[error("invalid size: '{0}'")]
    Size(String),
    #[error("invalid suffix: '{0}'")]
    Suffix(String),
}

/// `About an hour`, `3 weeks`: `seconds` as `units.HumanDuration` says it.
pub(crate) fn human_duration(seconds: i64) -> String {
    match seconds {
        ..1 => "Less than a second".into(),
        1 => "1 second".into(),
        2..60 => format!("{seconds} seconds"),
        60..120 => "About a minute".into(),
        120..3600 => format!("{} minutes", seconds / 60),
        _ => {
            // Rounded, as Docker does from here on.
            let hours = (seconds + 1800) / 3600;
            match hours {
                1 => "About an hour".into(),
                2..48 => format!("{hours} hours"),
                48..336 => format!("{} days", hours / 24),
                336..1440 => format!("{} weeks", hours / 24 / 7),
                1440..17520 => format!("{} months", hours / 24 / 30),
                _ => format!("{} years", seconds / 3600 / 24 / 365),
            }
        }
    }
}

/// `1.23MB`: `bytes` with three significant digits and decimal units.
pub(crate) fn human_size(bytes: i64) -> String {
    scaled(bytes, 1000.0, &["B", "kB", "MB", "GB", "TB", "PB", "EB"], 3)
}

/// `1.235MB`: as [`human_size`], with four digits.
pub(crate) fn human_size_4(bytes: i64) -> String {
    scaled(bytes, 1000.0, &["B", "kB", "MB", "GB", "TB", "PB", "EB"], 4)
}

/// `1.953GiB`: `bytes` with four significant digits and binary units.
pub(crate) fn binary_size(bytes: i64) -> String {
    scaled(
        bytes,
        1024.0,
        &["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"],
        4,
    )
}

fn scaled(bytes: i64, base: f64, units: &[&str], digits: usize) -> String {
    // Sizes beyond 2^53 lose digits that are not shown anyway.
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= base && unit + 1 < units.len() {
        value /= base;
        unit += 1;
    }
    format!("{}{}", significant(value, digits), units[unit])
}

/// C's `%.*g` for what sizes need: 0 and numbers from 1 to 1023.
fn significant(value: f64, digits: usize) -> String {
    let exponent = format!("{value:.*e}", digits - 1);
    let power: i32 = exponent
        .split_once('e')
        .and_then(|(_, p)| p.parse().ok())
        .unwrap_or(0);
    let trim = |s: &str| {
        if s.contains('.') {
            s.trim_end_matches('0').trim_end_matches('.').to_owned()
        } else {
            s.to_owned()
        }
    };
    let digits = i32::try_from(digits).unwrap_or(i32::MAX);
    if power >= digits {
        let mantissa = exponent.split('e').next().unwrap_or("0");
        return format!("{}e+{power:02}", trim(mantissa));
    }
    let decimals = usize::try_from(digits - 1 - power).unwrap_or(0);
    trim(&format!("{value:.decimals$}"))
}

/// Reads `64m`, `1.5GiB`, `32MB`, `100`: binary units whatever they are called
/// (`units.RAMInBytes`).
///
/// # Errors
/// No number, or an unknown unit.
pub(crate) fn ram_in_bytes(text: &str) -> Result<i64, SizeError> {
    let bad = || SizeError::Size(text.to_owned());
    let end = text
        .rfind(|c: char| c.is_ascii_digit() || c == '.')
        .ok_or_else(bad)?
        + 1;
    let (number, suffix) = match text[end..].strip_prefix(' ') {
        Some(suffix) => (&text[..end], suffix),
        None => (&text[..end], &text[end..]),
    };
    let value: f64 = number.parse().map_err(|_| bad())?;
    if value < 0.0 {
        return Err(bad());
    }
    let lower = suffix.to_ascii_lowercase();
    let unknown = || SizeError::Suffix(suffix.to_owned());
    let mut letters = lower.chars();
    let factor: f64 = match letters.next() {
        None => return Ok(value as i64),
        Some('b') if lower.len() == 1 => return Ok(value as i64),
        Some('k') => 1024.0,
        Some('m') => 1024f64.powi(2),
        Some('g') => 1024f64.powi(3),
        Some('t') => 1024f64.powi(4),
        Some('p') => 1024f64.powi(5),
        Some(_) => return Err(unknown()),
    };
    if !matches!(letters.as_str(), "" | "b" | "ib") {
        return Err(unknown());
    }
    Ok((value * factor) as i64)
}

/// A count of CPUs such as `1.5` in billionths.
///
/// # Errors
/// Docker's texts for no number, and for more than nine decimals.
pub(crate) fn nano_cpus(text: &str) -> Result<i64, CpusError> {
    let bad = || CpusError::NoNumber(text.to_owned());
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let (negative, whole) = match whole.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, whole.strip_prefix('+').unwrap_or(whole)),
    };
    let digits = |s: &str| s.bytes().all(|b| b.is_ascii_digit());
    if (whole.is_empty() && fraction.is_empty()) || !digits(whole) || !digits(fraction) {
        return Err(bad());
    }
    let fraction = fraction.trim_end_matches('0');
    if fraction.len() > 9 {
        return Err(CpusError::TooPrecise);
    }
    let whole: i64 = if whole.is_empty() {
        0
    } else {
        whole.parse().map_err(|_| bad())?
    };
    let nanos: i64 = format!("{fraction:0<9}").parse().map_err(|_| bad())?;
    let value = whole
        .checked_mul(1_000_000_000)
        .and_then(|w| w.checked_add(nanos))
        .ok_or_else(bad)?;
    Ok(if negative { -value } else { value })
}

/// What is wrong with a count of CPUs.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum CpusError {
    #[error("failed to parse {0} as a rational number")]
    NoNumber(String),
    #[error("value is too precise")]
    TooPrecise,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_dockers() {
        for (seconds, text) in [
            (0, "Less than a second"),
            (1, "1 second"),
            (59, "59 seconds"),
            (60, "About a minute"),
            (119, "About a minute"),
            (120, "2 minutes"),
            (3599, "59 minutes"),
            (3600, "About an hour"),
            (5399, "About an hour"),
            (5400, "2 hours"),
            (47 * 3600, "47 hours"),
            (48 * 3600, "2 days"),
            (13 * 86400, "13 days"),
            (14 * 86400, "2 weeks"),
            (59 * 86400, "8 weeks"),
            (60 * 86400, "2 months"),
            (364 * 86400, "12 months"),
            (730 * 86400, "2 years"),
        ] {
            assert_eq!(human_duration(seconds), text, "{seconds}");
        }
    }

    #[test]
    fn sizes_are_dockers() {
        for (bytes, text) in [
            (0, "0B"),
            (999, "999B"),
            (1000, "1kB"),
            (1_234_567, "1.23MB"),
            (77_812_345, "77.8MB"),
            (999_900, "1e+03kB"),
            (120_000_000, "120MB"),
        ] {
            assert_eq!(human_size(bytes), text);
        }
        assert_eq!(binary_size(2_097_152_000), "1.953GiB");
        assert_eq!(binary_size(1023), "1023B");
    }

    #[test]
    fn sizes_are_read_with_binary_units() {
        for (text, bytes) in [
            ("32", 32),
            ("32b", 32),
            ("32kB", 32 << 10),
            ("1.5GiB", 3 << 29),
            ("0.5g", 1 << 29),
            ("64 m", 64 << 20),
            ("2t", 2 << 40),
        ] {
            assert_eq!(ram_in_bytes(text), Ok(bytes), "{text}");
        }
        assert_eq!(
            ram_in_bytes("abc").unwrap_err().to_string(),
            "invalid size: 'abc'"
        );
        assert_eq!(
            ram_in_bytes("1x").unwrap_err().to_string(),
            "invalid suffix: 'x'"
        );
        assert_eq!(
            ram_in_bytes("1kib2").unwrap_err(),
            SizeError::Size("1kib2".into())
        );
        assert!(ram_in_bytes("-1").is_err());
    }

    #[test]
    fn cpus_are_exact() {
        assert_eq!(nano_cpus("1.5"), Ok(1_500_000_000));
        assert_eq!(nano_cpus(".01"), Ok(10_000_000));
        assert_eq!(nano_cpus("2"), Ok(2_000_000_000));
        assert_eq!(nano_cpus("0.0000000001"), Err(CpusError::TooPrecise));
        assert_eq!(
            nano_cpus("x").unwrap_err().to_string(),
            "failed to parse x as a rational number"
        );
    }
}
