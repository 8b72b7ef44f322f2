//! Writing images as one archive, in the form that Docker writes since version 25: an OCI image layout
//! (index.json) that also has the files of `docker save` (manifest.json, repositories). Members are in
//! the order of their names and have no times: the same images give the same bytes.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::Arc;

use serde::Serialize;
use sha2::{Digest as _, Sha256};

use super::archive::MAX_METADATA;
use super::compress::{digest, hex};
use super::config::Image;
use super::error::ImageError;
use super::layers::LayerStore;
use super::reference::{Reference, familiar, hex_of, repository_of};
use super::state::State;
use super::tape;

const BLOCK: u64 = 512;
const CONFIG_TYPE: &str = "application/vnd.oci.image.config.v1+json";
const INDEX_TYPE: &str = "application/vnd.oci.image.index.v1+json";
const LAYER_TYPE: &str = "application/vnd.oci.image.layer.v1.tar";
const MANIFEST_TYPE: &str = "application/vnd.oci.image.manifest.v1+json";
const LAYOUT: &[u8] = b"{\"imageLayoutVersion\": \"1.0.0\"}";

/// An image to save, with the names that go into the archive.
#[derive(Debug)]
pub(super) struct Chosen {
    pub(super) image: Arc<Image>,
    /// Keys of the store: `docker.io/library/x:latest`.
    pub(super) names: Vec<String>,
}

/// What is asked for, as images: a name, all names of a repository without a tag, or an id, which adds
/// no name (source: Moby's `tarexport`).
pub(super) fn choose(state: &State, wanted: &[String]) -> Result<Vec<Chosen>, ImageError> {
    let mut chosen: Vec<Chosen> = Vec::new();
    for text in wanted {
        for (image, name) in find(state, text)? {
            let at = chosen.iter().position(|found| found.image.id == image.id);
            let at = at.unwrap_or_else(|| {
                chosen.push(Chosen {
                    image,
                    names: Vec::new(),
                });
                chosen.len() - 1
            });
            let names = &mut chosen[at].names;
            names.extend(name.filter(|name| !names.contains(name)));
        }
    }
    Ok(chosen)
}

type Found = Vec<(Arc<Image>, Option<String>)>;

fn find(state: &State, text: &str) -> Result<Found, ImageError> {
    let hex = text.strip_prefix("sha256:").unwrap_or(text);
    if text.starts_with("sha256:") || super::reference::is_hex64(hex) {
        return Ok(vec![(state.resolve(text)?, None)]);
    }
    let name = Reference::parse(text)?;
    if name.tag.is_none() && name.digest.is_none() {
        let tagged: Found = state
            .list()
            .iter()
            .flat_map(|image| {
                state
                    .references(&image.id)
                    .into_iter()
                    .filter(|key| repository_of(key) == name.repository)
                    .map(|key| {
                        (
                            Arc::clone(image),
                            Some(key).filter(|key| !key.contains('@')),
                        )
                    })
                    .collect::<Vec<_>>()
            })
            .collect();
        if !tagged.is_empty() {
            return Ok(tagged);
        }
        // The beginning of an id, perhaps.
        return match state.resolve(text) {
            Ok(image) => Ok(vec![(image, None)]),
            Err(ImageError::NoSuchImage(_)) => Err(ImageError::NoSuchImage(name.familiar())),
            Err(error) => Err(error),
        };
    }
    let tagged = name.tagged().filter(|_| name.digest.is_none());
    match state.resolve(text) {
        Ok(image) => Ok(vec![(image, tagged)]),
        Err(ImageError::NoSuchImage(_)) => Err(ImageError::NoSuchReference),
        Err(error) => Err(error),
    }
}

/// One file of the archive.
enum Blob {
    Bytes(Vec<u8>),
    Layer { folder: PathBuf, size: u64 },
}

#[derive(Clone, Serialize)]
#[serde(rename_all = "camelCase")]
struct Descriptor {
    media_type: &'static str,
    digest: String,
    size: u64,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    annotations: BTreeMap<&'static str, String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Manifest {
    schema_version: u32,
    media_type: &'static str,
    config: Descriptor,
    layers: Vec<Descriptor>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Index {
    schema_version: u32,
    media_type: &'static str,
    manifests: Vec<Descriptor>,
}

/// One image in manifest.json.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Item {
    config: String,
    repo_tags: Option<Vec<String>>,
    layers: Vec<String>,
    layer_sources: BTreeMap<String, Descriptor>,
}

