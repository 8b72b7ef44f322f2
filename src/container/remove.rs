//! `remove`: root file system, log, folder, and last the name.

use std::io;
use std::path::Path;
use std::sync::Arc;

use super::exit::blocking;
use super::{Container, Status};
use crate::daemon::Daemon;
use crate::errors::{ApiError, chain};

/// Query of a remove (docs: Engine API `ContainerDelete`).
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct RemoveOptions {
    pub(crate) force: bool,
    /// With its anonymous volumes.
    pub(crate) volumes: bool,
    /// Records that were not delivered are given up.
    pub(crate) drop_undelivered: bool,
}

impl Daemon {
    /// Removes a container; `asked` is how the client named it, for texts. Anonymous volumes in its
    /// own folder, as containers had them before there were volumes, always go with it.
    ///
    /// # Errors
    /// 409 if it runs and `force` is not set, or it is being removed; 500 if its files cannot be
    /// removed: it is then dead, and can be removed again.
    pub(crate) async fn remove(
        self: &Arc<Self>,
        container: &Arc<Container>,
        asked: &str,
        options: RemoveOptions,
    ) -> Result<(), ApiError> {
        if container.inner().record.state.status == Status::Removing {
            return Err(ApiError::conflict(format!(
                "removal of container {asked} is already in progress"
            )));
        }
        let _verb = container.verb.lock().await;
        let status = container.inner().record.state.status;
        match status {
            Status::Running | Status::Paused | Status::Restarting if !options.force => {
                let first = match status {
                    Status::Paused => "Unpause and then stop",
                    _ => "Stop",
                };
                return Err(ApiError::conflict(format!(
                    "You cannot remove a {} container {}. {first} the container before attempting \
                     removal or force remove",
                    status.as_str(),
                    container.id
                )));
            }
            Status::Running | Status::Paused | Status::Restarting => {
                // Killed with the lock held, so that it is not started again in between.
                container.inner().record.state.manually_stopped = true;
                self.signal(container, libc::SIGKILL)?;
                container
                    .wait_until(|inner| !inner.record.state.status.has_process())
                    .await;
            }
            Status::Removing => {
                return Err(ApiError::conflict(format!(
                    "removal of container {asked} is already in progress"
                )));
            }
            // Its capture could not be found again, but its processes may run.
            Status::Dead => self.end_lost(container).await,
            Status::Created | Status::Exited => {}
        }
        {
            let mut inner = container.inner();
            if inner.gone {
                return Err(ApiError::not_found(format!("No such container: {asked}")));
            }
            inner.record.state.status = Status::Removing;
            inner.end_attach();
            inner.notify();
        }
        match self.remove_files(container, options.drop_undelivered).await {
            Ok(()) => {
                self.give_volumes_back(container, options.volumes).await;
                self.containers.remove(container);
                self.execs.container_removed(&container.id);
                self.container_event(container, "destroy", []);
                let mut inner = container.inner();
                inner.gone = true;
                inner.answer_removal_waiters(None);
                inner.notify();
                Ok(())
            }
            Err(text) => {
                let message = format!("container {}: {text}", container.id);
                {
                    let mut inner = container.inner();
                    inner.record.state.status = Status::Dead;
                    inner.record.state.error.clone_from(&message);
                    inner.answer_removal_waiters(Some(message.clone()));
                    inner.notify();
                }
                self.save(container).await;
                Err(ApiError::system(message))
            }
        }
    }

    /// Removes everything on disk. The folder with the log goes last.
    async fn remove_files(
        self: &Arc<Self>,
        container: &Arc<Container>,
        drop_undelivered: bool,
    ) -> Result<(), String> {
        let images = Arc::clone(&self.images);
        let id = container.id.clone();
        let dir = container.dir().to_owned();
        let run_dir = self.supervisor.container_dir(&id);
        let aside = self.images.aside(&id);
        let daemon = Arc::clone(self);
        let name = container.name();
        // Whoever is writing the container's state has done so before its folder goes.
        let _files = container.files.lock().await;
        blocking(move || {
            images.remove_rootfs(&id).map_err(|error| {
                format!("cannot remove the root file system: {}", chain(&error))
            })?;
            let error = |dir: &Path, error| format!("cannot remove {}: {error}", dir.display());
            unless_missing(std::fs::remove_dir_all(&run_dir)).map_err(|e| error(&run_dir, e))?;
            // Out of everybody's way first: a file that is being compressed just now would else
            // come into a folder that has just been emptied.
            if !drop_undelivered && daemon.delivery.has_undelivered(&id) {
                // The log goes on being delivered, the name is free at once.
                return daemon
                    .delivery
                    .keep(&id, &name, &dir)
                    .map_err(|e| error(&dir, e));
            }
            daemon.delivery.forget(&id);
            unless_missing(std::fs::rename(&dir, &aside)).map_err(|e| error(&dir, e))?;
            unless_missing(std::fs::remove_dir_all(&aside)).map_err(|e| {
                // What is left of the container is found under its name again.
                let _ = std::fs::rename(&aside, &dir);
                error(&dir, e)
            })
        })
        .await
        .unwrap_or_else(|| Err("the daemon is ending".to_owned()))
    }
}

/// What is not there is removed.
fn unless_missing(done: io::Result<()>) -> io::Result<()> {
    match done {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}
