//! From a batch of bytes into a segment of the `local` format. As in [`capture`](crate::capture),
//! all of it is a function of stage, carry ring and committed slot.

use crate::capture::{
    Buffers, Format, Log, PIECE, Ring, border_tail, close_block, count_newlines, find_last_newline,
    take,
};
use crate::crc32c;
use crate::local::{
    ALIGN, BLOCK, Batch, Gap, MAX_RECORDS, copy_at, copy_size, flag, has_copy, kind, payload_at,
    table_entries,
};
use crate::state::{Slot, phase};

/// Most checksums behind a header of records.
const TABLE: usize = MAX_RECORDS.div_ceil(BLOCK) - 1;
/// What fills a batch up to the next multiple of [`ALIGN`].
const ZEROS: [u8; ALIGN] = [0; ALIGN];

/// The records of a batch.
pub(crate) struct Cut {
    pub(crate) count: u32,
    /// Bytes of the carry that are in them: all or nothing but for a line of over 16 KiB.
    pub(crate) from_carry: usize,
    /// Bytes of the stage that are in them.
    pub(crate) used: usize,
    flags: u16,
    /// Ordinal and chain of the first record.
    ordinal: u32,
    /// Lines that begin and do not end with their first piece.
    long: u32,
    chain_seq: u64,
}

/// Cuts the batch into records and takes their chains into `work`.
///
/// Up to the last newline within 16 KiB of a record's start every line is a record of its own, as
/// none of them can be longer: they are counted, not looked for.
pub(crate) fn cut(
    work: &mut Slot,
    ring: &Ring<'_>,
    stream: usize,
    stage: &[u8],
    last: bool,
) -> Cut {
    let carry = work.carry_len[stream] as usize;
    let fresh = &stage[(work.consumed as usize).min(stage.len())..];
    let total = carry + fresh.len();
    let mut ordinal = work.ordinal[stream];
    let mut chain_seq = work.chain_seq[stream];
    let mut cut = Cut {
        count: 0,
        from_carry: 0,
        used: 0,
        flags: if ordinal > 0 { flag::CONTINUES } else { 0 },
        ordinal: 0,
        long: 0,
        chain_seq: 0,
    };
    // Position in carry and stage together.
    let mut at = 0;
    while at < total {
        let end = total.min(at + PIECE);
        let window = &fresh[at.max(carry) - carry..end.max(carry) - carry];
        let seq = work.next_seq + u64::from(cut.count);
        let (length, records, newline) = match find_last_newline(window) {
            Some(newline) => {
                let lines = &window[..=newline];
                let skipped = carry.saturating_sub(at);
                (skipped + lines.len(), count_newlines(lines), true)
            }
            None if end - at == PIECE => (
                PIECE - border_tail(ring, work.carry_at[stream], carry, fresh, at),
                1,
                false,
            ),
            None if last => {
                cut.flags |= flag::STREAM_END;
                (end - at, 1, false)
            }
            None => break,
        };
        if ordinal > 0 {
            ordinal += 1;
        } else if !newline {
            (ordinal, chain_seq) = (1, seq);
            cut.long += 1;
        }
        if cut.count == 0 && ordinal > 0 {
            (cut.ordinal, cut.chain_seq) = (ordinal, chain_seq);
        }
        if newline {
            ordinal = 0;
        }
        cut.flags = cut.flags & !flag::OPEN | if newline { 0 } else { flag::OPEN };
        cut.count += records as u32;
        at += length;
    }
    if cut.count == 0 {
        cut.flags = 0;
    }
    cut.from_carry = at.min(carry);
    cut.used = at - cut.from_carry;
    work.ordinal[stream] = ordinal;
    work.chain_seq[stream] = if ordinal > 0 { chain_seq } else { 0 };
    cut
}

