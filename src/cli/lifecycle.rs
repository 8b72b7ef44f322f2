//! `stop`, `restart`, `pause`, `unpause`, `rename`, `kill`, `rm` and `wait`: one request a container.

use clap::Args;
use futures_util::future::join_all;

use crate::client::{Body, Client, Query, segment};

use super::each;
use super::error::CliError;
use super::out::{self, To};
use super::run::Exit;

#[derive(Args, Debug)]
pub(crate) struct StopArgs {
    /// Signal to send to the container
    #[arg(short, long)]
    signal: Option<String>,
    /// Seconds to wait before killing the container
    #[arg(short, long, alias = "time")]
    pub(crate) timeout: Option<String>,
    #[arg(required = true, value_name = "CONTAINER")]
    containers: Vec<String>,
}

#[derive(Args, Debug)]
pub(crate) struct NamesArgs {
    #[arg(required = true, value_name = "CONTAINER")]
    containers: Vec<String>,
}

#[derive(Args, Debug)]
pub(crate) struct RenameArgs {
    #[arg(value_name = "CONTAINER")]
    container: String,
    #[arg(value_name = "NEW_NAME")]
    name: String,
}

#[derive(Args, Debug)]
pub(crate) struct KillArgs {
    /// Signal to send to the container
    #[arg(short, long)]
    signal: Option<String>,
    #[arg(required = true, value_name = "CONTAINER")]
    containers: Vec<String>,
}

#[derive(Args, Debug)]
pub(crate) struct RmArgs {
    /// Force the removal of a running container (uses SIGKILL)
    #[arg(short, long)]
    force: bool,
    /// Remove the specified link
    #[arg(short, long)]
    link: bool,
    /// Remove anonymous volumes associated with the container
    #[arg(short, long)]
    volumes: bool,
    /// Give up what was not delivered to log receivers yet, instead of delivering it later
    #[arg(long)]
    drop_undelivered: bool,
    #[arg(required = true, value_name = "CONTAINER")]
    containers: Vec<String>,
}

#[derive(Args, Debug)]
pub(crate) struct WaitArgs {
    #[arg(required = true, value_name = "CONTAINER")]
    containers: Vec<String>,
}

/// Stops all at the same time: their grace periods must not add up.
///
/// # Errors
/// A timeout that is no number.
pub(crate) async fn stop(client: &Client, args: StopArgs) -> Result<u8, CliError> {
    stop_each(client, args, "stop").await
}

/// Restarts all at the same time.
///
/// # Errors
/// A timeout that is no number.
pub(crate) async fn restart(client: &Client, args: StopArgs) -> Result<u8, CliError> {
    stop_each(client, args, "restart").await
}

/// Freezes each.
///
/// # Errors
/// None of its own; each refusal is shown.
pub(crate) async fn pause(client: &Client, args: NamesArgs) -> Result<u8, CliError> {
    post_each(client, args.containers, "pause", "").await
}

/// Lets each go on.
///
/// # Errors
/// None of its own; each refusal is shown.
pub(crate) async fn unpause(client: &Client, args: NamesArgs) -> Result<u8, CliError> {
    post_each(client, args.containers, "unpause", "").await
}

/// Gives a container another name.
///
/// # Errors
/// The daemon's.
pub(crate) async fn rename(client: &Client, args: RenameArgs) -> Result<u8, CliError> {
    let mut query = Query::new();
    query.push("name", &args.name);
    let path = format!(
        "/containers/{}/rename{}",
        segment(&args.container),
        query.as_str()
    );
    client.post(&path, Body::Empty).await?;
    Ok(0)
}

async fn stop_each(client: &Client, args: StopArgs, verb: &'static str) -> Result<u8, CliError> {
    let mut query = Query::new();
    query.option("signal", args.signal.as_deref());
    if let Some(text) = &args.timeout {
        let seconds = super::flags::integer("-t, --timeout", text)?;
        query.push("t", &seconds.to_string());
    }
    post_each(client, args.containers, verb, query.as_str()).await
}

/// Sends a signal to each.
///
/// # Errors
/// None of its own; each refusal is shown.
pub(crate) async fn kill(client: &Client, args: KillArgs) -> Result<u8, CliError> {
    let mut query = Query::new();
    query.option("signal", args.signal.as_deref());
    post_each(client, args.containers, "kill", query.as_str()).await
}

async fn post_each(
    client: &Client,
    containers: Vec<String>,
    verb: &str,
    query: &str,
) -> Result<u8, CliError> {
    let requests = containers.into_iter().map(|name| async move {
        let path = format!("/containers/{}/{verb}{query}", segment(&name));
        let result = client.post(&path, Body::Empty).await.map(drop);
        (name, result)
    });
    each(join_all(requests).await)
}

/// Removes each; with `-f` one that does not exist is no failure.
///
/// # Errors
/// None of its own; each refusal is shown.
pub(crate) async fn rm(client: &Client, args: RmArgs) -> Result<u8, CliError> {
    let mut query = Query::new();
    query
        .flag("v", args.volumes)
        .flag("link", args.link)
        .flag("force", args.force);
    if args.drop_undelivered {
        query.flag("dropUndelivered", true);
    }
    let query = query.as_str();
    let requests = args.containers.into_iter().map(|name| async move {
        let target = name.trim_matches('/');
        let path = format!("/containers/{}{query}", segment(target));
        let result = client.delete(&path).await.map(drop);
        (name, result)
    });
    let mut status = 0;
    for (name, result) in join_all(requests).await {
        match result {
            Ok(()) => out::line(To::Out, &name),
            Err(e) => {
                out::line(To::Err, &e.to_string());
                if !(args.force && e.is_not_found()) {
                    status = 1;
                }
            }
        }
    }
    Ok(status)
}

/// Waits for each and prints exit codes in the order of the names.
///
/// # Errors
/// None of its own; each refusal is shown.
pub(crate) async fn wait(client: &Client, args: WaitArgs) -> Result<u8, CliError> {
    let mut status = 0;
    for name in &args.containers {
        let code = match Exit::expect(client, name, None).await {
            Ok(mut exit) => exit.code().await,
            Err(e) => Err(e.into()),
        };
        match code {
            Ok(code) => out::line(To::Out, &code.to_string()),
            Err(e) => {
                out::line(To::Err, &e.to_string());
                status = 1;
            }
        }
    }
    Ok(status)
}
