//! The store: what the rest of the daemon calls.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::Read;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use nix::fcntl::OFlag;
use nix::sys::stat::Mode;
use tempfile::TempDir;

use super::archive::{Candidate, LayerBlob, Members};
use super::compress::HashReader;
use super::config::{self, Image};
use super::error::{ArchiveError, ImageError, LayerError};
use super::held::HeldRootfs;
use super::layers::{self, LayerStore};
use super::reference::{Reference, check_tag};
use super::remove::{self, InUse, Removed};
use super::rootfs::Rootfs;
use super::state::{State, now};
use super::upper::{self, ChangeKind};
use super::{changes, files, save};

const TEMPORARY: &str = "image-";
/// Prefix of a container's folder that is being removed.
const REMOVED: &str = "removed-";

/// What a load has done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum LoadEvent {
    /// An image is registered: once for each of its names, or once without.
    Loaded {
        /// `sha256:...`
        id: String,
        /// Familiar: `busybox:latest`
        name: Option<String>,
    },
    /// A name has meant another image until now.
    Renamed {
        /// Familiar: `busybox:latest`
        name: String,
        /// `sha256:...`
        old: String,
    },
}

/// The images below a data root. Two stores on one data root are not allowed (the daemon's lock).
#[derive(Debug)]
pub(crate) struct ImageStore {
    temporary: PathBuf,
    pub(super) layers: LayerStore,
    pub(super) rootfs: Rootfs,
    state: Mutex<State>,
}

/// Layers that must not be removed while a load relies on them.
pub(super) struct Pins<'a> {
    store: &'a ImageStore,
    chain: Vec<String>,
}

impl Drop for Pins<'_> {
    fn drop(&mut self) {
        self.store.unpin(&self.chain);
    }
}

/// An image on its way in: its new layers lie in a temporary folder.
pub(super) struct Staged {
    pub(super) image: Image,
    pub(super) config: Vec<u8>,
    pub(super) tags: Vec<Reference>,
    pub(super) manifest: Option<String>,
    /// Chain id and folder of each layer that was not there.
    pub(super) layers: Vec<(String, PathBuf)>,
}

impl ImageStore {
    /// Where the folder of container `id` goes when it is removed: on the file system of the data
    /// root, and emptied at the next start.
    pub(crate) fn aside(&self, id: &str) -> PathBuf {
        self.temporary.join(format!("{REMOVED}{id}"))
    }

    /// Opens or creates the store. Leftovers of a crash are removed.
    pub(crate) fn open(data_root: &Path) -> Result<Self, ImageError> {
        files::make_folder(data_root)?;
        // Paths are compared with the kernel's list of mounts, which has no links in it.
        let data_root = fs::canonicalize(data_root).map_err(ImageError::io("open", data_root))?;
        let temporary = data_root.join("tmp");
        files::make_folder(&temporary)?;
        for entry in fs::read_dir(&temporary).map_err(ImageError::io("read", &temporary))? {
            let entry = entry.map_err(ImageError::io("read", &temporary))?;
            let name = entry.file_name();
            let name = name.to_string_lossy();
            if name.starts_with(TEMPORARY) || name.starts_with(REMOVED) {
                files::remove_tree(&entry.path())?;
            }
        }
        let layers = LayerStore::open(&data_root)?;
        let state = State::open(&data_root, &layers)?;
        let store = Self {
            temporary,
            layers,
            rootfs: Rootfs::open(&data_root)?,
            state: Mutex::new(state),
        };
        {
            let state = store.lock();
            if !state.damaged {
                state.remove_stray_configs()?;
                store.collect(&state, &store.layers.all()?);
            }
        }
        Ok(store)
    }

    /// Finds an image by name, name with digest, id, or unique beginning of an id.
    pub(crate) fn resolve(&self, reference: &str) -> Result<Arc<Image>, ImageError> {
        self.lock().resolve(reference)
    }

    /// All images, in no useful order.
    pub(crate) fn list(&self) -> Vec<Arc<Image>> {
        self.lock().list()
    }

    /// Loads all images of an archive (docker-archive or OCI layout; plain, gzip or zstd), or none.
    pub(crate) fn load(
        &self,
        tar: &mut dyn Read,
        progress: &mut dyn FnMut(LoadEvent),
    ) -> Result<(), ImageError> {
        let work = self.work_folder()?;
        let members = Members::spool(tar, work.path())?;
        let candidates = members.images()?;
        let mut pins = Vec::new();
        let mut staged: Vec<Staged> = Vec::new();
        for candidate in candidates {
            let (image, pin) = self.stage_candidate(candidate, work.path(), &staged)?;
            pins.push(pin);
            staged.push(image);
        }
        for event in self.publish(staged)? {
            progress(event);
        }
        Ok(())
    }

