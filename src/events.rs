//! What happened: the daemon's events, each one a line in its own log as well.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::{Value, json};
use tokio::sync::broadcast;

use crate::metrics::Counter;

/// Events that are kept for `since=` (Moby keeps as many).
const KEPT: usize = 256;
/// Events that a subscriber may lag behind before it loses the oldest.
const BACKLOG: usize = 1024;

/// One event (docs: Engine API `SystemEvents`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Event {
    /// `container`, `image`, `network`, `volume`, `daemon`.
    pub(crate) kind: &'static str,
    /// `create`, `start`, `die`, ...
    pub(crate) action: String,
    /// Id of what it happened to (images: id or name, as Docker has it).
    pub(crate) id: String,
    pub(crate) attributes: BTreeMap<String, String>,
    /// Nanoseconds since 1970.
    pub(crate) time_ns: i64,
}

impl Event {
    /// The JSON form up to API 1.51: containers and images also have `status`, `id` and `from`.
    pub(crate) fn to_json(&self) -> Value {
        let mut out = serde_json::Map::new();
        if matches!(self.kind, "container" | "image") {
            out.insert("status".to_owned(), json!(self.action));
            out.insert("id".to_owned(), json!(self.id));
            if let (true, Some(image)) = (self.kind == "container", self.attributes.get("image")) {
                out.insert("from".to_owned(), json!(image));
            }
        }
        out.insert("Type".to_owned(), json!(self.kind));
        out.insert("Action".to_owned(), json!(self.action));
        out.insert(
            "Actor".to_owned(),
            json!({"ID": self.id, "Attributes": self.attributes}),
        );
        out.insert("scope".to_owned(), json!("local"));
        out.insert(
            "time".to_owned(),
            json!(self.time_ns.div_euclid(1_000_000_000)),
        );
        out.insert("timeNano".to_owned(), json!(self.time_ns));
        Value::Object(out)
    }
}

#[derive(Debug)]
struct Ring {
    kept: VecDeque<Arc<Event>>,
    last_ns: i64,
}

/// The daemon's events: the last 256 and those to come.
#[derive(Debug)]
pub(crate) struct Events {
    ring: Mutex<Ring>,
    sender: broadcast::Sender<Arc<Event>>,
    published: Counter,
}

/// A subscription: what is kept, then what comes. No event is missed or doubled in between.
#[derive(Debug)]
pub(crate) struct Subscription {
    /// Kept events, oldest first.
    pub(crate) kept: Vec<Arc<Event>>,
    receiver: broadcast::Receiver<Arc<Event>>,
}

impl Subscription {
    /// The next event; `None` when the daemon ends. Cancel safe. A subscriber that lags 1024
    /// events behind goes on with the oldest that is still there.
    pub(crate) async fn next(&mut self) -> Option<Arc<Event>> {
        loop {
            match self.receiver.recv().await {
                Ok(event) => return Some(event),
                Err(broadcast::error::RecvError::Lagged(missed)) => {
                    tracing::warn!(missed, "a client of the event stream is too slow");
                }
                Err(broadcast::error::RecvError::Closed) => return None,
            }
        }
    }
}

impl Default for Events {
    fn default() -> Self {
        Self {
            ring: Mutex::new(Ring {
                kept: VecDeque::with_capacity(KEPT),
                last_ns: 0,
            }),
            sender: broadcast::channel(BACKLOG).0,
            published: Counter::new(),
        }
    }
}

impl Events {
    fn ring(&self) -> MutexGuard<'_, Ring> {
        // The ring is consistent after each statement.
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Publishes an event that happened now.
    pub(crate) fn publish(
        &self,
        kind: &'static str,
        action: impl Into<String>,
        id: impl Into<String>,
        attributes: BTreeMap<String, String>,
    ) {
        let mut event = Event {
            kind,
            action: action.into(),
            id: id.into(),
            attributes,
            time_ns: 0,
        };
        tracing::info!(
            kind,
            action = event.action,
            id = event.id,
            exit_code = event.attributes.get("exitCode"),
            "event"
        );
        self.published.add(1);
        let mut ring = self.ring();
        // Strictly rising, so that `since` with the time of one event cuts between events.
        event.time_ns = crate::container::time::now_ns().max(ring.last_ns + 1);
        ring.last_ns = event.time_ns;
        let event = Arc::new(event);
        if ring.kept.len() == KEPT {
            ring.kept.pop_front();
        }
        ring.kept.push_back(Arc::clone(&event));
        // Nobody listening is no error. Sent under the lock: subscribers see one order.
        let _ = self.sender.send(event);
    }

    /// How many there were since the daemon's start.
    pub(crate) fn published(&self) -> u64 {
        self.published.get()
    }

    /// How many listen.
    pub(crate) fn subscribers(&self) -> usize {
        self.sender.receiver_count()
    }

    /// The kept events and all that come.
    pub(crate) fn subscribe(&self) -> Subscription {
        let ring = self.ring();
        Subscription {
            kept: ring.kept.iter().cloned().collect(),
            receiver: self.sender.subscribe(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn publish(events: &Events, action: &str) {
        let attributes = [("image".to_owned(), "busybox".to_owned())].into();
        events.publish("container", action, "abc", attributes);
    }

    #[tokio::test]
    async fn kept_then_live_without_a_hole() {
        let events = Events::default();
        for i in 0..300 {
            publish(&events, &format!("a{i}"));
        }
        let mut subscription = events.subscribe();
        publish(&events, "live");
        assert_eq!(subscription.kept.len(), KEPT);
        assert_eq!(subscription.kept[0].action, "a44");
        assert_eq!(subscription.kept[255].action, "a299");
        assert!(
            subscription
                .kept
                .windows(2)
                .all(|w| w[0].time_ns < w[1].time_ns)
        );
        assert_eq!(subscription.next().await.unwrap().action, "live");
        drop(events);
        assert!(subscription.next().await.is_none());
    }

    #[test]
    fn json_form() {
        let event = Event {
            kind: "container",
            action: "die".to_owned(),
            id: "ab".to_owned(),
            attributes: [("image".to_owned(), "busybox".to_owned())].into(),
            time_ns: 1_795_478_227_325_285_651,
        };
        assert_eq!(
            event.to_json().to_string(),
            r#"{"status":"die","id":"ab","from":"busybox","Type":"container","Action":"die","Actor":{"ID":"ab","Attributes":{"image":"busybox"}},"scope":"local","time":1795478227,"timeNano":1795478227325285651}"#
        );
    }
}
