//! `exec`.

use std::sync::Arc;

use clap::Args;
use serde_json::{Value, json};

use crate::client::{Body, Client, segment};

use super::create_body::Streams;
use super::error::CliError;
use super::session::{self, Ended, Options, Session};
use super::{flags, out, terminal};

#[derive(Args, Debug)]
pub(crate) struct ExecArgs {
    /// Detached mode: run command in the background
    #[arg(short, long)]
    detach: bool,
    /// Override the key sequence for detaching a container
    #[arg(long)]
    detach_keys: Option<String>,
    /// Set environment variables
    #[arg(short, long, value_name = "LIST")]
    env: Vec<String>,
    /// Read in a file of environment variables
    #[arg(long, value_name = "LIST")]
    env_file: Vec<String>,
    /// Keep STDIN open even if not attached
    #[arg(short, long)]
    interactive: bool,
    /// Copy the output into the container's log, as stream `exec` (Taffrail's own)
    #[arg(long)]
    log: bool,
    /// Give extended privileges to the command
    #[arg(long)]
    privileged: bool,
    /// Allocate a pseudo-TTY
    #[arg(short, long)]
    tty: bool,
    /// Username or UID (format: "<name|uid>[:<group|gid>]")
    #[arg(short, long)]
    user: Option<String>,
    /// Working directory inside the container
    #[arg(short, long)]
    workdir: Option<String>,
    /// The container and the command; from the container on, nothing is a flag of ours.
    #[arg(
        required = true,
        num_args = 2..,
        trailing_var_arg = true,
        value_name = "CONTAINER COMMAND"
    )]
    rest: Vec<String>,
}

impl ExecArgs {
    fn body(&self) -> Result<Value, CliError> {
        let var = |name: &str| std::env::var(name).ok();
        Ok(json!({
            "User": self.user.as_deref().unwrap_or(""),
            "Privileged": self.privileged,
            "Tty": self.tty,
            "ConsoleSize": self.size(),
            "AttachStdin": self.interactive && !self.detach,
            "AttachStdout": !self.detach,
            "AttachStderr": !self.detach,
            "Detach": self.detach,
            "DetachKeys": self.detach_keys.as_deref().unwrap_or(""),
            "Env": flags::environment(&self.env_file, &self.env, var)?,
            "Log": self.log,
            "WorkingDir": self.workdir.as_deref().unwrap_or(""),
            "Cmd": self.rest[1..],
        }))
    }

    /// Rows and columns of our terminal, for the other one.
    fn size(&self) -> Option<[u16; 2]> {
        let (rows, columns) = terminal::size()?;
        self.tty.then_some([rows, columns])
    }
}

/// Runs a command in a container; its exit code is the status.
///
/// # Errors
/// The container does not run, or the daemon refuses.
pub(crate) async fn exec(client: &Client, args: ExecArgs) -> Result<u8, CliError> {
    let container = &args.rest[0];
    let body = args.body()?;
    // As Docker: what is wrong with the container comes before what is wrong with our terminal.
    client
        .get(&format!("/containers/{}/json", segment(container)))
        .await?;
    if !args.detach && args.interactive && args.tty && !terminal::stdin_is_terminal() {
        return Err(CliError::NotATty);
    }
    let path = format!("/containers/{}/exec", segment(container));
    let made = client.post(&path, Body::Json(body)).await?;
    let id = made["Id"].as_str().ok_or(CliError::NoId)?;
    let of = format!("/exec/{}", segment(id));
    let start = json!({
        "Detach": args.detach, "Tty": args.tty, "ConsoleSize": args.size(),
    });
    let path = format!("{of}/start");
    if args.detach {
        client.post(&path, Body::Json(start)).await?;
        return Ok(0);
    }
    let options = Options {
        streams: Streams {
            stdin: args.interactive,
            stdout: true,
            stderr: true,
        },
        tty: args.tty,
        detach_keys: args.detach_keys.clone(),
    };
    let mut session = Session::over(client, &path, Body::Json(start), &options).await?;
    if args.tty && out::is_terminal() {
        let client = Arc::new(client.clone());
        let of = of.clone();
        tokio::spawn(async move { session::follow_size(&client, &of).await });
    }
    if session.ended().await? == Ended::Detached {
        return Err(CliError::Escaped);
    }
    let shown = client.get(&format!("{of}/json")).await?;
    // It has none while it runs: the daemon ended the stream, not the process.
    let code = shown["ExitCode"].as_i64().unwrap_or(0);
    Ok(u8::try_from(code & 0xff).unwrap_or(255))
}
