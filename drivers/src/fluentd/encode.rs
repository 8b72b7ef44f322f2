//! A record as an entry of the forward protocol: `[time, {"container_id": ..., "log": ...}]`, with Docker's keys. The connection
//! makes messages of entries.

use rmp::encode::{write_array_len, write_map_len, write_str, write_str_len};

use crate::attrs::{AttrSelection, ContainerFacts, TagError, short_id};
use crate::sink::{Encoded, Encoder, Record, Stream};

/// How many names a piece of a line has beside those of all records.
const PARTIAL: [&str; 4] = [
    "partial_message",
    "partial_id",
    "partial_ordinal",
    "partial_last",
];

/// One container's entries.
pub(super) struct Entries {
    tag: String,
    sub_second: bool,
    /// of stdout and stderr, whole lines and pieces: all before the line
    heads: [[Vec<u8>; 2]; 2],
    /// of whole lines and pieces: labels and variables
    tails: [Vec<u8>; 2],
}

/// Writing to memory does not fail.
fn text(out: &mut Vec<u8>, text: &str) {
    let _ = write_str(out, text);
}

impl Entries {
    pub(super) fn new(
        selection: &AttrSelection,
        container: &ContainerFacts<'_>,
        sub_second: bool,
    ) -> Result<Self, TagError> {
        let tag = match &selection.tag {
            None => short_id(container.id).to_owned(),
            Some(_) => selection.rendered_tag(container)?,
        };
        let name = container.name.strip_prefix('/').unwrap_or(container.name);
        let name = format!("/{name}");
        let extra = selection.extra(container);
        let build = |stream: Stream, partial: bool| {
            let mut fixed = vec![
                ("container_id", container.id),
                ("container_name", name.as_str()),
                ("source", stream.as_str()),
            ];
            let mut tail = Vec::new();
            let mut count = 4 + if partial { 4 } else { 0 };
            for (key, value) in &extra {
                // The line is never replaced; the other three are, as in Docker.
                if key == "log" || (partial && PARTIAL.contains(&key.as_str())) {
                    continue;
                }
                if let Some(own) = fixed.iter_mut().find(|own| own.0 == key.as_str()) {
                    own.1 = value.as_str();
                    continue;
                }
                text(&mut tail, key);
                text(&mut tail, value);
                count += 1;
            }
            let mut head = Vec::new();
            let _ = write_map_len(&mut head, count);
            for (key, value) in fixed {
                text(&mut head, key);
                text(&mut head, value);
            }
            text(&mut head, "log");
            (head, tail)
        };
        let (whole_out, whole) = build(Stream::Stdout, false);
        let (piece_out, piece) = build(Stream::Stdout, true);
        Ok(Self {
            tag,
            sub_second,
            heads: [
                [whole_out, piece_out],
                [
                    build(Stream::Stderr, false).0,
                    build(Stream::Stderr, true).0,
                ],
            ],
            tails: [whole, piece],
        })
    }
}

/// Docker's integers are the smallest signed ones: 5 bytes until 2038, then 9. With fractions the protocol's `EventTime`: seconds and
/// nanoseconds of 32 bits each.
fn time(out: &mut Vec<u8>, ns: i64, sub_second: bool) {
    let seconds = ns.div_euclid(1_000_000_000);
    if sub_second && let Ok(seconds) = u32::try_from(seconds) {
        let rest = ns.rem_euclid(1_000_000_000) as u32;
        out.extend_from_slice(&[0xd7, 0]);
        out.extend_from_slice(&seconds.to_be_bytes());
        out.extend_from_slice(&rest.to_be_bytes());
    } else if let Ok(seconds) = i32::try_from(seconds) {
        out.push(0xd2);
        out.extend_from_slice(&seconds.to_be_bytes());
    } else {
        out.push(0xd3);
        out.extend_from_slice(&seconds.to_be_bytes());
    }
}

impl Encoder for Entries {
    fn encode(&mut self, record: &Record<'_>, out: &mut Vec<u8>) -> Encoded {
        let Ok(length) = u32::try_from(record.line.len()) else {
            return Encoded::Refused("a line of 4 GiB or more".to_owned());
        };
        let piece = usize::from(record.partial.is_some());
        let stream = usize::from(record.stream == Stream::Stderr);
        let _ = write_array_len(out, 2);
        time(out, record.time_ns, self.sub_second);
        out.extend_from_slice(&self.heads[stream][piece]);
        let _ = write_str_len(out, length);
        out.extend_from_slice(record.line);
        out.extend_from_slice(&self.tails[piece]);
        if let Some(partial) = record.partial {
            text(out, PARTIAL[0]);
            text(out, "true");
            text(out, PARTIAL[1]);
            text(out, partial.id);
            text(out, PARTIAL[2]);
            decimal(out, partial.ordinal);
            text(out, PARTIAL[3]);
            text(out, if partial.last { "true" } else { "false" });
        }
        Encoded::Yes
    }

    fn scope(&self) -> Option<&str> {
        Some(&self.tag)
    }
}

/// A number as text, without memory of its own.
fn decimal(out: &mut Vec<u8>, mut number: u32) {
    let mut digits = [0; 10];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    let _ = write_str_len(out, (digits.len() - at) as u32);
    out.extend_from_slice(&digits[at..]);
}