/// Takes what `cut` left open of `fresh`, the stage from what was consumed before on, into the carry.
pub(crate) fn carry_on(
    work: &mut Slot,
    ring: &mut Ring<'_>,
    stream: usize,
    cut: &Cut,
    fresh: &[u8],
) {
    work.carry_at[stream] =
        work.carry_at[stream].wrapping_add(cut.from_carry as u32) % crate::state::RING as u32;
    work.carry_len[stream] -= cut.from_carry as u32;
    let open = &fresh[cut.used..];
    ring.write(
        work.carry_at[stream].wrapping_add(work.carry_len[stream]),
        open,
    );
    work.carry_len[stream] += open.len() as u32;
    debug_assert!(
        work.carry_len[stream] < PIECE as u32,
        "a carry is shorter than a piece"
    );
    work.chain = work.chain & !(1 << stream) | u32::from(work.ordinal[stream] > 0) << stream;
}

/// Checksums of a payload that lies in parts.
struct Blocks {
    first: u32,
    table: [u8; 4 * TABLE],
}

fn blocks(parts: [&[u8]; 3]) -> Blocks {
    let mut out = Blocks {
        first: 0,
        table: [0; 4 * TABLE],
    };
    let (mut crc, mut filled, mut number) = (0, 0, 0);
    let mut close = |crc: u32| {
        match number {
            0 => out.first = crc,
            n => out.table[4 * (n - 1)..4 * n].copy_from_slice(&crc.to_le_bytes()),
        }
        number += 1;
    };
    for mut part in parts {
        while !part.is_empty() {
            // Checksums of three blocks take as long as one.
            if filled == 0 && part.len() >= 3 * BLOCK {
                let (now, rest) = part.split_at(3 * BLOCK);
                crc32c::of_three(now).into_iter().for_each(&mut close);
                part = rest;
                continue;
            }
            let (now, rest) = part.split_at(part.len().min(BLOCK - filled));
            crc = crc32c::update(crc, now);
            filled += now.len();
            part = rest;
            if filled == BLOCK {
                close(crc);
                (crc, filled) = (0, 0);
            }
        }
    }
    if filled > 0 {
        close(crc);
    }
    out
}

/// Takes a batch into the current segment; the segment has its header already. The arguments are
/// those of the json-file side.
#[expect(
    clippy::too_many_arguments,
    reason = "each names one part of the state file or the spec"
)]
pub(crate) fn run<L: Log>(
    log: &mut L,
    work: &mut Slot,
    slot: &mut Slot,
    format: &Format<'_>,
    _: &mut Buffers<'_>,
    ring: &mut Ring<'_>,
    stream: usize,
    stage: &[u8],
    time: u64,
    last: bool,
) -> Result<(), L::Error> {
    let begin = (work.consumed as usize).min(stage.len());
    let before = (work.ordinal, work.chain_seq);
    let records = cut(work, ring, stream, stage, last);
    let gap = work.gap_records > 0;
    if records.count > 0 {
        if format.max_size > 0 && work.offset >= format.max_size && work.segment_used != 0 {
            close_block(log, work, true);
            let after = (work.ordinal, work.chain_seq);
            (work.ordinal, work.chain_seq) = before;
            log.sync()?;
            log.commit(work, phase::BATCH);
            *slot = *work;
            log.rotate(work)?;
            *slot = *work;
            (work.ordinal, work.chain_seq) = after;
        }
        let first_time = time.max(work.last_time + 1);
        if gap {
            write_gap(log, work, format)?;
        }
        if work.block_offset == work.offset {
            work.block_seq = work.next_seq;
            work.block_time = first_time;
        }
        let (a, b) = ring.parts(work.carry_at[stream], records.from_carry);
        let c = &stage[begin..begin + records.used];
        let length = (records.from_carry + records.used) as u32;
        let sums = blocks([a, b, c]);
        let copied = has_copy(length);
        let batch = Batch {
            attrs: work.attrs_at,
            seq: work.next_seq,
            time: first_time,
            epoch: work.epoch as u32,
            run: format.run,
            length,
            count: records.count,
            kind: kind::RECORDS,
            stream: stream as u8 + 1,
            flags: records.flags | if copied { flag::COPIED } else { 0 },
            ordinal: records.ordinal,
            chain_seq: records.chain_seq,
            crc0: sums.first,
        };
        let header = batch.encode(work.salt);
        let copy = if copied {
            batch.encode_copy(work.salt)
        } else {
            ZEROS
        };
        let table = &sums.table[..4 * table_entries(length)];
        let padding = &ZEROS[..copy_at(length) - payload_at(length) - length as usize];
        let copy_padding = &ZEROS[..copy_size(length) - payload_at(length)];
        let parts: [&[u8]; 9] = [&header, table, a, b, c, padding, &copy, table, copy_padding];
        log.write_parts(work.offset, if copied { &parts } else { &parts[..6] })?;
        work.offset += batch.size();
        work.segment_used = 1;
        work.next_seq += u64::from(records.count);
        work.last_time = first_time + u64::from(records.count - 1);
        if records.long > 0 {
            log.long_lines(records.long);
        }
    }
    carry_on(work, ring, stream, &records, &stage[begin..]);
    take(work, stream, stage.len());
    close_block(log, work, false);
    // A segment finds its own damage: its blocks have checksums.
    work.block_crc = 0;
    Ok(())
}

