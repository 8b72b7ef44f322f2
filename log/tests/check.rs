//! Damage in segments, their indexes and their compressed form: only what is touched is lost, and
//! each place is named.

mod common;

use std::collections::BTreeMap;
use std::path::Path;

use common::drain;
use common::written::{BASE, Written};
use taffrail_log::{Damage, Format, LogFormat, Query, Report, check, repair};
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

/// Records that a check names as lost.
fn named(report: &Report) -> u64 {
    let lost = report.places.iter().filter_map(|p| p.lost);
    lost.map(|(first, last)| last.seq - first.seq + 1).sum()
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
            assert_eq!(
                named(&report),
                gone,
                "{format:?}, {at}: {:?}",
                report.places
            );
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
        assert_eq!(
            named(&report),
            (log.want.len() - left.len()) as u64,
            "{format:?}"
        );
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

/// Every header behind an index entry is damaged: the entry must not be where a search stops for ever.
#[test]
fn a_tail_over_a_damaged_end() {
    let mut log = Written::new(LogFormat::Local, 0, &BTreeMap::new());
    for batch in 0..60u64 {
        let line = format!("{batch} {}\n", "x".repeat(9_000));
        log.write(0, line.as_bytes(), BASE + batch * 1000);
    }
    log.end(BASE + 100_000);
    let entries = std::fs::read(log.files.index_dir.join("1")).unwrap();
    let offsets: Vec<u64> = entries
        .chunks(64)
        .filter_map(|slot| taffrail_log_core::side::Entry::decode(slot.try_into().ok()?))
        .map(|entry| entry.offset)
        .collect();
    assert!(offsets.len() > 1, "{offsets:?}");
    edit(&log.path(1), |bytes| {
        for (at, _) in batches(bytes, 0xfeed_0001) {
            if at as u64 >= offsets[1] {
                bytes[at] ^= 1;
            }
        }
    });
    let (left, _) = lines(&log);
    let tail = Query {
        tail: Some(3),
        ..Query::all()
    };
    let out = drain(&mut log.open(tail, Format::default()));
    assert_eq!(out, left[left.len() - 3..].concat());
}

/// What the first batch of a segment would have had is known from the segment's header.
#[test]
fn a_lost_first_batch_is_counted() {
    let log = log(LogFormat::Local);
    edit(&log.path(1), |bytes| {
        let (at, batch) = batches(bytes, 0xfeed_0001)[0];
        bytes[at..at + batch.size() as usize].fill(0);
    });
    let (left, stats) = lines(&log);
    assert_eq!(log.want.len() - left.len(), 100);
    assert_eq!(stats.missed_records, 100);
    let report = check(&log.files, None).unwrap();
    let lost = report.places[0].lost.unwrap();
    assert_eq!((lost.0.seq, lost.1.seq), (1, 100));
}

/// A closed file that ends at a whole record too early is named, by the next segment's numbers or by its
/// index.
#[test]
fn a_file_cut_between_records_is_named() {
    for format in [LogFormat::Local, LogFormat::JsonFile] {
        let log = log(format);
        let path = log.path(2);
        let end = match format {
            LogFormat::Local => batches(&std::fs::read(&path).unwrap(), SALT_OF_2)[4].0,
            LogFormat::JsonFile => 0,
        };
        edit(&path, |bytes| bytes.truncate(end));
        let report = check(&log.files, None).unwrap();
        let torn: Vec<_> = report
            .places
            .iter()
            .filter(|p| p.what == Damage::Torn)
            .collect();
        assert_eq!(torn.len(), 1, "{format:?} {report:?}");
        assert_eq!((&torn[0].file, torn[0].offset), (&path, end as u64));
        if format == LogFormat::Local {
            let gone = log.want.len() as u64 - report.records;
            let (first, last) = torn[0].lost.unwrap();
            assert_eq!(last.seq - first.seq + 1, gone);
        }
    }
}

/// What can be read of a cut last batch is still there after a repair.
#[test]
fn repair_leaves_what_can_be_read() {
    let mut log = Written::new(LogFormat::Local, 0, &BTreeMap::new());
    let text: String = (0..1000)
        .map(|n| format!("{n} {}\n", "x".repeat(30)))
        .collect();
    log.write(0, text.as_bytes(), BASE);
    edit(&log.path(1), |bytes| bytes.truncate(bytes.len() / 2));
    let (left, _) = lines(&log);
    assert!(left.len() > 300);
    repair(&log.files).unwrap();
    assert_eq!(lines(&log).0, left);
}

/// A gzip stream as Docker writes it is never cut, and no table is made where it has no place.
#[test]
fn repair_leaves_foreign_files_alone() {
    let log = log(LogFormat::JsonFile);
    let packed = log.compress(2, false).unwrap();
    std::fs::remove_dir_all(&log.files.index_dir).unwrap();
    let (left, _) = lines(&log);
    assert_eq!(repair(&log.files).unwrap(), []);
    assert_eq!(lines(&log).0, left);
    // The compressed file is the newest one there is.
    for number in 1..=log.slot().file_no {
        let _ = std::fs::remove_file(log.path(number));
    }
    let plain = std::fs::read(&packed).unwrap();
    let mut text = Vec::new();
    std::io::Read::read_to_end(
        &mut flate2::read::MultiGzDecoder::new(&plain[..]),
        &mut text,
    )
    .unwrap();
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::Write::write_all(&mut encoder, &text[..text.len() - 1]).unwrap();
    let bytes = encoder.finish().unwrap();
    std::fs::write(&packed, &bytes).unwrap();
    assert_eq!(repair(&log.files).unwrap(), []);
    assert_eq!(std::fs::read(&packed).unwrap(), bytes);
}

/// The seek table has no checksum: whatever bit of it is wrong, nothing is lost, from wherever it is read.
#[test]
fn no_bit_of_a_seek_table_costs_a_record() {
    let log = log(LogFormat::Local);
    let path = log.compress(2, true).unwrap();
    let good = std::fs::read(&path).unwrap();
    let tail = Query {
        tail: Some(1500),
        ..Query::all()
    };
    let want = drain(&mut log.open(tail.clone(), Format::default()));
    let frames = good.len() - 17 - 8 * 2;
    for at in frames..good.len() {
        for bit in 0..8 {
            let mut bad = good.clone();
            bad[at] ^= 1 << bit;
            std::fs::write(&path, &bad).unwrap();
            assert_eq!(lines(&log).0.len(), log.want.len(), "byte {at} bit {bit}");
            let out = drain(&mut log.open(tail.clone(), Format::default()));
            assert_eq!(out, want, "tail, byte {at} bit {bit}");
        }
    }
}

/// Without its table and with one header that lies, the other members are still found.
#[test]
fn a_member_s_header_costs_that_member() {
    let mut log = Written::new(LogFormat::JsonFile, 3_000_000, &BTreeMap::new());
    for batch in 0..400u64 {
        let lines: String = (0..100)
            .map(|n| format!("{batch} {n} {}\n", "x".repeat(20)))
            .collect();
        log.write(0, lines.as_bytes(), BASE + batch * 1000);
    }
    log.end(BASE + 100_000);
    let path = log.compress(1, false).unwrap();
    let good = std::fs::read(&path).unwrap();
    let head = b"\x1f\x8b\x08\x04\0\0\0\0\0\xff\x0c\0TF\x08\0";
    let at = memchr::memmem::find_iter(&good, head).nth(3).unwrap();
    // Of 256 KiB, and the lines at the borders.
    let most = 256 * 1024 / 90 + 2;
    for byte in 0..24 {
        for bit in 0..8 {
            let mut bad = good.clone();
            bad[at + byte] ^= 1 << bit;
            std::fs::write(&path, &bad).unwrap();
            let gone = log.want.len() - lines(&log).0.len();
            assert!(gone <= most, "byte {byte} bit {bit}: {gone} lost");
        }
    }
}

/// A container prints what looks like headers, and the segment's own header is damaged: its salt is
/// that of the first batch.
#[test]
fn printed_headers_do_not_choose_the_salt() {
    let mut log = Written::new(LogFormat::Local, 0, &BTreeMap::new());
    let fake = Batch {
        kind: 1,
        stream: 1,
        seq: 1,
        epoch: 1,
        length: 10,
        ..Batch::default()
    };
    let mut text = fake.encode(7).repeat(9);
    text.push(b'\n');
    log.write(0, &text, BASE);
    log.write(0, b"more\n", BASE);
    let (all, _) = lines(&log);
    edit(&log.path(1), |bytes| bytes[20] ^= 1);
    assert_eq!(lines(&log).0, all);
}

/// A header is damaged whose batch has a copy of it: a read from a record within finds it, too.
#[test]
fn a_cursor_within_a_batch_with_a_damaged_header() {
    let log = log(LogFormat::Local);
    let query = Query {
        after: Some(taffrail_log::Cursor { epoch: 1, seq: 250 }),
        ..Query::all()
    };
    let want = drain(&mut log.open(query.clone(), Format::default()));
    edit(&log.path(1), |bytes| {
        let (at, _) = batches(bytes, 0xfeed_0001)[2];
        bytes[at + 9] ^= 1;
    });
    assert_eq!(drain(&mut log.open(query, Format::default())), want);
}
