//! `/images/...`: list, inspect, history, tag, remove. Loading and importing are in `load`.

use std::collections::BTreeMap;
use std::sync::Arc;

use http::StatusCode;
use serde_json::{Value, json};

use super::filters::Filters;
use super::glob::{BadPattern, glob};
use super::reply::{self, Reply};
use super::request::Request;
use super::time;
use super::version::ApiVersion;
use crate::daemon::Daemon;
use crate::errors::ApiError;
use crate::image::{History, Image, ImageError, ImageStore, InUse, Removed};

/// Keys of `docker images --filter`.
const LIST_KEYS: &[&str] = &["before", "dangling", "label", "reference", "since", "until"];
/// Older clients expect a placeholder in the lists of an image without a name.
const NO_PLACEHOLDER: ApiVersion = ApiVersion::new(1, 43);

impl From<ImageError> for ApiError {
    fn from(error: ImageError) -> Self {
        Self::new(error.kind(), crate::errors::chain(&error))
    }
}

/// Runs a blocking function of the store.
pub(super) async fn blocking<T, F>(daemon: &Arc<Daemon>, run: F) -> Result<T, ApiError>
where
    T: Send + 'static,
    F: FnOnce(&ImageStore) -> Result<T, ImageError> + Send + 'static,
{
    let images = Arc::clone(&daemon.images);
    tokio::task::spawn_blocking(move || run(&images))
        .await
        .map_err(|error| ApiError::system(format!("image store: {error}")))?
        .map_err(ApiError::from)
}

/// `GET /images/json`.
pub(crate) async fn list(daemon: &Arc<Daemon>, request: &Request) -> Result<Reply, ApiError> {
    let filters = Filters::parse(request.query.text("filters"))?;
    filters.validate(LIST_KEYS)?;
    let dangling = filters.any_boolean("dangling")?;
    let bound = |key: &'static str| {
        let name = filters.get(key).first().cloned();
        async move {
            match name {
                Some(name) => blocking(daemon, move |images| images.resolve(&name))
                    .await
                    .map(|image| Some(created(&image))),
                None => Ok(None),
            }
        }
    };
    let before = bound("before").await?;
    let since = bound("since").await?;
    let until = match filters.get("until").first() {
        Some(text) => time::moment("until", text)?.map(i128::from),
        None => None,
    };
    let images = blocking(daemon, |images| Ok(images.list())).await?;
    let mut found: Vec<(i128, Value)> = images
        .iter()
        .filter(|image| dangling.is_none_or(|wanted| image.repo_tags.is_empty() == wanted))
        .filter(|image| filters.labels("label", &image.config.labels))
        .map(|image| (created(image), image))
        .filter(|(created, _)| before.is_none_or(|bound| *created < bound))
        .filter(|(created, _)| since.is_none_or(|bound| *created > bound))
        .filter(|(created, _)| until.is_none_or(|bound| *created < bound))
        .filter_map(|(created, image)| {
            let tags = matching_tags(&filters, image).transpose()?;
            Some(tags.map(|tags| {
                let item = summary(image, seconds(image), tags, request.version);
                (created, item)
            }))
        })
        .collect::<Result<_, BadPattern>>()?;
    found.sort_by_key(|(created, _)| std::cmp::Reverse(*created));
    let list: Vec<Value> = found.into_iter().map(|(_, value)| value).collect();
    Ok(reply::json(StatusCode::OK, &list))
}

/// Names of an image that a `reference` filter leaves; `None` if it leaves none.
fn matching_tags(filters: &Filters, image: &Image) -> Result<Option<Vec<String>>, BadPattern> {
    let patterns = filters.get("reference");
    if patterns.is_empty() {
        return Ok(Some(image.repo_tags.clone()));
    }
    let mut tags = Vec::new();
    for tag in &image.repo_tags {
        let repo = tag.rsplit_once(':').map_or(tag.as_str(), |(repo, _)| repo);
        for pattern in patterns {
            if glob(pattern, tag)? || glob(pattern, repo)? {
                tags.push(tag.clone());
                break;
            }
        }
    }
    Ok((!tags.is_empty()).then_some(tags))
}

/// When an image was made, nanoseconds since 1970; 0 if it does not say.
pub(super) fn created(image: &Image) -> i128 {
    image
        .created
        .parse::<jiff::Timestamp>()
        .map_or(0, jiff::Timestamp::as_nanosecond)
}

/// When an image was made, Unix seconds; 0 if it does not say.
fn seconds(image: &Image) -> i64 {
    unix_seconds(&image.created)
}

/// Unix seconds of an RFC 3339 time; 0 for what is none.
fn unix_seconds(time: &str) -> i64 {
    time.parse::<jiff::Timestamp>()
        .map_or(0, jiff::Timestamp::as_second)
}

