//! `webhook` of daemon.json: posts that a container failed, was killed for want of memory or is unhealthy.
//!
//! Each address has a queue and a task of its own, so a slow one delays only itself, and nothing here
//! is ever waited for by a container's life: a post that finds no room is counted and dropped.

mod target;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value, json};
use taffrail_config::{Webhook, WebhookEvent};
use taffrail_drivers::Secret;
use taffrail_drivers::post::{PostOptions, shown_url};
use taffrail_drivers::sink::Environment;

use crate::metrics::{Counter, Text};
use target::Target;

/// Posts that wait for one address, at most. One has at most some 20 KiB.
const QUEUE: usize = 256;
/// How long the daemon's end waits for posts that are under way.
const END_TIME: Duration = Duration::from_secs(2);

/// What was counted since the daemon's start, over all addresses.
#[derive(Debug, Default)]
struct Counters {
    posted: Counter,
    failures: Counter,
    /// No room in the queue, attempts used up, refused for good, the daemon's end.
    dropped_queue: Counter,
    dropped_attempts: Counter,
    dropped_refused: Counter,
}

/// The addresses that are posted to.
#[derive(Debug, Default)]
pub(crate) struct Webhooks {
    now: Mutex<Now>,
    counters: Arc<Counters>,
}

#[derive(Debug, Default)]
struct Now {
    setting: Option<Webhook>,
    targets: Vec<Target>,
}

impl Webhooks {
    /// Goes by a new setting. Addresses that are gone, or have other headers, finish what waits.
    pub(crate) fn apply(&self, setting: Option<&Webhook>, environment: &Environment) {
        let mut now = self.now();
        if now.setting.as_ref() == setting {
            return;
        }
        let mut old = std::mem::take(&mut now.targets);
        if let Some(setting) = setting {
            for url in &setting.urls {
                let options = PostOptions {
                    url: url.clone(),
                    headers: setting.headers.clone(),
                    tls_ca: setting.tls_ca.clone(),
                };
                let same = old.iter().position(|target| *target.options() == options);
                let target = match same {
                    Some(at) => old.swap_remove(at),
                    None => Target::start(options, environment, &self.counters),
                };
                now.targets.push(target);
            }
        }
        now.setting = setting.cloned();
    }

    fn now(&self) -> std::sync::MutexGuard<'_, Now> {
        // Its values are consistent after each statement.
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether anybody wants to hear of such an event.
    pub(crate) fn wants(&self, event: WebhookEvent) -> bool {
        let now = self.now();
        now.setting
            .as_ref()
            .is_some_and(|s| s.events.contains(&event))
    }

    /// Queues a body for each address, if its event is wanted. Never waits.
    pub(crate) fn post(&self, event: WebhookEvent, body: &Value) {
        if !self.wants(event) {
            return;
        }
        let bytes = Bytes::from(body.to_string());
        for target in &self.now().targets {
            if !target.push(bytes.clone()) {
                self.counters.dropped_queue.add(1);
            }
        }
    }

    /// At the daemon's end: gives what is queued a moment, and says what is lost.
    pub(crate) async fn finish(&self) {
        let deadline = tokio::time::Instant::now() + END_TIME;
        while self.queued() > 0 && tokio::time::Instant::now() < deadline {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let lost = self.queued();
        if lost > 0 {
            tracing::warn!(lost, "webhook: posts that nobody took end with the daemon");
        }
    }

    fn queued(&self) -> usize {
        self.now().targets.iter().map(Target::queued).sum()
    }

    /// Writes the families `taffrail_webhook_*`.
    pub(crate) fn metrics(&self, text: &mut Text) {
        let counters = &self.counters;
        text.counter(
            "taffrail_webhook_posted_total",
            "Posts that an address of the webhook has accepted.",
        )
        .value(counters.posted.get());
        text.counter(
            "taffrail_webhook_failures_total",
            "Attempts to post that failed.",
        )
        .value(counters.failures.get());
        text.counter(
            "taffrail_webhook_dropped_total",
            "Posts that were given up: no room in the queue, all attempts used, refused.",
        )
        .sample(&[("reason", "queue")], counters.dropped_queue.get())
        .sample(&[("reason", "attempts")], counters.dropped_attempts.get())
        .sample(&[("reason", "refused")], counters.dropped_refused.get());
        text.gauge("taffrail_webhook_queued", "Posts that wait.")
            .value(self.queued());
    }
}

/// The setting as others may see it: of addresses scheme, host and port, of headers the names.
pub(crate) fn shown(setting: Option<&Webhook>) -> Value {
    let Some(setting) = setting else {
        return json!({});
    };
    let urls: Vec<String> = setting.urls.iter().map(shown_secret_url).collect();
    let events: Vec<&str> = setting.events.iter().map(|event| event.as_str()).collect();
    let headers: Vec<&str> = setting.headers.iter().map(|(name, _)| &**name).collect();
    json!({"url": urls, "events": events, "headers": headers})
}

fn shown_secret_url(url: &Secret) -> String {
    match url {
        Secret::Given(url) => shown_url(url),
        // The file's name is no secret.
        other => format!("{other:?}"),
    }
}
