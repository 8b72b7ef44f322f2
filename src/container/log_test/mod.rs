//! `taffrail log-test`: one record to each receiver that log settings name, told step by step.

mod course;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use taffrail_drivers::sink::{
    Batch, Connection, Encoded, Encoder, Environment, Failure, FailureKind, Record, Rejected,
    Stream,
};
use taffrail_drivers::{ContainerFacts, Plan, Sink, Validated, masked, merge, validate};

use self::course::{Course, shown};
use super::{Container, log_config, time};
use crate::api::types::LogConfig;
use crate::daemon::{Daemon, host_name};
use crate::errors::ApiError;

/// The whole test takes no longer; what a sink has done until then is told.
const BOUND: Duration = Duration::from_secs(60);
/// Tests at a time; each sink of them has a thread.
static TESTS: tokio::sync::Semaphore = tokio::sync::Semaphore::const_new(4);
/// How long a refusal of what has no answer is waited for.
const UNANSWERED: Duration = Duration::from_millis(300);

/// What is to be tested.
#[derive(Debug, Default)]
pub(crate) struct LogTest {
    /// As at create: the daemon's defaults are laid under it. `None`: the container's own.
    pub(crate) config: Option<LogConfig>,
    /// Instead of the usual text.
    pub(crate) message: Option<String>,
}

/// One sink with what is needed to test it.
struct Probe {
    sink: Sink,
    encoder: Result<Box<dyn Encoder>, String>,
    message: String,
    environment: Environment,
}

impl Daemon {
    /// Sends one record to each receiver of the settings.
    ///
    /// # Errors
    /// 400 with everything that is wrong with the settings.
    pub(crate) async fn test_logs(
        self: &Arc<Self>,
        container: Option<&Arc<Container>>,
        test: LogTest,
    ) -> Result<Value, ApiError> {
        let settings = self.settings();
        let given = test.config.unwrap_or_default();
        let own = container.map(|container| container.record());
        let (kind, options) = match &own {
            Some(record) if given == LogConfig::default() => {
                let own = &record.host.log_config;
                (own.kind.clone(), own.config.clone())
            }
            _ => merge(&settings.log, &given.kind, &given.config),
        };
        let validated = validate(&kind, &options).map_err(|e| ApiError::invalid(e.to_string()))?;
        let host = host_name();
        let message = match test.message {
            Some(text) if !text.is_empty() => text,
            _ => format!("taffrail log-test: hello from {host}"),
        };
        let environment = crate::delivery::environment(&settings.data_root);
        let probes = |facts: &ContainerFacts<'_>| -> Vec<Probe> {
            let sinks = validated.sinks().iter();
            sinks
                .map(|sink| Probe {
                    sink: sink.clone(),
                    encoder: sink.settings.encoder(facts).map_err(|e| e.to_string()),
                    message: message.clone(),
                    environment: environment.clone(),
                })
                .collect()
        };
        let probes = match (&own, container) {
            (Some(record), Some(container)) => {
                let path = container.log_path().display().to_string();
                log_config::with_facts(record, &path, |facts, _| probes(facts))
                    .map_err(ApiError::system)?
            }
            _ => probes(&ContainerFacts {
                id: &"0".repeat(64),
                name: "taffrail-log-test",
                image_id: &format!("sha256:{}", "0".repeat(64)),
                image_name: "taffrail-log-test",
                path: "taffrail",
                args: &["log-test".to_owned()],
                labels: Some(&BTreeMap::new()),
                created: &time::rfc3339(time::now_ns()),
                hostname: &host,
                ..ContainerFacts::default()
            }),
        };
        let sinks = run(probes).await;
        let failed = sinks.iter().any(|sink| sink["Ok"] == false);
        Ok(json!({
            "Type": kind,
            "Config": masked(&options),
            "Message": message,
            "Warnings": validated.warnings(),
            "Local": local(&validated),
            "Sinks": sinks,
            "Ok": !failed,
        }))
    }
}

/// What becomes of records on this machine.
fn local(validated: &Validated) -> String {
    let kept = match validated.plan() {
        Plan::JsonFile(_) => "the log is kept on this machine as json-file",
        Plan::Local(_) => "the log is kept on this machine in the format \"local\"",
        _ => "no log is kept",
    };
    if validated.sinks().is_empty() {
        format!("{kept}; nothing is sent anywhere")
    } else {
        kept.to_owned()
    }
}

/// Tests all at the same time.
async fn run(probes: Vec<Probe>) -> Vec<Value> {
    let Ok(_permit) = TESTS.acquire().await else {
        return Vec::new();
    };
    let mut under_way = Vec::new();
    for mut probe in probes {
        let course = Course::new();
        let head = (probe.sink.name.clone(), probe.sink.driver);
        let own = Arc::clone(&course);
        let task = tokio::task::spawn_blocking(move || probe.make(&own));
        under_way.push((head, course, task));
    }
    let until = tokio::time::Instant::now() + BOUND;
    let mut told = Vec::new();
    for ((name, driver), course, task) in under_way {
        let address = match tokio::time::timeout_at(until, task).await {
            Ok(Ok(address)) => address,
            Ok(Err(_)) => None,
            Err(_) => {
                course.cancel();
                None
            }
        };
        told.push(shown(&name, driver, address, &course));
    }
    told
}

