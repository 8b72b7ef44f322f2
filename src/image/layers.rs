//! Unpacked layers: `<data root>/overlay-layers/<chain id>/{diff,layer.json}`, and a short link to
//! each `diff` in `overlay-layers/l/`, because the options of a mount must fit into a page.
//!
//! A layer's folder appears complete, by a rename, and is never changed.

use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::compress::{HashReader, decompress};
use super::error::{ImageError, LayerError, TarError};
use super::files;
use super::reference::hex_of;
use super::tape::{self, Recorder, Taped};
use super::tarball::TarReader;
use super::unpack::unpack;

const VERSION: u64 = 1;
/// Hexadecimal digits of a layer's short name; `publish` refuses two layers with one.
const SHORT: usize = 24;

/// `layer.json`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct LayerRecord {
    version: u64,
    pub(super) chain_id: String,
    pub(super) diff_id: String,
    /// Sum of the files' sizes in bytes.
    pub(super) size: u64,
    /// Length of its uncompressed tar in bytes, which `tape` gives back; layers from before tapes have
    /// none.
    #[serde(default)]
    pub(super) tar_size: Option<u64>,
}

#[derive(Debug)]
pub(super) struct LayerStore {
    folder: PathBuf,
}

impl LayerStore {
    pub(super) fn open(data_root: &Path) -> Result<Self, ImageError> {
        let folder = data_root.join("overlay-layers");
        files::make_folder(&folder.join("l"))?;
        Ok(Self { folder })
    }

    /// Folder of the short links, from which lower layers are named at a mount.
    pub(super) fn links(&self) -> PathBuf {
        self.folder.join("l")
    }

    pub(super) fn path(&self, chain_id: &str) -> PathBuf {
        self.folder.join(hex_of(chain_id).unwrap_or(chain_id))
    }

    /// The folders of layers as overlayfs takes them, topmost first.
    pub(super) fn lower_dirs(&self, chain: &[String]) -> String {
        let folders: Vec<String> = chain
            .iter()
            .rev()
            .map(|layer| self.diff(layer).display().to_string())
            .collect();
        folders.join(":")
    }

    pub(super) fn diff(&self, chain_id: &str) -> PathBuf {
        self.path(chain_id).join("diff")
    }

    /// What is known of a layer; `None` if it is not there.
    pub(super) fn record(&self, chain_id: &str) -> Result<Option<LayerRecord>, ImageError> {
        let path = self.path(chain_id).join("layer.json");
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(ImageError::io("read", &path)(error)),
        };
        let record: LayerRecord =
            serde_json::from_slice(&bytes).map_err(|source| ImageError::Damaged {
                path: path.clone(),
                source,
            })?;
        if record.version > VERSION {
            return Err(ImageError::StateVersion {
                path,
                found: record.version,
                known: VERSION,
            });
        }
        Ok(Some(record))
    }

    /// Moves a staged layer to its place; one that another load has put there stays.
    pub(super) fn publish(&self, chain_id: &str, staged: &Path) -> Result<(), ImageError> {
        let path = self.path(chain_id);
        if !path.join("layer.json").exists() {
            // Half a folder is none of ours, but would stand in the way.
            files::remove_tree(&path)?;
            fs::rename(staged, &path).map_err(ImageError::io("replace", &path))?;
        }
        self.link(chain_id)?;
        files::sync_folder(&self.folder)
    }

    /// Makes sure that a layer's short link exists.
    pub(super) fn link(&self, chain_id: &str) -> Result<(), ImageError> {
        let link = self.links().join(short(chain_id));
        let target = Path::new("..")
            .join(hex_of(chain_id).unwrap_or(chain_id))
            .join("diff");
        match fs::read_link(&link) {
            Ok(found) if found == target => Ok(()),
            Ok(_) => Err(ImageError::io("create", &link)(
                io::ErrorKind::AlreadyExists.into(),
            )),
            Err(_) => {
                std::os::unix::fs::symlink(&target, &link).map_err(ImageError::io("create", &link))
            }
        }
    }

    /// Removes a layer: first its name, so that half of one is never found.
    pub(super) fn remove(&self, chain_id: &str, temporary: &Path) -> Result<(), ImageError> {
        let path = self.path(chain_id);
        let trash = temporary.join(format!("image-removed-{}", short(chain_id)));
        files::remove_tree(&trash)?;
        match fs::rename(&path, &trash) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(ImageError::io("remove", &path)(error)),
        }
        files::remove_file(&self.links().join(short(chain_id)))?;
        files::remove_tree(&trash)
    }

    /// Ids of all layers that are there.
    pub(super) fn all(&self) -> Result<Vec<String>, ImageError> {
        let mut found = Vec::new();
        for entry in fs::read_dir(&self.folder).map_err(ImageError::io("read", &self.folder))? {
            let entry = entry.map_err(ImageError::io("read", &self.folder))?;
            if let Some(name) = entry.file_name().to_str()
                && super::reference::is_hex64(name)
            {
                found.push(format!("sha256:{name}"));
            }
        }
        Ok(found)
    }
}

