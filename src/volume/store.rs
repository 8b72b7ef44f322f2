//! The volumes of a daemon: made, counted, mounted, filled, removed.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::error::{Problem, VolumeError};
use super::mountinfo::{below, is_mounted};
use super::slot::{Slot, SlotState, Slots};
use super::state::{ANONYMOUS, Meta, MetaError};
use super::{LOCAL, fill, mount, name, options};
use crate::errors::chain;
use crate::events::Events;

/// Folder of the content within a volume's.
const DATA: &str = "_data";
/// Content that is being copied from an image; it becomes the content when it is whole.
const FILLING: &str = "_data.part";
/// What is being made and what is being removed. No volume's name begins with a dot.
const NEW: &str = ".new-";
const GONE: &str = ".gone-";
/// Others may walk through, as with Docker: containers that map users need it.
const FOLDER_MODE: u32 = 0o701;

/// What a client or a container asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Wish {
    /// Empty: one is made up, and the volume is anonymous.
    pub(crate) name: String,
    /// Empty is `local`.
    pub(crate) driver: String,
    pub(crate) labels: Option<BTreeMap<String, String>>,
    pub(crate) options: Option<BTreeMap<String, String>>,
}

/// A volume at a moment.
#[derive(Clone, Debug)]
pub(crate) struct Volume {
    pub(crate) meta: Arc<Meta>,
    /// Its content.
    pub(crate) path: PathBuf,
    /// Containers that it belongs to.
    pub(crate) owners: usize,
}

/// All volumes.
#[derive(Debug)]
pub(crate) struct VolumeStore {
    /// Without links: paths are compared with the kernel's list of mounts.
    root: PathBuf,
    slots: Slots,
    events: Arc<Events>,
    /// Numbers folders that are being made or removed.
    counter: AtomicU64,
}

/// Where the content of a volume is, below the folder of all volumes.
pub(crate) fn data_dir(root: &Path, name: &str) -> PathBuf {
    root.join(name).join(DATA)
}

