//! `images`, `tag` and `rmi`.

use clap::Args;
use serde_json::{Map, Value, json};

use crate::client::{Body, Client, Query, segment};

use super::error::CliError;
use super::flags::filters;
use super::format::Layout;
use super::out::{self, To};
use super::table::short_id;
use super::times;
use super::units::{human_duration, human_size, human_size_4};

#[derive(Args, Debug)]
pub(crate) struct ImagesArgs {
    /// Show all images (default hides intermediate images)
    #[arg(short, long)]
    all: bool,
    /// Show digests
    #[arg(long)]
    digests: bool,
    /// Filter output based on conditions provided
    #[arg(short, long)]
    filter: Vec<String>,
    /// Format output: 'table', 'table TEMPLATE', 'json' or 'TEMPLATE'
    #[arg(long)]
    format: Option<String>,
    /// Don't truncate output
    #[arg(long)]
    no_trunc: bool,
    /// Only show image IDs
    #[arg(short, long)]
    quiet: bool,
    #[arg(value_name = "REPOSITORY[:TAG]")]
    repository: Option<String>,
}

#[derive(Args, Debug)]
pub(crate) struct TagArgs {
    #[arg(value_name = "SOURCE_IMAGE[:TAG]")]
    source: String,
    #[arg(value_name = "TARGET_IMAGE[:TAG]")]
    target: String,
}

#[derive(Args, Debug)]
pub(crate) struct RmiArgs {
    /// Force removal of the image
    #[arg(short, long)]
    force: bool,
    /// Do not delete untagged parents
    #[arg(long)]
    no_prune: bool,
    #[arg(required = true, value_name = "IMAGE")]
    images: Vec<String>,
}

const HEADINGS: [(&str, &str); 11] = [
    ("ID", "IMAGE ID"),
    ("Repository", "REPOSITORY"),
    ("Tag", "TAG"),
    ("Digest", "DIGEST"),
    ("CreatedSince", "CREATED"),
    ("CreatedAt", "CREATED AT"),
    ("Size", "SIZE"),
    ("Containers", "CONTAINERS"),
    ("SharedSize", "SHARED SIZE"),
    ("UniqueSize", "UNIQUE SIZE"),
    ("VirtualSize", "SIZE"),
];

/// Lists images, one row a name.
///
/// # Errors
/// Filters, the template, the daemon.
pub(crate) async fn images(client: &Client, args: ImagesArgs) -> Result<u8, CliError> {
    let mut wanted = args.filter.clone();
    if let Some(repository) = &args.repository {
        wanted.push(format!("reference={repository}"));
    }
    let mut query = Query::new();
    query
        .flag("all", args.all)
        .option("filters", filters(&wanted)?.as_deref());
    let columns = if args.digests {
        "{{.Repository}}\t{{.Tag}}\t{{.Digest}}\t{{.ID}}\t{{.CreatedSince}}\t{{.Size}}"
    } else {
        "{{.Repository}}\t{{.Tag}}\t{{.ID}}\t{{.CreatedSince}}\t{{.Size}}"
    };
    let format = args.format.as_deref().unwrap_or("");
    let layout = if args.quiet && (format.is_empty() || format == "table") {
        Layout::choose(Some("{{.ID}}"), columns)?
    } else {
        Layout::choose(Some(format), columns)?
    };
    let list = client
        .get(&format!("/images/json{}", query.as_str()))
        .await?;
    let rows: Vec<_> = list
        .as_array()
        .into_iter()
        .flatten()
        .flat_map(|image| rows(image, args.no_trunc, args.digests))
        .collect();
    out::write(To::Out, layout.render(&rows, &HEADINGS)?.as_bytes());
    Ok(0)
}

