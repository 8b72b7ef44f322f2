//! `NetworkMode` as far as it is built: a network namespace with loopback, or the host's.

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
}

impl Network {
    pub(super) fn of(host: &HostConfig) -> Result<Self, RuntimeError> {
        match host.network_mode.as_str() {
            "host" => Ok(Self::Host),
            "none" => Ok(Self::None),
            "" | "default" | "bridge" => Ok(Self::Default),
            mode if mode.starts_with("container:") => Err(RuntimeError::NotBuilt {
                what: format!("network mode {mode}"),
                hint: "use none, host or the default network",
            }),
            mode => Err(RuntimeError::NetworkNotFound(mode.to_owned())),
        }
    }
}

/// A namespace that is the container's own or the host's (`PidMode`, `UTSMode`, `CgroupnsMode`).
pub(super) fn is_host(mode: &str) -> bool {
    mode == "host"
}
