//! `ps`.

use clap::Args;
use serde_json::{Map, Value, json};

use crate::client::{Client, Query};

use super::error::CliError;
use super::flags::{filters, integer};
use super::format::Layout;
use super::out::{self, To};
use super::sinks;
use super::table::{ellipsis, short_id};
use super::times;
use super::units::{human_duration, human_size};

#[derive(Args, Debug)]
pub(crate) struct PsArgs {
    /// Show all containers (default shows just running)
    #[arg(short, long)]
    all: bool,
    /// Filter output based on conditions provided
    #[arg(short, long)]
    filter: Vec<String>,
    /// Format output: 'table', 'table TEMPLATE', 'json' or 'TEMPLATE'
    #[arg(long)]
    format: Option<String>,
    /// Show n last created containers (includes all states)
    #[arg(short = 'n', long)]
    last: Option<String>,
    /// Show where each container's log goes, and how far it is
    #[arg(long)]
    logs: bool,
    /// Show the latest created container (includes all states)
    #[arg(short, long)]
    latest: bool,
    /// Don't truncate output
    #[arg(long)]
    no_trunc: bool,
    /// Only display container IDs
    #[arg(short, long)]
    quiet: bool,
    /// Display total file sizes
    #[arg(short, long)]
    size: bool,
}

const COLUMNS: &str =
    "{{.ID}}\t{{.Image}}\t{{.Command}}\t{{.RunningFor}}\t{{.Status}}\t{{.Ports}}\t{{.Names}}";

const HEADINGS: [(&str, &str); 15] = [
    ("ID", "CONTAINER ID"),
    ("Names", "NAMES"),
    ("Image", "IMAGE"),
    ("Command", "COMMAND"),
    ("CreatedAt", "CREATED AT"),
    ("RunningFor", "CREATED"),
    ("Ports", "PORTS"),
    ("State", "STATE"),
    ("Status", "STATUS"),
    ("Size", "SIZE"),
    ("Labels", "LABELS"),
    ("Mounts", "MOUNTS"),
    ("LocalVolumes", "LOCAL VOLUMES"),
    ("Networks", "NETWORKS"),
    ("Platform", "PLATFORM"),
];

/// Lists containers.
///
/// # Errors
/// Filters, the template, the daemon.
pub(crate) async fn ps(client: &Client, args: PsArgs) -> Result<u8, CliError> {
    let mut query = Query::new();
    let last = match &args.last {
        Some(text) => integer("-n, --last", text)?,
        None if args.latest => 1,
        None => -1,
    };
    query.flag("all", args.all);
    if last > 0 {
        query.push("limit", &last.to_string());
    }
    let wants_size = args.size
        || args
            .format
            .as_deref()
            .is_some_and(|f| f.contains(".Size") || f.contains("json ."));
    query.flag("size", wants_size);
    query.option("filters", filters(&args.filter)?.as_deref());
    let columns = if args.size {
        format!("{COLUMNS}\t{{{{.Size}}}}")
    } else {
        COLUMNS.to_owned()
    };
    let format = args.format.as_deref().unwrap_or("");
    let layout = if args.quiet {
        if !format.is_empty() && format != "table" {
            out::line(
                To::Err,
                "WARNING: Ignoring custom format, because both --format and --quiet are set.",
            );
        }
        Layout::choose(Some("{{.ID}}"), &columns)?
    } else {
        Layout::choose(Some(format), &columns)?
    };
    query.flag("logs", args.logs);
    let list = client
        .get(&format!("/containers/json{}", query.as_str()))
        .await?;
    if args.logs {
        out::write(To::Out, sinks::table(&list).as_bytes());
        return Ok(0);
    }
    let rows: Vec<_> = list
        .as_array()
        .into_iter()
        .flatten()
        .map(|c| row(c, args.no_trunc))
        .collect();
    out::write(To::Out, layout.render(&rows, &HEADINGS)?.as_bytes());
    Ok(0)
}

