//! Delivery: the logs of containers go to receivers, from the log on the disk and nowhere else.
//!
//! A [`Sink`] is one place that one container's log is sent to: a reader, an encoder, a durable
//! cursor. A lane is one receiver; sinks with the same destination share it, its connection and its
//! thread. An idle sink has no buffer, task or socket: the doorbell of its container's monitor wakes
//! its lane. What is not accepted stays in the log, or in its spool, and is read again.
//!
//! Locks, in the order in which they may be taken: a sink's feed, its progress, a lane's queue. None
//! is held while something is sent.

mod cursor;
mod feed;
mod lane;
mod part;
mod removed;
pub(crate) mod sentence;
mod show;
mod sink;
mod tell;
mod worker;

pub(crate) use cursor::highest;
#[cfg(test)]
pub(crate) use cursor::{CursorFile, Place};
pub(crate) use sink::{Sink, SinkFigures};

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use taffrail_drivers::sink::{Destination, Encoder, Environment, Limits};
use taffrail_drivers::{ContainerFacts, Validated};
use taffrail_log::{Cursor, LogFiles};

use crate::daemon::Daemon;
use crate::logs::Holds;
use crate::supervisor::Capture;
use feed::Feed;
use lane::Lane;
use removed::Kept;
use sink::NewSink;
use tell::Teller;

/// How often cursors are synced and what is idle is let go.
const PERIOD: Duration = Duration::from_secs(1);
/// Cursors that are synced in one period; the others wait for the next.
const SYNCS: usize = 32;
/// A reader that was not used for so long is closed.
const READER_IDLE: Duration = Duration::from_secs(10);
/// How long the daemon's end waits for what is under way.
const STOP_WAIT: Duration = Duration::from_secs(2);

/// All sinks of a daemon.
#[derive(Debug)]
pub(crate) struct Delivery {
    environment: Environment,
    lanes: Mutex<HashMap<String, Arc<Lane>>>,
    sinks: Mutex<HashMap<String, Vec<Arc<Sink>>>>,
    /// Folder of the logs of removed containers that are still to be delivered.
    spool: PathBuf,
    kept: Mutex<HashMap<String, Kept>>,
    active: Arc<AtomicUsize>,
    daemon: Mutex<Weak<Daemon>>,
}

/// What a container's sinks need to know of it.
pub(crate) struct Subject<'a> {
    pub(crate) facts: ContainerFacts<'a>,
    pub(crate) validated: &'a Validated,
    pub(crate) files: LogFiles,
    /// The container's folder.
    pub(crate) dir: &'a Path,
    pub(crate) holds: &'a Arc<Holds>,
}

impl Delivery {
    pub(crate) fn new(data_root: &Path) -> Self {
        Self {
            environment: environment(data_root),
            lanes: Mutex::default(),
            sinks: Mutex::default(),
            spool: data_root.join("spool"),
            kept: Mutex::default(),
            active: Arc::new(AtomicUsize::new(0)),
            daemon: Mutex::default(),
        }
    }

    fn lanes(&self) -> MutexGuard<'_, HashMap<String, Arc<Lane>>> {
        // The map is consistent after each statement; so below.
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn sinks(&self) -> MutexGuard<'_, HashMap<String, Vec<Arc<Sink>>>> {
        self.sinks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The lane of a destination.
    fn lane(&self, driver: &str, destination: Destination) -> Arc<Lane> {
        let key = format!("{driver}\0{}", destination.key);
        let mut lanes = self.lanes();
        let lane = lanes.entry(key).or_insert_with(|| {
            let daemon = self.daemon.lock().unwrap_or_else(PoisonError::into_inner);
            let tell = Teller::new(driver.to_owned(), daemon.clone());
            Lane::new(destination, Arc::new(tell), Arc::clone(&self.active))
        });
        Arc::clone(lane)
    }

