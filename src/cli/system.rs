//! `system df`: bytes of the disk, with rows of ours for logs and their spool.

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use crate::client::Client;

use super::error::CliError;
use super::flags::FlagError;
use super::format::Template;
use super::out::{self, To};
use super::system_prune;
use super::table::align;
use super::units::human_size;

#[derive(Args, Debug)]
pub(crate) struct SystemArgs {
    #[command(subcommand)]
    command: SystemCommand,
}

#[derive(Debug, Subcommand)]
enum SystemCommand {
    /// Show disk usage
    Df(DfArgs),
    /// Remove unused data
    Prune(system_prune::SystemPruneArgs),
}

#[derive(Args, Debug)]
struct DfArgs {
    /// Format output: 'json' or 'TEMPLATE', for each row
    #[arg(long)]
    format: Option<String>,
    /// Show detailed information on space usage
    #[arg(short, long, hide = true)]
    verbose: bool,
}

/// Runs a command of `system`.
///
/// # Errors
/// The daemon does not answer; the template.
pub(crate) async fn system(client: &Client, args: SystemArgs) -> Result<u8, CliError> {
    match args.command {
        SystemCommand::Df(args) => df(client, args).await,
        SystemCommand::Prune(args) => system_prune::prune(client, args).await,
    }
}

/// A line of the table.
struct Row {
    kind: &'static str,
    total: usize,
    active: usize,
    size: i64,
    /// Bytes that could go, if that means anything.
    reclaimable: Option<i64>,
}

async fn df(client: &Client, args: DfArgs) -> Result<u8, CliError> {
    if args.verbose {
        return Err(CliError::Flag(FlagError::NotBuilt {
            flag: "--verbose",
            hint: "use --format json",
        }));
    }
    let template = match args.format.as_deref() {
        None | Some("" | "table" | "json") => None,
        Some(text) => Some(Template::parse(text)?),
    };
    let found = client.get("/system/df").await?;
    let rows = rows(&found);
    if args
        .format
        .as_deref()
        .is_none_or(|f| f.is_empty() || f == "table")
    {
        let mut text = "TYPE\tTOTAL\tACTIVE\tSIZE\tRECLAIMABLE\n".to_owned();
        for row in &rows {
            text.push_str(&format!(
                "{}\t{}\t{}\t{}\t{}\n",
                row.kind,
                row.total,
                row.active,
                human_size(row.size),
                row.reclaimable()
            ));
        }
        out::write(To::Out, align(&text).as_bytes());
        return Ok(0);
    }
    for row in &rows {
        let fields = json!({
            "Type": row.kind,
            "TotalCount": row.total.to_string(),
            "Active": row.active.to_string(),
            "Size": human_size(row.size),
            "Reclaimable": row.reclaimable(),
        });
        match &template {
            Some(template) => out::line(To::Out, &template.render(&fields)?),
            None => out::line(To::Out, &fields.to_string()),
        }
    }
    Ok(0)
}

impl Row {
    fn reclaimable(&self) -> String {
        match self.reclaimable {
            None => String::new(),
            Some(bytes) if self.size > 0 => {
                format!("{} ({}%)", human_size(bytes), bytes * 100 / self.size)
            }
            Some(bytes) => human_size(bytes),
        }
    }
}