/// Stores the pending gap.
///
/// # Errors
/// Those of `log`.
pub(crate) fn write_gap<L: Log>(
    log: &mut L,
    work: &mut Slot,
    format: &Format<'_>,
) -> Result<(), L::Error> {
    let payload = Gap {
        bytes: work.gap_bytes,
        until: work.gap_until,
        cause: work.gap_cause,
    }
    .encode();
    let header = Batch {
        attrs: work.attrs_at,
        seq: work.gap_seq,
        time: work.gap_from,
        epoch: work.epoch as u32,
        run: format.run,
        length: Gap::SIZE as u32,
        // What is lost by the billion is still counted in `lost_records`.
        count: u32::try_from(work.gap_records).unwrap_or(u32::MAX),
        kind: kind::GAP,
        crc0: crc32c::update(0, &payload),
        ..Batch::default()
    }
    .encode(work.salt);
    if work.block_offset == work.offset {
        work.block_seq = work.gap_seq;
        work.block_time = work.gap_from;
    }
    log.write_parts(
        work.offset,
        &[&header, &payload, &ZEROS[..ALIGN - Gap::SIZE]],
    )?;
    work.offset += copy_at(Gap::SIZE as u32) as u64;
    work.segment_used = 1;
    work.gap_records = 0;
    work.gap_bytes = 0;
    Ok(())
}

/// Seq of what comes next in the file: the first missing record of a gap that is not stored yet, else
/// the next record.
#[must_use]
pub fn next_seq(work: &Slot) -> u64 {
    if work.gap_records > 0 {
        work.gap_seq
    } else {
        work.next_seq
    }
}

/// The attributes of a run as a batch at `work.offset`, and all that follows from it.
///
/// # Errors
/// Those of `log`.
pub fn write_attrs<L: Log>(
    log: &mut L,
    work: &mut Slot,
    format: &Format<'_>,
    time: u64,
) -> Result<(), L::Error> {
    if format.attrs.is_empty() || format.attrs.len() > crate::local::MAX_ATTRS {
        return Ok(());
    }
    let length = format.attrs.len() as u32;
    let at = work.offset;
    let mut crc0 = 0;
    // The table is written a checksum at a time: it is done once a segment, and may be long.
    for (n, block) in format.attrs.chunks(BLOCK).enumerate() {
        let crc = crc32c::update(0, block);
        if n == 0 {
            crc0 = crc;
        } else {
            log.write(at + (ALIGN + 4 * (n - 1)) as u64, &crc.to_le_bytes())?;
        }
    }
    // Beyond 2^32 × 64 bytes an offset has no place in a header; segments end long before.
    let attrs = u32::try_from(at / ALIGN as u64).unwrap_or(0);
    let header = Batch {
        attrs,
        seq: next_seq(work),
        time,
        epoch: work.epoch as u32,
        run: format.run,
        length,
        kind: kind::ATTRS,
        crc0,
        ..Batch::default()
    }
    .encode(work.salt);
    let padding = &ZEROS[..copy_at(length) - payload_at(length) - length as usize];
    log.write(at, &header)?;
    log.write_parts(at + payload_at(length) as u64, &[format.attrs, padding])?;
    if work.block_offset == work.offset {
        work.block_seq = next_seq(work);
        work.block_time = time;
    }
    work.offset += copy_at(length) as u64;
    work.attrs_at = attrs;
    Ok(())
}
