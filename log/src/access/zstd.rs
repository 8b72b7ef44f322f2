//! The seekable zstd format (version 0.1.0): where its frames are, by its seek table or, without
//! one, by their headers.

use std::fs::File;
use std::io;

use super::table::Table;
use super::{FRAME_MAX, pread};

/// Plain bytes of a frame as we write them.
pub(crate) const FRAME: usize = 64 * 1024;
/// Magic of the skippable frame that holds the seek table.
pub(crate) const SKIPPABLE_MAGIC: u32 = 0x184d_2a5e;
/// Last four bytes of the file.
pub(crate) const SEEKABLE_MAGIC: u32 = 0x8f92_eab1;
const MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
const FOOTER: u64 = 9;

fn le4(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

/// The seek table at the end of the file, and whether it had to be mended; `None` if there is none that
/// fits the file.
pub(super) fn seek_table(file: &File) -> io::Result<Option<(Table, bool)>> {
    let size = file.metadata()?.len();
    let Some(footer_at) = size.checked_sub(FOOTER) else {
        return Ok(None);
    };
    let mut footer = [0; FOOTER as usize];
    if pread(file, &mut footer, footer_at)? < footer.len()
        || le4(&footer, 5) != Some(SEEKABLE_MAGIC)
        // Reserved bits.
        || footer[4] & 0x7c != 0
    {
        return Ok(None);
    }
    let frames = u64::from(le4(&footer, 0).unwrap_or(0));
    let entry: u64 = if footer[4] & 0x80 == 0 { 8 } else { 12 };
    let Some(table_at) = footer_at.checked_sub(frames * entry + 8) else {
        return Ok(None);
    };
    let mut head = [0; 8];
    if pread(file, &mut head, table_at)? < head.len()
        || le4(&head, 0) != Some(SKIPPABLE_MAGIC)
        || le4(&head, 4).map(u64::from) != Some(size - table_at - 8)
    {
        return Ok(None);
    }
    let mut table = Table::default();
    let mut buf = vec![0; 5460 * entry as usize];
    let mut at = table_at + 8;
    while at < footer_at {
        let n = buf.len().min((footer_at - at) as usize);
        if pread(file, &mut buf[..n], at)? < n {
            return Ok(None);
        }
        for bytes in buf[..n].chunks_exact(entry as usize) {
            match (le4(bytes, 0), le4(bytes, 4)) {
                (Some(size @ 1..=FRAME_MAX), Some(plain @ ..=FRAME_MAX)) => {
                    table.push(size, plain);
                }
                _ => return Ok(None),
            }
        }
        at += n as u64;
    }
    if table.compressed() != table_at {
        return Ok(None);
    }
    mended(file, table).map(Some)
}

/// The table has no checksum, so a plain size may be wrong. All of ours but the last are the same; where
/// that is not so, and for the last, frames are asked themselves.
fn mended(file: &File, table: Table) -> io::Result<(Table, bool)> {
    let Some((_, rest)) = table.sizes().split_last() else {
        return Ok((table, false));
    };
    let regular = rest.iter().all(|(_, plain)| *plain == FRAME as u32);
    let asked = if regular { rest.len() } else { 0 };
    let mut window = Window::new(file, table.compressed());
    let (mut out, mut at) = (Table::default(), 0);
    for (n, (size, plain)) in table.sizes().iter().enumerate() {
        let mut plain = *plain;
        if n >= asked
            && let Some((length, Some(told))) = frame(&mut window, at)?
            && length == u64::from(*size)
        {
            plain = told;
        }
        out.push(*size, plain);
        at += u64::from(*size);
    }
    let changed = out.sizes() != table.sizes();
    Ok((out, changed))
}

/// Finds the frames by their headers. What is no frame counts as one of our size that cannot be
/// decoded, up to the next magic number.
pub(super) fn walk(file: &File) -> io::Result<Table> {
    let size = file.metadata()?.len();
    let mut table = Table::default();
    let mut window = Window::new(file, size);
    let mut at = 0;
    while at < size {
        if window.bytes::<4>(at)?.map(u32::from_le_bytes) == Some(SKIPPABLE_MAGIC) {
            break;
        }
        let (length, plain) = match frame(&mut window, at)? {
            Some((length, plain)) => (length, plain.unwrap_or(FRAME as u32)),
            None => {
                let next = window.find_magic(at + 1)?;
                let table_size = 8 * table.sizes().len() as u64 + 8 + FOOTER;
                if next.is_none() && size - at == table_size {
                    // The seek table itself, damaged at its beginning.
                    break;
                }
                (next.unwrap_or(size) - at, FRAME as u32)
            }
        };
        let mut rest = length;
        // A damaged stretch may be longer than a frame can be.
        while rest > u64::from(FRAME_MAX) {
            table.push(FRAME_MAX, 0);
            rest -= u64::from(FRAME_MAX);
        }
        table.push(rest as u32, plain);
        at += length;
    }
    Ok(table)
}

/// Length of the frame at `at`, and its plain size, if it tells it.
fn frame(window: &mut Window<'_>, at: u64) -> io::Result<Option<(u64, Option<u32>)>> {
    let Some(head) = window.bytes::<5>(at)? else {
        return Ok(None);
    };
    if head[..4] != MAGIC || head[4] & 0x08 != 0 {
        return Ok(None);
    }
    let single = head[4] & 0x20 != 0;
    let dictionary = [0u64, 1, 2, 4][usize::from(head[4] & 3)];
    let content = match head[4] >> 6 {
        0 => u64::from(single),
        1 => 2,
        2 => 4,
        _ => 8,
    };
    let mut pos = at + 5 + u64::from(!single) + dictionary;
    let mut plain = None;
    if content > 0 {
        let mut value = 0u64;
        for i in 0..content {
            let Some([byte]) = window.bytes::<1>(pos + i)? else {
                return Ok(None);
            };
            value |= u64::from(byte) << (8 * i);
        }
        plain = Some(if content == 2 {
            value.saturating_add(256)
        } else {
            value
        });
        pos += content;
    }
    loop {
        let Some([a, b, c]) = window.bytes::<3>(pos)? else {
            return Ok(None);
        };
        let block = u32::from_le_bytes([a, b, c, 0]);
        pos += 3 + match block >> 1 & 3 {
            0 | 2 => u64::from(block >> 3),
            1 => 1,
            _ => return Ok(None),
        };
        if pos - at > u64::from(FRAME_MAX) {
            return Ok(None);
        }
        if block & 1 == 1 {
            break;
        }
    }
    if head[4] & 4 != 0 {
        pos += 4;
    }
    let fits = pos <= window.size
        && plain.is_none_or(|plain| plain <= u64::from(FRAME_MAX))
        && pos - at <= u64::from(FRAME_MAX);
    Ok(fits.then_some((pos - at, plain.map(|plain| plain as u32))))
}

/// Small reads of a file, each from a piece that is read at once.
struct Window<'f> {
    file: &'f File,
    size: u64,
    at: u64,
    buf: Vec<u8>,
}

