//! `tls`, `tlsverify` and the files that go with them. The files are read by the daemon, not here.

use std::net::IpAddr;

use crate::check::{Errors, bad};
use crate::error::{Origin, Warning};
use crate::flags::Flags;
use crate::load::Source;
use crate::model::{Host, Tls};

const NO_PAIR: &str = "could not load X509 key pair";

/// What the keys say together, and whether going without authentication was asked for.
///
/// Docker's rules: `tls` implies `tlsverify`; `tlsverify`, given at all, turns TLS on.
pub(crate) fn tls(
    source: &Source<'_>,
    flags: &Flags,
    errors: &mut Errors,
    warnings: &mut Vec<Warning>,
) -> (Option<Tls>, bool) {
    let on = flags.tls.or(source.file.bool("tls"));
    let verify = flags.tlsverify.or(source.file.bool("tlsverify"));
    let ca = source.path("tlscacert", flags.tlscacert.as_ref(), errors);
    let cert = source.path("tlscert", flags.tlscert.as_ref(), errors);
    let key = source.path("tlskey", flags.tlskey.as_ref(), errors);
    let declined = on == Some(false) || verify == Some(false);
    if verify.is_none() && on != Some(true) {
        for (name, path) in [("tlscacert", &ca), ("tlscert", &cert), ("tlskey", &key)] {
            if path.is_some() {
                warnings.push(Warning {
                    line: source.file.line(name),
                    key: name.to_owned(),
                    text:
                        "without effect while TLS is off: set \"tlsverify\" to true to turn it on"
                            .to_owned(),
                });
            }
        }
        return (None, declined);
    }
    let verify = verify.unwrap_or(true);
    let by = |name: &str, flag: bool| {
        if flag {
            Origin::Flag
        } else {
            source.origin(name)
        }
    };
    let asked = if source.file.bool("tlsverify").is_some() || flags.tlsverify.is_some() {
        ("tlsverify", by("tlsverify", flags.tlsverify.is_some()))
    } else {
        ("tls", by("tls", flags.tls.is_some()))
    };
    if verify && ca.is_none() {
        errors.push(bad(
            asked.1,
            asked.0,
            "true",
            "invalid TLS configuration: clients' certificates cannot be checked without tlscacert",
            "name the file of the certificates that they are signed by, or set \"tlsverify\" to false to let in everyone",
        ));
    }
    match (cert, key) {
        (Some(cert), Some(key)) => (
            Some(Tls {
                verify,
                ca: ca.filter(|_| verify),
                cert,
                key,
            }),
            declined,
        ),
        (cert, key) => {
            let shown = |path: &Option<std::path::PathBuf>| {
                path.as_ref()
                    .map_or_else(String::new, |path| path.display().to_string())
            };
            errors.push(bad(
                asked.1,
                asked.0,
                "true",
                format!(
                    "invalid TLS configuration: {NO_PAIR} (cert: {:?}, key: {:?})",
                    shown(&cert),
                    shown(&key)
                ),
                "name the daemon's certificate as tlscert and its key as tlskey",
            ));
            (None, declined)
        }
    }
}

/// Says aloud who may use the API on each `tcp://` host.
pub(crate) fn exposure(
    hosts: &[Host],
    tls: Option<&Tls>,
    declined: bool,
    line: Option<usize>,
    warnings: &mut Vec<Warning>,
) {
    if tls.is_some_and(|tls| tls.verify) {
        return;
    }
    for host in hosts {
        let Host::Tcp(address) = host else {
            continue;
        };
        let loopback = address.host == "localhost"
            || address
                .host
                .parse::<IpAddr>()
                .is_ok_and(|ip| ip.is_loopback());
        let mut text = format!(
            "{host}: binding to an IP address without tlsverify is insecure and gives root access on this machine to everyone who can \
             reach it; even on localhost it can give access to scripts run in a browser"
        );
        if !loopback && !declined {
            text.push_str(
                ". Set tlsverify, or say that this is meant with \"tls\": false or \"tlsverify\": false",
            );
        }
        warnings.push(Warning {
            line,
            key: "hosts".to_owned(),
            text,
        });
    }
}
