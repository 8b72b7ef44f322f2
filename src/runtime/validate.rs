//! What is refused when a container is created, before anything is made.

use std::path::Path;

use super::cgroup::cgroup_layout;
use super::error::RuntimeError;
use super::limits::{self, HostFacts};
use super::network::{Network, Shared, is_host};
use super::{caps, cdi, devices, files, mount_oci, mounts, security, spec, update};
use crate::api::types::{ContainerConfig, HostConfig};

/// Checks settings (the image's merged in) and gives warnings for the client. Only the host is
/// looked at: no image, nothing is changed.
///
/// # Errors
/// Docker's text, of class `Invalid` (400), or `NotFound` for a network that is not there.
pub(crate) fn validate_create(
    config: &ContainerConfig,
    host: &HostConfig,
    data_root: &Path,
) -> Result<Vec<String>, RuntimeError> {
    let mut warnings = Vec::new();
    let layout = cgroup_layout();
    spec::arguments(config)?;
    spec::working_dir(config)?;
    for entry in &config.env {
        if entry.is_empty() || entry.starts_with('=') {
            return Err(RuntimeError::Environment(entry.clone()));
        }
    }
    check_ports(host)?;
    check_shared_network(config, host)?;
    // As in Docker, start says that there is no such network. A 404 of create means the image to
    // the docker CLI, which would go and pull it.
    let network = match Network::of(host) {
        Err(RuntimeError::NetworkNotFound(_)) => Network::None,
        network => network?,
    };
    if !matches!(host.isolation.to_ascii_lowercase().as_str(), "" | "default") {
        return Err(RuntimeError::Isolation(host.isolation.clone()));
    }
    refuse_unbuilt(host)?;
    check_restart(host)?;
    spec::namespaces(host, network, layout.is_v2(), &Shared::default())?;
    if is_host(&host.uts_mode) && !config.hostname.is_empty() {
        return Err(RuntimeError::HostnameWithHostUts);
    }
    if is_host(&host.uts_mode) && !config.domainname.is_empty() {
        return Err(RuntimeError::DomainnameWithHostUts);
    }
    if !host.cgroup.is_empty() {
        return Err(RuntimeError::CgroupOfContainer(host.cgroup.clone()));
    }
    if host
        .annotations
        .iter()
        .flatten()
        .any(|(key, _)| key.is_empty())
    {
        return Err(RuntimeError::EmptyAnnotation);
    }
    caps::resolve(
        host.cap_add.as_deref(),
        host.cap_drop.as_deref(),
        host.privileged,
        caps::CapSet::bounding(),
    )?;
    let security = security::parse(host.security_opt.as_deref().unwrap_or_default())?;
    warnings.extend(security.warnings);
    warnings.extend(limits::check(host, &HostFacts::read(), &layout)?);
    for entry in host.extra_hosts.iter().flatten() {
        files::extra_host(entry, network)?;
    }
    for mapping in host.devices.iter().flatten() {
        if !mapping.cgroup_permissions.is_empty() {
            devices::check_access(&mapping.cgroup_permissions)?;
        }
    }
    for rule in host.device_cgroup_rules.iter().flatten() {
        devices::parse_rule(rule)?;
    }
    for request in host.device_requests.iter().flatten() {
        cdi::check(request)?;
    }
    let mounts = mounts::user_mounts(config, host, Some(data_root), Vec::new())?;
    mount_oci::check_sources(&mounts)?;
    Ok(warnings)
}

/// Checks what an update gives, as Docker does: by itself, before it is merged with what the
/// container has.
///
/// # Errors
/// Docker's text, of class `Invalid` (400).
pub(crate) fn validate_update(host: &HostConfig) -> Result<Vec<String>, RuntimeError> {
    check_restart(host)?;
    update::refuse_fixed(host)?;
    limits::check_update(host, &HostFacts::read(), &cgroup_layout())
}

