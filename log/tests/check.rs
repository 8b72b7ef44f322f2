//! Damage in segments, their indexes and their compressed form: only what is touched is lost, and
//! each place is named.

mod common;

use std::collections::BTreeMap;
use std::path::Path;

use common::drain;
use common::written::{BASE, Written};
use taffrail_log::{Damage, Format, LogFormat, Query, check, repair};
use taffrail_log_core::local::{Batch, copy_at, payload_at};

/// A log of several segments with batches of some 10 KiB.
fn log(format: LogFormat) -> Written {
    let mut log = Written::new(format, 100_000, &BTreeMap::new());
    for batch in 0..40u64 {
        let lines: String = (0..100)
            .map(|n| format!("{batch} {n} {}\n", "x".repeat(90)))
            .collect();
        log.write((batch % 2) as usize, lines.as_bytes(), BASE + batch * 1000);
    }
    log.end(BASE + 100_000);
    assert!(log.slot().file_no >= 3);
    log
}

fn lines(log: &Written) -> (Vec<Vec<u8>>, taffrail_log::ReadStats) {
    let mut reader = log.open(Query::all(), Format::default());
    let out = drain(&mut reader);
    let lines = out
        .split_inclusive(|b| *b == b'\n')
        .filter(|l| !l.starts_with(b"taffrail: "))
        .map(<[u8]>::to_vec)
        .collect();
    (lines, *reader.stats())
}

fn lines_of(log: &Written) -> Vec<Vec<u8>> {
    log.want.iter().map(|w| w.bytes.clone()).collect()
}

fn edit(path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = std::fs::read(path).unwrap();
    change(&mut bytes);
    std::fs::write(path, bytes).unwrap();
}

/// Offsets and headers of a segment's batches.
fn batches(bytes: &[u8], salt: u32) -> Vec<(usize, Batch)> {
    (64..bytes.len())
        .step_by(64)
        .filter_map(|at| Some((at, Batch::decode(bytes[at..].first_chunk()?, salt)?)))
        .collect()
}

const SALT_OF_2: u32 = 0xfeed_0002;

#[test]
fn an_undamaged_log_is_clean() {
    for format in [LogFormat::Local, LogFormat::JsonFile] {
        let log = log(format);
        let report = check(&log.files, None).unwrap();
        assert_eq!(report.places, [], "{format:?}");
        assert_eq!(report.records, log.want.len() as u64);
        log.compress(1, true);
        log.compress(2, false);
        let report = check(&log.files, None).unwrap();
        let tables = report
            .places
            .iter()
            .filter(|p| p.what == Damage::FrameTable)
            .count();
        assert_eq!(report.places.len(), tables);
        assert_eq!(report.records, log.want.len() as u64);
    }
}

/// Every 4 KiB of a segment is hurt in turn, by a flip, zeros and a stretch of rubbish.
#[test]
fn only_touched_records_are_lost_and_each_place_is_named() {
    let log = log(LogFormat::Local);
    let path = log.path(2);
    let good = std::fs::read(&path).unwrap();
    let (all, _) = lines(&log);
    assert_eq!(all.len(), log.want.len());
    let found = batches(&good, SALT_OF_2);
    for (n, at) in (0..good.len()).step_by(2039).enumerate() {
        let length = [1, 64, 700][n % 3].min(good.len() - at);
        let mut bad = good.clone();
        for byte in &mut bad[at..at + length] {
            *byte = if n % 2 == 0 { !*byte } else { 0 };
        }
        if bad == good {
            continue;
        }
        std::fs::write(&path, &bad).unwrap();
        let (left, stats) = lines(&log);
        // What may be lost: the records of the blocks. Headers have a copy.
        let mut lost = 0;
        for (start, batch) in &found {
            let end = start + batch.size() as usize;
            if at >= end || at + length <= *start {
                continue;
            }
            let from = start + payload_at(batch.length);
            if at < from + batch.length as usize && at + length > from {
                // Lines of 97 bytes or so in the blocks, and one at each side.
                lost += (length / 4096 + 2) * 4096 / 90 + 2;
            }
        }
        let gone = all.len() - left.len();
        assert!(gone <= lost, "{at}: {gone} lost, at most {lost}");
        let mut rest = all.iter();
        assert!(left.iter().all(|l| rest.any(|w| w == l)), "{at}: order");
        assert_eq!(stats.missed_records, gone as u64, "{at}");
        let report = check(&log.files, None).unwrap();
        let padding = !found.iter().any(|(start, b)| {
            let end = start + payload_at(b.length) + b.length as usize;
            let copy = start + copy_at(b.length)..start + copy_at(b.length) + payload_at(b.length);
            at < end && at + length > *start || at < copy.end && at + length > copy.start
        });
        if at >= 64 && !padding {
            assert!(
                report.places.iter().any(|p| p.file == path
                    && p.offset < (at + length) as u64
                    && p.offset + p.length > at as u64),
                "{at}: {:?}",
                report.places
            );
        }
        assert_eq!(report.records as usize, left.len(), "{at}");
    }
}

