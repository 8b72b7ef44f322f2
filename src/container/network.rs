//! A container's networks: what it asks for at create, its place in them while it runs, and the
//! files in its `/etc` that tell of them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use serde_json::Value;

use super::exit::blocking;
use super::{Container, Record, Status};
use crate::api::types::{ContainerConfig, HostConfig};
use crate::daemon::Daemon;
use crate::errors::ApiError;
use crate::network::model::{Driver, Endpoint, Network, Wish};
use crate::network::{Create, Joined, Request, netlink, ports};
use crate::runtime::{self, OwnNetwork, joined};

/// Where containers on networks with names find their name server.
const NAME_SERVER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 11);

/// The networks that a container asks for: those of `NetworkingConfig`, with that of its mode first
/// (docs: Engine API `ContainerCreate`).
///
/// # Errors
/// 400 for what is no address.
pub(super) fn wishes(
    config: &ContainerConfig,
    host: &HostConfig,
    networking: &Value,
) -> Result<Vec<Wish>, ApiError> {
    if joined(&host.network_mode).is_some() {
        return Ok(Vec::new());
    }
    let named = |name: &str| match name {
        "" | "default" => "bridge".to_owned(),
        name => name.to_owned(),
    };
    let mut wishes = Vec::new();
    for (name, endpoint) in networking["EndpointsConfig"]
        .as_object()
        .into_iter()
        .flatten()
    {
        wishes.push(wish(&named(name), endpoint)?);
    }
    let mode = match config.network_disabled {
        Some(true) => "none".to_owned(),
        _ => named(&host.network_mode),
    };
    if wishes.is_empty() || (mode != "bridge" && !wishes.iter().any(|wish| wish.network == mode)) {
        wishes.push(Wish {
            network: mode.clone(),
            ..Wish::default()
        });
    }
    wishes.sort_by_key(|wish| wish.network != mode);
    if matches!(mode.as_str(), "none" | "host") {
        // Nothing can stand beside it.
        wishes.truncate(1);
    }
    if let Some(text) = config
        .mac_address
        .as_deref()
        .filter(|text| !text.is_empty())
    {
        wishes[0].mac = Some(mac(text)?);
    }
    Ok(wishes)
}

/// One of `EndpointsConfig`, or the body of a connect.
///
/// # Errors
/// 400 for what is no address, or a setting that is not supported.
pub(crate) fn wish(network: &str, endpoint: &Value) -> Result<Wish, ApiError> {
    let ipam = &endpoint["IPAMConfig"];
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let list = |value: &Value| -> Vec<String> {
        value.as_array().into_iter().flatten().map(text).collect()
    };
    let (four, six) = (text(&ipam["IPv4Address"]), text(&ipam["IPv6Address"]));
    let four: Option<Ipv4Addr> = match four.as_str() {
        "" => None,
        ip => Some(
            ip.parse()
                .map_err(|_| ApiError::invalid(format!("invalid IPv4 address: {ip}")))?,
        ),
    };
    let six: Option<Ipv6Addr> = match six.as_str() {
        "" => None,
        ip => Some(
            ip.parse()
                .map_err(|_| ApiError::invalid(format!("invalid IPv6 address: {ip}")))?,
        ),
    };
    let link_local = list(&ipam["LinkLocalIPs"])
        .iter()
        .map(|ip| {
            ip.parse::<IpAddr>()
                .map_err(|_| ApiError::invalid(format!("invalid link-local IP address: {ip}")))
        })
        .collect::<Result<_, _>>()?;
    let options = endpoint["DriverOpts"].as_object();
    let hardware = text(&endpoint["MacAddress"]);
    Ok(Wish {
        network: network.to_owned(),
        aliases: list(&endpoint["Aliases"]),
        ipv4: four,
        ipv6: six,
        link_local,
        mac: (!hardware.is_empty()).then(|| mac(&hardware)).transpose()?,
        driver_opts: options.map(|map| map.iter().map(|(k, v)| (k.clone(), text(v))).collect()),
        links: list(&endpoint["Links"]),
    })
}

