//! The end of a run: a task for each running container waits for it, puts everything in order and
//! asks the restart policy.

use std::sync::Arc;

use taffrail_config::WebhookEvent;

use super::last_words::{Cause, Ended, Happened, Reading};
use super::oom::Kills;
use super::policy::{self, Exited};
use super::{Container, Record, RemoveOptions, State, Status, signal, volumes};
use crate::daemon::Daemon;
use crate::errors::{ApiError, chain};
use crate::runtime;
use crate::supervisor::{Capture, Exit};

impl Daemon {
    /// Watches a running container until its end.
    pub(super) fn watch_exit(self: &Arc<Self>, container: &Arc<Container>, capture: Arc<Capture>) {
        let daemon = Arc::clone(self);
        let container = Arc::clone(container);
        tokio::spawn(async move {
            // Resolves when log and attach output are complete.
            let exited = capture.exited();
            tokio::pin!(exited);
            let (pid, start) = {
                let state = &container.inner().record.state;
                (state.pid, state.pid_start)
            };
            let exit = tokio::select! {
                exit = &mut exited => exit,
                () = signal::gone(pid, start) => {
                    // With the host's process ids (`--pid host`) its children outlive it, and
                    // may write for ever: the output would never be complete.
                    let group = daemon.cgroup_path(&container.record());
                    blocking(move || runtime::kill_cgroup(&runtime::cgroup_layout(), &group)).await;
                    tokio::select! {
                        exit = &mut exited => exit,
                        exit = capture.damaged() => exit,
                    }
                }
            };
            daemon.handle_exit(&container, Some(&capture), exit).await;
        });
    }

    /// Everything that follows an exit. Afterwards the state is final and who waits is answered.
    pub(super) async fn handle_exit(
        self: &Arc<Self>,
        container: &Arc<Container>,
        capture: Option<&Arc<Capture>>,
        exit: Exit,
    ) {
        {
            let mut inner = container.inner();
            inner.oom_watch = None;
            inner.end_health();
        }
        let run = container.inner().record.state.run();
        // The log is complete, and nothing of it goes before this function has come to its end.
        let reading = Reading::begin(container, run, capture.cloned());
        let kills = self.clear_runtime(container).await;
        let oom = self.tell_oom(container, kills);
        let (code, error) = if exit.known {
            (exit.code, String::new())
        } else {
            (255, "exit status unknown".to_owned())
        };
        let finished_ns = i64::try_from(exit.at_ns).unwrap_or(i64::MAX);
        // Nobody writes the file with the state of before from here until this one is in force.
        let files = container.files.lock().await;
        let mut record = container.record();
        let ran_ns = finished_ns.saturating_sub(record.state.started_ns.unwrap_or(finished_ns));
        let next = policy::after_exit(
            &record.host.restart_policy,
            &Exited {
                code,
                ran_ns,
                manually_stopped: record.state.manually_stopped,
                restart_count: record.state.restart_count,
                delay_ms: record.state.restart_delay_ms,
            },
        );
        let cause = Cause::of(&Ended {
            known: exit.known,
            code,
            signal: exit.signal,
            oom_killed: record.state.oom_killed,
            manually_stopped: record.state.manually_stopped,
        })
        .to_string();
        let ending = self.check_not_ending().is_err();
        record.state = State {
            status: match next {
                Some(_) if !ending => Status::Restarting,
                _ => Status::Exited,
            },
            start_with_daemon: next.is_some() && ending,
            restart_count: record.state.restart_count + u64::from(next.is_some() && !ending),
            restart_delay_ms: next.unwrap_or(record.state.restart_delay_ms),
            pid: 0,
            pid_start: 0,
            exit_code: code,
            exit_cause: cause.clone(),
            error,
            lost_records: record.state.lost_records + exit.lost_records,
            lost_bytes: record.state.lost_bytes + exit.lost_bytes,
            finished_ns: Some(finished_ns),
            ..record.state
        };
        if exit.lost_records > 0 || exit.lost_bytes > 0 {
            tracing::error!(
                container = container.id,
                records = exit.lost_records,
                bytes = exit.lost_bytes,
                "output was lost, the log could not take it"
            );
        }
        let auto_remove = record.host.auto_remove && !container.inner().between_runs;
        let state = record.state.clone();
        if !auto_remove {
            // What is removed in a moment needs no state on the disk. Everything else is on the
            // disk before the keeper forgets how the container ended.
            write(container, record).await;
        }
        if let Some(capture) = capture {
            // Before anybody hears of the end: a new start uses the same folder.
            capture.release().await;
        }
        let seconds = ran_ns.max(0) / 1_000_000_000;
        self.container_event(
            container,
            "die",
            [
                ("exitCode", code.to_string()),
                ("execDuration", seconds.to_string()),
                ("exitCause", cause.clone()),
                ("runNumber", run.to_string()),
            ],
        );
        self.network_events(container, "disconnect");
        self.execs.container_ended(&container.id);
        self.volume_events(container, "unmount");
        let (restarts, revoked) = {
            let mut inner = container.inner();
            let manually_stopped = inner.record.state.manually_stopped;
            inner.record.state = State {
                manually_stopped,
                ..state
            };
            let state = &mut inner.record.state;
            // A stop that came after the policy was asked counts.
            let restarts = state.status == Status::Restarting;
            let revoked = restarts && manually_stopped;
            if revoked {
                state.status = Status::Exited;
                state.restart_count -= 1;
            }
            inner.capture = None;
            if let Some(capture) = capture {
                // Before a new run can begin, and before a removal looks at what is left.
                self.delivery.end_run(&container.id, capture);
            }
            inner.answer_exit_waiters();
            inner.notify();
            (restarts && !revoked, revoked)
        };
        if revoked {
            // A removal that waits for this end cannot have begun: it takes `files`, too.
            write(container, container.record()).await;
        }
        drop(files);
        let failed = code != 0 && !container.inner().record.state.manually_stopped;
        let die = Happened {
            event: WebhookEvent::Die,
            at_ns: finished_ns,
            run,
            cause,
            exit_code: Some(code),
            post: failed,
            keep: !auto_remove,
            health: None,
        };
        let oom = oom.then(|| Happened {
            event: WebhookEvent::Oom,
            post: true,
            keep: false,
            ..die.clone()
        });
        self.last_words(container, reading, oom.into_iter().chain([die]).collect());
        if auto_remove {
            self.auto_remove(container).await;
        } else if let (Some(delay_ms), true) = (next, restarts) {
            self.schedule_restart(container, delay_ms);
        }
    }

