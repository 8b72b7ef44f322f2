//! The `local` format's layout, shared by the monitor that writes it and by the readers.
//!
//! Specified in `docs/design/local-format.md`. All integers are little-endian.

use crate::capture::{PIECE, find_newline};
use crate::crc32c;
use crate::utf8;

/// Bytes of a segment header and of a batch header; batches begin at multiples of it.
pub const ALIGN: usize = 64;
/// First eight bytes of a segment.
pub const MAGIC: u64 = u64::from_le_bytes(*b"TAFLOCAL");
/// First four bytes of a batch.
pub const BATCH_MAGIC: u32 = u32::from_le_bytes(*b"TAFB");
/// First four bytes of the copy of a batch's header.
pub const COPY_MAGIC: u32 = u32::from_le_bytes(*b"TAFC");
/// Layout version of a segment.
pub const VERSION: u32 = 1;
/// Payload bytes under one checksum.
pub const BLOCK: usize = 4096;
/// Most payload bytes of a batch of records: a full stage and a full carry.
pub const MAX_RECORDS: usize = crate::state::STAGE + PIECE;
/// Most payload bytes of attributes.
pub const MAX_ATTRS: usize = 1024 * 1024;
/// Size of a segment where `max-size` does not say less.
pub const MAX_SEGMENT: u64 = 1 << 30;

/// Values of [`Batch::kind`].
pub mod kind {
    /// Records of one stream.
    pub const RECORDS: u8 = 1;
    /// The attributes of the records that follow: a JSON object of strings.
    pub const ATTRS: u8 = 2;
    /// Records that capture gave up; see [`super::Gap`].
    pub const GAP: u8 = 3;
}

/// Bits of [`Batch::flags`].
pub mod flag {
    /// The first record continues a line.
    pub const CONTINUES: u16 = 1;
    /// The last record has no newline.
    pub const OPEN: u16 = 2;
    /// The last record was left at the end of its stream.
    pub const STREAM_END: u16 = 4;
    /// A copy of header and checksum table ends the batch.
    pub const COPIED: u16 = 8;
}

/// What a segment begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentHeader {
    pub salt: u32,
    pub number: u64,
    pub first_seq: u64,
    pub epoch: u32,
    pub run: u32,
    /// When it was begun, nanoseconds since 1970.
    pub time: u64,
}

/// Why bytes are no segment header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadSegment {
    /// Another magic or a wrong checksum.
    Damaged,
    /// A whole header of a version that is not known here.
    Version(u32),
}

fn put4(out: &mut [u8; ALIGN], at: usize, value: u32) {
    out[at..at + 4].copy_from_slice(&value.to_le_bytes());
}

fn put8(out: &mut [u8; ALIGN], at: usize, value: u64) {
    out[at..at + 8].copy_from_slice(&value.to_le_bytes());
}

fn get4(from: &[u8; ALIGN], at: usize) -> u32 {
    u32::from_le_bytes([from[at], from[at + 1], from[at + 2], from[at + 3]])
}

fn get8(from: &[u8; ALIGN], at: usize) -> u64 {
    u64::from(get4(from, at)) | u64::from(get4(from, at + 4)) << 32
}

impl SegmentHeader {
    #[must_use]
    pub fn encode(&self) -> [u8; ALIGN] {
        let mut out = [0; ALIGN];
        put8(&mut out, 0, MAGIC);
        put4(&mut out, 8, VERSION);
        put4(&mut out, 12, self.salt);
        put8(&mut out, 16, self.number);
        put8(&mut out, 24, self.first_seq);
        put4(&mut out, 32, self.epoch);
        put4(&mut out, 36, self.run);
        put8(&mut out, 40, self.time);
        let crc = crc32c::update(0, &out[..60]);
        put4(&mut out, 60, crc);
        out
    }

