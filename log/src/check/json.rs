//! Checking a file of a json-file log: each line is a record, and each block has the checksum that
//! its side file says.

use std::io;

use memchr::memmem;
use taffrail_log_core::crc32c;
use taffrail_log_core::side::{ENTRY, Entry, Mark};

use super::{Damage, Place, Report, Target};
use crate::json::{Decoder, HEAD};
use crate::query::Cursor;
use crate::scan::{MAX_LINE, read_full};

pub(super) fn check(
    report: &mut Report,
    target: &Target<'_>,
    index: Option<&[u8]>,
) -> io::Result<Option<Cursor>> {
    let before = report.places.len();
    let next = lines(report, target, index)?;
    let Some(index) = index else {
        return Ok(next);
    };
    let (slots, _) = index.as_chunks::<ENTRY>();
    let mut buf = vec![0; 64 * 1024];
    for entry in slots.iter().filter_map(Entry::decode) {
        let end = entry.offset.saturating_add(entry.length);
        if end > target.limit {
            continue;
        }
        let (mut at, mut crc) = (entry.offset, 0);
        while at < end {
            let n = buf.len().min((end - at) as usize);
            let got = read_full(target.input, &mut buf[..n], at)?;
            if got == 0 {
                break;
            }
            crc = crc32c::update(crc, &buf[..got]);
            at += got as u64;
        }
        // Lines that are no records have told already.
        let known = report.places[before..]
            .iter()
            .any(|p| p.file == target.path && p.offset < end && p.offset + p.length > entry.offset);
        if crc != entry.crc && !known {
            report.add(Place {
                file: target.path.clone(),
                offset: entry.offset,
                length: entry.length,
                lost: None,
                what: Damage::Checksum,
            });
        }
    }
    Ok(next)
}

/// Where a side file tells the number of the record that stands there.
enum Anchor {
    /// A block begins.
    Block(Cursor),
    /// So many records before it were never in the file, from that one on.
    Gap { seq: u64, count: u64 },
    /// A run begins.
    Run(Cursor),
}

/// Counts records along a file; the side file sets it right behind damage.
struct Numbers {
    /// Of the record at hand; `None`: not known.
    next: Option<Cursor>,
    /// By offset, the last one first.
    anchors: Vec<(u64, Anchor)>,
    /// The longest damaged place since the last anchor, by its place in the report, and its length.
    damaged: Option<(usize, u64)>,
}

impl Numbers {
    fn new(first: Option<Cursor>, index: &[u8]) -> Self {
        let (slots, _) = index.as_chunks::<ENTRY>();
        let mut anchors: Vec<(u64, Anchor)> = slots
            .iter()
            .filter_map(|slot| match Mark::decode(slot) {
                Some(Mark::Gap {
                    offset, seq, count, ..
                }) => Some((offset, Anchor::Gap { seq, count })),
                Some(Mark::Run {
                    offset, seq, epoch, ..
                }) => Some((offset, Anchor::Run(Cursor { epoch, seq }))),
                None => {
                    let Entry {
                        offset, seq, epoch, ..
                    } = Entry::decode(slot)?;
                    Some((offset, Anchor::Block(Cursor { epoch, seq })))
                }
            })
            .collect();
        // Of several at one offset the first one stays the first to be taken.
        anchors.reverse();
        anchors.sort_by_key(|(offset, _)| std::cmp::Reverse(*offset));
        Self {
            next: first,
            anchors,
            damaged: None,
        }
    }

    /// A line begins at `start`.
    fn pass(&mut self, report: &mut Report, start: u64) {
        while let Some((offset, anchor)) = self.anchors.pop_if(|(offset, _)| *offset <= start) {
            let now = match anchor {
                Anchor::Gap { seq, count } => self.next.map(|next| Cursor {
                    seq: seq.saturating_add(count).max(next.seq),
                    ..next
                }),
                Anchor::Run(first) => Some(first),
                // A newline that is gone has joined two blocks: what is at `start` has no number.
                Anchor::Block(_) if offset < start => continue,
                Anchor::Block(first) => {
                    self.set_right(report, first);
                    Some(first)
                }
            };
            self.next = now;
        }
    }

