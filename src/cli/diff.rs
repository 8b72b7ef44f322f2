//! `diff`: what a container has changed of its image.

use clap::Args;

use crate::client::{Client, segment};

use super::error::CliError;
use super::out::{self, To};

#[derive(Args, Debug)]
pub(crate) struct DiffArgs {
    #[arg(value_name = "CONTAINER")]
    container: String,
}

/// Shows one path a line, after `C`, `A` or `D`.
///
/// # Errors
/// The daemon's.
pub(crate) async fn diff(client: &Client, args: DiffArgs) -> Result<u8, CliError> {
    if args.container.is_empty() {
        return Err(CliError::Copy("container name cannot be empty".to_owned()));
    }
    let path = format!("/containers/{}/changes", segment(&args.container));
    let changes = client.get(&path).await?;
    let mut text = String::new();
    for change in changes.as_array().into_iter().flatten() {
        let kind = match change["Kind"].as_i64() {
            Some(0) => "C",
            Some(1) => "A",
            _ => "D",
        };
        text.push_str(&format!(
            "{kind} {}\n",
            change["Path"].as_str().unwrap_or("")
        ));
    }
    out::write(To::Out, text.as_bytes());
    Ok(0)
}
