//! `syslog-address`: which receiver.

use std::path::PathBuf;

use crate::go::quote;

/// Port of syslog over UDP, TCP and TLS when none is given (Docker's).
pub(super) const SYSLOG_PORT: u16 = 514;
/// Port of RELP when none is given. It has no assigned one; rsyslog's manual has 2514 in its examples.
pub(super) const RELP_PORT: u16 = 2514;
/// Longest path of a unix socket, in bytes (`sun_path` less its end).
const MAX_PATH: usize = 107;

/// What [`parse`] takes.
pub(super) const ALLOWED: &str = "udp://HOST[:PORT], tcp://HOST[:PORT], tcp+tls://HOST[:PORT], relp://HOST[:PORT], relp+tls://HOST[:PORT], unix:///PATH, unixgram:///PATH; empty for the machine's own syslog";

/// A way over the network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Network {
    Udp,
    Tcp,
    Tls,
    Relp,
    RelpTls,
}

impl Network {
    fn parse(scheme: &str) -> Option<Self> {
        Some(match scheme {
            "udp" => Self::Udp,
            "tcp" => Self::Tcp,
            "tcp+tls" => Self::Tls,
            "relp" => Self::Relp,
            "relp+tls" => Self::RelpTls,
            _ => return None,
        })
    }
    fn scheme(self) -> &'static str {
        match self {
            Self::Udp => "udp",
            Self::Tcp => "tcp",
            Self::Tls => "tcp+tls",
            Self::Relp => "relp",
            Self::RelpTls => "relp+tls",
        }
    }
    fn port(self) -> u16 {
        match self {
            Self::Udp | Self::Tcp | Self::Tls => SYSLOG_PORT,
            Self::Relp | Self::RelpTls => RELP_PORT,
        }
    }
}

/// A receiver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Address {
    /// the machine's own; which socket is decided at each connect
    Local,
    /// stream socket in the file system
    Unix(PathBuf),
    /// datagram socket in the file system
    UnixDatagram(PathBuf),
    /// host without brackets
    Host(Network, String, u16),
}

impl Address {
    pub(super) fn tls(&self) -> bool {
        matches!(self, Self::Host(Network::Tls | Network::RelpTls, ..))
    }
    pub(super) fn relp(&self) -> bool {
        matches!(self, Self::Host(Network::Relp | Network::RelpTls, ..))
    }
    /// A stream of bytes, where records need framing.
    pub(super) fn stream(&self) -> bool {
        matches!(
            self,
            Self::Unix(_) | Self::Host(Network::Tcp | Network::Tls, ..)
        )
    }
}

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Local => f.write_str("local syslog"),
            Self::Unix(path) => write!(f, "unix://{}", path.display()),
            Self::UnixDatagram(path) => write!(f, "unixgram://{}", path.display()),
            Self::Host(network, host, port) if host.contains(':') => {
                write!(f, "{}://[{host}]:{port}", network.scheme())
            }
            Self::Host(network, host, port) => write!(f, "{}://{host}:{port}", network.scheme()),
        }
    }
}

