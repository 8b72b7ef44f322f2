//! `taffrail log-check`, and logs under damage: at places of logs, indexes and frame tables bytes are flipped, zeroed and
//! cut. Only lines that are touched go missing, each of them is named, and no reader fails.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::harness::daemon::taffrail_only;
use crate::harness::image::IMAGE;
use crate::harness::{Daemon, sized, wait_for};
use crate::need;
use std::time::Duration;

/// Whole lines of the workload have at least so many bytes in any format.
const LINE: u64 = 100;
const LINES: u64 = 60_000;

/// xorshift64: the same places in each run.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound.max(1)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum How {
    Flip,
    Zero,
    Cut,
}

/// Files of the log in any form, its indexes and tables.
fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for folder in [dir.to_owned(), dir.join("local-logs"), dir.join("index")] {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let is_log = name.contains("-json.log") || name.contains(".seg");
            let is_side = entry.path().parent().is_some_and(|p| p.ends_with("index"));
            if (is_log || is_side) && entry.metadata().is_ok_and(|m| m.len() > 0) {
                found.push(entry.path());
            }
        }
    }
    found.sort();
    found
}

/// Hurts one place; its offset and length.
fn hurt(path: &Path, how: How, random: &mut Random) -> (u64, u64) {
    let good = fs::read(path).expect("a log file");
    let size = good.len() as u64;
    loop {
        let at = random.below(size);
        let length = match how {
            How::Flip => 1,
            How::Zero => 1 + random.below(2000),
            How::Cut => size - at,
        }
        .min(size - at);
        let mut bad = good.clone();
        let range = at as usize..(at + length) as usize;
        match how {
            How::Flip => bad[at as usize] ^= 1 << random.below(8),
            How::Zero => bad[range].fill(0),
            How::Cut => bad.truncate(at as usize),
        }
        if bad != good {
            fs::write(path, bad).expect("the file takes the damage");
            return (at, length);
        }
    }
}

/// Most lines that may be lost: those which the place touches, by the unit that damage costs.
fn bound(path: &Path, (_, length): (u64, u64), how: How) -> u64 {
    let name = path.to_string_lossy();
    let lines = |bytes: u64| bytes / LINE + 2;
    if path.parent().is_some_and(|p| p.ends_with("index")) {
        0
    } else if how == How::Cut {
        // Compressed bytes stand for many more plain ones.
        LINES
    } else if name.ends_with(".seg.zst") {
        // A damaged frame of 64 KiB hurts the blocks of 4 KiB at its borders, too.
        lines(64 * 1024 * (1 + length.div_ceil(500)) + 2 * 4096)
    } else if name.ends_with(".gz") {
        lines(256 * 1024 * (1 + length.div_ceil(2000)))
    } else if name.ends_with(".seg") {
        lines((length / 4096 + 2) * 4096)
    } else {
        lines(length)
    }
}

/// What `logs` shows of standard output.
fn shown(daemon: &Daemon, id: &str, what: &str) -> BTreeSet<String> {
    let output = daemon.taffrail(["logs", id]).deadline(60).output();
    assert_eq!(output.code, 0, "{what}: {output}");
    let lines = output.out();
    lines.lines().map(str::to_owned).collect()
}

fn check(daemon: &Daemon, words: &[&str]) -> (i32, Value) {
    let mut all = vec!["log-check", "--json"];
    all.extend(words);
    let output = daemon.taffrail(&all).deadline(60).output();
    let value =
        serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output}"));
    (output.code, value)
}

/// Sequence numbers that a check names as lost, and whether it names altered bytes of json-file.
fn named(found: &Value) -> (BTreeSet<u64>, bool) {
    let seq = |value: &Value| -> Option<u64> { value.as_str()?.split_once('.')?.1.parse().ok() };
    let (mut lost, mut altered) = (BTreeSet::new(), false);
    for place in found["Places"].as_array().expect("places") {
        if let (Some(first), Some(last)) = (seq(&place["First"]), seq(&place["Last"])) {
            lost.extend(first..=last);
        }
        altered |= place["What"] == "checksum differs";
    }
    (lost, altered)
}

