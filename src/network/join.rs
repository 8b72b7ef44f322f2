//! A container joins its networks when it starts, and leaves them when it has ended.

use std::fs::File;
use std::io;
use std::net::IpAddr;
use std::os::fd::AsFd as _;
use std::path::PathBuf;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::model::{Driver, Endpoint, Network, SANDBOX_VERSION, Sandbox, Wish, link_parts};
use super::namespace::{self, sysctl};
use super::netlink::{self, Link, Netlink, Pair, PortFlags};
use super::ports::{Held, Holder, PortWish};
use super::{Kernel, Networks, State, create, failed, ipam, proxy, store};
use crate::errors::{ApiError, ErrorKind};

/// What a container needs when it starts.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    /// Id of the container.
    pub(crate) container: String,
    pub(crate) name: String,
    pub(crate) hostname: String,
    /// In the order in which they are joined; the first one that leads outside has the default route.
    pub(crate) wishes: Vec<Wish>,
    pub(crate) ports: Vec<PortWish>,
    /// Its name servers, if it has its own.
    pub(crate) servers: Vec<IpAddr>,
}

/// A container's networks, once joined.
#[derive(Clone, Debug)]
pub(crate) struct Joined {
    pub(crate) sandbox: Sandbox,
    /// The namespace, unless the runtime makes one (`none`) or the host's is used.
    pub(crate) namespace: Option<PathBuf>,
}

/// What is set on an interface in the container.
#[derive(Clone, Debug)]
pub(super) struct Inside {
    interface: String,
    addresses: Vec<IpNet>,
    ipv6: bool,
    routes: Vec<IpAddr>,
}

impl Networks {
    /// Makes a container's namespace with an interface for each network, and publishes its ports.
    /// On an error nothing is left of it. Blocking.
    ///
    /// # Errors
    /// Docker's texts: 404 `network x not found`, 403 for addresses that cannot be had, 500 for
    /// ports that are taken.
    pub(crate) fn join(&self, request: &Request) -> Result<Joined, ApiError> {
        let mut kernel = self.kernel();
        // Of a run that was not cleared up.
        self.leave_locked(&mut kernel, &request.container, false);
        let joined = self.join_locked(&mut kernel, request);
        if joined.is_err() {
            self.leave_locked(&mut kernel, &request.container, false);
        }
        joined
    }

    fn join_locked(&self, kernel: &mut Kernel, request: &Request) -> Result<Joined, ApiError> {
        let networks = request
            .wishes
            .iter()
            .map(|wish| self.find(&wish.network))
            .collect::<Result<Vec<_>, _>>()?;
        let bridged = networks.iter().any(|n| n.driver == Driver::Bridge);
        let mut netlink = Netlink::open().map_err(|e| failed("no netlink socket", &e))?;
        let mut links = Vec::new();
        for network in &networks {
            links.push(match network.driver {
                Driver::Bridge => {
                    self.check_available(&format!("network {}", network.name))?;
                    Some(self.bring_up(kernel, &mut netlink, &network.id)?)
                }
                Driver::Host | Driver::Null => None,
            });
        }
        let sandbox = {
            let mut state = self.state();
            let mut sandbox = Sandbox {
                version: SANDBOX_VERSION,
                container: request.container.clone(),
                name: request.name.clone(),
                hostname: request.hostname.clone(),
                id: create::new_id(),
                namespace: bridged,
                endpoints: Vec::new(),
                ports: Vec::new(),
                servers: request.servers.clone(),
            };
            for (wish, network) in request.wishes.iter().zip(&networks) {
                let endpoint = state.endpoint(&sandbox, wish, &network.id)?;
                sandbox.endpoints.push(endpoint);
                // From here on its addresses are reserved.
                state
                    .sandboxes
                    .insert(sandbox.container.clone(), sandbox.clone());
            }
            sandbox
        };
        if !bridged {
            self.save(&sandbox)?;
            return Ok(Joined {
                sandbox,
                namespace: None,
            });
        }
        let held = self.hold(&sandbox, &request.ports)?;
        let sandbox = {
            let mut state = self.state();
            let sandbox = state
                .sandboxes
                .get_mut(&request.container)
                .ok_or_else(|| ApiError::system("the network of the container is gone"))?;
            sandbox.ports = held.iter().map(|held| held.published).collect();
            sandbox.clone()
        };
        // On the disk before there is anything that it tells of.
        self.save(&sandbox)?;
        let path = self.namespace(&request.container);
        namespace::create(&path).map_err(|e| failed("a network namespace cannot be made", &e))?;
        self.plug(&mut netlink, &sandbox, &links)?;
        self.tell_names(kernel)?;
        if !held.is_empty() {
            self.publish(kernel, &sandbox, held)?;
        }
        Ok(Joined {
            sandbox,
            namespace: Some(path),
        })
    }