/// Of every batch in turn the header and its table are lost, or the copy of both.
#[test]
fn a_lost_batch_header_costs_nothing() {
    let log = log(LogFormat::Local);
    let path = log.path(2);
    let good = std::fs::read(&path).unwrap();
    let tail = Query {
        tail: Some(500),
        ..Query::all()
    };
    let want = drain(&mut log.open(tail.clone(), Format::default()));
    let found = batches(&good, SALT_OF_2);
    let copied = found.iter().filter(|(_, b)| b.length > 4096);
    assert!(copied.clone().count() >= 5);
    for (start, batch) in copied {
        let head = payload_at(batch.length);
        for (at, what) in [
            (*start, Damage::BatchHeader),
            (start + copy_at(batch.length), Damage::BatchCopy),
        ] {
            for (from, to) in [(0, head), (0, 1), (head - 1, head)] {
                let mut bad = good.clone();
                bad[at + from..at + to].iter_mut().for_each(|b| *b ^= 0x55);
                std::fs::write(&path, &bad).unwrap();
                let (left, stats) = lines(&log);
                assert_eq!(left, lines_of(&log), "{start} {from}..{to} {what}");
                assert_eq!((stats.damaged, stats.missed_records), (0, 0));
                assert_eq!(
                    drain(&mut log.open(tail.clone(), Format::default())),
                    want,
                    "{start} {from}..{to} {what}"
                );
                let report = check(&log.files, None).unwrap();
                let named: Vec<_> = report.places.iter().map(|p| (p.what, p.lost)).collect();
                assert_eq!(named, [(what, None)], "{start} {from}..{to}");
                assert_eq!(report.records as usize, log.want.len());
            }
        }
    }
}

/// A closed file that is cut, at any place, has its missing records named.
#[test]
fn a_cut_file_names_what_is_gone() {
    for format in [LogFormat::Local, LogFormat::JsonFile] {
        let log = log(format);
        let path = log.path(2);
        let good = std::fs::read(&path).unwrap();
        for at in (0..good.len()).step_by(1999) {
            std::fs::write(&path, &good[..at]).unwrap();
            let gone = (log.want.len() - lines(&log).0.len()) as u64;
            let report = check(&log.files, None).unwrap();
            let named: u64 = report
                .places
                .iter()
                .filter_map(|p| p.lost)
                .map(|(first, last)| last.seq - first.seq + 1)
                .sum();
            assert_eq!(named, gone, "{format:?}, {at}: {:?}", report.places);
            assert!(!report.is_clean());
        }
    }
}

#[test]
fn a_lost_segment_header_costs_nothing() {
    let log = log(LogFormat::Local);
    edit(&log.path(2), |bytes| bytes[..64].fill(0));
    assert_eq!(lines(&log).0.len(), log.want.len());
    let report = check(&log.files, None).unwrap();
    assert_eq!(report.places.len(), 1);
    assert_eq!(report.places[0].what, Damage::SegmentHeader);
}

#[test]
fn a_version_of_the_future_is_refused_by_name() {
    let log = log(LogFormat::Local);
    edit(&log.path(2), |bytes| {
        bytes[8] = 9;
        let crc = taffrail_log_core::crc32c::update(0, &bytes[..60]);
        bytes[60..64].copy_from_slice(&crc.to_le_bytes());
    });
    let mut reader = log.open(Query::all(), Format::default());
    let mut out = Vec::new();
    let error = loop {
        match reader.read(&mut out) {
            Ok(taffrail_log::Step::Data) => {}
            other => break other.unwrap_err(),
        }
    };
    assert!(error.to_string().contains("version 9"), "{error}");
    let report = check(&log.files, None).unwrap();
    assert_eq!(report.places[0].what, Damage::Version(9));
}

