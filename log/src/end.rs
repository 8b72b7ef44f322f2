//! The end of a log: what must be known before a container writes to it again.

use std::fs::File;
use std::io;
use std::path::Path;

use crate::access::Input;
use crate::error::ReadError;
use crate::files::{Files, Opened};
use crate::json::Decoder;
use crate::query::LogFiles;
use crate::scan;

/// The end of a log file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LastRecord {
    /// Bytes up to and including the last newline: what a writer may append to.
    pub valid_len: u64,
    /// Bytes after that: a record that was torn when its writer died.
    pub torn: u64,
    /// Time of the last record, nanoseconds since 1970. `None` if the file has none (or, in a
    /// badly damaged one, none within the last 512 KiB).
    pub time_ns: Option<i64>,
}

/// Looks at the end of one log file, reading backwards. `Ok(None)` if there is no such file.
///
/// # Errors
/// [`ReadError::Open`] and [`ReadError::Read`].
pub fn scan_end(path: &Path) -> Result<Option<LastRecord>, ReadError> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(ReadError::open(path, e)),
    };
    end_of(&Input::plain(file))
        .map(Some)
        .map_err(|e| ReadError::read(path, e))
}

fn end_of(file: &Input) -> io::Result<LastRecord> {
    let size = file.len()?;
    let valid_len = scan::last_line_end(file, size)?;
    let time = scan::last_time(file, valid_len, &mut Decoder::new())?;
    Ok(LastRecord {
        valid_len,
        torn: size - valid_len,
        time_ns: time.map(crate::Moment::ns),
    })
}

/// The end of a stopped container's log. The lengths are those of the current file (0 if there is
/// none); the time is that of the newest record of all files, which may lie in a rotated one.
/// `Ok(None)` if there is no file at all.
///
/// # Errors
/// [`ReadError::Open`], [`ReadError::Read`] and [`ReadError::List`].
pub fn last_record(files: &LogFiles) -> Result<Option<LastRecord>, ReadError> {
    let current = scan_end(&files.path)?;
    if current.is_some_and(|end| end.time_ns.is_some()) {
        return Ok(current);
    }
    let mut rotated = Files::new(files.clone(), None);
    let numbers = rotated.list_stopped()?;
    if current.is_none() && numbers.is_empty() {
        return Ok(None);
    }
    let mut end = current.unwrap_or_default();
    for number in numbers {
        let Opened::File(file) = rotated.take(number)? else {
            continue;
        };
        let older = end_of(&file).map_err(|e| ReadError::read(&rotated.path(number), e))?;
        if older.time_ns.is_some() {
            end.time_ns = older.time_ns;
            break;
        }
    }
    Ok(Some(end))
}

/// Number of newlines in the first `limit` bytes of a file: its records, damaged ones included.
///
/// # Errors
/// [`ReadError::Open`] and [`ReadError::Read`].
pub fn count_newlines(path: &Path, limit: u64) -> Result<u64, ReadError> {
    let file = File::open(path).map_err(|e| ReadError::open(path, e))?;
    scan::newlines(&Input::plain(file), 0, limit).map_err(|e| ReadError::read(path, e))
}
