//! What is stored of a volume: `volume.json`, versioned, replaced atomically and synced.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::state_file::{Unusable, parse, replace};

/// Version that is written, and the newest that is read.
const VERSION: u32 = 1;
/// The file's name in the volume's folder.
const FILE: &str = "volume.json";
/// Label of a volume that was made without a name (source: Docker 24).
pub(super) const ANONYMOUS: &str = "com.docker.volume.anonymous";

/// A volume as it is stored. Maps are `None` where the client sent none, as inspect tells.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Meta {
    version: u32,
    pub(crate) name: String,
    /// Nanoseconds since 1970.
    pub(crate) created_ns: i64,
    #[serde(default)]
    pub(crate) labels: Option<BTreeMap<String, String>>,
    /// The driver's: `type`, `device`, `o`, `size`.
    #[serde(default)]
    pub(crate) options: Option<BTreeMap<String, String>>,
}

/// Why a volume's file is not used.
#[derive(Debug, thiserror::Error)]
pub(super) enum MetaError {
    #[error("cannot read {path}")]
    Read { path: PathBuf, source: io::Error },
    #[error("{path} is damaged")]
    Damaged {
        path: PathBuf,
        source: serde_json::Error,
    },
    #[error("{path} has version {found}, this daemon knows versions up to {VERSION}")]
    Newer { path: PathBuf, found: u64 },
    #[error("{path} is of volume {found:?}")]
    Foreign { path: PathBuf, found: String },
}

impl Meta {
    pub(super) fn new(
        name: &str,
        labels: Option<BTreeMap<String, String>>,
        options: Option<BTreeMap<String, String>>,
    ) -> Self {
        Self {
            version: VERSION,
            name: name.to_owned(),
            created_ns: crate::container::time::now_ns(),
            labels,
            options,
        }
    }

    /// It was made without a name.
    pub(crate) fn is_anonymous(&self) -> bool {
        self.labels
            .as_ref()
            .is_some_and(|labels| labels.contains_key(ANONYMOUS))
    }

    /// Writes the file into the volume's folder; it is on the disk when this returns.
    pub(super) fn save(&self, dir: &Path) -> io::Result<()> {
        let mut bytes = serde_json::to_vec_pretty(self)?;
        bytes.push(b'\n');
        replace(dir, FILE, &bytes, true)
    }

    /// Reads the file of the volume `name`.
    pub(super) fn load(dir: &Path, name: &str) -> Result<Self, MetaError> {
        let path = dir.join(FILE);
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(source) => return Err(MetaError::Read { path, source }),
        };
        let meta: Self = parse(&bytes, VERSION).map_err(|error| match error {
            Unusable::Damaged(source) => MetaError::Damaged {
                path: path.clone(),
                source,
            },
            Unusable::Newer(found) => MetaError::Newer {
                path: path.clone(),
                found,
            },
        })?;
        if meta.name != name {
            return Err(MetaError::Foreign {
                path,
                found: meta.name,
            });
        }
        Ok(meta)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trip_and_refusals() {
        let dir = tempfile::tempdir().unwrap();
        let label = (ANONYMOUS.to_owned(), String::new());
        let meta = Meta::new("v1", Some([label].into()), None);
        assert!(meta.is_anonymous());
        meta.save(dir.path()).unwrap();
        assert_eq!(Meta::load(dir.path(), "v1").unwrap(), meta);
        assert!(matches!(
            Meta::load(dir.path(), "v2"),
            Err(MetaError::Foreign { .. })
        ));
        let path = dir.path().join(FILE);
        let good = fs::read(&path).unwrap();
        for cut in [0, 1, good.len() / 2] {
            fs::write(&path, &good[..cut]).unwrap();
            let error = Meta::load(dir.path(), "v1").unwrap_err();
            assert!(matches!(error, MetaError::Damaged { .. }), "{cut}");
        }
        fs::write(&path, r#"{"version":2,"unlike":1}"#).unwrap();
        let error = Meta::load(dir.path(), "v1").unwrap_err().to_string();
        assert!(error.contains("version 2"), "{error}");
    }
}
