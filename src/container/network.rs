//! The networks that exist before there are real ones: the default (loopback only), `none` and
//! `host`.

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::{Container, Record};
use crate::daemon::Daemon;

/// Name and type of the network of a mode.
fn network(mode: &str) -> Option<(&str, &str)> {
    match mode {
        "" | "default" | "bridge" => Some(("bridge", "bridge")),
        "none" => Some(("none", "null")),
        "host" => Some(("host", "host")),
        // `container:<id>`: that container's.
        _ => None,
    }
}

/// Id of a predefined network. There is no state that could keep one, so it is derived from the
/// name; `/networks` says the same.
fn network_id(name: &str) -> String {
    let digest = Sha256::new()
        .chain_update("taffrail network ")
        .chain_update(name)
        .finalize();
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

impl Container {
    /// Its name, if it runs in the network of this name.
    pub(crate) fn network_member(&self, of: &str) -> Option<String> {
        let record = &self.inner().record;
        let (name, _) = network(&record.host.network_mode)?;
        (name == of && record.state.status.has_process()).then(|| record.name.clone())
    }
}

impl Daemon {
    /// Event of a network that a container joins or leaves.
    pub(super) fn network_event(&self, container: &Container, action: &str) {
        let mode = container.inner().record.host.network_mode.clone();
        if let Some((name, kind)) = network(&mode) {
            let attributes = [
                ("container".to_owned(), container.id.clone()),
                ("name".to_owned(), name.to_owned()),
                ("type".to_owned(), kind.to_owned()),
            ];
            self.events
                .publish("network", action, network_id(name), attributes.into());
        }
    }

    /// `NetworkSettings.Networks`.
    pub(super) fn networks(&self, record: &Record) -> Value {
        let Some((name, _)) = network(&record.host.network_mode) else {
            return json!({});
        };
        json!({ name: {
            "IPAMConfig": null,
            "Links": null,
            "Aliases": null,
            "MacAddress": "",
            "DriverOpts": null,
            "NetworkID": network_id(name),
            "EndpointID": "",
            "Gateway": "",
            "IPAddress": "",
            "IPPrefixLen": 0,
            "IPv6Gateway": "",
            "GlobalIPv6Address": "",
            "GlobalIPv6PrefixLen": 0,
        }})
    }

    /// Whether a container is in one of the networks, by name or id (prefix).
    pub(super) fn in_network(&self, record: &Record, wanted: &str) -> bool {
        network(&record.host.network_mode)
            .is_some_and(|(name, _)| name == wanted || network_id(name).starts_with(wanted))
    }
}
