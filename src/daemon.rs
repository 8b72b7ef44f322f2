//! The daemon: what it holds, its start and its end.

mod settings;

use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};

pub(crate) use settings::{RuntimeSettings, Settings};

use crate::container::Container;
use crate::container::table::ContainerTable;
use crate::errors::ApiError;
use crate::events::Events;
use crate::image::ImageStore;
use crate::supervisor::Supervisor;

/// Everything the API works on.
#[derive(Debug)]
pub(crate) struct Daemon {
    settings: RwLock<Arc<Settings>>,
    pub(crate) images: Arc<ImageStore>,
    pub(crate) supervisor: Arc<Supervisor>,
    pub(crate) events: Events,
    pub(crate) containers: ContainerTable,
    /// Id in `/info`; made at the first start on a data root.
    pub(crate) id: String,
    /// When the daemon started, nanoseconds since 1970.
    pub(crate) started_ns: i64,
}

impl Daemon {
    /// The settings now; a reload replaces them.
    pub(crate) fn settings(&self) -> Arc<Settings> {
        // A poisoned lock still holds a whole Arc.
        Arc::clone(&self.settings.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// A container by full id, name (with or without `/`) or unique id prefix.
    ///
    /// # Errors
    /// 404 `No such container: x`, 400 for a prefix of several.
    pub(crate) fn find(&self, reference: &str) -> Result<Arc<Container>, ApiError> {
        self.containers.find(reference)
    }

    fn containers_dir(&self) -> PathBuf {
        self.settings().data_root.join("containers")
    }
}
