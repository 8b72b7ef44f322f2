//! `export`.

use clap::Args;
use http_body_util::BodyExt;
use hyper::Method;

use crate::client::{Body, Client, ClientError, segment};

use super::error::CliError;
use super::save::Target;
use super::terminal;

#[derive(Args, Debug)]
pub(crate) struct ExportArgs {
    /// Write to a file, instead of STDOUT
    #[arg(short, long)]
    output: Option<String>,
    #[arg(value_name = "CONTAINER")]
    container: String,
}

/// Writes a container's file system as an archive. A file appears under its name once it is complete.
///
/// # Errors
/// The file, the daemon, an archive that ends before its end.
pub(crate) async fn export(client: &Client, args: ExportArgs) -> Result<u8, CliError> {
    let mut target = match args.output.as_deref() {
        Some(path) => Target::file("export container", path)?,
        None if terminal::stdout_is_terminal() => return Err(CliError::SaveToTerminal),
        None => Target::Stdout,
    };
    let path = format!("/containers/{}/export", segment(&args.container));
    let answer = client.send(Method::GET, &path, Body::Empty).await?;
    let mut body = answer.into_body();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|source| ClientError::Http {
            request: format!("GET {path}"),
            source,
        })?;
        if let Ok(data) = frame.into_data() {
            target.write(&data)?;
        }
    }
    target.finish()
}
