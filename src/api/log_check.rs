//! `POST /containers/{name}/logs/check`, which is ours: what is damaged in a container's log.

use std::sync::Arc;

use http::StatusCode;
use serde_json::{Value, json};
use taffrail_log::Repair;

use super::reply::{self, Reply};
use super::request::Request;
use crate::container::Checked;
use crate::daemon::Daemon;
use crate::errors::ApiError;

/// Checks a log; `repair=1` makes again what can be.
///
/// # Errors
/// 404, and those of [`Daemon::check_log`].
pub(crate) async fn check(
    daemon: &Arc<Daemon>,
    name: &str,
    request: &Request,
) -> Result<Reply, ApiError> {
    let container = daemon.find(name)?;
    let checked = daemon
        .check_log(&container, request.query.flag("repair"))
        .await?;
    Ok(reply::json(StatusCode::OK, &body(&checked)))
}

/// The answer: what was looked at, what is damaged, what was repaired before.
pub(crate) fn body(checked: &Checked) -> Value {
    let report = &checked.report;
    let places: Vec<Value> = report
        .places
        .iter()
        .map(|place| {
            json!({
                "File": place.file,
                "Offset": place.offset,
                "Length": place.length,
                "What": place.what.to_string(),
                "First": place.lost.map(|(first, _)| first.to_string()),
                "Last": place.lost.map(|(_, last)| last.to_string()),
            })
        })
        .collect();
    let repaired: Vec<Value> = checked
        .repaired
        .iter()
        .map(|repair| match repair {
            Repair::Index(file) => json!({"File": file, "What": "index made anew"}),
            Repair::FrameTable(file) => json!({"File": file, "What": "frame table made anew"}),
            Repair::Cut { file, bytes } => {
                json!({"File": file, "What": format!("torn end of {bytes} bytes cut off")})
            }
        })
        .collect();
    json!({
        "Files": report.files,
        "Bytes": report.bytes,
        "Records": report.records,
        "Places": places,
        "MorePlaces": report.more,
        "Repaired": repaired,
    })
}