    /// Runs `write` on an archive of images, whose layers stay until it is through. `prepared` gets
    /// their ids first: an error before that has written nothing.
    pub(crate) fn save(
        &self,
        names: &[String],
        prepared: &mut dyn FnMut(&[String]),
        out: &mut dyn std::io::Write,
    ) -> Result<(), ImageError> {
        let (archive, ids, chain) = {
            let state = self.lock();
            let chosen = save::choose(&state, names)?;
            let chain: Vec<String> = chosen
                .iter()
                .flat_map(|one| one.image.chain.iter().cloned())
                .collect();
            let ids: Vec<String> = chosen.iter().map(|one| one.image.id.clone()).collect();
            let archive = save::Archive::prepare(&state, &self.layers, &chosen)?;
            (archive, ids, self.pin_in(state, &chain))
        };
        prepared(&ids);
        let result = archive.write(out);
        drop(chain);
        result
    }

    /// Makes an image of one layer from a root file system's tar (plain, gzip or zstd). `changes` are
    /// Dockerfile instructions.
    pub(crate) fn import(
        &self,
        tar: &mut dyn Read,
        reference: Option<&str>,
        message: &str,
        changes: &[String],
    ) -> Result<Arc<Image>, ImageError> {
        let tag = match reference.filter(|text| !text.is_empty()) {
            Some(text) => {
                let tag = Reference::parse(text)?;
                if tag.digest.is_some() {
                    return Err(ImageError::DigestReference("cannot import"));
                }
                Some(tag.with_default_tag())
            }
            None => None,
        };
        let container_config = changes::apply(changes)?;
        let work = self.work_folder()?;
        let folder = work.path().join("layer");
        let layer = layers::stage(tar, None, &folder, &[]).map_err(|error| match error {
            LayerError::Tar(error) => ArchiveError::Tar(error).into(),
            error => layer_error("root file system")(error),
        })?;
        let diff_id = layer.diff_id.clone();
        let comment = if message.is_empty() {
            "Imported from -"
        } else {
            message
        };
        let config = config::imported(&container_config, &diff_id, comment, &now())?;
        let image = config::parse("imported image", &config)?;
        let _pin = self.pin(&image.chain);
        // With one layer both ids are the same.
        layers::write_record(&folder, &diff_id, &layer)?;
        let id = image.id.clone();
        self.publish(vec![Staged {
            image,
            config,
            tags: tag.into_iter().collect(),
            manifest: None,
            layers: vec![(diff_id, folder)],
        }])?;
        self.lock().get(&id).ok_or(ImageError::NoSuchImage(id))
    }

    /// Gives an image another name; an empty `tag` is `latest`, unless `repo` has one.
    pub(crate) fn tag(&self, image: &str, repo: &str, tag: &str) -> Result<(), ImageError> {
        let mut name = Reference::parse(repo)?;
        if name.digest.is_some() {
            return Err(ImageError::DigestReference(
                "refusing to create a tag with a",
            ));
        }
        if name.is_digest_algorithm() {
            return Err(ImageError::AmbiguousTag);
        }
        if !tag.is_empty() {
            check_tag(tag)?;
            name.tag = Some(tag.to_owned());
        }
        let Some(key) = name.with_default_tag().tagged() else {
            return Ok(());
        };
        let mut state = self.lock();
        let id = state.resolve(image)?.id.clone();
        state.register(Vec::new(), &[(key, id)], &[])
    }

