//! `taffrail logs` beyond Docker's: several containers as one, their disk usage, strict parameters.

use std::io::{BufRead as _, BufReader};
use std::time::Duration;

use crate::harness::Daemon;
use crate::harness::daemon::taffrail_only;
use crate::harness::image::IMAGE;
use crate::need;

/// A container that prints its name with a number each 10 ms, and ends.
fn ticker(daemon: &Daemon, name: &str, count: u32) -> String {
    let script =
        format!("i=0; while [ $i -lt {count} ]; do echo {name} $i; i=$((i+1)); usleep 10000; done");
    daemon.run_detached(&["--name", name, IMAGE, "sh", "-c", &script])
}

/// Lines as (time, name, number), prefix and time taken off and checked.
fn timed(text: &str) -> Vec<(String, String, u32)> {
    text.lines()
        .map(|line| {
            let (name, rest) = line.split_once(" | ").expect("a prefix");
            let mut words = rest.split(' ');
            let time = words.next().expect("a time");
            assert_eq!(words.next(), Some(name.trim_end()), "{line}");
            let number = words.next().and_then(|n| n.parse().ok()).expect("a number");
            (time.to_owned(), name.trim_end().to_owned(), number)
        })
        .collect()
}

fn complete(lines: &[(String, String, u32)], name: &str, count: u32) {
    let numbers: Vec<u32> = lines.iter().filter(|l| l.1 == name).map(|l| l.2).collect();
    assert_eq!(numbers, (0..count).collect::<Vec<_>>(), "{name}");
}

#[test]
fn several_are_merged_by_time() {
    need!(taffrail_only());
    let daemon = Daemon::start();
    let ids = [ticker(&daemon, "web", 60), ticker(&daemon, "database", 60)];
    for id in &ids {
        assert_eq!(daemon.wait_exit(id, 30), 0);
    }
    let shown = daemon.taffrail(["logs", "-t", "web", "database"]).output();
    let lines = timed(&shown.ok());
    assert!(lines.is_sorted_by_key(|l| &l.0), "{shown}");
    complete(&lines, "web", 60);
    complete(&lines, "database", 60);
    assert!(shown.out().starts_with("web      | ") || shown.out().starts_with("database | "));
    assert!(!shown.out().contains('\x1b'), "colours only on terminals");
    // Both ran at once, so a merge shows them in turns.
    let turns = lines.windows(2).filter(|w| w[0].1 != w[1].1).count();
    assert!(turns > 20, "{turns} turns");

    let plain = daemon
        .taffrail(["logs", "--no-log-prefix", "--tail", "2", "web", "database"])
        .output()
        .ok();
    let mut plain: Vec<&str> = plain.lines().collect();
    plain.sort_unstable();
    assert_eq!(plain, ["database 58", "database 59", "web 58", "web 59"]);
    daemon
        .taffrail(["logs", "web", "nosuch"])
        .output()
        .code(1)
        .stderr_has("No such container: nosuch");
    daemon
        .taffrail(["logs", "--cursor", "1.1", "web", "database"])
        .output()
        .code(1)
        .stderr_has("--cursor belongs to one container");
    daemon.finish();
}

/// The first part of a line waits for the second although another container is later than both.
#[test]
fn lines_of_one_are_not_cut_by_another() {
    need!(taffrail_only());
    let daemon = Daemon::start();
    let long = daemon.run_detached(&[
        "--name",
        "long",
        IMAGE,
        "sh",
        "-c",
        "head -c 40000 /dev/zero | tr '\\0' x; echo",
    ]);
    let tail = daemon.run_detached(&["--name", "tail", IMAGE, "sh", "-c", "printf end"]);
    for id in [&long, &tail] {
        assert_eq!(daemon.wait_exit(id, 20), 0);
    }
    let shown = daemon.taffrail(["logs", "long", "tail"]).output().ok();
    let expected = format!("long | {}", "x".repeat(40000));
    assert!(
        shown.lines().any(|line| line == expected),
        "{} bytes",
        shown.len()
    );
    assert!(
        shown.lines().any(|line| line == "tail | end"),
        "{shown:.200}"
    );
    daemon.finish();
}

