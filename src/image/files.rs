//! Writing state so that a crash leaves either the old or the new file, and removing trees.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::fd::AsRawFd as _;
use std::path::Path;

use super::error::ImageError;

/// Replaces a file: written beside it, synced, renamed, the folder synced.
pub(super) fn write_atomic(path: &Path, bytes: &[u8]) -> Result<(), ImageError> {
    let temporary = path.with_extension("tmp");
    let mut file = File::create(&temporary).map_err(ImageError::io("create", &temporary))?;
    file.write_all(bytes)
        .and_then(|()| file.sync_all())
        .map_err(ImageError::io("write", &temporary))?;
    fs::rename(&temporary, path).map_err(ImageError::io("replace", path))?;
    match path.parent() {
        Some(folder) => sync_folder(folder),
        None => Ok(()),
    }
}

/// Makes names in a folder durable.
pub(super) fn sync_folder(folder: &Path) -> Result<(), ImageError> {
    File::open(folder)
        .and_then(|file| file.sync_all())
        .map_err(ImageError::io("sync", folder))
}

/// Makes all that was written to the file system of `folder` durable: cheaper than a sync of each of
/// a layer's files.
pub(super) fn sync_file_system(folder: &Path) -> Result<(), ImageError> {
    let file = File::open(folder).map_err(ImageError::io("open", folder))?;
    // SAFETY: the descriptor is open; the call takes nothing else.
    if unsafe { libc::syncfs(file.as_raw_fd()) } == 0 {
        Ok(())
    } else {
        Err(ImageError::io("sync", folder)(io::Error::last_os_error()))
    }
}

/// Removes a tree; one that is not there is fine.
pub(super) fn remove_tree(path: &Path) -> Result<(), ImageError> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(ImageError::io("remove", path)(error))
        }
        _ => Ok(()),
    }
}

/// Removes a file; one that is not there is fine.
pub(super) fn remove_file(path: &Path) -> Result<(), ImageError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(ImageError::io("remove", path)(error))
        }
        _ => Ok(()),
    }
}

/// Makes a folder that only the daemon's user may enter; one that is there is fine.
pub(super) fn make_folder(path: &Path) -> Result<(), ImageError> {
    use std::os::unix::fs::DirBuilderExt as _;
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o710)
        .create(path)
        .map_err(ImageError::io("create", path))
}
