//! Bridges: made when a container (or `network create`) needs one, found again by their mark,
//! removed with their network or with the daemon when nobody is on them.

use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use taffrail_config::Bridge;

use super::model::{Network, Pool, option};
use super::namespace::{read_sysctl, sysctl};
use super::netlink::{Link, Mac, Netlink};
use super::{DEFAULT_INTERFACE, Kernel, Networks, failed, ipam, store};
use crate::errors::{ApiError, chain};

/// Among the flags of `/proc/net/ipv6_route`: learned from a router's advertisement.
const ROUTE_ADVERTISED: u32 = 0x0004_0000;

impl Networks {
    /// The default network as daemon.json has it: options, interface, subnets.
    pub(super) fn set_default(
        &self,
        network: &mut Network,
        others: &[IpNet],
    ) -> Result<(), ApiError> {
        let settings = &self.settings;
        network.foreign = false;
        let name = match &settings.bridge {
            Bridge::Existing(name) => {
                network.foreign = true;
                name.clone()
            }
            _ if network.interface.is_empty() => DEFAULT_INTERFACE.to_owned(),
            _ => network.interface.clone(),
        };
        network.interface.clone_from(&name);
        let host_ip = settings
            .host_ip
            .map_or("0.0.0.0".to_owned(), |ip| ip.to_string());
        network.options = [
            (option::DEFAULT, "true".to_owned()),
            (option::ICC, settings.icc.to_string()),
            (option::MASQUERADE, settings.masquerade.to_string()),
            (option::HOST_IP, host_ip),
            (option::NAME, name.clone()),
            (option::MTU, settings.mtu.to_string()),
        ]
        .map(|(key, value)| (key.to_owned(), value))
        .into();
        network.ipv6 = settings.ipv6 || settings.fixed_cidr_v6.is_some();
        let mut netlink = Netlink::open().map_err(|e| failed("no netlink socket", &e))?;
        let link = netlink.link(&name).ok().flatten();
        let four = match (settings.bip, network.foreign) {
            (Some(bip), _) => Some(bip),
            (None, true) => {
                let index = link.as_ref().map(|link| link.index);
                let found = index.and_then(|index| netlink.addresses(index).ok());
                found.into_iter().flatten().find_map(|net| match net {
                    IpNet::V4(net) => Some(net),
                    IpNet::V6(_) => None,
                })
            }
            (None, false) => None,
        };
        let stored = network.pool_v4().map(|(pool, net)| (pool.gateway, net));
        let (gateway, subnet) = match (four, stored) {
            (Some(own), _) => (IpAddr::from(own.addr()), own.trunc()),
            // An automatic one stays, and so do the containers' addresses.
            (None, Some(stored)) if !network.chosen_subnet => stored,
            (None, _) => {
                let net = self.free_v4(&mut netlink, others)?;
                (ipam::first_address(&net.into()), net)
            }
        };
        network.chosen_subnet = four.is_some();
        let mut pools = vec![Pool {
            subnet: subnet.into(),
            range: settings.fixed_cidr.map(|net| net.trunc().into()),
            gateway,
            via: settings.gateway.map(IpAddr::from),
            auxiliary: Default::default(),
        }];
        if network.ipv6 {
            let stored = network.pool_v6().map(|(_, net)| net);
            let net = match (settings.fixed_cidr_v6, stored) {
                (Some(net), _) => net.trunc(),
                (None, Some(net)) => net,
                (None, None) => self.free_v6(&mut netlink, others)?,
            };
            pools.push(Pool {
                subnet: net.into(),
                range: None,
                gateway: ipam::first_address(&net.into()),
                via: settings.gateway_v6.map(IpAddr::from),
                auxiliary: Default::default(),
            });
        }
        network.pools = pools;
        Ok(())
    }

    /// An IPv4 subnet that nobody on this host uses.
    pub(super) fn free_v4(
        &self,
        netlink: &mut Netlink,
        others: &[IpNet],
    ) -> Result<Ipv4Net, ApiError> {
        let taken = taken(netlink, None, others);
        ipam::free_v4(&self.settings.pools, &taken).ok_or_else(|| {
            ApiError::invalid(
                "could not find an available, non-overlapping IPv4 address pool among the defaults \
                 to assign to the network",
            )
        })
    }

