//! `network ...`; `create` has a file of its own.

use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};

use crate::client::{Body, Client, Query, segment};

use super::confirm::confirm;
use super::error::CliError;
use super::flags::{filters, filters_of, integer_or, pairs};
use super::format::Layout;
use super::inspect::{InspectArgs, inspect};
use super::network_create::{self, CreateArgs};
use super::out::{self, To};
use super::table::short_id;
use super::times;

#[derive(Debug, Subcommand)]
pub(crate) enum NetworkCommand {
    /// Connect a container to a network
    Connect(ConnectArgs),
    /// Create a network
    Create(Box<CreateArgs>),
    /// Disconnect a container from a network
    Disconnect(DisconnectArgs),
    /// Display detailed information on one or more networks
    Inspect(NetworkInspectArgs),
    /// List networks
    #[command(visible_alias = "list")]
    Ls(LsArgs),
    /// Remove all unused networks
    Prune(PruneArgs),
    /// Remove one or more networks
    #[command(visible_alias = "remove")]
    Rm(RmArgs),
}

#[derive(Args, Debug)]
pub(crate) struct ConnectArgs {
    /// Add network-scoped alias for the container
    #[arg(long, value_delimiter = ',')]
    alias: Vec<String>,
    /// driver options for the network
    #[arg(long, value_delimiter = ',')]
    driver_opt: Vec<String>,
    /// Highest gw-priority provides the default gateway
    #[arg(long)]
    gw_priority: Option<String>,
    /// IPv4 address (e.g., "172.30.100.104")
    #[arg(long)]
    ip: Option<String>,
    /// IPv6 address (e.g., "2001:db8::33")
    #[arg(long)]
    ip6: Option<String>,
    /// Add link to another container
    #[arg(long)]
    link: Vec<String>,
    /// Add a link-local address for the container
    #[arg(long, value_delimiter = ',')]
    link_local_ip: Vec<String>,
    #[arg(required = true, value_name = "NETWORK")]
    network: String,
    #[arg(required = true, value_name = "CONTAINER")]
    container: String,
}

#[derive(Args, Debug)]
pub(crate) struct DisconnectArgs {
    /// Force the container to disconnect from a network
    #[arg(short, long)]
    force: bool,
    #[arg(required = true, value_name = "NETWORK")]
    network: String,
    #[arg(required = true, value_name = "CONTAINER")]
    container: String,
}

#[derive(Args, Debug)]
pub(crate) struct NetworkInspectArgs {
    /// Format output: 'json' or 'TEMPLATE'
    #[arg(short, long)]
    format: Option<String>,
    /// Verbose output for diagnostics
    #[arg(short, long)]
    verbose: bool,
    #[arg(required = true, value_name = "NETWORK")]
    names: Vec<String>,
}

#[derive(Args, Debug)]
pub(crate) struct LsArgs {
    /// Provide filter values (e.g. "driver=bridge")
    #[arg(short, long)]
    filter: Vec<String>,
    /// Format output: 'table', 'table TEMPLATE', 'json' or 'TEMPLATE'
    #[arg(long)]
    format: Option<String>,
    /// Do not truncate the output
    #[arg(long)]
    no_trunc: bool,
    /// Only display network IDs
    #[arg(short, long)]
    quiet: bool,
}

#[derive(Args, Debug)]
pub(crate) struct PruneArgs {
    /// Provide filter values (e.g. "until=<timestamp>")
    #[arg(long)]
    filter: Vec<String>,
    /// Do not prompt for confirmation
    #[arg(short, long)]
    force: bool,
}

#[derive(Args, Debug)]
pub(crate) struct RmArgs {
    /// Do not error if the network does not exist
    #[arg(short, long)]
    force: bool,
    #[arg(required = true, value_name = "NETWORK")]
    names: Vec<String>,
}

const COLUMNS: &str = "{{.ID}}\t{{.Name}}\t{{.Driver}}\t{{.Scope}}";
const HEADINGS: [(&str, &str); 9] = [
    ("CreatedAt", "CREATED AT"),
    ("Driver", "DRIVER"),
    ("ID", "NETWORK ID"),
    ("IPv4", "IPV4"),
    ("IPv6", "IPV6"),
    ("Internal", "INTERNAL"),
    ("Labels", "LABELS"),
    ("Name", "NAME"),
    ("Scope", "SCOPE"),
];

