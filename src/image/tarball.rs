//! Reading a tar stream entry by entry, with bounds: POSIX ustar and PAX, GNU long names, the four
//! forms of sparse files, base-256 numbers.
//!
//! `tar::Header` decodes the blocks. The iteration is done here because attribute values may hold
//! any byte (`security.capability` has newlines) and because a hostile header must not decide how much
//! memory is taken.

use std::io::{self, Read};

use tar::{GnuExtSparseHeader, Header};

use super::error::TarError;

const BLOCK: u64 = 512;
/// A PAX header, or a GNU long name: attributes of 64 KiB each fit in.
const MAX_EXTENDED: u64 = 1024 * 1024;
/// Entries of one archive.
const MAX_ENTRIES: u64 = 4_000_000;
/// Pieces of one sparse file.
const MAX_FRAGMENTS: usize = 1 << 20;
const XATTR: &[u8] = b"SCHILY.xattr.";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    File,
    HardLink,
    Symlink,
    CharDevice,
    BlockDevice,
    Directory,
    Fifo,
}

/// One entry; its content is read from the reader that gave it.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) kind: Kind,
    /// As it stands in the archive, without slashes at the end.
    pub(crate) path: Vec<u8>,
    /// Target of a link.
    pub(crate) link: Vec<u8>,
    /// Permission bits with setuid, setgid and sticky.
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    /// Seconds and nanoseconds since 1970.
    pub(crate) mtime: (i64, u32),
    /// Major and minor number.
    pub(crate) device: (u32, u32),
    /// Length of the file, holes included.
    pub(crate) size: u64,
    pub(crate) xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    /// Offset and length of each piece of a sparse file, in order; the pieces follow each other in
    /// the archive.
    pub(crate) fragments: Option<Vec<(u64, u64)>>,
}

/// What PAX and GNU headers say of the entry after them.
#[derive(Default)]
struct Extended {
    path: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    size: Option<u64>,
    uid: Option<u32>,
    gid: Option<u32>,
    mtime: Option<(i64, u32)>,
    xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    sparse_version: (u64, u64),
    sparse_size: Option<u64>,
    sparse_name: Option<Vec<u8>>,
    sparse_numbers: Vec<u64>,
    sparse: bool,
}

pub(crate) struct TarReader<R> {
    inner: R,
    /// Bytes taken from `inner`, for messages.
    offset: u64,
    /// Content of the current entry that was not read.
    left: u64,
    /// Filling after the content.
    padding: u64,
    entries: u64,
    ended: bool,
    /// Whether the archive's end marker was seen.
    marked: bool,
}

impl<R: Read> TarReader<R> {
    pub(crate) fn new(inner: R) -> Self {
        Self {
            inner,
            offset: 0,
            left: 0,
            padding: 0,
            entries: 0,
            ended: false,
            marked: false,
        }
    }

    /// What the archive is read from.
    pub(crate) fn inner_mut(&mut self) -> &mut R {
        &mut self.inner
    }

    /// The next entry; what is left of the current one is skipped.
    pub(crate) fn next(&mut self) -> Result<Option<Entry>, TarError> {
        let mut extended = Extended::default();
        let mut expecting = false;
        loop {
            self.skip()?;
            let at = self.offset;
            let Some(block) = self.header()? else {
                // An extended header without an entry is a cut archive.
                return if expecting {
                    Err(TarError::Truncated)
                } else {
                    Ok(None)
                };
            };
            self.entries += 1;
            if self.entries > MAX_ENTRIES {
                return Err(TarError::Entries(MAX_ENTRIES));
            }
            let header = Header::from_byte_slice(&block);
            let size = header.entry_size().map_err(|_| TarError::Header(at))?;
            match header.as_old().linkflag[0] {
                b'x' => {
                    let data = self.extended(size, at)?;
                    pax(&data, &mut extended).ok_or(TarError::Extended(at))?;
                    expecting = true;
                }
                // Defaults for all entries (git's archives carry a commit id): Docker ignores them.
                b'g' => {
                    self.extended(size, at)?;
                }
                b'L' => {
                    extended.path = Some(cut(&self.extended(size, at)?));
                    expecting = true;
                }
                b'K' => {
                    extended.link = Some(cut(&self.extended(size, at)?));
                    expecting = true;
                }
                flag => return self.entry(header, flag, extended, at).map(Some),
            }
        }
    }

