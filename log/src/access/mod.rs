//! Random access to a log file by its plain offsets, whatever its form: plain, zstd frames
//! (`.seg.zst`), gzip members (`.gz`), or one long gzip stream as Docker writes it.
//!
//! A frame that cannot be decoded is a hole: it reads as zeros, which no format takes for a record.

mod frames;
mod gzip;
mod stream;
mod table;
mod zstd;

use std::cell::RefCell;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

pub(crate) use self::frames::Frames;
pub(crate) use self::gzip::{MEMBER, member_head, table_bytes};
pub(crate) use self::zstd::{FRAME, SEEKABLE_MAGIC, SKIPPABLE_MAGIC};

/// Most plain bytes of a frame, and most compressed ones: bounds what one read may take.
pub(crate) const FRAME_MAX: u32 = 1024 * 1024;

/// A log file.
#[derive(Debug)]
pub(crate) struct Input {
    kind: Kind,
}

/// A log file that is only kept open.
#[derive(Debug)]
pub(crate) enum Raw {
    Plain(File),
    /// A segment in seekable zstd.
    Zstd(File),
    /// A gzip file, and where its frame table may lie.
    Gzip(File, Option<PathBuf>),
}

#[derive(Debug)]
enum Kind {
    Plain(File),
    Frames(Box<RefCell<Frames>>),
    Stream(Box<RefCell<stream::GzipStream>>),
}

impl Input {
    pub(crate) fn plain(file: File) -> Self {
        Self {
            kind: Kind::Plain(file),
        }
    }

    pub(crate) fn of(raw: Raw) -> io::Result<Self> {
        let kind = match raw {
            Raw::Plain(file) => Kind::Plain(file),
            Raw::Zstd(file) => Kind::Frames(Box::new(RefCell::new(Frames::zstd(file)?))),
            Raw::Gzip(file, table) => match Frames::gzip(file, table)? {
                Ok(frames) => Kind::Frames(Box::new(RefCell::new(frames))),
                Err(file) => Kind::Stream(Box::new(RefCell::new(stream::GzipStream::new(file)))),
            },
        };
        Ok(Self { kind })
    }

    /// Gives all memory back but the open file.
    pub(crate) fn into_raw(self) -> Raw {
        match self.kind {
            Kind::Plain(file) => Raw::Plain(file),
            Kind::Frames(frames) => frames.into_inner().into_raw(),
            Kind::Stream(stream) => Raw::Gzip(stream.into_inner().into_file(), None),
        }
    }

    /// Plain length in bytes.
    pub(crate) fn len(&self) -> io::Result<u64> {
        match &self.kind {
            Kind::Plain(file) => Ok(file.metadata()?.len()),
            Kind::Frames(frames) => Ok(frames.borrow().len()),
            Kind::Stream(stream) => stream.borrow_mut().len(),
        }
    }

    /// Reads some bytes at a plain offset; 0 only at the end.
    pub(crate) fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        match &self.kind {
            Kind::Plain(file) => loop {
                match file.read_at(buf, offset) {
                    Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                    other => return other,
                }
            },
            Kind::Frames(frames) => frames.borrow_mut().read_at(buf, offset),
            Kind::Stream(stream) => stream.borrow_mut().read_at(buf, offset),
        }
    }

    /// Whether plain offsets are those of the file itself.
    pub(crate) fn is_plain(&self) -> bool {
        matches!(self.kind, Kind::Plain(_))
    }

    /// Whether going back is dear: everything before has to be decoded again.
    pub(crate) fn is_stream(&self) -> bool {
        matches!(self.kind, Kind::Stream(_))
    }

    /// Of a file in frames: the frames.
    pub(crate) fn frames(&self) -> Option<&RefCell<Frames>> {
        match &self.kind {
            Kind::Frames(frames) => Some(frames),
            _ => None,
        }
    }
}

/// Reads up to `buf.len()` bytes of a file at `offset`; less only at its end.
pub(crate) fn pread(file: &File, buf: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut done = 0;
    while done < buf.len() {
        match file.read_at(&mut buf[done..], offset + done as u64) {
            Ok(0) => break,
            Ok(n) => done += n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(done)
}
