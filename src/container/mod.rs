//! Containers: their life cycle, one file a verb. The API calls the methods of [`Daemon`] that
//! these files add.
//!
//! Locks: a container's `verb` mutex serialises start, pause, rename and remove (and lets stop wait
//! for a start that is under way); it is never taken by the task that handles the exit, so that a
//! stop can wait for the exit while it holds nothing. `files` serialises writers of the state file;
//! who holds it takes no other lock but the next. The inner state is behind a plain mutex that is
//! never held across an await.
//!
//! [`Daemon`]: crate::daemon::Daemon

mod archive;
mod attach;
mod commit;
mod connect;
mod create;
mod create_check;
mod delivery;
pub(crate) mod exec;
mod exit;
mod explain;
pub(crate) mod extra;
mod figures;
mod health;
mod inspect;
mod join;
mod kill;
mod last_words;
mod links;
mod list;
mod log_check;
mod log_config;
mod log_store;
mod log_test;
mod logs;
pub(crate) mod names;
mod network;
mod network_show;
mod oom;
mod pause;
mod policy;
mod prune;
mod recovery;
mod remove;
mod rename;
mod resize;
mod restart;
mod signal;
mod start;
pub(crate) mod state;
mod stats;
mod stop;
pub(crate) mod table;
pub(crate) mod time;
mod top;
mod update;
mod view;
mod volumes;
mod wait;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use tokio::sync::{oneshot, watch};

use crate::logs::Holds;
use crate::supervisor::{AttachStream, Capture};

pub(crate) use archive::ExtractOptions;
pub(crate) use attach::{
    AttachInput, AttachOptions, AttachOutput, AttachSession, InputEnd, Stream,
};
pub(crate) use commit::CommitOptions;
pub(crate) use create::CreateBody;
pub(crate) use figures::Figures;
pub(crate) use health::metrics as health_metrics;
pub(crate) use inspect::tree_size;
pub(crate) use list::ListOptions;
pub(crate) use log_check::Checked;
pub(crate) use log_test::LogTest;
pub(crate) use logs::LogStream;
pub(crate) use network::wish;
pub(crate) use remove::RemoveOptions;
pub(crate) use signal::{
    SignalError, parse as parse_signal, process_lives, send as send_signal,
    start_time as process_start,
};
pub(crate) use state::{Record, State, Status};
pub(crate) use wait::{WaitHandle, WaitOutcome};

/// One container: what is stored of it, and what belongs to its present run.
#[derive(Debug)]
pub(crate) struct Container {
    /// 64 hex digits.
    pub(crate) id: String,
    /// `<data-root>/containers/<id>`.
    dir: PathBuf,
    inner: Mutex<Inner>,
    /// Serialises start and remove; see the module's comment.
    verb: tokio::sync::Mutex<()>,
    /// Serialises writers of the state file.
    files: tokio::sync::Mutex<()>,
    /// Who still needs which files of the log.
    holds: Arc<Holds>,
    /// Streams beside stdout and stderr.
    extra: Arc<extra::Extra>,
    /// `max-spool-size` and `compress`, once asked for.
    upkeep: OnceLock<log_config::Upkeep>,
}

#[derive(Debug)]
struct Inner {
    record: Record,
    /// Present from the runtime's `create` on until the exit is handled.
    capture: Option<Arc<Capture>>,
    /// Attach calls that came before the start they wait for.
    pending_output: Vec<oneshot::Sender<AttachStream>>,
    pending_input: Vec<oneshot::Sender<Arc<Capture>>>,
    /// Answered at the next exit (or failed start).
    exit_waiters: Vec<oneshot::Sender<WaitOutcome>>,
    /// Answered when the container is gone.
    removal_waiters: Vec<oneshot::Sender<WaitOutcome>>,
    /// The removal is complete.
    gone: bool,
    /// A user's restart is between its stop and its start: the end is not the end of `--rm`.
    between_runs: bool,
    /// Somebody waits for the kernel to say that memory is short; dropped with the run.
    oom_watch: Option<oom::OomWatch>,
    /// Its health is checked; dropped with the run.
    health_watch: Option<health::HealthWatch>,
    /// When that happened whose last words are on the disk; nanoseconds since 1970.
    last_words_ns: i64,
    /// Counts changes of the state, for those who wait for one.
    changed: watch::Sender<u64>,
}

impl Container {
    pub(crate) fn new(dir: PathBuf, record: Record) -> Arc<Self> {
        let extra = extra::Extra::new(&dir);
        Arc::new(Self {
            id: record.id.clone(),
            dir,
            inner: Mutex::new(Inner {
                record,
                capture: None,
                pending_output: Vec::new(),
                pending_input: Vec::new(),
                exit_waiters: Vec::new(),
                removal_waiters: Vec::new(),
                gone: false,
                between_runs: false,
                oom_watch: None,
                health_watch: None,
                last_words_ns: i64::MIN,
                changed: watch::channel(0).0,
            }),
            verb: tokio::sync::Mutex::new(()),
            files: tokio::sync::Mutex::new(()),
            holds: Arc::default(),
            extra,
            upkeep: OnceLock::new(),
        })
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        // Each holder leaves plain values that are consistent after every statement.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Name without the leading `/`.
    pub(crate) fn name(&self) -> String {
        self.inner().record.name.clone()
    }

    /// Output is one raw stream, without frames.
    pub(crate) fn tty(&self) -> bool {
        self.inner().record.config.tty
    }

    /// Docker's `State.Running`: running (also while its exit is being handled), paused or
    /// restarting.
    pub(crate) fn is_running(&self) -> bool {
        self.inner().record.state.status.is_up()
    }

    /// It runs or is paused, also while its exit is being handled.
    pub(crate) fn has_process(&self) -> bool {
        self.inner().record.state.status.has_process()
    }

    /// A copy of what is stored: configuration and state.
    pub(crate) fn record(&self) -> Record {
        self.inner().record.clone()
    }

    /// Id (`sha256:...`) of the container's image.
    pub(crate) fn image_id(&self) -> String {
        self.inner().record.image_id.clone()
    }

    /// `<data-root>/containers/<id>`.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Resolves once `done` holds for the state; looks at once, then after each change.
    async fn wait_until(&self, done: impl Fn(&Inner) -> bool) {
        let mut changed = self.inner().changed.subscribe();
        loop {
            if done(&self.inner()) {
                return;
            }
            // The sender lives in `self`, so it is not gone.
            if changed.changed().await.is_err() {
                return;
            }
        }
    }
}

impl Inner {
    /// Tells those who wait for a change of the state.
    fn notify(&self) {
        self.changed.send_modify(|n| *n += 1);
    }
}
