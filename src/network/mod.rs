//! Networks: bridges with their addresses, the containers on them, published ports and names.
//!
//! The data plane is ours, over rtnetlink (interfaces), nftables (rules) and two small processes of
//! the same program (port proxy, name server): decision record 14 says why, and what was measured.
//! Nobody outside of this module knows of interfaces, rules or namespaces.
//!
//! What is kept: networks in `<data-root>/networks`, the network side of each running container (a
//! [`Sandbox`]) in `<exec-root>/netns`. All else (rules, reserved addresses and ports, names) is
//! made of these two, again and again, so that a daemon that was killed leaves nothing that the next
//! one does not understand.
//!
//! Locks: `kernel` serialises everything that changes interfaces, rules or processes, `state` is held
//! for moments within it, or alone for reading. All methods block and belong on a blocking thread,
//! but for those that only read `state`.

mod bridge;
mod create;
mod dns;
mod firewall;
mod ipam;
mod join;
mod live;
pub(crate) mod model;
mod names;
mod names_main;
mod namespace;
pub(crate) mod netlink;
mod others;
pub(crate) mod ports;
mod proxy;
mod proxy_main;
mod recover;
mod store;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::IpAddr;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use ipnet::{IpNet, Ipv6Net};
use sha2::{Digest as _, Sha256};

pub(crate) use create::{Create, WantedPool};
pub(crate) use join::{Joined, Request};
use model::{Driver, Network, Sandbox};
pub(crate) use names::COMMAND as NAMES_COMMAND;
pub(crate) use names_main::run as run_names;
pub(crate) use proxy::COMMAND as PROXY_COMMAND;
use proxy::Proxy;
pub(crate) use proxy_main::run as run_proxy;
pub(crate) use store::StoreError;
use taffrail_config::{Bridge, Network as Settings};

use crate::errors::{ApiError, chain};

/// Name of the interface of the default network, unless another daemon has it.
const DEFAULT_INTERFACE: &str = "taffrail0";

/// All networks of a daemon.
#[derive(Debug)]
pub(crate) struct Networks {
    settings: Settings,
    /// `<data-root>/networks`.
    data: PathBuf,
    /// `<exec-root>/netns`.
    run: PathBuf,
    /// Eight hex digits that tell this daemon's interfaces and rules from others'.
    tag: String,
    /// Why there can be no bridges here; `None`: there can.
    unavailable: Option<&'static str>,
    state: Mutex<State>,
    kernel: Mutex<Kernel>,
}

/// What there is, in memory.
#[derive(Debug, Default)]
struct State {
    networks: Vec<Network>,
    /// By container.
    sandboxes: BTreeMap<String, Sandbox>,
    /// The address given out last, by network and family (IPv6 is true).
    last: HashMap<(String, bool), IpAddr>,
    /// Where the search for a random host port goes on.
    port: u16,
}

/// What was done to the kernel.
#[derive(Debug, Default)]
struct Kernel {
    /// Networks whose bridge is there.
    up: HashSet<String>,
    /// By container.
    proxies: HashMap<String, Proxy>,
    names: names::Names,
    /// Bridges of the last daemon that others' filters were not looked at for yet.
    inherited_bridges: HashSet<String>,
    /// Containers of the last daemon that were not found running yet.
    inherited: HashSet<String>,
    /// The rules as they were set last.
    applied: Option<String>,
}

impl Networks {
    /// Reads what there is; nothing of the host is changed yet.
    ///
    /// # Errors
    /// The networks' file is unreadable, damaged or of a newer version.
    pub(crate) fn open(
        data_root: &Path,
        exec_root: &Path,
        settings: &Settings,
    ) -> Result<Self, StoreError> {
        let (data, run) = (data_root.join("networks"), exec_root.join("netns"));
        for dir in [&data, &run] {
            std::fs::DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(dir)
                .map_err(|source| StoreError::Write {
                    path: dir.clone(),
                    source,
                })?;
        }
        let digest = Sha256::digest(exec_root.as_os_str().as_encoded_bytes());
        let tag = digest.iter().take(4).map(|b| format!("{b:02x}")).collect();
        let unavailable = if !nix::unistd::geteuid().is_root() {
            Some("the daemon does not run as root")
        } else if settings.rules && !firewall::available() {
            Some("the program nft is not installed (package nftables)")
        } else {
            None
        };
        let mut state = State {
            networks: store::load(&data)?,
            ..State::default()
        };
        for sandbox in store::load_sandboxes(&run) {
            state.sandboxes.insert(sandbox.container.clone(), sandbox);
        }
        let networks = Self {
            settings: settings.clone(),
            data,
            run,
            tag,
            unavailable,
            state: Mutex::new(state),
            kernel: Mutex::default(),
        };
        networks.add_predefined()?;
        Ok(networks)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Each holder leaves plain values that are consistent after every statement.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn kernel(&self) -> MutexGuard<'_, Kernel> {
        // What it tells of is looked at anew before it is changed.
        self.kernel.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether containers that name no network get one with a bridge.
    pub(crate) fn has_default(&self) -> bool {
        self.unavailable.is_none() && self.settings.bridge != Bridge::None
    }

    /// Why there are no bridges on this host, if so.
    pub(crate) fn unavailable(&self) -> Option<&'static str> {
        self.unavailable
    }

