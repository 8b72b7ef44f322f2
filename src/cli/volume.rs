//! `volume ...`.

use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};

use crate::client::{Body, Client, Query, segment};

use super::confirm::confirm;
use super::error::CliError;
use super::flags::{filters, filters_of, labels, pairs};
use super::format::Layout;
use super::inspect::{InspectArgs, inspect};
use super::out::{self, To};
use super::units::human_size;

#[derive(Debug, Subcommand)]
pub(crate) enum VolumeCommand {
    /// Create a volume
    Create(Box<CreateArgs>),
    /// Display detailed information on one or more volumes
    Inspect(VolumeInspectArgs),
    /// List volumes
    #[command(visible_alias = "list")]
    Ls(LsArgs),
    /// Remove unused local volumes
    Prune(PruneArgs),
    /// Remove one or more volumes
    #[command(visible_alias = "remove")]
    Rm(RmArgs),
}

#[derive(Args, Debug)]
pub(crate) struct CreateArgs {
    /// Specify volume driver name
    #[arg(short, long, default_value = "local")]
    driver: String,
    /// Set metadata for a volume
    #[arg(long)]
    label: Vec<String>,
    /// Specify volume name
    #[arg(long, hide = true)]
    name: Option<String>,
    /// Set driver specific options
    #[arg(short, long)]
    opt: Vec<String>,
    #[command(flatten)]
    cluster: ClusterFlags,
    #[arg(value_name = "VOLUME")]
    volume: Option<String>,
}

/// Flags of cluster volumes, which are a swarm's.
#[derive(Args, Debug)]
struct ClusterFlags {
    /// Refused: there are no cluster volumes
    #[arg(long, hide = true)]
    availability: Option<String>,
    /// Refused: there are no cluster volumes
    #[arg(long, hide = true)]
    group: Option<String>,
    /// Refused: there are no cluster volumes
    #[arg(long, hide = true)]
    limit_bytes: Option<String>,
    /// Refused: there are no cluster volumes
    #[arg(long, hide = true)]
    required_bytes: Option<String>,
    /// Refused: there are no cluster volumes
    #[arg(long, hide = true)]
    scope: Option<String>,
    /// Refused: there are no cluster volumes
    #[arg(long, hide = true)]
    secret: Option<String>,
    /// Refused: there are no cluster volumes
    #[arg(long, hide = true)]
    sharing: Option<String>,
    /// Refused: there are no cluster volumes
    #[arg(long, hide = true)]
    topology_preferred: Option<String>,
    /// Refused: there are no cluster volumes
    #[arg(long, hide = true)]
    topology_required: Option<String>,
    /// Refused: there are no cluster volumes
    #[arg(long = "type", hide = true)]
    kind: Option<String>,
}

impl ClusterFlags {
    /// The first that was given.
    fn given(&self) -> Option<&'static str> {
        let all = [
            ("--availability", &self.availability),
            ("--group", &self.group),
            ("--limit-bytes", &self.limit_bytes),
            ("--required-bytes", &self.required_bytes),
            ("--scope", &self.scope),
            ("--secret", &self.secret),
            ("--sharing", &self.sharing),
            ("--topology-preferred", &self.topology_preferred),
            ("--topology-required", &self.topology_required),
            ("--type", &self.kind),
        ];
        all.iter().find(|(_, value)| value.is_some()).map(|f| f.0)
    }
}

#[derive(Args, Debug)]
pub(crate) struct VolumeInspectArgs {
    /// Format output: 'json' or 'TEMPLATE'
    #[arg(short, long)]
    format: Option<String>,
    #[arg(required = true, value_name = "VOLUME")]
    names: Vec<String>,
}

#[derive(Args, Debug)]
pub(crate) struct LsArgs {
    /// Refused: there are no cluster volumes
    #[arg(long, hide = true)]
    cluster: bool,
    /// Provide filter values (e.g. "dangling=true")
    #[arg(short, long)]
    filter: Vec<String>,
    /// Format output: 'table', 'table TEMPLATE', 'json' or 'TEMPLATE'
    #[arg(long)]
    format: Option<String>,
    /// Only display volume names
    #[arg(short, long)]
    quiet: bool,
}

#[derive(Args, Debug)]
pub(crate) struct PruneArgs {
    /// Remove all unused volumes, not just anonymous ones
    #[arg(short, long)]
    all: bool,
    /// Provide filter values (e.g. "label=<label>")
    #[arg(long)]
    filter: Vec<String>,
    /// Do not prompt for confirmation
    #[arg(short, long)]
    force: bool,
}

#[derive(Args, Debug)]
pub(crate) struct RmArgs {
    /// Force the removal of one or more volumes
    #[arg(short, long)]
    force: bool,
    #[arg(required = true, value_name = "VOLUME")]
    names: Vec<String>,
}

const COLUMNS: &str = "{{.Driver}}\t{{.Name}}";
const HEADINGS: [(&str, &str); 10] = [
    ("Availability", "AVAILABILITY"),
    ("Driver", "DRIVER"),
    ("Group", "GROUP"),
    ("Labels", "LABELS"),
    ("Links", "LINKS"),
    ("Mountpoint", "MOUNTPOINT"),
    ("Name", "VOLUME NAME"),
    ("Scope", "SCOPE"),
    ("Size", "SIZE"),
    ("Status", "STATUS"),
];
/// API version from which prune without `all` takes anonymous volumes alone.
const PRUNE_ALL: u32 = 42;

/// Runs one of them.
///
/// # Errors
/// The command's.
pub(crate) async fn volume(client: &Client, command: VolumeCommand) -> Result<u8, CliError> {
    match command {
        VolumeCommand::Create(args) => create(client, *args).await,
        VolumeCommand::Inspect(args) => {
            inspect(client, InspectArgs::of("volume", args.format, args.names)).await
        }
        VolumeCommand::Ls(args) => ls(client, args).await,
        VolumeCommand::Prune(args) => prune(client, args).await,
        VolumeCommand::Rm(args) => rm(client, args).await,
    }
}

