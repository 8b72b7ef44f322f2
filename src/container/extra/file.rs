//! The files of a container's extra streams: `extra/log`, and `extra/log.1` before it.
//!
//! A record is pushed, which never blocks, and written by whoever flushes, on a thread for that. Records
//! lie in one order, that of their times. A daemon that is killed in the middle of a write leaves a torn
//! last line, which costs that line. What cannot be written is counted, and said in the next record.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use super::record::Record;
use crate::container::time;
use crate::metrics::{Counter, Text};

/// Bytes at which the file is renamed to `log.1`, in place of the one before: at most twice as many
/// lie on the disk, and one record.
const MAX_FILE: u64 = 1 << 20;
/// Bytes that wait to be written, at most; what comes on top is missing.
const MAX_WAITING: usize = 1 << 20;

/// Bytes that could not be kept, of all containers.
static MISSING: Counter = Counter::new();

/// Writes the family `taffrail_extra_missing_bytes_total`.
pub(crate) fn metrics(text: &mut Text) {
    text.counter(
        "taffrail_extra_missing_bytes_total",
        "Bytes of extra streams (exec, health, events) that could not be kept.",
    )
    .value(MISSING.get());
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Extra {
    dir: PathBuf,
    waiting: Mutex<Waiting>,
    /// Held while files are written or read.
    files: Mutex<Files>,
    /// Counts pushes, for those who follow.
    changed: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct Waiting {
    records: Vec<Record>,
    bytes: usize,
    last_ns: i64,
    missing: u64,
}

#[derive(Debug, Default)]
struct Files {
    current: Option<File>,
    size: u64,
    /// Counts renames.
    generation: u64,
}

/// Where somebody has read to.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Place {
    generation: u64,
    offset: u64,
    last_ns: Option<i64>,
}

impl Extra {
    /// Of the container in this folder. Nothing is made before there is a record.
    pub(crate) fn new(container_dir: &Path) -> Arc<Self> {
        Arc::new(Self {
            dir: container_dir.join("extra"),
            waiting: Mutex::default(),
            files: Mutex::default(),
            changed: watch::channel(0).0,
        })
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        // Plain values, consistent after every statement.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn path(&self) -> PathBuf {
        self.dir.join("log")
    }

    fn before(&self) -> PathBuf {
        self.dir.join("log.1")
    }

    /// Takes records, whose times are set here. [`Extra::flush`] writes them.
    pub(super) fn push(&self, records: impl IntoIterator<Item = Record>) {
        let mut waiting = self.waiting();
        for mut record in records {
            if waiting.bytes + record.bytes.len() > MAX_WAITING {
                waiting.missing += record.bytes.len() as u64;
                MISSING.add(record.bytes.len() as u64);
                continue;
            }
            record.time_ns = time::now_ns().max(waiting.last_ns + 1);
            record.missing = std::mem::take(&mut waiting.missing);
            waiting.last_ns = record.time_ns;
            waiting.bytes += record.bytes.len();
            waiting.records.push(record);
        }
        drop(waiting);
        self.changed.send_modify(|n| *n += 1);
    }

    /// Whoever follows is told of each push.
    pub(super) fn subscribe(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// Writes what waits. Blocking.
    pub(super) fn flush(&self) {
        let mut files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        let records = {
            let mut waiting = self.waiting();
            waiting.bytes = 0;
            std::mem::take(&mut waiting.records)
        };
        if records.is_empty() {
            return;
        }
        let mut lost = 0;
        let mut failure = None;
        for record in &records {
            if let Err(error) = self.append(&mut files, record) {
                lost += record.bytes.len() as u64 + record.missing;
                failure = Some(error);
                // It is opened anew, so that what is torn gets its end.
                files.current = None;
            }
        }
        if let Some(error) = failure {
            MISSING.add(lost);
            self.waiting().missing += lost;
            // A container that is gone takes its files along.
            if error.kind() != io::ErrorKind::NotFound {
                tracing::warn!(dir = %self.dir.display(), %error, bytes = lost, "extra streams cannot be written");
            }
        }
    }

    fn append(&self, files: &mut Files, record: &Record) -> io::Result<()> {
        if files.size >= MAX_FILE && files.current.take().is_some() {
            fs::rename(self.path(), self.before())?;
            files.generation += 1;
        }
        if files.current.is_none() {
            let (file, size) = self.open()?;
            (files.current, files.size) = (Some(file), size);
        }
        let mut line = Vec::new();
        record.write(&mut line);
        if let Some(file) = &mut files.current {
            file.write_all(&line)?;
            files.size += line.len() as u64;
        }
        Ok(())
    }

    /// The current file with a whole last line.
    fn open(&self) -> io::Result<(File, u64)> {
        match fs::DirBuilder::new().mode(0o700).create(&self.dir) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        let mut file = OpenOptions::new()
            .read(true)
            .append(true)
            .create(true)
            .mode(0o600)
            .open(self.path())?;
        let mut size = file.metadata()?.len();
        let mut last = [b'\n'];
        if size > 0 {
            file.read_exact_at(&mut last, size - 1)?;
        }
        if last != *b"\n" {
            file.write_all(b"\n")?;
            size += 1;
        }
        Ok((file, size))
    }

    /// Records behind a place, oldest first, and moves the place. Blocking; writes first what waits.
    /// What is damaged is passed over.
    pub(super) fn read(&self, place: &mut Place) -> Vec<Record> {
        self.flush();
        let files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        let mut text = Vec::new();
        let same = place.last_ns.is_some() && place.generation == files.generation;
        let from = if same { place.offset } else { 0 };
        if !same {
            read_from(&self.before(), 0, &mut text);
        }
        place.offset = from + read_from(&self.path(), from, &mut text);
        place.generation = files.generation;
        drop(files);
        let last = place.last_ns;
        let records: Vec<Record> = text
            .split(|byte| *byte == b'\n')
            .filter_map(Record::read)
            .filter(|record| last.is_none_or(|last| record.time_ns > last))
            .collect();
        let newest = records.iter().map(|record| record.time_ns).max();
        place.last_ns = newest.or(last).or(Some(i64::MIN));
        records
    }
}

/// Appends a file from an offset on; how many bytes there were. What cannot be read is not there.
fn read_from(path: &Path, offset: u64, out: &mut Vec<u8>) -> u64 {
    let mut read = || -> io::Result<usize> {
        let mut file = File::open(path)?;
        file.seek(SeekFrom::Start(offset))?;
        // Whole files are written, so nothing grows without end meanwhile.
        file.take(4 * MAX_FILE).read_to_end(out)
    };
    read().unwrap_or(0) as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use taffrail_config::ExtraStream;

    fn record(text: &str) -> Record {
        Record {
            time_ns: 0,
            stream: ExtraStream::Exec,
            run: 1,
            exec: "id".to_owned(),
            stderr: false,
            bytes: text.as_bytes().to_vec(),
            missing: 0,
        }
    }

    fn texts(records: &[Record]) -> Vec<String> {
        let text = |r: &Record| String::from_utf8(r.bytes.clone()).unwrap();
        records.iter().map(text).collect()
    }

    #[test]
    fn kept_over_daemons_and_torn_ends() {
        let dir = tempfile::tempdir().unwrap();
        let extra = Extra::new(dir.path());
        assert!(extra.read(&mut Place::default()).is_empty());
        assert!(!dir.path().join("extra").exists());
        let mut place = Place::default();
        extra.push([record("a\n"), record("b\n")]);
        assert_eq!(texts(&extra.read(&mut place)), ["a\n", "b\n"]);
        assert!(extra.read(&mut place).is_empty());
        extra.push([record("c\n")]);
        assert_eq!(texts(&extra.read(&mut place)), ["c\n"]);
        // Killed in the middle of a line.
        let path = dir.path().join("extra/log");
        let mut whole = fs::read(&path).unwrap();
        whole.truncate(whole.len() - 5);
        fs::write(&path, &whole).unwrap();
        let extra = Extra::new(dir.path());
        extra.push([record("d\n")]);
        let all = extra.read(&mut Place::default());
        assert_eq!(texts(&all), ["a\n", "b\n", "d\n"]);
        assert!(all.windows(2).all(|w| w[0].time_ns < w[1].time_ns));
    }

    #[test]
    fn space_is_bounded_and_readers_miss_nothing_at_a_rename() {
        let dir = tempfile::tempdir().unwrap();
        let extra = Extra::new(dir.path());
        let (mut place, mut seen) = (Place::default(), 0);
        let long = "x".repeat(10_000);
        for n in 0..400 {
            extra.push([record(&format!("{n} {long}\n"))]);
            for text in texts(&extra.read(&mut place)) {
                assert!(text.starts_with(&format!("{seen} ")));
                seen += 1;
            }
        }
        assert_eq!(seen, 400);
        let sizes = fs::read_dir(dir.path().join("extra")).unwrap();
        let sum: u64 = sizes.map(|e| e.unwrap().metadata().unwrap().len()).sum();
        assert!(sum < 2 * MAX_FILE + 50_000, "{sum}");
    }

    #[test]
    fn what_finds_no_room_is_said() {
        let dir = tempfile::tempdir().unwrap();
        let extra = Extra::new(dir.path());
        let half = "x".repeat(MAX_WAITING / 2);
        extra.push([record(&half), record(&half), record("gone")]);
        extra.flush();
        extra.push([record("next")]);
        let all = extra.read(&mut Place::default());
        assert_eq!(all.last().unwrap().missing, 4);
        // A folder that is gone: nothing is made anew, nothing fails.
        fs::remove_dir_all(dir.path()).unwrap();
        let extra = Extra::new(dir.path());
        extra.push([record("late")]);
        extra.flush();
        assert!(!dir.path().exists());
    }
}