#[test]
fn indexes_are_made_again() {
    let log = log(LogFormat::Local);
    let path = log.files.index_dir.join("2");
    let tail = Query {
        tail: Some(150),
        ..Query::all()
    };
    let want = drain(&mut log.open(tail.clone(), Format::default()));
    edit(&path, |bytes| bytes[3] ^= 1);
    std::fs::remove_file(log.files.index_dir.join("1")).unwrap();
    assert_eq!(drain(&mut log.open(tail.clone(), Format::default())), want);
    let report = check(&log.files, None).unwrap();
    assert_eq!(
        report
            .places
            .iter()
            .filter(|p| p.what == Damage::Index)
            .count(),
        2
    );
    assert_eq!(repair(&log.files).unwrap().len(), 2);
    assert!(check(&log.files, None).unwrap().is_clean());
    assert_eq!(drain(&mut log.open(tail, Format::default())), want);
}

#[test]
fn a_damaged_frame_costs_its_records() {
    for format in [LogFormat::Local, LogFormat::JsonFile] {
        let log = log(format);
        let path = log.compress(2, true).unwrap();
        let good = std::fs::read(&path).unwrap();
        edit(&path, |bytes| {
            let at = bytes.len() / 3;
            bytes[at..at + 9].fill(0x55);
        });
        let (left, _) = lines(&log);
        assert!(left.len() < log.want.len());
        // 64 KiB of segment and what touches it, or 256 KiB of JSON.
        let most = match format {
            LogFormat::Local => 64 * 1024 / 90 + 2 * 4096 / 90 + 4,
            LogFormat::JsonFile => 1100,
        };
        assert!(
            log.want.len() - left.len() <= most,
            "{format:?}: {}",
            left.len()
        );
        let report = check(&log.files, None).unwrap();
        assert!(
            report
                .places
                .iter()
                .any(|p| p.what == Damage::Frame && p.file == path)
        );
        // The numbers behind the damage tell how many records were in it.
        let named: u64 = report
            .places
            .iter()
            .filter_map(|p| p.lost)
            .map(|(first, last)| last.seq - first.seq + 1)
            .sum();
        assert_eq!(named, (log.want.len() - left.len()) as u64, "{format:?}");
        // The table alone.
        std::fs::write(&path, &good).unwrap();
        match format {
            LogFormat::Local => edit(&path, |bytes| {
                let end = bytes.len();
                bytes[end - 30..].fill(0);
            }),
            LogFormat::JsonFile => edit(&log.files.index_dir.join("2.gz"), |b| b[9] ^= 4),
        }
        assert_eq!(lines(&log).0.len(), log.want.len(), "{format:?}");
        assert_eq!(repair(&log.files).unwrap().len(), 1);
        assert_eq!(check(&log.files, None).unwrap().places, [], "{format:?}");
        assert_eq!(lines(&log).0.len(), log.want.len());
    }
}

#[test]
fn a_torn_end_is_cut_and_nothing_else() {
    for format in [LogFormat::Local, LogFormat::JsonFile] {
        let log = log(format);
        let path = log.path(log.slot().file_no);
        let whole = std::fs::metadata(&path).unwrap().len();
        edit(&path, |bytes| {
            let more = bytes[bytes.len() - 100..].to_vec();
            bytes.extend_from_slice(&more[..50]);
        });
        let (left, _) = lines(&log);
        assert_eq!(left.len(), log.want.len());
        if format == LogFormat::JsonFile {
            assert_eq!(repair(&log.files).unwrap().len(), 1);
            assert_eq!(std::fs::metadata(&path).unwrap().len(), whole);
        }
        // Cut inside of the last batch: its whole blocks are read.
        edit(&path, |bytes| bytes.truncate(whole as usize - 200));
        let (left, _) = lines(&log);
        assert!(
            log.want.len() - left.len() < 60,
            "{format:?} {}",
            left.len()
        );
    }
}
