//! A container's log on the disk, for the work on logs (`src/logs/`): where its files are, who
//! needs them, how much of the spool it may take.

use std::path::PathBuf;
use std::sync::Arc;

use super::{Container, log_config};
use crate::logs::Holds;
use crate::supervisor::Capture;

impl Container {
    /// Who still needs which files of the log.
    pub(crate) fn holds(&self) -> &Arc<Holds> {
        &self.holds
    }

    /// The capture of the present run, also while its exit is being handled.
    pub(crate) fn capture(&self) -> Option<Arc<Capture>> {
        self.inner().capture.clone()
    }

    /// Keeps the container from being started or removed; `None` while somebody does.
    pub(crate) fn try_verb(&self) -> Option<tokio::sync::MutexGuard<'_, ()>> {
        self.verb.try_lock().ok()
    }

    /// Folder of files past the log's own retention that somebody still has to read.
    pub(crate) fn spool_dir(&self) -> PathBuf {
        self.dir.join("spool")
    }

    /// Folder of a `local` log.
    pub(crate) fn segments_dir(&self) -> PathBuf {
        self.dir.join("local-logs")
    }

    /// `max-spool-size`.
    pub(crate) fn max_spool_size(&self) -> u64 {
        self.upkeep().max_spool_size
    }

    /// `compress`.
    pub(crate) fn compresses(&self) -> bool {
        self.upkeep().compress
    }

    /// `cache-disabled`: `logs` has nothing to read.
    pub(super) fn is_unread(&self) -> bool {
        self.upkeep().unread
    }

    fn upkeep(&self) -> log_config::Upkeep {
        *self
            .upkeep
            .get_or_init(|| log_config::upkeep(&self.record()))
    }

    /// Whether the log is of the format `local`.
    pub(crate) fn logs_to_segments(&self) -> bool {
        let inner = self.inner();
        let log = inner.record.log.as_ref();
        log.is_some_and(|log| log.format == super::state::LogFormat::Local)
    }

    /// Path of log file `number` while file `current` is the newest.
    pub(crate) fn log_file_path(&self, current: u64, number: u64) -> PathBuf {
        if self.logs_to_segments() {
            return self.segments_dir().join(format!("{number}.seg"));
        }
        match current.saturating_sub(number) {
            0 => self.log_path(),
            old => {
                let mut path = self.log_path().into_os_string();
                path.push(format!(".{old}"));
                path.into()
            }
        }
    }
}
