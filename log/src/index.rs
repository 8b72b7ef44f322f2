//! The side file of a log file, read a few entries at a time: it may be megabytes long.

use std::fs::File;
use std::path::Path;

use taffrail_log_core::side::{ENTRY, Entry, Header, Mark};

use crate::access::pread;
use crate::query::Cursor;

/// A side file.
#[derive(Debug)]
pub(crate) struct Index {
    file: File,
    pub(crate) header: Header,
}

/// A place in the log file and the record that begins there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Anchor {
    pub(crate) offset: u64,
    pub(crate) first: Cursor,
}

impl Index {
    /// The side file of file `number`; `None` if it is missing, damaged at its head, or another's.
    pub(crate) fn open(folder: &Path, number: u64) -> Option<Self> {
        let file = File::open(folder.join(number.to_string())).ok()?;
        let mut bytes = [0; ENTRY];
        if pread(&file, &mut bytes, 0).ok()? < ENTRY {
            return None;
        }
        let header = Header::decode(&bytes).filter(|h| h.file_no == number)?;
        Some(Self { file, header })
    }

    /// Entries and marks, the header left aside, as far as they are whole.
    pub(crate) fn slots(&self) -> u64 {
        let size = self.file.metadata().map_or(0, |m| m.len());
        (size / ENTRY as u64).saturating_sub(1)
    }

    fn slot(&self, number: u64) -> Option<[u8; ENTRY]> {
        let mut bytes = [0; ENTRY];
        let got = pread(&self.file, &mut bytes, (number + 1) * ENTRY as u64);
        got.is_ok_and(|n| n == ENTRY).then_some(bytes)
    }

    fn entry(&self, number: u64) -> Option<Entry> {
        self.slot(number).as_ref().and_then(Entry::decode)
    }

    /// The last entry of which `before` is true and the first one behind it of which it is not, by
    /// halving: `before` is true of a first part of the entries.
    pub(crate) fn around(&self, before: impl Fn(&Entry) -> bool) -> (Option<Entry>, Option<Entry>) {
        let slots = self.slots();
        let (mut low, mut high) = (0, slots);
        let mut best = None;
        while low < high {
            let middle = low + (high - low) / 2;
            // Marks and damaged entries are passed over to the left.
            let found = (low..=middle).rev().find_map(|n| Some((n, self.entry(n)?)));
            match found {
                None => low = middle + 1,
                Some((n, entry)) if before(&entry) => {
                    best = Some((n, entry));
                    low = middle + 1;
                }
                Some((n, _)) => high = n,
            }
        }
        let after = best.map_or(0, |(n, _)| n + 1);
        let next = (after..slots)
            .find_map(|n| self.entry(n))
            .filter(|e| !before(e));
        (best.map(|(_, e)| e), next)
    }

    /// The nearest place at or before `offset` whose record's number is known.
    pub(crate) fn anchor(&self, offset: u64) -> Anchor {
        let mut anchor = Anchor {
            offset: 0,
            first: Cursor {
                epoch: self.header.epoch,
                seq: self.header.first_seq,
            },
        };
        let (entry, _) = self.around(|e| e.offset <= offset);
        if let Some(entry) = entry {
            anchor = Anchor {
                offset: entry.offset,
                first: Cursor {
                    epoch: entry.epoch,
                    seq: entry.seq,
                },
            };
        }
        // A mark behind the last entry, before the next block is closed.
        let mut number = self.slots();
        let mut near: Vec<Mark> = Vec::new();
        while number > 0 && near.len() < 64 {
            number -= 1;
            match self.slot(number).as_ref().and_then(Mark::decode) {
                Some(mark) => near.push(mark),
                None => break,
            }
        }
        for mark in near.into_iter().rev() {
            anchor.pass(&mark, offset);
        }
        anchor
    }

    /// Marks from slot `from` on, and the number of slots looked at so far.
    pub(crate) fn marks(&self, from: u64) -> (Vec<Mark>, u64) {
        let slots = self.slots();
        let mut marks = Vec::new();
        let mut buf = vec![0; 256 * ENTRY];
        let mut at = from;
        while at < slots {
            let n = buf.len().min((slots - at) as usize * ENTRY);
            let Ok(got) = pread(&self.file, &mut buf[..n], (at + 1) * ENTRY as u64) else {
                break;
            };
            let (blocks, _) = buf[..got].as_chunks::<ENTRY>();
            if blocks.is_empty() {
                break;
            }
            marks.extend(blocks.iter().filter_map(Mark::decode));
            at += blocks.len() as u64;
        }
        (marks, at)
    }
}

impl Anchor {
    /// Moves on to a mark at or before `offset`.
    fn pass(&mut self, mark: &Mark, limit: u64) {
        match *mark {
            Mark::Gap {
                offset, seq, count, ..
            } if self.offset <= offset && offset <= limit => {
                self.offset = offset;
                self.first.seq = seq.saturating_add(count);
            }
            Mark::Run {
                offset, seq, epoch, ..
            } if self.offset <= offset && offset <= limit => {
                self.offset = offset;
                self.first = Cursor { epoch, seq };
            }
            _ => {}
        }
    }
}
