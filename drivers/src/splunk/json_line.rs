//! Lines that are JSON themselves.

use serde::de::IgnoredAny;

/// Whether the whole line is one JSON value. One that is not UTF-8 is none: Splunk would refuse it (Go does not look).
pub(super) fn is_json(line: &[u8]) -> bool {
    match line.iter().find(|b| !b.is_ascii_whitespace()) {
        // The first byte tells for nearly all lines that are none.
        Some(b'{' | b'[' | b'"' | b'-' | b'0'..=b'9' | b't' | b'f' | b'n') => {
            std::str::from_utf8(line)
                .is_ok_and(|text| serde_json::from_str::<IgnoredAny>(text).is_ok())
        }
        _ => false,
    }
}

/// Appends valid JSON as Go's `json.Compact` with HTML escapes does: no blanks between tokens, `<`, `>`, `&`, U+2028 and U+2029 as
/// escapes.
pub(super) fn compact(out: &mut Vec<u8>, json: &[u8]) {
    let mut in_string = false;
    let mut escaped = false;
    for (at, &byte) in json.iter().enumerate() {
        if !in_string {
            match byte {
                b' ' | b'\t' | b'\n' | b'\r' => continue,
                b'"' => in_string = true,
                _ => {}
            }
            out.push(byte);
            continue;
        }
        match byte {
            b'<' => out.extend_from_slice(b"\\u003c"),
            b'>' => out.extend_from_slice(b"\\u003e"),
            b'&' => out.extend_from_slice(b"\\u0026"),
            0xa8 | 0xa9 if json[..at].ends_with(b"\xe2\x80") => {
                out.truncate(out.len() - 2);
                out.extend_from_slice(if byte == 0xa8 { b"\\u2028" } else { b"\\u2029" });
            }
            byte => out.push(byte),
        }
        match byte {
            b'\\' if !escaped => escaped = true,
            b'"' if !escaped => in_string = false,
            _ => escaped = false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_and_others() {
        for line in [
            "{}",
            " [1, 2] ",
            "null",
            "true",
            "-1.5e999",
            "\"a\\\"b\"",
            "{\"a\":{\"a\":1,\"a\":2}}",
        ] {
            assert!(is_json(line.as_bytes()), "{line}");
        }
        for line in [
            "",
            " ",
            "{bad",
            "{\"a\":1} x",
            "nul",
            "01",
            "'a'",
            "\"a",
            "plain",
            "\"a\u{1}\"",
        ] {
            assert!(!is_json(line.as_bytes()), "{line}");
        }
        assert!(!is_json(b"\"\xff\""));
        assert!(is_json("[".repeat(5000).as_bytes()) == is_json(b"["));
    }

    #[test]
    fn compacted() {
        for (line, json) in [
            (
                "{\"a\": 1,  \"b\":\"<x>\"}",
                "{\"a\":1,\"b\":\"\\u003cx\\u003e\"}",
            ),
            ("\t[1, 2]\r", "[1,2]"),
            ("\"a  \\\" <\\\\\" ", "\"a  \\\" \\u003c\\\\\""),
            (
                "\"\u{2028}\u{2029}\u{e9}&\"",
                "\"\\u2028\\u2029\u{e9}\\u0026\"",
            ),
        ] {
            let mut out = Vec::new();
            compact(&mut out, line.as_bytes());
            assert_eq!(String::from_utf8(out).unwrap(), json);
        }
    }
}