    /// Removes a name, and the image with its last one; or an image by id. `no_prune` is accepted:
    /// there are no untagged parents here. `in_use` names a container that uses an image, a running
    /// one if there is any; it is called without the store's lock.
    pub(crate) fn remove(
        &self,
        reference: &str,
        force: bool,
        _no_prune: bool,
        in_use: &dyn Fn(&str) -> Option<InUse>,
    ) -> Result<Vec<Removed>, ImageError> {
        loop {
            let id = self.lock().resolve(reference)?.id.clone();
            let user = in_use(&id);
            let mut state = self.lock();
            let image = state.resolve(reference)?;
            if image.id != id {
                // The name has come to mean another image meanwhile.
                continue;
            }
            let plan = remove::plan(&state, reference, &id, force, user.as_ref())?;
            state.forget(&id, &plan.names, plan.delete)?;
            let mut done: Vec<Removed> = plan
                .names
                .iter()
                .map(|key| Removed::Untagged(remove::shown(key)))
                .collect();
            if plan.delete {
                done.push(Removed::Deleted(id));
                // As Docker: the layers, too, topmost first.
                let gone = self.collect(&state, &image.chain);
                let layer = |(id, size)| Removed::Layer { id, size };
                done.extend(gone.into_iter().rev().map(layer));
            }
            return Ok(done);
        }
    }

    /// Removes the images that no container uses: without a name, or all with `named`; of them those
    /// that `chosen` takes. What cannot be removed stays, as by Docker.
    pub(crate) fn prune(
        &self,
        named: bool,
        chosen: &dyn Fn(&Image) -> bool,
        in_use: &dyn Fn(&str) -> Option<InUse>,
    ) -> Vec<(Arc<Image>, Vec<Removed>)> {
        let mut pruned = Vec::new();
        for image in self.list() {
            if !(named || image.repo_tags.is_empty()) || !chosen(&image) {
                continue;
            }
            let names = self.lock().references(&image.id);
            let wanted = if names.is_empty() {
                vec![image.id.clone()]
            } else {
                names
            };
            let mut removed = Vec::new();
            for name in wanted {
                match self.remove(&name, false, false, in_use) {
                    Ok(done) => removed.extend(done),
                    Err(error) => tracing::debug!(image = name, error = %error, "not pruned"),
                }
            }
            if !removed.is_empty() {
                pruned.push((image, removed));
            }
        }
        pruned
    }

    /// Makes a container's folders. Its layers stay until `remove_rootfs`, also without their image.
    pub(crate) fn prepare_rootfs(&self, container: &str, image: &Image) -> Result<(), ImageError> {
        let state = self.lock();
        for layer in &image.chain {
            if self.layers.record(layer)?.is_none() {
                return Err(ImageError::LayerMissing {
                    image: image.id.clone(),
                    layer: layer.clone(),
                });
            }
        }
        let result = self.rootfs.prepare(container, &image.id, &image.chain);
        drop(state);
        result
    }

    /// Mounts a container's root file system, if it is not mounted yet; returns its path.
    pub(crate) fn mount_rootfs(&self, container: &str) -> Result<PathBuf, ImageError> {
        self.rootfs.mount(container, &self.layers)
    }

    /// Mounts a container's root file system for somebody besides its run.
    pub(crate) fn hold_rootfs(self: &Arc<Self>, container: &str) -> Result<HeldRootfs, ImageError> {
        let path = self.rootfs.hold(container, &self.layers)?;
        Ok(HeldRootfs {
            store: Arc::clone(self),
            container: container.to_owned(),
            path,
        })
    }

    /// What a container has changed of its image, by absolute path.
    pub(crate) fn changes(
        &self,
        container: &str,
    ) -> Result<Vec<(Vec<u8>, ChangeKind)>, ImageError> {
        let lower = self.lower_of(&self.rootfs.layers_of(container)?)?;
        let upper = open_folder(&self.rootfs.upper(container)?)?;
        let mut compare = upper::Compare::new(&lower);
        upper::walk(&upper, &mut compare)?;
        Ok(compare.finish())
    }

    /// The folders of layers, topmost first, held open.
    pub(super) fn lower_of(&self, chain: &[String]) -> Result<upper::Lower, ImageError> {
        let open = |layer: &String| open_folder(&self.layers.diff(layer));
        chain
            .iter()
            .rev()
            .map(open)
            .collect::<Result<_, _>>()
            .map(upper::Lower)
    }

    pub(super) fn release_rootfs(&self, container: &str) {
        if let Err(error) = self.rootfs.release(container) {
            tracing::warn!(container, error = %error, "root file system cannot be unmounted");
        }
    }

    /// The folders of the layers that a container stands on, topmost first, joined by `:`.
    pub(crate) fn lower_dirs(&self, container: &str) -> String {
        match self.rootfs.layers_of(container) {
            Ok(layers) => self.layers.lower_dirs(&layers),
            Err(error) => {
                tracing::warn!(container, error = %error, "layers of the container are not known");
                String::new()
            }
        }
    }

