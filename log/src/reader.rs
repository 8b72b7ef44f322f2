//! The reader: past records, then what is added.

use std::sync::Arc;

use memchr::memmem;

use crate::access::Input;
use crate::error::ReadError;
use crate::files::Files;
use crate::gap;
use crate::grep::Grep;
use crate::json::HEAD;
use crate::local;
use crate::marks::Marks;
use crate::output::{Outcome, Output};
use crate::query::{CommitSource, Cursor, Format, LogFiles, Position, Query, ReadStats, Step};
use crate::scan::MAX_LINE;

/// Usual size of the input buffer; it grows up to [`MAX_LINE`] for a long line.
const BUFFER: usize = 128 * 1024;
/// A call returns when it has appended so much,
pub(crate) const OUT_TARGET: usize = 128 * 1024;
/// or has passed over so much input, so that a caller can see that its client is gone.
const IN_TARGET: u64 = 8 * 1024 * 1024;

/// Reads one log. Holds at most 64 open files and about 600 KiB of memory.
#[derive(Debug)]
pub struct Reader {
    pub(crate) files: Files,
    pub(crate) output: Output,
    pub(crate) stats: ReadStats,
    finder: memmem::Finder<'static>,
    /// Whether the end of `current` may move.
    pub(crate) follow: bool,
    /// Without follow: number and length of the last file, as they were at open.
    pub(crate) last: (u64, u64),
    pub(crate) current: Option<Current>,
    /// Without `current`: the number to go on with.
    pub(crate) next: u64,
    /// Epoch and sequence number of the next line, once known.
    pub(crate) seq: Option<(u64, u64)>,
    /// Everything that was committed has been read at some time.
    pub(crate) caught_up: bool,
    /// Files were gone before they were read, and the client was not told yet.
    pub(crate) skipped: bool,
    /// The first record that is wanted.
    pub(crate) floor: Option<Cursor>,
    /// Records between the wanted place and the oldest one there is, not told yet.
    pub(crate) first_gap: Option<u64>,
    /// `local`: the only wanted run.
    pub(crate) run: Option<u32>,
    /// json-file: file and offset where the wanted run ends.
    pub(crate) end_at: Option<(u64, u64)>,
    pub(crate) marks: Marks,
    pub(crate) local: local::State,
    pub(crate) buf: Vec<u8>,
    pub(crate) start: usize,
    pub(crate) end: usize,
    /// The buffer holds the rest of a line that was too long and is already counted.
    overlong: bool,
    pub(crate) finished: bool,
    /// The trailer was put out.
    trailed: bool,
}

/// The file that is being read.
#[derive(Debug)]
pub(crate) struct Current {
    pub(crate) file: Input,
    pub(crate) number: u64,
    /// Where the next read begins. What is in the buffer lies before it.
    pub(crate) pos: u64,
    /// How far this file may be read for now.
    pub(crate) limit: u64,
}

/// What is to be done when all input that is allowed was read.
pub(crate) enum Next {
    More,
    Step(Step),
}

impl Reader {
    /// Finds the place where the answer to `query` begins; nothing is put out yet. `source` is
    /// `None` for a stopped container: its files are read as they are.
    ///
    /// Without follow, what is written after this call is not shown.
    ///
    /// # Errors
    /// [`ReadError`], if a file that exists cannot be opened or read, or if a rotation does not
    /// come to an end. A log without files is no error but empty.
    pub fn open(
        files: LogFiles,
        query: Query,
        format: Format,
        source: Option<Arc<dyn CommitSource>>,
    ) -> Result<Self, ReadError> {
        let mut files = Files::new(files, source);
        let committed = files.settled()?;
        let mut reader = Self {
            files,
            output: Output::new(&query, format),
            stats: ReadStats::default(),
            finder: memmem::Finder::new(HEAD),
            follow: query.follow && committed.is_some(),
            last: (0, 0),
            current: None,
            next: 0,
            seq: None,
            skipped: false,
            caught_up: false,
            floor: None,
            first_gap: None,
            run: None,
            end_at: None,
            marks: Marks::default(),
            local: local::State::default(),
            buf: Vec::new(),
            start: 0,
            end: 0,
            overlong: false,
            finished: false,
            trailed: false,
        };
        if reader.files.is_local() {
            reader.locate_in_segments(&query, committed)?;
        } else {
            reader.locate(&query, committed)?;
        }
        Ok(reader)
    }

    #[must_use]
    pub fn stats(&self) -> &ReadStats {
        &self.stats
    }

    /// Where the reader is: which files must not go away, and which record was the last.
    #[must_use]
    pub fn position(&self) -> Position {
        let cursor = |(epoch, next): (u64, u64)| Cursor {
            epoch,
            seq: next.wrapping_sub(1),
        };
        Position {
            file: self.current.as_ref().map_or(self.next, |c| c.number),
            cursor: self.seq.filter(|(_, next)| *next > 0).map(cursor),
        }
    }

    /// After [`Step::End`] of a follow: the container was started again, and the reader goes on
    /// with what its new run writes.
    pub fn next_run(&mut self, source: Arc<dyn CommitSource>) {
        self.files.set_source(source);
        self.follow = true;
        self.finished = false;
        self.trailed = false;
    }

