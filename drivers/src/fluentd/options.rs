//! The driver's table of options.

use crate::options::{OptionKind, OptionSpec};

/// The driver's name.
pub(crate) const NAME: &str = "fluentd";

pub(super) const ADDRESS: &str = "fluentd-address";
pub(super) const ASYNC: &str = "fluentd-async";
pub(super) const RECONNECT: &str = "fluentd-async-reconnect-interval";
pub(super) const BUFFER: &str = "fluentd-buffer-limit";
pub(super) const RETRIES: &str = "fluentd-max-retries";
pub(super) const WAIT: &str = "fluentd-retry-wait";
pub(super) const SUB_SECOND: &str = "fluentd-sub-second-precision";
pub(super) const ACK: &str = "fluentd-request-ack";
pub(super) const WRITE_TIMEOUT: &str = "fluentd-write-timeout";
pub(super) const READ_TIMEOUT: &str = "fluentd-read-timeout";
pub(super) const COMPRESS: &str = "fluentd-compress";
pub(super) const KEY: &str = "fluentd-shared-key";
pub(super) const USER: &str = "fluentd-username";
pub(super) const PASSWORD: &str = "fluentd-password";
pub(super) const HOSTNAME: &str = "fluentd-self-hostname";
pub(super) const CA: &str = "fluentd-tls-ca-cert";
pub(super) const CERT: &str = "fluentd-tls-cert";
pub(super) const CERT_KEY: &str = "fluentd-tls-key";
pub(super) const SKIP_VERIFY: &str = "fluentd-tls-skip-verify";
pub(super) const SERVER_NAME: &str = "fluentd-tls-server-name";

/// Options of `tls://` only.
pub(super) const TLS: [&str; 5] = [CA, CERT, CERT_KEY, SKIP_VERIFY, SERVER_NAME];

const BOOL: &str = "true, false (1 t T TRUE True, 0 f F FALSE False)";
const SECRET: &str = "a text, @/path of a file with it, or secret:NAME";
const NO_EFFECT: &str = "Checked and without effect: records are always sent from the log on disk, and none is given up for it.";

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
        "tcp://127.0.0.1:24224",
        super::address::ALLOWED,
        "Address of the receiver.",
        "The port is 24224 if none is given. IPv6 addresses in brackets.",
    ),
    option(
        ASYNC,
        OptionKind::Bool,
        "false",
        BOOL,
        "Docker's delivery in the background.",
        "Checked and without effect: delivery is always in the background, and a receiver that is away never keeps a container from starting.",
    ),
    option(
        RECONNECT,
        OptionKind::Duration,
        "0",
        "0, or a duration from 100ms to 10s",
        "Docker's interval of new connections.",
        NO_EFFECT,
    ),
    option(
        BUFFER,
        OptionKind::BinarySize,
        "1m",
        "a size with binary units (1m = 1,048,576)",
        "Docker's queue in memory.",
        NO_EFFECT,
    ),
    option(
        RETRIES,
        OptionKind::Integer,
        "2147483647",
        "0 to 2147483647",
        "Attempts before records are given up.",
        NO_EFFECT,
    ),
    option(
        WAIT,
        OptionKind::Duration,
        "1s",
        "a duration from 0, for example 500ms",
        "Pause before a new attempt.",
        "The first pause; the next ones are longer, up to 30 s. Not given or 0: 0.2 s.",
    ),
    option(
        SUB_SECOND,
        OptionKind::Bool,
        "false",
        BOOL,
        "Times with nanoseconds.",
        "The protocol's EventTime in place of whole seconds.",
    ),
    option(
        ACK,
        OptionKind::Bool,
        "false",
        BOOL,
        "Ask for an acknowledgement of everything.",
        "Not given or false: after the first records the driver finds out by itself whether the receiver acknowledges, and then asks for it, too.",
    ),
    option(
        WRITE_TIMEOUT,
        OptionKind::Duration,
        "0",
        "a duration from 0; 0 means 30s",
        "How long a peer may answer nothing at all to what is written.",
        "A receiver that is there and does not read is waited for.",
    ),
    option(
        READ_TIMEOUT,
        OptionKind::Duration,
        "0",
        "a duration from 0; 0 means 30s",
        "How long an acknowledgement is waited for.",
        "Then the connection is made anew, and what was not acknowledged is sent again.",
    ),
    option(
        COMPRESS,
        OptionKind::Choice,
        "none",
        "none, gzip",
        "Compression of batches.",
        "Taffrail's own. gzip: batches of 16 records or more are CompressedPackedForward.",
    ),
    option(
        KEY,
        OptionKind::Secret,
        "",
        SECRET,
        "The receiver's shared key.",
        "Taffrail's own. With it both sides prove that they know it before anything is sent.",
    ),
    option(
        USER,
        OptionKind::Text,
        "",
        "any text; needs fluentd-shared-key",
        "User for receivers that ask for one.",
        "Taffrail's own.",
    ),
    option(
        PASSWORD,
        OptionKind::Secret,
        "",
        SECRET,
        "The user's password.",
        "Taffrail's own.",
    ),
    option(
        HOSTNAME,
        OptionKind::Text,
        "",
        "any text",
        "Name of this host in the handshake.",
        "Taffrail's own. Not given: the host's name.",
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
        "path of a PEM file, with fluentd-tls-key; only with tls",
        "The client's certificate.",
        "Taffrail's own.",
    ),
    option(
        CERT_KEY,
        OptionKind::Path,
        "",
        "path of a PEM file, with fluentd-tls-cert; only with tls",
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
