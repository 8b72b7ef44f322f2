//! Docker's size grammar (`go-units`): a decimal number, an optional space, an optional unit.

use crate::error::OptionError;
use crate::go::quote;

/// Which multiple a unit letter stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Units {
    /// `k` = 1000 (`max-size`)
    Decimal,
    /// `k` = 1024 (`max-buffer-size`)
    Binary,
}

impl Units {
    fn multiple(self, letter: u8) -> Option<f64> {
        let power = match letter {
            b'k' => 1,
            b'm' => 2,
            b'g' => 3,
            b't' => 4,
            b'p' => 5,
            _ => return None,
        };
        let base: f64 = match self {
            Self::Decimal => 1000.0,
            Self::Binary => 1024.0,
        };
        Some(base.powi(power))
    }
}

/// Bytes meant by `text`: number (a fraction is allowed), optional single space, optional `b` or `k m g t p` with an optional `b` or
/// `ib`, in any case. The letter decides, `ib` changes nothing. A fraction of a byte is cut off.
///
/// # Errors
/// Docker's texts: `invalid size: '<v>'` (no digit, negative), `invalid suffix: '<s>'`,
/// `strconv.ParseFloat: parsing "<n>": invalid syntax`.
pub fn parse_size(text: &str, units: Units) -> Result<u64, OptionError> {
    let invalid_size = || OptionError::InvalidSize {
        value: text.to_owned(),
    };
    let last = text
        .rfind(|c: char| c.is_ascii_digit() || c == '.' || c == ' ')
        .ok_or_else(invalid_size)?;
    // The separator is one ASCII byte, so both cuts are at character borders.
    let suffix = &text[last + 1..];
    let number = if text.as_bytes()[last] == b' ' {
        &text[..last]
    } else {
        &text[..=last]
    };
    let bad_number = |why| OptionError::InvalidNumber {
        text: format!("strconv.ParseFloat: parsing {}: {why}", quote(number)),
    };
    // Rust also reads "inf" and "nan"; Go's "inf" can not come here because a number ends with a digit, a dot or a space.
    if !number
        .bytes()
        .all(|b| b.is_ascii_digit() || matches!(b, b'.' | b'+' | b'-' | b'e' | b'E'))
    {
        return Err(bad_number("invalid syntax"));
    }
    let value: f64 = number.parse().map_err(|_| bad_number("invalid syntax"))?;
    if value < 0.0 {
        return Err(invalid_size());
    }
    let lower = suffix.to_lowercase();
    let bad_suffix = || OptionError::InvalidSuffix {
        suffix: if suffix.len() > 3 {
            suffix.to_owned()
        } else {
            lower.clone()
        },
    };
    let multiple = match lower.as_bytes() {
        [] | [b'b'] => 1.0,
        [letter] | [letter, b'b'] | [letter, b'i', b'b'] => {
            units.multiple(*letter).ok_or_else(bad_suffix)?
        }
        _ => return Err(bad_suffix()),
    };
    let bytes = value * multiple;
    // 2^63: what Docker's int64 can hold.
    if !bytes.is_finite() || bytes >= 9_223_372_036_854_775_808.0 {
        return Err(bad_number("value out of range"));
    }
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "checked above; the fraction is meant to go"
    )]
    Ok(bytes as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn decimal(text: &str) -> Result<u64, String> {
        parse_size(text, Units::Decimal).map_err(|error| error.to_string())
    }

    #[test]
    fn sizes() {
        for (text, bytes) in [
            ("0", 0),
            ("10", 10),
            ("10b", 10),
            ("10B", 10),
            ("10m", 10_000_000),
            ("10mb", 10_000_000),
            ("10MiB", 10_000_000),
            ("10 m", 10_000_000),
            ("1.5k", 1500),
            ("0.0015k", 1),
            (".5k", 500),
            ("2g", 2_000_000_000),
            ("1t", 1_000_000_000_000),
            ("1p", 1_000_000_000_000_000),
            ("5 ", 5),
        ] {
            assert_eq!(decimal(text), Ok(bytes), "{text:?}");
        }
        assert_eq!(parse_size("4m", Units::Binary).unwrap(), 4_194_304);
    }

    #[test]
    fn errors_have_dockers_texts() {
        for (text, error) in [
            ("", "invalid size: ''"),
            ("x", "invalid size: 'x'"),
            ("-1", "invalid size: '-1'"),
            ("1q", "invalid suffix: 'q'"),
            ("1Q", "invalid suffix: 'q'"),
            ("1bb", "invalid suffix: 'bb'"),
            ("1kx", "invalid suffix: 'kx'"),
            ("1kibs", "invalid suffix: 'kibs'"),
            (
                "1..2",
                "strconv.ParseFloat: parsing \"1..2\": invalid syntax",
            ),
            ("1  m", "strconv.ParseFloat: parsing \"1 \": invalid syntax"),
            (
                "99999p",
                "strconv.ParseFloat: parsing \"99999\": value out of range",
            ),
        ] {
            assert_eq!(decimal(text), Err(error.to_owned()), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn never_panics(text in "\\PC{0,12}") {
            let _ = parse_size(&text, Units::Decimal);
            let _ = parse_size(&text, Units::Binary);
        }

        #[test]
        fn whole_numbers_are_exact(n in 0u64..1_000_000, unit in 0usize..6) {
            let units = ["", "k", "m", "g", "Kb", "MiB"];
            let factor = [1, 1000, 1_000_000, 1_000_000_000, 1000, 1_000_000][unit];
            prop_assert_eq!(decimal(&format!("{n}{}", units[unit])), Ok(n * factor));
        }
    }
}
