//! Extra streams: output of execs and health checks, and what happens to the container, as streams
//! `exec`, `health` and `events` beside its log.
//!
//! The daemon writes them, so they are in a log of its own beside the monitor's (why: decision record
//! 15). `record` is a line of it, `file` appends and reads, `tap` takes the output of execs, `merge`
//! answers who wants both.

mod file;
mod merge;
mod record;
mod split;
mod tap;

pub(crate) use file::{Extra, metrics};
pub(crate) use merge::{AnyLog, ExtraQuery};
pub(crate) use tap::check_label;

/// Label of a container with its extra streams, instead of the daemon's `log-streams`.
pub(crate) const LABEL: &str = "taffrail.log-streams";