    /// Removes a container for its `AutoRemove`.
    pub(super) async fn auto_remove(self: &Arc<Self>, container: &Arc<Container>) {
        let options = RemoveOptions {
            force: true,
            volumes: true,
            drop_undelivered: false,
        };
        let removed = self.remove(container, &container.id, options).await;
        if let Err(error) = removed
            && !container.inner().gone
        {
            tracing::error!(container = container.id, error = %error, "container cannot be removed");
        }
    }

    /// Waits until a container that has ended is gone, if it is removed by itself.
    pub(crate) async fn removed_if_auto(&self, container: &Arc<Container>) {
        container
            .wait_until(|inner| {
                let status = inner.record.state.status;
                inner.gone || !inner.record.host.auto_remove || status == Status::Dead
            })
            .await;
    }

    /// Ends what is left of a run: processes, the runtime's state, control groups, mounts. Says
    /// how many of its processes the kernel has killed for want of memory.
    pub(super) async fn clear_runtime(self: &Arc<Self>, container: &Arc<Container>) -> Kills {
        let record = container.record();
        let id = container.id.clone();
        let group = self.cgroup_path(&record);
        let kills = {
            let group = group.clone();
            blocking(move || {
                let layout = runtime::cgroup_layout();
                let kills = runtime::oom_kills(&layout, &group);
                // Whoever has left the container's pid namespace (`--pid host`) is still here.
                runtime::kill_cgroup(&layout, &group);
                Kills(kills.unwrap_or(0))
            })
            .await
            .unwrap_or_default()
        };
        match self.oci_runtime(&record.host.runtime) {
            Ok(oci) => {
                if let Err(error) = oci.delete(&id, true).await {
                    tracing::warn!(container = id, error = %error, "runtime cannot delete the container");
                }
            }
            Err(error) => {
                tracing::warn!(container = id, error = %error, "runtime of the container is gone");
            }
        }
        self.leave_networks(container).await;
        let images = Arc::clone(&self.images);
        let store = Arc::clone(&self.volumes);
        let logged = id.clone();
        let unmounted = blocking(move || {
            // Runtimes remove the groups; what they leave must not stay.
            let layout = runtime::cgroup_layout();
            if let Err(error) = runtime::remove_cgroup(&layout, &group) {
                tracing::warn!(container = id, error = %error, "control group cannot be removed");
            }
            volumes::unmount(&store, &record);
            images.unmount_rootfs(&id)
        })
        .await;
        if let Some(Err(error)) = unmounted {
            tracing::warn!(container = logged, error = %error, "root file system cannot be unmounted");
        }
        kills
    }

    /// Writes a container's files as they are now; a failure is said in the log, as the run must go on.
    pub(super) async fn save(&self, container: &Arc<Container>) {
        let _files = container.files.lock().await;
        // One that was removed meanwhile has no files.
        if container.inner().gone {
            return;
        }
        write(container, container.record()).await;
    }
}

/// Writes a container's files; a failure is said in the log. Whoever calls this holds `files`.
async fn write(container: &Arc<Container>, record: Record) {
    if let Err(error) = try_write(container, record).await {
        tracing::error!(container = container.id, error = %error, "state of the container cannot be written");
    }
}

/// As `write`, for who can do without.
pub(super) async fn try_write(container: &Arc<Container>, record: Record) -> Result<(), ApiError> {
    let dir = container.dir().to_owned();
    blocking(move || record.save(&dir))
        .await
        .unwrap_or(Ok(()))
        .map_err(|error| ApiError::system(chain(&error)))
}

/// Runs what blocks on a thread for that. `None` only if the daemon is ending.
pub(super) async fn blocking<T, F>(work: F) -> Option<T>
where
    T: Send + 'static,
    F: FnOnce() -> T + Send + 'static,
{
    tokio::task::spawn_blocking(work).await.ok()
}
