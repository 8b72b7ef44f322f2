//! `spool`: logs of removed containers that are still to be delivered.

use clap::{Args, Subcommand};

use crate::client::{Client, segment};

use super::each;
use super::error::CliError;
use super::out::{self, To};
use super::sinks;
use super::table::{align, short_id};
use super::units::human_size;

#[derive(Debug, Subcommand)]
pub(crate) enum SpoolCommand {
    /// List logs of removed containers that are still to be delivered
    #[command(visible_alias = "list")]
    Ls,
    /// Give logs up: what was not delivered is dropped
    #[command(visible_alias = "remove")]
    Rm(RmArgs),
}

#[derive(Args, Debug)]
pub(crate) struct RmArgs {
    #[arg(required = true, value_name = "ID")]
    ids: Vec<String>,
}

/// Runs one of them.
///
/// # Errors
/// The daemon's.
pub(crate) async fn spool(client: &Client, command: SpoolCommand) -> Result<u8, CliError> {
    match command {
        SpoolCommand::Ls => ls(client).await,
        SpoolCommand::Rm(args) => {
            let mut results = Vec::new();
            for id in args.ids {
                let result = client.delete(&format!("/spool/{}", segment(&id))).await;
                results.push((id, result.map(drop)));
            }
            each(results)
        }
    }
}

async fn ls(client: &Client) -> Result<u8, CliError> {
    let list = client.get("/spool").await?;
    let mut text = format!("CONTAINER ID\tNAME\tREMOVED\tSIZE\t{}\n", sinks::HEADINGS);
    for log in list.as_array().into_iter().flatten() {
        let head = format!(
            "{}\t{}\t{}\t{}",
            short_id(log["Id"].as_str().unwrap_or("")),
            log["Name"].as_str().unwrap_or(""),
            log["Removed"].as_str().unwrap_or(""),
            human_size(log["Bytes"].as_i64().unwrap_or(0)),
        );
        for row in sinks::rows(&log["LogSinks"]) {
            text.push_str(&format!("{head}\t{row}\n"));
        }
    }
    out::write(To::Out, align(&text).as_bytes());
    Ok(0)
}
