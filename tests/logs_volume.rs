//! Much of everything: lines by the million through both formats with rotation, compression and a follower, hostile
//! bytes through `local`, and followers of `local` over all that can happen to a file.

use std::io::{BufRead as _, BufReader, Read as _};
use std::path::PathBuf;
use std::time::Duration;

use crate::harness::daemon::{read_tally, taffrail_only, wait_tally};
use crate::harness::judge::Judge;
use crate::harness::{Daemon, http, logs, sized, skip, wait_for};
use crate::need;

#[path = "workload/hostile.rs"]
#[allow(
    unreachable_pub,
    missing_debug_implementations,
    reason = "shared with the workload"
)]
mod hostile;

fn ready() -> Result<(), String> {
    taffrail_only()?;
    skip::program("docker")
}

fn options<'a>(driver: &'a str, size: &'a str, compress: &'a str) -> [&'a str; 8] {
    [
        "--log-driver",
        driver,
        "--log-opt",
        size,
        "--log-opt",
        "max-file=2000",
        "--log-opt",
        compress,
    ]
}

/// Files of a container's log in every form: plain and compressed.
fn files(daemon: &Daemon, id: &str) -> (Vec<PathBuf>, Vec<PathBuf>) {
    let dir = daemon.data_root.join("containers").join(id);
    let mut all = Vec::new();
    for folder in [dir.clone(), dir.join("local-logs")] {
        let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
        all.extend(entries.map(|entry| entry.path()).filter(|path| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            name.contains("-json.log") || name.contains(".seg")
        }));
    }
    all.into_iter().partition(|path| {
        path.extension()
            .is_none_or(|end| end != "gz" && end != "zst")
    })
}

fn wait_compressed(daemon: &Daemon, id: &str, seconds: u64) -> usize {
    wait_for(
        "closed files are compressed",
        Duration::from_secs(seconds),
        || {
            let (plain, packed) = files(daemon, id);
            (plain.len() == 1 && !packed.is_empty()).then_some(packed.len())
        },
    )
}

/// Each line has a checksum over all of its bytes, so that a judge sees every byte.
fn lines_through(driver: &str) {
    let daemon = Daemon::start();
    let lines = sized("TAFFRAIL_TEST_VOLUME_LINES", 200_000);
    // Some forty files, whatever the number of lines.
    let size = format!("max-size={}", lines * 120 / 40);
    let id = daemon.workload(
        &options(driver, &size, "compress=true"),
        &[
            "lines",
            &format!("lines={lines}"),
            "size=100",
            "mode=block",
            "stream=both",
        ],
    );
    let (out, err) = (lines.div_ceil(2), lines / 2);
    let follower = logs::follow(&daemon, &id, &["-f"], ('o', 'e'));
    assert_eq!(daemon.wait_exit(&id, 1800), 0);
    let seen = follower.join(1800);
    seen.assert_complete(out, err, "a follower");
    let packed = wait_compressed(&daemon, &id, 1800);
    assert!(packed >= 20, "{packed} compressed files");
    logs::cli(&daemon, &id, &[], 1800).assert_complete(out, err, "docker logs, compressed");
    println!("{driver}: {lines} lines, {packed} compressed files, complete");
    daemon.finish();
}

#[test]
fn lines_through_json_file() {
    need!(ready());
    lines_through("json-file");
}

#[test]
fn lines_through_local() {
    need!(ready());
    lines_through("local");
}

#[track_caller]
fn assert_same(got: &[u8], want: &[u8], what: &str) {
    let same = got.iter().zip(want).take_while(|(a, b)| a == b).count();
    assert!(
        same == got.len() && same == want.len(),
        "{what}: {} of {} bytes, the first {same} are the same",
        got.len(),
        want.len()
    );
}

/// NUL, every byte, broken characters, lines without an end: `local` gives back exactly what was written, while it is
/// written, after rotation and compression, and to another daemon.
#[test]
fn hostile_bytes_through_local() {
    need!(ready());
    let daemon = Daemon::start();
    let size = sized("TAFFRAIL_TEST_HOSTILE_BYTES", 35_000_000) as usize;
    let seed = 4711;
    let want = hostile::bytes(seed, size);
    assert!((0..=255).all(|byte| want.contains(&byte)));
    let id = daemon.workload(
        &options("local", "max-size=1m", "compress=true"),
        &["hostile", &format!("size={size}"), &format!("seed={seed}")],
    );
    let live = daemon.docker(["logs", "-f", &id]).deadline(300).output();
    live.code(0);
    assert_same(&live.stdout, &want, "a follower");
    assert!(live.stderr.is_empty(), "{live}");
    assert_eq!(daemon.wait_exit(&id, 60), 0);
    let packed = wait_compressed(&daemon, &id, 300);
    let kept = daemon.docker(["logs", &id]).deadline(300).output();
    assert_same(&kept.stdout, &want, "compressed");
    assert!(packed >= size / 1_200_000 - 1, "{packed} compressed files");
    daemon.kill();
    daemon.launch();
    let kept = daemon.docker(["logs", &id]).deadline(300).output();
    assert_same(&kept.stdout, &want, "another daemon");
    // Records by place, too: the last ones.
    let tail = daemon.docker(["logs", "--tail", "5000", &id]).output();
    tail.code(0);
    assert!(tail.stdout.len() > 5000);
    assert_same(
        &tail.stdout,
        &want[want.len() - tail.stdout.len()..],
        "the end",
    );
    daemon.finish();
}

