//! One place that one container's log is sent to: how far it is, and what can be told of it.

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use taffrail_log::{CommitSource as _, Cursor};

use super::cursor::{CursorFile, Place};
use super::feed::Feed;
use super::lane::{Lane, LaneState};
use super::part::Part;
use crate::container::time;
use crate::logs::{Hold, Holds};
use crate::supervisor::{Capture, CommitListener, log_end};

/// One sink of one container.
#[derive(Debug)]
pub(crate) struct Sink {
    /// Id and name of the container.
    pub(crate) container: String,
    container_name: Mutex<String>,
    /// As in the list of drivers: `syslog`, `syslog:audit`.
    pub(crate) name: String,
    pub(crate) driver: &'static str,
    /// Without secrets.
    pub(crate) address: String,
    /// `max-spool-age`.
    max_age: Mutex<Option<Duration>>,
    pub(super) lane: Weak<Lane>,
    pub(super) feed: Mutex<Feed>,
    capture: Mutex<Option<Arc<Capture>>>,
    /// Without a run: the place behind the log's last record, where it is known.
    end: Mutex<Option<Cursor>>,
    progress: Mutex<Progress>,
    /// Parts that are not settled.
    pub(super) in_flight: AtomicUsize,
    /// It waits in its lane, or is being served.
    pub(super) queued: AtomicBool,
    /// It was woken while it was being served.
    pub(super) again: AtomicBool,
    /// Commit number at which everything was read; `u64::MAX`: it is not waiting for a commit.
    caught_up: AtomicU64,
    /// Everything was read and settled, and no run is under way.
    finished: AtomicBool,
    /// Nothing is to be delivered any more.
    closed: AtomicBool,
}

#[derive(Debug)]
struct Progress {
    place: Place,
    /// `None`: it could not be opened.
    file: Option<CursorFile>,
    /// A failure to write it was said.
    said: bool,
    hold: Option<Hold>,
    delivered_bytes: u64,
    dropped_bytes: u64,
    skipped: u64,
    rejected: u64,
    /// Time of the oldest record that was read and not settled.
    oldest: Option<i64>,
    last_delivered: Option<i64>,
    /// What a receiver or an encoder said of a single record, and when.
    last_rejection: Option<(i64, String)>,
    /// The log could not be read.
    read_error: Option<(i64, String)>,
    /// Everything was read at the last look.
    drained: bool,
}

/// What can be told of a sink.
#[derive(Clone, Debug)]
pub(crate) struct SinkFigures {
    pub(crate) name: String,
    pub(crate) driver: &'static str,
    pub(crate) address: String,
    pub(crate) lane: LaneState,
    pub(crate) cursor: Option<Cursor>,
    pub(crate) delivered: u64,
    pub(crate) delivered_bytes: u64,
    /// `None`: not known without reading the log.
    pub(crate) pending: Option<u64>,
    pub(crate) pending_bytes: u64,
    pub(crate) dropped: u64,
    pub(crate) dropped_bytes: u64,
    pub(crate) skipped: u64,
    pub(crate) rejected: u64,
    pub(crate) oldest_pending_ns: Option<i64>,
    pub(crate) last_delivered_ns: Option<i64>,
    pub(crate) last_rejection: Option<(i64, String)>,
    pub(crate) read_error: Option<(i64, String)>,
}

/// What a new sink is made of.
pub(super) struct NewSink<'a> {
    pub(super) container: String,
    pub(super) container_name: String,
    pub(super) name: String,
    pub(super) driver: &'static str,
    pub(super) address: String,
    pub(super) max_age: Option<Duration>,
    pub(super) lane: Weak<Lane>,
    pub(super) dir: &'a Path,
    pub(super) index: usize,
    pub(super) holds: &'a Arc<Holds>,
    pub(super) feed: Box<dyn FnOnce(Option<Cursor>) -> Feed + 'a>,
}