fn summary(image: &Image, created: i64, tags: Vec<String>, version: ApiVersion) -> Value {
    let mut tags = tags;
    let mut digests = image.repo_digests.clone();
    if tags.is_empty() && digests.is_empty() && version < NO_PLACEHOLDER {
        tags.push("<none>:<none>".to_owned());
        digests.push("<none>@<none>".to_owned());
    }
    json!({
        "Containers": -1,
        "Created": created,
        "Id": image.id,
        "Labels": image.config.labels,
        "ParentId": "",
        "RepoDigests": digests,
        "RepoTags": tags,
        "SharedSize": -1,
        "Size": image.size,
        "VirtualSize": image.size,
    })
}

/// For `GET /system/df`: bytes of all layers, and the images with what they share and who uses them.
pub(super) async fn disk_usage(
    daemon: &Arc<Daemon>,
    version: ApiVersion,
) -> Result<(u64, Vec<Value>), ApiError> {
    let images = blocking(daemon, |images| Ok(images.list())).await?;
    // A layer is what all layers up to it make.
    let mut users: BTreeMap<&[String], (u64, u64)> = BTreeMap::new();
    for image in &images {
        for (i, size) in image.layer_sizes.iter().enumerate() {
            let layer = users.entry(&image.layers[..=i]).or_insert((*size, 0));
            layer.1 += 1;
        }
    }
    let total = users.values().map(|(size, _)| size).sum();
    let used: Vec<String> = daemon
        .containers
        .all()
        .iter()
        .map(|c| c.image_id())
        .collect();
    let list = images.iter().map(|image| {
        let shared: u64 = (0..image.layer_sizes.len())
            .filter_map(|i| users.get(&image.layers[..=i]))
            .filter(|(_, users)| *users > 1)
            .map(|(size, _)| size)
            .sum();
        let mut item = summary(image, seconds(image), image.repo_tags.clone(), version);
        item["SharedSize"] = shared.into();
        item["Containers"] = used.iter().filter(|id| **id == image.id).count().into();
        item
    });
    Ok((total, list.collect()))
}

/// `GET /images/{name}/json`.
pub(crate) async fn inspect(daemon: &Arc<Daemon>, name: String) -> Result<Reply, ApiError> {
    let asked = name.clone();
    let image = blocking(daemon, move |images| images.resolve(&name))
        .await
        .map_err(|error| {
            // Twice, as Docker has it here.
            ApiError::new(error.kind, format!("no such image: {asked}: {error}"))
        })?;
    Ok(reply::json(StatusCode::OK, &shape(&image)))
}

fn shape(image: &Image) -> Value {
    let mut shape = json!({
        "Id": image.id,
        "RepoTags": image.repo_tags,
        "RepoDigests": image.repo_digests,
        "Parent": image.parent,
        "Comment": image.comment,
        "Created": image.created,
        "Container": image.container,
        "ContainerConfig": image.container_config,
        "DockerVersion": image.docker_version,
        "Author": image.author,
        "Config": image.config,
        "Architecture": image.architecture,
        "Os": image.os,
        "Size": image.size,
        "VirtualSize": image.size,
        "GraphDriver": image.graph_driver,
        "RootFS": {"Type": "layers", "Layers": image.layers},
        "Metadata": {"LastTagTime": image.last_tag_time},
    });
    if !image.variant.is_empty() {
        shape["Variant"] = json!(image.variant);
    }
    shape
}

/// `GET /images/{name}/history`: the steps of its making, newest first.
pub(crate) async fn history(daemon: &Arc<Daemon>, name: String) -> Result<Reply, ApiError> {
    let image = blocking(daemon, move |images| images.resolve(&name)).await?;
    let mut steps = steps(&image.history, &image.layer_sizes);
    // The image itself is known by its last step only.
    if let Some(top) = steps.first_mut() {
        top["Id"] = json!(image.id);
        if !image.repo_tags.is_empty() {
            top["Tags"] = json!(image.repo_tags);
        }
    }
    Ok(reply::json(StatusCode::OK, &steps))
}

/// Steps, newest first, with the sizes of the layers that they made.
fn steps(history: &[History], layer_sizes: &[u64]) -> Vec<Value> {
    let mut sizes = layer_sizes.iter();
    let mut steps: Vec<Value> = history
        .iter()
        .map(|step| {
            let size = if step.empty_layer == Some(true) {
                0
            } else {
                sizes.next().copied().unwrap_or(0)
            };
            json!({
                "Id": "<missing>",
                "Created": step.created.as_deref().map_or(0, unix_seconds),
                "CreatedBy": step.created_by.as_deref().unwrap_or(""),
                "Tags": null,
                "Size": size,
                "Comment": step.comment.as_deref().unwrap_or(""),
            })
        })
        .collect();
    steps.reverse();
    steps
}

