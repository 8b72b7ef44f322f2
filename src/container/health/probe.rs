//! One probe: the check's command as an exec in the container, within its time.

use std::sync::Arc;
use std::time::Duration;

use taffrail_config::ExtraStream;

use super::check::Check;
use super::known::Probe;
use crate::container::{Container, Status, exec, time};
use crate::daemon::Daemon;
use crate::metrics::{Counter, Text};

/// Bytes of the output that are kept (Moby `maxOutputLen`).
const MAX_OUTPUT: usize = 4096;
/// Exit code of a probe that has none.
const NO_CODE: i64 = -1;

/// Probes, and those that could not be run, of all containers.
static PROBES: Counter = Counter::new();
static FAILED: Counter = Counter::new();

/// Docker's counters.
pub(crate) fn metrics(text: &mut Text) {
    text.counter(
        "engine_daemon_health_checks_total",
        "The total number of health checks.",
    )
    .value(PROBES.get());
    text.counter(
        "engine_daemon_health_checks_failed_total",
        "The total number of failed health checks.",
    )
    .value(FAILED.get());
}

/// A duration as Go prints it: `1.5s`, `2m0s`, `300ms`.
fn go_duration(duration: Duration) -> String {
    let nanos = duration.as_nanos();
    let fraction = |unit: u128, name: &str| {
        let text = format!(
            "{}.{:09}",
            nanos / unit,
            nanos % unit * (1_000_000_000 / unit)
        );
        format!("{}{name}", text.trim_end_matches('0').trim_end_matches('.'))
    };
    match nanos {
        0 => "0s".to_owned(),
        1..1_000 => format!("{nanos}ns"),
        1_000..1_000_000 => fraction(1_000, "µs"),
        1_000_000..1_000_000_000 => fraction(1_000_000, "ms"),
        _ => {
            let seconds = nanos / 1_000_000_000;
            let (hours, minutes) = (seconds / 3600, seconds / 60 % 60);
            let rest = format!("{}.{:09}", seconds % 60, nanos % 1_000_000_000);
            let rest = rest.trim_end_matches('0').trim_end_matches('.');
            match (hours, minutes) {
                (0, 0) => format!("{rest}s"),
                (0, _) => format!("{minutes}m{rest}s"),
                _ => format!("{hours}h{minutes}m{rest}s"),
            }
        }
    }
}

impl Daemon {
    /// Runs the check once. `None`: the container does not run any more, or is paused, so this says
    /// nothing of its health.
    pub(super) async fn run_check(
        self: &Arc<Self>,
        container: &Arc<Container>,
        check: &Check,
    ) -> Option<Probe> {
        let start_ns = time::now_ns();
        let probe = exec::Probe {
            argv: check.argv.clone(),
            timeout: check.timeout,
            limit: MAX_OUTPUT,
            tap: self.extra_tap(container, ExtraStream::Health, false),
            ..exec::Probe::default()
        };
        let outcome = self.probe(container, probe).await;
        let runs = container.inner().record.state.status == Status::Running;
        if !runs {
            return None;
        }
        PROBES.add(1);
        let (exit_code, output) = match outcome {
            Ok(outcome) => told(&outcome, check.timeout),
            Err(error) => {
                FAILED.add(1);
                (NO_CODE, error.message)
            }
        };
        Some(Probe {
            start_ns,
            end_ns: time::now_ns(),
            exit_code,
            output,
        })
    }
}

/// Exit code and output as Docker has them.
fn told(outcome: &exec::ProbeOutcome, timeout: Duration) -> (i64, String) {
    let mut output = String::from_utf8_lossy(&outcome.output).into_owned();
    if outcome.truncated {
        output.push_str("...");
    }
    if !outcome.timed_out {
        return (outcome.exit_code.into(), output);
    }
    let words = format!("Health check exceeded timeout ({})", go_duration(timeout));
    if output.is_empty() {
        (NO_CODE, words)
    } else {
        (NO_CODE, format!("{words}: {output}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_as_go_prints_them() {
        for (ms, text) in [
            (0, "0s"),
            (1, "1ms"),
            (1_500, "1.5s"),
            (30_000, "30s"),
            (120_000, "2m0s"),
            (3_723_250, "1h2m3.25s"),
        ] {
            assert_eq!(go_duration(Duration::from_millis(ms)), text);
        }
        assert_eq!(go_duration(Duration::from_nanos(1_500)), "1.5µs");
        assert_eq!(go_duration(Duration::from_micros(2_250)), "2.25ms");
        assert_eq!(go_duration(Duration::from_nanos(7)), "7ns");
    }

    #[test]
    fn what_a_probe_has_said() {
        let outcome = exec::ProbeOutcome {
            exit_code: 2,
            output: b"no\xff".to_vec(),
            truncated: true,
            timed_out: false,
        };
        let second = Duration::from_secs(1);
        assert_eq!(told(&outcome, second), (2, "no\u{fffd}...".to_owned()));
        let hung = exec::ProbeOutcome {
            exit_code: 137,
            output: Vec::new(),
            truncated: false,
            timed_out: true,
        };
        let text = "Health check exceeded timeout (1s)";
        assert_eq!(told(&hung, second), (-1, text.to_owned()));
    }
}
