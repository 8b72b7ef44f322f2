//! The daemon: what it holds, its start and its end.

mod activation;
pub(crate) mod command;
pub(crate) mod locks;
mod notify;
pub(crate) mod run;
mod settings;
mod sockets;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

pub(crate) use settings::Settings;

use crate::container::exec::ExecTable;
use crate::container::table::ContainerTable;
use crate::container::{Container, Record};
use crate::delivery::Delivery;
use crate::errors::{ApiError, ErrorKind};
use crate::events::Events;
use crate::image::ImageStore;
use crate::logs::LogCounters;
use crate::network::Networks;
use crate::registry::Registries;
use crate::runtime::{self, OciRuntime};
use crate::supervisor::Supervisor;
use crate::volume::VolumeStore;
use crate::webhook::Webhooks;

/// Static programs that reap and pass signals on, as dockerd and others install them. They are
/// mounted into containers, so they must not need libraries.
const INITS: &[&str] = &["docker-init", "tini-static", "catatonit"];

/// Everything the API works on.
#[derive(Debug)]
pub(crate) struct Daemon {
    settings: RwLock<Arc<Settings>>,
    pub(crate) images: Arc<ImageStore>,
    /// What pulls and pushes share.
    pub(crate) registries: Arc<Registries>,
    pub(crate) supervisor: Arc<Supervisor>,
    pub(crate) events: Arc<Events>,
    pub(crate) volumes: Arc<VolumeStore>,
    pub(crate) containers: ContainerTable,
    pub(crate) execs: ExecTable,
    pub(crate) log_counters: Arc<LogCounters>,
    pub(crate) delivery: Arc<Delivery>,
    pub(crate) webhooks: Webhooks,
    pub(crate) networks: Arc<Networks>,
    /// Control group that containers are below.
    pub(crate) cgroup_parent: String,
    /// Id in `/info`; made at the first start on a data root.
    pub(crate) id: String,
    /// The daemon is about to end: nothing is started any more.
    ending: AtomicBool,
}

impl Daemon {
    /// The settings now; a reload replaces them.
    pub(crate) fn settings(&self) -> Arc<Settings> {
        // A poisoned lock still holds a whole Arc.
        Arc::clone(&self.settings.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// # Errors
    /// 503 while the daemon is ending.
    pub(crate) fn check_not_ending(&self) -> Result<(), ApiError> {
        if self.ending.load(Ordering::Acquire) {
            return Err(ApiError::new(
                ErrorKind::Unavailable,
                "the daemon is shutting down",
            ));
        }
        Ok(())
    }

    /// A container by full id, name (with or without `/`) or unique id prefix.
    ///
    /// # Errors
    /// 404 `No such container: x`, 400 for a prefix of several.
    pub(crate) fn find(&self, reference: &str) -> Result<Arc<Container>, ApiError> {
        self.containers.find(reference)
    }

    /// The OCI runtime of that name (`HostConfig.Runtime`).
    ///
    /// # Errors
    /// 400 for a name that daemon.json does not have (any more).
    pub(crate) fn oci_runtime(&self, name: &str) -> Result<OciRuntime, ApiError> {
        let settings = self.settings();
        let found = settings
            .runtimes
            .get(name)
            .ok_or_else(|| ApiError::invalid(format!("unknown or invalid runtime name: {name}")))?;
        Ok(OciRuntime {
            path: found.path.clone(),
            args: found.args.clone(),
            root: settings.exec_root.join("runtime"),
        })
    }

    /// Control group of a container.
    pub(crate) fn cgroup_path(&self, record: &Record) -> String {
        runtime::cgroup_path(&record.host, &self.cgroup_parent, &record.id)
    }

    /// Program for `--init`: the first of [`INITS`] that is installed.
    pub(crate) fn init_binary(&self) -> Option<PathBuf> {
        let path = std::env::var_os("PATH")?;
        INITS
            .iter()
            .flat_map(|name| std::env::split_paths(&path).map(move |dir| dir.join(name)))
            .chain(["/usr/libexec/podman/catatonit".into()])
            .find(|path| path.is_file())
    }

    /// The program that is the parent of exec'd processes: the built-in runtime's, which is installed
    /// beside this one.
    pub(crate) fn attendant(&self) -> PathBuf {
        settings::beside(Path::new("taffrail-runtime"))
    }

    /// Layers of a container's root file system.
    pub(crate) fn overlay_dir(&self, id: &str) -> PathBuf {
        self.settings().data_root.join("overlay").join(id)
    }

    pub(crate) fn containers_dir(&self) -> PathBuf {
        self.settings().data_root.join("containers")
    }
}

/// Name of this host.
pub(crate) fn host_name() -> String {
    nix::unistd::gethostname().map_or_else(
        |_| "localhost".to_owned(),
        |name| name.to_string_lossy().into_owned(),
    )
}
