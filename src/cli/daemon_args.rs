//! Flags of `taffrail daemon`: dockerd's names, defaults apart. What they mean together with
//! daemon.json is decided where both are known.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::network_args::NetworkArgs;

/// What was written on the command line; `None` and empty lists were not written.
#[derive(Args, Clone, Debug)]
pub(crate) struct DaemonArgs {
    /// Daemon configuration file (default /etc/taffrail/daemon.json, if it exists)
    #[arg(long, value_name = "FILE")]
    pub(crate) config_file: Option<PathBuf>,
    /// Root directory of persistent state
    #[arg(long, value_name = "DIR")]
    pub(crate) data_root: Option<PathBuf>,
    /// Root directory for execution state files
    #[arg(long, value_name = "DIR")]
    pub(crate) exec_root: Option<PathBuf>,
    /// Daemon socket(s) to listen on: unix:///path, tcp://host:port or fd://
    #[arg(short = 'H', long = "host", value_name = "HOST")]
    pub(crate) hosts: Vec<String>,
    /// Use TLS on tcp:// hosts; clients need a certificate unless --tlsverify=false
    #[arg(
        long,
        value_name = "BOOL",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true"
    )]
    pub(crate) tls: Option<bool>,
    /// Use TLS and verify the remote
    #[arg(
        long,
        value_name = "BOOL",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true"
    )]
    pub(crate) tlsverify: Option<bool>,
    /// Trust certs signed only by this CA
    #[arg(long, value_name = "FILE")]
    pub(crate) tlscacert: Option<PathBuf>,
    /// Path to TLS certificate file
    #[arg(long, value_name = "FILE")]
    pub(crate) tlscert: Option<PathBuf>,
    /// Path to TLS key file
    #[arg(long, value_name = "FILE")]
    pub(crate) tlskey: Option<PathBuf>,
    /// Set default address and port to serve the metrics api on
    #[arg(long, value_name = "HOST:PORT")]
    pub(crate) metrics_addr: Option<String>,
    /// Path to use for the daemon's PID file
    #[arg(short, long, value_name = "FILE")]
    pub(crate) pidfile: Option<PathBuf>,
    /// Group for the unix socket
    #[arg(short = 'G', long, value_name = "GROUP")]
    pub(crate) group: Option<String>,
    /// Existing bridge that containers are on when they name no network; none: they have loopback only
    #[arg(short, long, value_name = "NAME")]
    pub(crate) bridge: Option<String>,
    #[command(flatten)]
    pub(crate) network: NetworkArgs,
    /// Default mode for containers' IPC: private or shareable
    #[arg(long, value_name = "MODE")]
    pub(crate) default_ipc_mode: Option<String>,
    /// Default mode for containers' cgroup namespace (host or private)
    #[arg(long, value_name = "MODE")]
    pub(crate) default_cgroupns_mode: Option<String>,
    /// Default driver for container logs
    #[arg(long, value_name = "NAME")]
    pub(crate) log_driver: Option<String>,
    /// Default log driver options for containers: key=value
    #[arg(long = "log-opt", value_name = "KEY=VALUE")]
    pub(crate) log_opts: Vec<String>,
    /// Disk space for log files that are held past their retention, of all containers together
    #[arg(long, value_name = "SIZE")]
    pub(crate) log_spool_size: Option<String>,
    /// Full timestamps without ANSI coloring
    #[arg(long)]
    pub(crate) raw_logs: bool,
    /// Logging level: debug, info, warn, error, fatal
    #[arg(short, long, value_name = "LEVEL")]
    pub(crate) log_level: Option<String>,
    /// Format of the daemon's own log
    #[arg(long, value_enum, value_name = "FORMAT")]
    pub(crate) log_format: Option<LogFormat>,
    /// Where the daemon's own log goes
    #[arg(long, value_enum, value_name = "TARGET")]
    pub(crate) log_target: Option<LogTarget>,
    /// Enable debug mode
    #[arg(short = 'D', long)]
    pub(crate) debug: bool,
    /// Keep containers running while the daemon is down (on unless =false)
    #[arg(
        long,
        value_name = "BOOL",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true"
    )]
    pub(crate) live_restore: Option<bool>,
    /// Validate the configuration and exit
    #[arg(long)]
    pub(crate) validate: bool,
    /// Set key=value labels on the daemon
    #[arg(long = "label", value_name = "KEY=VALUE")]
    pub(crate) labels: Vec<String>,
    /// Preferred registry mirror of Docker Hub
    #[arg(long = "registry-mirror", value_name = "URL")]
    pub(crate) registry_mirrors: Vec<String>,
    /// Registry that may do without TLS: host, host:port or address/prefix
    #[arg(long = "insecure-registry", value_name = "REGISTRY")]
    pub(crate) insecure_registries: Vec<String>,
    /// Set the max concurrent downloads
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    pub(crate) max_concurrent_downloads: Option<i64>,
    /// Set the max concurrent uploads
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    pub(crate) max_concurrent_uploads: Option<i64>,
    /// Set the max download attempts for each layer
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    pub(crate) max_download_attempts: Option<i64>,
    /// Default OCI runtime for containers
    #[arg(long, value_name = "NAME")]
    pub(crate) default_runtime: Option<String>,
    /// Register an additional OCI runtime: name=path
    #[arg(long = "add-runtime", value_name = "NAME=PATH")]
    pub(crate) add_runtimes: Vec<String>,
    /// Default ulimits for containers: name=soft[:hard]
    #[arg(long = "default-ulimit", value_name = "ULIMIT")]
    pub(crate) default_ulimits: Vec<String>,
    /// Seconds that containers get to stop when the daemon stops them
    #[arg(long, value_name = "SECONDS", allow_negative_numbers = true)]
    pub(crate) shutdown_timeout: Option<i64>,
    /// Seconds between stop signal and SIGKILL for containers that set none
    #[arg(long, value_name = "SECONDS", allow_negative_numbers = true)]
    pub(crate) default_stop_timeout: Option<i64>,
    /// The monitor's program, when it does not lie beside this one.
    #[arg(long, value_name = "FILE", hide = true)]
    pub(crate) monitor_binary: Option<PathBuf>,
}

/// `--log-format`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    Text,
    Json,
}

/// `--log-target`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogTarget {
    Stderr,
    Journald,
}