    /// An IPv6 subnet that nobody on this host uses.
    pub(super) fn free_v6(
        &self,
        netlink: &mut Netlink,
        others: &[IpNet],
    ) -> Result<Ipv6Net, ApiError> {
        let taken = taken(netlink, None, others);
        ipam::free_v6(&self.settings.pools, self.site(), &taken).ok_or_else(|| {
            ApiError::invalid(
                "could not find an available, non-overlapping IPv6 address pool among the defaults \
                 to assign to the network",
            )
        })
    }

    /// Makes a network's bridge if it is not there, and gives its interface.
    pub(super) fn bring_up(
        &self,
        kernel: &mut Kernel,
        netlink: &mut Netlink,
        id: &str,
    ) -> Result<Link, ApiError> {
        let mut network = self.find(id)?;
        if network.pools.is_empty() {
            // It had no addresses when the daemon started.
            self.renumber(netlink, &mut network)?;
        }
        let find = |netlink: &mut Netlink, name: &str| {
            let found = netlink.link(name);
            found.map_err(|e| failed(&format!("interface {name} cannot be looked at"), &e))
        };
        let mut link = find(netlink, &network.interface)?;
        if network.foreign {
            let link = link.ok_or_else(|| {
                ApiError::invalid(format!(
                    "bridge {} of daemon.json does not exist",
                    network.interface
                ))
            })?;
            return self.is_up(kernel, &network, link);
        }
        if link.as_ref().is_some_and(|link| link.alias != self.mark()) {
            if network.interface != DEFAULT_INTERFACE {
                return Err(ApiError::invalid(format!(
                    "interface {} exists and is not of this daemon: name another one by the \
                     option {}",
                    network.interface,
                    option::NAME
                )));
            }
            // Another daemon's.
            network.interface = format!("tfr-{}", self.tag);
            network
                .options
                .insert(option::NAME.to_owned(), network.interface.clone());
            self.replace(&network)?;
            link = find(netlink, &network.interface)?;
        }
        let made = link.is_none();
        let link = match link {
            Some(link) => link,
            None => {
                self.check_subnet(netlink, &mut network)?;
                let mtu = network.bridge_options().mtu;
                netlink
                    .add_bridge(&network.interface, &self.mark(), random_mac()?, mtu)
                    .map_err(|e| {
                        failed(&format!("bridge {} cannot be made", network.interface), &e)
                    })?
            }
        };
        let done = self
            .set_bridge(netlink, &network, &link)
            .map_err(|e| {
                failed(
                    &format!("bridge {} cannot be set up", network.interface),
                    &e,
                )
            })
            .and_then(|()| self.forward(&network))
            .and_then(|()| self.is_up(kernel, &network, link));
        if done.is_err() && made {
            kernel.up.remove(&network.id);
            let _ = netlink.remove_link(&network.interface);
        }
        done
    }

    fn is_up(&self, kernel: &mut Kernel, network: &Network, link: Link) -> Result<Link, ApiError> {
        let first = kernel.up.insert(network.id.clone());
        self.apply(kernel)?;
        if (first || kernel.inherited_bridges.remove(&network.id)) && !network.internal {
            self.allow(&network.interface);
        }
        Ok(link)
    }

    fn set_bridge(
        &self,
        netlink: &mut Netlink,
        network: &Network,
        link: &Link,
    ) -> std::io::Result<()> {
        let conf = |family: &str, key: &str| format!("{family}/conf/{}/{key}", network.interface);
        sysctl(&conf("ipv6", "accept_ra"), "0")?;
        let off = if network.ipv6 { "0" } else { "1" };
        sysctl(&conf("ipv6", "disable_ipv6"), off)?;
        if !self.settings.proxy {
            // What comes from loopback may go to this bridge.
            sysctl(&conf("ipv4", "route_localnet"), "1")?;
        }
        for address in network.gateways() {
            netlink.add_address(link.index, address)?;
        }
        if link.up {
            return Ok(());
        }
        netlink.set_up(link.index)
    }

    /// An automatic subnet that somebody else uses by now is replaced, if nobody is in it yet.
    fn check_subnet(&self, netlink: &mut Netlink, network: &mut Network) -> Result<(), ApiError> {
        if network.chosen_subnet || !self.members(&network.id).is_empty() {
            return Ok(());
        }
        let taken = taken(netlink, None, &[]);
        let clash = network
            .pools
            .iter()
            .any(|pool| taken.iter().any(|other| ipam::overlap(&pool.subnet, other)));
        if clash {
            tracing::warn!(
                network = network.name,
                "the subnet is used by somebody else by now, the network gets another one"
            );
            self.renumber(netlink, network)?;
        }
        Ok(())
    }

