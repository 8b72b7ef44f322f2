//! The thread of a lane: fills batches from its sinks in turn, sends them, and moves cursors over
//! what the receiver has accepted.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use taffrail_drivers::sink::{Batch, Connection, Failure, FailureKind, Rejected};

use super::feed::{Filled, Room, Scratch};
use super::lane::{Lane, Turn};
use super::part::Part;
use super::sink::Sink;
use crate::container::time;

/// Memory for batches of all lanes together.
const BATCH_MEMORY: usize = 64 << 20;
/// However many lanes there are, a batch may have so much.
const SMALL_BATCH: usize = 16 << 10;
/// How long a settled record is waited for before other work is looked at.
const SETTLE_WAIT: Duration = Duration::from_millis(10);
/// A receiver that takes nothing for so long is said to be stalled.
const STALLED: Duration = Duration::from_secs(3);
/// A log that cannot be read is looked at again after this.
const READ_AGAIN: Duration = Duration::from_secs(1);
/// Longest that a sink waits for company in a batch.
const LONGEST_LINGER: Duration = Duration::from_millis(250);
/// One that is refused by token or password is not tried more often than this.
const DENIED_PAUSE: Duration = Duration::from_secs(10);
/// At the end of the daemon, what is under way is waited for so long.
const LAST_WAIT: Duration = Duration::from_millis(1500);

/// See the module.
pub(super) struct Worker {
    lane: Arc<Lane>,
    connection: Option<Box<dyn Connection>>,
    batch: Batch,
    /// Parts of `batch`.
    filled: Vec<Part>,
    /// Parts that were sent, in order, and those of records that are not sent between them.
    parts: VecDeque<Part>,
    /// For each batch under way: records sent on the connection up to its end.
    batches: VecDeque<u64>,
    sent: u64,
    settled: u64,
    /// Records of parts that are done.
    base: u64,
    rejected: Vec<Rejected>,
    scratch: Scratch,
    /// Whose records are in `scratch`.
    owner: Option<Arc<Sink>>,
    progress_at: Instant,
}

impl Worker {
    pub(super) fn new(lane: Arc<Lane>) -> Self {
        Self {
            lane,
            connection: None,
            batch: Batch::default(),
            filled: Vec::new(),
            parts: VecDeque::new(),
            batches: VecDeque::new(),
            sent: 0,
            settled: 0,
            base: 0,
            rejected: Vec::new(),
            scratch: Scratch::default(),
            owner: None,
            progress_at: Instant::now(),
        }
    }

    /// Runs until there is nothing to do for a while, or the daemon ends.
    pub(super) fn run(mut self) {
        loop {
            if self.lane.is_stopping() {
                break;
            }
            let window = self.lane.destination.limits.window.max(1);
            let due = if self.batches.len() < window {
                self.fill()
            } else {
                None
            };
            // What is not sent needs no receiver.
            let unsent = self.filled.iter().take_while(|part| part.sent == 0).count();
            if unsent > 0 {
                self.parts.extend(self.filled.drain(..unsent));
                self.advance(self.settled);
            }
            let done = if !self.batch.is_empty() {
                self.send()
            } else if !self.batches.is_empty() {
                self.collect(due)
            } else {
                if self.owner.is_none() && !self.lane.wait(due) {
                    return;
                }
                Ok(())
            };
            if let Err(failure) = done {
                self.fail(&failure);
            }
        }
        self.finish();
        self.lane.stopped();
    }

    /// Fills the batch with what is ready; gives the time of the next look if it has room left.
    fn fill(&mut self) -> Option<Instant> {
        let limits = self.lane.destination.limits;
        // Streams let go of a batch once it is written; others keep some.
        let share = BATCH_MEMORY / (self.lane.active() * (limits.window.min(4) + 1));
        let bytes = limits.batch_bytes.min(share.max(SMALL_BATCH));
        loop {
            if self.batch.bytes.len() >= bytes || self.batch.len() >= limits.batch_records {
                return None;
            }
            let sink = match self.owner.take() {
                Some(sink) => sink,
                None => match self.lane.turn() {
                    Turn::Serve(sink) => sink,
                    Turn::Nothing(due) => return due,
                },
            };
            if sink.is_closed() {
                self.scratch.clear();
                self.lane.release(&sink);
                continue;
            }
            if !self.serve(&sink, bytes, limits.batch_records) {
                return None;
            }
        }
    }

