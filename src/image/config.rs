//! An image's configuration (source: OCI image configuration, Docker image specification 1.2) and
//! what the daemon knows of an image.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::compress::digest;
use super::error::{ArchiveError, ImageError};
use super::reference::hex_of;
use crate::api::types::ContainerConfig;

/// As Docker's: overlayfs takes more, but the mount options must fit into a page.
pub(super) const MAX_LAYERS: usize = 125;
/// Time of what has none (Go's zero time).
pub(super) const NO_TIME: &str = "0001-01-01T00:00:00Z";

/// One step of an image's making.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct History {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) created: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) created_by: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) author: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) comment: Option<String>,
    /// The step made no layer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) empty_layer: Option<bool>,
}

/// An image of the store.
#[derive(Clone, Debug)]
pub(crate) struct Image {
    /// `sha256:...`, the digest of its configuration.
    pub(crate) id: String,
    /// Familiar names: `busybox:latest`.
    pub(crate) repo_tags: Vec<String>,
    /// Familiar names: `busybox@sha256:...`.
    pub(crate) repo_digests: Vec<String>,
    /// RFC 3339.
    pub(crate) created: String,
    /// Sum of the sizes of its layers' files in bytes.
    pub(crate) size: u64,
    pub(crate) config: ContainerConfig,
    pub(crate) architecture: String,
    pub(crate) variant: String,
    /// Id of the image that a committed one was made of, or empty.
    pub(crate) parent: String,
    pub(crate) os: String,
    pub(crate) author: String,
    pub(crate) comment: String,
    pub(crate) docker_version: String,
    /// The container that it was made from, and its settings: what old builds and imports note.
    pub(crate) container: String,
    pub(crate) container_config: Value,
    /// Digests of the layers' tars, lowest first.
    pub(crate) layers: Vec<String>,
    /// How it was made, oldest step first.
    pub(crate) history: Vec<History>,
    /// When a name last came to mean this image, RFC 3339.
    pub(crate) last_tag_time: String,
    /// Sizes of the layers' files in bytes, as `layers`.
    pub(crate) layer_sizes: Vec<u64>,
    /// Ids of the layers with what lies below them, as `layers` (OCI: ChainID).
    pub(super) chain: Vec<String>,
    /// `GraphDriver` of inspect.
    pub(crate) graph_driver: Value,
}

#[derive(Deserialize)]
struct Raw {
    architecture: Option<String>,
    variant: Option<String>,
    /// Ours alone: Docker notes it beside the image. Others pass over what they do not know.
    parent: Option<String>,
    os: Option<String>,
    created: Option<String>,
    author: Option<String>,
    comment: Option<String>,
    docker_version: Option<String>,
    container: Option<String>,
    container_config: Option<Value>,
    config: Option<ContainerConfig>,
    rootfs: RawRootfs,
    history: Option<Vec<History>>,
}

#[derive(Deserialize)]
struct RawRootfs {
    diff_ids: Option<Vec<String>>,
}

/// Reads a configuration; `name` is what messages call it. Names, sizes and paths are not in it and
/// stay empty.
pub(super) fn parse(name: &str, bytes: &[u8]) -> Result<Image, ArchiveError> {
    let raw: Raw = serde_json::from_slice(bytes).map_err(|source| ArchiveError::Json {
        name: name.to_owned(),
        source,
    })?;
    let layers = raw.rootfs.diff_ids.unwrap_or_default();
    if let Some(bad) = layers.iter().find(|id| hex_of(id).is_none()) {
        return Err(ArchiveError::DigestFormat(bad.clone()));
    }
    if layers.len() > MAX_LAYERS {
        return Err(ArchiveError::Depth {
            config: name.to_owned(),
            layers: layers.len(),
            limit: MAX_LAYERS,
        });
    }
    // Old images do not say.
    let os = raw
        .os
        .filter(|os| !os.is_empty())
        .unwrap_or_else(|| "linux".to_owned());
    if os != "linux" {
        return Err(ArchiveError::OperatingSystem {
            config: name.to_owned(),
            os,
        });
    }
    Ok(Image {
        id: digest(bytes),
        repo_tags: Vec::new(),
        repo_digests: Vec::new(),
        created: raw.created.unwrap_or_else(|| NO_TIME.to_owned()),
        size: 0,
        config: raw.config.unwrap_or_default(),
        architecture: raw.architecture.unwrap_or_default(),
        variant: raw.variant.unwrap_or_default(),
        parent: raw.parent.unwrap_or_default(),
        os,
        author: raw.author.unwrap_or_default(),
        comment: raw.comment.unwrap_or_default(),
        docker_version: raw.docker_version.unwrap_or_default(),
        container: raw.container.unwrap_or_default(),
        container_config: raw.container_config.unwrap_or_else(no_container),
        chain: chain_ids(&layers),
        layers,
        history: raw.history.unwrap_or_default(),
        last_tag_time: NO_TIME.to_owned(),
        layer_sizes: Vec::new(),
        graph_driver: Value::Null,
    })
}

/// What inspect shows of the settings of a container that there was none of, as Go has it.
fn no_container() -> Value {
    let mut config = json!(ContainerConfig::default());
    config["Labels"] = Value::Null;
    config
}

/// The configuration of an imported root file system.
pub(super) fn imported(
    config: &ContainerConfig,
    diff_id: &str,
    comment: &str,
    created: &str,
) -> Result<Vec<u8>, ImageError> {
    let value = json!({
        "architecture": host_architecture(),
        "comment": comment,
        "config": config,
        "created": created,
        "docker_version": env!("CARGO_PKG_VERSION"),
        "history": [{"created": created, "comment": comment}],
        "os": "linux",
        "rootfs": {"type": "layers", "diff_ids": [diff_id]},
    });
    serde_json::to_vec(&value).map_err(|source| {
        ImageError::Archive(ArchiveError::Json {
            name: "configuration".to_owned(),
            source,
        })
    })
}

/// The host's architecture as images write it.
pub(crate) fn host_architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "x86" => "386",
        "powerpc64" => "ppc64le",
        other => other,
    }
}

/// OCI's ChainID of each layer: a digest over its own and all below it.
fn chain_ids(diff_ids: &[String]) -> Vec<String> {
    let mut chain: Vec<String> = Vec::with_capacity(diff_ids.len());
    for diff_id in diff_ids {
        let id = match chain.last() {
            None => diff_id.clone(),
            Some(below) => digest(format!("{below} {diff_id}").as_bytes()),
        };
        chain.push(id);
    }
    chain
}
