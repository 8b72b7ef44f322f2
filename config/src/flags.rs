//! Settings from the command line, before any check.

use std::path::PathBuf;

use crate::network_flags::NetworkFlags;

/// dockerd's flags; `None` or empty: not given. The key of each in daemon.json is the field's name with dashes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Flags {
    /// `--data-root`
    pub data_root: Option<PathBuf>,
    /// `--exec-root`
    pub exec_root: Option<PathBuf>,
    /// `-p`, `--pidfile`
    pub pidfile: Option<PathBuf>,
    /// `-H`, `--host`
    pub hosts: Vec<String>,
    /// `-G`, `--group`
    pub group: Option<String>,
    /// `-b`, `--bridge`
    pub bridge: Option<String>,
    /// Flags of networks.
    pub network: NetworkFlags,
    /// `--default-ipc-mode`
    pub default_ipc_mode: Option<String>,
    /// `--default-cgroupns-mode`
    pub default_cgroupns_mode: Option<String>,
    /// `--log-driver`
    pub log_driver: Option<String>,
    /// `--log-opt k=v`; without `=` the value is empty
    pub log_opts: Vec<String>,
    /// `--log-spool-size`
    pub log_spool_size: Option<String>,
    /// `-l`, `--log-level`
    pub log_level: Option<String>,
    /// `--log-format`
    pub log_format: Option<String>,
    /// `--raw-logs`
    pub raw_logs: Option<bool>,
    /// `-D`, `--debug`
    pub debug: Option<bool>,
    /// `--tls`
    pub tls: Option<bool>,
    /// `--tlsverify`
    pub tlsverify: Option<bool>,
    /// `--tlscacert`
    pub tlscacert: Option<PathBuf>,
    /// `--tlscert`
    pub tlscert: Option<PathBuf>,
    /// `--tlskey`
    pub tlskey: Option<PathBuf>,
    /// `--metrics-addr`
    pub metrics_addr: Option<String>,
    /// `--live-restore`
    pub live_restore: Option<bool>,
    /// `--shutdown-timeout`, seconds
    pub shutdown_timeout: Option<i64>,
    /// `--default-stop-timeout`, seconds
    pub default_stop_timeout: Option<i64>,
    /// `--default-ulimit name=soft[:hard]`
    pub default_ulimits: Vec<String>,
    /// `--label k=v`
    pub labels: Vec<String>,
    /// `--registry-mirror`
    pub registry_mirrors: Vec<String>,
    /// `--insecure-registry`
    pub insecure_registries: Vec<String>,
    /// `--max-concurrent-downloads`
    pub max_concurrent_downloads: Option<i64>,
    /// `--max-concurrent-uploads`
    pub max_concurrent_uploads: Option<i64>,
    /// `--max-download-attempts`
    pub max_download_attempts: Option<i64>,
    /// `--default-runtime`
    pub default_runtime: Option<String>,
    /// `--add-runtime name=path`
    pub add_runtimes: Vec<String>,
}

pub(crate) fn go_list(items: &[String]) -> Option<String> {
    (!items.is_empty()).then(|| format!("[{}]", items.join(" ")))
}

fn go_map(items: &[String]) -> Option<String> {
    let mut pairs: Vec<_> = items
        .iter()
        .map(|item| item.split_once('=').unwrap_or((item, "")))
        .collect();
    pairs.sort_unstable();
    let pairs: Vec<_> = pairs.iter().map(|(k, v)| format!("{k}:{v}")).collect();
    (!pairs.is_empty()).then(|| format!("map[{}]", pairs.join(" ")))
}

impl Flags {
    /// The value given for a key, as Go prints it; `None` if the flag is not given. `runtimes` may be in both places, as in Docker.
    pub(crate) fn given(&self, key: &str) -> Option<String> {
        let path = |path: &Option<PathBuf>| path.as_ref().map(|p| p.display().to_string());
        match key {
            "data-root" => path(&self.data_root),
            "exec-root" => path(&self.exec_root),
            "pidfile" => path(&self.pidfile),
            "hosts" => go_list(&self.hosts),
            "group" => self.group.clone(),
            "bridge" => self.bridge.clone(),
            "default-ipc-mode" => self.default_ipc_mode.clone(),
            "default-cgroupns-mode" => self.default_cgroupns_mode.clone(),
            "log-driver" => self.log_driver.clone(),
            "log-opts" => go_map(&self.log_opts),
            "log-spool-size" => self.log_spool_size.clone(),
            "tls" => self.tls.map(|b| b.to_string()),
            "tlsverify" => self.tlsverify.map(|b| b.to_string()),
            "tlscacert" => path(&self.tlscacert),
            "tlscert" => path(&self.tlscert),
            "tlskey" => path(&self.tlskey),
            "metrics-addr" => self.metrics_addr.clone(),
            "log-level" => self.log_level.clone(),
            "log-format" => self.log_format.clone(),
            "raw-logs" => self.raw_logs.map(|b| b.to_string()),
            "debug" => self.debug.map(|b| b.to_string()),
            "live-restore" => self.live_restore.map(|b| b.to_string()),
            "shutdown-timeout" => self.shutdown_timeout.map(|n| n.to_string()),
            "default-stop-timeout" => self.default_stop_timeout.map(|n| n.to_string()),
            "default-ulimits" => go_list(&self.default_ulimits),
            "labels" => go_list(&self.labels),
            "registry-mirrors" => go_list(&self.registry_mirrors),
            "insecure-registries" => go_list(&self.insecure_registries),
            "max-concurrent-downloads" => self.max_concurrent_downloads.map(|n| n.to_string()),
            "max-concurrent-uploads" => self.max_concurrent_uploads.map(|n| n.to_string()),
            "max-download-attempts" => self.max_download_attempts.map(|n| n.to_string()),
            "default-runtime" => self.default_runtime.clone(),
            key => self.network.given(key),
        }
    }
}
