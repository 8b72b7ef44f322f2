//! Restart policies: whether and when a container that has ended is started again (docs: Docker
//! "Start containers automatically"; source: Moby `daemon/internal/restartmanager`).

use super::{State, Status};
use crate::api::types::RestartPolicy;

/// Pause before the first restart, milliseconds; each further one is twice as long.
const FIRST_DELAY_MS: u64 = 100;
/// Longest pause, milliseconds.
const MAX_DELAY_MS: u64 = 60_000;
/// After a run of this length the pauses begin anew, nanoseconds.
const SETTLED_NS: i64 = 10_000_000_000;

/// An end that a policy is asked about.
#[derive(Clone, Copy, Debug)]
pub(super) struct Exited {
    pub(super) code: i32,
    pub(super) ran_ns: i64,
    /// A user stopped or killed it.
    pub(super) manually_stopped: bool,
    /// Restarts by policy so far.
    pub(super) restart_count: u64,
    /// The pause before the last one.
    pub(super) delay_ms: u64,
}

/// Milliseconds to wait before the container is started again; `None`: it stays as it is.
pub(super) fn after_exit(policy: &RestartPolicy, exited: &Exited) -> Option<u64> {
    let wanted = !exited.manually_stopped
        && match policy.name.as_str() {
            "always" | "unless-stopped" => true,
            "on-failure" => exited.code != 0 && retries_left(policy, exited.restart_count),
            _ => false,
        };
    let last = if exited.ran_ns >= SETTLED_NS {
        0
    } else {
        exited.delay_ms
    };
    wanted.then(|| next_delay(last))
}

/// The pause that follows one of `last` milliseconds.
pub(super) fn next_delay(last: u64) -> u64 {
    match last {
        0 => FIRST_DELAY_MS,
        last => last.saturating_mul(2).min(MAX_DELAY_MS),
    }
}

/// A count of 0 is no limit.
fn retries_left(policy: &RestartPolicy, restarts: u64) -> bool {
    match u64::try_from(policy.maximum_retry_count) {
        Ok(0) | Err(_) => true,
        Ok(most) => restarts < most,
    }
}

/// Whether a container that has ended is started when the daemon starts.
pub(super) fn with_daemon(policy: &RestartPolicy, state: &State) -> bool {
    state.status == Status::Exited
        && state.started_ns.is_some()
        && (state.start_with_daemon
            || match policy.name.as_str() {
                "always" => true,
                "unless-stopped" => !state.manually_stopped,
                _ => false,
            })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(name: &str, most: i64) -> RestartPolicy {
        RestartPolicy {
            name: name.to_owned(),
            maximum_retry_count: most,
        }
    }

    const FAILED: Exited = Exited {
        code: 1,
        ran_ns: 5_000_000,
        manually_stopped: false,
        restart_count: 0,
        delay_ms: 0,
    };

    #[test]
    fn pauses_double_up_to_a_minute_and_begin_anew() {
        let always = policy("always", 0);
        let mut exited = FAILED;
        let mut pauses = Vec::new();
        for _ in 0..12 {
            exited.delay_ms = after_exit(&always, &exited).unwrap();
            pauses.push(exited.delay_ms);
        }
        assert_eq!(
            pauses,
            [
                100, 200, 400, 800, 1600, 3200, 6400, 12800, 25600, 51200, 60000, 60000
            ]
        );
        exited.ran_ns = SETTLED_NS;
        assert_eq!(after_exit(&always, &exited), Some(100));
    }

    #[test]
    fn which_ends_are_followed_by_a_start() {
        let ended = Exited { code: 0, ..FAILED };
        let stopped = Exited {
            manually_stopped: true,
            ..FAILED
        };
        for (name, failed, good) in [
            ("", false, false),
            ("no", false, false),
            ("always", true, true),
            ("unless-stopped", true, true),
            ("on-failure", true, false),
        ] {
            let policy = policy(name, 0);
            assert_eq!(after_exit(&policy, &FAILED).is_some(), failed, "{name}");
            assert_eq!(after_exit(&policy, &ended).is_some(), good, "{name}");
            assert_eq!(after_exit(&policy, &stopped), None, "{name}");
        }
        let twice = policy("on-failure", 2);
        let after = |restart_count| {
            after_exit(
                &twice,
                &Exited {
                    restart_count,
                    ..FAILED
                },
            )
            .is_some()
        };
        assert_eq!([after(0), after(1), after(2)], [true, true, false]);
    }

    #[test]
    fn the_start_of_the_daemon() {
        let state = State {
            status: Status::Exited,
            started_ns: Some(1),
            manually_stopped: true,
            ..State::default()
        };
        assert!(with_daemon(&policy("always", 0), &state));
        assert!(!with_daemon(&policy("unless-stopped", 0), &state));
        assert!(!with_daemon(&policy("on-failure", 0), &state));
        let ended_with_daemon = State {
            manually_stopped: false,
            start_with_daemon: true,
            ..state.clone()
        };
        assert!(with_daemon(
            &policy("unless-stopped", 0),
            &ended_with_daemon
        ));
        assert!(with_daemon(&policy("on-failure", 0), &ended_with_daemon));
        let never_started = State {
            status: Status::Created,
            started_ns: None,
            ..state
        };
        assert!(!with_daemon(&policy("always", 0), &never_started));
    }
}