/// Runs one of them.
///
/// # Errors
/// The command's.
pub(crate) async fn network(client: &Client, command: NetworkCommand) -> Result<u8, CliError> {
    match command {
        NetworkCommand::Connect(args) => connect(client, args).await,
        NetworkCommand::Create(args) => network_create::create(client, *args).await,
        NetworkCommand::Disconnect(args) => {
            let body = json!({"Container": args.container, "Force": args.force});
            let path = format!("/networks/{}/disconnect", segment(&args.network));
            client.post(&path, Body::Json(body)).await?;
            Ok(0)
        }
        NetworkCommand::Inspect(args) => {
            let wanted = InspectArgs::of("network", args.format, args.names);
            inspect(client, wanted.verbose(args.verbose)).await
        }
        NetworkCommand::Ls(args) => ls(client, args).await,
        NetworkCommand::Prune(args) => prune(client, args).await,
        NetworkCommand::Rm(args) => rm(client, args).await,
    }
}

async fn connect(client: &Client, args: ConnectArgs) -> Result<u8, CliError> {
    let path = format!("/networks/{}/connect", segment(&args.network));
    let body = json!({"Container": args.container.clone(), "EndpointConfig": endpoint(&args)?});
    client.post(&path, Body::Json(body)).await?;
    Ok(0)
}

/// `EndpointConfig` as docker CLI 28 sends it; parts that were not given are null.
fn endpoint(args: &ConnectArgs) -> Result<Value, CliError> {
    let mut ipam = Map::new();
    for (key, value) in [("IPv4Address", &args.ip), ("IPv6Address", &args.ip6)] {
        if let Some(value) = value {
            ipam.insert(key.to_owned(), value.as_str().into());
        }
    }
    if !args.link_local_ip.is_empty() {
        ipam.insert("LinkLocalIPs".to_owned(), json!(args.link_local_ip));
    }
    let list = |items: &[String]| (!items.is_empty()).then(|| items.to_vec());
    for option in &args.driver_opt {
        if !option.contains('=') {
            return Err(CliError::DriverOption);
        }
    }
    Ok(json!({
        "IPAMConfig": (!ipam.is_empty()).then_some(ipam),
        "Links": list(&args.link),
        "Aliases": list(&args.alias),
        "DriverOpts": (!args.driver_opt.is_empty()).then(|| pairs(&args.driver_opt)),
        "GwPriority": integer_or("--gw-priority", args.gw_priority.as_deref(), 0)?,
    }))
}

async fn ls(client: &Client, args: LsArgs) -> Result<u8, CliError> {
    let mut query = Query::new();
    query.option("filters", filters(&args.filter)?.as_deref());
    let format = args.format.as_deref().unwrap_or("");
    let layout = if args.quiet && (format.is_empty() || format == "table") {
        Layout::choose(Some("{{.ID}}"), COLUMNS)?
    } else {
        Layout::choose(Some(format), COLUMNS)?
    };
    let list = client.get(&format!("/networks{}", query.as_str())).await?;
    let mut networks: Vec<&Value> = list.as_array().into_iter().flatten().collect();
    networks.sort_by_key(|network| network["Name"].as_str().unwrap_or_default());
    let rows: Vec<_> = networks.iter().map(|n| row(n, args.no_trunc)).collect();
    out::write(To::Out, layout.render(&rows, &HEADINGS)?.as_bytes());
    Ok(0)
}

