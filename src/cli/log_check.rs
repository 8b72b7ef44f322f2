//! `log-check`: whether logs are whole, what is damaged, and repair of what can be made again. By
//! the daemon, or without one on its data root.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use serde_json::{Value, json};

use crate::api::log_check::body;
use crate::client::{Body, Client, Host, segment};
use crate::container::table::ContainerTable;
use crate::container::{Container, Record, process_lives};
use crate::daemon::locks::{PidLock, lock_root};
use crate::errors::{ErrorKind, chain};

use super::error::CliError;
use super::out::{self, To};
use super::units::human_size;

/// Exit status: damage was found (and, with `--repair`, is left).
const DAMAGED: u8 = 1;
/// Exit status: a log could not be checked.
const FAILED: u8 = 2;

#[derive(Args, Debug)]
pub(crate) struct LogCheckArgs {
    /// Containers; without any, all that keep a log here
    #[arg(value_name = "CONTAINER")]
    containers: Vec<String>,
    /// Make damaged indexes and frame tables anew and cut off torn ends; the container must not run
    #[arg(long)]
    repair: bool,
    /// Check the files of a daemon that is stopped, below its data root
    #[arg(long, value_name = "DIR")]
    pub(crate) data_root: Option<PathBuf>,
    /// One JSON object a container
    #[arg(long)]
    json: bool,
}

/// Checks logs. 0: all are whole, 1: damage was found, 2: something could not be checked.
///
/// # Errors
/// The daemon does not answer.
pub(crate) async fn log_check(
    host: Result<Host, CliError>,
    args: LogCheckArgs,
) -> Result<u8, CliError> {
    if let Some(root) = &args.data_root {
        return Ok(offline(root, &args));
    }
    let client = Client::connect(host?).await?;
    let names = match args.containers.is_empty() {
        false => args.containers.clone(),
        true => names_of(&client.get("/containers/json?all=1").await?),
    };
    let mut status = 0;
    for name in names {
        let repair = if args.repair { "?repair=1" } else { "" };
        let path = format!("/containers/{}/logs/check{repair}", segment(&name));
        let found = client.post(&path, Body::Empty).await;
        status = status.max(match found {
            Ok(found) => show(&name, &found, args.json),
            Err(error) => {
                let unreadable = error.status() == Some(ErrorKind::NotImplemented.status());
                failed(&name, &error, unreadable && args.containers.is_empty())
            }
        });
    }
    Ok(status)
}

fn names_of(list: &Value) -> Vec<String> {
    list.as_array()
        .into_iter()
        .flatten()
        .filter_map(|c| c["Names"][0].as_str())
        .map(|name| name.trim_start_matches('/').to_owned())
        .collect()
}

/// `passed_over`: it keeps no log and was not asked for by name, which is no failure.
fn failed(name: &str, error: &dyn std::error::Error, passed_over: bool) -> u8 {
    if passed_over {
        return 0;
    }
    out::line(To::Err, &format!("{name}: {}", chain(error)));
    FAILED
}

fn offline(root: &Path, args: &LogCheckArgs) -> u8 {
    match containers_of(root) {
        Ok((_lock, containers)) => {
            let mut status = 0;
            let all = args.containers.is_empty();
            let chosen: Vec<_> = match all {
                true => containers.all().into_iter().map(Ok).collect(),
                false => args.containers.iter().map(|n| containers.find(n)).collect(),
            };
            for (n, container) in chosen.into_iter().enumerate() {
                status = status.max(match container {
                    Ok(container) => one_offline(&container, args, all),
                    Err(error) => failed(&args.containers[n], &error, false),
                });
            }
            status
        }
        Err(text) => {
            out::line(To::Err, &text);
            FAILED
        }
    }
}

