//! `top`.

use clap::Args;
use serde_json::Value;

use crate::client::{Client, Query, segment};

use super::error::CliError;
use super::out::{self, To};
use super::table;

/// Docker's columns of `top` are wider than others.
const NARROWEST: usize = 20;

#[derive(Args, Debug)]
pub(crate) struct TopArgs {
    /// The container and options of ps; from the container on, nothing is a flag of ours.
    #[arg(
        required = true,
        trailing_var_arg = true,
        value_name = "CONTAINER [ps OPTIONS]"
    )]
    rest: Vec<String>,
}

/// Shows the processes of a container.
///
/// # Errors
/// The daemon's, and those of the host's `ps`.
pub(crate) async fn top(client: &Client, args: TopArgs) -> Result<u8, CliError> {
    let (container, options) = args
        .rest
        .split_first()
        .map_or(("", &[][..]), |(c, o)| (c.as_str(), o));
    let mut query = Query::new();
    if !options.is_empty() {
        query.push("ps_args", &options.join(" "));
    }
    let path = format!("/containers/{}/top{}", segment(container), query.as_str());
    let top = client.get(&path).await?;
    let line = |row: &Value| {
        let cells: Vec<&str> = row
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .collect();
        cells.join("\t")
    };
    let mut text = line(&top["Titles"]);
    text.push('\n');
    for row in top["Processes"].as_array().into_iter().flatten() {
        text.push_str(&line(row));
        text.push('\n');
    }
    let text = table::align_at_least(&text, NARROWEST);
    out::write(To::Out, text.as_bytes());
    Ok(0)
}
