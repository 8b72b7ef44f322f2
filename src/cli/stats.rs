//! `stats`: a table of what containers use, drawn anew twice a second.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use clap::Args;
use http_body_util::BodyExt;
use hyper::Method;
use serde_json::{Map, Value, json};

use crate::client::{Body, Client, ClientError, segment};

use super::error::CliError;
use super::format::Layout;
use super::import::Objects;
use super::out::{self, To};
use super::table::short_id;
use super::units::{binary_size, human_size};

const TABLE: &str = "{{.ID}}\t{{.Name}}\t{{.CPUPerc}}\t{{.MemUsage}}\t{{.MemPerc}}\t{{.NetIO}}\t{{.BlockIO}}\t{{.PIDs}}";
const HEADINGS: &[(&str, &str)] = &[
    ("Container", "CONTAINER"),
    ("ID", "CONTAINER ID"),
    ("Name", "NAME"),
    ("CPUPerc", "CPU %"),
    ("MemUsage", "MEM USAGE / LIMIT"),
    ("MemPerc", "MEM %"),
    ("NetIO", "NET I/O"),
    ("BlockIO", "BLOCK I/O"),
    ("PIDs", "PIDS"),
];
/// Between two drawings.
const DRAW: Duration = Duration::from_millis(500);
/// Drawings between two looks at the list of containers.
const LIST_EVERY: u32 = 2;
/// A container whose numbers are older than this has none.
const STALE: Duration = Duration::from_secs(3);
const CLEAR: &[u8] = b"\x1b[H\x1b[2J";

#[derive(Args, Debug)]
pub(crate) struct StatsArgs {
    /// Show all containers (default shows just running)
    #[arg(short, long)]
    all: bool,
    /// Format output: 'table', 'table TEMPLATE', 'json' or 'TEMPLATE'
    #[arg(long)]
    format: Option<String>,
    /// Disable streaming stats and only pull the first result
    #[arg(long)]
    no_stream: bool,
    /// Do not truncate output
    #[arg(long)]
    no_trunc: bool,
    #[arg(value_name = "CONTAINER")]
    containers: Vec<String>,
}

/// What is known of one container.
#[derive(Clone, Debug, Default)]
struct Entry {
    sample: Option<Value>,
    at: Option<std::time::Instant>,
}

type Entries = Arc<Mutex<HashMap<String, Entry>>>;

/// Shows what containers use.
///
/// # Errors
/// A container that there is not, a template, the daemon's.
pub(crate) async fn stats(client: &Client, args: StatsArgs) -> Result<u8, CliError> {
    let layout = Layout::choose(args.format.as_deref(), TABLE)?;
    let of_all = args.containers.is_empty();
    let mut names = match of_all {
        true => listed(client, args.all).await?,
        false => args.containers.clone(),
    };
    names.dedup();
    if args.no_stream {
        let mut tasks = tokio::task::JoinSet::new();
        for (n, name) in names.iter().enumerate() {
            let (client, name) = (client.clone(), name.clone());
            tasks.spawn(async move {
                let path = format!("/containers/{}/stats?stream=0", segment(&name));
                (n, name, client.get(&path).await)
            });
        }
        let mut found: Vec<_> = tasks.join_all().await;
        found.sort_by_key(|(n, ..)| *n);
        let mut rows = Vec::new();
        for (_, name, sample) in found {
            match sample {
                Ok(sample) => rows.push(row(&name, Some(&sample), !args.no_trunc)),
                // It went between the list and the question.
                Err(ClientError::Daemon { status: 404, .. }) if of_all => {}
                Err(error) => return Err(error.into()),
            }
        }
        out::write(To::Out, layout.render(&rows, HEADINGS)?.as_bytes());
        return Ok(0);
    }
    let entries: Entries = Arc::default();
    let mut followed: HashMap<String, tokio::task::JoinHandle<()>> = HashMap::new();
    if !of_all {
        // Before anything is drawn: who is not there is said.
        for name in &names {
            client
                .get(&format!("/containers/{}/json", segment(name)))
                .await?;
        }
    }
    let mut drawn: u32 = 0;
    loop {
        for name in &names {
            followed.entry(name.clone()).or_insert_with(|| {
                tokio::spawn(follow(client.clone(), name.clone(), Arc::clone(&entries)))
            });
        }
        followed.retain(|name, task| {
            let wanted = names.contains(name);
            if !wanted {
                task.abort();
            }
            wanted
        });
        tokio::time::sleep(DRAW).await;
        let rows: Vec<Map<String, Value>> = {
            let entries = entries.lock().unwrap_or_else(PoisonError::into_inner);
            names
                .iter()
                .map(|name| {
                    let entry = entries.get(name);
                    let fresh = entry.filter(|e| e.at.is_some_and(|at| at.elapsed() < STALE));
                    row(name, fresh.and_then(|e| e.sample.as_ref()), !args.no_trunc)
                })
                .collect()
        };
        let text = layout.render(&rows, HEADINGS)?;
        out::write(To::Out, CLEAR);
        out::write(To::Out, text.as_bytes());
        drawn += 1;
        if of_all && drawn.is_multiple_of(LIST_EVERY) {
            names = listed(client, args.all).await?;
        }
        if !of_all && followed.values().all(tokio::task::JoinHandle::is_finished) {
            return Ok(0);
        }
    }
}

async fn listed(client: &Client, all: bool) -> Result<Vec<String>, CliError> {
    let path = if all {
        "/containers/json?all=1"
    } else {
        "/containers/json"
    };
    let list = client.get(path).await?;
    Ok(list
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|item| item["Id"].as_str())
        .map(|id| short_id(id).to_owned())
        .collect())
}

