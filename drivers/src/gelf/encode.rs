//! From a record to a GELF 1.1 message: Docker's members in Docker's order.

use std::collections::BTreeMap;
use std::io::Write as _;

use crate::attrs::ContainerFacts;
use crate::go::{json_escaped, json_string};
use crate::sink::{Encoded, Encoder, Record};

/// Makes messages of one container's records.
#[derive(Debug)]
pub(super) struct Gelf {
    /// up to the line
    start: Vec<u8>,
    /// what follows the level
    end: Vec<u8>,
}

impl Gelf {
    /// `last`: the byte that ends a message on a stream.
    pub(super) fn new(
        container: &ContainerFacts<'_>,
        tag: &str,
        extra: &BTreeMap<String, String>,
        last: Option<u8>,
    ) -> Self {
        let mut start = b"{\"version\":\"1.1\",\"host\":".to_vec();
        json_string(&mut start, container.hostname.as_bytes(), true);
        start.extend_from_slice(b",\"short_message\":\"");
        let mut command = container.path.to_owned();
        for arg in container.args {
            command.push(' ');
            command.push_str(arg);
        }
        let name = container.name.trim_start_matches('/');
        let mut members: BTreeMap<String, &str> = [
            ("_command", command.as_str()),
            ("_container_id", container.id),
            ("_container_name", name),
            ("_created", container.created),
            ("_image_id", container.image_id),
            ("_image_name", container.image_name),
            ("_tag", tag),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .into();
        for (name, value) in extra {
            let name = match name.starts_with('_') {
                true => name.clone(),
                false => format!("_{name}"),
            };
            members.insert(name, value);
        }
        let mut end = Vec::new();
        for (name, value) in &members {
            end.push(b',');
            json_string(&mut end, name.as_bytes(), true);
            end.push(b':');
            json_string(&mut end, value.as_bytes(), true);
        }
        end.push(b'}');
        end.extend(last);
        Self { start, end }
    }
}

/// Seconds with up to three decimals, cut, as Go prints them.
fn timestamp(ns: i64, out: &mut Vec<u8>) {
    let ms = ns.div_euclid(1_000_000);
    let (seconds, mut rest) = (ms / 1000, ms % 1000);
    // Writing to a vector cannot fail.
    let _ = write!(out, "{seconds}");
    if rest > 0 {
        let mut digits = 3;
        while rest % 10 == 0 {
            rest /= 10;
            digits -= 1;
        }
        let _ = write!(out, ".{rest:0digits$}");
    }
}

impl Encoder for Gelf {
    fn encode(&mut self, record: &Record<'_>, out: &mut Vec<u8>) -> Encoded {
        if record.line.is_empty() {
            return Encoded::Skipped;
        }
        out.extend_from_slice(&self.start);
        json_escaped(out, record.line, true);
        out.extend_from_slice(b"\",\"timestamp\":");
        timestamp(record.time_ns, out);
        out.extend_from_slice(b",\"level\":");
        out.push(b'0' + record.stream.severity());
        out.extend_from_slice(&self.end);
        Encoded::Yes
    }
}
