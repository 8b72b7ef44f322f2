//! An image on its way in from a registry: its layers are unpacked and put in place one by one, the image
//! appears with its names at the end. Layers of a pull that does not get there are removed.

use std::io::Read;
use std::path::PathBuf;
use std::sync::Arc;

use tempfile::TempDir;

use super::blobs::{self, KnownBlob};
use super::compress::digest;
use super::config::{self, Image};
use super::error::{ArchiveError, ImageError};
use super::files;
use super::layers;
use super::reference::Reference;
use super::store::{ImageStore, layer_error};

/// A pull whose configuration is known. The layers that it needs stay until it is dropped.
#[derive(Debug)]
pub(crate) struct Pull {
    store: Arc<ImageStore>,
    image: Image,
    config: Vec<u8>,
}

impl Drop for Pull {
    fn drop(&mut self) {
        self.store.unpin(&self.image.chain);
    }
}

impl ImageStore {
    /// Begins a pull of the image with this configuration, whose manifest has so many layers.
    ///
    /// # Errors
    /// A configuration that cannot be used.
    pub(crate) fn begin_pull(
        self: &Arc<Self>,
        config: Vec<u8>,
        layers: usize,
    ) -> Result<Pull, ImageError> {
        let name = digest(&config);
        let image = config::parse(&name, &config)?;
        if image.layers.len() != layers {
            return Err(ArchiveError::LayerCount {
                config: name,
                layers,
                diff_ids: image.layers.len(),
            }
            .into());
        }
        Self::hold(&mut self.lock(), &image.chain);
        Ok(Pull {
            store: Arc::clone(self),
            image,
            config,
        })
    }

    /// A folder for what is on its way; it goes with its user, or at the next start.
    pub(crate) fn scratch(&self) -> Result<TempDir, ImageError> {
        self.work_folder()
    }

    /// The image that a name (with its tag or digest) means.
    pub(crate) fn id_of(&self, name: &Reference) -> Option<String> {
        let state = self.lock();
        match (name.digested(), name.tagged()) {
            (Some(key), _) => state.digested(&key),
            (None, Some(key)) => state.named(&key),
            (None, None) => None,
        }
    }
}

impl Pull {
    pub(crate) fn id(&self) -> &str {
        &self.image.id
    }

    /// The image is here already; only names may be new.
    pub(crate) fn is_known(&self) -> bool {
        self.store.lock().get(&self.image.id).is_some()
    }

    /// Whether a layer (from 0, the lowest) is in place.
    pub(crate) fn has_layer(&self, index: usize) -> bool {
        self.image
            .chain
            .get(index)
            .is_some_and(|chain_id| matches!(self.store.layers().record(chain_id), Ok(Some(_))))
    }

    /// Unpacks a layer onto those below it, which are in place.
    ///
    /// # Errors
    /// A tar that is not what the configuration says, or cannot be unpacked.
    pub(crate) fn add(&self, index: usize, blob: &mut dyn Read) -> Result<(), ImageError> {
        let (Some(chain_id), Some(diff_id)) =
            (self.image.chain.get(index), self.image.layers.get(index))
        else {
            return Ok(());
        };
        let work = self.store.work_folder()?;
        let folder = work.path().join("layer");
        let lower: Vec<PathBuf> = self.image.chain[..index]
            .iter()
            .rev()
            .map(|below| self.store.layers().diff(below))
            .collect();
        let staged = layers::stage(blob, Some(diff_id), &folder, &lower)
            .map_err(layer_error("failed to register layer"))?;
        layers::write_record(&folder, chain_id, &staged)?;
        files::sync_file_system(work.path())?;
        // Under the lock, so that nobody removes it in between.
        let state = self.store.lock();
        let result = self.store.layers().publish(chain_id, &folder);
        drop(state);
        result
    }

    /// Notes by which digest a repository has a layer.
    pub(crate) fn remember(&self, index: usize, blob: &KnownBlob, repository: &str) {
        let Some(diff_id) = self.image.layers.get(index) else {
            return;
        };
        self.store.remember_blob(diff_id, blob, repository);
    }

    /// Makes the image visible: under `name`, and under `digest` in the name's repository. `manifest` are
    /// the bytes that described it.
    ///
    /// # Errors
    /// The disk's; nothing has become visible then.
    pub(crate) fn finish(
        self,
        name: &Reference,
        digest: &str,
        manifest: &[u8],
    ) -> Result<(), ImageError> {
        let mut image = self.image.clone();
        let id = image.id.clone();
        let manifest_digest = super::compress::digest(manifest);
        let mut state = self.store.lock();
        state.complete(&mut image, self.store.layers())?;
        files::write_atomic(&state.manifest_path(&manifest_digest), manifest)?;
        // A name with a digest is not a tag, even where it has one.
        let names: Vec<(String, String)> = name
            .tagged()
            .filter(|_| name.digest.is_none())
            .map(|key| (key, id.clone()))
            .into_iter()
            .collect();
        let digests = [(format!("{}@{digest}", name.repository), id.clone())];
        state.register(vec![(image, self.config.clone())], &names, &digests)?;
        state.set_manifest(&id, &manifest_digest)
    }
}

impl ImageStore {
    /// Notes by which digest a repository (full name) has a layer. A failure costs time later.
    pub(crate) fn remember_blob(&self, diff_id: &str, blob: &KnownBlob, repository: &str) {
        let state = self.lock();
        if let Err(error) = blobs::remember(&state.blobs_folder(), diff_id, blob, repository) {
            tracing::warn!(layer = diff_id, error = %error, "the registry of a layer is not remembered");
        }
    }
}
