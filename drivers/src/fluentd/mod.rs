//! `fluentd`: records to Fluentd, Fluent Bit and others by the forward protocol v1, over TCP, TLS or a unix socket. Options and records are
//! Docker's; what is different is said in `docs/drivers/fluentd.md`.

mod acks;
mod address;
mod connect;
mod connection;
mod encode;
mod frame;
mod handshake;
mod options;
#[cfg(test)]
mod tests;
mod value;
mod values;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::attrs::{AttrSelection, ContainerFacts, TagError};
use crate::error::OptionError;
use crate::secret::Secret;
use crate::selection::select;
use crate::sink::{Destination, Encoder, Environment, Limits, PrepareError, SinkSettings};
use crate::transport::tls::{TlsClient, TlsOptions};
use acks::Learned;
use address::Address;
use connect::{Account, To};
pub(crate) use options::{NAME, OPTIONS};
use values::Checker;

/// Checked options.
#[derive(Debug)]
struct Settings {
    address: Address,
    sub_second: bool,
    request_ack: bool,
    gzip: bool,
    retry_wait: Option<Duration>,
    write_timeout: Option<Duration>,
    read_timeout: Option<Duration>,
    key: Option<Secret>,
    user: Option<String>,
    password: Option<Secret>,
    hostname: Option<String>,
    tls: TlsOptions,
    selection: AttrSelection,
}

/// Checks all options; touches no file and no network.
pub(crate) fn check(
    options: &BTreeMap<String, String>,
    errors: &mut Vec<OptionError>,
) -> Option<Arc<dyn SinkSettings>> {
    let before = errors.len();
    let mut checker = Checker { options, errors };
    let address = address::parse(checker.text(options::ADDRESS).unwrap_or_default())
        .map_err(|text| checker.wrong(options::ADDRESS, text))
        .ok();
    checker.boolean(options::ASYNC);
    checker.interval(options::RECONNECT);
    checker.size(options::BUFFER);
    checker.retries(options::RETRIES);
    let retry_wait = checker.duration(options::WAIT);
    let sub_second = checker.boolean(options::SUB_SECOND);
    let request_ack = checker.boolean(options::ACK);
    let write_timeout = checker.timeout(options::WRITE_TIMEOUT);
    let read_timeout = checker.timeout(options::READ_TIMEOUT);
    let gzip = match checker.text(options::COMPRESS) {
        None | Some("none") => false,
        Some("gzip") => true,
        Some(_) => {
            checker.wrong(options::COMPRESS, "no such compression");
            false
        }
    };
    let key = checker.secret(options::KEY);
    let password = checker.secret(options::PASSWORD);
    let user = checker.text(options::USER).map(str::to_owned);
    if user.is_some() && checker.text(options::KEY).is_none() {
        checker.wrong(
            options::USER,
            "a user needs fluentd-shared-key: the protocol has no login without",
        );
    }
    let hostname = checker.text(options::HOSTNAME).map(str::to_owned);
    let tls = checker.tls(address.as_ref().map(Address::tls));
    let selection = select(options, errors);
    if errors.len() > before {
        return None;
    }
    Some(Arc::new(Settings {
        address: address?,
        sub_second,
        request_ack,
        gzip,
        retry_wait,
        write_timeout,
        read_timeout,
        key,
        user,
        password,
        hostname,
        tls,
        selection,
    }))
}

impl SinkSettings for Settings {
    fn destination(&self, environment: &Environment) -> Result<Destination, PrepareError> {
        let tls = match self.address.tls() {
            true => Some(TlsClient::new(&self.tls).map_err(|error| {
                PrepareError(format!("{error}\n  fluentd-tls-*: PEM files are needed"))
            })?),
            false => None,
        };
        for (option, secret) in [
            (options::KEY, &self.key),
            (options::PASSWORD, &self.password),
        ] {
            if let Some(secret) = secret {
                secret
                    .read(environment)
                    .map_err(|error| PrepareError(format!("{option}: {error}")))?;
            }
        }
        let mut limits = Limits {
            // The first records wait until it is known whether the receiver acknowledges.
            window: 32,
            batch_records: 1024,
            batch_bytes: 128 * 1024,
            ..Limits::default()
        };
        if let Some(wait) = self.retry_wait.filter(|wait| !wait.is_zero()) {
            limits.retry.0 = wait.min(limits.retry.1);
        }
        limits.write_timeout = self.write_timeout.unwrap_or(limits.write_timeout);
        limits.ack_timeout = self.read_timeout.unwrap_or(limits.ack_timeout);
        let address = self.address.to_string();
        let secret = |secret: &Option<Secret>| match secret {
            Some(Secret::Given(text)) => text.clone(),
            other => format!("{other:?}"),
        };
        let key = format!(
            "{address} {} {} {:?} {:?} {:?} {} {} {:?} {}",
            self.request_ack,
            self.gzip,
            limits.retry.0,
            limits.write_timeout,
            limits.ack_timeout,
            secret(&self.key),
            secret(&self.password),
            (&self.user, &self.hostname),
            tls.as_ref().map_or("", TlsClient::fingerprint)
        );
        Ok(Destination {
            key,
            opener: Arc::new(To {
                address: self.address.clone(),
                request_ack: self.request_ack,
                gzip: self.gzip,
                account: self.key.clone().map(|key| Account {
                    key,
                    user: self.user.clone().unwrap_or_default(),
                    password: self.password.clone(),
                    hostname: self.hostname.clone(),
                    environment: environment.clone(),
                }),
                tls,
                limits,
                learned: Arc::new(Learned::default()),
            }),
            address,
            limits,
        })
    }

    fn encoder(&self, container: &ContainerFacts<'_>) -> Result<Box<dyn Encoder>, TagError> {
        let entries = encode::Entries::new(&self.selection, container, self.sub_second)?;
        Ok(Box::new(entries))
    }
}