    /// Gives a network new automatic subnets.
    fn renumber(&self, netlink: &mut Netlink, network: &mut Network) -> Result<(), ApiError> {
        let others: Vec<IpNet> = self
            .all()
            .iter()
            .filter(|other| other.id != network.id)
            .flat_map(|other| other.pools.iter().map(|pool| pool.subnet))
            .collect();
        let six = network.ipv6;
        let mut nets: Vec<IpNet> = vec![self.free_v4(netlink, &others)?.into()];
        if six {
            nets.push(self.free_v6(netlink, &others)?.into());
        }
        network.pools = nets
            .into_iter()
            .map(|subnet| Pool {
                subnet,
                range: None,
                gateway: ipam::first_address(&subnet),
                via: None,
                auxiliary: Default::default(),
            })
            .collect();
        self.replace(network)
    }

    /// Puts a changed network in the place of the stored one.
    pub(super) fn replace(&self, network: &Network) -> Result<(), ApiError> {
        let networks = {
            let mut state = self.state();
            if let Some(old) = state.networks.iter_mut().find(|n| n.id == network.id) {
                old.clone_from(network);
            }
            state.networks.clone()
        };
        store::save(&self.data, &networks).map_err(|error| ApiError::system(chain(&error)))
    }

    /// Turns the kernel's forwarding on, where it is off and a network needs it.
    fn forward(&self, network: &Network) -> Result<(), ApiError> {
        if !self.settings.forward || network.internal {
            return Ok(());
        }
        let set = |key: &str, value: &str| {
            sysctl(key, value).map_err(|e| failed("forwarding cannot be turned on", &e))
        };
        if network.pool_v4().is_some() && read_sysctl("ipv4/ip_forward").as_deref() == Some("0") {
            set("ipv4/ip_forward", "1")?;
            tracing::info!("IPv4 forwarding was turned on");
        }
        if network.pool_v6().is_some()
            && read_sysctl("ipv6/conf/all/forwarding").as_deref() == Some("0")
        {
            // Whoever forwards learns no routes, unless told to: the host keeps its own.
            for interface in interfaces_with_advertised_routes() {
                let key = format!("ipv6/conf/{interface}/accept_ra");
                if read_sysctl(&key).as_deref() == Some("1") {
                    set(&key, "2")?;
                }
            }
            set("ipv6/conf/all/forwarding", "1")?;
            tracing::info!("IPv6 forwarding was turned on");
        }
        Ok(())
    }

    /// Removes a network's bridge and its rules.
    pub(super) fn take_down(
        &self,
        kernel: &mut Kernel,
        netlink: &mut Netlink,
        network: &Network,
    ) -> Result<(), ApiError> {
        kernel.up.remove(&network.id);
        self.apply(kernel)?;
        self.disallow(&network.interface);
        if network.foreign || network.interface.is_empty() {
            return Ok(());
        }
        let what = || format!("bridge {} cannot be removed", network.interface);
        let link = netlink.link(&network.interface);
        match link.map_err(|e| failed(&what(), &e))? {
            Some(link) if link.alias == self.mark() => netlink
                .remove_link(&link.name)
                .map_err(|e| failed(&what(), &e)),
            _ => Ok(()),
        }
    }
}

/// Subnets that others use: routes and addresses of this host.
fn taken(netlink: &mut Netlink, except: Option<u32>, others: &[IpNet]) -> Vec<IpNet> {
    let mut taken = netlink.destinations(except).unwrap_or_default();
    taken.extend_from_slice(others);
    taken
}

fn interfaces_with_advertised_routes() -> Vec<String> {
    let routes = std::fs::read_to_string("/proc/net/ipv6_route").unwrap_or_default();
    let mut found: Vec<String> = routes
        .lines()
        .filter_map(|line| {
            let words: Vec<&str> = line.split_whitespace().collect();
            let flags = u32::from_str_radix(words.get(8)?, 16).ok()?;
            (flags & ROUTE_ADVERTISED != 0).then(|| words.get(9).map(|w| (*w).to_owned()))?
        })
        .collect();
    found.dedup();
    found
}

/// A local unicast hardware address.
fn random_mac() -> Result<Mac, ApiError> {
    let random = getrandom::u32()
        .map_err(|error| ApiError::system(format!("no random numbers: {error}")))?;
    let [a, b, c, d] = random.to_be_bytes();
    Ok([0x02, 0x42, a, b, c, d])
}
