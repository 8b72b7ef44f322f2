//! File and flags together: everything checked, everything wrong told at once.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};

use crate::check::{self, Errors, bad};
use crate::error::{ConfigError, ConfigErrors, Origin, Warning};
use crate::file::{self, File};
use crate::flags::Flags;
use crate::hosts;
use crate::keys::{KEYS, Meaning, Used};
use crate::log;
use crate::model::{Config, Host, IpcMode, LogFormat, LogLevel, Runtime};
use crate::registries;
use crate::streams;
use crate::tls;
use crate::webhook;

/// Where the file is unless `--config-file` says otherwise.
pub const DEFAULT_FILE: &str = "/etc/taffrail/daemon.json";

/// `log-spool-size` when it is not given: 4 GiB.
const DEFAULT_LOG_SPOOL_SIZE: u64 = 4 << 30;

/// Largest file read: no configuration comes near it.
const MAX_FILE: u64 = 4 << 20;

/// Reads and checks file and flags.
///
/// `explicit` is the value of `--config-file`; without it `default_path` is read if it exists.
///
/// # Errors
/// All that is wrong. An `explicit` file that does not exist is an error.
pub fn load(
    explicit: Option<&Path>,
    default_path: &Path,
    flags: &Flags,
) -> Result<(Config, Vec<Warning>), ConfigErrors> {
    let path = explicit.unwrap_or(default_path);
    let read = || -> std::io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        std::fs::File::open(path)?
            .take(MAX_FILE + 1)
            .read_to_end(&mut bytes)?;
        if bytes.len() as u64 > MAX_FILE {
            return Err(std::io::ErrorKind::FileTooLarge.into());
        }
        Ok(bytes)
    };
    match read() {
        Ok(bytes) => parse_text(&bytes, Some(path), flags),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && explicit.is_none() => {
            parse_text(b"", None, flags)
        }
        Err(source) => Err(ConfigErrors {
            file: Some(path.to_owned()),
            errors: vec![ConfigError::Read {
                path: path.to_owned(),
                source,
            }],
        }),
    }
}

/// Checks the bytes of a file (read from `path`) and flags; touches nothing.
///
/// # Errors
/// All that is wrong.
pub fn parse_text(
    bytes: &[u8],
    path: Option<&Path>,
    flags: &Flags,
) -> Result<(Config, Vec<Warning>), ConfigErrors> {
    let mut errors = Vec::new();
    let mut warnings = Vec::new();
    let file = match file::decode(bytes) {
        Ok(text) => file::read(&text, &mut errors, &mut warnings),
        Err(error) => {
            errors.push(error);
            File::default()
        }
    };
    let mut config = resolve(&file, flags, &mut errors, &mut warnings);
    config.file = path.map(Path::to_owned);
    if errors.is_empty() {
        Ok((config, warnings))
    } else {
        Err(ConfigErrors {
            file: path.map(Path::to_owned),
            errors,
        })
    }
}

/// A flag, or the file's value, with where it comes from.
pub(crate) struct Source<'a> {
    pub(crate) file: &'a File,
}

