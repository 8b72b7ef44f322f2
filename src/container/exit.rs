//! The end of a run: a task for each running container waits for it and puts everything in order.

use std::sync::Arc;

use super::{Container, Record, RemoveOptions, State, Status, signal};
use crate::daemon::Daemon;
use crate::errors::chain;
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
        let oom = self.clear_runtime(container).await;
        let (code, error) = if exit.known {
            (exit.code, String::new())
        } else {
            (255, "exit status unknown".to_owned())
        };
        let mut record = container.record();
        record.state = State {
            status: Status::Exited,
            pid: 0,
            pid_start: 0,
            exit_code: code,
            error,
            oom_killed: oom,
            lost_records: record.state.lost_records + exit.lost_records,
            lost_bytes: record.state.lost_bytes + exit.lost_bytes,
            finished_ns: Some(i64::try_from(exit.at_ns).unwrap_or(i64::MAX)),
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
        let auto_remove = record.host.auto_remove;
        let state = record.state.clone();
        if !auto_remove {
            // What is removed in a moment needs no state on the disk. Everything else is on the
            // disk before the keeper forgets how the container ended.
            self.save_record(container, record).await;
        }
        if let Some(capture) = capture {
            // Before anybody hears of the end: a new start uses the same folder.
            capture.release().await;
        }
        if oom {
            self.container_event(container, "oom", []);
        }
        self.container_event(container, "die", [("exitCode", code.to_string())]);
        self.network_event(container, "disconnect");
        {
            let mut inner = container.inner();
            let manually_stopped = inner.record.state.manually_stopped;
            inner.record.state = State {
                manually_stopped,
                ..state
            };
            inner.capture = None;
            inner.answer_exit_waiters();
            inner.notify();
        }
        if auto_remove {
            self.auto_remove(container).await;
        }
    }

    /// Removes a container for its `AutoRemove`.
    pub(super) async fn auto_remove(self: &Arc<Self>, container: &Arc<Container>) {
        let options = RemoveOptions {
            force: true,
            link: false,
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
    /// whether the kernel killed one of its processes for want of memory.
    pub(super) async fn clear_runtime(self: &Arc<Self>, container: &Arc<Container>) -> bool {
        let record = container.record();
        let id = container.id.clone();
        let group = self.cgroup_path(&record);
        let oom = {
            let group = group.clone();
            blocking(move || {
                let layout = runtime::cgroup_layout();
                let oom = runtime::oom_kills(&layout, &group).is_some_and(|n| n > 0);
                // Whoever has left the container's pid namespace (`--pid host`) is still here.
                runtime::kill_cgroup(&layout, &group);
                oom
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
        let images = Arc::clone(&self.images);
        let logged = id.clone();
        let unmounted = blocking(move || {
            // Runtimes remove the groups; what they leave must not stay.
            let layout = runtime::cgroup_layout();
            if let Err(error) = runtime::remove_cgroup(&layout, &group) {
                tracing::warn!(container = id, error = %error, "control group cannot be removed");
            }
            images.unmount_rootfs(&id)
        })
        .await;
        if let Some(Err(error)) = unmounted {
            tracing::warn!(container = logged, error = %error, "root file system cannot be unmounted");
        }
        oom
    }

    /// Writes a container's files as they are now; a failure is said in the log, as the run must go on.
    pub(super) async fn save(&self, container: &Arc<Container>) {
        let record = container.record();
        self.save_record(container, record).await;
    }

    async fn save_record(&self, container: &Arc<Container>, record: Record) {
        let dir = container.dir().to_owned();
        let saved = blocking(move || record.save(&dir)).await;
        if let Some(Err(error)) = saved {
            tracing::error!(container = container.id, error = %chain(&error), "state of the container cannot be written");
        }
    }
}

/// Runs what blocks on a thread for that. `None` only if the daemon is ending.
pub(super) async fn blocking<T, F>(work: F) -> Option<T>
where
    T: Send + 'static,
    F: FnOnce() -> T + Send + 'static,
{
    tokio::task::spawn_blocking(work).await.ok()
}
