//! `connect` and `disconnect` of containers that run.

use std::fs::File;

use super::join::Inside;
use super::model::{Driver, Endpoint, Sandbox, Wish};
use super::namespace;
use super::netlink::Netlink;
use super::ports::{Held, Holder, PortWish};
use super::{Kernel, Networks, failed};
use crate::errors::ApiError;

impl Networks {
    /// Gives a running container an interface on one more network. Blocking.
    ///
    /// # Errors
    /// As of `join`; 403 if it is in the network already.
    pub(crate) fn connect(&self, container: &str, wish: &Wish) -> Result<Endpoint, ApiError> {
        let mut kernel = self.kernel();
        let network = self.find(&wish.network)?;
        self.check_available(&format!("network {}", network.name))?;
        let mut netlink = Netlink::open().map_err(|e| failed("no netlink socket", &e))?;
        let bridge = self.bring_up(&mut kernel, &mut netlink, &network.id)?;
        let (sandbox, endpoint, had_way_out) = {
            let mut state = self.state();
            let mut sandbox = state
                .sandboxes
                .get(container)
                .filter(|sandbox| sandbox.namespace)
                .cloned()
                .ok_or_else(|| {
                    ApiError::conflict(format!("container {container} has no network of its own"))
                })?;
            if sandbox.endpoint(&network.id).is_some() {
                return Err(ApiError::forbidden(format!(
                    "endpoint with name {} already exists in network {}",
                    sandbox.name, network.name
                )));
            }
            let had_way_out = state.way_out(&sandbox).is_some();
            let endpoint = state.endpoint(&sandbox, wish, &network.id)?;
            sandbox.endpoints.push(endpoint.clone());
            state
                .sandboxes
                .insert(container.to_owned(), sandbox.clone());
            (sandbox, endpoint, had_way_out)
        };
        let done = self
            .save(&sandbox)
            .and_then(|()| {
                let path = self.namespace(container);
                let namespace = File::open(&path)
                    .map_err(|e| failed("the network namespace cannot be opened", &e))?;
                self.add_pair(&mut netlink, &endpoint, &bridge, &namespace)?;
                let inside = self.inside(&sandbox, &endpoint);
                set_inside(&path, inside, Inside::set)
            })
            .and_then(|()| self.tell_names(&mut kernel))
            .and_then(|()| match had_way_out {
                true => Ok(()),
                // The rules may have waited for an address.
                false => self.apply(&mut kernel),
            });
        if let Err(error) = done {
            let _ = netlink.remove_link(&endpoint.host_interface);
            if let Some(sandbox) = self.state().sandboxes.get_mut(container) {
                sandbox.endpoints.retain(|other| other.id != endpoint.id);
            }
            self.save_again(container);
            let _ = self.tell_names(&mut kernel);
            return Err(error);
        }
        Ok(endpoint)
    }

    /// Takes a running container's interface on a network away. Blocking.
    ///
    /// # Errors
    /// 403 if it is not in the network.
    pub(crate) fn disconnect(&self, container: &str, network: &str) -> Result<Endpoint, ApiError> {
        let mut kernel = self.kernel();
        let network = self.find(network)?;
        let (before, after, endpoint) = {
            let mut state = self.state();
            let missing = || {
                ApiError::forbidden(format!(
                    "container {container} is not connected to network {}",
                    network.name
                ))
            };
            let before = state
                .sandboxes
                .get(container)
                .cloned()
                .ok_or_else(missing)?;
            let endpoint = before.endpoint(&network.id).cloned().ok_or_else(missing)?;
            let mut after = before.clone();
            after.endpoints.retain(|other| other.id != endpoint.id);
            state.sandboxes.insert(container.to_owned(), after.clone());
            (before, after, endpoint)
        };
        if network.driver == Driver::Bridge {
            Netlink::open()
                .and_then(|mut netlink| netlink.remove_link(&endpoint.host_interface))
                .map_err(|e| failed("the interface cannot be removed", &e))?;
        }
        self.save_again(container);
        self.tell_names(&mut kernel)?;
        let way_out = |sandbox: &Sandbox| {
            let state = self.state();
            state.way_out(sandbox).map(|(endpoint, _)| endpoint.clone())
        };
        let (old, new) = (way_out(&before), way_out(&after));
        if old != new {
            if let Some(new) = &new {
                let inside = self.inside(&after, new);
                set_inside(&self.namespace(container), inside, Inside::route)?;
            }
            self.publish_again(&mut kernel, container)?;
        }
        Ok(endpoint)
    }

    fn save_again(&self, container: &str) {
        if let Some(sandbox) = self.sandbox(container)
            && let Err(error) = self.save(&sandbox)
        {
            tracing::warn!(container, %error, "network of the container is not written down");
        }
    }

    /// Holds a container's ports anew and has them lead to the address that it has now.
    pub(super) fn publish_again(
        &self,
        kernel: &mut Kernel,
        container: &str,
    ) -> Result<(), ApiError> {
        if let Some(proxy) = kernel.proxies.remove(container) {
            proxy.stop();
        }
        let Some(mut sandbox) = self.sandbox(container) else {
            return Ok(());
        };
        let leads_out = self.state().way_out(&sandbox).is_some();
        let mut held: Vec<Held> = Vec::new();
        if leads_out {
            let mut cursor = 0;
            let mut holder = Holder {
                taken: Vec::new(),
                host_ip: None,
                listen: self.settings.proxy,
                cursor: &mut cursor,
            };
            for published in &sandbox.ports {
                let wish = PortWish {
                    protocol: published.protocol,
                    port: published.port,
                    host_ip: Some(published.host_ip),
                    range: Some((published.host_port, published.host_port)),
                };
                match holder.hold(&[wish]) {
                    Ok(one) => held.extend(one),
                    Err(error) => {
                        tracing::error!(container, error, "published port cannot be held any more");
                    }
                }
            }
        }
        sandbox.ports = held.iter().map(|held| held.published).collect();
        self.state()
            .sandboxes
            .insert(container.to_owned(), sandbox.clone());
        self.save_again(container);
        self.publish(kernel, &sandbox, held)
    }
}

fn set_inside(
    path: &std::path::Path,
    inside: Inside,
    set: fn(&Inside, &mut Netlink) -> std::io::Result<()>,
) -> Result<(), ApiError> {
    namespace::inside(path, move || set(&inside, &mut Netlink::open()?))
        .map_err(|e| failed("the container's interface cannot be set up", &e))
}
