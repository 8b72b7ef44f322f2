//! Making again what can be made from the log itself. No undamaged record is ever removed.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use taffrail_log_core::local::{ALIGN, Batch, kind, payload_at};
use taffrail_log_core::side::{self, ENTRY, Entry, Header, Mark};

use super::{Damage, Report, check};
use crate::access::{Input, table_bytes};
use crate::blocks::{spans, tables};
use crate::compress::seek_table;
use crate::error::ReadError;
use crate::files::{Files, Opened};
use crate::query::{LogFiles, LogFormat};
use crate::scan::{self, read_full};
use crate::segment::{self, Head, Walk};

/// Something that was repaired.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Repair {
    /// A side file was made anew.
    Index(PathBuf),
    /// The frame table of a compressed file was made anew.
    FrameTable(PathBuf),
    /// Bytes of a torn end were cut off.
    Cut { file: PathBuf, bytes: u64 },
}

/// Repairs the log of a stopped container: makes damaged indexes of segments and frame tables
/// anew and cuts torn ends of the current file. Damaged records stay as they are; they are passed
/// over by readers.
///
/// # Errors
/// [`ReadError`], if something cannot be read or written.
pub fn repair(files: &LogFiles) -> Result<Vec<Repair>, ReadError> {
    let report = check(files, None)?;
    let mut done = Vec::new();
    let mut list = Files::new(files.clone(), None);
    let numbers = list.list_stopped()?;
    for (n, number) in numbers.iter().enumerate() {
        let Opened::File(input) = list.take(*number)? else {
            continue;
        };
        let path = list.path_now(*number);
        let error = |e| ReadError::read(&path, e);
        let damaged = |what| {
            report
                .places
                .iter()
                .any(|p| p.file == path && p.what == what)
        };
        if damaged(Damage::FrameTable)
            && let Some(to) = frame_table(files, &path, &input).map_err(error)?
        {
            done.push(Repair::FrameTable(to));
        }
        if n == 0 && input.is_plain() {
            let bytes = cut_torn(files, &path, &input).map_err(error)?;
            if bytes > 0 {
                done.push(Repair::Cut {
                    file: path.clone(),
                    bytes,
                });
            }
        }
        if files.format == LogFormat::Local && index_damaged(&report, files, *number) {
            let to = files.index_dir.join(number.to_string());
            if index(files, *number, &path, &input, &to).map_err(error)? {
                done.push(Repair::Index(to));
            }
        }
    }
    Ok(done)
}

fn index_damaged(report: &Report, files: &LogFiles, number: u64) -> bool {
    let path = files.index_dir.join(number.to_string());
    report.places.iter().any(|p| p.file == path)
}

/// Writes a file so that it is there as a whole or not at all.
fn replace(path: &Path, write: impl FnOnce(&mut File) -> io::Result<()>) -> io::Result<()> {
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    let fresh = PathBuf::from(name);
    let mut file = File::create(&fresh)?;
    let written = write(&mut file).and_then(|()| file.sync_all());
    if let Err(e) = written.and_then(|()| fs::rename(&fresh, path)) {
        let _ = fs::remove_file(&fresh);
        return Err(e);
    }
    Ok(())
}

fn frame_table(files: &LogFiles, path: &Path, input: &Input) -> io::Result<Option<PathBuf>> {
    let Some(frames) = input.frames() else {
        return Ok(None);
    };
    let frames = frames.borrow();
    let table = frames.table();
    if files.format == LogFormat::JsonFile {
        // Without its number a file has no place for a table.
        let Some(to) = frames.table_path() else {
            return Ok(None);
        };
        fs::create_dir_all(&files.index_dir)?;
        replace(to, |file| file.write_all(&table_bytes(table.sizes())))?;
        return Ok(Some(to.to_owned()));
    }
    replace(path, |file| {
        let mut from = File::open(path)?;
        let mut frames = io::Read::take(&mut from, table.compressed());
        io::copy(&mut frames, file)?;
        file.write_all(&seek_table(table.sizes()))
    })?;
    Ok(Some(path.to_owned()))
}

