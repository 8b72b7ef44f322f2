//! The side file of a log file (`index/<number>`): one header, then one entry a block, with marks
//! between them.
//!
//! Specified in `docs/design/files.md`. All integers are little-endian; header and entries are 64
//! bytes, each ended by a crc32c of its first 60 bytes, so a damaged one is known and skipped.

use crate::crc32c;

/// Bytes of the header and of each entry.
pub const ENTRY: usize = 64;
/// First eight bytes of a side file: name and version.
pub const MAGIC: u64 = u64::from_le_bytes(*b"TAFSIDE1");
/// A block is closed at the first commit at which it has this many bytes.
pub const BLOCK: u64 = 256 * 1024;

/// Numbers, sizes and offsets are below: so sums of them fit, whatever an entry says.
pub const MOST: u64 = 1 << 62;

/// Header: which log file this belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    pub file_no: u64,
    /// Inode of the log file; tells a side file that belongs to another file.
    pub inode: u64,
    pub epoch: u64,
    /// Sequence number of the file's first record.
    pub first_seq: u64,
    /// When the file was begun, nanoseconds since 1970.
    pub time: u64,
}

/// One block of the log file: `length` bytes from `offset` that begin with record `seq`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    pub offset: u64,
    pub length: u64,
    pub seq: u64,
    /// Time of the first record in the block.
    pub time: u64,
    pub epoch: u64,
    /// crc32c of the block's bytes in the log file.
    pub crc: u32,
}

/// A mark in the index of either format: something that happened between two records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mark {
    /// Records that capture gave up: `count` from `seq` on, `bytes` of them, between `time` and
    /// `until`, because of errno `cause`. The next record in the file, at `offset`, has
    /// `seq + count`.
    Gap {
        offset: u64,
        seq: u64,
        count: u64,
        bytes: u64,
        time: u64,
        until: u64,
        cause: u32,
    },
    /// A run of the container began: its first record, at `offset`, has `seq` in `epoch`.
    Run {
        offset: u64,
        seq: u64,
        time: u64,
        epoch: u64,
        run: u64,
    },
}

const ENTRY_MAGIC: u64 = u64::from_le_bytes(*b"TAFBLOCK");
const GAP_MAGIC: u64 = u64::from_le_bytes(*b"TAFGAP01");
const RUN_MAGIC: u64 = u64::from_le_bytes(*b"TAFRUN01");

fn pack(words: [u64; 6], low: u32, extra: u64) -> [u8; ENTRY] {
    let mut out = [0; ENTRY];
    for (i, w) in words.iter().enumerate() {
        out[i * 8..i * 8 + 8].copy_from_slice(&w.to_le_bytes());
    }
    out[48..52].copy_from_slice(&low.to_le_bytes());
    out[52..60].copy_from_slice(&extra.to_le_bytes());
    let crc = crc32c::update(0, &out[..60]);
    out[60..].copy_from_slice(&crc.to_le_bytes());
    out
}

fn unpack(bytes: &[u8; ENTRY]) -> Option<([u64; 6], u32, u64)> {
    let crc = u32::from_le_bytes([bytes[60], bytes[61], bytes[62], bytes[63]]);
    if crc32c::update(0, &bytes[..60]) != crc {
        return None;
    }
    let (words, _) = bytes.as_chunks::<8>();
    let mut out = [0; 6];
    for (o, w) in out.iter_mut().zip(words) {
        *o = u64::from_le_bytes(*w);
    }
    Some((
        out,
        u32::from_le_bytes([bytes[48], bytes[49], bytes[50], bytes[51]]),
        u64::from_le_bytes([
            bytes[52], bytes[53], bytes[54], bytes[55], bytes[56], bytes[57], bytes[58], bytes[59],
        ]),
    ))
}

impl Header {
    #[must_use]
    pub fn encode(&self) -> [u8; ENTRY] {
        pack(
            [
                MAGIC,
                self.file_no,
                self.inode,
                self.epoch,
                self.first_seq,
                self.time,
            ],
            0,
            0,
        )
    }

