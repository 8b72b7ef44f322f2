//! Delivery of logs to a receiver that comes, goes, does not read, over kills of the daemon and removals of containers:
//! every line arrives or is counted.

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::harness::daemon::{Options, scratch, taffrail_only};
use crate::harness::receiver::{Manner, Receiver};
use crate::harness::{Daemon, Run, binary, repository, skip, wait_for};
use crate::need;

const LINES: u64 = 40_000;

fn address(receiver: &Receiver) -> String {
    format!("syslog-address=tcp://127.0.0.1:{}", receiver.port)
}

/// Starts a container that writes `LINES` lines, at `rate` a second (0: as fast as it can).
fn start(daemon: &Daemon, receiver: &Receiver, more: &[&str], rate: u64) -> String {
    let address = address(receiver);
    let mut options = vec!["--log-driver", "syslog", "--log-opt", &address];
    options.extend(more);
    let (lines, rate) = (format!("lines={LINES}"), format!("rate={rate}"));
    daemon.workload(&options, &["lines", &lines, "size=100", &rate])
}

fn sink(daemon: &Daemon, id: &str) -> Value {
    daemon.inspect(id)["LogSinks"][0].clone()
}

fn number(sink: &Value, key: &str) -> u64 {
    sink[key]
        .as_u64()
        .unwrap_or_else(|| panic!("{key} in {sink}"))
}

fn wait_sink(daemon: &Daemon, id: &str, what: &str, of: impl Fn(&Value) -> bool) -> Value {
    wait_for(what, Duration::from_secs(60), || {
        let sink = sink(daemon, id);
        of(&sink).then_some(sink)
    })
}

fn assert_all(receiver: &Receiver, most_twice: u64) {
    let got = receiver.wait_lines(LINES, 120);
    let (different, twice) = got.count(LINES);
    assert_eq!(different, LINES);
    assert!(twice <= most_twice, "{twice} lines arrived twice");
    assert!(
        got.notices.is_empty() && got.others.is_empty(),
        "{:?}",
        got.others
    );
    if twice == 0 {
        assert!(got.numbers.is_sorted(), "out of order");
    }
}

#[test]
fn a_receiver_that_comes_later_gets_everything() {
    need!(taffrail_only());
    let daemon = Daemon::start();
    let mut receiver = Receiver::absent();
    let id = start(&daemon, &receiver, &[], 0);
    assert_eq!(daemon.wait_exit(&id, 60), 0);
    let logs = daemon.docker(["logs", &id]).output();
    assert_eq!(logs.out().lines().count() as u64, LINES);
    let waiting = wait_sink(&daemon, &id, "a retry", |s| s["State"] == "retrying");
    let error = waiting["LastError"]["Text"].as_str().unwrap();
    assert!(
        error.contains(&format!("127.0.0.1:{}", receiver.port)),
        "{error}"
    );
    assert_eq!(number(&waiting, "DeliveredRecords"), 0);
    assert_eq!(number(&waiting, "PendingRecords"), LINES);
    assert_eq!(number(&waiting, "DroppedRecords"), 0);
    // Said once, not with each attempt.
    let said = |daemon: &Daemon| daemon.log().matches("log receiver is down").count();
    wait_sink(&daemon, &id, "more attempts", |s| number(s, "Attempts") > 3);
    assert_eq!(said(&daemon), 1, "{}", daemon.log());
    receiver.open(Manner::Reads);
    assert_all(&receiver, 0);
    let done = wait_sink(&daemon, &id, "everything delivered", |s| {
        s["PendingRecords"] == 0
    });
    assert_eq!(number(&done, "DeliveredRecords"), LINES);
    assert_eq!(number(&done, "DroppedRecords"), 0);
    assert_eq!(daemon.log().matches("log receiver is back").count(), 1);
    let events = daemon.docker([
        "events",
        "--since",
        "0",
        "--until",
        &crate::harness::unix_now(),
    ]);
    let events = events.deadline(30).output().out();
    for action in ["log_sink_down", "log_sink_up"] {
        assert_eq!(events.matches(action).count(), 1, "{events}");
    }
    daemon.finish();
}

