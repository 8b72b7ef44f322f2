//! `pause` and `unpause`: the freezer of the container's control group, whichever OCI runtime made
//! it.

use std::sync::Arc;

use super::exit::blocking;
use super::{Container, Status};
use crate::daemon::Daemon;
use crate::errors::ApiError;
use crate::runtime;

impl Daemon {
    /// Freezes all processes of a container (docs: Engine API `ContainerPause`).
    ///
    /// # Errors
    /// 409 if it does not run, is paused or restarting; 500 if the kernel does not freeze it.
    pub(crate) async fn pause(
        self: &Arc<Self>,
        container: &Arc<Container>,
    ) -> Result<(), ApiError> {
        let _verb = container.verb.lock().await;
        let id = &container.id;
        match container.inner().record.state.status {
            Status::Running => {}
            Status::Paused => {
                return Err(ApiError::conflict(format!(
                    "container {id} is already paused"
                )));
            }
            Status::Restarting => return Err(is_restarting(id)),
            _ => {
                return Err(ApiError::conflict(format!("container {id} is not running")));
            }
        }
        self.freeze(container, true)
            .await
            .map_err(|error| ApiError::system(format!("cannot pause container {id}: {error}")))?;
        {
            let mut inner = container.inner();
            if inner.record.state.status != Status::Running {
                return Err(ApiError::conflict(format!("container {id} is not running")));
            }
            inner.record.state.status = Status::Paused;
            inner.notify();
        }
        self.container_event(container, "pause", []);
        self.save(container).await;
        Ok(())
    }

    /// Lets a paused container go on (docs: Engine API `ContainerUnpause`).
    ///
    /// # Errors
    /// 409 if it is not paused; 500 if the kernel does not thaw it.
    pub(crate) async fn unpause(
        self: &Arc<Self>,
        container: &Arc<Container>,
    ) -> Result<(), ApiError> {
        let _verb = container.verb.lock().await;
        let id = &container.id;
        if container.inner().record.state.status != Status::Paused {
            return Err(ApiError::conflict(format!("Container {id} is not paused")));
        }
        self.freeze(container, false)
            .await
            .map_err(|error| ApiError::system(format!("Cannot unpause container {id}: {error}")))?;
        self.unpaused(container);
        self.save(container).await;
        Ok(())
    }

    /// Lets a container go on that got a signal while it was paused.
    pub(super) fn wake(self: &Arc<Self>, container: &Arc<Container>) {
        let daemon = Arc::clone(self);
        let container = Arc::clone(container);
        tokio::spawn(async move {
            match daemon.freeze(&container, false).await {
                Ok(()) => {
                    daemon.unpaused(&container);
                    daemon.save(&container).await;
                }
                Err(error) => {
                    tracing::warn!(container = container.id, %error, "container cannot be unpaused");
                }
            }
        });
    }

    fn unpaused(&self, container: &Container) {
        {
            let mut inner = container.inner();
            if inner.record.state.status != Status::Paused {
                return;
            }
            inner.record.state.status = Status::Running;
            inner.notify();
        }
        self.container_event(container, "unpause", []);
    }

    async fn freeze(&self, container: &Container, frozen: bool) -> Result<(), ApiError> {
        let group = self.cgroup_path(&container.record());
        blocking(move || runtime::set_frozen(&runtime::cgroup_layout(), &group, frozen))
            .await
            .unwrap_or(Ok(()))
            .map_err(ApiError::from)
    }

    /// After a start of the daemon: whether a container that runs is paused is the kernel's to say.
    pub(super) async fn find_paused(&self, container: &Container) {
        let group = self.cgroup_path(&container.record());
        let frozen = blocking(move || runtime::is_frozen(&runtime::cgroup_layout(), &group)).await;
        let mut inner = container.inner();
        let status = &mut inner.record.state.status;
        match (frozen.flatten(), *status) {
            (Some(true), Status::Running) => *status = Status::Paused,
            (Some(false), Status::Paused) => *status = Status::Running,
            _ => {}
        }
    }
}

/// What a container that waits for its restart is not able to do.
pub(super) fn is_restarting(id: &str) -> ApiError {
    ApiError::conflict(format!(
        "Container {id} is restarting, wait until the container is running"
    ))
}
