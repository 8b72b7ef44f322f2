//! A log on disk, an encoder of Docker's format, and a naive reader to compare with.
#![allow(
    dead_code,
    unreachable_pub,
    reason = "each test binary uses its own part"
)]

pub mod live;
pub mod written;

use std::collections::BTreeMap;
use std::path::PathBuf;

use taffrail_log::{Format, LogFiles, LogFormat, Moment, Query, Reader, Step};

#[derive(Clone, Debug)]
pub struct Rec {
    pub log: String,
    pub stream: &'static str,
    pub attrs: BTreeMap<String, String>,
    pub ns: i64,
}

impl Rec {
    pub fn new(log: impl Into<String>, stream: &'static str, ns: i64) -> Self {
        Self {
            log: log.into(),
            stream,
            attrs: BTreeMap::new(),
            ns,
        }
    }

    /// The line as Docker writes it, with its newline.
    pub fn line(&self) -> Vec<u8> {
        let mut out = b"{\"log\":\"".to_vec();
        escape(&self.log, &mut out);
        out.extend_from_slice(b"\",\"stream\":\"");
        out.extend_from_slice(self.stream.as_bytes());
        out.push(b'"');
        if !self.attrs.is_empty() {
            out.extend_from_slice(b",\"attrs\":{");
            for (i, (k, v)) in self.attrs.iter().enumerate() {
                if i > 0 {
                    out.push(b',');
                }
                out.push(b'"');
                escape(k, &mut out);
                out.extend_from_slice(b"\":\"");
                escape(v, &mut out);
                out.push(b'"');
            }
            out.push(b'}');
        }
        out.extend_from_slice(b",\"time\":\"");
        let text = rfc3339(self.ns);
        let text = text.trim_end_matches('Z').trim_end_matches('0');
        out.extend_from_slice(text.trim_end_matches('.').as_bytes());
        out.extend_from_slice(b"Z\"}\n");
        out
    }
}

pub fn rfc3339(ns: i64) -> String {
    let mut out = Vec::new();
    Moment::from_ns(ns).write(&mut out);
    String::from_utf8(out).unwrap()
}

fn escape(text: &str, out: &mut Vec<u8>) {
    for c in text.chars() {
        match c {
            '"' => out.extend_from_slice(b"\\\""),
            '\\' => out.extend_from_slice(b"\\\\"),
            '\n' => out.extend_from_slice(b"\\n"),
            '\r' => out.extend_from_slice(b"\\r"),
            '\0'..='\x1f' | '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => {
                out.extend_from_slice(format!("\\u{:04x}", c as u32).as_bytes());
            }
            _ => out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
}

/// A folder for one log.
pub struct Dir {
    _dir: tempfile::TempDir,
    pub files: LogFiles,
}

impl Dir {
    pub fn new(max_file: u32) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let files = LogFiles {
            format: LogFormat::JsonFile,
            spool_dir: dir.path().join("spool"),
            path: dir.path().join("c-json.log"),
            index_dir: dir.path().join("index"),
            max_file,
        };
        std::fs::create_dir(&files.index_dir).unwrap();
        Self { _dir: dir, files }
    }

    pub fn name(&self, index: usize) -> PathBuf {
        if index == 0 {
            return self.files.path.clone();
        }
        PathBuf::from(format!("{}.{index}", self.files.path.display()))
    }

    /// Writes the files, oldest first.
    pub fn write(&self, files: &[Vec<u8>]) {
        for (i, bytes) in files.iter().rev().enumerate() {
            std::fs::write(self.name(i), bytes).unwrap();
        }
    }

    pub fn open(&self, query: Query, format: Format) -> Reader {
        Reader::open(self.files.clone(), query, format, None).unwrap()
    }
}

/// Everything up to the end.
pub fn drain(reader: &mut Reader) -> Vec<u8> {
    let mut out = Vec::new();
    loop {
        let before = out.len();
        match reader.read(&mut out).unwrap() {
            Step::Data => {}
            Step::End => {
                assert_eq!(before, out.len());
                return out;
            }
            Step::CaughtUp { .. } => panic!("caught up without follow"),
        }
    }
}

/// What Docker's rules make of files full of whole records, oldest first.
pub fn naive(files: &[Vec<Rec>], query: &Query, format: &Format) -> Vec<u8> {
    let all: Vec<&Rec> = files.iter().flatten().collect();
    let from = match query.tail {
        Some(n) => all
            .len()
            .saturating_sub(usize::try_from(n).unwrap_or(usize::MAX)),
        None => 0,
    };
    let mut out = Vec::new();
    let mut started = query.since.is_none();
    for rec in &all[from..] {
        started |= query.since.is_some_and(|since| rec.ns >= since);
        if !started {
            continue;
        }
        if query.until.is_some_and(|until| rec.ns > until) {
            break;
        }
        let number = match rec.stream {
            "stdout" if query.stdout => 1,
            "stderr" if query.stderr => 2,
            _ => continue,
        };
        let mut payload = Vec::new();
        if format.timestamps {
            payload.extend_from_slice(rfc3339(rec.ns).as_bytes());
            payload.push(b' ');
        }
        if format.details {
            let pairs: Vec<String> = rec
                .attrs
                .iter()
                .map(|(k, v)| format!("{}={}", query_escape(k), query_escape(v)))
                .collect();
            payload.extend_from_slice(pairs.join(",").as_bytes());
            payload.push(b' ');
        }
        payload.extend_from_slice(rec.log.as_bytes());
        if format.multiplexed {
            out.extend_from_slice(&[number, 0, 0, 0]);
            out.extend_from_slice(&(payload.len() as u32).to_be_bytes());
        }
        out.extend_from_slice(&payload);
    }
    out
}

fn query_escape(text: &str) -> String {
    text.bytes()
        .map(|b| match b {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                char::from(b).to_string()
            }
            b' ' => "+".to_owned(),
            _ => format!("%{b:02X}"),
        })
        .collect()
}

/// Takes frames apart and joins neighbours of one stream.
pub fn joined(mut bytes: &[u8]) -> Vec<(u8, Vec<u8>)> {
    let mut out: Vec<(u8, Vec<u8>)> = Vec::new();
    while !bytes.is_empty() {
        assert_eq!(bytes[1..4], [0; 3]);
        let length = u32::from_be_bytes(bytes[4..8].try_into().unwrap()) as usize;
        let payload = &bytes[8..8 + length];
        match out.last_mut() {
            Some((stream, before)) if *stream == bytes[0] => before.extend_from_slice(payload),
            _ => out.push((bytes[0], payload.to_vec())),
        }
        bytes = &bytes[8 + length..];
    }
    out
}
