//! Taffrail: the daemon and the command line, by subcommand.

mod api;
mod cli;
mod client;
mod container;
mod daemon;
mod daemon_log;
mod errors;
mod events;
mod image;
mod runtime;
mod supervisor;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::run(std::env::args_os(), daemon::command::run)
}
