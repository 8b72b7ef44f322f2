//! `inspect`, and what containers' events say of them.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::Arc;

use serde_json::{Value, json};

use super::exit::blocking;
use super::last_words::LastWords;
use super::{Container, time};
use crate::daemon::Daemon;
use crate::errors::ApiError;
use crate::runtime;
use crate::supervisor::SpoolState;

impl Daemon {
    /// A container in the shape of inspect (docs: Engine API 1.43 `ContainerInspect`).
    ///
    /// # Errors
    /// Never by now.
    pub(crate) async fn inspect(
        &self,
        container: &Arc<Container>,
        size: bool,
    ) -> Result<Value, ApiError> {
        let record = container.record();
        let dir = container.dir();
        let (path, args) = record.command();
        // They are made at the first start, whether it succeeds or not.
        let file = |name: &str| {
            let path = dir.join(name);
            if path.exists() {
                path.display().to_string()
            } else {
                String::new()
            }
        };
        let overlay = self.overlay_dir(&record.id);
        let exec_ids = self.execs.ids_of(&record.id);
        let mut out = json!({
            "Id": record.id,
            "Created": time::rfc3339(record.created_ns),
            "Path": path,
            "Args": args,
            "State": record.docker_state(),
            "Image": record.image_id,
            "ResolvConfPath": file("resolv.conf"),
            "HostnamePath": file("hostname"),
            "HostsPath": file("hosts"),
            "LogPath": record.log_path(dir),
            "Name": format!("/{}", record.name),
            "RestartCount": record.state.restart_count,
            "Driver": "overlay2",
            "Platform": "linux",
            "MountLabel": "",
            "ProcessLabel": "",
            "AppArmorProfile": "",
            "ExecIDs": exec_ids,
            "HostConfig": record.shown_host(),
            "GraphDriver": {
                "Name": "overlay2",
                "Data": {
                    "LowerDir": self.images.lower_dirs(&record.id),
                    "MergedDir": overlay.join("merged"),
                    "UpperDir": overlay.join("upper"),
                    "WorkDir": overlay.join("work"),
                },
            },
            "Mounts": runtime::shown_mounts(record.points(), dir, self.volumes.root()),
            "Config": record.config,
            "NetworkSettings": self.network_settings(&record),
        });
        out["HostConfig"]["Links"] = json!(self.shown_links(&record));
        // Beyond Docker's fields, and only where there is something to tell.
        let words = {
            let dir = dir.to_owned();
            blocking(move || LastWords::load(&dir)).await.flatten()
        };
        if let Some(words) = words {
            out["State"]["LastWords"] = words.shown();
        }
        if let Some(spool) = container.capture().map(|capture| capture.spool())
            && spool != SpoolState::default()
        {
            out["LogSpool"] = json!({
                "Bytes": spool.bytes,
                "LostRecords": spool.lost_records,
                "LostBytes": spool.lost_bytes,
            });
        }
        let id = record.id.clone();
        let daemon = Arc::clone(&self.delivery);
        if let Some(sinks) = blocking(move || daemon.shown(&id)).await.flatten() {
            out["LogSinks"] = sinks;
            out["LogSpoolBounds"] = json!({
                "Container": container.max_spool_size(),
                "Daemon": self.spool_bound(),
            });
        }
        if size && let Some(fields) = out.as_object_mut() {
            let (own, all) = self.sizes(&record.id, &record.image_id).await;
            fields.insert("SizeRw".to_owned(), json!(own));
            fields.insert("SizeRootFs".to_owned(), json!(all));
        }
        Ok(out)
    }

    /// Bytes that a container has written, and those with its image.
    pub(super) async fn sizes(&self, id: &str, image: &str) -> (u64, u64) {
        let upper = self.overlay_dir(id).join("upper");
        let own = blocking(move || written(&upper)).await.unwrap_or(0);
        let images = Arc::clone(&self.images);
        let image = image.to_owned();
        let base = blocking(move || images.resolve(&image).map_or(0, |image| image.size))
            .await
            .unwrap_or(0);
        (own, own + base)
    }

    /// Publishes an event of a container, with its labels, image and name.
    pub(super) fn container_event<const N: usize>(
        &self,
        container: &Container,
        action: &str,
        more: [(&str, String); N],
    ) {
        self.extra_event(container, action, &more);
        let mut attributes: BTreeMap<String, String>;
        {
            let inner = container.inner();
            attributes = inner.record.config.labels.clone();
            attributes.insert("image".to_owned(), inner.record.config.image.clone());
            attributes.insert("name".to_owned(), inner.record.name.clone());
        }
        attributes.extend(more.map(|(key, value)| (key.to_owned(), value)));
        self.events
            .publish("container", action, &container.id, attributes);
    }
}

/// Bytes that a container has written: without `/etc/mtab`, which the daemon puts there itself.
fn written(upper: &Path) -> u64 {
    let link = std::fs::read_link(upper.join("etc/mtab"));
    let ours = link.map_or(0, |target| match target.to_str() {
        Some(target @ "/proc/mounts") => target.len() as u64,
        _ => 0,
    });
    tree_size(upper).saturating_sub(ours)
}

/// Bytes of all files and links below a folder, each inode once. What cannot be read counts nothing.
pub(crate) fn tree_size(dir: &Path) -> u64 {
    let mut seen = std::collections::HashSet::new();
    let mut todo = vec![dir.to_owned()];
    let mut sum = 0;
    while let Some(dir) = todo.pop() {
        for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
            let Ok(meta) = entry.metadata() else { continue };
            if meta.is_dir() {
                todo.push(entry.path());
            } else if seen.insert((meta.dev(), meta.ino())) {
                sum += meta.len();
            }
        }
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_count_hard_links_once() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("a")).unwrap();
        std::fs::write(dir.path().join("a/x"), vec![0; 1000]).unwrap();
        std::fs::hard_link(dir.path().join("a/x"), dir.path().join("y")).unwrap();
        std::fs::write(dir.path().join("z"), vec![0; 10]).unwrap();
        std::os::unix::fs::symlink("z", dir.path().join("l")).unwrap();
        assert_eq!(tree_size(dir.path()), 1011);
        std::fs::create_dir(dir.path().join("etc")).unwrap();
        std::os::unix::fs::symlink("/proc/mounts", dir.path().join("etc/mtab")).unwrap();
        assert_eq!(written(dir.path()), 1011);
        assert_eq!(tree_size(Path::new("/nowhere")), 0);
    }
}
