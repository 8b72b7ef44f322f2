//! The three files that Docker puts over the image's: `/etc/hosts`, `/etc/hostname` and
//! `/etc/resolv.conf`. They are written anew at every start and bind-mounted.

use std::fs;
use std::net::IpAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::error::RuntimeError;
use super::network::{Network, OwnNetwork};
use crate::api::types::{ContainerConfig, HostConfig};

const LOCALHOST: &str = "127.0.0.1\tlocalhost\n\
    ::1\tlocalhost ip6-localhost ip6-loopback\n\
    fe00::0\tip6-localnet\n\
    ff00::0\tip6-mcastprefix\n\
    ff02::1\tip6-allnodes\n\
    ff02::2\tip6-allrouters\n";

/// Docker's name servers of last resort.
const DEFAULT_DNS: [&str; 2] = ["8.8.8.8", "8.8.4.4"];

/// Where systemd-resolved keeps the real servers when `/etc/resolv.conf` names only its stub.
const RESOLVED: &str = "/run/systemd/resolve/resolv.conf";

/// Target in the container, file on the host.
#[derive(Debug)]
pub(super) struct EtcFiles {
    pub(super) binds: [(&'static str, PathBuf); 3],
}

/// Writes the files below `dir` (the container's directory).
pub(super) fn write(
    dir: &Path,
    config: &ContainerConfig,
    host: &HostConfig,
    network: Network,
    own: Option<&OwnNetwork>,
    hostname: &str,
) -> Result<EtcFiles, RuntimeError> {
    let base = match network {
        // Docker, too, starts from an empty file if the host has none.
        Network::Host => fs::read_to_string("/etc/hosts").unwrap_or_default(),
        Network::None | Network::Own | Network::Joined => LOCALHOST.to_owned(),
    };
    let hosts = hosts_text(base, config, host, (network, own), hostname)?;
    let resolv = resolv_text(&host_resolv(network), host, network, own);
    let put = |name: &str, text: &str| -> Result<PathBuf, RuntimeError> {
        let path = dir.join(name);
        fs::write(&path, text).map_err(RuntimeError::file("write", &path))?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644))
            .map_err(RuntimeError::file("set mode of", &path))?;
        Ok(path)
    };
    Ok(EtcFiles {
        binds: [
            ("/etc/resolv.conf", put("resolv.conf", &resolv)?),
            ("/etc/hostname", put("hostname", &format!("{hostname}\n"))?),
            ("/etc/hosts", put("hosts", &hosts)?),
        ],
    })
}

/// Brings the files in line with a network that a running container has joined or left, in place, as
/// they are mounted: its addresses come or go, its servers are as `own` has them.
pub(crate) fn change(
    dir: &Path,
    config: &ContainerConfig,
    host: &HostConfig,
    own: &OwnNetwork,
    addresses: &[String],
    joined: bool,
) -> Result<(), RuntimeError> {
    let path = dir.join("hosts");
    let text = fs::read_to_string(&path).map_err(RuntimeError::file("read", &path))?;
    let of = |line: &str| {
        addresses
            .iter()
            .any(|ip| line.split('\t').next() == Some(ip))
    };
    let mut kept: String = (text.lines().filter(|line| !of(line)))
        .map(|line| format!("{line}\n"))
        .collect();
    if joined {
        for address in addresses {
            kept.push_str(&format!("{address}\t{}\n", config.hostname));
        }
    }
    fs::write(&path, kept).map_err(RuntimeError::file("write", &path))?;
    let path = dir.join("resolv.conf");
    let resolv = resolv_text(&host_resolv(Network::Own), host, Network::Own, Some(own));
    let old = fs::read_to_string(&path).map_err(RuntimeError::file("read", &path))?;
    let server = |text: &str| {
        values(text, "nameserver")
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    // Else the container may have written into it.
    if server(&old) != server(&resolv) {
        fs::write(&path, resolv).map_err(RuntimeError::file("write", &path))?;
    }
    Ok(())
}

/// The files of another container, whose network is joined.
pub(super) fn of(folder: &Path) -> EtcFiles {
    EtcFiles {
        binds: [
            ("/etc/resolv.conf", folder.join("resolv.conf")),
            ("/etc/hostname", folder.join("hostname")),
            ("/etc/hosts", folder.join("hosts")),
        ],
    }
}

/// What a name of `ExtraHosts` stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum HostAddress {
    Is(String),
    /// `host-gateway`: the host, as it is reached from the container's network.
    Gateway,
}

