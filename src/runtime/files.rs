//! The three files that Docker puts over the image's: `/etc/hosts`, `/etc/hostname` and
//! `/etc/resolv.conf`. They are written anew at every start and bind-mounted.

use std::fs;
use std::net::IpAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::error::RuntimeError;
use super::network::Network;
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
    hostname: &str,
) -> Result<EtcFiles, RuntimeError> {
    let base = match network {
        // Docker, too, starts from an empty file if the host has none.
        Network::Host => fs::read_to_string("/etc/hosts").unwrap_or_default(),
        Network::None | Network::Default | Network::Joined => LOCALHOST.to_owned(),
    };
    let hosts = hosts_text(base, config, host, network, hostname)?;
    let resolv = resolv_text(&host_resolv(network), host, network);
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

/// Splits one of `ExtraHosts` (`name:address`) and checks it. `host-gateway` is the host's own
/// address, which only a container on the host's network can reach.
pub(super) fn extra_host(entry: &str, network: Network) -> Result<(&str, String), RuntimeError> {
    let bad = || RuntimeError::ExtraHost(entry.to_owned());
    let (name, address) = entry.split_once([':', '=']).ok_or_else(bad)?;
    if name.is_empty() || name.contains(char::is_whitespace) {
        return Err(bad());
    }
    if address == "host-gateway" {
        return match network {
            Network::Host => Ok((name, "127.0.0.1".to_owned())),
            Network::None | Network::Default | Network::Joined => Err(RuntimeError::NotBuilt {
                what: format!("add-host {entry}"),
                hint: "this network has no gateway, use --network host",
            }),
        };
    }
    let bare = address.trim_start_matches('[').trim_end_matches(']');
    let address: IpAddr = bare
        .parse()
        .map_err(|_| RuntimeError::ExtraHostAddress(address.to_owned()))?;
    Ok((name, address.to_string()))
}

fn hosts_text(
    mut text: String,
    config: &ContainerConfig,
    host: &HostConfig,
    network: Network,
    hostname: &str,
) -> Result<String, RuntimeError> {
    if !text.is_empty() && !text.ends_with('\n') {
        text.push('\n');
    }
    for entry in host.extra_hosts.iter().flatten() {
        let (name, address) = extra_host(entry, network)?;
        text.push_str(&format!("{address}\t{name}\n"));
    }
    // Docker names the container's address on its bridge here. Without one, the name must still
    // resolve: many programs look themselves up.
    if network == Network::Default {
        let line = if config.domainname.is_empty() {
            format!("127.0.0.1\t{hostname}\n")
        } else {
            format!("127.0.0.1\t{hostname}.{} {hostname}\n", config.domainname)
        };
        text.push_str(&line);
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

fn resolv_text(base: &str, host: &HostConfig, network: Network) -> String {
    let own = !host.dns.is_empty() || !host.dns_search.is_empty() || !host.dns_options.is_empty();
    if !own && network == Network::Host {
        return base.to_owned();
    }
    let servers: Vec<String> = if !host.dns.is_empty() {
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
    let options: Vec<String> = if host.dns_options.is_empty() {
        values(base, "options").map(str::to_owned).collect()
    } else {
        host.dns_options.clone()
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
        let text = hosts_text(LOCALHOST.into(), &config, &host, Network::Default, "web").unwrap();
        assert!(text.starts_with("127.0.0.1\tlocalhost\n"), "{text}");
        assert!(
            text.ends_with("10.0.0.7\tdb\n::1\tsix\n127.0.0.1\tweb\n"),
            "{text}"
        );
        let text = hosts_text("1.2.3.4 x".into(), &config, &host, Network::Host, "web").unwrap();
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
        assert!(extra_host("a:host-gateway", Network::Default).is_err());
        assert_eq!(
            extra_host("a:host-gateway", Network::Host).unwrap().1,
            "127.0.0.1"
        );
    }

    #[test]
    fn loopback_servers_are_left_out_of_an_own_network() {
        let base = "# x\nnameserver 127.0.0.1\nnameserver 10.1.1.1\nsearch a b\noptions ndots:2\n";
        let host = HostConfig::default();
        assert_eq!(
            resolv_text(base, &host, Network::Default),
            "search a b\nnameserver 10.1.1.1\noptions ndots:2\n"
        );
        assert_eq!(resolv_text(base, &host, Network::Host), base);
        assert_eq!(
            resolv_text("nameserver ::1\n", &host, Network::None),
            "nameserver 8.8.8.8\nnameserver 8.8.4.4\n"
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
            resolv_text("nameserver 1.1.1.1\nsearch a\n", &host, Network::Host),
            "nameserver 9.9.9.9\noptions timeout:1 rotate\n"
        );
    }
}
