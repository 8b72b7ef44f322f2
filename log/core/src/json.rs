//! Docker's json-file encoding of one record, byte for byte (Moby `jsonfilelog/jsonlog`):
//!
//! ```text
//! {"log":"hello\n","stream":"stdout","attrs":{"k":"v"},"time":"2023-11-14T22:13:20.123456789Z"}
//! ```
//!
//! Escapes: `\\ \" \n \r`; other bytes below 0x20 and `< > &` as `\u00xx`; U+2028 and U+2029;
//! every byte of invalid UTF-8 as `\ufffd`. All else is copied.

use crate::time::TimeText;
use crate::utf8;

/// Room that one step of the encoder may need in the output buffer: sixteen escaped bytes, or the
/// end of a record without its attributes, whichever is more.
pub const SLACK: usize = 128;

/// Where encoded bytes go when the buffer is full.
pub trait Drain {
    type Error;
    /// Takes all of `bytes`.
    ///
    /// # Errors
    /// Whatever keeps the bytes from the log; the record in work is then incomplete.
    fn drain(&mut self, bytes: &[u8]) -> Result<(), Self::Error>;
}

/// The output buffer.
#[derive(Debug)]
pub struct Out<'b> {
    buf: &'b mut [u8],
    len: usize,
}

impl<'b> Out<'b> {
    /// `buf` needs at least twice [`SLACK`] bytes.
    pub fn new(buf: &'b mut [u8]) -> Self {
        assert!(buf.len() >= 2 * SLACK, "output buffer too small");
        Self { buf, len: 0 }
    }

    /// Bytes that wait in the buffer.
    #[must_use]
    pub fn pending(&self) -> usize {
        self.len
    }

    /// Hands over what waits.
    ///
    /// # Errors
    /// Those of `sink`.
    pub fn flush<D: Drain>(&mut self, sink: &mut D) -> Result<(), D::Error> {
        let len = core::mem::take(&mut self.len);
        if len > 0 {
            sink.drain(&self.buf[..len])?;
        }
        Ok(())
    }

    /// Makes room for [`SLACK`] bytes.
    #[inline]
    fn room<D: Drain>(&mut self, sink: &mut D) -> Result<(), D::Error> {
        if self.buf.len() - self.len < SLACK {
            self.flush(sink)?;
        }
        Ok(())
    }

    /// Appends up to [`SLACK`] bytes after [`Out::room`].
    #[inline]
    fn put(&mut self, bytes: &[u8]) {
        self.buf[self.len..self.len + bytes.len()].copy_from_slice(bytes);
        self.len += bytes.len();
    }

    fn put_long<D: Drain>(&mut self, mut bytes: &[u8], sink: &mut D) -> Result<(), D::Error> {
        while !bytes.is_empty() {
            self.room(sink)?;
            let n = bytes.len().min(SLACK);
            self.put(&bytes[..n]);
            bytes = &bytes[n..];
        }
        Ok(())
    }

    /// Copies bytes up to the first that needs care, whole chunks of 16 at a time. Returns how many
    /// were copied. Stops early when the buffer is short.
    #[inline]
    fn copy_plain(&mut self, bytes: &[u8]) -> usize {
        let mut done = 0;
        #[cfg(target_arch = "x86_64")]
        {
            use core::arch::x86_64::{
                __m128i, _mm_cmpeq_epi8, _mm_cmplt_epi8, _mm_loadu_si128, _mm_movemask_epi8,
                _mm_or_si128, _mm_set1_epi8, _mm_storeu_si128,
            };
            while bytes.len() - done >= 16 && self.buf.len() - self.len >= 16 {
                // SAFETY: SSE2 is part of x86_64; 16 bytes are readable at `done` and writable at
                // `len`, as the loop's condition says.
                let mask = unsafe {
                    let v = _mm_loadu_si128(bytes.as_ptr().add(done).cast::<__m128i>());
                    _mm_storeu_si128(self.buf.as_mut_ptr().add(self.len).cast::<__m128i>(), v);
                    // As signed bytes, everything from 0x80 up is below 0x20 too.
                    let low = _mm_cmplt_epi8(v, _mm_set1_epi8(0x20));
                    // '<' and '>' differ in bit 1, '"' and '&' in bit 2.
                    let angle =
                        _mm_cmpeq_epi8(_mm_or_si128(v, _mm_set1_epi8(2)), _mm_set1_epi8(0x3e));
                    let quote =
                        _mm_cmpeq_epi8(_mm_or_si128(v, _mm_set1_epi8(4)), _mm_set1_epi8(0x26));
                    let back = _mm_cmpeq_epi8(v, _mm_set1_epi8(0x5c));
                    _mm_movemask_epi8(_mm_or_si128(
                        _mm_or_si128(low, angle),
                        _mm_or_si128(quote, back),
                    ))
                };
                if mask != 0 {
                    let n = mask.trailing_zeros() as usize;
                    self.len += n;
                    return done + n;
                }
                self.len += 16;
                done += 16;
            }
        }
        while done < bytes.len() && self.len < self.buf.len() && PLAIN[usize::from(bytes[done])] {
            self.buf[self.len] = bytes[done];
            self.len += 1;
            done += 1;
        }
        done
    }

