//! From a line of the log to bytes for the client.

use crate::grep::Grep;
use crate::json::{self, Decoder, Layout, Record, Stream};
use crate::query::{Format, Query};
use crate::text;
use crate::time::{self, Moment};

/// Bytes before each payload of the multiplexed form.
const FRAME_HEADER: usize = 8;
/// Most payload that several records share in one frame.
const FRAME_MAX: usize = 64 * 1024;

/// What became of a line.
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
        }
    }

    /// A new buffer, or one that the caller may have emptied: no frame in it may grow.
    pub(crate) fn begin(&mut self) {
        self.open = None;
    }

    pub(crate) fn last_time(&self) -> Option<Moment> {
        self.last_time
    }

    /// One line without its newline.
    #[inline]
    pub(crate) fn line(&mut self, line: &[u8], out: &mut Vec<u8>) -> Outcome {
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
        let wanted = match stream {
            Some(Stream::Stdout) => self.stdout,
            Some(Stream::Stderr) => self.stderr,
            None => false,
        };
        if wanted {
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

    /// A message of ours to the client, as a frame of stderr.
    pub(crate) fn notice(&mut self, message: &[u8], out: &mut Vec<u8>) {
        self.open = None;
        let mark = out.len();
        self.frame(Stream::Stderr, out);
        out.extend_from_slice(message);
        self.seal(mark, out);
        self.open = None;
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
            .map(|l| output.line(l.as_bytes(), &mut out))
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
