//! `events`.

use clap::Args;
use http_body_util::BodyExt;
use hyper::Method;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::Value;

use crate::client::{Body, Client, ClientError, Query};

use super::error::CliError;
use super::flags::{FlagError, filters};
use super::format::Template;
use super::import::Objects;
use super::out::{self, To};
use super::times;

#[derive(Args, Debug)]
pub(crate) struct EventsArgs {
    /// Filter output based on conditions provided
    #[arg(short, long)]
    filter: Vec<String>,
    /// Format output: 'json' or 'TEMPLATE'
    #[arg(long)]
    format: Option<String>,
    /// Show all events created since timestamp
    #[arg(long)]
    since: Option<String>,
    /// Stream events until this timestamp
    #[arg(long)]
    until: Option<String>,
}

/// Shows events as they happen.
///
/// # Errors
/// Times, filters, the template; the daemon's refusal.
pub(crate) async fn events(client: &Client, args: EventsArgs) -> Result<u8, CliError> {
    let format = args.format.as_deref().filter(|f| !f.is_empty());
    let template = match format {
        Some(text) if text != "json" => Some(Template::parse(text)?),
        _ => None,
    };
    let moment = |text: &Option<String>| {
        text.as_deref()
            .map(|t| {
                times::since(t, Timestamp::now(), &TimeZone::system()).map_err(FlagError::Moment)
            })
            .transpose()
    };
    let mut query = Query::new();
    query
        .option("since", moment(&args.since)?.as_deref())
        .option("until", moment(&args.until)?.as_deref())
        .option("filters", filters(&args.filter)?.as_deref());
    let path = format!("/events{}", query.as_str());
    let request = format!("GET {path}");
    let mut body = client
        .send(Method::GET, &path, Body::Empty)
        .await?
        .into_body();
    let mut objects = Objects::default();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|source| ClientError::Http {
            request: request.clone(),
            source,
        })?;
        let Ok(data) = frame.into_data() else {
            continue;
        };
        let found = objects.feed(&data).map_err(|source| ClientError::Json {
            request: request.clone(),
            source,
        })?;
        for event in found {
            let text = match (&template, format) {
                (Some(template), _) => template.render(&go_names(event))?,
                (None, Some(_)) => event.to_string(),
                (None, None) => line(&event),
            };
            out::line(To::Out, &text);
        }
    }
    Ok(0)
}

/// The event with the names of Go's struct beside those of JSON.
fn go_names(mut event: Value) -> Value {
    for (json, go) in [
        ("status", "Status"),
        ("id", "ID"),
        ("from", "From"),
        ("scope", "Scope"),
        ("time", "Time"),
        ("timeNano", "TimeNano"),
    ] {
        event[go] = event.get(json).cloned().unwrap_or_else(|| "".into());
    }
    event
}

/// `TIME TYPE ACTION ID (key=value, ...)`.
fn line(event: &Value) -> String {
    let text = |key: &str| event[key].as_str().unwrap_or("");
    let nanos = event["timeNano"]
        .as_i64()
        .filter(|n| *n != 0)
        .or_else(|| {
            event["time"]
                .as_i64()
                .map(|s| s.saturating_mul(1_000_000_000))
        })
        .unwrap_or(0);
    let mut attributes: Vec<String> = event["Actor"]["Attributes"]
        .as_object()
        .into_iter()
        .flatten()
        .map(|(k, v)| format!("{k}={}", v.as_str().unwrap_or("")))
        .collect();
    attributes.sort();
    let mut out = format!(
        "{} {} {} {}",
        times::nano_string(nanos),
        text("Type"),
        text("Action"),
        event["Actor"]["ID"].as_str().unwrap_or("")
    );
    if !attributes.is_empty() {
        out.push_str(&format!(" ({})", attributes.join(", ")));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_names_its_attributes_in_order() {
        let event = serde_json::json!({"Type": "container", "Action": "die", "Actor": {"ID": "ab",
            "Attributes": {"name": "w", "exitCode": "3"}}, "timeNano": 1_795_488_392_000_000_001_i64});
        let text = line(&event);
        assert!(text.contains(".000000001"), "{text}");
        assert!(
            text.ends_with(" container die ab (exitCode=3, name=w)"),
            "{text}"
        );
    }
}