    /// Makes the interfaces of endpoints and sets them up; `links` are their bridges.
    fn plug(
        &self,
        netlink: &mut Netlink,
        sandbox: &Sandbox,
        links: &[Option<Link>],
    ) -> Result<(), ApiError> {
        let path = self.namespace(&sandbox.container);
        let namespace =
            File::open(&path).map_err(|e| failed("the network namespace cannot be opened", &e))?;
        let mut inside = Vec::new();
        for (endpoint, link) in sandbox.endpoints.iter().zip(links) {
            if let Some(link) = link {
                self.add_pair(netlink, endpoint, link, &namespace)?;
                inside.push(self.inside(sandbox, endpoint));
            }
        }
        namespace::inside(&path, move || {
            let mut netlink = Netlink::open()?;
            inside.iter().try_for_each(|one| one.set(&mut netlink))
        })
        .map_err(|e| failed("the container's interface cannot be set up", &e))
    }

    pub(super) fn add_pair(
        &self,
        netlink: &mut Netlink,
        endpoint: &Endpoint,
        bridge: &Link,
        namespace: &File,
    ) -> Result<(), ApiError> {
        let network = self.find(&endpoint.network)?;
        let options = network.bridge_options();
        let what = |e: io::Error| {
            let text = format!("failed to add interface {} to sandbox", endpoint.interface);
            failed(&text, &e)
        };
        let pair = Pair {
            host: &endpoint.host_interface,
            bridge: bridge.index,
            mtu: options.mtu,
            inside: &endpoint.interface,
            namespace: namespace.as_fd(),
            mac: endpoint.mac.unwrap_or_default(),
        };
        netlink.add_pair(&pair).map_err(what)?;
        let flags = PortFlags {
            isolated: !options.icc,
            hairpin: !self.settings.proxy,
        };
        if flags != PortFlags::default() {
            let link = netlink.link(&endpoint.host_interface).map_err(what)?;
            let link = link.ok_or_else(|| what(io::Error::other("it has vanished")))?;
            netlink.set_port(link.index, flags).map_err(what)?;
        }
        Ok(())
    }

    /// What is set on an endpoint's interface.
    pub(super) fn inside(&self, sandbox: &Sandbox, endpoint: &Endpoint) -> Inside {
        let state = self.state();
        let way_out = state
            .way_out(sandbox)
            .is_some_and(|(out, _)| out.id == endpoint.id);
        let gateways = [
            endpoint.gateway.map(IpAddr::from),
            endpoint.gateway_v6.map(IpAddr::from),
        ];
        let link_local = endpoint.link_local.iter().filter_map(|ip| {
            let length = if ip.is_ipv4() { 16 } else { 64 };
            IpNet::new(*ip, length).ok()
        });
        Inside {
            interface: endpoint.interface.clone(),
            addresses: (endpoint.ipv4.map(IpNet::from).into_iter())
                .chain(endpoint.ipv6.map(IpNet::from))
                .chain(link_local)
                .collect(),
            ipv6: endpoint.ipv6.is_some(),
            routes: match way_out {
                true => gateways.into_iter().flatten().collect(),
                false => Vec::new(),
            },
        }
    }

    /// Holds host ports for a container.
    fn hold(&self, sandbox: &Sandbox, wishes: &[PortWish]) -> Result<Vec<Held>, ApiError> {
        let mut state = self.state();
        let Some((endpoint, network)) = state.way_out(sandbox) else {
            return Ok(Vec::new());
        };
        let endpoint = endpoint.id.clone();
        // Docker's default is written out in the options.
        let host_ip = network.bridge_options().host_ip;
        let taken = state
            .sandboxes
            .values()
            .filter(|other| other.container != sandbox.container)
            .flat_map(|other| other.ports.iter().copied())
            .collect();
        let mut holder = Holder {
            taken,
            host_ip: host_ip.filter(|ip| !ip.is_unspecified()),
            listen: self.settings.proxy,
            cursor: &mut state.port,
        };
        holder.hold(wishes).map_err(|text| {
            ApiError::system(format!(
                "driver failed programming external connectivity on endpoint {} ({endpoint}): {text}",
                sandbox.name
            ))
        })
    }

