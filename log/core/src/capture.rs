//! From a batch of bytes to records: the chunker, the encoder, the parts in which a batch is
//! committed. Nothing here makes a system call; [`Log`] does what touches files and the state page.
//!
//! The rule that makes a killed monitor harmless: everything below is a function of the stage, the
//! carry rings and the committed slot. Run again from that slot it writes the same bytes to the
//! same places, so it does not matter how far the last run came.

use crate::crc32c;
use crate::json::{Drain, Out, Tail};
use crate::segment;
use crate::side;
use crate::state::{RING, Slot, phase};
use crate::time::TimeText;
use crate::utf8;

/// Most bytes of one record without its newline (docs: Docker's copier).
pub const PIECE: usize = 16 * 1024;
/// A clock that is so far behind the last batch's was set back (decision 6): a new epoch begins.
pub const STEP_BACK: u64 = 2_000_000_000;
/// Bytes of the buffer in which a carried line is put together.
pub const LINE: usize = PIECE;

/// What the capture needs from the outside.
pub trait Log {
    type Error;

    /// Writes `bytes` at `at` of the current log file.
    ///
    /// # Errors
    /// The log cannot take them; nothing of the batch is committed beyond the last commit.
    fn write(&mut self, at: u64, bytes: &[u8]) -> Result<(), Self::Error>;

    /// Writes `parts` one after the other from `at` on, in one go.
    ///
    /// # Errors
    /// As [`Log::write`].
    fn write_parts(&mut self, at: u64, parts: &[&[u8]]) -> Result<(), Self::Error>;

    /// Writes a side-file entry at `at`; false if it could not. Entries of blocks can be made
    /// again, marks cannot.
    fn write_side(&mut self, at: u64, entry: &[u8; side::ENTRY]) -> bool;

    /// Brings to the disk what was written, if that is asked for. Called before each commit that
    /// takes records in.
    ///
    /// # Errors
    /// The disk does not take it; the batch is not committed.
    fn sync(&mut self) -> Result<(), Self::Error>;

    /// Makes `slot` the committed one, in `phase`. The only moment at which state changes.
    fn commit(&mut self, slot: &Slot, phase: u8);

    /// So many lines have begun that are longer than a piece, or have no end. Only counted.
    fn long_lines(&mut self, count: u32) {
        let _ = count;
    }

    /// Begins the next log file: leaves `slot` with its number, offset 0, and commits it in phase
    /// [`phase::BATCH`]. Called with `slot` committed.
    ///
    /// # Errors
    /// The next file could not be made; the current one goes on.
    fn rotate(&mut self, slot: &mut Slot) -> Result<(), Self::Error>;
}

/// How records are stored.
#[derive(Clone, Copy, Debug)]
pub struct Format<'a> {
    /// The `local` format; else json-file.
    pub local: bool,
    /// Number of the container's run, from 1.
    pub run: u32,
    /// Rotate before a record when the file has this many bytes; 0 is never.
    pub max_size: u64,
    /// Attributes of each record as a JSON object, or empty.
    pub attrs: &'a [u8],
    /// Records are counted and not kept (driver `none`).
    pub discard: bool,
}

/// One stream's ring in the state file.
#[derive(Debug)]
pub struct Ring<'m>(pub(crate) &'m mut [u8]);

impl<'m> Ring<'m> {
    /// `memory` has [`RING`] bytes.
    pub fn new(memory: &'m mut [u8]) -> Self {
        assert_eq!(memory.len(), RING, "ring size");
        Self(memory)
    }

    fn read(&self, at: u32, into: &mut [u8]) {
        let (first, second) = self.parts(at, into.len());
        into[..first.len()].copy_from_slice(first);
        into[first.len()..].copy_from_slice(second);
    }

    /// `len` bytes from `at` on, as the two parts in which they lie.
    pub(crate) fn parts(&self, at: u32, len: usize) -> (&[u8], &[u8]) {
        let at = at as usize % RING;
        let first = len.min(RING - at);
        (&self.0[at..at + first], &self.0[..len - first])
    }

    pub(crate) fn write(&mut self, at: u32, bytes: &[u8]) {
        let at = at as usize % RING;
        let first = bytes.len().min(RING - at);
        self.0[at..at + first].copy_from_slice(&bytes[..first]);
        self.0[..bytes.len() - first].copy_from_slice(&bytes[first..]);
    }
}

