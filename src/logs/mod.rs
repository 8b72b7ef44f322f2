//! What the daemon does for logs beside reading them: it says which files are still needed, shares
//! the spool out, syncs what was written and compresses what is closed. None of it stands between
//! an application and its log; with the daemon down all of it waits.

mod compress;
mod holds;
mod metrics;
mod shares;
mod spool;
mod sync;
mod usage;

pub(crate) use holds::{Hold, Holds};
pub(crate) use metrics::metrics;
pub(crate) use usage::{LogUsage, usage_of};

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use crate::daemon::Daemon;

/// Counters of the work on logs; they only go up but for the ages.
#[derive(Debug, Default)]
pub(crate) struct LogCounters {
    /// Reads that ended with an error.
    pub(crate) read_failures: AtomicU64,
    /// Damaged records or frames that readers passed over.
    pub(crate) damaged_skipped: AtomicU64,
    /// Records that followers were told they missed.
    pub(crate) missed_by_followers: AtomicU64,
    /// Age of the oldest write that is not synced, in milliseconds.
    pub(crate) sync_age_ms: AtomicU64,
    /// Syncs that failed.
    pub(crate) sync_failures: AtomicU64,
    /// Bytes of files before and after their compression.
    pub(crate) compressed_from: AtomicU64,
    pub(crate) compressed_to: AtomicU64,
    pub(crate) compress_failures: AtomicU64,
}

/// Starts the work. It ends with the daemon's runtime.
pub(crate) fn start(daemon: &Arc<Daemon>) {
    tokio::spawn(spool::run(Arc::clone(daemon)));
    tokio::spawn(sync::run(Arc::clone(daemon)));
    compress::start(daemon);
}
