//! Networks, volumes and plugins, as far as clients ask for them before those are built: lists
//! that tell what there is, and the 404 that `docker inspect NAME` expects while it searches.

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::errors::ApiError;

/// Networks that a container may be in: `bridge`, the default, which has only loopback so far,
/// `host` and `none`. (docs: Engine API `NetworkResource`.)
pub(crate) fn list() -> Vec<Value> {
    ["bridge", "host", "none"]
        .into_iter()
        .map(network)
        .collect()
}

/// A network by name or id.
///
/// # Errors
/// 404 `network x not found`.
pub(crate) fn inspect(name: &str) -> Result<Value, ApiError> {
    list()
        .into_iter()
        .find(|network| network["Name"] == name || network["Id"] == name)
        .ok_or_else(|| ApiError::not_found(format!("network {name} not found")))
}

fn network(name: &str) -> Value {
    let driver = if name == "none" { "null" } else { name };
    json!({
        "Name": name,
        "Id": id(name),
        "Created": "0001-01-01T00:00:00Z",
        "Scope": "local",
        "Driver": driver,
        "EnableIPv6": false,
        "IPAM": {"Driver": "default", "Options": null, "Config": []},
        "Internal": false,
        "Attachable": false,
        "Ingress": false,
        "ConfigFrom": {"Network": ""},
        "ConfigOnly": false,
        "Containers": {},
        "Options": {},
        "Labels": {},
    })
}

/// Predefined networks have no state that could keep an id, so it is derived from the name, here
/// as for a container's `NetworkSettings`.
fn id(name: &str) -> String {
    let mut hash = Sha256::new();
    hash.update(b"taffrail network ");
    hash.update(name.as_bytes());
    let digest = hash.finalize();
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The volume list.
pub(crate) fn volumes() -> Value {
    json!({"Volumes": [], "Warnings": null})
}

/// A volume by name: there are none.
pub(crate) fn no_volume(name: &str) -> ApiError {
    ApiError::not_found(format!("get {name}: no such volume"))
}

/// A plugin by name: there are none.
pub(crate) fn no_plugin(name: &str) -> ApiError {
    ApiError::not_found(format!("plugin \"{name}\" not found"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn predefined_networks() {
        let none = inspect("none").unwrap();
        assert_eq!(none["Driver"], "null");
        let id = none["Id"].as_str().unwrap();
        assert_eq!(id.len(), 64);
        assert_eq!(inspect(id).unwrap(), none);
        assert_eq!(inspect("x").unwrap_err().message, "network x not found");
    }
}
