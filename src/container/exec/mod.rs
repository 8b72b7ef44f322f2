//! Further processes in running containers: `exec`, and the probes of health checks.
//!
//! `config` is what was asked for, `table` all that the daemon knows, `create` and `start` are the
//! two steps of the API, `process` runs the OCI runtime, `console` gets the terminal, `io` carries
//! bytes, `probe` runs a command for the daemon itself.
//!
//! An exec'd process has a parent of its own, `taffrail-runtime attend`, which runs any OCI
//! runtime's `exec --detach`, reaps the process and says how it ended. So neither the process nor its
//! container depends on this daemon: with the daemon gone, the process goes on, its parent reaps
//! it, and the next daemon knows nothing of it. Nothing of an exec is on the disk but a folder for
//! the runtime while it starts.

mod config;
mod console;
mod create;
mod io;
mod probe;
mod process;
mod start;
mod table;
mod tap;

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::Instant;

use tokio::sync::watch;

use super::Container;

pub(crate) use config::{ExecConfig, size as console_size};
pub(crate) use io::{ExecInput, ExecOutput};
pub(crate) use probe::{Probe, ProbeOutcome};
pub(crate) use start::{Claim, ExecStart};
pub(crate) use table::ExecTable;
pub(crate) use tap::ExecTap;

/// One exec: asked for, then perhaps started, once.
#[derive(Debug)]
pub(crate) struct Exec {
    /// 64 hex digits.
    pub(crate) id: String,
    pub(crate) config: ExecConfig,
    /// The container's id.
    pub(crate) container: String,
    of: Weak<Container>,
    /// Who gets a copy of what happens.
    tap: OnceLock<Arc<dyn ExecTap>>,
    inner: Mutex<Inner>,
    /// Told at each change of the phase.
    changed: watch::Sender<()>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Created,
    /// Somebody has claimed it; the process does not run yet.
    Starting,
    Running,
    Ended,
}

#[derive(Debug)]
struct Inner {
    phase: Phase,
    /// As the host sees it; 0 before the start. It stays after the end, as in Docker.
    pid: i32,
    /// `None` before the end.
    exit_code: Option<i32>,
    ended: Option<Instant>,
    terminal: Option<Arc<io::Channel>>,
    /// Rows and columns that were asked for before there was a terminal.
    size: Option<(u16, u16)>,
    /// To its parent.
    parent: Option<process::Parent>,
    /// It is to be killed as soon as it has a parent.
    killed: bool,
}

impl Exec {
    fn new(id: String, container: &Arc<Container>, config: ExecConfig) -> Arc<Self> {
        let size = config.console_size;
        Arc::new(Self {
            id,
            config,
            container: container.id.clone(),
            of: Arc::downgrade(container),
            tap: OnceLock::new(),
            inner: Mutex::new(Inner {
                phase: Phase::Created,
                pid: 0,
                exit_code: None,
                ended: None,
                terminal: None,
                size,
                parent: None,
                killed: false,
            }),
            changed: watch::channel(()).0,
        })
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        // Each holder leaves plain values that are consistent after every statement.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn phase(&self) -> Phase {
        self.inner().phase
    }

    /// It was not started, or has not ended.
    fn is_live(&self) -> bool {
        self.phase() != Phase::Ended
    }

    /// Resolves at its end, with its exit code.
    pub(crate) async fn ended(&self) -> i32 {
        let mut changed = self.changed.subscribe();
        loop {
            {
                let inner = self.inner();
                if inner.phase == Phase::Ended {
                    return inner.exit_code.unwrap_or(process::UNKNOWN);
                }
            }
            // The sender lives in `self`, so it is not gone.
            if changed.changed().await.is_err() {
                return process::UNKNOWN;
            }
        }
    }

    /// Notes the end. The first one counts.
    fn end(&self, code: i32) -> bool {
        {
            let mut inner = self.inner();
            if inner.phase == Phase::Ended {
                return false;
            }
            inner.phase = Phase::Ended;
            inner.exit_code = Some(code);
            inner.ended = Some(Instant::now());
            inner.terminal = None;
            inner.parent = None;
        }
        self.changed.send_replace(());
        true
    }

    /// Kills the process and its process group, now or once it runs. Does not wait for the end.
    pub(crate) fn kill(&self) {
        let mut inner = self.inner();
        inner.killed = true;
        if let Some(parent) = &inner.parent {
            parent.kill();
        }
    }

    fn has_parent(&self, parent: process::Parent) {
        let mut inner = self.inner();
        if inner.killed {
            parent.kill();
        }
        inner.parent = Some(parent);
    }
}
