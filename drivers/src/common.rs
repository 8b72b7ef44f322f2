//! Options that every driver except `none` takes.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::duration::parse_duration;
use crate::error::OptionError;
use crate::go::parse_bool;
use crate::local;
use crate::options::{OptionKind, OptionSpec};
use crate::size::{Units, parse_size};

/// `max-spool-size` when it is not given: 256 MiB.
pub const DEFAULT_MAX_SPOOL_SIZE: u64 = 256 << 20;

const COPY: &str = "The local copy is what `logs` reads when the driver itself cannot be read. json-file and local are read themselves \
                    and keep no copy: there the value is checked and has no effect.";

const fn copy(
    name: &'static str,
    kind: OptionKind,
    default: &'static str,
    allowed: &'static str,
    short: &'static str,
) -> OptionSpec {
    OptionSpec {
        name,
        kind,
        default,
        allowed,
        short,
        full: COPY,
    }
}

/// The common options.
pub(crate) const COMMON: &[OptionSpec] = &[
    OptionSpec {
        name: "mode",
        kind: OptionKind::Choice,
        default: "",
        allowed: "blocking, non-blocking",
        short: "What gives way when records can be neither delivered nor held any longer.",
        full: "Records are in the log before anything else sees them, in every mode. Once what still has to be read by someone fills the \
               spool, the oldest of it goes and is counted; only with an explicit blocking does the application wait instead.",
    },
    OptionSpec {
        name: "max-buffer-size",
        kind: OptionKind::BinarySize,
        default: "",
        allowed: "a size with binary units (4m = 4,194,304 bytes), only with mode=non-blocking",
        short: "Docker's in-memory buffer.",
        full: "Records are never held in memory only, so there is no buffer for it to bound here. It is a floor under max-spool-size.",
    },
    OptionSpec {
        name: "max-spool-size",
        kind: OptionKind::BinarySize,
        default: "256m",
        allowed: "a size with binary units (256m = 268,435,456 bytes), 0 to hold nothing",
        short: "Disk space for log files past the log's own retention that someone still has to read.",
        full: "Taffrail's own. Such files are held for slow followers and receivers up to this size, and all containers together up to \
               log-spool-size in daemon.json.",
    },
    OptionSpec {
        name: "max-spool-age",
        kind: OptionKind::Duration,
        default: "",
        allowed: "a duration above 0, for example 90s, 36h or 1h30m",
        short: "How long records wait for a receiver.",
        full: "Taffrail's own. Older records are not sent any more: they are counted, and a record in their place says how many. Not given: \
               no limit while the container exists, 24h once it was removed.",
    },
    OptionSpec {
        name: "sync",
        kind: OptionKind::Choice,
        default: "",
        allowed: "record, or empty",
        short: "When written records reach the disk.",
        full: "Taffrail's own. Empty: the daemon syncs all logs about once a second. record: each write is synced before it counts as \
               written, which costs speed.",
    },
    copy(
        "cache-disabled",
        OptionKind::Bool,
        "false",
        "true, false (1 t T TRUE True, 0 f F FALSE False)",
        "Keep no local copy.",
    ),
    copy(
        "cache-max-size",
        OptionKind::DecimalSize,
        "20m",
        "a size with decimal units, or -1 for unlimited",
        "Size of a file of the local copy.",
    ),
    copy(
        "cache-max-file",
        OptionKind::Integer,
        "5",
        "0 to 100000; 0 means 1",
        "Number of files of the local copy.",
    ),
    copy(
        "cache-compress",
        OptionKind::Bool,
        "true",
        "true, false (1 t T TRUE True, 0 f F FALSE False)",
        "Compression of the local copy.",
    ),
    copy(
        "cache-labels",
        OptionKind::Ignored,
        "",
        "anything",
        "Accepted as Docker does, without effect.",
    ),
    copy(
        "cache-labels-regex",
        OptionKind::Ignored,
        "",
        "anything",
        "Accepted as Docker does, without effect.",
    ),
    copy(
        "cache-env",
        OptionKind::Ignored,
        "",
        "anything",
        "Accepted as Docker does, without effect.",
    ),
    copy(
        "cache-env-regex",
        OptionKind::Ignored,
        "",
        "anything",
        "Accepted as Docker does, without effect.",
    ),
    copy(
        "cache-tag",
        OptionKind::Ignored,
        "",
        "anything",
        "Accepted as Docker does, without effect.",
    ),
];

/// Whether `name` is one of the common options.
pub(crate) fn is_common(name: &str) -> bool {
    COMMON.iter().any(|option| option.name == name)
}