    fn check_available(&self, what: &str) -> Result<(), ApiError> {
        match self.unavailable {
            None => Ok(()),
            Some(why) => Err(ApiError::invalid(format!("{what} is not possible: {why}"))),
        }
    }

    /// The settings of daemon.json.
    pub(crate) fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The mark of this daemon's interfaces (their alias).
    fn mark(&self) -> String {
        format!("taffrail {}", self.tag)
    }

    /// The name of this daemon's table of rules.
    fn table(&self) -> String {
        format!("taffrail_{}", self.tag)
    }

    /// Unique local IPv6 addresses of this daemon (docs: RFC 4193).
    fn site(&self) -> Ipv6Net {
        let digest = Sha256::digest(format!("taffrail site {}", self.tag));
        let mut octets = [0; 16];
        octets[0] = 0xfd;
        octets[1..6].copy_from_slice(&digest[..5]);
        Ipv6Net::new_assert(octets.into(), 48)
    }

    /// All networks.
    pub(crate) fn all(&self) -> Vec<Network> {
        self.state().networks.clone()
    }

    /// A network by id, name, or unique beginning of an id.
    ///
    /// # Errors
    /// 404 `network x not found`, 400 if several ids begin so.
    pub(crate) fn find(&self, reference: &str) -> Result<Network, ApiError> {
        find(&self.state().networks, reference).cloned()
    }

    /// The network side of a running container.
    pub(crate) fn sandbox(&self, container: &str) -> Option<Sandbox> {
        self.state().sandboxes.get(container).cloned()
    }

    /// Containers in a network that run: their sandboxes.
    pub(crate) fn members(&self, network: &str) -> Vec<Sandbox> {
        let state = self.state();
        let sandboxes = state.sandboxes.values();
        sandboxes
            .filter(|sandbox| sandbox.endpoint(network).is_some())
            .cloned()
            .collect()
    }

    /// Where a sandbox's namespace is mounted.
    pub(crate) fn namespace(&self, container: &str) -> PathBuf {
        self.run.join(container)
    }

    /// A container's new name: for texts, and for others on its networks. Blocking.
    pub(crate) fn rename(&self, container: &str, name: &str) {
        let mut kernel = self.kernel();
        let sandbox = {
            let mut state = self.state();
            let Some(sandbox) = state.sandboxes.get_mut(container) else {
                return;
            };
            let old = std::mem::replace(&mut sandbox.name, name.to_owned());
            for endpoint in &mut sandbox.endpoints {
                for known in endpoint.names.iter_mut().filter(|known| **known == old) {
                    name.clone_into(known);
                }
            }
            sandbox.clone()
        };
        let told = self
            .save(&sandbox)
            .and_then(|()| self.tell_names(&mut kernel));
        if let Err(error) = told {
            tracing::warn!(container, %error, "the container's new name is not known on its networks");
        }
    }

    /// The three networks that always exist; the default one as daemon.json has it now.
    fn add_predefined(&self) -> Result<(), StoreError> {
        let mut networks = self.all();
        let before = networks.clone();
        let wanted = self.settings.bridge != Bridge::None;
        networks.retain(|network| network.name != "bridge" || wanted);
        for (name, driver) in [
            ("bridge", Driver::Bridge),
            ("host", Driver::Host),
            ("none", Driver::Null),
        ] {
            if networks.iter().any(|n| n.name == name) || (name == "bridge" && !wanted) {
                continue;
            }
            networks.push(Network {
                id: create::new_id(),
                name: name.to_owned(),
                created_ns: crate::container::time::now_ns(),
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
            });
        }
        if let Some(at) = networks.iter().position(|n| n.name == "bridge") {
            let others: Vec<IpNet> = networks
                .iter()
                .enumerate()
                .filter(|(n, _)| *n != at)
                .flat_map(|(_, network)| network.pools.iter().map(|pool| pool.subnet))
                .collect();
            if let Err(error) = self.set_default(&mut networks[at], &others) {
                tracing::error!(error = %chain(&error), "the default network has no addresses");
            }
        }
        if networks != before {
            store::save(&self.data, &networks)?;
        }
        self.state().networks = networks;
        Ok(())
    }