impl Source<'_> {
    pub(crate) fn origin(&self, key: &str) -> Origin {
        self.file.line(key).map_or(Origin::Default, Origin::Line)
    }

    pub(crate) fn text<'s>(
        &'s self,
        key: &str,
        flag: Option<&'s String>,
    ) -> Option<(Origin, &'s str)> {
        match flag {
            Some(text) => Some((Origin::Flag, text)),
            None => self.file.string(key).map(|text| (self.origin(key), text)),
        }
    }

    pub(crate) fn path(
        &self,
        key: &str,
        flag: Option<&PathBuf>,
        errors: &mut Errors,
    ) -> Option<PathBuf> {
        match (flag, self.file.string(key)) {
            (Some(path), _) => Some(check::path(Origin::Flag, key, path, errors)),
            (None, Some(text)) => Some(check::path(self.origin(key), key, Path::new(text), errors)),
            (None, None) => None,
        }
    }

    fn seconds(&self, key: &str, flag: Option<i64>, default: i64, errors: &mut Errors) -> i64 {
        match (flag, self.file.int(key)) {
            (Some(value), _) => check::seconds(Origin::Flag, key, value, errors),
            (None, Some(value)) => check::seconds(self.origin(key), key, value, errors),
            (None, None) => default,
        }
    }

    fn transfers(&self, key: &str, flag: Option<i64>, default: u32, errors: &mut Errors) -> u32 {
        let given = match flag {
            Some(value) => Some((Origin::Flag, value)),
            None => self.file.int(key).map(|value| (self.origin(key), value)),
        };
        registries::number(key, given, default, errors)
    }

    pub(crate) fn list<'s>(&'s self, key: &str, flag: &'s [String]) -> Vec<(Origin, &'s str)> {
        if flag.is_empty() {
            let items = self.file.strings(key).unwrap_or_default();
            items
                .into_iter()
                .map(|(line, text)| (Origin::Line(line), text))
                .collect()
        } else {
            flag.iter()
                .map(|text| (Origin::Flag, text.as_str()))
                .collect()
        }
    }
}

fn resolve(file: &File, flags: &Flags, errors: &mut Errors, warnings: &mut Vec<Warning>) -> Config {
    let source = Source { file };
    let data_root = source.path("data-root", flags.data_root.as_ref(), errors);
    let exec_root = source
        .path("exec-root", flags.exec_root.as_ref(), errors)
        .unwrap_or_else(|| "/run/taffrail".into());
    let pidfile = source.path("pidfile", flags.pidfile.as_ref(), errors);
    let (tls, declined) = tls::tls(&source, flags, errors, warnings);
    let mut hosts: Vec<Host> = Vec::new();
    let host_list = source.list("hosts", &flags.hosts);
    for (origin, text) in &host_list {
        if let Some(host) = hosts::host(*origin, text, tls.is_some(), errors)
            && !hosts.contains(&host)
        {
            hosts.push(host);
        }
    }
    if host_list.is_empty() && tls.is_some() {
        hosts.push(hosts::tls_default());
    } else if host_list.is_empty() {
        // A second daemon is kept apart by its exec root alone.
        let socket = format!("unix://{}/docker.sock", exec_root.display());
        hosts.extend(hosts::host(Origin::Default, &socket, false, errors));
    }
    tls::exposure(&hosts, tls.as_ref(), declined, file.line("hosts"), warnings);
    let log_level = source
        .text("log-level", flags.log_level.as_ref())
        .map_or(LogLevel::Info, |(origin, text)| {
            check::level(origin, text, errors)
        });
    let log_format = source
        .text("log-format", flags.log_format.as_ref())
        .map_or(LogFormat::Text, |(origin, text)| {
            check::format(origin, text, errors)
        });
    let labels = check::labels(&source.list("labels", &flags.labels), errors);
    let (runtimes, default_runtime) = runtimes(&source, flags, errors);
    let config = Config {
        file: None,
        data_root: data_root.unwrap_or_else(|| "/var/lib/taffrail".into()),
        pidfile: pidfile.unwrap_or_else(|| exec_root.join("taffrail.pid")),
        exec_root,
        hosts,
        group: source
            .text("group", flags.group.as_ref())
            .map(|(_, text)| text.to_owned())
            .filter(|group| !group.is_empty()),
        network: crate::network::network(&source, flags, errors),
        default_ipc_mode: source
            .text("default-ipc-mode", flags.default_ipc_mode.as_ref())
            .map_or(IpcMode::Private, |(origin, text)| {
                check::ipc_mode(origin, text, errors)
            }),
        default_cgroupns_mode: source
            .text(
                "default-cgroupns-mode",
                flags.default_cgroupns_mode.as_ref(),
            )
            .and_then(|(origin, text)| check::cgroupns_mode(origin, text, errors)),
        cdi_spec_dirs: cdi_spec_dirs(&source, errors),
        tls,
        metrics_addr: source
            .text("metrics-addr", flags.metrics_addr.as_ref())
            .and_then(|(origin, text)| hosts::metrics(origin, text, errors)),
        log: log::defaults(&source, flags, errors, warnings),
        log_spool_size: source
            .text("log-spool-size", flags.log_spool_size.as_ref())
            .map_or(DEFAULT_LOG_SPOOL_SIZE, |(origin, text)| {
                check::spool_size(origin, text, errors)
            }),
        log_streams: streams::streams(&source, errors),
        webhook: webhook::webhook(file, errors),
        log_level,
        debug: flags.debug.or(file.bool("debug")).unwrap_or(false),
        log_format,
        raw_logs: flags.raw_logs.or(file.bool("raw-logs")).unwrap_or(false),
        live_restore: flags
            .live_restore
            .or(file.bool("live-restore"))
            .unwrap_or(true),
        shutdown_timeout: source.seconds("shutdown-timeout", flags.shutdown_timeout, 15, errors),
        default_stop_timeout: source.seconds(
            "default-stop-timeout",
            flags.default_stop_timeout,
            10,
            errors,
        ),
        default_ulimits: ulimits(file, flags, errors),
        labels,
        registry_mirrors: registries::mirrors(
            &source.list("registry-mirrors", &flags.registry_mirrors),
            errors,
        ),
        insecure_registries: registries::insecure(
            &source.list("insecure-registries", &flags.insecure_registries),
            errors,
        ),
        max_concurrent_downloads: source.transfers(
            "max-concurrent-downloads",
            flags.max_concurrent_downloads,
            registries::DOWNLOADS,
            errors,
        ),
        max_concurrent_uploads: source.transfers(
            "max-concurrent-uploads",
            flags.max_concurrent_uploads,
            registries::UPLOADS,
            errors,
        ),
        max_download_attempts: source.transfers(
            "max-download-attempts",
            flags.max_download_attempts,
            registries::ATTEMPTS,
            errors,
        ),
        runtimes,
        default_runtime,
    };
    conflicts(file, flags, errors);
    config
}

