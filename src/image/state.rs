//! `repositories.json`: which images there are and what they are called. Its replacement is the one
//! moment at which images and names appear or vanish.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::compress::digest;
use super::config::{self, Image, NO_TIME};
use super::error::ImageError;
use super::files;
use super::layers::LayerStore;
use super::reference::{Reference, familiar, hex_of, is_hex};
use crate::state_file::{Unusable, parse};

const VERSION: u64 = 1;

/// As on disk.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Saved {
    version: u64,
    /// By id.
    images: BTreeMap<String, SavedImage>,
    /// `docker.io/library/x:latest` to image id.
    names: BTreeMap<String, String>,
    /// `docker.io/library/x@sha256:...` to image id.
    digests: BTreeMap<String, String>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct SavedImage {
    /// RFC 3339; none if it never had a name.
    tagged: Option<String>,
    /// Digest of the manifest that it was pulled by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    manifest: Option<String>,
}

/// What is in memory: the saved state and the parsed images.
#[derive(Debug)]
pub(super) struct State {
    folder: PathBuf,
    saved: Saved,
    images: BTreeMap<String, Arc<Image>>,
    /// Layers that a load in flight relies on.
    pub(super) pinned: HashMap<String, usize>,
    /// Something could not be read at start: what looks unused may not be.
    pub(super) damaged: bool,
}

impl State {
    /// Reads the state. An image that cannot be used is reported and left out, not deleted.
    pub(super) fn open(data_root: &Path, layers: &LayerStore) -> Result<Self, ImageError> {
        let folder = data_root.join("image");
        files::make_folder(&folder.join("configs"))?;
        files::make_folder(&folder.join("manifests"))?;
        let mut state = Self {
            folder,
            saved: Saved::default(),
            images: BTreeMap::new(),
            pinned: HashMap::new(),
            damaged: false,
        };
        state.read()?;
        let ids: Vec<String> = state.saved.images.keys().cloned().collect();
        for id in ids {
            match state.read_image(&id, layers) {
                Ok(image) => {
                    state.images.insert(id, Arc::new(image));
                }
                Err(error) => {
                    state.damaged = true;
                    tracing::error!(image = %id, error = %error, "image left out");
                }
            }
        }
        state.rebuild_names();
        Ok(state)
    }

