//! What an image archive contains: `docker save` (manifest.json) or an OCI image layout (index.json).
//!
//! Members are stored below a temporary folder under numbers, never under their own names. An archive
//! with both forms, as Docker writes it since version 25, is read by its manifest.json.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::compress::{decompress, digest};
use super::error::{ArchiveError, ImageError, TarError};
use super::oci;
use super::reference::Reference;
use super::tarball::{Kind, TarReader};

/// manifest.json, index.json, manifests and configurations.
pub(super) const MAX_METADATA: u64 = 4 * 1024 * 1024;
/// Files of an archive: layers, configurations, and a few small ones for each.
const MAX_MEMBERS: usize = 16 * 1024;
/// Links from one member to another.
const MAX_LINKS: usize = 16;

/// A layer as it is stored in the archive.
#[derive(Clone, Debug)]
pub(super) struct LayerBlob {
    pub(super) name: String,
    pub(super) path: PathBuf,
    /// Digest of the stored, perhaps compressed, bytes.
    pub(super) digest: Option<String>,
}

/// An image found in an archive.
#[derive(Debug)]
pub(super) struct Candidate {
    /// Name of the configuration in the archive.
    pub(super) name: String,
    pub(super) config: Vec<u8>,
    pub(super) layers: Vec<LayerBlob>,
    pub(super) tags: Vec<Reference>,
    /// Digest of the manifest, for an OCI layout.
    pub(super) manifest: Option<String>,
}

enum Member {
    File { path: PathBuf, size: u64 },
    Link(String),
}

/// The members of an archive by normalised name.
pub(super) struct Members {
    members: BTreeMap<String, Member>,
}

impl Members {
    /// Stores the members of a stream below `folder`.
    pub(super) fn spool(stream: &mut dyn Read, folder: &Path) -> Result<Self, ImageError> {
        let archive = |error: TarError| ImageError::Archive(error.into());
        let plain = decompress(stream).map_err(|error| archive(error.into()))?;
        let mut tar = TarReader::new(plain);
        let mut members = BTreeMap::new();
        let mut files = 0;
        while let Some(entry) = tar.next().map_err(archive)? {
            let name = normalise("", &entry.path);
            let member = match entry.kind {
                Kind::File => {
                    let path = folder.join(format!("member-{files}"));
                    files += 1;
                    let mut file = File::create(&path).map_err(ImageError::io("create", &path))?;
                    if entry.fragments.is_some() {
                        return Err(archive(TarError::Kind { name, kind: 'S' }));
                    }
                    store(&mut tar, &mut file, &path)?;
                    Member::File {
                        path,
                        size: entry.size,
                    }
                }
                Kind::Symlink => {
                    let folder = name.rsplit_once('/').map_or("", |(folder, _)| folder);
                    Member::Link(normalise(folder, &entry.link))
                }
                Kind::HardLink => Member::Link(normalise("", &entry.link)),
                _ => continue,
            };
            members.insert(name, member);
            if members.len() > MAX_MEMBERS || files > MAX_MEMBERS {
                return Err(ArchiveError::TooManyFiles(MAX_MEMBERS).into());
            }
        }
        tar.finish(false).map_err(archive)?;
        Ok(Self { members })
    }

    /// Path and size of a member, links followed; `None` if it is not there.
    pub(super) fn find(&self, name: &str) -> Result<Option<(&Path, u64)>, ArchiveError> {
        let mut at = normalise("", name.as_bytes());
        for _ in 0..MAX_LINKS {
            match self.members.get(&at) {
                None => return Ok(None),
                Some(Member::File { path, size }) => return Ok(Some((path, *size))),
                Some(Member::Link(target)) => at.clone_from(target),
            }
        }
        Err(ArchiveError::Links(name.to_owned()))
    }

    pub(super) fn require(&self, name: &str) -> Result<(&Path, u64), ArchiveError> {
        self.find(name)?
            .ok_or_else(|| ArchiveError::Missing(name.to_owned()))
    }

