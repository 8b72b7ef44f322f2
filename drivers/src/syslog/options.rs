//! The options of `syslog`.

use super::address;
use crate::options::{OptionKind, OptionSpec};

const SKIP_VERIFY: &str =
    "true, false (1 t T TRUE True, 0 f F FALSE False); an empty value counts as true";

/// The driver's own options.
pub(crate) const OPTIONS: &[OptionSpec] = &[
    OptionSpec {
        name: "syslog-address",
        kind: OptionKind::Address,
        default: "",
        allowed: address::ALLOWED,
        short: "The receiver.",
        full: "Default ports are 514, and 2514 for relp and relp+tls (RELP has no assigned port: write it out). IPv6 addresses stand in \
               brackets. Empty: the first of /dev/log, /var/run/syslog, /var/run/log that takes datagrams, else the first that takes a \
               stream. Whether anybody listens is found when records are sent. The relp schemes are Taffrail's own.",
    },
    OptionSpec {
        name: "syslog-facility",
        kind: OptionKind::Choice,
        default: "daemon",
        allowed: "kern, user, mail, daemon, auth, syslog, lpr, news, uucp, cron, authpriv, ftp, local0 to local7, or a number from 0 to 23",
        short: "Facility of all records.",
        full: "The severity is 6 (informational) for standard output and 3 (error) for standard error.",
    },
    OptionSpec {
        name: "syslog-format",
        kind: OptionKind::Choice,
        default: "",
        allowed: "rfc3164, rfc5424, rfc5424micro; empty for BSD style without a host name",
        short: "Form of a record.",
        full: "Only rfc5424micro has fractions of a second, only the two rfc5424 have year and zone: take rfc5424micro where the receiver can.",
    },
    OptionSpec {
        name: "syslog-framing",
        kind: OptionKind::Choice,
        default: "auto",
        allowed: "auto, octet-counted (tcp, tcp+tls and unix only), lf (not with relp)",
        short: "How records are told apart on a stream.",
        full: "auto is Docker's choice: octet counting (RFC 5425) for rfc5424 and rfc5424micro over tcp+tls, else a newline behind each \
               record. Taffrail's own.",
    },
    OptionSpec {
        name: "syslog-tls-ca-cert",
        kind: OptionKind::Path,
        default: "",
        allowed: "path of a PEM file",
        short: "Authorities trusted beside the system's, or the receiver's own certificate.",
        full: "Not read if syslog-tls-skip-verify is true.",
    },
    OptionSpec {
        name: "syslog-tls-cert",
        kind: OptionKind::Path,
        default: "",
        allowed: "path of a PEM file; syslog-tls-key beside it",
        short: "The client's certificate, with its chain.",
        full: "For receivers that ask for one.",
    },
    OptionSpec {
        name: "syslog-tls-key",
        kind: OptionKind::Path,
        default: "",
        allowed: "path of a PEM file; syslog-tls-cert beside it",
        short: "The key of the client's certificate.",
        full: "Not encrypted.",
    },
    OptionSpec {
        name: "syslog-tls-server-name",
        kind: OptionKind::Text,
        default: "",
        allowed: "a DNS name or an IP address",
        short: "Name that the receiver's certificate must have.",
        full: "Without it, the host of syslog-address. Taffrail's own.",
    },
    OptionSpec {
        name: "syslog-tls-skip-verify",
        kind: OptionKind::Bool,
        default: "false",
        allowed: SKIP_VERIFY,
        short: "Trust any certificate.",
        full: "Docker asks only whether the option is there: its syslog-tls-skip-verify=false skips the check, here it does not.",
    },
];

/// What an option takes, for error texts.
pub(super) fn allowed(name: &str) -> &'static str {
    let known = OPTIONS.iter().find(|option| option.name == name);
    known.map_or("", |option| option.allowed)
}