    /// Gives memory back that is not needed while nothing is read.
    pub fn park(&mut self) {
        if self.start == self.end {
            self.buf = Vec::new();
            (self.start, self.end) = (0, 0);
        }
    }

    /// Appends the next formatted records, usually 64 to 256 KiB, to `out`.
    ///
    /// # Errors
    /// [`ReadError`], if a file cannot be opened or read. The reader may be asked again.
    pub fn read(&mut self, out: &mut Vec<u8>) -> Result<Step, ReadError> {
        let (mark, mut taken) = (out.len(), 0u64);
        self.output.begin();
        if let Some(records) = self.first_gap.take() {
            self.missing(Some(records), None, gap::ROTATED, out);
        }
        loop {
            if self.finished {
                if !std::mem::replace(&mut self.trailed, true) {
                    let cursor = self.position().cursor;
                    self.output.trailer(cursor, out);
                }
                return Ok(if out.len() > mark {
                    Step::Data
                } else {
                    Step::End
                });
            }
            if self.files.is_local() {
                self.batches(out, mark)?;
            } else {
                self.lines(out, mark);
            }
            if out.len() - mark >= OUT_TARGET || taken >= IN_TARGET {
                return Ok(Step::Data);
            }
            if self.finished {
                continue;
            }
            let got = self.fill()?;
            if got > 0 {
                taken += got;
                continue;
            }
            match self.advance(out)? {
                Next::More => {}
                // Told only when there is nothing to send first, so that nobody waits or ends
                // with bytes in hand.
                Next::Step(_) if out.len() > mark => return Ok(Step::Data),
                Next::Step(Step::End) => self.finished = true,
                Next::Step(step) => return Ok(step),
            }
        }
    }

    /// Puts out the whole lines of the buffer, until `out` has enough.
    fn lines(&mut self, out: &mut Vec<u8>, mark: usize) {
        let buf = std::mem::take(&mut self.buf);
        let base = self.current.as_ref().map_or(0, |c| c.pos) - self.end as u64;
        let literal = self.output.grep().and_then(Grep::json_literal).cloned();
        loop {
            if base + self.start as u64 >= self.marks.next() {
                self.pass_marks(base + self.start as u64, out);
                if self.finished {
                    break;
                }
            }
            if let Some(literal) = &literal {
                self.skip_lines(&buf, base, literal);
            }
            let Some(length) = memchr::memchr(b'\n', &buf[self.start..self.end]) else {
                break;
            };
            let line = &buf[self.start..self.start + length];
            self.start += length + 1;
            let cursor = self.seq.map(|(epoch, seq)| Cursor { epoch, seq });
            if let Some((_, seq)) = &mut self.seq {
                *seq += 1;
            }
            if let (Some(floor), Some(cursor)) = (self.floor, cursor)
                && cursor < floor
            {
                self.overlong = false;
                continue;
            }
            if self.overlong {
                self.overlong = false;
                // Only a record that begins on this line after the damage is new.
                if let Some(at) = self.finder.find(line) {
                    self.line(&line[at..], cursor, out);
                }
            } else {
                self.line(line, cursor, out);
            }
            if self.finished {
                // The record that ends the read is not passed.
                self.seq = cursor.map(|c| (c.epoch, c.seq));
                break;
            }
            if out.len() - mark >= OUT_TARGET {
                break;
            }
        }
        self.buf = buf;
    }

    /// Passes over whole lines without `literal`. Only their number and the time of the last one
    /// matter.
    fn skip_lines(&mut self, buf: &[u8], base: u64, literal: &memmem::Finder<'static>) {
        let bytes = &buf[self.start..self.end];
        let passed = self.floor.is_some()
            && self.seq.is_none_or(|(epoch, seq)| {
                self.floor
                    .is_some_and(|floor| Cursor { epoch, seq } < floor)
            });
        if self.overlong || passed || base + self.end as u64 > self.marks.next() {
            return;
        }
        let until = literal.find(bytes).unwrap_or(bytes.len());
        let Some(last) = memchr::memrchr(b'\n', &bytes[..until]) else {
            return;
        };
        let from = memchr::memrchr(b'\n', &bytes[..last]).map_or(0, |at| at + 1);
        if !self.output.may_skip(&bytes[from..last]) {
            return;
        }
        if let Some((_, seq)) = &mut self.seq {
            *seq += memchr::memchr_iter(b'\n', &bytes[..=last]).count() as u64;
        }
        self.start += last + 1;
    }

    #[inline]
    fn line(&mut self, line: &[u8], cursor: Option<Cursor>, out: &mut Vec<u8>) {
        match self.output.line(line, cursor, out) {
            Outcome::Written => self.stats.records += 1,
            Outcome::Filtered => {}
            Outcome::Past => self.finished = true,
            Outcome::Damaged => self.salvage(line, cursor, out),
        }
    }

