//! What every case uses: a private daemon, the clients, the workload's judge, and the check that nothing is left.

pub(crate) mod command;
pub(crate) mod daemon;
pub(crate) mod hook;
pub(crate) mod http;
pub(crate) mod image;
pub(crate) mod judge;
pub(crate) mod leak;
pub(crate) mod logs;
pub(crate) mod procs;
pub(crate) mod pty;
pub(crate) mod receiver;
pub(crate) mod registry;
pub(crate) mod skip;

use std::path::PathBuf;
use std::time::{Duration, Instant};

pub(crate) use command::{Output, Run};
pub(crate) use daemon::{Daemon, Engine};

/// A number from the environment, so that one case serves CI and a long night.
pub(crate) fn sized(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |value| {
        value
            .parse()
            .unwrap_or_else(|_| panic!("{name}={value} is not a number"))
    })
}

/// Polls until `done` gives a value.
#[track_caller]
pub(crate) fn wait_for<T>(
    what: &str,
    deadline: Duration,
    mut done: impl FnMut() -> Option<T>,
) -> T {
    let end = Instant::now() + deadline;
    loop {
        if let Some(value) = done() {
            return value;
        }
        assert!(
            Instant::now() < end,
            "{what}: not within {} s",
            deadline.as_secs_f32()
        );
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Now as the clients write it: seconds and nanoseconds.
pub(crate) fn unix_now() -> String {
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .expect("a clock after 1970");
    format!("{}.{:09}", now.as_secs(), now.subsec_nanos())
}

/// The repository's root.
pub(crate) fn repository() -> PathBuf {
    // The package is the folder `tests`.
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the repository")
        .to_owned()
}

/// Where Cargo puts what it builds.
pub(crate) fn target_dir() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| repository().join("target"), PathBuf::from)
}

/// A program under test: `TAFFRAIL_BIN` names the folder or the `taffrail` program; else the profile `fast`, as
/// `make build` makes it.
pub(crate) fn binary(name: &str) -> PathBuf {
    if let Some(given) = std::env::var_os("TAFFRAIL_BIN").map(PathBuf::from) {
        if given.is_dir() {
            return given.join(name);
        }
        return given.with_file_name(name);
    }
    let fast = target_dir().join("fast").join(name);
    assert!(
        fast.is_file(),
        "{}: not there, `make build` makes it",
        fast.display()
    );
    fast
}
