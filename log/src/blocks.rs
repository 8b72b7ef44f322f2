//! The blocks of a batch's payload, their checksums in its table and in the copy of that, and the
//! records that lie in undamaged ones.

use taffrail_log_core::crc32c;
use taffrail_log_core::local::{ALIGN, BLOCK, Batch, copy_at, flag, payload_at, pieces};

/// Whole records of a payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) from: usize,
    pub(crate) to: usize,
    /// Number of the first of them within the batch.
    pub(crate) first: u32,
}

/// The undamaged records of a payload: all of them, or what lies between damaged blocks.
pub(crate) fn spans(batch: &Batch, tables: [&[u8]; 2], payload: &[u8], out: &mut Vec<Span>) {
    out.clear();
    let mut blocks = payload.chunks(BLOCK).enumerate();
    if blocks.all(|(n, block)| is_good(batch, tables, n, block)) {
        out.push(Span {
            from: 0,
            to: payload.len(),
            first: 0,
        });
        return;
    }
    let good: Vec<bool> = payload
        .chunks(BLOCK)
        .enumerate()
        .map(|(n, block)| is_good(batch, tables, n, block))
        .collect();
    let mut next = 0u32;
    let mut block = 0;
    while block < good.len() {
        if !good[block] {
            block += 1;
            continue;
        }
        let begin = block;
        while block < good.len() && good[block] {
            block += 1;
        }
        let end = (block * BLOCK).min(payload.len());
        let mut from = begin * BLOCK;
        if begin > 0 {
            // The record that the damage has cut ends behind the next newline.
            match memchr::memchr(b'\n', &payload[from..end]) {
                Some(newline) => from += newline + 1,
                None => continue,
            }
        }
        let (mut to, mut count) = (from, 0u32);
        for piece in pieces(&payload[from..end]) {
            // At the border to a damaged block only a newline says that the record ends here.
            if to + piece.len() == end && end < payload.len() && piece.last() != Some(&b'\n') {
                break;
            }
            to += piece.len();
            count += 1;
        }
        if count == 0 {
            continue;
        }
        let first = if begin == 0 {
            0
        } else if end == payload.len() {
            // Counted from the batch's end, so that the numbers are right again.
            batch.count.saturating_sub(count).max(next)
        } else {
            // Between two damaged blocks: at least one record was touched.
            next + 1
        };
        out.push(Span { from, to, first });
        next = first.saturating_add(count);
    }
}

/// Whether a block of a batch is undamaged, by one of its tables.
pub(crate) fn is_good(batch: &Batch, tables: [&[u8]; 2], number: usize, block: &[u8]) -> bool {
    let crc = crc32c::update(0, block);
    crc == block_crc(batch, tables[0], number)
        || number > 0
            && batch.flags & flag::COPIED != 0
            && crc == block_crc(batch, tables[1], number)
}

/// The checksum table of a batch that begins with `bytes`, and the copy of it.
pub(crate) fn tables<'b>(batch: &Batch, bytes: &'b [u8]) -> [&'b [u8]; 2] {
    let copy = match batch.flags & flag::COPIED {
        0 => &[][..],
        _ => bytes.get(copy_at(batch.length)..).unwrap_or_default(),
    };
    [bytes, copy].map(|head| {
        head.get(ALIGN..payload_at(batch.length))
            .unwrap_or_default()
    })
}

/// Puts header and table of the batch at the start of `bytes` in order by their copy.
pub(crate) fn restore(batch: &Batch, salt: u32, bytes: &mut [u8]) {
    let (copy, size) = (copy_at(batch.length), payload_at(batch.length));
    bytes.copy_within(copy + ALIGN..copy + size, ALIGN);
    bytes[..ALIGN].copy_from_slice(&batch.encode(salt));
}

/// The checksum that a batch says of one of its blocks.
pub(crate) fn block_crc(batch: &Batch, table: &[u8], number: usize) -> u32 {
    if number == 0 {
        return batch.crc0;
    }
    let at = 4 * (number - 1);
    table
        .get(at..at + 4)
        .and_then(|b| b.try_into().ok())
        .map_or(0, u32::from_le_bytes)
}