#[test]
fn damage_costs_what_it_touches_and_is_named() {
    need!(taffrail_only());
    let daemon = Daemon::start();
    let rounds = sized("TAFFRAIL_TEST_DAMAGES", 24);
    for (driver, compress) in [
        ("json-file", "false"),
        ("json-file", "true"),
        ("local", "false"),
        ("local", "true"),
    ] {
        let compress_opt = format!("compress={compress}");
        let id = daemon.workload(
            &[
                "--log-driver",
                driver,
                "--log-opt",
                "max-size=1m",
                "--log-opt",
                "max-file=100",
                "--log-opt",
                &compress_opt,
            ],
            &["lines", &format!("lines={LINES}"), "size=100", "mode=block"],
        );
        assert_eq!(daemon.wait_exit(&id, 120), 0);
        let dir = daemon.data_root.join("containers").join(&id);
        if compress == "true" {
            wait_for("compression", Duration::from_secs(120), || {
                let plain = files(&dir).into_iter().filter(|p| {
                    let name = p.to_string_lossy();
                    name.ends_with(".seg") || name.contains("-json.log") && !name.ends_with(".gz")
                });
                (plain.count() <= 1).then_some(())
            });
        }
        let whole = shown(&daemon, &id, driver);
        assert_eq!(whole.len() as u64, LINES);
        let (code, clean) = check(&daemon, &[&id]);
        assert_eq!((code, &clean["Places"]), (0, &Value::Array(Vec::new())));
        assert_eq!(clean["Records"], LINES);

        let mut random = Random(0x9e37_79b9_7f4a_7c15);
        let mut costs = 0;
        for round in 0..rounds {
            let all = files(&dir);
            // Indexes are as many as logs; most of the damage is for logs.
            let side = |path: &Path| path.parent().is_some_and(|p| p.ends_with("index"));
            let all: Vec<_> = all
                .into_iter()
                .filter(|path| side(path) == (round % 4 == 3))
                .collect();
            let path = &all[random.below(all.len() as u64) as usize];
            let how = [How::Flip, How::Zero, How::Cut][round as usize % 3];
            let good = fs::read(path).expect("a log file");
            let place = hurt(path, how, &mut random);
            let what = format!(
                "{driver}, compress={compress}, {how:?} of {place:?} in {} of {} bytes",
                path.display(),
                good.len()
            );
            let left = shown(&daemon, &id, &what);
            let missing: BTreeSet<u64> = whole
                .difference(&left)
                .map(|line| line[2..12].parse::<u64>().expect("a number") + 1)
                .collect();
            let most = bound(path, place, how);
            assert!(
                missing.len() as u64 <= most,
                "{what}: {} lines lost, at most {most} are touched",
                missing.len()
            );
            let (code, found) = check(&daemon, &[&id]);
            let (lost, altered) = named(&found);
            if altered {
                // A line of json-file whose text was changed can still be read.
                assert!(missing.len() <= 2 + place.1 as usize / 100, "{what}");
            } else {
                let unnamed: Vec<_> = missing.difference(&lost).collect();
                let untrue: Vec<_> = lost.difference(&missing).collect();
                assert!(
                    unnamed.is_empty() && untrue.is_empty(),
                    "{what}: lost but not named {unnamed:?}, named but not lost {untrue:?}: {}",
                    found["Places"]
                );
            }
            if !missing.is_empty() || side(path) {
                assert_eq!(code, 1, "{what}: damage is named");
            }
            costs += u64::from(!missing.is_empty());
            fs::write(path, &good).expect("the file is put back");
            assert_eq!(check(&daemon, &[&id]).0, 0, "{what}: put back");
        }
        assert!(costs >= rounds / 4, "the damage has hit logs: {costs}");
    }
    daemon.finish();
}