/// Docker's check, in Docker's words where it has any. It asks nobody: a socket that does not exist yet is no error here.
pub(super) fn parse(text: &str) -> Result<Address, String> {
    if text.is_empty() {
        return Ok(Address::Local);
    }
    let url = |why: String| format!("parse {}: {why}", quote(text));
    if text.bytes().any(|b| b < 0x20 || b == 0x7f) {
        return Err(url("net/url: invalid control character in URL".to_owned()));
    }
    let (scheme, rest) = split_scheme(text).map_err(|why| url(why.to_owned()))?;
    let unix = matches!(scheme.as_str(), "unix" | "unixgram");
    let Some(authority) = rest.strip_prefix("//") else {
        if unix && rest.starts_with('/') {
            return unix_path(&scheme, rest);
        }
        return Err(match Network::parse(&scheme) {
            Some(network) => format!("write {}://HOST:PORT", network.scheme()),
            None if unix => format!("write {scheme}:///PATH"),
            None => format!("unsupported scheme: '{scheme}'"),
        });
    };
    let (authority, path) = match authority.find('/') {
        Some(at) => authority.split_at(at),
        None => (authority, ""),
    };
    if unix {
        if !authority.is_empty() {
            return Err(format!(
                "write {scheme}:///{authority}{path}, with three slashes"
            ));
        }
        return unix_path(&scheme, path);
    }
    let network =
        Network::parse(&scheme).ok_or_else(|| format!("unsupported scheme: '{scheme}'"))?;
    if !matches!(path, "" | "/") {
        return Err(format!("{} takes no path", network.scheme()));
    }
    if authority.contains(['@', '?', '#']) {
        return Err(format!("{} takes host and port only", network.scheme()));
    }
    let (host, port) = host_and_port(authority).map_err(|why| match why {
        Wrong::Url(why) => url(why),
        Wrong::Address => format!("address {authority}: too many colons in address"),
    })?;
    let port = match port {
        None | Some("") => network.port(),
        Some(digits) => match digits.parse() {
            Ok(0) | Err(_) => return Err(format!("address {digits}: invalid port")),
            Ok(port) => port,
        },
    };
    // Go dials the machine itself if there is no host.
    let host = if host.is_empty() { "localhost" } else { host };
    Ok(Address::Host(network, host.to_owned(), port))
}

/// As Go's `url.Parse`: the scheme in lower case, and what follows its colon.
pub(crate) fn split_scheme(text: &str) -> Result<(String, &str), &'static str> {
    let mut scheme = "";
    let mut rest = text;
    for (i, b) in text.bytes().enumerate() {
        match b {
            b'a'..=b'z' | b'A'..=b'Z' => {}
            b'0'..=b'9' | b'+' | b'-' | b'.' if i > 0 => {}
            b':' if i == 0 => return Err("missing protocol scheme"),
            b':' => {
                (scheme, rest) = (&text[..i], &text[i + 1..]);
                break;
            }
            _ => break,
        }
    }
    let first = rest.split('/').next().unwrap_or_default();
    if scheme.is_empty() && first.contains(':') {
        return Err("first path segment in URL cannot contain colon");
    }
    Ok((scheme.to_ascii_lowercase(), rest))
}

#[derive(Debug)]
pub(crate) enum Wrong {
    Url(String),
    Address,
}

pub(crate) fn host_and_port(authority: &str) -> Result<(&str, Option<&str>), Wrong> {
    let port_of = |after: &str| -> Result<(), Wrong> {
        let digits = after.strip_prefix(':').unwrap_or("x");
        if after.is_empty() || digits.bytes().all(|b| b.is_ascii_digit()) {
            Ok(())
        } else {
            Err(Wrong::Url(format!(
                "invalid port {} after host",
                quote(after)
            )))
        }
    };
    if let Some(inside) = authority.strip_prefix('[') {
        let Some((host, after)) = inside.split_once(']') else {
            return Err(Wrong::Url("missing ']' in host".to_owned()));
        };
        port_of(after)?;
        if host.parse::<std::net::Ipv6Addr>().is_err() {
            return Err(Wrong::Url(format!("invalid IPv6 address {}", quote(host))));
        }
        return Ok((host, after.strip_prefix(':')));
    }
    let (host, after) = match authority.rfind(':') {
        Some(at) => authority.split_at(at),
        None => (authority, ""),
    };
    port_of(after)?;
    if let Some(c) = host
        .chars()
        .find(|c| *c == ' ' || "\"<>\\^`{|}[]".contains(*c))
    {
        return Err(Wrong::Url(format!(
            "invalid character {} in host name",
            quote(&c.to_string())
        )));
    }
    if host.contains(':') {
        return Err(Wrong::Address);
    }
    Ok((host, after.strip_prefix(':')))
}

