//! Sinks of logs in tables: `ps --logs`, `spool ls`.

use serde_json::Value;

use super::table::{align, ellipsis, short_id};
use super::units::human_duration;

/// Headings of [`rows`].
pub(super) const HEADINGS: &str =
    "SINK\tADDRESS\tSTATE\tDELIVERED\tPENDING\tOLDEST\tDROPPED\tLAST ERROR";

/// A row for each sink of a list as `inspect` has it.
pub(super) fn rows(sinks: &Value) -> Vec<String> {
    let sinks = sinks.as_array().into_iter().flatten();
    sinks
        .map(|sink| {
            let text = |key: &str| sink[key].as_str().unwrap_or("").to_owned();
            let number = |key: &str| match sink[key].as_u64() {
                Some(n) => n.to_string(),
                None => "?".to_owned(),
            };
            let oldest = match sink["OldestPendingSeconds"].as_f64() {
                Some(seconds) => human_duration(seconds as i64),
                None => "-".to_owned(),
            };
            // An error that is over is history.
            let state = text("State");
            let error = match state.as_str() {
                "connected" | "idle" => "",
                _ => sink["LastError"]["Text"].as_str().unwrap_or(""),
            };
            format!(
                "{}\t{}\t{state}\t{}\t{}\t{oldest}\t{}\t{}",
                text("Name"),
                text("Address"),
                number("DeliveredRecords"),
                number("PendingRecords"),
                number("DroppedRecords"),
                ellipsis(&error.replace(['\n', '\t'], " "), 80),
            )
        })
        .collect()
}

/// `ps --logs`: the containers of a list with their drivers and sinks.
pub(super) fn table(list: &Value) -> String {
    let mut text = format!("CONTAINER ID\tNAME\tDRIVERS\t{HEADINGS}\n");
    for c in list.as_array().into_iter().flatten() {
        let name = c["Names"][0].as_str().unwrap_or("");
        let head = format!(
            "{}\t{}\t{}",
            short_id(c["Id"].as_str().unwrap_or("")),
            name.trim_start_matches('/'),
            c["LogDriver"].as_str().unwrap_or(""),
        );
        let rows = rows(&c["LogSinks"]);
        if rows.is_empty() {
            text.push_str(&format!("{head}\t-\t\t\t\t\t\t\t\n"));
        }
        for row in rows {
            text.push_str(&format!("{head}\t{row}\n"));
        }
    }
    align(&text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_row_a_sink() {
        let list = json!([{"Id": "0123456789abcdef", "Names": ["/web"], "LogDriver": "local,syslog", "LogSinks": [
            {"Name": "syslog", "Address": "tcp://h:1", "State": "retrying", "DeliveredRecords": 3, "PendingRecords": null,
             "OldestPendingSeconds": 61.0, "DroppedRecords": 1, "LastError": {"Text": "cannot\nconnect"}}]},
            {"Id": "1123456789abcdef", "Names": ["/x"], "LogDriver": "json-file"}]);
        let text = table(&list);
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines.len(), 3);
        let cells: Vec<_> = lines[1]
            .split("  ")
            .map(str::trim)
            .filter(|c| !c.is_empty())
            .collect();
        assert_eq!(
            cells,
            [
                "0123456789ab",
                "web",
                "local,syslog",
                "syslog",
                "tcp://h:1",
                "retrying",
                "3",
                "?",
                "About a minute",
                "1",
                "cannot connect"
            ]
        );
        assert!(lines[2].starts_with("1123456789ab"));
    }
}
