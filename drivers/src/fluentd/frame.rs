//! Messages of the forward protocol v1 (message, `PackedForward`, `CompressedPackedForward` mode) from entries.

use std::io::Write as _;

use flate2::Compression;
use flate2::write::GzEncoder;
use rmp::encode::{write_array_len, write_bin_len, write_map_len, write_str, write_uint};

/// Characters of a chunk's id: 16 bytes in base64, as Docker's.
pub(super) const ID: usize = 24;

/// Ids of one connection: 8 random bytes and a count, so that none comes twice.
#[derive(Debug)]
pub(super) struct Ids {
    random: [u8; 8],
    next: u64,
}

impl Ids {
    pub(super) fn new() -> Result<Self, String> {
        let mut random = [0; 8];
        getrandom::fill(&mut random).map_err(|error| error.to_string())?;
        Ok(Self { random, next: 0 })
    }
    pub(super) fn next(&mut self) -> [u8; ID] {
        let mut raw = [0; 18];
        raw[..8].copy_from_slice(&self.next.to_le_bytes());
        raw[8..16].copy_from_slice(&self.random);
        self.next += 1;
        let digits = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        let mut id = [b'='; ID];
        for (four, three) in id.chunks_exact_mut(4).zip(raw.chunks_exact(3)) {
            let bits = u32::from(three[0]) << 16 | u32::from(three[1]) << 8 | u32::from(three[2]);
            for (i, digit) in four.iter_mut().enumerate() {
                *digit = digits[(bits >> (18 - 6 * i) & 63) as usize];
            }
        }
        id[ID - 2..].fill(b'=');
        id
    }
}

/// Writing to memory does not fail.
fn text(out: &mut Vec<u8>, text: &str) {
    let _ = write_str(out, text);
}

fn chunk(out: &mut Vec<u8>, id: &[u8; ID]) {
    text(out, "chunk");
    out.push(0xa0 | ID as u8);
    out.extend_from_slice(id);
}

/// `[tag, time, record, option]` of one entry `[time, record]`.
pub(super) fn message(out: &mut Vec<u8>, tag: &str, entry: &[u8], id: Option<&[u8; ID]>) {
    let _ = write_array_len(out, 4);
    text(out, tag);
    // Without the head of its array.
    out.extend_from_slice(entry.get(1..).unwrap_or_default());
    match id {
        None => out.push(0x80),
        Some(id) => {
            out.push(0x81);
            chunk(out, id);
        }
    }
}

/// `[tag, bin(entries), option]`.
pub(super) fn packed(
    out: &mut Vec<u8>,
    tag: &str,
    entries: &[u8],
    count: usize,
    id: Option<&[u8; ID]>,
    gzip: bool,
) {
    let _ = write_array_len(out, 3);
    text(out, tag);
    let mut put = |bytes: &[u8]| {
        let _ = write_bin_len(out, u32::try_from(bytes.len()).unwrap_or(u32::MAX));
        out.extend_from_slice(bytes);
    };
    if gzip {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        let done = encoder.write_all(entries).and_then(|()| encoder.finish());
        put(&done.unwrap_or_default());
    } else {
        put(entries);
    }
    let _ = write_map_len(out, 1 + u32::from(id.is_some()) + u32::from(gzip));
    text(out, "size");
    let _ = write_uint(out, count as u64);
    if let Some(id) = id {
        chunk(out, id);
    }
    if gzip {
        text(out, "compressed");
        text(out, "gzip");
    }
}
