//! The side file of a json-file log file (`index/<number>`): one header, then one entry a block.
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

fn pack(words: [u64; 6], low: u32) -> [u8; ENTRY] {
    let mut out = [0; ENTRY];
    for (i, w) in words.iter().enumerate() {
        out[i * 8..i * 8 + 8].copy_from_slice(&w.to_le_bytes());
    }
    out[48..52].copy_from_slice(&low.to_le_bytes());
    let crc = crc32c::update(0, &out[..60]);
    out[60..].copy_from_slice(&crc.to_le_bytes());
    out
}

fn unpack(bytes: &[u8; ENTRY]) -> Option<([u64; 6], u32)> {
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
        )
    }

    /// `None` for another magic or a wrong checksum.
    #[must_use]
    pub fn decode(bytes: &[u8; ENTRY]) -> Option<Self> {
        let (w, _) = unpack(bytes)?;
        (w[0] == MAGIC).then_some(Self {
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
                u64::from_le_bytes(*b"TAFBLOCK"),
                self.offset,
                self.length,
                self.seq,
                self.time,
                self.epoch,
            ],
            self.crc,
        )
    }

    /// `None` for anything that is not an undamaged entry.
    #[must_use]
    pub fn decode(bytes: &[u8; ENTRY]) -> Option<Self> {
        let (w, crc) = unpack(bytes)?;
        (w[0] == u64::from_le_bytes(*b"TAFBLOCK")).then_some(Self {
            offset: w[1],
            length: w[2],
            seq: w[3],
            time: w[4],
            epoch: w[5],
            crc,
        })
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
        for bit in 0..ENTRY * 8 {
            let mut bytes = entry.encode();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Entry::decode(&bytes), None, "bit {bit}");
        }
    }
}
