//! A place that gets a copy of what an exec does: its container's log, when that was asked for.

use std::fmt::Debug;
use std::pin::Pin;
use std::sync::Arc;

use super::Exec;
use crate::container::Stream;

/// Set with [`Exec::tap`] before the start. Output is handed over before any client sees it, and
/// while a call has not resolved the process waits on its own output pipe, no more is read: an
/// implementation needs no queue. It must have an end of its own, also if its target has failed.
pub(crate) trait ExecTap: Debug + Send + Sync {
    /// The process runs. Its first output comes later.
    fn started(&self, exec: &Exec);

    /// The next bytes of a stream (`Stdout` for a terminal), at most 32 KiB, cut anywhere.
    fn output<'a>(
        &'a self,
        exec: &'a Exec,
        stream: Stream,
        bytes: &'a [u8],
    ) -> Pin<Box<dyn Future<Output = ()> + Send + 'a>>;

    /// The end, with the exit code. Output that came before may still follow.
    fn ended(&self, exec: &Exec, code: i32);
}

impl Exec {
    /// Has a copy of what this exec does go to `tap`. To be called before the start; the first call
    /// counts. With a tap, output is read that no client has asked for.
    pub(crate) fn tap(&self, tap: Arc<dyn ExecTap>) {
        let _ = self.tap.set(tap);
    }
}