    /// Reads what follows the last entry, so that digests cover the whole stream. With `strict`, an
    /// archive without its end marker is an error.
    pub(crate) fn finish(mut self, strict: bool) -> Result<R, TarError> {
        while self.next()?.is_some() {}
        if strict && !self.marked {
            return Err(TarError::NoEnd);
        }
        io::copy(&mut self.inner, &mut io::sink())?;
        Ok(self.inner)
    }

    fn entry(
        &mut self,
        header: &Header,
        flag: u8,
        extended: Extended,
        at: u64,
    ) -> Result<Entry, TarError> {
        let bad = |_| TarError::Header(at);
        let mut path = extended
            .path
            .unwrap_or_else(|| header.path_bytes().into_owned());
        let link = extended
            .link
            .unwrap_or_else(|| header.link_name_bytes().unwrap_or_default().into_owned());
        let mut kind = match flag {
            0 | b'0' | b'7' | b'S' => Kind::File,
            b'1' => Kind::HardLink,
            b'2' => Kind::Symlink,
            b'3' => Kind::CharDevice,
            b'4' => Kind::BlockDevice,
            b'5' | b'D' => Kind::Directory,
            b'6' => Kind::Fifo,
            other => {
                return Err(TarError::Kind {
                    name: String::from_utf8_lossy(&path).into_owned(),
                    kind: char::from(other),
                });
            }
        };
        // Before ustar there was no type for directories.
        if matches!(flag, 0 | b'0') && path.ends_with(b"/") {
            kind = Kind::Directory;
        }
        while path.len() > 1 && path.ends_with(b"/") {
            path.pop();
        }
        let mut size = match extended.size {
            Some(size) => size,
            None => header.entry_size().map_err(bad)?,
        };
        // Only files (and GNU's incremental directories) have content, whatever the header says.
        if kind != Kind::File && flag != b'D' {
            size = 0;
        }
        let device = |number: io::Result<Option<u32>>| match kind {
            Kind::CharDevice | Kind::BlockDevice => number.map(Option::unwrap_or_default),
            _ => Ok(0),
        };
        let mut entry = Entry {
            kind,
            path,
            link,
            mode: match blank(&header.as_old().mode) {
                true => 0,
                false => header.mode().map_err(bad)? & 0o7777,
            },
            uid: match extended.uid {
                Some(uid) => uid,
                None if blank(&header.as_old().uid) => 0,
                None => number32(header.uid()).ok_or(TarError::Header(at))?,
            },
            gid: match extended.gid {
                Some(gid) => gid,
                None if blank(&header.as_old().gid) => 0,
                None => number32(header.gid()).ok_or(TarError::Header(at))?,
            },
            mtime: match extended.mtime {
                Some(mtime) => mtime,
                None if blank(&header.as_old().mtime) => (0, 0),
                None => (header.mtime().map_err(bad)?.cast_signed(), 0),
            },
            device: (
                device(header.device_major()).map_err(bad)?,
                device(header.device_minor()).map_err(bad)?,
            ),
            size,
            xattrs: extended.xattrs,
            fragments: None,
        };
        if flag == b'S' {
            self.gnu_sparse(header, &mut entry, at)?;
        }
        self.left = size;
        self.padding = size.next_multiple_of(BLOCK) - size;
        if extended.sparse {
            if let Some(name) = extended.sparse_name {
                entry.path = name;
            }
            let real = extended.sparse_size.ok_or(TarError::Sparse(at))?;
            let numbers = if extended.sparse_version == (1, 0) {
                self.sparse_map(at)?
            } else {
                extended.sparse_numbers
            };
            let fragments = fragments(&numbers, real, self.left).ok_or(TarError::Sparse(at))?;
            entry.fragments = Some(fragments);
            entry.size = real;
        }
        Ok(entry)
    }

    /// The old GNU form: the map is in the header and in blocks after it.
    fn gnu_sparse(&mut self, header: &Header, entry: &mut Entry, at: u64) -> Result<(), TarError> {
        let bad = |_| TarError::Sparse(at);
        let gnu = header.as_gnu().ok_or(TarError::Sparse(at))?;
        let mut numbers = Vec::new();
        let mut more = gnu.is_extended();
        let mut add = |sparse: &[tar::GnuSparseHeader]| {
            for piece in sparse.iter().filter(|piece| !piece.is_empty()) {
                numbers.push(piece.offset().map_err(bad)?);
                numbers.push(piece.length().map_err(bad)?);
            }
            if numbers.len() > 2 * MAX_FRAGMENTS {
                return Err(TarError::Sparse(at));
            }
            Ok(())
        };
        add(&gnu.sparse)?;
        while more {
            let mut block = GnuExtSparseHeader::new();
            self.inner.read_exact(block.as_mut_bytes())?;
            self.offset += BLOCK;
            add(&block.sparse)?;
            more = block.is_extended();
        }
        let real = gnu.real_size().map_err(bad)?;
        entry.fragments = Some(fragments(&numbers, real, entry.size).ok_or(TarError::Sparse(at))?);
        entry.size = real;
        Ok(())
    }

