//! `history`.

use clap::Args;
use serde_json::{Map, Value, json};

use crate::client::{Client, segment};

use super::error::CliError;
use super::format::Layout;
use super::out::{self, To};
use super::table::{ellipsis, short_id};
use super::times;
use super::units::{human_duration, human_size};

#[derive(Args, Debug)]
pub(crate) struct HistoryArgs {
    /// Format output: 'table', 'table TEMPLATE', 'json' or 'TEMPLATE'
    #[arg(long)]
    format: Option<String>,
    /// Print sizes and dates in human readable format (default true)
    #[arg(short = 'H', long)]
    human: Option<bool>,
    /// Don't truncate output
    #[arg(long)]
    no_trunc: bool,
    /// Only show image IDs
    #[arg(short, long)]
    quiet: bool,
    image: String,
}

const HEADINGS: [(&str, &str); 6] = [
    ("ID", "IMAGE"),
    ("CreatedSince", "CREATED"),
    ("CreatedAt", "CREATED AT"),
    ("CreatedBy", "CREATED BY"),
    ("Size", "SIZE"),
    ("Comment", "COMMENT"),
];
/// 2000-01-01: what is older has no time that means anything.
const EPOCH: i64 = 946_684_800;

/// Shows the steps of an image's making, newest first.
///
/// # Errors
/// The template, the daemon.
pub(crate) async fn history(client: &Client, args: HistoryArgs) -> Result<u8, CliError> {
    let human = args.human.unwrap_or(true);
    let time = if human { "CreatedSince" } else { "CreatedAt" };
    let columns = format!(
        "{{{{.ID}}}}\t{{{{.{time}}}}}\t{{{{.CreatedBy}}}}\t{{{{.Size}}}}\t{{{{.Comment}}}}"
    );
    let format = args.format.as_deref().unwrap_or("");
    let layout = if args.quiet && (format.is_empty() || format == "table") {
        Layout::choose(Some("{{.ID}}"), &columns)?
    } else {
        Layout::choose(Some(format), &columns)?
    };
    let list = client
        .get(&format!("/images/{}/history", segment(&args.image)))
        .await?;
    let rows: Vec<_> = list
        .as_array()
        .into_iter()
        .flatten()
        .map(|step| row(step, human, args.no_trunc))
        .collect();
    out::write(To::Out, layout.render(&rows, &HEADINGS)?.as_bytes());
    Ok(0)
}

fn row(step: &Value, human: bool, full: bool) -> Map<String, Value> {
    let text = |key: &str| step[key].as_str().unwrap_or("");
    let created = step["Created"].as_i64().unwrap_or(0);
    let at = times::rfc3339(created);
    let since = match human {
        false => at.clone(),
        true if created <= EPOCH => "N/A".to_owned(),
        true => format!("{} ago", human_duration(times::age(created))),
    };
    let by = text("CreatedBy").replace('\t', " ");
    let bytes = step["Size"].as_i64().unwrap_or(0);
    [
        (
            "ID",
            if full {
                text("Id")
            } else {
                short_id(text("Id"))
            }
            .to_owned(),
        ),
        ("CreatedSince", since),
        ("CreatedAt", at),
        ("CreatedBy", if full { by } else { ellipsis(&by, 45) }),
        (
            "Size",
            if human {
                human_size(bytes)
            } else {
                bytes.to_string()
            },
        ),
        ("Comment", text("Comment").to_owned()),
    ]
    .into_iter()
    .map(|(key, value)| (key.to_owned(), json!(value)))
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_without_a_time() {
        let step = json!({"Id": "<missing>", "Created": 0, "CreatedBy": "a\tb", "Size": 1000});
        let shown = row(&step, true, false);
        assert_eq!(shown["CreatedSince"], "N/A");
        assert_eq!(shown["CreatedBy"], "a b");
        assert_eq!(shown["ID"], "<missing>");
        assert_eq!(row(&step, false, false)["Size"], "1000");
    }
}