impl Sink {
    /// Goes on where the sink's cursor on the disk stands.
    pub(super) fn new(new: NewSink<'_>) -> Arc<Self> {
        let (file, place) = match CursorFile::open(new.dir, new.index, &new.name) {
            Ok((file, place)) => (Some(file), place),
            Err(error) => {
                tracing::error!(container = new.container, sink = new.name, %error, "cursor cannot be kept: after a restart everything is sent again");
                (None, Place::default())
            }
        };
        Arc::new(Self {
            container: new.container,
            container_name: Mutex::new(new.container_name),
            name: new.name,
            driver: new.driver,
            address: new.address,
            max_age: Mutex::new(new.max_age),
            lane: new.lane,
            feed: Mutex::new((new.feed)(place.cursor)),
            capture: Mutex::default(),
            end: Mutex::new(log_end(new.dir)),
            progress: Mutex::new(Progress {
                hold: Some(new.holds.begin(place.file)),
                place,
                file,
                said: false,
                delivered_bytes: 0,
                dropped_bytes: 0,
                skipped: 0,
                rejected: 0,
                oldest: None,
                last_delivered: None,
                last_rejection: None,
                read_error: None,
                drained: false,
            }),
            in_flight: AtomicUsize::new(0),
            queued: AtomicBool::new(false),
            again: AtomicBool::new(false),
            caught_up: AtomicU64::new(u64::MAX),
            finished: AtomicBool::new(false),
            closed: AtomicBool::new(false),
        })
    }

    pub(super) fn feed(&self) -> MutexGuard<'_, Feed> {
        // A feed that a panic left behind goes on from its last place.
        self.feed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn progress(&self) -> MutexGuard<'_, Progress> {
        // Counters are consistent after each statement.
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A run begins (or is found again): what it writes is sent, too.
    pub(super) fn begin_run(
        self: &Arc<Self>,
        capture: &Arc<Capture>,
        holds: &Arc<Holds>,
        encoder: Option<Box<dyn taffrail_drivers::sink::Encoder>>,
    ) {
        {
            // Locked before `finish` can look whether the last run is over.
            let mut feed = self.feed();
            feed.begin_run(Arc::clone(capture), encoder);
            let mut progress = self.progress();
            if progress.hold.is_none() {
                progress.hold = Some(holds.begin(progress.place.file));
            }
            progress.drained = false;
            self.finished.store(false, Ordering::SeqCst);
        }
        *self.capture() = Some(Arc::clone(capture));
        let listener = Arc::clone(self) as Arc<dyn CommitListener>;
        capture.listen_to_commits(Arc::downgrade(&listener));
        self.wake();
    }

    /// Has the lane look at the log.
    pub(super) fn wake(self: &Arc<Self>) {
        if self.closed.load(Ordering::SeqCst) {
            return;
        }
        self.caught_up.store(u64::MAX, Ordering::SeqCst);
        if let Some(lane) = self.lane.upgrade() {
            lane.enqueue(self);
        }
    }

    /// The run's capture is about to go; what is left is read from the files.
    pub(super) fn end_run(self: &Arc<Self>, of: &Arc<Capture>) {
        self.feed().end_run(of);
        let mut capture = self.capture();
        if capture.as_ref().is_some_and(|c| Arc::ptr_eq(c, of)) {
            *capture = None;
            *self.end.lock().unwrap_or_else(PoisonError::into_inner) =
                of.committed().map(|end| Cursor {
                    epoch: end.epoch,
                    seq: end.next_seq,
                });
        }
        drop(capture);
        self.wake();
    }

    fn capture(&self) -> MutexGuard<'_, Option<Arc<Capture>>> {
        // It is always whole.
        self.capture.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Everything up to `commit` was read. The lane is woken by what is committed after it.
    pub(super) fn wait_for_commit(self: &Arc<Self>, commit: u64) {
        self.caught_up.store(commit, Ordering::SeqCst);
        self.look();
    }

    /// Wakes the lane if there is more, else asks for the doorbell.
    fn look(self: &Arc<Self>) {
        let commit = self.caught_up.load(Ordering::SeqCst);
        if commit == u64::MAX {
            return;
        }
        // Without one its end wakes the lane.
        let Some(capture) = self.capture().clone() else {
            return;
        };
        capture.arm();
        let now = capture.committed();
        if now.is_some_and(|now| now.commit > commit || now.done) {
            self.wake();
        }
    }

