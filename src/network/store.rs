//! Where networks and sandboxes are kept: networks in one file below the data root, replaced
//! atomically; each running container's sandbox in a file of its own below the exec root.

use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::model::{Network, SANDBOX_VERSION, Sandbox};
use crate::state_file::{Unusable, parse, replace};

/// Version of the networks' file.
const VERSION: u32 = 1;
const FILE: &str = "networks.json";

/// Why networks are not read or written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StoreError {
    #[error("cannot read {path}")]
    Read { path: PathBuf, source: io::Error },
    #[error("cannot write {path}")]
    Write { path: PathBuf, source: io::Error },
    #[error("{path} is damaged")]
    Damaged {
        path: PathBuf,
        source: serde_json::Error,
    },
    #[error("{path} has version {found}, this daemon knows versions up to {VERSION}")]
    Newer { path: PathBuf, found: u64 },
}

#[derive(Serialize, Deserialize)]
struct File {
    version: u32,
    networks: Vec<Network>,
}

/// Reads the networks; none if there is no file yet.
pub(crate) fn load(dir: &Path) -> Result<Vec<Network>, StoreError> {
    let path = dir.join(FILE);
    let bytes = match std::fs::read(&path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(source) => return Err(StoreError::Read { path, source }),
    };
    let file: File = parse(&bytes, VERSION).map_err(|error| match error {
        Unusable::Damaged(source) => StoreError::Damaged { path, source },
        Unusable::Newer(found) => StoreError::Newer { path, found },
    })?;
    Ok(file.networks)
}

/// Replaces the networks; they are on the disk when this returns.
pub(crate) fn save(dir: &Path, networks: &[Network]) -> Result<(), StoreError> {
    let file = File {
        version: VERSION,
        networks: networks.to_vec(),
    };
    let path = dir.join(FILE);
    serde_json::to_vec_pretty(&file)
        .map_err(io::Error::from)
        .and_then(|bytes| replace(dir, FILE, &bytes, true))
        .map_err(|source| StoreError::Write { path, source })
}

fn sandbox_file(container: &str) -> String {
    format!("{container}.json")
}

/// Writes a sandbox. It need not survive a crash of the machine, as nothing that it tells of does.
pub(crate) fn save_sandbox(run: &Path, sandbox: &Sandbox) -> io::Result<()> {
    let bytes = serde_json::to_vec(sandbox)?;
    replace(run, &sandbox_file(&sandbox.container), &bytes, false)
}

/// Removes a sandbox's file; one that is not there is no error.
pub(crate) fn remove_sandbox(run: &Path, container: &str) -> io::Result<()> {
    match std::fs::remove_file(run.join(sandbox_file(container))) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        done => done,
    }
}

/// Reads all sandboxes. What cannot be read is no sandbox: its namespace is found by its name.
pub(crate) fn load_sandboxes(run: &Path) -> Vec<Sandbox> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(run).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.extension().is_none_or(|e| e != "json") {
            continue;
        }
        let bytes = match std::fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "network of a container cannot be read");
                continue;
            }
        };
        match parse(&bytes, SANDBOX_VERSION) {
            Ok(sandbox) => found.push(sandbox),
            Err(Unusable::Newer(version)) => {
                tracing::warn!(path = %path.display(), version, "network of a container is of a newer version");
            }
            Err(Unusable::Damaged(error)) => {
                tracing::warn!(path = %path.display(), %error, "network of a container cannot be read");
            }
        }
    }
    found
}

/// Ids of containers that something is left of in the folder, readable or not.
pub(crate) fn leftovers(run: &Path) -> Vec<String> {
    let mut ids: Vec<String> = std::fs::read_dir(run)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            let id = name.split('.').find(|part| !part.is_empty())?;
            (id.len() == 64).then(|| id.to_owned())
        })
        .collect();
    ids.sort();
    ids.dedup();
    ids
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_refused_by_name() {
        let dir = tempfile::tempdir().unwrap();
        assert!(load(dir.path()).unwrap().is_empty());
        save(dir.path(), &[]).unwrap();
        assert!(load(dir.path()).unwrap().is_empty());
        std::fs::write(dir.path().join(FILE), r#"{"version":2,"x":1}"#).unwrap();
        let error = load(dir.path()).unwrap_err().to_string();
        assert!(error.contains("version 2"), "{error}");
        std::fs::write(dir.path().join(FILE), r#"{"version":1"#).unwrap();
        assert!(matches!(load(dir.path()), Err(StoreError::Damaged { .. })));
    }
}