#[test]
fn a_receiver_that_goes_and_comes_back() {
    need!(taffrail_only());
    let daemon = Daemon::start();
    let mut receiver = Receiver::listening(Manner::Reads);
    let id = start(&daemon, &receiver, &[], 20_000);
    for round in 1..=3 {
        receiver.wait_lines(round * 5000, 60);
        receiver.close(false);
        wait_sink(&daemon, &id, "the receiver missed", |s| {
            s["State"] == "retrying"
        });
        receiver.open(Manner::Reads);
    }
    assert_eq!(daemon.wait_exit(&id, 60), 0);
    // What was on its way when it went.
    assert_all(&receiver, 3 * 40_000);
    daemon.finish();
}

#[test]
fn kills_of_the_daemon_lose_nothing() {
    need!(taffrail_only());
    let daemon = Daemon::start();
    let receiver = Receiver::listening(Manner::Reads);
    let id = start(&daemon, &receiver, &[], 10_000);
    for kill in 1..=10u64 {
        receiver.wait_lines(kill * 2000, 60);
        daemon.kill();
        daemon.launch();
        daemon.await_answer();
    }
    assert_eq!(daemon.wait_exit(&id, 60), 0);
    assert_all(&receiver, 10 * 4 * 8192);
    let done = wait_sink(&daemon, &id, "everything delivered", |s| {
        s["PendingRecords"] == 0
    });
    assert_eq!(number(&done, "DroppedRecords"), 0);
    daemon.finish();
}

/// The cursor on the disk never names a record that the receiver does not have.
#[test]
fn the_cursor_stays_behind_the_receiver() {
    need!(taffrail_only());
    let daemon = Daemon::start();
    let receiver = Receiver::listening(Manner::Reads);
    let id = start(&daemon, &receiver, &[], 20_000);
    let path = daemon
        .data_root
        .join("containers")
        .join(&id)
        .join("cursors");
    let until = Instant::now() + Duration::from_secs(60);
    let mut looks = 0;
    loop {
        // Copied as a backup or a crash would find it.
        let copy = std::fs::read(&path).unwrap_or_default();
        let has = receiver.got().numbers.len() as u64;
        // Slot: sequence number at 24; records count from 1.
        let highest = copy
            .chunks_exact(64)
            .map(|slot| u64::from_le_bytes(slot[24..32].try_into().unwrap()));
        let cursor = highest.max().unwrap_or(0);
        // What the receiver's kernel has may not be counted by the receiver yet.
        if cursor > has {
            receiver.wait_lines(cursor, 5);
        }
        looks += u64::from(cursor > 0);
        if cursor >= LINES || Instant::now() > until {
            break;
        }
    }
    assert!(looks > 20, "{looks} looks");
    assert_eq!(daemon.wait_exit(&id, 60), 0);
    assert_all(&receiver, 0);
    daemon.finish();
}