/// Keeps the last sample of one container until its stream ends.
async fn follow(client: Client, name: String, entries: Entries) {
    let path = format!("/containers/{}/stats?stream=1", segment(&name));
    let Ok(answer) = client.send(Method::GET, &path, Body::Empty).await else {
        return;
    };
    let mut body = answer.into_body();
    let mut objects = Objects::default();
    while let Some(Ok(frame)) = body.frame().await {
        let Ok(data) = frame.into_data() else {
            continue;
        };
        let Ok(found) = objects.feed(&data) else {
            return;
        };
        if let Some(sample) = found.into_iter().next_back() {
            let entry = Entry {
                sample: Some(sample),
                at: Some(std::time::Instant::now()),
            };
            entries
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .insert(name.clone(), entry);
        }
    }
}

/// A sample as the table has it, by Docker's formulas (source: docker CLI, `stats_helpers`).
fn row(container: &str, sample: Option<&Value>, truncate: bool) -> Map<String, Value> {
    let text = |value: &Value| value.as_str().unwrap_or("").to_owned();
    let mut cells = match sample {
        None => json!({
            "CPUPerc": "--", "MemUsage": "-- / --", "MemPerc": "--", "NetIO": "--",
            "BlockIO": "--", "PIDs": "--", "ID": container, "Name": "--",
        }),
        Some(sample) => {
            let memory = &sample["memory_stats"];
            let (used, limit) = (memory_used(memory), number(&memory["limit"]));
            let percent = if limit > 0.0 {
                used / limit * 100.0
            } else {
                0.0
            };
            let id = text(&sample["id"]);
            json!({
                "CPUPerc": format!("{:.2}%", cpu_percent(sample)),
                "MemUsage": format!("{} / {}", binary_size(used as i64), binary_size(limit as i64)),
                "MemPerc": format!("{percent:.2}%"),
                "NetIO": both(network(&sample["networks"])),
                "BlockIO": both(block(&sample["blkio_stats"]["io_service_bytes_recursive"])),
                "PIDs": format!("{}", number(&sample["pids_stats"]["current"])),
                "ID": if truncate { short_id(&id).to_owned() } else { id },
                "Name": match text(&sample["name"]).strip_prefix('/') {
                    Some(name) if !name.is_empty() => name.to_owned(),
                    _ => "--".to_owned(),
                },
            })
        }
    };
    cells["Container"] = container.into();
    match cells {
        Value::Object(cells) => cells,
        _ => Map::new(),
    }
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or(0.0)
}

fn both((read, written): (f64, f64)) -> String {
    format!(
        "{} / {}",
        human_size(read as i64),
        human_size(written as i64)
    )
}

fn cpu_percent(sample: &Value) -> f64 {
    let (now, before) = (&sample["cpu_stats"], &sample["precpu_stats"]);
    let delta = |path: fn(&Value) -> &Value| number(path(now)) - number(path(before));
    let own = delta(|cpu| &cpu["cpu_usage"]["total_usage"]);
    let system = delta(|cpu| &cpu["system_cpu_usage"]);
    let cpus = match number(&now["online_cpus"]) {
        0.0 => now["cpu_usage"]["percpu_usage"]
            .as_array()
            .map_or(0.0, |list| list.len() as f64),
        cpus => cpus,
    };
    if own > 0.0 && system > 0.0 {
        own / system * cpus * 100.0
    } else {
        0.0
    }
}

fn memory_used(memory: &Value) -> f64 {
    let usage = number(&memory["usage"]);
    for key in ["total_inactive_file", "inactive_file"] {
        if let Some(cache) = memory["stats"][key].as_f64().filter(|cache| *cache < usage) {
            return usage - cache;
        }
    }
    usage
}

fn network(networks: &Value) -> (f64, f64) {
    let all = networks.as_object().into_iter().flatten();
    all.fold((0.0, 0.0), |(rx, tx), (_, one)| {
        (rx + number(&one["rx_bytes"]), tx + number(&one["tx_bytes"]))
    })
}

fn block(entries: &Value) -> (f64, f64) {
    let all = entries.as_array().into_iter().flatten();
    all.fold((0.0, 0.0), |(read, written), entry| {
        let value = number(&entry["value"]);
        match entry["op"].as_str().unwrap_or("").chars().next() {
            Some('r' | 'R') => (read + value, written),
            Some('w' | 'W') => (read, written + value),
            _ => (read, written),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_by_dockers_formulas() {
        let sample = json!({
            "name": "/web", "id": "0123456789abcdef",
            "cpu_stats": {"cpu_usage": {"total_usage": 300}, "system_cpu_usage": 2000, "online_cpus": 2},
            "precpu_stats": {"cpu_usage": {"total_usage": 100}, "system_cpu_usage": 1000},
            "memory_stats": {"usage": 3 << 20, "limit": 4 << 20, "stats": {"total_inactive_file": 1 << 20}},
            "networks": {"eth0": {"rx_bytes": 1000, "tx_bytes": 2000}, "eth1": {"rx_bytes": 1, "tx_bytes": 2}},
            "blkio_stats": {"io_service_bytes_recursive": [
                {"op": "Read", "value": 5}, {"op": "write", "value": 7}, {"op": "Total", "value": 12}]},
            "pids_stats": {"current": 3},
        });
        let row = row("web", Some(&sample), true);
        assert_eq!(row["CPUPerc"], "40.00%");
        assert_eq!(row["MemUsage"], "2MiB / 4MiB");
        assert_eq!(row["MemPerc"], "50.00%");
        assert_eq!(row["NetIO"], "1kB / 2kB");
        assert_eq!(row["BlockIO"], "5B / 7B");
        assert_eq!(row["PIDs"], "3");
        assert_eq!(row["ID"], "0123456789ab");
        assert_eq!(super::row("x", None, true)["MemUsage"], "-- / --");
    }
}
