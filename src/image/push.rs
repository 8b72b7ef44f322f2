//! An image on its way out to a registry: its configuration, its layers as registries know them, and the
//! compressed bytes of those that no registry has.
//!
//! gzip of fixed settings and without a time: the same layer gives the same bytes.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use flate2::Compression;
use flate2::write::GzEncoder;
use sha2::{Digest as _, Sha256};

use super::blobs::{self, KnownBlob};
use super::compress::{digest, hex};
use super::error::ImageError;
use super::reference::{Reference, hex_of};
use super::store::ImageStore;
use super::tape;

/// A layer of an image that is pushed.
#[derive(Clone, Debug)]
pub(crate) struct PushLayer {
    chain_id: String,
    pub(crate) diff_id: String,
    /// Its forms in registries, the latest first.
    pub(crate) known: Vec<KnownBlob>,
}

/// An image that is pushed. Its layers stay until this is dropped.
#[derive(Debug)]
pub(crate) struct PushSource {
    store: Arc<ImageStore>,
    pub(crate) id: String,
    pub(crate) config: Vec<u8>,
    /// Lowest first.
    pub(crate) layers: Vec<PushLayer>,
    /// The manifest that it was pulled by.
    pub(crate) manifest: Option<Vec<u8>>,
    chain: Vec<String>,
}

impl Drop for PushSource {
    fn drop(&mut self) {
        self.store.unpin(&self.chain);
    }
}

impl ImageStore {
    /// Tags of a repository (full name) in order.
    pub(crate) fn tags_in(&self, repository: &str) -> Vec<String> {
        self.lock()
            .names_in(repository)
            .into_iter()
            .filter_map(|key| key.get(repository.len() + 1..).map(str::to_owned))
            .collect()
    }

    /// Prepares the push of a name with a tag.
    ///
    /// # Errors
    /// No such name; files that are damaged.
    pub(crate) fn push_source(
        self: &Arc<Self>,
        name: &Reference,
    ) -> Result<PushSource, ImageError> {
        let mut state = self.lock();
        let missing = || ImageError::NoSuchImage(name.familiar());
        let id = name
            .tagged()
            .and_then(|key| state.named(&key))
            .ok_or_else(missing)?;
        let image = state.get(&id).ok_or_else(missing)?;
        let config = state.read_config(&id)?;
        let folder = state.blobs_folder();
        let layers = image.chain.iter().zip(&image.layers);
        let layers = layers
            .map(|(chain_id, diff_id)| PushLayer {
                chain_id: chain_id.clone(),
                diff_id: diff_id.clone(),
                known: blobs::known(&folder, diff_id),
            })
            .collect();
        // One that is lost or damaged is made anew.
        let manifest = state.manifest_of(&id).and_then(|wanted| {
            let bytes = std::fs::read(state.manifest_path(wanted)).ok()?;
            (digest(&bytes) == wanted).then_some(bytes)
        });
        Self::hold(&mut state, &image.chain);
        drop(state);
        Ok(PushSource {
            store: Arc::clone(self),
            id,
            config,
            layers,
            manifest,
            chain: image.chain.clone(),
        })
    }

    /// Notes that a repository has an image by a digest.
    ///
    /// # Errors
    /// The disk's.
    pub(crate) fn add_digest(
        &self,
        name: &Reference,
        digest: &str,
        id: &str,
    ) -> Result<(), ImageError> {
        let key = format!("{}@{digest}", name.repository);
        let mut state = self.lock();
        // It may have been removed while it was pushed.
        if state.get(id).is_none() || state.digested(&key).as_deref() == Some(id) {
            return Ok(());
        }
        state.register(Vec::new(), &[], &[(key, id.to_owned())])
    }
}

impl PushSource {
    /// Writes a layer as gzip to a new file; its digest and length. Stops with an error once `cancelled`.
    ///
    /// # Errors
    /// A layer that cannot be read or is not what was loaded; the disk's.
    pub(crate) fn compress(
        &self,
        layer: &PushLayer,
        path: &Path,
        cancelled: &AtomicBool,
    ) -> Result<(String, u64), ImageError> {
        let folder = self.store.layers().path(&layer.chain_id);
        let record = self.store.layers().record(&layer.chain_id)?;
        if record.is_none_or(|record| record.tar_size.is_none()) {
            return Err(ImageError::NoTape {
                layer: layer.chain_id.clone(),
            });
        }
        let file = File::create_new(path).map_err(ImageError::io("create", path))?;
        let packed = Hashed::new(BufWriter::new(file), cancelled);
        let mut plain = Hashed::new(GzEncoder::new(packed, Compression::default()), cancelled);
        tape::play(&folder, &mut plain).map_err(|source| ImageError::Play {
            layer: layer.diff_id.clone(),
            source,
        })?;
        if hex_of(&layer.diff_id) != Some(hex(&plain.hash.finalize()).as_str()) {
            return Err(ImageError::Changed {
                layer: layer.diff_id.clone(),
            });
        }
        let mut packed = plain.out.finish().map_err(ImageError::io("write", path))?;
        packed.out.flush().map_err(ImageError::io("write", path))?;
        let digest = format!("sha256:{}", hex(&packed.hash.finalize()));
        Ok((digest, packed.len))
    }
}

/// Passes bytes on, with their digest and number.
struct Hashed<'a, W> {
    out: W,
    hash: Sha256,
    len: u64,
    cancelled: &'a AtomicBool,
}

impl<'a, W> Hashed<'a, W> {
    fn new(out: W, cancelled: &'a AtomicBool) -> Self {
        Self {
            out,
            hash: Sha256::new(),
            len: 0,
            cancelled,
        }
    }
}

impl<W: Write> Write for Hashed<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.cancelled.load(Ordering::Relaxed) {
            return Err(io::Error::other("context canceled"));
        }
        let written = self.out.write(bytes)?;
        self.hash.update(&bytes[..written]);
        self.len += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}
