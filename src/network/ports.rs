//! Published ports: what was asked for, which host ports that becomes, and the sockets that hold
//! them, so that nobody else takes a port that is ours.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsRawFd as _, OwnedFd};

use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockProtocol, SockType, SockaddrStorage, bind, listen,
    setsockopt, socket, sockopt,
};
use serde_json::Value;

use super::model::{Protocol, Published};
use super::namespace::read_sysctl;
use crate::api::types::{ContainerConfig, HostConfig};
use crate::errors::ApiError;

/// Connections that wait for the proxy.
const BACKLOG: i32 = 1024;
/// Where random ports come from if the kernel does not say.
const DEFAULT_RANGE: (u16, u16) = (32768, 60999);

/// A port that is to be published.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PortWish {
    pub(crate) protocol: Protocol,
    pub(crate) port: u16,
    pub(crate) host_ip: Option<IpAddr>,
    /// Host ports to choose from; `None`: any that is free.
    pub(crate) range: Option<(u16, u16)>,
}

/// A published port with the socket that holds it; SCTP has none.
#[derive(Debug)]
pub(crate) struct Held {
    pub(crate) published: Published,
    pub(crate) socket: Option<OwnedFd>,
}

/// `80/tcp` as number and protocol; TCP where none is named.
pub(crate) fn parse_port(key: &str) -> Option<(u16, Protocol)> {
    let (number, protocol) = key.split_once('/').unwrap_or((key, "tcp"));
    Some((number.parse().ok()?, Protocol::parse(protocol)?))
}

fn parse_range(text: &str) -> Option<(u16, u16)> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last) = (first.parse().ok()?, last.parse().ok()?);
    (first <= last).then_some((first, last))
}

/// What a container publishes: its bindings, and with `-P` every exposed port that has none.
///
/// # Errors
/// 400 with Docker's text for what is no port or address.
pub(crate) fn wishes(
    config: &ContainerConfig,
    host: &HostConfig,
) -> Result<Vec<PortWish>, ApiError> {
    let bad = |text: &str| ApiError::invalid(format!("invalid port specification: \"{text}\""));
    let mut found = Vec::new();
    for (key, bindings) in &host.port_bindings {
        let (port, protocol) = parse_port(key).ok_or_else(|| bad(key))?;
        for binding in bindings.as_array().into_iter().flatten() {
            let text = |name: &str| binding[name].as_str().unwrap_or_default();
            let ip = text("HostIp");
            let host_ip = match ip {
                "" => None,
                ip => {
                    let bare = ip.trim_start_matches('[').trim_end_matches(']');
                    let parsed = bare.parse();
                    Some(parsed.map_err(|_| {
                        ApiError::invalid(format!("invalid IP address in port binding: \"{ip}\""))
                    })?)
                }
            };
            let range = match text("HostPort") {
                "" | "0" => None,
                given => Some(parse_range(given).ok_or_else(|| bad(given))?),
            };
            found.push(PortWish {
                protocol,
                port,
                host_ip,
                range,
            });
        }
    }
    if host.publish_all_ports {
        for key in config.exposed_ports.iter().flatten().map(|(key, _)| key) {
            let (port, protocol) = parse_port(key).ok_or_else(|| bad(key))?;
            if !found
                .iter()
                .any(|wish: &PortWish| (wish.port, wish.protocol) == (port, protocol))
            {
                found.push(PortWish {
                    protocol,
                    port,
                    host_ip: None,
                    range: None,
                });
            }
        }
    }
    Ok(found)
}

/// Where ports are looked for and held.
pub(crate) struct Holder<'a> {
    /// Ports of other containers.
    pub(crate) taken: Vec<Published>,
    /// Host address of ports that name none; `None`: all, of both families.
    pub(crate) host_ip: Option<IpAddr>,
    /// A proxy answers on the sockets; without one they only hold the port.
    pub(crate) listen: bool,
    /// Where the search for a random port goes on.
    pub(crate) cursor: &'a mut u16,
}

