//! Asking a monitor to take a compressed log file in the plain one's place.

use std::collections::HashMap;
use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use taffrail_monitor::proto::{Message, kind};
use tokio::sync::oneshot;

use super::Capture;

/// How long a monitor has to answer. One that is being replaced answers nothing: the file is
/// compressed again later.
const PATIENCE: Duration = Duration::from_secs(10);

/// Requests that no monitor has answered yet, by file number.
#[derive(Debug, Default)]
pub(super) struct Publishes {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    unsent: Vec<u64>,
    open: HashMap<u64, oneshot::Sender<i32>>,
}

impl Publishes {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        // Both lists are whole after each statement.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is to be sent to the monitor now.
    pub(super) fn take_unsent(&self) -> Vec<u64> {
        std::mem::take(&mut self.inner().unsent)
    }

    /// The monitor's answer.
    pub(super) fn answered(&self, message: &Message) {
        if matches!(message.kind, kind::OK | kind::FAILED)
            && let Some(waiting) = self.inner().open.remove(&message.c)
        {
            let errno = if message.kind == kind::OK {
                0
            } else {
                message.a.max(1)
            };
            // Who asked may have gone.
            let _ = waiting.send(errno);
        }
    }
}

impl Capture {
    /// Has the monitor take `tmp/<number>.gz` or `.zst` in the place of the plain log file.
    ///
    /// # Errors
    /// `NotFound` if that file is gone meanwhile; what the renaming gives; `TimedOut`.
    pub(crate) async fn publish(&self, number: u64) -> io::Result<()> {
        let (sender, answer) = oneshot::channel();
        {
            let mut inner = self.publishes().inner();
            inner.unsent.push(number);
            inner.open.insert(number, sender);
        }
        self.kick();
        match tokio::time::timeout(PATIENCE, answer).await {
            Ok(Ok(0)) => Ok(()),
            Ok(Ok(errno)) => Err(io::Error::from_raw_os_error(errno)),
            _ => {
                let mut inner = self.publishes().inner();
                inner.open.remove(&number);
                inner.unsent.retain(|unsent| *unsent != number);
                Err(io::ErrorKind::TimedOut.into())
            }
        }
    }
}
