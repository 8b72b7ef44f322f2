//! What `inspect`, `ps --logs` and metrics say of sinks.

use serde_json::{Value, json};

use super::{Delivery, SinkFigures};
use crate::container::time;
use crate::metrics::Text;

/// Sinks with samples of their own in a scrape; how many have none is said.
const MOST: usize = 1000;

impl SinkFigures {
    /// An item of `LogSinks` in inspect.
    pub(crate) fn to_json(&self) -> Value {
        let at = |ns: Option<i64>| ns.map(time::rfc3339);
        let error = |one: &Option<(i64, String)>| {
            one.as_ref()
                .map(|(ns, text)| json!({"Time": time::rfc3339(*ns), "Text": text}))
        };
        let age = self
            .oldest_pending_ns
            .map(|ns| (time::now_ns().saturating_sub(ns)) as f64 / 1e9);
        json!({
            "Name": self.name,
            "Driver": self.driver,
            "Address": self.address,
            "State": self.lane.status.as_str(),
            "Since": at((self.lane.since_ns > 0).then_some(self.lane.since_ns)),
            "Attempts": self.lane.attempts,
            "LastError": error(&self.lane.last_error),
            "ReadError": error(&self.read_error),
            "LastRejection": error(&self.last_rejection),
            "Cursor": self.cursor.map(|c| c.to_string()),
            "DeliveredRecords": self.delivered,
            "DeliveredBytes": self.delivered_bytes,
            "PendingRecords": self.pending,
            "PendingBytesOnDisk": self.pending_bytes,
            "OldestPendingSeconds": age,
            "LastDelivered": at(self.last_delivered_ns),
            "DroppedRecords": self.dropped,
            "DroppedBytes": self.dropped_bytes,
            "RejectedRecords": self.rejected,
            "SkippedRecords": self.skipped,
        })
    }
}

impl Delivery {
    /// `LogSinks` of a container; `None` if it has none.
    pub(crate) fn shown(&self, container: &str) -> Option<Value> {
        let sinks = self.sinks_of(container);
        if sinks.is_empty() {
            return None;
        }
        let list: Vec<Value> = sinks.iter().map(|sink| sink.figures().to_json()).collect();
        Some(list.into())
    }

    /// Removed containers whose logs are still to be delivered.
    pub(crate) fn shown_kept(&self) -> Value {
        let list: Vec<Value> = self
            .kept_logs()
            .iter()
            .map(|log| {
                let sinks: Vec<Value> = log.sinks.iter().map(|s| s.figures().to_json()).collect();
                json!({
                    "Id": log.id,
                    "Name": log.name,
                    "Removed": time::rfc3339(log.removed_ns),
                    "Bytes": log.bytes,
                    "LogSinks": sinks,
                })
            })
            .collect();
        list.into()
    }

    /// Families of metrics, with container, driver and sink as labels.
    pub(crate) fn metrics(&self, text: &mut Text) {
        let mut sinks = self.all();
        sinks.sort_by(|a, b| (&a.container, &a.name).cmp(&(&b.container, &b.name)));
        let left_out = sinks.len().saturating_sub(MOST);
        sinks.truncate(MOST);
        let all: Vec<_> = sinks
            .iter()
            .map(|sink| {
                (
                    sink.container.clone(),
                    sink.container_name(),
                    sink.figures(),
                )
            })
            .collect();
        text.gauge(
            "taffrail_metrics_sinks_left_out",
            "Sinks without samples of their own, because there are more than 1000.",
        )
        .value(left_out);
        type Of = fn(&SinkFigures) -> Option<u64>;
        let families: [(&str, &str, Of); 9] = [
            (
                "taffrail_sink_delivered_records_total",
                "Records that the receiver has accepted.",
                |f| Some(f.delivered),
            ),
            (
                "taffrail_sink_delivered_bytes_total",
                "Bytes of their lines, since the daemon's start.",
                |f| Some(f.delivered_bytes),
            ),
            (
                "taffrail_sink_dropped_records_total",
                "Records that were not delivered: given way, too old, rejected, or missing in the log.",
                |f| Some(f.dropped),
            ),
            (
                "taffrail_sink_dropped_bytes_total",
                "Bytes of those, as far as known, since the daemon's start.",
                |f| Some(f.dropped_bytes),
            ),
            (
                "taffrail_sink_rejected_records_total",
                "Records that the receiver did not want, since the daemon's start; dropped counts them, too.",
                |f| Some(f.rejected),
            ),
            (
                "taffrail_sink_pending_records",
                "Records in the log that the receiver has not accepted.",
                |f| f.pending,
            ),
            (
                "taffrail_sink_pending_disk_bytes",
                "Bytes of log files that those lie in.",
                |f| Some(f.pending_bytes),
            ),
            (
                "taffrail_sink_up",
                "0 while the receiver cannot be reached, refuses, or takes nothing.",
                |f| Some(u64::from(!f.lane.status.is_down())),
            ),
            (
                "taffrail_sink_oldest_pending_seconds",
                "Age of the oldest record that was not accepted.",
                |f| {
                    let ns = time::now_ns().saturating_sub(f.oldest_pending_ns?);
                    u64::try_from(ns / 1_000_000_000).ok()
                },
            ),
        ];
        for (name, help, value) in families {
            let mut family = if name.ends_with("_total") {
                text.counter(name, help)
            } else {
                text.gauge(name, help)
            };
            for (id, container, figures) in &all {
                if let Some(value) = value(figures) {
                    let labels = [
                        ("id", &id[..12.min(id.len())]),
                        ("name", container.as_str()),
                        ("driver", figures.driver),
                        ("sink", figures.name.as_str()),
                    ];
                    family.sample(&labels, value);
                }
            }
        }
    }
}
