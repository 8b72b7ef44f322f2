//! Answers `logs` with extra streams: alone, or merged by time with the container's log.
//!
//! Both are put together record by record. While following, a record of an extra stream waits a moment
//! for an earlier one of the log; beyond that the order is that of arrival.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value, json};
use taffrail_config::ExtraStreams;
use taffrail_log::{Cursor, Format, Grep, Query, Run};
use tokio::sync::{mpsc, watch};

use super::file::{Extra, Place};
use super::record::Record;
use super::split::{Item, Split};
use crate::container::exit::blocking;
use crate::container::{Container, LogStream, time};
use crate::daemon::Daemon;
use crate::errors::ApiError;

/// How long a record of an extra stream waits for an earlier one of the log.
const WINDOW: Duration = Duration::from_millis(50);
/// How long the end of a followed log is held back for the container's last event.
const END_TIME: Duration = Duration::from_secs(2);
/// Bytes of a chunk.
const CHUNK: usize = 64 * 1024;

/// Which records of extra streams are wanted, and how they are put out.
#[derive(Clone, Debug)]
pub(crate) struct ExtraQuery {
    pub(crate) streams: ExtraStreams,
    /// The container's log, too.
    pub(crate) log: bool,
    pub(crate) query: Query,
    pub(crate) format: Format,
    pub(crate) over_restarts: bool,
}

/// A log being read, with extra streams or without.
#[derive(Debug)]
pub(crate) enum AnyLog {
    Plain(Box<LogStream>),
    Merged(mpsc::Receiver<Result<Bytes, ApiError>>),
}

impl AnyLog {
    /// As [`LogStream::next`].
    ///
    /// # Errors
    /// A log file cannot be read.
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>, ApiError> {
        match self {
            Self::Plain(log) => log.next().await,
            Self::Merged(receiver) => receiver.recv().await.transpose(),
        }
    }

    /// As [`LogStream::cursor`]; extra streams have none.
    pub(crate) fn cursor(&self) -> Option<Cursor> {
        match self {
            Self::Plain(log) => log.cursor(),
            Self::Merged(_) => None,
        }
    }
}

impl Daemon {
    /// Opens a container's log together with its extra streams.
    ///
    /// # Errors
    /// Those of [`Daemon::logs`] if the log is wanted.
    pub(crate) async fn extra_logs(
        self: &Arc<Self>,
        container: &Arc<Container>,
        wanted: ExtraQuery,
    ) -> Result<AnyLog, ApiError> {
        // First, so that nothing in between is missed; what comes twice has its place.
        let changed = container.extra.subscribe();
        let (extra, place) = begin(&container.extra).await;
        let run = container.inner().record.state.run();
        let mut ready: VecDeque<Record> = extra
            .into_iter()
            .filter(|record| wanted.takes(record, run))
            .collect();
        let mut skip = 0;
        if let Some(tail) = wanted.query.tail {
            let tail = usize::try_from(tail).unwrap_or(usize::MAX);
            let kept = ready.len().min(tail);
            ready.drain(..ready.len() - kept);
            let logged = match wanted.log {
                true => self.count(container, &wanted).await?,
                false => 0,
            };
            skip = (logged + kept).saturating_sub(tail);
        }
        let log = match wanted.log {
            true => {
                let query = wanted.query.clone();
                let format = internal(wanted.format);
                Some(
                    self.logs(container, query, format, wanted.over_restarts)
                        .await?,
                )
            }
            false => None,
        };
        let (sender, receiver) = mpsc::channel(1);
        let merge = Merge {
            container: Arc::clone(container),
            log: log.map(feed),
            split: Split::new(wanted.format.ndjson),
            head: None,
            wanted,
            run,
            ready,
            place,
            changed,
            skip,
            out: Vec::new(),
            sender,
        };
        tokio::spawn(async move {
            // The client is gone, or all is sent.
            let _ = merge.run().await;
        });
        Ok(AnyLog::Merged(receiver))
    }

    /// How many of the last records of the log there are.
    async fn count(
        &self,
        container: &Arc<Container>,
        wanted: &ExtraQuery,
    ) -> Result<usize, ApiError> {
        let query = Query {
            follow: false,
            ..wanted.query.clone()
        };
        let mut log = self
            .logs(container, query, internal(wanted.format), false)
            .await?;
        let mut split = Split::new(wanted.format.ndjson);
        let mut count = 0;
        while let Some(chunk) = log.next().await? {
            split.push(&chunk);
            while let Some(item) = split.next() {
                count += usize::from(item.time_ns.is_some());
            }
        }
        Ok(count)
    }
}

async fn begin(extra: &Arc<Extra>) -> (Vec<Record>, Place) {
    let extra = Arc::clone(extra);
    let read = blocking(move || {
        let mut place = Place::default();
        (extra.read(&mut place), place)
    });
    read.await.unwrap_or_default()
}

