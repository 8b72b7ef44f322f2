//! From a record to an event: Docker's fields in Docker's order.

use std::collections::BTreeMap;
use std::io::Write as _;

use super::json_line::{compact, is_json};
use crate::attrs::attrs_json;
use crate::go::{json_escaped, json_string};
use crate::sink::{Encoded, Encoder, Record};

/// Form of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    Inline,
    Json,
    Raw,
}

/// What is the same for all records of a container.
#[derive(Clone, Copy, Debug)]
pub(super) struct Constant<'a> {
    pub(super) host: &'a str,
    pub(super) source: &'a str,
    pub(super) sourcetype: &'a str,
    pub(super) index: &'a str,
    /// empty: none
    pub(super) tag: &'a str,
    pub(super) attrs: &'a BTreeMap<String, String>,
}

/// Makes events of one container's records.
#[derive(Debug)]
pub(super) struct EventEncoder {
    format: Format,
    /// inline, json: what follows the record's source; raw: what stands before the line
    middle: Vec<u8>,
    /// what follows the time
    end: Vec<u8>,
}

impl EventEncoder {
    pub(super) fn new(format: Format, constant: &Constant<'_>) -> Self {
        let mut middle = Vec::new();
        if format == Format::Raw {
            let mut prefix = String::new();
            if !constant.tag.is_empty() {
                prefix.push_str(constant.tag);
                prefix.push(' ');
            }
            for (name, value) in constant.attrs {
                prefix.push_str(name);
                prefix.push('=');
                prefix.push_str(value);
                prefix.push(' ');
            }
            json_escaped(&mut middle, prefix.as_bytes(), true);
        } else {
            put(&mut middle, "tag", constant.tag);
            if !constant.attrs.is_empty() {
                middle.extend_from_slice(b",\"attrs\":");
                middle.extend_from_slice(&attrs_json(constant.attrs));
            }
            middle.push(b'}');
        }
        let mut end = b",\"host\":".to_vec();
        json_string(&mut end, constant.host.as_bytes(), true);
        put(&mut end, "source", constant.source);
        put(&mut end, "sourcetype", constant.sourcetype);
        put(&mut end, "index", constant.index);
        end.push(b'}');
        Self {
            format,
            middle,
            end,
        }
    }
}

/// Appends a member, unless it is empty.
fn put(out: &mut Vec<u8>, name: &str, value: &str) {
    if !value.is_empty() {
        out.push(b',');
        json_string(out, name.as_bytes(), true);
        out.push(b':');
        json_string(out, value.as_bytes(), true);
    }
}

/// Go's `strings.TrimSpace` leaves nothing of it.
fn is_blank(line: &[u8]) -> bool {
    line.utf8_chunks()
        .all(|chunk| chunk.invalid().is_empty() && chunk.valid().chars().all(char::is_whitespace))
}

impl Encoder for EventEncoder {
    fn encode(&mut self, record: &Record<'_>, out: &mut Vec<u8>) -> Encoded {
        if self.format == Format::Raw {
            if is_blank(record.line) {
                return Encoded::Skipped;
            }
            out.extend_from_slice(b"{\"event\":\"");
            out.extend_from_slice(&self.middle);
            json_escaped(out, record.line, true);
            out.push(b'"');
        } else {
            out.extend_from_slice(b"{\"event\":{\"line\":");
            if self.format == Format::Json && is_json(record.line) {
                compact(out, record.line);
            } else {
                json_string(out, record.line, true);
            }
            out.extend_from_slice(b",\"source\":\"");
            out.extend_from_slice(record.stream.as_str().as_bytes());
            out.push(b'"');
            out.extend_from_slice(&self.middle);
        }
        // A double, as in Docker: the last digits are the same, too. Writing to memory does not fail.
        let seconds = record.time_ns as f64 / 1e9;
        let _ = write!(out, ",\"time\":\"{seconds:.6}\"");
        out.extend_from_slice(&self.end);
        Encoded::Yes
    }
}

#[cfg(test)]
#[path = "encode_tests.rs"]
mod tests;
