//! Numbers and names as text, in fixed buffers.

use crate::sys::CPath;

/// A name of at most 255 bytes that ends with NUL.
#[derive(Clone, Copy, Debug)]
pub struct Name {
    bytes: [u8; 256],
    len: usize,
}

impl Name {
    /// `parts` one after the other. What does not fit is left out, which makes a name that does
    /// not exist; callers check lengths where names come from outside.
    #[must_use]
    pub fn new(parts: &[&[u8]]) -> Self {
        let mut this = Self {
            bytes: [0; 256],
            len: 0,
        };
        for part in parts {
            this.push(part);
        }
        this
    }

    pub fn push(&mut self, part: &[u8]) {
        let n = part.len().min(255 - self.len);
        self.bytes[self.len..self.len + n].copy_from_slice(&part[..n]);
        self.len += n;
    }

    #[must_use]
    pub fn number(mut self, value: u64) -> Self {
        let mut buf = [0; 20];
        let n = decimal(value, &mut buf);
        self.push(&buf[..n]);
        self
    }

    #[must_use]
    pub fn path(&self) -> CPath<'_> {
        CPath::new(&self.bytes)
    }

    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

/// Writes `value` in decimal; returns the length.
pub fn decimal(mut value: u64, out: &mut [u8; 20]) -> usize {
    let mut digits = [0; 20];
    let mut n = 0;
    loop {
        digits[n] = b'0' + (value % 10) as u8;
        value /= 10;
        n += 1;
        if value == 0 {
            break;
        }
    }
    for i in 0..n {
        out[i] = digits[n - 1 - i];
    }
    n
}

/// The number at the start of `text`, if it begins with a digit.
#[must_use]
pub fn parse(text: &[u8]) -> Option<u64> {
    let mut value = 0u64;
    let mut any = false;
    for b in text {
        if !b.is_ascii_digit() {
            break;
        }
        value = value.checked_mul(10)?.checked_add(u64::from(b - b'0'))?;
        any = true;
    }
    any.then_some(value)
}

/// Field `n` (from 1, as in proc(5)) of `/proc/<pid>/stat`, whose second field may hold blanks.
#[must_use]
pub fn stat_field(stat: &[u8], n: usize) -> Option<&[u8]> {
    let after = stat.iter().rposition(|b| *b == b')')? + 2;
    stat.get(after..)?
        .split(|b| *b == b' ')
        .nth(n.checked_sub(3)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_fields() {
        for v in [0, 7, 10, 12345, u64::MAX] {
            let mut buf = [0; 20];
            let n = decimal(v, &mut buf);
            assert_eq!(std::str::from_utf8(&buf[..n]).unwrap(), v.to_string());
            assert_eq!(parse(&buf[..n]), Some(v));
        }
        assert_eq!(parse(b"x"), None);
        assert_eq!(parse(b"99999999999999999999"), None);
        let stat = b"12 (a b) c) S 1 2 3";
        assert_eq!(stat_field(stat, 3), Some(&b"S"[..]));
        assert_eq!(stat_field(stat, 4), Some(&b"1"[..]));
        assert_eq!(stat_field(stat, 40), None);
        assert_eq!(Name::new(&[b"a", b"."]).number(12).as_bytes(), b"a.12");
    }
}
