//! Root file systems that somebody reads or writes besides the container's own run (`cp`, `export`).
//!
//! They and the run share one mount: a second overlay over the same upper folder would see other
//! content. So whoever comes first mounts it, and it is unmounted when neither the run nor a holder is
//! left. What a daemon that was killed has left mounted, the next one unmounts at its start, or the
//! next run takes over.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::store::ImageStore;

/// Locks: two containers seldom share one, so that starts do not wait for each other.
const STRIPES: usize = 32;

/// Holders of one container's mount.
#[derive(Debug, Default)]
pub(super) struct Holders {
    pub(super) count: usize,
    /// The last one unmounts it: no run uses it.
    pub(super) unmount: bool,
}

/// By container.
#[derive(Debug, Default)]
pub(super) struct Held {
    stripes: [Mutex<HashMap<String, Holders>>; STRIPES],
}

impl Held {
    /// Locks a container's mount.
    pub(super) fn lock(&self, container: &str) -> MutexGuard<'_, HashMap<String, Holders>> {
        let mut hasher = DefaultHasher::new();
        container.hash(&mut hasher);
        let stripe = usize::try_from(hasher.finish() % STRIPES as u64).unwrap_or(0);
        // Counters only, consistent after every statement.
        self.stripes[stripe]
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// A mounted root file system; given back when dropped, which may unmount it.
#[derive(Debug)]
pub(crate) struct HeldRootfs {
    pub(super) store: Arc<ImageStore>,
    pub(super) container: String,
    pub(super) path: PathBuf,
}

impl HeldRootfs {
    /// Where it is mounted.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for HeldRootfs {
    fn drop(&mut self) {
        self.store.release_rootfs(&self.container);
    }
}
