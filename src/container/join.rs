//! Namespaces of other containers (`--pid`, `--ipc` and `--network container:x`), found anew at
//! each start: the other one may have been started again meanwhile.

use std::path::PathBuf;
use std::sync::Arc;

use super::exit::blocking;
use super::{Container, Record, Status};
use crate::api::types::HostConfig;
use crate::daemon::Daemon;
use crate::errors::{ApiError, ErrorKind, chain};
use crate::runtime::{self, Shared};

impl Daemon {
    /// What a container has in common with others; its own `/dev/shm` is mounted if others may
    /// join it (docs: Moby `daemon/oci_linux.go` `WithNamespaces`).
    ///
    /// # Errors
    /// Docker's text if another container is not there, does not run, or does not share its IPC.
    pub(super) async fn shared(&self, record: &Record) -> Result<Shared, ApiError> {
        let host = &record.host;
        let mut shared = Shared::default();
        if let Some(name) = runtime::joined(&host.network_mode) {
            let other = self.network_of(record, name)?;
            shared.network = Some(namespace(&other, "net"));
            shared.etc = Some(other.dir().to_owned());
        }
        if let Some(name) = runtime::joined(&host.pid_mode) {
            let other = self.find(name).map_err(|error| {
                before(
                    format!("cannot join PID of a non running container: {name}"),
                    error,
                )
            })?;
            check_running(&other)?;
            shared.pid = Some(namespace(&other, "pid"));
        }
        if let Some(name) = runtime::joined(&host.ipc_mode) {
            let failed = |error| before(format!("can't join IPC of container {name}"), error);
            let other = self.find(name).map_err(failed)?;
            check_running(&other).map_err(failed)?;
            let (images, id) = (Arc::clone(&self.images), other.id.clone());
            let folder = blocking(move || images.shm(&id)).await.transpose();
            let folder = folder.map_err(|error| failed(ApiError::system(chain(&error))))?;
            shared.ipc = Some(namespace(&other, "ipc"));
            shared.shm = Some(folder.flatten().ok_or_else(|| {
                failed(ApiError::conflict(
                    "non-shareable IPC (hint: use IpcMode:shareable for the donor container)",
                ))
            })?);
        }
        if host.ipc_mode == "shareable" {
            let (images, id) = (Arc::clone(&self.images), record.id.clone());
            let size = host.shm_size;
            let folder = blocking(move || images.mount_shm(&id, size))
                .await
                .ok_or_else(|| ApiError::system("the daemon is ending"))?;
            shared.shm = Some(folder.map_err(|error| ApiError::system(chain(&error)))?);
        }
        if runtime::joined(&host.network_mode).is_none() {
            // Last: what fails before leaves nothing of it.
            let joined = self.join_networks(record).await?;
            shared.own = Some(self.own_network(record, &joined)?);
            shared.network = joined.namespace;
        }
        Ok(shared)
    }

    /// Names of host and domain belong to the network: those of the container whose network is
    /// joined hold for both, as in Docker.
    pub(super) fn take_names(&self, container: &Container) -> Result<(), ApiError> {
        let record = container.record();
        let Some(name) = runtime::joined(&record.host.network_mode) else {
            return Ok(());
        };
        let other = self.network_of(&record, name)?.record().config;
        let config = &mut container.inner().record.config;
        config.hostname = other.hostname;
        config.domainname = other.domainname;
        Ok(())
    }

    fn network_of(&self, record: &Record, name: &str) -> Result<Arc<Container>, ApiError> {
        let other = self.find(name)?;
        if other.id == record.id {
            return Err(ApiError::system("cannot join own network"));
        }
        match other.inner().record.state.status {
            Status::Running | Status::Paused => {}
            Status::Restarting => return Err(restarting(name)),
            _ => {
                return Err(ApiError::conflict(format!(
                    "cannot join network of a non running container: {name}"
                )));
            }
        }
        Ok(other)
    }

    /// Modes that name other containers get their ids, so that a rename changes nothing. Those of
    /// `--pid` and `--ipc` must be there at create already, as in Docker.
    pub(super) fn join_by_id(&self, host: &mut HostConfig) -> Result<(), ApiError> {
        let by_id = |mode: &mut String, must: bool| -> Result<(), ApiError> {
            let Some(name) = runtime::joined(mode) else {
                return Ok(());
            };
            match self.find(name) {
                Ok(other) => *mode = format!("container:{}", other.id),
                // No 404: the client would take the image for missing, and pull.
                Err(error) if must => return Err(ApiError::invalid(error.message)),
                Err(_) => {}
            }
            Ok(())
        };
        by_id(&mut host.network_mode, false)?;
        by_id(&mut host.ipc_mode, true)?;
        by_id(&mut host.pid_mode, true)
    }
}

fn check_running(container: &Container) -> Result<(), ApiError> {
    match container.inner().record.state.status {
        Status::Running | Status::Paused => Ok(()),
        Status::Restarting => Err(restarting(&container.id)),
        _ => Err(ApiError::conflict(format!(
            "container {} is not running",
            container.id
        ))),
    }
}

fn restarting(name: &str) -> ApiError {
    ApiError::conflict(format!(
        "Container {name} is restarting, wait until the container is running"
    ))
}

/// The namespace of a running container's first process.
fn namespace(container: &Container, kind: &str) -> PathBuf {
    let pid = container.inner().record.state.pid;
    PathBuf::from(format!("/proc/{pid}/ns/{kind}"))
}

fn before(what: String, error: ApiError) -> ApiError {
    // No status 404: the client would take the container itself for missing.
    let kind = match error.kind {
        ErrorKind::NotFound => ErrorKind::Conflict,
        kind => kind,
    };
    ApiError::new(kind, format!("{what}: {}", error.message))
}