    /// Sets the rules, if they differ from what is set.
    fn apply(&self, kernel: &mut Kernel) -> Result<(), ApiError> {
        if !self.settings.rules {
            return Ok(());
        }
        let script = self.rules(kernel).script(&self.table());
        if kernel.applied.as_ref() == Some(&script) {
            return Ok(());
        }
        firewall::run(&script)
            .map_err(|error| failed("packet filter rules cannot be set", &error))?;
        kernel.applied = Some(script);
        Ok(())
    }

    fn rules(&self, kernel: &Kernel) -> firewall::Rules {
        let state = self.state();
        let up = |network: &&Network| kernel.up.contains(&network.id);
        let mut rules = firewall::Rules {
            proxy: self.settings.proxy,
            ipv6: self.settings.rules_v6,
            ..firewall::Rules::default()
        };
        for network in state.networks.iter().filter(up) {
            rules.bridges.push(firewall::BridgeRules {
                interface: network.interface.clone(),
                subnets: network.pools.iter().map(|pool| pool.subnet).collect(),
                internal: network.internal,
                masquerade: network.bridge_options().masquerade,
                source: network.bridge_options().source,
            });
        }
        for sandbox in state.sandboxes.values() {
            let Some((endpoint, network)) = state.way_out(sandbox) else {
                continue;
            };
            for published in &sandbox.ports {
                let target = match published.host_ip {
                    IpAddr::V4(_) => endpoint.ipv4.map(|net| net.addr().into()),
                    IpAddr::V6(_) => endpoint.ipv6.map(|net| net.addr().into()),
                };
                if let Some(target) = target {
                    rules.ports.push(firewall::PortRules {
                        interface: network.interface.clone(),
                        published: *published,
                        target,
                    });
                }
            }
        }
        rules
    }
}

impl State {
    fn network(&self, id: &str) -> Option<&Network> {
        self.networks.iter().find(|network| network.id == id)
    }

    /// The endpoint that has the default route and the published ports: the first one on a bridge
    /// that leads outside.
    fn way_out<'a>(&'a self, sandbox: &'a Sandbox) -> Option<(&'a model::Endpoint, &'a Network)> {
        sandbox.endpoints.iter().find_map(|endpoint| {
            let network = self.network(&endpoint.network)?;
            let outside = network.driver == Driver::Bridge && !network.internal;
            outside.then_some((endpoint, network))
        })
    }

    /// Addresses that are given out.
    fn used(&self) -> HashSet<IpAddr> {
        self.sandboxes
            .values()
            .flat_map(|sandbox| &sandbox.endpoints)
            .flat_map(|endpoint| {
                let four = endpoint.ipv4.map(|net| IpAddr::from(net.addr()));
                let six = endpoint.ipv6.map(|net| IpAddr::from(net.addr()));
                four.into_iter().chain(six)
            })
            .collect()
    }
}

fn find<'a>(networks: &'a [Network], reference: &str) -> Result<&'a Network, ApiError> {
    let missing = || ApiError::not_found(format!("network {reference} not found"));
    if let Some(exact) = networks
        .iter()
        .find(|network| network.id == reference)
        .or_else(|| networks.iter().find(|network| network.name == reference))
    {
        return Ok(exact);
    }
    let mut begin = networks
        .iter()
        .filter(|network| !reference.is_empty() && network.id.starts_with(reference));
    match (begin.next(), begin.next()) {
        (Some(one), None) => Ok(one),
        (None, _) => Err(missing()),
        (Some(_), Some(_)) => Err(ApiError::invalid(format!(
            "network {reference} is ambiguous (2 matches found based on ID prefix)"
        ))),
    }
}

/// A failure of the kernel or of a program.
fn failed(what: &str, error: &std::io::Error) -> ApiError {
    ApiError::system(format!("{what}: {error}"))
}