#[test]
fn repair_and_the_ways_to_ask() {
    need!(taffrail_only());
    let daemon = Daemon::start();
    let options = ["--log-driver", "local", "--log-opt", "max-size=100k"];
    let words = ["lines", "lines=3000", "size=100", "mode=block"];
    let id = daemon.workload(&[&options[..], &["--name", "web"]].concat(), &words);
    assert_eq!(daemon.wait_exit(&id, 60), 0);
    let quiet = daemon.run_detached(&["--log-driver", "none", "--name", "quiet", IMAGE, "true"]);
    assert_eq!(daemon.wait_exit(&quiet, 60), 0);
    let busy = daemon.run_detached(&[
        "--name",
        "busy",
        IMAGE,
        "sh",
        "-c",
        "while echo tick; do sleep 0.01; done",
    ]);
    let run = |words: &[&str]| daemon.taffrail(words).deadline(60).output();

    // Without names all that have a log, running ones too.
    let all = run(&["log-check"]);
    assert_eq!(all.code, 0, "{all}");
    assert!(all.out().contains("web: whole; 3000 records, "), "{all}");
    assert!(all.out().contains("busy: whole; "), "{all}");
    assert!(!all.out().contains("quiet"), "{all}");
    let none = run(&["log-check", "quiet"]);
    assert_eq!(none.code, 2, "{none}");
    assert!(none.err().contains("does not support reading"), "{none}");
    let missing = run(&["log-check", "nobody", "web"]);
    assert_eq!(missing.code, 2, "{missing}");
    assert!(
        missing.err().contains("No such container: nobody"),
        "{missing}"
    );
    assert!(missing.out().contains("web: whole"), "{missing}");

    // An index is named, made anew, and whole again.
    let index = daemon
        .data_root
        .join("containers")
        .join(&id)
        .join("index/1");
    fs::write(&index, b"rubbish").expect("the index is hurt");
    let found = run(&["log-check", "web"]);
    assert_eq!(found.code, 1, "{found}");
    let place = format!(
        "web: {}: index missing or damaged at 0, 7 bytes",
        index.display()
    );
    assert!(found.out().contains(&place), "{found}");
    assert!(
        found.out().contains("web: 1 damaged place; 3000 records"),
        "{found}"
    );
    let repaired = run(&["log-check", "--repair", "web"]);
    assert_eq!(repaired.code, 0, "{repaired}");
    let line = format!("web: repaired: {}: index made anew", index.display());
    assert!(repaired.out().contains(&line), "{repaired}");
    assert_eq!(run(&["log-check", "web"]).code, 0);
    let refused = run(&["log-check", "--repair", "busy"]);
    assert_eq!(refused.code, 2, "{refused}");
    assert!(refused.err().contains("stop it first"), "{refused}");

    // Without the daemon, which must not run.
    let root = daemon.data_root.display().to_string();
    let locked = run(&["log-check", "--data-root", &root, "web"]);
    assert_eq!(locked.code, 2, "{locked}");
    assert!(
        locked.err().contains("in use by another daemon"),
        "{locked}"
    );
    fs::write(&index, b"rubbish").expect("the index is hurt");
    assert_eq!(daemon.stop(), 0);
    let offline = run(&["log-check", "--data-root", &root]);
    assert_eq!(offline.code, 2, "{offline}");
    assert!(offline.out().contains(&place), "{offline}");
    assert!(offline.err().contains("busy: it runs"), "{offline}");
    let repaired = run(&["log-check", "--data-root", &root, "--repair", "web"]);
    assert_eq!(repaired.code, 0, "{repaired}");
    assert!(repaired.out().contains(&line), "{repaired}");
    let nowhere = run(&["log-check", "--data-root", "/nowhere", "web"]);
    assert_eq!(nowhere.code, 2, "{nowhere}");
    assert!(nowhere.err().contains("/nowhere"), "{nowhere}");
    daemon.launch();
    assert_eq!(run(&["log-check"]).code, 0);
    assert_eq!(run(&["rm", "-f", &busy]).code, 0);
    daemon.finish();
}
