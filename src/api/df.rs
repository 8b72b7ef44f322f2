//! `GET /system/df`: bytes of images, containers and volumes in Docker's shape, and beside them of
//! logs and their spool.

use std::sync::Arc;

use http::StatusCode;
use serde_json::{Value, json};

use super::images;
use super::reply::{self, Reply};
use super::request::Request;
use super::volumes;
use crate::container::ListOptions;
use crate::daemon::Daemon;
use crate::errors::ApiError;
use crate::logs::{LogUsage, usage_of};

/// What `type` may name; `log` is ours.
const TYPES: [&str; 5] = ["container", "image", "volume", "build-cache", "log"];

/// Answers with everything, or with the kinds that `type` names.
///
/// # Errors
/// 400 for an unknown type.
pub(crate) async fn df(daemon: &Arc<Daemon>, request: &Request) -> Result<Reply, ApiError> {
    let types = request.query.all("type");
    if let Some(unknown) = types.iter().find(|t| !TYPES.contains(&t.as_str())) {
        return Err(ApiError::invalid(format!("unknown object type: {unknown}")));
    }
    let wants = |kind: &str| types.is_empty() || types.iter().any(|t| t == kind);
    let mut out = json!({
        "LayersSize": 0,
        "Images": null,
        "Containers": null,
        "Volumes": null,
        "BuildCache": null,
    });
    if wants("image") {
        let (layers, images) = images::disk_usage(daemon, request.version).await?;
        out["LayersSize"] = layers.into();
        out["Images"] = images.into();
    }
    if wants("container") {
        let options = ListOptions {
            all: true,
            size: true,
            ..ListOptions::default()
        };
        out["Containers"] = daemon.list(options).await?.into();
    }
    if wants("volume") {
        out["Volumes"] = volumes::disk_usage(daemon).await?.into();
    }
    if wants("build-cache") {
        out["BuildCache"] = json!([]);
    }
    if wants("log") {
        out["Logs"] = log_usage(daemon).await?;
    }
    Ok(reply::json(StatusCode::OK, &out))
}

/// Bytes of each container's log, and their sums.
async fn log_usage(daemon: &Arc<Daemon>) -> Result<Value, ApiError> {
    let daemon = Arc::clone(daemon);
    tokio::task::spawn_blocking(move || {
        let mut sum = LogUsage::default();
        let containers: Vec<Value> = daemon
            .containers
            .all()
            .iter()
            .map(|container| {
                let usage = usage_of(container.dir(), &container.id);
                sum += usage;
                let mut item = json!(usage);
                item["Id"] = container.id.clone().into();
                item["Name"] = container.name().into();
                item["Running"] = container.is_running().into();
                item
            })
            .collect();
        let mut out = json!(sum);
        out["SpoolBound"] = daemon.spool_bound().into();
        out["Containers"] = containers.into();
        out["Removed"] = daemon.delivery.shown_kept();
        out
    })
    .await
    .map_err(|error| ApiError::system(format!("disk usage: {error}")))
}