impl<'f> Window<'f> {
    fn new(file: &'f File, size: u64) -> Self {
        Self {
            file,
            size,
            at: 0,
            buf: Vec::new(),
        }
    }

    fn fill(&mut self, at: u64) -> io::Result<()> {
        self.buf.resize(64 * 1024, 0);
        let got = pread(self.file, &mut self.buf, at)?;
        self.buf.truncate(got);
        self.at = at;
        Ok(())
    }

    fn bytes<const N: usize>(&mut self, at: u64) -> io::Result<Option<[u8; N]>> {
        let end = at + N as u64;
        if end > self.size {
            return Ok(None);
        }
        if at < self.at || end > self.at + self.buf.len() as u64 {
            self.fill(at)?;
        }
        let from = (at - self.at) as usize;
        Ok(self.buf.get(from..from + N).and_then(|b| b.try_into().ok()))
    }

    fn find_magic(&mut self, mut at: u64) -> io::Result<Option<u64>> {
        while at + 4 <= self.size {
            self.fill(at)?;
            let skippable = SKIPPABLE_MAGIC.to_le_bytes();
            let found = [&MAGIC, &skippable]
                .into_iter()
                .filter_map(|magic| memchr::memmem::find(&self.buf, magic))
                .min();
            if let Some(found) = found {
                return Ok(Some(at + found as u64));
            }
            if self.buf.len() < 4 {
                break;
            }
            at += self.buf.len() as u64 - 3;
        }
        Ok(None)
    }
}
