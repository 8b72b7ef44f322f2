use super::*;
use crate::local;
use std::collections::BTreeMap;

/// Files and a state page in memory that die at the n-th effect.
#[derive(Default)]
struct Memory {
    files: BTreeMap<u64, Vec<u8>>,
    slot: Slot,
    phase: u8,
    effects_left: Option<u32>,
    sides: usize,
    marks: Vec<side::Mark>,
    local: bool,
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
    fn write_parts(&mut self, at: u64, parts: &[&[u8]]) -> Result<(), Died> {
        self.write(at, &parts.concat())
    }
    fn write_side(&mut self, at: u64, entry: &[u8; side::ENTRY]) -> bool {
        self.sides = at as usize / side::ENTRY;
        if let Some(mark) = side::Mark::decode(entry) {
            self.marks.push(mark);
        }
        true
    }
    fn sync(&mut self) -> Result<(), Died> {
        self.effect()
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
        slot.offset = if self.local { 64 } else { 0 };
        slot.segment_used = 0;
        slot.block_offset = slot.offset;
        slot.block_crc = 0;
        slot.index_offset = side::ENTRY as u64;
        self.commit(slot, phase::BATCH);
        self.effect()
    }
}

const SALT: u32 = 0xdead_beef;

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
    let memory = capture_in(false, batches, max_size, out_size, seed);
    let all: Vec<u8> = memory.files.values().flatten().copied().collect();
    assert_eq!(
        memory.slot.next_seq,
        all.iter().filter(|b| **b == b'\n').count() as u64
    );
    if max_size > 0 {
        for (no, file) in &memory.files {
            let last = file[..file.len().saturating_sub(1)]
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

fn capture_in(
    local: bool,
    batches: &[(usize, Vec<u8>)],
    max_size: u64,
    out_size: usize,
    seed: Option<u64>,
) -> Memory {
    let mut memory = Memory {
        slot: Slot {
            file_no: 1,
            last_time: 9,
            epoch: 1,
            salt: SALT,
            offset: if local { 64 } else { 0 },
            block_offset: if local { 64 } else { 0 },
            ..Slot::default()
        },
        local,
        ..Memory::default()
    };
    let mut rings = [vec![0; RING], vec![0; RING]];
    let mut random = Xorshift(seed.unwrap_or(1) | 1);
    let (mut out, mut line) = (vec![0; out_size], vec![0; LINE]);
    let format = Format {
        local,
        run: 1,
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
    memory
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

type Batches = Vec<(usize, Vec<u8>)>;

/// Batches of both streams, and what each stream has in all.
fn random_batches(random: &mut Xorshift) -> (Batches, [Vec<u8>; 2]) {
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
    (batches, streams)
}

#[test]
fn any_cuts_any_sizes_any_deaths_give_docker_s_records() {
    let mut random = Xorshift(0x9e37_79b9_7f4a_7c15);
    for case in 0..150u64 {
        let (batches, streams) = random_batches(&mut random);
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
    let mut memory_of_ring = vec![0; RING];
    let mut ring = Ring::new(&mut memory_of_ring);
    let stage = b"abc\ndef\nghi";
    drop_batch(&mut memory, &mut slot, &mut ring, 0, stage, 1000, 28);
    assert_eq!(
        (
            slot.lost_records,
            slot.lost_bytes,
            slot.next_seq,
            slot.consumed
        ),
        (1, 4, 1, 11)
    );
    assert_eq!((slot.gap_from, slot.gap_until), (1000, 1000));
    assert_eq!(slot.carry_len[0], 3, "the open line is kept");
    // An open line of 10 bytes, then one that is cut into pieces.
    slot.carry_len[1] = 10;
    slot.consumed = 0;
    let long = [&[b'x'; 40_000][..], b"\ny\n"].concat();
    drop_batch(&mut memory, &mut slot, &mut ring, 1, &long, 2000, 28);
    assert_eq!((slot.lost_records, slot.lost_bytes), (1 + 4, 4 + 40_013));
    assert_eq!((slot.gap_seq, slot.gap_records, slot.next_seq), (0, 5, 5));
    assert_eq!(slot.carry_len[1], 0);
    // At the end of its stream the open line goes, too.
    slot.consumed = 0;
    drop_batch(&mut memory, &mut slot, &mut ring, 0, b"", 3000, 28);
    assert_eq!((slot.lost_records, slot.lost_bytes), (6, 4 + 40_013 + 3));
    assert_eq!(slot.carry_len[0], 0);
}

#[test]
fn newlines_are_found_and_counted() {
    let mut random = Xorshift(7);
    for length in [0, 1, 15, 16, 17, 255, 4096, 5000, 70_000] {
        for rare in [1, 3, 50, 10_000] {
            let bytes: Vec<u8> = (0..length)
                .map(|_| if random.next(rare) == 0 { b'\n' } else { b'x' })
                .collect();
            let count = bytes.iter().filter(|b| **b == b'\n').count();
            assert_eq!(count_newlines(&bytes), count);
            assert_eq!(
                find_last_newline(&bytes),
                bytes.iter().rposition(|b| *b == b'\n')
            );
        }
    }
}

#[test]
fn a_clock_that_is_set_back_begins_an_epoch() {
    for local in [false, true] {
        let mut memory = Memory {
            local,
            ..Memory::default()
        };
        let offset = if local { 64 } else { 0 };
        let mut slot = Slot {
            file_no: 1,
            epoch: 1,
            salt: SALT,
            offset,
            block_offset: offset,
            ..Slot::default()
        };
        memory.slot = slot;
        let format = Format {
            local,
            run: 3,
            max_size: 1_000_000,
            attrs: b"",
            discard: false,
        };
        let (mut out, mut line, mut ring) = (vec![0; 1024], vec![0; LINE], vec![0; RING]);
        // A second back is within what clocks do; its record is not older than the one before.
        const S: u64 = 1_000_000_000;
        for (time, epoch) in [
            (100 * S, 1),
            (99 * S, 1),
            (98 * S, 1),
            (90 * S, 2),
            (91 * S, 2),
        ] {
            slot.consumed = 0;
            let mut buffers = Buffers {
                out: &mut out,
                line: &mut line,
            };
            let mut ring = Ring::new(&mut ring);
            let before = slot.last_time;
            batch(
                &mut memory,
                &mut slot,
                &format,
                &mut buffers,
                &mut ring,
                0,
                b"a\n",
                time,
            )
            .unwrap();
            assert_eq!(slot.epoch, epoch);
            if epoch == 1 {
                assert!(slot.last_time > before);
            } else {
                assert_eq!(slot.last_time, time);
            }
        }
        assert_eq!(slot.next_seq, 5, "numbers go on");
        if local {
            assert_eq!(slot.file_no, 2);
        } else {
            let side::Mark::Run {
                seq, epoch, run, ..
            } = memory.marks[0]
            else {
                panic!("{:?}", memory.marks);
            };
            assert_eq!((seq, epoch, run), (3, 2, 3));
        }
    }
}

/// One record of a segment as a reader finds it.
#[derive(Debug, PartialEq, Eq)]
struct Found {
    stream: u8,
    seq: u64,
    ordinal: u32,
    bytes: Vec<u8>,
}

fn records_of(memory: &Memory) -> Vec<Found> {
    let mut found = Vec::new();
    let mut last_time = 0;
    for file in memory.files.values() {
        let mut at = 64;
        while at < file.len() {
            let head: &[u8; 64] = file[at..at + 64].try_into().unwrap();
            let batch = local::Batch::decode(head, SALT).unwrap();
            assert_eq!(batch.kind, local::kind::RECORDS);
            let from = at + local::payload_at(batch.length);
            let payload = &file[from..from + batch.length as usize];
            for (n, block) in payload.chunks(local::BLOCK).enumerate() {
                let want = if n == 0 {
                    batch.crc0
                } else {
                    let at = at + 60 + 4 * n;
                    u32::from_le_bytes(file[at..at + 4].try_into().unwrap())
                };
                assert_eq!(crc32c::update(0, block), want, "block {n}");
            }
            assert!(batch.time > last_time, "times rise over batches");
            last_time = batch.time + u64::from(batch.count) - 1;
            let mut ordinal = batch.ordinal;
            let pieces: Vec<_> = local::pieces(payload).collect();
            assert_eq!(pieces.len(), batch.count as usize);
            assert_eq!(
                batch.flags & local::flag::OPEN != 0,
                payload.last() != Some(&b'\n')
            );
            for (n, bytes) in pieces.into_iter().enumerate() {
                if n > 0 && ordinal == 0 && bytes.last() != Some(&b'\n') {
                    ordinal = 1;
                }
                found.push(Found {
                    stream: batch.stream,
                    seq: batch.seq + n as u64,
                    ordinal,
                    bytes: bytes.to_vec(),
                });
                ordinal = if bytes.last() == Some(&b'\n') {
                    0
                } else {
                    ordinal + 1
                };
            }
            at += batch.size() as usize;
        }
        assert_eq!(at, file.len().max(64), "segments end with a batch");
    }
    found
}

#[test]
fn local_keeps_the_same_records_byte_for_byte() {
    let mut random = Xorshift(0x2545_f491_4f6c_dd1d);
    for case in 0..150u64 {
        let (batches, streams) = random_batches(&mut random);
        let max_size = [0, 1, 1000, 30_000][random.next(4) as usize];
        let straight = capture_in(true, &batches, max_size, 256, None);
        let found = records_of(&straight);
        assert_eq!(straight.slot.next_seq, found.len() as u64);
        for (n, record) in found.iter().enumerate() {
            assert_eq!(record.seq, n as u64, "case {case}: seq rises by one");
        }
        for (n, stream) in streams.iter().enumerate() {
            let mine: Vec<_> = found.iter().filter(|f| f.stream == n as u8 + 1).collect();
            let mut ordinal = 0;
            let want = pieces(stream);
            assert_eq!(mine.len(), want.len(), "case {case}");
            for (record, (content, newline)) in mine.iter().zip(want) {
                let mut bytes = content;
                if newline {
                    bytes.push(b'\n');
                }
                assert!(record.bytes == bytes, "case {case}: bytes differ");
                ordinal = match (ordinal, newline) {
                    (0, true) => 0,
                    (o, _) => o + 1,
                };
                assert_eq!(record.ordinal, ordinal, "case {case}: place in its line");
                if newline {
                    ordinal = 0;
                }
            }
        }
        let killed = capture_in(true, &batches, max_size, 256, Some(case * 31 + 7));
        assert!(
            straight.files == killed.files,
            "case {case}: a death changed the log"
        );
    }
}

#[test]
fn a_gap_is_stored_with_the_next_record() {
    for local in [false, true] {
        let mut memory = Memory {
            local,
            ..Memory::default()
        };
        let mut slot = Slot {
            file_no: 1,
            salt: SALT,
            offset: if local { 64 } else { 0 },
            block_offset: if local { 64 } else { 0 },
            next_seq: 5,
            last_time: 10,
            ..Slot::default()
        };
        memory.slot = slot;
        let mut memory_of_ring = vec![0; RING];
        let mut no_carry = Ring::new(&mut memory_of_ring);
        drop_batch(
            &mut memory,
            &mut slot,
            &mut no_carry,
            0,
            b"abc\ndef\n",
            1000,
            28,
        );
        slot.consumed = 0;
        drop_batch(&mut memory, &mut slot, &mut no_carry, 1, b"x\n", 2000, 28);
        slot.consumed = 0;
        let format = Format {
            local,
            run: 1,
            max_size: 0,
            attrs: b"",
            discard: false,
        };
        let (mut out, mut line, mut ring) = (vec![0; 1024], vec![0; LINE], vec![0; RING]);
        batch(
            &mut memory,
            &mut slot,
            &format,
            &mut Buffers {
                out: &mut out,
                line: &mut line,
            },
            &mut Ring::new(&mut ring),
            0,
            b"y\n",
            3000,
        )
        .unwrap();
        assert_eq!((slot.next_seq, slot.gap_records, slot.gap_bytes), (9, 0, 0));
        assert_eq!((slot.lost_records, slot.lost_bytes), (3, 10));
        if local {
            let file = &memory.files[&1];
            let head: &[u8; 64] = file[64..128].try_into().unwrap();
            let gap = local::Batch::decode(head, SALT).unwrap();
            assert_eq!(
                (gap.kind, gap.seq, gap.count, gap.time),
                (local::kind::GAP, 5, 3, 1000)
            );
            assert_eq!(
                local::Gap::decode(&file[128..152]),
                Some(local::Gap {
                    bytes: 10,
                    until: 2000,
                    cause: 28
                })
            );
            let head: &[u8; 64] = file[192..256].try_into().unwrap();
            assert_eq!(local::Batch::decode(head, SALT).unwrap().seq, 8);
        } else {
            assert_eq!(
                memory.marks,
                [side::Mark::Gap {
                    offset: 0,
                    seq: 5,
                    count: 3,
                    bytes: 10,
                    time: 1000,
                    until: 2000,
                    cause: 28
                }]
            );
        }
    }
}
