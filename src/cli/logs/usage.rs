//! `logs --du`: bytes of the disk that logs take.

use serde_json::Value;

use crate::client::Client;

use super::source::Source;
use crate::cli::error::CliError;
use crate::cli::out::{self, To};
use crate::cli::table::{align, short_id};
use crate::cli::units::human_size;

/// Shows a row for each container, the largest first, and the sum.
///
/// # Errors
/// The daemon does not answer, or has no container of a name.
pub(super) async fn show(client: &Client, names: &[String]) -> Result<u8, CliError> {
    let mut wanted = Vec::new();
    for name in names {
        wanted.push(Source::find(client, name).await?.id);
    }
    let answer = client.get("/system/df?type=log").await?;
    let mut rows: Vec<&Value> = answer["Logs"]["Containers"]
        .as_array()
        .into_iter()
        .flatten()
        .filter(|row| wanted.is_empty() || wanted.iter().any(|id| row["Id"] == id.as_str()))
        .collect();
    rows.sort_by_key(|row| std::cmp::Reverse(total(row)));
    let mut text = "CONTAINER ID\tNAME\tTOTAL\tPLAIN\tCOMPRESSED\tINDEX\tSPOOL\n".to_owned();
    let mut sums = [0; 5];
    for row in &rows {
        let id = short_id(row["Id"].as_str().unwrap_or(""));
        let name = row["Name"].as_str().unwrap_or("");
        let cells = [
            total(row),
            bytes(row, "Plain"),
            bytes(row, "Compressed"),
            bytes(row, "Index"),
            bytes(row, "Spool"),
        ];
        for (sum, cell) in sums.iter_mut().zip(cells) {
            *sum += cell;
        }
        text.push_str(&format!("{id}\t{name}\t{}\n", sizes(&cells)));
    }
    if rows.len() > 1 {
        text.push_str(&format!("all\t\t{}\n", sizes(&sums)));
    }
    out::write(To::Out, align(&text).as_bytes());
    Ok(0)
}

fn bytes(row: &Value, key: &str) -> i64 {
    row[key].as_i64().unwrap_or(0)
}

fn total(row: &Value) -> i64 {
    ["Plain", "Compressed", "Index", "Spool"]
        .iter()
        .map(|key| bytes(row, key))
        .sum()
}

fn sizes(cells: &[i64]) -> String {
    let cells: Vec<String> = cells.iter().map(|bytes| human_size(*bytes)).collect();
    cells.join("\t")
}
