//! `start`.

use std::sync::Arc;

use clap::Args;

use crate::client::{Client, segment};

use super::create_body::Streams;
use super::error::CliError;
use super::flags::FlagError;
use super::out::{self, To};
use super::run::{Exit, finish, start as start_one};
use super::session::{self, Options, Session};
use super::signals::Proxy;
use super::terminal;

#[derive(Args, Debug)]
pub(crate) struct StartArgs {
    /// Attach STDOUT/STDERR and forward signals
    #[arg(short, long)]
    attach: bool,
    /// Attach container's STDIN
    #[arg(short, long)]
    interactive: bool,
    /// Override the key sequence for detaching a container
    #[arg(long)]
    detach_keys: Option<String>,
    /// Checkpoints are not built
    #[arg(long, hide = true)]
    checkpoint: Option<String>,
    /// Checkpoints are not built
    #[arg(long, hide = true)]
    checkpoint_dir: Option<String>,
    #[arg(required = true, value_name = "CONTAINER")]
    containers: Vec<String>,
}

/// Starts containers; with `-a` or `-i` one, whose exit code is the status.
///
/// # Errors
/// Docker's, the names of those that did not start included.
pub(crate) async fn start(client: &Client, args: StartArgs) -> Result<u8, CliError> {
    if args.checkpoint.is_some() || args.checkpoint_dir.is_some() {
        return Err(CliError::Flag(FlagError::NotBuilt {
            flag: "--checkpoint",
            hint: "start the container anew",
        }));
    }
    if args.attach || args.interactive {
        let [container] = &args.containers[..] else {
            return Err(CliError::AttachSeveral);
        };
        return attached(client, container, &args).await;
    }
    let mut failed = Vec::new();
    for container in &args.containers {
        match start_one(client, container, None).await {
            Ok(()) => out::line(To::Out, container),
            Err(e) => {
                out::line(To::Err, &e.to_string());
                failed.push(container.as_str());
            }
        }
    }
    if failed.is_empty() {
        Ok(0)
    } else {
        Err(CliError::NotStarted(failed.join(", ")))
    }
}

async fn attached(client: &Client, container: &str, args: &StartArgs) -> Result<u8, CliError> {
    let found = client
        .get(&format!("/containers/{}/json", segment(container)))
        .await?;
    let id = found["Id"].as_str().unwrap_or(container).to_owned();
    let config = &found["Config"];
    let is = |key: &str| config[key].as_bool().unwrap_or(false);
    let options = Options {
        streams: Streams {
            stdin: args.interactive && is("OpenStdin"),
            stdout: true,
            stderr: true,
        },
        tty: is("Tty"),
        detach_keys: args.detach_keys.clone(),
    };
    let client = Arc::new(client.clone());
    if !options.tty {
        Proxy::install().forward(Arc::clone(&client), id.clone());
    }
    let mut session = Session::begin(&client, &id, &options).await?;
    let until = if found["HostConfig"]["AutoRemove"] == true {
        "removed"
    } else {
        "next-exit"
    };
    let mut exit = Exit::expect(&client, &id, Some(until)).await?;
    if let Err(e) = start_one(&client, &id, args.detach_keys.as_deref()).await {
        terminal::restore();
        return Err(e.into());
    }
    if options.tty && out::is_terminal() {
        let client = Arc::clone(&client);
        tokio::spawn(async move {
            session::follow_size(&client, &format!("/containers/{}", segment(&id))).await;
        });
    }
    finish(&mut session, &mut exit).await
}