#[test]
fn a_removed_container_is_delivered_later() {
    need!(taffrail_only());
    let daemon = Daemon::start();
    let mut receiver = Receiver::absent();
    let name = ["--name", "gone"];
    let first = start(&daemon, &receiver, &name, 0);
    assert_eq!(daemon.wait_exit(&first, 60), 0);
    daemon.docker(["rm", "gone"]).output().ok();
    // The name is free at once, and what comes from it is another log.
    let second = start(
        &daemon,
        &receiver,
        &["--name", "gone", "--log-opt", "tag=second"],
        100,
    );
    daemon.docker(["rm", "-f", "gone"]).output().ok();
    let listed = daemon.get("/spool");
    let ids: Vec<_> = listed
        .as_array()
        .unwrap()
        .iter()
        .map(|l| l["Id"].as_str().unwrap())
        .collect();
    assert!(ids.contains(&first.as_str()), "{listed}");
    // Nothing is forgotten over a daemon's death.
    daemon.kill();
    daemon.launch();
    daemon.await_answer();
    let shown = daemon.taffrail(["spool", "ls"]).output().ok();
    assert!(
        shown.contains(&first[..12]) && shown.contains("gone"),
        "{shown}"
    );
    // The second is given up.
    if ids.contains(&second.as_str()) {
        daemon.taffrail(["spool", "rm", &second]).output().ok();
    }
    receiver.open(Manner::Reads);
    assert_all(&receiver, 0);
    wait_for("an empty spool", Duration::from_secs(30), || {
        (daemon.get("/spool") == serde_json::json!([])).then_some(())
    });
    assert_eq!(
        std::fs::read_dir(daemon.data_root.join("spool"))
            .unwrap()
            .count(),
        0
    );
    daemon.finish();
}

#[test]
fn what_is_given_up_is_gone() {
    need!(taffrail_only());
    let daemon = Daemon::start();
    let receiver = Receiver::absent();
    let id = start(&daemon, &receiver, &[], 0);
    assert_eq!(daemon.wait_exit(&id, 60), 0);
    daemon
        .taffrail(["rm", "--drop-undelivered", &id])
        .output()
        .ok();
    assert_eq!(daemon.get("/spool"), serde_json::json!([]));
    daemon.finish();
}

/// With a full spool the oldest records give way, and a record in their place says how many.
#[test]
fn a_full_spool_gives_way_and_says_so() {
    need!(taffrail_only());
    let daemon = Daemon::start();
    let mut receiver = Receiver::absent();
    let bounds = [
        "--log-opt",
        "cache-max-size=200k",
        "--log-opt",
        "cache-max-file=2",
        "--log-opt",
        "max-spool-size=500k",
    ];
    let id = start(&daemon, &receiver, &bounds, 0);
    assert_eq!(daemon.wait_exit(&id, 60), 0);
    wait_sink(&daemon, &id, "a retry", |s| s["State"] == "retrying");
    receiver.open(Manner::Reads);
    let last = LINES - 1;
    let got = wait_for("the last line", Duration::from_secs(60), || {
        let got = receiver.got();
        got.numbers.contains(&last).then_some(got)
    });
    let (different, twice) = got.count(LINES);
    assert_eq!(twice, 0);
    assert!(different < LINES, "nothing gave way");
    assert_eq!(got.told_missing(), LINES - different, "{:?}", got.notices);
    let done = wait_sink(&daemon, &id, "all is settled", |s| s["PendingRecords"] == 0);
    assert_eq!(number(&done, "DroppedRecords"), LINES - different);
    assert_eq!(number(&done, "DeliveredRecords"), different);
    daemon.finish();
}

/// Only an explicit `mode=blocking` makes the application wait, and then nothing gives way.
#[test]
fn blocking_waits_for_a_full_spool() {
    need!(taffrail_only());
    let daemon = Daemon::with(Options {
        args: vec!["--metrics-addr".into(), "127.0.0.1:0".into()],
        ..Options::default()
    });
    let metrics = daemon.logged("metrics are served", "address");
    let mut receiver = Receiver::absent();
    let bounds = [
        "--log-opt",
        "cache-max-size=200k",
        "--log-opt",
        "cache-max-file=2",
        "--log-opt",
        "max-spool-size=500k",
        "--log-opt",
        "mode=blocking",
    ];
    let id = start(&daemon, &receiver, &bounds, 0);
    // It stands: the spool is full, and the log does not grow any more.
    let waits = format!("taffrail_container_capture_waits{{id=\"{}\"", &id[..12]);
    wait_for("the application waits", Duration::from_secs(60), || {
        let text = crate::metrics::get(&metrics, "/metrics").1;
        let mut lines = text.lines().filter(|line| line.starts_with(&waits));
        lines.next()?.ends_with(" 1").then_some(())
    });
    let held = number(&sink(&daemon, &id), "PendingBytesOnDisk");
    assert!((500_000..2_000_000).contains(&held), "{held}");
    assert_eq!(daemon.inspect(&id)["State"]["Running"], true);
    receiver.open(Manner::Reads);
    assert_all(&receiver, 0);
    assert_eq!(daemon.wait_exit(&id, 60), 0);
    let done = wait_sink(&daemon, &id, "all is settled", |s| s["PendingRecords"] == 0);
    assert_eq!(number(&done, "DroppedRecords"), 0);
    daemon.finish();
}

