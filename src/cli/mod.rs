//! The command line: Docker's commands and flags, as a client of the API, and `daemon`.

mod attach;
mod bars;
mod commit;
mod completion;
mod confirm;
mod container_flags;
mod container_group;
mod cp;
mod cp_paths;
mod cp_progress;
mod create_body;
mod daemon_args;
mod detach_keys;
mod diff;
mod docker_config;
#[cfg(test)]
mod docker_flags;
mod error;
mod events;
mod exec;
mod export;
mod flags;
mod format;
mod history;
mod image;
mod images;
mod import;
mod info;
mod inspect;
mod lifecycle;
mod log_check;
mod log_test;
mod login;
mod logs;
mod mounts;
mod network_args;
mod network_create;
mod networks;
mod out;
mod port;
mod prune;
mod ps;
mod pull;
mod resource_flags;
mod run;
mod save;
mod search;
mod session;
mod signals;
mod sinks;
mod spool;
mod start;
mod stats;
mod system;
mod system_prune;
mod table;
mod terminal;
pub(crate) mod times;
mod tls_flags;
mod top;
mod units;
mod update;
mod usage;
mod version;
mod volume;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::client::{Client, ClientError, Host};
use crate::network;

// The last two are for whoever turns these flags into settings.
use container_group::Group;
#[allow(unused_imports)]
pub(crate) use daemon_args::{DaemonArgs, LogFormat, LogTarget};
use error::CliError;
use out::To;
pub(crate) use units::human_size_4;

/// A container supervisor that keeps, shows and delivers what containers write
#[derive(Debug, Parser)]
#[command(name = "taffrail", version, disable_help_subcommand = true)]
struct Cli {
    /// Daemon socket to connect to: unix:///path or tcp://host:port
    #[arg(short = 'H', long = "host", value_name = "HOST")]
    host: Option<String>,
    #[command(flatten)]
    tls: tls_flags::TlsFlags,
    /// Accepted for scripts written for docker; this client logs nothing
    #[arg(short = 'l', long = "log-level", value_name = "LEVEL", hide = true)]
    log_level: Option<String>,
    /// Accepted for scripts written for docker
    #[arg(short = 'D', long = "debug", hide = true)]
    debug: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the daemon
    Daemon(Box<DaemonArgs>),
    /// Create and run a new container from an image
    Run(Box<run::RunArgs>),
    /// Create a new container
    Create(Box<run::CreateArgs>),
    /// Start one or more stopped containers
    Start(start::StartArgs),
    /// Attach local standard input, output, and error streams to a running container
    Attach(attach::AttachArgs),
    /// Execute a command in a running container
    Exec(exec::ExecArgs),
    /// Stop one or more running containers
    Stop(lifecycle::StopArgs),
    /// Restart one or more containers
    Restart(lifecycle::StopArgs),
    /// Pause all processes within one or more containers
    Pause(lifecycle::NamesArgs),
    /// Unpause all processes within one or more containers
    Unpause(lifecycle::NamesArgs),
    /// Rename a container
    Rename(lifecycle::RenameArgs),
    /// Update configuration of one or more containers
    Update(update::UpdateArgs),
    /// Display the running processes of a container
    Top(top::TopArgs),
    /// Create a new image from a container's changes
    Commit(commit::CommitArgs),
    /// Export a container's filesystem as a tar archive
    Export(export::ExportArgs),
    /// List port mappings or a specific mapping for the container
    Port(port::PortArgs),
    /// Display a live stream of container(s) resource usage statistics
    Stats(stats::StatsArgs),
    /// Copy files/folders between a container and the local filesystem
    Cp(cp::CpArgs),
    /// Inspect changes to files or directories on a container's filesystem
    Diff(diff::DiffArgs),
    /// Manage containers
    #[command(subcommand)]
    Container(container_group::Group),
    /// Kill one or more running containers
    Kill(lifecycle::KillArgs),
    /// Remove one or more containers
    Rm(lifecycle::RmArgs),
    /// Block until one or more containers stop, then print their exit codes
    Wait(lifecycle::WaitArgs),
    /// List containers
    Ps(ps::PsArgs),
    /// Fetch the logs of a container
    Logs(logs::LogsArgs),
    /// Check that logs are whole, name what is damaged, repair what can be
    #[command(name = "log-check")]
    LogCheck(log_check::LogCheckArgs),
    /// Send a record to the receivers of log settings and tell each step
    #[command(name = "log-test")]
    LogTest(log_test::LogTestArgs),
    /// Return low-level information on containers and images
    Inspect(inspect::InspectArgs),
    /// List images
    Images(images::ImagesArgs),
    /// Manage images
    #[command(subcommand)]
    Image(image::ImageCommand),
    /// Show the history of an image
    History(history::HistoryArgs),
    /// Save one or more images to a tar archive (streamed to STDOUT by default)
    Save(save::SaveArgs),
    /// Download an image from a registry
    Pull(pull::PullArgs),
    /// Upload an image to a registry
    Push(pull::PushArgs),
    /// Authenticate to a registry
    Login(login::LoginArgs),
    /// Log out from a registry
    Logout(login::LogoutArgs),
    /// Search Docker Hub for images
    Search(search::SearchArgs),
    /// Import the contents from a tarball to create a filesystem image
    Import(import::ImportArgs),
    /// Load an image from a tar archive or STDIN
    Load(import::LoadArgs),
    /// Create a tag TARGET_IMAGE that refers to SOURCE_IMAGE
    Tag(images::TagArgs),
    /// Remove one or more images
    Rmi(images::RmiArgs),
    /// Get real time events from the server
    Events(events::EventsArgs),
    /// Display system-wide information
    Info(info::InfoArgs),
    /// Logs of removed containers that are still to be delivered
    #[command(subcommand)]
    Spool(spool::SpoolCommand),
    /// Manage Taffrail
    System(system::SystemArgs),
    /// Manage networks
    #[command(subcommand)]
    Network(networks::NetworkCommand),
    /// Manage volumes
    #[command(subcommand)]
    Volume(volume::VolumeCommand),
    /// Show the Taffrail version information
    Version(version::VersionArgs),
    /// Write the script that lets a shell complete commands, flags and names
    Completion(completion::CompletionArgs),
}

