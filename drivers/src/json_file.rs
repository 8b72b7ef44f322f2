//! Docker's `json-file`: options and their checks. The bytes are made by the container's monitor (crate `taffrail-log-core`).

use std::collections::BTreeMap;

use crate::attrs::{AttrSelection, ContainerFacts, TagError};
use crate::common::{Common, is_common};
use crate::error::{OptionError, OptionErrors};
use crate::go::{atoi, parse_bool};
use crate::options::{OptionKind, OptionSpec};
use crate::selection::{is_selection, select};
use crate::size::{Units, parse_size};

/// The driver's name.
pub const NAME: &str = "json-file";

/// `max-size` when neither it nor `max-file` is given: 100 MB.
pub const DEFAULT_MAX_SIZE: u64 = 100_000_000;
/// `max-file` when neither it nor `max-size` is given.
pub const DEFAULT_MAX_FILE: u32 = 5;
/// Most files: a rotation renames each of them, so the number is bounded (Docker: none).
pub const LARGEST_MAX_FILE: u32 = 100_000;

/// The driver's own options.
pub const OPTIONS: &[OptionSpec] = &[
    OptionSpec {
        name: "max-size",
        kind: OptionKind::DecimalSize,
        default: "100m",
        allowed: "a size with decimal units (10m = 10mb = 10mib = 10,000,000 bytes) above 0, or -1 for unlimited",
        short: "Size at which a new file is begun.",
        full: "Checked before each record, so a file exceeds it by up to one record. The default holds only if max-file is not given either; \
               with max-file alone the log is unlimited, as in Docker. -1 is Taffrail's own: Docker refuses it.",
    },
    OptionSpec {
        name: "max-file",
        kind: OptionKind::Integer,
        default: "5",
        allowed: "1 to 100000",
        short: "Number of files kept, the current one included.",
        full: "The default holds only if max-size is not given either; with max-size alone it is 1, as in Docker. Without max-size it has \
               no effect.",
    },
    OptionSpec {
        name: "compress",
        kind: OptionKind::Bool,
        default: "false",
        allowed: "true, false (1 t T TRUE True, 0 f F FALSE False); true needs max-size and max-file of at least 2",
        short: "Compress rotated files.",
        full: "By the daemon, in the background; a file stays plain until it has its turn. \
               The result is several gzip members, which every gunzip reads.",
    },
];

/// Checked settings of one container's json-file log.
#[derive(Clone, Debug)]
pub struct JsonFile {
    max_size: Option<u64>,
    max_file: u32,
    compress: bool,
    attrs: AttrSelection,
    common: Common,
}

impl JsonFile {
    /// Bytes at which a new file is begun, checked before each record; `None`: never.
    pub fn max_size(&self) -> Option<u64> {
        self.max_size
    }
    /// Files kept, the current one included; at least 1. Without effect if [`Self::max_size`] is `None`.
    pub fn max_file(&self) -> u32 {
        self.max_file
    }
    /// Whether rotated files are to be compressed.
    pub fn compress(&self) -> bool {
        self.compress
    }
    /// What every driver takes: mode, spool, sync.
    pub fn common(&self) -> &Common {
        &self.common
    }
    /// Which labels, variables and tag are kept with each record.
    pub fn selection(&self) -> &AttrSelection {
        &self.attrs
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

/// All checks; the warnings are for the answer of create.
pub(crate) fn validate(
    options: &BTreeMap<String, String>,
) -> Result<(JsonFile, Vec<String>), OptionErrors> {
    let mut errors = Vec::new();
    let mut warnings = Vec::new();
    let common = Common::check(options, &mut errors);
    for option in options.keys() {
        if !OPTIONS.iter().any(|known| known.name == option)
            && !is_selection(option)
            && !is_common(option)
        {
            errors.push(OptionError::UnknownOption {
                driver: NAME,
                option: option.clone(),
            });
        }
    }
    let size_given = options.get("max-size");
    let file_given = options.get("max-file");
    let max_size = match size_given.map(String::as_str) {
        None if file_given.is_none() => Some(DEFAULT_MAX_SIZE),
        None | Some("-1") => None,
        Some(text) => match parse_size(text, Units::Decimal) {
            Ok(0) => {
                errors.push(OptionError::MaxSizeZero);
                None
            }
            Ok(size) => Some(size),
            Err(error) => {
                errors.push(error);
                None
            }
        },
    };
    let mut max_file = match (size_given, file_given) {
        (None, None) => DEFAULT_MAX_FILE,
        _ => 1,
    };
    let mut broken = !errors.is_empty();
    if let Some(text) = file_given {
        match atoi(text).map(|n| (n, u32::try_from(n))) {
            Ok((n, _)) if n < 1 => errors.push(OptionError::MaxFileZero),
            Ok((_, Ok(n))) if n <= LARGEST_MAX_FILE => max_file = n,
            Ok(_) => errors.push(OptionError::MaxFileLarge {
                option: "max-file",
                max: LARGEST_MAX_FILE,
            }),
            Err(text) => errors.push(OptionError::MaxFileNumber { text }),
        }
        broken |= !errors.is_empty();
        if size_given.is_none() {
            warnings.push(
                "max-file has no effect without max-size: the log is one file without limit; set max-size too"
                    .to_owned(),
            );
        }
    }
    let compress = match options.get("compress").map(|text| parse_bool(text)) {
        None | Some(Ok(false)) => false,
        Some(Ok(true)) => {
            // What the user set counts here, not Taffrail's defaults: the same file is refused by Docker. With a size or number that is
            // wrong itself there is nothing to say about the combination.
            if !broken && (max_file < 2 || size_given.is_none() || max_size.is_none()) {
                errors.push(OptionError::Compress);
            }
            true
        }
        Some(Err(text)) => {
            errors.push(OptionError::CompressValue { text });
            false
        }
    };
    let attrs = select(options, &mut errors);
    if errors.is_empty() {
        Ok((
            JsonFile {
                max_size,
                max_file,
                compress,
                attrs,
                common,
            },
            warnings,
        ))
    } else {
        Err(OptionErrors(errors))
    }
}

#[cfg(test)]
#[path = "json_file_tests.rs"]
mod tests;
