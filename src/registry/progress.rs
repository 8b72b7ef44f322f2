//! What clients see of a pull or push: JSON records as Docker writes them (source: Moby
//! `pkg/streamformatter`, `pkg/jsonmessage`).

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::api::reply::json_line;

/// Shortest time between two records of one transfer's progress (Docker's).
const EVERY: Duration = Duration::from_millis(100);
/// Records that wait for the client. One of progress that finds no room is left out.
pub(crate) const QUEUE: usize = 64;

/// Where records go. Without a client they go nowhere.
#[derive(Clone, Debug)]
pub(crate) struct Progress(mpsc::Sender<Bytes>);

impl Progress {
    pub(crate) fn new(records: mpsc::Sender<Bytes>) -> Self {
        Self(records)
    }

    async fn send(&self, record: &Value) {
        // Who is gone has no use for it.
        let _ = self.0.send(json_line(record)).await;
    }

    /// A line of its own.
    pub(super) async fn message(&self, text: &str) {
        self.send(&json!({"status": text})).await;
    }

    /// A line that begins with a name: `latest: Pulling from library/busybox`.
    pub(super) async fn named(&self, id: &str, text: &str) {
        self.send(&json!({"status": text, "id": id})).await;
    }

    /// What a program reads at the end of a push.
    pub(super) async fn aux(&self, value: Value) {
        self.send(&json!({"progressDetail": {}, "aux": value}))
            .await;
    }

    /// The state of one layer; `id` is the beginning of its digest.
    pub(super) async fn state(&self, id: &str, text: &str) {
        self.send(&json!({"status": text, "progressDetail": {}, "id": id}))
            .await;
    }

    /// How far one layer is.
    pub(super) fn meter(&self, id: &str, action: &'static str, total: u64) -> Meter {
        Meter {
            records: self.0.clone(),
            id: id.to_owned(),
            action,
            total,
            last: Arc::new(Mutex::new(None)),
        }
    }
}

/// Tells of one layer's transfer, now and then. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Meter {
    records: mpsc::Sender<Bytes>,
    id: String,
    action: &'static str,
    total: u64,
    last: Arc<Mutex<Option<Instant>>>,
}

impl Meter {
    /// `current` bytes are done.
    pub(super) fn at(&self, current: u64) {
        let now = Instant::now();
        {
            let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
            if current < self.total && last.is_some_and(|time| now.duration_since(time) < EVERY) {
                return;
            }
            *last = Some(now);
        }
        let record = json!({
            "status": self.action,
            "progressDetail": {"current": current, "total": self.total},
            "progress": bar(current, self.total),
            "id": self.id,
        });
        // A slow client gets fewer of them.
        let _ = self.records.try_send(json_line(&record));
    }
}

/// The first twelve digits of a digest.
pub(super) fn short(digest: &str) -> String {
    let hex = digest.strip_prefix("sha256:").unwrap_or(digest);
    hex.chars().take(12).collect()
}

/// `[=====>     ]  1.2MB/3.4MB`, for clients that show records as they are.
fn bar(current: u64, total: u64) -> String {
    use crate::cli::human_size_4;
    let number = |n: u64| human_size_4(i64::try_from(n).unwrap_or(i64::MAX));
    if current == 0 && total == 0 {
        return String::new();
    }
    if total == 0 || current > total {
        return format!("{:>8}", number(current));
    }
    // At most 50: `current` is at most `total`.
    let done = usize::try_from(u128::from(current) * 50 / u128::from(total)).unwrap_or(50);
    format!(
        "[{}>{}] {:>8}/{}",
        "=".repeat(done),
        " ".repeat(50 - done),
        number(current),
        number(total)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_are_dockers() {
        assert_eq!(
            bar(36_445, 1_064_346),
            "[=>                                                 ]  36.45kB/1.064MB"
        );
        assert_eq!(bar(7, 0), "      7B");
        assert_eq!(bar(10, 10).matches('=').count(), 50);
    }

    #[tokio::test]
    async fn records() {
        let (sender, mut records) = mpsc::channel(QUEUE);
        let progress = Progress::new(sender);
        progress.named("1", "Pulling from a").await;
        progress.state("e3a65bc3389e", "Pulling fs layer").await;
        let meter = progress.meter("e3a65bc3389e", "Downloading", 4);
        for current in 1..=4 {
            meter.at(current);
        }
        drop((progress, meter));
        let mut lines = Vec::new();
        while let Some(line) = records.recv().await {
            lines.push(String::from_utf8(line.to_vec()).unwrap());
        }
        assert_eq!(lines[0], "{\"status\":\"Pulling from a\",\"id\":\"1\"}\n");
        assert_eq!(
            lines[1],
            "{\"status\":\"Pulling fs layer\",\"progressDetail\":{},\"id\":\"e3a65bc3389e\"}\n"
        );
        // The first, and the last in spite of the pause.
        assert_eq!(lines.len(), 4, "{lines:?}");
        assert!(lines[3].contains("\"current\":4,\"total\":4"));
    }
}
