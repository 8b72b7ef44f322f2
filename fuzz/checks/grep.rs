//! Any pattern on any records: a read with it shows what matches, and nothing else, whatever is passed
//! over before it is decoded.

use taffrail_log::{Grep, LogFormat, Query};

use super::common::written::{BASE, Written, stored};
use super::input::Input;
use super::read::read;

/// A pattern up to the first newline, then records.
pub fn check(data: &[u8]) {
    let mut input = Input::new(data);
    let bits = input.byte();
    let rest = input.rest();
    let at = rest.iter().position(|b| *b == b'\n').unwrap_or(rest.len());
    let Ok(pattern) = std::str::from_utf8(&rest[..at]) else {
        return;
    };
    let records = rest.get(at + 1..).unwrap_or_default();
    let Ok(grep) = Grep::new(pattern) else {
        return;
    };
    let regex = regex::bytes::Regex::new(pattern).expect("a pattern that was taken");
    let format = if bits & 1 == 0 {
        LogFormat::Local
    } else {
        LogFormat::JsonFile
    };
    let mut log = Written::new(format, 0, &std::collections::BTreeMap::new());
    // Several batches, so that one is passed over and the next is not.
    for (n, part) in records.chunks(1 + records.len() / 3).enumerate() {
        log.write(
            usize::from(bits >> n & 2 != 0),
            part,
            BASE + n as u64 * 1000,
        );
    }
    log.end(BASE + 10_000);
    let query = Query {
        grep: Some(grep.clone()),
        ..Query::all()
    };
    let got = read(&log.files, &query).expect("a log that can be read");
    let want: Vec<Vec<u8>> = log
        .want
        .iter()
        .map(|want| stored(format, &want.bytes))
        .filter(|bytes| {
            let line = bytes.strip_suffix(b"\n").unwrap_or(bytes);
            let matches = regex.is_match(line);
            assert_eq!(
                grep.matches(bytes),
                matches,
                "{pattern:?} on {}",
                line.escape_ascii()
            );
            matches
        })
        .collect();
    let got: Vec<Vec<u8>> = got.records.into_iter().map(|got| got.bytes).collect();
    assert_eq!(got, want, "{pattern:?}");
}
