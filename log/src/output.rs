//! From a record to bytes for the client.

use crate::attrs::Attrs;
use crate::gap::Gap;
use crate::grep::Grep;
use crate::json::{self, Decoder, Layout, Record, Stream};
use crate::ndjson::{self, Meta};
use crate::packed;
use crate::query::{Cursor, Format, Query};
use crate::text;
use crate::time::{self, Moment, TimeText};

/// Bytes before each payload of the multiplexed form.
const FRAME_HEADER: usize = 8;
/// Most payload that several records share in one frame.
const FRAME_MAX: usize = 64 * 1024;

/// What became of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// A record was appended.
    Written,
    /// A record, but not of a wanted stream or time.
    Filtered,
    /// A record after `until`.
    Past,
    /// Not a record.
    Damaged,
}

/// Decodes, chooses and formats records.
#[derive(Debug)]
pub(crate) struct Output {
    decoder: Decoder,
    format: Format,
    stdout: bool,
    stderr: bool,
    /// Set until the first record that is not older was seen.
    since: Option<Moment>,
    until: Option<Moment>,
    grep: Option<Grep>,
    /// Where the last frame of the buffer begins and whose it is, if it may grow.
    open: Option<(usize, Stream)>,
    /// Time of the last record that was decoded.
    last_time: Option<Moment>,
    time_text: TimeText,
    /// Of the last json-file record in NDJSON.
    attrs: Attrs,
}

impl Output {
    pub(crate) fn new(query: &Query, format: Format) -> Self {
        Self {
            decoder: Decoder::new(),
            format,
            stdout: query.stdout,
            stderr: query.stderr,
            since: query.since.map(Moment::from_ns),
            until: query.until.map(Moment::from_ns),
            grep: query.grep.clone(),
            open: None,
            last_time: None,
            time_text: TimeText::new(),
            attrs: Attrs::default(),
        }
    }

    /// A new buffer, or one that the caller may have emptied: no frame in it may grow.
    pub(crate) fn begin(&mut self) {
        self.open = None;
    }

    pub(crate) fn last_time(&self) -> Option<Moment> {
        self.last_time
    }

    /// Whether every missing record has to be told of.
    pub(crate) fn is_packed(&self) -> bool {
        self.format.packed
    }

    /// Whether the form shows records' numbers.
    pub(crate) fn shows_cursors(&self) -> bool {
        self.format.ndjson || self.format.packed
    }

    pub(crate) fn wants_attrs(&self) -> bool {
        self.format.details
    }

    pub(crate) fn grep(&self) -> Option<&Grep> {
        self.grep.as_ref()
    }

    pub(crate) fn wants(&self, stream: Stream) -> bool {
        match stream {
            Stream::Stdout => self.stdout,
            Stream::Stderr => self.stderr,
        }
    }

    /// Whether a record of that time ends the read.
    pub(crate) fn is_past(&self, time: Moment) -> bool {
        self.until.is_some_and(|until| time > until)
    }

    /// Whether a record of that time stands before the answer's beginning.
    pub(crate) fn is_before(&self, time: Moment) -> bool {
        self.since.is_some_and(|since| time < since)
    }

    /// Whether lines that are not wanted may be passed over of which `line` is the last.
    pub(crate) fn may_skip(&mut self, line: &[u8]) -> bool {
        if self.since.is_some() {
            return false;
        }
        if self.until.is_none() {
            return true;
        }
        match self.decoder.layout(line) {
            Some(layout) => !self.is_past(layout.time),
            None => false,
        }
    }

    /// A run of records from `first` to `last` that neither begins nor ends the answer: all of
    /// them are past `since` and none is past `until`.
    pub(crate) fn is_inside(&mut self, first: Moment, last: Moment) -> bool {
        if self.since.is_some_and(|since| first < since) || self.is_past(last) {
            return false;
        }
        self.since = None;
        true
    }

    /// Whether nothing stands between records of one stream in the output: they may be copied in
    /// one go.
    pub(crate) fn is_plain(&self) -> bool {
        let format = &self.format;
        !format.timestamps
            && !format.details
            && !format.ndjson
            && !format.packed
            && (format.coalesce || !format.multiplexed)
            && self.grep.is_none()
    }

