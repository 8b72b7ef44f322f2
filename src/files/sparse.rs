//! Where a file has data, as its file system tells (`SEEK_DATA`, `SEEK_HOLE`).

use std::fs::File;

use nix::errno::Errno;
use nix::unistd::{Whence, lseek};

/// Holes smaller than this altogether are written out: the form that names them is not known to
/// every reader of archives.
const WORTH_IT: u64 = 1 << 20;
/// Pieces of one file; one with more is written out.
const MAX_PIECES: usize = 4096;

/// A run of data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Piece {
    pub(crate) offset: u64,
    pub(crate) len: u64,
}

/// The data of a file of `size` bytes; `None` if it is to be written as it is.
pub(super) fn pieces(file: &File, size: u64) -> Option<Vec<Piece>> {
    let total = i64::try_from(size).ok()?;
    if size < WORTH_IT {
        return None;
    }
    let mut found = Vec::new();
    let (mut at, mut data) = (0, 0);
    while at < total {
        let start = match lseek(file, at, Whence::SeekData) {
            Ok(start) => start.min(total),
            // Nothing but a hole up to the end.
            Err(Errno::ENXIO) => break,
            Err(_) => return None,
        };
        if start >= total {
            break;
        }
        let end = lseek(file, start, Whence::SeekHole)
            .ok()?
            .clamp(start, total);
        if found.len() == MAX_PIECES || end == start {
            return None;
        }
        found.push(Piece {
            offset: start.unsigned_abs(),
            len: (end - start).unsigned_abs(),
        });
        data += end - start;
        at = end;
    }
    ((total - data).unsigned_abs() >= WORTH_IT).then(|| {
        // GNU tar marks the end by an empty piece; its length is then known from the map, too.
        found.push(Piece {
            offset: size,
            len: 0,
        });
        found
    })
}
