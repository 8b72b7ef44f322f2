//! The parts of Go's `strconv` whose results users see: boolean and integer syntax, quoting, and JSON strings.

/// Go's `strconv.ParseBool`: `1 t T TRUE true True 0 f F FALSE false False`, nothing else.
///
/// # Errors
/// Go's text, for example `strconv.ParseBool: parsing "yes": invalid syntax`.
pub fn parse_bool(text: &str) -> Result<bool, String> {
    match text {
        "1" | "t" | "T" | "TRUE" | "true" | "True" => Ok(true),
        "0" | "f" | "F" | "FALSE" | "false" | "False" => Ok(false),
        _ => Err(format!(
            "strconv.ParseBool: parsing {}: invalid syntax",
            quote(text)
        )),
    }
}

/// Go's `strconv.Atoi`: an optional sign and decimal digits.
pub(crate) fn atoi(text: &str) -> Result<i64, String> {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Err(format!(
            "strconv.Atoi: parsing {}: invalid syntax",
            quote(text)
        ));
    }
    text.parse()
        .map_err(|_| format!("strconv.Atoi: parsing {}: value out of range", quote(text)))
}

/// Go's `strconv.Quote` (`%q`): double quotes, with control characters as escapes.
pub fn quote(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\x07' => out.push_str("\\a"),
            '\x08' => out.push_str("\\b"),
            '\x0c' => out.push_str("\\f"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\x0b' => out.push_str("\\v"),
            c if (c as u32) < 0x20 || c == '\x7f' => {
                out.push_str(&format!("\\x{:02x}", c as u32));
            }
            c if c.is_control() || matches!(c, '\u{2028}' | '\u{2029}' | '\u{feff}') => {
                out.push_str(&format!("\\u{:04x}", c as u32));
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// A JSON string as Go's encoder writes it: short forms for `\b \f \n \r \t`, other control bytes as `\u00xx`, U+2028 and U+2029
/// escaped, each invalid UTF-8 byte as `\ufffd`; with `html`, also `<`, `>` and `&` as `\u00xx`. 0x7f stays as it is.
pub(crate) fn json_string(out: &mut Vec<u8>, bytes: &[u8], html: bool) {
    out.push(b'"');
    json_escaped(out, bytes, html);
    out.push(b'"');
}

/// The same without the quotes around it.
pub(crate) fn json_escaped(out: &mut Vec<u8>, bytes: &[u8], html: bool) {
    for chunk in bytes.utf8_chunks() {
        let valid = chunk.valid().as_bytes();
        // What needs no escape goes in whole runs: nearly everything.
        let mut start = 0;
        for (at, &byte) in valid.iter().enumerate() {
            let special = match byte {
                0..0x20 | b'"' | b'\\' => true,
                b'<' | b'>' | b'&' => html,
                // U+2028 and U+2029 are E2 80 A8 and E2 80 A9.
                0xa8 | 0xa9 => valid[..at].ends_with(b"\xe2\x80"),
                _ => false,
            };
            if !special {
                continue;
            }
            let separator = byte >= 0x80;
            out.extend_from_slice(&valid[start..at - if separator { 2 } else { 0 }]);
            start = at + 1;
            match byte {
                b'"' => out.extend_from_slice(b"\\\""),
                b'\\' => out.extend_from_slice(b"\\\\"),
                b'\x08' => out.extend_from_slice(b"\\b"),
                b'\x0c' => out.extend_from_slice(b"\\f"),
                b'\n' => out.extend_from_slice(b"\\n"),
                b'\r' => out.extend_from_slice(b"\\r"),
                b'\t' => out.extend_from_slice(b"\\t"),
                0xa8 => out.extend_from_slice(b"\\u2028"),
                0xa9 => out.extend_from_slice(b"\\u2029"),
                byte => {
                    out.extend_from_slice(b"\\u00");
                    for digit in [byte >> 4, byte & 15] {
                        out.push(b"0123456789abcdef"[usize::from(digit)]);
                    }
                }
            }
        }
        out.extend_from_slice(&valid[start..]);
        for _ in chunk.invalid() {
            out.extend_from_slice(b"\\ufffd");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn booleans_as_go() {
        for text in ["1", "t", "T", "TRUE", "true", "True"] {
            assert_eq!(parse_bool(text), Ok(true));
        }
        for text in ["0", "f", "F", "FALSE", "false", "False"] {
            assert_eq!(parse_bool(text), Ok(false));
        }
        assert_eq!(
            parse_bool("yes").unwrap_err(),
            "strconv.ParseBool: parsing \"yes\": invalid syntax"
        );
    }

    #[test]
    fn integers_as_go() {
        assert_eq!(atoi("+3"), Ok(3));
        assert_eq!(atoi("-3"), Ok(-3));
        assert_eq!(
            atoi("3x").unwrap_err(),
            "strconv.Atoi: parsing \"3x\": invalid syntax"
        );
        assert_eq!(
            atoi("99999999999999999999").unwrap_err(),
            "strconv.Atoi: parsing \"99999999999999999999\": value out of range"
        );
        assert!(atoi("").is_err() && atoi("+").is_err() && atoi(" 1").is_err());
    }

    #[test]
    fn json_strings_as_go() {
        let mut out = Vec::new();
        json_string(
            &mut out,
            b"a<&>\t\x08\x0c\x01\x7f\xff\xe2\x80\xa8\xc3\xa9\"\\",
            true,
        );
        assert_eq!(
            out,
            "\"a\\u003c\\u0026\\u003e\\t\\b\\f\\u0001\x7f\\ufffd\\u2028é\\\"\\\\\"".as_bytes()
        );
        out.clear();
        json_string(&mut out, b"<&>", false);
        assert_eq!(out, b"\"<&>\"");
    }
}
