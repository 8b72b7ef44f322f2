//! The monitor is small: its memory, and what it is built of.

use std::process::Command;

use crate::harness::daemon::taffrail_only;
use crate::harness::{Daemon, Run, binary, procs, repository, sized, wait_for};
use crate::need;

/// KiB of proportional set size that an idle monitor may have.
const IDLE_PSS: u64 = 96;

#[test]
fn an_idle_monitor_stays_below_its_ceiling() {
    need!(taffrail_only());
    let daemon = Daemon::start();
    let count = sized("TAFFRAIL_TEST_IDLE_CONTAINERS", 8);
    let mut ids = Vec::new();
    for _ in 0..count {
        // Each has written once, so that the buffers have been used.
        ids.push(daemon.workload(&[], &["trap"]));
    }
    // A stage that grew is given back after about a second without output.
    let mean = || {
        let mut sum = 0;
        for id in &ids {
            let monitor = daemon.monitor(id).expect("a monitor");
            sum += procs::smaps_kib(monitor.pid, "Pss:").expect("Pss");
        }
        sum / count
    };
    wait_for(
        "a small monitor",
        std::time::Duration::from_secs(10),
        || (mean() <= IDLE_PSS).then_some(()),
    );
    println!("mean Pss of {count} idle monitors: {} KiB", mean());
    let keeper = daemon.keeper().expect("a keeper");
    let pss = procs::smaps_kib(keeper.pid, "Pss:").expect("Pss");
    assert!(pss <= IDLE_PSS, "the keeper has {pss} KiB");
    daemon.finish();
}

#[test]
fn a_monitor_that_has_worked_is_small_again() {
    need!(taffrail_only());
    let daemon = Daemon::start();
    let id = daemon.run_detached(&[
        crate::harness::image::IMAGE,
        "sh",
        "-c",
        "workload lines lines=200000 mode=block; exec workload sleep",
    ]);
    wait_for("all lines", std::time::Duration::from_secs(60), || {
        let shown = daemon.docker(["logs", "--tail", "1", &id]).output().out();
        shown.starts_with("o 0000199999 ").then_some(())
    });
    wait_for(
        "a small monitor",
        std::time::Duration::from_secs(15),
        || {
            let monitor = daemon.monitor(&id)?;
            (procs::smaps_kib(monitor.pid, "Pss:")? <= IDLE_PSS).then_some(())
        },
    );
    daemon.finish();
}

#[test]
fn the_monitor_needs_no_library() {
    let path = binary("taffrail-monitor");
    if !path.is_file() {
        crate::harness::skip::skip(&format!("{} is not built", path.display()));
        return;
    }
    let bytes = std::fs::read(&path).expect("the monitor");
    assert_eq!(&bytes[..4], b"\x7fELF");
    // No program header of type PT_INTERP (3): nothing loads libraries for it.
    let word = |at: usize, n: usize| {
        bytes[at..at + n]
            .iter()
            .rev()
            .fold(0_u64, |v, b| v << 8 | u64::from(*b))
    };
    let (table, size, count) = (
        word(32, 8) as usize,
        word(54, 2) as usize,
        word(56, 2) as usize,
    );
    for number in 0..count {
        assert_ne!(word(table + number * size, 4), 3, "it asks for a loader");
    }
}

#[test]
fn the_monitor_is_built_of_log_core_alone() {
    let output = Run::new({
        let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        command.current_dir(repository());
        command
    })
    .args([
        "tree",
        "--locked",
        "--offline",
        "-p",
        "taffrail-monitor",
        "-e",
        "normal",
        "--prefix",
        "none",
        "-f",
        "{p}",
    ])
    .output();
    let text = output.ok();
    let crates: Vec<&str> = text
        .lines()
        .filter_map(|line| line.split(' ').next())
        .collect();
    assert_eq!(crates, ["taffrail-monitor", "taffrail-log-core"], "{text}");
}