fn row(network: &Value, full: bool) -> Map<String, Value> {
    let text = |key: &str| network[key].as_str().unwrap_or_default();
    let labels = network["Labels"].as_object().cloned().unwrap_or_default();
    let mut shown: Vec<String> = labels
        .iter()
        .map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default()))
        .collect();
    shown.sort();
    let id = text("Id");
    // Before API 1.47 nobody says whether there is IPv4; Docker's CLI then shows false.
    let flag = |key: &str| network[key].as_bool().unwrap_or(false).to_string();
    let created = times::go_string_of(text("Created"));
    let mut row = Map::new();
    for (key, value) in [
        ("CreatedAt", created),
        ("Driver", text("Driver").to_owned()),
        ("ID", if full { id } else { short_id(id) }.to_owned()),
        ("IPv4", flag("EnableIPv4")),
        ("IPv6", flag("EnableIPv6")),
        ("Internal", flag("Internal")),
        ("Labels", shown.join(",")),
        ("Name", text("Name").to_owned()),
        ("Scope", text("Scope").to_owned()),
    ] {
        row.insert(key.to_owned(), value.into());
    }
    row.insert("LabelMap".to_owned(), labels.into());
    row
}

async fn rm(client: &Client, args: RmArgs) -> Result<u8, CliError> {
    let mut status = 0;
    for name in &args.names {
        match client.delete(&format!("/networks/{}", segment(name))).await {
            Ok(_) => out::line(To::Out, name),
            Err(e) if args.force && e.is_not_found() => {}
            Err(e) => {
                out::line(To::Err, &e.to_string());
                status = 1;
            }
        }
    }
    if status != 0 {
        out::line(To::Err, "exit status 1");
    }
    Ok(status)
}

async fn prune(client: &Client, args: PruneArgs) -> Result<u8, CliError> {
    let warning =
        "WARNING! This will remove all custom networks not used by at least one container.";
    if !args.force && !confirm(warning)? {
        return Err(CliError::Cancelled("network prune"));
    }
    let mut query = Query::new();
    query.option("filters", filters_of("--filter", &args.filter)?.as_deref());
    let path = format!("/networks/prune{}", query.as_str());
    let report = client.post(&path, Body::Empty).await?;
    let mut text = String::new();
    for name in report["NetworksDeleted"].as_array().into_iter().flatten() {
        if text.is_empty() {
            text.push_str("Deleted Networks:\n");
        }
        text.push_str(name.as_str().unwrap_or(""));
        text.push('\n');
    }
    if !text.is_empty() {
        text.push('\n');
    }
    out::write(To::Out, text.as_bytes());
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{Command, parse_for_test};

    fn words(line: &str) -> Vec<String> {
        line.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn endpoints_have_what_was_given() {
        let line = "network connect --ip 10.0.0.9 --ip6 fd00::9 --alias q --link a:b \
                    --link-local-ip 169.254.1.1 --driver-opt k=v net web";
        let Command::Network(NetworkCommand::Connect(args)) = parse_for_test(&words(line)).unwrap()
        else {
            panic!("not connect");
        };
        assert_eq!(
            (args.network.as_str(), args.container.as_str()),
            ("net", "web")
        );
        assert_eq!(
            endpoint(&args).unwrap(),
            json!({
                "IPAMConfig": {"IPv4Address": "10.0.0.9", "IPv6Address": "fd00::9",
                    "LinkLocalIPs": ["169.254.1.1"]},
                "Links": ["a:b"],
                "Aliases": ["q"],
                "DriverOpts": {"k": "v"},
                "GwPriority": 0,
            })
        );
        let bad = "network connect --driver-opt k net web";
        let Command::Network(NetworkCommand::Connect(args)) = parse_for_test(&words(bad)).unwrap()
        else {
            panic!("not connect");
        };
        assert!(endpoint(&args).is_err());
    }

    #[test]
    fn a_row_has_all_of_dockers_fields() {
        let network = json!({"Id": "0123456789abcdef", "Name": "net", "Driver": "bridge",
            "Scope": "local", "EnableIPv6": true, "Internal": false, "Labels": {"a": "b"},
            "Created": "2026-11-26T22:15:49.381029926Z"});
        let row = row(&network, false);
        assert_eq!(row["ID"], "0123456789ab");
        assert_eq!(
            (&row["IPv4"], &row["IPv6"]),
            (&json!("false"), &json!("true"))
        );
        assert_eq!(row["CreatedAt"], "2026-11-26 22:15:49.381029926 +0000 UTC");
        for (field, _) in HEADINGS {
            assert!(row.contains_key(field), "{field}");
        }
    }
}
