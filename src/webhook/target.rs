//! One address: its queue and the task that posts, one after the other, each until it is taken,
//! refused or out of attempts.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use taffrail_drivers::post::{PostOptions, Poster};
use taffrail_drivers::sink::Environment;
use tokio::sync::mpsc;

use super::{Counters, QUEUE};

/// Attempts for one post; with the pauses between them some three minutes without an answer.
const ATTEMPTS: u32 = 10;
/// Pause after the first failure; each further one in a row is twice as long.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
/// Longest pause.
const MAX_PAUSE: Duration = Duration::from_secs(60);
/// For a connection, and for a whole request.
const CONNECT_TIME: Duration = Duration::from_secs(5);
const REQUEST_TIME: Duration = Duration::from_secs(10);

/// See the module. Dropped, its task ends when the queue is empty.
#[derive(Debug)]
pub(super) struct Target {
    options: PostOptions,
    sender: mpsc::Sender<Bytes>,
    queued: Arc<AtomicUsize>,
}

impl Target {
    pub(super) fn start(
        options: PostOptions,
        environment: &Environment,
        counters: &Arc<Counters>,
    ) -> Self {
        let (sender, receiver) = mpsc::channel(QUEUE);
        let queued = Arc::new(AtomicUsize::new(0));
        let task = Task {
            options: options.clone(),
            environment: environment.clone(),
            counters: Arc::clone(counters),
            queued: Arc::clone(&queued),
            poster: None,
            failed: 0,
        };
        tokio::spawn(task.run(receiver));
        Self {
            options,
            sender,
            queued,
        }
    }

    pub(super) fn options(&self) -> &PostOptions {
        &self.options
    }

    /// False if there is no room.
    pub(super) fn push(&self, body: Bytes) -> bool {
        // Counted first: the task may be faster.
        self.queued.fetch_add(1, Ordering::Relaxed);
        let pushed = self.sender.try_send(body).is_ok();
        if !pushed {
            self.queued.fetch_sub(1, Ordering::Relaxed);
        }
        pushed
    }

    /// Posts that wait or are under way.
    pub(super) fn queued(&self) -> usize {
        self.queued.load(Ordering::Relaxed)
    }
}

/// How an attempt went.
enum Attempt {
    Taken,
    /// Trying again is of no use.
    Refused(String),
    Failed(String),
}

struct Task {
    options: PostOptions,
    environment: Environment,
    counters: Arc<Counters>,
    queued: Arc<AtomicUsize>,
    /// Made anew after a failure, so that a changed secret or certificate is found.
    poster: Option<Poster>,
    /// Failures in a row, over all posts: more than 0 is an outage, which was told.
    failed: u32,
}

impl Task {
    async fn run(mut self, mut receiver: mpsc::Receiver<Bytes>) {
        while let Some(body) = receiver.recv().await {
            self.deliver(body).await;
            self.queued.fetch_sub(1, Ordering::Relaxed);
        }
    }

    async fn deliver(&mut self, body: Bytes) {
        for attempt in 1..=ATTEMPTS {
            match self.attempt(body.clone()).await {
                Attempt::Taken => {
                    self.counters.posted.add(1);
                    if self.failed > 0 {
                        tracing::info!(
                            webhook = self.shown(),
                            failures = self.failed,
                            "webhook takes posts again"
                        );
                        self.failed = 0;
                    }
                    return;
                }
                Attempt::Refused(why) => {
                    self.failure(&why);
                    self.counters.dropped_refused.add(1);
                    return;
                }
                Attempt::Failed(why) => self.failure(&why),
            }
            if attempt < ATTEMPTS {
                tokio::time::sleep(jittered(pause(self.failed), random())).await;
            }
        }
        self.counters.dropped_attempts.add(1);
    }

    async fn attempt(&mut self, body: Bytes) -> Attempt {
        if self.poster.is_none() {
            let (options, environment) = (self.options.clone(), self.environment.clone());
            // It reads files.
            let made = tokio::task::spawn_blocking(move || {
                Poster::new(&options, &environment, CONNECT_TIME, REQUEST_TIME)
            });
            match made.await {
                Ok(Ok(poster)) => self.poster = Some(poster),
                Ok(Err(why)) => return Attempt::Failed(why),
                Err(_) => return Attempt::Failed("the daemon is ending".to_owned()),
            }
        }
        let Some(poster) = &self.poster else {
            return Attempt::Failed("there is no client".to_owned());
        };
        match poster.post(body).await {
            Ok(status) => judge(status),
            Err(why) => Attempt::Failed(why),
        }
    }

    /// Counts, and says the first failure of an outage in the daemon's log.
    fn failure(&mut self, why: &str) {
        self.counters.failures.add(1);
        if self.failed == 0 {
            tracing::warn!(
                webhook = self.shown(),
                error = why,
                "webhook takes no posts"
            );
        }
        self.failed = self.failed.saturating_add(1);
        self.poster = None;
    }

    fn shown(&self) -> String {
        super::shown_secret_url(&self.options.url)
    }
}

/// What a status means.
fn judge(status: u16) -> Attempt {
    match status {
        200..=299 => Attempt::Taken,
        // Time-out, too early, too many.
        408 | 425 | 429 | 500.. => Attempt::Failed(format!("status {status}")),
        _ => Attempt::Refused(format!("status {status}")),
    }
}

/// The pause after so many failures in a row.
fn pause(failed: u32) -> Duration {
    let doublings = failed.saturating_sub(1).min(16);
    (FIRST_PAUSE * (1 << doublings)).min(MAX_PAUSE)
}

/// Three quarters to five quarters of a pause, so that many daemons do not come at once.
fn jittered(pause: Duration, random: u8) -> Duration {
    pause * 3 / 4 + pause * u32::from(random) / (2 * 255)
}

/// Without random numbers the middle will do.
fn random() -> u8 {
    getrandom::u32().map_or(128, |n| n.to_le_bytes()[0])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_a_minute() {
        let millis = |failed| pause(failed).as_millis();
        assert_eq!(
            [
                millis(1),
                millis(2),
                millis(3),
                millis(7),
                millis(8),
                millis(4_000_000)
            ],
            [500, 1000, 2000, 32_000, 60_000, 60_000]
        );
        let pause = Duration::from_secs(4);
        assert_eq!(jittered(pause, 0), Duration::from_secs(3));
        assert_eq!(jittered(pause, 255), Duration::from_secs(5));
    }

    #[test]
    fn what_is_tried_again() {
        for status in [408, 429, 500, 503, 599] {
            assert!(matches!(judge(status), Attempt::Failed(_)), "{status}");
        }
        for status in [301, 400, 401, 404] {
            assert!(matches!(judge(status), Attempt::Refused(_)), "{status}");
        }
        assert!(matches!(judge(204), Attempt::Taken));
    }
}
