//! Options that every driver except `none` takes.

use std::collections::BTreeMap;

use crate::error::OptionError;
use crate::go::parse_bool;
use crate::options::{OptionKind, OptionSpec};
use crate::size::{Units, parse_size};

const CACHE: &str = "Accepted for Docker's sake and without effect here: json-file is readable by itself and keeps no second copy.";

const fn cache(name: &'static str, short: &'static str) -> OptionSpec {
    OptionSpec {
        name,
        kind: OptionKind::Ignored,
        default: "",
        allowed: "anything",
        short,
        full: CACHE,
    }
}

/// The common options.
pub(crate) const COMMON: &[OptionSpec] = &[
    OptionSpec {
        name: "mode",
        kind: OptionKind::Choice,
        default: "blocking",
        allowed: "blocking, non-blocking",
        short: "Whether a slow log may hold up the container.",
        full: "The log is on the local disk and is written by the container's own monitor in both modes. The value is checked and kept; \
               it decides what happens to records that a remote receiver has not taken yet.",
    },
    OptionSpec {
        name: "max-buffer-size",
        kind: OptionKind::BinarySize,
        default: "",
        allowed: "a size with binary units (4m = 4,194,304 bytes), only with mode=non-blocking",
        short: "Docker's in-memory buffer.",
        full: "Checked and kept. Records are never held in memory only, so there is no buffer for it to bound here.",
    },
    OptionSpec {
        name: "cache-disabled",
        kind: OptionKind::Bool,
        default: "false",
        allowed: "true, false",
        short: "Keep no local copy for `logs`.",
        full: CACHE,
    },
    cache("cache-max-size", "Size of the local copy."),
    cache("cache-max-file", "Number of files of the local copy."),
    cache("cache-compress", "Compression of the local copy."),
    cache("cache-labels", "Labels kept in the local copy."),
    cache(
        "cache-labels-regex",
        "Labels kept in the local copy, by expression.",
    ),
    cache("cache-env", "Environment variables kept in the local copy."),
    cache(
        "cache-env-regex",
        "Environment variables kept in the local copy, by expression.",
    ),
    cache("cache-tag", "Tag kept in the local copy."),
];

/// Whether `name` is one of the common options.
pub(crate) fn is_common(name: &str) -> bool {
    COMMON.iter().any(|option| option.name == name)
}

/// Checks the values of the common options, in Docker's order.
pub(crate) fn check(options: &BTreeMap<String, String>, errors: &mut Vec<OptionError>) {
    let mode = options.get("mode").map_or("", String::as_str);
    if !matches!(mode, "" | "blocking" | "non-blocking") {
        errors.push(OptionError::Mode {
            value: mode.to_owned(),
        });
    }
    if let Some(size) = options.get("max-buffer-size") {
        if mode != "non-blocking" {
            errors.push(OptionError::BufferSizeMode);
        }
        if let Err(error) = parse_size(size, Units::Binary) {
            errors.push(OptionError::BufferSize {
                source: Box::new(error),
            });
        }
    }
    if let Some(value) = options.get("cache-disabled")
        && parse_bool(value).is_err()
    {
        errors.push(OptionError::CacheDisabled {
            value: value.clone(),
        });
    }
}
