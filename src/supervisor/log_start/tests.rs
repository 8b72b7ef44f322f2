//! Logs as runs leave them: clean, cut, damaged, put back.

use std::os::unix::fs::MetadataExt;

use taffrail_log_core::local::{Batch, SegmentHeader, kind};

use super::*;
use crate::supervisor::LogFile;

const LINE: &str =
    "{\"log\":\"a\\n\",\"stream\":\"stdout\",\"time\":\"2023-11-14T22:13:20.123456789Z\"}\n";
const TIME: u64 = 1_700_000_000_123_456_789;

fn plan(dir: &Path, format: LogFormat) -> LogFile {
    LogFile {
        dir: dir.to_owned(),
        format,
        max_size: None,
        max_file: 5,
        attrs: Vec::new(),
        run: 3,
        sync: false,
        blocking: false,
        spool_share: 0,
    }
}

fn json(dir: &Path) -> LogFile {
    plan(dir, LogFormat::JsonFile("x-json.log".into()))
}

fn numbers(slot: &Slot) -> (u64, u64, u64, u64, u64) {
    (
        slot.file_no,
        slot.oldest_file_no,
        slot.epoch,
        slot.next_seq,
        slot.offset,
    )
}

#[test]
fn json_goes_on_where_the_run_before_ended() {
    let dir = tempfile::tempdir().unwrap();
    let plan = json(dir.path());
    let first = first_slot(&plan).unwrap();
    assert_eq!(numbers(&first), (1, 1, 1, 1, 0));
    assert_eq!((first.run, first.spool_oldest), (3, 1));

    // The start failed and nothing was written: as if it had not been.
    LogEnd::of(&first).store(dir.path()).unwrap();
    let log = dir.path().join("x-json.log");
    fs::write(&log, "").unwrap();
    assert_eq!(first_slot(&plan).unwrap(), first);

    // Three records in the current file, an old file, a side file.
    fs::write(&log, LINE.repeat(3)).unwrap();
    fs::write(dir.path().join("x-json.log.1.gz"), "").unwrap();
    let inode = fs::metadata(&log).unwrap().ino();
    let header = Header {
        file_no: 7,
        inode,
        epoch: 2,
        first_seq: 100,
        time: 0,
    };
    fs::write(dir.path().join("index/7"), header.encode()).unwrap();
    let end = LogEnd::of(&Slot {
        file_no: 7,
        offset: 3 * LINE.len() as u64,
        inode,
        epoch: 2,
        next_seq: 104,
        last_time: TIME,
        gap_seq: 103,
        gap_records: 1,
        gap_bytes: 9,
        run: 2,
        ..Slot::default()
    });
    end.store(dir.path()).unwrap();
    let slot = first_slot(&plan).unwrap();
    assert_eq!(numbers(&slot), (7, 6, 2, 104, end.offset));
    assert_eq!(
        (slot.gap_seq, slot.gap_records, slot.gap_bytes),
        (103, 1, 9)
    );
    assert_eq!(slot.index_offset, ENTRY as u64);

    // The note is gone now: whatever ended that run, a new epoch begins.
    let slot = first_slot(&plan).unwrap();
    assert_eq!(numbers(&slot), (7, 6, 3, 103, end.offset));

    // The log is not what the note says: cut, longer, another file.
    for text in [
        LINE.repeat(2),
        LINE.repeat(4),
        LINE.repeat(3) + "{\"log\":\"to",
    ] {
        end.store(dir.path()).unwrap();
        fs::write(&log, &text).unwrap();
        let slot = first_slot(&plan).unwrap();
        let whole = text.matches('\n').count() as u64;
        if whole == 3 {
            // The torn record is cut off, what the note says is there.
            assert_eq!(numbers(&slot), (7, 6, 2, 104, end.offset));
        } else {
            let offset = whole * LINE.len() as u64;
            assert_eq!(numbers(&slot), (7, 6, 3, 100 + whole, offset));
        }
    }
}