impl VolumeStore {
    /// Opens the volumes below a data root. What a daemon that died was making or removing goes;
    /// a folder that is no volume is said in the log and left alone.
    ///
    /// # Errors
    /// The folder cannot be made or read.
    pub(crate) fn open(data_root: &Path, events: Arc<Events>) -> Result<Self, VolumeError> {
        let root = data_root.join("volumes");
        match DirBuilder::new().mode(FOLDER_MODE).create(&root) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                return Err(VolumeError::file("create", &root)(error));
            }
            _ => {}
        }
        let root = fs::canonicalize(&root).map_err(VolumeError::file("open", &root))?;
        let store = Self {
            root,
            slots: Slots::default(),
            events,
            counter: AtomicU64::new(0),
        };
        let read = VolumeError::file("read", &store.root);
        for entry in fs::read_dir(&store.root).map_err(read)? {
            let entry = entry.map_err(VolumeError::file("read", &store.root))?;
            let path = entry.path();
            let file_name = entry.file_name().to_string_lossy().into_owned();
            if file_name.starts_with(NEW) || file_name.starts_with(GONE) {
                if let Err(error) = remove_tree(&path) {
                    tracing::warn!(path = %path.display(), %error, "what is left of a volume cannot be removed");
                }
                continue;
            }
            store.load(&path, &file_name);
        }
        Ok(store)
    }

    fn load(&self, path: &Path, name: &str) {
        match Meta::load(path, name) {
            Ok(meta) => {
                let part = path.join(FILLING);
                if let Err(error) = unless_missing(fs::remove_dir_all(&part)) {
                    tracing::warn!(path = %part.display(), %error, "what is left of a copy cannot be removed");
                }
                let meta = Arc::new(meta);
                self.slots.with(name, |slot| slot.state().meta = Some(meta));
            }
            Err(MetaError::Read { source, .. }) if is_no_volume(&source) => {
                tracing::warn!(path = %path.display(), "not a volume's folder, left alone");
            }
            Err(error) => {
                tracing::error!(volume = name, error = %chain(&error), "volume is refused, its files are left alone");
            }
        }
    }

    /// `<data-root>/volumes`.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// Makes a volume, or gives the one of that name, whatever its labels and options are, as Docker
    /// does. With `owner` it belongs to that container from then on.
    ///
    /// # Errors
    /// Docker's texts for another driver, bad names and options; the disk.
    pub(crate) fn create(&self, wish: &Wish, owner: Option<&str>) -> Result<Volume, VolumeError> {
        let mut labels = wish.labels.clone();
        let name = if wish.name.is_empty() {
            let marked = labels.get_or_insert_default();
            marked.insert(ANONYMOUS.to_owned(), String::new());
            name::generate()?
        } else {
            wish.name.clone()
        };
        let refuse = |problem| VolumeError::Create {
            name: name.clone(),
            problem,
        };
        if !matches!(wish.driver.as_str(), "" | LOCAL) {
            return Err(refuse(Problem::NoPlugin(wish.driver.clone())));
        }
        self.slots.with(&name, |slot| {
            if slot.state().meta.is_none() {
                name::check(&name).map_err(refuse)?;
                options::parse(wish.options.as_ref().unwrap_or(&BTreeMap::new()))
                    .map_err(refuse)?;
                let meta = Meta::new(&name, labels, wish.options.clone());
                self.make(&meta)?;
                slot.state().meta = Some(Arc::new(meta));
                self.event("create", &name);
            }
            let mut state = slot.state();
            state.owners.extend(owner.map(str::to_owned));
            self.snapshot(&state)
                .ok_or_else(|| VolumeError::NotFound(name.clone()))
        })
    }

    /// Puts a new volume on the disk, whole or not at all.
    fn make(&self, meta: &Meta) -> Result<(), VolumeError> {
        let name = &meta.name;
        let refuse = |problem| VolumeError::Create {
            name: name.clone(),
            problem,
        };
        let path = self.root.join(name);
        match fs::symlink_metadata(&path) {
            Ok(_) => return Err(refuse(Problem::Occupied(path))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            // Most of all a name that is too long.
            Err(source) => return Err(refuse(Problem::Folder { path, source })),
        }
        let part = self.aside(NEW);
        let built = build(&part, meta).and_then(|()| {
            fs::rename(&part, &path)?;
            File::open(&self.root)?.sync_all()
        });
        built.map_err(|source| {
            let _ = fs::remove_dir_all(&part);
            refuse(Problem::Folder { path, source })
        })
    }

    /// A volume that is there becomes a container's.
    ///
    /// # Errors
    /// It is not there.
    pub(crate) fn own(&self, name: &str, container: &str) -> Result<(), VolumeError> {
        self.slots.with(name, |slot| {
            let mut state = slot.state();
            if state.meta.is_none() {
                return Err(VolumeError::NotFound(name.to_owned()));
            }
            state.owners.insert(container.to_owned());
            Ok(())
        })
    }

    /// A container that runs since before this daemon has it mounted.
    pub(crate) fn adopt(&self, name: &str, container: &str) {
        if let Some(slot) = self.slots.get(name) {
            slot.state().users.insert(container.to_owned());
        }
    }

    /// A volume is a container's no more.
    pub(crate) fn release(&self, name: &str, container: &str) {
        if let Some(slot) = self.slots.get(name) {
            slot.state().owners.remove(container);
        }
    }

    /// A volume by name.
    ///
    /// # Errors
    /// It is not there.
    pub(crate) fn get(&self, name: &str) -> Result<Volume, VolumeError> {
        let slot = self.slots.get(name);
        slot.and_then(|slot| self.snapshot(&slot.state()))
            .ok_or_else(|| VolumeError::NotFound(name.to_owned()))
    }

    /// All volumes, in the order of their names.
    pub(crate) fn all(&self) -> Vec<Volume> {
        let slots = self.slots.all();
        slots
            .iter()
            .filter_map(|slot| self.snapshot(&slot.state()))
            .collect()
    }

    /// Removes a volume that belongs to no container.
    ///
    /// # Errors
    /// It is not there, in use, or its files cannot be removed: what is left is still the volume.
    pub(crate) fn remove(&self, name: &str) -> Result<(), VolumeError> {
        self.slots.with(name, |slot| {
            {
                let state = slot.state();
                if state.meta.is_none() {
                    return Err(VolumeError::NotFound(name.to_owned()));
                }
                if !state.owners.is_empty() {
                    return Err(VolumeError::InUse {
                        name: name.to_owned(),
                        users: state.owners.iter().cloned().collect(),
                    });
                }
            }
            let failed = |source| VolumeError::Remove {
                name: name.to_owned(),
                source,
            };
            let data = data_dir(&self.root, name);
            if slot.mount_options().is_some() && is_mounted(&data).map_err(failed)? {
                mount::unmount(&data).map_err(failed)?;
            }
            let path = self.root.join(name);
            // What is mounted there is somebody else's data.
            if let Some(path) = below(&path).map_err(failed)? {
                return Err(VolumeError::MountInside {
                    name: name.to_owned(),
                    path,
                });
            }
            let aside = self.aside(GONE);
            fs::rename(&path, &aside).map_err(failed)?;
            let removed = fs::remove_dir_all(aside.join(DATA));
            if let Err(source) = unless_missing(removed) {
                // What is left of the volume is found under its name again.
                let _ = fs::rename(&aside, &path);
                return Err(failed(source));
            }
            slot.state().meta = None;
            self.event("destroy", name);
            if let Err(error) = fs::remove_dir_all(&aside) {
                tracing::warn!(volume = name, %error, "the folder of a removed volume is left");
            }
            Ok(())
        })
    }

    /// A container that starts takes a volume; what its options say is mounted if it is not yet.
    ///
    /// # Errors
    /// It is not there; the mount.
    pub(crate) fn mount(&self, name: &str, container: &str) -> Result<(), VolumeError> {
        self.slots.with(name, |slot| {
            {
                let mut state = slot.state();
                if state.meta.is_none() {
                    return Err(VolumeError::NotFound(name.to_owned()));
                }
                state.owners.insert(container.to_owned());
            }
            self.mount_data(slot, name)?;
            slot.state().users.insert(container.to_owned());
            Ok(())
        })
    }

    /// A container has ended; the last one unmounts what the options have mounted.
    pub(crate) fn unmount(&self, name: &str, container: &str) {
        self.slots.with(name, |slot| {
            slot.state().users.remove(container);
            self.unmount_unused(slot, name);
        });
    }

    /// Unmounts what a daemon that died has left mounted of volumes that no container uses.
    pub(crate) fn unmount_all_unused(&self) {
        for volume in self.all() {
            let name = &volume.meta.name;
            self.slots
                .with(name, |slot| self.unmount_unused(slot, name));
        }
    }

    /// Copies a directory of an image into a volume that is empty (docs: Docker "populate a volume
    /// using a container").
    ///
    /// # Errors
    /// It is not there, cannot be mounted, or is full.
    pub(crate) fn fill(&self, name: &str, from: &Path) -> Result<(), VolumeError> {
        self.slots.with(name, |slot| {
            if slot.state().meta.is_none() {
                return Err(VolumeError::NotFound(name.to_owned()));
            }
            self.mount_data(slot, name)?;
            let filled = self.fill_data(slot, name, from);
            self.unmount_unused(slot, name);
            filled
        })
    }

    fn fill_data(&self, slot: &Slot, name: &str, from: &Path) -> Result<(), VolumeError> {
        let data = data_dir(&self.root, name);
        let mut entries = fs::read_dir(&data).map_err(VolumeError::file("read", &data))?;
        if entries.next().is_some() {
            return Ok(());
        }
        let failed = |source| VolumeError::Fill {
            name: name.to_owned(),
            source,
        };
        // The folder that a container has, or that was mounted, stays the same one.
        if slot.mount_options().is_some() || !slot.state().users.is_empty() {
            return fill::copy_tree(from, &data).map_err(failed);
        }
        let part = self.root.join(name).join(FILLING);
        unless_missing(fs::remove_dir_all(&part)).map_err(VolumeError::file("remove", &part))?;
        fs::create_dir(&part).map_err(VolumeError::file("create", &part))?;
        let copied = fill::copy_tree(from, &part)
            .map_err(failed)
            .and_then(|()| fs::rename(&part, &data).map_err(VolumeError::file("rename", &part)));
        if copied.is_err() {
            let _ = fs::remove_dir_all(&part);
        }
        copied
    }

    /// Volumes that the filter wants and that belong to nobody are removed: their names, and the
    /// bytes they had. One that cannot be removed is said in the log.
    pub(crate) fn prune(&self, wanted: impl Fn(&Volume) -> bool) -> (Vec<String>, u64) {
        let (mut names, mut bytes) = (Vec::new(), 0);
        for volume in self.all() {
            if volume.owners > 0 || !wanted(&volume) {
                continue;
            }
            let size = self.size(&volume);
            let name = &volume.meta.name;
            match self.remove(name) {
                Ok(()) => {
                    bytes += size;
                    names.push(name.clone());
                }
                // Somebody was faster.
                Err(VolumeError::InUse { .. } | VolumeError::NotFound(_)) => {}
                Err(error) => {
                    tracing::warn!(volume = name, error = %chain(&error), "volume cannot be pruned");
                }
            }
        }
        (names, bytes)
    }

    /// Bytes of a volume's files; what is mounted there by its options is not ours to count.
    pub(crate) fn size(&self, volume: &Volume) -> u64 {
        if volume.meta.options.as_ref().is_some_and(|o| !o.is_empty()) {
            return 0;
        }
        crate::container::tree_size(&volume.path)
    }

    fn mount_data(&self, slot: &Slot, name: &str) -> Result<(), VolumeError> {
        let Some(options) = slot.mount_options() else {
            return Ok(());
        };
        let path = data_dir(&self.root, name);
        if is_mounted(&path).map_err(VolumeError::file("look for", &path))? {
            return Ok(());
        }
        mount::mount_on(&path, &options).map_err(|problem| VolumeError::Mount { path, problem })
    }

    fn unmount_unused(&self, slot: &Slot, name: &str) {
        if slot.mount_options().is_none() || !slot.state().users.is_empty() {
            return;
        }
        let path = data_dir(&self.root, name);
        let done = match is_mounted(&path) {
            Ok(true) => mount::unmount(&path),
            Ok(false) => Ok(()),
            Err(error) => Err(error),
        };
        if let Err(error) = done {
            tracing::warn!(volume = name, %error, "volume cannot be unmounted");
        }
    }

    fn snapshot(&self, state: &SlotState) -> Option<Volume> {
        let meta = Arc::clone(state.meta.as_ref()?);
        Some(Volume {
            path: data_dir(&self.root, &meta.name),
            owners: state.owners.len(),
            meta,
        })
    }

    fn aside(&self, prefix: &str) -> PathBuf {
        let number = self.counter.fetch_add(1, Ordering::Relaxed);
        self.root.join(format!("{prefix}{number}"))
    }

    fn event(&self, action: &str, name: &str) {
        let attributes = [("driver".to_owned(), LOCAL.to_owned())];
        self.events
            .publish("volume", action, name, attributes.into());
    }
}

impl Slot {
    /// What the volume's options mount; they were checked when it was made.
    fn mount_options(&self) -> Option<options::MountOptions> {
        let meta = self.state().meta.clone()?;
        options::parse(meta.options.as_ref()?).ok().flatten()
    }
}

fn build(part: &Path, meta: &Meta) -> io::Result<()> {
    DirBuilder::new().mode(FOLDER_MODE).create(part)?;
    DirBuilder::new().mode(0o755).create(part.join(DATA))?;
    meta.save(part)
}

/// A tree that nothing is mounted in.
fn remove_tree(path: &Path) -> io::Result<()> {
    if let Some(mounted) = below(path)? {
        return Err(io::Error::other(format!(
            "{} is mounted",
            mounted.display()
        )));
    }
    fs::remove_dir_all(path)
}

/// There is no file of ours in it, or it is no folder at all.
fn is_no_volume(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
    )
}

/// What is not there is removed.
fn unless_missing(done: io::Result<()>) -> io::Result<()> {
    match done {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

#[cfg(test)]
#[path = "store_tests.rs"]
mod tests;
