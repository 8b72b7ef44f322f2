//! From the command line to a serving daemon, and to its end.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, RwLock};

use sha2::{Digest as _, Sha256};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use super::activation::HandedOver;
use super::locks::{LockError, PidFile, lock_root, make_dir};
use super::sockets::{self, Socket, SocketError};
use super::{Daemon, Settings, notify};
use crate::api;
use crate::container::exec::ExecTable;
use crate::container::table::ContainerTable;
use crate::delivery::Delivery;
use crate::errors::chain;
use crate::events::Events;
use crate::image::{ImageError, ImageStore};
use crate::logs;
use crate::network::{Networks, StoreError};
use crate::runtime;
use crate::state_file::replace;
use crate::supervisor::{Supervisor, SupervisorError, SupervisorOptions};
use crate::volume::{VolumeError, VolumeStore};
use crate::webhook::Webhooks;

/// Why the daemon does not run.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StartError {
    #[error(transparent)]
    Lock(#[from] LockError),
    #[error(transparent)]
    Socket(#[from] SocketError),
    #[error("cannot open the image store")]
    Images(#[from] ImageError),
    #[error("cannot open the volumes")]
    Volumes(#[from] VolumeError),
    #[error("cannot open the networks")]
    Networks(#[from] StoreError),
    #[error("cannot start the supervisor")]
    Supervisor(#[from] SupervisorError),
    #[error("cannot read {path}")]
    Read { path: PathBuf, source: io::Error },
    #[error("cannot write {path}")]
    Write { path: PathBuf, source: io::Error },
    #[error("cannot find out where this program lies")]
    Program(#[source] io::Error),
    #[error("signals cannot be handled")]
    Signals(#[source] io::Error),
}

/// What ends or changes a daemon from outside.
struct Signals {
    term: Signal,
    int: Signal,
    hup: Signal,
}

impl Signals {
    fn new() -> Result<Self, StartError> {
        let get = |kind| signal(kind).map_err(StartError::Signals);
        Ok(Self {
            term: get(SignalKind::terminate())?,
            int: get(SignalKind::interrupt())?,
            hup: get(SignalKind::hangup())?,
        })
    }

    async fn stop(&mut self) {
        tokio::select! {
            _ = self.term.recv() => {}
            _ = self.int.recv() => {}
        }
    }
}

/// What the daemon brings along from its start.
#[derive(Debug, Default)]
pub(crate) struct Outside {
    /// TLS of the `tcp://` hosts.
    pub(crate) tls: Option<Arc<rustls::ServerConfig>>,
    /// Sockets from the service manager.
    pub(crate) handed_over: HandedOver,
}

/// Runs a daemon until it is told to end. `reload` gives new settings at SIGHUP, or says in the
/// log why there are none.
///
/// # Errors
/// It cannot start; nothing is left behind.
pub(crate) async fn run(
    settings: Settings,
    mut outside: Outside,
    reload: impl Fn() -> Option<Settings>,
) -> Result<(), StartError> {
    // Before anything that takes long: a signal is never lost.
    let mut signals = Signals::new()?;
    let _data_lock = lock_root("data root", &settings.data_root, 0o711)?;
    let _exec_lock = lock_root("exec root", &settings.exec_root, 0o711)?;
    let _pid_file = PidFile::write(&settings.pid_file)?;
    raise_descriptor_limit();
    make_dir(&settings.data_root.join("containers"), 0o710)?;
    // Whoever connects by now waits in the backlog until the daemon is ready.
    let sockets = listen(&settings, &mut outside.handed_over)?;
    let paths: Vec<PathBuf> = sockets.iter().filter_map(|s| s.path.clone()).collect();
    let metrics = match &settings.metrics_addr {
        Some(address) => sockets::tcp("", address).inspect_err(|_| remove_sockets(&paths))?,
        None => Vec::new(),
    };
    let daemon = match open(settings).await {
        Ok(daemon) => daemon,
        Err(error) => {
            remove_sockets(&paths);
            return Err(error);
        }
    };
    crate::delivery::start(&daemon);
    daemon.apply_webhook();
    daemon.adopt_networks().await;
    daemon.recover_containers().await;
    daemon.unmount_unused_volumes().await;
    daemon.settle_networks().await;
    daemon.resume_removed();
    logs::start(&daemon);

    let (stop, stopped) = watch::channel(false);
    let mut servers = JoinSet::new();
    let tls = outside.tls.map(TlsAcceptor::from);
    for socket in sockets {
        tracing::info!(
            host = socket.shown,
            tls = tls.is_some() && socket.is_tcp(),
            "API is served"
        );
        let listener = socket.into_listener(tls.as_ref())?;
        servers.spawn(api::backend::serve(
            Arc::clone(&daemon),
            listener,
            stopped.clone(),
        ));
    }
    for socket in metrics {
        tracing::info!(address = socket.shown, "metrics are served");
        let listener = socket.into_listener(None)?;
        let daemon = Arc::clone(&daemon);
        servers.spawn(crate::metrics::serve(daemon, listener, stopped.clone()));
    }
    notify::tell(notify::State::Ready);
    tracing::info!(pid = std::process::id(), "daemon is ready");

    let mut watchdog = notify::watchdog_interval().map(tokio::time::interval);
    loop {
        let alive = async {
            match &mut watchdog {
                Some(interval) => interval.tick().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = signals.term.recv() => break,
            _ = signals.int.recv() => break,
            _ = signals.hup.recv() => {
                notify::tell(notify::State::Reloading);
                if let Some(settings) = reload() {
                    daemon.replace_settings(settings);
                }
                notify::tell(notify::State::Ready);
            }
            _ = alive => notify::tell(notify::State::Watchdog),
        }
    }
    notify::tell(notify::State::Stopping);
    tracing::info!("daemon is ending");
    let end = async {
        daemon.end_containers().await;
        // Nobody is left who could have a reason to fail.
        let _ = stop.send(true);
        while servers.join_next().await.is_some() {}
        daemon.webhooks.finish().await;
        daemon.stop_delivery().await;
        daemon.supervisor.shutdown_if_idle().await;
        daemon.end_networks().await;
    };
    tokio::select! {
        () = end => {}
        () = signals.stop() => tracing::warn!("ended by a second signal"),
    }
    remove_sockets(&paths);
    if !daemon.any_running() {
        runtime::remove_parent(&runtime::cgroup_layout(), &daemon.cgroup_parent);
    }
    Ok(())
}

/// Opens everything that the daemon works on.
async fn open(settings: Settings) -> Result<Arc<Daemon>, StartError> {
    let images = ImageStore::open(&settings.data_root)?;
    let events = Arc::new(Events::default());
    let volumes = VolumeStore::open(&settings.data_root, Arc::clone(&events))?;
    let networks = Networks::open(&settings.data_root, &settings.exec_root, &settings.network)?;
    let monitor_binary = match &settings.monitor_binary {
        Some(path) => path.clone(),
        None => std::env::current_exe()
            .map_err(StartError::Program)?
            .with_file_name("taffrail-monitor"),
    };
    let id = engine_id(&settings)?;
    let supervisor = Supervisor::start(SupervisorOptions {
        exec_root: settings.exec_root.clone(),
        data_root: settings.data_root.clone(),
        monitor_binary,
    })
    .await?;
    Daemon::clear_execs(&settings.exec_root);
    let containers_dir = settings.data_root.join("containers");
    let delivery = Arc::new(Delivery::new(&settings.data_root));
    let daemon = Arc::new(Daemon {
        cgroup_parent: cgroup_parent(&settings),
        settings: RwLock::new(Arc::new(settings)),
        images: Arc::new(images),
        registries: Arc::default(),
        supervisor,
        events,
        volumes: Arc::new(volumes),
        containers: ContainerTable::default(),
        execs: ExecTable::default(),
        log_counters: Arc::default(),
        delivery,
        webhooks: Webhooks::default(),
        networks: Arc::new(networks),
        ending: AtomicBool::new(false),
        id,
    });
    daemon
        .load_containers()
        .map_err(|source| StartError::Read {
            path: containers_dir,
            source,
        })?;
    Ok(daemon)
}

fn listen(settings: &Settings, handed_over: &mut HandedOver) -> Result<Vec<Socket>, StartError> {
    let mut sockets: Vec<Socket> = Vec::new();
    for host in &settings.hosts {
        match sockets::listen(host, settings.group.as_deref(), handed_over) {
            Ok(found) => sockets.extend(found),
            Err(error) => {
                remove_sockets(sockets.iter().filter_map(|socket| socket.path.as_ref()));
                return Err(error.into());
            }
        }
    }
    Ok(sockets)
}

fn remove_sockets<'a>(paths: impl IntoIterator<Item = &'a PathBuf>) {
    for path in paths {
        if let Err(error) = std::fs::remove_file(path)
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(socket = %path.display(), error = %error, "socket cannot be removed");
        }
    }
}

/// Containers are below a control group of their own daemon, so that several do not meet.
fn cgroup_parent(settings: &Settings) -> String {
    let root = settings.exec_root.as_os_str().as_encoded_bytes();
    let hash: String = Sha256::digest(root)
        .iter()
        .take(4)
        .map(|byte| format!("{byte:02x}"))
        .collect();
    format!("/taffrail-{hash}")
}

/// The daemon's id in `/info`, made at the first start on a data root.
fn engine_id(settings: &Settings) -> Result<String, StartError> {
    let path = settings.data_root.join("engine-id");
    match std::fs::read_to_string(&path) {
        Ok(id) if !id.trim().is_empty() => return Ok(id.trim().to_owned()),
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(source) => return Err(StartError::Read { path, source }),
    }
    let mut random = [0; 16];
    let write = |source| StartError::Write {
        path: path.clone(),
        source,
    };
    getrandom::fill(&mut random).map_err(|error| write(io::Error::other(error.to_string())))?;
    let hex: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
    let id = [
        &hex[..8],
        &hex[8..12],
        &hex[12..16],
        &hex[16..20],
        &hex[20..],
    ]
    .join("-");
    replace(&settings.data_root, "engine-id", id.as_bytes(), true).map_err(write)?;
    Ok(id)
}

/// Each container takes some descriptors of the daemon: as many as the host allows.
fn raise_descriptor_limit() {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let raised = getrlimit(Resource::RLIMIT_NOFILE)
        .and_then(|(_, hard)| setrlimit(Resource::RLIMIT_NOFILE, hard, hard));
    if let Err(errno) = raised {
        tracing::warn!(error = %errno, "limit of open files cannot be raised");
    }
}

/// Keys are strings, so it cannot fail.
fn json(value: &impl serde::Serialize) -> String {
    serde_json::to_string(value).unwrap_or_default()
}

/// What a `reload` event tells: the live keys. Lists and objects as JSON, as Docker has them.
fn reload_attributes(settings: &Settings) -> BTreeMap<String, String> {
    let runtimes: BTreeMap<&str, &Path> = settings
        .runtimes
        .iter()
        .map(|(name, runtime)| (name.as_str(), runtime.path.as_path()))
        .collect();
    let by_driver: BTreeMap<&str, BTreeMap<String, String>> = settings
        .log
        .by_driver
        .iter()
        .map(|(name, options)| (name.as_str(), taffrail_drivers::masked(options)))
        .collect();
    let limits: BTreeMap<&str, [i64; 2]> = settings
        .default_ulimits
        .iter()
        .map(|(name, limit)| (name.as_str(), [limit.soft, limit.hard]))
        .collect();
    [
        ("name", super::host_name()),
        ("debug", settings.debug.to_string()),
        ("default-runtime", settings.default_runtime.clone()),
        (
            "default-stop-timeout",
            settings.default_stop_timeout.to_string(),
        ),
        ("default-ulimits", json(&limits)),
        ("labels", json(&settings.labels)),
        ("live-restore", settings.live_restore.to_string()),
        ("log-driver", settings.log.driver.clone()),
        ("log-drivers", json(&by_driver)),
        (
            "log-opts",
            json(&taffrail_drivers::masked(&settings.log.options)),
        ),
        ("log-spool-size", settings.log_spool_size.to_string()),
        ("log-streams", settings.log_streams.to_string()),
        ("insecure-registries", json(&insecure_registries(settings))),
        (
            "max-concurrent-downloads",
            settings.registries.downloads.to_string(),
        ),
        (
            "max-concurrent-uploads",
            settings.registries.uploads.to_string(),
        ),
        (
            "max-download-attempts",
            settings.registries.attempts.to_string(),
        ),
        ("registry-mirrors", json(&settings.registries.mirrors)),
        ("runtimes", json(&runtimes)),
        ("shutdown-timeout", settings.shutdown_timeout.to_string()),
        (
            "webhook",
            crate::webhook::shown(settings.webhook.as_ref()).to_string(),
        ),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into()
}

fn insecure_registries(settings: &Settings) -> Vec<String> {
    let mut list = settings.registries.insecure.hosts.clone();
    list.extend(settings.registries.insecure_cidrs());
    list
}

impl Daemon {
    /// Goes by new settings from now on.
    fn replace_settings(&self, settings: Settings) {
        let attributes = reload_attributes(&settings);
        // A poisoned lock still holds a whole Arc.
        *self
            .settings
            .write()
            .unwrap_or_else(std::sync::PoisonError::into_inner) = Arc::new(settings);
        self.apply_webhook();
        tracing::info!("configuration was reloaded");
        self.events
            .publish("daemon", "reload", &self.id, attributes);
    }

    /// Who is told of what, by the settings now.
    fn apply_webhook(&self) {
        let settings = self.settings();
        let environment = crate::delivery::environment(&settings.data_root);
        self.webhooks.apply(settings.webhook.as_ref(), &environment);
    }

    pub(crate) fn any_running(&self) -> bool {
        self.containers.all().iter().any(|c| c.has_process())
    }

    /// Stops all containers, unless they are to go on without the daemon.
    async fn end_containers(self: &Arc<Self>) {
        self.ending
            .store(true, std::sync::atomic::Ordering::Release);
        let settings = self.settings();
        if settings.live_restore {
            return;
        }
        let mut tasks = JoinSet::new();
        for container in self.containers.all() {
            if !container.has_process() {
                continue;
            }
            let daemon = Arc::clone(self);
            let timeout = settings.shutdown_timeout;
            tasks.spawn(async move {
                let stopped = daemon.end(&container, timeout).await;
                daemon.removed_if_auto(&container).await;
                if let Err(error) = stopped
                    && error.kind != crate::errors::ErrorKind::NotModified
                {
                    tracing::error!(container = container.id, error = %chain(&error), "container cannot be stopped");
                }
            });
        }
        while tasks.join_next().await.is_some() {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_and_ids_stay() {
        let dir = tempfile::tempdir().unwrap();
        let mut settings = Settings {
            data_root: dir.path().to_owned(),
            exec_root: "/run/taffrail".into(),
            ..Settings::default()
        };
        let id = engine_id(&settings).unwrap();
        assert_eq!(id.len(), 36);
        assert_eq!(engine_id(&settings).unwrap(), id);
        let group = cgroup_parent(&settings);
        assert!(group.starts_with("/taffrail-"), "{group}");
        settings.exec_root = "/run/other".into();
        assert_ne!(cgroup_parent(&settings), group);
    }
}
