//! `syslog`: records to a syslog server over UDP, TCP, TLS, unix sockets or RELP. Options and bytes are Docker's; what is
//! different is said in `docs/drivers/syslog.md`.

pub(crate) mod address;
mod connect;
mod datagram;
mod format;
mod options;
mod relp;
mod relp_frame;
mod tcp;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use jiff::tz::TimeZone;

use crate::attrs::{AttrSelection, ContainerFacts, TagError, short_id};
use crate::error::OptionError;
use crate::selection::select;
use crate::sink::{Destination, Encoder, Environment, Limits, PrepareError, SinkSettings};
use crate::transport::tls::{TlsClient, TlsFileError, TlsOptions};
use address::Address;
use connect::To;
use format::{Fields, Format, Framing};
pub(crate) use options::OPTIONS;

/// The driver's name.
pub(crate) const NAME: &str = "syslog";

/// Checked options.
#[derive(Debug)]
struct Settings {
    address: Address,
    facility: u8,
    format: Format,
    framing: Framing,
    /// of `tcp+tls` and `relp+tls`
    tls: Option<TlsOptions>,
    selection: AttrSelection,
    warnings: Vec<String>,
}

/// Checks all options; touches no file and no network.
pub(crate) fn check(
    options: &BTreeMap<String, String>,
    errors: &mut Vec<OptionError>,
) -> Option<Arc<dyn SinkSettings>> {
    let before = errors.len();
    let given = |name: &str| options.get(name).map_or("", String::as_str);
    let wrong = |name: &'static str, text: String| OptionError::Driver {
        text,
        option: name,
        value: given(name).to_owned(),
        allowed: options::allowed(name).to_owned(),
    };
    let address = address::parse(given("syslog-address"))
        .map_err(|text| errors.push(wrong("syslog-address", text)))
        .ok();
    let facility = format::facility(given("syslog-facility"));
    if facility.is_none() {
        errors.push(wrong("syslog-facility", "invalid syslog facility".into()));
    }
    let format = Format::parse(given("syslog-format"));
    if format.is_none() {
        errors.push(wrong("syslog-format", "Invalid syslog format".into()));
    }
    let framing = framing(given("syslog-framing"), address.as_ref(), format)
        .map_err(|text| errors.push(wrong("syslog-framing", text)))
        .ok();
    let tls = tls(options, &wrong, errors);
    let selection = select(options, errors);
    if errors.len() > before {
        return None;
    }
    let (address, facility, format, framing) = (address?, facility?, format?, framing?);
    let warnings = warnings(options, &address, &selection);
    Some(Arc::new(Settings {
        tls: address.tls().then_some(tls),
        address,
        facility,
        format,
        framing,
        selection,
        warnings,
    }))
}

fn framing(
    text: &str,
    address: Option<&Address>,
    format: Option<Format>,
) -> Result<Framing, String> {
    let relp = address.is_some_and(Address::relp);
    let stream = address.is_none_or(Address::stream);
    match text {
        "" | "auto" => Ok(match format {
            _ if relp => Framing::Bare,
            Some(format) if format.is_5424() && address.is_some_and(Address::tls) => {
                Framing::Counted
            }
            _ => Framing::Newline,
        }),
        "lf" | "octet-counted" if relp => Err("RELP has a framing of its own".into()),
        "lf" => Ok(Framing::Newline),
        "octet-counted" if stream => Ok(Framing::Counted),
        "octet-counted" => Err("records are counted on tcp, tcp+tls and unix only".into()),
        _ => Err("no such framing".into()),
    }
}

