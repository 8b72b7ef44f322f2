//! A file of independent compressed frames.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use super::table::{Place, Table};
use super::{FRAME_MAX, Raw, gzip, pread, zstd};

/// Frames kept decoded: two, so that reading across a border to and fro decodes nothing twice.
const CACHED: usize = 2;

/// A compressed file, its table, and the frames decoded last.
pub(crate) struct Frames {
    file: File,
    table: Table,
    codec: Codec,
    cache: [Cached; CACHED],
    /// Which of the cache is the older one.
    older: usize,
    /// Compressed bytes of a frame.
    input: Vec<u8>,
    /// The table was made anew from the frames.
    rebuilt: bool,
    /// What the frames themselves say, once one of them could not be decoded.
    walked: Option<Table>,
    table_path: Option<PathBuf>,
}

#[derive(Default)]
struct Cached {
    number: Option<usize>,
    plain: Vec<u8>,
}

enum Codec {
    Zstd(::zstd::bulk::Decompressor<'static>),
    Gzip(flate2::Decompress),
}

/// Where a frame lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    /// Where it lies in the compressed file.
    pub(crate) at: u64,
    pub(crate) size: u32,
    /// Its plain bytes.
    pub(crate) plain_at: u64,
    pub(crate) plain_size: u32,
}

impl std::fmt::Debug for Frames {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Frames")
            .field("frames", &self.table.sizes().len())
            .field("plain", &self.table.plain())
            .field("rebuilt", &self.rebuilt)
            .finish_non_exhaustive()
    }
}

impl Frames {
    fn new(file: File, table: Table, codec: Codec, rebuilt: bool) -> Self {
        Self {
            file,
            table,
            codec,
            cache: Default::default(),
            older: 0,
            input: Vec::new(),
            rebuilt,
            walked: None,
            table_path: None,
        }
    }

    pub(crate) fn zstd(file: File) -> io::Result<Self> {
        let (table, rebuilt) = match zstd::seek_table(&file)? {
            Some(found) => found,
            None => (zstd::walk(&file)?, true),
        };
        let codec = Codec::Zstd(::zstd::bulk::Decompressor::new()?);
        Ok(Self::new(file, table, codec, rebuilt))
    }

    /// `Err` gives the file back: it is not made of members whose sizes are known.
    pub(crate) fn gzip(file: File, path: Option<PathBuf>) -> io::Result<Result<Self, File>> {
        let size = file.metadata()?.len();
        let stored = path
            .as_deref()
            .and_then(gzip::read_table)
            .filter(|table| table.compressed() == size);
        let (table, rebuilt) = match stored {
            Some(table) => (table, false),
            None => match gzip::walk(&file)? {
                Some(table) => (table, true),
                None => return Ok(Err(file)),
            },
        };
        let codec = Codec::Gzip(flate2::Decompress::new(false));
        let mut frames = Self::new(file, table, codec, rebuilt);
        frames.table_path = path;
        Ok(Ok(frames))
    }

    pub(crate) fn into_raw(self) -> Raw {
        match self.codec {
            Codec::Zstd(_) => Raw::Zstd(self.file),
            Codec::Gzip(_) => Raw::Gzip(self.file, self.table_path),
        }
    }

    pub(crate) fn len(&self) -> u64 {
        self.table.plain()
    }

    pub(crate) fn table(&self) -> &Table {
        &self.table
    }

    pub(crate) fn is_rebuilt(&self) -> bool {
        self.rebuilt
    }

    /// Where the table of a gzip file is kept, if there is such a place.
    pub(crate) fn table_path(&self) -> Option<&Path> {
        self.table_path.as_deref()
    }

    /// A table should be there: zstd has it inside, gzip has a place for it or not.
    pub(crate) fn has_table(&self) -> bool {
        matches!(self.codec, Codec::Zstd(_)) || self.table_path.is_some()
    }

