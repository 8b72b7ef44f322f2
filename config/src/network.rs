//! The keys of daemon.json that concern networks, as the daemon uses them.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use crate::check::{Errors, bad};
use crate::error::Origin;
use crate::flags::Flags;
use crate::json::Json;
use crate::load::Source;
use crate::network_flags::NetworkFlags;

/// Whether there is a network for containers that name none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Bridge {
    /// the daemon's own
    #[default]
    Own,
    /// none: such containers have loopback only
    None,
    /// an interface of this name that somebody else has made
    Existing(String),
}

/// A range that subnets of new networks are taken from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pool {
    /// the whole range
    pub base: IpNet,
    /// prefix length of each subnet
    pub size: u8,
}

/// Settings of networks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Network {
    /// `bridge`
    pub bridge: Bridge,
    /// `bip`: address of the default bridge, with its prefix
    pub bip: Option<Ipv4Net>,
    /// `fixed-cidr`: containers' addresses on the default bridge are from here
    pub fixed_cidr: Option<Ipv4Net>,
    /// `fixed-cidr-v6`: the default bridge's IPv6 subnet
    pub fixed_cidr_v6: Option<Ipv6Net>,
    /// `default-gateway`: of containers on the default bridge
    pub gateway: Option<Ipv4Addr>,
    /// `default-gateway-v6`
    pub gateway_v6: Option<Ipv6Addr>,
    /// `icc`: containers on the default bridge reach one another
    pub icc: bool,
    /// `ip`: host address of published ports that name none
    pub host_ip: Option<IpAddr>,
    /// `ip-forward`: the daemon turns the kernel's forwarding on
    pub forward: bool,
    /// `ip-masq`
    pub masquerade: bool,
    /// `iptables`: the daemon sets packet filter rules (by nftables)
    pub rules: bool,
    /// `ip6tables`: also for IPv6
    pub rules_v6: bool,
    /// `ipv6`: the default bridge has IPv6, too
    pub ipv6: bool,
    /// `mtu` of the default bridge
    pub mtu: u32,
    /// `userland-proxy`
    pub proxy: bool,
    /// `default-address-pools`; empty: the built-in ones
    pub pools: Vec<Pool>,
    /// `default-network-opts` of the driver `bridge`
    pub default_options: BTreeMap<String, String>,
    /// `dns` of containers that name none
    pub dns: Vec<IpAddr>,
    /// `dns-opts`
    pub dns_options: Vec<String>,
    /// `dns-search`
    pub dns_search: Vec<String>,
    /// `host-gateway-ip`: what `host-gateway` in `--add-host` means
    pub host_gateway: Vec<IpAddr>,
}

/// Largest frame where nothing is said.
pub const DEFAULT_MTU: u32 = 1500;

impl Default for Network {
    fn default() -> Self {
        Self {
            bridge: Bridge::Own,
            bip: None,
            fixed_cidr: None,
            fixed_cidr_v6: None,
            gateway: None,
            gateway_v6: None,
            icc: true,
            host_ip: None,
            forward: true,
            masquerade: true,
            rules: true,
            rules_v6: true,
            ipv6: false,
            mtu: DEFAULT_MTU,
            proxy: true,
            pools: Vec::new(),
            default_options: BTreeMap::new(),
            dns: Vec::new(),
            dns_options: Vec::new(),
            dns_search: Vec::new(),
            host_gateway: Vec::new(),
        }
    }
}

/// Smallest and largest `mtu`: what IPv4 needs, and what a veth can have.
const MTU_RANGE: std::ops::RangeInclusive<i64> = 68..=65535;

/// Keys whose values this module reads, each beside what tells whether it changed.
pub(crate) const KEYS: &[&str] = &[
    "bridge",
    "bip",
    "fixed-cidr",
    "fixed-cidr-v6",
    "default-gateway",
    "default-gateway-v6",
    "icc",
    "ip",
    "ip-forward",
    "ip-masq",
    "iptables",
    "ip6tables",
    "ipv6",
    "mtu",
    "userland-proxy",
    "default-address-pools",
    "default-network-opts",
    "dns",
    "dns-opts",
    "dns-search",
    "host-gateway-ip",
    "host-gateway-ips",
];

