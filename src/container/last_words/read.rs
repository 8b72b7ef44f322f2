//! Reads the last lines of a run from the container's log, with the readers that everybody uses.

use std::sync::Arc;

use taffrail_log::packed::{self, Item};
use taffrail_log::{Format, Query, Reader, Run, Step};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

use super::super::{Container, time};
use super::store::Line;
use crate::supervisor::Capture;

/// Lines that are kept.
const MAX_LINES: usize = 20;
/// Bytes of all of them together.
const MAX_BYTES: usize = 4096;
/// Logs that are read at the same time: each reader takes some 600 KiB for a moment.
static READERS: Semaphore = Semaphore::const_new(8);
/// Bytes that a reader may put out before it is given up: the lines and as many other records.
const MOST_READ: usize = 4 << 20;

/// The last lines, and whether more was left out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Lines {
    /// Oldest first.
    pub(super) lines: Vec<Line>,
    /// A line was cut, or one before them did not fit.
    pub(super) cut: bool,
}

/// Lines that are being read.
#[derive(Debug)]
pub(in crate::container) struct Reading(JoinHandle<Lines>);

impl Reading {
    /// Begins to read the last lines of a run. Begun while the log cannot be removed, it finds them
    /// also if the container is removed a moment later.
    pub(in crate::container) fn begin(
        container: &Arc<Container>,
        run: u64,
        capture: Option<Arc<Capture>>,
    ) -> Self {
        let container = Arc::clone(container);
        Self(tokio::spawn(async move {
            // It is never closed.
            let _permit = READERS.acquire().await;
            let read = tokio::task::spawn_blocking(move || read(&container, run, capture.as_ref()));
            read.await.unwrap_or_default()
        }))
    }

    /// The lines; none if they cannot be read.
    pub(super) async fn lines(self) -> Lines {
        self.0.await.unwrap_or_default()
    }
}

fn read(container: &Arc<Container>, run: u64, capture: Option<&Arc<Capture>>) -> Lines {
    // There is nothing to read with driver `none`, or while it is removed.
    let (Ok(files), Ok(run)) = (container.log_files(), u32::try_from(run)) else {
        return Lines::default();
    };
    let source = capture.map(|capture| capture.source());
    if source.is_none() && !files.path.exists() {
        return Lines::default();
    }
    let query = Query {
        tail: Some(MAX_LINES as u64),
        run: Some(Run::Number(run)),
        ..Query::all()
    };
    let format = Format {
        packed: true,
        ..Format::default()
    };
    let _hold = capture.map(|_| container.holds().begin(0));
    let mut bytes = Vec::new();
    let done = Reader::open(files, query, format, source).and_then(|mut reader| {
        while bytes.len() < MOST_READ {
            if matches!(reader.read(&mut bytes)?, Step::End | Step::CaughtUp { .. }) {
                break;
            }
        }
        Ok(())
    });
    if let Err(error) = done {
        tracing::debug!(container = container.id, error = %crate::errors::chain(&error), "last words cannot be read");
    }
    bound(&bytes)
}

/// The last lines of what a reader has put out, within the bounds.
fn bound(mut bytes: &[u8]) -> Lines {
    let mut all = Vec::new();
    while let Some((item, size)) = packed::next(bytes) {
        bytes = &bytes[size..];
        if let Item::Record {
            stream, time, line, ..
        } = item
        {
            all.push((stream, time, line));
        }
    }
    let mut found = Lines::default();
    let mut room = MAX_BYTES;
    for (stream, at, line) in all.into_iter().rev() {
        if found.lines.len() == MAX_LINES || room == 0 {
            found.cut = true;
            break;
        }
        let line = line.strip_suffix(b"\n").unwrap_or(line);
        let text = String::from_utf8_lossy(line);
        // The end of a line says more than its beginning.
        let from = text.len().saturating_sub(room);
        let from = (from..).find(|at| text.is_char_boundary(*at));
        let kept = &text[from.unwrap_or(text.len())..];
        found.cut |= kept.len() < text.len();
        // An empty line takes some room, too.
        room = room.saturating_sub(kept.len().max(1));
        found.lines.push(Line {
            time: time::rfc3339(at),
            stream: match stream {
                taffrail_log::Stream::Stdout => "stdout".to_owned(),
                taffrail_log::Stream::Stderr => "stderr".to_owned(),
            },
            line: kept.to_owned(),
        });
    }
    found.lines.reverse();
    found
}