    /// # Errors
    /// [`BadSegment`].
    pub fn decode(from: &[u8; ALIGN]) -> Result<Self, BadSegment> {
        if get8(from, 0) != MAGIC || get4(from, 60) != crc32c::update(0, &from[..60]) {
            return Err(BadSegment::Damaged);
        }
        if get4(from, 8) != VERSION {
            return Err(BadSegment::Version(get4(from, 8)));
        }
        Ok(Self {
            salt: get4(from, 12),
            number: get8(from, 16),
            first_seq: get8(from, 24),
            epoch: get4(from, 32),
            run: get4(from, 36),
            time: get8(from, 40),
        })
    }
}

/// A batch's header.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    /// Offset / 64 of the attributes in force, 0 for none.
    pub attrs: u32,
    pub seq: u64,
    pub time: u64,
    pub epoch: u32,
    pub run: u32,
    pub length: u32,
    pub count: u32,
    pub kind: u8,
    /// 1 stdout, 2 stderr, 0 for marks.
    pub stream: u8,
    pub flags: u16,
    pub ordinal: u32,
    pub chain_seq: u64,
    /// crc32c of the first block.
    pub crc0: u32,
}

/// Checksums of `length` payload bytes that do not fit into the header.
#[must_use]
pub const fn table_entries(length: u32) -> usize {
    (length as usize).div_ceil(BLOCK).saturating_sub(1)
}

/// Where the payload begins, counted from the batch's start.
#[must_use]
pub const fn payload_at(length: u32) -> usize {
    ALIGN + 4 * table_entries(length)
}

/// Where the copy of a header stands, counted from the batch's start; without one, the batch's size.
#[must_use]
pub const fn copy_at(length: u32) -> usize {
    (payload_at(length) + length as usize).next_multiple_of(ALIGN)
}

/// Bytes of the copy of header and table, padding included.
#[must_use]
pub const fn copy_size(length: u32) -> usize {
    payload_at(length).next_multiple_of(ALIGN)
}

/// Whether a batch of records has a copy of its header: without one, damage to the header costs the
/// batch, and none costs more than a block.
#[must_use]
pub const fn has_copy(length: u32) -> bool {
    length as usize > BLOCK
}

impl Batch {
    #[must_use]
    pub fn encode(&self, salt: u32) -> [u8; ALIGN] {
        self.encode_as(BATCH_MAGIC, salt)
    }

    /// The copy of the header, which no header can be taken for.
    #[must_use]
    pub fn encode_copy(&self, salt: u32) -> [u8; ALIGN] {
        self.encode_as(COPY_MAGIC, salt)
    }

    fn encode_as(&self, magic: u32, salt: u32) -> [u8; ALIGN] {
        let mut out = [0; ALIGN];
        put4(&mut out, 0, magic);
        put4(&mut out, 4, self.attrs);
        put8(&mut out, 8, self.seq);
        put8(&mut out, 16, self.time);
        put4(&mut out, 24, self.epoch);
        put4(&mut out, 28, self.run);
        put4(&mut out, 32, self.length);
        put4(&mut out, 36, self.count);
        out[40] = self.kind;
        out[41] = self.stream;
        out[42..44].copy_from_slice(&self.flags.to_le_bytes());
        put4(&mut out, 44, self.ordinal);
        put8(&mut out, 48, self.chain_seq);
        put4(&mut out, 56, self.crc0);
        let crc = crc32c::update(0, &out[..60]) ^ salt;
        put4(&mut out, 60, crc);
        out
    }

    /// `None` for anything that is not an undamaged header of this segment, or whose sizes, numbers or
    /// times are beyond the limits.
    #[must_use]
    pub fn decode(from: &[u8; ALIGN], salt: u32) -> Option<Self> {
        if get4(from, 0) != BATCH_MAGIC {
            return None;
        }
        Self::decode_any(from, salt)
    }

    /// As [`Self::decode`], of the copy of a header.
    #[must_use]
    pub fn decode_copy(from: &[u8; ALIGN], salt: u32) -> Option<Self> {
        if get4(from, 0) != COPY_MAGIC {
            return None;
        }
        Self::decode_any(from, salt).filter(|batch| batch.flags & flag::COPIED != 0)
    }

