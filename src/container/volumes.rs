//! Volumes of containers: chosen and made at create, mounted from start to exit, given back at
//! removal, found again by the next daemon.

use std::os::fd::AsRawFd as _;
use std::path::PathBuf;
use std::sync::Arc;

use super::exit::blocking;
use super::start::Starting;
use super::{Container, Record};
use crate::api::types::{ContainerConfig, HostConfig};
use crate::daemon::Daemon;
use crate::errors::{ApiError, chain};
use crate::image::ImageStore;
use crate::runtime::{self, MountPoint, Source};
use crate::volume::{LOCAL, VolumeStore, Wish};

/// Names of a container's volumes, each once.
fn names(record: &Record) -> Vec<&str> {
    let mut names: Vec<&str> = record
        .points()
        .iter()
        .filter_map(MountPoint::volume)
        .collect();
    names.sort_unstable();
    names.dedup();
    names
}

/// Makes the volumes of a container that is being created, its own from now on, and fills empty ones
/// from its root file system, which is there and not mounted. Blocking.
pub(super) fn make(
    store: &VolumeStore,
    images: &ImageStore,
    record: &mut Record,
) -> Result<(), ApiError> {
    let mut fill = Vec::new();
    for point in record.mounts.iter_mut().flatten() {
        let Source::Volume {
            name,
            anonymous,
            wish,
            copy,
        } = &mut point.source
        else {
            continue;
        };
        if wish == &Wish::default() && !name.is_empty() {
            // Another container's, which has it: it is as that one made it.
            store.own(name, &record.id)?;
        } else {
            let volume = store.create(wish, Some(&record.id))?;
            name.clone_from(&volume.meta.name);
        }
        if *copy {
            fill.push((name.clone(), point.target.clone(), *anonymous));
        }
    }
    if fill.is_empty() {
        return Ok(());
    }
    let rootfs = images
        .mount_rootfs(&record.id)
        .map_err(|error| ApiError::system(chain(&error)))?;
    let filled = fill.iter().try_for_each(|(name, target, anonymous)| {
        let from = match runtime::target_in(&rootfs, target) {
            Ok(Some(from)) => from,
            Ok(None) => return Ok(()),
            Err(error) if *anonymous => return Err(error.into()),
            // The runtime says what it thinks of it.
            Err(_) => return Ok(()),
        };
        // Through the descriptor, so that no link of the image leads elsewhere.
        let path = PathBuf::from(format!("/proc/self/fd/{}", from.as_raw_fd()));
        store.fill(name, &path).map_err(ApiError::from)
    });
    let unmounted = images
        .unmount_rootfs(&record.id)
        .map_err(|error| ApiError::system(chain(&error)));
    filled.and(unmounted)
}

/// The volumes are the container's no more; with `remove` its anonymous ones go, unless somebody else
/// has them. Blocking.
pub(super) fn give_back(store: &VolumeStore, record: &Record, remove: bool) {
    for name in names(record) {
        store.release(name, &record.id);
    }
    if !remove {
        return;
    }
    for point in record.points() {
        let Source::Volume {
            name,
            anonymous: true,
            ..
        } = &point.source
        else {
            continue;
        };
        // One that was not made yet has no name.
        if name.is_empty() || store.get(name).is_ok_and(|volume| volume.owners > 0) {
            continue;
        }
        if let Err(error) = store.remove(name) {
            let error = ApiError::from(error);
            tracing::warn!(container = record.id, volume = name, %error, "anonymous volume is not removed");
        }
    }
}

/// Mounts the volumes of a container that is about to start. Blocking.
pub(super) fn mount(store: &VolumeStore, record: &Record) -> Result<(), ApiError> {
    for name in names(record) {
        store.mount(name, &record.id)?;
    }
    Ok(())
}

/// The container has ended, or could not be started. Blocking.
pub(super) fn unmount(store: &VolumeStore, record: &Record) {
    for name in names(record) {
        store.unmount(name, &record.id);
    }
}

