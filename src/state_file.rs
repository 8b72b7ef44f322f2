//! Files of state, of containers, networks and volumes alike: JSON with a version, replaced atomically.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use serde::Deserialize;
use serde::de::DeserializeOwned;

/// Why a file's content is not used.
#[derive(Debug)]
pub(crate) enum Unusable {
    Damaged(serde_json::Error),
    /// Its version, which is newer than those that are known.
    Newer(u64),
}

/// Reads a file's content. The version first: the rest of a newer file may mean something else, or
/// not parse.
///
/// # Errors
/// Damaged, or of a version above `known`.
pub(crate) fn parse<T: DeserializeOwned>(
    bytes: &[u8],
    known: impl Into<u64>,
) -> Result<T, Unusable> {
    #[derive(Deserialize)]
    struct Version {
        version: u64,
    }
    let found: Version = serde_json::from_slice(bytes).map_err(Unusable::Damaged)?;
    if found.version > known.into() {
        return Err(Unusable::Newer(found.version));
    }
    serde_json::from_slice(bytes).map_err(Unusable::Damaged)
}

/// Writes a file beside its final name and renames it: a reader sees the old or the new one.
pub(crate) fn replace(dir: &Path, name: &str, bytes: &[u8], sync: bool) -> io::Result<()> {
    let tmp = dir.join(format!(".{name}.tmp"));
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&tmp)?;
    file.write_all(bytes)?;
    if sync {
        file.sync_all()?;
    }
    drop(file);
    fs::rename(&tmp, dir.join(name))?;
    if sync {
        File::open(dir)?.sync_all()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Deserialize)]
    struct Known {
        #[allow(dead_code)]
        version: u32,
        name: String,
    }

    #[test]
    fn the_version_comes_first() {
        let known: Known = parse(br#"{"version": 1, "name": "a"}"#, 1u32).unwrap();
        assert_eq!(known.name, "a");
        // A newer file need not parse otherwise.
        let newer = parse::<Known>(br#"{"version": 2, "name": {}}"#, 1u32).unwrap_err();
        assert!(matches!(newer, Unusable::Newer(2)), "{newer:?}");
        for damaged in [r#"{"version": 1}"#, "{", r#"{"name": "a"}"#] {
            let error = parse::<Known>(damaged.as_bytes(), 1u32).unwrap_err();
            assert!(
                matches!(error, Unusable::Damaged(_)),
                "{damaged}: {error:?}"
            );
        }
    }
}
