//! Fields of the native protocol: their names and their bytes.

/// Appends a field. A value with a newline is written with its length, any other behind `=`.
pub(super) fn put(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    out.extend_from_slice(name.as_bytes());
    if value.contains(&b'\n') {
        out.push(b'\n');
        out.extend_from_slice(&(value.len() as u64).to_le_bytes());
    } else {
        out.push(b'=');
    }
    out.extend_from_slice(value);
    out.push(b'\n');
}

/// Appends a field with a number.
pub(super) fn put_number(out: &mut Vec<u8>, name: &str, value: u64) {
    let mut digits = [0_u8; 20];
    let mut at = digits.len();
    let mut rest = value;
    loop {
        at -= 1;
        digits[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    put(out, name, &digits[at..]);
}

/// A label's or variable's name as a field's, as Docker does: `a`-`z` in capitals, `A`-`Z` and `0`-`9` kept, anything else `_`,
/// none at the beginning.
pub(super) fn sanitised(name: &str) -> String {
    let name: String = name
        .chars()
        .map(|c| match c {
            'a'..='z' => c.to_ascii_uppercase(),
            'A'..='Z' | '0'..='9' => c,
            _ => '_',
        })
        .collect();
    name.trim_start_matches('_').to_owned()
}

/// Appends `SYSLOG_TIMESTAMP`: RFC 3339 in UTC, nanoseconds without zeros at their end.
pub(super) fn put_time(out: &mut Vec<u8>, time_ns: i64) {
    let seconds = time_ns.div_euclid(1_000_000_000);
    let mut nanos = time_ns.rem_euclid(1_000_000_000);
    let (year, month, day) = date(seconds.div_euclid(86_400));
    let second = seconds.rem_euclid(86_400);
    out.extend_from_slice(b"SYSLOG_TIMESTAMP=");
    padded(out, year, 4);
    for (before, value) in [(b'-', month), (b'-', day), (b'T', second / 3600)] {
        out.push(before);
        padded(out, value, 2);
    }
    for value in [second / 60 % 60, second % 60] {
        out.push(b':');
        padded(out, value, 2);
    }
    if nanos != 0 {
        let mut width = 9;
        while nanos % 10 == 0 {
            nanos /= 10;
            width -= 1;
        }
        out.push(b'.');
        padded(out, nanos, width);
    }
    out.extend_from_slice(b"Z\n");
}

fn padded(out: &mut Vec<u8>, value: i64, width: u32) {
    for place in (0..width).rev() {
        out.push(b'0' + (value / 10_i64.pow(place) % 10) as u8);
    }
}

/// Year, month, day of a day counted from 1970-01-01 in the Gregorian calendar. Counted in eras of 400 years that begin in March, so
/// that the leap day is a year's last.
fn date(days: i64) -> (i64, i64, i64) {
    let from_march_0 = days + 719_468;
    let era = from_march_0.div_euclid(146_097);
    let day_of_era = from_march_0.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 {
        shifted + 3
    } else {
        shifted - 9
    };
    (era * 400 + year_of_era + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_forms() {
        let mut out = Vec::new();
        put(&mut out, "MESSAGE", b"a\nb");
        assert_eq!(out, b"MESSAGE\n\x03\0\0\0\0\0\0\0a\nb\n");
        out.clear();
        put(&mut out, "MESSAGE", b"nul\0=\xff");
        put_number(&mut out, "N", 0);
        put_number(&mut out, "N", u64::MAX);
        assert_eq!(out, b"MESSAGE=nul\0=\xff\nN=0\nN=18446744073709551615\n");
    }

    #[test]
    fn names() {
        for (name, field) in [
            ("io.kubernetes.pod.name", "IO_KUBERNETES_POD_NAME"),
            ("_x?y", "X_Y"),
            ("\u{e9}a", "A"),
            ("a\u{e9}", "A_"),
            ("__", ""),
        ] {
            assert_eq!(sanitised(name), field);
        }
    }

    #[test]
    fn times() {
        for (time, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (1_700_000_000_123_456_789, "2023-11-14T22:13:20.123456789Z"),
            (1_709_164_800_500_000_000, "2024-02-29T00:00:00.5Z"),
            (1_735_689_599_000_001_000, "2024-12-31T23:59:59.000001Z"),
            (951_782_400_000_000_000, "2000-02-29T00:00:00Z"),
            (-1, "1969-12-31T23:59:59.999999999Z"),
        ] {
            let mut out = Vec::new();
            put_time(&mut out, time);
            assert_eq!(
                String::from_utf8(out).unwrap(),
                format!("SYSLOG_TIMESTAMP={text}\n")
            );
        }
    }
}