    /// Takes records of one sink; `false`: they need a batch of their own, or the batch is full.
    fn serve(&mut self, sink: &Arc<Sink>, bytes: usize, records: usize) -> bool {
        let oldest = sink.max_age().map(|age| {
            let age = i64::try_from(age.as_nanos()).unwrap_or(i64::MAX);
            time::now_ns().saturating_sub(age)
        });
        let room = Room {
            bytes,
            records,
            oldest,
        };
        let mut feed = sink.feed();
        if self.batch.is_empty() {
            self.batch.scope = feed.scope().map(str::to_owned);
        } else if self.batch.scope.as_deref() != feed.scope() {
            drop(feed);
            self.put_back(sink);
            return false;
        }
        let file = if self.scratch.is_empty() {
            feed.file
        } else {
            self.scratch.file
        };
        let mut part = Part::new(Arc::clone(sink), file);
        let result = feed.fill(&mut self.scratch, &mut self.batch, &mut part, room);
        let drained = matches!(result, Ok(Filled::CaughtUp { .. } | Filled::End));
        if drained {
            feed.park(false);
        }
        drop(feed);
        let some = part.sent > 0;
        if !part.is_empty() {
            sink.note_read(part.first_time, drained);
            sink.in_flight.fetch_add(1, Ordering::SeqCst);
            self.filled.push(part);
        } else if drained {
            sink.note_read(None, true);
        }
        match result {
            Ok(Filled::Full) => {
                self.put_back(sink);
                return false;
            }
            Ok(Filled::Aged) => self.put_back(sink),
            Ok(Filled::CaughtUp { .. }) if some => {
                let crowd = u32::try_from(self.lane.lingering()).unwrap_or(u32::MAX);
                let linger = Duration::from_micros(100).saturating_mul(crowd);
                let linger = linger
                    .max(self.lane.destination.limits.linger)
                    .min(LONGEST_LINGER);
                self.lane.linger(Arc::clone(sink), Instant::now() + linger);
            }
            Ok(Filled::CaughtUp { commit }) => {
                if sink.in_flight.load(Ordering::SeqCst) == 0 {
                    sink.rest(true);
                }
                self.lane.release(sink);
                sink.wait_for_commit(commit);
            }
            Ok(Filled::End) => {
                if sink.in_flight.load(Ordering::SeqCst) == 0 {
                    sink.rest(true);
                }
                self.lane.release(sink);
            }
            Err(error) => {
                sink.note_read_error(crate::errors::chain(&error));
                self.scratch.clear();
                sink.feed().park(true);
                self.lane
                    .linger(Arc::clone(sink), Instant::now() + READ_AGAIN);
            }
        }
        true
    }

    /// The sink has more: it is served next if records of it were read already, else in its turn.
    fn put_back(&mut self, sink: &Arc<Sink>) {
        if self.scratch.is_empty() {
            self.lane.requeue(Arc::clone(sink));
        } else {
            self.owner = Some(Arc::clone(sink));
        }
    }

    fn send(&mut self) -> Result<(), Failure> {
        if self.connection.is_none() {
            let opened = self
                .lane
                .destination
                .opener
                .open(&mut |line| tracing::debug!("{line}"))?;
            self.connection = Some(opened);
            (self.sent, self.settled, self.base) = (0, 0, 0);
            self.progress_at = Instant::now();
            self.lane.connected();
        }
        let Some(connection) = &mut self.connection else {
            return Ok(());
        };
        let records = self.batch.len() as u64;
        let began = Instant::now();
        let stalled = AtomicBool::new(false);
        let lane = &self.lane;
        let cancelled = || {
            if began.elapsed() > STALLED && !stalled.swap(true, Ordering::Relaxed) {
                lane.stalled();
            }
            lane.is_stopping() || lane.sinks().is_empty()
        };
        // They are under way from here on, also if the call fails in the middle.
        self.parts.extend(self.filled.drain(..));
        self.sent += records;
        self.batches.push_back(self.sent);
        connection.send(&mut self.batch, &cancelled)?;
        self.batch.clear();
        self.collect(Some(Instant::now()))
    }

