//! After an event: keeps the last words and posts them.

use std::sync::Arc;

use serde_json::{Value, json};
use taffrail_config::WebhookEvent;

use super::super::exit::blocking;
use super::super::{Container, Status, time};
use super::read::Reading;
use super::store::LastWords;
use crate::daemon::{Daemon, host_name};

/// Version of the body that is posted.
const BODY_VERSION: u32 = 1;

/// What happened to a container.
#[derive(Clone, Debug)]
pub(in crate::container) struct Happened {
    pub(in crate::container) event: WebhookEvent,
    /// Nanoseconds since 1970.
    pub(in crate::container) at_ns: i64,
    pub(in crate::container) run: u64,
    /// Empty if nothing ended.
    pub(in crate::container) cause: String,
    pub(in crate::container) exit_code: Option<i32>,
    /// It is worth a post: not the end that a user asked for.
    pub(in crate::container) post: bool,
    /// It is kept for inspect: nothing of more weight follows at once.
    pub(in crate::container) keep: bool,
    /// `FailingStreak` and `Output` of an unhealthy container.
    pub(in crate::container) health: Option<Value>,
}

impl Daemon {
    /// Keeps and posts what is being read, in a task of its own. Several events may share the lines.
    pub(in crate::container) fn last_words(
        self: &Arc<Self>,
        container: &Arc<Container>,
        reading: Reading,
        happened: Vec<Happened>,
    ) {
        let daemon = Arc::clone(self);
        let container = Arc::clone(container);
        tokio::spawn(async move {
            let lines = reading.lines().await;
            for one in happened {
                let mut words =
                    LastWords::new(one.event.as_str(), one.at_ns, one.run, lines.clone());
                words.cause.clone_from(&one.cause);
                words.exit_code = one.exit_code;
                if one.post && daemon.webhooks.wants(one.event) {
                    let body = daemon.body(&container, &one, &words);
                    daemon.webhooks.post(one.event, &body);
                }
                if one.keep {
                    keep(&container, words).await;
                }
            }
        });
    }

    /// The body of a post; see `docs/last-words.md`.
    fn body(&self, container: &Container, happened: &Happened, words: &LastWords) -> Value {
        let record = container.record();
        let lines: Vec<Value> = words
            .lines
            .iter()
            .map(|l| json!({"time": l.time, "stream": l.stream, "line": l.line}))
            .collect();
        let mut body = json!({
            "version": BODY_VERSION,
            "event": happened.event.as_str(),
            "time": time::rfc3339(happened.at_ns),
            "host": host_name(),
            "daemonId": self.id,
            "container": {
                "id": record.id,
                "name": record.name,
                "image": record.config.image,
                "labels": record.config.labels,
            },
            "run": happened.run,
            "restarting": record.state.status == Status::Restarting,
        });
        if !happened.cause.is_empty() {
            body["cause"] = json!(happened.cause);
        }
        if let Some(code) = happened.exit_code {
            body["exitCode"] = json!(code);
        }
        if let Some(health) = &happened.health {
            body["health"] = health.clone();
        }
        body["lines"] = json!(lines);
        body["linesCut"] = json!(words.cut);
        body
    }

    /// After a start of the daemon: the last words of an end that the daemon before did not live to
    /// keep. They are not posted again.
    pub(in crate::container) fn mend_last_words(self: &Arc<Self>, container: &Arc<Container>) {
        let state = container.record().state;
        let (Some(at_ns), run) = (state.finished_ns, state.run()) else {
            return;
        };
        if !matches!(state.status, Status::Exited | Status::Restarting) {
            return;
        }
        let daemon = Arc::clone(self);
        let container = Arc::clone(container);
        tokio::spawn(async move {
            let dir = container.dir().to_owned();
            let kept = blocking(move || LastWords::load(&dir)).await.flatten();
            if kept.is_some_and(|kept| kept.run() >= run && kept.event == "die") {
                return;
            }
            let reading = Reading::begin(&container, run, None);
            let happened = Happened {
                event: WebhookEvent::Die,
                at_ns,
                run,
                cause: state.exit_cause,
                exit_code: Some(state.exit_code),
                post: false,
                keep: true,
                health: None,
            };
            daemon.last_words(&container, reading, vec![happened]);
        });
    }
}

/// Writes the file, unless something newer was written or the container is going.
async fn keep(container: &Arc<Container>, words: LastWords) {
    let _files = container.files.lock().await;
    {
        let mut inner = container.inner();
        let going = inner.gone || inner.record.state.status == Status::Removing;
        if going || words.at_ns < inner.last_words_ns {
            return;
        }
        inner.last_words_ns = words.at_ns;
    }
    let dir = container.dir().to_owned();
    if let Some(Err(error)) = blocking(move || words.save(&dir)).await {
        tracing::warn!(container = container.id, %error, "last words cannot be kept");
    }
}