/// Buffers of the capture; private memory, nothing in them survives a batch.
#[derive(Debug)]
pub struct Buffers<'b> {
    /// Encoded output.
    pub out: &'b mut [u8],
    /// [`LINE`] bytes to put a carried line together.
    pub line: &'b mut [u8],
}

/// Sends encoded bytes to the log and keeps offset and checksum with them.
struct Writer<'l, L: Log> {
    log: &'l mut L,
    offset: u64,
    crc: u32,
}

impl<L: Log> Drain for Writer<'_, L> {
    type Error = L::Error;

    fn drain(&mut self, bytes: &[u8]) -> Result<(), L::Error> {
        self.log.write(self.offset, bytes)?;
        self.offset += bytes.len() as u64;
        self.crc = crc32c::update(self.crc, bytes);
        Ok(())
    }
}

/// The next piece of a stream, from its carry and the bytes behind it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// `content` bytes, then a newline if `newline`.
    Piece { content: usize, newline: bool },
    /// Not enough yet: what is left is carried.
    Open,
}

/// Cuts the next piece off `carry` bytes (without a newline in them) followed by `fresh`.
/// `tail` gives the last bytes before the border of 16 KiB.
pub(crate) fn next_piece(carry: usize, fresh: &[u8], tail: impl FnOnce() -> usize) -> Next {
    let window = fresh.len().min(PIECE.saturating_sub(carry));
    if let Some(at) = find_newline(&fresh[..window]) {
        return Next::Piece {
            content: carry + at,
            newline: true,
        };
    }
    if carry + window >= PIECE {
        return Next::Piece {
            content: PIECE - tail(),
            newline: false,
        };
    }
    Next::Open
}

/// Bytes before the border of 16 KiB behind position `from` of a carry and what follows it, that
/// begin a character which is not ended before it.
pub(crate) fn border_tail(
    ring: &Ring<'_>,
    carry_at: u32,
    carry: usize,
    fresh: &[u8],
    from: usize,
) -> usize {
    let mut border = [0; 4];
    for (i, b) in border.iter_mut().enumerate() {
        let pos = from + PIECE - 4 + i;
        *b = if pos < carry {
            let mut one = [0];
            ring.read(carry_at.wrapping_add(pos as u32), &mut one);
            one[0]
        } else {
            fresh[pos - carry]
        };
    }
    utf8::open_tail(&border)
}

/// Position of the first newline.
#[must_use]
pub fn find_newline(bytes: &[u8]) -> Option<usize> {
    let mut at = 0;
    #[cfg(target_arch = "x86_64")]
    {
        use core::arch::x86_64::{
            __m128i, _mm_cmpeq_epi8, _mm_loadu_si128, _mm_movemask_epi8, _mm_set1_epi8,
        };
        while bytes.len() - at >= 16 {
            // SAFETY: SSE2 is part of x86_64 and 16 bytes are readable at `at`.
            let mask = unsafe {
                let v = _mm_loadu_si128(bytes.as_ptr().add(at).cast::<__m128i>());
                _mm_movemask_epi8(_mm_cmpeq_epi8(v, _mm_set1_epi8(b'\n' as i8)))
            };
            if mask != 0 {
                return Some(at + mask.trailing_zeros() as usize);
            }
            at += 16;
        }
    }
    bytes[at..].iter().position(|b| *b == b'\n').map(|p| at + p)
}

/// Position of the last newline.
pub(crate) fn find_last_newline(bytes: &[u8]) -> Option<usize> {
    let mut end = bytes.len();
    #[cfg(target_arch = "x86_64")]
    {
        use core::arch::x86_64::{
            __m128i, _mm_cmpeq_epi8, _mm_loadu_si128, _mm_movemask_epi8, _mm_set1_epi8,
        };
        while end >= 16 {
            // SAFETY: SSE2 is part of x86_64 and 16 bytes are readable before `end`.
            let mask = unsafe {
                let v = _mm_loadu_si128(bytes.as_ptr().add(end - 16).cast::<__m128i>());
                _mm_movemask_epi8(_mm_cmpeq_epi8(v, _mm_set1_epi8(b'\n' as i8))) as u32
            };
            if mask != 0 {
                return Some(end - 16 + (31 - mask.leading_zeros()) as usize);
            }
            end -= 16;
        }
    }
    bytes[..end].iter().rposition(|b| *b == b'\n')
}

