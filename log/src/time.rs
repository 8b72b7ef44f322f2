//! RFC 3339 times as they stand in logs.

/// A point in time: seconds since 1970 and nanoseconds. Wider than nanoseconds in 64 bits, because
/// a record without a time has Go's zero time, the year 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment {
    pub secs: i64,
    pub nanos: u32,
}

const NANOS: i64 = 1_000_000_000;

impl Moment {
    /// 0001-01-01T00:00:00Z, Go's zero time.
    pub const ZERO: Self = Self {
        secs: -62_135_596_800,
        nanos: 0,
    };

    /// From nanoseconds since 1970.
    #[must_use]
    pub const fn from_ns(ns: i64) -> Self {
        Self {
            secs: ns.div_euclid(NANOS),
            nanos: ns.rem_euclid(NANOS) as u32,
        }
    }

    /// Nanoseconds since 1970; saturates outside the years 1677 to 2262.
    #[must_use]
    pub const fn ns(self) -> i64 {
        let ns = self.secs as i128 * NANOS as i128 + self.nanos as i128;
        if ns < i64::MIN as i128 {
            i64::MIN
        } else if ns > i64::MAX as i128 {
            i64::MAX
        } else {
            ns as i64
        }
    }

    /// Parses any RFC 3339 time: with a fraction of any length (digits past the ninth are cut) and
    /// any offset.
    #[must_use]
    pub fn parse(text: &[u8]) -> Option<Self> {
        let secs = civil_secs(text.first_chunk()?)?;
        let mut rest = &text[19..];
        let mut nanos = 0;
        if let Some(fraction) = rest.strip_prefix(b".") {
            let digits = fraction.iter().take_while(|b| b.is_ascii_digit()).count();
            nanos = fraction_nanos(&fraction[..digits.min(9)])?;
            rest = &fraction[digits..];
        }
        let offset = match *rest {
            [b'Z'] => 0,
            [sign @ (b'+' | b'-'), h1, h2, b':', m1, m2] => {
                let (hours, minutes) = (two(h1, h2)?, two(m1, m2)?);
                if hours > 23 || minutes > 59 {
                    return None;
                }
                let offset = i64::from(hours * 3600 + minutes * 60);
                if sign == b'+' { offset } else { -offset }
            }
            _ => return None,
        };
        Some(Self {
            secs: secs - offset,
            nanos,
        })
    }

    /// Appends the time with nine digits and `Z`, as `docker logs --timestamps` has it.
    pub fn write(self, out: &mut Vec<u8>) {
        let (year, month, day) = civil(self.secs.div_euclid(86_400));
        let of_day = self.secs.rem_euclid(86_400);
        let mut text = *b"0000-00-00T00:00:00.000000000Z";
        put(&mut text[0..4], year.clamp(0, 9999) as u32);
        put(&mut text[5..7], month as u32);
        put(&mut text[8..10], day as u32);
        put(&mut text[11..13], (of_day / 3600) as u32);
        put(&mut text[14..16], (of_day / 60 % 60) as u32);
        put(&mut text[17..19], (of_day % 60) as u32);
        put(&mut text[20..29], self.nanos);
        out.extend_from_slice(&text);
    }
}

/// Parses Docker's own form (UTC, at most nine digits). Neighbouring records share their second,
/// so the date is worked out only when it changes.
#[derive(Debug)]
pub(crate) struct TimeParser {
    text: [u8; 19],
    secs: i64,
}

impl TimeParser {
    pub(crate) const fn new() -> Self {
        Self {
            text: *b"1970-01-01T00:00:00",
            secs: 0,
        }
    }

    #[inline]
    pub(crate) fn parse(&mut self, text: &[u8]) -> Option<Moment> {
        let (head, rest) = text.split_first_chunk::<19>()?;
        if *head != self.text {
            self.secs = civil_secs(head)?;
            self.text = *head;
        }
        let nanos = match rest {
            b"Z" => 0,
            [b'.', digits @ .., b'Z'] => fraction_nanos(digits)?,
            _ => return None,
        };
        Some(Moment {
            secs: self.secs,
            nanos,
        })
    }
}

/// Writes times; neighbouring records share their second.
#[derive(Debug)]
pub(crate) struct TimeText {
    secs: i64,
    text: [u8; 30],
}

impl TimeText {
    pub(crate) fn new() -> Self {
        Self {
            secs: 0,
            text: *b"1970-01-01T00:00:00.000000000Z",
        }
    }

    #[inline]
    pub(crate) fn write(&mut self, time: Moment, out: &mut Vec<u8>) {
        if time.secs != self.secs {
            let mut text = Vec::with_capacity(30);
            time.write(&mut text);
            self.text.copy_from_slice(&text);
            self.secs = time.secs;
        }
        put(&mut self.text[20..29], time.nanos);
        out.extend_from_slice(&self.text);
    }
}

/// Appends a time that [`TimeParser::parse`] has accepted, with nine digits.
#[inline]
pub(crate) fn write_docker(text: &[u8], out: &mut Vec<u8>) {
    if text.len() == 30 {
        out.extend_from_slice(text);
        return;
    }
    let mut fixed = *b"0000-00-00T00:00:00.000000000Z";
    let n = text.len() - 1;
    fixed[..n].copy_from_slice(&text[..n]);
    out.extend_from_slice(&fixed);
}

