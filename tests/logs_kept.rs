//! What is kept and for how long: rotation with compression in both formats, the bound on the disk, followers that
//! do not read, cursors over kills.

use std::io::Read as _;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::harness::daemon::taffrail_only;
use crate::harness::{Daemon, http, logs, sized, wait_for};
use crate::need;

/// The formats of this build.
fn formats(daemon: &Daemon) -> Vec<String> {
    let built = &daemon.get("/info")["Plugins"]["Log"];
    let built: Vec<String> = serde_json::from_value(built.clone()).expect("names");
    let formats = built
        .into_iter()
        .filter(|name| ["json-file", "local"].contains(&name.as_str()));
    formats.collect()
}

/// Options of a log with many small files.
fn options<'a>(driver: &'a str, size: &'a str, files: &'a str, compress: &'a str) -> [&'a str; 8] {
    [
        "--log-driver",
        driver,
        "--log-opt",
        size,
        "--log-opt",
        files,
        "--log-opt",
        compress,
    ]
}

/// The closed files of a container's log, spool left aside.
fn closed(daemon: &Daemon, id: &str) -> (Vec<PathBuf>, Vec<PathBuf>) {
    let dir = daemon.data_root.join("containers").join(id);
    let (mut plain, mut packed) = (Vec::new(), Vec::new());
    for folder in [dir.clone(), dir.join("local-logs")] {
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            if !name.contains(".seg") && !name.contains("-json.log") {
                continue;
            }
            match name.rsplit_once('.').map(|(_, end)| end) {
                Some("gz" | "zst") => packed.push(entry.path()),
                _ => plain.push(entry.path()),
            }
        }
    }
    (plain, packed)
}

fn size_of(dir: &PathBuf) -> u64 {
    let Ok(entries) = std::fs::read_dir(dir) else {
        return 0;
    };
    entries
        .flatten()
        .map(|entry| match entry.metadata() {
            Ok(meta) if meta.is_dir() => size_of(&entry.path()),
            Ok(meta) => meta.len(),
            Err(_) => 0,
        })
        .sum()
}

/// Waits until every closed file is compressed.
fn wait_compressed(daemon: &Daemon, id: &str) {
    wait_for(
        "closed files are compressed",
        Duration::from_secs(120),
        || {
            let (plain, packed) = closed(daemon, id);
            (plain.len() <= 1 && !packed.is_empty()).then_some(())
        },
    );
}

#[test]
fn rotated_and_compressed_logs_are_whole() {
    need!(taffrail_only());
    let lines = sized("TAFFRAIL_TEST_LOG_LINES", 200_000);
    let daemon = Daemon::start();
    for driver in &formats(&daemon) {
        let options = options(driver, "max-size=1m", "max-file=1000", "compress=true");
        let id = daemon.workload(
            &options,
            &[
                "lines",
                &format!("lines={lines}"),
                "size=100",
                "mode=block",
                "stream=both",
            ],
        );
        assert_eq!(daemon.wait_exit(&id, 600), 0);
        wait_compressed(&daemon, &id);
        let (out, err) = (lines.div_ceil(2), lines / 2);
        logs::cli(&daemon, &id, &[], 600).assert_complete(out, err, driver);
        // A place within a compressed file.
        let shown = daemon
            .docker(["logs", "--tail", &(lines / 2).to_string(), &id])
            .deadline(300)
            .output();
        let newlines = |bytes: &[u8]| bytes.iter().filter(|b| **b == b'\n').count() as u64;
        assert_eq!(
            newlines(&shown.stdout) + newlines(&shown.stderr),
            lines / 2,
            "{driver}"
        );
    }
    daemon.finish();
}

/// Files turn over all the time while closed ones are compressed: each keeps its own contents.
#[test]
fn compressed_while_it_rotates() {
    need!(taffrail_only());
    let daemon = Daemon::start();
    for driver in &formats(&daemon) {
        let options = options(driver, "max-size=100k", "max-file=1000", "compress=true");
        let lines = sized("TAFFRAIL_TEST_ROTATING_LINES", 200_000);
        let id = daemon.workload(
            &options,
            &["lines", &format!("lines={lines}"), "size=100", "rate=40000"],
        );
        assert_eq!(daemon.wait_exit(&id, 300), 0);
        wait_compressed(&daemon, &id);
        logs::cli(&daemon, &id, &[], 300).assert_complete(lines, 0, driver);
        let checked = daemon.taffrail(["log-check", &id]).deadline(60).output();
        assert_eq!(checked.code, 0, "{driver}: {checked}");
    }
    daemon.finish();
}

