//! The start of a daemon after another one, which may have been killed at any moment, and its end.

use super::model::{Driver, Network};
use super::netlink::Netlink;
use super::{Kernel, Networks, firewall, namespace, proxy, store};
use crate::errors::chain;

impl Networks {
    /// Finds what the last daemon left: bridges and port proxies. Before containers are looked at,
    /// as the end of one of them takes things down. Blocking.
    pub(crate) fn adopt(&self) {
        let mut kernel = self.kernel();
        for (container, proxy) in proxy::find(&self.run) {
            kernel.inherited.insert(container.clone());
            kernel.proxies.insert(container, proxy);
        }
        kernel.inherited.extend(store::leftovers(&self.run));
        if self.unavailable.is_some() {
            return;
        }
        let links = Netlink::open().and_then(|mut netlink| netlink.links());
        let links = match links {
            Ok(links) => links,
            Err(error) => {
                tracing::error!(%error, "interfaces cannot be looked at");
                return;
            }
        };
        let mark = self.mark();
        for network in self.all() {
            let there = links.iter().any(|link| {
                link.name == network.interface && (network.foreign || link.alias == mark)
            });
            if there && !network.interface.is_empty() {
                kernel.up.insert(network.id.clone());
                kernel.inherited_bridges.insert(network.id.clone());
            }
        }
    }

    /// Puts everything in order once it is known which containers run: `runs` says it of one. What
    /// is left of others is removed, ports and bridges of those are as they should be. Blocking.
    pub(crate) fn settle(&self, runs: impl Fn(&str) -> bool) {
        let mut kernel = self.kernel();
        // Not those that were started since.
        let inherited = std::mem::take(&mut kernel.inherited);
        for container in inherited.iter().filter(|container| !runs(container)) {
            tracing::info!(
                container,
                "what is left of the container's network is removed"
            );
            self.leave_locked(&mut kernel, container, false);
        }
        if self.unavailable.is_some() {
            return;
        }
        let Ok(mut netlink) = Netlink::open() else {
            return;
        };
        self.remove_strangers(&mut netlink);
        for network in self.all() {
            let needed = network.is_user() || kernel.up.contains(&network.id);
            if network.driver == Driver::Bridge
                && needed
                && let Err(error) = self.bring_up(&mut kernel, &mut netlink, &network.id)
            {
                tracing::error!(network = network.name, error = %chain(&error), "bridge of the network is not there");
            }
        }
        if !kernel.up.is_empty()
            && let Err(error) = self.apply(&mut kernel)
        {
            tracing::error!(%error, "packet filter rules cannot be set");
        }
        self.restore_proxies(&mut kernel);
        if let Err(error) = self.tell_names(&mut kernel) {
            tracing::error!(%error, "names on networks are not served");
        }
    }

    /// Bridges of this daemon whose network is not stored: made, or not removed, in the moment in
    /// which a daemon was killed.
    fn remove_strangers(&self, netlink: &mut Netlink) {
        let mark = self.mark();
        let networks = self.all();
        for link in netlink.links().unwrap_or_default() {
            let known = networks
                .iter()
                .any(|network| network.interface == link.name);
            if link.alias == mark && !known {
                tracing::info!(interface = link.name, "bridge without a network is removed");
                if let Err(error) = netlink.remove_link(&link.name) {
                    tracing::warn!(interface = link.name, %error, "bridge cannot be removed");
                }
            }
        }
    }

    /// Proxies that died, and ports that nobody holds any more.
    fn restore_proxies(&self, kernel: &mut Kernel) {
        let sandboxes: Vec<String> = {
            let state = self.state();
            let with_ports = state.sandboxes.values().filter(|s| !s.ports.is_empty());
            with_ports.map(|s| s.container.clone()).collect()
        };
        for container in sandboxes {
            let lives = kernel
                .proxies
                .get_mut(&container)
                .is_some_and(|proxy| proxy.lives());
            if !lives && let Err(error) = self.publish_again(kernel, &container) {
                tracing::error!(container, %error, "published ports of the container are lost");
            }
        }
    }

    /// The end of a daemon: with no container on a bridge, nothing of it stays on the host. Blocking.
    pub(crate) fn shutdown(&self) {
        let mut kernel = self.kernel();
        let busy = {
            let state = self.state();
            state.sandboxes.values().any(|sandbox| sandbox.namespace)
        };
        if busy || self.unavailable.is_some() {
            return;
        }
        let Ok(mut netlink) = Netlink::open() else {
            return;
        };
        let up: Vec<Network> = self.all();
        for network in up.iter().filter(|n| n.driver == Driver::Bridge) {
            if !kernel.up.contains(&network.id) {
                continue;
            }
            if let Err(error) = self.take_down(&mut kernel, &mut netlink, network) {
                tracing::warn!(network = network.name, error = %chain(&error), "bridge is not removed");
            }
        }
        // Also where an earlier daemon has set rules and this one none.
        if self.settings.rules && kernel.applied.is_none() && firewall::exists(&self.table()) {
            let script = firewall::Rules::default().script(&self.table());
            if let Err(error) = firewall::run(&script) {
                tracing::warn!(%error, "packet filter rules are not removed");
            }
        }
        for container in store::leftovers(&self.run) {
            let _ = namespace::remove(&self.namespace(&container));
            let _ = store::remove_sandbox(&self.run, &container);
        }
    }
}
