//! Checking a file of a json-file log: each line is a record, and each block has the checksum that
//! its side file says.

use std::io;

use taffrail_log_core::crc32c;
use taffrail_log_core::side::{ENTRY, Entry, Header, Mark};

use super::{Damage, Place, Report, Target};
use crate::json::Decoder;
use crate::query::Cursor;
use crate::scan::{MAX_LINE, read_full};

pub(super) fn check(
    report: &mut Report,
    target: &Target<'_>,
    index: Option<&[u8]>,
) -> io::Result<()> {
    let before = report.places.len();
    lines(report, target, index)?;
    let Some(index) = index else {
        return Ok(());
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
    Ok(())
}

fn lines(report: &mut Report, target: &Target<'_>, index: Option<&[u8]>) -> io::Result<()> {
    let (slots, _) = index.unwrap_or_default().as_chunks::<ENTRY>();
    let mut next = slots.first().and_then(Header::decode).map(|h| Cursor {
        epoch: h.epoch,
        seq: h.first_seq,
    });
    let mut marks = slots.iter().filter_map(Mark::decode).peekable();
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
            while let Some(mark) = marks.peek()
                && let Mark::Gap { offset, .. } | Mark::Run { offset, .. } = *mark
                && offset <= start
            {
                match *mark {
                    Mark::Gap { seq, count, .. } => {
                        if let Some(next) = &mut next {
                            next.seq = seq.saturating_add(count).max(next.seq);
                        }
                    }
                    Mark::Run { seq, epoch, .. } => next = Some(Cursor { epoch, seq }),
                }
                marks.next();
            }
            buf.extend_from_slice(&fresh[..newline]);
            fresh = &fresh[newline + 1..];
            let length = buf.len() as u64 + 1;
            if decoder.decode(&buf).is_some() {
                report.records += 1;
            } else {
                report.add(Place {
                    file: target.path.clone(),
                    offset: start,
                    length,
                    lost: next.map(|n| (n, n)),
                    what: Damage::Record,
                });
            }
            if let Some(next) = &mut next {
                next.seq += 1;
            }
            start += length;
            buf.clear();
        }
        buf.extend_from_slice(fresh);
        if buf.len() > MAX_LINE {
            report.add(Place {
                file: target.path.clone(),
                offset: start,
                length: buf.len() as u64,
                lost: None,
                what: Damage::Record,
            });
            start += buf.len() as u64;
            buf.clear();
        }
        if got == 0 || at >= target.limit {
            break;
        }
    }
    if !buf.is_empty() && !target.live {
        report.add(Place {
            file: target.path.clone(),
            offset: start,
            length: buf.len() as u64,
            lost: None,
            what: Damage::Torn,
        });
    }
    Ok(())
}