    /// Whole records of one stream, the last of them of time `last`. Only if [`Output::is_plain`]
    /// and [`Output::is_inside`].
    pub(crate) fn bulk(
        &mut self,
        stream: Stream,
        mut bytes: &[u8],
        last: Moment,
        out: &mut Vec<u8>,
    ) {
        self.last_time = Some(last);
        if !self.format.multiplexed {
            out.extend_from_slice(bytes);
            return;
        }
        while !bytes.is_empty() {
            let mark = out.len();
            self.frame(stream, out);
            let at = self.open.map_or(mark, |(at, _)| at);
            let room = FRAME_MAX.saturating_sub((out.len() - at).saturating_sub(FRAME_HEADER));
            // A frame ends with a record where that is possible.
            let n = if bytes.len() <= room {
                bytes.len()
            } else {
                match memchr::memrchr(b'\n', &bytes[..room]) {
                    Some(newline) => newline + 1,
                    None if mark > at => {
                        self.open = None;
                        continue;
                    }
                    None => room,
                }
            };
            out.extend_from_slice(&bytes[..n]);
            bytes = &bytes[n..];
            self.seal(mark, out);
            if !bytes.is_empty() {
                self.open = None;
            }
        }
    }

    /// One record of the `local` format.
    #[inline]
    pub(crate) fn piece(
        &mut self,
        meta: &Meta,
        record: &[u8],
        attrs: &Attrs,
        out: &mut Vec<u8>,
    ) -> Outcome {
        let outcome = self.choose(meta.time, Some(meta.stream));
        if outcome != Outcome::Written {
            return outcome;
        }
        if !self.matches(record) {
            return Outcome::Filtered;
        }
        if self.format.packed {
            let at = packed::begin(out);
            out.extend_from_slice(record);
            packed::end(meta, at, out);
            return outcome;
        }
        if self.format.ndjson {
            let attrs = self.format.details.then_some(attrs);
            ndjson::record(meta, record, attrs, out);
            return outcome;
        }
        let mark = out.len();
        self.frame(meta.stream, out);
        if self.format.timestamps {
            self.time_text.write(meta.time, out);
            out.push(b' ');
        }
        if self.format.details {
            out.extend_from_slice(&attrs.details);
            out.push(b' ');
        }
        out.extend_from_slice(record);
        self.seal(mark, out);
        outcome
    }

    /// One line without its newline.
    #[inline]
    pub(crate) fn line(
        &mut self,
        line: &[u8],
        cursor: Option<Cursor>,
        out: &mut Vec<u8>,
    ) -> Outcome {
        if self.format.packed {
            return self.line_as_packed(line, cursor, out);
        }
        if self.format.ndjson {
            return self.line_as_ndjson(line, cursor, out);
        }
        if let Some(layout) = self.decoder.layout(line) {
            let mark = out.len();
            let before = self.open;
            self.prefix(&layout, out);
            let payload = out.len();
            if text::unescape(layout.raw, out) {
                let mut outcome = self.choose(layout.time, Some(layout.stream));
                if outcome == Outcome::Written && !self.matches(&out[payload..]) {
                    outcome = Outcome::Filtered;
                }
                if outcome == Outcome::Written {
                    self.seal(mark, out);
                } else {
                    out.truncate(mark);
                    self.open = before;
                }
                return outcome;
            }
            out.truncate(mark);
            self.open = before;
        }
        match json::decode_any(line) {
            Some(record) => self.record(&record, out),
            None => Outcome::Damaged,
        }
    }

    fn line_as_packed(
        &mut self,
        line: &[u8],
        cursor: Option<Cursor>,
        out: &mut Vec<u8>,
    ) -> Outcome {
        let mark = packed::begin(out);
        let mut found = None;
        if let Some(layout) = self.decoder.layout(line) {
            let (time, stream) = (layout.time, layout.stream);
            if text::unescape(layout.raw, out) {
                found = Some((time, Some(stream)));
            } else {
                out.truncate(mark);
                packed::begin(out);
            }
        }
        if found.is_none()
            && let Some(record) = json::decode_any(line)
        {
            out.extend_from_slice(&record.log);
            found = Some((record.time, record.stream));
        }
        let outcome = found.map_or(Outcome::Damaged, |(time, stream)| self.choose(time, stream));
        let (Outcome::Written, Some((time, Some(stream)))) = (outcome, found) else {
            out.truncate(mark);
            return outcome;
        };
        let meta = Meta {
            stream,
            time,
            cursor,
            chain: None,
        };
        packed::end(&meta, mark, out);
        outcome
    }

