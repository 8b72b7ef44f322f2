//! Values of the options, checked in Docker's words.

use std::path::PathBuf;
use std::time::Duration;

use super::options;
use crate::duration::parse_duration;
use crate::error::OptionError;
use crate::go::{parse_bool, quote};
use crate::secret::{MASK, Secret};
use crate::size::{Units, parse_size};
use crate::transport::tls::TlsOptions;

type Options = std::collections::BTreeMap<String, String>;

/// Collects what is wrong with the options.
pub(super) struct Checker<'a> {
    pub(super) options: &'a Options,
    pub(super) errors: &'a mut Vec<OptionError>,
}

impl<'a> Checker<'a> {
    /// The value, unless it is empty.
    pub(super) fn text(&self, option: &str) -> Option<&'a str> {
        let options = self.options;
        options
            .get(option)
            .map(String::as_str)
            .filter(|value| !value.is_empty())
    }

    pub(super) fn wrong(&mut self, option: &'static str, text: impl Into<String>) {
        let value = match crate::registry::is_secret(option) {
            true => MASK.to_owned(),
            false => self.options.get(option).cloned().unwrap_or_default(),
        };
        self.errors.push(OptionError::Driver {
            text: text.into(),
            option,
            value,
            allowed: options::allowed(option).to_owned(),
        });
    }

    fn of<T>(
        &mut self,
        option: &'static str,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<T> {
        let value = self.options.get(option)?;
        match parse(value) {
            Ok(value) => Some(value),
            Err(text) => {
                self.wrong(option, text);
                None
            }
        }
    }

    pub(super) fn boolean(&mut self, option: &'static str) -> bool {
        self.of(option, parse_bool).unwrap_or_default()
    }

    pub(super) fn size(&mut self, option: &'static str) {
        self.of(option, |value| {
            parse_size(value, Units::Binary).map_err(|error| error.to_string())
        });
    }

    /// `fluentd-max-retries`: 32 bits of Go's `ParseUint`.
    pub(super) fn retries(&mut self, option: &'static str) {
        self.of(option, |value| {
            let digits = !value.is_empty() && value.bytes().all(|b| b.is_ascii_digit());
            match value.parse::<u64>() {
                Ok(n) if digits && n <= 2_147_483_647 => Ok(()),
                Ok(_) if digits => Err(format!("invalid {option}: value out of range")),
                Err(_) if digits => Err(format!(
                    "strconv.ParseUint: parsing {}: value out of range",
                    quote(value)
                )),
                _ => Err(format!(
                    "strconv.ParseUint: parsing {}: invalid syntax",
                    quote(value)
                )),
            }
        });
    }

    /// A duration, not negative.
    pub(super) fn duration(&mut self, option: &'static str) -> Option<Duration> {
        self.of(option, parse_duration)
    }

    /// One of the two time-outs; 0 is none given.
    pub(super) fn timeout(&mut self, option: &'static str) -> Option<Duration> {
        let found = self.of(option, |value| {
            if value.starts_with('-') && parse_duration(&value[1..]).is_ok() {
                return Err(format!(
                    "invalid value for {option}: value must be a duration that is non-negative"
                ));
            }
            parse_duration(value).map_err(|error| {
                format!("invalid value for {option}: value must be a duration: {error}")
            })
        });
        found.filter(|timeout| !timeout.is_zero())
    }

    /// `fluentd-async-reconnect-interval`.
    pub(super) fn interval(&mut self, option: &'static str) {
        self.of(option, |value| {
            let found = parse_duration(value)
                .map_err(|error| format!("invalid value for {option}: {error}"))?;
            let allowed = Duration::from_millis(100)..=Duration::from_secs(10);
            if found.is_zero() || allowed.contains(&found) {
                Ok(())
            } else {
                Err(format!(
                    "invalid value for {option}: value ({}) must be between 100ms and 10s",
                    quote(value)
                ))
            }
        });
    }

    pub(super) fn secret(&mut self, option: &'static str) -> Option<Secret> {
        self.text(option)?;
        self.of(option, Secret::parse)
    }

    pub(super) fn tls(&mut self, is_tls: Option<bool>) -> TlsOptions {
        if is_tls == Some(false) {
            for option in options::TLS {
                if self.text(option).is_some() {
                    self.wrong(option, format!("{option} is only valid for tls://"));
                }
            }
        }
        let path = |text: Option<&str>| text.map(PathBuf::from);
        let cert = path(self.text(options::CERT));
        let key = path(self.text(options::CERT_KEY));
        let identity = match (cert, key) {
            (Some(cert), Some(key)) => Some((cert, key)),
            (None, None) => None,
            (cert, _) => {
                let option = match cert {
                    Some(_) => options::CERT_KEY,
                    None => options::CERT,
                };
                self.wrong(
                    option,
                    "a certificate needs its key and a key its certificate",
                );
                None
            }
        };
        let skip_verify = self.boolean(options::SKIP_VERIFY);
        let name = self.text(options::SERVER_NAME).map(str::to_owned);
        if let Some(name) = &name
            && rustls::pki_types::ServerName::try_from(name.as_str()).is_err()
        {
            self.wrong(options::SERVER_NAME, "that is no name for a certificate");
        }
        TlsOptions {
            ca: path(self.text(options::CA)).filter(|_| !skip_verify),
            more_cas: Vec::new(),
            system_too: false,
            identity,
            skip_verify,
            name,
        }
    }
}
