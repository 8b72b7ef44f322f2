//! `kill`: one signal.

use std::sync::Arc;

use super::{Container, Status, signal};
use crate::daemon::Daemon;
use crate::errors::ApiError;

impl Daemon {
    /// Sends a signal (name with or without SIG, number; empty is KILL). SIGKILL is answered once
    /// the container has ended. A signal that asks for the end takes the say from the restart
    /// policy.
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
        let (up, end) = {
            let inner = container.inner();
            (inner.record.state.status.is_up(), inner.is_end(number))
        };
        if up && end {
            self.stopped_by_user(container).await;
            // Nothing runs that could get the signal; it stays that way.
            if container.inner().record.state.status == Status::Restarting
                && self.cancel_restart(container).await
            {
                return Ok(());
            }
        }
        if !self.signal(container, number)? {
            // It was up when it was asked for, and has ended by itself; or a restart has come in
            // between: then there is nobody for the signal, either.
            if up || container.is_running() {
                return Ok(());
            }
            return Err(ApiError::conflict(format!(
                "container {} is not running",
                container.id
            )));
        }
        if number == libc::SIGKILL {
            container
                .wait_until(|inner| !inner.record.state.status.has_process())
                .await;
        }
        Ok(())
    }

    /// Sends a signal and says so in an event; a paused container goes on, so that it can act on
    /// it. False if the container does not run (any more).
    ///
    /// # Errors
    /// The kernel refuses it for another reason.
    pub(super) fn signal(
        self: &Arc<Self>,
        container: &Arc<Container>,
        number: i32,
    ) -> Result<bool, ApiError> {
        let (pid, start, wakes) = {
            let inner = container.inner();
            let state = &inner.record.state;
            if !state.status.has_process() {
                return Ok(false);
            }
            (state.pid, state.pid_start, inner.wakes(number))
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
        if wakes {
            self.wake(container);
        }
        Ok(true)
    }
}
