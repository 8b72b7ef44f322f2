//! Everything of a layer's tar but the contents of its files: with the unpacked files it gives back the
//! very bytes that were loaded, so that `save` keeps digests.
//!
//! `overlay-layers/<chain id>/tape.gz`, records in the order of the tar, numbers little-endian:
//! - `1`, `u32` length, bytes: headers, padding, end marker
//! - `2` or `3`, `u32` length, path, `u32` count, for each piece `u64` offset and `u64` length: content
//!   of a file below `diff` (2) or `replaced` (3)
//!
//! `replaced` has the files that a later entry of the same tar has replaced, which nobody sees any more.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::os::fd::AsFd as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2};

/// The file's name in a layer's folder.
pub(super) const NAME: &str = "tape.gz";
/// Folder beside `diff` for what the tar itself has replaced.
pub(super) const REPLACED: &str = "replaced";
const DIFF: &str = "diff";
/// Bytes of a raw record.
const CHUNK: usize = 64 * 1024;
/// A path in a record: as long as the kernel takes.
const MAX_PATH: u32 = libc::PATH_MAX as u32;
/// Pieces of a file in a record (as `tarball`'s).
const MAX_PIECES: u32 = 1 << 20;

const RAW: u8 = 1;
const IN_DIFF: u8 = 2;
const IN_REPLACED: u8 = 3;

/// Writes a tape while its tar is read.
pub(super) struct Recorder {
    folder: PathBuf,
    out: GzEncoder<BufWriter<File>>,
    raw: Vec<u8>,
    /// Bytes of the tar so far.
    len: u64,
    /// The bytes that are read are a file's content.
    in_file: bool,
    /// Inode of each file record, in order.
    inodes: Vec<u64>,
    /// A later entry has replaced something: paths may lead elsewhere by now.
    moved: bool,
}

impl Recorder {
    /// Begins the tape of a layer that is unpacked below `folder`.
    pub(super) fn create(folder: &Path) -> io::Result<Self> {
        let file = BufWriter::new(File::create(folder.join(NAME))?);
        Ok(Self {
            folder: folder.to_path_buf(),
            out: GzEncoder::new(file, Compression::fast()),
            raw: Vec::with_capacity(CHUNK),
            len: 0,
            in_file: false,
            inodes: Vec::new(),
            moved: false,
        })
    }

    /// Takes bytes of the tar.
    fn take(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.len += bytes.len() as u64;
        if self.in_file {
            return Ok(());
        }
        let mut bytes = bytes;
        while !bytes.is_empty() {
            let (now, later) = bytes.split_at(bytes.len().min(CHUNK - self.raw.len()));
            self.raw.extend_from_slice(now);
            bytes = later;
            if self.raw.len() == CHUNK {
                self.flush_raw()?;
            }
        }
        Ok(())
    }

    fn flush_raw(&mut self) -> io::Result<()> {
        if !self.raw.is_empty() {
            write_raw(&mut self.out, &self.raw)?;
            self.raw.clear();
        }
        Ok(())
    }

    /// What is read from now on is the content of a file, written to `pieces` of it.
    pub(super) fn begin_file(
        &mut self,
        path: &[u8],
        pieces: &[(u64, u64)],
        file: &File,
    ) -> io::Result<()> {
        self.flush_raw()?;
        write_file(&mut self.out, IN_DIFF, path, pieces)?;
        self.inodes.push(file.metadata()?.ino());
        self.in_file = true;
        Ok(())
    }

    pub(super) fn end_file(&mut self) {
        self.in_file = false;
    }

    /// An entry replaces something; the folder for what has content.
    pub(super) fn replaced(&mut self) -> PathBuf {
        self.moved = true;
        self.folder.join(REPLACED)
    }

    /// Completes the tape; returns the length of the tar.
    pub(super) fn finish(mut self) -> io::Result<u64> {
        self.flush_raw()?;
        self.out.finish()?.flush()?;
        if self.moved {
            correct(&self.folder, &self.inodes)?;
        }
        Ok(self.len)
    }
}

/// A stream that a tape may be made of.
pub(super) struct Taped<R> {
    inner: R,
    pub(super) tape: Option<Recorder>,
}

impl<R> Taped<R> {
    pub(super) fn new(inner: R, tape: Option<Recorder>) -> Self {
        Self { inner, tape }
    }

    pub(super) fn into_parts(self) -> (R, Option<Recorder>) {
        (self.inner, self.tape)
    }
}

impl<R: Read> Read for Taped<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buf)?;
        if let Some(tape) = &mut self.tape {
            tape.take(&buf[..n])?;
        }
        Ok(n)
    }
}

/// Plays a layer's tape: the tar, byte for byte if no file was changed.
pub(super) fn play(folder: &Path, out: &mut dyn Write) -> io::Result<()> {
    let mut tape = open(&folder.join(NAME))?;
    let mut buffer = vec![0; CHUNK];
    while let Some(record) = Record::read(&mut tape)? {
        match record {
            Record::Raw(bytes) => out.write_all(&bytes)?,
            Record::File { kind, path, pieces } => {
                let root = if kind == IN_DIFF { DIFF } else { REPLACED };
                let mut file = open_file(&folder.join(root), &path)?;
                for (offset, len) in pieces {
                    file.seek(SeekFrom::Start(offset))?;
                    copy(&mut file, len, &mut buffer, out)?;
                }
            }
        }
    }
    Ok(())
}

fn copy(file: &mut File, mut len: u64, buffer: &mut [u8], out: &mut dyn Write) -> io::Result<()> {
    while len > 0 {
        let want = buffer.len().min(usize::try_from(len).unwrap_or(usize::MAX));
        let n = match file.read(&mut buffer[..want]) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(n) => n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        out.write_all(&buffer[..n])?;
        len -= n as u64;
    }
    Ok(())
}

