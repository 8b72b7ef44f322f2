//! Checks of the options, and what they mean for a container.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::address::{Address, AddressError};
use super::client::HecOpener;
use super::encode::{Constant, EventEncoder, Format};
use super::options as name;
use crate::attrs::{AttrSelection, ContainerFacts, TagError};
use crate::duration::parse_duration;
use crate::error::OptionError;
use crate::go::{atoi, parse_bool, quote};
use crate::secret::{MASK, Secret};
use crate::selection::select;
use crate::sink::{Destination, Encoder, Environment, Limits, PrepareError, SinkSettings};
use crate::transport::tls::{TlsClient, TlsOptions};

/// Splunk's default for the longest request was 1 MB once; a record at the end may exceed the batch.
const BATCH_BYTES: usize = 900_000;
/// Docker's variable for the events of a request.
const BATCH_SIZE: &str = "SPLUNK_LOGGING_DRIVER_POST_MESSAGES_BATCH_SIZE";

/// Checked options of one container's splunk sink.
#[derive(Debug)]
struct Settings {
    address: Address,
    token: Secret,
    source: String,
    sourcetype: String,
    index: String,
    tls: TlsOptions,
    format: Format,
    verify: bool,
    /// of zlib; absent: not compressed
    gzip: Option<u32>,
    ack: bool,
    timeout: Duration,
    ack_timeout: Duration,
    selection: AttrSelection,
}

/// The options and what was found wrong with them.
struct Checker<'a> {
    options: &'a BTreeMap<String, String>,
    errors: &'a mut Vec<OptionError>,
}

impl Checker<'_> {
    fn get(&self, option: &str) -> Option<&str> {
        self.options.get(option).map(String::as_str)
    }

    fn text(&self, option: &str) -> String {
        self.get(option).unwrap_or_default().to_owned()
    }

    fn wrong(&mut self, option: &'static str, text: String) {
        let value = match option {
            name::TOKEN => MASK.to_owned(),
            _ => self.text(option),
        };
        self.errors.push(OptionError::Driver {
            text,
            option,
            value,
            allowed: name::allowed(option).to_owned(),
        });
    }

    fn bool(&mut self, option: &'static str, default: bool) -> bool {
        match self.get(option).map(parse_bool) {
            None => default,
            Some(Ok(value)) => value,
            Some(Err(text)) => {
                self.wrong(option, text);
                default
            }
        }
    }

    fn duration(&mut self, option: &'static str, default: u64, most: u64) -> Duration {
        let default = Duration::from_secs(default);
        let Some(text) = self.get(option).filter(|text| !text.is_empty()) else {
            return default;
        };
        match parse_duration(text) {
            Ok(value) if value >= Duration::from_millis(100) && value.as_secs() <= most => value,
            Ok(_) => {
                self.wrong(option, format!("splunk: {option} is out of range"));
                default
            }
            Err(text) => {
                self.wrong(option, text);
                default
            }
        }
    }

    fn address(&mut self) -> Option<Address> {
        let Some(text) = self.get(name::URL) else {
            self.errors.push(OptionError::Text(
                "splunk: splunk-url is expected\n  for example --log-opt splunk-url=https://splunk.example.org:8088"
                    .to_owned(),
            ));
            return None;
        };
        match Address::parse(text) {
            Ok(address) => Some(address),
            Err(error) => {
                let text = match error {
                    AddressError::Parse => {
                        format!("splunk: failed to parse {text} as url value in splunk-url")
                    }
                    AddressError::Format => {
                        "splunk: expected format scheme://dns_name_or_ip:port for splunk-url"
                            .to_owned()
                    }
                };
                self.wrong(name::URL, text);
                None
            }
        }
    }

    fn token(&mut self) -> Option<Secret> {
        let Some(text) = self.get(name::TOKEN) else {
            self.errors.push(OptionError::Text(
                "splunk: splunk-token is expected\n  the token of the HTTP event collector, @/path of a file with it, or secret:NAME"
                    .to_owned(),
            ));
            return None;
        };
        let printable = text.bytes().all(|b| (b' '..=b'~').contains(&b));
        match Secret::parse(text) {
            Ok(secret) if printable => Some(secret),
            Ok(_) => {
                let text = "splunk: splunk-token has characters that no token has";
                self.wrong(name::TOKEN, text.to_owned());
                None
            }
            Err(why) => {
                self.wrong(name::TOKEN, format!("splunk: splunk-token: {why}"));
                None
            }
        }
    }

    fn caname(&mut self) -> Option<String> {
        let text = self.get(name::CANAME).filter(|text| !text.is_empty())?;
        if rustls::pki_types::ServerName::try_from(text.to_owned()).is_err() {
            let text = format!("splunk: {} is no name of a certificate", quote(text));
            self.wrong(name::CANAME, text);
            return None;
        }
        Some(text.to_owned())
    }

    fn gzip_level(&mut self) -> u32 {
        // zlib's own default
        let default = 6;
        let Some(text) = self.get(name::GZIP_LEVEL) else {
            return default;
        };
        match atoi(text) {
            Ok(-1) => default,
            Ok(level @ 0..=9) => level as u32,
            Ok(_) => {
                let text = format!(
                    "not supported level '{text}' for splunk-gzip-level (supported values between -1 and 9)"
                );
                self.wrong(name::GZIP_LEVEL, text);
                default
            }
            Err(text) => {
                let text = text.replace("strconv.Atoi", "strconv.ParseInt");
                self.wrong(name::GZIP_LEVEL, text);
                default
            }
        }
    }

    fn format(&mut self) -> Format {
        match self.get(name::FORMAT) {
            None | Some("inline") => Format::Inline,
            Some("json") => Format::Json,
            Some("raw") => Format::Raw,
            Some(text) => {
                let text = format!(
                    "unknown format specified {text}, supported formats are inline, json and raw"
                );
                self.wrong(name::FORMAT, text);
                Format::Inline
            }
        }
    }
}

