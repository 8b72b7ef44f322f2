//! `taffrail daemon`: from flags and daemon.json to a running daemon; the exit status.

use std::cell::RefCell;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use taffrail_config::{Config, DEFAULT_FILE, Flags, load};

use super::Settings;
use super::activation::HandedOver;
use super::run::Outside;
use crate::cli::{DaemonArgs, LogFormat, LogTarget};
use crate::daemon_log::{self, Target};
use crate::errors::chain;
use crate::net::tls;

/// Time for blocking work that is still under way when the daemon ends.
const LAST_WORK: Duration = Duration::from_millis(500);

/// Runs the daemon, or checks its configuration. 1 if it cannot start, 0 otherwise.
pub(crate) fn run(args: DaemonArgs) -> ExitCode {
    // Before anything else is opened.
    let handed_over = HandedOver::take();
    let flags = flags(&args);
    let explicit = args.config_file.as_deref();
    let (config, warnings) = match load(explicit, Path::new(DEFAULT_FILE), &flags) {
        Ok(loaded) => loaded,
        Err(errors) => {
            eprintln!("{errors}");
            return ExitCode::FAILURE;
        }
    };
    let tls = match config.tls.as_ref().map(tls::server).transpose() {
        Ok(tls) => tls,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::FAILURE;
        }
    };
    if args.validate {
        for warning in &warnings {
            eprintln!("warning: {warning}");
        }
        println!("configuration OK");
        return ExitCode::SUCCESS;
    }
    let target = match args.log_target {
        Some(LogTarget::Stderr) => Target::Stderr,
        Some(LogTarget::Journald) => Target::Journald,
        None => Target::detect(),
    };
    let log = match daemon_log::init(config.level(), config.log_format, target) {
        Ok(log) => log,
        Err(error) => {
            eprintln!("{}", chain(&error));
            return ExitCode::FAILURE;
        }
    };
    for warning in &warnings {
        tracing::warn!("{warning}");
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => {
            tracing::error!(error = %error, "threads cannot be started");
            return ExitCode::FAILURE;
        }
    };
    let settings = Settings::new(&config, args.monitor_binary.clone());
    let outside = Outside { tls, handed_over };
    let config = RefCell::new(config);
    let reload = || reload(&config, &args, &flags, &log);
    let result = runtime.block_on(super::run::run(settings, outside, reload));
    runtime.shutdown_timeout(LAST_WORK);
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(error = %chain(&error), "daemon cannot start");
            ExitCode::FAILURE
        }
    }
}

/// Reads the configuration again. An error leaves everything as it is.
fn reload(
    config: &RefCell<Config>,
    args: &DaemonArgs,
    flags: &Flags,
    log: &daemon_log::Handle,
) -> Option<Settings> {
    let explicit = args.config_file.as_deref();
    let reloaded = config
        .borrow()
        .reload(explicit, Path::new(DEFAULT_FILE), flags);
    match reloaded {
        Ok(reloaded) => {
            for warning in &reloaded.warnings {
                tracing::warn!("{warning}");
            }
            if !reloaded.needs_restart.is_empty() {
                tracing::warn!(
                    keys = reloaded.needs_restart.join(","),
                    "changed keys that need a restart are left as they are"
                );
            }
            tracing::info!(
                changed = reloaded.changed.join(","),
                "daemon.json was read again"
            );
            let settings = Settings::new(&reloaded.config, args.monitor_binary.clone());
            log.set_level(reloaded.config.level());
            *config.borrow_mut() = reloaded.config;
            Some(settings)
        }
        Err(errors) => {
            tracing::error!(error = %errors, "configuration is not reloaded");
            None
        }
    }
}

fn flags(args: &DaemonArgs) -> Flags {
    Flags {
        data_root: args.data_root.clone(),
        exec_root: args.exec_root.clone(),
        pidfile: args.pidfile.clone(),
        hosts: args.hosts.clone(),
        group: args.group.clone(),
        bridge: args.bridge.clone(),
        network: args.network.flags(),
        default_ipc_mode: args.default_ipc_mode.clone(),
        default_cgroupns_mode: args.default_cgroupns_mode.clone(),
        log_driver: args.log_driver.clone(),
        log_opts: args.log_opts.clone(),
        log_level: args.log_level.clone(),
        log_format: args.log_format.map(|format| {
            match format {
                LogFormat::Text => "text",
                LogFormat::Json => "json",
            }
            .to_owned()
        }),
        raw_logs: args.raw_logs.then_some(true),
        log_spool_size: args.log_spool_size.clone(),
        tls: args.tls,
        tlsverify: args.tlsverify,
        tlscacert: args.tlscacert.clone(),
        tlscert: args.tlscert.clone(),
        tlskey: args.tlskey.clone(),
        metrics_addr: args.metrics_addr.clone(),
        debug: args.debug.then_some(true),
        live_restore: args.live_restore,
        shutdown_timeout: args.shutdown_timeout,
        default_stop_timeout: args.default_stop_timeout,
        default_ulimits: args.default_ulimits.clone(),
        labels: args.labels.clone(),
        registry_mirrors: args.registry_mirrors.clone(),
        insecure_registries: args.insecure_registries.clone(),
        max_concurrent_downloads: args.max_concurrent_downloads,
        max_concurrent_uploads: args.max_concurrent_uploads,
        max_download_attempts: args.max_download_attempts,
        default_runtime: args.default_runtime.clone(),
        add_runtimes: args.add_runtimes.clone(),
    }
}
