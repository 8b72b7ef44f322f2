//! The end of a json-file log.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use taffrail_log_core::side::Header;
use taffrail_log_core::state::Slot;

use super::{LogEnd, LogFile, Seen, Side, new_side, no_log, number_of};
use crate::supervisor::{SupervisorError, at};

pub(super) fn resume(
    log: &LogFile,
    path: &Path,
    end: Option<&LogEnd>,
) -> Result<Slot, SupervisorError> {
    let index = log.index_dir();
    let rotated = (1u64..).take_while(|n| rotated_exists(path, *n)).count() as u64;
    let found = match fs::metadata(path) {
        Ok(meta) => Some(meta),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(at("cannot read log", path)(error)),
    };
    // A start that failed may have left an empty file before anything was written.
    let empty = found.as_ref().is_none_or(|meta| meta.len() == 0);
    if let Some(end) = end
        && end.offset == 0
        && end.inode == 0
        && empty
    {
        return Ok(Slot {
            file_no: end.file_no,
            oldest_file_no: end.file_no.saturating_sub(rotated).max(1),
            epoch: end.epoch,
            next_seq: end.next_seq,
            last_time: end.last_time,
            ..no_log()
        });
    }
    let Some(meta) = found else {
        // The current file was removed, or there never was one: numbers go on, none is reused.
        let seen = Seen::of(&index, end);
        let file_no = seen.file_no.max(rotated) + 1;
        return Ok(Slot {
            file_no,
            oldest_file_no: file_no - rotated,
            epoch: seen.epoch + 1,
            next_seq: seen.next_seq.max(1),
            last_time: end.map_or(0, |end| end.last_time),
            ..no_log()
        });
    };
    let inode = meta.ino();
    let last = taffrail_log::scan_end(path)?.unwrap_or_default();
    let mut slot = Slot {
        inode,
        // A torn last record is cut off; the monitor truncates the file to this.
        offset: last.valid_len,
        block_offset: last.valid_len,
        last_time: last
            .time_ns
            .and_then(|t| u64::try_from(t).ok())
            .unwrap_or(0),
        ..no_log()
    };
    let side = side_of(&index, inode, end);
    if let (Some(end), Some(side)) = (end, &side)
        && (end.inode, end.offset, end.file_no) == (inode, slot.offset, side.header.file_no)
    {
        slot.epoch = end.epoch;
        slot.next_seq = end.next_seq;
        slot.last_time = slot.last_time.max(end.last_time);
        slot.file_no = end.file_no;
        slot.index_offset = side.len;
    } else {
        let seen = Seen::of(&index, end);
        // A file that nothing was written to and nothing is known of is a first one.
        slot.epoch = if seen.nothing() && slot.offset == 0 {
            1
        } else {
            seen.epoch + 1
        };
        let (from, seq) = match &side {
            Some(side) => {
                slot.file_no = side.header.file_no;
                slot.index_offset = side.len;
                side.at
            }
            None => {
                // Its records are counted anew, above all numbers there were.
                slot.file_no = seen.file_no.max(rotated) + 1;
                (0, seen.next_seq.max(1))
            }
        };
        let file = File::open(path).map_err(at("cannot open log", path))?;
        let records = newlines(&file, from.min(slot.offset), slot.offset)
            .map_err(at("cannot read log", path))?;
        slot.next_seq = seq + records;
        if side.is_none() && slot.offset > 0 {
            let header = Header {
                file_no: slot.file_no,
                inode,
                epoch: slot.epoch,
                first_seq: seq,
                time: slot.last_time,
            };
            slot.index_offset = new_side(&index, &header)?;
        }
    }
    slot.oldest_file_no = slot.file_no.saturating_sub(rotated).max(1);
    slot.block_seq = slot.next_seq;
    Ok(slot)
}

/// Whether `F.n` is there, or its compressed form.
fn rotated_exists(path: &Path, n: u64) -> bool {
    let name = |ending: &str| {
        let mut name = path.as_os_str().to_owned();
        name.push(format!(".{n}{ending}"));
        PathBuf::from(name)
    };
    name("").exists() || name(".gz").exists()
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

/// The side file whose header names `inode`: the one that the note names, else the newest.
fn side_of(dir: &Path, inode: u64, end: Option<&LogEnd>) -> Option<Side> {
    let of = |path: &Path| Side::read(path).filter(|side| side.header.inode == inode);
    if let Some(side) = end.and_then(|end| of(&dir.join(end.file_no.to_string()))) {
        return Some(side);
    }
    fs::read_dir(dir)
        .ok()?
        .flatten()
        .filter(|e| number_of(&e.file_name().to_string_lossy()).is_some())
        .filter_map(|e| of(&e.path()))
        .max_by_key(|side| side.header.file_no)
}
