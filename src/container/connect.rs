//! `network connect` and `network disconnect`: what a container asks of networks changes, and where
//! it runs, its interfaces with it.

use std::sync::Arc;

use super::exit::{blocking, try_write};
use super::{Container, Status};
use crate::daemon::Daemon;
use crate::errors::ApiError;
use crate::network::model::{Network, Wish};
use crate::runtime::joined;

/// Docker's texts for containers whose network is not their own.
const SHARED: &str = "container sharing network namespace with another container or host cannot be \
                      connected to any other network";
const NONE: &str = "container cannot be connected to multiple networks with one of the networks in \
                    private (none) mode";
const HOST: &str =
    "container cannot be disconnected from host network or connected to host network";

impl Daemon {
    /// Connects a container to a network (docs: Engine API `NetworkConnect`).
    ///
    /// # Errors
    /// 400 where its kind of network allows no other, 403 if it is in the network already or the
    /// address cannot be had, 409 while it is being removed.
    pub(crate) async fn connect_network(
        self: &Arc<Self>,
        container: &Arc<Container>,
        network: &Network,
        mut wish: Wish,
    ) -> Result<(), ApiError> {
        let _verb = container.verb.lock().await;
        let record = container.record();
        check(&record.host.network_mode, network, container)?;
        if record.networks.iter().any(|wish| wish.network == "none") {
            return Err(ApiError::invalid(NONE));
        }
        wish.network.clone_from(&network.name);
        if !network.is_user() {
            if wish.ipv4.is_some() || wish.ipv6.is_some() {
                return Err(ApiError::invalid(
                    "user specified IP address is supported on user defined networks only",
                ));
            }
            if !wish.aliases.is_empty() {
                return Err(ApiError::invalid(
                    "network-scoped alias is supported only for containers in user defined networks",
                ));
            }
        }
        let short = &record.id[..12];
        if network.is_user() && !wish.aliases.iter().any(|alias| alias == short) {
            // As up to API 1.44; a container that was created there has it from its start on.
            wish.aliases.push(short.to_owned());
        }
        let is_in = |wish: &Wish| wish.network == network.name || wish.network == network.id;
        if record.networks.iter().any(is_in) {
            return Err(ApiError::forbidden(format!(
                "endpoint with name {} already exists in network {}",
                record.name, network.name
            )));
        }
        let endpoint = if container.is_on_networks() {
            let (networks, id, wanted) =
                (Arc::clone(&self.networks), record.id.clone(), wish.clone());
            let joined = blocking(move || networks.connect(&id, &wanted)).await;
            Some(joined.unwrap_or_else(|| Err(ApiError::system("the daemon is ending")))?)
        } else {
            None
        };
        container.inner().record.networks.push(wish);
        save_record(container).await?;
        if let Some(endpoint) = endpoint {
            self.rewrite_etc(container, &endpoint, true).await;
            self.network_event(&record.id, &network.id, "connect");
        }
        Ok(())
    }

    /// Disconnects a container from a network (docs: Engine API `NetworkDisconnect`).
    ///
    /// # Errors
    /// 400 for the host's network, 403 if it is not in the network.
    pub(crate) async fn disconnect_network(
        self: &Arc<Self>,
        container: &Arc<Container>,
        network: &Network,
    ) -> Result<(), ApiError> {
        let _verb = container.verb.lock().await;
        let record = container.record();
        check(&record.host.network_mode, network, container)?;
        let is_in = |wish: &Wish| wish.network == network.name || wish.network == network.id;
        if !record.networks.iter().any(is_in) {
            return Err(ApiError::forbidden(format!(
                "container {} is not connected to network {}",
                record.id, network.name
            )));
        }
        let endpoint = if container.is_on_networks() {
            let (networks, id, from) = (
                Arc::clone(&self.networks),
                record.id.clone(),
                network.id.clone(),
            );
            let left = blocking(move || networks.disconnect(&id, &from)).await;
            Some(left.unwrap_or_else(|| Err(ApiError::system("the daemon is ending")))?)
        } else {
            None
        };
        container
            .inner()
            .record
            .networks
            .retain(|wish| !is_in(wish));
        save_record(container).await?;
        if let Some(endpoint) = endpoint {
            self.rewrite_etc(container, &endpoint, false).await;
            self.network_event(&record.id, &network.id, "disconnect");
        }
        Ok(())
    }
}

/// Writes a container's record down; for one that was removed meanwhile there is nothing to do.
pub(super) async fn save_record(container: &Arc<Container>) -> Result<(), ApiError> {
    let _files = container.files.lock().await;
    if container.inner().gone {
        return Ok(());
    }
    try_write(container, container.record()).await
}

fn check(mode: &str, network: &Network, container: &Container) -> Result<(), ApiError> {
    if matches!(
        container.inner().record.state.status,
        Status::Removing | Status::Dead
    ) {
        return Err(ApiError::conflict(format!(
            "container {} is marked for removal and cannot be connected or disconnected to the \
             network {}",
            container.id, network.name
        )));
    }
    if joined(mode).is_some() {
        return Err(ApiError::invalid(SHARED));
    }
    if mode == "host" || network.name == "host" {
        return Err(ApiError::invalid(HOST));
    }
    if network.name == "none" && mode != "none" {
        return Err(ApiError::invalid(NONE));
    }
    Ok(())
}