/// Runs what `args` (the program's name first) ask for; `daemon` runs the daemon.
pub(crate) fn run(
    args: impl IntoIterator<Item = OsString>,
    daemon: impl FnOnce(DaemonArgs) -> ExitCode,
) -> ExitCode {
    let args: Vec<OsString> = args.into_iter().collect();
    if let Some(status) = completion::answer(&args) {
        return status;
    }
    // Not for users, so that no help has it.
    if args
        .get(1)
        .is_some_and(|word| word == network::PROXY_COMMAND)
    {
        return network::run_proxy(&args[2..]);
    }
    if args
        .get(1)
        .is_some_and(|word| word == network::NAMES_COMMAND)
    {
        return network::run_names(&args[2..]);
    }
    let (cli, name) = match parse(args) {
        Ok(parsed) => parsed,
        Err(e) => return usage::report(&e),
    };
    let host = match cli.command {
        Command::Daemon(args) => return daemon(*args),
        _ => Host::choose(
            cli.host.as_deref(),
            std::env::var("TAFFRAIL_HOST").ok().as_deref(),
            std::env::var("DOCKER_HOST").ok().as_deref(),
            &cli.tls.choice(|name| std::env::var_os(name)),
        ),
    };
    let runtime = match tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(e) => {
            out::line(To::Err, &format!("cannot start: {e}"));
            return ExitCode::from(125);
        }
    };
    let result = match (cli.command, host) {
        // It may need no daemon, nor know where one is.
        (Command::LogCheck(args), host) => {
            runtime.block_on(log_check::log_check(host.map_err(Into::into), args))
        }
        (Command::Completion(args), _) => completion::completion(&args),
        (command, Ok(host)) => runtime.block_on(dispatch(command, host)),
        (_, Err(e)) => Err(e.into()),
    };
    let status = result.unwrap_or_else(|e| {
        terminal::restore();
        if e.is_usage() {
            out::line(To::Err, &usage::with_usage(&e.inner().to_string(), &name));
        } else {
            out::line(To::Err, &e.to_string());
        }
        e.status()
    });
    // A thread may still wait for standard input; leaving does not.
    out::finish(status.into())
}

