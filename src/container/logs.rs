//! `logs`: a reader over the container's log, which waits for more without polling.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use taffrail_log::{
    CommitSource, Cursor, Format, LogFiles, LogFormat, Query, ReadStats, Reader, Step,
};

use super::{Container, Status};
use crate::daemon::Daemon;
use crate::errors::{ApiError, ErrorKind};
use crate::logs::{Hold, LogCounters};
use crate::supervisor::Capture;

/// Docker's answer where there is nothing to read.
const UNREADABLE: &str = "configured logging driver does not support reading";

/// A log being read. Blocking file reads run on threads for that.
pub(crate) struct LogStream {
    reader: Option<Reader>,
    capture: Option<Arc<Capture>>,
    container: Arc<Container>,
    counters: Arc<LogCounters>,
    /// Keeps files that are still to be read from being removed; only beside a live capture.
    hold: Option<Hold>,
    /// A stop of the container is not the end: its next run is waited for.
    over_restarts: bool,
    /// Commit that has been read to the end; more is waited for before the next read.
    caught_up: Option<u64>,
    /// Bytes of the last read.
    last_chunk: usize,
    /// What the counters know of the reader already.
    counted: ReadStats,
    /// The last record that was passed.
    cursor: Option<Cursor>,
}

impl std::fmt::Debug for LogStream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LogStream")
            .field("live", &self.capture.is_some())
            .field("caught_up", &self.caught_up)
            .finish_non_exhaustive()
    }
}

impl LogStream {
    /// The next formatted bytes, some 64 to 256 KiB or less; `None` at the end. While following it
    /// waits until there is something. Not cancel safe: a stream whose `next` was dropped midway
    /// is at its end.
    ///
    /// # Errors
    /// A log file cannot be read; the text is for the stream (`Error grabbing logs: ...`).
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>, ApiError> {
        loop {
            if let (Some(commit), Some(capture)) = (self.caught_up.take(), &self.capture) {
                // False means that the container has ended: the reader then finds the rest and
                // the end.
                capture.wait_commit(commit).await;
            }
            let Some(mut reader) = self.reader.take() else {
                return Ok(None);
            };
            let expected = self.last_chunk;
            let (reader, buffer, step) = tokio::task::spawn_blocking(move || {
                // A new one each time: a client that takes nothing must not cost a spare one. As
                // large as the last, as growing it costs more than reading.
                let mut buffer = Vec::with_capacity(expected);
                let step = reader.read(&mut buffer);
                (reader, buffer, step)
            })
            .await
            .map_err(|error| ApiError::system(format!("log reader ended: {error}")))?;
            self.note(&reader);
            let step = step.map_err(|error| {
                self.counters.read_failures.fetch_add(1, Ordering::Relaxed);
                ApiError::system(crate::errors::chain(&error))
            })?;
            match step {
                Step::Data => self.reader = Some(reader),
                Step::CaughtUp { commit } => {
                    self.reader = Some(reader);
                    self.caught_up = Some(commit);
                }
                Step::End => {
                    self.hold = None;
                    self.reader = self.next_run(reader).await;
                }
            }
            self.last_chunk = buffer.len();
            if !buffer.is_empty() {
                return Ok(Some(Bytes::from(buffer)));
            }
            if self.reader.is_none() {
                return Ok(None);
            }
        }
    }

    /// The last record that was passed, shown or not: what a later read goes on behind.
    pub(crate) fn cursor(&self) -> Option<Cursor> {
        self.cursor
    }

    /// Takes over what the reader says of itself.
    fn note(&mut self, reader: &Reader) {
        let position = reader.position();
        self.cursor = position.cursor.or(self.cursor);
        if let Some(hold) = &self.hold {
            hold.advance(position.file);
        }
        count(&self.counters, &mut self.counted, *reader.stats());
    }

    /// At the end of a run: waits for the next one, if that is wanted; `None` at the end of all.
    async fn next_run(&mut self, mut reader: Reader) -> Option<Reader> {
        if !self.over_restarts {
            return None;
        }
        let old = self.capture.take();
        let is_next =
            |capture: &Arc<Capture>| old.as_ref().is_none_or(|o| !Arc::ptr_eq(o, capture));
        self.container
            .wait_until(|inner| {
                let over = inner.gone || inner.record.state.status == Status::Removing;
                over || inner.capture.as_ref().is_some_and(is_next)
            })
            .await;
        let capture = self.container.capture().filter(is_next)?;
        self.hold = Some(self.container.holds().begin(reader.position().file));
        reader.next_run(capture.source());
        self.capture = Some(capture);
        Some(reader)
    }
}

