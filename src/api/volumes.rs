//! `/volumes...` (docs: Engine API 1.43 `Volume`).

use std::collections::BTreeMap;
use std::sync::Arc;

use http::StatusCode;
use regex::Regex;
use serde::Deserialize;
use serde_json::{Value, json};

use super::filters::Filters;
use super::reply::{self, Reply};
use super::request::Request;
use super::types::null_default;
use super::version;
use crate::container::time::rfc3339;
use crate::daemon::Daemon;
use crate::errors::{ApiError, ErrorKind};
use crate::volume::{LOCAL, Volume, VolumeStore, Wish};

/// Keys of `docker volume ls --filter`.
const LIST_KEYS: &[&str] = &["dangling", "driver", "label", "name"];
const NANOS: i64 = 1_000_000_000;

/// Held by the prune that is under way.
static PRUNE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

/// Body of a create request (docs: Engine API `VolumeCreateOptions`).
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct CreateBody {
    #[serde(deserialize_with = "null_default")]
    name: String,
    #[serde(deserialize_with = "null_default")]
    driver: String,
    driver_opts: Option<BTreeMap<String, String>>,
    labels: Option<BTreeMap<String, String>>,
    cluster_volume_spec: Option<Value>,
}

/// `GET /volumes`.
///
/// # Errors
/// 400 for an unknown filter or a bad value.
pub(crate) fn list(daemon: &Daemon, request: &Request) -> Result<Reply, ApiError> {
    let filters = Filters::parse(request.query.text("filters"))?;
    let volumes: Vec<Value> = filtered(daemon.volumes.all(), &filters)?
        .iter()
        .map(shown)
        .collect();
    Ok(reply::json(
        StatusCode::OK,
        &json!({"Volumes": volumes, "Warnings": null}),
    ))
}

fn filtered(volumes: Vec<Volume>, filters: &Filters) -> Result<Vec<Volume>, ApiError> {
    filters.validate(LIST_KEYS)?;
    let dangling = filters.boolean("dangling")?;
    // What is no expression matches nothing, as in Docker.
    let names: Vec<Regex> = filters
        .get("name")
        .iter()
        .filter_map(|name| Regex::new(name).ok())
        .collect();
    let wanted = |volume: &Volume| {
        (!filters.has("name") || names.iter().any(|name| name.is_match(&volume.meta.name)))
            && filters.exact("driver", LOCAL)
            && labels(filters, volume)
            && dangling.is_none_or(|wanted| wanted == (volume.owners == 0))
    };
    Ok(volumes.into_iter().filter(wanted).collect())
}

fn labels(filters: &Filters, volume: &Volume) -> bool {
    let none = BTreeMap::new();
    let have = volume.meta.labels.as_ref().unwrap_or(&none);
    filters.labels("label", have) && !(filters.has("label!") && filters.labels("label!", have))
}

/// `GET /volumes/{name}`.
///
/// # Errors
/// 404 `get x: no such volume`.
pub(crate) fn inspect(daemon: &Daemon, name: &str) -> Result<Reply, ApiError> {
    let volume = daemon.volumes.get(name)?;
    Ok(reply::json(StatusCode::OK, &shown(&volume)))
}

/// `POST /volumes/create`.
///
/// # Errors
/// 400 for a bad body, name or option, 404 for a driver that is not there.
pub(crate) async fn create(daemon: &Daemon, request: &mut Request) -> Result<Reply, ApiError> {
    let body: CreateBody = request
        .json()
        .await?
        .ok_or_else(|| ApiError::invalid("invalid JSON: got EOF while reading request body"))?;
    if body.cluster_volume_spec.is_some() {
        return Err(ApiError::new(
            ErrorKind::Unavailable,
            "ClusterVolumeSpec is given, but this node is no swarm manager; leave it out",
        ));
    }
    let wish = Wish {
        name: body.name,
        driver: body.driver,
        labels: body.labels,
        options: body.driver_opts,
    };
    let store = Arc::clone(&daemon.volumes);
    let volume = blocking(move || store.create(&wish, None)).await??;
    Ok(reply::json(StatusCode::CREATED, &shown(&volume)))
}

/// `DELETE /volumes/{name}`; with `force` one that is not there is no error.
///
/// # Errors
/// 404, 409 while a container has it.
pub(crate) async fn remove(
    daemon: &Daemon,
    name: String,
    request: &Request,
) -> Result<Reply, ApiError> {
    let force = request.query.flag("force");
    let store = Arc::clone(&daemon.volumes);
    let removed = blocking(move || store.remove(&name)).await?;
    match removed.map_err(ApiError::from) {
        Err(error) if force && error.kind == ErrorKind::NotFound => {}
        other => other?,
    }
    Ok(reply::empty(StatusCode::NO_CONTENT))
}

