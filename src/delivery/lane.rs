//! One receiver: the sinks that send to it, the state of the connection, its thread while there is
//! something to do.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use taffrail_drivers::sink::{Destination, Failure, FailureKind};

use super::sink::Sink;
use super::worker::Worker;
use crate::container::time;

/// A connection that nobody has used for so long is closed, and its thread ends.
const IDLE: Duration = Duration::from_secs(60);

/// How it stands with a receiver.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Status {
    /// Nothing was to be sent yet, or not for a while.
    #[default]
    Idle,
    Connected,
    /// Connected, but the receiver takes nothing.
    Stalled,
    /// Not connected; tried again and again.
    Retrying,
    /// The receiver refuses token, key or password; tried again slowly.
    Denied,
}

impl Status {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Connected => "connected",
            Self::Stalled => "stalled",
            Self::Retrying => "retrying",
            Self::Denied => "denied",
        }
    }

    /// Whether records that are written now will have to wait.
    pub(crate) fn is_down(self) -> bool {
        matches!(self, Self::Stalled | Self::Retrying | Self::Denied)
    }
}

/// What can be told of the connection.
#[derive(Clone, Debug, Default)]
pub(crate) struct LaneState {
    pub(crate) status: Status,
    /// Since when, nanoseconds since 1970.
    pub(crate) since_ns: i64,
    /// The last failure, also when it is over.
    pub(crate) last_error: Option<(i64, String)>,
    /// Attempts since the last success.
    pub(crate) attempts: u64,
    /// When the trouble began that is not over; outlives the thread.
    pub(super) down_since: Option<Instant>,
}

/// Hears of what changes.
pub(super) trait Tell: Send + Sync {
    fn down(&self, lane: &Lane, error: &str);
    fn up(&self, lane: &Lane, down_for: Duration);
}

pub(crate) struct Lane {
    pub(super) destination: Destination,
    queue: Mutex<Queue>,
    wake: Condvar,
    state: Mutex<LaneState>,
    stopping: AtomicBool,
    sinks: Mutex<Vec<Weak<Sink>>>,
    tell: Arc<dyn Tell>,
    /// Lanes with a thread, of the whole daemon: they share the memory for batches.
    active: Arc<AtomicUsize>,
}

impl std::fmt::Debug for Lane {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Lane")
            .field("address", &self.destination.address)
            .finish_non_exhaustive()
    }
}

#[derive(Debug, Default)]
struct Queue {
    ready: VecDeque<Arc<Sink>>,
    /// Looked at again at that time: what comes meanwhile shares a batch.
    later: VecDeque<(Instant, Arc<Sink>)>,
    running: bool,
}

/// What a worker is to do next.
pub(super) enum Turn {
    Serve(Arc<Sink>),
    /// Nothing is ready; the time at which something may be.
    Nothing(Option<Instant>),
}

impl Lane {
    pub(super) fn new(
        destination: Destination,
        tell: Arc<dyn Tell>,
        active: Arc<AtomicUsize>,
    ) -> Arc<Self> {
        Arc::new(Self {
            destination,
            queue: Mutex::default(),
            wake: Condvar::new(),
            state: Mutex::default(),
            stopping: AtomicBool::new(false),
            sinks: Mutex::default(),
            tell,
            active,
        })
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        // The queue is consistent after each statement.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn state(&self) -> LaneState {
        self.lock_state().clone()
    }