/// Adds to the counters what has come since the last time.
fn count(counters: &LogCounters, before: &mut ReadStats, now: ReadStats) {
    let add = |counter: &std::sync::atomic::AtomicU64, now: u64, before: u64| {
        if now > before {
            counter.fetch_add(now - before, Ordering::Relaxed);
        }
    };
    add(&counters.damaged_skipped, now.damaged, before.damaged);
    add(
        &counters.missed_by_followers,
        now.missed_records,
        before.missed_records,
    );
    *before = now;
}

impl Daemon {
    /// Opens the container's log. Following ends at once if the container does not run, unless
    /// its restarts are followed, too.
    ///
    /// # Errors
    /// 501 if the log driver keeps no log here, 409 while the container is being removed, 500 if
    /// the log cannot be opened.
    pub(crate) async fn logs(
        &self,
        container: &Arc<Container>,
        mut query: Query,
        format: Format,
        over_restarts: bool,
    ) -> Result<LogStream, ApiError> {
        let files = container.log_files()?;
        let capture = container.capture();
        query.follow &= capture.is_some();
        let mut stream = LogStream {
            reader: None,
            capture,
            container: Arc::clone(container),
            counters: Arc::clone(&self.log_counters),
            hold: None,
            over_restarts,
            caught_up: None,
            last_chunk: 0,
            counted: ReadStats::default(),
            cursor: query.after,
        };
        let source: Option<Arc<dyn CommitSource>> = stream.capture.as_ref().map(|c| c.source());
        // Before a place is looked for, all of it is held; a moment later only what is needed.
        stream.hold = source.is_some().then(|| container.holds().begin(0));
        let missing = source.is_none() && !files.path.exists();
        if missing && !over_restarts {
            // Never started: there is no log and that is not an error.
            return Ok(stream);
        }
        let reader =
            tokio::task::spawn_blocking(move || Reader::open(files, query, format, source))
                .await
                .map_err(|error| ApiError::system(format!("log reader ended: {error}")))?
                .map_err(|error| {
                    let counters = &self.log_counters;
                    counters.read_failures.fetch_add(1, Ordering::Relaxed);
                    ApiError::system(crate::errors::chain(&error))
                })?;
        stream.note(&reader);
        stream.reader = Some(reader);
        Ok(stream)
    }
}

impl Container {
    /// Where the log is, for a reader.
    ///
    /// # Errors
    /// 409 while the container is being removed, 501 if there is nothing to be read.
    pub(crate) fn log_files(&self) -> Result<LogFiles, ApiError> {
        if self.is_unread() {
            return Err(ApiError::new(ErrorKind::NotImplemented, UNREADABLE));
        }
        let local = self.logs_to_segments();
        let path = if local {
            self.segments_dir()
        } else {
            self.log_path()
        };
        let inner = self.inner();
        // One that is dead because its capture is damaged keeps a log that can be read.
        let gone = match inner.record.state.status {
            Status::Removing => true,
            Status::Dead => !path.exists(),
            _ => false,
        };
        if gone {
            return Err(ApiError::conflict(
                "can not get logs from container which is dead or marked for removal",
            ));
        }
        drop(inner);
        let kept = self.kept_files();
        kept.ok_or_else(|| ApiError::new(ErrorKind::NotImplemented, UNREADABLE))
    }

    /// Where the log is, whatever the container's state; `None` if none is kept.
    pub(super) fn kept_files(&self) -> Option<LogFiles> {
        let local = self.logs_to_segments();
        let (format, path) = if local {
            (LogFormat::Local, self.segments_dir())
        } else {
            (LogFormat::JsonFile, self.log_path())
        };
        let max_file = self.inner().record.log_files()?;
        Some(LogFiles {
            format,
            path,
            index_dir: self.index_dir(),
            spool_dir: self.spool_dir(),
            max_file,
        })
    }
}
