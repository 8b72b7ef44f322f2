//! Taking records out of what comes: frames with a record each, raw lines of a terminal, or JSON
//! objects. One record is held at a time, beside the bytes that came with it.

use crate::client::{ClientError, Demux, Stream};

/// Length of a time as the daemon writes it.
const TIME: usize = 30;

/// Cuts bytes at newlines.
#[derive(Debug, Default)]
pub(super) struct Lines {
    bytes: Vec<u8>,
    at: usize,
}

impl Lines {
    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.bytes.drain(..self.at);
        self.at = 0;
        self.bytes.extend_from_slice(bytes);
    }

    /// The next whole line with its newline.
    pub(super) fn next(&mut self) -> Option<&[u8]> {
        let rest = &self.bytes[self.at..];
        let end = rest.iter().position(|b| *b == b'\n')? + 1;
        self.at += end;
        Some(&rest[..end])
    }

    /// What came without a newline at last.
    pub(super) fn rest(&mut self) -> &[u8] {
        let at = std::mem::replace(&mut self.at, self.bytes.len());
        &self.bytes[at..]
    }
}

/// A record with its time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) stream: Stream,
    /// As text, which sorts as the times do; empty: the time of the record before it.
    pub(super) time: Vec<u8>,
    /// What comes behind the time and its blank.
    pub(super) payload: Vec<u8>,
}

impl Record {
    fn new(stream: Stream, bytes: &[u8]) -> Self {
        let is_time = bytes.len() > TIME && bytes[TIME] == b' ' && bytes[TIME - 1] == b'Z';
        let (time, payload) = if is_time {
            (&bytes[..TIME], &bytes[TIME + 1..])
        } else {
            // A message of the daemon, or a record whose time has another form.
            (&[][..], bytes)
        };
        Self {
            stream,
            time: time.to_vec(),
            payload: payload.to_vec(),
        }
    }

    /// Of an object of the JSON form; it stays as it is.
    fn of_json(line: &[u8]) -> Self {
        const KEY: &[u8] = b"\"Timestamp\":\"";
        // The message is escaped, so a bare quote before the key is the end of a value.
        let time = line
            .windows(KEY.len())
            .rposition(|w| w == KEY)
            .and_then(|at| line.get(at + KEY.len()..))
            .and_then(|rest| rest.split(|b| *b == b'"').next())
            .unwrap_or(b"");
        Self {
            stream: Stream::Stdout,
            time: padded(time),
            payload: line.to_vec(),
        }
    }
}

/// A time of up to nine digits with all nine, so that texts sort as times.
fn padded(time: &[u8]) -> Vec<u8> {
    let Some(head) = time.strip_suffix(b"Z") else {
        return Vec::new();
    };
    let mut out = head.to_vec();
    if out.len() == 19 {
        out.push(b'.');
    }
    out.resize(TIME - 1, b'0');
    out.push(b'Z');
    out
}

/// How a log's bytes are taken apart.
#[derive(Debug)]
pub(super) enum Form {
    Frames(Box<Demux>),
    Raw,
    Json,
}

/// Turns chunks into records.
#[derive(Debug)]
pub(super) struct Records {
    form: Form,
    lines: Lines,
    /// Of the chunk that came last, in order.
    ready: std::collections::VecDeque<Record>,
    /// The frame that is not complete yet.
    open: Option<(Stream, Vec<u8>)>,
    last: Vec<u8>,
}

impl Records {
    pub(super) fn new(form: Form) -> Self {
        Self {
            form,
            lines: Lines::default(),
            ready: std::collections::VecDeque::new(),
            open: None,
            last: Vec::new(),
        }
    }

