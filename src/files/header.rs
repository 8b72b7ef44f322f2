//! Headers of a tar archive as they are written: POSIX ustar, and before it a PAX header with what
//! does not fit (source: POSIX.1-2001 `pax`; GNU tar manual, "Sparse Formats", PAX 1.0).

use std::io::{self, Write};

use super::sparse::Piece;

pub(super) const BLOCK: u64 = 512;
const NAME: usize = 100;
const PREFIX: usize = 155;
/// Largest number of an octal field of eight bytes, and of twelve.
const OCTAL_8: u64 = 0o777_7777;
const OCTAL_12: u64 = 0o777_7777_7777;

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

impl Kind {
    fn flag(self) -> u8 {
        match self {
            Self::File => b'0',
            Self::HardLink => b'1',
            Self::Symlink => b'2',
            Self::CharDevice => b'3',
            Self::BlockDevice => b'4',
            Self::Directory => b'5',
            Self::Fifo => b'6',
        }
    }
}

/// What the archive says of one file.
#[derive(Clone, Debug)]
pub(crate) struct Header {
    pub(crate) kind: Kind,
    /// A folder's ends in `/`.
    pub(crate) path: Vec<u8>,
    /// Target of a link.
    pub(crate) link: Vec<u8>,
    /// Permission bits with setuid, setgid and sticky.
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    /// Whole seconds since 1970, as in Docker's archives.
    pub(crate) mtime: i64,
    /// Major and minor number.
    pub(crate) device: (u32, u32),
    /// Length of the file, holes included.
    pub(crate) size: u64,
    pub(crate) xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    /// Where a sparse file has data; only these are in the archive.
    pub(crate) pieces: Option<Vec<Piece>>,
}

impl Header {
    /// Writes the header, and for a sparse file its map.
    pub(super) fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        let map = self.pieces.as_deref().map(sparse_map);
        let stored = match (&self.pieces, &map) {
            (Some(pieces), Some(map)) => {
                pieces.iter().map(|piece| piece.len).sum::<u64>() + map.len() as u64
            }
            _ => self.size,
        };
        let records = self.records(stored);
        if !records.is_empty() {
            let name = [b"PaxHeaders.0/".as_slice(), self.base()].concat();
            let mut block = [0; BLOCK as usize];
            put_name(&mut block, &name[..name.len().min(NAME)]);
            put_numbers(&mut block, 0o644, 0, 0, records.len() as u64, 0);
            finish(&mut block, b'x');
            out.write_all(&block)?;
            out.write_all(&records)?;
            pad(out, records.len() as u64)?;
        }
        let mut block = [0; BLOCK as usize];
        match &self.pieces {
            // Who does not know the form sees by the name that it is no plain file.
            Some(_) => {
                let name = [b"GNUSparseFile.0/".as_slice(), self.base()].concat();
                put_name(&mut block, &name[..name.len().min(NAME)]);
            }
            None => put_name(&mut block, &self.path),
        }
        block[157..257][..self.link.len().min(NAME)]
            .copy_from_slice(&self.link[..self.link.len().min(NAME)]);
        put_numbers(
            &mut block,
            u64::from(self.mode & 0o7777),
            u64::from(self.uid),
            u64::from(self.gid),
            stored,
            u64::try_from(self.mtime).unwrap_or(0),
        );
        if matches!(self.kind, Kind::CharDevice | Kind::BlockDevice) {
            octal(&mut block[329..337], u64::from(self.device.0));
            octal(&mut block[337..345], u64::from(self.device.1));
        }
        finish(&mut block, self.kind.flag());
        out.write_all(&block)?;
        match map {
            Some(map) => out.write_all(&map),
            None => Ok(()),
        }
    }

    /// Bytes that follow the header as the file's content, without the map of a sparse file.
    pub(super) fn content(&self) -> u64 {
        match (&self.pieces, self.kind) {
            (Some(pieces), _) => pieces.iter().map(|piece| piece.len).sum(),
            (None, Kind::File) => self.size,
            _ => 0,
        }
    }

    fn base(&self) -> &[u8] {
        let path = self.path.strip_suffix(b"/").unwrap_or(&self.path);
        path.rsplit(|byte| *byte == b'/').next().unwrap_or(path)
    }

    /// The PAX records; empty if the plain header holds everything.
    fn records(&self, stored: u64) -> Vec<u8> {
        let mut out = Vec::new();
        if self.pieces.is_some() {
            record(&mut out, b"GNU.sparse.major", b"1");
            record(&mut out, b"GNU.sparse.minor", b"0");
            record(&mut out, b"GNU.sparse.name", &self.path);
            record(
                &mut out,
                b"GNU.sparse.realsize",
                self.size.to_string().as_bytes(),
            );
        } else if !self.path.is_ascii() || split(&self.path).is_none() {
            record(&mut out, b"path", &self.path);
        }
        if !self.link.is_ascii() || self.link.len() > NAME {
            record(&mut out, b"linkpath", &self.link);
        }
        for (key, value, limit) in [
            (&b"size"[..], stored, OCTAL_12),
            (b"uid", u64::from(self.uid), OCTAL_8),
            (b"gid", u64::from(self.gid), OCTAL_8),
        ] {
            if value > limit {
                record(&mut out, key, value.to_string().as_bytes());
            }
        }
        if u64::try_from(self.mtime).is_err() || self.mtime.unsigned_abs() > OCTAL_12 {
            record(&mut out, b"mtime", self.mtime.to_string().as_bytes());
        }
        for (name, value) in &self.xattrs {
            record(
                &mut out,
                &[b"SCHILY.xattr.".as_slice(), name].concat(),
                value,
            );
        }
        out
    }
}