impl Holder<'_> {
    /// Finds and holds a host port for each wish.
    ///
    /// # Errors
    /// Docker's text; nothing is held then.
    pub(crate) fn hold(&mut self, wishes: &[PortWish]) -> Result<Vec<Held>, String> {
        let mut held = Vec::new();
        for wish in wishes {
            let one = self.hold_one(wish, &held)?;
            held.extend(one);
        }
        Ok(held)
    }

    fn hold_one(&mut self, wish: &PortWish, before: &[Held]) -> Result<Vec<Held>, String> {
        let addresses = match wish.host_ip.or(self.host_ip) {
            Some(ip) => vec![ip],
            None => vec![Ipv4Addr::UNSPECIFIED.into(), Ipv6Addr::UNSPECIFIED.into()],
        };
        let implicit_v6 = addresses.len() > 1;
        let (first, last) = match wish.range {
            Some((first, last)) if first == last => {
                return self.at(wish, &addresses, implicit_v6, first, before);
            }
            Some(range) => range,
            None => ephemeral_range(),
        };
        let size = u32::from(last - first) + 1;
        let random = wish.range.is_none();
        let start = match random {
            true => u32::from((*self.cursor).clamp(first, last) - first),
            false => 0,
        };
        for step in 0..size {
            // It is below `last`, which is a port.
            let port = first + u16::try_from((start + step) % size).unwrap_or(0);
            if let Ok(held) = self.at(wish, &addresses, implicit_v6, port, before) {
                if random {
                    *self.cursor = port.checked_add(1).unwrap_or(first);
                }
                return Ok(held);
            }
        }
        Err("all ports are allocated".to_owned())
    }

    /// Holds one port on each address.
    fn at(
        &self,
        wish: &PortWish,
        addresses: &[IpAddr],
        implicit_v6: bool,
        port: u16,
        before: &[Held],
    ) -> Result<Vec<Held>, String> {
        let mut held = Vec::new();
        for ip in addresses {
            let published = Published {
                protocol: wish.protocol,
                port: wish.port,
                host_ip: *ip,
                host_port: port,
            };
            let others = self.taken.iter().chain(before.iter().map(|h| &h.published));
            if others.clone().any(|other| conflict(other, &published)) {
                let shown = SocketAddr::new(*ip, port);
                return Err(format!(
                    "Bind for {shown} failed: port is already allocated"
                ));
            }
            let socket = match wish.protocol {
                Protocol::Sctp => None,
                protocol => match open(protocol, SocketAddr::new(*ip, port), self.listen) {
                    Ok(socket) => Some(socket),
                    // No IPv6 on this host; nobody asked for it by name.
                    Err(nix::Error::EAFNOSUPPORT | nix::Error::EADDRNOTAVAIL)
                        if implicit_v6 && ip.is_ipv6() =>
                    {
                        continue;
                    }
                    Err(errno) => {
                        return Err(format!(
                            "Error starting userland proxy: listen {}{} {}: bind: {}",
                            wish.protocol.as_str(),
                            if ip.is_ipv6() { 6 } else { 4 },
                            SocketAddr::new(*ip, port),
                            errno_text(errno),
                        ));
                    }
                },
            };
            held.push(Held { published, socket });
        }
        Ok(held)
    }
}

/// Whether two ports cannot both be published.
fn conflict(one: &Published, other: &Published) -> bool {
    one.protocol == other.protocol
        && one.host_port == other.host_port
        && one.host_ip.is_ipv4() == other.host_ip.is_ipv4()
        && (one.host_ip == other.host_ip
            || one.host_ip.is_unspecified()
            || other.host_ip.is_unspecified())
}

/// Docker's words are Go's: without the capital and the number.
fn errno_text(errno: nix::Error) -> String {
    let text = errno.desc();
    let mut letters = text.chars();
    match letters.next() {
        Some(first) => first.to_ascii_lowercase().to_string() + letters.as_str(),
        None => String::new(),
    }
}

/// Opens a socket on a port.
pub(crate) fn open(
    protocol: Protocol,
    address: SocketAddr,
    listening: bool,
) -> nix::Result<OwnedFd> {
    let family = match address {
        SocketAddr::V4(_) => AddressFamily::Inet,
        SocketAddr::V6(_) => AddressFamily::Inet6,
    };
    let (kind, transport) = match protocol {
        Protocol::Udp => (SockType::Datagram, SockProtocol::Udp),
        _ => (SockType::Stream, SockProtocol::Tcp),
    };
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let fd = socket(family, kind, flags, transport)?;
    if address.is_ipv6() {
        // The IPv4 side is a socket of its own.
        setsockopt(&fd, sockopt::Ipv6V6Only, &true)?;
    }
    if protocol == Protocol::Tcp {
        // Connections of the last holder may still be dying.
        setsockopt(&fd, sockopt::ReuseAddr, &true)?;
    }
    bind(fd.as_raw_fd(), &SockaddrStorage::from(address))?;
    if protocol == Protocol::Tcp && listening {
        listen(&fd, Backlog::new(BACKLOG)?)?;
    }
    Ok(fd)
}