    /// A small member's bytes.
    pub(super) fn metadata(&self, name: &str) -> Result<Vec<u8>, ImageError> {
        let (path, size) = self.require(name)?;
        if size > MAX_METADATA {
            return Err(ArchiveError::TooLarge {
                name: name.to_owned(),
                limit: MAX_METADATA,
            }
            .into());
        }
        fs::read(path).map_err(ImageError::io("read", path))
    }

    /// The images of the archive.
    pub(super) fn images(&self) -> Result<Vec<Candidate>, ImageError> {
        if self.find("manifest.json")?.is_some() {
            self.docker_images()
        } else if self.find("index.json")?.is_some() {
            oci::images(self)
        } else {
            Err(ArchiveError::Unknown.into())
        }
    }

    fn docker_images(&self) -> Result<Vec<Candidate>, ImageError> {
        #[derive(Deserialize)]
        #[serde(rename_all = "PascalCase")]
        struct Item {
            config: String,
            repo_tags: Option<Vec<String>>,
            layers: Option<Vec<String>>,
        }
        let items: Vec<Item> = json("manifest.json", &self.metadata("manifest.json")?)?;
        if items.is_empty() {
            return Err(ArchiveError::Unknown.into());
        }
        let mut found = Vec::with_capacity(items.len());
        for item in items {
            let config = self.metadata(&item.config)?;
            // `blobs/sha256/<hex>` says what the bytes must be.
            if let Some(hex) = item.config.strip_prefix("blobs/sha256/") {
                check(&item.config, &config, &format!("sha256:{hex}"))?;
            }
            let layers = item
                .layers
                .unwrap_or_default()
                .into_iter()
                .map(|name| {
                    let (path, _) = self.require(&name)?;
                    Ok(LayerBlob {
                        path: path.to_path_buf(),
                        digest: None,
                        name,
                    })
                })
                .collect::<Result<_, ArchiveError>>()?;
            let tags = item
                .repo_tags
                .unwrap_or_default()
                .iter()
                .map(|tag| name(tag))
                .collect::<Result<_, _>>()?;
            found.push(Candidate {
                name: item.config,
                config,
                layers,
                tags,
                manifest: None,
            });
        }
        Ok(found)
    }
}

/// A name that the archive gives to an image.
pub(super) fn name(text: &str) -> Result<Reference, ArchiveError> {
    Reference::parse(text)
        .map(Reference::with_default_tag)
        .map_err(|source| ArchiveError::Name {
            name: text.to_owned(),
            source: Box::new(source),
        })
}

pub(super) fn json<T: DeserializeOwned>(name: &str, bytes: &[u8]) -> Result<T, ArchiveError> {
    serde_json::from_slice(bytes).map_err(|source| ArchiveError::Json {
        name: name.to_owned(),
        source,
    })
}

/// Compares bytes with the digest that names them.
pub(super) fn check(name: &str, bytes: &[u8], expected: &str) -> Result<(), ArchiveError> {
    let found = digest(bytes);
    if found == expected {
        Ok(())
    } else {
        Err(ArchiveError::Digest {
            name: name.to_owned(),
            found: found.trim_start_matches("sha256:").to_owned(),
        })
    }
}

/// `./a//b/../c` is `a/c`; what leads out of the archive ends at its root. The result is only looked
/// up, never opened.
fn normalise(folder: &str, path: &[u8]) -> String {
    let path = String::from_utf8_lossy(path);
    let mut parts: Vec<&str> = if path.starts_with('/') {
        Vec::new()
    } else {
        folder.split('/').filter(|part| !part.is_empty()).collect()
    };
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    parts.join("/")
}

/// Writes the current entry's content; a failing read is the archive's fault, a failing write ours.
fn store<R: Read>(tar: &mut TarReader<R>, file: &mut File, path: &Path) -> Result<(), ImageError> {
    use std::io::Write as _;
    let mut buffer = vec![0; 128 * 1024];
    loop {
        match tar.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(n) => file
                .write_all(&buffer[..n])
                .map_err(ImageError::io("write", path))?,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(ArchiveError::Tar(error.into()).into()),
        }
    }
}
