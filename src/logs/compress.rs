//! Compression of closed log files (decision 12): one file at a time, on a thread that gets only
//! what nobody else wants of processor and disk. The result is written to the container's `tmp/`
//! and synced; then the monitor takes it in the plain file's place, or this thread does under the
//! container's lock when none runs. Whatever is cut off leaves the plain file as it was.

use std::collections::HashMap;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use taffrail_log::{Codec, CommitSource as _, Compressed, compress};
use taffrail_log_core::side::{ENTRY, Header};
use tokio::runtime::Handle;

use crate::container::Container;
use crate::daemon::Daemon;

/// How often the thread looks for closed files.
const PERIOD: Duration = Duration::from_secs(1);
/// How long a rotation is waited for.
const PATIENCE: Duration = Duration::from_secs(5);
/// A container whose file could not be compressed is left alone for so long.
const PAUSE: Duration = Duration::from_secs(60);

/// Starts the thread; it ends with the daemon.
pub(super) fn start(daemon: &Arc<Daemon>) {
    let (daemon, runtime) = (Arc::downgrade(daemon), Handle::current());
    let spawned = std::thread::Builder::new()
        .name("log-compress".to_owned())
        .spawn(move || run(&daemon, &runtime));
    if let Err(error) = spawned {
        tracing::error!(%error, "closed log files stay plain: no thread for their compression");
    }
}

fn run(daemon: &Weak<Daemon>, runtime: &Handle) {
    be_idle();
    let mut seen: HashMap<String, Seen> = HashMap::new();
    loop {
        {
            let Some(daemon) = daemon.upgrade() else {
                return;
            };
            let containers = daemon.containers.all();
            seen.retain(|id, _| containers.iter().any(|c| c.id == *id));
            for container in containers {
                pass(&daemon, runtime, &container, &mut seen);
            }
        }
        std::thread::sleep(PERIOD);
    }
}

/// What was looked at already.
struct Seen {
    /// The current file then; `None`: the container did not run.
    current: Option<u64>,
    again: Option<Instant>,
}

/// Compresses what one container has closed since the last time.
fn pass(
    daemon: &Arc<Daemon>,
    runtime: &Handle,
    container: &Container,
    seen: &mut HashMap<String, Seen>,
) {
    if !container.compresses() {
        return;
    }
    let live = container.capture().and_then(|capture| capture.committed());
    if live.as_ref().is_some_and(|c| c.done || c.rotating) {
        // In a moment it does not run any more, or has one more closed file.
        return;
    }
    let current = live.as_ref().map(|c| c.file_no);
    match seen.get(&container.id) {
        None => clear(&container.dir().join("tmp")),
        Some(seen) if seen.again.is_some_and(|again| Instant::now() < again) => return,
        Some(seen) if seen.current == current && seen.again.is_none() => return,
        Some(_) => {}
    }
    let mut again = None;
    for file in closed(container, current) {
        match replace(daemon, runtime, container, &file) {
            Ok(Some(done)) => {
                let counters = &daemon.log_counters;
                counters
                    .compressed_from
                    .fetch_add(done.plain_bytes, Ordering::Relaxed);
                counters
                    .compressed_to
                    .fetch_add(done.compressed_bytes, Ordering::Relaxed);
            }
            // Rotated away meanwhile, or removed.
            Ok(None) => {}
            Err(error) => {
                daemon
                    .log_counters
                    .compress_failures
                    .fetch_add(1, Ordering::Relaxed);
                tracing::warn!(container = container.id, path = %file.plain.display(), %error, "a closed log file stays plain for now");
                again = Some(Instant::now() + PAUSE);
                break;
            }
        }
    }
    seen.insert(container.id.clone(), Seen { current, again });
}

/// A closed file that is not compressed.
struct Closed {
    /// `None` for an old json-file log whose numbers nobody knows.
    number: Option<u64>,
    plain: PathBuf,
    packed: PathBuf,
    codec: Codec,
}

/// The closed plain files of a container, oldest first.
fn closed(container: &Container, current: Option<u64>) -> Vec<Closed> {
    if container.logs_to_segments() {
        segments(&container.segments_dir(), current)
    } else {
        let current = current.or_else(|| number_of(&container.log_path(), &container.index_dir()));
        rotated(&container.log_path(), current)
    }
}

fn segments(dir: &Path, current: Option<u64>) -> Vec<Closed> {
    let (mut plain, mut newest) = (Vec::new(), 0);
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        let (number, kind) = name.split_once('.').unwrap_or((&name, ""));
        let Ok(number) = number.parse::<u64>() else {
            continue;
        };
        newest = newest.max(number);
        if kind == "seg" {
            plain.push(number);
        }
    }
    let current = current.unwrap_or(newest);
    plain.sort_unstable();
    let closed = plain.into_iter().filter(|number| *number < current);
    closed
        .map(|number| Closed {
            number: Some(number),
            plain: dir.join(format!("{number}.seg")),
            packed: dir.join(format!("{number}.seg.zst")),
            codec: Codec::Zstd,
        })
        .collect()
}