    /// The sinks of a container, or of a removed one that is still being delivered.
    pub(crate) fn sinks_of(&self, container: &str) -> Vec<Arc<Sink>> {
        self.sinks().get(container).cloned().unwrap_or_default()
    }

    /// Makes the sinks of a container that has none yet. They hold its log from their cursors on.
    fn prepare(&self, subject: &Subject<'_>, removed: bool) -> Vec<Arc<Sink>> {
        let id = subject.facts.id;
        if let Some(sinks) = self.sinks().get(id) {
            return sinks.clone();
        }
        let mut made = Vec::new();
        for (index, one) in subject.validated.sinks().iter().enumerate() {
            let destination = one
                .settings
                .destination(&self.environment)
                .unwrap_or_else(|error| lazy(one, &self.environment, &error.0));
            let encoder = match one.settings.encoder(&subject.facts) {
                Ok(encoder) => encoder,
                Err(error) => {
                    tracing::error!(container = id, sink = one.name, %error, "records cannot be encoded, nothing is delivered");
                    continue;
                }
            };
            let address = destination.address.clone();
            let lane = self.lane(one.driver, destination);
            let files = subject.files.clone();
            let sink = Sink::new(NewSink {
                container: id.to_owned(),
                container_name: subject.facts.name.trim_start_matches('/').to_owned(),
                name: one.name.clone(),
                driver: one.driver,
                address,
                max_age: max_age(subject.validated, removed),
                lane: Arc::downgrade(&lane),
                dir: subject.dir,
                index,
                holds: subject.holds,
                feed: Box::new(|cursor| Feed::new(id.to_owned(), files, encoder, cursor)),
            });
            lane.join(&sink);
            made.push(sink);
        }
        if !made.is_empty() {
            self.sinks().insert(id.to_owned(), made.clone());
        }
        made
    }

    /// A run of the container begins, or is found again by a new daemon.
    pub(crate) fn begin_run(&self, subject: &Subject<'_>, capture: &Arc<Capture>) {
        let sinks = self.prepare(subject, false);
        for one in subject.validated.sinks() {
            let Some(sink) = sinks.iter().find(|sink| sink.name == one.name) else {
                continue;
            };
            let encoder: Option<Box<dyn Encoder>> = one.settings.encoder(&subject.facts).ok();
            sink.begin_run(capture, subject.holds, encoder);
        }
    }

    /// A container that does not run may have records that were not delivered.
    pub(crate) fn resume(&self, subject: &Subject<'_>) {
        for sink in self.prepare(subject, false) {
            sink.wake();
        }
    }

    /// The run's capture is about to go.
    pub(crate) fn end_run(&self, container: &str, capture: &Arc<Capture>) {
        for sink in self.sinks_of(container) {
            sink.end_run(capture);
        }
    }

    /// Another name is told of from now on.
    pub(crate) fn rename(&self, container: &str, name: &str) {
        for sink in self.sinks_of(container) {
            sink.rename(name);
        }
    }

    /// All sinks, with their containers' ids.
    pub(crate) fn all(&self) -> Vec<Arc<Sink>> {
        self.sinks().values().flatten().cloned().collect()
    }

