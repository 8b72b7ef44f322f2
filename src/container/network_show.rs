//! A container's networks as the API shows them.

use serde_json::{Map, Value, json};

use super::Record;
use crate::daemon::Daemon;
use crate::network::model::{Endpoint, Sandbox, Wish};
use crate::network::netlink::mac_text;
use crate::network::{model::Network, ports};
use crate::runtime::joined;

impl Daemon {
    /// `NetworkSettings` of inspect (docs: Engine API 1.43).
    pub(super) fn network_settings(&self, record: &Record) -> Value {
        let sandbox = self.sandbox_of(record);
        let default = sandbox.as_ref().and_then(|sandbox| {
            let network = self.networks.find("bridge").ok()?;
            sandbox.endpoint(&network.id).cloned()
        });
        let ip = |endpoint: &Option<Endpoint>| endpoint_fields(endpoint.as_ref());
        let top = ip(&default);
        let key = match &sandbox {
            Some(sandbox) if sandbox.namespace => {
                self.networks.namespace(&record.id).display().to_string()
            }
            Some(_) if record.state.pid > 0 => format!("/proc/{}/ns/net", record.state.pid),
            _ => String::new(),
        };
        let mut ports = Map::new();
        if self.is_reachable(record) {
            let published = sandbox
                .as_ref()
                .map(|s| s.ports.as_slice())
                .unwrap_or_default();
            ports = ports::shown(record.config.exposed_ports.as_ref(), published);
        }
        json!({
            "Bridge": "",
            "SandboxID": sandbox.as_ref().map(|s| s.id.as_str()).unwrap_or_default(),
            "SandboxKey": key,
            "HairpinMode": false,
            "LinkLocalIPv6Address": "",
            "LinkLocalIPv6PrefixLen": 0,
            "Ports": ports,
            "SecondaryIPAddresses": null,
            "SecondaryIPv6Addresses": null,
            "EndpointID": top["EndpointID"],
            "Gateway": top["Gateway"],
            "GlobalIPv6Address": top["GlobalIPv6Address"],
            "GlobalIPv6PrefixLen": top["GlobalIPv6PrefixLen"],
            "IPAddress": top["IPAddress"],
            "IPPrefixLen": top["IPPrefixLen"],
            "IPv6Gateway": top["IPv6Gateway"],
            "MacAddress": top["MacAddress"],
            "Networks": self.networks_shown(record),
        })
    }

    fn sandbox_of(&self, record: &Record) -> Option<Sandbox> {
        record
            .state
            .status
            .has_process()
            .then(|| self.networks.sandbox(&record.id))?
    }

    /// `NetworkSettings.Networks`.
    pub(super) fn networks_shown(&self, record: &Record) -> Value {
        let sandbox = self.sandbox_of(record);
        let mut out = Map::new();
        if joined(&record.host.network_mode).is_some() {
            return out.into();
        }
        for wish in &record.networks {
            let name = self.wished(wish);
            let network = self.networks.find(name).ok();
            let endpoint = network
                .as_ref()
                .and_then(|network| sandbox.as_ref()?.endpoint(&network.id));
            let shown = one(record, wish, network.as_ref(), endpoint);
            let name = network.map_or_else(|| name.to_owned(), |network| network.name);
            out.insert(name, shown);
        }
        out.into()
    }

    /// `Ports` of the list: published ones, and what is exposed besides.
    pub(super) fn listed_ports(&self, record: &Record) -> Vec<Value> {
        if !self.is_reachable(record) {
            return Vec::new();
        }
        let sandbox = self.sandbox_of(record);
        let published = sandbox
            .as_ref()
            .map(|s| s.ports.as_slice())
            .unwrap_or_default();
        let mut out = Vec::new();
        for one in published {
            out.push(json!({
                "IP": one.host_ip.to_string(),
                "PrivatePort": one.port,
                "PublicPort": one.host_port,
                "Type": one.protocol.as_str(),
            }));
        }
        for key in record
            .config
            .exposed_ports
            .iter()
            .flatten()
            .map(|(key, _)| key)
        {
            if let Some((number, protocol)) = ports::parse_port(key)
                && !published
                    .iter()
                    .any(|p| (p.port, p.protocol) == (number, protocol))
            {
                out.push(json!({"PrivatePort": number, "Type": protocol.as_str()}));
            }
        }
        out.sort_by_key(|port| port["PrivatePort"].as_u64());
        out
    }
}

fn one(
    record: &Record,
    wish: &Wish,
    network: Option<&Network>,
    endpoint: Option<&Endpoint>,
) -> Value {
    let user = network.is_some_and(Network::is_user);
    let mut aliases = wish.aliases.clone();
    let short = &record.id[..12];
    if user && record.state.started_ns.is_some() && !aliases.iter().any(|alias| alias == short) {
        // Up to API 1.44, from its first start on.
        aliases.push(short.to_owned());
    }
    let mut ipam = Map::new();
    if let Some(ip) = wish.ipv4 {
        ipam.insert("IPv4Address".to_owned(), ip.to_string().into());
    }
    if let Some(ip) = wish.ipv6 {
        ipam.insert("IPv6Address".to_owned(), ip.to_string().into());
    }
    if !wish.link_local.is_empty() {
        ipam.insert("LinkLocalIPs".to_owned(), json!(wish.link_local));
    }
    let mut shown = json!({
        "IPAMConfig": if ipam.is_empty() { Value::Null } else { ipam.into() },
        "Links": if wish.links.is_empty() { Value::Null } else { json!(wish.links) },
        "Aliases": if aliases.is_empty() { Value::Null } else { json!(aliases) },
        "DriverOpts": wish.driver_opts,
        "NetworkID": network.map(|network| network.id.as_str()).unwrap_or_default(),
    });
    for (key, value) in endpoint_fields(endpoint) {
        shown[key] = value;
    }
    if let (None, Some(mac)) = (endpoint, wish.mac) {
        shown["MacAddress"] = mac_text(mac).into();
    }
    shown
}

/// What an endpoint has while it is there.
fn endpoint_fields(endpoint: Option<&Endpoint>) -> Map<String, Value> {
    let text = |value: Option<String>| Value::from(value.unwrap_or_default());
    let e = endpoint;
    [
        ("EndpointID", text(e.map(|e| e.id.clone()))),
        (
            "Gateway",
            text(e.and_then(|e| e.gateway).map(|ip| ip.to_string())),
        ),
        (
            "IPAddress",
            text(e.and_then(|e| e.ipv4).map(|net| net.addr().to_string())),
        ),
        (
            "IPPrefixLen",
            e.and_then(|e| e.ipv4)
                .map_or(0, |net| net.prefix_len())
                .into(),
        ),
        (
            "IPv6Gateway",
            text(e.and_then(|e| e.gateway_v6).map(|ip| ip.to_string())),
        ),
        (
            "GlobalIPv6Address",
            text(e.and_then(|e| e.ipv6).map(|net| net.addr().to_string())),
        ),
        (
            "GlobalIPv6PrefixLen",
            e.and_then(|e| e.ipv6)
                .map_or(0, |net| net.prefix_len())
                .into(),
        ),
        ("MacAddress", text(e.and_then(|e| e.mac).map(mac_text))),
    ]
    .into_iter()
    .map(|(key, value)| (key.to_owned(), value))
    .collect()
}
