//! RFC 3339 times with nanoseconds, as Docker's json-file writes them: UTC, trailing zeros of the
//! fraction left out. Made once a batch and then counted up in place, a nanosecond a record.

const NANOS: u64 = 1_000_000_000;

/// The text of one moment.
#[derive(Clone, Debug)]
pub struct TimeText {
    /// `YYYY-MM-DDTHH:MM:SS.nnnnnnnnn`
    text: [u8; 29],
    ns: u64,
}

impl TimeText {
    /// `ns`: nanoseconds since 1970, up to the year 9999.
    #[must_use]
    pub fn new(ns: u64) -> Self {
        let mut this = Self {
            text: *b"0000-00-00T00:00:00.000000000",
            ns,
        };
        this.set(ns);
        this
    }

    fn put(&mut self, at: usize, width: usize, mut value: u64) {
        for i in (at..at + width).rev() {
            self.text[i] = b'0' + (value % 10) as u8;
            value /= 10;
        }
    }

    /// Sets another moment.
    pub fn set(&mut self, ns: u64) {
        self.ns = ns;
        let secs = ns / NANOS;
        let (year, month, day) = civil(secs / 86_400);
        let of_day = secs % 86_400;
        self.put(0, 4, year);
        self.put(5, 2, month);
        self.put(8, 2, day);
        self.put(11, 2, of_day / 3600);
        self.put(14, 2, of_day / 60 % 60);
        self.put(17, 2, of_day % 60);
        self.put(20, 9, ns % NANOS);
    }

    /// Nanoseconds since 1970.
    #[must_use]
    pub fn ns(&self) -> u64 {
        self.ns
    }

    /// One nanosecond later.
    #[inline]
    pub fn tick(&mut self) {
        self.ns += 1;
        for i in (20..29).rev() {
            if self.text[i] != b'9' {
                self.text[i] += 1;
                return;
            }
            self.text[i] = b'0';
        }
        // The fraction ran over: the seconds change.
        self.set(self.ns);
    }

    /// The whole text with nine digits and no `Z`.
    #[must_use]
    #[inline]
    pub fn fixed(&self) -> &[u8; 29] {
        &self.text
    }

    /// Length of the text without trailing zeros of the fraction (and without `.` when it is
    /// zero). The `Z` comes after it.
    #[must_use]
    #[inline]
    pub fn trimmed_len(&self) -> usize {
        let mut n = 29;
        while n > 20 && self.text[n - 1] == b'0' {
            n -= 1;
        }
        if n == 20 { 19 } else { n }
    }
}

/// Days since 1970 to year, month, day (Howard Hinnant's algorithm for the proleptic Gregorian
/// calendar, unsigned part).
fn civil(days: u64) -> (u64, u64, u64) {
    let z = days + 719_468;
    let era = z / 146_097;
    let doe = z % 146_097;
    let yoe = (doe - doe / 1460 + doe / 36_524 - doe / 146_096) / 365;
    let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    let mp = (5 * doy + 2) / 153;
    let day = doy - (153 * mp + 2) / 5 + 1;
    let month = if mp < 10 { mp + 3 } else { mp - 9 };
    (yoe + era * 400 + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(ns: u64) -> String {
        let t = TimeText::new(ns);
        String::from_utf8(t.fixed()[..t.trimmed_len()].to_vec()).unwrap()
    }

    #[test]
    fn known_moments() {
        assert_eq!(text(0), "1970-01-01T00:00:00");
        assert_eq!(
            text(1_700_000_000_123_456_789),
            "2023-11-14T22:13:20.123456789"
        );
        assert_eq!(text(1_700_000_000_120_000_000), "2023-11-14T22:13:20.12");
        assert_eq!(text(951_782_400 * NANOS), "2000-02-29T00:00:00");
        assert_eq!(text(4_107_542_400 * NANOS), "2100-03-01T00:00:00");
        assert_eq!(
            text(1_735_689_599 * NANOS + 1),
            "2024-12-31T23:59:59.000000001"
        );
    }

    #[test]
    fn ticking_equals_setting() {
        for start in [1_699_999_999_999_999_000u64, 1_735_689_599_999_999_900, 5] {
            let mut t = TimeText::new(start);
            for i in 0..3000 {
                assert_eq!(t.fixed(), TimeText::new(start + i).fixed());
                assert_eq!(t.ns(), start + i);
                t.tick();
            }
        }
    }
}
