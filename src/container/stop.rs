//! `stop`: the stop signal, time to act on it, then SIGKILL.

use std::sync::Arc;
use std::time::Duration;

use super::{Container, Status, signal};
use crate::daemon::Daemon;
use crate::errors::{ApiError, ErrorKind};

impl Daemon {
    /// Stops a container: `signal` (default: its own stop signal, else SIGTERM), then `timeout`
    /// seconds (default: its own, else the daemon's; negative waits for ever, 0 kills at once),
    /// then SIGKILL.
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
        let (number, seconds) = {
            let mut inner = container.inner();
            if inner.record.state.status != Status::Running {
                return Err(ApiError::new(ErrorKind::NotModified, ""));
            }
            inner.record.state.manually_stopped = true;
            let config = &inner.record.config;
            // Checked at create; an image may still name nonsense.
            let own = config.stop_signal.as_deref().filter(|s| !s.is_empty());
            let own = own.and_then(|s| signal::parse(s).ok());
            (
                given.or(own).unwrap_or(libc::SIGTERM),
                timeout
                    .or(config.stop_timeout)
                    .unwrap_or(self.settings().default_stop_timeout),
            )
        };
        let ended = || container.wait_until(|inner| inner.record.state.status != Status::Running);
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
}
