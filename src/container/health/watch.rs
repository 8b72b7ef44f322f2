//! The task of a running container with a check: waits, probes, takes the result in, tells changes.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use taffrail_config::WebhookEvent;
use tokio::sync::Semaphore;

use super::check::Check;
use super::known::{Health, HealthStatus, Probe};
use crate::container::exit::blocking;
use crate::container::last_words::{Happened, Reading};
use crate::container::{Container, Inner, Status, time};
use crate::daemon::Daemon;

/// Probes that are being started at the same time, at most, of all containers.
static STARTS: Semaphore = Semaphore::const_new(8);
/// A probe that runs longer gives its place back, so that one that hangs holds nobody up.
const START_TIME: Duration = Duration::from_secs(1);
/// After a start of the daemon, probes that are overdue begin within so long, by chance.
const SPREAD: Duration = Duration::from_secs(5);

/// The task; it ends with this.
#[derive(Debug)]
pub(in crate::container) struct HealthWatch(tokio::task::AbortHandle);

impl Drop for HealthWatch {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Inner {
    /// A run begins: its health is not known yet.
    pub(in crate::container) fn begin_health(&mut self) {
        let state = &mut self.record.state;
        let before = state.health.take();
        state.health = Check::of(&self.record.config)
            .map(|_| Arc::new(Health::starting(state.run(), before.as_deref())));
    }

    /// A run has ended.
    pub(in crate::container) fn end_health(&mut self) {
        self.health_watch = None;
        let health = &mut self.record.state.health;
        *health = health.take().map(|health| Arc::new(health.stopped()));
    }
}

impl Container {
    /// After a start of the daemon: what the one before has written down.
    pub(in crate::container) fn load_health(&self) {
        let found = Health::load(&self.dir);
        let mut inner = self.inner();
        let state = &mut inner.record.state;
        state.health = match found {
            Some(health) if !state.status.has_process() => Some(Arc::new(health.stopped())),
            Some(health) if health.run == state.run() => Some(Arc::new(health)),
            // Of an earlier run, or the daemon did not live to write the first.
            before => {
                state.health = before.map(Arc::new);
                if state.status.has_process() {
                    inner.begin_health();
                }
                return;
            }
        };
    }
}

impl Daemon {
    /// Begins to check a container that runs. `found`: it ran before this daemon.
    pub(in crate::container) fn watch_health(
        self: &Arc<Self>,
        container: &Arc<Container>,
        found: bool,
    ) {
        let Some(check) = Check::of(&container.record().config) else {
            return;
        };
        let daemon = Arc::clone(self);
        let weak = Arc::downgrade(container);
        let mut inner = container.inner();
        let started_ns = inner.record.state.started_ns.unwrap_or_default();
        let Some(health) = inner.record.state.health.clone() else {
            return;
        };
        let now = time::now_ns();
        let mut pause = health.due(&check, started_ns, now);
        if found && pause.is_zero() {
            pause = SPREAD.min(check.interval) * u32::from(random()) / 255;
        }
        let task = tokio::spawn(async move {
            loop {
                tokio::time::sleep(pause).await;
                let Some(container) = weak.upgrade() else {
                    return;
                };
                // A paused container is not probed, and what it is was not its doing.
                container
                    .wait_until(|inner| inner.record.state.status == Status::Running)
                    .await;
                if let Some(probe) = daemon.probe_in_turn(&container, &check).await {
                    daemon
                        .take_probe(&container, probe, &check, started_ns)
                        .await;
                }
                let health = container.inner().record.state.health.clone();
                let Some(health) = health else { return };
                pause = health.pause(&check, started_ns, time::now_ns());
            }
        });
        inner.health_watch = Some(HealthWatch(task.abort_handle()));
    }

    async fn probe_in_turn(
        self: &Arc<Self>,
        container: &Arc<Container>,
        check: &Check,
    ) -> Option<Probe> {
        // It is never closed.
        let permit = STARTS.acquire().await;
        let probe = self.run_check(container, check);
        tokio::pin!(probe);
        tokio::select! {
            probe = &mut probe => return probe,
            () = tokio::time::sleep(START_TIME) => drop(permit),
        }
        probe.await
    }

    async fn take_probe(
        self: &Arc<Self>,
        container: &Arc<Container>,
        probe: Probe,
        check: &Check,
        started_ns: i64,
    ) {
        let (exit_code, output, at_ns) = (probe.exit_code, probe.output.clone(), probe.end_ns);
        let (health, changed) = {
            let mut inner = container.inner();
            let state = &mut inner.record.state;
            let Some(health) = &mut state.health else {
                return;
            };
            let health = Arc::make_mut(health);
            let changed = health.apply(probe, check, started_ns);
            (health.clone(), changed)
        };
        if changed {
            tracing::debug!(
                container = container.id,
                status = health.status.as_str(),
                "health has changed"
            );
            self.tell_health(container, &health);
        }
        if changed && health.status == HealthStatus::Unhealthy {
            let (run, capture) = {
                let inner = container.inner();
                (inner.record.state.run(), inner.capture.clone())
            };
            let happened = Happened {
                event: WebhookEvent::Unhealthy,
                at_ns,
                run,
                cause: String::new(),
                exit_code: None,
                post: true,
                keep: true,
                health: Some(json!({
                    "failingStreak": health.failing_streak,
                    "exitCode": exit_code,
                    "output": output,
                })),
            };
            let reading = Reading::begin(container, run, capture);
            self.last_words(container, reading, vec![happened]);
        }
        save(container, health, changed).await;
    }

    fn tell_health(&self, container: &Container, health: &Health) {
        let action = format!("health_status: {}", health.status.as_str());
        if health.status != HealthStatus::Unhealthy {
            return self.container_event(container, &action, []);
        }
        self.container_event(
            container,
            &action,
            [
                ("failingStreak", health.failing_streak.to_string()),
                ("runNumber", health.run.to_string()),
            ],
        );
    }
}

async fn save(container: &Arc<Container>, health: Health, sync: bool) {
    let _files = container.files.lock().await;
    {
        let inner = container.inner();
        if inner.gone || inner.record.state.status == Status::Removing {
            return;
        }
    }
    let dir = container.dir().to_owned();
    if let Some(Err(error)) = blocking(move || health.save(&dir, sync)).await {
        tracing::warn!(container = container.id, %error, "health cannot be written");
    }
}

/// Without random numbers the middle will do.
fn random() -> u8 {
    getrandom::u32().map_or(128, |n| n.to_le_bytes()[0])
}
