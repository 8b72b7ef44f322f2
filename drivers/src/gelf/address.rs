//! `gelf-address`.

use std::fmt;

/// How records travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scheme {
    Udp,
    Tcp,
    Tls,
}

/// A parsed address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Address {
    pub(super) scheme: Scheme,
    /// without brackets
    pub(super) host: String,
    pub(super) port: u16,
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = match self.scheme {
            Scheme::Udp => "udp",
            Scheme::Tcp => "tcp",
            Scheme::Tls => "tls",
        };
        if self.host.contains(':') {
            write!(f, "{scheme}://[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{scheme}://{}:{}", self.host, self.port)
        }
    }
}

/// Parses an address; errors in Docker's words.
pub(super) fn parse(text: &str) -> Result<Address, String> {
    if text.is_empty() {
        return Err("gelf-address is a required parameter".to_owned());
    }
    let (scheme, rest) = text.split_once("://").unwrap_or(("", text));
    let scheme = match scheme {
        "udp" => Scheme::Udp,
        "tcp" => Scheme::Tcp,
        "tls" => Scheme::Tls,
        _ => return Err("gelf: endpoint needs to be TCP or UDP".to_owned()),
    };
    let form = || "gelf: please provide gelf-address as proto://host:port".to_owned();
    let (host, port) = rest.rsplit_once(':').ok_or_else(form)?;
    let host = match host.strip_prefix('[').and_then(|h| h.strip_suffix(']')) {
        Some(inner) if inner.parse::<std::net::Ipv6Addr>().is_ok() => inner,
        Some(_) => return Err(form()),
        None if host.contains([':', '/', '@', '?', '#', '[', ']', ' ']) => return Err(form()),
        None => host,
    };
    let port = port
        .parse()
        .ok()
        .filter(|port| *port > 0)
        .ok_or_else(form)?;
    if host.is_empty() {
        return Err(form());
    }
    Ok(Address {
        scheme,
        host: host.to_owned(),
        port,
    })
}