#[test]
fn a_json_log_without_its_side_file_is_counted_anew() {
    let dir = tempfile::tempdir().unwrap();
    let plan = json(dir.path());
    let log = dir.path().join("x-json.log");
    fs::write(&log, LINE.repeat(3)).unwrap();
    fs::write(dir.path().join("x-json.log.1"), LINE).unwrap();
    fs::create_dir(dir.path().join("index")).unwrap();
    let inode = fs::metadata(&log).unwrap().ino();
    let other = Header {
        file_no: 7,
        inode: inode + 1,
        epoch: 2,
        first_seq: 100,
        time: 0,
    };
    fs::write(dir.path().join("index/7"), other.encode()).unwrap();
    let slot = first_slot(&plan).unwrap();
    assert_eq!(numbers(&slot), (8, 7, 3, 103, 3 * LINE.len() as u64));
    let side = Side::read(&dir.path().join("index/8")).unwrap();
    assert_eq!((side.header.inode, side.header.first_seq), (inode, 100));
    assert_eq!(slot.index_offset, side.len);

    fs::remove_file(&log).unwrap();
    let slot = first_slot(&plan).unwrap();
    assert_eq!(numbers(&slot), (9, 8, 4, 100, 0));
}

/// A segment of batches with one byte each, and where they end.
fn segment(dir: &Path, number: u64, batches: u64) -> u64 {
    let salt = 77;
    let header = SegmentHeader {
        salt,
        number,
        first_seq: 10,
        epoch: 4,
        run: 1,
        time: TIME,
    };
    let mut bytes = header.encode().to_vec();
    for n in 0..batches {
        let batch = Batch {
            seq: 10 + n,
            time: TIME + n,
            epoch: 4,
            run: 1,
            length: 1,
            count: 1,
            kind: kind::RECORDS,
            stream: 1,
            crc0: taffrail_log_core::crc32c::update(0, b"\n"),
            ..Batch::default()
        };
        bytes.extend_from_slice(&batch.encode(salt));
        bytes.push(b'\n');
        bytes.resize(bytes.len().next_multiple_of(64), 0);
    }
    fs::create_dir_all(dir.join("local-logs")).unwrap();
    fs::write(dir.join(format!("local-logs/{number}.seg")), &bytes).unwrap();
    bytes.len() as u64
}

#[test]
fn segments_go_on_after_a_clean_end_only() {
    let dir = tempfile::tempdir().unwrap();
    let plan = plan(dir.path(), LogFormat::Local);
    let first = first_slot(&plan).unwrap();
    assert_eq!(numbers(&first), (1, 1, 1, 1, 0));
    LogEnd::of(&first).store(dir.path()).unwrap();
    fs::write(dir.path().join("local-logs/1.seg"), "").unwrap();
    assert_eq!(first_slot(&plan).unwrap(), first);
    fs::remove_file(dir.path().join("local-logs/1.seg")).unwrap();

    segment(dir.path(), 5, 1);
    let offset = segment(dir.path(), 6, 3);
    let path = dir.path().join("local-logs/6.seg");
    let end = LogEnd::of(&Slot {
        file_no: 6,
        offset,
        inode: fs::metadata(&path).unwrap().ino(),
        epoch: 4,
        next_seq: 13,
        last_time: TIME + 2,
        run: 1,
        ..Slot::default()
    });
    end.store(dir.path()).unwrap();
    let slot = first_slot(&plan).unwrap();
    assert_eq!(numbers(&slot), (6, 5, 4, 13, offset));
    assert_eq!((slot.salt, slot.segment_used, slot.attrs_at), (77, 1, 0));
    assert_eq!(
        slot.index_offset, ENTRY as u64,
        "the side file is made anew"
    );

    // No note: the next segment, in a new epoch.
    let slot = first_slot(&plan).unwrap();
    assert_eq!(numbers(&slot), (7, 5, 5, 13, 0));
    assert_eq!(slot.last_time, TIME + 2);

    // Cut, damaged in a header, longer than noted: a new epoch, and nothing of it is cut.
    let whole = fs::read(&path).unwrap();
    let mut flipped = whole.clone();
    flipped[64 + 9] ^= 1;
    let mut longer = whole.clone();
    longer.extend_from_slice(&whole[64..192]);
    for bytes in [whole[..whole.len() - 128].to_vec(), flipped] {
        end.store(dir.path()).unwrap();
        fs::write(&path, &bytes).unwrap();
        let slot = first_slot(&plan).unwrap();
        assert_eq!(numbers(&slot), (7, 5, 5, 13, 0));
        assert_eq!(fs::read(&path).unwrap(), bytes);
    }

    // What a clean end left behind its end is not part of the log.
    end.store(dir.path()).unwrap();
    fs::write(&path, &longer).unwrap();
    assert_eq!(numbers(&first_slot(&plan).unwrap()), (6, 5, 4, 13, offset));

    // After a power loss: zeros and half a batch at the end go, damage in the middle stays.
    let mut lost = whole.clone();
    lost[64 + 9] ^= 1;
    lost.resize(lost.len() + 5000, 0);
    lost.extend_from_slice(&whole[64..100]);
    fs::write(&path, &lost).unwrap();
    let slot = first_slot(&plan).unwrap();
    assert_eq!(numbers(&slot), (7, 5, 5, 13, 0));
    assert_eq!(fs::metadata(&path).unwrap().len(), whole.len() as u64);

    // A segment that was compressed or begun only: numbers go on.
    fs::rename(&path, dir.path().join("local-logs/6.seg.zst")).unwrap();
    fs::write(dir.path().join("spool/3.seg"), "12345").unwrap();
    let slot = first_slot(&plan).unwrap();
    assert_eq!((slot.file_no, slot.oldest_file_no), (7, 5));
    assert_eq!((slot.spool_oldest, slot.spool_bytes), (3, 5));
}