fn endpoint_addresses(endpoint: &Endpoint) -> impl Iterator<Item = IpAddr> {
    let four = endpoint.ipv4.map(|net| IpAddr::from(net.addr()));
    let six = endpoint.ipv6.map(|net| IpAddr::from(net.addr()));
    four.into_iter().chain(six)
}

fn mac(text: &str) -> Result<[u8; 6], ApiError> {
    netlink::parse_mac(text)
        .ok_or_else(|| ApiError::invalid(format!("{text} is not a valid mac address")))
}

impl Daemon {
    /// What of a container's networks cannot be on this host, before anything is made.
    pub(super) fn check_networks(
        &self,
        config: &ContainerConfig,
        host: &HostConfig,
        wishes: &[Wish],
    ) -> Result<(), ApiError> {
        ports::wishes(config, host)?;
        let default = wishes.iter().any(|wish| wish.network == "bridge");
        let published: Vec<&str> = host.port_bindings.keys().map(String::as_str).collect();
        if default
            && !self.networks.has_default()
            && (!published.is_empty() || host.publish_all_ports)
        {
            return Err(ApiError::invalid(format!(
                "publishing ports ({}) is not possible: {}",
                published.join(", "),
                self.networks
                    .unavailable()
                    .unwrap_or("the daemon has no default network (bridge \"none\")")
            )));
        }
        for wish in wishes {
            if let Ok(network) = self.networks.find(&wish.network)
                && !network.is_user()
                && !wish.aliases.is_empty()
            {
                return Err(ApiError::invalid(
                    "network-scoped alias is supported only for containers in user defined networks",
                ));
            }
            if (wish.ipv4.is_some() || wish.ipv6.is_some())
                && matches!(wish.network.as_str(), "bridge" | "none" | "host")
            {
                return Err(ApiError::invalid(
                    "user specified IP address is supported on user defined networks only",
                ));
            }
        }
        Ok(())
    }

