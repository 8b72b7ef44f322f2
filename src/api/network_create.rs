//! `POST /networks/...`: what clients send, and what the daemon is asked for.

use std::collections::BTreeMap;
use std::sync::Arc;

use http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};

use super::filters::Filters;
use super::reply::{self, Reply};
use super::request::Request;
use super::types::null_default;
use crate::container::wish;
use crate::daemon::Daemon;
use crate::errors::ApiError;
use crate::network::{Create, WantedPool};

#[derive(Deserialize)]
#[serde(default, rename_all = "PascalCase")]
#[derive(Default)]
struct CreateBody {
    #[serde(deserialize_with = "null_default")]
    name: String,
    #[serde(deserialize_with = "null_default")]
    driver: String,
    #[serde(deserialize_with = "null_default")]
    scope: String,
    #[serde(rename = "EnableIPv4")]
    enable_ipv4: Option<bool>,
    #[serde(rename = "EnableIPv6", deserialize_with = "null_default")]
    enable_ipv6: bool,
    #[serde(rename = "IPAM", deserialize_with = "null_default")]
    ipam: Ipam,
    #[serde(deserialize_with = "null_default")]
    internal: bool,
    #[serde(deserialize_with = "null_default")]
    attachable: bool,
    #[serde(deserialize_with = "null_default")]
    ingress: bool,
    #[serde(deserialize_with = "null_default")]
    config_only: bool,
    #[serde(deserialize_with = "null_default")]
    config_from: ConfigFrom,
    #[serde(deserialize_with = "null_default")]
    options: BTreeMap<String, String>,
    #[serde(deserialize_with = "null_default")]
    labels: BTreeMap<String, String>,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "PascalCase")]
struct ConfigFrom {
    #[serde(deserialize_with = "null_default")]
    network: String,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "PascalCase")]
struct Ipam {
    #[serde(deserialize_with = "null_default")]
    driver: String,
    options: Option<BTreeMap<String, String>>,
    #[serde(deserialize_with = "null_default")]
    config: Vec<IpamConfig>,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "PascalCase")]
struct IpamConfig {
    #[serde(deserialize_with = "null_default")]
    subnet: String,
    #[serde(rename = "IPRange", deserialize_with = "null_default")]
    ip_range: String,
    #[serde(deserialize_with = "null_default")]
    gateway: String,
    // Both names are in use: Docker's structure, and its documentation.
    #[serde(alias = "AuxAddress", deserialize_with = "null_default")]
    auxiliary_addresses: BTreeMap<String, String>,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "PascalCase")]
struct ConnectBody {
    #[serde(deserialize_with = "null_default")]
    container: String,
    endpoint_config: Value,
    #[serde(deserialize_with = "null_default")]
    force: bool,
}

fn empty() -> ApiError {
    ApiError::invalid("invalid JSON: got EOF while reading request body")
}

/// `POST /networks/create`.
pub(crate) async fn create(daemon: &Arc<Daemon>, request: &mut Request) -> Result<Reply, ApiError> {
    let body: CreateBody = request.json().await?.ok_or_else(empty)?;
    if body.enable_ipv4 == Some(false) {
        return Err(ApiError::new(
            crate::errors::ErrorKind::NotImplemented,
            "EnableIPv4 false is not supported: networks have IPv4, with or without IPv6",
        ));
    }
    let wanted = Create {
        name: body.name,
        driver: body.driver,
        ipam_driver: body.ipam.driver,
        ipam_options: body.ipam.options,
        pools: body
            .ipam
            .config
            .into_iter()
            .map(|config| WantedPool {
                subnet: config.subnet,
                range: config.ip_range,
                gateway: config.gateway,
                auxiliary: config.auxiliary_addresses,
            })
            .collect(),
        ipv6: body.enable_ipv6,
        internal: body.internal,
        attachable: body.attachable,
        ingress: body.ingress,
        config_only: body.config_only,
        config_from: body.config_from.network,
        scope: body.scope,
        labels: body.labels,
        options: body.options,
    };
    let network = daemon.create_network(wanted).await?;
    Ok(reply::json(
        StatusCode::CREATED,
        &json!({"Id": network.id, "Warning": ""}),
    ))
}

/// `DELETE /networks/{name}`.
pub(crate) async fn remove(daemon: &Arc<Daemon>, name: &str) -> Result<Reply, ApiError> {
    daemon.remove_network(name).await?;
    Ok(reply::empty(StatusCode::NO_CONTENT))
}

/// `POST /networks/{name}/connect`.
pub(crate) async fn connect(
    daemon: &Arc<Daemon>,
    name: &str,
    request: &mut Request,
) -> Result<Reply, ApiError> {
    let body: ConnectBody = request.json().await?.ok_or_else(empty)?;
    let network = daemon.networks.find(name)?;
    let container = daemon.find(&body.container)?;
    let wish = wish(&network.name, &body.endpoint_config)?;
    daemon.connect_network(&container, &network, wish).await?;
    Ok(reply::empty(StatusCode::OK))
}

/// `POST /networks/{name}/disconnect`.
pub(crate) async fn disconnect(
    daemon: &Arc<Daemon>,
    name: &str,
    request: &mut Request,
) -> Result<Reply, ApiError> {
    let body: ConnectBody = request.json().await?.ok_or_else(empty)?;
    let network = daemon.networks.find(name)?;
    let container = match daemon.find(&body.container) {
        // An endpoint of no container cannot be left over here: it goes with its container.
        Err(error) if body.force && error.kind == crate::errors::ErrorKind::NotFound => {
            return Err(ApiError::forbidden(format!(
                "endpoint {} not found in network {}",
                body.container, network.name
            )));
        }
        found => found?,
    };
    daemon.disconnect_network(&container, &network).await?;
    Ok(reply::empty(StatusCode::OK))
}

/// `POST /networks/prune`.
pub(crate) async fn prune(daemon: &Arc<Daemon>, request: &Request) -> Result<Reply, ApiError> {
    let filters = Filters::parse(request.query.text("filters"))?;
    filters.validate(&["label", "label!", "until"])?;
    let until = super::networks::until(&filters)?;
    let mut deleted = Vec::new();
    for network in daemon.networks.all() {
        let wanted = !network.is_predefined()
            && filters.labels("label", &network.labels)
            && !(filters.has("label!") && filters.labels("label!", &network.labels))
            && until.is_none_or(|until| network.created_ns < until);
        if wanted
            && daemon.networks.members(&network.id).is_empty()
            && daemon.remove_network(&network.id).await.is_ok()
        {
            deleted.push(network.name);
        }
    }
    let deleted = (!deleted.is_empty()).then_some(deleted);
    Ok(reply::json(
        StatusCode::OK,
        &json!({"NetworksDeleted": deleted}),
    ))
}
