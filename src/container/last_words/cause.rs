//! Why a run ended, as events, `inspect` and the webhook say it.

use super::super::signal;

/// Why a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::container) enum Cause {
    /// The application ended by itself, with its exit code.
    Exited,
    /// A signal ended it.
    Signal(i32),
    /// The kernel killed it for want of memory.
    Oom,
    /// Its status could not be learned.
    Unknown,
}

/// What is known of an end.
#[derive(Clone, Copy, Debug)]
pub(in crate::container) struct Ended {
    /// The status could be learned.
    pub(in crate::container) known: bool,
    /// 128 + n for signal n.
    pub(in crate::container) code: i32,
    /// The signal that ended process 1.
    pub(in crate::container) signal: Option<i32>,
    /// The kernel killed a process of this run for want of memory.
    pub(in crate::container) oom_killed: bool,
    /// A user stopped or killed it.
    pub(in crate::container) manually_stopped: bool,
}

impl Cause {
    pub(in crate::container) fn of(ended: &Ended) -> Self {
        // A shell passes its child's SIGKILL on as its own exit code.
        let killed = ended.code == 128 + libc::SIGKILL;
        match ended.signal {
            _ if !ended.known => Self::Unknown,
            _ if ended.oom_killed && killed && !ended.manually_stopped => Self::Oom,
            Some(signal) => Self::Signal(signal),
            None => Self::Exited,
        }
    }
}

impl std::fmt::Display for Cause {
    /// `exited`, `signal:SIGKILL`, `oom`, `unknown`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Exited => f.write_str("exited"),
            Self::Signal(number) => write!(f, "signal:{}", signal::name(*number)),
            Self::Oom => f.write_str("oom"),
            Self::Unknown => f.write_str("unknown"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn causes() {
        let plain = Ended {
            known: true,
            code: 3,
            signal: None,
            oom_killed: false,
            manually_stopped: false,
        };
        let killed = Ended {
            code: 137,
            signal: Some(libc::SIGKILL),
            ..plain
        };
        let oom = Ended {
            oom_killed: true,
            ..killed
        };
        for (ended, text) in [
            (plain, "exited"),
            (killed, "signal:SIGKILL"),
            (oom, "oom"),
            // By a shell whose child was killed.
            (
                Ended {
                    signal: None,
                    ..oom
                },
                "oom",
            ),
            // A child was killed earlier, this is something else.
            (
                Ended {
                    code: 3,
                    signal: None,
                    ..oom
                },
                "exited",
            ),
            (
                Ended {
                    manually_stopped: true,
                    ..oom
                },
                "signal:SIGKILL",
            ),
            (
                Ended {
                    known: false,
                    code: 255,
                    signal: None,
                    ..plain
                },
                "unknown",
            ),
            (
                Ended {
                    code: 169,
                    signal: Some(41),
                    ..plain
                },
                "signal:SIGRTMIN+7",
            ),
        ] {
            assert_eq!(Cause::of(&ended).to_string(), text);
        }
    }
}
