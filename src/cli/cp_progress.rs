//! What a terminal sees of a copy: the bytes so far, and at the end how many they were.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::out::{self, To};
use super::terminal;
use super::units::human_size;

/// How often the number is written anew.
const STEP: Duration = Duration::from_millis(75);
/// Back to the saved place, the line cleared.
const RESTORE: &[u8] = b"\x1b8\x1b[2K";

/// A copy that is watched; nothing is shown without a terminal.
#[derive(Debug)]
pub(super) struct Progress {
    total: Arc<AtomicU64>,
    shown: Option<tokio::task::JoinHandle<()>>,
    quiet: bool,
}

impl Progress {
    /// Begins to show `total`, which the copy counts up.
    pub(super) fn begin(heading: &'static str, total: &Arc<AtomicU64>, quiet: bool) -> Self {
        let quiet = quiet || !terminal::stdout_is_terminal();
        let draw = !quiet && std::io::IsTerminal::is_terminal(&std::io::stderr());
        let counted = Arc::clone(total);
        let shown = draw.then(|| {
            out::write(To::Err, b"\x1b7\x1b[?25l");
            tokio::spawn(async move {
                let mut last = None;
                loop {
                    let now = counted.load(Ordering::Relaxed);
                    if last != Some(now) {
                        last = Some(now);
                        let size = human_size(i64::try_from(now).unwrap_or(i64::MAX));
                        out::write(To::Err, RESTORE);
                        out::write(To::Err, format!("{heading}{size}").as_bytes());
                    }
                    tokio::time::sleep(STEP).await;
                }
            })
        });
        Self {
            total: Arc::clone(total),
            shown,
            quiet,
        }
    }

    /// Says how much went where.
    pub(super) fn finish(self, to: &str) {
        if let Some(task) = self.shown {
            task.abort();
            out::write(To::Err, RESTORE);
            out::write(To::Err, b"\x1b[?25h");
        }
        if !self.quiet {
            let bytes = self.total.load(Ordering::Relaxed);
            let size = human_size(i64::try_from(bytes).unwrap_or(i64::MAX));
            out::line(To::Err, &format!("Successfully copied {size} to {to}"));
        }
    }
}