/// Splits one of `ExtraHosts` (`name:address`) and checks it.
pub(super) fn extra_host(
    entry: &str,
    network: Network,
) -> Result<(&str, HostAddress), RuntimeError> {
    let bad = || RuntimeError::ExtraHost(entry.to_owned());
    let (name, address) = entry.split_once([':', '=']).ok_or_else(bad)?;
    if name.is_empty() || name.contains(char::is_whitespace) {
        return Err(bad());
    }
    if address == "host-gateway" {
        return match network {
            Network::Host => Ok((name, HostAddress::Is("127.0.0.1".to_owned()))),
            Network::Own => Ok((name, HostAddress::Gateway)),
            Network::None | Network::Joined => Err(no_gateway(entry)),
        };
    }
    let bare = address.trim_start_matches('[').trim_end_matches(']');
    let address: IpAddr = bare
        .parse()
        .map_err(|_| RuntimeError::ExtraHostAddress(address.to_owned()))?;
    Ok((name, HostAddress::Is(address.to_string())))
}

fn no_gateway(entry: &str) -> RuntimeError {
    RuntimeError::NotBuilt {
        what: format!("add-host {entry}"),
        hint: "this network has no gateway, use --network host",
    }
}

fn hosts_text(
    mut text: String,
    config: &ContainerConfig,
    host: &HostConfig,
    (network, own): (Network, Option<&OwnNetwork>),
    hostname: &str,
) -> Result<String, RuntimeError> {
    if !text.is_empty() && !text.ends_with('\n') {
        text.push('\n');
    }
    for entry in host.extra_hosts.iter().flatten() {
        let (name, address) = extra_host(entry, network)?;
        let addresses = match address {
            HostAddress::Is(address) => vec![address],
            HostAddress::Gateway => {
                let gateways = own
                    .map(|own| own.host_gateway.as_slice())
                    .unwrap_or_default();
                gateways.iter().map(IpAddr::to_string).collect()
            }
        };
        if addresses.is_empty() {
            return Err(no_gateway(entry));
        }
        for address in addresses {
            text.push_str(&format!("{address}\t{name}\n"));
        }
    }
    for (address, names) in own.iter().flat_map(|own| &own.links) {
        text.push_str(&format!("{address}\t{names}\n"));
    }
    if network == Network::Own {
        let names = if config.domainname.is_empty() {
            hostname.to_owned()
        } else {
            format!("{hostname}.{} {hostname}", config.domainname)
        };
        let own = own.map(|own| own.addresses.as_slice()).unwrap_or_default();
        for address in own {
            text.push_str(&format!("{address}\t{names}\n"));
        }
        // With loopback alone the name must still resolve: many programs look themselves up.
        if own.is_empty() {
            text.push_str(&format!("127.0.0.1\t{names}\n"));
        }
    }
    Ok(text)
}

fn host_resolv(network: Network) -> String {
    let text = fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
    let servers: Vec<&str> = values(&text, "nameserver").collect();
    if network != Network::Host && servers == ["127.0.0.53"] {
        return fs::read_to_string(RESOLVED).unwrap_or(text);
    }
    text
}

fn values<'a>(text: &'a str, key: &'a str) -> impl Iterator<Item = &'a str> {
    text.lines().filter_map(move |line| {
        let rest = line.trim().strip_prefix(key)?;
        rest.starts_with([' ', '\t']).then(|| rest.trim())
    })
}

