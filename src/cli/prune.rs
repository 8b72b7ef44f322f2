//! `container prune`.

use std::io::BufRead as _;

use clap::Args;

use crate::client::{Body, Client, Query};

use super::error::CliError;
use super::flags::filters;
use super::out::{self, To};
use super::units::human_size;

#[derive(Args, Debug)]
pub(crate) struct PruneArgs {
    /// Do not prompt for confirmation
    #[arg(short, long)]
    force: bool,
    /// Provide filter values (e.g. "until=<timestamp>")
    #[arg(long)]
    filter: Vec<String>,
}

/// Removes all containers that do not run.
///
/// # Errors
/// The user's no, filters, the daemon's.
pub(crate) async fn prune(client: &Client, args: PruneArgs) -> Result<u8, CliError> {
    let mut query = Query::new();
    query.option("filters", filters(&args.filter)?.as_deref());
    if !args.force && !confirmed() {
        return Err(CliError::PruneCancelled);
    }
    let path = format!("/containers/prune{}", query.as_str());
    let report = client.post(&path, Body::Empty).await?;
    let ids = report["ContainersDeleted"].as_array();
    let mut text = String::new();
    if let Some(ids) = ids.filter(|ids| !ids.is_empty()) {
        text.push_str("Deleted Containers:\n");
        for id in ids {
            text.push_str(id.as_str().unwrap_or(""));
            text.push('\n');
        }
        text.push('\n');
    }
    let bytes = report["SpaceReclaimed"].as_i64().unwrap_or(0);
    text.push_str(&format!("Total reclaimed space: {}\n", human_size(bytes)));
    out::write(To::Out, text.as_bytes());
    Ok(0)
}

/// Asks; the end of the input is a no.
fn confirmed() -> bool {
    out::write(
        To::Out,
        b"WARNING! This will remove all stopped containers.\n\
          Are you sure you want to continue? [y/N] ",
    );
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer).is_ok()
        && answer.trim().eq_ignore_ascii_case("y")
}
