//! Registries: mirrors, insecure ones, and how many transfers there are at a time (source: Moby `registry/config.go`).

use std::net::IpAddr;

use crate::check::{Errors, bad};
use crate::error::Origin;

/// Transfers at a time and attempts when nothing is said (Docker's).
pub(crate) const DOWNLOADS: u32 = 3;
pub(crate) const UPLOADS: u32 = 5;
pub(crate) const ATTEMPTS: u32 = 5;
/// More connections at a time than this help nobody, and each has a buffer.
const MAX_TRANSFERS: i64 = 64;
/// A transfer that has failed so often will not succeed.
const MAX_ATTEMPTS: i64 = 100;

/// Addresses by prefix: `10.0.0.0/8`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cidr {
    address: IpAddr,
    prefix: u8,
}

impl Cidr {
    /// Reads `address/prefix`; what is behind the prefix is cut off.
    pub fn parse(text: &str) -> Option<Self> {
        let (address, prefix) = text.split_once('/')?;
        let address: IpAddr = address.parse().ok()?;
        let prefix: u8 = prefix.parse().ok()?;
        let bits = if address.is_ipv4() { 32 } else { 128 };
        (prefix <= bits).then(|| Self {
            address: masked(address, prefix),
            prefix,
        })
    }

    /// Whether an address is one of these.
    pub fn contains(&self, address: IpAddr) -> bool {
        address.is_ipv4() == self.address.is_ipv4() && masked(address, self.prefix) == self.address
    }
}

fn masked(address: IpAddr, prefix: u8) -> IpAddr {
    match address {
        IpAddr::V4(v4) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0);
            IpAddr::V4((v4.to_bits() & mask).into())
        }
        IpAddr::V6(v6) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(prefix)).unwrap_or(0);
            IpAddr::V6((v6.to_bits() & mask).into())
        }
    }
}

impl std::fmt::Display for Cidr {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

/// What `insecure-registries` names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Insecure {
    /// `host` or `host:port`, as written
    pub hosts: Vec<String>,
    /// all registries at such addresses
    pub cidrs: Vec<Cidr>,
}

/// `registry-mirrors`: absolute URLs that end in `/`.
pub(crate) fn mirrors(items: &[(Origin, &str)], errors: &mut Errors) -> Vec<String> {
    let mut found = Vec::new();
    for (origin, text) in items {
        match mirror(text) {
            Ok(url) if found.contains(&url) => {}
            Ok(url) => found.push(url),
            Err(reason) => errors.push(bad(
                *origin,
                "registry-mirrors",
                text,
                format!("invalid mirror: {reason}"),
                "write https://host or http://host:port, with a path if there is one",
            )),
        }
    }
    found
}

fn mirror(text: &str) -> Result<String, String> {
    let rest = text
        .strip_prefix("https://")
        .or_else(|| text.strip_prefix("http://"))
        .ok_or_else(|| format!("unsupported scheme in {text:?}"))?;
    let host = rest.split('/').next().unwrap_or_default();
    if host.contains('@') {
        return Err("username/password not allowed in URI".to_owned());
    }
    if host.is_empty() || text.contains(|c: char| c.is_whitespace() || c.is_control()) {
        return Err(format!("{text:?} is not a valid URI"));
    }
    if rest.contains(['?', '#']) {
        return Err(format!("query or fragment at end of the URI {text:?}"));
    }
    Ok(format!("{}/", text.trim_end_matches('/')))
}

/// `insecure-registries`.
pub(crate) fn insecure(items: &[(Origin, &str)], errors: &mut Errors) -> Insecure {
    let mut found = Insecure::default();
    for (origin, text) in items {
        // As Docker, which takes a scheme away with a warning.
        let host = text
            .strip_prefix("https://")
            .or_else(|| text.strip_prefix("http://"))
            .unwrap_or(text);
        if let Some(cidr) = Cidr::parse(host) {
            if !found.cidrs.contains(&cidr) {
                found.cidrs.push(cidr);
            }
            continue;
        }
        let name = host.trim_end_matches(|c: char| c.is_ascii_digit());
        let port = &host[name.len()..];
        let has_port = name.ends_with(':');
        let good = !host.is_empty()
            && !host.starts_with('-')
            && !host.contains(|c: char| c == '/' || c == '@' || c.is_whitespace())
            && (!has_port || port.parse::<u16>().is_ok_and(|port| port > 0));
        if !good {
            errors.push(bad(
                *origin,
                "insecure-registries",
                text,
                format!("insecure registry {text} is not valid"),
                "write host, host:port or address/prefix",
            ));
        } else if !found.hosts.iter().any(|known| known == host) {
            found.hosts.push(host.to_owned());
        }
    }
    found
}