/// Number of newlines.
pub(crate) fn count_newlines(bytes: &[u8]) -> usize {
    let mut count = 0;
    let mut at = 0;
    #[cfg(target_arch = "x86_64")]
    {
        use core::arch::x86_64::{
            __m128i, _mm_cmpeq_epi8, _mm_cvtsi128_si64, _mm_loadu_si128, _mm_sad_epu8,
            _mm_set1_epi8, _mm_setzero_si128, _mm_sub_epi8, _mm_unpackhi_epi64,
        };
        while bytes.len() - at >= 16 {
            let vectors = ((bytes.len() - at) / 16).min(255);
            // SAFETY: SSE2 is part of x86_64 and 16 * `vectors` bytes are readable at `at`. A
            // byte of `sums` counts at most 255.
            unsafe {
                let mut sums = _mm_setzero_si128();
                for n in 0..vectors {
                    let v = _mm_loadu_si128(bytes.as_ptr().add(at + 16 * n).cast::<__m128i>());
                    sums = _mm_sub_epi8(sums, _mm_cmpeq_epi8(v, _mm_set1_epi8(b'\n' as i8)));
                }
                let halves = _mm_sad_epu8(sums, _mm_setzero_si128());
                count += _mm_cvtsi128_si64(halves) as usize
                    + _mm_cvtsi128_si64(_mm_unpackhi_epi64(halves, halves)) as usize;
            }
            at += 16 * vectors;
        }
    }
    count + bytes[at..].iter().filter(|b| **b == b'\n').count()
}

/// Takes the batch `stage` (all of it, `slot.consumed` says what is done already) of `stream` into
/// the log and leaves `slot` committed in [`phase::IDLE`].
///
/// # Errors
/// Those of `log`. `slot` is then what was committed last; call again with it, or give the batch
/// up with [`drop_batch`].
#[expect(
    clippy::too_many_arguments,
    reason = "each names one part of the state file or the spec"
)]
pub fn batch<L: Log>(
    log: &mut L,
    slot: &mut Slot,
    format: &Format<'_>,
    buffers: &mut Buffers<'_>,
    ring: &mut Ring<'_>,
    stream: usize,
    stage: &[u8],
    time: u64,
) -> Result<(), L::Error> {
    let mut work = *slot;
    heed_clock(log, &mut work, slot, format, time)?;
    let run = if format.local { segment::run } else { run };
    run(
        log, &mut work, slot, format, buffers, ring, stream, stage, time, false,
    )?;
    log.sync()?;
    log.commit(&work, phase::IDLE);
    *slot = work;
    Ok(())
}

/// Begins a new epoch, and for `local` a new segment, where the clock was set back: times then
/// follow it again. Times may be ahead of the clock by themselves (a nanosecond a record), so clocks
/// are compared.
fn heed_clock<L: Log>(
    log: &mut L,
    work: &mut Slot,
    slot: &mut Slot,
    format: &Format<'_>,
    time: u64,
) -> Result<(), L::Error> {
    let back = time.saturating_add(STEP_BACK) < work.clock;
    work.clock = time;
    if !back || format.discard {
        return Ok(());
    }
    close_block(log, work, true);
    work.epoch += 1;
    work.last_time = 0;
    work.run_marked = 0;
    if format.local && format.max_size > 0 && work.segment_used != 0 {
        log.sync()?;
        log.commit(work, phase::BATCH);
        *slot = *work;
        log.rotate(work)?;
        *slot = *work;
    } else {
        mark_run(log, work, format.run, time);
    }
    Ok(())
}

/// End of `stream`: what is carried becomes a last record without a newline, as in Docker.
///
/// # Errors
/// As [`batch`].
pub fn finish<L: Log>(
    log: &mut L,
    slot: &mut Slot,
    format: &Format<'_>,
    buffers: &mut Buffers<'_>,
    ring: &mut Ring<'_>,
    stream: usize,
    time: u64,
) -> Result<(), L::Error> {
    let mut work = *slot;
    work.consumed = 0;
    let run = if format.local { segment::run } else { run };
    run(
        log,
        &mut work,
        slot,
        format,
        buffers,
        ring,
        stream,
        &[],
        time,
        true,
    )?;
    work.eof |= 1 << stream;
    log.sync()?;
    log.commit(&work, phase::IDLE);
    *slot = work;
    Ok(())
}