/// Cuts the current file behind its last whole record or batch, if nothing readable follows.
fn cut_torn(files: &LogFiles, path: &Path, input: &Input) -> io::Result<u64> {
    let size = input.len()?;
    let end = match files.format {
        LogFormat::JsonFile => scan::last_line_end(input, size)?,
        LogFormat::Local => match segment::head(input, size)? {
            // Without its header a segment's salt is what its batches say: none of them, whole or
            // not, is taken away.
            Head::Salt(salt, Some(_)) => {
                let mut walk = Walk::new(input, salt, size);
                match walk.last(None)? {
                    Some((at, batch)) => match last_batch(input, at, &batch, size)? {
                        Last::Whole => at + batch.size(),
                        Last::Torn => at,
                        Last::Damaged => size,
                    },
                    None => size,
                }
            }
            _ => size,
        },
    };
    if end < size {
        File::options().write(true).open(path)?.set_len(end)?;
    }
    Ok(size - end.min(size))
}

/// What is left of a segment's last batch.
enum Last {
    Whole,
    /// Cut by the file's end, and no record of it can be read.
    Torn,
    Damaged,
}

fn last_batch(input: &Input, at: u64, batch: &Batch, size: u64) -> io::Result<Last> {
    let start = payload_at(batch.length);
    let mut bytes = vec![0; batch.size() as usize];
    read_full(input, &mut bytes, at)?;
    let payload = &bytes[start..start + batch.length as usize];
    let mut whole = Vec::new();
    spans(batch, tables(batch, &bytes), payload, &mut whole);
    let kept: usize = whole.iter().map(|span| span.to - span.from).sum();
    Ok(if at + batch.size() > size {
        // As readers do: what is cut off is zeros, and the whole blocks before it are read.
        if kept == 0 || batch.kind != kind::RECORDS {
            Last::Torn
        } else {
            Last::Damaged
        }
    } else if kept == payload.len() {
        Last::Whole
    } else {
        Last::Damaged
    })
}

/// Makes the side file of a segment anew.
fn index(files: &LogFiles, number: u64, path: &Path, input: &Input, to: &Path) -> io::Result<bool> {
    let size = input.len()?;
    let Head::Salt(salt, header) = segment::head(input, size)? else {
        return Ok(false);
    };
    let mut walk = Walk::new(input, salt, size);
    let Some(first) = walk.next(ALIGN as u64, size)? else {
        return Ok(false);
    };
    let epoch = header.map_or(first.1.epoch, |h| h.epoch);
    let head = Header {
        file_no: number,
        inode: fs::metadata(path)?.ino(),
        epoch: u64::from(epoch),
        first_seq: header.map_or(first.1.seq, |h| h.first_seq),
        time: header.map_or(first.1.time, |h| h.time),
    };
    fs::create_dir_all(&files.index_dir)?;
    replace(to, |file| {
        let mut at = 0;
        let mut put = |bytes: [u8; ENTRY]| -> io::Result<()> {
            file.write_all_at(&bytes, at)?;
            at += ENTRY as u64;
            Ok(())
        };
        put(head.encode())?;
        let mut run = None;
        let mut block: Option<(u64, Batch)> = None;
        let mut found = Some(first);
        while let Some((offset, batch)) = found {
            let new_run = run.is_some_and(|run| run != batch.run);
            if let Some((from, begun)) = block
                && (offset - from >= side::BLOCK || new_run)
            {
                put(entry(from, offset, &begun).encode())?;
                block = None;
            }
            if new_run {
                let mark = Mark::Run {
                    offset,
                    seq: batch.seq,
                    time: batch.time,
                    epoch: u64::from(batch.epoch),
                    run: u64::from(batch.run),
                };
                put(mark.encode())?;
            }
            run = Some(batch.run);
            block.get_or_insert((offset, batch));
            found = walk.after(offset, &batch, size)?;
        }
        if let Some((from, begun)) = block {
            put(entry(from, size, &begun).encode())?;
        }
        Ok(())
    })?;
    Ok(true)
}

fn entry(from: u64, to: u64, first: &Batch) -> Entry {
    Entry {
        offset: from,
        length: to - from,
        seq: first.seq,
        time: first.time,
        epoch: u64::from(first.epoch),
        crc: 0,
    }
}