    /// Sets the rules of published ports and starts their proxy.
    pub(super) fn publish(
        &self,
        kernel: &mut Kernel,
        sandbox: &Sandbox,
        held: Vec<Held>,
    ) -> Result<(), ApiError> {
        self.apply(kernel)?;
        let target = {
            let state = self.state();
            let endpoint = state.way_out(sandbox).map(|(endpoint, _)| endpoint);
            let four = endpoint
                .and_then(|e| e.ipv4)
                .map(|net| IpAddr::from(net.addr()));
            let six = endpoint
                .and_then(|e| e.ipv6)
                .map(|net| IpAddr::from(net.addr()));
            move |host: IpAddr| match host {
                IpAddr::V4(_) => four.or(six),
                IpAddr::V6(_) => six.or(four),
            }
        };
        let ports: Vec<proxy::Port> = held
            .into_iter()
            .filter_map(|held| {
                Some(proxy::Port {
                    published: held.published,
                    socket: held.socket?,
                    target: target(held.published.host_ip).filter(|_| self.settings.proxy),
                })
            })
            .collect();
        if ports.is_empty() {
            return Ok(());
        }
        let proxy = proxy::start(&self.run, &sandbox.container, ports)
            .map_err(|e| failed("Error starting userland proxy", &e))?;
        kernel.proxies.insert(sandbox.container.clone(), proxy);
        Ok(())
    }

    /// Takes a container out of its networks: ports, rules, namespace, addresses. What is not there
    /// is no error. `shared`: others are in its namespace and go on. Blocking.
    pub(crate) fn leave(&self, container: &str, shared: bool) {
        let mut kernel = self.kernel();
        self.leave_locked(&mut kernel, container, shared);
    }

    pub(super) fn leave_locked(&self, kernel: &mut Kernel, container: &str, shared: bool) {
        kernel.inherited.remove(container);
        if let Some(proxy) = kernel.proxies.remove(container) {
            proxy.stop();
        }
        let sandbox = self.state().sandboxes.remove(container);
        let said = |what: &str, done: Result<(), String>| {
            if let Err(error) = done {
                tracing::warn!(container, error, "{what}");
            }
        };
        if let Some(sandbox) = &sandbox {
            // Its sockets in the namespace would keep that.
            let told = self.tell_names(kernel);
            said("name server is not told", told.map_err(|e| e.message));
            if !sandbox.ports.is_empty() {
                let applied = self.apply(kernel);
                said(
                    "rules of published ports are not removed",
                    applied.map_err(|e| e.message),
                );
            }
            // The kernel removes an interface with its namespace, a little later. That is too late
            // where others keep the namespace, or where the address is soon used again.
            for endpoint in sandbox.endpoints.iter().filter(|e| shared || e.fixed) {
                if endpoint.host_interface.is_empty() {
                    continue;
                }
                let removed =
                    Netlink::open().and_then(|mut n| n.remove_link(&endpoint.host_interface));
                said(
                    "interface is not removed",
                    removed.map_err(|e| e.to_string()),
                );
            }
        }
        let path = self.namespace(container);
        if sandbox.is_none_or(|sandbox| sandbox.namespace) {
            said(
                "network namespace is not removed",
                namespace::remove(&path).map_err(|e| e.to_string()),
            );
        }
        let removed = store::remove_sandbox(&self.run, container);
        said(
            "file of the network is not removed",
            removed.map_err(|e| e.to_string()),
        );
    }

    pub(super) fn save(&self, sandbox: &Sandbox) -> Result<(), ApiError> {
        store::save_sandbox(&self.run, sandbox)
            .map_err(|e| failed("the container's network cannot be written down", &e))
    }
}

impl Inside {
    /// Sets addresses and routes; the thread is in the container's namespace.
    pub(super) fn set(&self, netlink: &mut Netlink) -> io::Result<()> {
        let link = netlink
            .link(&self.interface)?
            .ok_or_else(|| io::Error::other(format!("{} is not there", self.interface)))?;
        let conf = |key: &str| format!("ipv6/conf/{}/{key}", self.interface);
        if self.ipv6 {
            sysctl(&conf("accept_ra"), "0")?;
        } else {
            sysctl(&conf("disable_ipv6"), "1")?;
        }
        for address in &self.addresses {
            netlink.add_address(link.index, *address)?;
        }
        netlink.set_up(link.index)?;
        self.route(netlink)
    }

    /// Sets the default routes alone.
    pub(super) fn route(&self, netlink: &mut Netlink) -> io::Result<()> {
        let link = netlink
            .link(&self.interface)?
            .ok_or_else(|| io::Error::other(format!("{} is not there", self.interface)))?;
        self.routes
            .iter()
            .try_for_each(|gateway| netlink.add_default_route(*gateway, link.index))
    }
}

