//! The spool: log files past their log's own retention that somebody still has to read. Monitors
//! move files there and remove them; the daemon says what is needed and what each container may
//! take, and clears up after those that have ended.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::shares::{Demand, share};
use crate::container::Container;
use crate::daemon::Daemon;

/// How often shares are set anew.
const PERIOD: Duration = Duration::from_secs(1);
/// The bound of all containers together when the settings do not say one: with it a small file
/// system sets a lower one.
const BOUND: u64 = 4 << 30;

/// Bytes that all spools together may take when the settings do not say: a tenth of the file
/// system, 4 GiB at most.
fn default_bound(data_root: &Path) -> u64 {
    nix::sys::statvfs::statvfs(data_root).map_or(BOUND, |fs| {
        let size = fs.blocks().saturating_mul(fs.fragment_size());
        (size / 10).min(BOUND)
    })
}

/// Sets shares and clears up, once a second.
pub(super) async fn run(daemon: Arc<Daemon>) {
    let mut interval = tokio::time::interval(PERIOD);
    interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        interval.tick().await;
        let daemon = Arc::clone(&daemon);
        let pass = tokio::task::spawn_blocking(move || {
            daemon.share_spool();
            for container in daemon.containers.all() {
                container.clear_spool();
            }
        });
        if let Err(error) = pass.await {
            tracing::error!(%error, "a look at the spools failed");
        }
    }
}

impl Daemon {
    /// Gives each container that holds files its share of the spool.
    pub(crate) fn share_spool(&self) {
        let mut holders = Vec::new();
        let mut demands = Vec::new();
        for container in self.containers.all() {
            let Some(capture) = container.capture() else {
                continue;
            };
            let spool = capture.spool();
            if container.holds().lowest().is_none() && spool.bytes == 0 {
                continue;
            }
            demands.push(Demand {
                used: spool.bytes,
                bound: container.max_spool_size(),
            });
            holders.push(capture);
        }
        let bound = self.spool_bound();
        let total = bound - self.delivery.bound_kept(bound);
        if holders.is_empty() {
            return;
        }
        for (capture, share) in holders.iter().zip(share(total, &demands)) {
            capture.share_spool(share);
        }
    }

    /// Bytes that all spools together may take.
    pub(crate) fn spool_bound(&self) -> u64 {
        let settings = self.settings();
        match settings.log_spool_size {
            BOUND => default_bound(&settings.data_root),
            given => given,
        }
    }
}

impl Container {
    /// Removes the spool of a container that does not run once nobody reads it any more.
    fn clear_spool(&self) {
        if self.holds().lowest().is_some() || self.capture().is_some() {
            return;
        }
        let dir = self.spool_dir();
        let Ok(mut entries) = std::fs::read_dir(&dir) else {
            return;
        };
        if entries.next().is_none() {
            return;
        }
        // A start looks at the spool, and a remove takes everything.
        let Some(_verb) = self.try_verb() else { return };
        if self.holds().lowest().is_some() || self.capture().is_some() {
            return;
        }
        for entry in std::fs::read_dir(&dir).into_iter().flatten().flatten() {
            let path = entry.path();
            if let Err(error) = std::fs::remove_file(&path) {
                tracing::warn!(container = self.id, path = %path.display(), %error, "a spooled log file cannot be removed");
                continue;
            }
            // `<n>.seg`, `<n>.seg.zst`, `<n>` or `<n>.gz`: its index goes with it.
            let name = entry.file_name();
            let name = name.to_string_lossy();
            let number = name.split('.').next().unwrap_or_default();
            if !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit()) {
                for index in [number.to_owned(), format!("{number}.gz")] {
                    // Most have only one of the two.
                    let _ = std::fs::remove_file(self.index_dir().join(index));
                }
            }
        }
    }
}