#[test]
fn follow_goes_over_restarts_if_asked_to() {
    need!(taffrail_only());
    let daemon = Daemon::start();
    let id = daemon.run_detached(&[
        "--name",
        "again",
        IMAGE,
        "sh",
        "-c",
        "echo begin; sleep 0.3; echo end",
    ]);
    let mut child = daemon
        .taffrail(["logs", "--follow=restarts", "again"])
        .spawn();
    let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
    let mut next = || lines.next().expect("a line").expect("text");
    for run in 0..3 {
        assert_eq!(
            (next(), next()),
            ("begin".to_owned(), "end".to_owned()),
            "run {run}"
        );
        assert_eq!(daemon.wait_exit(&id, 20), 0);
        if run < 2 {
            daemon.taffrail(["start", "again"]).output().code(0);
        }
    }
    // Docker's clients get an end at each stop.
    assert_eq!(
        daemon
            .taffrail(["logs", "-f", "again"])
            .output()
            .ok()
            .lines()
            .count(),
        6
    );
    // A removal is the end.
    daemon.taffrail(["rm", "again"]).output().code(0);
    assert_eq!(
        crate::harness::command::wait(&mut child, Duration::from_secs(20)),
        Some(0)
    );
    daemon.finish();
}

#[test]
fn own_parameters_are_strict() {
    need!(taffrail_only());
    let daemon = Daemon::start();
    let id = daemon.run_detached(&["--name", "web", IMAGE, "sh", "-c", "echo one; echo two >&2"]);
    daemon.wait_exit(&id, 20);
    for (query, text) in [
        ("cursor=x", "invalid value for \"cursor\""),
        ("grep=%28", "invalid value for \"grep\""),
        ("run=one", "invalid value for \"run\""),
        ("format=xml", "unsupported log format"),
        ("frames=none", "invalid value for \"frames\""),
    ] {
        let answer = daemon.api(
            "GET",
            &format!("/containers/web/logs?stdout=1&{query}"),
            None,
        );
        assert_eq!(answer.status, 400, "{query}");
        assert!(
            answer.text().contains(&text.replace('"', "\\\"")),
            "{query}: {}",
            answer.text()
        );
    }
    daemon
        .taffrail(["logs", "--stream", "stderr", "web"])
        .output()
        .code(0)
        .stdout_is("")
        .stderr_is("two\n");
    daemon
        .taffrail(["logs", "--stream", "stdin", "web"])
        .output()
        .code(125);
    daemon
        .taffrail(["logs", "--follow=maybe", "web"])
        .output()
        .code(125);
    // Frames also for a terminal.
    let tty = daemon.run_detached(&["-t", IMAGE, "echo", "x"]);
    daemon.wait_exit(&tty, 20);
    let answer = daemon.api(
        "GET",
        &format!("/containers/{tty}/logs?stdout=1&frames=record"),
        None,
    );
    assert_eq!(
        answer.header("content-type"),
        Some("application/vnd.docker.multiplexed-stream")
    );
    assert_eq!(
        crate::harness::http::frames(&answer.body),
        [(1, b"x\r\n".to_vec())]
    );
    daemon.finish();
}

