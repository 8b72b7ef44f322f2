//! Compressing a closed log file, a frame at a time: what the daemon does with rotated files.
//!
//! Frames are independent, so that a reader decodes only those it needs and damage costs one of
//! them. Nothing here names, syncs or removes a file.

use std::fs::File;
use std::io::{self, BufWriter, Write};

use crate::access::{
    FRAME, Input, MEMBER, SEEKABLE_MAGIC, SKIPPABLE_MAGIC, member_head, table_bytes,
};
use crate::json::Decoder;
use crate::scan::{self, read_full};

/// What a file is compressed to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Codec {
    /// A segment of `local`: zstd in the seekable format, frames of 64 KiB.
    Zstd,
    /// A json-file log: gzip in members of 256 KiB, the first with Docker's header.
    Gzip,
}

/// A file that was compressed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Compressed {
    pub plain_bytes: u64,
    pub compressed_bytes: u64,
    /// Contents for the file `index/<number>.gz`; empty for zstd, which has its table inside. The
    /// table can be made again, so writing it may fail.
    pub table: Vec<u8>,
}

/// Level of zstd: see decision record 6.
const ZSTD_LEVEL: i32 = 6;
/// Level of gzip: its usual one.
const GZIP_LEVEL: u32 = 6;

/// Compresses the first `length` bytes of `input` to `output`, which is empty. After each frame
/// `pace` is told its plain size; it may wait, and `false` from it stops the work.
///
/// `Ok(None)`: stopped.
///
/// # Errors
/// `input` cannot be read or is shorter than `length`, or `output` cannot be written.
pub fn compress(
    codec: Codec,
    input: &File,
    length: u64,
    output: &File,
    pace: &mut dyn FnMut(u64) -> bool,
) -> io::Result<Option<Compressed>> {
    let input = Input::plain(input.try_clone()?);
    let mut out = BufWriter::with_capacity(128 * 1024, output);
    let mut sizes = Vec::new();
    let mut encoder = match codec {
        Codec::Zstd => Encoder::zstd()?,
        Codec::Gzip => Encoder::gzip(scan::last_time(&input, length, &mut Decoder::new())?),
    };
    let step = encoder.frame();
    let mut plain = vec![0; step];
    let mut frame = Vec::new();
    let (mut at, mut compressed) = (0, 0);
    while at < length {
        let want = (step as u64).min(length - at) as usize;
        if read_full(&input, &mut plain[..want], at)? < want {
            return Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                "the log file became shorter while it was compressed",
            ));
        }
        frame.clear();
        encoder.encode(&plain[..want], &mut frame)?;
        out.write_all(&frame)?;
        sizes.push((frame.len() as u32, want as u32));
        at += want as u64;
        compressed += frame.len() as u64;
        if !pace(want as u64) {
            return Ok(None);
        }
    }
    let mut table = Vec::new();
    match codec {
        Codec::Gzip => table = table_bytes(&sizes),
        Codec::Zstd => {
            let seek = seek_table(&sizes);
            out.write_all(&seek)?;
            compressed += seek.len() as u64;
        }
    }
    out.flush()?;
    Ok(Some(Compressed {
        plain_bytes: at,
        compressed_bytes: compressed,
        table,
    }))
}

/// The seek table as a skippable frame.
pub(crate) fn seek_table(sizes: &[(u32, u32)]) -> Vec<u8> {
    let mut out = SKIPPABLE_MAGIC.to_le_bytes().to_vec();
    out.extend_from_slice(&((8 * sizes.len() + 9) as u32).to_le_bytes());
    for (size, plain) in sizes {
        out.extend_from_slice(&size.to_le_bytes());
        out.extend_from_slice(&plain.to_le_bytes());
    }
    out.extend_from_slice(&(sizes.len() as u32).to_le_bytes());
    // No checksums in the table: the frames have theirs.
    out.push(0);
    out.extend_from_slice(&SEEKABLE_MAGIC.to_le_bytes());
    out
}

enum Encoder {
    Zstd(::zstd::bulk::Compressor<'static>),
    Gzip {
        codec: flate2::Compress,
        /// Of the first member: the time of the file's last record.
        first: Option<crate::Moment>,
        begun: bool,
    },
}

impl Encoder {
    fn zstd() -> io::Result<Self> {
        let mut codec = ::zstd::bulk::Compressor::new(ZSTD_LEVEL)?;
        codec.set_parameter(::zstd::zstd_safe::CParameter::ChecksumFlag(true))?;
        Ok(Self::Zstd(codec))
    }

    fn gzip(last_time: Option<crate::Moment>) -> Self {
        Self::Gzip {
            codec: flate2::Compress::new(flate2::Compression::new(GZIP_LEVEL), false),
            first: last_time,
            begun: false,
        }
    }

    fn frame(&self) -> usize {
        match self {
            Self::Zstd(_) => FRAME,
            Self::Gzip { .. } => MEMBER,
        }
    }

    fn encode(&mut self, plain: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
        match self {
            Self::Zstd(codec) => {
                out.resize(::zstd::zstd_safe::compress_bound(plain.len()), 0);
                let n = codec.compress_to_buffer(plain, &mut out[..])?;
                out.truncate(n);
            }
            Self::Gzip {
                codec,
                first,
                begun,
            } => {
                codec.reset();
                let mut deflated = Vec::with_capacity(plain.len() + plain.len() / 8 + 1024);
                let status = codec
                    .compress_vec(plain, &mut deflated, flate2::FlushCompress::Finish)
                    .map_err(io::Error::other)?;
                if status != flate2::Status::StreamEnd {
                    return Err(io::Error::other("deflate did not come to its end"));
                }
                let time = if *begun {
                    None
                } else {
                    // A file without a record has no time; Docker writes its zero time.
                    Some(first.unwrap_or(crate::Moment::ZERO))
                };
                *begun = true;
                member_head(time, deflated.len() as u32, plain.len() as u32, out);
                out.extend_from_slice(&deflated);
                out.extend_from_slice(&crc32fast::hash(plain).to_le_bytes());
                out.extend_from_slice(&(plain.len() as u32).to_le_bytes());
            }
        }
        Ok(())
    }
}
