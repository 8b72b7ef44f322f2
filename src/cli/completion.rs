//! `completion bash|zsh|fish`, and the answers that the shell then asks for: commands and flags from
//! the definition of the command line, names of containers, images, networks and volumes from the
//! daemon.
//!
//! The script calls this program with [`VARIABLE`] set at each TAB. Whatever goes wrong then, nothing
//! is offered: a shell's prompt is no place for errors.

use std::ffi::OsString;
use std::io::Write as _;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Arg, Args, Command, ValueEnum};
use clap_complete::CompleteEnv;
use clap_complete::engine::{ArgValueCandidates, CompletionCandidate};
use clap_complete::env::Shells;
use serde_json::Value;

use super::definition;
use super::error::CliError;
use super::tls_flags::TlsFlags;
use crate::client::{Client, Host};

/// Set by the shells' scripts.
const VARIABLE: &str = "TAFFRAIL_COMPLETE";
/// How long the daemon may take to answer: somebody waits at a prompt.
const DEADLINE: Duration = Duration::from_secs(2);
/// Commands that are for running containers.
const RUNNING: [&str; 8] = [
    "attach", "exec", "kill", "pause", "port", "stats", "stop", "top",
];

#[derive(Args, Debug)]
pub(crate) struct CompletionArgs {
    /// Shell to write the script for
    #[arg(value_enum, value_name = "SHELL")]
    shell: Shell,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Shell {
    Bash,
    Zsh,
    Fish,
}

/// Prints the script of a shell.
///
/// # Errors
/// Standard output cannot be written.
pub(crate) fn completion(args: &CompletionArgs) -> Result<u8, CliError> {
    let name = match args.shell {
        Shell::Bash => "bash",
        Shell::Zsh => "zsh",
        Shell::Fish => "fish",
    };
    let mut script = Vec::new();
    // The names are the crate's own for these three.
    if let Some(shell) = Shells::builtins().completer(name) {
        shell
            .write_registration(VARIABLE, "taffrail", "taffrail", "taffrail", &mut script)
            .map_err(CliError::io("standard output"))?;
    }
    let mut out = std::io::stdout().lock();
    out.write_all(&script)
        .and_then(|()| out.flush())
        .map_err(CliError::io("standard output"))?;
    Ok(0)
}

/// Answers a shell that asks what a word could become; `None` if it is not a shell that asks.
pub(super) fn answer(args: &[OsString]) -> Option<ExitCode> {
    std::env::var_os(VARIABLE).filter(|shell| !shell.is_empty() && shell != "0")?;
    let words = args.to_vec();
    let factory = move || {
        let command = definition();
        with_names(command, &named_host(&words))
    };
    let done = CompleteEnv::with_factory(factory)
        .var(VARIABLE)
        .completer("taffrail")
        .try_complete(args.to_vec(), std::env::current_dir().ok().as_deref());
    Some(match done {
        Ok(_) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    })
}

/// `-H` among the words of an unfinished command line.
fn named_host(words: &[OsString]) -> Option<String> {
    let words: Vec<&str> = words.iter().filter_map(|word| word.to_str()).collect();
    let (at, word) = words.iter().enumerate().skip(1).find(|(_, word)| {
        matches!(**word, "-H" | "--host") || word.starts_with("--host=") || word.starts_with("-H=")
    })?;
    match word.split_once('=') {
        Some((_, host)) => Some(host.to_owned()),
        None => words.get(at + 1).map(|host| (*host).to_owned()),
    }
}

/// What a word names.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    Containers,
    Running,
    Images,
    Networks,
    Volumes,
    LogDrivers,
}

/// What an argument of a command takes, by the name of its value or its own.
fn kind(command: &str, arg: &Arg) -> Option<Kind> {
    if !arg.is_positional() {
        return match arg.get_id().as_str() {
            "volumes_from" => Some(Kind::Containers),
            "network" => Some(Kind::Networks),
            "log_driver" => Some(Kind::LogDrivers),
            _ => None,
        };
    }
    let names = arg.get_value_names().unwrap_or_default();
    let named = |word: &str| {
        let id = arg.get_id().as_str().to_ascii_uppercase();
        names.iter().any(|name| name.contains(word)) || id.contains(word)
    };
    if named("CONTAINER") {
        Some(match RUNNING.contains(&command) {
            true => Kind::Running,
            false => Kind::Containers,
        })
    } else if named("IMAGE") {
        Some(Kind::Images)
    } else if command == "inspect" {
        Some(Kind::Containers)
    } else if named("NETWORK") {
        Some(Kind::Networks)
    } else if named("VOLUME") {
        Some(Kind::Volumes)
    } else {
        None
    }
}

