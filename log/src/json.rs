//! Decoding one line of a json-file log.
//!
//! Docker writes `{"log":"...","stream":"stdout","attrs":{...},"time":"..."}` and nothing else, so
//! [`Decoder::layout`] takes a line apart from both ends without looking at the message, which is
//! then unescaped straight into the output. Any other JSON object goes through `serde_json` and
//! is understood as Go's decoder would: unknown keys ignored, keys in any case and order, the last
//! of equal keys wins, a missing `log` is empty.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, Error as _, IgnoredAny, MapAccess, Visitor};

use crate::text;
use crate::time::{Moment, TimeParser};

/// How every record begins that Docker or Taffrail has written.
pub(crate) const HEAD: &[u8] = b"{\"log\":\"";
const STDOUT: &[u8] = b"\",\"stream\":\"stdout\"";
const STDERR: &[u8] = b"\",\"stream\":\"stderr\"";
const ATTRS: &[u8] = b",\"attrs\":{";
const TIME: &[u8] = b",\"time\":\"";

/// Where a record came from; the value is the first byte of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Stream {
    Stdout = 1,
    Stderr = 2,
}

/// A line in Docker's own form. `raw` has not been looked at: it is only a record if
/// [`text::unescape`] accepts it.
#[derive(Debug)]
pub(crate) struct Layout<'a> {
    pub(crate) raw: &'a [u8],
    pub(crate) stream: Stream,
    pub(crate) time: Moment,
    pub(crate) time_text: &'a [u8],
    /// The attributes are in [`Decoder::details`].
    pub(crate) has_attrs: bool,
}

/// A decoded record that owns its parts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// The message, nearly always with its newline.
    pub log: Vec<u8>,
    /// `None` for a stream of another name.
    pub stream: Option<Stream>,
    /// [`Moment::ZERO`] if the record has no time.
    pub time: Moment,
    /// Sorted by key, without duplicates.
    pub attrs: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Record {
    /// Decodes one line without its newline as any JSON object, without the way that
    /// [`Decoder::decode`] takes for Docker's own form. Both must give the same: this one is slow
    /// and there to be compared with. `None`: not a record.
    #[must_use]
    pub fn from_json(line: &[u8]) -> Option<Self> {
        decode_any(line)
    }
}

/// Decodes lines; remembers the second and the attributes of the last one, which most lines share.
#[derive(Debug)]
pub struct Decoder {
    time: TimeParser,
    /// The last seen `,"attrs":{...}`, which was valid.
    attrs: Vec<u8>,
    /// Its attributes as `--details` shows them.
    details: Vec<u8>,
}

impl Default for Decoder {
    fn default() -> Self {
        Self::new()
    }
}

impl Decoder {
    #[must_use]
    pub const fn new() -> Self {
        Self {
            time: TimeParser::new(),
            attrs: Vec::new(),
            details: Vec::new(),
        }
    }

    /// What `--details` shows for the last layout that had attributes.
    pub(crate) fn details(&self) -> &[u8] {
        &self.details
    }

    /// Takes a line (without its newline) apart. `None`: not in Docker's form.
    #[inline]
    pub(crate) fn layout<'a>(&mut self, line: &'a [u8]) -> Option<Layout<'a>> {
        let body = line.strip_prefix(HEAD)?.strip_suffix(b"\"}")?;
        // Nine digits are the most frequent by far, then the time has 30 bytes.
        let quote = match body.len().checked_sub(31) {
            Some(at) if body[at] == b'"' => at,
            at => {
                let at = at.unwrap_or(0);
                at + memchr::memrchr(b'"', &body[at..])?
            }
        };
        let time_text = &body[quote + 1..];
        let time = self.time.parse(time_text)?;
        let rest = body[..=quote].strip_suffix(TIME)?;
        let (rest, has_attrs) = if rest.ends_with(b"}") {
            let length = if !self.attrs.is_empty() && rest.ends_with(&self.attrs) {
                self.attrs.len()
            } else {
                self.learn_attrs(rest)?
            };
            (&rest[..rest.len() - length], true)
        } else {
            (rest, false)
        };
        let (raw, stream) = if let Some(raw) = rest.strip_suffix(STDOUT) {
            (raw, Stream::Stdout)
        } else {
            (rest.strip_suffix(STDERR)?, Stream::Stderr)
        };
        Some(Layout {
            raw,
            stream,
            time,
            time_text,
            has_attrs,
        })
    }

    /// Finds and remembers the attributes at the end of `rest`; gives their length.
    fn learn_attrs(&mut self, rest: &[u8]) -> Option<usize> {
        let after = text::string_end(rest)? + STDOUT.len();
        let section = rest.get(after..)?;
        let pairs = parse_attrs(section.strip_prefix(ATTRS)?)?;
        self.details.clear();
        write_details(&pairs, &mut self.details);
        self.attrs.clear();
        self.attrs.extend_from_slice(section);
        Some(section.len())
    }

    /// Decodes one line without its newline, in whatever form. `None`: not a record.
    pub fn decode(&mut self, line: &[u8]) -> Option<Record> {
        if let Some(layout) = self.layout(line) {
            let (raw, stream, time, has_attrs) =
                (layout.raw, layout.stream, layout.time, layout.has_attrs);
            let mut log = Vec::with_capacity(raw.len());
            if text::unescape(raw, &mut log) {
                let attrs = if has_attrs {
                    parse_attrs(&self.attrs[ATTRS.len()..])?
                } else {
                    Vec::new()
                };
                return Some(Record {
                    log,
                    stream: Some(stream),
                    time,
                    attrs,
                });
            }
        }
        decode_any(line)
    }
}