fn rotated(log: &Path, current: Option<u64>) -> Vec<Closed> {
    let name = log.file_name().unwrap_or_default().to_string_lossy();
    let mut generations = Vec::new();
    let dir = log.parent().unwrap_or(log);
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let found = entry.file_name();
        let found = found.to_string_lossy();
        let generation = found
            .strip_prefix(&*name)
            .and_then(|rest| rest.strip_prefix('.'));
        if let Some(generation @ 1..) = generation.and_then(|g| g.parse::<u64>().ok()) {
            generations.push(generation);
        }
    }
    generations.sort_unstable();
    let with = |end: String| dir.join(format!("{name}.{end}"));
    let closed = generations.into_iter().rev();
    closed
        .map(|generation| Closed {
            number: current.and_then(|current| current.checked_sub(generation)),
            plain: with(generation.to_string()),
            packed: with(format!("{generation}.gz")),
            codec: Codec::Gzip,
        })
        .collect()
}

/// Number of a stopped container's current json-file log, if its side file is there.
fn number_of(log: &Path, index: &Path) -> Option<u64> {
    let inode = fs::metadata(log).ok()?.ino();
    let numbers = fs::read_dir(index).ok()?.flatten();
    let newest = numbers
        .filter_map(|entry| entry.file_name().to_str()?.parse::<u64>().ok())
        .max()?;
    let mut head = [0; ENTRY];
    io::Read::read_exact(
        &mut File::open(index.join(newest.to_string())).ok()?,
        &mut head,
    )
    .ok()?;
    let header = Header::decode(&head)?;
    (header.inode == inode && header.file_no == newest).then_some(newest)
}

/// Compresses a file and puts the result in its place. `None`: it went away meanwhile.
fn replace(
    daemon: &Arc<Daemon>,
    runtime: &Handle,
    container: &Container,
    file: &Closed,
) -> io::Result<Option<Compressed>> {
    let Some(input) = open(container, file)? else {
        return Ok(None);
    };
    let tmp = container.dir().join("tmp");
    let made = DirBuilder::new().mode(0o700).create(&tmp);
    if let Err(error) = made
        && error.kind() != io::ErrorKind::AlreadyExists
    {
        return Err(error);
    }
    let key = file
        .number
        .map_or_else(|| "old".to_owned(), |n| n.to_string());
    let end = match file.codec {
        Codec::Zstd => "zst",
        Codec::Gzip => "gz",
    };
    let path = tmp.join(format!("{key}.{end}"));
    let done = pack(daemon, container, file, &input, &path);
    let published = match &done {
        Ok(Some(_)) => publish(runtime, container, file, &input, &path),
        Ok(None) => Ok(false),
        Err(error) => Err(io::Error::new(error.kind(), error.to_string())),
    };
    // Where it was taken, there is nothing to remove.
    let _ = fs::remove_file(&path);
    Ok(if published? { done? } else { None })
}