/// What templates see of a container.
fn row(c: &Value, full: bool) -> Map<String, Value> {
    let text = |key: &str| c[key].as_str().unwrap_or("");
    let id = text("Id");
    let created = c["Created"].as_i64().unwrap_or(0);
    let command = if full {
        text("Command").to_owned()
    } else {
        ellipsis(text("Command"), 20)
    };
    let image = match text("Image") {
        "" => "<no image>",
        // An id stands where the name means another image by now.
        image if !full && image.starts_with("sha256:") => short_id(image),
        image
            if !full
                && image.len() == 64
                && image == text("ImageID").trim_start_matches("sha256:") =>
        {
            short_id(image)
        }
        image => image,
    };
    let names: Vec<&str> = c["Names"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .map(|n| n.strip_prefix('/').unwrap_or(n))
        // Names with a slash are those of links.
        .filter(|n| full || !n.contains('/'))
        .collect();
    let mut labels: Vec<String> = c["Labels"]
        .as_object()
        .into_iter()
        .flatten()
        .map(|(k, v)| format!("{k}={}", v.as_str().unwrap_or("")))
        .collect();
    labels.sort();
    let mounts: Vec<&Value> = c["Mounts"].as_array().into_iter().flatten().collect();
    let places: Vec<String> = mounts
        .iter()
        .map(|m| {
            let name = match m["Name"].as_str() {
                Some(name) if !name.is_empty() => name,
                _ => m["Source"].as_str().unwrap_or(""),
            };
            if full {
                name.to_owned()
            } else {
                ellipsis(name, 15)
            }
        })
        .collect();
    let local = mounts.iter().filter(|m| m["Driver"] == "local").count();
    let mut networks: Vec<&str> = c["NetworkSettings"]["Networks"]
        .as_object()
        .into_iter()
        .flatten()
        .map(|(name, _)| name.as_str())
        .collect();
    networks.sort_unstable();
    let writable = human_size(c["SizeRw"].as_i64().unwrap_or(0));
    let size = match c["SizeRootFs"].as_i64() {
        Some(total) if total > 0 => format!("{writable} (virtual {})", human_size(total)),
        _ => writable,
    };
    let value = json!({
        "Command": go_quote(&command),
        "CreatedAt": times::go_string(created),
        "ID": if full { id } else { short_id(id) },
        "Image": image,
        "Labels": labels.join(","),
        "LocalVolumes": local.to_string(),
        "Mounts": places.join(","),
        "Names": names.join(","),
        "Networks": networks.join(","),
        "Platform": null,
        "Ports": ports(&c["Ports"]),
        "RunningFor": format!("{} ago", human_duration(times::age(created))),
        "Size": size,
        "State": text("State"),
        "Status": text("Status"),
        // For `{{.Label "key"}}`; objects are left out of `--format json`.
        "LabelMap": c["Labels"].as_object().cloned().unwrap_or_default(),
    });
    match value {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}

/// Go's `strconv.Quote`, for what differs from JSON's quotes.
fn go_quote(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c.is_control() => out.push_str(&format!("\\x{:02x}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// `0.0.0.0:80->80/tcp, 90/tcp`.
fn ports(list: &Value) -> String {
    let mut ports: Vec<(u64, String)> = list
        .as_array()
        .into_iter()
        .flatten()
        .map(|p| {
            let inside = p["PrivatePort"].as_u64().unwrap_or(0);
            let kind = p["Type"].as_str().unwrap_or("tcp");
            let text = match (p["PublicPort"].as_u64(), p["IP"].as_str()) {
                (Some(public), Some(ip)) if ip.contains(':') => {
                    format!("[{ip}]:{public}->{inside}/{kind}")
                }
                (Some(public), ip) if public > 0 => {
                    format!("{}:{public}->{inside}/{kind}", ip.unwrap_or("0.0.0.0"))
                }
                _ => format!("{inside}/{kind}"),
            };
            (inside, text)
        })
        .collect();
    ports.sort();
    ports
        .into_iter()
        .map(|(_, text)| text)
        .collect::<Vec<_>>()
        .join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_dockers() {
        let c = json!({"Id": "4eff45f6a09735b099e51cf0aa466ecf0ac77ed3446cdd6847a019517aee6e70",
            "Names": ["/e3", "/x/e3"], "Image": "busybox", "ImageID": "sha256:d2",
            "Command": "sh -c 'echo hi; exit 3'", "Created": 1_795_488_392, "State": "exited",
            "Status": "Exited (3) 1 second ago", "Labels": {"c": "d", "a": "b"}, "Ports": [
            {"IP": "0.0.0.0", "PrivatePort": 80, "PublicPort": 8080, "Type": "tcp"}],
            "NetworkSettings": {"Networks": {"none": {}}}, "Mounts": []});
        let r = row(&c, false);
        assert_eq!(r["ID"], "4eff45f6a097");
        assert_eq!(r["Command"], "\"sh -c 'echo hi; exi…\"");
        assert_eq!(r["Names"], "e3");
        assert_eq!(r["Labels"], "a=b,c=d");
        assert_eq!(r["Networks"], "none");
        assert_eq!(r["Ports"], "0.0.0.0:8080->80/tcp");
        assert_eq!(r["Size"], "0B");
        assert_eq!(row(&c, true)["Command"], "\"sh -c 'echo hi; exit 3'\"");
    }
}
