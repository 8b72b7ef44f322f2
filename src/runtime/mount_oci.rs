//! Mount points as the OCI specification has them, and as inspect and list show them.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use nix::fcntl::OFlag;
use serde_json::{Value, json};

use super::error::{MountProblem, RuntimeError};
use super::mounts::{MountPoint, Source, data_root, user_mounts};
use super::rootfs::Rootfs;
use crate::api::types::{ContainerConfig, HostConfig};
use crate::volume::{LOCAL, data_dir};

/// Refuses what `--mount` may not create: sources that do not exist.
pub(super) fn check_sources(mounts: &[MountPoint]) -> Result<(), RuntimeError> {
    for m in mounts {
        if let Source::Bind { path, create, .. } = &m.source
            && !create
            && !Path::new(path).exists()
        {
            return Err(RuntimeError::Mount {
                kind: "bind".to_owned(),
                cause: MountProblem::NoSuchSource(path.clone()),
            });
        }
    }
    Ok(())
}

/// Where the files of an anonymous volume of old are.
pub(super) fn own_dir(files_dir: &Path, number: usize) -> PathBuf {
    files_dir.join("volumes").join(number.to_string())
}

/// The mount as the OCI specification has it; makes a missing source of `-v`. `volumes_dir` is the
/// folder of all volumes.
pub(super) fn to_oci(
    mount: &MountPoint,
    files_dir: &Path,
    volumes_dir: &Path,
) -> Result<Value, RuntimeError> {
    let bind_mount = |source: &Path, recursive: bool, propagation: &str, read_only: &str| {
        json!({
            "destination": mount.target, "type": "bind", "source": source,
            "options": [
                if recursive { "rbind" } else { "bind" },
                if mount.read_only { read_only } else { "rw" },
                propagation,
            ],
        })
    };
    Ok(match &mount.source {
        Source::Bind {
            path,
            propagation,
            recursive,
            all_read_only,
            create,
        } => {
            let path = Path::new(path);
            if *create && !path.exists() {
                std::fs::create_dir_all(path).map_err(RuntimeError::file("create", path))?;
            }
            bind_mount(
                path,
                *recursive,
                propagation.as_deref().unwrap_or("rprivate"),
                if *all_read_only { "rro" } else { "ro" },
            )
        }
        Source::Volume { name, .. } => {
            bind_mount(&data_dir(volumes_dir, name), true, "rprivate", "ro")
        }
        Source::Own { number } => bind_mount(&own_dir(files_dir, *number), true, "rprivate", "ro"),
        Source::Tmpfs { options, .. } => json!({
            "destination": mount.target, "type": "tmpfs", "source": "tmpfs", "options": options,
        }),
    })
}

/// `Mounts` of inspect and list (docs: Engine API `MountPoint`).
pub(crate) fn shown_mounts(
    mounts: &[MountPoint],
    files_dir: &Path,
    volumes_dir: &Path,
) -> Vec<Value> {
    let volume = |m: &MountPoint, name: &str, source: &Path| {
        json!({
            "Type": "volume", "Name": name, "Source": source, "Destination": m.target,
            "Driver": LOCAL, "Mode": m.mode, "RW": !m.read_only, "Propagation": "",
        })
    };
    let shown = |m: &MountPoint| match &m.source {
        Source::Bind {
            path, propagation, ..
        } => Some(json!({
            "Type": "bind", "Source": path, "Destination": m.target, "Mode": m.mode,
            "RW": !m.read_only,
            "Propagation": propagation.as_deref().unwrap_or("rprivate"),
        })),
        Source::Volume { name, .. } => Some(volume(m, name, &data_dir(volumes_dir, name))),
        Source::Own { number } => {
            Some(volume(m, &number.to_string(), &own_dir(files_dir, *number)))
        }
        Source::Tmpfs { hidden: true, .. } => None,
        Source::Tmpfs { .. } => Some(json!({
            "Type": "tmpfs", "Source": "", "Destination": m.target, "Mode": "",
            "RW": !m.read_only, "Propagation": "",
        })),
    };
    mounts.iter().filter_map(shown).collect()
}

