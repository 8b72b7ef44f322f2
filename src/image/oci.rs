//! OCI image layouts (source: OCI image specification 1.1): index.json names manifests, or indexes
//! of them for several platforms, of which the host's is taken.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::archive::{Candidate, LayerBlob, Members, check, json, name};
use super::config::host_architecture;
use super::error::{ArchiveError, ImageError};
use super::reference::{Reference, hex_of};

/// Indexes within indexes.
const MAX_NESTING: usize = 4;
const FULL_NAME: &str = "io.containerd.image.name";
const REF_NAME: &str = "org.opencontainers.image.ref.name";
/// Marks what BuildKit puts beside an image.
const ATTESTATION: &str = "vnd.docker.reference.type";

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Descriptor {
    #[serde(default)]
    media_type: String,
    digest: String,
    size: u64,
    #[serde(default)]
    annotations: Option<BTreeMap<String, String>>,
    #[serde(default)]
    platform: Option<Platform>,
}

#[derive(Clone, Debug, Deserialize)]
struct Platform {
    #[serde(default)]
    architecture: String,
    #[serde(default)]
    os: String,
}

#[derive(Deserialize)]
struct Index {
    manifests: Option<Vec<Descriptor>>,
}

/// A manifest, or an index in its place: old ones do not say which they are.
#[derive(Deserialize)]
struct Node {
    config: Option<Descriptor>,
    layers: Option<Vec<Descriptor>>,
    manifests: Option<Vec<Descriptor>>,
}

impl Descriptor {
    fn annotation(&self, key: &str) -> Option<&str> {
        let value = self.annotations.as_ref()?.get(key)?;
        (!value.is_empty()).then_some(value)
    }

    fn is_image(&self) -> bool {
        self.annotation(ATTESTATION).is_none()
            && self
                .platform
                .as_ref()
                .is_none_or(|platform| platform.os != "unknown")
    }

    fn fits_host(&self) -> bool {
        self.platform.as_ref().is_some_and(|platform| {
            platform.os == "linux" && platform.architecture == host_architecture()
        })
    }

    /// The name that the layout gives. A bare `latest` or similar is only half a name.
    fn tag(&self) -> Result<Option<Reference>, ArchiveError> {
        if let Some(full) = self.annotation(FULL_NAME) {
            return name(full).map(Some);
        }
        match self.annotation(REF_NAME) {
            None | Some("latest") => Ok(None),
            // Free text in the specification: what is no name leaves the image without one.
            Some(text) => Ok(name(text).ok()),
        }
    }
}

/// The images of a layout: one for each name in index.json, and each without.
pub(super) fn images(members: &Members) -> Result<Vec<Candidate>, ImageError> {
    let index: Index = json("index.json", &members.metadata("index.json")?)?;
    let mut named: BTreeMap<String, Vec<Descriptor>> = BTreeMap::new();
    let mut unnamed = Vec::new();
    for descriptor in index.manifests.unwrap_or_default() {
        if !descriptor.is_image() {
            continue;
        }
        match descriptor.tag()?.and_then(|tag| tag.tagged()) {
            Some(tag) => named.entry(tag).or_default().push(descriptor),
            None => unnamed.push(descriptor),
        }
    }
    let mut groups: Vec<(Option<String>, Vec<Descriptor>)> = named
        .into_iter()
        .map(|(tag, descriptors)| (Some(tag), descriptors))
        .collect();
    // Without names, several platforms are one image; anything else is one each.
    if unnamed.iter().any(Descriptor::fits_host) {
        unnamed.retain(|descriptor| descriptor.platform.is_none() || descriptor.fits_host());
    }
    groups.extend(
        unnamed
            .into_iter()
            .map(|descriptor| (None, vec![descriptor])),
    );
    if groups.is_empty() {
        return Err(ArchiveError::Unknown.into());
    }
    groups
        .into_iter()
        .map(|(tag, descriptors)| {
            let mut candidate = pick(members, "index.json", &descriptors, 0)?;
            if let Some(tag) = tag {
                candidate.tags = vec![name(&tag)?];
            }
            Ok(candidate)
        })
        .collect()
}

/// The host's image among some for different platforms; a single one is taken as it is.
fn pick(
    members: &Members,
    origin: &str,
    descriptors: &[Descriptor],
    depth: usize,
) -> Result<Candidate, ImageError> {
    if depth > MAX_NESTING {
        return Err(ArchiveError::Nesting(MAX_NESTING).into());
    }
    let images: Vec<&Descriptor> = descriptors
        .iter()
        .filter(|descriptor| descriptor.is_image())
        .collect();
    let chosen = match images.as_slice() {
        [one] => one,
        several => several
            .iter()
            .find(|descriptor| descriptor.fits_host())
            .or_else(|| several.iter().find(|item| item.platform.is_none()))
            .ok_or_else(|| ArchiveError::Platform {
                name: origin.to_owned(),
                platform: format!("linux/{}", host_architecture()),
            })?,
    };
    let (blob_name, bytes) = blob(members, chosen)?;
    let node: Node = json(&blob_name, &bytes)?;
    if let Some(nested) = node.manifests {
        return pick(members, &blob_name, &nested, depth + 1);
    }
    let config = node.config.ok_or_else(|| ArchiveError::MediaType {
        name: blob_name.clone(),
        media_type: chosen.media_type.clone(),
    })?;
    if !config.media_type.is_empty() && !config.media_type.ends_with("+json") {
        return Err(ArchiveError::MediaType {
            name: blob_name,
            media_type: config.media_type,
        }
        .into());
    }
    let (config_name, config) = blob(members, &config)?;
    let layers = node
        .layers
        .unwrap_or_default()
        .iter()
        .map(|layer| {
            let name = blob_path(&layer.digest)?;
            let (path, size) = members.require(&name)?;
            if size != layer.size {
                return Err(ArchiveError::Size {
                    name,
                    found: size,
                    expected: layer.size,
                });
            }
            Ok(LayerBlob {
                path: path.to_path_buf(),
                digest: Some(layer.digest.clone()),
                name,
            })
        })
        .collect::<Result<_, ArchiveError>>()?;
    Ok(Candidate {
        name: config_name,
        config,
        layers,
        tags: Vec::new(),
        manifest: Some(chosen.digest.clone()),
    })
}

fn blob_path(digest: &str) -> Result<String, ArchiveError> {
    let hex = hex_of(digest).ok_or_else(|| ArchiveError::DigestFormat(digest.to_owned()))?;
    Ok(format!("blobs/sha256/{hex}"))
}

/// A small blob, with size and digest compared.
fn blob(members: &Members, descriptor: &Descriptor) -> Result<(String, Vec<u8>), ImageError> {
    let name = blob_path(&descriptor.digest)?;
    let bytes = members.metadata(&name)?;
    if bytes.len() as u64 != descriptor.size {
        return Err(ArchiveError::Size {
            name,
            found: bytes.len() as u64,
            expected: descriptor.size,
        }
        .into());
    }
    check(&name, &bytes, &descriptor.digest)?;
    Ok((name, bytes))
}
