//! Log drivers: which exist, what options each takes, and what the options mean for a container.
//!
//! Validation is pure: no file, socket, clock or name look-up. [`validate`] turns a driver's name and its options into a
//! [`Validated`] value or into all errors at once; nothing else can make that value, so nothing is checked twice.
//! Option names, defaults and error texts are Docker's (`dockerd` 28) unless an item says otherwise.

mod attrs;
mod common;
mod duration;
mod error;
mod fluentd;
mod gelf;
mod go;
mod journald;
pub mod json_file;
mod list;
pub mod local;
mod merge;
mod options;
pub mod post;
mod registry;
mod secret;
mod selection;
pub mod sink;
mod size;
mod splunk;
mod syslog;
pub mod template;
pub mod transport;

pub use attrs::{AttrSelection, ContainerFacts, TagError, attrs_json};
pub use common::{Common, DEFAULT_MAX_SPOOL_SIZE, LocalCopy, LogSync, Mode};
pub use error::{OptionError, OptionErrors};
pub use go::{parse_bool, quote};
pub use json_file::JsonFile;
pub use local::Local;
pub use merge::{Defaults, merge};
pub use options::{OptionKind, OptionSpec};
pub use registry::{
    DEFAULT_DRIVER, DRIVERS, DriverInfo, Plan, Sink, Validated, driver_info, is_secret,
    known_options, masked, validate,
};
pub use secret::Secret;
pub use size::{Units, parse_size};