/// A layer's name in mount options.
pub(super) fn short(chain_id: &str) -> &str {
    let hex = hex_of(chain_id).unwrap_or(chain_id);
    hex.get(..SHORT).unwrap_or(hex)
}

/// What is known of a layer once it is unpacked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Staged {
    /// Digest of the uncompressed tar.
    pub(super) diff_id: String,
    /// Sum of the files' sizes in bytes.
    pub(super) size: u64,
    /// Length of the uncompressed tar in bytes.
    pub(super) tar_size: u64,
}

/// Unpacks a layer (plain, gzip or zstd) into `folder/diff` and records its tape. With a digest given,
/// the uncompressed tar must have it; without, the archive must be complete by its end marker.
pub(super) fn stage(
    stream: &mut dyn Read,
    expected: Option<&str>,
    folder: &Path,
    lower: &[PathBuf],
) -> Result<Staged, LayerError> {
    let diff = folder.join("diff");
    // The mode is what containers see of a root that the archive does not describe.
    fs::create_dir_all(&diff)
        .and_then(|()| {
            use std::os::unix::fs::PermissionsExt as _;
            fs::set_permissions(&diff, fs::Permissions::from_mode(0o755))
        })
        .map_err(|source| LayerError::Io {
            action: "create",
            path: diff.clone(),
            source,
        })?;
    let record = |source| LayerError::Io {
        action: "record the headers in",
        path: folder.join(tape::NAME),
        source,
    };
    let recorder = Recorder::create(folder).map_err(record)?;
    let plain = decompress(stream).map_err(TarError::from)?;
    let mut tar = TarReader::new(Taped::new(HashReader::new(plain), Some(recorder)));
    let size = unpack(&mut tar, &diff, lower)?;
    // To the stream's end, what follows the archive included.
    let (rest, recorder) = tar.finish(expected.is_none())?.into_parts();
    let (diff_id, tar_size) = rest.finish().map_err(TarError::from)?;
    check(&diff_id, expected)?;
    if let Some(recorder) = recorder {
        recorder.finish().map_err(record)?;
    }
    Ok(Staged {
        diff_id,
        size,
        tar_size,
    })
}

/// Compares the digest of a layer that is known already.
pub(super) fn verify(stream: &mut dyn Read, expected: &str) -> Result<(), LayerError> {
    let plain = decompress(stream).map_err(TarError::from)?;
    let (found, _) = HashReader::new(plain).finish().map_err(TarError::from)?;
    check(&found, Some(expected))
}

fn check(found: &str, expected: Option<&str>) -> Result<(), LayerError> {
    match expected {
        Some(expected) if expected != found => Err(LayerError::Digest {
            found: found.to_owned(),
            expected: expected.to_owned(),
        }),
        _ => Ok(()),
    }
}

/// Writes the facts of a staged layer beside its content.
pub(super) fn write_record(
    folder: &Path,
    chain_id: &str,
    staged: &Staged,
) -> Result<(), ImageError> {
    let path = folder.join("layer.json");
    let record = LayerRecord {
        version: VERSION,
        chain_id: chain_id.to_owned(),
        diff_id: staged.diff_id.clone(),
        size: staged.size,
        tar_size: Some(staged.tar_size),
    };
    let bytes = serde_json::to_vec(&record).map_err(|source| ImageError::Damaged {
        path: path.clone(),
        source,
    })?;
    fs::write(&path, bytes).map_err(ImageError::io("write", &path))
}
