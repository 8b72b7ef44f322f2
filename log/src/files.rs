//! Finding a log's files by number while they are being renamed.
//!
//! A live log's file has a number that never changes; its name does at each rotation. A name is
//! turned into a number by reading the commit state before and after the open: if both have the
//! same current file and no rotation was under way, no file changed its name in between.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::fs::File;
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::access::{Input, Raw};
use crate::error::ReadError;
use crate::gap;
use crate::index::Index;
use crate::query::{CommitSource, Committed, LogFiles, LogFormat};

/// How long a rotation is waited for. A monitor that died in the middle of one is replaced within
/// 100 ms; names that stay undefined for so long mean that nobody repairs them.
const PATIENCE: Duration = Duration::from_secs(5);
/// Files that are kept open from the start, so that they can be read although they are rotated
/// away meanwhile.
const HELD: usize = 64;

/// What a file number leads to.
#[derive(Debug)]
pub(crate) enum Opened {
    File(Input),
    /// Rotated away, or removed by somebody; the next number worth a try.
    Gone {
        next: u64,
    },
    /// The number is not in use yet.
    Future,
}

/// The files of one log.
pub(crate) struct Files {
    files: LogFiles,
    source: Option<Arc<dyn CommitSource>>,
    held: BTreeMap<u64, Raw>,
    /// Number of the current file, as far as it is known.
    base: u64,
    /// Whether numbers are those of the side files.
    numbered: bool,
}

impl fmt::Debug for Files {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Files")
            .field("files", &self.files)
            .field("live", &self.source.is_some())
            .field("held", &self.held.len())
            .finish()
    }
}

impl Files {
    pub(crate) fn new(files: LogFiles, source: Option<Arc<dyn CommitSource>>) -> Self {
        let known = match source {
            Some(_) => Some(0),
            None if files.format == LogFormat::Local => Some(0),
            None => gap::current_number(&files),
        };
        Self {
            // Without side files any number will do that leaves room for the rotated files.
            base: known.unwrap_or(u64::from(files.max_file)),
            numbered: known.is_some(),
            files,
            source,
            held: BTreeMap::new(),
        }
    }

    pub(crate) fn committed(&mut self) -> Option<Committed> {
        let committed = self.source.as_ref()?.committed()?;
        self.base = committed.file_no;
        Some(committed)
    }

    /// The commit state outside of a rotation; `None` without a live source.
    pub(crate) fn settled(&mut self) -> Result<Option<Committed>, ReadError> {
        let mut wait = Wait::new();
        loop {
            match self.committed() {
                None => {
                    self.source = None;
                    return Ok(None);
                }
                Some(c) if !c.rotating || self.is_local() => return Ok(Some(c)),
                Some(_) => {}
            }
            if !wait.again() {
                return Err(ReadError::Rotating {
                    path: self.files.path.clone(),
                });
            }
        }
    }

    pub(crate) fn is_local(&self) -> bool {
        self.files.format == LogFormat::Local
    }

    /// The side file of file `number`, if there is one that can be trusted.
    pub(crate) fn index(&self, number: u64) -> Option<Index> {
        if !self.numbered {
            return None;
        }
        Index::open(&self.files.index_dir, number)
    }

    /// Epoch and sequence number of a file's first record, if its side file tells.
    pub(crate) fn first_seq(&self, number: u64) -> Option<(u64, u64)> {
        let header = self.index(number)?.header;
        Some((header.epoch, header.first_seq))
    }

    /// Today's name of a file, for error texts.
    pub(crate) fn path(&self, number: u64) -> PathBuf {
        if self.is_local() {
            return self.files.path.join(format!("{number}.seg"));
        }
        self.name(self.base.saturating_sub(number))
    }

    /// Where a stopped container's file lies now, in whatever form.
    pub(crate) fn path_now(&self, number: u64) -> PathBuf {
        let end = if self.is_local() { ".seg" } else { "" };
        let packed = if self.is_local() { "zst" } else { "gz" };
        let plain = self.path(number);
        let spooled = self.files.spool_dir.join(format!("{number}{end}"));
        let with = |path: &Path| PathBuf::from(format!("{}.{packed}", path.display()));
        [plain.clone(), with(&plain), spooled.clone(), with(&spooled)]
            .into_iter()
            .find(|path| path.exists())
            .unwrap_or(plain)
    }

    fn name(&self, index: u64) -> PathBuf {
        if index == 0 {
            return self.files.path.clone();
        }
        let mut name = self.files.path.clone().into_os_string();
        name.push(format!(".{index}"));
        PathBuf::from(name)
    }