    /// `None` for another magic, a wrong checksum or a number beyond [`MOST`].
    #[must_use]
    pub fn decode(bytes: &[u8; ENTRY]) -> Option<Self> {
        let (w, ..) = unpack(bytes)?;
        (w[0] == MAGIC && w[4] < MOST).then_some(Self {
            file_no: w[1],
            inode: w[2],
            epoch: w[3],
            first_seq: w[4],
            time: w[5],
        })
    }
}

impl Entry {
    #[must_use]
    pub fn encode(&self) -> [u8; ENTRY] {
        pack(
            [
                ENTRY_MAGIC,
                self.offset,
                self.length,
                self.seq,
                self.time,
                self.epoch,
            ],
            self.crc,
            0,
        )
    }

    /// `None` for anything that is not an undamaged entry.
    #[must_use]
    pub fn decode(bytes: &[u8; ENTRY]) -> Option<Self> {
        let (w, crc, _) = unpack(bytes)?;
        (w[0] == ENTRY_MAGIC && w[1..4].iter().all(|w| *w < MOST)).then_some(Self {
            offset: w[1],
            length: w[2],
            seq: w[3],
            time: w[4],
            epoch: w[5],
            crc,
        })
    }
}

impl Mark {
    #[must_use]
    pub fn encode(&self) -> [u8; ENTRY] {
        match *self {
            Self::Gap {
                offset,
                seq,
                count,
                bytes,
                time,
                until,
                cause,
            } => pack([GAP_MAGIC, offset, seq, count, bytes, time], cause, until),
            Self::Run {
                offset,
                seq,
                time,
                epoch,
                run,
            } => pack([RUN_MAGIC, offset, seq, time, epoch, run], 0, 0),
        }
    }

    /// `None` for anything that is not an undamaged mark.
    #[must_use]
    pub fn decode(bytes: &[u8; ENTRY]) -> Option<Self> {
        let (w, low, extra) = unpack(bytes)?;
        let fit = |words: &[u64]| words.iter().all(|w| *w < MOST);
        match w[0] {
            GAP_MAGIC if fit(&w[1..5]) => Some(Self::Gap {
                offset: w[1],
                seq: w[2],
                count: w[3],
                bytes: w[4],
                time: w[5],
                until: extra,
                cause: low,
            }),
            RUN_MAGIC if fit(&w[1..3]) => Some(Self::Run {
                offset: w[1],
                seq: w[2],
                time: w[3],
                epoch: w[4],
                run: w[5],
            }),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trip_and_every_flipped_bit_is_seen() {
        let header = Header {
            file_no: 3,
            inode: 9,
            epoch: 1,
            first_seq: 77,
            time: 5,
        };
        let entry = Entry {
            offset: 1,
            length: 2,
            seq: 3,
            time: 4,
            epoch: 5,
            crc: 6,
        };
        assert_eq!(Header::decode(&header.encode()), Some(header));
        assert_eq!(Entry::decode(&entry.encode()), Some(entry));
        assert_eq!(Entry::decode(&header.encode()), None);
        let gap = Mark::Gap {
            offset: 1,
            seq: 2,
            count: 3,
            bytes: 4,
            time: 5,
            until: 6,
            cause: 28,
        };
        let run = Mark::Run {
            offset: 1,
            seq: 2,
            time: 3,
            epoch: 4,
            run: 5,
        };
        for mark in [gap, run] {
            assert_eq!(Mark::decode(&mark.encode()), Some(mark));
            assert_eq!(Entry::decode(&mark.encode()), None);
        }
        assert_eq!(Mark::decode(&entry.encode()), None);
        let beyond = Entry { seq: MOST, ..entry };
        assert_eq!(Entry::decode(&beyond.encode()), None);
        for bit in 0..ENTRY * 8 {
            let mut bytes = entry.encode();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Entry::decode(&bytes), None, "bit {bit}");
        }
    }
}
