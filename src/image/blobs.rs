//! Where layers are in registries, and by which digest: `image/blobs/<hex of the diff id>`.
//!
//! A push does not compress and send again what a registry has. The files are a help only: one that is
//! lost or damaged costs time.

use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::error::ImageError;
use super::files;
use super::reference::hex_of;

const VERSION: u64 = 1;
/// Forms of one layer, and repositories with one of them; the latest are kept.
const MAX_FORMS: usize = 4;
const MAX_REPOSITORIES: usize = 16;

/// A layer as registries store it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct KnownBlob {
    /// Of the compressed bytes: `sha256:...`
    pub(crate) digest: String,
    pub(crate) size: u64,
    pub(crate) media_type: String,
    /// Full names of repositories that have it, the latest first.
    pub(crate) repositories: Vec<String>,
}

#[derive(Default, Serialize, Deserialize)]
struct Saved {
    version: u64,
    /// The latest first.
    blobs: Vec<KnownBlob>,
}

fn path_of(folder: &Path, diff_id: &str) -> PathBuf {
    folder.join(hex_of(diff_id).unwrap_or(diff_id))
}

/// What is known of a layer, the latest first.
pub(super) fn known(folder: &Path, diff_id: &str) -> Vec<KnownBlob> {
    let path = path_of(folder, diff_id);
    let saved = fs::read(&path)
        .ok()
        .and_then(|bytes| serde_json::from_slice::<Saved>(&bytes).ok())
        .filter(|saved| saved.version <= VERSION)
        .unwrap_or_default();
    saved.blobs
}

/// Notes that `repository` has a layer in a form.
pub(super) fn remember(
    folder: &Path,
    diff_id: &str,
    blob: &KnownBlob,
    repository: &str,
) -> Result<(), ImageError> {
    let mut blobs = known(folder, diff_id);
    let at = blobs.iter().position(|known| known.digest == blob.digest);
    let mut entry = at.map_or_else(|| blob.clone(), |at| blobs.remove(at));
    entry.media_type.clone_from(&blob.media_type);
    entry.repositories.retain(|known| known != repository);
    entry.repositories.insert(0, repository.to_owned());
    entry.repositories.truncate(MAX_REPOSITORIES);
    blobs.insert(0, entry);
    blobs.truncate(MAX_FORMS);
    let path = path_of(folder, diff_id);
    let saved = Saved {
        version: VERSION,
        blobs,
    };
    let bytes = serde_json::to_vec(&saved).map_err(|source| ImageError::Damaged {
        path: path.clone(),
        source,
    })?;
    files::make_folder(folder)?;
    files::write_atomic(&path, &bytes)
}

/// Removes what is known of other layers than these.
pub(super) fn keep_only<'a>(
    folder: &Path,
    layers: impl Iterator<Item = &'a String>,
) -> Result<(), ImageError> {
    let kept: std::collections::HashSet<PathBuf> =
        layers.map(|diff_id| path_of(folder, diff_id)).collect();
    let Ok(entries) = fs::read_dir(folder) else {
        return Ok(());
    };
    for entry in entries.flatten() {
        if !kept.contains(&entry.path()) {
            files::remove_file(&entry.path())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_first_and_bounded() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().join("blobs");
        let diff = format!("sha256:{}", "1".repeat(64));
        let blob = |n: usize| KnownBlob {
            digest: format!("sha256:{n}"),
            size: 1,
            media_type: "t".to_owned(),
            repositories: Vec::new(),
        };
        for n in 0..20 {
            remember(&folder, &diff, &blob(0), &format!("r/{n}")).unwrap();
        }
        remember(&folder, &diff, &blob(0), "r/7").unwrap();
        let found = known(&folder, &diff);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].repositories.len(), MAX_REPOSITORIES);
        assert_eq!(found[0].repositories[..2], ["r/7", "r/19"]);
        for n in 1..9 {
            remember(&folder, &diff, &blob(n), "r/a").unwrap();
        }
        assert_eq!(known(&folder, &diff)[0].digest, "sha256:8");
        assert_eq!(known(&folder, &diff).len(), MAX_FORMS);
        keep_only(&folder, [].iter()).unwrap();
        assert!(known(&folder, &diff).is_empty());
    }
}