    /// Takes a file out of those kept open, or opens it.
    pub(crate) fn take(&mut self, number: u64) -> Result<Opened, ReadError> {
        match self.held.remove(&number) {
            Some(raw) => {
                let input = Input::of(raw);
                let input = input.map_err(|e| ReadError::read(&self.path(number), e))?;
                Ok(Opened::File(input))
            }
            None if self.is_local() => self.open_segment(number),
            None => self.open(number),
        }
    }

    /// Keeps a file open for a later [`Files::take`]. Of too many the newest ones are let go but
    /// for `current`: they are the last to be rotated away.
    pub(crate) fn hold(&mut self, number: u64, file: Input, current: u64) {
        self.held.insert(number, file.into_raw());
        if self.held.len() > HELD {
            let newest = self.held.keys().rev().find(|n| **n != current).copied();
            if let Some(newest) = newest {
                self.held.remove(&newest);
            }
        }
    }

    pub(crate) fn is_live(&self) -> bool {
        self.source.is_some()
    }

    /// The container runs again.
    pub(crate) fn set_source(&mut self, source: Arc<dyn CommitSource>) {
        self.source = Some(source);
        self.numbered = true;
    }

    /// Goes on as with a stopped container; gives the number of the current file.
    pub(crate) fn forget_source(&mut self) -> u64 {
        self.source = None;
        self.base
    }

    fn open(&mut self, number: u64) -> Result<Opened, ReadError> {
        let mut wait = Wait::new();
        loop {
            let Some(before) = self.committed() else {
                return self.open_stopped(number);
            };
            if number > before.file_no {
                return Ok(Opened::Future);
            }
            if number < before.oldest_file_no {
                return self.open_spooled(number, &before);
            }
            if !before.rotating {
                let path = self.name(before.file_no - number);
                let opened = self.open_name(&path, number);
                let same = self
                    .committed()
                    .is_some_and(|after| !after.rotating && after.file_no == before.file_no);
                if same {
                    return opened;
                }
            }
            if !wait.again() {
                return Err(ReadError::Rotating {
                    path: self.files.path.clone(),
                });
            }
        }
    }

    /// Without a live container nobody renames.
    fn open_stopped(&self, number: u64) -> Result<Opened, ReadError> {
        if number > self.base {
            return Ok(Opened::Future);
        }
        let index = self.base - number;
        if index < u64::from(self.files.max_file) {
            let opened = self.open_name(&self.name(index), number)?;
            if let Opened::File(_) = opened {
                return Ok(opened);
            }
        }
        self.open_in_spool(number)
    }

    /// The file `path`, or compressed `path.gz`, in Docker's order.
    fn open_name(&self, path: &Path, number: u64) -> Result<Opened, ReadError> {
        match File::open(path) {
            Ok(file) => return Ok(Opened::File(Input::plain(file))),
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            Err(e) => return Err(ReadError::open(path, e)),
        }
        let mut name = path.as_os_str().to_owned();
        name.push(".gz");
        let path = PathBuf::from(name);
        match File::open(&path) {
            Ok(file) => {
                let table = self
                    .numbered
                    .then(|| self.files.index_dir.join(format!("{number}.gz")));
                let input = Input::of(Raw::Gzip(file, table));
                Ok(Opened::File(input.map_err(|e| ReadError::read(&path, e))?))
            }
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(Opened::Gone { next: number + 1 }),
            Err(e) => Err(ReadError::open(&path, e)),
        }
    }

    fn open_in_spool(&self, number: u64) -> Result<Opened, ReadError> {
        if !self.numbered {
            return Ok(Opened::Gone { next: number + 1 });
        }
        self.open_name(&self.files.spool_dir.join(number.to_string()), number)
    }

    /// A file that rotation has taken out of the log.
    fn open_spooled(&self, number: u64, now: &Committed) -> Result<Opened, ReadError> {
        let first = if now.spool_oldest == 0 {
            now.oldest_file_no
        } else {
            now.spool_oldest.min(now.oldest_file_no)
        };
        if number < first {
            return Ok(Opened::Gone { next: first });
        }
        self.open_in_spool(number)
    }

