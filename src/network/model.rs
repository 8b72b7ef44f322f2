//! What is stored of a network, and what its options mean.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use serde::{Deserialize, Serialize};

use crate::errors::ApiError;

/// Options of the driver `bridge` (docs: Docker's bridge driver).
pub(crate) mod option {
    /// Name of the interface.
    pub(crate) const NAME: &str = "com.docker.network.bridge.name";
    /// Containers reach one another.
    pub(crate) const ICC: &str = "com.docker.network.bridge.enable_icc";
    /// Outgoing connections have the host's address.
    pub(crate) const MASQUERADE: &str = "com.docker.network.bridge.enable_ip_masquerade";
    /// Host address of published ports that name none.
    pub(crate) const HOST_IP: &str = "com.docker.network.bridge.host_binding_ipv4";
    /// It is the network of containers that name none. Shown, not settable.
    pub(crate) const DEFAULT: &str = "com.docker.network.bridge.default_bridge";
    /// Address that outgoing IPv4 connections have, where it is not the host's own choice.
    pub(crate) const SOURCE: &str = "com.docker.network.host_ipv4";
    pub(crate) const MTU: &str = "com.docker.network.driver.mtu";
    /// First letters of the interface in the container.
    pub(crate) const PREFIX: &str = "com.docker.network.container_iface_prefix";

    pub(crate) const SETTABLE: &[&str] = &[NAME, ICC, MASQUERADE, HOST_IP, SOURCE, MTU, PREFIX];
}

/// Longest name of an interface.
const MAX_INTERFACE: usize = 15;
/// Smallest and largest frames: what IPv4 needs, and what a veth can have.
const MTU_RANGE: std::ops::RangeInclusive<u32> = 68..=65535;

/// Kind of a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Driver {
    Bridge,
    Host,
    Null,
}

impl Driver {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Bridge => "bridge",
            Self::Host => "host",
            Self::Null => "null",
        }
    }
}

/// One of `IPAM.Config`: a subnet and what is given out of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Pool {
    pub(crate) subnet: IpNet,
    /// Addresses are given out of this part of it.
    pub(crate) range: Option<IpNet>,
    /// The bridge's address.
    pub(crate) gateway: IpAddr,
    /// The gateway of containers, where it is not the bridge (`default-gateway`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) via: Option<IpAddr>,
    /// Addresses that others have.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) auxiliary: BTreeMap<String, IpAddr>,
}

/// A network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Network {
    /// 64 hex digits.
    pub(crate) id: String,
    pub(crate) name: String,
    /// Nanoseconds since 1970.
    pub(crate) created_ns: i64,
    pub(crate) driver: Driver,
    #[serde(default)]
    pub(crate) internal: bool,
    #[serde(default)]
    pub(crate) attachable: bool,
    #[serde(default)]
    pub(crate) ipv6: bool,
    #[serde(default)]
    pub(crate) labels: BTreeMap<String, String>,
    #[serde(default)]
    pub(crate) options: BTreeMap<String, String>,
    /// As they were given; `None`: not at all.
    #[serde(default)]
    pub(crate) ipam_options: Option<BTreeMap<String, String>>,
    #[serde(default)]
    pub(crate) pools: Vec<Pool>,
    /// The user chose the subnet: addresses in it may be asked for.
    #[serde(default)]
    pub(crate) chosen_subnet: bool,
    /// The bridge's interface.
    #[serde(default)]
    pub(crate) interface: String,
    /// The interface is somebody else's: neither made nor removed.
    #[serde(default)]
    pub(crate) foreign: bool,
}

/// What the options of a bridge mean.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct BridgeOptions {
    pub(crate) name: Option<String>,
    pub(crate) icc: bool,
    pub(crate) masquerade: bool,
    pub(crate) host_ip: Option<IpAddr>,
    pub(crate) source: Option<Ipv4Addr>,
    pub(crate) mtu: u32,
    pub(crate) prefix: String,
}