fn unix_path(scheme: &str, path: &str) -> Result<Address, String> {
    let bytes = unescape(path).ok_or_else(|| {
        format!(
            "parse {}: invalid URL escape",
            quote(&format!("{scheme}://{path}"))
        )
    })?;
    if bytes.len() < 2 || bytes.contains(&0) {
        return Err(format!("stat {path}: no such file or directory"));
    }
    if bytes.len() > MAX_PATH {
        return Err(format!(
            "the path of a unix socket has at most {MAX_PATH} bytes, this one has {}",
            bytes.len()
        ));
    }
    use std::os::unix::ffi::OsStringExt as _;
    let path = PathBuf::from(std::ffi::OsString::from_vec(bytes));
    Ok(match scheme {
        "unix" => Address::Unix(path),
        _ => Address::UnixDatagram(path),
    })
}

/// `%20` and the like, as Go reads the path of a URL.
fn unescape(path: &str) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(path.len());
    let mut bytes = path.bytes();
    while let Some(b) = bytes.next() {
        if b == b'%' {
            let digit = |b: Option<u8>| char::from(b?).to_digit(16);
            let value = digit(bytes.next())? * 16 + digit(bytes.next())?;
            out.push(u8::try_from(value).ok()?);
        } else {
            out.push(b);
        }
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> String {
        parse(text).unwrap().to_string()
    }

    #[test]
    fn good() {
        assert_eq!(shown(""), "local syslog");
        assert_eq!(shown("udp://logs"), "udp://logs:514");
        assert_eq!(shown("tcp://logs:"), "tcp://logs:514");
        assert_eq!(shown("TCP://logs:1514/"), "tcp://logs:1514");
        assert_eq!(shown("tcp+tls://10.0.0.7"), "tcp+tls://10.0.0.7:514");
        assert_eq!(shown("tcp://[::1]"), "tcp://[::1]:514");
        assert_eq!(shown("tcp://[fe80::1]:601"), "tcp://[fe80::1]:601");
        assert_eq!(shown("udp://:5140"), "udp://localhost:5140");
        assert_eq!(shown("relp://logs"), "relp://logs:2514");
        assert_eq!(shown("relp+tls://logs:20514"), "relp+tls://logs:20514");
        assert_eq!(shown("unix:///not/there"), "unix:///not/there");
        assert_eq!(shown("unix:/dev/log"), "unix:///dev/log");
        assert_eq!(
            parse("unixgram:///a%20b"),
            Ok(Address::UnixDatagram("/a b".into()))
        );
    }

    #[test]
    fn wrong() {
        for (text, error) in [
            ("http://127.0.0.1:1", "unsupported scheme: 'http'"),
            ("localhost:514", "unsupported scheme: 'localhost'"),
            ("localhost", "unsupported scheme: ''"),
            (
                "1.2.3.4:514",
                "parse \"1.2.3.4:514\": first path segment in URL cannot contain colon",
            ),
            (":514", "parse \":514\": missing protocol scheme"),
            (
                "tcp://h:x",
                "parse \"tcp://h:x\": invalid port \":x\" after host",
            ),
            ("tcp://h:0", "address 0: invalid port"),
            ("tcp://h:65536", "address 65536: invalid port"),
            ("tcp://::1", "address ::1: too many colons in address"),
            ("tcp://[::1", "parse \"tcp://[::1\": missing ']' in host"),
            (
                "tcp://a b",
                "parse \"tcp://a b\": invalid character \" \" in host name",
            ),
            ("tcp://h/path", "tcp takes no path"),
            ("udp:h:514", "write udp://HOST:PORT"),
            (
                "unix://dev/log",
                "write unix:///dev/log, with three slashes",
            ),
            ("unix://", "stat : no such file or directory"),
            ("unix:///%zz", "parse \"unix:///%zz\": invalid URL escape"),
        ] {
            assert_eq!(parse(text).unwrap_err(), error, "{text}");
        }
        assert!(parse(&format!("unix:///{}", "x".repeat(107))).is_err());
    }
}
