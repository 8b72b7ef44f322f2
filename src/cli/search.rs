//! `search`.

use clap::Args;
use hyper::Method;
use serde_json::{Map, Value, json};

use crate::client::{Body, Client, Query};

use super::docker_config::{ConfigFile, key_of};
use super::error::CliError;
use super::flags::filters_of;
use super::format::Layout;
use super::out::{self, To};
use super::table::ellipsis;

/// Characters of a description in the table.
const DESCRIPTION: usize = 45;
const HEADINGS: [(&str, &str); 5] = [
    ("Name", "NAME"),
    ("Description", "DESCRIPTION"),
    ("StarCount", "STARS"),
    ("IsOfficial", "OFFICIAL"),
    ("IsAutomated", "AUTOMATED"),
];

#[derive(Args, Debug)]
pub(crate) struct SearchArgs {
    /// Filter output based on conditions provided
    #[arg(short, long)]
    filter: Vec<String>,
    /// Format output: 'table', 'table TEMPLATE', 'json' or 'TEMPLATE'
    #[arg(long)]
    format: Option<String>,
    /// Max number of search results
    #[arg(long)]
    limit: Option<u32>,
    /// Don't truncate output
    #[arg(long)]
    no_trunc: bool,
    #[arg(value_name = "TERM")]
    term: String,
}

/// Shows what an index finds.
///
/// # Errors
/// Flags, the daemon, an index that cannot be searched.
pub(crate) async fn search(client: &Client, args: SearchArgs) -> Result<u8, CliError> {
    let columns = "{{.Name}}\t{{.Description}}\t{{.StarCount}}\t{{.IsOfficial}}";
    let layout = Layout::choose(args.format.as_deref(), columns)?;
    let mut query = Query::new();
    query
        .push("term", &args.term)
        .option("limit", args.limit.map(|n| n.to_string()).as_deref())
        .option("filters", filters_of("--filter", &args.filter)?.as_deref());
    let domain = match args.term.split_once('/') {
        Some((first, _)) if first.contains(['.', ':']) || first == "localhost" => first,
        _ => "docker.io",
    };
    let key = key_of(domain);
    let header = ConfigFile::load().login(key)?.header(key);
    let path = format!("/images/search{}", query.as_str());
    let list = client
        .json_with(
            Method::GET,
            &path,
            Body::Empty,
            &[("X-Registry-Auth", header)],
        )
        .await?;
    let rows: Vec<_> = list
        .as_array()
        .into_iter()
        .flatten()
        .map(|found| row(found, args.no_trunc))
        .collect();
    out::write(To::Out, layout.render(&rows, &HEADINGS)?.as_bytes());
    Ok(0)
}

fn row(found: &Value, whole: bool) -> Map<String, Value> {
    let mut description = found["description"]
        .as_str()
        .unwrap_or_default()
        .replace(['\n', '\r'], " ");
    if !whole {
        description = ellipsis(&description, DESCRIPTION);
    }
    let mark = |key: &str| if found[key] == true { "[OK]" } else { "" };
    let mut row = Map::new();
    row.insert("Name".into(), found["name"].clone());
    row.insert("Description".into(), json!(description));
    row.insert("StarCount".into(), json!(found["star_count"].to_string()));
    row.insert("IsOfficial".into(), json!(mark("is_official")));
    row.insert("IsAutomated".into(), json!(mark("is_automated")));
    row
}
