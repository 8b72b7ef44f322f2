//! `create`: settings checked and completed, then the container's folder and root file system.

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::PathBuf;
use std::sync::Arc;

use serde::Deserialize;
use serde_json::Value;

use super::create_check::{check, check_platform, complete, merge, one_network};
use super::exit::blocking;
use super::links::has_links;
use super::{Container, Record, State, log_config, names, network, state, time, volumes};
use crate::api::types::{ContainerConfig, HostConfig, null_default};
use crate::daemon::{Daemon, host_name};
use crate::errors::{ApiError, chain};
use crate::image::Image;
use crate::network::model::link_parts;
use crate::runtime;

/// Attempts at a made-up name that nobody has.
const NAME_ATTEMPTS: u32 = 6;

/// Body of a create request (docs: Engine API `ContainerCreate`).
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct CreateBody {
    #[serde(flatten)]
    pub(crate) config: ContainerConfig,
    #[serde(rename = "HostConfig", deserialize_with = "null_default")]
    pub(crate) host: HostConfig,
    #[serde(rename = "NetworkingConfig", deserialize_with = "null_default")]
    pub(crate) networking: Value,
    /// From the query: `linux/arm64`; empty takes the image as it is.
    #[serde(skip)]
    pub(crate) platform: String,
}

/// Answer of a create request.
#[derive(Clone, Debug)]
pub(crate) struct Created {
    pub(crate) id: String,
    pub(crate) warnings: Vec<String>,
}

impl Daemon {
    /// Creates a container; `name` with or without `/`, `None` or empty: one is made up.
    ///
    /// # Errors
    /// 400 for settings that cannot be, 404 `No such image: x:tag`, 409 if the name is taken.
    pub(crate) async fn create(
        self: &Arc<Self>,
        name: Option<&str>,
        body: CreateBody,
    ) -> Result<Created, ApiError> {
        let name = name.filter(|name| !name.is_empty());
        let name = name.map(names::check).transpose()?;
        let settings = self.settings();
        let CreateBody {
            mut config,
            mut host,
            networking,
            platform,
        } = body;
        if config == ContainerConfig::default() {
            return Err(ApiError::invalid("No command specified"));
        }
        one_network(&networking)?;
        let images = Arc::clone(&self.images);
        let reference = config.image.clone();
        let image = blocking(move || images.resolve(&reference))
            .await
            .ok_or_else(|| ApiError::system("the daemon is ending"))?
            .map_err(|error| ApiError::new(error.kind(), chain(&error)))?;
        check_platform(&platform, &config.image, (&image.os, &image.architecture))?;
        merge(&mut config, &image.config)?;
        check(&config, &host)?;
        // Before the defaults: what is not given is not warned of.
        let (mut host, mut warnings) = blocking(move || {
            let warnings = runtime::discard_unsupported(&mut host);
            (host, warnings)
        })
        .await
        .ok_or_else(|| ApiError::system("the daemon is ending"))?;
        complete(&mut host, &settings);
        if !settings.runtimes.contains_key(&host.runtime) {
            return Err(ApiError::invalid(format!(
                "Unknown runtime specified {}",
                host.runtime
            )));
        }
        let with_links = has_links(&host.network_mode);
        for link in host.links.iter_mut().flatten().filter(|_| with_links) {
            let (linked, alias) = link_parts(link);
            let Ok(other) = self.find(linked) else {
                return Err(ApiError::invalid(format!(
                    "could not get container for {linked}: No such container: {linked}"
                )));
            };
            // A rename of the other one changes nothing.
            *link = format!("{}:{alias}", other.id);
        }
        self.join_by_id(&mut host)?;
        let mounts = self.mounts_of_new(&config, &host)?;
        let log = log_config::resolve(&mut host.log_config, &settings, &mut warnings)?;
        let networks = network::wishes(&config, &host, &networking)?;
        self.check_networks(&config, &host, &networks)?;
        if let Some(why) = self.networks.unavailable()
            && !settings.no_bridge()
            && networks.iter().any(|wish| wish.network == "bridge")
        {
            warnings.push(format!("the default network has loopback only: {why}"));
        }
        warnings.extend(runtime::validate_create(
            &config,
            &host,
            &settings.data_root,
        )?);

        let id = new_id()?;
        if config.hostname.is_empty() {
            config.hostname = match host.network_mode.as_str() {
                "host" => host_name(),
                mode if mode.starts_with("container:") => String::new(),
                _ if host.uts_mode == "host" => host_name(),
                _ => id[..12].to_owned(),
            };
        }
        let name = self.take_name(name, &id)?;
        let record = Record {
            version: state::VERSION,
            id: id.clone(),
            name: name.clone(),
            created_ns: time::now_ns(),
            image_id: image.id.clone(),
            config,
            host,
            mounts: Some(mounts),
            log,
            networks,
            state: State::default(),
        };
        match self.make(record, image).await {
            Ok(container) => {
                self.containers.insert(&container);
                self.container_event(&container, "create", []);
                Ok(Created { id, warnings })
            }
            Err(error) => {
                self.containers.release(&name, &id);
                Err(error)
            }
        }
    }