/// Folders of device files. An empty list is one.
fn cdi_spec_dirs(source: &Source<'_>, errors: &mut Errors) -> Vec<PathBuf> {
    const KEY: &str = "cdi-spec-dirs";
    if source.file.strings(KEY).is_none() {
        return vec!["/etc/cdi".into(), "/var/run/cdi".into()];
    }
    source
        .list(KEY, &[])
        .into_iter()
        .map(|(origin, text)| check::path(origin, KEY, Path::new(text), errors))
        .collect()
}

fn ulimits(
    file: &File,
    flags: &Flags,
    errors: &mut Errors,
) -> BTreeMap<String, crate::model::Ulimit> {
    let mut found = BTreeMap::new();
    if flags.default_ulimits.is_empty() {
        for (name, line, node) in file.members("default-ulimits").unwrap_or_default() {
            if let Some(limit) = check::ulimit_entry(name, *line, node, errors) {
                found.insert(name.clone(), limit);
            }
        }
    } else {
        for text in &flags.default_ulimits {
            if let Some(limit) = check::ulimit_flag(text, errors) {
                found.insert(limit.name.clone(), limit);
            }
        }
    }
    found
}

/// Runtimes that are always there, and their programs: Taffrail's own, and runc by Docker's names.
const BUILT_IN: [(&str, &str); 3] = [
    (DEFAULT_RUNTIME, "taffrail-runtime"),
    ("runc", "runc"),
    ("io.containerd.runc.v2", "runc"),
];
const DEFAULT_RUNTIME: &str = "taffrail";