    /// The name of the network that a wish means on this host.
    pub(super) fn wished<'a>(&self, wish: &'a Wish) -> &'a str {
        match wish.network.as_str() {
            "bridge" if !self.networks.has_default() => "none",
            name => name,
        }
    }

    /// Joins a container's own networks; its namespace is there when this returns.
    pub(super) async fn join_networks(&self, record: &Record) -> Result<Joined, ApiError> {
        let mut wishes = record.networks.clone();
        for wish in &mut wishes {
            let name = self.wished(wish).to_owned();
            wish.network = name;
        }
        let request = Request {
            container: record.id.clone(),
            name: record.name.clone(),
            hostname: record.config.hostname.clone(),
            wishes,
            ports: ports::wishes(&record.config, &record.host)?,
            servers: record
                .host
                .dns
                .iter()
                .filter_map(|ip| ip.parse().ok())
                .collect(),
        };
        let networks = Arc::clone(&self.networks);
        blocking(move || networks.join(&request))
            .await
            .unwrap_or_else(|| Err(ApiError::system("the daemon is ending")))
    }

    /// Takes a container out of its networks, at the end of a run or when it did not begin.
    pub(super) async fn leave_networks(&self, container: &Container) {
        let id = container.id.clone();
        let mode = format!("container:{id}");
        let shared = self.containers.all().iter().any(|other| {
            let inner = other.inner();
            inner.record.host.network_mode == mode && inner.record.state.status.has_process()
        });
        let networks = Arc::clone(&self.networks);
        blocking(move || networks.leave(&id, shared)).await;
    }

    /// Makes a network.
    ///
    /// # Errors
    /// As of `Networks::create`.
    pub(crate) async fn create_network(&self, wanted: Create) -> Result<Network, ApiError> {
        let networks = Arc::clone(&self.networks);
        let network = blocking(move || networks.create(&wanted))
            .await
            .unwrap_or_else(|| Err(ApiError::system("the daemon is ending")))?;
        self.plain_network_event(&network, "create");
        Ok(network)
    }

    /// Removes a network by name or id.
    ///
    /// # Errors
    /// As of `Networks::remove`.
    pub(crate) async fn remove_network(&self, reference: &str) -> Result<(), ApiError> {
        let networks = Arc::clone(&self.networks);
        let reference = reference.to_owned();
        let network = blocking(move || networks.remove(&reference))
            .await
            .unwrap_or_else(|| Err(ApiError::system("the daemon is ending")))?;
        self.plain_network_event(&network, "destroy");
        Ok(())
    }

    fn plain_network_event(&self, network: &Network, action: &str) {
        let attributes = [
            ("name".to_owned(), network.name.clone()),
            ("type".to_owned(), network.driver.as_str().to_owned()),
        ];
        self.events
            .publish("network", action, &network.id, attributes.into());
    }

    /// Brings the files in a running container's `/etc` in line with a network that it has joined or
    /// left. What else stands in them stays.
    pub(super) async fn rewrite_etc(
        &self,
        container: &Container,
        endpoint: &Endpoint,
        joined: bool,
    ) {
        let record = container.record();
        let Some(sandbox) = self.networks.sandbox(&record.id) else {
            return;
        };
        let now = Joined {
            sandbox,
            namespace: None,
        };
        let Ok(own) = self.own_network(&record, &now) else {
            return;
        };
        let addresses: Vec<String> = endpoint_addresses(endpoint)
            .map(|ip| ip.to_string())
            .collect();
        let dir = container.dir().to_owned();
        let written = blocking(move || {
            runtime::change_etc(&dir, &record.config, &record.host, &own, &addresses, joined)
        });
        if let Some(Err(error)) = written.await {
            tracing::warn!(container = container.id, error = %error, "files in /etc of the container are not changed");
        }
    }

    /// Finds what the last daemon left of networks.
    pub(crate) async fn adopt_networks(&self) {
        let networks = Arc::clone(&self.networks);
        blocking(move || networks.adopt()).await;
    }

    /// Puts networks in order, once it is known which containers run.
    pub(crate) async fn settle_networks(self: &Arc<Self>) {
        let daemon = Arc::clone(self);
        blocking(move || {
            let runs = |id: &str| daemon.containers.by_id(id).is_some_and(|c| c.has_process());
            daemon.networks.settle(runs);
        })
        .await;
    }

    /// Takes bridges down that nobody is on.
    pub(crate) async fn end_networks(&self) {
        let networks = Arc::clone(&self.networks);
        blocking(move || networks.shutdown()).await;
    }

    /// What the files in `/etc` say of a container's networks.
    pub(super) fn own_network(
        &self,
        record: &Record,
        joined: &Joined,
    ) -> Result<OwnNetwork, ApiError> {
        let settings = self.networks.settings();
        let mut own = OwnNetwork {
            dns: settings.dns.iter().map(IpAddr::to_string).collect(),
            dns_search: settings.dns_search.clone(),
            dns_options: settings.dns_options.clone(),
            host_gateway: settings.host_gateway.clone(),
            ..OwnNetwork::default()
        };
        for endpoint in &joined.sandbox.endpoints {
            own.addresses.extend(endpoint_addresses(endpoint));
            let network = self.networks.find(&endpoint.network)?;
            if network.is_user() && own.servers.is_empty() {
                own.servers.push(NAME_SERVER.into());
            }
            if own.host_gateway.is_empty() && !network.internal {
                own.host_gateway = network.pools.iter().map(|pool| pool.gateway).collect();
            }
        }
        for link in self.links(record)? {
            own.links.push(link.line());
            own.env.extend(link.environment());
        }
        Ok(own)
    }

    /// Events of all networks that a container joins or leaves.
    pub(super) fn network_events(&self, container: &Container, action: &str) {
        for wish in &container.record().networks {
            self.network_event(&container.id, self.wished(wish), action);
        }
    }

    /// Event of a network that a container joins or leaves.
    pub(crate) fn network_event(&self, container: &str, network: &str, action: &str) {
        let Ok(network) = self.networks.find(network) else {
            return;
        };
        let attributes = [
            ("container".to_owned(), container.to_owned()),
            ("name".to_owned(), network.name),
            ("type".to_owned(), network.driver.as_str().to_owned()),
        ];
        self.events
            .publish("network", action, network.id, attributes.into());
    }

    /// Whether a container is in one of the networks, by name or id (prefix).
    pub(super) fn in_network(&self, record: &Record, wanted: &str) -> bool {
        record.networks.iter().any(|wish| {
            let name = self.wished(wish);
            name == wanted
                || self
                    .networks
                    .find(name)
                    .is_ok_and(|network| network.name == wanted || network.id.starts_with(wanted))
        })
    }

    /// Whether a container's ports can be reached: it runs, on a bridge.
    pub(super) fn is_reachable(&self, record: &Record) -> bool {
        record.state.status.is_up()
            && record.networks.iter().any(|wish| {
                let network = self.networks.find(self.wished(wish));
                network.is_ok_and(|network| network.driver == Driver::Bridge)
            })
    }
}

