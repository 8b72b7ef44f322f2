//! `logs`: of one container as the daemon sends it, of several merged by time; `logs --du`.

mod explain;
mod merge;
mod one;
mod prefix;
mod records;
mod sink;
mod source;
mod usage;

use clap::Args;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use taffrail_config::ExtraStreams;

use crate::client::{Client, Query, segment};

use super::error::CliError;
use super::flags::FlagError;
use super::times;
use source::Source;

#[derive(Args, Debug)]
pub(crate) struct LogsArgs {
    /// Show only records behind this one, as "Cursor" of --json or --show-cursor name it
    #[arg(long, value_name = "CURSOR")]
    cursor: Option<String>,
    /// Show extra details provided to logs
    #[arg(long)]
    details: bool,
    /// Show how many bytes of the disk the logs take, of all containers if none is named
    #[arg(long)]
    du: bool,
    /// Tell why the log is empty, late, or does not arrive
    #[arg(long)]
    explain: bool,
    /// Follow log output; "restarts" goes on with the next run when the container stops
    #[arg(short, long, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value = "false", hide_default_value = true, value_name = "BOOL|restarts", value_parser = follow)]
    follow: Follow,
    /// Show only records that match a regular expression
    #[arg(long, value_name = "REGEX")]
    grep: Option<String>,
    /// Show each record as a JSON object
    #[arg(long)]
    json: bool,
    /// No colours; the environment's NO_COLOR says the same
    #[arg(long)]
    no_color: bool,
    /// Do not put the container's name before each line when there are several
    #[arg(long)]
    no_log_prefix: bool,
    /// Show only this run of the container: 3 is the third, -1 the one before the newest
    #[arg(long, value_name = "N")]
    run: Option<String>,
    /// Say on standard error, at the end, where a later --cursor goes on
    #[arg(long)]
    show_cursor: bool,
    /// Show logs since timestamp (e.g. "2013-01-02T13:23:37Z") or relative (e.g. "42m")
    #[arg(long)]
    since: Option<String>,
    /// Show only these streams: "stdout", "stderr", and what the daemon keeps beside them: "exec",
    /// "health", "events"
    #[arg(long, value_name = "STREAM[,STREAM]", value_parser = streams)]
    stream: Option<Streams>,
    /// Number of lines to show from the end of the logs
    #[arg(short = 'n', long, default_value = "all")]
    tail: String,
    /// Show timestamps
    #[arg(short, long)]
    timestamps: bool,
    /// Show logs before a timestamp (e.g. "2013-01-02T13:23:37Z") or relative (e.g. "42m")
    #[arg(long)]
    until: Option<String>,
    #[arg(value_name = "CONTAINER", required_unless_present = "du")]
    containers: Vec<String>,
}

/// How far `logs` follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Follow {
    No,
    ToTheEnd,
    OverRestarts,
}

/// A value of `--follow`.
fn follow(text: &str) -> Result<Follow, String> {
    match super::mounts::go_bool(text) {
        Some(true) => Ok(Follow::ToTheEnd),
        Some(false) => Ok(Follow::No),
        None if text == "restarts" => Ok(Follow::OverRestarts),
        None => Err("it is true, false or restarts".to_owned()),
    }
}

/// Which streams are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Streams {
    stdout: bool,
    stderr: bool,
    extra: ExtraStreams,
}

impl Streams {
    const OF_A_LOG: Self = Self {
        stdout: true,
        stderr: true,
        extra: ExtraStreams::NONE,
    };
}

/// A value of `--stream`.
fn streams(text: &str) -> Result<Streams, String> {
    let of_log = |name: &str| matches!(name, "stdout" | "stderr");
    let names: Vec<&str> = text.split(',').collect();
    let others: Vec<&str> = names.iter().copied().filter(|n| !of_log(n)).collect();
    if names.iter().any(|name| name.is_empty()) {
        return Err("name stdout, stderr, exec, health or events".to_owned());
    }
    let extra = ExtraStreams::parse(&others.join(","))
        .map_err(|_| "streams are stdout, stderr, exec, health and events".to_owned())?;
    Ok(Streams {
        stdout: names.contains(&"stdout"),
        stderr: names.contains(&"stderr"),
        extra,
    })
}

impl LogsArgs {
    /// The query, but for what depends on how the answer is used: `follow`, `cursor`, `tail`, `timestamps`.
    fn query(&self) -> Result<Query, CliError> {
        let mut query = Query::new();
        query.flag("details", self.details);
        query.option("grep", self.grep.as_deref());
        query.option("run", self.run.as_deref());
        query.option("since", moment("since", self.since.as_deref())?.as_deref());
        let streams = self.stream.unwrap_or(Streams::OF_A_LOG);
        query
            .flag("stderr", streams.stderr)
            .flag("stdout", streams.stdout);
        if !streams.extra.is_empty() {
            query.push("streams", &streams.extra.to_string());
        }
        query.option("until", moment("until", self.until.as_deref())?.as_deref());
        Ok(query)
    }
}

/// Shows containers' logs.
///
/// # Errors
/// Bad times; the daemon's refusal; an error that it reports within the stream.
pub(crate) async fn logs(client: &Client, args: LogsArgs) -> Result<u8, CliError> {
    if args.du {
        return usage::show(client, &args.containers).await;
    }
    if args.explain {
        return explain::show(client, &args.containers, args.json).await;
    }
    let follow = args.follow;
    if args.containers.len() > 1 && args.cursor.is_some() {
        return Err(CliError::Conflict(
            "--cursor belongs to one container, and several are named",
        ));
    }
    if args.stream.is_some_and(|streams| !streams.extra.is_empty()) {
        if args.cursor.is_some() || args.show_cursor {
            return Err(CliError::Conflict(
                "exec, health and events have no cursors: use --since",
            ));
        }
        if args.containers.len() > 1 && follow != Follow::No {
            return Err(CliError::Conflict(
                "exec, health and events of several containers cannot be followed: name one",
            ));
        }
    }
    let mut sources = Vec::new();
    for name in &args.containers {
        sources.push(Source::find(client, name).await?);
    }
    match &sources[..] {
        [one] if args.json => one::records(client, one, &args, follow).await,
        [one] => one::show(client, one, &args, follow).await,
        _ => merge::show(client, sources, &args, follow).await,
    }
}

fn moment(name: &'static str, text: Option<&str>) -> Result<Option<String>, FlagError> {
    text.filter(|t| !t.is_empty())
        .map(|t| {
            times::since(t, Timestamp::now(), &TimeZone::system())
                .map_err(|e| FlagError::Time(name, e))
        })
        .transpose()
}

/// Path of a container's log with its query.
fn path(id: &str, query: &Query) -> String {
    format!("/containers/{}/logs{}", segment(id), query.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_stream() {
        let only = |text: &str| {
            let found = streams(text).unwrap();
            (found.stdout, found.stderr, found.extra.to_string())
        };
        assert_eq!(only("stdout"), (true, false, String::new()));
        assert_eq!(
            only("events,exec"),
            (false, false, "exec,events".to_owned())
        );
        assert_eq!(only("stderr,health"), (false, true, "health".to_owned()));
        for bad in ["", "stdin", "exec,", "stdout,logs"] {
            assert!(streams(bad).is_err(), "{bad}");
        }
    }
}