impl Probe {
    /// Does it all; the address, once it is known.
    fn make(&mut self, course: &Course) -> Option<String> {
        course.step("options", true, "valid");
        let destination = match self.sink.settings.destination(&self.environment) {
            Ok(destination) => destination,
            Err(error) => {
                course.step("files", false, error.0);
                return None;
            }
        };
        course.step("files", true, "what the options name can be read");
        let address = Some(destination.address.clone());
        let mut batch = Batch::default();
        if !self.encode(&mut batch, course) {
            return address;
        }
        let mut trace = |line: String| {
            let (name, ok) = kind_of(&line);
            course.step(name, ok, line);
        };
        let mut connection = match destination.opener.open(&mut trace) {
            Ok(connection) => connection,
            Err(failure) => {
                if !course.said(&failure.text) {
                    course.step(step_of(&failure), false, failure.text);
                }
                return address;
            }
        };
        course.step("open", true, "ready for records");
        let cancelled = || course.cancelled.load(Ordering::SeqCst);
        let bytes = batch.bytes.len();
        if let Err(failure) = connection.send(&mut batch, &cancelled) {
            course.step("send", false, failure.text);
            return address;
        }
        course.step("send", true, format!("{bytes} bytes written"));
        let ack_timeout = destination.limits.ack_timeout;
        answer(&mut *connection, &destination.address, ack_timeout, course);
        connection.close();
        address
    }

    fn encode(&mut self, batch: &mut Batch, course: &Course) -> bool {
        let encoder = match &mut self.encoder {
            Ok(encoder) => encoder,
            Err(error) => {
                course.step("encode", false, error.clone());
                return false;
            }
        };
        let record = Record {
            epoch: 0,
            seq: 1,
            time_ns: time::now_ns(),
            stream: Stream::Stdout,
            line: self.message.as_bytes(),
            partial: None,
        };
        match encoder.encode(&record, &mut batch.bytes) {
            Encoded::Yes => {}
            other => {
                let reason = match other {
                    Encoded::Refused(reason) => reason,
                    _ => "the driver does not send such records".to_owned(),
                };
                course.step("encode", false, reason);
                return false;
            }
        }
        let end = u32::try_from(batch.bytes.len()).unwrap_or(u32::MAX);
        batch.ends.push(end);
        batch.scope = encoder.scope().map(str::to_owned);
        course.step("encode", true, "the record is made");
        true
    }
}

/// Waits for what the receiver says.
fn answer(connection: &mut dyn Connection, address: &str, timeout: Duration, course: &Course) {
    let until = Instant::now() + timeout;
    let mut rejected: Vec<Rejected> = Vec::new();
    loop {
        let left = until.saturating_duration_since(Instant::now());
        let wait = left.min(Duration::from_millis(500));
        match connection.settled(wait, &mut rejected) {
            Err(failure) => return course.step("accept", false, failure.text),
            Ok(_) if !rejected.is_empty() => {
                course.step("accept", false, format!("rejected: {}", rejected[0].reason));
                return course.end("rejected");
            }
            Ok(n) if n > 0 => break,
            Ok(_) if left.is_zero() || course.cancelled.load(Ordering::SeqCst) => {
                let text = format!("not acknowledged within {} s", timeout.as_secs());
                return course.step("accept", false, text);
            }
            Ok(_) => {}
        }
    }
    let (text, result) = meaning(address);
    if result == "sent" {
        // A machine where nobody listens says so a moment later.
        std::thread::sleep(UNANSWERED);
        if let Err(failure) = connection.settled(Duration::from_millis(1), &mut rejected) {
            return course.step("accept", false, failure.text);
        }
    }
    course.step("accept", true, text);
    course.end(result);
}

/// What it means that a receiver at such an address counts as having accepted, and the word for it.
fn meaning(address: &str) -> (&'static str, &'static str) {
    match address.split_once("://").map(|(scheme, _)| scheme) {
        Some("udp") => (
            "handed to the network, and nobody refused it; UDP has no answer, so look at the receiver",
            "sent",
        ),
        Some("tcp" | "tcp+tls") => (
            "acknowledged by the receiver's kernel; this protocol has no answer of the program behind it",
            "accepted",
        ),
        Some("unix" | "unixgram") => ("taken by the socket's other end", "accepted"),
        _ => ("accepted by the receiver", "accepted"),
    }
}

/// Which step a line of the trace is about, and whether it went well.
fn kind_of(line: &str) -> (&'static str, bool) {
    let ok = !line.starts_with("cannot ");
    let name = match line.split(' ').next().unwrap_or("") {
        "resolved" => "resolve",
        "connected" | "sending" | "cannot" => "connect",
        word if word.starts_with("TLS") => "tls",
        _ => "session",
    };
    (name, ok)
}

/// Which step a failure to open a connection is about.
fn step_of(failure: &Failure) -> &'static str {
    match failure.kind {
        FailureKind::Tls => "tls",
        FailureKind::Denied => "authenticate",
        FailureKind::Busy(_) | FailureKind::Protocol => "session",
        _ if failure.text.starts_with("cannot resolve") => "resolve",
        _ => "connect",
    }
}

#[cfg(test)]
mod tests;