fn is_loopback(server: &str) -> bool {
    // A zone (`fe80::1%eth0`) is not part of the address.
    let address = server.split('%').next().unwrap_or(server);
    address.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

fn resolv_text(
    base: &str,
    host: &HostConfig,
    network: Network,
    networks: Option<&OwnNetwork>,
) -> String {
    let empty = OwnNetwork::default();
    let networks = networks.unwrap_or(&empty);
    // The container's own settings, else daemon.json's.
    let choose = |own: &[String], default: &[String]| match own {
        [] => default.to_vec(),
        own => own.to_vec(),
    };
    let host = HostConfig {
        dns: choose(&host.dns, &networks.dns),
        dns_search: choose(&host.dns_search, &networks.dns_search),
        dns_options: choose(&host.dns_options, &networks.dns_options),
        ..HostConfig::default()
    };
    let own = !host.dns.is_empty() || !host.dns_search.is_empty() || !host.dns_options.is_empty();
    if !own && network == Network::Host {
        return base.to_owned();
    }
    let servers: Vec<String> = if !networks.servers.is_empty() {
        // It asks the others itself.
        networks.servers.iter().map(IpAddr::to_string).collect()
    } else if !host.dns.is_empty() {
        host.dns.clone()
    } else {
        // The host's loopback is not the container's.
        let usable: Vec<String> = values(base, "nameserver")
            .filter(|s| network == Network::Host || !is_loopback(s))
            .map(str::to_owned)
            .collect();
        if usable.is_empty() {
            DEFAULT_DNS.iter().map(|s| (*s).to_owned()).collect()
        } else {
            usable
        }
    };
    let search: Vec<String> = match host.dns_search.as_slice() {
        [] => values(base, "search")
            .last()
            .into_iter()
            .map(str::to_owned)
            .collect(),
        // A single dot: no search list at all.
        [dot] if dot == "." => Vec::new(),
        list => list.to_vec(),
    };
    let options: Vec<String> = if !host.dns_options.is_empty() {
        host.dns_options.clone()
    } else if !networks.servers.is_empty() {
        // Names without a dot are containers' names first (as Docker has it).
        vec!["ndots:0".to_owned()]
    } else {
        values(base, "options").map(str::to_owned).collect()
    };
    let mut text = String::new();
    if !search.is_empty() {
        text.push_str(&format!("search {}\n", search.join(" ")));
    }
    for server in servers {
        text.push_str(&format!("nameserver {server}\n"));
    }
    if !options.is_empty() {
        text.push_str(&format!("options {}\n", options.join(" ")));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strings(list: &[&str]) -> Vec<String> {
        list.iter().map(|s| (*s).to_owned()).collect()
    }

    #[test]
    fn hosts_have_localhost_the_extra_ones_and_the_container() {
        let host = HostConfig {
            extra_hosts: Some(strings(&["db:10.0.0.7", "six:::1"])),
            ..Default::default()
        };
        let config = ContainerConfig::default();
        let text = hosts_text(
            LOCALHOST.into(),
            &config,
            &host,
            (Network::Own, None),
            "web",
        )
        .unwrap();
        assert!(text.starts_with("127.0.0.1\tlocalhost\n"), "{text}");
        assert!(
            text.ends_with("10.0.0.7\tdb\n::1\tsix\n127.0.0.1\tweb\n"),
            "{text}"
        );
        let text = hosts_text(
            "1.2.3.4 x".into(),
            &config,
            &host,
            (Network::Host, None),
            "web",
        )
        .unwrap();
        assert_eq!(text, "1.2.3.4 x\n10.0.0.7\tdb\n::1\tsix\n");
    }

    #[test]
    fn bad_extra_hosts() {
        for bad in ["noaddress", ":1.2.3.4", "a b:1.2.3.4"] {
            assert!(matches!(
                extra_host(bad, Network::None),
                Err(RuntimeError::ExtraHost(_))
            ));
        }
        let e = extra_host("a:1.2.3", Network::None).unwrap_err();
        assert_eq!(e.to_string(), "invalid IP address in add-host: \"1.2.3\"");
        assert!(extra_host("a:host-gateway", Network::None).is_err());
        assert_eq!(
            extra_host("a:host-gateway", Network::Host).unwrap().1,
            HostAddress::Is("127.0.0.1".to_owned())
        );
        let host = HostConfig {
            extra_hosts: Some(strings(&["h:host-gateway"])),
            ..Default::default()
        };
        let config = ContainerConfig::default();
        let text = |own| hosts_text(String::new(), &config, &host, (Network::Own, own), "web");
        assert!(text(None).is_err());
        let own = OwnNetwork {
            addresses: vec!["10.0.0.2".parse().unwrap()],
            host_gateway: vec!["10.0.0.1".parse().unwrap()],
            links: vec![("10.0.0.3".parse().unwrap(), "db 123".to_owned())],
            ..OwnNetwork::default()
        };
        assert_eq!(
            text(Some(&own)).unwrap(),
            "10.0.0.1\th\n10.0.0.3\tdb 123\n10.0.0.2\tweb\n"
        );
    }

    #[test]
    fn loopback_servers_are_left_out_of_an_own_network() {
        let base = "# x\nnameserver 127.0.0.1\nnameserver 10.1.1.1\nsearch a b\noptions ndots:2\n";
        let host = HostConfig::default();
        assert_eq!(
            resolv_text(base, &host, Network::Own, None),
            "search a b\nnameserver 10.1.1.1\noptions ndots:2\n"
        );
        assert_eq!(resolv_text(base, &host, Network::Host, None), base);
        assert_eq!(
            resolv_text("nameserver ::1\n", &host, Network::None, None),
            "nameserver 8.8.8.8\nnameserver 8.8.4.4\n"
        );
        let own = OwnNetwork {
            servers: vec!["127.0.0.11".parse().unwrap()],
            dns: strings(&["9.9.9.9"]),
            dns_search: strings(&["here"]),
            ..OwnNetwork::default()
        };
        assert_eq!(
            resolv_text(base, &host, Network::Own, Some(&own)),
            "search here\nnameserver 127.0.0.11\noptions ndots:0\n"
        );
    }

    #[test]
    fn dns_settings_replace_the_hosts() {
        let host = HostConfig {
            dns: strings(&["9.9.9.9"]),
            dns_search: strings(&["."]),
            dns_options: strings(&["timeout:1", "rotate"]),
            ..Default::default()
        };
        assert_eq!(
            resolv_text("nameserver 1.1.1.1\nsearch a\n", &host, Network::Host, None),
            "nameserver 9.9.9.9\noptions timeout:1 rotate\n"
        );
    }
}
