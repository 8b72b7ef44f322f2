//! Links of the default network (`--link`): a line in `/etc/hosts` and variables for each, found anew
//! at every start, and their removal. Links of other networks are names that the name server tells
//! this container alone.

use std::net::IpAddr;
use std::sync::Arc;

use super::connect::save_record;
use super::{Container, Record};
use crate::api::types::ContainerConfig;
use crate::daemon::Daemon;
use crate::errors::{ApiError, ErrorKind};
use crate::network::model::link_parts;
use crate::network::ports;

/// Variables of the linked container that tell nothing to another one, as in Docker.
const OWN_VARIABLES: &[&str] = &["HOME", "PATH"];

/// A linked container that runs.
#[derive(Clone, Debug)]
pub(super) struct Link {
    address: IpAddr,
    alias: String,
    id: String,
    name: String,
    /// Name of the container that has the link.
    parent: String,
    config: ContainerConfig,
}

impl Link {
    /// Address and names for `/etc/hosts`.
    pub(super) fn line(&self) -> (IpAddr, String) {
        let mut names = vec![self.alias.as_str(), &self.id[..12]];
        if self.name != self.alias {
            names.push(&self.name);
        }
        (self.address, names.join(" "))
    }

    /// Docker's variables: ports, name and the environment of the other container.
    pub(super) fn environment(&self) -> Vec<String> {
        let prefix = self.alias.to_uppercase().replace('-', "_");
        let ip = self.address;
        let mut exposed: Vec<_> = self
            .config
            .exposed_ports
            .iter()
            .flatten()
            .filter_map(|(key, _)| ports::parse_port(key))
            .collect();
        // With one number, tcp is the first.
        exposed.sort_unstable();
        let mut out = Vec::new();
        if let Some((port, protocol)) = exposed.first() {
            out.push(format!("{prefix}_PORT={}://{ip}:{port}", protocol.as_str()));
        }
        for (port, protocol) in exposed {
            let protocol = protocol.as_str();
            let key = format!("{prefix}_PORT_{port}_{}", protocol.to_uppercase());
            out.push(format!("{key}={protocol}://{ip}:{port}"));
            out.push(format!("{key}_ADDR={ip}"));
            out.push(format!("{key}_PORT={port}"));
            out.push(format!("{key}_PROTO={protocol}"));
        }
        out.push(format!("{prefix}_NAME=/{}/{}", self.parent, self.alias));
        for entry in &self.config.env {
            if let Some((name, value)) = entry.split_once('=')
                && !OWN_VARIABLES.contains(&name)
            {
                out.push(format!("{prefix}_ENV_{name}={value}"));
            }
        }
        out
    }
}

/// Whether links of the host configuration mean anything: on other networks they are the endpoint's.
pub(super) fn has_links(mode: &str) -> bool {
    matches!(mode, "" | "default" | "bridge")
}

impl Daemon {
    /// The containers that one is linked with, which must run.
    pub(super) fn links(&self, record: &Record) -> Result<Vec<Link>, ApiError> {
        let mut found = Vec::new();
        let links = record.host.links.iter().flatten();
        for link in links.filter(|_| has_links(&record.host.network_mode)) {
            let (name, alias) = link_parts(link);
            let other = self.find(name)?.record();
            let sandbox = self.networks.sandbox(&other.id);
            let address = sandbox
                .iter()
                .flat_map(|sandbox| &sandbox.endpoints)
                .find_map(|e| {
                    let network = self.networks.find(&e.network).ok()?;
                    (network.name == "bridge").then_some(e.ipv4?.addr())
                });
            let Some(address) = address else {
                return Err(ApiError::new(
                    ErrorKind::System,
                    format!(
                        "Cannot link to a non running container: /{} AS /{}/{alias}",
                        other.name, record.name
                    ),
                ));
            };
            found.push(Link {
                address: address.into(),
                alias: alias.to_owned(),
                id: other.id,
                name: other.name,
                parent: record.name.clone(),
                config: other.config,
            });
        }
        Ok(found)
    }

    /// `HostConfig.Links` of inspect, `/db:/web/alias`; links to what is gone are left out.
    pub(super) fn shown_links(&self, record: &Record) -> Option<Vec<String>> {
        let links = record.host.links.iter().flatten();
        let shown: Vec<String> = links
            .filter(|_| has_links(&record.host.network_mode))
            .filter_map(|link| {
                let (name, alias) = link_parts(link);
                let other = self.find(name).ok()?.name();
                Some(format!("/{other}:/{}/{alias}", record.name))
            })
            .collect();
        (!shown.is_empty()).then_some(shown)
    }

    /// Removes a link by its name, `web/db`: from the next start on it is not there (docs: Engine API
    /// `ContainerDelete`, `link`).
    ///
    /// # Errors
    /// 404 for a link that is not there, 500 for a name that is no link's, as in Docker.
    pub(crate) async fn remove_link(self: &Arc<Self>, asked: &str) -> Result<(), ApiError> {
        let Some((parent, alias)) = asked.trim_start_matches('/').rsplit_once('/') else {
            self.find(asked)?;
            return Err(ApiError::system(
                "Conflict, cannot remove the default link name of the container",
            ));
        };
        let missing = || ApiError::not_found(format!("No such container: {asked}"));
        let container: Arc<Container> = self.find(parent).map_err(|_| missing())?;
        let _verb = container.verb.lock().await;
        {
            let mut inner = container.inner();
            let links = inner.record.host.links.as_mut().ok_or_else(missing)?;
            let before = links.len();
            links.retain(|link| link_parts(link).1 != alias);
            if links.len() == before {
                return Err(missing());
            }
        }
        save_record(&container).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_of_a_link() {
        let config: ContainerConfig = serde_json::from_value(serde_json::json!({
            "Env": ["FOO=1", "PATH=/bin", "HOME=/root", "GONE"],
            "ExposedPorts": {"5432/tcp": {}, "53/udp": {}, "53/tcp": {}},
        }))
        .unwrap();
        let link = Link {
            address: "10.0.0.3".parse().unwrap(),
            alias: "my-db".into(),
            id: "0123456789abcdef".into(),
            name: "db".into(),
            parent: "web".into(),
            config,
        };
        assert_eq!(link.line().1, "my-db 0123456789ab db");
        let found = link.environment();
        assert_eq!(found[0], "MY_DB_PORT=tcp://10.0.0.3:53");
        for one in [
            "MY_DB_PORT_5432_TCP=tcp://10.0.0.3:5432",
            "MY_DB_PORT_5432_TCP_ADDR=10.0.0.3",
            "MY_DB_PORT_53_UDP_PORT=53",
            "MY_DB_PORT_53_UDP_PROTO=udp",
            "MY_DB_NAME=/web/my-db",
            "MY_DB_ENV_FOO=1",
        ] {
            assert!(found.iter().any(|entry| entry == one), "{one}: {found:?}");
        }
        assert_eq!(found.len(), 1 + 3 * 4 + 1 + 1);
    }

    #[test]
    fn forms_of_links() {
        assert_eq!(link_parts("db"), ("db", "db"));
        assert_eq!(link_parts("db:database"), ("db", "database"));
        assert_eq!(link_parts("/db:/web/database"), ("db", "database"));
    }
}