impl Daemon {
    /// Mounts of a container that is being created.
    ///
    /// # Errors
    /// 400 for what cannot be, and for `VolumesFrom` of no container.
    pub(super) fn mounts_of_new(
        &self,
        config: &ContainerConfig,
        host: &HostConfig,
    ) -> Result<Vec<MountPoint>, ApiError> {
        let mut inherited = Vec::new();
        for spec in host.volumes_from.iter().flatten() {
            let (name, read_only) = runtime::volumes_from(spec)?;
            let from = self
                .find(name)
                .map_err(|error| ApiError::invalid(error.message))?;
            inherited.extend(inherit(from.record().points(), read_only)?);
        }
        let data_root = &self.settings().data_root;
        Ok(runtime::user_mounts(
            config,
            host,
            Some(data_root),
            inherited,
        )?)
    }

    /// What is stored of a container makes its volumes its own.
    pub(super) fn own_volumes(&self, record: &Record) {
        let run_dir = self.supervisor.container_dir(&record.id);
        // Also one whose start the last daemon did not live to write down.
        let runs = record.state.status.has_process() || Starting::read(&run_dir).is_some();
        for name in names(record) {
            if let Err(error) = self.volumes.own(name, &record.id) {
                tracing::warn!(container = record.id, volume = name, error = %chain(&error), "a volume of the container is missing");
            } else if runs {
                self.volumes.adopt(name, &record.id);
            }
        }
    }

    /// What the last daemon left mounted and nobody uses is unmounted.
    pub(crate) async fn unmount_unused_volumes(&self) {
        let store = Arc::clone(&self.volumes);
        blocking(move || store.unmount_all_unused()).await;
    }

    /// A removed container's volumes are given back; with `remove` its anonymous ones go.
    pub(super) async fn give_volumes_back(&self, container: &Container, remove: bool) {
        let record = container.record();
        let store = Arc::clone(&self.volumes);
        blocking(move || give_back(&store, &record, remove)).await;
    }

    /// `mount` and `unmount` of each of a container's volumes (source: Moby `daemon/volumes.go`).
    pub(super) fn volume_events(&self, container: &Container, action: &str) {
        let record = container.record();
        for point in record.points() {
            let Some(name) = point.volume() else {
                continue;
            };
            let mut attributes = vec![
                ("container", record.id.clone()),
                ("driver", LOCAL.to_owned()),
            ];
            if action == "mount" {
                attributes.push(("destination", point.target.clone()));
                attributes.push(("propagation", String::new()));
                attributes.push(("read/write", (!point.read_only).to_string()));
            }
            let attributes = attributes.into_iter().map(|(k, v)| (k.to_owned(), v));
            self.events
                .publish("volume", action, name, attributes.collect());
        }
    }
}

/// What a container has of another one's mounts. A tmpfs is each container's own.
fn inherit(points: &[MountPoint], read_only: bool) -> Result<Vec<MountPoint>, ApiError> {
    let mut out = Vec::new();
    for point in points {
        let mut point = point.clone();
        match &mut point.source {
            Source::Tmpfs { .. } => continue,
            Source::Own { .. } => {
                return Err(ApiError::invalid(format!(
                    "the volume at {} is a folder of its container, which was created by an older \
                     version; create that container anew to share it",
                    point.target
                )));
            }
            // What a removed one had is not made anew at its place.
            Source::Volume { wish, copy, .. } => {
                *wish = Wish::default();
                *copy = false;
            }
            Source::Bind { .. } => {}
        }
        point.read_only |= read_only;
        point.mode = String::new();
        out.push(point);
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(source: Source) -> MountPoint {
        MountPoint {
            source,
            target: "/x".to_owned(),
            read_only: false,
            mode: "z".to_owned(),
        }
    }

    #[test]
    fn what_another_container_has_of_it() {
        let volume = Source::Volume {
            name: "vv".to_owned(),
            anonymous: true,
            wish: Wish::default(),
            copy: true,
        };
        let tmpfs = Source::Tmpfs {
            options: Vec::new(),
            hidden: false,
        };
        let got = inherit(&[point(volume), point(tmpfs)], true).unwrap();
        assert_eq!(got.len(), 1);
        assert_eq!((got[0].read_only, got[0].mode.as_str()), (true, ""));
        // It still may go with the last container that has it.
        assert!(matches!(
            got[0].source,
            Source::Volume {
                anonymous: true,
                copy: false,
                ..
            }
        ));
        assert!(inherit(&[point(Source::Own { number: 0 })], false).is_err());
    }
}
