//! From a batch of bytes to records: the chunker, the encoder, the parts in which a batch is
//! committed. Nothing here makes a system call; [`Log`] does what touches files and the state page.
//!
//! The rule that makes a killed monitor harmless: everything below is a function of the stage, the
//! carry rings and the committed slot. Run again from that slot it writes the same bytes to the
//! same places, so it does not matter how far the last run came.

use crate::crc32c;
use crate::json::{Drain, Out, Tail};
use crate::side;
use crate::state::{RING, Slot, phase};
use crate::time::TimeText;
use crate::utf8;

/// Most bytes of one record without its newline (docs: Docker's copier).
pub const PIECE: usize = 16 * 1024;
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

    /// Writes a side-file entry at `at`. The side file can be made again, so it may fail silently.
    fn write_side(&mut self, at: u64, entry: &[u8; side::ENTRY]);

    /// Makes `slot` the committed one, in `phase`. The only moment at which state changes.
    fn commit(&mut self, slot: &Slot, phase: u8);

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
    /// Rotate before a record when the file has this many bytes; 0 is never.
    pub max_size: u64,
    /// Attributes of each record as a JSON object, or empty.
    pub attrs: &'a [u8],
    /// Records are counted and not kept (driver `none`).
    pub discard: bool,
}

/// One stream's ring in the state file.
#[derive(Debug)]
pub struct Ring<'m>(&'m mut [u8]);

impl<'m> Ring<'m> {
    /// `memory` has [`RING`] bytes.
    pub fn new(memory: &'m mut [u8]) -> Self {
        assert_eq!(memory.len(), RING, "ring size");
        Self(memory)
    }

    fn read(&self, at: u32, into: &mut [u8]) {
        let at = at as usize % RING;
        let first = into.len().min(RING - at);
        into[..first].copy_from_slice(&self.0[at..at + first]);
        let rest = into.len() - first;
        into[first..].copy_from_slice(&self.0[..rest]);
    }

