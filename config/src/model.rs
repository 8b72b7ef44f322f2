//! The configuration that the daemon runs with.

use std::collections::BTreeMap;
use std::path::PathBuf;

use taffrail_drivers::Defaults;

use crate::streams::ExtraStreams;
use crate::webhook::Webhook;

/// What the daemon writes to its own log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogLevel {
    /// `panic`, `fatal` and `error`
    Error,
    /// `warn`
    Warn,
    /// `info`
    Info,
    /// `debug`
    Debug,
    /// `trace`
    Trace,
}

/// Form of the daemon's own log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// `time=... level=... msg=...`
    Text,
    /// one JSON object a line
    Json,
}

/// Where the API listens.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Host {
    /// a unix socket
    Unix(PathBuf),
    /// a port, with or without TLS
    Tcp(Address),
    /// sockets from the service manager: all of them, or the one of this number or name
    Fd(String),
}

/// Host (a name or an address; empty: all of this machine's addresses) and port (0: the kernel chooses).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// without the brackets of an IPv6 address
    pub host: String,
    /// the port
    pub port: u16,
}

impl std::fmt::Display for Address {
    /// `host:port`, IPv6 in brackets.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// TLS of the `tcp://` hosts. Paths are absolute; the files were not looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tls {
    /// whether clients need a certificate
    pub verify: bool,
    /// what clients' certificates are checked against; there if `verify` is
    pub ca: Option<PathBuf>,
    /// the daemon's certificate
    pub cert: PathBuf,
    /// its key
    pub key: PathBuf,
}

impl std::fmt::Display for Host {
    /// As in `hosts`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix://{}", path.display()),
            Self::Tcp(address) => write!(f, "tcp://{address}"),
            Self::Fd(name) => write!(f, "fd://{name}"),
        }
    }
}

/// An OCI runtime.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Runtime {
    /// program: a path, or a name to look up in `PATH`
    pub path: PathBuf,
    /// arguments in front of the runtime's verb
    pub args: Vec<String>,
}

/// A limit of a process; -1 is unlimited.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ulimit {
    /// Docker's name, such as `nofile`
    pub name: String,
    /// what holds
    pub soft: i64,
    /// how far the process may raise it
    pub hard: i64,
}

/// Whose IPC namespace a container has that says nothing of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum IpcMode {
    /// its own
    #[default]
    Private,
    /// its own, which others may join
    Shareable,
}

impl IpcMode {
    /// As in `HostConfig.IpcMode`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Private => "private",
            Self::Shareable => "shareable",
        }
    }
}

/// A checked configuration. Made by [`crate::load`] and [`crate::parse_text`].
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Config {
    /// the file read; `None` if there is none
    pub file: Option<PathBuf>,
    /// what outlives a reboot; absolute
    pub data_root: PathBuf,
    /// what does not; absolute
    pub exec_root: PathBuf,
    /// file with the daemon's process id; absolute
    pub pidfile: PathBuf,
    /// at least one
    pub hosts: Vec<Host>,
    /// group of the sockets; `None`: `docker` if there is such a group, else root's
    pub group: Option<String>,
    /// networks of containers
    pub network: crate::Network,
    /// IPC mode of containers that name none
    pub default_ipc_mode: IpcMode,
    /// `host` or `private`: control group namespace of containers that name none; `None`: what suits the host
    pub default_cgroupns_mode: Option<String>,
    /// folders with the files of the Container Device Interface, absolute
    pub cdi_spec_dirs: Vec<PathBuf>,
    /// TLS of the `tcp://` hosts; `None`: none
    pub tls: Option<Tls>,
    /// where metrics are served; `None`: nowhere
    pub metrics_addr: Option<Address>,
    /// `log-driver`, `log-opts` and `log-drivers`, checked together
    pub log: Defaults,
    /// bytes of all containers' log files that are held past their own retention
    pub log_spool_size: u64,
    /// which extra streams every container's log has, unless the container says otherwise
    pub log_streams: ExtraStreams,
    /// who is told of ends that were not wanted; `None`: nobody
    pub webhook: Option<Webhook>,
    /// level as written; see [`Config::level`]
    pub log_level: LogLevel,
    /// raises the level to debug
    pub debug: bool,
    /// form of the daemon's log
    pub log_format: LogFormat,
    /// no colours
    pub raw_logs: bool,
    /// whether containers go on when the daemon stops (default true; Docker: false)
    pub live_restore: bool,
    /// seconds for all containers to stop at a daemon stop without live-restore; -1: no limit
    pub shutdown_timeout: i64,
    /// seconds between stop signal and SIGKILL for containers that set none; -1: no limit
    pub default_stop_timeout: i64,
    /// limits of containers that set none, by name
    pub default_ulimits: BTreeMap<String, Ulimit>,
    /// the daemon's labels, `k=v`
    pub labels: Vec<String>,
    /// registries asked before Docker Hub, as URLs that end in `/`
    pub registry_mirrors: Vec<String>,
    /// registries that may have no TLS or an unknown certificate
    pub insecure_registries: crate::registries::Insecure,
    /// layers fetched at a time
    pub max_concurrent_downloads: u32,
    /// layers sent at a time
    pub max_concurrent_uploads: u32,
    /// attempts for a layer
    pub max_download_attempts: u32,
    /// runtimes by name; always has `taffrail` and `runc`
    pub runtimes: BTreeMap<String, Runtime>,
    /// a name in `runtimes`
    pub default_runtime: String,
}

impl Config {
    /// The level that holds: `log-level`, or debug if `debug` is on and that is more.
    pub fn level(&self) -> LogLevel {
        if self.debug {
            self.log_level.max(LogLevel::Debug)
        } else {
            self.log_level
        }
    }
}