impl Network {
    /// Whether the value of a key differs.
    pub(crate) fn differs(&self, new: &Self, key: &str) -> bool {
        match key {
            "bridge" => self.bridge != new.bridge,
            "bip" => self.bip != new.bip,
            "fixed-cidr" => self.fixed_cidr != new.fixed_cidr,
            "fixed-cidr-v6" => self.fixed_cidr_v6 != new.fixed_cidr_v6,
            "default-gateway" => self.gateway != new.gateway,
            "default-gateway-v6" => self.gateway_v6 != new.gateway_v6,
            "icc" => self.icc != new.icc,
            "ip" => self.host_ip != new.host_ip,
            "ip-forward" => self.forward != new.forward,
            "ip-masq" => self.masquerade != new.masquerade,
            "iptables" => self.rules != new.rules,
            "ip6tables" => self.rules_v6 != new.rules_v6,
            "ipv6" => self.ipv6 != new.ipv6,
            "mtu" => self.mtu != new.mtu,
            "userland-proxy" => self.proxy != new.proxy,
            "default-address-pools" => self.pools != new.pools,
            "default-network-opts" => self.default_options != new.default_options,
            "dns" => self.dns != new.dns,
            "dns-opts" => self.dns_options != new.dns_options,
            "dns-search" => self.dns_search != new.dns_search,
            "host-gateway-ip" | "host-gateway-ips" => self.host_gateway != new.host_gateway,
            _ => false,
        }
    }
}

/// Reads the keys.
pub(crate) fn network(source: &Source<'_>, flags: &Flags, errors: &mut Errors) -> Network {
    let file = source.file;
    let default = Network::default();
    let given = &flags.network;
    let on = |key: &str, default: bool| given.switch(key).or(file.bool(key)).unwrap_or(default);
    let strings = |key: &str| -> Vec<String> {
        let list = source.list(key, given.list(key));
        list.into_iter().map(|(_, text)| text.to_owned()).collect()
    };
    let origin = |key: &str| match given.given(key) {
        Some(_) => Origin::Flag,
        None => source.origin(key),
    };
    let mut host_gateway = Vec::new();
    host_gateway.extend(parsed::<IpAddr>(
        (source, given),
        "host-gateway-ip",
        "an IP address",
        errors,
    ));
    host_gateway.extend(addresses(source, "host-gateway-ips", &[], errors));
    let network = Network {
        bridge: match source.text("bridge", flags.bridge.as_ref()) {
            None | Some((_, "")) => Bridge::Own,
            Some((_, "none")) => Bridge::None,
            Some((_, name)) => Bridge::Existing(name.to_owned()),
        },
        bip: parsed(
            (source, given),
            "bip",
            "an address with a prefix length, as 10.1.0.1/24",
            errors,
        ),
        fixed_cidr: parsed(
            (source, given),
            "fixed-cidr",
            "a subnet, as 10.1.0.0/24",
            errors,
        ),
        fixed_cidr_v6: parsed(
            (source, given),
            "fixed-cidr-v6",
            "a subnet, as fd00:1::/64",
            errors,
        ),
        gateway: parsed(
            (source, given),
            "default-gateway",
            "an IPv4 address",
            errors,
        ),
        gateway_v6: parsed(
            (source, given),
            "default-gateway-v6",
            "an IPv6 address",
            errors,
        ),
        icc: on("icc", true),
        host_ip: parsed((source, given), "ip", "an IP address of this host", errors),
        forward: on("ip-forward", true),
        masquerade: on("ip-masq", true),
        rules: on("iptables", true),
        rules_v6: on("ip6tables", true),
        ipv6: on("ipv6", false),
        mtu: mtu(
            (origin("mtu"), given.mtu.or(file.int("mtu"))),
            default.mtu,
            errors,
        ),
        proxy: on("userland-proxy", true),
        pools: pools(source, &given.default_address_pools, errors),
        default_options: default_options(source, errors),
        dns: addresses(source, "dns", &given.dns, errors),
        dns_options: strings("dns-opts"),
        dns_search: strings("dns-search"),
        host_gateway,
    };
    if matches!(network.bridge, Bridge::Existing(_)) && network.bip.is_some() {
        errors.push(bad(
            origin("bip"),
            "bip",
            &network.bip.map(|bip| bip.to_string()).unwrap_or_default(),
            "You specified -b & --bip, mutually exclusive options. Please specify only one",
            "leave bridge or bip out",
        ));
    }
    if let (Some(bip), Some(fixed)) = (network.bip, network.fixed_cidr)
        && !bip.trunc().contains(&fixed)
    {
        errors.push(bad(
            origin("fixed-cidr"),
            "fixed-cidr",
            &fixed.to_string(),
            "it is not in the subnet of the default bridge",
            format!("write a part of {}", bip.trunc()),
        ));
    }
    network
}