impl BridgeOptions {
    /// Reads options.
    ///
    /// # Errors
    /// 400 that names the option, its value and what is allowed.
    pub(crate) fn parse(options: &BTreeMap<String, String>) -> Result<Self, ApiError> {
        let mut parsed = Self {
            name: None,
            icc: true,
            masquerade: true,
            host_ip: None,
            source: None,
            mtu: taffrail_config::DEFAULT_MTU,
            prefix: "eth".to_owned(),
        };
        for (key, value) in options {
            let bad = |allowed: &str| {
                ApiError::invalid(format!(
                    "invalid value for network option {key}: \"{value}\": {allowed}"
                ))
            };
            let switch = || match value.as_str() {
                "1" | "t" | "T" | "TRUE" | "true" | "True" => Ok(true),
                "0" | "f" | "F" | "FALSE" | "false" | "False" => Ok(false),
                _ => Err(bad("true or false")),
            };
            match key.as_str() {
                option::NAME => {
                    if !is_interface(value, MAX_INTERFACE) {
                        return Err(bad("1 to 15 characters without blanks, / or :"));
                    }
                    parsed.name = Some(value.clone());
                }
                option::ICC => parsed.icc = switch()?,
                option::MASQUERADE => parsed.masquerade = switch()?,
                option::HOST_IP => {
                    let ip = value.parse().map_err(|_| bad("an IP address"))?;
                    parsed.host_ip = Some(ip);
                }
                option::SOURCE => {
                    let ip = value
                        .parse()
                        .map_err(|_| bad("an IPv4 address of this host"))?;
                    parsed.source = Some(ip);
                }
                option::MTU => {
                    let mtu = value.parse().ok().filter(|mtu| MTU_RANGE.contains(mtu));
                    parsed.mtu = mtu.ok_or_else(|| bad("68 to 65535"))?;
                }
                option::PREFIX => {
                    // Two digits may follow.
                    if !is_interface(value, MAX_INTERFACE - 2) || value == "lo" {
                        return Err(bad("1 to 13 characters without blanks, / or :"));
                    }
                    parsed.prefix.clone_from(value);
                }
                option::DEFAULT => {}
                _ => {
                    return Err(ApiError::invalid(format!(
                        "network option {key} is not supported: the driver bridge has {}",
                        option::SETTABLE.join(", ")
                    )));
                }
            }
        }
        Ok(parsed)
    }
}

fn is_interface(name: &str, longest: usize) -> bool {
    !name.is_empty()
        && name.len() <= longest
        && !matches!(name, "." | "..")
        && name
            .bytes()
            .all(|b| b.is_ascii_graphic() && !matches!(b, b'/' | b':' | b'"' | b'\\'))
}

impl Network {
    /// Its options, which were checked when it was made.
    pub(crate) fn bridge_options(&self) -> BridgeOptions {
        BridgeOptions::parse(&self.options).unwrap_or_else(|_| BridgeOptions {
            name: None,
            icc: true,
            masquerade: true,
            host_ip: None,
            source: None,
            mtu: taffrail_config::DEFAULT_MTU,
            prefix: "eth".to_owned(),
        })
    }

    /// One of the three that always exist.
    pub(crate) fn is_predefined(&self) -> bool {
        is_predefined(&self.name)
    }

    /// A bridge that a user made: containers on it find one another by name.
    pub(crate) fn is_user(&self) -> bool {
        self.driver == Driver::Bridge && !self.is_predefined()
    }

    pub(crate) fn pool_v4(&self) -> Option<(&Pool, Ipv4Net)> {
        self.pools.iter().find_map(|pool| match pool.subnet {
            IpNet::V4(net) => Some((pool, net)),
            IpNet::V6(_) => None,
        })
    }

    pub(crate) fn pool_v6(&self) -> Option<(&Pool, Ipv6Net)> {
        self.pools.iter().find_map(|pool| match pool.subnet {
            IpNet::V6(net) => Some((pool, net)),
            IpNet::V4(_) => None,
        })
    }

    /// The bridge's own addresses.
    pub(crate) fn gateways(&self) -> impl Iterator<Item = IpNet> + '_ {
        self.pools
            .iter()
            .filter_map(|pool| IpNet::new(pool.gateway, pool.subnet.prefix_len()).ok())
    }
}

/// Names that nobody may give to a network.
pub(crate) fn is_predefined(name: &str) -> bool {
    matches!(name, "bridge" | "host" | "none" | "default")
}

/// What a container asks of a network (docs: Engine API `EndpointSettings`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Wish {
    /// The network as it was named.
    pub(crate) network: String,
    #[serde(default)]
    pub(crate) aliases: Vec<String>,
    #[serde(default)]
    pub(crate) ipv4: Option<Ipv4Addr>,
    #[serde(default)]
    pub(crate) ipv6: Option<Ipv6Addr>,
    #[serde(default)]
    pub(crate) link_local: Vec<IpAddr>,
    #[serde(default)]
    pub(crate) mac: Option<[u8; 6]>,
    /// Shown, and without effect: Docker's bridge has no options of endpoints either.
    #[serde(default)]
    pub(crate) driver_opts: Option<BTreeMap<String, String>>,
    /// `name:alias`: names of others that this container alone knows.
    #[serde(default)]
    pub(crate) links: Vec<String>,
}

