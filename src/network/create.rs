//! Networks made and removed by users.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;

use super::model::{BridgeOptions, Driver, Network, Pool, is_predefined};
use super::netlink::Netlink;
use super::{Networks, failed, ipam, store};
use crate::errors::{ApiError, ErrorKind, chain};

/// One of `IPAM.Config` as it was asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct WantedPool {
    pub(crate) subnet: String,
    pub(crate) range: String,
    pub(crate) gateway: String,
    pub(crate) auxiliary: BTreeMap<String, String>,
}

/// A network that is to be made (docs: Engine API `NetworkCreate`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Create {
    pub(crate) name: String,
    pub(crate) driver: String,
    pub(crate) ipam_driver: String,
    pub(crate) ipam_options: Option<BTreeMap<String, String>>,
    pub(crate) pools: Vec<WantedPool>,
    pub(crate) ipv6: bool,
    pub(crate) internal: bool,
    pub(crate) attachable: bool,
    pub(crate) ingress: bool,
    pub(crate) config_only: bool,
    pub(crate) config_from: String,
    pub(crate) scope: String,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) options: BTreeMap<String, String>,
}

/// Drivers of Docker's that are not built here.
const OTHER_DRIVERS: &[&str] = &["macvlan", "ipvlan", "overlay"];

impl Networks {
    /// Makes a network with its bridge. Blocking.
    ///
    /// # Errors
    /// Docker's texts: 400 for bad settings, 403 for what is predefined, 404 for a driver that does
    /// not exist, 409 for a name that is taken, 501 for drivers that are not built.
    pub(crate) fn create(&self, wanted: &Create) -> Result<Network, ApiError> {
        check(wanted)?;
        self.check_available(&format!("network {}", wanted.name))?;
        let mut kernel = self.kernel();
        let mut netlink = Netlink::open().map_err(|e| failed("no netlink socket", &e))?;
        let existing = self.all();
        if existing.iter().any(|network| network.name == wanted.name) {
            return Err(ApiError::conflict(format!(
                "network with name {} already exists",
                wanted.name
            )));
        }
        let id = new_id();
        let mut options = wanted.options.clone();
        for (key, value) in &self.settings.default_options {
            options.entry(key.clone()).or_insert_with(|| value.clone());
        }
        let parsed = BridgeOptions::parse(&options)?;
        let interface = parsed.name.unwrap_or_else(|| format!("br-{}", &id[..12]));
        if let Some(other) = existing
            .iter()
            .find(|network| network.interface == interface)
        {
            return Err(ApiError::forbidden(format!(
                "cannot create network {id} ({interface}): conflicts with network {} ({interface}): \
                 networks have same bridge name",
                other.id
            )));
        }
        let others: Vec<IpNet> = existing
            .iter()
            .flat_map(|network| network.pools.iter().map(|pool| pool.subnet))
            .collect();
        let pools = self.pools(&mut netlink, wanted, &others)?;
        let network = Network {
            id,
            name: wanted.name.clone(),
            created_ns: crate::container::time::now_ns(),
            driver: Driver::Bridge,
            internal: wanted.internal,
            attachable: wanted.attachable,
            ipv6: pools.iter().any(|pool| pool.subnet.addr().is_ipv6()),
            labels: wanted.labels.clone(),
            options,
            ipam_options: wanted.ipam_options.clone(),
            chosen_subnet: wanted.pools.iter().any(|pool| !pool.subnet.is_empty()),
            pools,
            interface,
            foreign: false,
        };
        // First on the disk: a bridge without a network is removed by the next daemon.
        self.store(|networks| networks.push(network.clone()))?;
        if let Err(error) = self.bring_up(&mut kernel, &mut netlink, &network.id) {
            let _ = self.take_down(&mut kernel, &mut netlink, &network);
            self.store(|networks| networks.retain(|other| other.id != network.id))?;
            return Err(error);
        }
        // It may have been changed on the way.
        self.find(&network.id)
    }

