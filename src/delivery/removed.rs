//! Logs of containers that were removed before everything was delivered: `<data-root>/spool/<id>`.

use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use taffrail_log::LogFiles;

use super::{Delivery, Sink, Subject};

/// `max-spool-age` of a removed container that has none of its own.
pub(super) const MAX_AGE: Duration = Duration::from_secs(24 * 60 * 60);

/// A removed container's log.
#[derive(Debug)]
pub(crate) struct Kept {
    dir: PathBuf,
    name: String,
    removed_ns: i64,
}

/// What can be told of one.
#[derive(Debug)]
pub(crate) struct KeptLog {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) removed_ns: i64,
    pub(crate) bytes: u64,
    pub(crate) sinks: Vec<Arc<Sink>>,
}

fn kept_files(files: &LogFiles, from: &Path, to: &Path) -> LogFiles {
    let moved = |path: &Path| match path.strip_prefix(from) {
        Ok(rest) => to.join(rest),
        Err(_) => path.to_owned(),
    };
    LogFiles {
        path: moved(&files.path),
        index_dir: moved(&files.index_dir),
        spool_dir: moved(&files.spool_dir),
        ..files.clone()
    }
}

impl Delivery {
    /// Whether a container that ended has records that are not delivered.
    pub(crate) fn has_undelivered(&self, container: &str) -> bool {
        let sinks = self.sinks_of(container);
        sinks.iter().any(|sink| !sink.is_finished())
    }

    /// The container is removed with all its records: nothing more is sent.
    pub(crate) fn forget(&self, container: &str) {
        if let Some(sinks) = self.sinks().remove(container) {
            for sink in sinks {
                sink.close();
            }
        }
    }

    /// Takes the folder of a container that is being removed; its log goes on being delivered from
    /// there.
    ///
    /// # Errors
    /// It cannot be moved; it then still is where it was.
    pub(crate) fn keep(&self, id: &str, name: &str, dir: &Path) -> std::io::Result<()> {
        std::fs::create_dir_all(&self.spool)?;
        let to = self.spool.join(id);
        let sinks = self.sinks_of(id);
        {
            // Nobody opens a file of the log while it moves.
            let mut feeds: Vec<_> = sinks.iter().map(|sink| sink.feed()).collect();
            std::fs::rename(dir, &to)?;
            for feed in &mut feeds {
                let files = kept_files(feed.files(), dir, &to);
                feed.move_to(files);
            }
        }
        clear(&to, id);
        self.note_kept(id, name, to);
        for sink in sinks {
            sink.set_removed(MAX_AGE);
            sink.wake();
        }
        Ok(())
    }

    fn note_kept(&self, id: &str, name: &str, dir: PathBuf) {
        // Nothing is made or removed in the folder itself after it was taken.
        let taken = std::fs::metadata(&dir).and_then(|meta| meta.modified());
        let since = taken
            .ok()
            .and_then(|at| at.duration_since(std::time::UNIX_EPOCH).ok());
        let kept = Kept {
            dir,
            name: name.to_owned(),
            removed_ns: since.map_or_else(crate::container::time::now_ns, |since| {
                i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
            }),
        };
        self.kept
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(id.to_owned(), kept);
    }

    /// A log that a daemon before this one has kept.
    pub(crate) fn resume_kept(&self, subject: &Subject<'_>) {
        let sinks = self.prepare(subject, true);
        if sinks.len() < subject.validated.sinks().len() {
            // Said by then. What cannot be sent now is not thrown away for it.
            return;
        }
        self.note_kept(subject.facts.id, subject.facts.name, subject.dir.to_owned());
        for sink in sinks {
            sink.wake();
        }
    }

    /// Where such logs lie.
    pub(crate) fn kept_dir(&self) -> &Path {
        &self.spool
    }

    /// All that are kept.
    pub(crate) fn kept_logs(&self) -> Vec<KeptLog> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let mut all: Vec<_> = kept
            .iter()
            .map(|(id, kept)| KeptLog {
                id: id.clone(),
                name: kept.name.clone(),
                removed_ns: kept.removed_ns,
                bytes: tree_bytes(&kept.dir),
                sinks: self.sinks_of(id),
            })
            .collect();
        all.sort_by_key(|one| one.removed_ns);
        all
    }

    /// Gives a removed container's log up. `None`: there is none of that id.
    pub(crate) fn drop_kept(&self, id: &str) -> Option<std::io::Result<()>> {
        let lock = || self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let dir = lock().get(id)?.dir.clone();
        self.forget(id);
        let removed = std::fs::remove_dir_all(&dir);
        lock().remove(id);
        Some(removed)
    }

    /// Bytes of all that are kept, after the largest ones were given up that are more than `bound`
    /// together.
    pub(crate) fn bound_kept(&self, bound: u64) -> u64 {
        let mut logs = self.kept_logs();
        let mut sum: u64 = logs.iter().map(|log| log.bytes).sum();
        logs.sort_by_key(|log| log.bytes);
        while sum > bound
            && let Some(log) = logs.pop()
        {
            let records: u64 = log.sinks.iter().filter_map(|s| s.figures().pending).sum();
            tracing::error!(
                container = log.id,
                bytes = log.bytes,
                records,
                "log of a removed container gives way, the spool is full"
            );
            if let Some(Err(error)) = self.drop_kept(&log.id) {
                tracing::warn!(container = log.id, %error, "it cannot be removed");
            }
            sum -= log.bytes;
        }
        sum
    }

    /// Removes what is delivered.
    pub(super) fn clear_kept(&self) {
        let done: Vec<String> = {
            let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
            kept.keys()
                .filter(|id| !self.has_undelivered(id))
                .cloned()
                .collect()
        };
        for id in done {
            let dropped: u64 = self.sinks_of(&id).iter().map(|s| s.figures().dropped).sum();
            match self.drop_kept(&id) {
                Some(Ok(())) => tracing::info!(
                    container = id,
                    dropped,
                    "log of a removed container is delivered"
                ),
                Some(Err(error)) => {
                    tracing::warn!(container = id, %error, "delivered log of a removed container cannot be removed")
                }
                None => {}
            }
        }
    }
}

/// Removes what delivery does not need: files of the container's own, its volumes.
fn clear(dir: &Path, id: &str) {
    const KEPT: [&str; 7] = [
        "state.json",
        super::cursor::FILE,
        "local-logs",
        "index",
        "spool",
        "tmp",
        "log-end",
    ];
    let json = format!("{id}-json.log");
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if KEPT.contains(&&*name) || name.starts_with(&json) {
            continue;
        }
        let path = entry.path();
        let is_dir = entry.file_type().is_ok_and(|kind| kind.is_dir());
        let removed = if is_dir {
            std::fs::remove_dir_all(&path)
        } else {
            std::fs::remove_file(&path)
        };
        if let Err(error) = removed {
            tracing::warn!(path = %path.display(), %error, "file of a removed container cannot be removed");
        }
    }
}

fn tree_bytes(dir: &Path) -> u64 {
    let mut sum = 0;
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        let Ok(meta) = entry.metadata() else { continue };
        sum += if meta.is_dir() {
            tree_bytes(&entry.path())
        } else {
            meta.len()
        };
    }
    sum
}
