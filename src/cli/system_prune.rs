//! `system prune`: what nobody uses, of all kinds, by the daemon's own prunes one after the other.

use clap::Args;
use serde_json::Value;

use crate::client::{Body, Client, Query};

use super::confirm::confirm;
use super::error::CliError;
use super::flags::filters_of;
use super::out::{self, To};
use super::units::human_size;

#[derive(Args, Debug)]
pub(crate) struct SystemPruneArgs {
    /// Remove all unused images not just dangling ones
    #[arg(short, long)]
    all: bool,
    /// Provide filter values (e.g. "label=<key>=<value>")
    #[arg(long)]
    filter: Vec<String>,
    /// Do not prompt for confirmation
    #[arg(short, long)]
    force: bool,
    /// Prune anonymous volumes
    #[arg(long)]
    volumes: bool,
}

/// Removes containers that do not run, then networks, volumes if asked, and images without use.
///
/// # Errors
/// The user's no; filters that do not go together; the daemon's.
pub(crate) async fn prune(client: &Client, args: SystemPruneArgs) -> Result<u8, CliError> {
    if args.volumes
        && args
            .filter
            .iter()
            .any(|filter| filter.starts_with("until="))
    {
        return Err(CliError::Copy(
            "ERROR: The \"until\" filter is not supported with \"--volumes\"".to_owned(),
        ));
    }
    let filters = filters_of("--filter", &args.filter)?;
    if !args.force && !confirm(&warning(&args))? {
        return Err(CliError::Cancelled("system prune"));
    }
    let mut images = args.filter.clone();
    images.push(format!("dangling={}", !args.all));
    let images = filters_of("--filter", &images)?;
    let mut kinds = vec![
        ("containers", "Containers", "ContainersDeleted", &filters),
        ("networks", "Networks", "NetworksDeleted", &filters),
    ];
    if args.volumes {
        kinds.push(("volumes", "Volumes", "VolumesDeleted", &filters));
    }
    kinds.push(("images", "Images", "ImagesDeleted", &images));
    let mut reclaimed = 0;
    for (path, title, key, filters) in kinds {
        let mut query = Query::new();
        query.option("filters", filters.as_deref());
        let path = format!("/{path}/prune{}", query.as_str());
        let report = client.post(&path, Body::Empty).await?;
        reclaimed += report["SpaceReclaimed"].as_i64().unwrap_or(0);
        let lines = deleted(&report[key]);
        if !lines.is_empty() {
            out::line(
                To::Out,
                &format!("Deleted {title}:\n{}\n", lines.join("\n")),
            );
        }
    }
    let text = format!("Total reclaimed space: {}", human_size(reclaimed));
    out::line(To::Out, &text);
    Ok(0)
}

/// A line for each thing that went.
fn deleted(list: &Value) -> Vec<String> {
    let mut lines = Vec::new();
    for entry in list.as_array().into_iter().flatten() {
        if let Some(name) = entry.as_str() {
            lines.push(name.to_owned());
        }
        for (key, word) in [("Untagged", "untagged"), ("Deleted", "deleted")] {
            if let Some(name) = entry[key].as_str().filter(|name| !name.is_empty()) {
                lines.push(format!("{word}: {name}"));
            }
        }
    }
    lines
}

fn warning(args: &SystemPruneArgs) -> String {
    let mut text = "WARNING! This will remove:\n  - all stopped containers\n  \
                    - all networks not used by at least one container\n"
        .to_owned();
    if args.volumes {
        text.push_str("  - all anonymous volumes not used by at least one container\n");
    }
    text.push_str(match args.all {
        true => "  - all images without at least one container associated to them\n",
        false => "  - all dangling images\n",
    });
    if !args.filter.is_empty() {
        text.push_str("\n  Items to be pruned will be filtered with:\n");
        for filter in &args.filter {
            text.push_str(&format!("  - {filter}\n"));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_went_is_listed() {
        let images = json!([{"Untagged": "a:1"}, {"Deleted": "sha256:1"}]);
        assert_eq!(deleted(&images), ["untagged: a:1", "deleted: sha256:1"]);
        assert_eq!(deleted(&json!(["c1"])), ["c1"]);
        assert!(deleted(&Value::Null).is_empty());
    }
}