/// Keys of `PortBindings` are `80/tcp`, host ports a number or a range (source: `nat.ParsePort`).
fn check_ports(host: &HostConfig) -> Result<(), RuntimeError> {
    let number = |text: &str| text.parse::<u16>().is_ok();
    for (port, bindings) in &host.port_bindings {
        let container = port.split('/').next().unwrap_or_default();
        if !number(container) {
            return Err(RuntimeError::Port(container.to_owned()));
        }
        for binding in bindings.as_array().into_iter().flatten() {
            let given = binding["HostPort"].as_str().unwrap_or_default();
            let range = given.split('/').next().unwrap_or_default();
            if !range.is_empty() && !range.splitn(2, '-').all(number) {
                return Err(RuntimeError::Port(given.to_owned()));
            }
        }
    }
    Ok(())
}

/// What belongs to a network namespace is set by the container that has made it.
fn check_shared_network(config: &ContainerConfig, host: &HostConfig) -> Result<(), RuntimeError> {
    if !host.network_mode.starts_with("container:") {
        return Ok(());
    }
    let ports = !host.port_bindings.is_empty() || host.publish_all_ports;
    let exposed = config.exposed_ports.as_ref();
    let conflicts = [
        (!config.hostname.is_empty(), "hostname and the network mode"),
        (
            host.links.iter().flatten().next().is_some(),
            "container type network can't be used with links. This would result in undefined behavior",
        ),
        (!host.dns.is_empty(), "dns and the network mode"),
        (
            config
                .mac_address
                .as_ref()
                .is_some_and(|mac| !mac.is_empty()),
            "mac-address and the network mode",
        ),
        (
            host.extra_hosts.iter().flatten().next().is_some(),
            "custom host-to-IP mapping and the network mode",
        ),
        (ports, "port publishing and the container type network mode"),
        (
            exposed.is_some_and(|ports| !ports.is_empty()),
            "port exposing and the container type network mode",
        ),
    ];
    match conflicts.iter().find(|(given, _)| *given) {
        Some((_, what)) => Err(RuntimeError::Conflict(what)),
        None => Ok(()),
    }
}

fn refuse_unbuilt(host: &HostConfig) -> Result<(), RuntimeError> {
    let refuse = |what: String, hint| Err(RuntimeError::NotBuilt { what, hint });
    if let Some(link) = host.links.iter().flatten().next()
        && matches!(host.network_mode.as_str(), "host" | "none")
    {
        return refuse(
            format!("link {link} with --network {}", host.network_mode),
            "linked containers reach each other by a network, so name one or leave it out",
        );
    }
    if host.storage_opt.iter().flatten().next().is_some() {
        return Err(RuntimeError::StorageOpt);
    }
    Ok(())
}

/// Docker's words.
pub(crate) fn retries_without_failure(policy: &str) -> String {
    format!("maximum retry count cannot be used with restart policy '{policy}'")
}

