//! `wait`: for the next exit, for not running, or for removal.

use std::sync::Arc;

use tokio::sync::oneshot;

use super::Container;
use crate::daemon::Daemon;
use crate::errors::ApiError;

/// What a wait is answered with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct WaitOutcome {
    /// `StatusCode`.
    pub(crate) status: i64,
    /// `Error.Message`; `None` is `"Error":null`.
    pub(crate) error: Option<String>,
}

/// A registered wait: it sees everything from its making on, also if it is only asked later.
#[derive(Debug)]
pub(crate) struct WaitHandle {
    receiver: oneshot::Receiver<WaitOutcome>,
}

impl WaitHandle {
    /// The answer. Dropping the handle ends the wait.
    pub(crate) async fn finish(self) -> WaitOutcome {
        self.receiver.await.unwrap_or_else(|_| WaitOutcome {
            status: -1,
            error: Some("context canceled".to_owned()),
        })
    }
}

impl Daemon {
    /// Registers a wait (docs: Engine API `ContainerWait`; `condition` empty is `not-running`).
    ///
    /// # Errors
    /// 400 for an unknown condition.
    pub(crate) fn wait(
        &self,
        container: &Arc<Container>,
        condition: &str,
    ) -> Result<WaitHandle, ApiError> {
        let (sender, receiver) = oneshot::channel();
        let mut inner = container.inner();
        match condition {
            "" | "not-running" => {
                if inner.record.state.status.is_up() {
                    inner.exit_waiters.retain(|w| !w.is_closed());
                    inner.exit_waiters.push(sender);
                } else {
                    // The receiver is at hand, so this cannot fail.
                    let _ = sender.send(inner.outcome());
                }
            }
            "next-exit" => {
                inner.exit_waiters.retain(|w| !w.is_closed());
                inner.exit_waiters.push(sender);
            }
            "removed" => {
                if inner.gone {
                    let _ = sender.send(inner.outcome());
                } else {
                    inner.removal_waiters.retain(|w| !w.is_closed());
                    inner.removal_waiters.push(sender);
                }
            }
            other => {
                return Err(ApiError::invalid(format!("invalid condition: {other:?}")));
            }
        }
        Ok(WaitHandle { receiver })
    }
}

impl super::Inner {
    /// The outcome that a wait has now.
    pub(super) fn outcome(&self) -> WaitOutcome {
        WaitOutcome {
            status: i64::from(self.record.state.exit_code),
            error: None,
        }
    }

    /// Answers all who wait for an exit.
    pub(super) fn answer_exit_waiters(&mut self) {
        let outcome = self.outcome();
        for waiter in self.exit_waiters.drain(..) {
            // A waiter that is gone needs no answer.
            let _ = waiter.send(outcome.clone());
        }
    }

    /// Answers all who wait for the removal (and for an exit, which will not come any more).
    pub(super) fn answer_removal_waiters(&mut self, error: Option<String>) {
        let outcome = WaitOutcome {
            error,
            ..self.outcome()
        };
        for waiter in self
            .removal_waiters
            .drain(..)
            .chain(self.exit_waiters.drain(..))
        {
            let _ = waiter.send(outcome.clone());
        }
    }
}