/// The form in which the log is taken: a record a frame or line, with its time.
fn internal(format: Format) -> Format {
    Format {
        multiplexed: true,
        timestamps: true,
        coalesce: false,
        ..format
    }
}

/// Reads a log in a task, so that waiting for it can be given up.
fn feed(mut log: LogStream) -> mpsc::Receiver<Result<Bytes, ApiError>> {
    let (sender, receiver) = mpsc::channel(1);
    tokio::spawn(async move {
        loop {
            let next = log.next().await.transpose();
            let Some(next) = next else { return };
            let failed = next.is_err();
            // A follower that is gone is noticed here only when the container writes or ends.
            if sender.send(next).await.is_err() || failed {
                return;
            }
        }
    });
    receiver
}

impl ExtraQuery {
    fn takes(&self, record: &Record, newest_run: u64) -> bool {
        let query = &self.query;
        let run = match query.run {
            None => true,
            Some(Run::Number(number)) => record.run == u64::from(number),
            Some(Run::Back(back)) => newest_run.checked_sub(back.into()) == Some(record.run),
        };
        let line = record.bytes.strip_suffix(b"\n").unwrap_or(&record.bytes);
        self.streams.has(record.stream)
            && run
            && query.since.is_none_or(|since| record.time_ns >= since)
            && query.until.is_none_or(|until| record.time_ns <= until)
            && query
                .grep
                .as_ref()
                .is_none_or(|grep: &Grep| grep.matches(line))
    }
}

/// The client is gone.
struct Gone;

struct Merge {
    container: Arc<Container>,
    wanted: ExtraQuery,
    run: u64,
    /// `None` once it has ended.
    log: Option<mpsc::Receiver<Result<Bytes, ApiError>>>,
    split: Split,
    /// The log's next record.
    head: Option<Item>,
    /// Records of extra streams, oldest first.
    ready: VecDeque<Record>,
    place: Place,
    changed: watch::Receiver<u64>,
    /// Records that are left out first, for `tail`.
    skip: usize,
    out: Vec<u8>,
    sender: mpsc::Sender<Result<Bytes, ApiError>>,
}

impl Merge {
    async fn run(mut self) -> Result<(), Gone> {
        let follow = self.wanted.query.follow;
        loop {
            if follow && self.changed.has_changed().unwrap_or(false) {
                self.more().await;
            }
            if self.head.is_none() {
                self.head = self.split.next();
            }
            if self.head.is_none() && self.log.is_some() {
                self.fill(follow).await?;
                continue;
            }
            let of_log = match (&self.head, self.ready.front()) {
                // What has no time belongs behind the record before it.
                (Some(item), Some(record)) => {
                    item.time_ns.is_none_or(|time| time <= record.time_ns)
                }
                (Some(_), None) => true,
                (None, Some(_)) => false,
                (None, None) => {
                    if !follow || !self.wait().await? {
                        break;
                    }
                    continue;
                }
            };
            if of_log {
                if let Some(item) = self.head.take() {
                    self.put_item(&item);
                }
            } else {
                self.put_next();
            }
            if self.out.len() >= CHUNK {
                self.send().await?;
            }
        }
        self.send().await
    }

    /// Takes in what was pushed since the last time.
    async fn more(&mut self) {
        self.changed.mark_unchanged();
        let extra = Arc::clone(&self.container.extra);
        let mut place = self.place;
        let read = blocking(move || (extra.read(&mut place), place)).await;
        let Some((records, place)) = read else { return };
        self.place = place;
        let wanted = records
            .into_iter()
            .filter(|record| self.wanted.takes(record, self.run));
        self.ready.extend(wanted);
    }

    /// Waits for the log's next chunk; while following not longer than records of extra streams may
    /// wait, or until there is one.
    async fn fill(&mut self, follow: bool) -> Result<(), Gone> {
        if self.log.as_ref().is_some_and(|log| log.is_empty()) {
            self.send_if_any().await?;
        }
        let Some(log) = &mut self.log else {
            return Ok(());
        };
        let next = if !follow {
            log.recv().await
        } else if self.ready.is_empty() {
            tokio::select! {
                next = log.recv() => next,
                _ = self.changed.changed() => {
                    self.changed.mark_changed();
                    return Ok(());
                }
                () = self.sender.closed() => return Err(Gone),
            }
        } else if let Ok(next) = tokio::time::timeout(WINDOW, log.recv()).await {
            next
        } else {
            while !self.ready.is_empty() {
                self.put_next();
            }
            return self.send().await;
        };
        match next {
            Some(Ok(chunk)) => self.split.push(&chunk),
            Some(Err(error)) => {
                self.send().await?;
                // The stream ends with it.
                let _ = self.sender.send(Err(error)).await;
                return Err(Gone);
            }
            None => {
                self.log = None;
                if follow {
                    self.last_events().await;
                }
            }
        }
        Ok(())
    }

