//! `logs`: a reader over the container's log, which waits for more without polling.

use std::sync::Arc;

use bytes::Bytes;
use taffrail_log::{CommitSource, Format, LogFiles, LogFormat, Query, Reader, Step};

use super::{Container, Status};
use crate::daemon::Daemon;
use crate::errors::{ApiError, ErrorKind};
use crate::supervisor::Capture;

/// A log being read. Blocking file reads run on threads for that.
pub(crate) struct LogStream {
    reader: Option<Reader>,
    capture: Option<Arc<Capture>>,
    /// Commit that has been read to the end; more is waited for before the next read.
    caught_up: Option<u64>,
    /// Buffer of the last read, to be filled again.
    spare: Vec<u8>,
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
            let mut buffer = std::mem::take(&mut self.spare);
            buffer.clear();
            let (reader, buffer, step) = tokio::task::spawn_blocking(move || {
                let step = reader.read(&mut buffer);
                (reader, buffer, step)
            })
            .await
            .map_err(|error| ApiError::system(format!("log reader ended: {error}")))?;
            match step.map_err(|error| ApiError::system(error.to_string()))? {
                Step::Data => self.reader = Some(reader),
                Step::CaughtUp { commit } => {
                    self.reader = Some(reader);
                    self.caught_up = Some(commit);
                }
                Step::End => {}
            }
            if buffer.is_empty() {
                self.spare = buffer;
                if self.reader.is_none() {
                    return Ok(None);
                }
                continue;
            }
            return Ok(Some(Bytes::from(buffer)));
        }
    }
}

impl Daemon {
    /// Opens the container's log. Following ends at once if the container does not run.
    ///
    /// # Errors
    /// 501 if the log driver keeps no log here, 409 while the container is being removed, 500 if
    /// the log cannot be opened.
    pub(crate) async fn logs(
        &self,
        container: &Arc<Container>,
        mut query: Query,
        format: Format,
    ) -> Result<LogStream, ApiError> {
        let (files, capture) = {
            let inner = container.inner();
            // One that is dead because its capture is damaged keeps a log that can be read.
            let gone = match inner.record.state.status {
                Status::Removing => true,
                Status::Dead => !container.log_path().exists(),
                _ => false,
            };
            if gone {
                return Err(ApiError::conflict(
                    "can not get logs from container which is dead or marked for removal",
                ));
            }
            let Some(max_file) = inner.record.log_files() else {
                return Err(ApiError::new(
                    ErrorKind::NotImplemented,
                    "configured logging driver does not support reading",
                ));
            };
            let files = LogFiles {
                format: LogFormat::JsonFile,
                path: container.log_path(),
                index_dir: container.index_dir(),
                spool_dir: container.index_dir().with_file_name("spool"),
                max_file,
            };
            (files, inner.capture.clone())
        };
        if capture.is_none() {
            query.follow = false;
        }
        if capture.is_none() && !files.path.exists() {
            // Never started: there is no log and that is not an error.
            return Ok(LogStream {
                reader: None,
                capture: None,
                caught_up: None,
                spare: Vec::new(),
            });
        }
        let source: Option<Arc<dyn CommitSource>> = capture.as_ref().map(|c| c.source());
        let reader =
            tokio::task::spawn_blocking(move || Reader::open(files, query, format, source))
                .await
                .map_err(|error| ApiError::system(format!("log reader ended: {error}")))?
                .map_err(|error| ApiError::system(error.to_string()))?;
        Ok(LogStream {
            reader: Some(reader),
            capture,
            caught_up: None,
            spare: Vec::new(),
        })
    }
}