    /// Ends the threads; waits a moment for what is under way, then syncs all cursors.
    pub(crate) fn stop(&self) {
        let lanes: Vec<_> = self.lanes().values().cloned().collect();
        for lane in &lanes {
            lane.stop();
        }
        let until = Instant::now() + STOP_WAIT;
        while lanes.iter().any(|lane| lane.is_running()) && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(5));
        }
        let all = self.all();
        let dirty: Vec<_> = all.iter().filter_map(|sink| sink.unsynced()).collect();
        let synced = match dirty.first() {
            // One call for the whole file system is quicker than one for each of many.
            Some(Ok(file)) if dirty.len() > SYNCS => nix::unistd::syncfs(file).map_err(Into::into),
            _ => dirty
                .into_iter()
                .try_for_each(|file| file.and_then(|file| file.sync_data())),
        };
        if let Err(error) = synced {
            tracing::warn!(%error, "cursors cannot be synced, some records may be sent again");
        }
    }

    /// Syncs some cursors, lets go what is idle.
    fn pass(&self, from: usize) -> usize {
        let sinks = self.all();
        let count = sinks.len().max(1);
        let mut synced = 0;
        let mut next = from;
        for n in 0..sinks.len() {
            let sink = &sinks[(from + n) % count];
            if synced < SYNCS && sync(sink) {
                synced += 1;
                next = from + n + 1;
            }
            sink.let_go(READER_IDLE);
        }
        self.lanes()
            .retain(|_, lane| lane.is_running() || !lane.sinks().is_empty());
        self.clear_kept();
        next % count
    }
}

/// Where drivers find what options name.
pub(crate) fn environment(data_root: &Path) -> Environment {
    Environment {
        secrets_dir: data_root.join("secrets"),
    }
}

/// Syncs a sink's cursor if it has moved since the last time.
fn sync(sink: &Sink) -> bool {
    let file = match sink.unsynced() {
        None => return false,
        Some(file) => file,
    };
    if let Err(error) = file.and_then(|file| file.sync_data()) {
        tracing::warn!(container = sink.container, sink = sink.name, %error, "cursor cannot be synced");
    }
    true
}

fn max_age(validated: &Validated, removed: bool) -> Option<Duration> {
    let given = match validated.plan() {
        taffrail_drivers::Plan::JsonFile(file) => file.common().max_spool_age(),
        taffrail_drivers::Plan::Local(local) => local.common().max_spool_age(),
        _ => None,
    };
    given.or_else(|| removed.then_some(removed::MAX_AGE))
}

/// A destination whose files cannot be read now: that is tried again with each connection.
fn lazy(one: &taffrail_drivers::Sink, environment: &Environment, error: &str) -> Destination {
    use taffrail_drivers::sink::{Connection, Failure, FailureKind, Opener, SinkSettings, Trace};
    struct Lazy(Arc<dyn SinkSettings>, Environment);
    impl Opener for Lazy {
        fn open(&self, trace: Trace<'_>) -> Result<Box<dyn Connection>, Failure> {
            let destination = self.0.destination(&self.1);
            let destination =
                destination.map_err(|error| Failure::new(FailureKind::Unreachable, error.0))?;
            destination.opener.open(trace)
        }
    }
    tracing::error!(
        sink = one.name,
        error,
        "sink cannot be prepared, it is tried again"
    );
    Destination {
        key: format!("unprepared {:?}", one.settings),
        address: one.driver.to_owned(),
        opener: Arc::new(Lazy(Arc::clone(&one.settings), environment.clone())),
        limits: Limits::default(),
    }
}

/// Starts the work that is done once a second.
pub(crate) fn start(daemon: &Arc<Daemon>) {
    let delivery = &daemon.delivery;
    *delivery
        .daemon
        .lock()
        .unwrap_or_else(PoisonError::into_inner) = Arc::downgrade(daemon);
    let daemon = Arc::downgrade(daemon);
    tokio::spawn(async move {
        let mut interval = tokio::time::interval(PERIOD);
        interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let next = Arc::new(AtomicUsize::new(0));
        loop {
            interval.tick().await;
            let Some(daemon) = daemon.upgrade() else {
                return;
            };
            let next = Arc::clone(&next);
            let pass = tokio::task::spawn_blocking(move || {
                let from = next.load(Ordering::Relaxed);
                next.store(daemon.delivery.pass(from), Ordering::Relaxed);
            });
            if let Err(error) = pass.await {
                tracing::error!(%error, "a look at deliveries failed");
            }
        }
    });
}

/// A cursor before the first record of a log.
pub(super) const BEGIN: Cursor = Cursor { epoch: 1, seq: 0 };