/// An archive that is ready to be written.
pub(crate) struct Archive {
    /// By digest.
    blobs: BTreeMap<String, Blob>,
    index: Index,
    items: Vec<Item>,
    /// Repository, tag, digest of the topmost layer.
    repositories: BTreeMap<String, BTreeMap<String, String>>,
}

impl Archive {
    /// Prepares the archive: what is missing is found here, before anything is written.
    pub(super) fn prepare(
        state: &State,
        layers: &LayerStore,
        chosen: &[Chosen],
    ) -> Result<Self, ImageError> {
        let mut archive = Self {
            blobs: BTreeMap::new(),
            index: Index {
                schema_version: 2,
                media_type: INDEX_TYPE,
                manifests: Vec::new(),
            },
            items: Vec::new(),
            repositories: BTreeMap::new(),
        };
        for one in chosen {
            archive.add(state, layers, one)?;
        }
        Ok(archive)
    }

    fn add(
        &mut self,
        state: &State,
        layers: &LayerStore,
        chosen: &Chosen,
    ) -> Result<(), ImageError> {
        let image = &chosen.image;
        let config = state.read_config(&image.id)?;
        let config = self.bytes(CONFIG_TYPE, config);
        let mut stack = Vec::with_capacity(image.layers.len());
        for (chain_id, diff_id) in image.chain.iter().zip(&image.layers) {
            let missing = || ImageError::LayerMissing {
                image: image.id.clone(),
                layer: chain_id.clone(),
            };
            let record = layers.record(chain_id)?.ok_or_else(missing)?;
            let size = record.tar_size.ok_or_else(|| ImageError::NoTape {
                layer: chain_id.clone(),
            })?;
            let folder = layers.path(chain_id);
            // Two places of one layer in a stack have the same bytes.
            self.blobs
                .entry(diff_id.clone())
                .or_insert(Blob::Layer { folder, size });
            stack.push(descriptor(LAYER_TYPE, diff_id.clone(), size));
        }
        let item = Item {
            config: path_of(&config.digest),
            repo_tags: (!chosen.names.is_empty())
                .then(|| chosen.names.iter().map(|name| familiar(name).to_owned()))
                .map(Iterator::collect),
            layers: image.layers.iter().map(|layer| path_of(layer)).collect(),
            layer_sources: stack
                .iter()
                .map(|layer| (layer.digest.clone(), layer.clone()))
                .collect(),
        };
        let manifest = encode(&Manifest {
            schema_version: 2,
            media_type: MANIFEST_TYPE,
            config,
            layers: stack,
        })?;
        let manifest = self.bytes(MANIFEST_TYPE, manifest);
        for name in &chosen.names {
            let repository = repository_of(name);
            let tag = name.get(repository.len() + 1..).unwrap_or_default();
            let mut named = manifest.clone();
            named
                .annotations
                .insert("io.containerd.image.name", name.clone());
            named
                .annotations
                .insert("org.opencontainers.image.ref.name", tag.to_owned());
            self.index.manifests.push(named);
            if let Some(top) = image.layers.last() {
                self.repositories
                    .entry(familiar(repository).to_owned())
                    .or_default()
                    .insert(tag.to_owned(), hex_of(top).unwrap_or(top).to_owned());
            }
        }
        if chosen.names.is_empty() {
            self.index.manifests.push(manifest);
        }
        self.items.push(item);
        Ok(())
    }

    fn bytes(&mut self, media_type: &'static str, bytes: Vec<u8>) -> Descriptor {
        let digest = digest(&bytes);
        let size = bytes.len() as u64;
        self.blobs.insert(digest.clone(), Blob::Bytes(bytes));
        descriptor(media_type, digest, size)
    }

