//! The monitor (one small process per container) and the keeper of a daemon's monitors.
//!
//! No C library, no allocator, no dependencies but the log's core: see `docs/design/`. The daemon
//! uses only [`proto`] of this crate.
#![cfg_attr(not(test), no_std)]

pub mod conf;
pub mod create;
pub mod files;
pub mod keeper;
pub mod monitor;
pub mod page;
pub mod probe;
pub mod proto;
pub mod start;
pub mod sys;
pub mod text;
