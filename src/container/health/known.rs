//! What is known of a container's health, how probes change it, and the file it is kept in.

use std::collections::VecDeque;
use std::fs;
use std::io;
use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::super::time;
use super::check::Check;
use crate::state_file::replace;

/// Version that is written, and the newest that is read.
const VERSION: u32 = 1;
const FILE: &str = "health.json";
/// Probes that are kept (Moby `maxLogEntries`).
const KEPT: usize = 5;
/// Largest file that is read: five outputs of 4 KiB with everything escaped.
const MAX_FILE: u64 = 512 * 1024;

/// Docker's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(in crate::container) enum HealthStatus {
    Starting,
    Healthy,
    Unhealthy,
}

impl HealthStatus {
    pub(in crate::container) fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Healthy => "healthy",
            Self::Unhealthy => "unhealthy",
        }
    }
}

/// One probe (docs: Engine API `HealthcheckResult`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Probe {
    /// Nanoseconds since 1970.
    pub(super) start_ns: i64,
    pub(super) end_ns: i64,
    /// 0 is healthy; -1: it could not be run, or took too long.
    pub(super) exit_code: i64,
    /// At most 4096 bytes, and `...` if there was more.
    pub(super) output: String,
}

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Health {
    version: u32,
    /// The run that it is of.
    pub(super) run: u64,
    pub(in crate::container) status: HealthStatus,
    pub(super) failing_streak: u64,
    /// Oldest first.
    pub(super) log: VecDeque<Probe>,
}

impl Health {
    /// At the start of a run; the probes of the run before stay, as in Docker.
    pub(in crate::container) fn starting(run: u64, before: Option<&Self>) -> Self {
        Self {
            version: VERSION,
            run,
            status: HealthStatus::Starting,
            failing_streak: 0,
            log: before.map(|h| h.log.clone()).unwrap_or_default(),
        }
    }

    /// Of a container that does not run (any more): nothing healthy runs, and Docker says so, too.
    pub(in crate::container) fn stopped(&self) -> Self {
        Self {
            status: HealthStatus::Unhealthy,
            ..self.clone()
        }
    }

    /// Takes a probe in. True if the status has changed.
    pub(super) fn apply(&mut self, probe: Probe, check: &Check, started_ns: i64) -> bool {
        let before = self.status;
        if probe.exit_code == 0 {
            self.failing_streak = 0;
            self.status = HealthStatus::Healthy;
        } else {
            // While it starts, failures are to be expected.
            let young = since(started_ns, probe.start_ns) < check.start_period;
            if !(self.status == HealthStatus::Starting && young) {
                self.failing_streak += 1;
                if self.failing_streak >= check.retries {
                    self.status = HealthStatus::Unhealthy;
                }
            }
        }
        while self.log.len() >= KEPT {
            self.log.pop_front();
        }
        self.log.push_back(probe);
        self.status != before
    }

    /// Time from the end of a probe (or from the start) to the next one.
    pub(super) fn pause(&self, check: &Check, started_ns: i64, now_ns: i64) -> Duration {
        let young = since(started_ns, now_ns) < check.start_period;
        if young && self.status == HealthStatus::Starting {
            check.start_interval
        } else {
            check.interval
        }
    }

    /// Time until the next probe for a daemon that finds the container running: the rest of the
    /// pause that the daemon before had begun.
    pub(super) fn due(&self, check: &Check, started_ns: i64, now_ns: i64) -> Duration {
        let last = self.log.back().map_or(started_ns, |probe| probe.end_ns);
        let since_last = since(last.max(started_ns), now_ns);
        self.pause(check, started_ns, now_ns)
            .saturating_sub(since_last)
    }

    /// `State.Health` of inspect.
    pub(in crate::container) fn shown(&self) -> Value {
        let log: Vec<Value> = self
            .log
            .iter()
            .map(|probe| {
                json!({
                    "Start": time::rfc3339(probe.start_ns),
                    "End": time::rfc3339(probe.end_ns),
                    "ExitCode": probe.exit_code,
                    "Output": probe.output,
                })
            })
            .collect();
        json!({
            "Status": self.status.as_str(),
            "FailingStreak": self.failing_streak,
            "Log": log,
        })
    }

    /// In the status of `ps`.
    pub(in crate::container) fn in_list(&self) -> &'static str {
        match self.status {
            HealthStatus::Starting => "health: starting",
            other => other.as_str(),
        }
    }

    /// What a container's folder has; `None` if nothing, or nothing that can be used.
    pub(in crate::container) fn load(dir: &Path) -> Option<Self> {
        let path = dir.join(FILE);
        if fs::metadata(&path).ok()?.len() > MAX_FILE {
            return None;
        }
        let health: Self = serde_json::from_slice(&fs::read(path).ok()?).ok()?;
        (health.version <= VERSION).then_some(health)
    }

    /// Replaces the file. A changed status is on the disk when this returns; a probe that changes
    /// nothing is not worth a sync.
    ///
    /// # Errors
    /// The disk is full, read-only, or the folder is gone.
    pub(super) fn save(&self, dir: &Path, sync: bool) -> io::Result<()> {
        replace(dir, FILE, &serde_json::to_vec(self)?, sync)
    }
}

