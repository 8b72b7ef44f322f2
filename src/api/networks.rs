//! `GET /networks...`, and plugins as far as clients ask for them while they search.

use std::collections::BTreeMap;

use regex::Regex;
use serde_json::{Map, Value, json};

use super::filters::Filters;
use super::request::Request;
use super::time;
use crate::container::time::rfc3339;
use crate::daemon::Daemon;
use crate::errors::ApiError;
use crate::network::model::{Network, Pool};
use crate::network::netlink::mac_text;

/// Keys of `docker network ls --filter`.
const LIST_KEYS: &[&str] = &["dangling", "driver", "id", "label", "name", "scope", "type"];

/// `GET /networks`.
///
/// # Errors
/// 400 for an unknown filter or a bad value.
pub(crate) fn list(daemon: &Daemon, request: &Request) -> Result<Vec<Value>, ApiError> {
    let filters = Filters::parse(request.query.text("filters"))?;
    let used = |network: &Network| !daemon.networks.members(&network.id).is_empty();
    let networks = filtered(daemon.networks.all(), &filters, used)?;
    Ok(networks.iter().map(shown).collect())
}

fn filtered(
    mut networks: Vec<Network>,
    filters: &Filters,
    used: impl Fn(&Network) -> bool,
) -> Result<Vec<Network>, ApiError> {
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
    networks.retain(|network| {
        let kind = if network.is_predefined() {
            "builtin"
        } else {
            "custom"
        };
        let left_over = !network.is_predefined() && !used(network);
        (!filters.has("name") || names.iter().any(|pattern| pattern.is_match(&network.name)))
            && filters.exact("driver", network.driver.as_str())
            && filters.prefix("id", &network.id)
            && filters.exact("scope", "local")
            && filters.exact("type", kind)
            && filters.labels("label", &network.labels)
            && dangling.is_none_or(|wanted| wanted == left_over)
    });
    Ok(networks)
}

/// `GET /networks/{name}`: with the containers that run in it.
///
/// # Errors
/// 404 `network x not found`, 400 for an id's beginning that several have.
pub(crate) fn inspect(daemon: &Daemon, name: &str, request: &Request) -> Result<Value, ApiError> {
    let scope = request.query.text("scope");
    if !matches!(scope, "" | "local") {
        return Err(ApiError::not_found(format!("network {name} not found")));
    }
    let network = daemon.networks.find(name)?;
    let mut value = shown(&network);
    let mut members = Map::new();
    for sandbox in daemon.networks.members(&network.id) {
        let Some(endpoint) = sandbox.endpoint(&network.id) else {
            continue;
        };
        // Its name now.
        let name = daemon
            .find(&sandbox.container)
            .map_or_else(|_| sandbox.name.clone(), |container| container.name());
        let text = |net: Option<String>| net.unwrap_or_default();
        let member = json!({
            "Name": name,
            "EndpointID": endpoint.id,
            "MacAddress": text(endpoint.mac.map(mac_text)),
            "IPv4Address": text(endpoint.ipv4.map(|net| net.to_string())),
            "IPv6Address": text(endpoint.ipv6.map(|net| net.to_string())),
        });
        members.insert(sandbox.container.clone(), member);
    }
    value["Containers"] = Value::Object(members);
    if request.query.flag("verbose") {
        // Of swarm's services, which there are none of.
        value["Services"] = json!({});
    }
    Ok(value)
}

/// A network as the API has it (docs: Engine API 1.43 `Network`).
fn shown(network: &Network) -> Value {
    let pools: Vec<Value> = network.pools.iter().map(pool).collect();
    json!({
        "Name": network.name,
        "Id": network.id,
        "Created": rfc3339(network.created_ns),
        "Scope": "local",
        "Driver": network.driver.as_str(),
        "EnableIPv6": network.ipv6,
        "IPAM": {
            "Driver": "default",
            "Options": network.ipam_options,
            "Config": pools,
        },
        "Internal": network.internal,
        "Attachable": network.attachable,
        "Ingress": false,
        "ConfigFrom": {"Network": ""},
        "ConfigOnly": false,
        "Containers": {},
        "Options": network.options,
        "Labels": network.labels,
    })
}

fn pool(pool: &Pool) -> Value {
    let mut shown = json!({"Subnet": pool.subnet.to_string()});
    if let Some(range) = pool.range {
        shown["IPRange"] = range.to_string().into();
    }
    shown["Gateway"] = pool.via.unwrap_or(pool.gateway).to_string().into();
    if !pool.auxiliary.is_empty() {
        let auxiliary: BTreeMap<&String, String> = pool
            .auxiliary
            .iter()
            .map(|(name, ip)| (name, ip.to_string()))
            .collect();
        shown["AuxiliaryAddresses"] = json!(auxiliary);
    }
    shown
}

/// The filter `until`, in nanoseconds since 1970.
///
/// # Errors
/// 400 for what is no time, or more than one.
pub(crate) fn until(filters: &Filters) -> Result<Option<i64>, ApiError> {
    match filters.get("until") {
        [] => Ok(None),
        [one] => time::moment("until", one),
        _ => Err(ApiError::invalid("more than one until filter specified")),
    }
}

/// A plugin by name: there are none.
pub(crate) fn no_plugin(name: &str) -> ApiError {
    ApiError::not_found(format!("plugin \"{name}\" not found"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::model::Driver;

    fn network(name: &str, driver: Driver) -> Network {
        Network {
            id: name.repeat(64)[..64].to_owned(),
            name: name.to_owned(),
            created_ns: 0,
            driver,
            internal: false,
            attachable: false,
            ipv6: false,
            labels: BTreeMap::new(),
            options: BTreeMap::new(),
            ipam_options: None,
            pools: Vec::new(),
            chosen_subnet: false,
            interface: String::new(),
            foreign: false,
        }
    }

    #[test]
    fn filters_of_networks() {
        let all = || {
            vec![
                network("bridge", Driver::Bridge),
                network("host", Driver::Host),
                network("none", Driver::Null),
                network("mine", Driver::Bridge),
            ]
        };
        let names = |pairs: &[(&str, &str)]| -> Vec<String> {
            let filters = Filters::from_pairs(pairs);
            let found = filtered(all(), &filters, |_| false).unwrap();
            found.into_iter().map(|network| network.name).collect()
        };
        assert_eq!(names(&[]).len(), 4);
        assert_eq!(names(&[("name", "o")]), ["host", "none"]);
        assert_eq!(names(&[("name", "^host$")]), ["host"]);
        assert_eq!(names(&[("driver", "null")]), ["none"]);
        assert_eq!(names(&[("type", "custom")]), ["mine"]);
        assert_eq!(names(&[("type", "builtin")]).len(), 3);
        assert_eq!(names(&[("dangling", "true")]), ["mine"]);
        assert_eq!(names(&[("dangling", "false")]).len(), 3);
        for none in [("label", "x"), ("scope", "swarm"), ("name", "[")] {
            assert!(names(&[none]).is_empty(), "{none:?}");
        }
        for (pair, text) in [
            (("x", "1"), "Invalid filter 'x'"),
            (("type", "x"), "Invalid filter: 'type'='x'"),
        ] {
            let filters = Filters::from_pairs(&[pair]);
            let error = filtered(all(), &filters, |_| false).unwrap_err();
            assert_eq!(error.message, text);
        }
    }
}