    /// The map of PAX form 1.0: decimal lines at the start of the content, filled up to a block.
    fn sparse_map(&mut self, at: u64) -> Result<Vec<u64>, TarError> {
        let mut numbers = Vec::new();
        let mut wanted = None;
        let mut current: Option<u64> = None;
        loop {
            if self.left < BLOCK {
                return Err(TarError::Sparse(at));
            }
            let mut block = [0; BLOCK as usize];
            self.read_exact(&mut block)?;
            for byte in block {
                match byte {
                    b'0'..=b'9' => {
                        let value = current.unwrap_or(0);
                        current = value
                            .checked_mul(10)
                            .and_then(|value| value.checked_add(u64::from(byte - b'0')));
                        if current.is_none() {
                            return Err(TarError::Sparse(at));
                        }
                    }
                    b'\n' => {
                        let value = current.take().ok_or(TarError::Sparse(at))?;
                        match wanted {
                            None if value > MAX_FRAGMENTS as u64 => {
                                return Err(TarError::Sparse(at));
                            }
                            None => wanted = Some(value as usize * 2),
                            Some(_) => numbers.push(value),
                        }
                    }
                    _ => return Err(TarError::Sparse(at)),
                }
                if wanted == Some(numbers.len()) {
                    return Ok(numbers);
                }
            }
        }
    }

    /// A header block; `None` at the end of the archive.
    fn header(&mut self) -> Result<Option<[u8; BLOCK as usize]>, TarError> {
        if self.ended {
            return Ok(None);
        }
        let mut block = [0; BLOCK as usize];
        let mut len = 0;
        while len < block.len() {
            match self.inner.read(&mut block[len..]) {
                Ok(0) if len == 0 => {
                    self.ended = true;
                    return Ok(None);
                }
                Ok(0) => return Err(TarError::Truncated),
                Ok(n) => len += n,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
        let at = self.offset;
        self.offset += BLOCK;
        if block.iter().all(|byte| *byte == 0) {
            self.ended = true;
            self.marked = true;
            return Ok(None);
        }
        // The checksum counts its own field as blanks.
        let sum: u32 = block
            .iter()
            .enumerate()
            .map(|(i, byte)| {
                if (148..156).contains(&i) {
                    u32::from(b' ')
                } else {
                    u32::from(*byte)
                }
            })
            .sum();
        match Header::from_byte_slice(&block).cksum() {
            Ok(expected) if expected == sum => Ok(Some(block)),
            _ => Err(TarError::Header(at)),
        }
    }

    /// Content of an extended header.
    fn extended(&mut self, size: u64, at: u64) -> Result<Vec<u8>, TarError> {
        if size > MAX_EXTENDED {
            return Err(TarError::ExtendedSize {
                offset: at,
                limit: MAX_EXTENDED,
            });
        }
        self.left = size;
        self.padding = size.next_multiple_of(BLOCK) - size;
        let mut data = vec![0; size as usize];
        self.read_exact(&mut data)?;
        Ok(data)
    }

    /// Goes behind the current entry.
    fn skip(&mut self) -> Result<(), TarError> {
        let total = self.left.saturating_add(self.padding);
        let skipped = io::copy(&mut (&mut self.inner).take(total), &mut io::sink())?;
        self.offset = self.offset.saturating_add(skipped);
        if skipped != total {
            return Err(TarError::Truncated);
        }
        self.left = 0;
        self.padding = 0;
        Ok(())
    }
}

/// The current entry's content as it is stored: of a sparse file the pieces only.
impl<R: Read> Read for TarReader<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let len = buf
            .len()
            .min(usize::try_from(self.left).unwrap_or(usize::MAX));
        if len == 0 {
            return Ok(0);
        }
        let n = self.inner.read(&mut buf[..len])?;
        if n == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.left -= n as u64;
        self.offset += n as u64;
        Ok(n)
    }
}