    /// Makes folder and root file system; on failure nothing is left of them.
    async fn make(
        &self,
        mut record: Record,
        image: Arc<Image>,
    ) -> Result<Arc<Container>, ApiError> {
        let dir = self.container_dir(&record.id);
        let images = Arc::clone(&self.images);
        let volumes = Arc::clone(&self.volumes);
        blocking(move || {
            let made = make_dir(&dir)
                .map_err(|error| ApiError::system(chain(&error)))
                .and_then(|()| {
                    images
                        .prepare_rootfs(&record.id, &image)
                        .map_err(|error| ApiError::new(error.kind(), chain(&error)))
                })
                .and_then(|()| volumes::make(&volumes, &images, &mut record))
                .and_then(|()| {
                    record
                        .save(&dir)
                        .map_err(|error| ApiError::system(chain(&error)))
                });
            if let Err(error) = made {
                volumes::give_back(&volumes, &record, true);
                if let Err(undo) = images.remove_rootfs(&record.id) {
                    tracing::warn!(container = record.id, error = %undo, "root file system of a failed create cannot be removed");
                }
                if let Err(undo) = std::fs::remove_dir_all(&dir) {
                    tracing::warn!(container = record.id, error = %undo, "folder of a failed create cannot be removed");
                }
                return Err(error);
            }
            Ok(Container::new(dir, record))
        })
        .await
        .unwrap_or_else(|| Err(ApiError::system("the daemon is ending")))
    }

    /// Takes the name asked for, or makes one up.
    fn take_name(&self, asked: Option<&str>, id: &str) -> Result<String, ApiError> {
        if let Some(name) = asked {
            return match self.containers.reserve(name, id) {
                Ok(()) => Ok(name.to_owned()),
                Err(holder) => Err(names::conflict(name, &holder)),
            };
        }
        for attempt in 0..NAME_ATTEMPTS {
            let name = names::generate(random()?, attempt);
            if self.containers.reserve(&name, id).is_ok() {
                return Ok(name);
            }
        }
        // An id is nobody's name, short of malice.
        self.containers
            .reserve(&id[..12], id)
            .map_err(|_| ApiError::conflict("no free container name was found"))?;
        Ok(id[..12].to_owned())
    }

    /// `<data-root>/containers/<id>`.
    pub(super) fn container_dir(&self, id: &str) -> PathBuf {
        self.containers_dir().join(id)
    }
}

#[derive(Debug, thiserror::Error)]
#[error("cannot create {path}")]
struct MakeDirError {
    path: PathBuf,
    source: std::io::Error,
}

fn make_dir(dir: &std::path::Path) -> Result<(), MakeDirError> {
    for (path, mode) in [(dir.to_owned(), 0o710), (dir.join("index"), 0o700)] {
        DirBuilder::new()
            .mode(mode)
            .create(&path)
            .map_err(|source| MakeDirError { path, source })?;
    }
    Ok(())
}

fn random() -> Result<u64, ApiError> {
    getrandom::u64().map_err(|error| ApiError::system(format!("no random numbers: {error}")))
}

/// 64 hex digits; the first twelve are not all decimal, as a number could be meant by them.
pub(super) fn new_id() -> Result<String, ApiError> {
    loop {
        let mut id = String::with_capacity(64);
        for _ in 0..4 {
            id.push_str(&format!("{:016x}", random()?));
        }
        if !id[..12].bytes().all(|b| b.is_ascii_digit()) {
            return Ok(id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids() {
        let id = new_id().unwrap();
        assert_eq!(id.len(), 64);
        assert!(id.bytes().all(|b| b.is_ascii_hexdigit()));
        assert_ne!(id, new_id().unwrap());
    }
}
