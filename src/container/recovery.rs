//! After a start of the daemon: containers are read from the disk, running ones found again.

use std::path::Path;
use std::sync::Arc;

use futures_util::FutureExt as _;

use super::exit::blocking;
use super::start::Starting;
use super::{Container, Record, State, Status, signal, time};
use crate::daemon::Daemon;
use crate::errors::chain;
use crate::supervisor::Exit;

impl Daemon {
    /// Reads all containers. One whose files are damaged, or of a newer version, is said in the
    /// log by name and left alone; the others are not touched by it.
    pub(crate) fn load_containers(&self) -> std::io::Result<()> {
        let dir = self.containers_dir();
        for entry in std::fs::read_dir(&dir)? {
            let entry = entry?;
            let path = entry.path();
            let name = entry.file_name().to_string_lossy().into_owned();
            let is_id = name.len() == 64 && name.bytes().all(|b| b.is_ascii_hexdigit());
            if !is_id || !path.is_dir() {
                tracing::warn!(path = %path.display(), "not a container's folder, left alone");
                continue;
            }
            if interrupted_create(&path) {
                tracing::info!(
                    container = name,
                    "a create that was interrupted is cleared up"
                );
                let removed = self
                    .images
                    .remove_rootfs(&name)
                    .map_err(|error| chain(&error))
                    .and_then(|()| std::fs::remove_dir_all(&path).map_err(|e| e.to_string()));
                if let Err(error) = removed {
                    tracing::warn!(container = name, error, "its files cannot be removed");
                }
                continue;
            }
            let record = match Record::load(&path, &name) {
                Ok(record) => record,
                Err(error) => {
                    tracing::error!(container = name, error = %chain(&error), "container is refused, its files are left alone");
                    continue;
                }
            };
            if let Err(holder) = self.containers.reserve(&record.name, &record.id) {
                tracing::error!(
                    container = record.id,
                    name = record.name,
                    holder,
                    "container is refused, another one has its name"
                );
                continue;
            }
            self.own_volumes(&record);
            self.containers.insert(&Container::new(path, record));
        }
        Ok(())
    }

    /// Brings every container's state in line with what is there: goes on with those that run,
    /// handles the exit of those that ended meanwhile, finishes what was interrupted.
    pub(crate) async fn recover_containers(self: &Arc<Self>) {
        let mut tasks = tokio::task::JoinSet::new();
        for container in self.containers.all() {
            let daemon = Arc::clone(self);
            tasks.spawn(async move { daemon.recover(&container).await });
        }
        while tasks.join_next().await.is_some() {}
    }

    async fn recover(self: &Arc<Self>, container: &Arc<Container>) {
        self.find_started(container).await;
        {
            let container = Arc::clone(container);
            blocking(move || container.load_health()).await;
        }
        let state = container.record().state;
        if state.status.has_process() {
            self.recover_running(container, &state).await;
            // One that is restarting by now waits its time already.
            if container.inner().record.state.status == Status::Exited {
                self.resume_policy(container).await;
            }
            return;
        }
        self.clear_interrupted(container).await;
        self.resume_delivery(container).await;
        self.mend_last_words(container);
        let auto_remove = container.inner().record.host.auto_remove;
        let interrupted = state.status == Status::Removing
            // A `--rm` container lives from its start to its exit.
            || (auto_remove && (state.started_ns.is_some() || !state.error.is_empty()));
        if interrupted {
            container.inner().record.state.status = Status::Exited;
            self.auto_remove(container).await;
            return;
        }
        self.resume_policy(container).await;
    }

    /// A run that the last daemon began and did not live to write down: its state is put in order.
    async fn find_started(self: &Arc<Self>, container: &Arc<Container>) {
        let record = container.record();
        if !matches!(record.state.status, Status::Created | Status::Exited) {
            return;
        }
        let dir = self.supervisor.container_dir(&container.id);
        let Some(Some(starting)) = blocking(move || Starting::read(&dir)).await else {
            return;
        };
        // Else it was written down, and what is left is of its end.
        if starting.run != record.state.run() + 1 {
            return;
        }
        if signal::start_time(starting.pid) == Some(starting.pid_start) {
            // It may wait for its start still; the runtime knows.
            let runtime = match self.oci_runtime(&record.host.runtime) {
                Ok(oci) => oci.state(&container.id).await,
                Err(error) => {
                    tracing::warn!(container = container.id, %error, "runtime of the container is gone");
                    return;
                }
            };
            match runtime {
                Ok(Some(state)) if matches!(state.status.as_str(), "running" | "paused") => {}
                Ok(_) => return,
                Err(error) => {
                    tracing::warn!(container = container.id, %error, "runtime does not say whether the container runs");
                    return;
                }
            }
        }
        tracing::info!(
            container = container.id,
            "container was started just before the last daemon died"
        );
        starting.begin(&mut container.inner().record.state);
        self.save(container).await;
        self.container_event(container, "start", []);
    }

