//! The NDJSON form: one JSON object a record and a line, as Docker's API 1.54 has it, with our
//! `Cursor`, `LineBase64`, `Gap` and the trailer. Described in `docs/design/reading.md`.

use crate::attrs::Attrs;
use crate::gap::Gap;
use crate::json::Stream;
use crate::query::Cursor;
use crate::text;
use crate::time::Moment;

/// What is known of a record beside its bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Meta {
    pub(crate) stream: Stream,
    pub(crate) time: Moment,
    pub(crate) cursor: Option<Cursor>,
    /// Of a piece of a long line: its ordinal, the first piece's place, whether it is the last.
    pub(crate) chain: Option<(u32, Cursor, bool)>,
}

/// Appends a record.
pub(crate) fn record(meta: &Meta, line: &[u8], attrs: Option<&Attrs>, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"Line\":");
    let valid = std::str::from_utf8(line);
    match valid {
        Ok(text) => string(text, out),
        Err(_) => {
            let lossy = text::lossy(line.to_vec());
            string(&String::from_utf8_lossy(&lossy), out);
        }
    }
    if valid.is_err() {
        out.extend_from_slice(b",\"LineBase64\":\"");
        base64(line, out);
        out.push(b'"');
    }
    out.extend_from_slice(match meta.stream {
        Stream::Stdout => b",\"Source\":\"stdout\",\"Timestamp\":\"",
        Stream::Stderr => b",\"Source\":\"stderr\",\"Timestamp\":\"",
    });
    meta.time.write(out);
    out.push(b'"');
    if let Some(attrs) = attrs.filter(|a| !a.json.is_empty()) {
        out.extend_from_slice(b",\"Attrs\":");
        out.extend_from_slice(&attrs.json);
    }
    if let Some((ordinal, first, last)) = meta.chain {
        let text =
            format!(",\"MetaData\":{{\"Last\":{last},\"ID\":\"{first}\",\"Ordinal\":{ordinal}}}");
        out.extend_from_slice(text.as_bytes());
    }
    if let Some(cursor) = meta.cursor {
        put_cursor(cursor, out);
    }
    out.extend_from_slice(b"}\n");
}

fn put_cursor(cursor: Cursor, out: &mut Vec<u8>) {
    out.extend_from_slice(b",\"Cursor\":\"");
    number(cursor.epoch, out);
    out.push(b'.');
    number(cursor.seq, out);
    out.push(b'"');
}

fn number(mut value: u64, out: &mut Vec<u8>) {
    let mut digits = [0; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (value % 10) as u8;
        value /= 10;
        if value == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}

/// Appends what is missing. Unknown values are left out.
pub(crate) fn gap(gap: &Gap, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"Gap\":{\"Cause\":");
    string(&gap.cause, out);
    if let Some(records) = gap.records {
        out.extend_from_slice(b",\"Records\":");
        number(records, out);
    }
    if let Some(bytes) = gap.bytes {
        out.extend_from_slice(b",\"Bytes\":");
        number(bytes, out);
    }
    for (name, time) in [("From", gap.from), ("To", gap.to)] {
        if let Some(time) = time {
            out.extend_from_slice(format!(",\"{name}\":\"").as_bytes());
            time.write(out);
            out.push(b'"');
        }
    }
    out.extend_from_slice(b"}}\n");
}

/// Appends the trailer: where a later read goes on, whatever was left out of this one.
pub(crate) fn trailer(cursor: Option<Cursor>, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"End\":true");
    if let Some(cursor) = cursor {
        put_cursor(cursor, out);
    }
    out.extend_from_slice(b"}\n");
}

/// Appends `[{"Key":…,"Value":…}]`; nothing without pairs.
pub(crate) fn attrs(pairs: &[(Vec<u8>, Vec<u8>)], out: &mut Vec<u8>) {
    for (i, (key, value)) in pairs.iter().enumerate() {
        out.extend_from_slice(if i == 0 { b"[{\"Key\":" } else { b",{\"Key\":" });
        string(&String::from_utf8_lossy(key), out);
        out.extend_from_slice(b",\"Value\":");
        string(&String::from_utf8_lossy(value), out);
        out.push(b'}');
    }
    if !pairs.is_empty() {
        out.push(b']');
    }
}

/// A JSON string.
fn string(text: &str, out: &mut Vec<u8>) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    out.push(b'"');
    let bytes = text.as_bytes();
    let mut from = 0;
    for (at, b) in bytes.iter().enumerate() {
        let short = match b {
            b'"' => b'"',
            b'\\' => b'\\',
            b'\n' => b'n',
            b'\r' => b'r',
            b'\t' => b't',
            0..=0x1f => b'u',
            _ => continue,
        };
        out.extend_from_slice(&bytes[from..at]);
        from = at + 1;
        out.extend_from_slice(&[b'\\', short]);
        if short == b'u' {
            let hex = [HEX[usize::from(b >> 4)], HEX[usize::from(b & 15)]];
            out.extend_from_slice(b"00");
            out.extend_from_slice(&hex);
        }
    }
    out.extend_from_slice(&bytes[from..]);
    out.push(b'"');
}

/// RFC 4648, section 4, with padding.
fn base64(bytes: &[u8], out: &mut Vec<u8>) {
    const SET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for chunk in bytes.chunks(3) {
        let [a, b, c] = [0, 1, 2].map(|i| u32::from(chunk.get(i).copied().unwrap_or(0)));
        let word = a << 16 | b << 8 | c;
        for i in 0..4 {
            out.push(if i <= chunk.len() {
                SET[(word >> (18 - 6 * i) & 63) as usize]
            } else {
                b'='
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meta() -> Meta {
        Meta {
            stream: Stream::Stderr,
            time: Moment::from_ns(1),
            cursor: Some(Cursor { epoch: 1, seq: 120 }),
            chain: None,
        }
    }

    #[test]
    fn a_record() {
        let mut out = Vec::new();
        record(&meta(), b"a\"\\\x01\t\xc3\xa9\n", None, &mut out);
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "{\"Line\":\"a\\\"\\\\\\u0001\\t\u{e9}\\n\",\"Source\":\"stderr\",\
             \"Timestamp\":\"1970-01-01T00:00:00.000000001Z\",\"Cursor\":\"1.120\"}\n"
        );
    }

    #[test]
    fn bytes_that_are_no_text() {
        for (bytes, want) in [
            (&b"\xff"[..], "/w=="),
            (b"\xff\xfe", "//4="),
            (b"a\xffb", "Yf9i"),
        ] {
            let mut out = Vec::new();
            record(&meta(), bytes, None, &mut out);
            let value: serde_json::Value = serde_json::from_slice(&out).unwrap();
            assert_eq!(value["LineBase64"], want);
            assert!(value["Line"].as_str().unwrap().contains('\u{fffd}'));
        }
    }
}
