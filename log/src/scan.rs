//! Finding places in a log file without reading all of it: the last N lines, the first record of a
//! time, the end of the last whole record.

use std::io;

use crate::access::Input;
use crate::json::Decoder;
use crate::time::Moment;

/// Bytes that are read at a time.
pub(crate) const BLOCK: usize = 64 * 1024;
/// Longest line that is taken for a record. Docker's are at most 6 × 16 KiB and their attributes.
pub(crate) const MAX_LINE: usize = 512 * 1024;

/// Reads up to `buf.len()` bytes at `offset`; less only at the end of the file.
pub(crate) fn read_full(file: &Input, buf: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut done = 0;
    while done < buf.len() {
        match file.read_at(&mut buf[done..], offset + done as u64) {
            Ok(0) => break,
            Ok(n) => done += n,
            Err(e) => return Err(e),
        }
    }
    Ok(done)
}

/// Start of the last `want` lines that end before `limit`, and how many there are (fewer only if
/// the start is 0). Bytes after the last newline are not a line.
pub(crate) fn lines_back(file: &Input, limit: u64, want: u64) -> io::Result<(u64, u64)> {
    if file.is_stream() {
        return lines_back_of_stream(file, limit, want);
    }
    let mut buf = vec![0; BLOCK];
    let mut end = limit;
    // Newlines seen. The start of the last `want` lines lies behind the newline number `want + 1`.
    let mut seen = 0u64;
    while end > 0 {
        let length = end.min(BLOCK as u64) as usize;
        let start = end - length as u64;
        let got = read_full(file, &mut buf[..length], start)?;
        let block = &buf[..got];
        let here = memchr::memchr_iter(b'\n', block).count() as u64;
        if seen + here > want {
            let nth = (want - seen) as usize;
            if let Some(at) = memchr::memrchr_iter(b'\n', block).nth(nth) {
                return Ok((start + at as u64 + 1, want));
            }
        }
        seen += here;
        end = start;
    }
    Ok((0, seen))
}

/// The same without going back: twice from the beginning.
fn lines_back_of_stream(file: &Input, limit: u64, want: u64) -> io::Result<(u64, u64)> {
    let all = newlines(file, 0, limit)?;
    let Some(skip @ 1..) = all.checked_sub(want) else {
        return Ok((0, all.min(want)));
    };
    let mut buf = vec![0; BLOCK];
    let (mut at, mut seen) = (0, 0);
    while at < limit {
        let length = (limit - at).min(BLOCK as u64) as usize;
        let got = read_full(file, &mut buf[..length], at)?;
        if got == 0 {
            break;
        }
        let here = memchr::memchr_iter(b'\n', &buf[..got]).count() as u64;
        if seen + here >= skip {
            let nth = (skip - seen - 1) as usize;
            if let Some(found) = memchr::memchr_iter(b'\n', &buf[..got]).nth(nth) {
                return Ok((at + found as u64 + 1, want));
            }
        }
        seen += here;
        at += got as u64;
    }
    Ok((limit, 0))
}

/// Number of newlines in `from..limit`.
pub(crate) fn newlines(file: &Input, from: u64, limit: u64) -> io::Result<u64> {
    let mut buf = vec![0; BLOCK];
    let (mut at, mut count) = (from, 0);
    while at < limit {
        let length = (limit - at).min(BLOCK as u64) as usize;
        let got = read_full(file, &mut buf[..length], at)?;
        if got == 0 {
            break;
        }
        count += memchr::memchr_iter(b'\n', &buf[..got]).count() as u64;
        at += got as u64;
    }
    Ok(count)
}

/// End of the last whole line within the first `limit` bytes; 0 without any.
pub(crate) fn last_line_end(file: &Input, limit: u64) -> io::Result<u64> {
    let mut buf = vec![0; BLOCK];
    let mut end = limit;
    while end > 0 {
        let length = end.min(BLOCK as u64) as usize;
        let start = end - length as u64;
        let got = read_full(file, &mut buf[..length], start)?;
        if let Some(at) = memchr::memrchr(b'\n', &buf[..got]) {
            return Ok(start + at as u64 + 1);
        }
        end = start;
    }
    Ok(0)
}

/// Time of the last line within the first `limit` bytes that is a record. Looks at no more than
/// the last `MAX_LINE` bytes.
pub(crate) fn last_time(
    file: &Input,
    limit: u64,
    decoder: &mut Decoder,
) -> io::Result<Option<Moment>> {
    let mut window = BLOCK;
    loop {
        let start = limit.saturating_sub(window as u64);
        let mut buf = vec![0; (limit - start) as usize];
        let got = read_full(file, &mut buf, start)?;
        let mut end = memchr::memrchr(b'\n', &buf[..got]);
        while let Some(newline) = end {
            let before = memchr::memrchr(b'\n', &buf[..newline]);
            // The first line of the window counts only if it is whole.
            let line = match before {
                Some(at) => &buf[at + 1..newline],
                None if start == 0 => &buf[..newline],
                None => break,
            };
            if let Some(record) = decoder.decode(line) {
                return Ok(Some(record.time));
            }
            end = before;
        }
        if start == 0 || window >= MAX_LINE {
            return Ok(None);
        }
        window = (window * 4).min(MAX_LINE);
    }
}

/// A record found by [`Prober::at_or_after`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct Probe {
    /// Where its line ends.
    pub(crate) end: u64,
    pub(crate) time: Moment,
}

/// Looks at single records in the middle of a file.
#[derive(Debug)]
pub(crate) struct Prober {
    decoder: Decoder,
    buf: Vec<u8>,
}

impl Prober {
    pub(crate) fn new() -> Self {
        Self {
            decoder: Decoder::new(),
            buf: Vec::new(),
        }
    }

    /// The first line that is a record and begins at `from` or after; with `resync`, after the
    /// first newline from there. `None` if there is none before `limit`, or within `MAX_LINE`
    /// bytes.
    pub(crate) fn at_or_after(
        &mut self,
        file: &Input,
        from: u64,
        limit: u64,
        resync: bool,
    ) -> io::Result<Option<Probe>> {
        let mut window = BLOCK / 4;
        loop {
            let length = (limit - from.min(limit)).min(window as u64) as usize;
            self.buf.resize(length, 0);
            let got = read_full(file, &mut self.buf, from)?;
            let mut skip = resync;
            let mut start = 0;
            for newline in memchr::memchr_iter(b'\n', &self.buf[..got]) {
                if !skip && let Some(record) = self.decoder.decode(&self.buf[start..newline]) {
                    return Ok(Some(Probe {
                        end: from + newline as u64 + 1,
                        time: record.time,
                    }));
                }
                skip = false;
                start = newline + 1;
            }
            if got < window || window >= MAX_LINE {
                return Ok(None);
            }
            window = (window * 4).min(MAX_LINE);
        }
    }

    /// A place in `start..limit` before which there is no record of time `since` or later, as far
    /// as times rise, and from where it is not far to the first one.
    pub(crate) fn search(
        &mut self,
        file: &Input,
        start: u64,
        limit: u64,
        since: Moment,
    ) -> io::Result<u64> {
        let (mut low, mut high) = (start, limit);
        if file.is_stream() {
            return Ok(low);
        }
        while high - low > BLOCK as u64 {
            let middle = low + (high - low) / 2;
            match self.at_or_after(file, middle, high, true)? {
                Some(probe) if probe.time < since => low = probe.end,
                // Nothing readable in the upper half, or too late: the linear read from `low`
                // passes over whatever lies between.
                _ => high = middle,
            }
        }
        Ok(low)
    }
}
