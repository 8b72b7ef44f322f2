//! `commit`.

use clap::Args;
use serde_json::json;

use crate::client::{Body, Client, Query};

use super::error::CliError;
use super::out::{self, To};

#[derive(Args, Debug)]
pub(crate) struct CommitArgs {
    /// Author (e.g., "John Hannibal Smith <hannibal@a-team.com>")
    #[arg(short, long)]
    author: Option<String>,
    /// Apply Dockerfile instruction to the created image
    #[arg(short, long)]
    change: Vec<String>,
    /// Commit message
    #[arg(short, long)]
    message: Option<String>,
    /// Pause container during commit
    #[arg(short, long)]
    pause: Option<bool>,
    #[arg(value_name = "CONTAINER")]
    container: String,
    #[arg(value_name = "REPOSITORY[:TAG]")]
    name: Option<String>,
}

/// Makes an image of a container and shows its id.
///
/// # Errors
/// The daemon's.
pub(crate) async fn commit(client: &Client, args: CommitArgs) -> Result<u8, CliError> {
    let mut query = Query::new();
    query
        .option("author", args.author.as_deref())
        .option("comment", args.message.as_deref())
        .push("container", &args.container);
    for change in &args.change {
        query.push("changes", change);
    }
    if let Some(name) = args.name.as_deref().filter(|name| !name.is_empty()) {
        let (repo, tag) = split(name);
        query.push("repo", repo).push("tag", tag);
    }
    if args.pause == Some(false) {
        query.push("pause", "0");
    }
    let path = format!("/commit{}", query.as_str());
    let answer = client.post(&path, Body::Json(json!({}))).await?;
    out::line(To::Out, answer["Id"].as_str().ok_or(CliError::NoId)?);
    Ok(0)
}

/// Repository and tag; a colon before a slash is a port.
fn split(name: &str) -> (&str, &str) {
    match name.rsplit_once(':') {
        Some((repo, tag)) if !tag.contains('/') => (repo, tag),
        _ => (name, "latest"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_split() {
        assert_eq!(split("a/b:c"), ("a/b", "c"));
        assert_eq!(split("h:5000/b"), ("h:5000/b", "latest"));
        assert_eq!(split("b"), ("b", "latest"));
    }
}
