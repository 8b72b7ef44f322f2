//! `NetworkMode` as far as it is built: a network namespace with loopback, the host's, or another
//! container's.

use std::path::PathBuf;

use super::error::RuntimeError;
use crate::api::types::HostConfig;

/// Where a container's network comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Network {
    /// The host's network namespace.
    Host,
    /// A namespace of its own, loopback and nothing else, because it was asked for.
    None,
    /// A namespace of its own where Docker has its bridge; loopback only for now.
    Default,
    /// That of another container.
    Joined,
}

impl Network {
    pub(super) fn of(host: &HostConfig) -> Result<Self, RuntimeError> {
        match host.network_mode.as_str() {
            "host" => Ok(Self::Host),
            "none" => Ok(Self::None),
            "" | "default" | "bridge" => Ok(Self::Default),
            mode if joined(mode).is_some() => Ok(Self::Joined),
            mode => Err(RuntimeError::NetworkNotFound(mode.to_owned())),
        }
    }
}

/// The container whose namespace a mode (`container:<name or id>`) means.
pub(crate) fn joined(mode: &str) -> Option<&str> {
    mode.strip_prefix("container:")
        .filter(|name| !name.is_empty())
}

/// What a container has in common with others, found anew at each start.
#[derive(Clone, Debug, Default)]
pub(crate) struct Shared {
    /// Namespaces of other containers, where the mode names one: `/proc/<pid>/ns/...`.
    pub(crate) pid: Option<PathBuf>,
    pub(crate) ipc: Option<PathBuf>,
    pub(crate) network: Option<PathBuf>,
    /// Folder with the files for `/etc` of the container whose network it is.
    pub(crate) etc: Option<PathBuf>,
    /// What is at `/dev/shm`: another container's, or its own, which others may join.
    pub(crate) shm: Option<PathBuf>,
}

/// A namespace that is the container's own or the host's (`PidMode`, `UTSMode`, `CgroupnsMode`).
pub(super) fn is_host(mode: &str) -> bool {
    mode == "host"
}
