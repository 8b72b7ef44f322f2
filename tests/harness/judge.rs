//! Checks what the workload printed: every line once, in order, whole. The other side of `tests/workload/main.rs`.

use std::fmt;

/// A stream of numbered, checksummed lines, fed in any cuts.
#[derive(Debug)]
pub(crate) struct Judge {
    letter: u8,
    next: u64,
    open: Vec<u8>,
    lines: u64,
    findings: Vec<String>,
    missing: u64,
    doubled: u64,
    torn: u64,
}

/// What a judge found.
#[derive(Debug)]
pub(crate) struct Verdict {
    pub(crate) lines: u64,
    pub(crate) missing: u64,
    pub(crate) doubled: u64,
    pub(crate) torn: u64,
    pub(crate) first: Vec<String>,
}

impl Verdict {
    pub(crate) fn clean(&self) -> bool {
        self.missing == 0 && self.doubled == 0 && self.torn == 0
    }

    /// Panics unless exactly `lines` lines came, each once, in order and whole.
    #[track_caller]
    pub(crate) fn assert_complete(&self, lines: u64, what: &str) {
        assert!(
            self.clean() && self.lines == lines,
            "{what}: {self}; {lines} lines were written"
        );
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} lines, {} missing, {} doubled, {} torn",
            self.lines, self.missing, self.doubled, self.torn
        )?;
        for finding in &self.first {
            write!(f, "\n  {finding}")?;
        }
        Ok(())
    }
}

const FINDINGS: usize = 10;

impl Judge {
    /// `letter`: `o` for stdout, `e` for stderr.
    pub(crate) fn new(letter: char) -> Self {
        Self::from(letter, 0)
    }

    /// The first line expected is number `next`.
    pub(crate) fn from(letter: char, next: u64) -> Self {
        Self {
            letter: letter as u8,
            next,
            open: Vec::new(),
            lines: 0,
            findings: Vec::new(),
            missing: 0,
            doubled: 0,
            torn: 0,
        }
    }

    pub(crate) fn feed(&mut self, mut bytes: &[u8]) {
        while let Some(end) = memchr_newline(bytes) {
            if self.open.is_empty() {
                self.line(&bytes[..end]);
            } else {
                self.open.extend_from_slice(&bytes[..end]);
                let line = std::mem::take(&mut self.open);
                self.line(&line);
            }
            bytes = &bytes[end + 1..];
        }
        self.open.extend_from_slice(bytes);
    }

    /// Lines seen so far.
    pub(crate) fn lines(&self) -> u64 {
        self.lines
    }

    /// The number of the next line that is expected.
    pub(crate) fn next(&self) -> u64 {
        self.next
    }

    pub(crate) fn finish(mut self) -> Verdict {
        if !self.open.is_empty() {
            let open = std::mem::take(&mut self.open);
            self.torn += 1;
            self.note(format!("ends within a line: {}", excerpt(&open)));
        }
        Verdict {
            lines: self.lines,
            missing: self.missing,
            doubled: self.doubled,
            torn: self.torn,
            first: self.findings,
        }
    }

    fn note(&mut self, text: String) {
        if self.findings.len() < FINDINGS {
            self.findings.push(text);
        }
    }

    fn line(&mut self, line: &[u8]) {
        // A terminal turns the newline into CR LF.
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let Some(number) = number(line, self.letter) else {
            self.torn += 1;
            self.note(format!(
                "torn where {} was due: {}",
                self.next,
                excerpt(line)
            ));
            return;
        };
        self.lines += 1;
        if number > self.next {
            self.missing += number - self.next;
            self.note(format!("{} to {} missing", self.next, number - 1));
            self.next = number + 1;
        } else if number < self.next {
            self.doubled += 1;
            self.note(format!("{number} again or late, {} was due", self.next));
        } else {
            self.next += 1;
        }
    }
}

fn memchr_newline(bytes: &[u8]) -> Option<usize> {
    memchr::memchr(b'\n', bytes)
}

/// The number of a whole line, or nothing.
fn number(line: &[u8], letter: u8) -> Option<u64> {
    if line.len() < 22
        || line[0] != letter
        || line[1] != b' '
        || line[12] != b' '
        || line[21] != b' '
    {
        return None;
    }
    let digits = &line[2..12];
    let claimed = u32::from_str_radix(std::str::from_utf8(&line[13..21]).ok()?, 16).ok()?;
    let mut hash = 0x811c_9dc5_u32;
    for byte in line[..1].iter().chain(digits).chain(&line[22..]) {
        hash = (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193);
    }
    if hash != claimed {
        return None;
    }
    std::str::from_utf8(digits).ok()?.parse().ok()
}

fn excerpt(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(&bytes[..bytes.len().min(120)]);
    format!("{text:?} ({} bytes)", bytes.len())
}

#[cfg(test)]
mod tests {
    use super::Judge;

    const LINES: [&str; 2] = [
        "o 0000000000 cf4779bd abcdefghijklmnopq\n",
        "o 0000000001 d0323789 bcdefghijklmnopqr\n",
    ];

    #[test]
    fn judge_accepts_whole_lines_in_any_cuts() {
        let all = LINES.concat();
        for cut in 0..all.len() {
            let mut judge = Judge::new('o');
            judge.feed(&all.as_bytes()[..cut]);
            judge.feed(&all.as_bytes()[cut..]);
            judge.finish().assert_complete(2, "two lines");
        }
    }

    #[test]
    fn judge_sees_missing_doubled_and_torn_lines() {
        let mut judge = Judge::new('o');
        judge.feed(LINES[1].as_bytes());
        assert_eq!(judge.finish().missing, 1);

        let mut judge = Judge::new('o');
        judge.feed(LINES[0].as_bytes());
        judge.feed(LINES[0].as_bytes());
        assert_eq!(judge.finish().doubled, 1);

        let mut judge = Judge::new('o');
        judge.feed(LINES[0].replace('q', "x").as_bytes());
        assert_eq!(judge.finish().torn, 1);

        let mut judge = Judge::new('o');
        judge.feed(&LINES[0].as_bytes()[..20]);
        assert_eq!(judge.finish().torn, 1);

        let mut judge = Judge::new('e');
        judge.feed(LINES[0].as_bytes());
        assert_eq!(judge.finish().torn, 1);
    }
}
