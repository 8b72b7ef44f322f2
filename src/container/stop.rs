//! `stop`: the stop signal, time to act on it, then SIGKILL.

use std::sync::Arc;
use std::time::Duration;

use super::{Container, Inner, Status, signal};
use crate::daemon::Daemon;
use crate::errors::{ApiError, ErrorKind};

impl Daemon {
    /// Stops a container: `signal` (default: its own stop signal, else SIGTERM), then `timeout`
    /// seconds (default: its own, else the daemon's; negative waits for ever, 0 kills at once),
    /// then SIGKILL. Its restart policy has no say until it is started again; one that waits for
    /// its restart just stays ended.
    ///
    /// # Errors
    /// 304 if it does not run, 400 for an unknown signal.
    pub(crate) async fn stop(
        self: &Arc<Self>,
        container: &Arc<Container>,
        signal: Option<&str>,
        timeout: Option<i64>,
    ) -> Result<(), ApiError> {
        let given = signal
            .filter(|s| !s.is_empty())
            .map(signal::parse)
            .transpose()?;
        // A start that is under way is waited for; the lock is not kept, so that a second stop
        // with a shorter time can act.
        drop(container.verb.lock().await);
        if !container.is_running() {
            return Err(ApiError::new(ErrorKind::NotModified, ""));
        }
        self.stopped_by_user(container).await;
        if self.cancel_restart(container).await {
            self.container_event(container, "stop", []);
            return Ok(());
        }
        self.signal_and_wait(container, given, timeout).await
    }

    /// Stops a container because the daemon ends: what its policy wants, the next daemon does.
    ///
    /// # Errors
    /// 304 if it does not run.
    pub(crate) async fn end(
        self: &Arc<Self>,
        container: &Arc<Container>,
        timeout: i64,
    ) -> Result<(), ApiError> {
        drop(container.verb.lock().await);
        if !container.has_process() {
            return Err(ApiError::new(ErrorKind::NotModified, ""));
        }
        self.signal_and_wait(container, None, Some(timeout)).await
    }

    async fn signal_and_wait(
        self: &Arc<Self>,
        container: &Arc<Container>,
        signal: Option<i32>,
        timeout: Option<i64>,
    ) -> Result<(), ApiError> {
        let (number, seconds) = {
            let inner = container.inner();
            (
                signal.unwrap_or_else(|| inner.stop_signal()),
                timeout
                    .or(inner.record.config.stop_timeout)
                    .unwrap_or(self.settings().default_stop_timeout),
            )
        };
        let ended = || container.wait_until(|inner| !inner.record.state.status.has_process());
        let mut killed = seconds == 0;
        if !killed {
            self.signal(container, number)?;
            match u64::try_from(seconds) {
                Ok(seconds) => {
                    let limit = Duration::from_secs(seconds);
                    killed = tokio::time::timeout(limit, ended()).await.is_err();
                }
                Err(_) => ended().await,
            }
        }
        if killed {
            self.signal(container, libc::SIGKILL)?;
            ended().await;
        }
        self.container_event(container, "stop", []);
        Ok(())
    }

    /// Takes the say from the restart policy until the next start. On the disk when this returns,
    /// so that no other daemon takes the end for the application's own.
    pub(super) async fn stopped_by_user(&self, container: &Arc<Container>) {
        let has_policy = {
            let mut inner = container.inner();
            let known = std::mem::replace(&mut inner.record.state.manually_stopped, true);
            !known && !matches!(inner.record.host.restart_policy.name.as_str(), "" | "no")
        };
        if has_policy {
            self.save(container).await;
        }
    }
}

impl Inner {
    /// The signal that asks the application to end.
    pub(super) fn stop_signal(&self) -> i32 {
        let own = self.record.config.stop_signal.as_deref();
        // Checked at create; an image may still name nonsense.
        own.filter(|s| !s.is_empty())
            .and_then(|s| signal::parse(s).ok())
            .unwrap_or(libc::SIGTERM)
    }

    /// Whether an application that gets this signal is to end.
    pub(super) fn is_end(&self, number: i32) -> bool {
        number == self.stop_signal()
            || matches!(
                number,
                libc::SIGKILL | libc::SIGTERM | libc::SIGINT | libc::SIGQUIT
            )
    }

    /// Whether a signal wakes a paused container: any does (the application could not act on it),
    /// but for one that has a stop signal of its own.
    pub(super) fn wakes(&self, number: i32) -> bool {
        self.record.state.status == Status::Paused
            && (self
                .record
                .config
                .stop_signal
                .as_deref()
                .is_none_or(str::is_empty)
                || number == libc::SIGKILL
                || number == self.stop_signal())
    }
}
