//! `NetworkMode`: a network namespace of its own, the host's, or another container's.

use std::net::IpAddr;
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
    /// A namespace of its own with interfaces, if there are networks on this host.
    Own,
    /// That of another container.
    Joined,
}

impl Network {
    pub(super) fn of(host: &HostConfig) -> Result<Self, RuntimeError> {
        match host.network_mode.as_str() {
            "host" => Ok(Self::Host),
            "none" => Ok(Self::None),
            mode if joined(mode).is_some() => Ok(Self::Joined),
            // `container:` without a name.
            mode if mode.starts_with("container:") => {
                Err(RuntimeError::NetworkNotFound(mode.to_owned()))
            }
            // The default network, or one of the user's, which start looks for.
            _ => Ok(Self::Own),
        }
    }
}

/// The container whose namespace a mode (`container:<name or id>`) means.
pub(crate) fn joined(mode: &str) -> Option<&str> {
    mode.strip_prefix("container:")
        .filter(|name| !name.is_empty())
}

/// What the files in `/etc` say of a container's networks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct OwnNetwork {
    /// Its addresses; none with loopback alone.
    pub(crate) addresses: Vec<IpAddr>,
    /// Lines for `/etc/hosts`: addresses and names of linked containers.
    pub(crate) links: Vec<(IpAddr, String)>,
    /// Variables that tell of linked containers.
    pub(crate) env: Vec<String>,
    /// What `host-gateway` means.
    pub(crate) host_gateway: Vec<IpAddr>,
    /// Who answers for names; empty: the host's servers, as far as they can be reached.
    pub(crate) servers: Vec<IpAddr>,
    /// Settings of daemon.json where the container has none.
    pub(crate) dns: Vec<String>,
    pub(crate) dns_search: Vec<String>,
    pub(crate) dns_options: Vec<String>,
}

/// What a container has in common with others, found anew at each start.
#[derive(Clone, Debug, Default)]
pub(crate) struct Shared {
    /// Namespaces of other containers, where the mode names one: `/proc/<pid>/ns/...`.
    pub(crate) pid: Option<PathBuf>,
    pub(crate) ipc: Option<PathBuf>,
    pub(crate) network: Option<PathBuf>,
    /// What its own networks give it.
    pub(crate) own: Option<OwnNetwork>,
    /// Folder with the files for `/etc` of the container whose network it is.
    pub(crate) etc: Option<PathBuf>,
    /// What is at `/dev/shm`: another container's, or its own, which others may join.
    pub(crate) shm: Option<PathBuf>,
}

/// A namespace that is the container's own or the host's (`PidMode`, `UTSMode`, `CgroupnsMode`).
pub(super) fn is_host(mode: &str) -> bool {
    mode == "host"
}