    /// Learns what is settled; waits for it until `due`, a moment at most.
    fn collect(&mut self, due: Option<Instant>) -> Result<(), Failure> {
        let wait = due.map_or(SETTLE_WAIT, |due| {
            due.saturating_duration_since(Instant::now())
                .min(SETTLE_WAIT)
        });
        let Some(connection) = &mut self.connection else {
            return Ok(());
        };
        let total = connection.settled(wait, &mut self.rejected)?;
        if total > self.settled {
            self.progress_at = Instant::now();
            self.lane.works();
        } else if self.batches.is_empty() {
            self.progress_at = Instant::now();
        } else if self.progress_at.elapsed() > STALLED {
            self.lane.stalled();
        }
        self.advance(total);
        Ok(())
    }

    /// Records up to `total` of the connection are settled.
    fn advance(&mut self, total: u64) {
        self.settled = self.settled.max(total);
        while self.batches.front().is_some_and(|end| *end <= self.settled) {
            self.batches.pop_front();
        }
        while let Some(part) = self.parts.front_mut() {
            let upto = (self.settled - self.base).min(part.sent);
            let whole = upto >= part.sent;
            if !whole && upto <= part.done {
                break;
            }
            let end = self.base + upto;
            let mut refused = Vec::new();
            self.rejected.retain(|one| {
                let mine = one.record < end;
                if mine {
                    refused.push(one.reason.clone());
                }
                !mine
            });
            let sink = Arc::clone(&part.sink);
            if !refused.is_empty() {
                tracing::warn!(
                    container = sink.container,
                    sink = sink.name,
                    records = refused.len(),
                    reason = refused[0],
                    "the receiver rejects records"
                );
            }
            sink.settle(part, upto, &refused);
            if !whole {
                break;
            }
            self.base += part.sent;
            self.parts.pop_front();
            if sink.in_flight.fetch_sub(1, Ordering::SeqCst) == 1 {
                let read = !self.owner.as_ref().is_some_and(|o| Arc::ptr_eq(o, &sink));
                sink.rest(read);
            }
        }
    }

    /// The connection is of no use: everything that is not settled is read again later.
    fn fail(&mut self, failure: &Failure) {
        self.drop_connection();
        let attempts = self.lane.failed(failure);
        let limits = self.lane.destination.limits;
        let (first, most) = limits.retry;
        let doubled = first.saturating_mul(1 << attempts.saturating_sub(1).min(16));
        let mut pause = doubled.min(most).mul_f64(jitter());
        match failure.kind {
            FailureKind::Denied => pause = pause.max(DENIED_PAUSE),
            FailureKind::Busy(Some(wanted)) => {
                pause = pause.max(wanted.min(most.max(DENIED_PAUSE)))
            }
            _ => {}
        }
        self.lane.pause(Instant::now() + pause);
    }

    fn drop_connection(&mut self) {
        if let Some(connection) = self.connection.take() {
            let total = connection.close();
            self.advance(total);
        }
        let mut sinks: Vec<Arc<Sink>> = Vec::new();
        let left = self.parts.drain(..).chain(self.filled.drain(..));
        for part in left {
            part.sink.in_flight.fetch_sub(1, Ordering::SeqCst);
            if !sinks.iter().any(|sink| Arc::ptr_eq(sink, &part.sink)) {
                sinks.push(part.sink);
            }
        }
        let owner = self.owner.take();
        if let Some(owner) = &owner
            && !sinks.iter().any(|sink| Arc::ptr_eq(sink, owner))
        {
            sinks.push(Arc::clone(owner));
        }
        self.batches.clear();
        self.rejected.clear();
        self.batch = Batch::default();
        self.scratch = Scratch::default();
        (self.sent, self.settled, self.base) = (0, 0, 0);
        for sink in sinks {
            sink.rewind();
            if owner.as_ref().is_some_and(|o| Arc::ptr_eq(o, &sink)) {
                self.lane.requeue(sink);
            } else {
                sink.wake();
            }
        }
    }

    /// The daemon ends: what is under way is waited for a moment, so that it need not be sent again.
    fn finish(&mut self) {
        let until = Instant::now() + LAST_WAIT;
        while !self.batches.is_empty() && Instant::now() < until {
            if self.collect(Some(until)).is_err() {
                break;
            }
        }
        if let Some(connection) = self.connection.take() {
            let total = connection.close();
            self.advance(total);
        }
    }
}

/// Between a half and one: many that failed together do not come back together.
fn jitter() -> f64 {
    let mut bytes = [0; 4];
    // Without randomness they come back together.
    let _ = getrandom::fill(&mut bytes);
    0.5 + f64::from(u32::from_le_bytes(bytes)) / f64::from(u32::MAX) / 2.0
}
