//! The driver's table of options.

use crate::options::{OptionKind, OptionSpec};

/// The driver's name.
pub(crate) const NAME: &str = "gelf";

pub(super) const ADDRESS: &str = "gelf-address";
pub(super) const COMPRESSION: &str = "gelf-compression-type";
pub(super) const LEVEL: &str = "gelf-compression-level";
pub(super) const MAX_RECONNECT: &str = "gelf-tcp-max-reconnect";
pub(super) const DELAY: &str = "gelf-tcp-reconnect-delay";
pub(super) const CA: &str = "gelf-tls-ca-cert";
pub(super) const CERT: &str = "gelf-tls-cert";
pub(super) const KEY: &str = "gelf-tls-key";
pub(super) const SKIP_VERIFY: &str = "gelf-tls-skip-verify";
pub(super) const SERVER_NAME: &str = "gelf-tls-server-name";

/// Options of `tls://` only.
pub(super) const TLS: [&str; 5] = [CA, CERT, KEY, SKIP_VERIFY, SERVER_NAME];

const fn option(
    name: &'static str,
    kind: OptionKind,
    default: &'static str,
    allowed: &'static str,
    short: &'static str,
    full: &'static str,
) -> OptionSpec {
    OptionSpec {
        name,
        kind,
        default,
        allowed,
        short,
        full,
    }
}

/// The driver's own options.
pub(crate) const OPTIONS: &[OptionSpec] = &[
    option(
        ADDRESS,
        OptionKind::Address,
        "",
        "udp://HOST:PORT, tcp://HOST:PORT, tls://HOST:PORT; IPv6 addresses in brackets",
        "Address of the receiver, needed.",
        "tls is Taffrail's own: GELF over TCP within TLS.",
    ),
    option(
        COMPRESSION,
        OptionKind::Choice,
        "gzip",
        "gzip, zlib, none; only with udp",
        "Compression of UDP messages.",
        "TCP messages are never compressed, as GELF has it.",
    ),
    option(
        LEVEL,
        OptionKind::Integer,
        "1",
        "-1 to 9; only with udp",
        "Level of the compression.",
        "-1 is the library's own default, 0 stores only.",
    ),
    option(
        MAX_RECONNECT,
        OptionKind::Integer,
        "3",
        "a number from 0; only with tcp and tls",
        "Attempts to connect again.",
        "Checked and without effect: records wait in the log and are never given up by a number of attempts.",
    ),
    option(
        DELAY,
        OptionKind::Integer,
        "1",
        "seconds from 0; only with tcp and tls",
        "Pause before a new attempt.",
        "The first pause; the next ones are longer, up to 30 s. Not given: 0.2 s.",
    ),
    option(
        CA,
        OptionKind::Path,
        "",
        "path of a PEM file; only with tls",
        "Authorities that the receiver's certificate is checked against.",
        "Taffrail's own. Not given: the system's. It may also hold the receiver's own certificate.",
    ),
    option(
        CERT,
        OptionKind::Path,
        "",
        "path of a PEM file, with gelf-tls-key; only with tls",
        "The client's certificate.",
        "Taffrail's own.",
    ),
    option(
        KEY,
        OptionKind::Path,
        "",
        "path of a PEM file, with gelf-tls-cert; only with tls",
        "Key of the client's certificate.",
        "Taffrail's own.",
    ),
    option(
        SKIP_VERIFY,
        OptionKind::Bool,
        "false",
        "true, false (1 t T TRUE True, 0 f F FALSE False); only with tls",
        "Trust any certificate.",
        "Taffrail's own.",
    ),
    option(
        SERVER_NAME,
        OptionKind::Text,
        "",
        "a host name or an IP address; only with tls",
        "Name that the receiver's certificate must have.",
        "Taffrail's own. Not given: the address's.",
    ),
];

/// What an option takes.
pub(super) fn allowed(option: &str) -> &'static str {
    let known = OPTIONS.iter().find(|known| known.name == option);
    known.map_or("", |known| known.allowed)
}