/// `POST /images/{name}/tag`.
pub(crate) async fn tag(
    daemon: &Arc<Daemon>,
    name: String,
    request: &Request,
) -> Result<Reply, ApiError> {
    let repo = request.query.text("repo").to_owned();
    let tag = request.query.text("tag").to_owned();
    if repo.is_empty() {
        return Err(ApiError::invalid(
            "refusing to create a tag with an empty repository",
        ));
    }
    let shown = with_tag(&repo, &tag);
    let id = blocking(daemon, move |images| {
        let image = images.resolve(&name)?;
        images.tag(&image.id, &repo, &tag)?;
        Ok(image.id.clone())
    })
    .await?;
    publish(daemon, "tag", &id, super::load::familiar(&shown));
    Ok(reply::empty(StatusCode::CREATED))
}

/// `repo:tag`, or `repo` as it is without a tag.
pub(super) fn with_tag(repo: &str, tag: &str) -> String {
    if tag.is_empty() {
        repo.to_owned()
    } else {
        format!("{repo}:{tag}")
    }
}

/// `DELETE /images/{name}`.
pub(crate) async fn remove(
    daemon: &Arc<Daemon>,
    name: String,
    request: &Request,
) -> Result<Reply, ApiError> {
    if name.trim().is_empty() {
        return Err(ApiError::invalid("image name cannot be blank"));
    }
    let force = request.query.flag("force");
    let no_prune = request.query.flag("noprune");
    let users = Arc::clone(daemon);
    let (id, labels, removed) = blocking(daemon, move |images| {
        let image = images.resolve(&name)?;
        let removed = images.remove(&name, force, no_prune, &|id| in_use(&users, id))?;
        Ok((image.id.clone(), image.config.labels.clone(), removed))
    })
    .await?;
    Ok(reply::json(
        StatusCode::OK,
        &report_removed(daemon, &id, &labels, &removed),
    ))
}

/// What was removed of an image, as clients see it; publishes its events.
pub(super) fn report_removed(
    daemon: &Arc<Daemon>,
    id: &str,
    labels: &BTreeMap<String, String>,
    removed: &[Removed],
) -> Vec<Value> {
    let mut list = Vec::with_capacity(removed.len());
    for entry in removed {
        match entry {
            Removed::Untagged(name) => {
                publish_with(daemon, "untag", id, id, labels);
                list.push(json!({"Untagged": name}));
            }
            Removed::Deleted(id) => {
                publish_with(daemon, "delete", id, id, labels);
                list.push(json!({"Deleted": id}));
            }
            Removed::Layer { id, .. } => list.push(json!({"Deleted": id})),
        }
    }
    list
}

/// The container that keeps an image from being removed; a running one first.
pub(super) fn in_use(daemon: &Daemon, image: &str) -> Option<InUse> {
    let mut stopped = None;
    for container in daemon.containers.all() {
        if container.image_id() != image {
            continue;
        }
        if container.is_running() {
            return Some(InUse {
                container: container.id.clone(),
                running: true,
            });
        }
        stopped = Some(InUse {
            container: container.id.clone(),
            running: false,
        });
    }
    stopped
}

/// An event of an image; its labels are among the attributes.
pub(super) fn publish(daemon: &Arc<Daemon>, action: &str, id: &str, name: &str) {
    let image = daemon.images.resolve(id).ok();
    let labels = image.map(|image| image.config.labels.clone());
    publish_with(daemon, action, id, name, &labels.unwrap_or_default());
}

/// As `publish`, for an image that may be gone.
fn publish_with(
    daemon: &Arc<Daemon>,
    action: &str,
    id: &str,
    name: &str,
    labels: &BTreeMap<String, String>,
) {
    let mut attributes = labels.clone();
    attributes.insert("name".to_owned(), name.to_owned());
    daemon.events.publish("image", action, id, attributes);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_belong_to_the_steps_that_made_layers() {
        let step = |by: &str, empty| History {
            created: Some("2023-11-14T22:13:20Z".to_owned()),
            created_by: Some(by.to_owned()),
            empty_layer: empty,
            ..History::default()
        };
        let history = [
            step("ADD", None),
            step("ENV", Some(true)),
            step("RUN", None),
        ];
        let steps = steps(&history, &[10, 20]);
        let shown: Vec<_> = steps
            .iter()
            .map(|step| (step["CreatedBy"].as_str().unwrap(), step["Size"].as_u64()))
            .collect();
        assert_eq!(
            shown,
            [("RUN", Some(20)), ("ENV", Some(0)), ("ADD", Some(10))]
        );
        assert_eq!(steps[0]["Created"], 1_700_000_000);
    }
}