/// Every container below a data root, which is locked against a daemon's start.
fn containers_of(root: &Path) -> Result<(PidLock, ContainerTable), String> {
    let dir = root.join("containers");
    let entries = std::fs::read_dir(&dir).map_err(|e| {
        format!(
            "--data-root {}: cannot list {}: {e}",
            root.display(),
            dir.display()
        )
    })?;
    let lock = lock_root("data root", root, 0o711)
        .map_err(|e| format!("{}; to check through it, leave --data-root out", chain(&e)))?;
    let table = ContainerTable::default();
    for entry in entries.flatten() {
        let id = entry.file_name().to_string_lossy().into_owned();
        match Record::load(&entry.path(), &id) {
            Ok(record) => {
                let name = record.name.clone();
                let container = Container::new(entry.path(), record);
                // Of two with one name the ids are left.
                let _ = table.reserve(&name, &id);
                table.insert(&container);
            }
            Err(error) => out::line(To::Err, &chain(&error)),
        }
    }
    Ok((lock, table))
}

fn one_offline(container: &Arc<Container>, args: &LogCheckArgs, all: bool) -> u8 {
    let name = container.name();
    if process_lives(&container.record().state) {
        let text = format!("{name}: it runs: start the daemon and check through it");
        out::line(To::Err, &text);
        return FAILED;
    }
    match container.check_stopped_log(args.repair) {
        Ok(checked) => show(&name, &body(&checked), args.json),
        Err(error) => failed(
            &name,
            &error,
            all && error.kind == ErrorKind::NotImplemented,
        ),
    }
}

/// Prints what was found, a line a place; says whether there is damage.
fn show(name: &str, found: &Value, as_json: bool) -> u8 {
    let places = found["Places"].as_array().map_or(&[][..], Vec::as_slice);
    let status = if places.is_empty() { 0 } else { DAMAGED };
    if as_json {
        let mut line = json!({"Container": name});
        if let (Some(line), Some(found)) = (line.as_object_mut(), found.as_object()) {
            line.extend(found.clone());
        }
        out::line(To::Out, &line.to_string());
        return status;
    }
    for repaired in found["Repaired"].as_array().into_iter().flatten() {
        let (what, file) = (text(&repaired["What"]), text(&repaired["File"]));
        out::line(To::Out, &format!("{name}: repaired: {file}: {what}"));
    }
    for place in places {
        out::line(To::Out, &format!("{name}: {}", place_line(place)));
    }
    let number = |key: &str| found[key].as_u64().unwrap_or(0);
    let damaged = places.len() as u64 + number("MorePlaces");
    let outcome = match damaged {
        0 => "whole".to_owned(),
        1 => "1 damaged place".to_owned(),
        n => format!("{n} damaged places"),
    };
    let size = human_size(i64::try_from(number("Bytes")).unwrap_or(i64::MAX));
    let summary = format!(
        "{name}: {outcome}; {} records, {size} in {} files",
        number("Records"),
        number("Files")
    );
    out::line(To::Out, &summary);
    status
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or("")
}

/// `FILE: block damaged at 8192, 4096 bytes, records 1.7 to 1.31 lost`.
fn place_line(place: &Value) -> String {
    let mut line = format!(
        "{}: {} at {}, {} bytes",
        text(&place["File"]),
        text(&place["What"]),
        place["Offset"],
        place["Length"]
    );
    match (place["First"].as_str(), place["Last"].as_str()) {
        (Some(first), Some(last)) if first == last => {
            line.push_str(&format!(", record {first} lost"));
        }
        (Some(first), Some(last)) => line.push_str(&format!(", records {first} to {last} lost")),
        _ => {}
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_places() {
        let place = json!({
            "File": "/f", "Offset": 8192, "Length": 4096, "What": "block damaged",
            "First": "1.7", "Last": "1.31",
        });
        assert_eq!(
            place_line(&place),
            "/f: block damaged at 8192, 4096 bytes, records 1.7 to 1.31 lost"
        );
        let place = json!({
            "File": "/f", "Offset": 0, "Length": 64, "What": "index missing or damaged",
            "First": null, "Last": null,
        });
        assert_eq!(
            place_line(&place),
            "/f: index missing or damaged at 0, 64 bytes"
        );
    }

    #[test]
    fn a_root_without_containers_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let error = containers_of(dir.path()).err().unwrap();
        assert!(error.starts_with("--data-root "), "{error}");
        assert!(!dir.path().join("lock").exists());
    }
}
