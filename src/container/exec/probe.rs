//! A command that the daemon itself runs in a container: health checks.

use std::sync::Arc;
use std::time::Duration;

use super::start::ExecStart;
use super::{ExecConfig, ExecTap};
use crate::container::Container;
use crate::daemon::Daemon;
use crate::errors::ApiError;

/// How long a killed process may take to be gone.
const KILLED: Duration = Duration::from_secs(5);

/// What to run.
#[derive(Clone, Debug, Default)]
pub(crate) struct Probe {
    /// Program and arguments; a shell is the caller's (`["/bin/sh", "-c", text]`).
    pub(crate) argv: Vec<String>,
    /// `NAME=VALUE`, after the container's own variables.
    pub(crate) env: Vec<String>,
    /// Empty: the container's own.
    pub(crate) user: String,
    /// Time for all of it. Then the process and its process group are killed.
    pub(crate) timeout: Duration,
    /// Bytes of output that are kept, of the beginning; the rest is read and thrown away.
    pub(crate) limit: usize,
    /// Gets a copy of all of the output.
    pub(crate) tap: Option<Arc<dyn ExecTap>>,
}

/// How it went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ProbeOutcome {
    /// 128 and the signal's number if one killed it; 126 or 127 if it could not be started.
    /// Without a meaning if `timed_out`.
    pub(crate) exit_code: i32,
    /// Stdout and stderr, in the order in which they were written; at most `limit` bytes. The
    /// error's text if it could not be started.
    pub(crate) output: Vec<u8>,
    /// There was more.
    pub(crate) truncated: bool,
    pub(crate) timed_out: bool,
}

impl Daemon {
    /// Runs a command in a running container, to its end or to its time-out. It is an exec like any
    /// other: with its events, in `ExecIDs`, and with `/exec/{id}/json`. Its stdin is empty.
    ///
    /// It returns at latest five seconds after the time-out, also if the process cannot be killed.
    /// The container's end ends it (137).
    ///
    /// # Errors
    /// 409 if the container does not run or is paused: nothing was run. A command that cannot be
    /// started is an outcome.
    pub(crate) async fn probe(
        self: &Arc<Self>,
        container: &Arc<Container>,
        probe: Probe,
    ) -> Result<ProbeOutcome, ApiError> {
        let config = ExecConfig {
            user: probe.user,
            env: probe.env,
            cmd: probe.argv,
            attach_stdout: true,
            attach_stderr: true,
            merged: true,
            ..ExecConfig::default()
        };
        let exec = self.exec_create(container, &container.id, config)?;
        if let Some(tap) = probe.tap {
            exec.tap(tap);
        }
        let claim = self.exec_claim(&exec.id)?;
        let mut outcome = ProbeOutcome {
            exit_code: 126,
            output: Vec::new(),
            truncated: false,
            timed_out: false,
        };
        let whole = async {
            let mut session = match claim.start(ExecStart::default()).await {
                Ok(session) => session,
                Err(error) => {
                    keep(&mut outcome, error.message.as_bytes(), probe.limit);
                    return;
                }
            };
            while let Some((_, bytes)) = session.output.next().await {
                keep(&mut outcome, &bytes, probe.limit);
            }
            exec.ended().await;
        };
        let in_time = tokio::time::timeout(probe.timeout, whole).await.is_ok();
        // One that has ended, and whose output others hold, was in time.
        if !in_time && exec.is_live() {
            outcome.timed_out = true;
            exec.kill();
        }
        outcome.exit_code = tokio::time::timeout(KILLED, exec.ended())
            .await
            .unwrap_or(128 + libc::SIGKILL);
        Ok(outcome)
    }
}

fn keep(outcome: &mut ProbeOutcome, bytes: &[u8], limit: usize) {
    let room = limit.saturating_sub(outcome.output.len());
    let kept = bytes.len().min(room);
    outcome.output.extend_from_slice(&bytes[..kept]);
    outcome.truncated |= kept < bytes.len();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_beginning_of_the_output_is_kept() {
        let mut outcome = ProbeOutcome {
            exit_code: 0,
            output: Vec::new(),
            truncated: false,
            timed_out: false,
        };
        keep(&mut outcome, b"abc", 5);
        assert!(!outcome.truncated);
        keep(&mut outcome, b"def", 5);
        keep(&mut outcome, b"g", 5);
        assert_eq!(
            (outcome.output.as_slice(), outcome.truncated),
            (&b"abcde"[..], true)
        );
    }
}