    /// Mounts a container's `/dev/shm` on the host, so that others can share it; returns its path.
    pub(crate) fn mount_shm(&self, container: &str, bytes: i64) -> Result<PathBuf, ImageError> {
        self.rootfs.mount_shm(container, bytes)
    }

    /// The path that `mount_shm` gave; `None` if it is not mounted.
    pub(crate) fn shm(&self, container: &str) -> Result<Option<PathBuf>, ImageError> {
        self.rootfs.shm(container)
    }

    /// Unmounts it and what `mount_shm` mounted, if they are mounted; a busy one is detached.
    pub(crate) fn unmount_rootfs(&self, container: &str) -> Result<(), ImageError> {
        self.rootfs.unmount(container)
    }

    /// Unmounts and removes all that the container has written; fine if there is nothing.
    pub(crate) fn remove_rootfs(&self, container: &str) -> Result<(), ImageError> {
        let layers = self.rootfs.remove(container)?;
        let state = self.lock();
        self.collect(&state, &layers);
        Ok(())
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        // The state is replaced as a whole after the file was written: a panic leaves a valid one.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn layers(&self) -> &LayerStore {
        &self.layers
    }

    /// A folder for what is on its way; removed when it is dropped, or at the next start.
    pub(super) fn work_folder(&self) -> Result<TempDir, ImageError> {
        tempfile::Builder::new()
            .prefix(TEMPORARY)
            .tempdir_in(&self.temporary)
            .map_err(ImageError::io("create a folder in", &self.temporary))
    }

    pub(super) fn pin(&self, chain: &[String]) -> Pins<'_> {
        self.pin_in(self.lock(), chain)
    }

    /// As `pin`, without giving the lock away before.
    fn pin_in(&self, mut state: MutexGuard<'_, State>, chain: &[String]) -> Pins<'_> {
        Self::hold(&mut state, chain);
        Pins {
            store: self,
            chain: chain.to_vec(),
        }
    }

    /// Keeps layers from being removed until `unpin`.
    pub(super) fn hold(state: &mut State, chain: &[String]) {
        for id in chain {
            *state.pinned.entry(id.clone()).or_default() += 1;
        }
    }

    /// Takes back one `hold`.
    pub(super) fn unpin(&self, chain: &[String]) {
        let mut state = self.lock();
        for id in chain {
            if let Some(count) = state.pinned.get_mut(id) {
                *count -= 1;
                if *count == 0 {
                    state.pinned.remove(id);
                }
            }
        }
        // Their image may have been removed meanwhile.
        self.collect(&state, chain);
    }

    /// Unpacks what an image needs and the store has not; `before` are the archive's earlier images.
    fn stage_candidate(
        &self,
        candidate: Candidate,
        work: &Path,
        before: &[Staged],
    ) -> Result<(Staged, Pins<'_>), ImageError> {
        let image = config::parse(&candidate.name, &candidate.config)?;
        if image.layers.len() != candidate.layers.len() {
            return Err(ArchiveError::LayerCount {
                config: candidate.name,
                layers: candidate.layers.len(),
                diff_ids: image.layers.len(),
            }
            .into());
        }
        let pins = self.pin(&image.chain);
        let mut new: Vec<(String, PathBuf)> = Vec::new();
        let mut lower: Vec<PathBuf> = Vec::new();
        let layers = image.chain.iter().zip(&image.layers);
        for (blob, (chain_id, diff_id)) in candidate.layers.iter().zip(layers) {
            let staged = before
                .iter()
                .flat_map(|staged| &staged.layers)
                .chain(&new)
                .find(|(id, _)| id == chain_id)
                .map(|(_, folder)| folder.join("diff"));
            let known = match staged {
                Some(diff) => Some(diff),
                None => self
                    .layers
                    .record(chain_id)?
                    .map(|_| self.layers.diff(chain_id)),
            };
            let diff = match known {
                Some(diff) => {
                    read_blob(blob, diff_id, |stream| layers::verify(stream, diff_id))?;
                    diff
                }
                None => {
                    let folder = work.join(format!("layer-{}-{}", before.len(), new.len()));
                    let layer = read_blob(blob, diff_id, |stream| {
                        layers::stage(stream, Some(diff_id), &folder, &lower)
                    })?;
                    layers::write_record(&folder, chain_id, &layer)?;
                    let diff = folder.join("diff");
                    new.push((chain_id.clone(), folder));
                    diff
                }
            };
            lower.insert(0, diff);
        }
        let staged = Staged {
            image,
            config: candidate.config,
            tags: candidate.tags,
            manifest: candidate.manifest,
            layers: new,
        };
        Ok((staged, pins))
    }

    /// Makes staged images visible, all at once.
    pub(super) fn publish(&self, staged: Vec<Staged>) -> Result<Vec<LoadEvent>, ImageError> {
        if staged.iter().any(|image| !image.layers.is_empty()) {
            files::sync_file_system(&self.temporary)?;
        }
        let mut state = self.lock();
        let mut images = Vec::new();
        let mut names = Vec::new();
        let mut digests = Vec::new();
        let mut events = Vec::new();
        for mut item in staged {
            for (chain_id, folder) in &item.layers {
                self.layers.publish(chain_id, folder)?;
            }
            state.complete(&mut item.image, &self.layers)?;
            let id = item.image.id.clone();
            if item.tags.is_empty() {
                events.push(LoadEvent::Loaded {
                    id: id.clone(),
                    name: None,
                });
            }
            for tag in item.tags {
                if let Some(old) = tag.tagged().and_then(|key| state.named(&key))
                    && old != id
                {
                    events.push(LoadEvent::Renamed {
                        name: tag.familiar(),
                        old,
                    });
                }
                events.push(LoadEvent::Loaded {
                    id: id.clone(),
                    name: Some(tag.familiar()),
                });
                if let Some(manifest) = &item.manifest {
                    digests.push((format!("{}@{manifest}", tag.repository), id.clone()));
                }
                if let Some(key) = tag.tagged() {
                    names.push((key, id.clone()));
                }
            }
            images.push((item.image, item.config));
        }
        state.register(images, &names, &digests)?;
        Ok(events)
    }

    /// Removes those of `candidates` that no image, container or load needs, and tells which. A failure
    /// is a line in the log: the next start tries again.
    fn collect(&self, state: &State, candidates: &[String]) -> Vec<(String, u64)> {
        let mut gone = Vec::new();
        // An image that could not be read may need any of them.
        if candidates.is_empty() || state.damaged {
            return gone;
        }
        let used = match self.rootfs.layers_in_use() {
            Ok(used) => used,
            Err(error) => {
                tracing::warn!(error = %error, "unused layers are kept: users of layers unknown");
                return gone;
            }
        };
        let mut needed: HashSet<String> = used.into_iter().collect();
        for image in state.list() {
            needed.extend(image.chain.iter().cloned());
        }
        for layer in candidates {
            if needed.contains(layer) || state.pinned.contains_key(layer) {
                continue;
            }
            let size = self.layers.record(layer).ok().flatten().map(|r| r.size);
            match self.layers.remove(layer, &self.temporary) {
                Ok(()) => gone.extend(size.map(|size| (layer.clone(), size))),
                Err(error) => {
                    tracing::warn!(layer = %layer, error = %error, "unused layer left behind");
                }
            }
        }
        gone
    }
}