/// A value that has a form of its own; empty is none.
fn parsed<T: FromStr>(
    (source, given): (&Source<'_>, &NetworkFlags),
    key: &str,
    form: &str,
    errors: &mut Errors,
) -> Option<T> {
    let (origin, text) = source.text(key, given.text(key))?;
    if text.is_empty() {
        return None;
    }
    let value = text.parse().ok();
    if value.is_none() {
        errors.push(bad(
            origin,
            key,
            text,
            format!("{text} is not {form}"),
            format!("write {form}"),
        ));
    }
    value
}

fn addresses(source: &Source<'_>, key: &str, given: &[String], errors: &mut Errors) -> Vec<IpAddr> {
    let mut found = Vec::new();
    for (origin, text) in source.list(key, given) {
        match text.parse() {
            Ok(ip) => found.push(ip),
            Err(_) => errors.push(bad(
                origin,
                key,
                text,
                format!("{text} is not an ip address"),
                "write IP addresses",
            )),
        }
    }
    found
}

fn mtu((origin, given): (Origin, Option<i64>), default: u32, errors: &mut Errors) -> u32 {
    match given {
        // As in Docker.
        None | Some(0) => default,
        Some(mtu) if MTU_RANGE.contains(&mtu) => u32::try_from(mtu).unwrap_or(default),
        Some(mtu) => {
            errors.push(bad(
                origin,
                "mtu",
                &mtu.to_string(),
                format!("invalid MTU: {mtu}"),
                "write 68 to 65535",
            ));
            default
        }
    }
}

/// `[{"base": "10.10.0.0/16", "size": 24}]`, or flags `base=10.10.0.0/16,size=24`.
fn pools(source: &Source<'_>, given: &[String], errors: &mut Errors) -> Vec<Pool> {
    const KEY: &str = "default-address-pools";
    const ALLOWED: &str = "write {\"base\": a range such as \"10.10.0.0/16\", \"size\": the prefix length of each \
                           network's subnet, not below that of base}";
    let mut found = Vec::new();
    for text in given {
        match pool_of_flag(text) {
            Some(pool) => found.push(pool),
            None => errors.push(bad(
                Origin::Flag,
                KEY,
                text,
                "it is no pool",
                "write base=10.10.0.0/16,size=24: a range, and the prefix length of each network's subnet, not below that of base",
            )),
        }
    }
    let Some(Json::List(items)) = source.file.json(KEY).filter(|_| given.is_empty()) else {
        return found;
    };
    for item in items {
        let Json::Map(members) = &item.value else {
            continue;
        };
        let mut base = None;
        let mut size = None;
        let mut unknown = None;
        for (name, _, node) in members {
            match (name.as_str(), &node.value) {
                ("base", Json::Str(text)) => base = text.parse::<IpNet>().ok(),
                ("size", Json::Number(text)) => size = text.parse::<u8>().ok(),
                ("base" | "size", _) => {}
                (other, _) => unknown = Some(other),
            }
        }
        match pool(base, size).filter(|_| unknown.is_none()) {
            Some(pool) => found.push(pool),
            None => errors.push(bad(
                Origin::Line(item.line),
                KEY,
                &item.value.go(),
                "it is no pool",
                ALLOWED,
            )),
        }
    }
    found
}

fn pool(base: Option<IpNet>, size: Option<u8>) -> Option<Pool> {
    let (base, size) = (base?, size?);
    let longest = if base.addr().is_ipv4() { 32 } else { 128 };
    (base.prefix_len()..=longest).contains(&size).then(|| Pool {
        base: base.trunc(),
        size,
    })
}

/// `base=10.10.0.0/16,size=24`.
fn pool_of_flag(text: &str) -> Option<Pool> {
    let (mut base, mut size) = (None, None);
    for field in text.split(',') {
        match field.split_once('=')? {
            ("base", value) => base = Some(value.parse().ok()?),
            ("size", value) => size = Some(value.parse().ok()?),
            _ => return None,
        }
    }
    pool(base, size)
}

/// `{"bridge": {"com.docker.network.driver.mtu": "1400"}}`.
fn default_options(source: &Source<'_>, errors: &mut Errors) -> BTreeMap<String, String> {
    const KEY: &str = "default-network-opts";
    let mut found = BTreeMap::new();
    for (driver, line, options) in source.file.option_sets(KEY) {
        if driver != "bridge" {
            errors.push(bad(
                Origin::Line(line),
                KEY,
                driver,
                format!("there is no network driver {driver} here"),
                "write options of the driver bridge",
            ));
            continue;
        }
        for (name, _, value) in options {
            found.insert(name.to_owned(), value);
        }
    }
    found
}
