//! `log-test`: one record to each receiver of log settings, told step by step.

use clap::Args;
use serde_json::{Value, json};

use crate::client::{Body, Client};

use super::error::CliError;
use super::flags;
use super::out::{self, To};

/// Exit status: a sink did not take the record.
const FAILED: u8 = 1;

#[derive(Args, Debug)]
pub(crate) struct LogTestArgs {
    /// Log driver, or several with commas between; without it the container's, or the daemon's
    #[arg(long, value_name = "DRIVER")]
    log_driver: Option<String>,
    /// Log driver options, as at create
    #[arg(long, value_name = "KEY=VALUE")]
    log_opt: Vec<String>,
    /// What the record says
    #[arg(long)]
    message: Option<String>,
    /// The whole answer as JSON
    #[arg(long)]
    json: bool,
    /// With this container's settings, or as if it came from it
    #[arg(value_name = "CONTAINER")]
    container: Option<String>,
}

/// Tests; 0: every receiver has taken the record, 1: one has not.
///
/// # Errors
/// The daemon's, also for settings that are not valid.
pub(crate) async fn log_test(client: &Client, args: LogTestArgs) -> Result<u8, CliError> {
    let body = json!({
        "Type": args.log_driver,
        "Config": flags::pairs(&args.log_opt),
        "Message": args.message,
        "Container": args.container,
    });
    let told = client.post("/logs/test", Body::Json(body)).await?;
    if args.json {
        out::line(To::Out, &told.to_string());
    } else {
        out::write(To::Out, text(&told).as_bytes());
    }
    Ok(if told["Ok"] == true { 0 } else { FAILED })
}

fn word(value: &Value) -> &str {
    value.as_str().unwrap_or("")
}

/// The answer as people read it.
fn text(told: &Value) -> String {
    let mut text = String::new();
    for warning in told["Warnings"].as_array().into_iter().flatten() {
        text.push_str(&format!("warning: {}\n", word(warning)));
    }
    text.push_str(&format!(
        "{}: {}\n",
        word(&told["Type"]),
        word(&told["Local"])
    ));
    for sink in told["Sinks"].as_array().into_iter().flatten() {
        let address = word(&sink["Address"]);
        let space = if address.is_empty() { "" } else { " " };
        text.push_str(&format!("{}{space}{address}\n", word(&sink["Name"])));
        for step in sink["Steps"].as_array().into_iter().flatten() {
            let ok = if step["Ok"] == true { "ok" } else { "failed" };
            text.push_str(&format!(
                "  {ok:<6} {:<12} {:>8.1} ms  {}\n",
                word(&step["Step"]),
                step["Milliseconds"].as_f64().unwrap_or(0.0),
                word(&step["Text"])
            ));
        }
        text.push_str(&format!(
            "  {} after {:.1} ms\n",
            word(&sink["Result"]),
            sink["Milliseconds"].as_f64().unwrap_or(0.0)
        ));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn for_people() {
        let told = json!({"Type": "syslog", "Local": "kept", "Warnings": ["w"], "Ok": false, "Sinks": [
            {"Name": "syslog", "Address": "tcp://h:1", "Result": "failed", "Milliseconds": 1.25, "Steps": [
                {"Step": "options", "Ok": true, "Text": "valid", "Milliseconds": 0.0},
                {"Step": "connect", "Ok": false, "Text": "refused", "Milliseconds": 1.2}]}]});
        assert_eq!(
            text(&told),
            "warning: w\nsyslog: kept\nsyslog tcp://h:1\n\
             \x20 ok     options           0.0 ms  valid\n\
             \x20 failed connect           1.2 ms  refused\n\
             \x20 failed after 1.2 ms\n"
        );
    }
}