    pub(crate) fn read_at(&mut self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut done = 0;
        while done < buf.len() {
            let Some((number, place)) = self.table.find(offset + done as u64) else {
                break;
            };
            let skip = (offset + done as u64 - place.plain_at) as usize;
            let size = place.plain_size as usize;
            let into = &mut buf[done..];
            if let Some(cached) = self.cache.iter().find(|c| c.number == Some(number)) {
                let n = into.len().min(size - skip);
                into[..n].copy_from_slice(&cached.plain[skip..skip + n]);
                done += n;
            } else if skip == 0 && into.len() >= size {
                // The whole frame is wanted: decoded to where it belongs.
                let into = &mut buf[done..done + size];
                if !Self::decode(&self.file, &mut self.codec, &mut self.input, place, into)? {
                    if self.mistrust(place)? {
                        continue;
                    }
                    into.fill(0);
                }
                done += size;
            } else {
                let slot = self.older;
                let cached = &mut self.cache[slot];
                cached.number = None;
                cached.plain.clear();
                cached.plain.resize(size, 0);
                let plain = &mut cached.plain;
                if !Self::decode(&self.file, &mut self.codec, &mut self.input, place, plain)? {
                    if self.mistrust(place)? {
                        continue;
                    }
                    self.cache[slot].plain.fill(0);
                }
                self.cache[slot].number = Some(number);
                self.older = (slot + 1) % CACHED;
            }
        }
        Ok(done)
    }

    /// A frame could not be decoded: sees whether the table is to blame. `true`: it was made anew.
    fn mistrust(&mut self, place: Place) -> io::Result<bool> {
        if self.rebuilt {
            return Ok(false);
        }
        if self.walked.is_none() {
            self.walked = match self.codec {
                Codec::Zstd(_) => Some(zstd::walk(&self.file)?),
                Codec::Gzip(_) => gzip::walk(&self.file)?,
            };
        }
        // A frame's header may be damaged as well as the table: who is right is seen by decoding.
        let walked = self.walked.as_ref();
        let other = walked.and_then(|walked| walked.starting(place.at));
        let Some(other) = other.filter(|other| *other != place) else {
            return Ok(false);
        };
        let mut plain = vec![0; other.plain_size as usize];
        if !Self::decode(
            &self.file,
            &mut self.codec,
            &mut self.input,
            other,
            &mut plain,
        )? {
            return Ok(false);
        }
        self.table = self.walked.take().unwrap_or_default();
        self.rebuilt = true;
        self.cache = Default::default();
        Ok(true)
    }

    /// `false`: the frame is damaged.
    fn decode(
        file: &File,
        codec: &mut Codec,
        input: &mut Vec<u8>,
        place: Place,
        into: &mut [u8],
    ) -> io::Result<bool> {
        debug_assert!(place.size <= FRAME_MAX);
        input.resize(place.size as usize, 0);
        let got = pread(file, input, place.at)?;
        Ok(match codec {
            Codec::Zstd(codec) => codec
                .decompress_to_buffer(&input[..got], into)
                .is_ok_and(|n| n == place.plain_size as usize),
            Codec::Gzip(codec) => gzip::decode(codec, &input[..got], into),
        })
    }

    /// The frames that cannot be decoded, from `from` on, one after the other; `None` at the end.
    pub(crate) fn next_bad(&mut self, from: &mut u64) -> io::Result<Option<Frame>> {
        let mut plain = Vec::new();
        while let Some((_, place)) = self.table.find(*from) {
            *from = place.plain_at + u64::from(place.plain_size);
            plain.resize(place.plain_size as usize, 0);
            if !Self::decode(
                &self.file,
                &mut self.codec,
                &mut self.input,
                place,
                &mut plain,
            )? {
                return Ok(Some(Frame {
                    at: place.at,
                    size: place.size,
                    plain_at: place.plain_at,
                    plain_size: place.plain_size,
                }));
            }
        }
        Ok(None)
    }
}