    /// Appends `bytes` escaped as the inside of a JSON string.
    ///
    /// # Errors
    /// Those of `sink`.
    #[inline]
    pub fn escaped<D: Drain>(&mut self, bytes: &[u8], sink: &mut D) -> Result<(), D::Error> {
        let mut at = 0;
        while at < bytes.len() {
            self.room(sink)?;
            let n = self.copy_plain(&bytes[at..]);
            at += n;
            if at == bytes.len() {
                break;
            }
            let b = bytes[at];
            if PLAIN[usize::from(b)] {
                // The buffer was short.
                continue;
            }
            self.room(sink)?;
            if b < 0x80 {
                self.escape_ascii(b);
                at += 1;
                continue;
            }
            match utf8::char_len(&bytes[at..]) {
                0 => {
                    self.put(br"\ufffd");
                    at += 1;
                }
                3 if b == 0xe2 && bytes[at + 1] == 0x80 && bytes[at + 2] & 0xfe == 0xa8 => {
                    self.put(if bytes[at + 2] == 0xa8 {
                        br"\u2028"
                    } else {
                        br"\u2029"
                    });
                    at += 3;
                }
                n => {
                    self.put(&bytes[at..at + n]);
                    at += n;
                }
            }
        }
        Ok(())
    }

    #[inline]
    fn escape_ascii(&mut self, b: u8) {
        match b {
            b'\\' => self.put(br"\\"),
            b'"' => self.put(br#"\""#),
            b'\n' => self.put(br"\n"),
            b'\r' => self.put(br"\r"),
            _ => {
                const HEX: &[u8; 16] = b"0123456789abcdef";
                let mut text = *br"\u0000";
                text[4] = HEX[usize::from(b >> 4)];
                text[5] = HEX[usize::from(b & 15)];
                self.put(&text);
            }
        }
    }
}

/// ASCII bytes that are copied as they are.
const PLAIN: [bool; 256] = {
    let mut table = [false; 256];
    let mut b = 0x20;
    while b < 0x80 {
        table[b] = !matches!(b as u8, b'"' | b'\\' | b'<' | b'>' | b'&');
        b += 1;
    }
    table
};

/// What follows the `log` value, for each stream: `","stream":"stdout",` and the attributes.
#[derive(Clone, Copy, Debug)]
pub struct Tail<'a> {
    /// The attributes as a JSON object, or empty.
    pub attrs: &'a [u8],
}

