//! `image ...`: the commands of images under one name, and `image prune`.

use clap::{Args, Subcommand};

use crate::client::{Body, Client, Query};

use super::confirm::confirm;
use super::error::CliError;
use super::flags::filters_of;
use super::out::{self, To};
use super::units::human_size;
use super::{history, images, import, inspect, pull, save};

#[derive(Debug, Subcommand)]
pub(crate) enum ImageCommand {
    /// Show the history of an image
    History(history::HistoryArgs),
    /// Import the contents from a tarball to create a filesystem image
    Import(import::ImportArgs),
    /// Display detailed information on one or more images
    Inspect(inspect::ImageInspectArgs),
    /// Load an image from a tar archive or STDIN
    Load(import::LoadArgs),
    /// List images
    #[command(visible_alias = "list")]
    Ls(images::ImagesArgs),
    /// Remove unused images
    Prune(PruneArgs),
    /// Download an image from a registry
    Pull(pull::PullArgs),
    /// Upload an image to a registry
    Push(pull::PushArgs),
    /// Remove one or more images
    #[command(visible_alias = "remove")]
    Rm(images::RmiArgs),
    /// Save one or more images to a tar archive (streamed to STDOUT by default)
    Save(save::SaveArgs),
    /// Create a tag TARGET_IMAGE that refers to SOURCE_IMAGE
    Tag(images::TagArgs),
}

#[derive(Args, Debug)]
pub(crate) struct PruneArgs {
    /// Remove all unused images, not just dangling ones
    #[arg(short, long)]
    all: bool,
    /// Provide filter values (e.g. "until=<timestamp>")
    #[arg(long)]
    filter: Vec<String>,
    /// Do not prompt for confirmation
    #[arg(short, long)]
    force: bool,
}

/// Runs one of them.
///
/// # Errors
/// The command's.
pub(crate) async fn image(client: &Client, command: ImageCommand) -> Result<u8, CliError> {
    match command {
        ImageCommand::History(args) => history::history(client, args).await,
        ImageCommand::Import(args) => import::import(client, args).await,
        ImageCommand::Inspect(args) => inspect::inspect(client, args.into()).await,
        ImageCommand::Load(args) => import::load(client, args).await,
        ImageCommand::Ls(args) => images::images(client, args).await,
        ImageCommand::Prune(args) => prune(client, args).await,
        ImageCommand::Pull(args) => pull::pull(client, args).await,
        ImageCommand::Push(args) => pull::push(client, args).await,
        ImageCommand::Rm(args) => images::rmi(client, args).await,
        ImageCommand::Save(args) => save::save(client, args).await,
        ImageCommand::Tag(args) => images::tag(client, args).await,
    }
}

async fn prune(client: &Client, args: PruneArgs) -> Result<u8, CliError> {
    let what = if args.all {
        "all images without at least one container associated to them"
    } else {
        "all dangling images"
    };
    if !args.force && !confirm(&format!("WARNING! This will remove {what}."))? {
        return Err(CliError::Cancelled("image prune"));
    }
    let mut wanted = args.filter.clone();
    wanted.push(format!("dangling={}", !args.all));
    let mut query = Query::new();
    query.option("filters", filters_of("--filter", &wanted)?.as_deref());
    let path = format!("/images/prune{}", query.as_str());
    let report = client.post(&path, Body::Empty).await?;
    let mut text = String::new();
    for entry in report["ImagesDeleted"].as_array().into_iter().flatten() {
        if text.is_empty() {
            text.push_str("Deleted Images:\n");
        }
        for (key, word) in [("Untagged", "untagged"), ("Deleted", "deleted")] {
            if let Some(name) = entry[key].as_str().filter(|name| !name.is_empty()) {
                text.push_str(&format!("{word}: {name}\n"));
            }
        }
    }
    if !text.is_empty() {
        text.push('\n');
    }
    let reclaimed = report["SpaceReclaimed"].as_i64().unwrap_or(0);
    text.push_str(&format!(
        "Total reclaimed space: {}\n",
        human_size(reclaimed)
    ));
    out::write(To::Out, text.as_bytes());
    Ok(0)
}
