//! `kill`: one signal.

use std::sync::Arc;

use super::{Container, Status, signal};
use crate::daemon::Daemon;
use crate::errors::ApiError;

impl Daemon {
    /// Sends a signal (name with or without SIG, number; empty is KILL). SIGKILL is answered once
    /// the container has ended.
    ///
    /// # Errors
    /// 400 `Invalid signal: X`, 409 if the container does not run.
    pub(crate) async fn kill(
        self: &Arc<Self>,
        container: &Arc<Container>,
        signal: &str,
    ) -> Result<(), ApiError> {
        let number = match signal {
            "" => libc::SIGKILL,
            given => signal::parse(given)?,
        };
        if !self.signal(container, number)? {
            return Err(ApiError::conflict(format!(
                "container {} is not running",
                container.id
            )));
        }
        if number == libc::SIGKILL {
            container
                .wait_until(|inner| inner.record.state.status != Status::Running)
                .await;
        }
        Ok(())
    }

    /// Sends a signal and says so in an event. False if the container does not run (any more).
    ///
    /// # Errors
    /// The kernel refuses it for another reason.
    pub(super) fn signal(&self, container: &Container, number: i32) -> Result<bool, ApiError> {
        let (pid, start) = {
            let inner = container.inner();
            let state = &inner.record.state;
            if state.status != Status::Running {
                return Ok(false);
            }
            (state.pid, state.pid_start)
        };
        match signal::send(pid, start, number) {
            Ok(()) => {}
            // It has ended, and its exit is being handled: as if the signal came in time.
            Err(error) if error.raw_os_error() == Some(libc::ESRCH) => {}
            Err(error) => {
                return Err(ApiError::system(format!(
                    "cannot kill container {}: {error}",
                    container.id
                )));
            }
        }
        self.container_event(container, "kill", [("signal", number.to_string())]);
        Ok(true)
    }
}