impl State {
    /// An endpoint with addresses, as a container wishes it.
    pub(super) fn endpoint(
        &mut self,
        sandbox: &Sandbox,
        wish: &Wish,
        network: &str,
    ) -> Result<Endpoint, ApiError> {
        let network = self
            .network(network)
            .cloned()
            .ok_or_else(|| ApiError::not_found(format!("network {} not found", wish.network)))?;
        let mut endpoint = Endpoint {
            id: create::new_id(),
            network: network.id.clone(),
            interface: String::new(),
            host_interface: String::new(),
            mac: None,
            ipv4: None,
            ipv6: None,
            gateway: None,
            gateway_v6: None,
            link_local: wish.link_local.clone(),
            names: Vec::new(),
            links: Vec::new(),
            fixed: wish.ipv4.is_some() || wish.ipv6.is_some() || wish.mac.is_some(),
        };
        if network.driver != Driver::Bridge {
            return Ok(endpoint);
        }
        if let Some((pool, net)) = network.pool_v4() {
            let asked = wish.ipv4.map(IpAddr::from);
            if let IpAddr::V4(ip) = self.address(&network, pool, asked)? {
                endpoint.ipv4 = Ipv4Net::new(ip, net.prefix_len()).ok();
            }
            endpoint.gateway = match pool.via.unwrap_or(pool.gateway) {
                IpAddr::V4(ip) if !network.internal => Some(ip),
                _ => None,
            };
        } else if wish.ipv4.is_some() {
            return Err(no_subnet(wish));
        }
        if let Some((pool, net)) = network.pool_v6() {
            let asked = wish.ipv6.map(IpAddr::from);
            if let IpAddr::V6(ip) = self.address(&network, pool, asked)? {
                endpoint.ipv6 = Ipv6Net::new(ip, net.prefix_len()).ok();
            }
            endpoint.gateway_v6 = match pool.via.unwrap_or(pool.gateway) {
                IpAddr::V6(ip) if !network.internal => Some(ip),
                _ => None,
            };
        } else if wish.ipv6.is_some() {
            return Err(no_subnet(wish));
        }
        let made = netlink::mac_of(
            endpoint.ipv4.map(|net| net.addr()),
            endpoint.ipv6.map(|net| net.addr()),
        );
        endpoint.mac = Some(wish.mac.unwrap_or(made));
        let prefix = network.bridge_options().prefix;
        let number = (0..)
            .find(|n| {
                let name = format!("{prefix}{n}");
                sandbox.endpoints.iter().all(|e| e.interface != name)
            })
            .unwrap_or(0);
        endpoint.interface = format!("{prefix}{number}");
        endpoint.host_interface = format!("tfv{}", &endpoint.id[..10]);
        if network.is_user() {
            let owned = |(name, alias): (&str, &str)| (alias.to_owned(), name.to_owned());
            let links = wish.links.iter().map(|link| owned(link_parts(link)));
            endpoint.links = links.collect();
            endpoint.names = wish.aliases.clone();
            let own = [
                sandbox.name.as_str(),
                &sandbox.container[..12],
                &sandbox.hostname,
            ];
            for name in own.into_iter().filter(|name| !name.is_empty()) {
                if !endpoint.names.iter().any(|other| other == name) {
                    endpoint.names.push(name.to_owned());
                }
            }
        }
        Ok(endpoint)
    }

    /// The address that was asked for, or the next free one.
    fn address(
        &mut self,
        network: &Network,
        pool: &super::model::Pool,
        asked: Option<IpAddr>,
    ) -> Result<IpAddr, ApiError> {
        let used = self.used();
        let key = (network.id.clone(), pool.subnet.addr().is_ipv6());
        if let Some(ip) = asked {
            if !network.is_user() {
                return Err(ApiError::invalid(
                    "user specified IP address is supported on user defined networks only",
                ));
            }
            if !network.chosen_subnet {
                return Err(ApiError::invalid(
                    "user specified IP address is supported only when connecting to networks with \
                     user configured subnets",
                ));
            }
            if !pool.subnet.contains(&ip) {
                return Err(ApiError::invalid(format!(
                    "Invalid address {ip}: It does not belong to any of this network's subnets"
                )));
            }
            if used.contains(&ip) || ip == pool.gateway || ipam::is_reserved(pool, ip) {
                return Err(ApiError::forbidden("Address already in use"));
            }
            return Ok(ip);
        }
        let last = self.last.get(&key).copied();
        let ip = ipam::free_address(pool, &used, last).ok_or_else(|| {
            let family = if key.1 { 6 } else { 4 };
            ApiError::new(
                ErrorKind::System,
                format!(
                    "no available IPv{family} addresses on this network's address pools: {} ({})",
                    network.name, network.id
                ),
            )
        })?;
        self.last.insert(key, ip);
        Ok(ip)
    }
}

fn no_subnet(wish: &Wish) -> ApiError {
    let ip = wish.ipv4.map(IpAddr::from).or(wish.ipv6.map(IpAddr::from));
    ApiError::invalid(format!(
        "no configured subnet contains IP address {}",
        ip.map(|ip| ip.to_string()).unwrap_or_default()
    ))
}
