//! The driver's table of options.

use crate::options::{OptionKind, OptionSpec};

/// The driver's name.
pub(crate) const NAME: &str = "splunk";

pub(super) const URL: &str = "splunk-url";
pub(super) const TOKEN: &str = "splunk-token";
pub(super) const SOURCE: &str = "splunk-source";
pub(super) const SOURCETYPE: &str = "splunk-sourcetype";
pub(super) const INDEX: &str = "splunk-index";
pub(super) const CAPATH: &str = "splunk-capath";
pub(super) const CANAME: &str = "splunk-caname";
pub(super) const SKIP_VERIFY: &str = "splunk-insecureskipverify";
pub(super) const FORMAT: &str = "splunk-format";
pub(super) const VERIFY: &str = "splunk-verify-connection";
pub(super) const GZIP: &str = "splunk-gzip";
pub(super) const GZIP_LEVEL: &str = "splunk-gzip-level";
pub(super) const ACK: &str = "splunk-index-acknowledgment";
pub(super) const TIMEOUT: &str = "splunk-timeout";
pub(super) const ACK_TIMEOUT: &str = "splunk-ack-timeout";

const BOOL: &str = "true, false (1 t T TRUE True, 0 f F FALSE False)";

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
        URL,
        OptionKind::Address,
        "",
        "http:// or https://, a name or an address, a port from 1 to 65535 if it is not 80 or 443; no path",
        "Address of the HTTP event collector, needed.",
        "Splunk listens at port 8088 unless it is told otherwise. Events go to /services/collector/event/1.0 there.",
    ),
    option(
        TOKEN,
        OptionKind::Secret,
        "",
        "a token, @/path of a file with it, or secret:NAME; printable ASCII",
        "Token of the HTTP event collector, needed.",
        "A file is read anew for each connection. inspect shows xxxx in place of a token.",
    ),
    option(
        SOURCE,
        OptionKind::Text,
        "",
        "any text",
        "Source of the events.",
        "Not sent if empty: Splunk takes the token's.",
    ),
    option(
        SOURCETYPE,
        OptionKind::Text,
        "",
        "any text",
        "Source type of the events.",
        "Not sent if empty: Splunk takes the token's.",
    ),
    option(
        INDEX,
        OptionKind::Text,
        "",
        "an index that the token may write to",
        "Index of the events.",
        "Not sent if empty: Splunk takes the token's. With an index that Splunk does not accept, records wait until it does.",
    ),
    option(
        CAPATH,
        OptionKind::Path,
        "",
        "path of a PEM file",
        "Certificates that are trusted for https.",
        "In place of the system's. A file that cannot be read, or holds no certificate, is an error at create.",
    ),
    option(
        CANAME,
        OptionKind::Text,
        "",
        "a host name or an address",
        "Name that Splunk's certificate must have.",
        "In place of the one in splunk-url.",
    ),
    option(
        SKIP_VERIFY,
        OptionKind::Bool,
        "false",
        BOOL,
        "Trust any certificate.",
        "For tests: anybody on the way can read token and records.",
    ),
    option(
        FORMAT,
        OptionKind::Choice,
        "inline",
        "inline, json, raw",
        "Form of an event.",
        "inline: an object with the line as a string. json: the same, a line that is JSON as a value. raw: the line as a string, with tag and attributes before it; blank lines are left out.",
    ),
    option(
        VERIFY,
        OptionKind::Bool,
        "true",
        BOOL,
        "Ask Splunk before the first events of a connection.",
        "An OPTIONS request. That Splunk cannot be reached is a state of the sink, never a failed start.",
    ),
    option(
        GZIP,
        OptionKind::Bool,
        "false",
        BOOL,
        "Compress requests.",
        "Costs processor time, saves traffic.",
    ),
    option(
        GZIP_LEVEL,
        OptionKind::Integer,
        "-1",
        "-1 to 9; -1 is zlib's default, 0 is none, 1 fastest, 9 smallest",
        "Level of the compression.",
        "Without effect unless splunk-gzip is true.",
    ),
    option(
        ACK,
        OptionKind::Bool,
        "false",
        BOOL,
        "Records count as delivered once Splunk has indexed them.",
        "Otherwise once Splunk has taken them. Indexer acknowledgment must be on for the token in Splunk, too.",
    ),
    option(
        TIMEOUT,
        OptionKind::Duration,
        "30s",
        "100ms to 1h, as in 1m30s",
        "Longest time for a request and its answer.",
        "Taffrail's own. After it the connection counts as broken and the request is sent anew.",
    ),
    option(
        ACK_TIMEOUT,
        OptionKind::Duration,
        "5m",
        "100ms to 24h, as in 1m30s",
        "Longest time for Splunk to index what it has taken.",
        "Taffrail's own, with splunk-index-acknowledgment. After it the events are sent anew.",
    ),
];

/// What is allowed, in the table's words.
pub(super) fn allowed(name: &str) -> &'static str {
    OPTIONS
        .iter()
        .find(|option| option.name == name)
        .map_or("", |option| option.allowed)
}
