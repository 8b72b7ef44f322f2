//! Checking a segment of the `local` format.

use std::io;

use taffrail_log_core::crc32c;
use taffrail_log_core::local::{ALIGN, BLOCK, Batch, kind, payload_at};

use super::{Damage, Place, Report, Target};
use crate::local::{block_crc, spans};
use crate::query::Cursor;
use crate::scan::read_full;
use crate::segment::{self, Head, Walk};

pub(super) fn check(report: &mut Report, target: &Target<'_>) -> io::Result<()> {
    let place = |offset: u64, length: u64, what| Place {
        file: target.path.clone(),
        offset,
        length,
        lost: None,
        what,
    };
    if target.limit == 0 {
        return Ok(());
    }
    let salt = match segment::head(target.input, target.limit)? {
        Head::Salt(salt, Some(header)) => {
            if header.number != target.number {
                report.add(place(0, ALIGN as u64, Damage::SegmentHeader));
            }
            salt
        }
        Head::Salt(salt, None) => {
            report.add(place(0, ALIGN as u64, Damage::SegmentHeader));
            salt
        }
        Head::Lost => {
            report.add(place(0, target.limit, Damage::Segment));
            return Ok(());
        }
        Head::Version(version) => {
            report.add(place(8, 4, Damage::Version(version)));
            return Ok(());
        }
    };
    let mut walk = Walk::new(target.input, salt, target.limit);
    let mut at = ALIGN as u64;
    let mut next: Option<Cursor> = None;
    while at < target.limit {
        let Some((found, batch)) = walk.next(at, target.limit)? else {
            report.add(place(at, target.limit - at, Damage::Batch));
            break;
        };
        let first = Cursor {
            epoch: u64::from(batch.epoch),
            seq: batch.seq,
        };
        if found > at {
            let lost = next
                .filter(|n| n.epoch == first.epoch && n.seq < first.seq)
                .map(|n| {
                    let last = Cursor {
                        seq: first.seq - 1,
                        ..first
                    };
                    (n, last)
                });
            report.add(Place {
                lost,
                ..place(at, found - at, Damage::Batch)
            });
        }
        blocks(report, target, found, &batch)?;
        next = Some(segment::end_of(&batch));
        at = found + batch.size();
    }
    Ok(())
}

/// Checks the payload of the batch at `at`.
fn blocks(report: &mut Report, target: &Target<'_>, at: u64, batch: &Batch) -> io::Result<()> {
    let start = payload_at(batch.length);
    let mut bytes = vec![0; start + batch.length as usize];
    let room = (target.limit - at).min(bytes.len() as u64) as usize;
    let got = read_full(target.input, &mut bytes[..room], at)?;
    if got < bytes.len() {
        report.add(Place {
            file: target.path.clone(),
            offset: at,
            length: got as u64,
            lost: None,
            what: Damage::Torn,
        });
    }
    let (head, payload) = bytes.split_at(start);
    let table = &head[ALIGN..];
    let mut touched = Vec::new();
    if batch.kind == kind::RECORDS {
        spans(batch, table, payload, &mut touched);
        let mut kept = 0;
        for span in &touched {
            kept += taffrail_log_core::local::pieces(&payload[span.from..span.to]).count() as u64;
        }
        report.records += kept;
    }
    for (n, block) in payload.chunks(BLOCK).enumerate() {
        if crc32c::update(0, block) == block_crc(batch, table, n) {
            continue;
        }
        let from = n * BLOCK;
        // The records between the undamaged stretches around it.
        let first = touched
            .iter()
            .filter(|s| s.to <= from)
            .map(|s| {
                let pieces = taffrail_log_core::local::pieces(&payload[s.from..s.to]);
                s.first + pieces.count() as u32
            })
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
        report.add(Place {
            file: target.path.clone(),
            offset: at + (start + from) as u64,
            length: block.len() as u64,
            lost: (batch.kind == kind::RECORDS && last > first)
                .then(|| (cursor(first), cursor(last - 1))),
            what: Damage::Block,
        });
    }
    Ok(())
}
