//! Taffrail: the daemon and the command line, by subcommand.

mod api;
mod cli;
mod client;
mod container;
mod daemon;
mod daemon_log;
mod delivery;
mod errors;
mod events;
mod files;
mod image;
mod logs;
mod metrics;
mod net;
mod network;
mod registry;
mod runtime;
mod state_file;
mod supervisor;
mod volume;
mod webhook;

use std::process::ExitCode;

fn main() -> ExitCode {
    net::tls::install_provider();
    cli::run(std::env::args_os(), daemon::command::run)
}