#[test]
fn a_clock_that_was_set_back_begins_an_epoch() {
    let dir = tempfile::tempdir().unwrap();
    let plan = plan(dir.path(), LogFormat::Local);
    let offset = segment(dir.path(), 1, 1);
    let path = dir.path().join("local-logs/1.seg");
    let ahead = u64::try_from(time::now_ns()).unwrap() + 60_000_000_000;
    let end = |last_time| {
        LogEnd::of(&Slot {
            file_no: 1,
            offset,
            inode: fs::metadata(&path).unwrap().ino(),
            epoch: 4,
            next_seq: 11,
            last_time,
            ..Slot::default()
        })
    };
    first_slot(&plan).unwrap();
    end(TIME).store(dir.path()).unwrap();
    assert_eq!(numbers(&first_slot(&plan).unwrap()), (1, 1, 4, 11, offset));
    end(ahead).store(dir.path()).unwrap();
    let slot = first_slot(&plan).unwrap();
    assert_eq!((numbers(&slot), slot.last_time), ((2, 1, 5, 11, 0), 0));
}

/// A crash took the end of a log whose records a receiver has: their numbers are not given again.
#[test]
fn a_log_that_lost_what_was_delivered_goes_on_in_a_new_epoch() {
    use crate::delivery::{CursorFile, Place};
    for format in [LogFormat::Local, LogFormat::JsonFile("x-json.log".into())] {
        let dir = tempfile::tempdir().unwrap();
        let plan = plan(dir.path(), format);
        let first = first_slot(&plan).unwrap();
        LogEnd::of(&first).store(dir.path()).unwrap();
        let (mut cursors, _) = CursorFile::open(dir.path(), 0, "syslog").unwrap();
        let at = |epoch, seq| Place {
            cursor: Some(taffrail_log::Cursor { epoch, seq }),
            ..Place::default()
        };
        // Nothing is lost: the cursor stands before the log's end.
        cursors.store(&at(1, first.next_seq - 1)).unwrap();
        assert_eq!(first_slot(&plan).unwrap().epoch, 1);
        LogEnd::of(&first).store(dir.path()).unwrap();
        cursors.store(&at(4, 900)).unwrap();
        assert_eq!(first_slot(&plan).unwrap().epoch, 5);
    }
}