fn tls(
    options: &BTreeMap<String, String>,
    wrong: &dyn Fn(&'static str, String) -> OptionError,
    errors: &mut Vec<OptionError>,
) -> TlsOptions {
    let text = |name: &str| options.get(name).filter(|value| !value.is_empty());
    let path = |name: &str| text(name).map(PathBuf::from);
    let skip_verify = match options.get("syslog-tls-skip-verify").map(String::as_str) {
        None => false,
        // Docker's way to say yes: the key alone.
        Some("") => true,
        Some(value) => crate::go::parse_bool(value).unwrap_or_else(|text| {
            errors.push(wrong("syslog-tls-skip-verify", text));
            false
        }),
    };
    let identity = match (path("syslog-tls-cert"), path("syslog-tls-key")) {
        (Some(cert), Some(key)) => Some((cert, key)),
        (None, None) => None,
        (cert, _) => {
            // What Go says when it is asked to open "".
            let missing = "could not load X509 key pair: open : no such file or directory";
            let option = match cert {
                Some(_) => "syslog-tls-key",
                None => "syslog-tls-cert",
            };
            errors.push(wrong(option, missing.to_owned()));
            None
        }
    };
    let name = text("syslog-tls-server-name").cloned();
    if let Some(name) = &name
        && rustls::pki_types::ServerName::try_from(name.as_str()).is_err()
    {
        errors.push(wrong(
            "syslog-tls-server-name",
            "that is no name for a certificate".into(),
        ));
    }
    TlsOptions {
        // Docker does not read it if nothing is verified.
        ca: path("syslog-tls-ca-cert").filter(|_| !skip_verify),
        more_cas: Vec::new(),
        system_too: true,
        identity,
        skip_verify,
        name,
    }
}

fn warnings(
    options: &BTreeMap<String, String>,
    address: &Address,
    selection: &AttrSelection,
) -> Vec<String> {
    let mut warnings = Vec::new();
    let unused: Vec<_> = options
        .keys()
        .filter(|name| name.starts_with("syslog-tls-"))
        .map(String::as_str)
        .collect();
    if !unused.is_empty() && !address.tls() {
        warnings.push(format!(
            "syslog: {} without effect: {address} has no TLS",
            unused.join(", ")
        ));
    }
    let picks = ["labels", "labels-regex", "env", "env-regex"];
    let picked = picks
        .iter()
        .any(|name| options.get(*name).is_some_and(|value| !value.is_empty()));
    if picked && selection.tag.is_none() {
        warnings.push(
            "syslog: labels and variables are only sent by a tag that has {{.ExtraAttributes nil}}"
                .to_owned(),
        );
    }
    warnings
}

impl SinkSettings for Settings {
    fn destination(&self, _: &Environment) -> Result<Destination, PrepareError> {
        let tls = match &self.tls {
            Some(options) => Some(TlsClient::new(options).map_err(|error| {
                let option = match &error {
                    TlsFileError::Ca { .. } | TlsFileError::NoCa { .. } => "syslog-tls-ca-cert",
                    TlsFileError::Pair(_) => "syslog-tls-cert, syslog-tls-key",
                    TlsFileError::Other(_) => "syslog-tls-*",
                };
                PrepareError(format!("{error}\n  {option}: PEM files are needed"))
            })?),
            None => None,
        };
        let mut limits = Limits::default();
        if self.address.stream() {
            // What is acknowledged is held for a while.
            limits.window = 256;
        }
        if self.address.relp() {
            limits.window = Limits::default().window;
            // What may come twice after a receiver died: an eighth of a usual batch.
            limits.batch_records = 1024;
            limits.batch_bytes = 256 * 1024;
        }
        let address = self.address.to_string();
        // Receivers guess the framing of a connection by its first bytes, some only once.
        let key = format!(
            "{NAME} {address} {:?} {}",
            self.framing,
            tls.as_ref().map_or("", TlsClient::fingerprint)
        );
        Ok(Destination {
            key,
            opener: Arc::new(To {
                address: self.address.clone(),
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
        // Docker's library takes the program's own name then.
        let tag = if tag.is_empty() {
            std::env::args().next().unwrap_or_default()
        } else {
            tag
        };
        let fields = Fields {
            format: self.format,
            framing: self.framing,
            facility: self.facility,
            hostname: container.hostname,
            tag: &tag,
            pid: std::process::id(),
        };
        let zone = TimeZone::try_system().unwrap_or(TimeZone::UTC);
        Ok(Box::new(format::Syslog::new(&fields, zone)))
    }

    fn warnings(&self) -> Vec<String> {
        self.warnings.clone()
    }
}

#[cfg(test)]
mod tests;
