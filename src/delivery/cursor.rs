//! Cursors on the disk: `containers/<id>/cursors`, two slots of 64 bytes a sink, written in turn.
//!
//! A slot is written after the receiver has accepted what it says, never before; it is synced about
//! once a second and at a clean stop. What is lost of it by a crash only means that records are sent
//! twice. Layout (little endian): magic `TAFU`, hash of the sink's name (u32), number of the write,
//! epoch, sequence number, file, records delivered, records dropped (u64 each), crc32c of the 56 bytes
//! before it, zeros.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::Path;

use taffrail_log::Cursor;
use taffrail_log_core::crc32c;

/// Bytes of a slot.
const SLOT: usize = 64;
/// `TAFU`, little endian.
const MAGIC: u32 = u32::from_le_bytes(*b"TAFU");
/// Name of the file.
pub(crate) const FILE: &str = "cursors";

/// What a sink has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Place {
    /// The last record that was settled; `None` before the first.
    pub(crate) cursor: Option<Cursor>,
    /// Number of the oldest log file that is still needed.
    pub(crate) file: u64,
    /// Records accepted by the receiver, of all runs.
    pub(crate) delivered: u64,
    /// Records that gave way, were rejected, or were missing in the log.
    pub(crate) dropped: u64,
}

/// The slots of one sink.
#[derive(Debug)]
pub(crate) struct CursorFile {
    file: File,
    /// Where its two slots begin.
    at: u64,
    name: u32,
    writes: u64,
    dirty: bool,
}

fn hash(name: &str) -> u32 {
    crc32c::update(0, name.as_bytes())
}

fn encode(name: u32, write: u64, place: &Place) -> [u8; SLOT] {
    let mut slot = [0; SLOT];
    slot[..4].copy_from_slice(&MAGIC.to_le_bytes());
    slot[4..8].copy_from_slice(&name.to_le_bytes());
    let cursor = place.cursor.unwrap_or_default();
    let words = [
        write,
        cursor.epoch,
        cursor.seq,
        place.file,
        place.delivered,
        place.dropped,
    ];
    for (n, word) in words.iter().enumerate() {
        slot[8 + 8 * n..16 + 8 * n].copy_from_slice(&word.to_le_bytes());
    }
    let crc = crc32c::update(0, &slot[..56]);
    slot[56..60].copy_from_slice(&crc.to_le_bytes());
    slot
}

fn decode(name: u32, slot: &[u8; SLOT]) -> Option<(u64, Place)> {
    let half = |at: usize| {
        let mut half = [0; 4];
        half.copy_from_slice(&slot[at..at + 4]);
        u32::from_le_bytes(half)
    };
    let word = |n: usize| {
        let mut word = [0; 8];
        word.copy_from_slice(&slot[8 + 8 * n..16 + 8 * n]);
        u64::from_le_bytes(word)
    };
    let whole = half(0) == MAGIC && half(4) == name && half(56) == crc32c::update(0, &slot[..56]);
    whole.then(|| {
        let cursor = Cursor {
            epoch: word(1),
            seq: word(2),
        };
        let place = Place {
            cursor: (cursor.epoch > 0).then_some(cursor),
            file: word(3),
            delivered: word(4),
            dropped: word(5),
        };
        (word(0), place)
    })
}

impl CursorFile {
    /// Opens the slots of sink `name`, the `index`th of its container, in the container's folder.
    pub(crate) fn open(dir: &Path, index: usize, name: &str) -> io::Result<(Self, Place)> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(dir.join(FILE))?;
        let (at, name) = ((index * 2 * SLOT) as u64, hash(name));
        let mut best = None;
        for n in 0..2 {
            let mut slot = [0; SLOT];
            if file.read_exact_at(&mut slot, at + n * SLOT as u64).is_ok()
                && let Some((write, place)) = decode(name, &slot)
                && best.is_none_or(|(newest, _)| write > newest)
            {
                best = Some((write, place));
            }
        }
        let (writes, place) = best.unwrap_or_default();
        let opened = Self {
            file,
            at,
            name,
            writes,
            dirty: false,
        };
        Ok((opened, place))
    }

    /// Writes where the sink is now, over the older of the two slots.
    pub(crate) fn store(&mut self, place: &Place) -> io::Result<()> {
        self.writes += 1;
        let slot = encode(self.name, self.writes, place);
        let at = self.at + (self.writes % 2) * SLOT as u64;
        self.file.write_all_at(&slot, at)?;
        self.dirty = true;
        Ok(())
    }

    /// A descriptor to sync, if there is anything to sync since the last call.
    pub(crate) fn unsynced(&mut self) -> Option<io::Result<File>> {
        std::mem::take(&mut self.dirty).then(|| self.file.try_clone())
    }
}

/// The highest place in the cursors of a container: its log must not give that number again.
pub(crate) fn highest(dir: &Path) -> Option<Cursor> {
    let bytes = std::fs::read(dir.join(FILE)).ok()?;
    let slots = bytes.as_chunks::<SLOT>().0.iter();
    slots
        .filter_map(|slot| {
            let mut name = [0; 4];
            name.copy_from_slice(&slot[4..8]);
            decode(u32::from_le_bytes(name), slot)?.1.cursor
        })
        .max()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(seq: u64) -> Place {
        Place {
            cursor: Some(Cursor { epoch: 3, seq }),
            file: 2,
            delivered: seq,
            dropped: 1,
        }
    }

    #[test]
    fn the_newest_whole_slot_counts() {
        let dir = tempfile::tempdir().unwrap();
        let (mut first, was) = CursorFile::open(dir.path(), 0, "syslog").unwrap();
        assert_eq!(was, Place::default());
        for seq in 1..=5 {
            first.store(&place(seq)).unwrap();
        }
        let (mut second, was) = CursorFile::open(dir.path(), 1, "syslog:audit").unwrap();
        assert_eq!(was, Place::default());
        second.store(&place(77)).unwrap();
        assert!(second.unsynced().is_some() && second.unsynced().is_none());
        assert_eq!(
            CursorFile::open(dir.path(), 0, "syslog").unwrap().1,
            place(5)
        );
        assert_eq!(highest(dir.path()), Some(Cursor { epoch: 3, seq: 77 }));
        // The newest is torn: the one before it counts. Another sink's slots are not taken.
        let path = dir.path().join(FILE);
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[SLOT + 20] ^= 1;
        std::fs::write(&path, &bytes).unwrap();
        assert_eq!(
            CursorFile::open(dir.path(), 0, "syslog").unwrap().1,
            place(4)
        );
        assert_eq!(
            CursorFile::open(dir.path(), 0, "gelf").unwrap().1,
            Place::default()
        );
        assert_eq!(
            CursorFile::open(dir.path(), 1, "syslog:audit").unwrap().1,
            place(77)
        );
    }
}