    fn lock_state(&self) -> MutexGuard<'_, LaneState> {
        // As above.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn join(&self, sink: &Arc<Sink>) {
        let mut sinks = self.sinks.lock().unwrap_or_else(PoisonError::into_inner);
        sinks.retain(|sink| sink.strong_count() > 0);
        sinks.push(Arc::downgrade(sink));
    }

    /// The sinks that send here.
    pub(super) fn sinks(&self) -> Vec<Arc<Sink>> {
        let sinks = self.sinks.lock().unwrap_or_else(PoisonError::into_inner);
        let live = sinks.iter().filter_map(Weak::upgrade);
        live.filter(|sink| !sink.is_closed()).collect()
    }

    /// A sink has something to send, perhaps.
    pub(super) fn enqueue(self: &Arc<Self>, sink: &Arc<Sink>) {
        if sink.queued.swap(true, Ordering::SeqCst) {
            sink.again.store(true, Ordering::SeqCst);
            return;
        }
        let mut queue = self.queue();
        queue.ready.push_back(Arc::clone(sink));
        if queue.running {
            drop(queue);
            self.wake.notify_one();
            return;
        }
        if self.is_stopping() {
            return;
        }
        queue.running = true;
        drop(queue);
        let lane = Arc::clone(self);
        self.active.fetch_add(1, Ordering::SeqCst);
        let thread = std::thread::Builder::new()
            .name("delivery".to_owned())
            .stack_size(1 << 20)
            .spawn(move || {
                Worker::new(Arc::clone(&lane)).run();
                lane.active.fetch_sub(1, Ordering::SeqCst);
            });
        if let Err(error) = thread {
            tracing::error!(address = self.destination.address, %error, "no thread for delivery, the next record asks again");
            self.active.fetch_sub(1, Ordering::SeqCst);
            self.queue().running = false;
        }
    }

    /// The sink has been served and waits for nothing here.
    pub(super) fn release(self: &Arc<Self>, sink: &Arc<Sink>) {
        sink.queued.store(false, Ordering::SeqCst);
        if sink.again.swap(false, Ordering::SeqCst) {
            self.enqueue(sink);
        }
    }

    /// The sink has more: it is served again after the others.
    pub(super) fn requeue(&self, sink: Arc<Sink>) {
        self.queue().ready.push_back(sink);
    }

    /// The sink is looked at again at `at`.
    pub(super) fn linger(&self, sink: Arc<Sink>, at: Instant) {
        self.queue().later.push_back((at, sink));
    }

    /// Sinks that are looked at again soon.
    pub(super) fn lingering(&self) -> usize {
        self.queue().later.len()
    }

    pub(super) fn turn(&self) -> Turn {
        let mut queue = self.queue();
        let now = Instant::now();
        // They are in the order of their times, nearly: one that is late is late by a moment.
        while queue.later.front().is_some_and(|(at, _)| *at <= now) {
            if let Some((_, sink)) = queue.later.pop_front() {
                queue.ready.push_back(sink);
            }
        }
        match queue.ready.pop_front() {
            Some(sink) => Turn::Serve(sink),
            None => Turn::Nothing(queue.later.front().map(|(at, _)| *at)),
        }
    }

    /// Waits for something to do, until `at` at the latest. `false`: there was nothing for so long
    /// that the thread ends.
    pub(super) fn wait(&self, at: Option<Instant>) -> bool {
        let mut queue = self.queue();
        if !queue.ready.is_empty() || self.is_stopping() {
            return true;
        }
        let limit = at.map_or(IDLE, |at| at.saturating_duration_since(Instant::now()));
        let (left, result) = self
            .wake
            .wait_timeout(queue, limit)
            .unwrap_or_else(PoisonError::into_inner);
        queue = left;
        if at.is_none() && result.timed_out() && queue.ready.is_empty() && queue.later.is_empty() {
            queue.running = false;
            drop(queue);
            if !self.state().status.is_down() {
                self.set(Status::Idle);
            }
            return false;
        }
        true
    }

    /// Waits until `at` whatever there is to do, unless the daemon ends.
    pub(super) fn pause(&self, at: Instant) {
        let mut queue = self.queue();
        while !self.is_stopping() {
            let left = at.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            queue = self
                .wake
                .wait_timeout(queue, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }

    pub(super) fn stop(&self) {
        self.stopping.store(true, Ordering::SeqCst);
        // The lock makes sure that nobody is between looking and waiting.
        drop(self.queue());
        self.wake.notify_all();
    }

    pub(super) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::SeqCst)
    }

    /// The thread ends.
    pub(super) fn stopped(&self) {
        self.queue().running = false;
    }

    pub(super) fn is_running(&self) -> bool {
        self.queue().running
    }

    /// Lanes of the daemon that have a thread.
    pub(super) fn active(&self) -> usize {
        self.active.load(Ordering::SeqCst).max(1)
    }

    fn set(&self, status: Status) {
        let mut state = self.lock_state();
        if state.status != status {
            state.status = status;
            state.since_ns = time::now_ns();
        }
    }

    pub(super) fn connected(&self) {
        self.set(Status::Connected);
    }

    /// The receiver accepts records (again).
    pub(super) fn works(&self) {
        let since = {
            let mut state = self.lock_state();
            state.attempts = 0;
            state.down_since.take()
        };
        self.set(Status::Connected);
        if let Some(since) = since {
            self.tell.up(self, since.elapsed());
        }
    }

    /// The receiver takes nothing, though the connection stands.
    pub(super) fn stalled(&self) {
        if self.state().status != Status::Stalled {
            let text = "the receiver takes nothing, though it is connected";
            self.down(Status::Stalled, text);
        }
    }

    /// An attempt or a connection failed; gives the number of attempts since the last success.
    pub(super) fn failed(&self, failure: &Failure) -> u64 {
        let attempts = {
            let mut state = self.lock_state();
            state.attempts += 1;
            state.attempts
        };
        let status = match failure.kind {
            FailureKind::Denied => Status::Denied,
            _ => Status::Retrying,
        };
        self.down(status, &failure.text);
        attempts
    }

    /// Tells of it once, until it works again.
    fn down(&self, status: Status, text: &str) {
        self.set(status);
        let first = {
            let mut state = self.lock_state();
            state.last_error = Some((time::now_ns(), text.to_owned()));
            let first = state.down_since.is_none();
            state.down_since.get_or_insert_with(Instant::now);
            first
        };
        if first {
            self.tell.down(self, text);
        }
    }
}
