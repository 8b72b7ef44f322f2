//! Brings what monitors have written to the disk (decision 15): each log that was written to, about
//! once a second, through descriptors of the daemon's own, two at a time.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use taffrail_log::{CommitSource as _, Committed};
use tokio::task::JoinSet;

use crate::container::Container;
use crate::daemon::Daemon;

/// How long a round takes at least.
const PERIOD: Duration = Duration::from_secs(1);
/// Syncs under way at a time: more only wait for each other in the disk.
const IN_FLIGHT: usize = 2;
/// A container with more files than this closed since its last turn has the newest of them synced;
/// the kernel has written the others back long ago, or is about to.
const MOST_FILES: u64 = 64;

/// How far a container's log is on the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Synced {
    file_no: u64,
    offset: u64,
}

/// Goes round for as long as the daemon lives.
pub(super) async fn run(daemon: Arc<Daemon>) {
    let mut done: HashMap<String, Synced> = HashMap::new();
    // Since when a log has bytes that are not on the disk.
    let mut dirty: HashMap<String, Instant> = HashMap::new();
    let mut interval = tokio::time::interval(PERIOD);
    interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        interval.tick().await;
        let now = Instant::now();
        let mut work = Vec::new();
        let mut alive = HashMap::new();
        for container in daemon.containers.all() {
            let Some(capture) = container.capture() else {
                continue;
            };
            let Some(committed) = capture.committed() else {
                continue;
            };
            let reached = Synced {
                file_no: committed.file_no,
                offset: committed.offset,
            };
            if let Some(synced) = done.get(&container.id) {
                alive.insert(container.id.clone(), *synced);
            }
            if done.get(&container.id) != Some(&reached) {
                dirty.entry(container.id.clone()).or_insert(now);
                work.push((container, committed));
            }
        }
        // Those that have ended were synced at their end.
        done = alive;
        dirty.retain(|id, _| work.iter().any(|(container, _)| container.id == *id));
        // The oldest first, so that none waits for ever.
        work.sort_by_key(|(container, _)| dirty.get(&container.id).copied());
        let mut tasks = JoinSet::new();
        for (container, committed) in work {
            while tasks.len() >= IN_FLIGHT {
                finish(&mut tasks, &daemon, &mut done, &mut dirty).await;
            }
            let from = done
                .get(&container.id)
                .map_or(committed.file_no, |s| s.file_no);
            tasks.spawn_blocking(move || {
                let result = sync(&container, from, &committed);
                (container.id.clone(), committed, result)
            });
        }
        while !tasks.is_empty() {
            finish(&mut tasks, &daemon, &mut done, &mut dirty).await;
        }
        let age = dirty
            .values()
            .map(Instant::elapsed)
            .max()
            .unwrap_or_default();
        let age = u64::try_from(age.as_millis()).unwrap_or(u64::MAX);
        daemon
            .log_counters
            .sync_age_ms
            .store(age, Ordering::Relaxed);
    }
}

async fn finish(
    tasks: &mut JoinSet<(String, Committed, io::Result<()>)>,
    daemon: &Daemon,
    done: &mut HashMap<String, Synced>,
    dirty: &mut HashMap<String, Instant>,
) {
    match tasks.join_next().await {
        Some(Ok((id, committed, Ok(())))) => {
            dirty.remove(&id);
            let reached = Synced {
                file_no: committed.file_no,
                offset: committed.offset,
            };
            done.insert(id, reached);
        }
        Some(Ok((id, _, Err(error)))) => {
            let before = daemon
                .log_counters
                .sync_failures
                .fetch_add(1, Ordering::Relaxed);
            // Once is enough for a disk that stays broken; the counter tells the rest.
            if before.is_power_of_two() || before == 0 {
                tracing::error!(container = id, %error, "a log cannot be synced");
            }
        }
        Some(Err(error)) => tracing::error!(%error, "a sync was cut off"),
        None => {}
    }
}

/// Syncs the files from number `from` to the current one, and their side files.
fn sync(container: &Container, from: u64, committed: &Committed) -> io::Result<()> {
    let from = from
        .max(committed.oldest_file_no)
        .max(committed.file_no.saturating_sub(MOST_FILES));
    for number in from..=committed.file_no {
        for path in paths(container, committed.file_no, number) {
            match File::open(path) {
                Ok(file) => file.sync_data()?,
                // Rotated away meanwhile, or never there.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
    }
    Ok(())
}

fn paths(container: &Container, current: u64, number: u64) -> [PathBuf; 2] {
    [
        container.log_file_path(current, number),
        container.index_dir().join(number.to_string()),
    ]
}