/// Up to the first NUL.
fn cut(data: &[u8]) -> Vec<u8> {
    let end = data.iter().position(|byte| *byte == 0);
    data[..end.unwrap_or(data.len())].to_vec()
}

/// A numeric field that was not written; GNU tar, Go and Docker read it as 0.
fn blank(field: &[u8]) -> bool {
    field.iter().all(|byte| matches!(byte, 0 | b' '))
}

fn number32(value: io::Result<u64>) -> Option<u32> {
    u32::try_from(value.ok()?).ok()
}

/// Records of a PAX header: `LENGTH KEY=VALUE\n`, the length counting itself.
fn pax(mut data: &[u8], extended: &mut Extended) -> Option<()> {
    while !data.is_empty() {
        // Some writers fill up with NUL.
        if data.iter().all(|byte| *byte == 0) {
            break;
        }
        let blank = data.iter().position(|byte| *byte == b' ')?;
        let len = usize::try_from(decimal(&data[..blank])?).ok()?;
        let record = data.get(blank + 1..len)?.strip_suffix(b"\n")?;
        let equals = record.iter().position(|byte| *byte == b'=')?;
        let (key, value) = (&record[..equals], &record[equals + 1..]);
        apply(key, value, extended)?;
        data = &data[len..];
    }
    Some(())
}

fn apply(key: &[u8], value: &[u8], extended: &mut Extended) -> Option<()> {
    // An empty value takes back what a global header said; those are ignored.
    match key {
        b"path" if !value.is_empty() => extended.path = Some(value.to_vec()),
        b"linkpath" if !value.is_empty() => extended.link = Some(value.to_vec()),
        b"size" if !value.is_empty() => extended.size = Some(decimal(value)?),
        b"uid" if !value.is_empty() => extended.uid = Some(u32::try_from(decimal(value)?).ok()?),
        b"gid" if !value.is_empty() => extended.gid = Some(u32::try_from(decimal(value)?).ok()?),
        b"mtime" if !value.is_empty() => extended.mtime = Some(time(value)?),
        b"GNU.sparse.major" => extended.sparse_version.0 = decimal(value)?,
        b"GNU.sparse.minor" => extended.sparse_version.1 = decimal(value)?,
        b"GNU.sparse.name" => extended.sparse_name = Some(value.to_vec()),
        b"GNU.sparse.size" | b"GNU.sparse.realsize" => {
            extended.sparse_size = Some(decimal(value)?);
        }
        b"GNU.sparse.offset" | b"GNU.sparse.numbytes" => {
            extended.sparse_numbers.push(decimal(value)?);
        }
        b"GNU.sparse.map" => {
            for number in value.split(|byte| *byte == b',') {
                extended.sparse_numbers.push(decimal(number)?);
            }
        }
        _ => {
            if let Some(name) = key.strip_prefix(XATTR) {
                extended.xattrs.push((name.to_vec(), value.to_vec()));
            }
        }
    }
    extended.sparse |= key.starts_with(b"GNU.sparse.");
    Some(())
}

fn decimal(text: &[u8]) -> Option<u64> {
    if !text.first()?.is_ascii_digit() {
        return None;
    }
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// `[-]SECONDS[.FRACTION]`
fn time(text: &[u8]) -> Option<(i64, u32)> {
    let text = std::str::from_utf8(text).ok()?;
    let (seconds, fraction) = text.split_once('.').unwrap_or((text, ""));
    let negative = seconds.starts_with('-');
    let seconds: i64 = seconds.parse().ok()?;
    if !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let nanos: u32 = format!("{fraction:0<9.9}").parse().ok()?;
    Some(if negative && nanos > 0 {
        (seconds.checked_sub(1)?, 1_000_000_000 - nanos)
    } else {
        (seconds, nanos)
    })
}

/// Checks a map: in order, within the file, exactly as much as is stored.
fn fragments(numbers: &[u64], real: u64, stored: u64) -> Option<Vec<(u64, u64)>> {
    if !numbers.len().is_multiple_of(2) || i64::try_from(real).is_err() {
        return None;
    }
    let mut end = 0;
    let mut sum: u64 = 0;
    let mut pieces = Vec::with_capacity(numbers.len() / 2);
    for pair in numbers.chunks_exact(2) {
        let (offset, len) = (pair[0], pair[1]);
        if offset < end {
            return None;
        }
        end = offset.checked_add(len)?;
        sum = sum.checked_add(len)?;
        pieces.push((offset, len));
    }
    (end <= real && sum == stored).then_some(pieces)
}