/// Mounts of a container that was created before they were stored with it: its anonymous volumes
/// are directories of its own. Settings that create would refuse by now give none.
pub(crate) fn old_mounts(
    config: &ContainerConfig,
    host: &HostConfig,
    files_dir: &Path,
) -> Vec<MountPoint> {
    let mut list = user_mounts(config, host, data_root(files_dir), Vec::new()).unwrap_or_default();
    let targets: Vec<String> = config
        .volumes
        .iter()
        .flatten()
        .map(|v| v.0.clone())
        .collect();
    for m in &mut list {
        if let Source::Volume {
            anonymous: true, ..
        } = m.source
        {
            let place = |target: &String| super::mounts::clean(target) == m.target;
            let number = targets.iter().position(place).unwrap_or_default();
            m.source = Source::Own { number };
        }
    }
    list
}

/// Opens what is at a target in a mounted root file system; `None` if nothing is.
///
/// # Errors
/// It is there and no directory.
pub(crate) fn target_in(rootfs: &Path, target: &str) -> Result<Option<OwnedFd>, RuntimeError> {
    let root = Rootfs::open(rootfs)?;
    let path = Path::new(target.trim_start_matches('/'));
    match root.open_at(path, OFlag::O_RDONLY | OFlag::O_DIRECTORY) {
        Ok(fd) => Ok(Some(fd)),
        Err(error) if error.raw_os_error() == Some(libc::ENOTDIR) => {
            Err(RuntimeError::VolumeOverFile(rootfs.join(path)))
        }
        Err(_) => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shown_as_docker_shows_them() {
        let config = ContainerConfig {
            volumes: Some([("/anon".to_owned(), json!({}))].into()),
            ..Default::default()
        };
        let host = HostConfig {
            binds: Some(vec!["nn:/v:ro".into(), "/srv:/b:rslave".into()]),
            tmpfs: Some([("/t".to_owned(), String::new())].into()),
            ..Default::default()
        };
        let list = user_mounts(&config, &host, None, Vec::new()).unwrap();
        let shown = shown_mounts(&list, Path::new("/f"), Path::new("/data/volumes"));
        let of = |target: &str| shown.iter().find(|m| m["Destination"] == target).unwrap();
        assert_eq!(shown.len(), 3);
        assert_eq!(
            *of("/v"),
            json!({"Type": "volume", "Name": "nn", "Source": "/data/volumes/nn/_data",
                "Destination": "/v", "Driver": "local", "Mode": "ro", "RW": false,
                "Propagation": ""})
        );
        assert_eq!(of("/b")["Propagation"], "rslave");
        assert_eq!(of("/anon")["Mode"], "");
    }

    #[test]
    fn old_containers_keep_their_folders() {
        let config = ContainerConfig {
            volumes: Some(
                [
                    ("/data".to_owned(), json!({})),
                    ("/z".to_owned(), json!({})),
                ]
                .into(),
            ),
            ..Default::default()
        };
        let host = HostConfig {
            binds: Some(vec!["/srv:/data".into()]),
            ..Default::default()
        };
        let list = old_mounts(&config, &host, Path::new("/f"));
        let shown = shown_mounts(&list, Path::new("/f"), Path::new("/v"));
        assert_eq!(shown.len(), 2);
        assert_eq!(shown[1]["Source"], "/f/volumes/1");
        assert_eq!(shown[1]["Name"], "1");
    }

    #[test]
    fn sources_of_mounts_must_be_there() {
        let bind = |create| MountPoint {
            source: Source::Bind {
                path: "/nosuchdirectory/x".to_owned(),
                propagation: None,
                recursive: true,
                all_read_only: false,
                create,
            },
            target: "/t".to_owned(),
            read_only: false,
            mode: String::new(),
        };
        check_sources(&[bind(true)]).unwrap();
        assert_eq!(
            check_sources(&[bind(false)]).unwrap_err().to_string(),
            "invalid mount config for type \"bind\": bind source path does not exist: /nosuchdirectory/x"
        );
    }

    #[test]
    fn targets_are_looked_for_within_the_root() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("real")).unwrap();
        std::os::unix::fs::symlink("/real", dir.path().join("data")).unwrap();
        std::fs::write(dir.path().join("file"), "").unwrap();
        assert!(target_in(dir.path(), "/data").unwrap().is_some());
        assert!(target_in(dir.path(), "/none").unwrap().is_none());
        let error = target_in(dir.path(), "/file").unwrap_err().to_string();
        assert!(
            error.starts_with("cannot mount volume over existing file"),
            "{error}"
        );
    }
}