/// Gives the records of a batch up: counts them and their bytes. A line that is open at its end stays
/// whole in the carry; at the end of the stream (an empty `stage`) it is given up, too. The gap is
/// stored with the next record that the log takes.
pub fn drop_batch<L: Log>(
    log: &mut L,
    slot: &mut Slot,
    ring: &mut Ring<'_>,
    stream: usize,
    stage: &[u8],
    time: u64,
    cause: u32,
) {
    let begin = (slot.consumed as usize).min(stage.len());
    let cut = segment::cut(slot, ring, stream, stage, stage.is_empty());
    let (records, bytes) = (u64::from(cut.count), (cut.from_carry + cut.used) as u64);
    if records > 0 {
        slot.lost_records += records;
        slot.lost_bytes += bytes;
        slot.lost_cause = cause;
        let first = time.max(slot.last_time + 1);
        if slot.gap_records == 0 {
            slot.gap_seq = slot.next_seq;
            slot.gap_from = first;
        }
        slot.gap_records += records;
        slot.gap_bytes += bytes;
        slot.gap_until = first + records - 1;
        slot.last_time = slot.gap_until;
        slot.gap_cause = cause;
        slot.next_seq += records;
    }
    segment::carry_on(slot, ring, stream, &cut, &stage[begin..]);
    take(slot, stream, stage.len());
    log.commit(slot, phase::IDLE);
}

/// The loop over a batch. `work` runs ahead of `slot`, which follows at each commit.
#[expect(
    clippy::too_many_arguments,
    reason = "private, and every part is needed"
)]
fn run<L: Log>(
    log: &mut L,
    work: &mut Slot,
    slot: &mut Slot,
    format: &Format<'_>,
    buffers: &mut Buffers<'_>,
    ring: &mut Ring<'_>,
    stream: usize,
    stage: &[u8],
    time: u64,
    last: bool,
) -> Result<(), L::Error> {
    let mut at = (work.consumed as usize).min(stage.len());
    let mut out = Out::new(buffers.out);
    let mut text = TimeText::new(time.max(work.last_time + 1));
    let mut fresh_text = true;
    // Tried once a batch: an index that cannot be written must not cost something for each line.
    let mut gap = work.gap_records > 0;
    let mut long = 0;
    let mut writer = Writer {
        log,
        offset: work.offset,
        crc: work.block_crc,
    };

    loop {
        let carry = work.carry_len[stream] as usize;
        let fresh = &stage[at..];
        let next = next_piece(carry, fresh, || {
            border_tail(ring, work.carry_at[stream], carry, fresh, 0)
        });
        let (content, newline) = match next {
            Next::Piece { content, newline } => (content, newline),
            Next::Open if last && carry > 0 => (carry, false),
            Next::Open => break,
        };

        if format.max_size > 0
            && !format.discard
            && writer.offset + out.pending() as u64 >= format.max_size
        {
            out.flush(&mut writer)?;
            work.offset = writer.offset;
            work.block_crc = writer.crc;
            take(work, stream, at);
            close_block(writer.log, work, true);
            writer.log.sync()?;
            writer.log.commit(work, phase::BATCH);
            *slot = *work;
            writer.log.rotate(work)?;
            *slot = *work;
            writer.offset = work.offset;
            writer.crc = work.block_crc;
        }

        if gap {
            gap = false;
            out.flush(&mut writer)?;
            work.offset = writer.offset;
            work.block_crc = writer.crc;
            mark_gap(writer.log, work, format);
            writer.crc = work.block_crc;
        }
        if fresh_text {
            fresh_text = false;
        } else {
            text.tick();
        }
        if work.block_offset == writer.offset + out.pending() as u64 {
            work.block_time = text.ns();
            work.block_seq = work.next_seq;
        }
        if !format.discard {
            let tail = Tail {
                attrs: format.attrs,
            };
            if carry == 0 {
                tail.record(
                    &mut out,
                    &mut writer,
                    &fresh[..content],
                    newline,
                    stream,
                    &text,
                )?;
            } else {
                let (from_carry, rest) = (content.min(carry), content.saturating_sub(carry));
                ring.read(work.carry_at[stream], &mut buffers.line[..from_carry]);
                buffers.line[from_carry..content].copy_from_slice(&fresh[..rest]);
                tail.record(
                    &mut out,
                    &mut writer,
                    &buffers.line[..content],
                    newline,
                    stream,
                    &text,
                )?;
            }
        }
        let from_carry = content.min(carry);
        work.carry_at[stream] = work.carry_at[stream].wrapping_add(from_carry as u32) % RING as u32;
        work.carry_len[stream] -= from_carry as u32;
        at += content - from_carry + usize::from(newline);
        if newline {
            work.ordinal[stream] = 0;
        } else {
            if work.ordinal[stream] == 0 {
                long += 1;
                work.chain_seq[stream] = work.next_seq;
            }
            work.ordinal[stream] += 1;
        }
        work.next_seq += 1;
        work.last_time = text.ns();
        work.chain = work.chain & !(1 << stream) | u32::from(!newline) << stream;
    }

    out.flush(&mut writer)?;
    work.offset = writer.offset;
    work.block_crc = writer.crc;
    let open = &stage[at..];
    ring.write(
        work.carry_at[stream].wrapping_add(work.carry_len[stream]),
        open,
    );
    work.carry_len[stream] += open.len() as u32;
    take(work, stream, stage.len());
    close_block(log, work, false);
    if long > 0 {
        log.long_lines(long);
    }
    Ok(())
}

