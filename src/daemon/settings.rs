//! The settings as the daemon uses them, from flags and daemon.json as `taffrail_config` has checked
//! them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use taffrail_config::{Address, Config, ExtraStreams, Host, IpcMode, Tls, Webhook};
use taffrail_drivers::Defaults;

use crate::api::types::Ulimit;
use crate::registry::RegistrySettings;

/// An OCI runtime of `runtimes`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct RuntimeSettings {
    /// Program: a path, or a name that is looked up in `PATH`.
    pub(crate) path: PathBuf,
    pub(crate) args: Vec<String>,
}

/// What the daemon goes by. Defaults apply to containers created later.
#[derive(Clone, Debug, Default)]
pub(crate) struct Settings {
    pub(crate) data_root: PathBuf,
    pub(crate) exec_root: PathBuf,
    /// Default: `taffrail-monitor` beside this program.
    pub(crate) monitor_binary: Option<PathBuf>,
    pub(crate) pid_file: PathBuf,
    pub(crate) hosts: Vec<Host>,
    /// TLS of the `tcp://` hosts.
    pub(crate) tls: Option<Tls>,
    /// Where metrics are served.
    pub(crate) metrics_addr: Option<Address>,
    /// Group of the sockets: a name or a number. `None`: `docker` if there is such a group.
    pub(crate) group: Option<String>,
    /// Networks of containers.
    pub(crate) network: taffrail_config::Network,
    /// `IpcMode` of containers that name none.
    pub(crate) default_ipc_mode: IpcMode,
    /// `CgroupnsMode` of containers that name none; `None` is what suits the host.
    pub(crate) default_cgroupns_mode: Option<String>,
    /// Where the files of the Container Device Interface are, a later folder before an earlier.
    pub(crate) cdi_spec_dirs: Vec<PathBuf>,
    /// `log-driver`, `log-opts` and `log-drivers`.
    pub(crate) log: Defaults,
    /// Bytes of all containers' log files that are held past their own retention.
    pub(crate) log_spool_size: u64,
    /// Extra streams of containers that say nothing of them.
    pub(crate) log_streams: ExtraStreams,
    /// Who is told of ends that were not wanted.
    pub(crate) webhook: Option<Webhook>,
    pub(crate) runtimes: BTreeMap<String, RuntimeSettings>,
    pub(crate) default_runtime: String,
    pub(crate) live_restore: bool,
    pub(crate) debug: bool,
    /// Seconds; negative waits for ever.
    pub(crate) shutdown_timeout: i64,
    pub(crate) default_stop_timeout: i64,
    pub(crate) default_ulimits: BTreeMap<String, Ulimit>,
    pub(crate) labels: Vec<String>,
    pub(crate) registries: RegistrySettings,
}

impl Settings {
    /// Containers that name no network have loopback only.
    pub(crate) fn no_bridge(&self) -> bool {
        self.network.bridge == taffrail_config::Bridge::None
    }

    /// Takes over a checked configuration.
    pub(crate) fn new(config: &Config, monitor_binary: Option<PathBuf>) -> Self {
        Self {
            data_root: config.data_root.clone(),
            exec_root: config.exec_root.clone(),
            monitor_binary,
            pid_file: config.pidfile.clone(),
            hosts: config.hosts.clone(),
            tls: config.tls.clone(),
            metrics_addr: config.metrics_addr.clone(),
            group: config.group.clone(),
            network: config.network.clone(),
            default_ipc_mode: config.default_ipc_mode,
            default_cgroupns_mode: config.default_cgroupns_mode.clone(),
            cdi_spec_dirs: config.cdi_spec_dirs.clone(),
            log: config.log.clone(),
            log_spool_size: config.log_spool_size,
            log_streams: config.log_streams,
            webhook: config.webhook.clone(),
            runtimes: config
                .runtimes
                .iter()
                .map(|(name, runtime)| {
                    let runtime = RuntimeSettings {
                        path: beside(&runtime.path),
                        args: runtime.args.clone(),
                    };
                    (name.clone(), runtime)
                })
                .collect(),
            default_runtime: config.default_runtime.clone(),
            live_restore: config.live_restore,
            debug: config.debug,
            shutdown_timeout: config.shutdown_timeout,
            default_stop_timeout: config.default_stop_timeout,
            default_ulimits: config
                .default_ulimits
                .iter()
                .map(|(name, limit)| {
                    let limit = Ulimit {
                        name: limit.name.clone(),
                        soft: limit.soft,
                        hard: limit.hard,
                    };
                    (name.clone(), limit)
                })
                .collect(),
            labels: config.labels.clone(),
            registries: RegistrySettings {
                mirrors: config.registry_mirrors.clone(),
                insecure: config.insecure_registries.clone(),
                downloads: config.max_concurrent_downloads,
                uploads: config.max_concurrent_uploads,
                attempts: config.max_download_attempts,
            },
        }
    }
}

/// The program of the built-in runtime, which is installed beside this one; other names are looked
/// up in `PATH` when they are needed.
pub(super) fn beside(path: &Path) -> PathBuf {
    if path.as_os_str() == "taffrail-runtime"
        && let Ok(own) = std::env::current_exe()
    {
        let sibling = own.with_file_name(path);
        if sibling.is_file() {
            return sibling;
        }
    }
    path.to_owned()
}