    fn line_as_ndjson(
        &mut self,
        line: &[u8],
        cursor: Option<Cursor>,
        out: &mut Vec<u8>,
    ) -> Outcome {
        let Some(record) = self.decoder.decode(line) else {
            return Outcome::Damaged;
        };
        let outcome = self.choose(record.time, record.stream);
        let (Outcome::Written, Some(stream)) = (outcome, record.stream) else {
            return outcome;
        };
        if !self.matches(&record.log) {
            return Outcome::Filtered;
        }
        if self.format.details {
            self.attrs.set(&record.attrs);
        }
        let meta = Meta {
            stream,
            time: record.time,
            cursor,
            chain: None,
        };
        let attrs = self.format.details.then_some(&self.attrs);
        ndjson::record(&meta, &record.log, attrs, out);
        outcome
    }

    #[cold]
    fn record(&mut self, record: &Record, out: &mut Vec<u8>) -> Outcome {
        let mut outcome = self.choose(record.time, record.stream);
        if outcome == Outcome::Written && !self.matches(&record.log) {
            outcome = Outcome::Filtered;
        }
        if let (Outcome::Written, Some(stream)) = (outcome, record.stream) {
            let mark = out.len();
            self.frame(stream, out);
            if self.format.timestamps {
                record.time.write(out);
                out.push(b' ');
            }
            if self.format.details {
                json::write_details(&record.attrs, out);
                out.push(b' ');
            }
            out.extend_from_slice(&record.log);
            self.seal(mark, out);
        }
        outcome
    }

    #[inline]
    fn matches(&self, record: &[u8]) -> bool {
        self.grep.as_ref().is_none_or(|grep| grep.matches(record))
    }

    /// In Docker's order: `since` and `until` see the records of both streams.
    #[inline]
    fn choose(&mut self, time: Moment, stream: Option<Stream>) -> Outcome {
        self.last_time = Some(time);
        if let Some(since) = self.since {
            if time < since {
                return Outcome::Filtered;
            }
            self.since = None;
        }
        if self.until.is_some_and(|until| time > until) {
            return Outcome::Past;
        }
        if stream.is_some_and(|stream| self.wants(stream)) {
            Outcome::Written
        } else {
            Outcome::Filtered
        }
    }

    #[inline]
    fn prefix(&mut self, layout: &Layout<'_>, out: &mut Vec<u8>) {
        self.frame(layout.stream, out);
        if self.format.timestamps {
            time::write_docker(layout.time_text, out);
            out.push(b' ');
        }
        if self.format.details {
            if layout.has_attrs {
                out.extend_from_slice(self.decoder.details());
            }
            out.push(b' ');
        }
    }

    /// Begins a frame, or lets the last one grow; [`Output::seal`] sees whether it grew too much.
    #[inline]
    fn frame(&mut self, stream: Stream, out: &mut Vec<u8>) {
        if !self.format.multiplexed {
            return;
        }
        if self.format.coalesce
            && let Some((at, of)) = self.open
            && of == stream
            && out.len() - at < FRAME_MAX
        {
            return;
        }
        self.open = Some((out.len(), stream));
        out.extend_from_slice(&[stream as u8, 0, 0, 0, 0, 0, 0, 0]);
    }

    /// Completes the frame of the record that was appended from `mark` on.
    #[inline]
    fn seal(&mut self, mark: usize, out: &mut Vec<u8>) {
        if let Some((mut at, stream)) = self.open {
            if mark > at && out.len() - at - FRAME_HEADER > FRAME_MAX {
                // Too much for one frame: the record gets its own. The frame before it still has
                // the length of the records before.
                let end = out.len();
                out.extend_from_slice(&[0; FRAME_HEADER]);
                out.copy_within(mark..end, mark + FRAME_HEADER);
                out[mark..mark + FRAME_HEADER].copy_from_slice(&[
                    stream as u8,
                    0,
                    0,
                    0,
                    0,
                    0,
                    0,
                    0,
                ]);
                at = mark;
                self.open = Some((at, stream));
            }
            // A line is at most `MAX_LINE` bytes and cannot grow beyond 32 bits when decoded.
            let length = (out.len() - at - FRAME_HEADER) as u32;
            out[at + 4..at + FRAME_HEADER].copy_from_slice(&length.to_be_bytes());
        }
    }

    /// Tells the client of missing records: a frame of stderr, or an object.
    pub(crate) fn notice(&mut self, gap: &Gap, out: &mut Vec<u8>) {
        self.open = None;
        if self.format.packed {
            packed::gap(gap, out);
            return;
        }
        if self.format.ndjson {
            ndjson::gap(gap, out);
            return;
        }
        let mark = out.len();
        self.frame(Stream::Stderr, out);
        out.extend_from_slice(&gap.message());
        self.seal(mark, out);
        self.open = None;
    }