/// All checks, in Docker's order.
pub(crate) fn check(
    options: &BTreeMap<String, String>,
    errors: &mut Vec<OptionError>,
) -> Option<Arc<dyn SinkSettings>> {
    let before = errors.len();
    let mut checker = Checker { options, errors };
    let address = checker.address();
    let token = checker.token();
    let tls = TlsOptions {
        ca: checker
            .get(name::CAPATH)
            .filter(|path| !path.is_empty())
            .map(Into::into),
        more_cas: Vec::new(),
        system_too: false,
        identity: None,
        skip_verify: checker.bool(name::SKIP_VERIFY, false),
        name: checker.caname(),
    };
    let gzip = checker.bool(name::GZIP, false);
    let level = checker.gzip_level();
    let ack = checker.bool(name::ACK, false);
    let selection = select(options, checker.errors);
    let verify = checker.bool(name::VERIFY, true);
    let format = checker.format();
    let timeout = checker.duration(name::TIMEOUT, 30, 3600);
    let ack_timeout = checker.duration(name::ACK_TIMEOUT, 300, 24 * 3600);
    let (source, sourcetype, index) = (
        checker.text(name::SOURCE),
        checker.text(name::SOURCETYPE),
        checker.text(name::INDEX),
    );
    let (Some(address), Some(token), true) = (address, token, errors.len() == before) else {
        return None;
    };
    Some(Arc::new(Settings {
        address,
        token,
        source,
        sourcetype,
        index,
        tls,
        format,
        verify,
        gzip: gzip.then_some(level),
        ack,
        timeout,
        ack_timeout,
        selection,
    }))
}

impl Settings {
    fn limits(&self) -> Limits {
        let standard = Limits::default();
        let batch_records = std::env::var(BATCH_SIZE)
            .ok()
            .and_then(|text| text.parse().ok())
            .filter(|count| *count > 0)
            .map_or(standard.batch_records, |count: usize| {
                count.min(standard.batch_records)
            });
        Limits {
            batch_bytes: BATCH_BYTES,
            batch_records,
            linger: Duration::from_millis(100),
            // One is in flight and one is made meanwhile. What waits for an acknowledgement is not held in memory, so there can be more of it.
            window: if self.ack { 16 } else { 2 },
            write_timeout: self.timeout,
            ack_timeout: self.ack_timeout,
            ..standard
        }
    }
}

impl SinkSettings for Settings {
    fn destination(&self, environment: &Environment) -> Result<Destination, PrepareError> {
        let tls = if self.address.https {
            let tls = TlsClient::new(&self.tls)
                .map_err(|error| PrepareError(format!("splunk: {}: {error}", name::CAPATH)))?;
            Some(tls)
        } else {
            None
        };
        let token = self
            .token
            .read(environment)
            .map_err(|error| PrepareError(format!("splunk: {}: {error}", name::TOKEN)))?;
        let limits = self.limits();
        let tls_key = tls.as_ref().map_or("", TlsClient::fingerprint);
        // An index that Splunk does not accept holds up the sinks of that index only.
        let key = format!(
            "{} {} {:?} {token:?} {:?} {:?} {} {} {limits:?} {tls_key}",
            name::NAME,
            self.address,
            self.token,
            self.index,
            self.gzip,
            self.ack,
            self.verify,
        );
        let opener = HecOpener {
            address: self.address.clone(),
            token: self.token.clone(),
            environment: environment.clone(),
            tls,
            tls_name: self.tls.name.clone(),
            verify: self.verify,
            gzip: self.gzip,
            ack: self.ack,
            limits,
        };
        Ok(Destination {
            key,
            address: self.address.to_string(),
            opener: Arc::new(opener),
            limits,
        })
    }

    fn encoder(&self, container: &ContainerFacts<'_>) -> Result<Box<dyn Encoder>, TagError> {
        let attrs = self.selection.extra(container);
        let tag = match &self.selection.tag {
            Some(template) => {
                template.render(&container.to_value(&self.selection.config, &attrs))?
            }
            // Given and empty: no tag, unlike with other drivers.
            None if self.selection.config.contains_key("tag") => String::new(),
            None => container.id.get(..12).unwrap_or(container.id).to_owned(),
        };
        let constant = Constant {
            host: container.hostname,
            source: &self.source,
            sourcetype: &self.sourcetype,
            index: &self.index,
            tag: &tag,
            attrs: &attrs,
        };
        Ok(Box::new(EventEncoder::new(self.format, &constant)))
    }

    fn warnings(&self) -> Vec<String> {
        let given = |option: &str| self.selection.config.contains_key(option);
        let mut warnings = Vec::new();
        if self.gzip.is_none() && given(name::GZIP_LEVEL) {
            warnings.push("splunk-gzip-level has no effect without splunk-gzip=true".to_owned());
        }
        if !self.address.https && (given(name::CAPATH) || given(name::CANAME)) {
            warnings.push(
                "splunk-capath and splunk-caname have no effect: splunk-url is not https"
                    .to_owned(),
            );
        }
        warnings
    }
}

#[cfg(test)]
#[path = "settings_tests.rs"]
mod tests;