    pub(super) fn max_age(&self) -> Option<Duration> {
        *self.max_age.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Its container was removed: records wait for no longer than `age` if nothing else was said.
    pub(super) fn set_removed(&self, age: Duration) {
        let mut max_age = self.max_age.lock().unwrap_or_else(PoisonError::into_inner);
        max_age.get_or_insert(age);
    }

    pub(super) fn rename(&self, name: &str) {
        let mut own = self
            .container_name
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        name.clone_into(&mut own);
    }

    /// The container's name.
    pub(crate) fn container_name(&self) -> String {
        let name = self.container_name.lock();
        name.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Closes the reader if it was not used for `idle`.
    pub(super) fn let_go(&self, idle: Duration) {
        if !self.queued.load(Ordering::SeqCst) {
            let mut feed = self.feed();
            if feed.used.elapsed() > idle {
                feed.park(true);
            }
        }
    }

    pub(super) fn close(&self) {
        self.closed.store(true, Ordering::SeqCst);
        self.finished.store(true, Ordering::SeqCst);
        self.progress().hold = None;
    }

    pub(super) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::SeqCst)
    }

    /// Everything there is was read and settled, and no run is under way.
    pub(crate) fn is_finished(&self) -> bool {
        self.finished.load(Ordering::SeqCst)
    }

    pub(super) fn note_refused(&self, reason: &str) {
        self.progress().last_rejection = Some((time::now_ns(), reason.to_owned()));
    }

    pub(super) fn note_read_error(&self, text: String) {
        let mut progress = self.progress();
        if progress.read_error.is_none() {
            tracing::error!(
                container = self.container,
                sink = self.name,
                error = text,
                "the log cannot be read for delivery"
            );
        }
        progress.read_error = Some((time::now_ns(), text));
    }

    /// Records were read: `first` is the time of the first.
    pub(super) fn note_read(&self, first: Option<i64>, drained: bool) {
        let mut progress = self.progress();
        progress.oldest = progress.oldest.or(first);
        progress.drained = drained;
        progress.read_error = None;
    }

    /// The first `upto` records of `part` are settled, `rejected` of the new ones because the
    /// receiver does not want them.
    pub(super) fn settle(&self, part: &mut Part, upto: u64, rejected: &[String]) {
        let whole = upto >= part.sent;
        let new = upto.saturating_sub(part.done);
        let cursor = if whole {
            part.end
        } else {
            upto.checked_sub(1).and_then(|n| part.place(n))
        };
        part.done = upto;
        let mut progress = self.progress();
        let refused = rejected.len() as u64;
        progress.rejected += refused;
        progress.place.dropped += refused;
        let mut accepted = new.saturating_sub(refused);
        if whole {
            accepted = accepted.saturating_sub(part.notices);
            progress.place.dropped += part.dropped;
            progress.dropped_bytes += part.dropped_bytes;
            progress.skipped += part.skipped;
            progress.delivered_bytes += part.bytes;
            progress.oldest = None;
        }
        progress.place.delivered += accepted;
        if let Some(reason) = rejected.last() {
            progress.last_rejection = Some((time::now_ns(), reason.clone()));
        }
        if accepted > 0 {
            progress.last_delivered = Some(time::now_ns());
        }
        progress.place.cursor = cursor.or(progress.place.cursor);
        progress.place.file = progress.place.file.max(part.file);
        progress.store(&self.container, &self.name);
    }

    /// What was read and not settled is read again.
    pub(super) fn rewind(&self) {
        let cursor = self.cursor();
        self.feed().rewind(cursor);
        self.progress().drained = false;
    }

    /// Nothing of it is under way any more. `read`: nothing that was read waits to be sent either.
    pub(super) fn rest(&self, read: bool) {
        let mut feed = self.feed();
        let mut progress = self.progress();
        progress.oldest = None;
        if read {
            feed.settled();
        }
        if feed.ended && !feed.has_word() {
            progress.hold = None;
            self.finished.store(true, Ordering::SeqCst);
        } else if read && feed.file > progress.place.file {
            progress.place.file = feed.file;
            progress.store(&self.container, &self.name);
        }
    }