    fn decode_any(from: &[u8; ALIGN], salt: u32) -> Option<Self> {
        if Self::salt_of(from)? != salt {
            return None;
        }
        let batch = Self {
            attrs: get4(from, 4),
            seq: get8(from, 8),
            time: get8(from, 16),
            epoch: get4(from, 24),
            run: get4(from, 28),
            length: get4(from, 32),
            count: get4(from, 36),
            kind: from[40],
            stream: from[41],
            flags: u16::from_le_bytes([from[42], from[43]]),
            ordinal: get4(from, 44),
            chain_seq: get8(from, 48),
            crc0: get4(from, 56),
        };
        let most = match batch.kind {
            kind::RECORDS => MAX_RECORDS,
            kind::ATTRS => MAX_ATTRS,
            _ => BLOCK,
        };
        // So that no reader has to ask whether the number of a record or its time fits.
        let fits = batch.seq < crate::side::MOST && batch.time >> 63 == 0;
        (batch.length as usize <= most && fits).then_some(batch)
    }

    /// The salt under which `from` would be a header or the copy of one; `None` without the magic.
    #[must_use]
    pub fn salt_of(from: &[u8; ALIGN]) -> Option<u32> {
        let magic = get4(from, 0);
        (magic == BATCH_MAGIC || magic == COPY_MAGIC)
            .then(|| crc32c::update(0, &from[..60]) ^ get4(from, 60))
    }

    /// Bytes of the whole batch, padding and copy included.
    #[must_use]
    pub fn size(&self) -> u64 {
        let copy = match self.flags & flag::COPIED {
            0 => 0,
            _ => copy_size(self.length),
        };
        (copy_at(self.length) + copy) as u64
    }
}

/// Payload of a [`kind::GAP`] batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gap {
    pub bytes: u64,
    /// Time of the last loss, nanoseconds since 1970; the first is the batch's time.
    pub until: u64,
    /// Why: an errno.
    pub cause: u32,
}

impl Gap {
    /// Bytes of the payload.
    pub const SIZE: usize = 24;

    #[must_use]
    pub fn encode(&self) -> [u8; Self::SIZE] {
        let mut out = [0; Self::SIZE];
        out[..8].copy_from_slice(&self.bytes.to_le_bytes());
        out[8..16].copy_from_slice(&self.until.to_le_bytes());
        out[16..20].copy_from_slice(&self.cause.to_le_bytes());
        out
    }

    #[must_use]
    pub fn decode(from: &[u8]) -> Option<Self> {
        let from: &[u8; Self::SIZE] = from.try_into().ok()?;
        let (words, _) = from.as_chunks::<8>();
        Some(Self {
            bytes: u64::from_le_bytes(words[0]),
            until: u64::from_le_bytes(words[1]),
            cause: u64::from_le_bytes(words[2]) as u32,
        })
    }
}

/// The records of a payload: each with its newline, if it has one.
#[derive(Clone, Debug)]
pub struct Pieces<'p>(&'p [u8]);

/// Cuts a payload, or what follows a record of one, into its records.
#[must_use]
pub fn pieces(payload: &[u8]) -> Pieces<'_> {
    Pieces(payload)
}

impl<'p> Iterator for Pieces<'p> {
    type Item = &'p [u8];

    #[inline]
    fn next(&mut self) -> Option<&'p [u8]> {
        if self.0.is_empty() {
            return None;
        }
        let window = &self.0[..self.0.len().min(PIECE)];
        let length = match find_newline(window) {
            Some(at) => at + 1,
            None if window.len() == PIECE => PIECE - utf8::open_tail(window),
            None => window.len(),
        };
        let (piece, rest) = self.0.split_at(length);
        self.0 = rest;
        Some(piece)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch() -> Batch {
        Batch {
            attrs: 1,
            seq: 2,
            time: 3,
            epoch: 4,
            run: 5,
            length: 6,
            count: 7,
            kind: kind::RECORDS,
            stream: 2,
            flags: flag::OPEN,
            ordinal: 8,
            chain_seq: 9,
            crc0: 10,
        }
    }