    /// The subnets of a new network.
    fn pools(
        &self,
        netlink: &mut Netlink,
        wanted: &Create,
        others: &[IpNet],
    ) -> Result<Vec<Pool>, ApiError> {
        let mut pools: Vec<Pool> = Vec::new();
        for one in &wanted.pools {
            let subnet = match one.subnet.as_str() {
                "" if one.range.is_empty()
                    && one.gateway.is_empty()
                    && one.auxiliary.is_empty() =>
                {
                    continue;
                }
                "" => {
                    return Err(ApiError::invalid(
                        "invalid network config: no matching subnet: IPAM.Config needs Subnet \
                         beside IPRange, Gateway and AuxiliaryAddresses",
                    ));
                }
                text => parse_net("subnet", text)?,
            };
            let taken = pools.iter().map(|pool| &pool.subnet).chain(others);
            if taken.into_iter().any(|other| ipam::overlap(other, &subnet)) {
                return Err(ApiError::forbidden(
                    "Pool overlaps with other one on this address space",
                ));
            }
            if pools
                .iter()
                .any(|pool| pool.subnet.addr().is_ipv4() == subnet.addr().is_ipv4())
            {
                return Err(ApiError::new(
                    ErrorKind::Invalid,
                    "bridge driver doesn't support multiple subnets",
                ));
            }
            let range = match one.range.as_str() {
                "" => None,
                text => {
                    let range = parse_net("ip-range", text)?;
                    if !subnet.contains(&range) {
                        return Err(ApiError::invalid(format!(
                            "invalid network config: ip-range {text} is not in subnet {subnet}"
                        )));
                    }
                    Some(range)
                }
            };
            let inside = |what: &str, text: &str| -> Result<IpAddr, ApiError> {
                // As in Docker, with or without a prefix length.
                let bare = text.split('/').next().unwrap_or_default();
                let ip: IpAddr = bare.parse().map_err(|_| {
                    ApiError::invalid(format!("invalid network config: invalid {what} {text}"))
                })?;
                if subnet.contains(&ip) {
                    return Ok(ip);
                }
                Err(ApiError::invalid(format!(
                    "invalid network config: {what} {text} is not in subnet {subnet}"
                )))
            };
            let gateway = match one.gateway.as_str() {
                "" => ipam::first_address(&range.unwrap_or(subnet)),
                text => inside("gateway", text)?,
            };
            let auxiliary = one
                .auxiliary
                .iter()
                .map(|(name, text)| Ok((name.clone(), inside("auxiliary address", text)?)))
                .collect::<Result<_, ApiError>>()?;
            pools.push(Pool {
                subnet,
                range,
                gateway,
                via: None,
                auxiliary,
            });
        }
        let has =
            |pools: &[Pool], six: bool| pools.iter().any(|p| p.subnet.addr().is_ipv6() == six);
        if has(&pools, true) && !wanted.ipv6 {
            // As in Docker: an IPv6 subnet alone turns nothing on.
            pools.retain(|pool| pool.subnet.addr().is_ipv4());
        }
        let mut automatic: Vec<IpNet> = Vec::new();
        if !has(&pools, false) {
            automatic.push(self.free_v4(netlink, others)?.into());
        }
        if wanted.ipv6 && !has(&pools, true) {
            automatic.push(self.free_v6(netlink, others)?.into());
        }
        pools.extend(automatic.into_iter().map(|subnet| Pool {
            subnet,
            range: None,
            gateway: ipam::first_address(&subnet),
            via: None,
            auxiliary: BTreeMap::new(),
        }));
        pools.sort_by_key(|pool| pool.subnet.addr().is_ipv6());
        Ok(pools)
    }

    /// Removes a network with its bridge. Blocking.
    ///
    /// # Errors
    /// 404, 403 for a predefined one, or one that containers are in.
    pub(crate) fn remove(&self, reference: &str) -> Result<Network, ApiError> {
        let mut kernel = self.kernel();
        let network = self.find(reference)?;
        if network.is_predefined() {
            return Err(ApiError::forbidden(format!(
                "{} is a pre-defined network and cannot be removed",
                network.name
            )));
        }
        if !self.members(&network.id).is_empty() {
            return Err(ApiError::forbidden(format!(
                "error while removing network: network {} id {} has active endpoints",
                network.name, network.id
            )));
        }
        let mut netlink = Netlink::open().map_err(|e| failed("no netlink socket", &e))?;
        self.take_down(&mut kernel, &mut netlink, &network)?;
        self.store(|networks| networks.retain(|other| other.id != network.id))?;
        Ok(network)
    }

    /// Changes the networks, on the disk first.
    fn store(&self, change: impl FnOnce(&mut Vec<Network>)) -> Result<(), ApiError> {
        let mut networks = self.all();
        change(&mut networks);
        store::save(&self.data, &networks).map_err(|error| ApiError::system(chain(&error)))?;
        self.state().networks = networks;
        Ok(())
    }
}