impl Record {
    /// The networks of a container of an earlier version, which had but a mode.
    pub(super) fn add_networks(&mut self) {
        if self.networks.is_empty() {
            // The addresses were not kept.
            self.networks = wishes(&self.config, &self.host, &Value::Null).unwrap_or_default();
        }
    }
}

impl Container {
    /// Whether it takes part in networks now, for who connects or disconnects it.
    pub(crate) fn is_on_networks(&self) -> bool {
        matches!(
            self.inner().record.state.status,
            Status::Running | Status::Paused
        )
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn asked(mode: &str, networking: Value) -> Vec<String> {
        let host = HostConfig {
            network_mode: mode.to_owned(),
            ..HostConfig::default()
        };
        let found = wishes(&ContainerConfig::default(), &host, &networking).unwrap();
        found.into_iter().map(|wish| wish.network).collect()
    }

    #[test]
    fn networks_of_mode_and_configuration() {
        let config = |names: &[&str]| {
            let map: serde_json::Map<String, Value> =
                names.iter().map(|n| ((*n).to_owned(), json!({}))).collect();
            json!({"EndpointsConfig": map})
        };
        assert_eq!(asked("default", Value::Null), ["bridge"]);
        assert_eq!(asked("default", config(&["default"])), ["bridge"]);
        assert_eq!(asked("mine", config(&["mine"])), ["mine"]);
        assert_eq!(asked("mine", config(&["a", "mine"])), ["mine", "a"]);
        assert_eq!(asked("mine", Value::Null), ["mine"]);
        assert_eq!(asked("default", config(&["mine"])), ["mine"]);
        assert_eq!(asked("none", config(&["mine"])), ["none"]);
        assert!(asked("container:x", Value::Null).is_empty());
    }

    #[test]
    fn settings_of_an_endpoint() {
        let found = wish(
            "mine",
            &json!({
                "IPAMConfig": {"IPv4Address": "10.0.0.5", "LinkLocalIPs": ["169.254.1.1"]},
                "Aliases": ["web"], "MacAddress": "02:42:0a:00:00:05",
                "Links": ["db:database"], "DriverOpts": {"k": "v"},
            }),
        )
        .unwrap();
        assert_eq!(found.ipv4, Some(Ipv4Addr::new(10, 0, 0, 5)));
        assert_eq!(found.aliases, ["web"]);
        assert_eq!(found.links, ["db:database"]);
        assert_eq!(found.driver_opts.unwrap()["k"], "v");
        assert_eq!(found.mac, Some([2, 0x42, 10, 0, 0, 5]));
        for (bad, text) in [
            (
                json!({"IPAMConfig": {"IPv4Address": "x"}}),
                "invalid IPv4 address: x",
            ),
            (
                json!({"IPAMConfig": {"IPv6Address": "1.2.3.4"}}),
                "invalid IPv6 address: 1.2.3.4",
            ),
            (json!({"MacAddress": "x"}), "x is not a valid mac address"),
        ] {
            let error = wish("mine", &bad).unwrap_err();
            assert!(error.message.starts_with(text), "{error}");
        }
    }
}