    /// A segment keeps its number, so it is only looked for in each place and form.
    fn open_segment(&mut self, number: u64) -> Result<Opened, ReadError> {
        // Twice: it may be moved or compressed between one look and the next.
        for _ in 0..2 {
            for (folder, compressed) in [
                (&self.files.path, false),
                (&self.files.path, true),
                (&self.files.spool_dir, false),
                (&self.files.spool_dir, true),
            ] {
                let end = if compressed { ".seg.zst" } else { ".seg" };
                let path = folder.join(format!("{number}{end}"));
                let file = match File::open(&path) {
                    Ok(file) => file,
                    Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
                    Err(e) => return Err(ReadError::open(&path, e)),
                };
                let raw = if compressed {
                    Raw::Zstd(file)
                } else {
                    Raw::Plain(file)
                };
                let input = Input::of(raw).map_err(|e| ReadError::read(&path, e))?;
                return Ok(Opened::File(input));
            }
        }
        let (newest, oldest) = match self.committed() {
            Some(now) if now.spool_oldest == 0 => (now.file_no, now.oldest_file_no),
            Some(now) => (now.file_no, now.spool_oldest.min(now.oldest_file_no)),
            None => (self.base + 1, 0),
        };
        if number >= newest {
            return Ok(Opened::Future);
        }
        Ok(Opened::Gone {
            next: oldest.max(number + 1),
        })
    }

    /// Numbers of the existing files of a stopped container, newest first.
    pub(crate) fn list_stopped(&mut self) -> Result<Vec<u64>, ReadError> {
        if self.is_local() {
            let mut numbers = self.numbers_in(&self.files.path, b".seg")?;
            numbers.extend(self.numbers_in(&self.files.spool_dir, b".seg")?);
            numbers.sort_unstable();
            numbers.dedup();
            numbers.reverse();
            self.base = numbers.first().copied().unwrap_or(0);
            return Ok(numbers);
        }
        let path = &self.files.path;
        let folder = path.parent().unwrap_or(path);
        let prefix: OsString = path.file_name().unwrap_or_default().to_owned();
        let list_error = |source| ReadError::List {
            path: folder.to_owned(),
            source,
        };
        let entries = match std::fs::read_dir(folder) {
            Ok(entries) => entries,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(e) => return Err(list_error(e)),
        };
        let mut numbers = Vec::new();
        for entry in entries {
            let name = entry.map_err(list_error)?.file_name().into_vec();
            let Some(rest) = name.strip_prefix(prefix.as_bytes()) else {
                continue;
            };
            let index = match rest {
                [] => 0,
                [b'.', b'1'..=b'9', ..] => {
                    let digits = rest[1..].strip_suffix(b".gz").unwrap_or(&rest[1..]);
                    match std::str::from_utf8(digits).map(str::parse::<u64>) {
                        Ok(Ok(index)) => index,
                        _ => continue,
                    }
                }
                _ => continue,
            };
            if index == 0 || index < u64::from(self.files.max_file) {
                numbers.push(index);
            }
        }
        numbers.sort_unstable();
        numbers.dedup();
        let oldest = numbers.last().copied().unwrap_or(0);
        if oldest >= self.base {
            // Files from before the count began: every number moves up to make room for them.
            self.base = oldest + 1;
            self.numbered = false;
        }
        let base = self.base;
        let mut numbers: Vec<u64> = numbers.into_iter().map(|index| base - index).collect();
        if self.numbered {
            let oldest = numbers.last().copied().unwrap_or(base + 1);
            let mut spooled = self.numbers_in(&self.files.spool_dir, b"")?;
            spooled.sort_unstable();
            spooled.dedup();
            numbers.extend(spooled.into_iter().rev().filter(|n| *n < oldest));
        }
        Ok(numbers)
    }

    /// Numbers of the files `<number><end>` of a folder, compressed ones too.
    fn numbers_in(&self, folder: &Path, end: &[u8]) -> Result<Vec<u64>, ReadError> {
        let list_error = |source| ReadError::List {
            path: folder.to_owned(),
            source,
        };
        let entries = match std::fs::read_dir(folder) {
            Ok(entries) => entries,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(e) => return Err(list_error(e)),
        };
        let compressed: &[u8] = if self.is_local() { b".zst" } else { b".gz" };
        let mut numbers = Vec::new();
        for entry in entries {
            let name = entry.map_err(list_error)?.file_name().into_vec();
            let name = name.strip_suffix(compressed).unwrap_or(&name);
            if let Some(digits @ [b'1'..=b'9', ..]) = name.strip_suffix(end)
                && let Ok(text) = std::str::from_utf8(digits)
                && let Ok(number) = text.parse()
            {
                numbers.push(number);
            }
        }
        Ok(numbers)
    }
}

/// Waits a moment at a time: first only for the processor, then in milliseconds.
struct Wait {
    tries: u32,
    end: Instant,
}

impl Wait {
    fn new() -> Self {
        Self {
            tries: 0,
            end: Instant::now() + PATIENCE,
        }
    }

    /// `false` when it has been long enough.
    fn again(&mut self) -> bool {
        self.tries += 1;
        if self.tries <= 20 {
            std::thread::yield_now();
            return true;
        }
        std::thread::sleep(Duration::from_millis(1));
        Instant::now() < self.end
    }
}
