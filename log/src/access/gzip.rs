//! gzip of several members: their headers, the table of their sizes, decoding one.
//!
//! Each member's header tells its sizes, so that members are found without decoding: the first one
//! in Docker's JSON (`lastTime`, and ours: `deflated`, `plain`), the others in a subfield `TF` of
//! RFC 1952's extra field.

use std::fs::File;
use std::io;
use std::path::Path;

use serde::Deserialize;
use taffrail_log_core::crc32c;

use super::table::Table;
use super::{FRAME_MAX, pread};
use crate::time::Moment;

/// Most plain bytes of a member.
pub(crate) const MEMBER: usize = 256 * 1024;
/// First eight bytes of a stored table.
const TABLE_MAGIC: [u8; 8] = *b"TAFGZT01";
/// Most bytes of a member's header that are looked at.
const HEAD_MAX: usize = 512;
/// Bytes behind the deflated ones: checksum and plain size.
const TRAILER: u32 = 8;

/// What a member's header tells.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct GzipHead {
    pub(crate) head_size: u32,
    /// Deflated and plain bytes, if they are told.
    pub(crate) sizes: Option<(u32, u32)>,
    /// Docker's: time of the file's last record.
    pub(crate) last_time: Option<Moment>,
}

#[derive(Deserialize)]
struct Extra<'a> {
    #[serde(rename = "lastTime")]
    last_time: Option<&'a str>,
    deflated: Option<u32>,
    plain: Option<u32>,
}

impl GzipHead {
    /// `None`: not the header of a member.
    pub(crate) fn parse(bytes: &[u8]) -> Option<Self> {
        let [0x1f, 0x8b, 8, flags, _, _, _, _, _, _, rest @ ..] = bytes else {
            return None;
        };
        if flags & !4 != 0 {
            return parse_other(bytes, *flags);
        }
        let mut head = Self {
            head_size: 10,
            ..Self::default()
        };
        if flags & 4 != 0 {
            let (length, rest) = rest.split_first_chunk::<2>()?;
            let length = u16::from_le_bytes(*length);
            let extra = rest.get(..usize::from(length))?;
            head.head_size += 2 + u32::from(length);
            if let [b'T', b'F', 8, 0, sizes @ ..] = extra
                && let Ok(sizes) = <[u8; 8]>::try_from(sizes)
            {
                let [a, b, c, d, e, f, g, h] = sizes;
                head.sizes = Some((
                    u32::from_le_bytes([a, b, c, d]),
                    u32::from_le_bytes([e, f, g, h]),
                ));
            } else if let Ok(extra) = serde_json::from_slice::<Extra<'_>>(extra) {
                head.last_time = extra.last_time.and_then(|t| Moment::parse(t.as_bytes()));
                head.sizes = extra.deflated.zip(extra.plain);
            }
        }
        Some(head)
    }

    fn member_size(&self) -> Option<(u32, u32)> {
        let (deflated, plain) = self.sizes?;
        let size = deflated.checked_add(self.head_size + TRAILER)?;
        (size <= FRAME_MAX && plain <= FRAME_MAX).then_some((size, plain))
    }
}

/// A header with a name or a comment, as the `gzip` program writes it.
fn parse_other(bytes: &[u8], flags: u8) -> Option<GzipHead> {
    if flags & 0xe0 != 0 {
        return None;
    }
    let mut at = 10;
    if flags & 4 != 0 {
        let length = u16::from_le_bytes([*bytes.get(at)?, *bytes.get(at + 1)?]);
        at += 2 + usize::from(length);
    }
    for bit in [8, 16] {
        if flags & bit != 0 {
            at += memchr::memchr(0, bytes.get(at..)?)? + 1;
        }
    }
    if flags & 2 != 0 {
        at += 2;
    }
    (at <= bytes.len()).then_some(GzipHead {
        head_size: at as u32,
        ..GzipHead::default()
    })
}

/// The header of a member as Docker writes it (extra field, no time, unknown system).
pub(crate) fn member_head(last_time: Option<Moment>, deflated: u32, plain: u32, out: &mut Vec<u8>) {
    out.extend_from_slice(&[0x1f, 0x8b, 8, 4, 0, 0, 0, 0, 0, 0xff]);
    let extra = match last_time {
        Some(time) => {
            let mut text = Vec::new();
            time.write(&mut text);
            let text = String::from_utf8_lossy(&text).into_owned();
            let text = trim_zeros(&text);
            format!("{{\"lastTime\":\"{text}\",\"deflated\":{deflated},\"plain\":{plain}}}")
                .into_bytes()
        }
        None => {
            let mut extra = b"TF\x08\0".to_vec();
            extra.extend_from_slice(&deflated.to_le_bytes());
            extra.extend_from_slice(&plain.to_le_bytes());
            extra
        }
    };
    out.extend_from_slice(&(extra.len() as u16).to_le_bytes());
    out.extend_from_slice(&extra);
}

/// Go's form of a time has no zeros at the end of the fraction.
fn trim_zeros(text: &str) -> String {
    let text = text.trim_end_matches('Z').trim_end_matches('0');
    format!("{}Z", text.trim_end_matches('.'))
}