/// Closes the open block and stores the pending gap behind it. A mark that cannot be written stays
/// pending.
fn mark_gap<L: Log>(log: &mut L, work: &mut Slot, format: &Format<'_>) {
    close_block(log, work, true);
    let mark = side::Mark::Gap {
        offset: work.offset,
        seq: work.gap_seq,
        count: work.gap_records,
        bytes: work.gap_bytes,
        time: work.gap_from,
        until: work.gap_until,
        cause: work.gap_cause,
    };
    if format.discard || log.write_side(work.index_offset, &mark.encode()) {
        work.index_offset += side::ENTRY as u64;
        work.gap_records = 0;
        work.gap_bytes = 0;
    }
}

/// Ends a run's log: stores the pending gap, if there is one and the log takes it, and closes the
/// open block, so that everything that was written is covered by the index.
///
/// # Errors
/// Those of `log`; `slot` is as it was.
pub fn end_log<L: Log>(log: &mut L, slot: &mut Slot, format: &Format<'_>) -> Result<(), L::Error> {
    let mut work = *slot;
    if work.gap_records > 0 {
        if format.local {
            segment::write_gap(log, &mut work, format)?;
        } else {
            mark_gap(log, &mut work, format);
        }
        log.sync()?;
    }
    close_block(log, &mut work, true);
    *slot = work;
    Ok(())
}

/// Marks the run in the index: where it begins, and at the start of each file that it goes on in.
pub fn mark_run<L: Log>(log: &mut L, work: &mut Slot, run: u32, time: u64) {
    if work.run_marked != 0 {
        return;
    }
    // A segment's block may hold nothing but attributes yet.
    if work.block_seq != work.next_seq {
        close_block(log, work, true);
    }
    let mark = side::Mark::Run {
        offset: work.offset,
        seq: work.next_seq,
        time,
        epoch: work.epoch,
        run: u64::from(run),
    };
    if log.write_side(work.index_offset, &mark.encode()) {
        work.index_offset += side::ENTRY as u64;
    }
    // An index that cannot be written costs this run its mark, nothing else.
    work.run_marked = 1;
}

/// Notes that the batch is dealt with up to `at`.
pub(crate) fn take(work: &mut Slot, stream: usize, at: usize) {
    work.bytes_in[stream] += (at as u64).saturating_sub(u64::from(work.consumed));
    work.consumed = at as u32;
}

/// Writes the entry of the open block once it is long enough, or at the end of a file.
pub(crate) fn close_block<L: Log>(log: &mut L, work: &mut Slot, end_of_file: bool) {
    let length = work.offset - work.block_offset;
    if length < side::BLOCK && !(end_of_file && length > 0) {
        return;
    }
    let entry = side::Entry {
        offset: work.block_offset,
        length,
        seq: work.block_seq,
        time: work.block_time,
        epoch: work.epoch,
        crc: work.block_crc,
    };
    // A block without an entry is found without the index.
    let _ = log.write_side(work.index_offset, &entry.encode());
    work.index_offset += side::ENTRY as u64;
    work.block_offset = work.offset;
    work.block_crc = 0;
}

#[cfg(test)]
mod tests;