    /// A line that is not a record may still hold some: what was appended after a torn write, or
    /// after a hole of zeros. The text that a record begins with cannot stand inside of one.
    #[cold]
    fn salvage(&mut self, line: &[u8], cursor: Option<Cursor>, out: &mut Vec<u8>) {
        if line.iter().all(u8::is_ascii_whitespace) {
            return;
        }
        let finder = self.finder.clone();
        let mut at = 0;
        while at < line.len() {
            let end = finder
                .find(&line[at + 1..])
                .map_or(line.len(), |i| at + 1 + i);
            if at > 0 || end < line.len() {
                match self.output.line(&line[at..end], cursor, out) {
                    Outcome::Written => self.stats.records += 1,
                    Outcome::Filtered => {}
                    Outcome::Past => {
                        self.finished = true;
                        return;
                    }
                    Outcome::Damaged => self.stats.damaged += 1,
                }
            } else {
                self.stats.damaged += 1;
            }
            at = end;
        }
    }

    /// Reads more of the current file into the buffer; 0 at the end of what may be read.
    fn fill(&mut self) -> Result<u64, ReadError> {
        let Some(current) = &mut self.current else {
            return Ok(0);
        };
        if current.pos >= current.limit {
            return Ok(0);
        }
        if self.start > 0 {
            self.buf.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        if self.end == self.buf.len() {
            if self.files.is_local() {
                if self.buf.is_empty() {
                    self.buf.resize(local::BUFFER, 0);
                } else {
                    // No batch is so long.
                    self.start += 64;
                    return self.fill();
                }
            } else if self.buf.len() < MAX_LINE {
                let size = (self.buf.len() * 2).clamp(BUFFER, MAX_LINE);
                self.buf.resize(size, 0);
            } else {
                self.drop_overlong();
            }
        } else if !self.files.is_local() && self.buf.len() > BUFFER && self.end < BUFFER / 2 {
            self.buf.truncate(BUFFER);
            self.buf.shrink_to_fit();
        }
        let Some(current) = &mut self.current else {
            return Ok(0);
        };
        let room = self.buf.len() - self.end;
        let length = room.min(usize::try_from(current.limit - current.pos).unwrap_or(room));
        let into = &mut self.buf[self.end..self.end + length];
        let got = match current.file.read_at(into, current.pos) {
            Err(e) => {
                let path = self.files.path(current.number);
                return Err(ReadError::read(&path, e));
            }
            Ok(got) => got,
        };
        self.end += got;
        current.pos += got as u64;
        Ok(got as u64)
    }

    /// The buffer is full and has no newline: drops what cannot be a record, up to the last place
    /// where one begins.
    fn drop_overlong(&mut self) {
        if !self.overlong {
            self.stats.damaged += 1;
        }
        let from = usize::from(!self.overlong);
        match memmem::rfind(&self.buf[from..self.end], HEAD) {
            Some(at) => {
                self.start = from + at;
                self.overlong = false;
            }
            None => {
                // The beginning of a record may be cut by the end of the buffer.
                self.start = self.end - (HEAD.len() - 1);
                self.overlong = true;
            }
        }
        self.buf.copy_within(self.start..self.end, 0);
        self.end -= self.start;
        self.start = 0;
    }

    /// The file ends here for good: what is left without a newline is torn.
    pub(crate) fn drop_torn(&mut self) {
        if let Some(current) = &mut self.current {
            current.pos -= (self.end - self.start) as u64;
            current.limit = current.limit.min(current.pos);
        }
        if self.end > self.start && !self.overlong && !self.local.is_damaged() {
            self.stats.damaged += 1;
        }
        self.local.restart(true);
        self.start = 0;
        self.end = 0;
        self.overlong = false;
    }

    pub(crate) fn read_error(&self, source: std::io::Error) -> ReadError {
        let number = self.current.as_ref().map_or(self.next, |c| c.number);
        ReadError::read(&self.files.path(number), source)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::query::LogFormat;

    /// A file of ten megabytes without a newline, then with one record after another that is
    /// nearly too long: the buffer has its bound.
    #[test]
    fn the_buffer_is_bounded() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        let mut bytes = vec![b'x'; 10_000_000];
        let long = "y".repeat(MAX_LINE - 100);
        let time = "2023-11-14T22:13:20Z";
        for _ in 0..4 {
            let line =
                format!("{{\"log\":\"{long}\",\"stream\":\"stdout\",\"time\":\"{time}\"}}\n");
            bytes.extend_from_slice(line.as_bytes());
        }
        std::fs::write(&path, bytes).unwrap();
        let files = LogFiles {
            format: LogFormat::JsonFile,
            spool_dir: dir.path().join("spool"),
            path,
            index_dir: dir.path().join("index"),
            max_file: 1,
        };
        let mut reader = Reader::open(files, Query::all(), Format::default(), None).unwrap();
        let mut out = Vec::new();
        loop {
            let step = reader.read(&mut out).unwrap();
            assert!(reader.buf.capacity() <= MAX_LINE);
            assert!(out.capacity() <= OUT_TARGET + 4 * MAX_LINE);
            out.clear();
            if step == Step::End {
                break;
            }
        }
        assert_eq!((reader.stats().records, reader.stats().damaged), (4, 1));
    }
}
