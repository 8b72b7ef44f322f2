//! Takes a log's bytes apart into records, each with its time: frames of a record each, or JSON lines.

use jiff::Timestamp;

/// Length of a time in front of a record: RFC 3339 with nine digits and `Z`.
pub(super) const TIME: usize = 30;
/// Bytes before a frame's payload.
const HEAD: usize = 8;

/// A record as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Item {
    /// `None` for what is said in between: what is missing, the end.
    pub(super) time_ns: Option<i64>,
    /// First byte of the frame.
    pub(super) stream: u8,
    /// With its time in front, or the whole JSON line.
    pub(super) payload: Vec<u8>,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Split {
    json: bool,
    bytes: Vec<u8>,
    at: usize,
}

impl Split {
    pub(super) fn new(json: bool) -> Self {
        Self {
            json,
            bytes: Vec::new(),
            at: 0,
        }
    }

    pub(super) fn push(&mut self, chunk: &[u8]) {
        self.bytes.drain(..self.at);
        self.at = 0;
        self.bytes.extend_from_slice(chunk);
    }

    /// The next whole record.
    pub(super) fn next(&mut self) -> Option<Item> {
        let rest = &self.bytes[self.at..];
        let item = if self.json {
            let end = memchr::memchr(b'\n', rest)? + 1;
            self.at += end;
            Item {
                time_ns: json_time(&rest[..end]),
                stream: 1,
                payload: rest[..end].to_vec(),
            }
        } else {
            let length = u32::from_be_bytes(rest.get(4..HEAD)?.try_into().ok()?) as usize;
            let payload = rest.get(HEAD..HEAD + length)?;
            self.at += HEAD + length;
            Item {
                time_ns: payload.get(..TIME).and_then(time),
                stream: rest[0],
                payload: payload.to_vec(),
            }
        };
        Some(item)
    }
}

fn time(text: &[u8]) -> Option<i64> {
    let time: Timestamp = std::str::from_utf8(text).ok()?.parse().ok()?;
    i64::try_from(time.as_nanosecond()).ok()
}

/// Of a line of the JSON form. The message is escaped, so a bare quote before the key is the end of a
/// value.
fn json_time(line: &[u8]) -> Option<i64> {
    const KEY: &[u8] = b"\"Timestamp\":\"";
    let at = memchr::memmem::rfind(line, KEY)? + KEY.len();
    let end = memchr::memchr(b'"', &line[at..])?;
    time(&line[at..at + end])
}

/// A time as it stands in front of a record.
pub(super) fn time_text(ns: i64) -> String {
    let short = crate::container::time::rfc3339(ns);
    let (seconds, fraction) = short.strip_suffix('Z').map_or((&*short, ""), |text| {
        text.split_once('.').unwrap_or((text, ""))
    });
    format!("{seconds}.{fraction:0<9}Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_and_lines_in_any_pieces() {
        let first = format!("{} one\n", time_text(1_700_000_000_120_000_000));
        let mut wire = vec![2, 0, 0, 0];
        wire.extend(u32::try_from(first.len()).unwrap().to_be_bytes());
        wire.extend(first.as_bytes());
        wire.extend([2, 0, 0, 0, 0, 0, 0, 3]);
        wire.extend(b"gap");
        let lines = b"{\"Line\":\"\\\"Timestamp\\\":\\\"x\",\"Timestamp\":\"2023-11-14T22:13:20.12Z\",\"Cursor\":\"1.2\"}\n{\"End\":true}\n";
        for (json, wire) in [(false, &wire[..]), (true, &lines[..])] {
            for size in 1..=wire.len() {
                let mut split = Split::new(json);
                let mut items = Vec::new();
                for piece in wire.chunks(size) {
                    split.push(piece);
                    items.extend(std::iter::from_fn(|| split.next()));
                }
                assert_eq!(items.len(), 2, "{json} {size}");
                assert_eq!(items[0].time_ns, Some(1_700_000_000_120_000_000));
                assert_eq!(items[1].time_ns, None);
            }
        }
        assert_eq!(
            time_text(1_700_000_000_000_000_000),
            "2023-11-14T22:13:20.000000000Z"
        );
    }
}