fn runtimes(
    source: &Source<'_>,
    flags: &Flags,
    errors: &mut Errors,
) -> (BTreeMap<String, Runtime>, String) {
    let program = |path: &str| Runtime {
        path: path.into(),
        args: Vec::new(),
    };
    let mut found: BTreeMap<String, Runtime> = BUILT_IN
        .iter()
        .map(|(name, path)| ((*name).to_owned(), program(path)))
        .collect();
    // Names that are given but wrong are still names, so that default-runtime is not told off too.
    let mut names: Vec<&str> = BUILT_IN.iter().map(|(name, _)| *name).collect();
    for (name, line, node) in source.file.members("runtimes").unwrap_or_default() {
        names.push(name);
        if let Some(runtime) = check::runtime_entry(name, *line, node, errors) {
            found.insert(name.clone(), runtime);
        }
    }
    for text in &flags.add_runtimes {
        let (name, path) = text.split_once('=').unwrap_or((text, ""));
        names.push(name);
        if let Some(runtime) =
            check::runtime(Origin::Flag, "runtimes", name, path, Vec::new(), errors)
        {
            found.insert(name.to_owned(), runtime);
        }
    }
    let (origin, default) = source
        .text("default-runtime", flags.default_runtime.as_ref())
        .unwrap_or((Origin::Default, DEFAULT_RUNTIME));
    if !names.contains(&default) {
        errors.push(bad(
            origin,
            "default-runtime",
            default,
            format!("specified default runtime '{default}' does not exist"),
            format!(
                "write one of {}, or add it to \"runtimes\"",
                names.join(", ")
            ),
        ));
    }
    (found, default.to_owned())
}

fn conflicts(file: &File, flags: &Flags, errors: &mut Errors) {
    let pairs: Vec<_> = file
        .order
        .iter()
        .filter_map(|key| {
            let flag = flags.given(key)?;
            let json = file.json(key)?;
            Some(format!(
                "{key}: (from flag: {flag}, from file: {})",
                json.go()
            ))
        })
        .collect();
    if !pairs.is_empty() {
        errors.push(ConfigError::Conflict { pairs });
    }
}

/// What a reload found.
#[derive(Clone, Debug)]
pub struct Reloaded {
    /// the configuration from now on: live keys anew, the others as they were
    pub config: Config,
    /// live keys whose value changed
    pub changed: Vec<&'static str>,
    /// keys whose value changed in the file, but holds only after a restart
    pub needs_restart: Vec<&'static str>,
    /// as from [`load`]
    pub warnings: Vec<Warning>,
}

impl Config {
    /// Reads the file again (SIGHUP) with the flags of the start. Unlike Docker's, a key that is gone from the file returns to its
    /// default, and the log defaults are live; they hold for containers created later.
    ///
    /// # Errors
    /// All that is wrong; the configuration in use stays as it is.
    pub fn reload(
        &self,
        explicit: Option<&Path>,
        default_path: &Path,
        flags: &Flags,
    ) -> Result<Reloaded, ConfigErrors> {
        let (new, warnings) = load(explicit, default_path, flags)?;
        let mut config = self.clone();
        config.file.clone_from(&new.file);
        let mut changed = Vec::new();
        let mut needs_restart = Vec::new();
        for key in KEYS {
            let Meaning::Used(Used { live, .. }) = key.meaning else {
                continue;
            };
            if !config.take(&new, key.name, live) {
                continue;
            }
            if live {
                changed.push(key.name);
            } else {
                needs_restart.push(key.name);
            }
        }
        Ok(Reloaded {
            config,
            changed,
            needs_restart,
            warnings,
        })
    }