/// The daemon is killed while it compresses: nothing is lost, and the next one goes on.
#[test]
fn killed_while_it_compresses() {
    need!(taffrail_only());
    let daemon = Daemon::start();
    for driver in &formats(&daemon) {
        let options = options(driver, "max-size=500k", "max-file=1000", "compress=true");
        let lines = 150_000;
        let id = daemon.workload(
            &options,
            &["lines", &format!("lines={lines}"), "size=100", "mode=block"],
        );
        for _ in 0..5 {
            let before = closed(&daemon, &id).1.len();
            // In the middle of the work: some more files are done, others are not.
            let deadline = Instant::now() + Duration::from_secs(10);
            while closed(&daemon, &id).1.len() <= before && Instant::now() < deadline {
                std::thread::yield_now();
            }
            daemon.kill();
            daemon.launch();
        }
        assert_eq!(daemon.wait_exit(&id, 300), 0);
        wait_compressed(&daemon, &id);
        logs::cli(&daemon, &id, &[], 300).assert_complete(lines, 0, driver);
        let left = size_of(&daemon.data_root.join("containers").join(&id).join("tmp"));
        assert_eq!(left, 0, "{driver}: bytes left in tmp");
    }
    daemon.finish();
}

/// However much is written, the log takes no more than its bound, one segment, and its index.
#[test]
fn disk_is_bounded() {
    need!(taffrail_only());
    let daemon = Daemon::start();
    for driver in &formats(&daemon) {
        let options = options(driver, "max-size=1m", "max-file=3", "compress=false");
        let lines = sized("TAFFRAIL_TEST_BOUND_LINES", 300_000);
        let id = daemon.workload(
            &options,
            &["lines", &format!("lines={lines}"), "size=100", "mode=block"],
        );
        let dir = daemon.data_root.join("containers").join(&id);
        let mut largest = 0;
        while daemon.inspect(&id)["State"]["Running"] == true {
            largest = largest.max(size_of(&dir));
        }
        // Three files, one that is just being given up, index and configuration.
        assert!(
            largest > 2_000_000 && largest < 4_000_000 + 200_000,
            "{driver}: {largest} bytes"
        );
        assert_eq!(daemon.wait_exit(&id, 20), 0);
    }
    daemon.finish();
}

/// Numbers of the workload's lines in frames, and the records that were said to be missing.
struct Seen {
    next: u64,
    lines: u64,
    told: u64,
}

impl Seen {
    fn feed(&mut self, frames: &[(u8, Vec<u8>)]) {
        for (_, payload) in frames {
            let text = String::from_utf8_lossy(payload);
            if let Some(rest) = text.strip_prefix("taffrail: ") {
                let missing: u64 = rest
                    .split(' ')
                    .next()
                    .and_then(|n| n.parse().ok())
                    .unwrap_or_else(|| panic!("{text}"));
                self.told += missing;
                self.next += missing;
                continue;
            }
            let number: u64 = text
                .get(2..12)
                .and_then(|n| n.parse().ok())
                .unwrap_or_else(|| panic!("{text}"));
            assert_eq!(
                number, self.next,
                "after {} lines, {} said to be missing",
                self.lines, self.told
            );
            self.next += 1;
            self.lines += 1;
        }
    }
}

/// A client that takes nothing while the log turns over many times is told exactly what it missed, and the container
/// has not waited for it.
#[test]
fn a_stuck_follower_is_told_what_it_missed() {
    need!(taffrail_only());
    let daemon = Daemon::start();
    for driver in &formats(&daemon) {
        let mut options = options(driver, "max-size=200k", "max-file=2", "compress=false").to_vec();
        options.extend(["--log-opt", "max-spool-size=1m"]);
        let lines = 200_000;
        let id = daemon.workload(
            &options,
            &["lines", "lines=0", "size=100", "mode=block", "rate=40000"],
        );
        wait_for("the first lines", Duration::from_secs(20), || {
            (!daemon
                .docker(["logs", "--tail", "1", &id])
                .output()
                .stdout
                .is_empty())
            .then_some(())
        });
        let mut stream = http::open(
            &daemon.socket,
            "GET",
            &format!("/containers/{id}/logs?stdout=1&stderr=1&follow=1&tail=0"),
            &[],
            None,
            Duration::from_secs(60),
        )
        .expect("a follower");
        // It takes nothing until far more than spool and log can hold was written.
        wait_for("many lines", Duration::from_secs(60), || {
            let shown = daemon.docker(["logs", "--tail", "1", &id]).output();
            let number: u64 = shown.out().get(2..12)?.parse().ok()?;
            (number > lines).then_some(())
        });
        let spool = daemon.inspect(&id)["LogSpool"].clone();
        if !spool.is_null() {
            let bytes = spool["Bytes"].as_u64().unwrap_or(u64::MAX);
            assert!(bytes <= 1 << 20, "{driver}: {spool}");
        }
        daemon
            .docker(["kill", "--signal", "TERM", &id])
            .output()
            .code(0);
        let mut body = Vec::new();
        stream
            .read_to_end(&mut body)
            .expect("the stream ends with the container");
        let frames = http::frames(&body);
        let text = String::from_utf8_lossy(&frames.first().expect("a frame").1).into_owned();
        let mut seen = Seen {
            next: text[2..12].parse().expect("a number"),
            lines: 0,
            told: 0,
        };
        seen.feed(&frames);
        assert!(seen.told > 0, "{driver}: {} lines and no gap", seen.lines);
        daemon.wait_exit(&id, 20);
        let last = daemon.docker(["logs", "--tail", "1", &id]).output().out();
        assert_eq!(
            seen.next - 1,
            last[2..12].parse::<u64>().expect("a number"),
            "{driver}"
        );
        // Nobody reads, so nothing is held any more.
        let dir = daemon.data_root.join("containers").join(&id).join("spool");
        wait_for("the spool is empty", Duration::from_secs(20), || {
            (size_of(&dir) == 0).then_some(())
        });
    }
    daemon.finish();
}

