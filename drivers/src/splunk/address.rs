//! `splunk-url`.

use std::fmt;
use std::net::Ipv6Addr;

/// Where Splunk is: a scheme, a host and a port, nothing else, as in Docker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Address {
    pub(super) https: bool,
    /// a name or an address; IPv6 without brackets
    pub(super) host: String,
    pub(super) port: u16,
}

/// What is wrong with an address; the texts are Docker's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AddressError {
    /// is no URL at all
    Parse,
    /// is one, but not of the form that is wanted
    Format,
}

impl Address {
    pub(super) fn parse(text: &str) -> Result<Self, AddressError> {
        if text.bytes().any(|b| b <= b' ' || b == 0x7f) {
            return Err(AddressError::Parse);
        }
        let (https, rest) = match text.split_once("://") {
            Some(("http", rest)) => (false, rest),
            Some(("https", rest)) => (true, rest),
            _ => return Err(AddressError::Format),
        };
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        // A user would be a secret in an address that is shown.
        if rest.is_empty() || rest.contains(['/', '?', '#', '@']) {
            return Err(AddressError::Format);
        }
        let (host, port) = if let Some(rest) = rest.strip_prefix('[') {
            let (host, port) = rest.split_once(']').ok_or(AddressError::Parse)?;
            host.parse::<Ipv6Addr>().map_err(|_| AddressError::Parse)?;
            match port.strip_prefix(':') {
                Some(port) => (host, Some(port)),
                None if port.is_empty() => (host, None),
                None => return Err(AddressError::Parse),
            }
        } else {
            match rest.split_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (rest, None),
            }
        };
        let name = host
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_' | b':'));
        if host.is_empty() || !name {
            return Err(AddressError::Parse);
        }
        let port = match port {
            None | Some("") => {
                if https {
                    443
                } else {
                    80
                }
            }
            Some(port) => match port.parse() {
                Ok(port) if port != 0 && !text.contains('+') => port,
                _ => return Err(AddressError::Parse),
            },
        };
        Ok(Self {
            https,
            host: host.to_ascii_lowercase(),
            port,
        })
    }

    /// `name:port`, with brackets if they are needed.
    pub(super) fn authority(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.https { "https" } else { "http" };
        write!(f, "{scheme}://{}", self.authority())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        for (text, shown) in [
            ("https://splunk.example:8088", "https://splunk.example:8088"),
            ("https://Splunk.example/", "https://splunk.example:443"),
            ("http://10.0.0.7", "http://10.0.0.7:80"),
            ("http://[::1]:8088", "http://[::1]:8088"),
            ("http://[::1]", "http://[::1]:80"),
        ] {
            assert_eq!(Address::parse(text).unwrap().to_string(), shown);
        }
        for (text, error) in [
            ("", AddressError::Format),
            ("splunk:8088", AddressError::Format),
            ("ftp://splunk", AddressError::Format),
            ("https://", AddressError::Format),
            ("https://splunk/services", AddressError::Format),
            ("https://splunk?x", AddressError::Format),
            ("https://splunk#x", AddressError::Format),
            ("https://me:secret@splunk", AddressError::Format),
            ("https://splunk:port", AddressError::Parse),
            ("https://splunk:0", AddressError::Parse),
            ("https://splunk:+1", AddressError::Parse),
            ("https://splunk:70000", AddressError::Parse),
            ("https://[::1", AddressError::Parse),
            ("https://[::1]x", AddressError::Parse),
            ("https://a b", AddressError::Parse),
            ("https://a%20", AddressError::Parse),
        ] {
            assert_eq!(Address::parse(text), Err(error), "{text}");
        }
    }
}
