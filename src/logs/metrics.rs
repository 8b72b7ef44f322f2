//! What the work on logs counts.

use std::sync::atomic::{AtomicU64, Ordering};

use super::LogCounters;
use crate::metrics::Text;

/// Writes the families of the work on logs.
pub(crate) fn metrics(text: &mut Text, counters: &LogCounters, spool_bound: u64) {
    let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    text.counter(
        "taffrail_log_read_failures_total",
        "Reads of logs that ended with an error.",
    )
    .value(get(&counters.read_failures));
    text.counter(
        "taffrail_log_damaged_skipped_total",
        "Damaged records that readers passed over.",
    )
    .value(get(&counters.damaged_skipped));
    text.counter(
        "taffrail_log_missed_records_total",
        "Records that readers of logs were told they missed.",
    )
    .value(get(&counters.missed_by_followers));
    let milliseconds = get(&counters.sync_age_ms);
    text.gauge(
        "taffrail_log_unsynced_seconds",
        "Age of the oldest write to a log that is not on the disk.",
    )
    .value(format_args!(
        "{}.{:03}",
        milliseconds / 1000,
        milliseconds % 1000
    ));
    text.counter(
        "taffrail_log_sync_failures_total",
        "Syncs of logs that failed.",
    )
    .value(get(&counters.sync_failures));
    text.counter(
        "taffrail_log_compressed_from_bytes_total",
        "Bytes of log files that were compressed, before.",
    )
    .value(get(&counters.compressed_from));
    text.counter(
        "taffrail_log_compressed_to_bytes_total",
        "Bytes of the same files after.",
    )
    .value(get(&counters.compressed_to));
    text.counter(
        "taffrail_log_compress_failures_total",
        "Log files whose compression failed; it is tried again.",
    )
    .value(get(&counters.compress_failures));
    text.gauge(
        "taffrail_log_spool_bound_bytes",
        "What the spools of all containers together may take.",
    )
    .value(spool_bound);
}