/// A file below `root`, found as it was when it was unpacked: links on the way lead nowhere else.
fn open_file(root: &Path, path: &[u8]) -> io::Result<File> {
    let root = File::open(root)?;
    let how = OpenHow::new()
        .flags(OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC)
        .resolve(ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS);
    let file = openat2(root.as_fd(), std::ffi::OsStr::from_bytes(path), how).map_err(|errno| {
        io::Error::new(
            io::Error::from(errno).kind(),
            format!("{}: {}", String::from_utf8_lossy(path), errno.desc()),
        )
    })?;
    Ok(File::from(file))
}

/// Rewrites a tape whose files were partly replaced: each file is where its inode is now.
fn correct(folder: &Path, inodes: &[u64]) -> io::Result<()> {
    let mut places = HashMap::new();
    let wanted: std::collections::HashSet<u64> = inodes.iter().copied().collect();
    for (kind, root) in [(IN_DIFF, DIFF), (IN_REPLACED, REPLACED)] {
        if !folder.join(root).exists() {
            continue;
        }
        find(&folder.join(root), Path::new(""), &mut |path, inode| {
            if wanted.contains(&inode) {
                places
                    .entry(inode)
                    .or_insert_with(|| (kind, path.as_os_str().as_bytes().to_vec()));
            }
        })?;
    }
    let old = folder.join(NAME);
    let new = folder.join("tape.new");
    let mut tape = open(&old)?;
    let mut out = GzEncoder::new(BufWriter::new(File::create(&new)?), Compression::fast());
    let mut inodes = inodes.iter();
    while let Some(record) = Record::read(&mut tape)? {
        match record {
            Record::Raw(bytes) => write_raw(&mut out, &bytes)?,
            Record::File { pieces, .. } => {
                let place = inodes.next().and_then(|inode| places.get(inode));
                let (kind, path) = place.ok_or_else(|| damaged("a file of the tape is gone"))?;
                write_file(&mut out, *kind, path, &pieces)?;
            }
        }
    }
    out.finish()?.flush()?;
    fs::rename(new, old)
}

/// Calls `found` for each file below `root`, links not followed.
fn find(root: &Path, below: &Path, found: &mut dyn FnMut(&Path, u64)) -> io::Result<()> {
    for entry in fs::read_dir(root.join(below))? {
        let entry = entry?;
        let path = below.join(entry.file_name());
        let kind = entry.file_type()?;
        if kind.is_dir() {
            find(root, &path, found)?;
        } else if kind.is_file() {
            found(&path, entry.metadata()?.ino());
        }
    }
    Ok(())
}

enum Record {
    Raw(Vec<u8>),
    File {
        kind: u8,
        path: Vec<u8>,
        pieces: Vec<(u64, u64)>,
    },
}

impl Record {
    /// The next record; `None` at the end.
    fn read(tape: &mut impl Read) -> io::Result<Option<Self>> {
        let mut kind = [0; 1];
        // gzip's reader fails in the middle of a member that is cut.
        if tape.read(&mut kind)? == 0 {
            return Ok(None);
        }
        let len = number(tape)?;
        match kind[0] {
            RAW if len as usize <= CHUNK => {
                let mut bytes = vec![0; len as usize];
                tape.read_exact(&mut bytes)?;
                Ok(Some(Self::Raw(bytes)))
            }
            kind @ (IN_DIFF | IN_REPLACED) if len <= MAX_PATH => {
                let mut path = vec![0; len as usize];
                tape.read_exact(&mut path)?;
                let count = number(tape)?;
                if count > MAX_PIECES {
                    return Err(damaged("too many pieces"));
                }
                let pieces = (0..count)
                    .map(|_| Ok((long(tape)?, long(tape)?)))
                    .collect::<io::Result<_>>()?;
                Ok(Some(Self::File { kind, path, pieces }))
            }
            _ => Err(damaged("unknown record")),
        }
    }
}

fn open(path: &Path) -> io::Result<GzDecoder<BufReader<File>>> {
    Ok(GzDecoder::new(BufReader::new(File::open(path)?)))
}

fn damaged(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

fn number(tape: &mut impl Read) -> io::Result<u32> {
    let mut bytes = [0; 4];
    tape.read_exact(&mut bytes)?;
    Ok(u32::from_le_bytes(bytes))
}

fn long(tape: &mut impl Read) -> io::Result<u64> {
    let mut bytes = [0; 8];
    tape.read_exact(&mut bytes)?;
    Ok(u64::from_le_bytes(bytes))
}

fn write_raw(out: &mut impl Write, bytes: &[u8]) -> io::Result<()> {
    out.write_all(&[RAW])?;
    write_bytes(out, bytes)
}

fn write_file(
    out: &mut impl Write,
    kind: u8,
    path: &[u8],
    pieces: &[(u64, u64)],
) -> io::Result<()> {
    out.write_all(&[kind])?;
    write_bytes(out, path)?;
    write_number(out, pieces.len())?;
    for (offset, len) in pieces {
        out.write_all(&offset.to_le_bytes())?;
        out.write_all(&len.to_le_bytes())?;
    }
    Ok(())
}

fn write_bytes(out: &mut impl Write, bytes: &[u8]) -> io::Result<()> {
    write_number(out, bytes.len())?;
    out.write_all(bytes)
}

fn write_number(out: &mut impl Write, number: usize) -> io::Result<()> {
    let number = u32::try_from(number).map_err(|_| damaged("a record is too long"))?;
    out.write_all(&number.to_le_bytes())
}