/// A receiver that never reads holds nothing up but itself.
#[test]
fn a_receiver_that_never_reads_is_alone() {
    need!(taffrail_only());
    let daemon = Daemon::start();
    let mut stuck = Receiver::listening(Manner::NeverReads);
    let good = Receiver::listening(Manner::Reads);
    let id = {
        let stuck_at = format!("syslog:stuck.syslog-address=tcp://127.0.0.1:{}", stuck.port);
        let good_at = format!("syslog.syslog-address=tcp://127.0.0.1:{}", good.port);
        let options = [
            "--log-driver",
            "json-file,syslog,syslog:stuck",
            "--log-opt",
            &stuck_at,
            "--log-opt",
            &good_at,
        ];
        daemon.workload(&options, &["lines", "lines=40000", "size=1000"])
    };
    assert_eq!(daemon.wait_exit(&id, 60), 0);
    assert_all(&good, 0);
    let sinks = wait_for("the stuck one is seen", Duration::from_secs(30), || {
        let sinks = daemon.inspect(&id)["LogSinks"].clone();
        (sinks[1]["State"] == "stalled").then_some(sinks)
    });
    assert_eq!(sinks[0]["DeliveredRecords"], LINES);
    assert!(number(&sinks[1], "DeliveredRecords") < LINES);
    let table = daemon.taffrail(["ps", "-a", "--logs"]).output().ok();
    assert!(
        table.contains("stalled") && table.contains("syslog:stuck"),
        "{table}"
    );
    // Removing is not held up; the rest is kept for it.
    daemon.docker(["rm", &id]).output().ok();
    assert_eq!(daemon.get("/spool").as_array().unwrap().len(), 1);
    stuck.close(true);
    stuck.open(Manner::Reads);
    wait_for("an empty spool", Duration::from_secs(60), || {
        (daemon.get("/spool") == serde_json::json!([])).then_some(())
    });
    daemon.finish();
}

#[test]
fn records_that_are_too_old_are_counted() {
    need!(taffrail_only());
    let daemon = Daemon::start();
    let mut receiver = Receiver::absent();
    let id = start(&daemon, &receiver, &["--log-opt", "max-spool-age=2s"], 0);
    assert_eq!(daemon.wait_exit(&id, 60), 0);
    // Aged out though the receiver is still away.
    let done = wait_sink(&daemon, &id, "all is too old", |s| {
        number(s, "DroppedRecords") == LINES
    });
    assert_eq!(number(&done, "DeliveredRecords"), 0);
    receiver.open(Manner::Reads);
    wait_for("word of it", Duration::from_secs(60), || {
        (receiver.got().told_missing() == LINES).then_some(())
    });
    assert!(receiver.got().numbers.is_empty());
    daemon.finish();
}

/// What arrives at strict receivers of each driver, byte by byte, beside what Docker Engine sent them.
#[test]
fn receivers_get_what_docker_sends() {
    need!(taffrail_only());
    for program in ["python3", "docker", "openssl"] {
        need!(skip::program(program));
    }
    let mut command = std::process::Command::new("python3");
    command
        .arg(repository().join("tests/exam/delivery"))
        .arg("--bin")
        .arg(binary("taffrail").parent().unwrap());
    let output = Run::new(command).deadline(300).output();
    assert_eq!(output.code, 0, "{}{}", output.out(), output.err());
}