    /// Takes a chunk in.
    ///
    /// # Errors
    /// An error that the daemon reports within the stream; the records before it are there.
    pub(super) fn push(&mut self, chunk: &[u8]) -> Result<(), ClientError> {
        let result = match &mut self.form {
            Form::Frames(demux) => {
                let (ready, open) = (&mut self.ready, &mut self.open);
                demux.feed_frames(chunk, |stream, bytes, last| {
                    let (_, record) = open.get_or_insert_with(|| (stream, Vec::new()));
                    record.extend_from_slice(bytes);
                    if last && let Some((stream, record)) = open.take() {
                        ready.push_back(Record::new(stream, &record));
                    }
                    Ok(())
                })
            }
            Form::Raw => {
                self.lines.push(chunk);
                while let Some(line) = self.lines.next() {
                    self.ready.push_back(Record::new(Stream::Stdout, line));
                }
                Ok(())
            }
            Form::Json => {
                self.lines.push(chunk);
                while let Some(line) = self.lines.next() {
                    self.ready.push_back(Record::of_json(line));
                }
                Ok(())
            }
        };
        self.date();
        result
    }

    /// After the last chunk.
    pub(super) fn end(&mut self) {
        let rest = self.lines.rest();
        if !rest.is_empty() && !matches!(self.form, Form::Json) {
            let record = Record::new(Stream::Stdout, rest);
            self.ready.push_back(record);
        }
        self.date();
    }

    /// What has no time of its own belongs behind the record before it.
    fn date(&mut self) {
        for record in &mut self.ready {
            if record.time.is_empty() {
                record.time.clone_from(&self.last);
            } else {
                self.last.clone_from(&record.time);
            }
        }
    }

    pub(super) fn head(&self) -> Option<&Record> {
        self.ready.front()
    }

    pub(super) fn take(&mut self) -> Option<Record> {
        self.ready.pop_front()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const T1: &str = "2023-11-14T22:13:20.000000001Z";

    fn frame(kind: u8, payload: &str) -> Vec<u8> {
        let mut out = vec![kind, 0, 0, 0];
        out.extend_from_slice(&u32::try_from(payload.len()).unwrap().to_be_bytes());
        out.extend_from_slice(payload.as_bytes());
        out
    }

    #[test]
    fn frames_in_any_pieces() {
        let wire = [
            frame(1, &format!("{T1} one\n")),
            frame(2, "taffrail: 3 records missing\n"),
            frame(2, &format!("{T1} two")),
        ]
        .concat();
        for size in 1..=wire.len() {
            let mut records = Records::new(Form::Frames(Box::default()));
            for piece in wire.chunks(size) {
                records.push(piece).unwrap();
            }
            let got: Vec<Record> = std::iter::from_fn(|| records.take()).collect();
            assert_eq!(got.len(), 3);
            assert_eq!(
                (got[0].stream, &got[0].payload[..]),
                (Stream::Stdout, &b"one\n"[..])
            );
            assert_eq!(got[1].time, T1.as_bytes());
            assert_eq!(
                (got[2].stream, &got[2].payload[..]),
                (Stream::Stderr, &b"two"[..])
            );
        }
    }

    #[test]
    fn lines_and_objects() {
        let mut raw = Records::new(Form::Raw);
        raw.push(format!("{T1} a\n{T1} b").as_bytes()).unwrap();
        assert_eq!(raw.take().unwrap().payload, b"a\n");
        assert_eq!(raw.head(), None);
        raw.end();
        assert_eq!(raw.take().unwrap().payload, b"b");

        let mut json = Records::new(Form::Json);
        let line = b"{\"Line\":\"\\\"Timestamp\\\":\\\"x\",\"Timestamp\":\"2023-11-14T22:13:20.5Z\",\"Cursor\":\"1.2\"}\n";
        json.push(line).unwrap();
        let record = json.take().unwrap();
        assert_eq!(record.time, b"2023-11-14T22:13:20.500000000Z");
        assert_eq!(record.payload, line);
        assert_eq!(
            padded(b"2023-11-14T22:13:20Z"),
            b"2023-11-14T22:13:20.000000000Z"
        );
    }
}