pub(super) fn open_folder(path: &Path) -> Result<OwnedFd, ImageError> {
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    nix::fcntl::open(path, flags, Mode::empty())
        .map_err(|errno| ImageError::io("open", path)(errno.into()))
}

/// Opens a stored layer, runs `read` on it, and compares the digest of the stored bytes.
fn read_blob<T>(
    blob: &LayerBlob,
    diff_id: &str,
    read: impl FnOnce(&mut dyn Read) -> Result<T, LayerError>,
) -> Result<T, ImageError> {
    let mut file = File::open(&blob.path).map_err(ImageError::io("open", &blob.path))?;
    // An uncompressed layer has one digest for both.
    let Some(expected) = blob.digest.as_deref().filter(|digest| *digest != diff_id) else {
        return read(&mut file).map_err(layer_error(&blob.name));
    };
    let mut stored = HashReader::new(file);
    let result = read(&mut stored);
    let (found, _) = stored
        .finish()
        .map_err(ImageError::io("read", &blob.path))?;
    // The reason behind whatever the damaged bytes led to.
    if found != expected {
        return Err(ArchiveError::Digest {
            name: blob.name.clone(),
            found: found.trim_start_matches("sha256:").to_owned(),
        }
        .into());
    }
    result.map_err(layer_error(&blob.name))
}

pub(super) fn layer_error(what: &str) -> impl FnOnce(LayerError) -> ImageError {
    let what = what.to_owned();
    move |source| ImageError::Layer { what, source }
}
