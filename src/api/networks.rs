//! Networks and plugins, as far as clients ask for them before those are built: lists
//! that tell what there is, and the 404 that `docker inspect NAME` expects while it searches.

use std::collections::BTreeMap;

use regex::Regex;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use super::filters::Filters;
use super::request::Request;
use crate::daemon::Daemon;
use crate::errors::ApiError;

/// Keys of `docker network ls --filter`.
const LIST_KEYS: &[&str] = &["dangling", "driver", "id", "label", "name", "scope", "type"];

/// Networks that a container may be in: `bridge`, the default, which has only loopback so far,
/// `host` and `none`. (docs: Engine API `NetworkResource`.)
fn all(daemon: &Daemon) -> Vec<Value> {
    let bridge = (!daemon.settings().no_bridge).then_some("bridge");
    bridge
        .into_iter()
        .chain(["host", "none"])
        .map(network)
        .collect()
}

/// `GET /networks`.
///
/// # Errors
/// 400 for an unknown filter or a bad value.
pub(crate) fn list(daemon: &Daemon, request: &Request) -> Result<Vec<Value>, ApiError> {
    let filters = Filters::parse(request.query.text("filters"))?;
    filtered(all(daemon), &filters)
}

fn filtered(networks: Vec<Value>, filters: &Filters) -> Result<Vec<Value>, ApiError> {
    filters.validate(LIST_KEYS)?;
    let dangling = filters.boolean("dangling")?;
    for kind in filters.get("type") {
        if !["builtin", "custom"].contains(&kind.as_str()) {
            return Err(ApiError::invalid(format!(
                "Invalid filter: 'type'='{kind}'"
            )));
        }
    }
    let mut names = Vec::new();
    for name in filters.get("name") {
        // What is no expression matches nothing, as in Docker.
        names.extend(Regex::new(name));
    }
    let text = |network: &Value, key: &str| network[key].as_str().unwrap_or_default().to_owned();
    let wanted = |network: &Value| {
        let name = text(network, "Name");
        (!filters.has("name") || names.iter().any(|pattern| pattern.is_match(&name)))
            && filters.exact("driver", &text(network, "Driver"))
            && filters.prefix("id", &text(network, "Id"))
            && filters.exact("scope", &text(network, "Scope"))
            && filters.exact("type", "builtin")
            && filters.labels("label", &BTreeMap::new())
            // Those that always exist are never left over.
            && dangling != Some(true)
    };
    Ok(networks.into_iter().filter(wanted).collect())
}

/// `GET /networks/{name}`: with the containers that run in it.
///
/// # Errors
/// 404 `network x not found`.
pub(crate) fn inspect(daemon: &Daemon, name: &str) -> Result<Value, ApiError> {
    let mut network = find(all(daemon), name)?;
    let mut members = Map::new();
    for container in daemon.containers.all() {
        if let Some(member) = container.network_member(network["Name"].as_str().unwrap_or_default())
        {
            let endpoint = json!({
                "Name": member,
                "EndpointID": "",
                "MacAddress": "",
                "IPv4Address": "",
                "IPv6Address": "",
            });
            members.insert(container.id.clone(), endpoint);
        }
    }
    network["Containers"] = Value::Object(members);
    Ok(network)
}

/// By name, id, or unique beginning of an id.
fn find(networks: Vec<Value>, name: &str) -> Result<Value, ApiError> {
    let is = |network: &Value| network["Name"] == name || network["Id"] == name;
    let begins = |network: &Value| {
        let id = network["Id"].as_str().unwrap_or_default();
        !name.is_empty() && id.starts_with(name)
    };
    networks
        .iter()
        .find(|network| is(network))
        .or_else(|| networks.iter().find(|network| begins(network)))
        .cloned()
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

/// A plugin by name: there are none.
pub(crate) fn no_plugin(name: &str) -> ApiError {
    ApiError::not_found(format!("plugin \"{name}\" not found"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn three() -> Vec<Value> {
        ["bridge", "host", "none"].map(network).to_vec()
    }

    #[test]
    fn predefined_networks() {
        let none = find(three(), "none").unwrap();
        assert_eq!(none["Driver"], "null");
        let id = none["Id"].as_str().unwrap();
        assert_eq!(id.len(), 64);
        assert_eq!(find(three(), id).unwrap(), none);
        assert_eq!(find(three(), &id[..12]).unwrap(), none);
        let error = find(three(), "x").unwrap_err();
        assert_eq!(error.message, "network x not found");
        assert!(find(three(), "").is_err());
    }

    #[test]
    fn filters_of_networks() {
        let names = |pairs: &[(&str, &str)]| -> Vec<String> {
            let found = filtered(three(), &Filters::from_pairs(pairs)).unwrap();
            let name = |network: &Value| network["Name"].as_str().unwrap().to_owned();
            found.iter().map(name).collect()
        };
        assert_eq!(names(&[]), ["bridge", "host", "none"]);
        assert_eq!(names(&[("name", "o")]), ["host", "none"]);
        assert_eq!(names(&[("name", "^host$")]), ["host"]);
        assert_eq!(names(&[("driver", "null")]), ["none"]);
        assert_eq!(names(&[("type", "builtin")]).len(), 3);
        for none in [
            ("type", "custom"),
            ("label", "x"),
            ("scope", "swarm"),
            ("dangling", "true"),
            ("name", "["),
        ] {
            assert!(names(&[none]).is_empty(), "{none:?}");
        }
        for (pair, text) in [
            (("x", "1"), "Invalid filter 'x'"),
            (("type", "x"), "Invalid filter: 'type'='x'"),
        ] {
            let error = filtered(three(), &Filters::from_pairs(&[pair])).unwrap_err();
            assert_eq!(error.message, text);
        }
    }
}