    /// What an answer in NDJSON ends with.
    pub(crate) fn trailer(&mut self, cursor: Option<Cursor>, out: &mut Vec<u8>) {
        if self.format.ndjson && !self.format.packed {
            ndjson::trailer(cursor, out);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(format: Format, lines: &[&str]) -> (Vec<u8>, Vec<Outcome>) {
        let mut output = Output::new(&Query::all(), format);
        let mut out = Vec::new();
        let outcomes = lines
            .iter()
            .map(|l| output.line(l.as_bytes(), None, &mut out))
            .collect();
        (out, outcomes)
    }

    const HELLO: &str = r#"{"log":"hello\n","stream":"stdout","time":"2023-11-14T22:13:20.12Z"}"#;
    const ATTRS: &str = r#"{"log":"hello\n","stream":"stderr","attrs":{"foo":"bar","baz":"q x"},"time":"2023-11-14T22:13:20Z"}"#;

    #[test]
    fn frame_of_one_record() {
        let format = Format {
            multiplexed: true,
            ..Format::default()
        };
        assert_eq!(run(format, &[HELLO]).0, b"\x01\0\0\0\0\0\0\x06hello\n");
        let (out, _) = run(format, &[HELLO, HELLO]);
        assert_eq!(
            out,
            b"\x01\0\0\0\0\0\0\x06hello\n\x01\0\0\0\0\0\0\x06hello\n"
        );
    }

    #[test]
    fn timestamps_and_details() {
        let format = Format {
            timestamps: true,
            details: true,
            ..Format::default()
        };
        let (out, _) = run(format, &[HELLO, ATTRS, ATTRS]);
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "2023-11-14T22:13:20.120000000Z  hello\n\
             2023-11-14T22:13:20.000000000Z baz=q+x,foo=bar hello\n\
             2023-11-14T22:13:20.000000000Z baz=q+x,foo=bar hello\n"
        );
    }

    #[test]
    fn coalesced_frames_keep_streams_apart() {
        let format = Format {
            multiplexed: true,
            coalesce: true,
            ..Format::default()
        };
        let (out, _) = run(format, &[HELLO, HELLO, ATTRS, HELLO]);
        assert_eq!(
            out,
            b"\x01\0\0\0\0\0\0\x0chello\nhello\n\x02\0\0\0\0\0\0\x06hello\n\x01\0\0\0\0\0\0\x06hello\n"
        );
    }

    #[test]
    fn coalesced_frames_are_bounded() {
        let format = Format {
            multiplexed: true,
            coalesce: true,
            ..Format::default()
        };
        let long = HELLO.replace("hello", &"x".repeat(16_000));
        let (out, _) = run(format, &[long.as_str(); 40]);
        let (mut at, mut total, mut frames) = (0, 0, 0);
        while at < out.len() {
            let n = u32::from_be_bytes(out[at + 4..at + 8].try_into().unwrap()) as usize;
            assert!(n <= FRAME_MAX, "{n}");
            at += 8 + n;
            total += n;
            frames += 1;
        }
        assert_eq!(total, 40 * 16_001);
        assert!(frames < 20, "{frames}");
    }

    #[test]
    fn other_forms_and_damage() {
        let (out, outcomes) = run(
            Format::default(),
            &[
                r#"{"time":"2023-11-14T22:13:20Z","stream":"stderr","log":"b\n","x":[1,{"y":null}]}"#,
                r#"{"stream":"stdout","time":"2023-11-14T22:13:20Z"}"#,
                r#"{"log":"no\n","stream":"stdin","time":"2023-11-14T22:13:20Z"}"#,
                r#"{"log":"torn"#,
                "\0\0\0\0",
                r#"{"log":"x\n","stream":"stdout","time":"yesterday"}"#,
                r#"{"log":1,"stream":"stdout","time":"2023-11-14T22:13:20Z"}"#,
                "{\"log\":\"a\0b\",\"stream\":\"stdout\",\"time\":\"2023-11-14T22:13:20Z\"}",
                r#"{"LOG":"c\ud800\n","Stream":"stdout","attrs":null}"#,
            ],
        );
        assert_eq!(String::from_utf8(out).unwrap(), "b\nc\u{fffd}\n");
        use Outcome::{Damaged, Filtered, Written};
        assert_eq!(
            outcomes,
            [
                Written, Written, Filtered, Damaged, Damaged, Damaged, Damaged, Damaged, Written
            ]
        );
    }
}
