//! Anonymous volumes of containers that were created before there were volumes: a plain directory of
//! the container, filled from the image at the first start.

use std::fs;
use std::io;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

use nix::fcntl::OFlag;

use super::error::RuntimeError;
use super::mount_oci::own_dir;
use super::mounts::{MountPoint, Source};
use super::rootfs::Rootfs;
use crate::volume::copy_tree;

/// Makes the directories; those already there keep what is in them.
pub(super) fn prepare(
    mounts: &[MountPoint],
    rootfs: &Rootfs,
    files_dir: &Path,
) -> Result<(), RuntimeError> {
    for m in mounts {
        let Source::Own { number } = m.source else {
            continue;
        };
        let dir = own_dir(files_dir, number);
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
            // Through the descriptor, so that no link of the image leads elsewhere.
            let path = PathBuf::from(format!("/proc/self/fd/{}", fd.as_raw_fd()));
            copy_tree(&path, &part).map_err(|e| RuntimeError::file(e.action, e.path)(e.source))?;
        }
        fs::rename(&part, &dir).map_err(RuntimeError::file("rename", &part))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

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
        let files = dir.path().join("files");
        let mounts = super::super::mount_oci::old_mounts(&config, &HostConfig::default(), &files);
        let rootfs = Rootfs::open(&root).unwrap();
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