impl Tail<'_> {
    /// Appends one whole record: `content`, a `\n` in it when `newline`, stream 0 or 1, `time`.
    ///
    /// # Errors
    /// Those of `sink`; part of the record may then have been handed over.
    #[inline]
    pub fn record<D: Drain>(
        &self,
        out: &mut Out<'_>,
        sink: &mut D,
        content: &[u8],
        newline: bool,
        stream: usize,
        time: &TimeText,
    ) -> Result<(), D::Error> {
        out.room(sink)?;
        out.put(br#"{"log":""#);
        out.escaped(content, sink)?;
        out.room(sink)?;
        if newline {
            out.put(br"\n");
        }
        out.put(if stream == 0 {
            br#"","stream":"stdout","#
        } else {
            br#"","stream":"stderr","#
        });
        if !self.attrs.is_empty() {
            out.put(br#""attrs":"#);
            out.put_long(self.attrs, sink)?;
            out.room(sink)?;
            out.put(b",");
        }
        out.put(br#""time":""#);
        out.put(&time.fixed()[..time.trimmed_len()]);
        out.put(b"Z\"}\n");
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::convert::Infallible;

    pub(crate) struct Collect(pub(crate) Vec<u8>);
    impl Drain for Collect {
        type Error = Infallible;
        fn drain(&mut self, bytes: &[u8]) -> Result<(), Infallible> {
            self.0.extend_from_slice(bytes);
            Ok(())
        }
    }

    fn encode(content: &[u8], newline: bool, attrs: &[u8], room: usize) -> String {
        let mut buf = vec![0; room];
        let mut out = Out::new(&mut buf);
        let mut sink = Collect(Vec::new());
        let time = TimeText::new(1_700_000_000_123_456_789);
        Tail { attrs }
            .record(&mut out, &mut sink, content, newline, 0, &time)
            .unwrap();
        out.flush(&mut sink).unwrap();
        String::from_utf8(sink.0).unwrap()
    }

    #[test]
    fn docker_examples() {
        assert_eq!(
            encode(b"hello", true, br#"{"baz":"qux","tag":"web"}"#, 4096),
            "{\"log\":\"hello\\n\",\"stream\":\"stdout\",\"attrs\":{\"baz\":\"qux\",\"tag\":\"web\"},\"time\":\"2023-11-14T22:13:20.123456789Z\"}\n"
        );
        let body = |s: &[u8]| {
            let line = encode(s, true, b"", 4096);
            line.strip_prefix("{\"log\":\"")
                .unwrap()
                .split("\",\"stream\"")
                .next()
                .unwrap()
                .to_owned()
        };
        assert_eq!(body(b"a\t&"), "a\\u0009\\u0026\\n");
        assert_eq!(
            body(b"<>\"\\\r\x00\x1f\x7f"),
            "\\u003c\\u003e\\\"\\\\\\r\\u0000\\u001f\x7f\\n"
        );
        assert_eq!(
            body(b"ok \xff\xfe bad \xc3( end"),
            "ok \\ufffd\\ufffd bad \\ufffd( end\\n"
        );
        assert_eq!(
            body("é \u{2028}\u{2029} 😀".as_bytes()),
            "é \\u2028\\u2029 😀\\n"
        );
        assert_eq!(body(b"\xe2\x80"), "\\ufffd\\ufffd\\n");
    }

    #[test]
    fn every_byte_at_every_place_and_any_buffer_size() {
        // A slow and obvious encoder to compare with.
        let slow = |s: &[u8]| {
            let mut t = String::new();
            let mut rest = s;
            while !rest.is_empty() {
                let n = utf8::char_len(rest);
                let c = if n == 0 {
                    None
                } else {
                    std::str::from_utf8(&rest[..n]).unwrap().chars().next()
                };
                match c {
                    None => t.push_str("\\ufffd"),
                    Some('\\') => t.push_str("\\\\"),
                    Some('"') => t.push_str("\\\""),
                    Some('\n') => t.push_str("\\n"),
                    Some('\r') => t.push_str("\\r"),
                    Some(c) if c < ' ' || "<>&\u{2028}\u{2029}".contains(c) => {
                        t.push_str(&format!("\\u{:04x}", u32::from(c)));
                    }
                    Some(c) => t.push(c),
                }
                rest = &rest[n.max(1)..];
            }
            t
        };
        for b in 0..=255u8 {
            for at in [0usize, 1, 14, 15, 16, 17, 40] {
                let mut s = vec![b'x'; 50];
                s[at] = b;
                for room in [256, 257, 300, 4096] {
                    let line = encode(&s, false, b"", room);
                    let got = line
                        .strip_prefix("{\"log\":\"")
                        .unwrap()
                        .split("\",\"stream\"")
                        .next()
                        .unwrap();
                    assert_eq!(got, slow(&s), "byte {b:#x} at {at}");
                }
            }
        }
        let mixed: Vec<u8> = (0..5000u32).map(|i| (i * 31 % 251) as u8).collect();
        for room in [256, 1000, 65536] {
            let line = encode(&mixed, false, b"", room);
            assert_eq!(
                line.strip_prefix("{\"log\":\"")
                    .unwrap()
                    .split("\",\"stream\"")
                    .next()
                    .unwrap(),
                slow(&mixed)
            );
        }
    }
}
