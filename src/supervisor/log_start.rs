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
    let file = match File::open(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(base),
        file => file.map_err(at("cannot open log", path))?,
    };
    let meta = file.metadata().map_err(at("cannot read log", path))?;
    // A torn last record is cut off; the monitor truncates the file to this.
    let end = complete_end(&file, meta.len()).map_err(at("cannot read log", path))?;
    let rotated = (1u64..).take_while(|n| numbered(path, *n).exists()).count() as u64;
    let mut slot = Slot {
        file_no: rotated + 1,
        oldest_file_no: 1,
        inode: meta.ino(),
        offset: end,
        block_offset: end,
        last_time: last_time(&file, end),
        ..base
    };
    // Without a side file that belongs to this log, records are counted anew in a new epoch.
    let Some((header, last, side_len)) = side_of(index_dir, meta.ino()) else {
        slot.epoch = newest_epoch(index_dir) + 1;
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

/// Offset after the last newline.
fn complete_end(file: &File, len: u64) -> io::Result<u64> {
    let mut end = len;
    let mut buf = vec![0; 64 * 1024];
    while end > 0 {
        let n = end.min(buf.len() as u64);
        file.read_exact_at(&mut buf[..n as usize], end - n)?;
        if let Some(p) = memchr::memrchr(b'\n', &buf[..n as usize]) {
            return Ok(end - n + p as u64 + 1);
        }
        end -= n;
    }
    Ok(0)
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

/// Time of the last complete record in nanoseconds since 1970, or 0.
fn last_time(file: &File, end: u64) -> u64 {
    let n = end.min(512);
    let mut buf = vec![0; n as usize];
    if file.read_exact_at(&mut buf, end - n).is_err() {
        return 0;
    }
    let text = String::from_utf8_lossy(&buf);
    let time = text
        .rsplit_once("\"time\":\"")
        .and_then(|(_, t)| t.split('"').next());
    time.and_then(|t| t.parse::<jiff::Timestamp>().ok())
        .and_then(|t| u64::try_from(t.as_nanosecond()).ok())
        .unwrap_or(0)
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

/// The highest epoch that any side file names.
fn newest_epoch(dir: &Path) -> u64 {
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
    headers.map(|h| h.epoch).max().unwrap_or(0)
}