/// `mode` as the user gave it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// the application waits when nothing more can be held
    Blocking,
    /// the oldest that is held gives way
    NonBlocking,
}

/// `sync`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogSync {
    /// by the daemon, in the background
    #[default]
    Background,
    /// each write, by the monitor
    Record,
}

/// The copy for `logs` beside a driver that cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LocalCopy {
    /// `cache-disabled`: the log is kept only until it is delivered, and `logs` answers 501
    pub disabled: bool,
    /// bytes at which a new file is begun; `None`: one file, unlimited
    pub max_size: Option<u64>,
    /// files kept, at least 1
    pub max_file: u32,
    /// whether closed files are compressed
    pub compress: bool,
}

/// The common options, checked. Made by validation only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Common {
    mode: Option<Mode>,
    max_spool_size: u64,
    max_spool_age: Option<Duration>,
    sync: LogSync,
    copy: LocalCopy,
}

impl Common {
    /// As given; `None` if it was not, which is non-blocking with regard to a full spool.
    pub fn mode(&self) -> Option<Mode> {
        self.mode
    }
    /// Bytes of files past the log's own retention that are held for those who still have to read them: `max-spool-size`, at least
    /// `max-buffer-size`.
    pub fn max_spool_size(&self) -> u64 {
        self.max_spool_size
    }
    /// How long records wait for a receiver, if the user said so.
    pub fn max_spool_age(&self) -> Option<Duration> {
        self.max_spool_age
    }
    /// When written records reach the disk.
    pub fn sync(&self) -> LogSync {
        self.sync
    }
    /// The copy for `logs`; without meaning for drivers that are read themselves.
    pub fn copy(&self) -> &LocalCopy {
        &self.copy
    }

    /// Checks the values, in Docker's order.
    pub(crate) fn check(options: &BTreeMap<String, String>, errors: &mut Vec<OptionError>) -> Self {
        let text = |name: &str| options.get(name).map(String::as_str);
        let mode = match text("mode") {
            None | Some("") => None,
            Some("blocking") => Some(Mode::Blocking),
            Some("non-blocking") => Some(Mode::NonBlocking),
            Some(value) => {
                errors.push(OptionError::Mode {
                    value: value.to_owned(),
                });
                None
            }
        };
        let mut floor = 0;
        if let Some(size) = text("max-buffer-size") {
            if text("mode") != Some("non-blocking") {
                errors.push(OptionError::BufferSizeMode);
            }
            match parse_size(size, Units::Binary) {
                Ok(size) => floor = size,
                Err(error) => errors.push(OptionError::BufferSize {
                    source: Box::new(error),
                }),
            }
        }
        let disabled = text("cache-disabled").is_some_and(|value| {
            parse_bool(value).unwrap_or_else(|_| {
                errors.push(OptionError::CacheDisabled {
                    value: value.to_owned(),
                });
                false
            })
        });
        let spool = text("max-spool-size").map_or(DEFAULT_MAX_SPOOL_SIZE, |value| {
            parse_size(value, Units::Binary).unwrap_or_else(|error| {
                errors.push(OptionError::Value {
                    option: "max-spool-size",
                    value: value.to_owned(),
                    reason: error.to_string(),
                });
                0
            })
        });
        let max_spool_age = text("max-spool-age").and_then(|value| {
            let age = parse_duration(value).and_then(|age| match age {
                Duration::ZERO => Err("it must be above 0".to_owned()),
                age => Ok(age),
            });
            age.map_err(|reason| {
                errors.push(OptionError::Value {
                    option: "max-spool-age",
                    value: value.to_owned(),
                    reason,
                });
            })
            .ok()
        });
        let sync = match text("sync") {
            None | Some("") => LogSync::Background,
            Some("record") => LogSync::Record,
            Some(value) => {
                errors.push(OptionError::Value {
                    option: "sync",
                    value: value.to_owned(),
                    reason: "write record, or leave it empty".to_owned(),
                });
                LogSync::Background
            }
        };
        let bounds = local::bounds(
            &local::Names {
                max_size: "cache-max-size",
                max_file: "cache-max-file",
                compress: "cache-compress",
            },
            options,
            errors,
        );
        Self {
            mode,
            max_spool_size: spool.max(floor),
            max_spool_age,
            sync,
            copy: LocalCopy {
                disabled,
                max_size: bounds.max_size,
                max_file: bounds.max_file,
                compress: bounds.compress,
            },
        }
    }
}