/// Appends `k=v,k=v`, query-escaped.
pub(crate) fn write_details(attrs: &[(Vec<u8>, Vec<u8>)], out: &mut Vec<u8>) {
    for (i, (key, value)) in attrs.iter().enumerate() {
        if i > 0 {
            out.push(b',');
        }
        text::query_escape(key, out);
        out.push(b'=');
        text::query_escape(value, out);
    }
}

/// Sorts by key; of equal keys the last one counts.
pub(crate) fn sort_attrs(attrs: &mut Vec<(Vec<u8>, Vec<u8>)>) {
    // The sort is stable.
    attrs.sort_by(|a, b| a.0.cmp(&b.0));
    attrs.reverse();
    attrs.dedup_by(|a, b| a.0 == b.0);
    attrs.reverse();
}

/// The inside of `{"k":"v",...}` from after the opening brace, the closing brace being its last
/// byte. Only strings without white space between them: what Docker writes.
fn parse_attrs(mut raw: &[u8]) -> Option<Vec<(Vec<u8>, Vec<u8>)>> {
    let mut attrs = Vec::new();
    if raw == b"}" {
        return Some(attrs);
    }
    loop {
        let (key, rest) = parse_string(raw)?;
        let (value, rest) = parse_string(rest.strip_prefix(b":")?)?;
        attrs.push((key, value));
        match rest {
            b"}" => break,
            [b',', rest @ ..] => raw = rest,
            _ => return None,
        }
    }
    sort_attrs(&mut attrs);
    Some(attrs)
}

fn parse_string(raw: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    let raw = raw.strip_prefix(b"\"")?;
    let end = text::string_end(raw)?;
    let mut out = Vec::with_capacity(end);
    text::unescape(&raw[..end], &mut out).then_some((out, &raw[end + 1..]))
}

/// Any JSON object. `None`: not one, or a known key with a value of the wrong type.
#[cold]
pub(crate) fn decode_any(line: &[u8]) -> Option<Record> {
    // Asked for bytes, `serde_json` lets control characters through; JSON strings do not have them,
    // and in a log they are the trace of a torn write.
    if line
        .iter()
        .any(|b| *b < 0x20 && !matches!(b, b'\t' | b'\r'))
    {
        return None;
    }
    let wire: Wire = serde_json::from_slice(line).ok()?;
    let time = match wire.time {
        Some(text) => Moment::parse(&text.0)?,
        None => Moment::ZERO,
    };
    let stream = match wire.stream.as_ref().map(|s| s.0.as_slice()) {
        Some(b"stdout") => Some(Stream::Stdout),
        Some(b"stderr") => Some(Stream::Stderr),
        _ => None,
    };
    let mut attrs = wire.attrs.unwrap_or_default().0;
    sort_attrs(&mut attrs);
    Some(Record {
        log: wire.log.unwrap_or_default().0,
        stream,
        time,
        attrs,
    })
}

#[derive(Default)]
struct Wire {
    log: Option<Text>,
    stream: Option<Text>,
    attrs: Option<Attrs>,
    time: Option<Text>,
}

impl<'de> Deserialize<'de> for Wire {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        struct V;
        impl<'de> Visitor<'de> for V {
            type Value = Wire;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a record")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Wire, A::Error> {
                let mut wire = Wire::default();
                while let Some(Text(key)) = map.next_key()? {
                    // As in Go, a null leaves what an earlier equal key has set.
                    if key.eq_ignore_ascii_case(b"log") {
                        wire.log = map.next_value::<Option<Text>>()?.or(wire.log);
                    } else if key.eq_ignore_ascii_case(b"stream") {
                        wire.stream = map.next_value::<Option<Text>>()?.or(wire.stream);
                    } else if key.eq_ignore_ascii_case(b"attrs") {
                        wire.attrs = map.next_value()?;
                    } else if key.eq_ignore_ascii_case(b"time") {
                        wire.time = map.next_value::<Option<Text>>()?.or(wire.time);
                    } else {
                        map.next_value::<IgnoredAny>()?;
                    }
                }
                Ok(wire)
            }
        }
        d.deserialize_map(V)
    }
}

#[derive(Default)]
struct Attrs(Vec<(Vec<u8>, Vec<u8>)>);

impl<'de> Deserialize<'de> for Attrs {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        struct V;
        impl<'de> Visitor<'de> for V {
            type Value = Attrs;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of strings")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Attrs, A::Error> {
                let mut attrs = Vec::new();
                while let Some((Text(key), value)) = map.next_entry::<Text, Option<Text>>()? {
                    attrs.push((key, value.unwrap_or_default().0));
                }
                Ok(Attrs(attrs))
            }
        }
        d.deserialize_map(V)
    }
}

/// A string as valid UTF-8 whatever stood there. Asking `serde_json` for bytes makes it accept
/// invalid UTF-8 and lone surrogates.
#[derive(Default)]
struct Text(Vec<u8>);

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        struct V;
        impl<'de> Visitor<'de> for V {
            type Value = Text;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }
            fn visit_str<E: serde::de::Error>(self, v: &str) -> Result<Text, E> {
                Ok(Text(v.as_bytes().to_vec()))
            }
            fn visit_bytes<E: serde::de::Error>(self, v: &[u8]) -> Result<Text, E> {
                Ok(Text(text::lossy(v.to_vec())))
            }
            fn visit_seq<A: serde::de::SeqAccess<'de>>(self, _: A) -> Result<Text, A::Error> {
                Err(A::Error::custom("a list is no string"))
            }
        }
        d.deserialize_bytes(V)
    }
}