fn check_restart(host: &HostConfig) -> Result<(), RuntimeError> {
    let policy = &host.restart_policy;
    let refuse = |text: &str| Err(RuntimeError::RestartPolicy(text.to_owned()));
    match policy.name.as_str() {
        "on-failure" if policy.maximum_retry_count < 0 => {
            return refuse("maximum retry count cannot be negative");
        }
        "on-failure" => {}
        "" | "no" | "always" | "unless-stopped" => {
            if policy.maximum_retry_count != 0 {
                return refuse(&retries_without_failure(&policy.name));
            }
        }
        name => {
            return refuse(&format!("invalid restart policy '{name}'"));
        }
    }
    if host.auto_remove && !matches!(policy.name.as_str(), "" | "no") {
        return Err(RuntimeError::AutoRemoveRestart);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::errors::ErrorKind;

    fn config() -> ContainerConfig {
        ContainerConfig {
            cmd: Some(vec!["true".into()]),
            ..Default::default()
        }
    }

    fn refusal(change: impl FnOnce(&mut HostConfig)) -> (ErrorKind, String) {
        let mut host = HostConfig::default();
        change(&mut host);
        let e = validate_create(&config(), &host, Path::new("/var/lib/taffrail")).unwrap_err();
        (e.kind(), e.to_string())
    }

    /// Create as docker CLI 28 sends it without options.
    #[test]
    fn the_clis_defaults_are_accepted() {
        let host: HostConfig = serde_json::from_str(
            r#"{"Binds":null,"ContainerIDFile":"","LogConfig":{"Type":"","Config":{}},
            "NetworkMode":"default","PortBindings":{},"RestartPolicy":{"Name":"no","MaximumRetryCount":0},
            "AutoRemove":false,"VolumeDriver":"","VolumesFrom":null,"ConsoleSize":[0,0],"CapAdd":null,
            "CapDrop":null,"CgroupnsMode":"","Dns":[],"DnsOptions":[],"DnsSearch":[],"ExtraHosts":null,
            "GroupAdd":null,"IpcMode":"","Cgroup":"","Links":null,"OomScoreAdj":0,"PidMode":"",
            "Privileged":false,"PublishAllPorts":false,"ReadonlyRootfs":false,"SecurityOpt":null,
            "UTSMode":"","UsernsMode":"","ShmSize":0,"Isolation":"","CpuShares":0,"Memory":0,
            "NanoCpus":0,"CgroupParent":"","BlkioWeight":0,"BlkioWeightDevice":[],
            "BlkioDeviceReadBps":[],"BlkioDeviceWriteBps":[],"BlkioDeviceReadIOps":[],
            "BlkioDeviceWriteIOps":[],"CpuPeriod":0,"CpuQuota":0,"CpuRealtimePeriod":0,
            "CpuRealtimeRuntime":0,"CpusetCpus":"","CpusetMems":"","Devices":[],
            "DeviceCgroupRules":null,"DeviceRequests":null,"MemoryReservation":0,"MemorySwap":0,
            "MemorySwappiness":-1,"OomKillDisable":false,"PidsLimit":0,"Ulimits":[],"CpuCount":0,
            "CpuPercent":0,"IOMaximumIOps":0,"IOMaximumBandwidth":0,"MaskedPaths":null,
            "ReadonlyPaths":null}"#,
        )
        .unwrap();
        let warnings = validate_create(&config(), &host, Path::new("/var/lib/taffrail")).unwrap();
        assert!(warnings.is_empty(), "{warnings:?}");
    }

    #[test]
    fn refusals() {
        for (port, host_port) in [("80;81/tcp", "1"), ("80/tcp", "aa80"), ("/tcp", "")] {
            let (kind, text) = refusal(|h| {
                let bindings = serde_json::json!([{"HostIp": "", "HostPort": host_port}]);
                h.port_bindings.insert(port.into(), bindings);
            });
            assert_eq!(kind, ErrorKind::Invalid);
            assert!(text.starts_with("invalid port specification: "), "{text}");
        }
        let mut none = HostConfig {
            network_mode: "none".into(),
            publish_all_ports: true,
            ..Default::default()
        };
        none.port_bindings
            .insert("80/tcp".into(), serde_json::json!([]));
        assert!(validate_create(&config(), &none, Path::new("/var/lib/taffrail")).is_ok());
        let web = HostConfig {
            network_mode: "web".into(),
            ..Default::default()
        };
        assert!(validate_create(&config(), &web, Path::new("/var/lib/taffrail")).is_ok());
        assert_eq!(
            refusal(|h| {
                h.auto_remove = true;
                h.restart_policy.name = "always".into();
            }),
            (
                ErrorKind::Invalid,
                "can't create 'AutoRemove' container with restart policy".to_owned()
            )
        );
        assert!(
            refusal(|h| h.restart_policy.name = "maybe".into())
                .1
                .contains("invalid restart policy 'maybe'")
        );
        assert_eq!(
            refusal(|h| h.isolation = "hyperv".into()),
            (
                ErrorKind::Invalid,
                "invalid isolation: \"hyperv\" - linux only supports 'default'".to_owned()
            )
        );
        assert_eq!(
            refusal(|h| h.memory = 1),
            (
                ErrorKind::Invalid,
                "Minimum memory limit allowed is 6MB".to_owned()
            )
        );
    }

    #[test]
    fn there_must_be_a_command() {
        let e = validate_create(
            &ContainerConfig::default(),
            &HostConfig::default(),
            Path::new("/var/lib/taffrail"),
        )
        .unwrap_err();
        assert_eq!(e.to_string(), "No command specified");
    }
}
