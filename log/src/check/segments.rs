//! Checking a segment of the `local` format.

use std::io;

use taffrail_log_core::local::{ALIGN, BLOCK, Batch, copy_at, flag, kind, payload_at, pieces};

use super::{Damage, Place, Report, Target, between};
use crate::blocks::{is_good, restore, spans, tables};
use crate::query::Cursor;
use crate::scan::read_full;
use crate::segment::{self, Head, Walk};

/// Gives the place behind the last record.
pub(super) fn check(report: &mut Report, target: &Target<'_>) -> io::Result<Option<Cursor>> {
    let place = |offset: u64, length: u64, what| Place {
        file: target.path.clone(),
        offset,
        length,
        lost: None,
        what,
    };
    let mut next = target.first;
    if target.limit == 0 {
        return Ok(next);
    }
    let salt = match segment::head(target.input, target.limit)? {
        Head::Salt(salt, Some(header)) => {
            if header.number != target.number {
                report.add(place(0, ALIGN as u64, Damage::SegmentHeader));
            }
            next = Some(Cursor {
                epoch: u64::from(header.epoch),
                seq: header.first_seq,
            });
            salt
        }
        Head::Salt(salt, None) => {
            report.add(place(0, ALIGN as u64, Damage::SegmentHeader));
            salt
        }
        Head::Lost => {
            report.add(Place {
                lost: between(next, target.end),
                ..place(0, target.limit, Damage::Segment)
            });
            return Ok(target.end);
        }
        Head::Version(version) => {
            report.add(place(8, 4, Damage::Version(version)));
            return Ok(target.end);
        }
    };
    let mut walk = Walk::new(target.input, salt, target.limit);
    let mut at = ALIGN as u64;
    while at < target.limit {
        let Some((found, batch)) = walk.next(at, target.limit)? else {
            report.add(Place {
                lost: between(next, target.end),
                ..place(at, target.limit - at, Damage::Batch)
            });
            return Ok(target.end);
        };
        let first = Cursor {
            epoch: u64::from(batch.epoch),
            seq: batch.seq,
        };
        if found > at {
            report.add(Place {
                lost: between(next, Some(first)),
                ..place(at, found - at, Damage::Batch)
            });
        }
        blocks(report, target, salt, found, &batch)?;
        next = Some(segment::end_of(&batch));
        at = found + batch.size();
    }
    Ok(next)
}

/// Checks header, payload and copy of the batch at `at`, which was found by its header or its copy.
fn blocks(
    report: &mut Report,
    target: &Target<'_>,
    salt: u32,
    at: u64,
    batch: &Batch,
) -> io::Result<()> {
    let place = |offset: u64, length: usize, what| Place {
        file: target.path.clone(),
        offset,
        length: length as u64,
        lost: None,
        what,
    };
    let start = payload_at(batch.length);
    let mut bytes = vec![0; batch.size() as usize];
    let room = (target.limit - at).min(bytes.len() as u64) as usize;
    let got = read_full(target.input, &mut bytes[..room], at)?;
    if got < bytes.len() {
        report.add(place(at, got, Damage::Torn));
    }
    if batch.flags & flag::COPIED != 0 {
        copies(report, &bytes, got, salt, batch, |from, length, what| {
            place(at + from as u64, length, what)
        });
        let whole = bytes.first_chunk().and_then(|b| Batch::decode(b, salt));
        if whole.is_none() {
            restore(batch, salt, &mut bytes);
        }
    }
    let tables = tables(batch, &bytes);
    let payload = &bytes[start..start + batch.length as usize];
    let mut touched = Vec::new();
    if batch.kind == kind::RECORDS {
        spans(batch, tables, payload, &mut touched);
        let mut kept = 0;
        for span in &touched {
            kept += pieces(&payload[span.from..span.to]).count() as u64;
        }
        report.records += kept;
    }
    for (n, block) in payload.chunks(BLOCK).enumerate() {
        if is_good(batch, tables, n, block) {
            continue;
        }
        let from = n * BLOCK;
        // The records between the undamaged stretches around it.
        let first = touched
            .iter()
            .filter(|s| s.to <= from)
            .map(|s| s.first + pieces(&payload[s.from..s.to]).count() as u32)
            .max()
            .unwrap_or(0);
        let last = touched
            .iter()
            .filter(|s| s.from > from)
            .map(|s| s.first)
            .min()
            .unwrap_or(batch.count);
        let cursor = |number: u32| Cursor {
            epoch: u64::from(batch.epoch),
            seq: batch.seq + u64::from(number),
        };
        let lost = (batch.kind == kind::RECORDS && last > first)
            .then(|| (cursor(first), cursor(last - 1)));
        let offset = at + (start + from) as u64;
        // Blocks with no whole record between them are one place.
        match report.places.last_mut() {
            Some(last) if last.what == Damage::Block && lost.is_some() && last.lost == lost => {
                last.length = offset + block.len() as u64 - last.offset;
            }
            _ => report.add(Place {
                lost,
                ..place(offset, block.len(), Damage::Block)
            }),
        }
    }
    Ok(())
}

/// Checks a batch's header and table against their copy. `got`: how much of the batch is there.
fn copies(
    report: &mut Report,
    bytes: &[u8],
    got: usize,
    salt: u32,
    batch: &Batch,
    place: impl Fn(usize, usize, Damage) -> Place,
) {
    let (at, size) = (copy_at(batch.length), payload_at(batch.length));
    let header = bytes.first_chunk().and_then(|b| Batch::decode(b, salt));
    let copy = bytes[at..]
        .first_chunk()
        .and_then(|b| Batch::decode_copy(b, salt));
    let same = bytes[ALIGN..size] == bytes[at + ALIGN..at + size];
    if header.as_ref() != Some(batch) {
        report.add(place(0, size, Damage::BatchHeader));
    } else if got >= at + size && copy.as_ref() != Some(batch) {
        report.add(place(at, size, Damage::BatchCopy));
    } else if got >= at + size && !same {
        // Which of the two tables is right shows where the blocks are.
        let payload = &bytes[size..size + batch.length as usize];
        let first = [&bytes[ALIGN..size], &[]];
        let mut blocks = payload.chunks(BLOCK).enumerate();
        let by_first = blocks.all(|(n, block)| is_good(batch, first, n, block));
        let (from, what) = match by_first {
            true => (at, Damage::BatchCopy),
            false => (0, Damage::BatchHeader),
        };
        report.add(place(from + ALIGN, size - ALIGN, what));
    }
}