/// A reader that is cut off again and again and goes on behind its cursor gets every record once.
#[test]
fn cursors_go_on_without_gap_or_duplicate() {
    need!(taffrail_only());
    let daemon = Daemon::start();
    for driver in &formats(&daemon) {
        let options = options(driver, "max-size=300k", "max-file=100", "compress=true");
        let lines = 40_000;
        let id = daemon.workload(
            &options,
            &[
                "lines",
                &format!("lines={lines}"),
                "size=60",
                "mode=block",
                "rate=8000",
            ],
        );
        let kills = sized("TAFFRAIL_TEST_CURSOR_KILLS", 40);
        let (mut cursor, mut next, mut reads) = (String::new(), 0u64, 0);
        while next < lines {
            let after = if cursor.is_empty() {
                String::new()
            } else {
                format!("&cursor={cursor}")
            };
            let path = format!("/containers/{id}/logs?stdout=1&follow=1&format=json{after}");
            let mut stream = http::open(
                &daemon.socket,
                "GET",
                &path,
                &[],
                None,
                Duration::from_secs(60),
            )
            .expect("a reader");
            assert_eq!(stream.status, 200);
            reads += 1;
            // Different amounts, cut off wherever that is.
            let mut want = if reads < kills {
                1000 * (1 + reads * 7919 % 97) as usize
            } else {
                usize::MAX
            };
            let mut bytes = Vec::new();
            let mut buf = vec![0; 8192];
            while want > 0 {
                let some = want.min(buf.len());
                let got = stream.read(&mut buf[..some]).expect("the stream");
                if got == 0 {
                    break;
                }
                bytes.extend_from_slice(&buf[..got]);
                want -= got;
            }
            let whole = bytes
                .iter()
                .rposition(|b| *b == b'\n')
                .map_or(0, |at| at + 1);
            for line in bytes[..whole]
                .split(|b| *b == b'\n')
                .filter(|l| !l.is_empty())
            {
                let record: serde_json::Value = serde_json::from_slice(line).expect("an object");
                let Some(text) = record["Line"].as_str() else {
                    continue;
                };
                let number: u64 = text[2..12].parse().expect("a number");
                assert_eq!(number, next, "{driver}: read {reads} behind {cursor:?}");
                next += 1;
                cursor = record["Cursor"].as_str().expect("a cursor").to_owned();
            }
        }
        assert!(reads > 5, "{reads} reads");
        assert_eq!(daemon.wait_exit(&id, 30), 0);
    }
    daemon.finish();
}

/// `none` keeps nothing, and attach has everything.
#[test]
fn none_keeps_nothing() {
    need!(crate::harness::Engine::chosen().ready());
    let daemon = Daemon::start();
    let name = crate::harness::image::IMAGE;
    let shown = daemon
        .docker([
            "run",
            "--name",
            "quiet",
            "--network",
            "none",
            "--log-driver",
            "none",
            name,
            "sh",
            "-c",
            "echo out; echo err >&2",
        ])
        .output();
    shown.code(0).stdout_is("out\n").stderr_is("err\n");
    let logs = daemon.docker(["logs", "quiet"]).output();
    logs.code(1)
        .stderr_has("configured logging driver does not support reading");
    let answer = daemon.api("GET", "/containers/quiet/logs?stdout=1", None);
    assert_eq!(answer.status, 501, "{}", answer.text());
    assert_eq!(daemon.inspect("quiet")["LogPath"], "");
    daemon.docker(["rm", "quiet"]).output().code(0);
    daemon.finish();
}