#[inline]
fn fraction_nanos(digits: &[u8]) -> Option<u32> {
    if digits.is_empty() || digits.len() > 9 {
        return None;
    }
    let mut value = 0u32;
    for d in digits {
        let d = d.wrapping_sub(b'0');
        if d > 9 {
            return None;
        }
        value = value * 10 + u32::from(d);
    }
    for _ in digits.len()..9 {
        value *= 10;
    }
    Some(value)
}

fn two(a: u8, b: u8) -> Option<u32> {
    (a.is_ascii_digit() && b.is_ascii_digit())
        .then(|| u32::from(a - b'0') * 10 + u32::from(b - b'0'))
}

fn civil_secs(t: &[u8; 19]) -> Option<i64> {
    if t[4] != b'-' || t[7] != b'-' || t[10] != b'T' || t[13] != b':' || t[16] != b':' {
        return None;
    }
    let year = two(t[0], t[1])? * 100 + two(t[2], t[3])?;
    let (month, day) = (two(t[5], t[6])?, two(t[8], t[9])?);
    let (hour, minute, second) = (two(t[11], t[12])?, two(t[14], t[15])?, two(t[17], t[18])?);
    let leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let days_in_month = match month {
        1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
        4 | 6 | 9 | 11 => 30,
        2 if leap => 29,
        2 => 28,
        _ => return None,
    };
    if day == 0 || day > days_in_month || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    // Days since 1970 after Howard Hinnant's "chrono-compatible low-level date algorithms".
    let y = i64::from(year) - i64::from(month <= 2);
    let era = y.div_euclid(400);
    let yoe = y.rem_euclid(400);
    let mp = (i64::from(month) + 9) % 12;
    let doy = (153 * mp + 2) / 5 + i64::from(day) - 1;
    let doe = yoe * 365 + yoe / 4 - yoe / 100 + doy;
    let days = era * 146_097 + doe - 719_468;
    Some(days * 86_400 + i64::from(hour * 3600 + minute * 60 + second))
}

fn civil(days: i64) -> (i64, i64, i64) {
    let z = days + 719_468;
    let era = z.div_euclid(146_097);
    let doe = z.rem_euclid(146_097);
    let yoe = (doe - doe / 1460 + doe / 36_524 - doe / 146_096) / 365;
    let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    let mp = (5 * doy + 2) / 153;
    let day = doy - (153 * mp + 2) / 5 + 1;
    let month = if mp < 10 { mp + 3 } else { mp - 9 };
    (yoe + era * 400 + i64::from(month <= 2), month, day)
}

fn put(at: &mut [u8], mut value: u32) {
    for b in at.iter_mut().rev() {
        *b = b'0' + (value % 10) as u8;
        value /= 10;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn text(m: Moment) -> String {
        let mut out = Vec::new();
        m.write(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn known_moments() {
        assert_eq!(text(Moment::from_ns(0)), "1970-01-01T00:00:00.000000000Z");
        assert_eq!(
            text(Moment::from_ns(1_700_000_000_123_456_789)),
            "2023-11-14T22:13:20.123456789Z"
        );
        assert_eq!(text(Moment::from_ns(-1)), "1969-12-31T23:59:59.999999999Z");
        assert_eq!(text(Moment::ZERO), "0001-01-01T00:00:00.000000000Z");
        assert_eq!(Moment::parse(b"0001-01-01T00:00:00Z"), Some(Moment::ZERO));
        assert_eq!(
            Moment::parse(b"2023-11-14T23:13:20.1234567899+01:00"),
            Some(Moment::from_ns(1_700_000_000_123_456_789))
        );
        assert_eq!(
            Moment::parse(b"2024-02-29T00:00:00Z").map(|m| m.secs),
            Some(1_709_164_800)
        );
    }

    #[test]
    fn refused() {
        for bad in [
            "",
            "2023-11-14T22:13:20",
            "2023-11-14 22:13:20Z",
            "2023-02-29T00:00:00Z",
            "2023-13-01T00:00:00Z",
            "2023-00-01T00:00:00Z",
            "2023-01-00T00:00:00Z",
            "2023-01-01T24:00:00Z",
            "2023-01-01T00:60:00Z",
            "2023-01-01T00:00:60Z",
            "2023-01-01T00:00:00.Z",
            "2023-01-01T00:00:00.1xZ",
            "2023-01-01T00:00:00+0100",
            "2023-01-01T00:00:00+24:00",
            "2\u{661}23-01-01T00:00:00Z",
            "2023-01-01T00:00:00ZZ",
        ] {
            assert_eq!(Moment::parse(bad.as_bytes()), None, "{bad}");
            assert_eq!(TimeParser::new().parse(bad.as_bytes()), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn round_trip(ns in any::<i64>()) {
            let m = Moment::from_ns(ns);
            prop_assert_eq!(m.ns(), ns);
            let text = text(m);
            prop_assert_eq!(Moment::parse(text.as_bytes()), Some(m));
            // Docker's form: no trailing zeros in the fraction.
            let short = text.trim_end_matches('Z').trim_end_matches('0').trim_end_matches('.');
            let short = if short.len() < 19 { &text[..19] } else { short };
            let short = format!("{short}Z");
            prop_assert_eq!(TimeParser::new().parse(short.as_bytes()), Some(m));
            let mut out = Vec::new();
            write_docker(short.as_bytes(), &mut out);
            prop_assert_eq!(String::from_utf8(out).unwrap(), text);
        }
    }
}