async fn dispatch(command: Command, host: Host) -> Result<u8, CliError> {
    // Of these two the flags are checked before anything is asked of a daemon.
    let command = match command {
        Command::Run(args) => return run::run(*args, host).await,
        Command::Create(args) => return run::create(*args, host).await,
        Command::Version(args) => return version::version(args, host).await,
        Command::Info(args) => return info::info(args, host).await,
        Command::Logout(args) => return login::logout(&args),
        other => other,
    };
    let client = Client::connect(host).await?;
    match command {
        Command::Start(args) => start::start(&client, args).await,
        Command::Attach(args) => attach::attach(&client, args).await,
        Command::Exec(args) => exec::exec(&client, args).await,
        Command::Stop(args) => lifecycle::stop(&client, args).await,
        Command::Restart(args) => lifecycle::restart(&client, args).await,
        Command::Pause(args) => lifecycle::pause(&client, args).await,
        Command::Unpause(args) => lifecycle::unpause(&client, args).await,
        Command::Rename(args) => lifecycle::rename(&client, args).await,
        Command::Update(args) => update::update(&client, args).await,
        Command::Top(args) => top::top(&client, args).await,
        Command::Commit(args) => commit::commit(&client, args).await,
        Command::Export(args) => export::export(&client, args).await,
        Command::Port(args) => port::port(&client, args).await,
        Command::Stats(args) => stats::stats(&client, args).await,
        Command::Cp(args) => cp::cp(&client, args).await,
        Command::Diff(args) => diff::diff(&client, args).await,
        Command::Container(Group::Prune(args)) => prune::prune(&client, args).await,
        Command::Kill(args) => lifecycle::kill(&client, args).await,
        Command::Rm(args) => lifecycle::rm(&client, args).await,
        Command::Wait(args) => lifecycle::wait(&client, args).await,
        Command::Ps(args) => ps::ps(&client, args).await,
        Command::Logs(args) => logs::logs(&client, args).await,
        Command::LogTest(args) => log_test::log_test(&client, args).await,
        Command::Inspect(args) => inspect::inspect(&client, args).await,
        Command::Images(args) => images::images(&client, args).await,
        Command::Image(command) => image::image(&client, command).await,
        Command::History(args) => history::history(&client, args).await,
        Command::Pull(args) => pull::pull(&client, args).await,
        Command::Push(args) => pull::push(&client, args).await,
        Command::Login(args) => login::login(&client, args).await,
        Command::Search(args) => search::search(&client, args).await,
        Command::Save(args) => save::save(&client, args).await,
        Command::Import(args) => import::import(&client, args).await,
        Command::Load(args) => import::load(&client, args).await,
        Command::Tag(args) => images::tag(&client, args).await,
        Command::Rmi(args) => images::rmi(&client, args).await,
        Command::Events(args) => events::events(&client, args).await,
        Command::Spool(command) => spool::spool(&client, command).await,
        Command::System(args) => system::system(&client, args).await,
        Command::Network(command) => networks::network(&client, command).await,
        Command::Volume(command) => volume::volume(&client, command).await,
        // Taken care of above and in `run`.
        Command::Daemon(_)
        | Command::Container(Group::Same(_))
        | Command::LogCheck(_)
        | Command::Completion(_)
        | Command::Run(_)
        | Command::Create(_)
        | Command::Version(_)
        | Command::Logout(_)
        | Command::Info(_) => Ok(0),
    }
}

/// The whole command line.
fn definition() -> clap::Command {
    usage::like_docker(container_group::grouped(Cli::command()))
}

/// What was written, and the name of the command.
fn parse(args: impl IntoIterator<Item = OsString>) -> Result<(Cli, String), clap::Error> {
    let mut command = definition();
    let matches = command.try_get_matches_from_mut(args)?;
    let name = path_of(&matches);
    let mut cli = Cli::from_arg_matches(&matches).map_err(|e| e.format(&mut command))?;
    cli.command = cli.command.ungrouped();
    Ok((cli, name))
}

/// The command's name, with the group that it is in: `image prune`.
fn path_of(matches: &clap::ArgMatches) -> String {
    let mut path = String::new();
    let mut at = matches;
    while let Some((name, below)) = at.subcommand() {
        if !path.is_empty() {
            path.push(' ');
        }
        path.push_str(name);
        at = below;
    }
    path
}

/// Shows the outcome of one request for each of several names: each name on success, each error;
/// any error is the command's.
fn each(
    results: impl IntoIterator<Item = (String, Result<(), ClientError>)>,
) -> Result<u8, CliError> {
    let mut status = 0;
    for (name, result) in results {
        match result {
            Ok(()) => out::line(To::Out, &name),
            Err(e) => {
                out::line(To::Err, &e.to_string());
                status = 1;
            }
        }
    }
    Ok(status)
}

/// A command line without the program's name, or the first line of what is said against it.
#[cfg(test)]
fn parse_for_test(args: &[String]) -> Result<Command, String> {
    let args = std::iter::once("taffrail").chain(args.iter().map(String::as_str));
    parse(args.map(OsString::from))
        .map(|(cli, _)| cli.command)
        .map_err(|e| {
            let (text, _) = usage::render(&e);
            text.lines().next().unwrap_or("").to_owned()
        })
}