/// A follower that takes nothing while the log turns over many times, with a spool that is large enough, misses
/// nothing.
#[test]
fn a_slow_follower_of_local_is_held_its_files() {
    need!(ready());
    let daemon = Daemon::start();
    let lines = sized("TAFFRAIL_TEST_SPOOL_LINES", 100_000);
    let mut options = options("local", "max-size=200k", "compress=true").to_vec();
    options[5] = "max-file=2";
    options.extend(["--log-opt", "max-spool-size=200m"]);
    let words = [
        "lines",
        &format!("lines={lines}"),
        "size=100",
        "mode=block",
        "rate=40000",
    ];
    let id = daemon.workload(&options, &words);
    let mut stream = http::open(
        &daemon.socket,
        "GET",
        &format!("/containers/{id}/logs?stdout=1&stderr=1&follow=1"),
        &[],
        None,
        Duration::from_secs(120),
    )
    .expect("a follower");
    // Its first record: from here on it needs what is written.
    let mut body = vec![0; 8];
    stream.read_exact(&mut body).expect("a frame");
    assert_eq!(daemon.wait_exit(&id, 120), 0);
    stream.read_to_end(&mut body).expect("all of it");
    let mut judge = Judge::from('o', 0);
    for (stream, payload) in http::frames(&body) {
        assert_eq!(stream, 1, "{}", String::from_utf8_lossy(&payload));
        judge.feed(&payload);
    }
    judge.finish().assert_complete(lines, "a slow follower");
    // It was held more than the log itself keeps.
    let kept = daemon.docker(["logs", &id]).output();
    let kept = kept.stdout.iter().filter(|b| **b == b'\n').count() as u64;
    assert!(kept < lines, "{kept} lines in the log itself");
    daemon.finish();
}

/// Lines of a writer that runs on, as a follower of all runs gets them.
struct Numbers {
    lines: std::io::Lines<BufReader<std::process::ChildStdout>>,
}

impl Numbers {
    fn next(&mut self) -> u64 {
        let line = self.lines.next().expect("a line").expect("text");
        line.get(2..12)
            .and_then(|n| n.parse().ok())
            .unwrap_or_else(|| panic!("{line:?}"))
    }
}

/// The current segment is emptied under writer and follower: the follower goes on with what is written then, and
/// gets nothing twice. Over a restart, too.
#[test]
fn a_follower_of_local_over_truncation_and_restart() {
    need!(ready());
    let daemon = Daemon::start();
    let folder = daemon.root.join("tally");
    std::fs::create_dir(&folder).expect("folder");
    let bind = format!("{}:/tally", folder.display());
    let tally = folder.join("t");
    let options = options("local", "max-size=300k", "compress=true");
    let mut all = vec!["-v", &bind];
    all.extend(options);
    let id = daemon.workload(&all, &["lines", "lines=0", "rate=5000", "tally=/tally/t"]);
    let mut child = daemon.taffrail(["logs", "--follow=restarts", &id]).spawn();
    let mut numbers = Numbers {
        lines: BufReader::new(child.stdout.take().expect("piped")).lines(),
    };
    // Over several rotations, without a gap.
    for number in 0..15_000 {
        assert_eq!(numbers.next(), number);
    }
    let segments = |daemon: &Daemon| {
        let mut found: Vec<(u64, PathBuf)> = files(daemon, &id)
            .0
            .into_iter()
            .filter_map(|path| Some((path.file_stem()?.to_str()?.parse().ok()?, path)))
            .collect();
        found.sort();
        found
    };
    let (number, current) = segments(&daemon).pop().expect("a segment");
    assert!(number >= 4, "segment {number}");
    std::fs::File::options()
        .write(true)
        .open(&current)
        .expect("open")
        .set_len(0)
        .expect("truncate");
    let cut = read_tally(&tally).expect("tally").0;
    wait_tally(&tally, cut + 5000, Duration::from_secs(30));
    // What was cut and not read yet may be missing, once; nothing comes twice.
    let mut last = 14_999;
    let mut missing = 0;
    while last < cut + 4000 {
        let next = numbers.next();
        assert!(next > last, "{next} behind {last}");
        missing += next - last - 1;
        last = next;
    }
    assert!(missing <= 5000, "{missing} lines missing");
    daemon.docker(["stop", &id]).output().code(0);
    let total = read_tally(&tally).expect("tally").0;
    while last + 1 < total {
        let next = numbers.next();
        assert_eq!(next, last + 1, "to the end of the run");
        last = next;
    }
    // The next run begins with line 0.
    daemon.docker(["start", &id]).output().code(0);
    for number in 0..10_000 {
        assert_eq!(numbers.next(), number, "the second run");
    }
    daemon.docker(["stop", &id]).output().code(0);
    let total = read_tally(&tally).expect("tally").0;
    for number in 10_000..total {
        assert_eq!(numbers.next(), number, "the second run");
    }
    // All that is left is shown as it stands in the log, by run.
    let second = daemon
        .taffrail(["logs", "--run", "2", &id])
        .deadline(60)
        .output();
    let mut judge = Judge::new('o');
    judge.feed(&second.stdout);
    judge.finish().assert_complete(total, "the second run");
    daemon.docker(["rm", &id]).output().code(0);
    assert_eq!(
        crate::harness::command::wait(&mut child, Duration::from_secs(20)),
        Some(0)
    );
    daemon.finish();
}