/// Name and alias of a link, as `db:database` or `db` (docs: `docker run --link`).
pub(crate) fn link_parts(link: &str) -> (&str, &str) {
    let (name, alias) = link.split_once(':').unwrap_or((link, link));
    // Docker writes those of the default network down as `/db:/web/alias`.
    let last = |text| str::rsplit(text, '/').next().unwrap_or(text);
    (last(name), last(alias))
}

/// A container's place in a network, while it runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Endpoint {
    /// 64 hex digits.
    pub(crate) id: String,
    /// Id of the network.
    pub(crate) network: String,
    /// Empty for `host` and `none`.
    pub(crate) interface: String,
    /// Its other end, on the bridge.
    pub(crate) host_interface: String,
    pub(crate) mac: Option<[u8; 6]>,
    pub(crate) ipv4: Option<Ipv4Net>,
    pub(crate) ipv6: Option<Ipv6Net>,
    pub(crate) gateway: Option<Ipv4Addr>,
    pub(crate) gateway_v6: Option<Ipv6Addr>,
    #[serde(default)]
    pub(crate) link_local: Vec<IpAddr>,
    /// Address or hardware address were asked for, so the next run has them again.
    #[serde(default)]
    pub(crate) fixed: bool,
    /// What others on the network find it by.
    #[serde(default)]
    pub(crate) names: Vec<String>,
    /// Links: alias and name, for this container alone.
    #[serde(default)]
    pub(crate) links: Vec<(String, String)>,
}

/// Transport of a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Protocol {
    Tcp,
    Udp,
    Sctp,
}

impl Protocol {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Sctp => "sctp",
        }
    }

    pub(crate) fn parse(text: &str) -> Option<Self> {
        match text.to_ascii_lowercase().as_str() {
            "tcp" => Some(Self::Tcp),
            "udp" => Some(Self::Udp),
            "sctp" => Some(Self::Sctp),
            _ => None,
        }
    }
}

/// A container's port that is reached on the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Published {
    pub(crate) protocol: Protocol,
    pub(crate) port: u16,
    pub(crate) host_ip: IpAddr,
    pub(crate) host_port: u16,
}

/// Version of a sandbox's file.
pub(crate) const SANDBOX_VERSION: u32 = 1;

/// The network side of a running container. Its file lies below the exec root, as what it tells of
/// is gone after a boot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Sandbox {
    pub(crate) version: u32,
    /// Id of the container.
    pub(crate) container: String,
    pub(crate) name: String,
    /// What it calls itself, a name on networks of the user like its own.
    #[serde(default)]
    pub(crate) hostname: String,
    /// 64 hex digits.
    pub(crate) id: String,
    /// It has a namespace that the daemon made.
    pub(crate) namespace: bool,
    /// In the order in which they were joined.
    pub(crate) endpoints: Vec<Endpoint>,
    pub(crate) ports: Vec<Published>,
    /// Who answers for names that are no container's (`--dns`).
    #[serde(default)]
    pub(crate) servers: Vec<IpAddr>,
}

impl Sandbox {
    pub(crate) fn endpoint(&self, network: &str) -> Option<&Endpoint> {
        self.endpoints.iter().find(|e| e.network == network)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_work_or_are_refused_by_name() {
        let parse = |key: &str, value: &str| {
            BridgeOptions::parse(&[(key.to_owned(), value.to_owned())].into())
        };
        assert!(!parse(option::ICC, "false").unwrap().icc);
        assert_eq!(parse(option::MTU, "1400").unwrap().mtu, 1400);
        for (key, value) in [
            (option::ICC, "maybe"),
            (option::MTU, "12"),
            (option::NAME, "a name"),
            (option::NAME, "longer-than-fifteen"),
            (option::PREFIX, "lo"),
            (option::HOST_IP, "localhost"),
            (option::SOURCE, "::1"),
            ("com.example.x", "1"),
        ] {
            let error = parse(key, value).unwrap_err();
            assert_eq!(error.kind.status(), 400);
            assert!(error.message.contains(key), "{error}");
        }
    }
}
