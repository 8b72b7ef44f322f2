//! The steps of a test: what was done, how it went, how long it took.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::BOUND;

/// Something that was done, and how it went.
#[derive(Clone, Debug)]
struct Step {
    name: &'static str,
    ok: bool,
    text: String,
    took: Duration,
}

/// When the last step ended, all of them, the result.
type Noted = (Instant, Vec<Step>, Option<&'static str>);

/// The steps of one sink. Shared with the thread that makes them, which may be late.
#[derive(Debug)]
pub(super) struct Course {
    begun: Instant,
    inner: Mutex<Noted>,
    pub(super) cancelled: AtomicBool,
}

impl Course {
    pub(super) fn new() -> Arc<Self> {
        let now = Instant::now();
        Arc::new(Self {
            begun: now,
            inner: Mutex::new((now, Vec::new(), None)),
            cancelled: AtomicBool::new(false),
        })
    }

    fn lock(&self) -> MutexGuard<'_, Noted> {
        // Steps are pushed whole.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the last step has said so already.
    pub(super) fn said(&self, text: &str) -> bool {
        self.lock().1.last().is_some_and(|step| step.text == text)
    }

    /// Notes a step, which began when the last one ended.
    pub(super) fn step(&self, name: &'static str, ok: bool, text: impl Into<String>) {
        let mut inner = self.lock();
        if self.cancelled.load(Ordering::SeqCst) {
            return;
        }
        let now = Instant::now();
        let took = now.duration_since(inner.0);
        inner.0 = now;
        inner.1.push(Step {
            name,
            ok,
            text: text.into(),
            took,
        });
    }

    pub(super) fn end(&self, result: &'static str) {
        let mut inner = self.lock();
        if !self.cancelled.load(Ordering::SeqCst) {
            inner.2 = Some(result);
        }
    }

    /// Nothing more is noted.
    pub(super) fn cancel(&self) {
        self.step(
            "time",
            false,
            format!("no end within {} s: given up", BOUND.as_secs()),
        );
        let _inner = self.lock();
        self.cancelled.store(true, Ordering::SeqCst);
    }
}

/// An item of `Sinks` in the answer.
pub(super) fn shown(name: &str, driver: &str, address: Option<String>, course: &Course) -> Value {
    let inner = course.lock();
    let ms = |d: Duration| (d.as_secs_f64() * 1e4).round() / 10.0;
    let steps: Vec<Value> = inner
        .1
        .iter()
        .map(|step| {
            json!({
                "Step": step.name,
                "Ok": step.ok,
                "Text": step.text,
                "Milliseconds": ms(step.took),
            })
        })
        .collect();
    json!({
        "Name": name,
        "Driver": driver,
        "Address": address,
        "Ok": inner.2.is_some_and(|result| result != "rejected"),
        "Result": inner.2.unwrap_or("failed"),
        "Milliseconds": ms(inner.0.duration_since(course.begun)),
        "Steps": steps,
    })
}