/// The kernel's range of ports that programs get who ask for none.
fn ephemeral_range() -> (u16, u16) {
    let read = || {
        let text = read_sysctl("ipv4/ip_local_port_range")?;
        let mut numbers = text.split_whitespace().map(|n| n.parse::<u16>().ok());
        let range = (numbers.next()??, numbers.next()??);
        (range.0 <= range.1).then_some(range)
    };
    read().unwrap_or(DEFAULT_RANGE)
}

/// `NetworkSettings.Ports`: every exposed port, with its bindings or `null`.
pub(crate) fn shown(
    exposed: Option<&BTreeMap<String, Value>>,
    published: &[Published],
) -> serde_json::Map<String, Value> {
    let mut out: BTreeMap<(u16, Protocol), Vec<Value>> = BTreeMap::new();
    for key in exposed.into_iter().flatten().map(|(key, _)| key) {
        if let Some(port) = parse_port(key) {
            out.entry(port).or_default();
        }
    }
    for one in published {
        out.entry((one.port, one.protocol))
            .or_default()
            .push(serde_json::json!({
                "HostIp": one.host_ip.to_string(),
                "HostPort": one.host_port.to_string(),
            }));
    }
    out.into_iter()
        .map(|((port, protocol), list)| {
            let key = format!("{port}/{}", protocol.as_str());
            let value = match list.is_empty() {
                true => Value::Null,
                false => list.into(),
            };
            (key, value)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn host(bindings: Value) -> HostConfig {
        serde_json::from_value(json!({"PortBindings": bindings})).unwrap()
    }

    #[test]
    fn what_is_published() {
        let config: ContainerConfig =
            serde_json::from_value(json!({"ExposedPorts": {"53/udp": {}, "80/tcp": {}}})).unwrap();
        let mut host = host(json!({
            "80/tcp": [{"HostIp": "127.0.0.1", "HostPort": "8080-8090"}, {"HostPort": ""}],
            "81": [],
        }));
        let found = wishes(&config, &host).unwrap();
        assert_eq!(found.len(), 2);
        assert_eq!(found[0].range, Some((8080, 8090)));
        assert_eq!(found[0].host_ip, Some("127.0.0.1".parse().unwrap()));
        assert_eq!(found[1].range, None);
        host.publish_all_ports = true;
        let found = wishes(&config, &host).unwrap();
        assert_eq!(found.len(), 3);
        assert_eq!((found[2].port, found[2].protocol), (53, Protocol::Udp));
        for bad in [
            json!({"x/tcp": [{}]}),
            json!({"80/tcp": [{"HostPort": "x"}]}),
            json!({"80/tcp": [{"HostIp": "x"}]}),
        ] {
            let error = wishes(&config, &super::tests::host(bad)).unwrap_err();
            assert_eq!(error.kind.status(), 400);
        }
    }

    #[test]
    fn ports_are_held_and_told_of() {
        let mut cursor = 0;
        let mut holder = Holder {
            taken: Vec::new(),
            host_ip: Some(Ipv4Addr::LOCALHOST.into()),
            listen: true,
            cursor: &mut cursor,
        };
        let wish = PortWish {
            protocol: Protocol::Tcp,
            port: 80,
            host_ip: None,
            range: None,
        };
        let held = holder.hold(&[wish]).unwrap();
        let port = held[0].published.host_port;
        assert!(port > 0);
        let again = PortWish {
            range: Some((port, port)),
            ..wish
        };
        assert_eq!(
            holder.hold(&[again]).unwrap_err(),
            format!(
                "Error starting userland proxy: listen tcp4 127.0.0.1:{port}: bind: address \
                 already in use"
            )
        );
        holder.taken = vec![held[0].published];
        assert_eq!(
            holder.hold(&[again]).unwrap_err(),
            format!("Bind for 127.0.0.1:{port} failed: port is already allocated")
        );
        let shown = shown(
            Some(&[("90/udp".to_owned(), json!({}))].into()),
            &[held[0].published],
        );
        assert_eq!(shown["90/udp"], Value::Null);
        assert_eq!(shown["80/tcp"][0]["HostPort"], port.to_string());
    }
}