    #[test]
    fn round_trips_and_every_flipped_bit_is_seen() {
        let header = SegmentHeader {
            salt: 1,
            number: 2,
            first_seq: 3,
            epoch: 4,
            run: 5,
            time: 6,
        };
        assert_eq!(SegmentHeader::decode(&header.encode()), Ok(header));
        assert_eq!(Batch::decode(&batch().encode(77), 77), Some(batch()));
        assert_eq!(Batch::decode(&batch().encode(77), 78), None);
        assert_eq!(Batch::salt_of(&batch().encode(77)), Some(77));
        let copied = Batch {
            flags: flag::COPIED,
            ..batch()
        };
        let copy = copied.encode_copy(77);
        assert_eq!(Batch::decode_copy(&copy, 77), Some(copied));
        assert_eq!(Batch::decode_copy(&copy, 78), None);
        assert_eq!(Batch::decode(&copy, 77), None);
        assert_eq!(Batch::decode_copy(&copied.encode(77), 77), None);
        assert_eq!(Batch::decode_copy(&batch().encode_copy(77), 77), None);
        for bit in 0..ALIGN * 8 {
            let flip = |mut bytes: [u8; ALIGN]| {
                bytes[bit / 8] ^= 1 << (bit % 8);
                bytes
            };
            assert_eq!(
                SegmentHeader::decode(&flip(header.encode())),
                Err(BadSegment::Damaged)
            );
            assert_eq!(Batch::decode(&flip(batch().encode(77)), 77), None);
        }
    }

    #[test]
    fn another_version_is_named_and_limits_hold() {
        let mut bytes = SegmentHeader {
            salt: 1,
            number: 2,
            first_seq: 3,
            epoch: 4,
            run: 5,
            time: 6,
        }
        .encode();
        put4(&mut bytes, 8, 2);
        let crc = crc32c::update(0, &bytes[..60]);
        put4(&mut bytes, 60, crc);
        assert_eq!(SegmentHeader::decode(&bytes), Err(BadSegment::Version(2)));
        let long = Batch {
            length: MAX_RECORDS as u32 + 1,
            ..batch()
        };
        let late = Batch {
            time: 1 << 63,
            ..batch()
        };
        let many = Batch {
            seq: crate::side::MOST,
            ..batch()
        };
        for beyond in [long, late, many] {
            assert_eq!(Batch::decode(&beyond.encode(0), 0), None);
        }
    }

    #[test]
    fn sizes() {
        assert_eq!((payload_at(0), copy_at(0)), (64, 64));
        assert_eq!((payload_at(4096), copy_at(4096)), (64, 64 + 4096));
        assert_eq!((payload_at(4097), copy_at(4097)), (68, 64 + 4096 + 64));
        let size = |length, flags| {
            Batch {
                length,
                flags,
                ..batch()
            }
            .size()
        };
        assert_eq!(size(4097, 0), 64 + 4096 + 64);
        assert_eq!(size(4097, flag::COPIED), 64 + 4096 + 64 + 128);
    }

    #[test]
    fn gap_round_trip() {
        let gap = Gap {
            bytes: 1,
            until: 2,
            cause: 28,
        };
        assert_eq!(Gap::decode(&gap.encode()), Some(gap));
        assert_eq!(Gap::decode(&[0; 23]), None);
    }

    #[test]
    fn pieces_by_the_chunker_s_rule() {
        let lengths = |payload: &[u8]| pieces(payload).map(<[u8]>::len).collect::<Vec<_>>();
        assert_eq!(lengths(b"a\n\nbc"), [2, 1, 2]);
        let mut long = vec![b'x'; PIECE];
        long.extend_from_slice(b"\ny\n");
        assert_eq!(lengths(&long), [PIECE, 1, 2]);
        long.remove(0);
        assert_eq!(lengths(&long), [PIECE, 2]);
        let mut border = vec![b'x'; PIECE - 2];
        border.extend_from_slice("😀y\n".as_bytes());
        assert_eq!(lengths(&border), [PIECE - 2, 6]);
    }
}