#[test]
fn secrets_are_not_shown() {
    need!(taffrail_only());
    let daemon = Daemon::start();
    let file = scratch(&daemon, "token", b"from-a-file\n");
    let path = format!("@{}", file.display());
    for (given, shown) in [("geheim-1234", "xxxx"), (path.as_str(), path.as_str())] {
        let token = format!("splunk-token={given}");
        let id = daemon.workload(
            &[
                "--log-driver",
                "json-file,splunk",
                "--log-opt",
                "splunk-url=http://127.0.0.1:9",
                "--log-opt",
                &token,
                "--log-opt",
                "tag={{.Config}}",
            ],
            &["lines", "lines=1"],
        );
        assert_eq!(daemon.wait_exit(&id, 30), 0);
        let inspected = daemon.inspect(&id);
        assert_eq!(
            inspected["HostConfig"]["LogConfig"]["Config"]["splunk-token"],
            shown
        );
        let folder = daemon.data_root.join("containers").join(&id);
        for entry in std::fs::read_dir(&folder).unwrap().flatten() {
            let name = entry.file_name().into_string().unwrap();
            if name != "state.json" && entry.path().is_file() {
                let text =
                    String::from_utf8_lossy(&std::fs::read(entry.path()).unwrap()).into_owned();
                assert!(!text.contains("geheim"), "{name} has the token");
            }
        }
        use std::os::unix::fs::MetadataExt as _;
        let mode = std::fs::metadata(folder.join("state.json")).unwrap().mode();
        assert_eq!(mode & 0o077, 0, "{mode:o}");
    }
    let told = daemon.taffrail(["ps", "-a", "--logs"]).output().ok();
    assert!(!told.contains("geheim") && !daemon.log().contains("geheim"));
    let missing = daemon.docker([
        "create",
        "--network",
        "none",
        "--log-driver",
        "splunk",
        "--log-opt",
        "splunk-url=http://127.0.0.1:9",
        "--log-opt",
        "splunk-token=@/nowhere/token",
        crate::harness::image::IMAGE,
        "true",
    ]);
    let refused = missing.output();
    refused.stderr_has("/nowhere/token");
    daemon.finish();
}

/// The machine went down: no process, no run folder. What is in the log is delivered, also of a container that is removed
/// by its end.
#[test]
fn what_a_crash_of_the_machine_left_is_delivered() {
    need!(taffrail_only());
    let daemon = Daemon::start();
    let mut receiver = Receiver::absent();
    let at = address(&receiver);
    let mut ids = Vec::new();
    for more in [&[][..], &["--rm"]] {
        let mut options = vec!["--log-driver", "syslog", "--log-opt", &at];
        options.extend(more);
        let script = "workload lines lines=500; exec sleep 1000";
        options.extend([crate::harness::image::IMAGE, "sh", "-c", script]);
        let id = daemon.run_detached(&options);
        wait_sink(&daemon, &id, "the lines in the log", |s| {
            s["PendingRecords"] == 500
        });
        ids.push(id);
    }
    let processes: Vec<i32> = ids.iter().map(|id| daemon.container_pid(id)).collect();
    daemon.kill();
    for supervisor in daemon.supervisors() {
        supervisor.kill();
    }
    for pid in processes {
        // SAFETY: the pid was that of a container of this test a moment ago; its supervisors are gone with it.
        unsafe {
            libc::kill(pid, libc::SIGKILL);
        }
    }
    let _ = std::fs::remove_dir_all(daemon.exec_root.join("c"));
    daemon.launch();
    daemon.await_answer();
    receiver.open(Manner::Reads);
    let got = wait_for("both logs", Duration::from_secs(60), || {
        let got = receiver.got();
        (got.numbers.len() >= 1000).then_some(got)
    });
    assert_eq!(got.count(500), (500, 500));
    daemon.finish();
}