    async fn recover_running(self: &Arc<Self>, container: &Arc<Container>, state: &State) {
        match self.supervisor.adopt(&container.id).await {
            Ok(Some(capture)) => {
                tracing::info!(container = container.id, "container found again");
                container.inner().capture = Some(Arc::clone(&capture));
                self.begin_delivery(container, &capture).await;
                container.holds().watch(&capture);
                // One that has ended meanwhile is in order before the first client asks.
                match capture.exited().now_or_never() {
                    Some(exit) => self.handle_exit(container, Some(&capture), exit).await,
                    None => {
                        self.find_paused(container).await;
                        self.watch_oom(container);
                        self.watch_health(container, true);
                        self.watch_exit(container, capture);
                    }
                }
            }
            Ok(None) => {
                // Its processes are gone with the boot, or its run folder was taken away.
                if signal::start_time(state.pid) == Some(state.pid_start) {
                    tracing::error!(
                        container = container.id,
                        "container runs but nothing of its capture is left, it is ended"
                    );
                }
                tracing::warn!(
                    container = container.id,
                    "container is gone, its exit status is unknown"
                );
                let exit = Exit {
                    code: 255,
                    known: false,
                    signal: None,
                    at_ns: u64::try_from(time::now_ns()).unwrap_or(0),
                    lost_records: 0,
                    lost_bytes: 0,
                };
                // Before its end can remove it.
                self.resume_delivery(container).await;
                self.handle_exit(container, None, exit).await;
            }
            Err(error) => {
                tracing::error!(container = container.id, error = %chain(&error), "container cannot be found again");
                container.inner().record.state.status = Status::Dead;
                container.inner().record.state.error = chain(&error);
            }
        }
    }

    /// Ends a container whose capture could not be found again: processes, monitor, folder.
    pub(super) async fn end_lost(self: &Arc<Self>, container: &Arc<Container>) {
        let dir = self.supervisor.container_dir(&container.id);
        if blocking(move || dir.exists()).await == Some(true) {
            self.clear_runtime(container).await;
            self.supervisor.discard(&container.id).await;
        }
    }

    /// Ends what a daemon that was killed in the middle of a start or of an exit has left.
    async fn clear_interrupted(self: &Arc<Self>, container: &Arc<Container>) {
        let dir = self.supervisor.container_dir(&container.id);
        if !matches!(
            blocking({
                let dir = dir.clone();
                move || dir.exists()
            })
            .await,
            Some(true)
        ) {
            // A copy from or to it may have been under way.
            let (images, id) = (Arc::clone(&self.images), container.id.clone());
            if let Some(Err(error)) = blocking(move || images.unmount_rootfs(&id)).await {
                tracing::warn!(container = container.id, error = %error, "root file system cannot be unmounted");
            }
            return;
        }
        tracing::info!(
            container = container.id,
            "an interrupted start or exit is cleared up"
        );
        // What is killed from here on is no run that has ended.
        blocking(move || Starting::remove(&dir)).await;
        let capture = self.supervisor.adopt(&container.id).await;
        self.clear_runtime(container).await;
        if let Ok(Some(capture)) = capture {
            capture.exited().await;
            capture.release().await;
        }
        self.supervisor.discard(&container.id).await;
    }
}

/// A folder as it is before the first state file is whole: an empty folder for the index, and the
/// state file under its first name at most. Anything else in it is somebody's data.
fn interrupted_create(dir: &Path) -> bool {
    let Ok(entries) = std::fs::read_dir(dir) else {
        return false;
    };
    let empty = |path: &Path| std::fs::read_dir(path).is_ok_and(|mut list| list.next().is_none());
    entries.into_iter().all(|entry| {
        entry.is_ok_and(|entry| match entry.file_name().as_encoded_bytes() {
            b"index" => empty(&entry.path()),
            b".state.json.tmp" => true,
            _ => false,
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_create_has_made() {
        let dir = tempfile::tempdir().unwrap();
        assert!(interrupted_create(dir.path()));
        std::fs::create_dir(dir.path().join("index")).unwrap();
        std::fs::write(dir.path().join(".state.json.tmp"), "{").unwrap();
        assert!(interrupted_create(dir.path()));
        std::fs::write(dir.path().join("index/1"), "").unwrap();
        assert!(!interrupted_create(dir.path()));
        std::fs::remove_file(dir.path().join("index/1")).unwrap();
        std::fs::write(dir.path().join("x-json.log"), "").unwrap();
        assert!(!interrupted_create(dir.path()));
        assert!(!interrupted_create(Path::new("/nowhere")));
    }
}