    /// Whether `key` differs in `new`; its value is taken over if `apply` is set.
    fn take(&mut self, new: &Self, key: &str, apply: bool) -> bool {
        fn one<T: Clone + PartialEq>(old: &mut T, new: &T, apply: bool) -> bool {
            let differs = old != new;
            if differs && apply {
                old.clone_from(new);
            }
            differs
        }
        match key {
            "log-driver" => one(&mut self.log.driver, &new.log.driver, apply),
            "log-opts" => one(&mut self.log.options, &new.log.options, apply),
            "log-drivers" => one(&mut self.log.by_driver, &new.log.by_driver, apply),
            "log-spool-size" => one(&mut self.log_spool_size, &new.log_spool_size, apply),
            "log-streams" => one(&mut self.log_streams, &new.log_streams, apply),
            "webhook" => one(&mut self.webhook, &new.webhook, apply),
            "metrics-addr" => one(&mut self.metrics_addr, &new.metrics_addr, apply),
            // Never applied by a reload, so one comparison serves each of them.
            "tls" | "tlsverify" => {
                self.tls.as_ref().map(|tls| tls.verify) != new.tls.as_ref().map(|tls| tls.verify)
            }
            "tlscacert" => {
                self.tls.as_ref().map(|tls| &tls.ca) != new.tls.as_ref().map(|tls| &tls.ca)
            }
            "tlscert" => {
                self.tls.as_ref().map(|tls| &tls.cert) != new.tls.as_ref().map(|tls| &tls.cert)
            }
            "tlskey" => {
                self.tls.as_ref().map(|tls| &tls.key) != new.tls.as_ref().map(|tls| &tls.key)
            }
            "log-level" => one(&mut self.log_level, &new.log_level, apply),
            "log-format" => one(&mut self.log_format, &new.log_format, apply),
            "raw-logs" => one(&mut self.raw_logs, &new.raw_logs, apply),
            "debug" => one(&mut self.debug, &new.debug, apply),
            "live-restore" => one(&mut self.live_restore, &new.live_restore, apply),
            "data-root" => one(&mut self.data_root, &new.data_root, apply),
            "exec-root" => one(&mut self.exec_root, &new.exec_root, apply),
            "pidfile" => one(&mut self.pidfile, &new.pidfile, apply),
            "hosts" => one(&mut self.hosts, &new.hosts, apply),
            "group" => one(&mut self.group, &new.group, apply),
            "default-ipc-mode" => one(&mut self.default_ipc_mode, &new.default_ipc_mode, apply),
            "default-cgroupns-mode" => one(
                &mut self.default_cgroupns_mode,
                &new.default_cgroupns_mode,
                apply,
            ),
            "cdi-spec-dirs" => one(&mut self.cdi_spec_dirs, &new.cdi_spec_dirs, apply),
            "labels" => one(&mut self.labels, &new.labels, apply),
            "registry-mirrors" => one(&mut self.registry_mirrors, &new.registry_mirrors, apply),
            "insecure-registries" => one(
                &mut self.insecure_registries,
                &new.insecure_registries,
                apply,
            ),
            "max-concurrent-downloads" => one(
                &mut self.max_concurrent_downloads,
                &new.max_concurrent_downloads,
                apply,
            ),
            "max-concurrent-uploads" => one(
                &mut self.max_concurrent_uploads,
                &new.max_concurrent_uploads,
                apply,
            ),
            "max-download-attempts" => one(
                &mut self.max_download_attempts,
                &new.max_download_attempts,
                apply,
            ),
            "default-runtime" => one(&mut self.default_runtime, &new.default_runtime, apply),
            "runtimes" => one(&mut self.runtimes, &new.runtimes, apply),
            "shutdown-timeout" => one(&mut self.shutdown_timeout, &new.shutdown_timeout, apply),
            "default-stop-timeout" => one(
                &mut self.default_stop_timeout,
                &new.default_stop_timeout,
                apply,
            ),
            "default-ulimits" => one(&mut self.default_ulimits, &new.default_ulimits, apply),
            // They hold from a start on.
            key if crate::network::KEYS.contains(&key) => self.network.differs(&new.network, key),
            _ => false,
        }
    }
}

#[cfg(test)]
#[path = "load_tests.rs"]
mod tests;