    fn cursor(&self) -> Option<Cursor> {
        self.progress().place.cursor
    }

    /// A descriptor of the cursor's file that has something to sync.
    pub(super) fn unsynced(&self) -> Option<std::io::Result<std::fs::File>> {
        self.progress().file.as_mut()?.unsynced()
    }

    /// What can be told of it.
    pub(crate) fn figures(&self) -> SinkFigures {
        let live = self.capture().as_ref().and_then(|c| c.committed());
        let log_end = match live {
            Some(end) => Some((end.epoch, end.next_seq)),
            None => {
                let end = self.end.lock().unwrap_or_else(PoisonError::into_inner);
                end.map(|end| (end.epoch, end.seq))
            }
        };
        let (files, from) = {
            let feed = self.feed();
            (feed.files().clone(), feed.file)
        };
        let progress = self.progress();
        let place = progress.place;
        let settled = progress.drained && self.in_flight.load(Ordering::SeqCst) == 0;
        let pending = match (log_end, place.cursor) {
            (Some((epoch, next)), Some(at)) if at.epoch == epoch => {
                Some(next.saturating_sub(at.seq + 1))
            }
            (Some((epoch, next)), None) if epoch <= 1 => Some(next.saturating_sub(1)),
            _ if settled || self.is_finished() => Some(0),
            _ => None,
        };
        let lane = self.lane.upgrade();
        SinkFigures {
            name: self.name.clone(),
            driver: self.driver,
            address: self.address.clone(),
            lane: lane.map_or_else(LaneState::default, |lane| lane.state()),
            cursor: place.cursor,
            delivered: place.delivered,
            delivered_bytes: progress.delivered_bytes,
            pending_bytes: match pending {
                Some(0) => 0,
                _ => bytes_from(&files, place.file.min(from)),
            },
            pending,
            dropped: place.dropped,
            dropped_bytes: progress.dropped_bytes,
            skipped: progress.skipped,
            rejected: progress.rejected,
            oldest_pending_ns: progress.oldest.filter(|_| pending != Some(0)),
            last_delivered_ns: progress.last_delivered,
            last_rejection: progress.last_rejection.clone(),
            read_error: progress.read_error.clone(),
        }
    }
}

impl Progress {
    fn store(&mut self, container: &str, sink: &str) {
        if let Some(hold) = &self.hold {
            hold.advance(self.place.file);
        }
        let Some(file) = &mut self.file else {
            return;
        };
        match file.store(&self.place) {
            Ok(()) => self.said = false,
            Err(error) if !self.said => {
                tracing::error!(container, sink, %error, "cursor cannot be written: after a restart records since now are sent again");
                self.said = true;
            }
            Err(_) => {}
        }
    }
}

impl CommitListener for Sink {
    fn changed(self: Arc<Self>) {
        self.look();
    }
}

/// Bytes that the log's files from number `from` on take: at most so much is still to be sent.
fn bytes_from(files: &taffrail_log::LogFiles, from: u64) -> u64 {
    let folders = [
        Some(files.path.as_path()).filter(|p| p.is_dir()),
        Some(files.spool_dir.as_path()),
    ];
    let mut sum = 0;
    for entry in folders
        .into_iter()
        .flatten()
        .filter_map(|d| std::fs::read_dir(d).ok())
        .flatten()
        .flatten()
    {
        let name = entry.file_name();
        let number = name
            .to_string_lossy()
            .split('.')
            .next()
            .and_then(|n| n.parse::<u64>().ok());
        if number.is_some_and(|n| n >= from) {
            sum += entry.metadata().map_or(0, |m| m.len());
        }
    }
    // json-file: the files' numbers are not in their names.
    if !files.path.is_dir() {
        sum += files.path.metadata().map_or(0, |m| m.len());
    }
    sum
}
