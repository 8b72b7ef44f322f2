//! A gzip file whose members' sizes are not known, as Docker writes it: read from its beginning.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};

use flate2::bufread::MultiGzDecoder;

/// Decodes forwards; an earlier offset means from the beginning again.
pub(super) struct GzipStream {
    file: File,
    decoder: Option<MultiGzDecoder<BufReader<File>>>,
    at: u64,
    /// Where it ends or cannot be decoded any further.
    end: Option<u64>,
    skip: Vec<u8>,
}

impl std::fmt::Debug for GzipStream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("GzipStream")
            .field("at", &self.at)
            .field("end", &self.end)
            .finish_non_exhaustive()
    }
}

impl GzipStream {
    pub(super) fn new(file: File) -> Self {
        Self {
            file,
            decoder: None,
            at: 0,
            end: None,
            skip: Vec::new(),
        }
    }

    pub(super) fn into_file(self) -> File {
        self.file
    }

    /// Decodes everything once.
    pub(super) fn len(&mut self) -> io::Result<u64> {
        if self.end.is_none() {
            self.seek(u64::MAX)?;
        }
        Ok(self.end.unwrap_or(0))
    }

    /// Goes to `offset` or to the end.
    fn seek(&mut self, offset: u64) -> io::Result<()> {
        if offset < self.at || self.decoder.is_none() {
            let mut file = self.file.try_clone()?;
            file.seek(SeekFrom::Start(0))?;
            let input = BufReader::with_capacity(64 * 1024, file);
            self.decoder = Some(MultiGzDecoder::new(input));
            self.at = 0;
        }
        let mut skip = std::mem::take(&mut self.skip);
        skip.resize(64 * 1024, 0);
        while self.at < offset {
            let n = (skip.len() as u64).min(offset - self.at) as usize;
            if self.step(&mut skip[..n])? == 0 {
                break;
            }
        }
        self.skip = skip;
        Ok(())
    }

    /// Decodes on; damage is the end.
    fn step(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let Some(decoder) = &mut self.decoder else {
            return Ok(0);
        };
        let got = match decoder.read(buf) {
            Ok(n) => n,
            Err(e) if e.raw_os_error().is_some() => return Err(e),
            Err(_) => 0,
        };
        self.at += got as u64;
        if got == 0 && !buf.is_empty() {
            self.end = Some(self.at);
        }
        Ok(got)
    }

    pub(super) fn read_at(&mut self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        if self.end.is_some_and(|end| offset >= end) {
            return Ok(0);
        }
        self.seek(offset)?;
        if self.at < offset {
            return Ok(0);
        }
        self.step(buf)
    }
}
