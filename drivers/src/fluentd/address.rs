//! `fluentd-address`: which receiver.

use std::path::PathBuf;

use crate::go::quote;
use crate::syslog::address::{Wrong, host_and_port, split_scheme};

/// Port of the forward protocol.
const PORT: u16 = 24224;
const HOST: &str = "127.0.0.1";

/// What [`parse`] takes.
pub(super) const ALLOWED: &str = "HOST[:PORT], tcp://HOST[:PORT], tls://HOST[:PORT], unix:///PATH";

/// A receiver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Address {
    /// stream socket in the file system
    Unix(PathBuf),
    /// host without brackets; with TLS or without
    Host { host: String, port: u16, tls: bool },
}

impl Address {
    pub(super) fn tls(&self) -> bool {
        matches!(self, Self::Host { tls: true, .. })
    }
}

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix://{}", path.display()),
            Self::Host { host, port, tls } => {
                let scheme = if *tls { "tls" } else { "tcp" };
                if host.contains(':') {
                    write!(f, "{scheme}://[{host}]:{port}")
                } else {
                    write!(f, "{scheme}://{host}:{port}")
                }
            }
        }
    }
}

/// Docker's check, in Docker's words.
pub(super) fn parse(text: &str) -> Result<Address, String> {
    let wrong = |why: String| format!("invalid fluentd-address ({text}): {why}");
    if text.is_empty() {
        return Ok(Address::Host {
            host: HOST.to_owned(),
            port: PORT,
            tls: false,
        });
    }
    let full = if text.contains("://") {
        text.to_owned()
    } else {
        format!("tcp://{text}")
    };
    let url = |why: String| wrong(format!("parse {}: {why}", quote(&full)));
    if full.bytes().any(|b| b < 0x20 || b == 0x7f) {
        return Err(url("net/url: invalid control character in URL".to_owned()));
    }
    let (scheme, rest) = split_scheme(&full).map_err(|why| url(why.to_owned()))?;
    let rest = rest.strip_prefix("//").unwrap_or(rest);
    let (authority, path) = match rest.find('/') {
        Some(at) => rest.split_at(at),
        None => (rest, ""),
    };
    match scheme.as_str() {
        "unix" => {
            if path.trim_start_matches('/').is_empty() {
                return Err(wrong("path is empty".to_owned()));
            }
            if !authority.is_empty() {
                return Err(wrong(format!(
                    "write unix:///{authority}{path}, with three slashes"
                )));
            }
            return Ok(Address::Unix(path.into()));
        }
        "tcp" | "tls" => {}
        other => return Err(wrong(format!("unsupported scheme: '{other}'"))),
    }
    if !path.is_empty() {
        return Err(wrong("should not contain a path element".to_owned()));
    }
    if authority.contains(['@', '?', '#']) {
        return Err(wrong("write host and port only".to_owned()));
    }
    let (host, port) = host_and_port(authority).map_err(|why| match why {
        Wrong::Url(why) => url(why),
        Wrong::Address => wrong("write an IPv6 address in brackets".to_owned()),
    })?;
    let port = match port {
        None | Some("") => PORT,
        Some(digits) => match digits.parse() {
            Ok(0) => return Err(wrong("invalid port: 0".to_owned())),
            Ok(port) => port,
            Err(_) => {
                return Err(wrong(format!(
                    "invalid port: strconv.ParseUint: parsing {}: value out of range",
                    quote(digits)
                )));
            }
        },
    };
    Ok(Address::Host {
        host: if host.is_empty() { HOST } else { host }.to_owned(),
        port,
        tls: scheme == "tls",
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_docker() {
        for (text, shown) in [
            ("", "tcp://127.0.0.1:24224"),
            ("log.example.org", "tcp://log.example.org:24224"),
            ("log:1", "tcp://log:1"),
            ("tls://log", "tls://log:24224"),
            ("tcp://[::1]:5", "tcp://[::1]:5"),
            ("unix:///run/f.sock", "unix:///run/f.sock"),
        ] {
            assert_eq!(parse(text).unwrap().to_string(), shown);
        }
        for (text, why) in [
            (
                "udp://x",
                "invalid fluentd-address (udp://x): unsupported scheme: 'udp'",
            ),
            (
                "unix://",
                "invalid fluentd-address (unix://): path is empty",
            ),
            (
                "tcp://x/",
                "invalid fluentd-address (tcp://x/): should not contain a path element",
            ),
            (
                "x:99999",
                "invalid fluentd-address (x:99999): invalid port: strconv.ParseUint: parsing \"99999\": value out of range",
            ),
            (
                "x:y",
                "invalid fluentd-address (x:y): parse \"tcp://x:y\": invalid port \":y\" after host",
            ),
        ] {
            assert_eq!(parse(text).unwrap_err(), why);
        }
    }
}