    fn read(&mut self) -> Result<(), ImageError> {
        let path = self.folder.join("repositories.json");
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.saved.version = VERSION;
                return Ok(());
            }
            Err(error) => return Err(ImageError::io("read", &path)(error)),
        };
        match parse::<Saved>(&bytes, VERSION) {
            Ok(saved) => {
                self.saved = saved;
                Ok(())
            }
            Err(Unusable::Newer(found)) => Err(ImageError::StateVersion {
                path,
                found,
                known: VERSION,
            }),
            Err(Unusable::Damaged(source)) => {
                let kept = path.with_extension("json.damaged");
                fs::rename(&path, &kept).map_err(ImageError::io("rename", &path))?;
                let error = ImageError::Damaged { path, source };
                tracing::error!(
                    error = %error,
                    kept = %kept.display(),
                    "names of images are lost, the images can be used by id"
                );
                self.damaged = true;
                self.saved.version = VERSION;
                for id in self.configs()? {
                    self.saved.images.insert(id, SavedImage::default());
                }
                Ok(())
            }
        }
    }

    fn read_image(&self, id: &str, layers: &LayerStore) -> Result<Image, ImageError> {
        let path = self.config_path(id);
        let bytes = fs::read(&path).map_err(ImageError::io("read", &path))?;
        if digest(&bytes) != id {
            return Err(ImageError::io("use", &path)(io::Error::new(
                io::ErrorKind::InvalidData,
                "its digest has changed",
            )));
        }
        let mut image = config::parse(id, &bytes)?;
        self.complete(&mut image, layers)?;
        Ok(image)
    }

    /// Fills in what is known of the layers.
    pub(super) fn complete(
        &self,
        image: &mut Image,
        layers: &LayerStore,
    ) -> Result<(), ImageError> {
        image.layer_sizes.clear();
        for chain_id in &image.chain {
            let record = layers
                .record(chain_id)?
                .ok_or_else(|| ImageError::LayerMissing {
                    image: image.id.clone(),
                    layer: chain_id.clone(),
                })?;
            image.layer_sizes.push(record.size);
        }
        image.size = image
            .layer_sizes
            .iter()
            .fold(0, |sum, size| sum.saturating_add(*size));
        image.graph_driver = graph_driver(&image.chain, layers);
        Ok(())
    }

    /// Writes `saved` and takes it over; on an error nothing has changed.
    fn replace(&mut self, saved: Saved) -> Result<(), ImageError> {
        let path = self.folder.join("repositories.json");
        let bytes = serde_json::to_vec_pretty(&saved).map_err(|source| ImageError::Damaged {
            path: path.clone(),
            source,
        })?;
        files::write_atomic(&path, &bytes)?;
        self.saved = saved;
        Ok(())
    }

    /// Registers images (whose layers are in place) and names, all at once.
    pub(super) fn register(
        &mut self,
        images: Vec<(Image, Vec<u8>)>,
        names: &[(String, String)],
        digests: &[(String, String)],
    ) -> Result<(), ImageError> {
        let mut saved = self.saved.clone();
        let now = now();
        for (image, bytes) in &images {
            let path = self.config_path(&image.id);
            if !self.images.contains_key(&image.id) {
                files::write_atomic(&path, bytes)?;
            }
            saved.images.entry(image.id.clone()).or_default();
        }
        for (key, id) in names {
            saved.names.insert(key.clone(), id.clone());
            saved
                .images
                .entry(id.clone())
                .or_default()
                .tagged
                .replace(now.clone());
        }
        for (key, id) in digests {
            saved.digests.insert(key.clone(), id.clone());
        }
        self.replace(saved)?;
        for (image, _) in images {
            self.images.insert(image.id.clone(), Arc::new(image));
        }
        self.rebuild_names();
        Ok(())
    }

    /// Drops names, and the image if it is said so. The configuration's file goes after that.
    pub(super) fn forget(
        &mut self,
        id: &str,
        names: &[String],
        delete: bool,
    ) -> Result<(), ImageError> {
        let mut saved = self.saved.clone();
        for key in names {
            saved.names.remove(key);
            saved.digests.remove(key);
        }
        let mut manifest = None;
        if delete {
            let gone = saved.images.remove(id);
            manifest = gone.and_then(|image| image.manifest);
            saved.names.retain(|_, image| image != id);
            saved.digests.retain(|_, image| image != id);
        }
        self.replace(saved)?;
        if delete {
            self.images.remove(id);
            let path = self.config_path(id);
            // A manifest names one configuration, so it is of no other image.
            let manifest = manifest.map(|digest| self.manifest_path(&digest));
            for path in [Some(path), manifest].into_iter().flatten() {
                if let Err(error) = files::remove_file(&path) {
                    tracing::warn!(image = id, error = %error, "left behind until the next start");
                }
            }
        }
        self.rebuild_names();
        Ok(())
    }

    /// Notes the manifest of an image, whose file is in place.
    pub(super) fn set_manifest(&mut self, id: &str, digest: &str) -> Result<(), ImageError> {
        let mut saved = self.saved.clone();
        let Some(image) = saved.images.get_mut(id) else {
            return Ok(());
        };
        if image.manifest.as_deref() == Some(digest) {
            return Ok(());
        }
        image.manifest = Some(digest.to_owned());
        self.replace(saved)
    }

    /// Digest of the manifest that an image was pulled by.
    pub(super) fn manifest_of(&self, id: &str) -> Option<&str> {
        self.saved.images.get(id)?.manifest.as_deref()
    }

    pub(super) fn manifest_path(&self, digest: &str) -> PathBuf {
        self.folder
            .join("manifests")
            .join(hex_of(digest).unwrap_or(digest))
    }

    /// Folder of what is known of layers in registries.
    pub(super) fn blobs_folder(&self) -> PathBuf {
        self.folder.join("blobs")
    }

    /// Keys of names in a repository, in order: `docker.io/library/x:latest`.
    pub(super) fn names_in(&self, repository: &str) -> Vec<String> {
        self.saved
            .names
            .keys()
            .filter(|key| super::reference::repository_of(key) == repository)
            .cloned()
            .collect()
    }

    /// All keys of names and digests that mean an image.
    pub(super) fn references(&self, id: &str) -> Vec<String> {
        self.saved
            .names
            .iter()
            .chain(&self.saved.digests)
            .filter(|(_, image)| *image == id)
            .map(|(key, _)| key.clone())
            .collect()
    }

    /// The image that a key of names means.
    pub(super) fn named(&self, key: &str) -> Option<String> {
        self.saved.names.get(key).cloned()
    }

    /// The image that a key of digests means.
    pub(super) fn digested(&self, key: &str) -> Option<String> {
        self.saved.digests.get(key).cloned()
    }

    pub(super) fn list(&self) -> Vec<Arc<Image>> {
        self.images.values().cloned().collect()
    }

    pub(super) fn get(&self, id: &str) -> Option<Arc<Image>> {
        self.images.get(id).cloned()
    }

    /// Docker's order: a full id or digest, a name, the beginning of an id.
    pub(super) fn resolve(&self, text: &str) -> Result<Arc<Image>, ImageError> {
        if let Some(hex) = text
            .strip_prefix("sha256:")
            .filter(|hex| !hex.is_empty() && is_hex(hex))
        {
            return self
                .by_prefix(hex)
                .ok_or_else(|| ImageError::NoSuchImage(text.to_owned()));
        }
        if super::reference::is_hex64(text) {
            return self
                .by_prefix(text)
                .ok_or_else(|| ImageError::NoSuchImage(text.to_owned()));
        }
        let name = Reference::parse(text)?.with_default_tag();
        let id = match name.digested() {
            Some(key) => self.saved.digests.get(&key),
            None => name.tagged().and_then(|key| self.saved.names.get(&key)),
        };
        if let Some(image) = id.and_then(|id| self.images.get(id)) {
            return Ok(Arc::clone(image));
        }
        if is_hex(text)
            && let Some(image) = self.by_prefix(text)
        {
            return Ok(image);
        }
        Err(ImageError::NoSuchImage(name.familiar()))
    }

    /// The only image whose id begins so.
    fn by_prefix(&self, hex: &str) -> Option<Arc<Image>> {
        let start = format!("sha256:{hex}");
        let mut found = self
            .images
            .range(start.clone()..)
            .take_while(|(id, _)| id.starts_with(&start));
        let (_, image) = found.next()?;
        found.next().is_none().then(|| Arc::clone(image))
    }

    /// Ids of the configurations on disk.
    pub(super) fn configs(&self) -> Result<Vec<String>, ImageError> {
        let folder = self.folder.join("configs");
        let mut found = Vec::new();
        for entry in fs::read_dir(&folder).map_err(ImageError::io("read", &folder))? {
            let entry = entry.map_err(ImageError::io("read", &folder))?;
            let id = format!("sha256:{}", entry.file_name().to_string_lossy());
            if hex_of(&id).is_some() {
                found.push(id);
            }
        }
        Ok(found)
    }

    /// Removes configurations of no image: a crash came before they were registered.
    pub(super) fn remove_stray_configs(&self) -> Result<(), ImageError> {
        for id in self.configs()? {
            if !self.saved.images.contains_key(&id) {
                files::remove_file(&self.config_path(&id))?;
            }
        }
        let folder = self.folder.join("manifests");
        let used: Vec<PathBuf> = self
            .saved
            .images
            .values()
            .filter_map(|image| Some(self.manifest_path(image.manifest.as_deref()?)))
            .collect();
        for entry in fs::read_dir(&folder).map_err(ImageError::io("read", &folder))? {
            let path = entry.map_err(ImageError::io("read", &folder))?.path();
            if !used.contains(&path) {
                files::remove_file(&path)?;
            }
        }
        let layers = self.images.values().flat_map(|image| &image.layers);
        super::blobs::keep_only(&self.blobs_folder(), layers)
    }

    pub(super) fn config_path(&self, id: &str) -> PathBuf {
        self.folder.join("configs").join(hex_of(id).unwrap_or(id))
    }

    /// Gives each image the names that mean it now.
    fn rebuild_names(&mut self) {
        let names = group(&self.saved.names);
        let digests = group(&self.saved.digests);
        for (id, image) in &mut self.images {
            let tags = names.get(id.as_str()).cloned().unwrap_or_default();
            let by_digest = digests.get(id.as_str()).cloned().unwrap_or_default();
            let time = self
                .saved
                .images
                .get(id)
                .and_then(|saved| saved.tagged.as_deref())
                .unwrap_or(NO_TIME);
            if image.repo_tags != tags
                || image.repo_digests != by_digest
                || image.last_tag_time != time
            {
                let image = Arc::make_mut(image);
                image.repo_tags = tags;
                image.repo_digests = by_digest;
                image.last_tag_time = time.to_owned();
            }
        }
    }
}

/// Familiar names by image.
fn group(names: &BTreeMap<String, String>) -> HashMap<&str, Vec<String>> {
    let mut groups: HashMap<&str, Vec<String>> = HashMap::new();
    for (key, id) in names {
        groups.entry(id).or_default().push(familiar(key).to_owned());
    }
    groups
}

fn graph_driver(chain: &[String], layers: &LayerStore) -> Value {
    let mut data = serde_json::Map::new();
    if let Some((top, below)) = chain.split_last() {
        let top = layers.diff(top);
        // Docker names these two as well, also where nothing was ever mounted there.
        data.insert("MergedDir".to_owned(), json!(top.with_file_name("merged")));
        data.insert("WorkDir".to_owned(), json!(top.with_file_name("work")));
        data.insert("UpperDir".to_owned(), json!(top));
        if !below.is_empty() {
            data.insert("LowerDir".to_owned(), json!(layers.lower_dirs(below)));
        }
    }
    json!({"Name": "overlay2", "Data": data})
}

/// RFC 3339 with nanoseconds.
pub(super) fn now() -> String {
    jiff::Timestamp::now().to_string()
}