/// One row for each tag; with digests, one for each pair of tag and digest of a repository.
fn rows(image: &Value, full: bool, with_digests: bool) -> Vec<Map<String, Value>> {
    let strings = |key: &str| -> Vec<&str> {
        image[key]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .filter(|s| !s.starts_with("<none>"))
            .collect()
    };
    let digests: Vec<(&str, &str)> = strings("RepoDigests")
        .into_iter()
        .filter_map(|d| d.split_once('@'))
        .collect();
    let mut names: Vec<(String, String, String)> = Vec::new();
    for tag in strings("RepoTags") {
        let (repository, tag) = split_tag(tag);
        let tag = tag.unwrap_or("<none>");
        let mine: Vec<&str> = digests
            .iter()
            .filter(|(r, _)| with_digests && *r == repository)
            .map(|(_, d)| *d)
            .collect();
        if mine.is_empty() {
            names.push((repository.into(), tag.into(), "<none>".into()));
        }
        for digest in mine {
            names.push((repository.into(), tag.into(), digest.into()));
        }
    }
    if names.is_empty() {
        let (repository, digest) = digests.first().copied().unwrap_or(("<none>", "<none>"));
        names.push((repository.into(), "<none>".into(), digest.into()));
    }
    let id = image["Id"].as_str().unwrap_or("");
    let created = image["Created"].as_i64().unwrap_or(0);
    let bytes = image["Size"].as_i64().unwrap_or(0);
    let size = human_size(bytes);
    let count = |key: &str| match image[key].as_i64() {
        Some(n) if n >= 0 => n.to_string(),
        _ => "N/A".to_owned(),
    };
    names
        .into_iter()
        .filter_map(|(repository, tag, digest)| {
            let value = json!({
                "Containers": count("Containers"),
                "CreatedAt": times::go_string(created),
                "CreatedSince": format!("{} ago", human_duration(times::age(created))),
                "Digest": digest,
                "ID": if full { id } else { short_id(id) },
                "Repository": repository,
                "SharedSize": "N/A",
                "Size": size,
                "Tag": tag,
                "UniqueSize": "N/A",
                "VirtualSize": human_size_4(bytes),
            });
            match value {
                Value::Object(map) => Some(map),
                _ => None,
            }
        })
        .collect()
}

/// Cuts a name at the colon of its tag, which is no port.
pub(crate) fn split_tag(name: &str) -> (&str, Option<&str>) {
    match name.rsplit_once(':') {
        Some((repository, tag)) if !tag.contains('/') => (repository, Some(tag)),
        _ => (name, None),
    }
}

/// Names an image.
///
/// # Errors
/// A name with a digest; the daemon's refusal.
pub(crate) async fn tag(client: &Client, args: TagArgs) -> Result<u8, CliError> {
    if args.target.contains('@') || args.target.is_empty() {
        return Err(CliError::Reference(args.target));
    }
    let (repository, tag) = split_tag(&args.target);
    let mut query = Query::new();
    query
        .push("repo", repository)
        .push("tag", tag.unwrap_or("latest"));
    let path = format!("/images/{}/tag{}", segment(&args.source), query.as_str());
    client.post(&path, Body::Empty).await?;
    Ok(0)
}

/// Removes images or their names; with `-f` one that does not exist is no failure.
///
/// # Errors
/// None of its own; each refusal is shown.
pub(crate) async fn rmi(client: &Client, args: RmiArgs) -> Result<u8, CliError> {
    let mut query = Query::new();
    query
        .flag("force", args.force)
        .flag("noprune", args.no_prune);
    let mut status = 0;
    for image in &args.images {
        let path = format!("/images/{}{}", segment(image), query.as_str());
        match client.delete(&path).await {
            Ok(list) => {
                for item in list.as_array().into_iter().flatten() {
                    for key in ["Deleted", "Untagged"] {
                        if let Some(name) = item[key].as_str().filter(|n| !n.is_empty()) {
                            out::line(To::Out, &format!("{key}: {name}"));
                        }
                    }
                }
            }
            Err(e) => {
                out::line(To::Err, &e.to_string());
                if !(args.force && e.is_not_found()) {
                    status = 1;
                }
            }
        }
    }
    Ok(status)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_for_each_name() {
        let image = json!({"Id": "sha256:d2c516aaa30da366", "RepoTags": ["a:1", "h:5000/b:2"],
            "RepoDigests": ["a@sha256:99"], "Created": 0, "Size": 1_982_000, "Containers": -1});
        let r = rows(&image, false, false);
        assert_eq!(r.len(), 2);
        assert_eq!(
            (
                &r[1]["Repository"],
                &r[1]["Tag"],
                &r[1]["ID"],
                &r[1]["Size"]
            ),
            (
                &json!("h:5000/b"),
                &json!("2"),
                &json!("d2c516aaa30d"),
                &json!("1.98MB")
            )
        );
        assert_eq!(rows(&image, false, true)[0]["Digest"], "sha256:99");
        let bare = json!({"Id": "sha256:1", "RepoTags": null});
        assert_eq!(rows(&bare, false, false)[0]["Repository"], "<none>");
        assert_eq!(split_tag("h:5000/b"), ("h:5000/b", None));
    }
}
