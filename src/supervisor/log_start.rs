//! Where a container's log stands when a monitor begins to write it: after a first start nothing,
//! after a restart the end of what is there.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use taffrail_log_core::side::{ENTRY, Entry, Header};
use taffrail_log_core::state::Slot;

use super::{LogPlan, SupervisorError, at};

/// The slot that a fresh state file begins with.
pub(super) fn first_slot(plan: &LogPlan) -> Result<Slot, SupervisorError> {
    let base = Slot {
        file_no: 1,
        oldest_file_no: 1,
        epoch: 1,
        next_seq: 1,
        ..Slot::default()
    };
    let LogPlan::JsonFile {
        path, index_dir, ..
    } = plan
    else {
        return Ok(base);
    };
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(index_dir)
        .map_err(at("cannot make", index_dir))?;
    let rotated = (1u64..).take_while(|n| numbered(path, *n).exists()).count() as u64;
    let Some(end) = taffrail_log::scan_end(path)? else {
        // The current file was removed, or there never was one: numbers go on, nothing is reused.
        let file_no = newest(index_dir, |h| h.file_no).max(rotated) + 1;
        return Ok(Slot {
            file_no,
            oldest_file_no: file_no - rotated,
            epoch: newest(index_dir, |h| h.epoch) + 1,
            ..base
        });
    };
    let file = File::open(path).map_err(at("cannot open log", path))?;
    let inode = file.metadata().map_err(at("cannot read log", path))?.ino();
    // A torn last record is cut off; the monitor truncates the file to this.
    let time = end.time_ns.and_then(|t| u64::try_from(t).ok()).unwrap_or(0);
    let end = end.valid_len;
    let mut slot = Slot {
        file_no: rotated + 1,
        oldest_file_no: 1,
        inode,
        offset: end,
        block_offset: end,
        last_time: time,
        ..base
    };
    // Without a side file that belongs to this log, records are counted anew in a new epoch.
    let Some((header, last, side_len)) = side_of(index_dir, inode) else {
        slot.epoch = newest(index_dir, |h| h.epoch) + 1;
        slot.file_no = newest(index_dir, |h| h.file_no).max(rotated) + 1;
        slot.oldest_file_no = slot.file_no - rotated;
        return Ok(slot);
    };
    slot.file_no = header.file_no;
    slot.oldest_file_no = header.file_no.saturating_sub(rotated).max(1);
    slot.index_offset = side_len;
    let (from, seq, epoch) = last.map_or((0, header.first_seq, header.epoch), |e| {
        (e.offset, e.seq, e.epoch)
    });
    slot.epoch = epoch;
    slot.next_seq =
        seq + newlines(&file, from.min(end), end).map_err(at("cannot read log", path))?;
    slot.block_seq = slot.next_seq;
    Ok(slot)
}

/// `F` → `F.n`
fn numbered(path: &Path, n: u64) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{n}"));
    PathBuf::from(name)
}

fn newlines(file: &File, mut from: u64, to: u64) -> io::Result<u64> {
    let mut buf = vec![0; 256 * 1024];
    let mut count = 0;
    while from < to {
        let n = (to - from).min(buf.len() as u64) as usize;
        file.read_exact_at(&mut buf[..n], from)?;
        count += memchr::memchr_iter(b'\n', &buf[..n]).count() as u64;
        from += n as u64;
    }
    Ok(count)
}

/// The side file whose header names `inode`, its last whole entry, and the length up to there.
fn side_of(dir: &Path, inode: u64) -> Option<(Header, Option<Entry>, u64)> {
    let mut found: Option<(Header, Option<Entry>, u64)> = None;
    for entry in fs::read_dir(dir).ok()?.flatten() {
        let Ok(bytes) = fs::read(entry.path()) else {
            continue;
        };
        let (blocks, _) = bytes.as_chunks::<ENTRY>();
        let Some((header, entries)) = blocks.split_first() else {
            continue;
        };
        let Some(header) = Header::decode(header).filter(|h| h.inode == inode) else {
            continue;
        };
        let good = entries.iter().map_while(Entry::decode);
        let (count, last) = good.fold((0, None), |(n, _), e| (n + 1, Some(e)));
        if found
            .as_ref()
            .is_none_or(|(h, ..)| h.file_no < header.file_no)
        {
            found = Some((header, last, (1 + count) * ENTRY as u64));
        }
    }
    found
}

/// The highest value of a header field in any side file, 0 without one.
fn newest(dir: &Path, field: impl Fn(&Header) -> u64) -> u64 {
    let Ok(entries) = fs::read_dir(dir) else {
        return 0;
    };
    let headers = entries.flatten().filter_map(|e| {
        let mut head = [0; ENTRY];
        File::open(e.path())
            .ok()?
            .read_exact_at(&mut head, 0)
            .ok()?;
        Header::decode(&head)
    });
    headers.map(|h| field(&h)).max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(dir: &Path) -> LogPlan {
        LogPlan::JsonFile {
            path: dir.join("x-json.log"),
            index_dir: dir.join("index"),
            max_size: None,
            max_file: 5,
            attrs: Vec::new(),
        }
    }

    const LINE: &str =
        "{\"log\":\"a\\n\",\"stream\":\"stdout\",\"time\":\"2023-11-14T22:13:20.123456789Z\"}\n";

    #[test]
    fn positions_go_on_after_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let first = first_slot(&plan(dir.path())).unwrap();
        assert_eq!(
            (
                first.file_no,
                first.oldest_file_no,
                first.epoch,
                first.next_seq,
                first.offset
            ),
            (1, 1, 1, 1, 0)
        );

        // Three records in the current file, a torn one behind them, an old file, a side file.
        let log = dir.path().join("x-json.log");
        fs::write(&log, LINE.repeat(3) + "{\"log\":\"to").unwrap();
        fs::write(dir.path().join("x-json.log.1"), LINE).unwrap();
        let inode = fs::metadata(&log).unwrap().ino();
        let header = Header {
            file_no: 7,
            inode,
            epoch: 2,
            first_seq: 100,
            time: 0,
        };
        fs::write(dir.path().join("index/7"), header.encode()).unwrap();
        let slot = first_slot(&plan(dir.path())).unwrap();
        assert_eq!(
            (slot.file_no, slot.oldest_file_no, slot.epoch, slot.next_seq),
            (7, 6, 2, 103)
        );
        assert_eq!(
            slot.offset,
            3 * LINE.len() as u64,
            "the torn record is cut off"
        );
        assert_eq!(slot.last_time, 1_700_000_000_123_456_789);

        // A side file that belongs to another log counts for nothing but numbers never used again.
        let other = Header {
            inode: inode + 1,
            ..header
        };
        fs::write(dir.path().join("index/7"), other.encode()).unwrap();
        let slot = first_slot(&plan(dir.path())).unwrap();
        assert_eq!(
            (slot.file_no, slot.oldest_file_no, slot.epoch, slot.next_seq),
            (8, 7, 3, 1)
        );

        fs::remove_file(&log).unwrap();
        let slot = first_slot(&plan(dir.path())).unwrap();
        assert_eq!(
            (slot.file_no, slot.oldest_file_no, slot.epoch, slot.offset),
            (8, 7, 3, 0)
        );
    }
}