/// `LENGTH KEY=VALUE\n`, where the length counts itself.
fn record(out: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    let rest = key.len() + value.len() + 3;
    let mut len = rest + 1;
    while rest + len.to_string().len() != len {
        len = rest + len.to_string().len();
    }
    out.extend_from_slice(len.to_string().as_bytes());
    out.push(b' ');
    out.extend_from_slice(key);
    out.push(b'=');
    out.extend_from_slice(value);
    out.push(b'\n');
}

/// The map at the start of a sparse file's content, filled up to a block.
fn sparse_map(pieces: &[Piece]) -> Vec<u8> {
    let mut map = format!("{}\n", pieces.len());
    for piece in pieces {
        map.push_str(&format!("{}\n{}\n", piece.offset, piece.len));
    }
    let mut map = map.into_bytes();
    map.resize((map.len() as u64).next_multiple_of(BLOCK) as usize, 0);
    map
}

/// A path as prefix and name of a plain header, if it fits.
fn split(path: &[u8]) -> Option<(&[u8], &[u8])> {
    if path.len() <= NAME {
        return Some((b"", path));
    }
    let from = path.len() - NAME - 1;
    let end = path.len().min(PREFIX + 1) - 1;
    let at = (from..=end).find(|at| path[*at] == b'/' && *at > 0 && *at + 1 < path.len())?;
    Some((&path[..at], &path[at + 1..]))
}

fn put_name(block: &mut [u8], path: &[u8]) {
    let (prefix, name) = split(path).unwrap_or((b"", &path[..path.len().min(NAME)]));
    block[..name.len()].copy_from_slice(name);
    block[345..345 + prefix.len()].copy_from_slice(prefix);
}

fn put_numbers(block: &mut [u8], mode: u64, uid: u64, gid: u64, size: u64, mtime: u64) {
    octal(&mut block[100..108], mode);
    // What does not fit is in the PAX header, which wins.
    octal(&mut block[108..116], if uid > OCTAL_8 { 0 } else { uid });
    octal(&mut block[116..124], if gid > OCTAL_8 { 0 } else { gid });
    octal(&mut block[124..136], if size > OCTAL_12 { 0 } else { size });
    octal(
        &mut block[136..148],
        if mtime > OCTAL_12 { 0 } else { mtime },
    );
}

/// Octal digits that fill the field but for a NUL.
fn octal(field: &mut [u8], value: u64) {
    let width = field.len() - 1;
    let digits = format!("{value:0width$o}");
    let digits = &digits.as_bytes()[digits.len() - width..];
    field[..width].copy_from_slice(digits);
}

/// Kind, magic and checksum.
fn finish(block: &mut [u8; BLOCK as usize], flag: u8) {
    block[156] = flag;
    block[257..265].copy_from_slice(b"ustar\x0000");
    block[148..156].fill(b' ');
    let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    block[148..154].copy_from_slice(format!("{sum:06o}").as_bytes());
    block[154] = 0;
}

/// Fills up to a block.
pub(super) fn pad(out: &mut dyn Write, len: u64) -> io::Result<()> {
    let padding = len.next_multiple_of(BLOCK) - len;
    out.write_all(&[0; BLOCK as usize][..padding as usize])
}