/// Finds the members by their headers; `None` if the first does not tell its sizes. Behind damage
/// the next header that does is looked for.
pub(super) fn walk(file: &File) -> io::Result<Option<Table>> {
    let size = file.metadata()?.len();
    let mut table = Table::default();
    let mut buf = vec![0; HEAD_MAX];
    let mut at = 0;
    while at < size {
        let got = pread(file, &mut buf, at)?;
        let member = GzipHead::parse(&buf[..got]).and_then(|head| head.member_size());
        let (length, plain) = match member {
            Some((length, plain)) if is_end(file, at + u64::from(length), plain)? => {
                (u64::from(length), plain)
            }
            // Its header lies, or it is cut.
            Some((_, plain)) => (find_member(file, at + 1, size)?.unwrap_or(size) - at, plain),
            None if at == 0 && !resembles_ours(file, size)? => return Ok(None),
            None => {
                let next = find_member(file, at + 1, size)?.unwrap_or(size);
                (next - at, MEMBER as u32)
            }
        };
        let mut rest = length;
        while rest > u64::from(FRAME_MAX) {
            table.push(FRAME_MAX, 0);
            rest -= u64::from(FRAME_MAX);
        }
        table.push(rest as u32, plain);
        at += length;
    }
    Ok(Some(table))
}

/// Whether a member of `plain` bytes ends at `end`: it has its plain size at its end, too.
fn is_end(file: &File, end: u64, plain: u32) -> io::Result<bool> {
    let mut told = [0; 4];
    let got = pread(file, &mut told, end.saturating_sub(4))?;
    Ok(got == 4 && u32::from_le_bytes(told) == plain)
}

/// Whether a file whose first header is damaged has a member of ours near its start.
fn resembles_ours(file: &File, size: u64) -> io::Result<bool> {
    let most = size.min(2 * u64::from(FRAME_MAX));
    Ok(find_member(file, 1, most)?.is_some())
}

/// The next header of ours in `from..size`.
fn find_member(file: &File, mut from: u64, size: u64) -> io::Result<Option<u64>> {
    const HEAD: &[u8] = b"\x1f\x8b\x08\x04\0\0\0\0\0\xff\x0c\0TF\x08\0";
    let mut buf = vec![0; 64 * 1024];
    while from + (HEAD.len() as u64) <= size {
        let most = buf.len().min((size - from) as usize);
        let got = pread(file, &mut buf[..most], from)?;
        if let Some(at) = memchr::memmem::find(&buf[..got], HEAD) {
            return Ok(Some(from + at as u64));
        }
        if got < HEAD.len() {
            break;
        }
        from += (got - HEAD.len() + 1) as u64;
    }
    Ok(None)
}

/// Decodes the member `input` into exactly `into`. `false`: it is damaged.
pub(super) fn decode(codec: &mut flate2::Decompress, input: &[u8], into: &mut [u8]) -> bool {
    let Some(head) = GzipHead::parse(&input[..input.len().min(HEAD_MAX)]) else {
        return false;
    };
    let Some(deflated) = input.get(head.head_size as usize..) else {
        return false;
    };
    codec.reset(false);
    let status = codec.decompress(deflated, into, flate2::FlushDecompress::Finish);
    let used = codec.total_in() as usize;
    if !matches!(status, Ok(flate2::Status::StreamEnd)) || codec.total_out() != into.len() as u64 {
        return false;
    }
    let mut trailer = crc32fast::hash(into).to_le_bytes().to_vec();
    trailer.extend_from_slice(&(into.len() as u32).to_le_bytes());
    deflated.get(used..used + trailer.len()) == Some(&trailer)
}

/// A stored table: magic, number of members, their sizes, checksum.
pub(crate) fn table_bytes(sizes: &[(u32, u32)]) -> Vec<u8> {
    let mut out = TABLE_MAGIC.to_vec();
    out.extend_from_slice(&(sizes.len() as u32).to_le_bytes());
    for (size, plain) in sizes {
        out.extend_from_slice(&size.to_le_bytes());
        out.extend_from_slice(&plain.to_le_bytes());
    }
    let crc = crc32c::update(0, &out);
    out.extend_from_slice(&crc.to_le_bytes());
    out
}

/// `None` if there is no table, or a damaged one.
pub(super) fn read_table(path: &Path) -> Option<Table> {
    let length = std::fs::metadata(path).ok()?.len();
    // 32 million members are more than 8 TB of log.
    if length > 256 * 1024 * 1024 {
        return None;
    }
    parse_table(&std::fs::read(path).ok()?)
}

pub(super) fn parse_table(bytes: &[u8]) -> Option<Table> {
    let (body, crc) = bytes.split_last_chunk::<4>()?;
    if crc32c::update(0, body).to_le_bytes() != *crc {
        return None;
    }
    let body = body.strip_prefix(&TABLE_MAGIC)?;
    let (count, entries) = body.split_first_chunk::<4>()?;
    let (entries, rest) = entries.as_chunks::<8>();
    if entries.len() != u32::from_le_bytes(*count) as usize || !rest.is_empty() {
        return None;
    }
    let mut table = Table::default();
    for [a, b, c, d, e, f, g, h] in entries {
        let size = u32::from_le_bytes([*a, *b, *c, *d]);
        let plain = u32::from_le_bytes([*e, *f, *g, *h]);
        if size > FRAME_MAX || plain > FRAME_MAX {
            return None;
        }
        table.push(size, plain);
    }
    Some(table)
}