async fn create(client: &Client, args: CreateArgs) -> Result<u8, CliError> {
    if let Some(flag) = args.cluster.given() {
        return Err(CliError::ClusterVolume(flag));
    }
    if args.name.is_some() && args.volume.is_some() {
        return Err(CliError::Conflict(
            "cannot specify a volume-name through both --name and as a positional arg",
        ));
    }
    let mut body = json!({"Driver": args.driver});
    // As Docker: what was not given is not sent, so that inspect shows null.
    if !args.opt.is_empty() {
        body["DriverOpts"] = json!(pairs(&args.opt));
    }
    if !args.label.is_empty() {
        body["Labels"] = json!(labels(&[], &args.label)?);
    }
    if let Some(name) = args.volume.or(args.name).filter(|name| !name.is_empty()) {
        body["Name"] = name.into();
    }
    let volume = client.post("/volumes/create", Body::Json(body)).await?;
    out::line(To::Out, volume["Name"].as_str().unwrap_or(""));
    Ok(0)
}

async fn ls(client: &Client, args: LsArgs) -> Result<u8, CliError> {
    if args.cluster {
        return Err(CliError::ClusterVolume("--cluster"));
    }
    let mut query = Query::new();
    query.option("filters", filters(&args.filter)?.as_deref());
    let format = args.format.as_deref().unwrap_or("");
    let layout = if args.quiet && (format.is_empty() || format == "table") {
        Layout::choose(Some("{{.Name}}"), COLUMNS)?
    } else {
        Layout::choose(Some(format), COLUMNS)?
    };
    let list = client.get(&format!("/volumes{}", query.as_str())).await?;
    let mut rows: Vec<Map<String, Value>> = list["Volumes"]
        .as_array()
        .into_iter()
        .flatten()
        .map(row)
        .collect();
    let name = |row: &Map<String, Value>| row["Name"].as_str().unwrap_or_default().to_owned();
    rows.sort_by_key(name);
    out::write(To::Out, layout.render(&rows, &HEADINGS)?.as_bytes());
    Ok(0)
}

fn row(volume: &Value) -> Map<String, Value> {
    let text = |key: &str| volume[key].as_str().unwrap_or_default();
    let labels = &volume["Labels"];
    let mut shown: Vec<String> = labels
        .as_object()
        .into_iter()
        .flatten()
        .map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default()))
        .collect();
    shown.sort();
    let mut row = Map::new();
    for (key, value) in [
        ("Driver", text("Driver")),
        ("Labels", &shown.join(",")),
        ("Mountpoint", text("Mountpoint")),
        ("Name", text("Name")),
        ("Scope", text("Scope")),
    ] {
        row.insert(key.to_owned(), value.into());
    }
    // What only a cluster's volumes and `system df` have.
    for key in ["Availability", "Group", "Links", "Size", "Status"] {
        row.insert(key.to_owned(), "N/A".into());
    }
    let labels = labels.as_object().cloned().unwrap_or_default();
    row.insert("LabelMap".to_owned(), labels.into());
    row
}

async fn rm(client: &Client, args: RmArgs) -> Result<u8, CliError> {
    let mut query = Query::new();
    query.flag("force", args.force);
    let mut results = Vec::new();
    for name in args.names {
        let path = format!("/volumes/{}{}", segment(&name), query.as_str());
        let removed = client.delete(&path).await.map(|_| ());
        results.push((name, removed));
    }
    super::each(results)
}

async fn prune(client: &Client, args: PruneArgs) -> Result<u8, CliError> {
    let mut wanted = args.filter.clone();
    let old = !client.speaks(PRUNE_ALL);
    if args.all && old {
        return Err(CliError::TooOld {
            flag: "--all",
            needs: "1.42",
            has: client.api_version(),
        });
    }
    if args.all {
        if wanted.iter().any(|filter| filter.starts_with("all=")) {
            return Err(CliError::Conflict(
                "cannot specify both --all and --filter all=1",
            ));
        }
        wanted.push("all=true".to_owned());
    }
    let what = if args.all || old {
        "all local volumes not used by at least one container"
    } else {
        "anonymous local volumes not used by at least one container"
    };
    if !args.force && !confirm(&format!("WARNING! This will remove {what}."))? {
        return Err(CliError::Cancelled("volume prune"));
    }
    let mut query = Query::new();
    query.option("filters", filters_of("--filter", &wanted)?.as_deref());
    let path = format!("/volumes/prune{}", query.as_str());
    let report = client.post(&path, Body::Empty).await?;
    let mut text = String::new();
    for name in report["VolumesDeleted"].as_array().into_iter().flatten() {
        if text.is_empty() {
            text.push_str("Deleted Volumes:\n");
        }
        text.push_str(name.as_str().unwrap_or(""));
        text.push('\n');
    }
    if !text.is_empty() {
        text.push('\n');
    }
    let reclaimed = human_size(report["SpaceReclaimed"].as_i64().unwrap_or(0));
    text.push_str(&format!("Total reclaimed space: {reclaimed}\n"));
    out::write(To::Out, text.as_bytes());
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_has_all_of_dockers_fields() {
        let volume = json!({"Name": "v1", "Driver": "local", "Scope": "local",
            "Mountpoint": "/m", "Labels": {"b": "2", "a": ""}});
        let row = row(&volume);
        assert_eq!(row["Labels"], "a=,b=2");
        assert_eq!(row["Status"], "N/A");
        for (field, _) in HEADINGS {
            assert!(row.contains_key(field), "{field}");
        }
    }
}
