//! Addresses: `hosts` and `metrics-addr`.

use crate::check::{Errors, bad};
use crate::error::Origin;
use crate::model::{Address, Host};

/// Longest path of a unix socket (`sun_path` without its NUL).
const MAX_SOCKET_PATH: usize = 107;

/// Port of `tcp://` hosts that name none (IANA: docker, docker-s).
const fn default_port(tls: bool) -> u16 {
    if tls { 2376 } else { 2375 }
}

/// The host when only TLS is asked for, as in Docker.
pub(crate) fn tls_default() -> Host {
    Host::Tcp(Address {
        host: "localhost".to_owned(),
        port: default_port(true),
    })
}

/// One of `hosts`; `tls` decides the default port.
pub(crate) fn host(origin: Origin, text: &str, tls: bool, errors: &mut Errors) -> Option<Host> {
    let allowed = "write unix:// and an absolute path, tcp://host:port or fd://";
    let (reason, allowed) = match text.split_once("://") {
        Some(("unix", path)) if path.len() > MAX_SOCKET_PATH => (
            "the socket's path is too long".to_owned(),
            format!("write a path of at most {MAX_SOCKET_PATH} bytes"),
        ),
        Some(("unix", path)) if path.starts_with('/') && !path.contains('\0') => {
            return Some(Host::Unix(path.into()));
        }
        Some(("unix", _)) => (
            format!("invalid bind address ({text})"),
            "write unix:// and an absolute path, such as unix:///run/taffrail/docker.sock".to_owned(),
        ),
        Some(("fd", name)) if !name.contains('/') && !name.contains('\0') => {
            return Some(Host::Fd(name.trim_start_matches('*').to_owned()));
        }
        Some(("tcp", rest)) => match address(rest, default_port(tls)) {
            Ok(address) => {
                let host = match address.host.as_str() {
                    "" => "localhost".to_owned(),
                    _ => address.host,
                };
                return Some(Host::Tcp(Address {
                    host,
                    port: address.port,
                }));
            }
            Err(why) => (
                format!("invalid bind address ({text}): {why}"),
                "write tcp://host:port, such as tcp://127.0.0.1:2376; IPv6 in brackets".to_owned(),
            ),
        },
        Some(("fd", _)) => (
            format!("invalid bind address ({text})"),
            "write fd:// for all sockets that are handed over, or fd:// and a socket's number or name".to_owned(),
        ),
        Some((scheme, _)) => (
            format!("invalid bind address ({text}): unsupported proto '{scheme}'"),
            allowed.to_owned(),
        ),
        None if text.starts_with('/') => (
            format!("invalid bind address ({text})"),
            format!("write unix://{text}"),
        ),
        None if text.is_empty() => ("the address is empty".to_owned(), allowed.to_owned()),
        // As in Docker, an address without a scheme is a tcp one.
        None => return host(origin, &format!("tcp://{text}"), tls, errors),
    };
    errors.push(bad(origin, "hosts", text, reason, allowed));
    None
}

/// `metrics-addr`.
pub(crate) fn metrics(origin: Origin, text: &str, errors: &mut Errors) -> Option<Address> {
    if text.is_empty() {
        return None;
    }
    let found = if text.ends_with(']') || !text.contains(':') {
        Err("missing port in address".to_owned())
    } else {
        address(text, 0)
    };
    found
        .map_err(|why| {
            errors.push(bad(
                origin,
                "metrics-addr",
                text,
                format!("{why} {text:?}"),
                "write host:port, such as 127.0.0.1:9323",
            ));
        })
        .ok()
}

/// `host:port`, `host`, `:port`, `[v6]:port`, or nothing.
fn address(text: &str, default_port: u16) -> Result<Address, String> {
    if text.contains(['/', '?', '#', '@']) {
        return Err("should not contain a path element".to_owned());
    }
    let (host, port) = if let Some(rest) = text.strip_prefix('[') {
        let (host, rest) = rest.split_once(']').ok_or("missing ']' in address")?;
        if host.parse::<std::net::Ipv6Addr>().is_err() {
            return Err(format!("no IPv6 address in brackets: {host}"));
        }
        match rest.strip_prefix(':') {
            Some(port) => (host, Some(port)),
            None if rest.is_empty() => (host, None),
            None => return Err("unexpected text behind ']'".to_owned()),
        }
    } else {
        match text.split_once(':') {
            Some((_, port)) if port.contains(':') => {
                return Err("too many colons in address".to_owned());
            }
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        }
    };
    if !host
        .bytes()
        .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_' | b':'))
    {
        return Err(format!("no host name: {host}"));
    }
    let port = match port {
        None | Some("") => default_port,
        Some(text) => text
            .parse()
            .map_err(|_| format!("invalid port: {text}, ports are 0 to 65535"))?,
    };
    Ok(Address {
        host: host.to_owned(),
        port,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str, tls: bool) -> Result<String, String> {
        let mut errors = Vec::new();
        match host(Origin::Flag, text, tls, &mut errors) {
            Some(host) => Ok(host.to_string()),
            None => Err(errors[0].to_string()),
        }
    }

    #[test]
    fn hosts_as_docker_reads_them() {
        for (text, tls, host) in [
            ("unix:///run/x.sock", false, "unix:///run/x.sock"),
            ("fd://", false, "fd://"),
            ("fd://*", false, "fd://"),
            ("fd://3", false, "fd://3"),
            ("fd://api", false, "fd://api"),
            ("tcp://", false, "tcp://localhost:2375"),
            ("tcp://", true, "tcp://localhost:2376"),
            ("tcp://:7777", false, "tcp://localhost:7777"),
            ("tcp://127.0.0.1", true, "tcp://127.0.0.1:2376"),
            ("0.0.0.0:2375", false, "tcp://0.0.0.0:2375"),
            ("tcp://[::1]:2375", false, "tcp://[::1]:2375"),
            ("tcp://[::]", true, "tcp://[::]:2376"),
            (
                "tcp://node-1.example.com:0",
                false,
                "tcp://node-1.example.com:0",
            ),
        ] {
            assert_eq!(read(text, tls).as_deref(), Ok(host), "{text}");
        }
        for (text, part) in [
            ("", "is empty"),
            ("foo://x", "unsupported proto 'foo'"),
            ("/x.sock", "write unix:///x.sock"),
            ("unix://x.sock", "absolute path"),
            ("tcp://x:1/p", "should not contain a path element"),
            ("tcp://x:99999", "invalid port: 99999"),
            ("tcp://x:y", "invalid port: y"),
            ("tcp://::1:2375", "too many colons"),
            ("tcp://[::1", "missing ']'"),
            ("tcp://[x]:1", "no IPv6 address"),
            ("tcp://a b:1", "no host name"),
            ("fd://a/b", "write fd://"),
        ] {
            let error = read(text, false).unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        }
    }

    #[test]
    fn metrics_addresses() {
        let read = |text: &str| {
            let mut errors = Vec::new();
            let found = metrics(Origin::Flag, text, &mut errors);
            (found.map(|a| a.to_string()), errors.len())
        };
        assert_eq!(read("127.0.0.1:9323"), (Some("127.0.0.1:9323".into()), 0));
        assert_eq!(read(":9323"), (Some(":9323".into()), 0));
        assert_eq!(read("[::1]:9323"), (Some("[::1]:9323".into()), 0));
        assert_eq!(read(""), (None, 0));
        for bad in ["127.0.0.1", "[::1]", "x:y", "http://x:1"] {
            assert_eq!(read(bad), (None, 1), "{bad}");
        }
    }
}
