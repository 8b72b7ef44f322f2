//! Processes that the kernel kills for want of memory: told of as it happens, and at the latest at
//! the container's end. The kernel's counter decides, so nothing is missed or told twice when the
//! daemon was away.

use std::sync::Arc;
use std::time::Duration;

use taffrail_config::WebhookEvent;

use super::exit::blocking;
use super::last_words::{Happened, Reading};
use super::{Container, time};
use crate::daemon::Daemon;
use crate::runtime::{self, OomEvents};

/// An event comes before the kill; the counter is looked at so often and in such steps.
const LOOKS: u32 = 20;
const STEP: Duration = Duration::from_millis(50);

/// Kills that the kernel has counted in a run.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Kills(pub(super) u64);

/// A task that listens; it ends with this.
#[derive(Debug)]
pub(super) struct OomWatch(tokio::task::AbortHandle);

impl Drop for OomWatch {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Daemon {
    /// Publishes what was not told of yet. True if there was something.
    pub(super) fn tell_oom(&self, container: &Container, kills: Kills) -> bool {
        {
            let mut inner = container.inner();
            let state = &mut inner.record.state;
            if kills.0 <= state.oom_told {
                return false;
            }
            state.oom_told = kills.0;
            state.oom_killed = true;
        }
        let run = container.inner().record.state.run();
        self.container_event(
            container,
            "oom",
            [
                ("exitCause", "oom".to_owned()),
                ("runNumber", run.to_string()),
            ],
        );
        true
    }

    /// Last words of a container that lives on: one of its processes was killed.
    fn oom_words(self: &Arc<Self>, container: &Arc<Container>) {
        let (run, capture) = {
            let inner = container.inner();
            (inner.record.state.run(), inner.capture.clone())
        };
        let happened = Happened {
            event: WebhookEvent::Oom,
            at_ns: time::now_ns(),
            run,
            cause: "oom".to_owned(),
            exit_code: None,
            post: true,
            keep: true,
            health: None,
        };
        let reading = Reading::begin(container, run, capture);
        self.last_words(container, reading, vec![happened]);
    }

    /// Listens for a container that runs, if its memory is limited; who shares the host's memory
    /// is looked at when it ends.
    pub(super) fn watch_oom(self: &Arc<Self>, container: &Arc<Container>) {
        let record = container.record();
        if record.host.memory <= 0 && record.host.cgroup_parent.is_empty() {
            return;
        }
        let group = self.cgroup_path(&record);
        let mut events = match OomEvents::open(&runtime::cgroup_layout(), &group) {
            Ok(events) => events,
            Err(error) => {
                tracing::debug!(container = container.id, %error, "no word of want of memory before the end");
                return;
            }
        };
        let daemon = Arc::clone(self);
        let weak = Arc::downgrade(container);
        let task = tokio::spawn(async move {
            let mut heard = false;
            loop {
                // What came before this listener counts, too.
                let Some(container) = weak.upgrade() else {
                    return;
                };
                daemon.look_for_kills(&container, &group).await;
                // With `--oom-kill-disable` they wait instead, which Docker tells as well.
                if heard && daemon.waits_for_memory(&container, &group).await {
                    daemon.container_event(&container, "oom", []);
                }
                heard = true;
                drop(container);
                match events.next().await {
                    Ok(true) => {}
                    Ok(false) => return,
                    Err(error) => {
                        tracing::warn!(group, %error, "want of memory is heard of at the end only");
                        return;
                    }
                }
            }
        });
        container.inner().oom_watch = Some(OomWatch(task.abort_handle()));
    }

    async fn waits_for_memory(&self, container: &Container, group: &str) -> bool {
        if container.inner().record.host.oom_kill_disable != Some(true) {
            return false;
        }
        let group = group.to_owned();
        blocking(move || runtime::waits_for_memory(&runtime::cgroup_layout(), &group))
            .await
            .unwrap_or(false)
    }

    async fn look_for_kills(self: &Arc<Self>, container: &Arc<Container>, group: &str) {
        for _ in 0..LOOKS {
            let group = group.to_owned();
            let kills =
                blocking(move || runtime::oom_kills(&runtime::cgroup_layout(), &group)).await;
            let Some(kills) = kills.flatten() else { return };
            if self.tell_oom(container, Kills(kills)) {
                self.oom_words(container);
                self.save(container).await;
                return;
            }
            tokio::time::sleep(STEP).await;
        }
    }
}
