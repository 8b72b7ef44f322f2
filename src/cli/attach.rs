//! `attach`.

use std::sync::Arc;

use clap::Args;

use crate::client::{Client, segment};

use super::create_body::Streams;
use super::error::CliError;
use super::out;
use super::run::{Exit, finish};
use super::session::{self, Options, Session};
use super::signals::Proxy;
use super::terminal;

#[derive(Args, Debug)]
pub(crate) struct AttachArgs {
    /// Override the key sequence for detaching a container
    #[arg(long)]
    detach_keys: Option<String>,
    /// Do not attach STDIN
    #[arg(long)]
    no_stdin: bool,
    /// Proxy all received signals to the process (on unless =false)
    #[arg(long)]
    sig_proxy: Option<bool>,
    container: String,
}

/// Shows a running container's output and gives it our input; its exit code is the status.
///
/// # Errors
/// The container does not run, or the daemon refuses.
pub(crate) async fn attach(client: &Client, args: AttachArgs) -> Result<u8, CliError> {
    let found = client
        .get(&format!("/containers/{}/json", segment(&args.container)))
        .await?;
    let id = found["Id"].as_str().unwrap_or(&args.container).to_owned();
    let state = |key: &str| found["State"][key] == true;
    if !state("Running") {
        return Err(CliError::NotRunning(
            "You cannot attach to a stopped container, start it first",
        ));
    }
    if state("Paused") {
        return Err(CliError::NotRunning(
            "You cannot attach to a paused container, unpause it first",
        ));
    }
    if state("Restarting") {
        return Err(CliError::NotRunning(
            "You cannot attach to a restarting container, wait until it is running",
        ));
    }
    let tty = found["Config"]["Tty"] == true;
    let stdin = !args.no_stdin && found["Config"]["OpenStdin"] == true;
    if tty && stdin && !terminal::stdin_is_terminal() {
        return Err(CliError::NotATty);
    }
    let options = Options {
        streams: Streams {
            stdin,
            stdout: true,
            stderr: true,
        },
        tty,
        detach_keys: args.detach_keys,
    };
    let client = Arc::new(client.clone());
    // Registered first: an exit while we attach is seen.
    let mut exit = Exit::expect(&client, &id, None).await?;
    if !tty && args.sig_proxy.unwrap_or(true) {
        Proxy::install().forward(Arc::clone(&client), id.clone());
    }
    let mut session = Session::begin(&client, &id, &options).await?;
    if tty && out::is_terminal() {
        let client = Arc::clone(&client);
        tokio::spawn(async move {
            session::follow_size(&client, &format!("/containers/{}", segment(&id))).await;
        });
    }
    finish(&mut session, &mut exit).await
}
