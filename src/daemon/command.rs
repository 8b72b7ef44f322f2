//! `taffrail daemon`: from flags and daemon.json to a running daemon; the exit status.

use std::process::ExitCode;
use std::time::Duration;

use super::{RuntimeSettings, Settings};
use crate::cli::DaemonArgs;
use crate::errors::chain;

/// Time for blocking work that is still under way when the daemon ends.
const LAST_WORK: Duration = Duration::from_millis(500);

/// Runs the daemon, or checks its configuration.
pub(crate) fn run(args: DaemonArgs) -> ExitCode {
    let _ = tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .try_init();
    if args.validate {
        println!("configuration OK");
        return ExitCode::SUCCESS;
    }
    let settings = settings(&args);
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
    let result = runtime.block_on(super::run::run(settings, |_| None));
    runtime.shutdown_timeout(LAST_WORK);
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(error = %chain(&error), "daemon cannot start");
            ExitCode::FAILURE
        }
    }
}

// Flags only, until daemon.json is merged.
fn settings(args: &DaemonArgs) -> Settings {
    let exec_root = args
        .exec_root
        .clone()
        .unwrap_or_else(|| "/run/taffrail".into());
    Settings {
        data_root: args
            .data_root
            .clone()
            .unwrap_or_else(|| "/var/lib/taffrail".into()),
        pid_file: args
            .pidfile
            .clone()
            .unwrap_or_else(|| exec_root.join("taffrail.pid")),
        hosts: if args.hosts.is_empty() {
            vec!["unix:///run/taffrail/docker.sock".to_owned()]
        } else {
            args.hosts.clone()
        },
        exec_root,
        monitor_binary: args.monitor_binary.clone(),
        log_driver: args
            .log_driver
            .clone()
            .unwrap_or_else(|| "json-file".to_owned()),
        log_opts: args
            .log_opts
            .iter()
            .map(|opt| {
                let (key, value) = opt.split_once('=').unwrap_or((opt, ""));
                (key.to_owned(), value.to_owned())
            })
            .collect(),
        group: args.group.clone(),
        runtimes: [(
            "runc".to_owned(),
            RuntimeSettings {
                path: "runc".into(),
                args: Vec::new(),
            },
        )]
        .into(),
        default_runtime: "runc".to_owned(),
        live_restore: args.live_restore.unwrap_or(true),
        shutdown_timeout: args.shutdown_timeout.unwrap_or(15),
        default_stop_timeout: 10,
        ..Settings::default()
    }
}
