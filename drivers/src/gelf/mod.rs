//! `gelf`: records to Graylog and others as GELF 1.1 over UDP, TCP or TLS. Options and bytes are Docker's; what is different is said in
//! `docs/drivers/gelf.md`.

mod address;
mod connect;
mod encode;
mod options;
#[cfg(test)]
mod tests;
mod udp;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::attrs::{AttrSelection, ContainerFacts, TagError, short_id};
use crate::error::OptionError;
use crate::go::{atoi, parse_bool};
use crate::selection::select;
use crate::sink::{Destination, Encoder, Environment, Limits, PrepareError, SinkSettings};
use crate::transport::tls::{TlsClient, TlsOptions};
use address::{Address, Scheme};
use connect::To;
pub(crate) use options::{NAME, OPTIONS};
use udp::Compression;

/// Checked options.
#[derive(Debug)]
struct Settings {
    address: Address,
    compression: Compression,
    level: i32,
    /// `gelf-tcp-reconnect-delay`
    delay: Option<Duration>,
    tls: TlsOptions,
    selection: AttrSelection,
}

/// Checks all options; touches no file and no network.
pub(crate) fn check(
    options: &BTreeMap<String, String>,
    errors: &mut Vec<OptionError>,
) -> Option<Arc<dyn SinkSettings>> {
    let before = errors.len();
    let wrong = |option: &'static str, text: String| OptionError::Driver {
        text,
        option,
        value: options.get(option).cloned().unwrap_or_default(),
        allowed: options::allowed(option).to_owned(),
    };
    let address = address::parse(options.get(options::ADDRESS).map_or("", String::as_str))
        .map_err(|text| errors.push(wrong(options::ADDRESS, text)))
        .ok();
    let scheme = address.as_ref().map(|address| address.scheme);
    let unknown = |option: &str, value: &str| {
        format!("unknown value \"{value}\" for log opt \"{option}\" for gelf log driver")
    };
    let mut compression = Compression::Gzip;
    let mut level = 1;
    let mut delay = None;
    for (option, value) in options {
        let (option, found) = match option.as_str() {
            options::COMPRESSION if scheme.is_some_and(|s| s != Scheme::Udp) => (
                options::COMPRESSION,
                Err("compression is only supported on UDP".to_owned()),
            ),
            options::COMPRESSION => (
                options::COMPRESSION,
                Compression::parse(value)
                    .map(|one| compression = one)
                    .ok_or_else(|| unknown(option, value)),
            ),
            options::LEVEL if scheme.is_some_and(|s| s != Scheme::Udp) => (
                options::LEVEL,
                Err("compression is only supported on UDP".to_owned()),
            ),
            options::LEVEL => (
                options::LEVEL,
                match atoi(value).ok().and_then(|n| i32::try_from(n).ok()) {
                    Some(n @ -1..=9) => {
                        level = n;
                        Ok(())
                    }
                    _ => Err(unknown(option, value)),
                },
            ),
            options::MAX_RECONNECT => (
                options::MAX_RECONNECT,
                stream_number(options::MAX_RECONNECT, value, scheme).map(drop),
            ),
            options::DELAY => (
                options::DELAY,
                stream_number(options::DELAY, value, scheme)
                    .map(|seconds| delay = Some(Duration::from_secs(seconds))),
            ),
            _ => continue,
        };
        if let Err(text) = found {
            errors.push(wrong(option, text));
        }
    }
    let tls = tls(options, scheme, &wrong, errors);
    let selection = select(options, errors);
    if errors.len() > before {
        return None;
    }
    Some(Arc::new(Settings {
        address: address?,
        compression,
        level,
        delay,
        tls,
        selection,
    }))
}

/// A number of an option that only streams have.
fn stream_number(option: &str, value: &str, scheme: Option<Scheme>) -> Result<u64, String> {
    if scheme == Some(Scheme::Udp) {
        return Err(format!("\"{option}\" is only valid for TCP"));
    }
    let number = atoi(value).ok().and_then(|n| u64::try_from(n).ok());
    number.ok_or_else(|| format!("\"{option}\" must be a positive integer"))
}

fn tls(
    options: &BTreeMap<String, String>,
    scheme: Option<Scheme>,
    wrong: &dyn Fn(&'static str, String) -> OptionError,
    errors: &mut Vec<OptionError>,
) -> TlsOptions {
    let text = |name: &str| options.get(name).filter(|value| !value.is_empty());
    let path = |name: &str| text(name).map(PathBuf::from);
    if scheme.is_some_and(|scheme| scheme != Scheme::Tls) {
        for option in options::TLS {
            if text(option).is_some() {
                errors.push(wrong(option, format!("{option} is only valid for tls://")));
            }
        }
    }
    let identity = match (path(options::CERT), path(options::KEY)) {
        (Some(cert), Some(key)) => Some((cert, key)),
        (None, None) => None,
        (cert, _) => {
            let option = if cert.is_some() {
                options::KEY
            } else {
                options::CERT
            };
            let text = "a certificate needs its key and a key its certificate";
            errors.push(wrong(option, text.to_owned()));
            None
        }
    };
    let skip_verify = text(options::SKIP_VERIFY).is_some_and(|value| {
        parse_bool(value).unwrap_or_else(|text| {
            errors.push(wrong(options::SKIP_VERIFY, text));
            false
        })
    });
    let name = text(options::SERVER_NAME).cloned();
    if let Some(name) = &name
        && rustls::pki_types::ServerName::try_from(name.as_str()).is_err()
    {
        let text = "that is no name for a certificate";
        errors.push(wrong(options::SERVER_NAME, text.to_owned()));
    }
    TlsOptions {
        ca: path(options::CA).filter(|_| !skip_verify),
        more_cas: Vec::new(),
        system_too: false,
        identity,
        skip_verify,
        name,
    }
}

impl SinkSettings for Settings {
    fn destination(&self, _: &Environment) -> Result<Destination, PrepareError> {
        let tls = match self.address.scheme {
            Scheme::Tls => Some(
                TlsClient::new(&self.tls)
                    .map_err(|error| PrepareError(format!("{error}\n  gelf-tls-*: PEM files")))?,
            ),
            _ => None,
        };
        let mut limits = Limits::default();
        if self.address.scheme != Scheme::Udp {
            // What is acknowledged is held for a while.
            limits.window = 256;
        }
        if let Some(delay) = self.delay {
            limits.retry.0 = delay.max(limits.retry.0).min(limits.retry.1);
        }
        let address = self.address.to_string();
        let key = format!(
            "{address} {:?} {} {:?} {}",
            self.compression,
            self.level,
            limits.retry.0,
            tls.as_ref().map_or("", TlsClient::fingerprint)
        );
        Ok(Destination {
            key,
            opener: Arc::new(To {
                address: self.address.clone(),
                compression: self.compression,
                level: self.level,
                tls,
                limits,
            }),
            address,
            limits,
        })
    }

    fn encoder(&self, container: &ContainerFacts<'_>) -> Result<Box<dyn Encoder>, TagError> {
        let tag = match &self.selection.tag {
            None => short_id(container.id).to_owned(),
            Some(_) => self.selection.rendered_tag(container)?,
        };
        let extra = self.selection.extra(container);
        let end = if self.address.scheme == Scheme::Udp {
            None
        } else {
            Some(0)
        };
        Ok(Box::new(encode::Gelf::new(container, &tag, &extra, end)))
    }
}