    /// Writes the archive.
    ///
    /// # Errors
    /// Those of `out`; a layer that no longer is what was loaded: the archive stays incomplete.
    pub(crate) fn write(&self, out: &mut dyn Write) -> Result<(), ImageError> {
        let failed = |source| ImageError::Write { source };
        for folder in ["blobs/", "blobs/sha256/"] {
            header(out, folder, 0, tar::EntryType::Directory).map_err(failed)?;
        }
        for (digest, blob) in &self.blobs {
            let name = path_of(digest);
            match blob {
                Blob::Bytes(bytes) => member(out, &name, bytes).map_err(failed)?,
                Blob::Layer { folder, size } => {
                    header(out, &name, *size, tar::EntryType::Regular).map_err(failed)?;
                    let mut checked = Checked {
                        out,
                        hash: Sha256::new(),
                        left: *size,
                    };
                    tape::play(folder, &mut checked).map_err(|source| ImageError::Play {
                        layer: digest.clone(),
                        source,
                    })?;
                    checked.finish(digest)?;
                    pad(out, *size).map_err(failed)?;
                }
            }
        }
        member(out, "index.json", &encode(&self.index)?).map_err(failed)?;
        member(out, "manifest.json", &line(encode(&self.items)?)).map_err(failed)?;
        member(out, "oci-layout", LAYOUT).map_err(failed)?;
        if !self.repositories.is_empty() {
            let bytes = line(encode(&self.repositories)?);
            member(out, "repositories", &bytes).map_err(failed)?;
        }
        out.write_all(&[0; 2 * BLOCK as usize])
            .and_then(|()| out.flush())
            .map_err(failed)
    }
}

/// Passes a layer on and compares it with its digest.
struct Checked<'a> {
    out: &'a mut dyn Write,
    hash: Sha256,
    left: u64,
}

impl Checked<'_> {
    fn finish(self, expected: &str) -> Result<(), ImageError> {
        let found = format!("sha256:{}", hex(&self.hash.finalize()));
        if self.left == 0 && found == expected {
            return Ok(());
        }
        Err(ImageError::Changed {
            layer: expected.to_owned(),
        })
    }
}

impl Write for Checked<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // More than the header says would be taken for other members.
        self.left = self
            .left
            .checked_sub(bytes.len() as u64)
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "it has grown"))?;
        self.out.write_all(bytes)?;
        self.hash.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

fn descriptor(media_type: &'static str, digest: String, size: u64) -> Descriptor {
    Descriptor {
        media_type,
        digest,
        size,
        annotations: BTreeMap::new(),
    }
}

fn path_of(digest: &str) -> String {
    format!("blobs/sha256/{}", hex_of(digest).unwrap_or(digest))
}

fn encode<T: Serialize>(value: &T) -> Result<Vec<u8>, ImageError> {
    serde_json::to_vec(value).map_err(|source| ImageError::Write {
        source: source.into(),
    })
}

fn line(mut bytes: Vec<u8>) -> Vec<u8> {
    bytes.push(b'\n');
    bytes
}

fn member(out: &mut dyn Write, name: &str, bytes: &[u8]) -> io::Result<()> {
    header(out, name, bytes.len() as u64, tar::EntryType::Regular)?;
    out.write_all(bytes)?;
    pad(out, bytes.len() as u64)
}

fn header(out: &mut dyn Write, name: &str, size: u64, kind: tar::EntryType) -> io::Result<()> {
    let mut header = tar::Header::new_gnu();
    header.set_path(name)?;
    header.set_entry_type(kind);
    header.set_mode(if kind.is_dir() { 0o755 } else { 0o644 });
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(size);
    header.set_cksum();
    out.write_all(header.as_bytes())
}

fn pad(out: &mut dyn Write, size: u64) -> io::Result<()> {
    let padding = size.next_multiple_of(BLOCK) - size;
    out.write_all(&[0; BLOCK as usize][..padding as usize])
}

impl State {
    /// The bytes of an image's configuration.
    pub(super) fn read_config(&self, id: &str) -> Result<Vec<u8>, ImageError> {
        let path = self.config_path(id);
        let size = fs::metadata(&path).map_err(ImageError::io("read", &path))?;
        if size.len() > MAX_METADATA {
            return Err(ImageError::Changed {
                layer: id.to_owned(),
            });
        }
        let bytes = fs::read(&path).map_err(ImageError::io("read", &path))?;
        if digest(&bytes) != id {
            return Err(ImageError::Changed {
                layer: id.to_owned(),
            });
        }
        Ok(bytes)
    }
}
