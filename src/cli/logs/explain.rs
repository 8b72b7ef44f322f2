//! `logs --explain`: why a log is empty, late, or does not arrive.

use serde_json::Value;

use super::source::Source;
use crate::cli::error::CliError;
use crate::cli::out::{self, To};
use crate::cli::units::human_size;
use crate::client::{Client, segment};

/// Explains the logs of containers, one after the other.
///
/// # Errors
/// The daemon does not answer, or has no container of a name.
pub(super) async fn show(client: &Client, names: &[String], json: bool) -> Result<u8, CliError> {
    for (n, name) in names.iter().enumerate() {
        let id = Source::find(client, name).await?.id;
        let path = format!("/containers/{}/logs/explain", segment(&id));
        let told = client.get(&path).await?;
        if json {
            out::line(To::Out, &told.to_string());
            continue;
        }
        if n > 0 {
            out::line(To::Out, "");
        }
        out::write(To::Out, text(&told).as_bytes());
    }
    Ok(0)
}

fn word(value: &Value) -> &str {
    value.as_str().unwrap_or("")
}

fn size(value: &Value) -> String {
    human_size(value.as_i64().unwrap_or(0))
}

/// The answer as people read it.
fn text(told: &Value) -> String {
    let mut text = String::new();
    let mut line = |head: &str, rest: String| text.push_str(&format!("{head:<11} {rest}\n"));
    let state = &told["State"];
    let status = word(&state["Status"]);
    line(
        "container:",
        match status {
            "running" | "paused" => format!(
                "{}, {status} since {}, run {}, process {}",
                word(&told["Name"]),
                word(&state["StartedAt"]),
                told["Run"],
                state["Pid"]
            ),
            "created" => format!("{}, {status}", word(&told["Name"])),
            _ => format!(
                "{}, {status} with {} at {}",
                word(&told["Name"]),
                state["ExitCode"],
                word(&state["FinishedAt"])
            ),
        },
    );
    let config = &told["LogConfig"];
    let options = config["Config"].as_object().into_iter().flatten();
    let options: Vec<String> = options
        .map(|(name, value)| format!(" {name}={}", word(value)))
        .collect();
    line(
        "driver:",
        format!("{}{}", word(&config["Type"]), options.concat()),
    );
    for (head, key) in [("stdout:", "Stdout"), ("stderr:", "Stderr")] {
        let (to, read) = (&told[key], &told["Capture"][format!("{key}Bytes")]);
        if to.is_null() {
            continue;
        }
        let mut rest = match word(&to["Kind"]) {
            "captured" => "captured".to_owned(),
            kind if word(&to["Target"]).is_empty() => kind.to_owned(),
            kind => format!("{kind} {}", word(&to["Target"])),
        };
        if read.is_u64() {
            rest.push_str(&format!(", {read} bytes read in this run"));
        }
        line(head, rest);
    }
    let log = &told["Log"];
    if log.is_object() {
        let records = match log["Records"].as_u64() {
            Some(n) => format!("{n} records so far, "),
            None => String::new(),
        };
        let mut rest = format!(
            "{} ({}, {} on disk), {records}{} lost",
            word(&log["Path"]),
            word(&log["Format"]),
            size(&log["Bytes"]),
            log["LostRecords"]
        );
        if let (Some(first), Some(last)) = (log["First"].as_str(), log["Last"].as_str()) {
            rest.push_str(&format!(", from {first} to {last}"));
        }
        line("log:", rest);
    }
    for sink in told["LogSinks"].as_array().into_iter().flatten() {
        line("sink:", word(&sink["Text"]).to_owned());
        let error = &sink["LastError"];
        let over = matches!(word(&sink["State"]), "connected" | "idle");
        if error.is_object() && over {
            let said = format!(
                "last error at {}, which is over: {}",
                word(&error["Time"]),
                word(&error["Text"])
            );
            line("", said);
        }
    }
    let found = told["Findings"].as_array().map_or(&[][..], Vec::as_slice);
    if found.is_empty() {
        line("findings:", "none, all is well".to_owned());
    } else {
        text.push_str("findings:\n");
    }
    for one in found {
        text.push_str(&format!(
            "  {}: {}\n",
            word(&one["Code"]),
            word(&one["Text"])
        ));
        let remedy = word(&one["Remedy"]);
        if !remedy.is_empty() {
            text.push_str(&format!("      -> {remedy}\n"));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn for_people() {
        let mut told = json!({
            "Name": "web", "Run": 2,
            "State": {"Status": "running", "StartedAt": "T", "Pid": 7},
            "LogConfig": {"Type": "local", "Config": {"max-size": "1m"}},
            "Stdout": {"Kind": "file", "Target": "/tmp/o"}, "Stderr": {"Kind": "captured", "Target": "/x"},
            "Capture": {"StdoutBytes": 0, "StderrBytes": 9},
            "Log": {"Format": "local", "Path": "/p", "Bytes": 1000, "Records": 3, "LostRecords": 0, "First": "A", "Last": "B"},
            "LogSinks": [{"Text": "syslog tcp://h:1: connected", "State": "connected", "LastError": null}],
            "Findings": [{"Code": "stdout-is-file", "Text": "it is", "Remedy": "link it"}],
        });
        assert_eq!(
            text(&told),
            "container:  web, running since T, run 2, process 7\n\
             driver:     local max-size=1m\n\
             stdout:     file /tmp/o, 0 bytes read in this run\n\
             stderr:     captured, 9 bytes read in this run\n\
             log:        /p (local, 1kB on disk), 3 records so far, 0 lost, from A to B\n\
             sink:       syslog tcp://h:1: connected\n\
             findings:\n\
             \x20 stdout-is-file: it is\n\
             \x20     -> link it\n"
        );
        told["Findings"] = json!([]);
        assert!(text(&told).ends_with("findings:   none, all is well\n"));
    }
}
