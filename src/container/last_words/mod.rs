//! Last words: how a run ended, and the last lines of its log, for `inspect`, events and the webhook.
//!
//! The lines are read when the log is complete, by a task of its own: neither the exit nor whoever waits
//! for it waits for that. They lie in `last-words.json` beside the state, so they outlive the daemon.

mod cause;
mod read;
mod store;
mod tell;

pub(super) use cause::{Cause, Ended};
pub(super) use read::Reading;
pub(super) use store::LastWords;
pub(super) use tell::Happened;
