//! One line of the file: a JSON object.
//!
//! `t` nanoseconds since 1970, `s` stream, `r` number of the run, `i` id of the exec, `o` 1 for stdout
//! and 2 for stderr, and the bytes: `l` if they are text, else `h` in hexadecimal. `m` is bytes that could
//! not be written before this record.

use serde::{Deserialize, Serialize};
use taffrail_config::ExtraStream;

/// A record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) time_ns: i64,
    pub(super) stream: ExtraStream,
    pub(super) run: u64,
    /// Empty for `events`.
    pub(super) exec: String,
    pub(super) stderr: bool,
    /// A line with its newline, or a piece of one.
    pub(super) bytes: Vec<u8>,
    /// Bytes that are missing before it.
    pub(super) missing: u64,
}

#[derive(Serialize, Deserialize)]
struct Line<'a> {
    t: i64,
    s: &'a str,
    r: u64,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    i: String,
    #[serde(default = "one")]
    o: u8,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    l: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    h: Option<String>,
    #[serde(default, skip_serializing_if = "is_zero")]
    m: u64,
}

fn one() -> u8 {
    1
}

#[allow(clippy::trivially_copy_pass_by_ref)] // serde wants it so.
fn is_zero(number: &u64) -> bool {
    *number == 0
}

impl Record {
    /// Appends the line.
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        let text = std::str::from_utf8(&self.bytes).ok();
        let line = Line {
            t: self.time_ns,
            s: self.stream.as_str(),
            r: self.run,
            i: self.exec.clone(),
            o: if self.stderr { 2 } else { 1 },
            l: text.map(str::to_owned),
            h: text.is_none().then(|| hex(&self.bytes)),
            m: self.missing,
        };
        // Plain values: it cannot fail.
        out.extend(serde_json::to_vec(&line).unwrap_or_default());
        out.push(b'\n');
    }

    /// Reads a line without its newline; `None` if it is torn, or no record.
    pub(super) fn read(line: &[u8]) -> Option<Self> {
        let line: Line<'_> = serde_json::from_slice(line).ok()?;
        let stream = ExtraStream::ALL
            .into_iter()
            .find(|s| s.as_str() == line.s)?;
        Some(Self {
            time_ns: line.t,
            stream,
            run: line.r,
            exec: line.i,
            stderr: line.o == 2,
            bytes: match (line.l, line.h) {
                (Some(text), _) => text.into_bytes(),
                (None, Some(hex)) => unhex(&hex)?,
                (None, None) => return None,
            },
            missing: line.m,
        })
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits = text.as_bytes();
    if !digits.len().is_multiple_of(2) {
        return None;
    }
    digits
        .chunks(2)
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trip() {
        for bytes in [&b"plain \"text\" \xc3\xa9\n"[..], b"no\xff\x00text", b""] {
            let record = Record {
                time_ns: 1_700_000_000_000_000_001,
                stream: ExtraStream::Health,
                run: 3,
                exec: "ab".to_owned(),
                stderr: true,
                bytes: bytes.to_vec(),
                missing: 7,
            };
            let mut out = Vec::new();
            record.write(&mut out);
            assert_eq!(out.iter().filter(|b| **b == b'\n').count(), 1);
            assert_eq!(Record::read(&out[..out.len() - 1]), Some(record));
            for cut in 0..out.len() - 1 {
                assert_eq!(Record::read(&out[..cut]), None, "{cut}");
            }
        }
        assert_eq!(Record::read(br#"{"t":1,"s":"other","r":1,"l":""}"#), None);
        assert_eq!(Record::read(br#"{"t":1,"s":"exec","r":1,"h":"a"}"#), None);
    }
}