fn rows(found: &Value) -> Vec<Row> {
    let list = |key: &str| found[key].as_array().cloned().unwrap_or_default();
    let number = |value: &Value| value.as_i64().unwrap_or(0);
    let (images, containers) = (list("Images"), list("Containers"));
    let used = |image: &&Value| number(&image["Containers"]) > 0;
    let runs = |container: &&Value| {
        ["running", "paused", "restarting"]
            .iter()
            .any(|state| container["State"] == *state)
    };
    let unused: i64 = images
        .iter()
        .filter(|image| !used(image))
        .map(|image| number(&image["Size"]) - number(&image["SharedSize"]).max(0))
        .sum();
    let volumes = list("Volumes");
    let in_use = |volume: &&Value| number(&volume["UsageData"]["RefCount"]) > 0;
    let bytes = |volume: &Value| number(&volume["UsageData"]["Size"]);
    let mut rows = vec![
        Row {
            kind: "Images",
            total: images.len(),
            active: images.iter().filter(used).count(),
            size: number(&found["LayersSize"]),
            reclaimable: Some(unused),
        },
        Row {
            kind: "Containers",
            total: containers.len(),
            active: containers.iter().filter(runs).count(),
            size: containers.iter().map(|c| number(&c["SizeRw"])).sum(),
            reclaimable: Some(
                containers
                    .iter()
                    .filter(|c| !runs(c))
                    .map(|c| number(&c["SizeRw"]))
                    .sum(),
            ),
        },
        Row {
            kind: "Local Volumes",
            total: volumes.len(),
            active: volumes.iter().filter(in_use).count(),
            size: volumes.iter().map(bytes).sum(),
            reclaimable: Some(volumes.iter().filter(|v| !in_use(v)).map(bytes).sum()),
        },
        Row {
            kind: "Build Cache",
            total: list("BuildCache").len(),
            active: 0,
            size: 0,
            reclaimable: Some(0),
        },
    ];
    let logs = &found["Logs"];
    if let Some(of) = logs["Containers"].as_array() {
        let kept = |log: &Value| {
            number(&log["Plain"]) + number(&log["Compressed"]) + number(&log["Index"])
        };
        let stopped = of.iter().filter(|log| log["Running"] != true);
        rows.push(Row {
            kind: "Logs",
            total: of.iter().filter(|log| kept(log) > 0).count(),
            active: of.iter().filter(|log| log["Running"] == true).count(),
            size: kept(logs),
            reclaimable: Some(stopped.map(kept).sum()),
        });
        let spooled = of.iter().filter(|log| number(&log["Spool"]) > 0).count();
        rows.push(Row {
            kind: "Log Spool",
            total: spooled,
            active: spooled,
            size: number(&logs["Spool"]),
            reclaimable: None,
        });
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_of_an_answer() {
        let found = json!({
            "LayersSize": 100,
            "Images": [{"Containers": 1, "Size": 60, "SharedSize": 0}, {"Containers": 0, "Size": 40, "SharedSize": 10}],
            "Containers": [{"State": "running", "SizeRw": 5}, {"State": "exited", "SizeRw": 7}],
            "Volumes": [
                {"UsageData": {"RefCount": 1, "Size": 30}},
                {"UsageData": {"RefCount": 0, "Size": 10}},
            ],
            "BuildCache": [],
            "Logs": {
                "Plain": 30, "Compressed": 0, "Index": 3, "Spool": 8,
                "Containers": [
                    {"Plain": 20, "Compressed": 0, "Index": 2, "Spool": 8, "Running": true},
                    {"Plain": 10, "Compressed": 0, "Index": 1, "Spool": 0, "Running": false},
                ],
            },
        });
        let rows = rows(&found);
        let shown: Vec<(&str, usize, usize, i64, String)> = rows
            .iter()
            .map(|r| (r.kind, r.total, r.active, r.size, r.reclaimable()))
            .collect();
        assert_eq!(shown[0], ("Images", 2, 1, 100, "30B (30%)".to_owned()));
        assert_eq!(shown[1], ("Containers", 2, 1, 12, "7B (58%)".to_owned()));
        assert_eq!(
            shown[2],
            ("Local Volumes", 2, 1, 40, "10B (25%)".to_owned())
        );
        assert_eq!(shown[4], ("Logs", 2, 1, 33, "11B (33%)".to_owned()));
        assert_eq!(shown[5], ("Log Spool", 1, 1, 8, String::new()));
        // Docker's daemon has no logs to show.
        assert_eq!(super::rows(&json!({"Images": []})).len(), 4);
    }
}