fn since(from_ns: i64, to_ns: i64) -> Duration {
    Duration::from_nanos(u64::try_from(to_ns.saturating_sub(from_ns)).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: i64 = 1_000_000_000;

    fn check() -> Check {
        Check {
            argv: vec!["true".to_owned()],
            interval: Duration::from_secs(30),
            timeout: Duration::from_secs(1),
            start_period: Duration::from_secs(10),
            start_interval: Duration::from_secs(2),
            retries: 2,
        }
    }

    fn probe(at: i64, exit_code: i64) -> Probe {
        Probe {
            start_ns: at * S,
            end_ns: at * S + S / 2,
            exit_code,
            output: format!("at {at}"),
        }
    }

    #[test]
    fn failures_count_after_the_start_period_or_the_first_success() {
        let check = check();
        let mut health = Health::starting(1, None);
        assert_eq!(health.in_list(), "health: starting");
        // Started at 100 s.
        assert!(!health.apply(probe(101, 1), &check, 100 * S));
        assert!(!health.apply(probe(109, 1), &check, 100 * S));
        assert_eq!(health.failing_streak, 0);
        assert!(!health.apply(probe(110, 1), &check, 100 * S));
        assert_eq!(
            (health.failing_streak, health.status),
            (1, HealthStatus::Starting)
        );
        assert!(health.apply(probe(111, 2), &check, 100 * S));
        assert_eq!(health.status, HealthStatus::Unhealthy);
        assert!(!health.apply(probe(112, -1), &check, 100 * S));
        assert_eq!(health.failing_streak, 3);
        assert!(health.apply(probe(113, 0), &check, 100 * S));
        assert_eq!((health.failing_streak, health.in_list()), (0, "healthy"));
        assert_eq!(health.log.len(), KEPT);
        assert_eq!(health.log[0].output, "at 109");
        // A success within the start period ends it.
        let mut health = Health::starting(2, Some(&health));
        assert_eq!(
            (health.log.len(), health.status),
            (KEPT, HealthStatus::Starting)
        );
        assert!(health.apply(probe(201, 0), &check, 200 * S));
        assert!(!health.apply(probe(202, 1), &check, 200 * S));
        assert!(health.apply(probe(203, 1), &check, 200 * S));
        assert_eq!(health.status, HealthStatus::Unhealthy);
        assert_eq!(health.stopped().in_list(), "unhealthy");
    }

    #[test]
    fn pauses() {
        let check = check();
        let mut health = Health::starting(1, None);
        let secs = |d: Duration| d.as_secs();
        assert_eq!(secs(health.pause(&check, 100 * S, 105 * S)), 2);
        assert_eq!(secs(health.pause(&check, 100 * S, 110 * S)), 30);
        health.status = HealthStatus::Healthy;
        assert_eq!(secs(health.pause(&check, 100 * S, 105 * S)), 30);
        // Another daemon goes on with the pause.
        health.log.push_back(probe(120, 0));
        assert_eq!(health.due(&check, 100 * S, 130 * S).as_millis(), 20_500);
        assert_eq!(health.due(&check, 100 * S, 990 * S), Duration::ZERO);
        // Probes of an earlier run do not count.
        assert_eq!(secs(health.due(&check, 200 * S, 210 * S)), 20);
        // A clock that was put back.
        assert_eq!(secs(health.due(&check, 100 * S, 50 * S)), 30);
    }

    #[test]
    fn kept_and_shown() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(Health::load(dir.path()), None);
        let mut health = Health::starting(4, None);
        assert_eq!(
            health.shown().to_string(),
            r#"{"Status":"starting","FailingStreak":0,"Log":[]}"#
        );
        health.apply(probe(1, 0), &check(), 0);
        for sync in [true, false] {
            health.save(dir.path(), sync).unwrap();
            assert_eq!(Health::load(dir.path()), Some(health.clone()));
        }
        assert_eq!(
            health.shown()["Log"][0].to_string(),
            r#"{"Start":"1970-01-01T00:00:01Z","End":"1970-01-01T00:00:01.5Z","ExitCode":0,"Output":"at 1"}"#
        );
        health.version = 2;
        health.save(dir.path(), true).unwrap();
        assert_eq!(Health::load(dir.path()), None);
    }
}