/// `POST /volumes/prune`: volumes of no container; from API 1.42 on only anonymous ones, unless
/// `all` is asked for.
///
/// # Errors
/// 400 for filters, 409 while another prune is under way.
pub(crate) async fn prune(daemon: &Daemon, request: &Request) -> Result<Reply, ApiError> {
    let filters = Filters::parse(request.query.text("filters"))?;
    let anonymous_only = request.version >= version::VOLUME_RULES;
    let known: &[&str] = if anonymous_only {
        &["label", "label!", "all"]
    } else {
        &["label", "label!"]
    };
    filters.validate(known)?;
    let all = !anonymous_only || filters.boolean("all")?.unwrap_or(false);
    let _prune = PRUNE
        .try_lock()
        .map_err(|_| ApiError::conflict("a prune operation is already running"))?;
    let store = Arc::clone(&daemon.volumes);
    let (names, bytes) = blocking(move || {
        store.prune(|volume| (all || volume.meta.is_anonymous()) && labels(&filters, volume))
    })
    .await?;
    let attributes = [("reclaimed".to_owned(), bytes.to_string())];
    daemon
        .events
        .publish("volume", "prune", "", attributes.into());
    Ok(reply::json(
        StatusCode::OK,
        &json!({"VolumesDeleted": names, "SpaceReclaimed": bytes}),
    ))
}

/// Volumes of `GET /system/df`: those without options, whose files are ours to count.
///
/// # Errors
/// The daemon is ending.
pub(crate) async fn disk_usage(daemon: &Daemon) -> Result<Vec<Value>, ApiError> {
    let store = Arc::clone(&daemon.volumes);
    blocking(move || usage(&store)).await
}

fn usage(store: &VolumeStore) -> Vec<Value> {
    let plain = |volume: &Volume| volume.meta.options.as_ref().is_none_or(BTreeMap::is_empty);
    let volumes = store.all();
    volumes
        .iter()
        .filter(|volume| plain(volume))
        .map(|volume| {
            let mut item = shown(volume);
            item["UsageData"] = json!({"RefCount": volume.owners, "Size": store.size(volume)});
            item
        })
        .collect()
}

fn shown(volume: &Volume) -> Value {
    let meta = &volume.meta;
    json!({
        "CreatedAt": rfc3339(meta.created_ns - meta.created_ns.rem_euclid(NANOS)),
        "Driver": LOCAL,
        "Labels": meta.labels,
        "Mountpoint": volume.path,
        "Name": meta.name,
        "Options": meta.options,
        "Scope": "local",
    })
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, ApiError> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| ApiError::system(format!("volumes: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_and_shape() {
        let dir = tempfile::tempdir().unwrap();
        let store = VolumeStore::open(dir.path(), Arc::default()).unwrap();
        let wish = |name: &str, label: &str| Wish {
            name: name.to_owned(),
            labels: Some([(label.to_owned(), "1".to_owned())].into()),
            ..Wish::default()
        };
        store.create(&wish("web-data", "a"), Some("c1")).unwrap();
        store.create(&wish("db-data", "b"), None).unwrap();
        let names = |pairs: &[(&str, &str)]| -> Vec<String> {
            let found = filtered(store.all(), &Filters::from_pairs(pairs)).unwrap();
            found.iter().map(|v| v.meta.name.clone()).collect()
        };
        assert_eq!(names(&[]), ["db-data", "web-data"]);
        assert_eq!(names(&[("name", "^web")]), ["web-data"]);
        assert_eq!(names(&[("label", "b=1")]), ["db-data"]);
        assert_eq!(names(&[("dangling", "true")]), ["db-data"]);
        assert_eq!(names(&[("dangling", "false")]), ["web-data"]);
        assert_eq!(names(&[("driver", "local")]).len(), 2);
        for none in [("driver", "x"), ("name", "["), ("label", "b=2")] {
            assert!(names(&[none]).is_empty(), "{none:?}");
        }
        for (pair, text) in [
            (("x", "y"), "Invalid filter 'x'"),
            (("dangling", "y"), "Invalid filter 'dangling=[y]'"),
        ] {
            let error = filtered(store.all(), &Filters::from_pairs(&[pair])).unwrap_err();
            assert_eq!(error.message, text);
        }
        let item = shown(&store.get("db-data").unwrap());
        let created = item["CreatedAt"].as_str().unwrap();
        assert!(created.len() == 20 && created.ends_with('Z'), "{created}");
        assert_eq!(item["Options"], Value::Null);
        let used = usage(&store);
        assert_eq!(used[1]["UsageData"], json!({"RefCount": 1, "Size": 0}));
    }
}
