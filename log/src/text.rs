//! JSON string contents.

use memchr::memchr2;

/// Position of the quote that ends a JSON string whose contents begin at `bytes[0]`.
pub(crate) fn string_end(bytes: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        at += memchr2(b'"', b'\\', bytes.get(at..)?)?;
        if bytes[at] == b'"' {
            return Some(at);
        }
        at += 2;
    }
}

/// Appends the unescaped contents of a JSON string. `false` (with a part appended) if `raw` is not
/// exactly that: a bare quote or control character, a bad escape, invalid UTF-8. A surrogate
/// without its other half becomes U+FFFD, as in Go.
#[inline]
pub(crate) fn unescape(mut raw: &[u8], out: &mut Vec<u8>) -> bool {
    loop {
        let Some(i) = memchr2(b'"', b'\\', raw) else {
            return push_plain(raw, out);
        };
        if raw[i] == b'"' || !push_plain(&raw[..i], out) {
            return false;
        }
        let (byte, length) = match raw.get(i + 1) {
            Some(b'n') => (b'\n', 2),
            Some(b'u') => match unicode(&raw[i..], out) {
                Some(length) => {
                    raw = &raw[i + length..];
                    continue;
                }
                None => return false,
            },
            Some(b'r') => (b'\r', 2),
            Some(b't') => (b'\t', 2),
            Some(b'b') => (8, 2),
            Some(b'f') => (12, 2),
            Some(b @ (b'"' | b'\\' | b'/')) => (*b, 2),
            _ => return false,
        };
        out.push(byte);
        raw = &raw[i + length..];
    }
}

#[inline]
fn push_plain(run: &[u8], out: &mut Vec<u8>) -> bool {
    // One signed comparison finds both control characters and the bytes of non-ASCII characters;
    // the fold without an early exit is turned into vector instructions.
    let odd = run.iter().fold(false, |odd, b| odd | ((*b as i8) < 0x20));
    if odd && (run.iter().any(|b| *b < 0x20) || std::str::from_utf8(run).is_err()) {
        return false;
    }
    out.extend_from_slice(run);
    true
}

/// `\uXXXX`, or two of them that are a surrogate pair; gives the bytes taken.
fn unicode(raw: &[u8], out: &mut Vec<u8>) -> Option<usize> {
    let first = hex4(raw)?;
    let mut taken = 6;
    let mut code = first;
    if (0xd800..0xdc00).contains(&first)
        && let Some(second @ 0xdc00..=0xdfff) = hex4(&raw[6..])
    {
        code = 0x10000 + ((first - 0xd800) << 10) + (second - 0xdc00);
        taken = 12;
    }
    let c = char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER);
    out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
    Some(taken)
}

fn hex4(raw: &[u8]) -> Option<u32> {
    let digits = raw.strip_prefix(b"\\u")?.first_chunk::<4>()?;
    let mut code = 0;
    for d in digits {
        code = code << 4 | char::from(*d).to_digit(16)?;
    }
    Some(code)
}

/// Makes bytes valid UTF-8 the way Go's decoder does: each invalid byte becomes U+FFFD; an encoded
/// surrogate (what `serde_json` makes of a lone one) becomes one U+FFFD.
pub(crate) fn lossy(bytes: Vec<u8>) -> Vec<u8> {
    if std::str::from_utf8(&bytes).is_ok() {
        return bytes;
    }
    const REPLACEMENT: &[u8] = "\u{fffd}".as_bytes();
    let mut out = Vec::with_capacity(bytes.len() + 16);
    let mut rest = &bytes[..];
    while !rest.is_empty() {
        if let [0xed, 0xa0..=0xbf, 0x80..=0xbf, tail @ ..] = rest {
            out.extend_from_slice(REPLACEMENT);
            rest = tail;
            continue;
        }
        let valid = match std::str::from_utf8(rest) {
            Ok(_) => rest.len(),
            Err(e) => e.valid_up_to(),
        };
        out.extend_from_slice(&rest[..valid]);
        rest = &rest[valid..];
        if !rest.is_empty() && !matches!(rest, [0xed, 0xa0..=0xbf, 0x80..=0xbf, ..]) {
            out.extend_from_slice(REPLACEMENT);
            rest = &rest[1..];
        }
    }
    out
}

/// Appends `text` as Go's `url.QueryEscape` writes it.
pub(crate) fn query_escape(text: &[u8], out: &mut Vec<u8>) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    for b in text {
        match b {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => out.push(*b),
            b' ' => out.push(b'+'),
            _ => out.extend_from_slice(&[b'%', HEX[usize::from(b >> 4)], HEX[usize::from(b & 15)]]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn un(raw: &str) -> Option<String> {
        let mut out = Vec::new();
        unescape(raw.as_bytes(), &mut out).then(|| String::from_utf8(out).unwrap())
    }

    #[test]
    fn escapes() {
        assert_eq!(un(r"a\u0009\u0026\n").as_deref(), Some("a\t&\n"));
        assert_eq!(
            un(r#"\"\\\/\b\f\r\t"#).as_deref(),
            Some("\"\\/\u{8}\u{c}\r\t")
        );
        assert_eq!(un(r"\ud83d\ude00x").as_deref(), Some("😀x"));
        assert_eq!(un(r"\ud83d\u0041").as_deref(), Some("\u{fffd}A"));
        assert_eq!(un(r"\ude00").as_deref(), Some("\u{fffd}"));
        assert_eq!(un("é\u{2028}").as_deref(), Some("é\u{2028}"));
        for bad in [r"\", r"\x", r"\u12", r"\u12g4", "a\"b", "a\nb", "\0"] {
            assert_eq!(un(bad), None, "{bad:?}");
        }
        assert!(!unescape(b"\xff", &mut Vec::new()));
    }

    #[test]
    fn lossy_as_go() {
        let go = |bytes: &[u8]| String::from_utf8(lossy(bytes.to_vec())).unwrap();
        assert_eq!(go(b"a\xff\xfeb"), "a\u{fffd}\u{fffd}b");
        assert_eq!(go(b"\xe2\x82z"), "\u{fffd}\u{fffd}z");
        assert_eq!(go(b"\xed\xa0\x80z"), "\u{fffd}z");
        assert_eq!(go("é".as_bytes()), "é");
    }

    #[test]
    fn query_escape_as_go() {
        let mut out = Vec::new();
        query_escape("a b/c=d,é-_.~+".as_bytes(), &mut out);
        assert_eq!(out, b"a+b%2Fc%3Dd%2C%C3%A9-_.~%2B");
    }
}
