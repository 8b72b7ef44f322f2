//! `local`, Taffrail's own format on the local disk: options and their checks. The bytes are made by the container's monitor (crate
//! `taffrail-log-core`).

use std::collections::BTreeMap;

use crate::attrs::{AttrSelection, ContainerFacts, TagError};
use crate::common::{Common, LocalCopy, is_common};
use crate::error::{OptionError, OptionErrors};
use crate::go::{atoi, parse_bool};
use crate::options::{OptionKind, OptionSpec};
use crate::selection::{is_selection, select};
use crate::size::{Units, parse_size};

/// The driver's name.
pub const NAME: &str = "local";

/// `max-size` when it is not given: 20 MB.
pub const DEFAULT_MAX_SIZE: u64 = 20_000_000;
/// `max-file` when it is not given.
pub const DEFAULT_MAX_FILE: u32 = 5;
/// Most files (Docker: no bound).
pub const LARGEST_MAX_FILE: u32 = 100_000;

/// The driver's own options.
pub const OPTIONS: &[OptionSpec] = &[
    OptionSpec {
        name: "max-size",
        kind: OptionKind::DecimalSize,
        default: "20m",
        allowed: "a size with decimal units (10m = 10mb = 10mib = 10,000,000 bytes), or -1 for unlimited",
        short: "Size at which a new file is begun.",
        full: "What a file holds before it is compressed; it exceeds the size by at most one write. 0 begins a new file for each write. -1 \
               is Taffrail's own: Docker refuses it.",
    },
    OptionSpec {
        name: "max-file",
        kind: OptionKind::Integer,
        default: "5",
        allowed: "0 to 100000; 0 means 1",
        short: "Number of files kept, the current one included.",
        full: "With max-size=-1 it has no effect: nothing is removed.",
    },
    OptionSpec {
        name: "compress",
        kind: OptionKind::Bool,
        default: "true",
        allowed: "true, false (1 t T TRUE True, 0 f F FALSE False); true needs max-file of at least 2",
        short: "Compress closed files.",
        full: "As it is on by default, max-file=1 needs compress=false beside it, as in Docker.",
    },
];

/// Checked settings of one container's local log.
#[derive(Clone, Debug)]
pub struct Local {
    bounds: Bounds,
    attrs: AttrSelection,
    common: Common,
}

impl Local {
    /// Bytes at which a new file is begun, checked before each write; `None`: never by what the user set, and no file is removed.
    pub fn max_size(&self) -> Option<u64> {
        self.bounds.max_size
    }
    /// Files kept, the current one included; at least 1. Without effect if [`Self::max_size`] is `None`.
    pub fn max_file(&self) -> u32 {
        self.bounds.max_file
    }
    /// Whether closed files are to be compressed.
    pub fn compress(&self) -> bool {
        self.bounds.compress
    }
    /// What every driver takes: mode, spool, sync.
    pub fn common(&self) -> &Common {
        &self.common
    }
    /// Which labels, variables and tag are kept.
    pub fn selection(&self) -> &AttrSelection {
        &self.attrs
    }
    /// The copy for `logs` beside drivers that cannot be read: the `cache-*` options, and the container's `labels`, `env` and `tag`.
    pub(crate) fn copy(
        common: &BTreeMap<String, String>,
        options: &BTreeMap<String, String>,
        errors: &mut Vec<OptionError>,
    ) -> Self {
        let common = Common::check(common, errors);
        let copy = common.copy();
        // Nobody reads it: it holds what is to be delivered, and the spool takes what is more.
        let copy = match copy.disabled {
            true => &LocalCopy {
                disabled: true,
                max_size: Some(1_000_000),
                max_file: 1,
                compress: false,
            },
            false => copy,
        };
        // What is wrong with them is said by the driver that they are meant for.
        let attrs = select(options, &mut Vec::new());
        Self {
            bounds: Bounds {
                max_size: copy.max_size,
                max_file: copy.max_file,
                compress: copy.compress,
            },
            attrs,
            common,
        }
    }
    /// The attributes of every record of this container.
    ///
    /// # Errors
    /// The tag cannot be evaluated for this container.
    pub fn attrs(
        &self,
        container: &ContainerFacts<'_>,
    ) -> Result<BTreeMap<String, String>, TagError> {
        self.attrs.attrs(container)
    }
}

/// Size, number and compression of the files.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    pub(crate) max_size: Option<u64>,
    pub(crate) max_file: u32,
    pub(crate) compress: bool,
}

/// What the three options are called.
pub(crate) struct Names {
    pub(crate) max_size: &'static str,
    pub(crate) max_file: &'static str,
    pub(crate) compress: &'static str,
}

/// Checks size, number and compression under the given names.
pub(crate) fn bounds(
    names: &Names,
    options: &BTreeMap<String, String>,
    errors: &mut Vec<OptionError>,
) -> Bounds {
    let max_size = match options.get(names.max_size).map(String::as_str) {
        None => Some(DEFAULT_MAX_SIZE),
        Some("-1") => None,
        Some(text) => match parse_size(text, Units::Decimal) {
            Ok(size) => Some(size),
            Err(error) => {
                errors.push(OptionError::Value {
                    option: names.max_size,
                    value: text.to_owned(),
                    reason: error.to_string(),
                });
                None
            }
        },
    };
    let max_file = match options.get(names.max_file) {
        None => Some(DEFAULT_MAX_FILE),
        Some(text) => match atoi(text).map(|n| (n, u32::try_from(n))) {
            Ok((n, _)) if n < 0 => {
                errors.push(OptionError::Negative {
                    option: names.max_file,
                });
                None
            }
            Ok((_, Ok(n))) if n <= LARGEST_MAX_FILE => Some(n.max(1)),
            Ok(_) => {
                errors.push(OptionError::MaxFileLarge {
                    option: names.max_file,
                    max: LARGEST_MAX_FILE,
                });
                None
            }
            Err(reason) => {
                errors.push(OptionError::Value {
                    option: names.max_file,
                    value: text.clone(),
                    reason,
                });
                None
            }
        },
    };
    let compress = match options.get(names.compress).map(|text| parse_bool(text)) {
        None => true,
        Some(Ok(compress)) => compress,
        Some(Err(text)) => {
            errors.push(OptionError::CompressBool {
                option: names.compress,
                text,
            });
            false
        }
    };
    // Nothing to say about the combination if the number is wrong itself.
    let one_file = max_file == Some(1);
    if compress && one_file && names.compress == "compress" {
        errors.push(OptionError::CompressOneFile);
    }
    Bounds {
        max_size,
        max_file: max_file.unwrap_or(1),
        compress: compress && !one_file,
    }
}

/// All checks.
pub(crate) fn validate(options: &BTreeMap<String, String>) -> Result<Local, OptionErrors> {
    let mut errors = Vec::new();
    let common = Common::check(options, &mut errors);
    for option in options.keys() {
        if !OPTIONS.iter().any(|known| known.name == option)
            && !is_selection(option)
            && !is_common(option)
        {
            errors.push(OptionError::UnknownOptionOf {
                driver: NAME,
                option: option.clone(),
            });
        }
    }
    let names = Names {
        max_size: "max-size",
        max_file: "max-file",
        compress: "compress",
    };
    let bounds = bounds(&names, options, &mut errors);
    let attrs = select(options, &mut errors);
    if errors.is_empty() {
        Ok(Local {
            bounds,
            attrs,
            common,
        })
    } else {
        Err(OptionErrors(errors))
    }
}

#[cfg(test)]
#[path = "local_tests.rs"]
mod tests;
