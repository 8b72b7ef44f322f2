//! What the monitor and the readers of a log share. No std, no dependencies, no system calls.
//!
//! - [`state`]: the state file of a running container, as it lies in memory;
//! - [`capture`]: from a batch of bytes to records in the log, with every step replayable;
//! - [`json`]: Docker's json-file encoding of a record;
//! - [`local`]: the layout of the `local` format;
//! - [`segment`]: from a batch of bytes into a segment of it;
//! - [`side`]: the side file beside each json-file log file;
//! - [`utf8`], [`time`], [`crc32c`]: what those need.
#![cfg_attr(not(test), no_std)]

pub mod capture;
pub mod crc32c;
pub mod json;
pub mod local;
pub mod segment;
pub mod side;
pub mod state;
pub mod time;
pub mod utf8;