/// `max-concurrent-downloads`, `max-concurrent-uploads`, `max-download-attempts`; 0 is the default, as in Docker.
pub(crate) fn number(
    key: &str,
    given: Option<(Origin, i64)>,
    default: u32,
    errors: &mut Errors,
) -> u32 {
    let Some((origin, value)) = given else {
        return default;
    };
    let most = if key == "max-download-attempts" {
        MAX_ATTEMPTS
    } else {
        MAX_TRANSFERS
    };
    match value {
        0 => default,
        1.. if value <= most => u32::try_from(value).unwrap_or(default),
        _ => {
            errors.push(bad(
                origin,
                key,
                &value.to_string(),
                format!("invalid {}: {value}", key.replace('-', " ")),
                format!("write a number from 1 to {most}, or 0 for the default {default}"),
            ));
            default
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes() {
        let cidr = Cidr::parse("10.1.2.3/8").unwrap();
        assert_eq!(cidr.to_string(), "10.0.0.0/8");
        assert!(cidr.contains("10.255.0.1".parse().unwrap()));
        assert!(!cidr.contains("11.0.0.1".parse().unwrap()));
        assert!(!cidr.contains("::1".parse().unwrap()));
        let all = Cidr::parse("0.0.0.0/0").unwrap();
        assert!(all.contains("192.0.2.1".parse().unwrap()));
        let v6 = Cidr::parse("fd00::/8").unwrap();
        assert!(
            v6.contains("fd12::1".parse().unwrap()) && !v6.contains("fe80::1".parse().unwrap())
        );
        assert!(
            Cidr::parse("::1/128")
                .unwrap()
                .contains("::1".parse().unwrap())
        );
        for bad in ["10.0.0.0", "10.0.0.0/33", "x/8", "::/129", "/8"] {
            assert_eq!(Cidr::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn lists() {
        let origin = Origin::Flag;
        let mut errors = Vec::new();
        let list = |items: &[&'static str]| -> Vec<(Origin, &'static str)> {
            items.iter().map(|item| (origin, *item)).collect()
        };
        assert_eq!(
            mirrors(
                &list(&[
                    "https://m.example",
                    "http://m:5000/x/",
                    "https://m.example/"
                ]),
                &mut errors
            ),
            ["https://m.example/", "http://m:5000/x/"]
        );
        let found = insecure(
            &list(&["r:5000", "http://r", "10.0.0.0/8", "[fd00::1]:5000"]),
            &mut errors,
        );
        assert_eq!(found.hosts, ["r:5000", "r", "[fd00::1]:5000"]);
        assert_eq!(found.cidrs.len(), 1);
        assert!(errors.is_empty(), "{errors:?}");
        mirrors(
            &list(&[
                "m.example",
                "ftp://x",
                "https://u:p@x",
                "https://x?y",
                "https://",
            ]),
            &mut errors,
        );
        assert_eq!(errors.len(), 5, "{errors:?}");
        insecure(&list(&["", "-x", "r/path", "r:99999"]), &mut errors);
        assert_eq!(errors.len(), 9, "{errors:?}");
        assert_eq!(
            number(
                "max-concurrent-downloads",
                Some((origin, 0)),
                3,
                &mut errors
            ),
            3
        );
        assert_eq!(
            number(
                "max-concurrent-downloads",
                Some((origin, 7)),
                3,
                &mut errors
            ),
            7
        );
        number(
            "max-concurrent-downloads",
            Some((origin, -1)),
            3,
            &mut errors,
        );
        number("max-download-attempts", Some((origin, 101)), 3, &mut errors);
        assert_eq!(errors.len(), 11, "{errors:?}");
    }
}