#[test]
fn usage_of_logs_is_shown() {
    need!(taffrail_only());
    let daemon = Daemon::start();
    let id = daemon.workload(
        &["--name", "big"],
        &["lines", "lines=20000", "size=100", "mode=block"],
    );
    daemon.wait_exit(&id, 30);
    let df = daemon.get("/system/df");
    for key in ["Images", "Containers", "Volumes", "BuildCache"] {
        assert!(df[key].is_array(), "{key}: {df}");
    }
    assert_eq!(df["Images"][0]["Containers"], 1);
    let log = &df["Logs"]["Containers"][0];
    assert_eq!(log["Id"], id.as_str());
    let kept: u64 = daemon
        .json_files(&id)
        .iter()
        .map(|f| std::fs::metadata(f).expect("a file").len())
        .sum();
    let plain = log["Plain"].as_u64().expect("bytes");
    assert!(
        plain >= kept && plain < kept + kept / 100 + 8192,
        "{plain} for {kept}"
    );
    let only = daemon.get("/system/df?type=log");
    assert!(only["Images"].is_null() && only["Logs"].is_object());
    assert_eq!(daemon.api("GET", "/system/df?type=x", None).status, 400);
    let shown = daemon.taffrail(["system", "df"]).output().ok();
    for row in [
        "Images",
        "Containers",
        "Local Volumes",
        "Build Cache",
        "Logs",
        "Log Spool",
    ] {
        assert!(
            shown.lines().any(|line| line.starts_with(row)),
            "{row}: {shown}"
        );
    }
    let du = daemon.taffrail(["logs", "--du"]).output().ok();
    assert!(du.contains("big") && du.starts_with("CONTAINER ID"), "{du}");
    if crate::harness::skip::program("docker").is_ok() {
        let docker = daemon.docker(["system", "df"]).output().ok();
        assert!(docker.contains("Local Volumes"), "{docker}");
    }
    daemon.finish();
}
#[test]
fn several_are_followed_to_their_ends() {
    need!(taffrail_only());
    let daemon = Daemon::start();
    let ids = [ticker(&daemon, "short", 30), ticker(&daemon, "long", 120)];
    let shown = daemon
        .taffrail(["logs", "-f", "-t", "short", "long"])
        .deadline(60)
        .output();
    let lines = timed(&shown.ok());
    complete(&lines, "short", 30);
    complete(&lines, "long", 120);
    for id in &ids {
        assert_eq!(daemon.wait_exit(id, 30), 0);
    }
    daemon.finish();
}

/// The cursor at the end of a log is a trailer; what it leaves out comes behind it.
#[test]
fn a_cursor_goes_on_exactly_behind() {
    need!(taffrail_only());
    let daemon = Daemon::start();
    let id = daemon.run_detached(&["--name", "web", IMAGE, "sh", "-c", "echo one; echo two"]);
    daemon.wait_exit(&id, 20);
    let shown = daemon.taffrail(["logs", "--show-cursor", "web"]).output();
    shown.code(0).stdout_is("one\ntwo\n");
    let err = shown.err();
    let cursor = err
        .trim()
        .strip_prefix("cursor: ")
        .unwrap_or_else(|| panic!("{shown}"));
    daemon
        .taffrail(["logs", "--cursor", cursor, "web"])
        .output()
        .code(0)
        .stdout_is("");
    daemon.taffrail(["start", "web"]).output().code(0);
    daemon.wait_exit(&id, 20);
    daemon
        .taffrail(["logs", "--cursor", cursor, "web"])
        .output()
        .code(0)
        .stdout_is("one\ntwo\n");
    daemon
        .taffrail(["logs", "--run", "-1", "web"])
        .output()
        .code(0)
        .stdout_is("one\ntwo\n");
    daemon
        .taffrail(["logs", "--run", "2", "--grep", "^t.o$", "web"])
        .output()
        .code(0)
        .stdout_is("two\n");
    daemon
        .taffrail(["logs", "--run", "7", "web"])
        .output()
        .code(0)
        .stdout_is("");
    let json = daemon
        .taffrail(["logs", "--json", "--tail", "1", "web"])
        .output()
        .ok();
    let record: serde_json::Value =
        serde_json::from_str(json.lines().next().expect("a line")).expect("json");
    assert_eq!(
        (&record["Line"], &record["Source"]),
        (&"two\n".into(), &"stdout".into())
    );
    daemon.finish();
}