/// Opens the file that has the number now, whatever its name was when it was found: a rotation
/// renames all files of a json-file log, and one file's contents must never take another's place.
/// `None`: it is gone, is compressed, or its number is not known while the container runs.
fn open(container: &Container, file: &Closed) -> io::Result<Option<File>> {
    let end = Instant::now() + PATIENCE;
    loop {
        let capture = container.capture();
        let before = capture.as_ref().and_then(|capture| capture.committed());
        let path = match (&before, file.number) {
            // Nobody renames anything.
            (None, _) if capture.is_none() => file.plain.clone(),
            // Nothing is known of its names.
            (None, _) | (Some(_), None) => return Ok(None),
            (Some(now), Some(number)) if number >= now.file_no => return Ok(None),
            (Some(now), Some(number)) => container.log_file_path(now.file_no, number),
        };
        let opened = File::open(path);
        // Names are those of before the open if no run and no rotation began or ended since.
        let capture = container.capture();
        let after = capture.as_ref().and_then(|capture| capture.committed());
        let same = match (&before, &after) {
            (None, _) => capture.is_none(),
            (Some(a), Some(b)) => !a.rotating && !b.rotating && a.file_no == b.file_no,
            (Some(_), None) => false,
        };
        if same {
            return match opened {
                Ok(input) => Ok(is_numbered(container, file, &input)?.then_some(input)),
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
                Err(error) => Err(error),
            };
        }
        if Instant::now() > end {
            return Err(io::ErrorKind::ResourceBusy.into());
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Whether a file is the one that its number's side file tells of. One without a side file is
/// believed.
fn is_numbered(container: &Container, file: &Closed, input: &File) -> io::Result<bool> {
    let Some(number) = file.number else {
        return Ok(true);
    };
    let mut head = [0; ENTRY];
    let index = container.index_dir().join(number.to_string());
    let read = File::open(index).and_then(|mut f| io::Read::read_exact(&mut f, &mut head));
    let header = read.ok().and_then(|()| Header::decode(&head));
    let inode = input.metadata()?.ino();
    Ok(header.is_none_or(|h| h.file_no == number && h.inode == inode))
}

/// Writes the compressed form to `path`, on the disk when this returns. `None`: nobody wants it.
fn pack(
    daemon: &Arc<Daemon>,
    container: &Container,
    file: &Closed,
    input: &File,
    path: &Path,
) -> io::Result<Option<Compressed>> {
    let length = input.metadata()?.len();
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o640);
    // Under its name a monitor finds it whole, also one that answers a request of long ago.
    let mut part = path.as_os_str().to_owned();
    part.push(".part");
    let part = PathBuf::from(part);
    let output = options.open(&part)?;
    let mut wanted = |_| daemon.check_not_ending().is_ok() && container.dir().exists();
    let done = compress(file.codec, input, length, &output, &mut wanted)
        .and_then(|done| output.sync_all().map(|()| done));
    let Ok(Some(done)) = done else {
        let _ = fs::remove_file(&part);
        return done;
    };
    fs::rename(part, path)?;
    if let Some(number) = file.number
        && !done.table.is_empty()
        && let Err(error) = fs::write(
            container.index_dir().join(format!("{number}.gz")),
            &done.table,
        )
    {
        // Readers make it anew.
        tracing::debug!(container = container.id, %error, "table of a compressed log file cannot be written");
    }
    Ok(Some(done))
}

/// Puts the file at `path` in the plain one's place. False: that one is gone.
fn publish(
    runtime: &Handle,
    container: &Container,
    file: &Closed,
    input: &File,
    path: &Path,
) -> io::Result<bool> {
    let result = match (container.capture(), file.number) {
        (Some(capture), Some(number)) => runtime.block_on(capture.publish(number)),
        (Some(_), None) => return Ok(false),
        (None, _) => {
            // A start would rotate, and a remove takes everything.
            let Some(_verb) = container.try_verb() else {
                return Err(io::ErrorKind::ResourceBusy.into());
            };
            if container.capture().is_some() {
                return Err(io::ErrorKind::ResourceBusy.into());
            }
            put(file, input, path)
        }
    };
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        result => result.map(|()| true),
    }
}

fn put(file: &Closed, input: &File, path: &Path) -> io::Result<()> {
    let (old, now) = (input.metadata()?, fs::metadata(&file.plain)?);
    if (old.dev(), old.ino()) != (now.dev(), now.ino()) {
        return Err(io::ErrorKind::NotFound.into());
    }
    fs::rename(path, &file.packed)?;
    if let Some(dir) = file.packed.parent() {
        File::open(dir)?.sync_all()?;
    }
    fs::remove_file(&file.plain)
}

/// Removes what an earlier daemon has left in the middle of its work.
fn clear(tmp: &Path) {
    for entry in fs::read_dir(tmp).into_iter().flatten().flatten() {
        // It is written over if it is still there.
        let _ = fs::remove_file(entry.path());
    }
}

/// Takes only processor and disk time that nobody else wants; where the kernel refuses, the
/// thread works as any other.
fn be_idle() {
    const IDLE_CLASS: libc::c_int = 3 << 13;
    const THIS_PROCESS: libc::c_int = 1;
    let param = libc::sched_param { sched_priority: 0 };
    // SAFETY: both calls take integers and a pointer to a whole `sched_param`, and concern the
    // calling thread only.
    unsafe {
        libc::sched_setscheduler(0, libc::SCHED_IDLE, &raw const param);
        libc::syscall(libc::SYS_ioprio_set, THIS_PROCESS, 0, IDLE_CLASS);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(found: Vec<Closed>) -> Vec<(Option<u64>, String)> {
        let name = |c: &Closed| c.packed.file_name().unwrap().to_string_lossy().into_owned();
        found.iter().map(|c| (c.number, name(c))).collect()
    }

    #[test]
    fn closed_plain_files_are_found() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["1.seg.zst", "2.seg", "10.seg", "11.seg", "x", "12.seg.tmp"] {
            fs::write(dir.path().join(name), "").unwrap();
        }
        let expected = [
            (Some(2), "2.seg.zst".to_owned()),
            (Some(10), "10.seg.zst".to_owned()),
        ];
        assert_eq!(names(segments(dir.path(), Some(11))), expected);

        let log = dir.path().join("a-json.log");
        for name in [
            "a-json.log",
            "a-json.log.1",
            "a-json.log.2.gz",
            "a-json.log.10",
        ] {
            fs::write(dir.path().join(name), "").unwrap();
        }
        let expected = [
            (Some(2), "a-json.log.10.gz".to_owned()),
            (Some(11), "a-json.log.1.gz".to_owned()),
        ];
        assert_eq!(names(rotated(&log, Some(12))), expected);
        assert_eq!(names(rotated(&log, None))[1].0, None);
        assert_eq!(number_of(&log, &dir.path().join("index")), None);
    }

    /// The calling thread alone is slowed down.
    #[test]
    fn idle_is_of_the_thread() {
        let scheduler = || {
            // SAFETY: takes an integer only.
            unsafe { libc::sched_getscheduler(0) }
        };
        std::thread::spawn(move || {
            be_idle();
            assert_eq!(scheduler(), libc::SCHED_IDLE);
        })
        .join()
        .unwrap();
        assert_ne!(scheduler(), libc::SCHED_IDLE);
    }
}
