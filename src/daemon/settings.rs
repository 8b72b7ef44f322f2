//! The settings as the daemon uses them: flags and daemon.json merged and validated.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::api::types::Ulimit;

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
    /// `unix://...` addresses.
    pub(crate) hosts: Vec<String>,
    /// Group of the socket: a name or a number.
    pub(crate) group: Option<String>,
    pub(crate) log_driver: String,
    pub(crate) log_opts: BTreeMap<String, String>,
    pub(crate) runtimes: BTreeMap<String, RuntimeSettings>,
    pub(crate) default_runtime: String,
    pub(crate) live_restore: bool,
    pub(crate) debug: bool,
    /// Seconds; negative waits for ever.
    pub(crate) shutdown_timeout: i64,
    pub(crate) default_stop_timeout: i64,
    pub(crate) default_ulimits: BTreeMap<String, Ulimit>,
    pub(crate) labels: Vec<String>,
    pub(crate) cgroup_parent: String,
    pub(crate) init: bool,
    pub(crate) init_path: Option<PathBuf>,
    pub(crate) default_shm_size: i64,
    pub(crate) default_ipc_mode: String,
    pub(crate) default_cgroupns_mode: Option<String>,
}
