//! `restart`, and restarts by policy: after a pause, which a stop ends.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;

use super::start::Starter;
use super::{Container, State, Status, policy, time};
use crate::daemon::Daemon;
use crate::errors::{ApiError, ErrorKind};
use crate::runtime::StartFailure;

/// Starts by policy that are under way at the same time, at most: at a start of the host all
/// containers want to run at once.
static STARTS: Semaphore = Semaphore::const_new(16);

impl Daemon {
    /// Stops a container as [`Daemon::stop`] does and starts it again; one that does not run is
    /// started (docs: Engine API `ContainerRestart`).
    ///
    /// # Errors
    /// Those of stop and start, with Docker's words before them.
    pub(crate) async fn restart(
        self: &Arc<Self>,
        container: &Arc<Container>,
        asked: &str,
        signal: Option<&str>,
        timeout: Option<i64>,
    ) -> Result<(), ApiError> {
        let said = |error: ApiError| {
            ApiError::new(
                error.kind,
                format!("Cannot restart container {asked}: {error}"),
            )
        };
        let done_already = |error: &ApiError| error.kind == ErrorKind::NotModified;
        container.inner().between_runs = true;
        let stopped = self.stop(container, signal, timeout).await;
        let result = match stopped {
            Err(error) if !done_already(&error) => Err(error),
            _ => match self.start(container).await {
                // Somebody was faster, or it was only asked to run.
                Err(error) if done_already(&error) => Ok(()),
                result => result,
            },
        };
        container.inner().between_runs = false;
        result.map_err(said)?;
        self.container_event(container, "restart", []);
        Ok(())
    }

    /// Starts a container that is restarting once `delay_ms` have passed since its end, unless it
    /// is stopped before.
    pub(super) fn schedule_restart(self: &Arc<Self>, container: &Arc<Container>, delay_ms: u64) {
        let run = container.inner().record.state.run();
        let daemon = Arc::clone(self);
        let container = Arc::clone(container);
        tokio::spawn(async move {
            let waits = |state: &State| state.status == Status::Restarting && state.run() == run;
            tokio::select! {
                () = tokio::time::sleep(Duration::from_millis(delay_ms)) => {}
                () = container.wait_until(|inner| !waits(&inner.record.state)) => return,
            }
            // It is never closed, so there is always a permit to be had.
            let _permit = STARTS.acquire().await;
            let _verb = container.verb.lock().await;
            // As it is now it is what the next daemon finds.
            if !waits(&container.inner().record.state) || daemon.check_not_ending().is_err() {
                return;
            }
            if container.inner().record.state.manually_stopped {
                daemon.cancel_restart_locked(&container).await;
                return;
            }
            if let Err(failure) = daemon.run(&container, Starter::Policy).await {
                daemon.restart_failed(&container, failure).await;
            }
        });
    }

    /// A start by policy has failed. What is wrong with the container ends the restarts, as in
    /// Docker; what is wrong with the host may pass, so that is tried again after the next pause.
    async fn restart_failed(self: &Arc<Self>, container: &Arc<Container>, failure: StartFailure) {
        tracing::warn!(
            container = container.id,
            error = failure.message,
            "restart by policy failed"
        );
        let again = failure.kind == ErrorKind::System;
        let next = {
            let mut inner = container.inner();
            let exited = policy::Exited {
                code: failure.exit_code,
                ran_ns: 0,
                manually_stopped: inner.record.state.manually_stopped,
                restart_count: inner.record.state.restart_count,
                delay_ms: inner.record.state.restart_delay_ms,
            };
            let next = policy::after_exit(&inner.record.host.restart_policy, &exited);
            let next = next.filter(|_| again);
            let state = &mut inner.record.state;
            state.exit_code = failure.exit_code;
            state.error = failure.message;
            match next {
                Some(delay_ms) => {
                    state.restart_count += 1;
                    state.restart_delay_ms = delay_ms;
                    state.finished_ns = Some(time::now_ns());
                }
                None => state.status = Status::Exited,
            }
            next
        };
        self.save(container).await;
        match next {
            Some(delay_ms) => self.schedule_restart(container, delay_ms),
            None => {
                let mut inner = container.inner();
                inner.end_attach();
                inner.answer_exit_waiters();
                inner.notify();
            }
        }
    }

    /// Ends the pause before a restart by policy: the container stays as it is. False if it does
    /// not wait (any more).
    pub(super) async fn cancel_restart(&self, container: &Arc<Container>) -> bool {
        // A start that is under way comes first.
        let _verb = container.verb.lock().await;
        self.cancel_restart_locked(container).await
    }

    /// As [`Daemon::cancel_restart`], for who holds `verb`.
    pub(super) async fn cancel_restart_locked(&self, container: &Arc<Container>) -> bool {
        {
            let mut inner = container.inner();
            let state = &mut inner.record.state;
            if state.status != Status::Restarting {
                return false;
            }
            state.status = Status::Exited;
            state.manually_stopped = true;
        }
        self.save(container).await;
        let mut inner = container.inner();
        inner.end_attach();
        inner.answer_exit_waiters();
        inner.notify();
        true
    }

    /// After a start of the daemon: goes on with a pause that the daemon before did not live to
    /// see the end of, and starts what is to be started with the daemon.
    pub(super) async fn resume_policy(self: &Arc<Self>, container: &Arc<Container>) {
        let state = container.record().state;
        match state.status {
            Status::Restarting => {
                let since_ms = state
                    .finished_ns
                    .map_or(0, |ns| (time::now_ns().saturating_sub(ns)) / 1_000_000);
                let passed = u64::try_from(since_ms).unwrap_or(0);
                let left = state.restart_delay_ms.saturating_sub(passed);
                self.schedule_restart(container, left);
            }
            Status::Exited => {
                {
                    let mut inner = container.inner();
                    let record = &mut inner.record;
                    if !policy::with_daemon(&record.host.restart_policy, &record.state) {
                        return;
                    }
                    record.state.status = Status::Restarting;
                    record.state.start_with_daemon = false;
                    record.state.manually_stopped = false;
                    record.state.restart_count = 0;
                    record.state.restart_delay_ms = 0;
                }
                self.save(container).await;
                self.schedule_restart(container, 0);
            }
            _ => {}
        }
    }
}
