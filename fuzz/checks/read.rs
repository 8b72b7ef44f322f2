//! Reading a log to its end, with what must hold for any log on the way.

use std::borrow::Cow;

use taffrail_log::{Cursor, Format, LogFiles, Query, ReadError, ReadStats, Reader, Step};

/// A record as NDJSON tells it.
#[derive(Clone, PartialEq, Eq)]
pub struct Got {
    pub bytes: Vec<u8>,
    pub stream: u8,
    /// As RFC 3339 text.
    pub time: String,
    pub cursor: Option<Cursor>,
}

impl std::fmt::Debug for Got {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let start = &self.bytes[..self.bytes.len().min(40)];
        let (length, stream, time) = (self.bytes.len(), self.stream, &self.time);
        write!(
            f,
            "{length} bytes \"{}\", {stream}, {time}",
            start.escape_ascii()
        )?;
        self.cursor.map_or(Ok(()), |cursor| write!(f, ", {cursor}"))
    }
}

/// What the reader writes, key by key.
#[derive(serde::Deserialize)]
struct Object<'a> {
    #[serde(rename = "Line", borrow)]
    line: Option<Cow<'a, str>>,
    #[serde(rename = "LineBase64")]
    bytes: Option<&'a str>,
    #[serde(rename = "Source")]
    source: Option<&'a str>,
    #[serde(rename = "Timestamp")]
    time: Option<&'a str>,
    #[serde(rename = "Cursor")]
    cursor: Option<&'a str>,
    #[serde(rename = "Gap")]
    gap: Option<serde::de::IgnoredAny>,
    #[serde(rename = "End", default)]
    end: bool,
}

/// Names the first difference of two reads.
#[track_caller]
pub fn assert_same(left: &[Got], right: &[Got], what: &str) {
    let same = left.iter().zip(right).take_while(|(l, r)| l == r).count();
    assert!(
        same == left.len() && same == right.len(),
        "{what}: {} and {} records, the first {same} are the same, then {:?} and {:?}",
        left.len(),
        right.len(),
        left.get(same),
        right.get(same)
    );
}

/// What reading to the end gave.
#[derive(Debug)]
pub struct Read {
    pub records: Vec<Got>,
    /// How many times records were said to be missing.
    pub gaps: u64,
    pub stats: ReadStats,
}

/// Reads to the end. The number of steps, and what one of them appends, have their bounds whatever
/// the log is.
///
/// # Errors
/// Those of the reader.
pub fn drain(
    files: &LogFiles,
    query: &Query,
    format: Format,
) -> Result<(Vec<u8>, ReadStats), ReadError> {
    let mut reader = Reader::open(files.clone(), query.clone(), format, None)?;
    let mut all = Vec::new();
    let mut out = Vec::new();
    let mut idle = 0;
    loop {
        out.clear();
        let step = reader.read(&mut out)?;
        // 128 KiB and the longest line of json-file, all of it to be escaped.
        assert!(out.len() <= 4 << 20, "a step appended {} bytes", out.len());
        all.extend_from_slice(&out);
        match step {
            Step::Data => {
                idle = if out.is_empty() { idle + 1 } else { 0 };
                assert!(idle < 10_000, "the reader does not come to an end");
            }
            Step::End => {
                assert!(out.is_empty());
                return Ok((all, *reader.stats()));
            }
            Step::CaughtUp { .. } => panic!("caught up without follow"),
        }
    }
}

/// Reads as NDJSON.
///
/// # Errors
/// Those of the reader.
pub fn objects(files: &LogFiles, query: &Query) -> Result<Read, ReadError> {
    let ndjson = Format {
        ndjson: true,
        details: true,
        ..Format::default()
    };
    let (out, stats) = drain(files, query, ndjson)?;
    let mut records = Vec::new();
    let mut gaps = 0;
    let mut ended = false;
    for line in out.split_inclusive(|b| *b == b'\n') {
        assert!(!ended, "something behind the trailer");
        let object: Object<'_> =
            serde_json::from_slice(line).unwrap_or_else(|e| panic!("{e}: {}", line.escape_ascii()));
        if object.gap.is_some() {
            gaps += 1;
            continue;
        }
        if object.end {
            ended = true;
            continue;
        }
        let text = object.line.expect("a line");
        records.push(Got {
            bytes: match object.bytes {
                Some(bytes) => base64(bytes),
                None => text.into_owned().into_bytes(),
            },
            stream: if object.source == Some("stdout") {
                1
            } else {
                2
            },
            time: object.time.expect("a time").to_owned(),
            cursor: object.cursor.map(|text| text.parse().expect("a cursor")),
        });
    }
    assert!(ended, "no trailer");
    assert_eq!(stats.records, records.len() as u64);
    Ok(Read {
        records,
        gaps,
        stats,
    })
}

/// Reads as NDJSON and as frames, which must agree.
///
/// # Errors
/// Those of the reader.
pub fn read(files: &LogFiles, query: &Query) -> Result<Read, ReadError> {
    let all = objects(files, query)?;
    let framed = Format {
        multiplexed: true,
        timestamps: true,
        ..Format::default()
    };
    let (out, again) = drain(files, query, framed)?;
    assert_eq!(again.records, all.stats.records);
    let mut frames = frames(&out);
    frames.retain(|(_, payload)| !payload.starts_with(b"taffrail: "));
    assert_eq!(frames.len(), all.records.len());
    for ((stream, payload), got) in frames.iter().zip(&all.records) {
        assert_eq!(*stream, got.stream);
        let text = payload.strip_prefix(got.time.as_bytes());
        assert_eq!(
            text.and_then(|t| t.strip_prefix(b" ")),
            Some(&got.bytes[..])
        );
    }
    Ok(all)
}

/// Takes frames apart.
pub fn frames(mut bytes: &[u8]) -> Vec<(u8, &[u8])> {
    let mut out = Vec::new();
    while !bytes.is_empty() {
        let (head, rest) = bytes.split_first_chunk::<8>().expect("a frame's header");
        let [stream @ 1..=2, 0, 0, 0, a, b, c, d] = *head else {
            panic!("{head:?} is no header");
        };
        let length = u32::from_be_bytes([a, b, c, d]) as usize;
        assert!(length <= rest.len(), "a frame is cut");
        let (payload, rest) = rest.split_at(length);
        out.push((stream, payload));
        bytes = rest;
    }
    out
}

fn base64(text: &str) -> Vec<u8> {
    let value = |b: u8| match b {
        b'A'..=b'Z' => b - b'A',
        b'a'..=b'z' => b - b'a' + 26,
        b'0'..=b'9' => b - b'0' + 52,
        b'+' => 62,
        b'/' => 63,
        other => panic!("{other} in base64"),
    };
    let mut out = Vec::new();
    for chunk in text.trim_end_matches('=').as_bytes().chunks(4) {
        let word = (0..4).fold(0u32, |word, n| {
            word << 6 | u32::from(chunk.get(n).map_or(0, |b| value(*b)))
        });
        out.extend_from_slice(&word.to_be_bytes()[1..chunk.len()]);
    }
    out
}