/// Lets the arguments that take names ask the daemon for them.
fn with_names(command: Command, host: &Option<String>) -> Command {
    let name = command.get_name().to_owned();
    command
        .mut_args(|arg| match kind(&name, &arg) {
            None => arg,
            Some(kind) => {
                let host = host.clone();
                let ask = move || {
                    let names = names(kind, host.as_deref());
                    names.into_iter().map(CompletionCandidate::new).collect()
                };
                arg.add(ArgValueCandidates::new(ask))
            }
        })
        .mut_subcommands(|command| with_names(command, host))
}

/// The names there are; none if the daemon does not answer.
fn names(kind: Kind, host: Option<&str>) -> Vec<String> {
    let (path, list, field) = match kind {
        Kind::Containers => ("/containers/json?all=1", "", "Names"),
        Kind::Running => ("/containers/json", "", "Names"),
        Kind::Images => ("/images/json", "", "RepoTags"),
        Kind::Networks => ("/networks", "", "Name"),
        Kind::Volumes => ("/volumes", "Volumes", "Name"),
        Kind::LogDrivers => {
            let built = taffrail_drivers::DRIVERS.iter().filter(|d| d.built);
            return built.map(|driver| driver.name.to_owned()).collect();
        }
    };
    let answer = ask(path, host).unwrap_or_default();
    let items = if list.is_empty() {
        &answer
    } else {
        &answer[list]
    };
    let mut names: Vec<String> = Vec::new();
    for item in items.as_array().into_iter().flatten() {
        match &item[field] {
            Value::String(name) => names.push(name.clone()),
            Value::Array(several) => names.extend(
                several
                    .iter()
                    .filter_map(Value::as_str)
                    .map(|name| name.trim_start_matches('/').to_owned()),
            ),
            _ => {}
        }
    }
    names.retain(|name| !name.contains("<none>"));
    names
}

fn ask(path: &str, host: Option<&str>) -> Option<Value> {
    let host = Host::choose(
        host,
        std::env::var("TAFFRAIL_HOST").ok().as_deref(),
        std::env::var("DOCKER_HOST").ok().as_deref(),
        &TlsFlags::default().choice(|name| std::env::var_os(name)),
    )
    .ok()?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .ok()?;
    runtime.block_on(async {
        let asked = async { Client::connect(host).await.ok()?.get(path).await.ok() };
        tokio::time::timeout(DEADLINE, asked).await.ok()?
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_of_an_unfinished_line() {
        let of = |line: &str| {
            let words: Vec<OsString> = line.split(' ').map(OsString::from).collect();
            named_host(&words)
        };
        assert_eq!(of("taffrail -H unix:///x rm").as_deref(), Some("unix:///x"));
        assert_eq!(of("taffrail --host=tcp://a rm").as_deref(), Some("tcp://a"));
        assert_eq!(of("taffrail rm -H"), None);
        assert_eq!(of("taffrail rm"), None);
    }

    #[test]
    fn what_the_commands_take() {
        let command = definition();
        let of = |path: &[&str]| {
            let found = path.iter().fold(&command, |at, name| {
                at.find_subcommand(name).expect("a command")
            });
            let name = found.get_name().to_owned();
            found.get_positionals().find_map(|arg| kind(&name, arg))
        };
        for (path, expected) in [
            (&["rm"][..], Some(Kind::Containers)),
            (&["stop"], Some(Kind::Running)),
            (&["run"], Some(Kind::Images)),
            (&["rmi"], Some(Kind::Images)),
            (&["image", "save"], Some(Kind::Images)),
            (&["ps"], None),
        ] {
            assert_eq!(of(path), expected, "{path:?}");
        }
        let run = command.find_subcommand("run").expect("run");
        let network = run.get_arguments().find(|arg| arg.get_id() == "network");
        assert_eq!(
            kind("run", network.expect("--network")),
            Some(Kind::Networks)
        );
    }
}