/// What can be said without looking at the host.
fn check(wanted: &Create) -> Result<(), ApiError> {
    let refused = |what: &str| {
        ApiError::new(
            ErrorKind::NotImplemented,
            format!("{what} is not supported: networks of this daemon are local bridges"),
        )
    };
    if is_predefined(&wanted.name) {
        return Err(ApiError::forbidden(format!(
            "operation is not permitted on predefined {} network",
            wanted.name
        )));
    }
    if wanted.name.trim().is_empty() {
        return Err(ApiError::invalid("invalid name: name is empty"));
    }
    match wanted.driver.as_str() {
        "" | "default" | "bridge" => {}
        "host" | "null" => {
            return Err(ApiError::forbidden(format!(
                "only one instance of \"{}\" network is allowed",
                wanted.driver
            )));
        }
        other if OTHER_DRIVERS.contains(&other) => {
            return Err(refused(&format!("network driver \"{other}\"")));
        }
        other => {
            return Err(ApiError::not_found(format!("plugin \"{other}\" not found")));
        }
    }
    if !matches!(wanted.ipam_driver.as_str(), "" | "default") {
        return Err(ApiError::not_found(format!(
            "could not resolve driver {} in registry",
            wanted.ipam_driver
        )));
    }
    if let Some((key, _)) = wanted.ipam_options.iter().flatten().next() {
        return Err(refused(&format!("IPAM option {key}")));
    }
    if wanted.ingress {
        return Err(refused("an ingress network"));
    }
    if wanted.config_only {
        return Err(refused("a config-only network"));
    }
    if !wanted.config_from.is_empty() {
        return Err(refused("ConfigFrom"));
    }
    if !matches!(wanted.scope.as_str(), "" | "local") {
        return Err(refused(&format!("scope \"{}\"", wanted.scope)));
    }
    Ok(())
}

fn parse_net(what: &str, text: &str) -> Result<IpNet, ApiError> {
    let net: IpNet = text.parse().map_err(|_| {
        ApiError::invalid(format!(
            "invalid network config: invalid CIDR address: {text}"
        ))
    })?;
    if net.trunc() != net && what == "subnet" {
        return Err(ApiError::invalid(format!(
            "invalid network config: invalid subnet {text}: it should be {}",
            net.trunc()
        )));
    }
    Ok(net.trunc())
}

/// 64 random hex digits.
pub(super) fn new_id() -> String {
    let mut bytes = [0; 32];
    // It fails before the kernel's generator is ready, which a daemon does not live to see.
    if getrandom::fill(&mut bytes).is_err() {
        let now = crate::container::time::now_ns().to_be_bytes();
        bytes[..8].copy_from_slice(&now);
    }
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refused_before_anything_is_made() {
        let wanted = |change: fn(&mut Create)| {
            let mut wanted = Create {
                name: "net1".to_owned(),
                ..Create::default()
            };
            change(&mut wanted);
            check(&wanted)
        };
        assert!(wanted(|_| {}).is_ok());
        // As in Docker: any name but a blank one.
        assert!(wanted(|w| w.name = "test 01".into()).is_ok());
        assert!(wanted(|w| w.name = "  ".into()).is_err());
        type Case = (fn(&mut Create), u16, &'static str);
        let cases: [Case; 7] = [
            (
                |w| w.name = "host".into(),
                403,
                "operation is not permitted on predefined host network",
            ),
            (
                |w| w.name = String::new(),
                400,
                "invalid name: name is empty",
            ),
            (
                |w| w.driver = "host".into(),
                403,
                "only one instance of \"host\" network is allowed",
            ),
            (
                |w| w.driver = "macvlan".into(),
                501,
                "network driver \"macvlan\" is not supported",
            ),
            (|w| w.driver = "x".into(), 404, "plugin \"x\" not found"),
            (
                |w| w.scope = "swarm".into(),
                501,
                "scope \"swarm\" is not supported",
            ),
            (
                |w| w.ingress = true,
                501,
                "an ingress network is not supported",
            ),
        ];
        for (change, status, text) in cases {
            let error = wanted(change).unwrap_err();
            assert_eq!(error.kind.status(), status, "{error}");
            assert!(error.message.starts_with(text), "{error}");
        }
    }

    #[test]
    fn ids_are_long() {
        assert_eq!(new_id().len(), 64);
        assert_ne!(new_id(), new_id());
    }
}