    /// The log is complete a moment before the container has ended, and that is an event.
    async fn last_events(&mut self) {
        let container = Arc::clone(&self.container);
        let ended = container.wait_until(|inner| {
            let state = &inner.record.state;
            !state.status.has_process() || state.run() != self.run || inner.gone
        });
        let _ = tokio::time::timeout(END_TIME, ended).await;
        self.more().await;
    }

    /// Of extra streams alone: waits for the next record. False at the end.
    async fn wait(&mut self) -> Result<bool, Gone> {
        self.send_if_any().await?;
        if self.wanted.log {
            // It has ended, and what came with its end was read.
            return Ok(false);
        }
        let container = Arc::clone(&self.container);
        let over_restarts = self.wanted.over_restarts;
        let ended = container.wait_until(|inner| {
            let up = inner.record.state.status.has_process();
            inner.gone || !(up || over_restarts)
        });
        let until = async {
            match self.wanted.query.until {
                Some(until) => {
                    let left = until.saturating_sub(time::now_ns());
                    tokio::time::sleep(Duration::from_nanos(u64::try_from(left).unwrap_or(0)))
                        .await;
                }
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            // First what there is.
            biased;
            _ = self.changed.changed() => {
                self.changed.mark_changed();
                return Ok(true);
            }
            () = self.sender.closed() => return Err(Gone),
            () = ended => {}
            () = until => {}
        }
        self.more().await;
        while !self.ready.is_empty() {
            self.put_next();
        }
        Ok(false)
    }

    async fn send_if_any(&mut self) -> Result<(), Gone> {
        match self.out.is_empty() {
            true => Ok(()),
            false => self.send().await,
        }
    }

    async fn send(&mut self) -> Result<(), Gone> {
        if self.out.is_empty() {
            return Ok(());
        }
        let chunk = Bytes::from(std::mem::take(&mut self.out));
        self.sender.send(Ok(chunk)).await.map_err(|_| Gone)
    }

    fn put_item(&mut self, item: &Item) {
        if item.time_ns.is_some() && self.skip > 0 {
            self.skip -= 1;
            return;
        }
        let format = self.wanted.format;
        if format.ndjson {
            self.out.extend_from_slice(&item.payload);
            return;
        }
        let payload = match (item.time_ns, format.timestamps) {
            (Some(_), false) => item.payload.get(super::split::TIME + 1..),
            _ => None,
        };
        self.frame(item.stream, payload.unwrap_or(&item.payload).to_owned());
    }

    /// Puts the first of the ready ones.
    fn put_next(&mut self) {
        let Some(record) = self.ready.pop_front() else {
            return;
        };
        if self.skip > 0 {
            self.skip -= 1;
            return;
        }
        let format = self.wanted.format;
        if format.ndjson {
            self.out.extend(shown(&record).to_string().into_bytes());
            self.out.push(b'\n');
            return;
        }
        if record.missing > 0 {
            let text = format!(
                "taffrail: {} bytes of extra streams missing\n",
                record.missing
            );
            self.frame(2, text.into_bytes());
        }
        let mut payload = Vec::new();
        if format.timestamps {
            payload.extend(super::split::time_text(record.time_ns).into_bytes());
            payload.push(b' ');
        }
        if format.details {
            let mut details = format!("stream={}", record.stream.as_str());
            if !record.exec.is_empty() {
                details.push_str(&format!(",exec={}", record.exec));
            }
            payload.extend(details.into_bytes());
            payload.push(b' ');
        }
        payload.extend_from_slice(&record.bytes);
        self.frame(if record.stderr { 2 } else { 1 }, payload);
    }

    fn frame(&mut self, stream: u8, payload: Vec<u8>) {
        if self.wanted.format.multiplexed {
            let length = u32::try_from(payload.len()).unwrap_or(u32::MAX);
            self.out.extend([stream, 0, 0, 0]);
            self.out.extend(length.to_be_bytes());
        }
        self.out.extend(payload);
    }
}

/// The JSON form: as a record of the log, with `Source` the stream, `Exec` and `Run`.
fn shown(record: &Record) -> Value {
    let mut out = json!({
        "Line": String::from_utf8_lossy(&record.bytes),
        "Source": record.stream.as_str(),
        "Timestamp": time::rfc3339(record.time_ns),
        "Run": record.run,
    });
    if !record.exec.is_empty() {
        out["Exec"] = json!(record.exec);
        out["Output"] = json!(if record.stderr { "stderr" } else { "stdout" });
    }
    if record.missing > 0 {
        out["MissingBytes"] = json!(record.missing);
    }
    out
}
