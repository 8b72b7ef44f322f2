//! Anonymous volumes of an image: a plain directory of the container, filled from the image the first
//! time, as Docker does.

use std::fs::{self, File};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt, lchown, symlink};
use std::path::{Path, PathBuf};

use nix::fcntl::OFlag;
use nix::sys::stat::{Mode, SFlag, mknod};

use super::error::RuntimeError;
use super::mounts::{Source, UserMount, anonymous_dir};
use super::rootfs::Rootfs;

/// Makes the directories of all anonymous volumes; those already there keep what is in them.
pub(super) fn prepare(
    mounts: &[UserMount],
    rootfs: &Rootfs,
    files_dir: &Path,
) -> Result<(), RuntimeError> {
    for m in mounts {
        let Source::Anonymous(n) = m.source else {
            continue;
        };
        let dir = anonymous_dir(files_dir, n);
        if dir.exists() {
            continue;
        }
        // Under another name until it is complete: a crash must not leave half a volume.
        let part = dir.with_extension("part");
        match fs::remove_dir_all(&part) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => {
                return Err(RuntimeError::file("remove", &part)(e));
            }
            _ => {}
        }
        fs::create_dir_all(&part).map_err(RuntimeError::file("create", &part))?;
        let from = rootfs.open_at(
            Path::new(m.target.trim_start_matches('/')),
            OFlag::O_RDONLY | OFlag::O_DIRECTORY,
        );
        if let Ok(fd) = from {
            let from = File::from(fd);
            // Through the descriptor, so that no link of the image leads elsewhere.
            let path = PathBuf::from(format!("/proc/self/fd/{}", from.as_raw_fd()));
            copy_dir(&path, &part)?;
        }
        fs::rename(&part, &dir).map_err(RuntimeError::file("rename", &part))?;
    }
    Ok(())
}

/// Copies the content, owner and mode of `from` into the existing directory `to`.
fn copy_dir(from: &Path, to: &Path) -> Result<(), RuntimeError> {
    let entries = fs::read_dir(from).map_err(RuntimeError::file("read", from))?;
    for entry in entries {
        let entry = entry.map_err(RuntimeError::file("read", from))?;
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        let meta = entry
            .metadata()
            .map_err(RuntimeError::file("stat", &from))?;
        let kind = meta.file_type();
        if kind.is_dir() {
            fs::create_dir(&to).map_err(RuntimeError::file("create", &to))?;
            copy_dir(&from, &to)?;
            continue;
        }
        if kind.is_symlink() {
            let target = fs::read_link(&from).map_err(RuntimeError::file("read", &from))?;
            symlink(target, &to).map_err(RuntimeError::file("create", &to))?;
        } else if kind.is_file() {
            fs::copy(&from, &to).map_err(RuntimeError::file("copy", &from))?;
        } else {
            let (flag, mode) = (
                SFlag::from_bits_truncate(meta.mode() & libc::S_IFMT),
                Mode::from_bits_truncate(meta.mode() & 0o7777),
            );
            mknod(&to, flag, mode, meta.rdev())
                .map_err(|e| RuntimeError::file("create", &to)(e.into()))?;
        }
        own(&to, &meta)?;
    }
    let meta = fs::metadata(from).map_err(RuntimeError::file("stat", from))?;
    own(to, &meta)
}

fn own(path: &Path, meta: &fs::Metadata) -> Result<(), RuntimeError> {
    lchown(path, Some(meta.uid()), Some(meta.gid()))
        .map_err(RuntimeError::file("set owner of", path))?;
    if !meta.file_type().is_symlink() {
        // After the owner: chown clears the set-id bits.
        let mode = fs::Permissions::from_mode(meta.mode() & 0o7777);
        fs::set_permissions(path, mode).map_err(RuntimeError::file("set mode of", path))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::types::{ContainerConfig, HostConfig};

    #[test]
    fn a_volume_is_filled_once_from_the_image() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("root");
        fs::create_dir_all(root.join("real/sub")).unwrap();
        fs::write(root.join("real/sub/file"), "content").unwrap();
        fs::set_permissions(root.join("real"), fs::Permissions::from_mode(0o1777)).unwrap();
        symlink("/real", root.join("data")).unwrap();
        symlink("../../etc", root.join("real/link")).unwrap();
        let config = ContainerConfig {
            volumes: Some([("/data".to_owned(), serde_json::json!({}))].into()),
            ..Default::default()
        };
        let mounts =
            super::super::mounts::user_mounts(&config, &HostConfig::default(), None).unwrap();
        let rootfs = Rootfs::open(&root).unwrap();
        let files = dir.path().join("files");
        prepare(&mounts, &rootfs, &files).unwrap();
        let volume = files.join("volumes/0");
        assert_eq!(
            fs::read_to_string(volume.join("sub/file")).unwrap(),
            "content"
        );
        assert_eq!(fs::metadata(&volume).unwrap().mode() & 0o7777, 0o1777);
        assert_eq!(
            fs::read_link(volume.join("link")).unwrap(),
            Path::new("../../etc")
        );
        fs::write(volume.join("sub/file"), "changed").unwrap();
        prepare(&mounts, &rootfs, &files).unwrap();
        assert_eq!(
            fs::read_to_string(volume.join("sub/file")).unwrap(),
            "changed"
        );
    }
}