    /// The record at hand is `now`: what was not counted was lost in the longest damaged place.
    fn set_right(&mut self, report: &mut Report, now: Cursor) {
        if let (Some((place, _)), Some(next)) = (self.damaged.take(), self.next)
            && next.epoch == now.epoch
            && let Some(more @ 1..) = now.seq.checked_sub(next.seq)
            && let Some((_, last)) = report.places.get_mut(place).and_then(|p| p.lost.as_mut())
        {
            last.seq += more;
        }
    }

    /// The line at hand is no record.
    fn damaged(&mut self, report: &mut Report, target: &Target<'_>, offset: u64, length: u64) {
        if self.damaged.is_none_or(|(_, longest)| length > longest) {
            self.damaged = Some((report.places.len(), length));
        }
        report.add(Place {
            file: target.path.clone(),
            offset,
            length,
            lost: self.next.map(|next| (next, next)),
            what: Damage::Record,
        });
    }

    /// A line that is no record, as a whole: like a reader, what can be read in it is.
    fn line(
        &mut self,
        report: &mut Report,
        target: &Target<'_>,
        decoder: &mut Decoder,
        start: u64,
        line: &[u8],
    ) {
        let mut at = 0;
        while at <= line.len() {
            let next = line.get(at + 1..).and_then(|rest| memmem::find(rest, HEAD));
            let end = next.map_or(line.len() + 1, |found| at + 1 + found);
            let piece = &line[at..end.min(line.len())];
            if decoder.decode(piece).is_some() {
                report.records += 1;
            } else {
                self.damaged(report, target, start + at as u64, (end - at) as u64);
            }
            self.step();
            at = end;
        }
    }

    fn step(&mut self) {
        if let Some(next) = &mut self.next {
            next.seq += 1;
        }
    }
}

/// Gives the place behind the last line.
fn lines(
    report: &mut Report,
    target: &Target<'_>,
    index: Option<&[u8]>,
) -> io::Result<Option<Cursor>> {
    let mut numbers = Numbers::new(target.first, index.unwrap_or_default());
    let mut decoder = Decoder::new();
    let mut buf: Vec<u8> = Vec::new();
    let mut chunk = vec![0; 128 * 1024];
    let (mut start, mut at) = (0u64, 0u64);
    loop {
        let n = chunk.len().min((target.limit - at) as usize);
        let got = read_full(target.input, &mut chunk[..n], at)?;
        at += got as u64;
        let mut fresh = &chunk[..got];
        while let Some(newline) = memchr::memchr(b'\n', fresh) {
            numbers.pass(report, start);
            buf.extend_from_slice(&fresh[..newline]);
            fresh = &fresh[newline + 1..];
            if decoder.decode(&buf).is_some() {
                report.records += 1;
                numbers.step();
            } else {
                numbers.line(report, target, &mut decoder, start, &buf);
            }
            start += buf.len() as u64 + 1;
            buf.clear();
        }
        buf.extend_from_slice(fresh);
        if buf.len() > MAX_LINE {
            numbers.pass(report, start);
            let length = buf.len() as u64;
            numbers.damaged(report, target, start, length);
            start += length;
            buf.clear();
        }
        if got == 0 || at >= target.limit {
            break;
        }
    }
    numbers.pass(report, start);
    if !buf.is_empty() && !target.live {
        // Often what a write that was cut off has left: nothing that was committed.
        report.add(Place {
            file: target.path.clone(),
            offset: start,
            length: buf.len() as u64,
            lost: None,
            what: Damage::Torn,
        });
    } else if let (Some(end), Some(_)) = (target.end, numbers.damaged) {
        numbers.set_right(report, end);
        numbers.next = Some(end);
    }
    Ok(numbers.next)
}