    fn write(&mut self, at: u32, bytes: &[u8]) {
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
enum Next {
    /// `content` bytes, then a newline if `newline`.
    Piece { content: usize, newline: bool },
    /// Not enough yet: what is left is carried.
    Open,
}

/// Cuts the next piece off `carry` bytes (without a newline in them) followed by `fresh`.
/// `tail` gives the last bytes before the border of 16 KiB.
fn next_piece(carry: usize, fresh: &[u8], tail: impl FnOnce() -> usize) -> Next {
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
    run(
        log, &mut work, slot, format, buffers, ring, stream, stage, time, false,
    )?;
    log.commit(&work, phase::IDLE);
    *slot = work;
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
    log.commit(&work, phase::IDLE);
    *slot = work;
    Ok(())
}

/// Gives the rest of a batch up: counts its records (lines, and an unended rest as one) and bytes.
pub fn drop_batch<L: Log>(log: &mut L, slot: &mut Slot, stream: usize, stage: &[u8], cause: u32) {
    let rest = &stage[(slot.consumed as usize).min(stage.len())..];
    let mut lines = rest.iter().filter(|b| **b == b'\n').count() as u64;
    if rest.last().is_some_and(|b| *b != b'\n') || (rest.is_empty() && slot.carry_len[stream] > 0) {
        lines += 1;
    }
    slot.lost_records += lines;
    slot.lost_bytes += rest.len() as u64 + u64::from(slot.carry_len[stream]);
    slot.lost_cause = cause;
    slot.next_seq += lines;
    slot.carry_at[stream] =
        slot.carry_at[stream].wrapping_add(slot.carry_len[stream]) % RING as u32;
    slot.carry_len[stream] = 0;
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
    let mut writer = Writer {
        log,
        offset: work.offset,
        crc: work.block_crc,
    };

    loop {
        let carry = work.carry_len[stream] as usize;
        let fresh = &stage[at..];
        let next = next_piece(carry, fresh, || {
            let mut border = [0; 4];
            for (i, b) in border.iter_mut().enumerate() {
                let pos = PIECE - 4 + i;
                *b = if pos < carry {
                    let mut one = [0];
                    ring.read(work.carry_at[stream].wrapping_add(pos as u32), &mut one);
                    one[0]
                } else {
                    fresh[pos - carry]
                };
            }
            utf8::open_tail(&border)
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
            writer.log.commit(work, phase::BATCH);
            *slot = *work;
            writer.log.rotate(work)?;
            *slot = *work;
            writer.offset = work.offset;
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
    Ok(())
}

/// Notes that the batch is dealt with up to `at`.
fn take(work: &mut Slot, stream: usize, at: usize) {
    work.bytes_in[stream] += (at as u64).saturating_sub(u64::from(work.consumed));
    work.consumed = at as u32;
}

/// Writes the entry of the open block once it is long enough, or at the end of a file.
fn close_block<L: Log>(log: &mut L, work: &mut Slot, end_of_file: bool) {
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
    log.write_side(work.index_offset, &entry.encode());
    work.index_offset += side::ENTRY as u64;
    work.block_offset = work.offset;
    work.block_crc = 0;
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    /// Files and a state page in memory that die at the n-th effect.
    #[derive(Default)]
    struct Memory {
        files: BTreeMap<u64, Vec<u8>>,
        slot: Slot,
        phase: u8,
        effects_left: Option<u32>,
        sides: usize,
    }

    #[derive(Debug)]
    struct Died;

    impl Memory {
        fn effect(&mut self) -> Result<(), Died> {
            match &mut self.effects_left {
                Some(0) => Err(Died),
                Some(n) => {
                    *n -= 1;
                    Ok(())
                }
                None => Ok(()),
            }
        }

        fn current(&mut self) -> &mut Vec<u8> {
            self.files.entry(self.slot.file_no).or_default()
        }
    }

    impl Log for Memory {
        type Error = Died;
        fn write(&mut self, at: u64, bytes: &[u8]) -> Result<(), Died> {
            let torn = self.effects_left == Some(0);
            let n = if torn { bytes.len() / 2 } else { bytes.len() };
            let file = self.current();
            let end = at as usize + n;
            if file.len() < end {
                file.resize(end, 0);
            }
            file[at as usize..end].copy_from_slice(&bytes[..n]);
            self.effect()
        }
        fn write_side(&mut self, at: u64, _: &[u8; side::ENTRY]) {
            self.sides = at as usize / side::ENTRY;
        }
        fn commit(&mut self, slot: &Slot, phase: u8) {
            // A commit cannot fail in life; a death before it is a death at the effect before.
            if self.effects_left == Some(0) {
                return;
            }
            self.slot = *slot;
            self.phase = phase;
        }
        fn rotate(&mut self, slot: &mut Slot) -> Result<(), Died> {
            self.effect()?;
            slot.file_no += 1;
            slot.offset = 0;
            slot.block_offset = 0;
            slot.block_crc = 0;
            slot.index_offset = side::ENTRY as u64;
            self.commit(slot, phase::BATCH);
            self.effect()
        }
    }

    struct Xorshift(u64);
    impl Xorshift {
        fn next(&mut self, below: u64) -> u64 {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            self.0 % below
        }
    }

    fn capture(
        batches: &[(usize, Vec<u8>)],
        max_size: u64,
        out_size: usize,
        seed: Option<u64>,
    ) -> Vec<u8> {
        let mut memory = Memory {
            slot: Slot {
                file_no: 1,
                last_time: 9,
                ..Slot::default()
            },
            ..Memory::default()
        };
        let mut rings = [vec![0; RING], vec![0; RING]];
        let mut random = Xorshift(seed.unwrap_or(1) | 1);
        let (mut out, mut line) = (vec![0; out_size], vec![0; LINE]);
        let format = Format {
            max_size,
            attrs: b"",
            discard: false,
        };
        let ends = [(0, None), (1, None)];
        let all = batches
            .iter()
            .map(|(s, b)| (*s, Some(b.as_slice())))
            .chain(ends);
        for (n, (stream, bytes)) in all.enumerate() {
            let time = 1_700_000_000_000_000_000 + n as u64 * 1000;
            memory.slot.consumed = 0;
            memory.phase = phase::BATCH;
            let mut tries = 1;
            loop {
                if seed.is_some() {
                    // Later tries live longer, so that every batch ends.
                    memory.effects_left = Some(random.next(6 * tries) as u32);
                    tries += 1;
                }
                let mut slot = memory.slot;
                let offset = slot.offset as usize;
                memory.current().truncate(offset);
                let mut buffers = Buffers {
                    out: &mut out,
                    line: &mut line,
                };
                let mut ring = Ring::new(&mut rings[stream]);
                let _ = match bytes {
                    Some(b) => batch(
                        &mut memory,
                        &mut slot,
                        &format,
                        &mut buffers,
                        &mut ring,
                        stream,
                        b,
                        time,
                    ),
                    None => finish(
                        &mut memory,
                        &mut slot,
                        &format,
                        &mut buffers,
                        &mut ring,
                        stream,
                        time,
                    ),
                };
                if memory.phase == phase::IDLE {
                    break;
                }
            }
        }
        let want: u64 = batches.iter().map(|(_, b)| b.len() as u64).sum();
        assert_eq!(memory.slot.bytes_in.iter().sum::<u64>(), want);
        let all: Vec<u8> = memory.files.values().flatten().copied().collect();
        assert_eq!(
            memory.slot.next_seq,
            all.iter().filter(|b| **b == b'\n').count() as u64
        );
        if max_size > 0 {
            for (no, file) in &memory.files {
                let last = file[..file.len() - 1]
                    .iter()
                    .rposition(|b| *b == b'\n')
                    .map_or(0, |p| p + 1);
                assert!(
                    (last as u64) < max_size,
                    "file {no} went on after the bound"
                );
                assert!(
                    *no == memory.slot.file_no || file.len() as u64 >= max_size,
                    "file {no} is short"
                );
            }
        }
        all
    }

    /// Docker's copier over one stream in one go, with the UTF-8 rule at the border.
    fn pieces(stream: &[u8]) -> Vec<(Vec<u8>, bool)> {
        let mut out = Vec::new();
        let mut rest = stream;
        while !rest.is_empty() {
            let window = &rest[..rest.len().min(PIECE)];
            if let Some(at) = window.iter().position(|b| *b == b'\n') {
                out.push((window[..at].to_vec(), true));
                rest = &rest[at + 1..];
            } else {
                let cut = if window.len() == PIECE {
                    PIECE - utf8::open_tail(window)
                } else {
                    window.len()
                };
                out.push((window[..cut].to_vec(), false));
                rest = &rest[cut..];
            }
        }
        out
    }

    fn logs_of(log: &[u8], stream: &str) -> Vec<String> {
        let mark = format!("\",\"stream\":\"{stream}\",");
        std::str::from_utf8(log)
            .unwrap()
            .lines()
            .filter_map(|l| {
                let (a, _) = l.split_once(&mark)?;
                Some(a.strip_prefix("{\"log\":\"").unwrap().to_owned())
            })
            .collect()
    }

    fn expected(stream: &[u8]) -> Vec<String> {
        pieces(stream)
            .into_iter()
            .map(|(content, newline)| {
                let mut bytes = content;
                if newline {
                    bytes.push(b'\n');
                }
                let mut buf = vec![0; 1 << 18];
                let mut out = Out::new(&mut buf);
                struct Keep(Vec<u8>);
                impl Drain for Keep {
                    type Error = std::convert::Infallible;
                    fn drain(&mut self, b: &[u8]) -> Result<(), Self::Error> {
                        self.0.extend_from_slice(b);
                        Ok(())
                    }
                }
                let mut keep = Keep(Vec::new());
                out.escaped(&bytes, &mut keep).unwrap();
                out.flush(&mut keep).unwrap();
                String::from_utf8(keep.0).unwrap()
            })
            .collect()
    }

    #[test]
    fn any_cuts_any_sizes_any_deaths_give_docker_s_records() {
        let mut random = Xorshift(0x9e37_79b9_7f4a_7c15);
        for case in 0..150u64 {
            let mut batches = Vec::new();
            let mut streams = [Vec::new(), Vec::new()];
            for _ in 0..random.next(12) {
                let stream = random.next(2) as usize;
                let mut bytes = Vec::new();
                let long = random.next(4) == 0;
                let size = random.next(if long { 60_000 } else { 3000 }) as usize;
                while bytes.len() < size {
                    match random.next(if long { 4000 } else { 40 }) {
                        0 => bytes.push(b'\n'),
                        1 => bytes.push(random.next(256) as u8),
                        2 => bytes.extend_from_slice("é€😀".as_bytes()),
                        _ => bytes.push(b'a' + (bytes.len() % 26) as u8),
                    }
                }
                if random.next(3) == 0 && bytes.len() > 5 {
                    bytes.truncate(bytes.len() - 3);
                }
                streams[stream].extend_from_slice(&bytes);
                batches.push((stream, bytes));
            }
            let max_size = [0, 1, 1000, 30_000][random.next(4) as usize];
            let out_size = [256, 1024, 65_536][random.next(3) as usize];
            let straight = capture(&batches, max_size, out_size, None);
            assert_eq!(
                logs_of(&straight, "stdout"),
                expected(&streams[0]),
                "case {case}"
            );
            assert_eq!(
                logs_of(&straight, "stderr"),
                expected(&streams[1]),
                "case {case}"
            );
            let killed = capture(&batches, max_size, out_size, Some(case * 77 + 5));
            assert!(straight == killed, "case {case}: a death changed the log");
        }
    }

    #[test]
    fn the_16_kib_border_as_in_docker() {
        for (n, want) in [
            (16_383usize, vec![16_383]),
            (16_384, vec![16_384, 0]),
            (16_385, vec![16_384, 1]),
            (40_000, vec![16_384, 16_384, 7232]),
        ] {
            let mut line = vec![b'x'; n];
            line.push(b'\n');
            for cut in [1, 100, 16_383, 16_384, 16_385] {
                let batches: Vec<_> = line
                    .chunks(cut.min(line.len()).max(50))
                    .map(|c| (0, c.to_vec()))
                    .collect();
                let log = capture(&batches, 0, 4096, None);
                let got: Vec<usize> = logs_of(&log, "stdout")
                    .iter()
                    .map(|s| s.trim_end_matches("\\n").len())
                    .collect();
                assert_eq!(got, want);
            }
        }
        let mut line = vec![b'x'; 16_382];
        line.extend_from_slice("😀y\n".as_bytes());
        let log = capture(&[(0, line)], 0, 4096, None);
        assert!(
            logs_of(&log, "stdout")[1].starts_with('😀'),
            "the character is whole in the second piece"
        );
    }

    #[test]
    fn giving_up_counts_lines_and_bytes() {
        let mut memory = Memory::default();
        let mut slot = Slot {
            consumed: 4,
            ..Slot::default()
        };
        drop_batch(&mut memory, &mut slot, 0, b"abc\ndef\nghi", 28);
        assert_eq!(
            (
                slot.lost_records,
                slot.lost_bytes,
                slot.next_seq,
                slot.consumed
            ),
            (2, 7, 2, 11)
        );
    }
}
