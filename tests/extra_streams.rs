//! Extra streams of a log: output of execs and health checks, and events.

use std::fs::OpenOptions;
use std::io::{BufRead as _, BufReader, Write as _};
use std::process::Stdio;
use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::daemon::{Daemon, Options, taffrail_only};
use crate::harness::image::IMAGE;
use crate::harness::{Engine, skip, wait_for};
use crate::need;

const SOON: Duration = Duration::from_secs(60);

fn ready() -> Result<(), String> {
    taffrail_only()?;
    skip::program("docker")
}

fn with_streams(streams: &Value) -> Daemon {
    Daemon::of(
        Engine::Taffrail,
        Options {
            config: Some(json!({"log-streams": streams}).to_string()),
            ..Options::default()
        },
    )
}

fn logs(daemon: &Daemon, args: &[&str]) -> String {
    let mut all = vec!["logs"];
    all.extend(args);
    let run = daemon.taffrail(&all).output();
    run.code(0);
    run.out()
}

/// An exec with `Log`, as the API has it; waits for its end.
#[track_caller]
fn exec_logged(daemon: &Daemon, id: &str, script: &str) -> String {
    let body = json!({"Cmd": ["sh", "-c", script], "AttachStdout": true, "AttachStderr": true, "Log": true});
    let answer = daemon.api("POST", &format!("/containers/{id}/exec"), Some(&body));
    assert_eq!(answer.status, 201, "{}", answer.text());
    let exec = answer.json()["Id"].as_str().unwrap().to_owned();
    let answer = daemon.api(
        "POST",
        &format!("/exec/{exec}/start"),
        Some(&json!({"Detach": true})),
    );
    assert_eq!(answer.status, 200, "{}", answer.text());
    wait_for("the exec's end", SOON, || {
        (daemon.get(&format!("/exec/{exec}/json"))["Running"] == false).then_some(())
    });
    exec
}

/// Waits until a stream has so many lines.
#[track_caller]
fn wait_lines(daemon: &Daemon, id: &str, stream: &str, count: usize) -> String {
    wait_for(stream, SOON, || {
        let text = logs(daemon, &["--stream", stream, id]);
        (text.lines().count() >= count).then_some(text)
    })
}

#[test]
fn one_exec_asks_for_it() {
    need!(ready());
    let daemon = Daemon::start();
    let id = daemon.run_detached(&[IMAGE, "sh", "-c", "echo before; exec sleep 1000"]);
    let exec = exec_logged(&daemon, &id, "echo out; echo err >&2; printf 'a\\377'");
    // Another one did not.
    daemon
        .docker(["exec", &id, "echo", "unseen"])
        .output()
        .code(0);
    let text = wait_lines(&daemon, &id, "exec", 2);
    assert!(!text.contains("unseen"), "{text}");
    let json = logs(&daemon, &["--json", "--stream", "exec", &id]);
    let records: Vec<Value> = json
        .lines()
        .map(|l| serde_json::from_str(l).unwrap())
        .collect();
    assert_eq!(records.len(), 3, "{json}");
    assert!(
        records
            .iter()
            .all(|r| r["Source"] == "exec" && r["Exec"] == exec.as_str() && r["Run"] == 1)
    );
    let err = records
        .iter()
        .find(|r| r["Line"] == "err\n")
        .expect("stderr");
    assert_eq!(err["Output"], "stderr");
    assert!(records.iter().any(|r| r["Line"] == "a\u{fffd}"), "{json}");
    // Docker's client, and ours without being asked, show the container's output alone.
    assert_eq!(daemon.docker(["logs", &id]).output().out(), "before\n");
    assert_eq!(logs(&daemon, &[&id]), "before\n");
    // Together, in the order of time.
    let both = logs(&daemon, &["--stream", "stdout,exec", "-t", &id]);
    let words: Vec<&str> = both.lines().map(|l| l.split(' ').nth(1).unwrap()).collect();
    assert_eq!(&words[..2], ["before", "out"], "{both}");
    let times: Vec<&str> = both.lines().map(|l| l.split(' ').next().unwrap()).collect();
    assert!(times.is_sorted(), "{both}");
    let run = daemon.taffrail(["exec", "--log", &id, "echo", "ours"]);
    run.output().code(0).stdout_is("ours\n");
    wait_for("our client's exec", SOON, || {
        logs(&daemon, &["--stream", "exec", &id])
            .ends_with("ours\n")
            .then_some(())
    });
    daemon.finish();
}

#[test]
fn the_daemon_s_default_and_the_container_s_label() {
    need!(ready());
    let daemon = with_streams(&json!(["health", "events"]));
    let check = ["--health-cmd", "echo checked", "--health-interval", "100ms"];
    let mut args = check.to_vec();
    args.extend([IMAGE, "sleep", "1000"]);
    let id = daemon.run_detached(&args);
    assert!(wait_lines(&daemon, &id, "health", 3).starts_with("checked\nchecked\nchecked\n"));
    daemon
        .docker(["exec", &id, "echo", "unseen"])
        .output()
        .code(0);
    daemon.docker(["kill", &id]).output().code(0);
    let events = wait_for("the end", SOON, || {
        let text = logs(&daemon, &["--stream", "events", &id]);
        text.contains("\ndie ").then_some(text)
    });
    let actions: Vec<&str> = events
        .lines()
        .map(|l| l.split(' ').next().unwrap())
        .collect();
    assert_eq!(&actions[..2], ["create", "start"], "{events}");
    assert!(events.contains("health_status: healthy\n"), "{events}");
    assert!(
        events.contains("exitCode=137") && events.contains("exitCause=signal:SIGKILL"),
        "{events}"
    );
    assert!(!events.contains("exec_"), "{events}");
    assert_eq!(logs(&daemon, &["--stream", "exec", &id]), "");
    // Its own label has the last word, also an empty one.
    let mut args = check.to_vec();
    args.extend(["-l", "taffrail.log-streams=exec", IMAGE, "sleep", "1000"]);
    let own = daemon.run_detached(&args);
    daemon
        .docker(["exec", &own, "echo", "seen"])
        .output()
        .code(0);
    assert_eq!(wait_lines(&daemon, &own, "exec", 1), "seen\n");
    assert_eq!(logs(&daemon, &["--stream", "health,events", &own]), "");
    let run = daemon
        .docker(["create", "-l", "taffrail.log-streams=stdout", IMAGE, "true"])
        .output();
    assert!(
        run.err()
            .contains("label taffrail.log-streams: there is no extra stream \"stdout\""),
        "{}",
        run.err()
    );
    daemon.finish();
}

#[test]
fn since_until_tail_and_run() {
    need!(ready());
    let daemon = Daemon::start();
    let id = daemon.run_detached(&[IMAGE, "sh", "-c", "echo 1; echo 2; exec sleep 1000"]);
    exec_logged(&daemon, &id, "echo 3; echo 4");
    exec_logged(&daemon, &id, "echo 5");
    wait_lines(&daemon, &id, "exec", 3);
    let tail = |n: &str, streams: &str| logs(&daemon, &["-n", n, "--stream", streams, &id]);
    assert_eq!(tail("all", "stdout,exec"), "1\n2\n3\n4\n5\n");
    assert_eq!(tail("4", "stdout,exec"), "2\n3\n4\n5\n");
    assert_eq!(tail("2", "stdout,exec"), "4\n5\n");
    assert_eq!(tail("0", "stdout,exec"), "");
    assert_eq!(tail("1", "exec"), "5\n");
    assert_eq!(tail("9", "exec"), "3\n4\n5\n");
    let json = logs(&daemon, &["--json", "--stream", "stdout,exec", &id]);
    let time = |line: &str| {
        let records = json
            .lines()
            .map(|l| serde_json::from_str::<Value>(l).unwrap());
        let found = records
            .into_iter()
            .find(|r| r["Line"] == format!("{line}\n"));
        found.unwrap_or_else(|| panic!("{line} in {json}"))["Timestamp"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    let (second, fourth) = (time("2"), time("4"));
    assert_eq!(
        logs(
            &daemon,
            &[
                "--since",
                &second,
                "--until",
                &fourth,
                "--stream",
                "stdout,exec",
                &id
            ]
        ),
        "2\n3\n4\n"
    );
    assert_eq!(
        logs(&daemon, &["--grep", "[25]", "--stream", "stdout,exec", &id]),
        "2\n5\n"
    );
    // Another run.
    daemon.docker(["restart", "-t", "0", &id]).output().code(0);
    exec_logged(&daemon, &id, "echo 6");
    wait_lines(&daemon, &id, "exec", 4);
    assert_eq!(
        logs(&daemon, &["--run", "2", "--stream", "stdout,exec", &id]),
        "1\n2\n6\n"
    );
    assert_eq!(
        logs(&daemon, &["--run", "-1", "--stream", "exec", &id]),
        "3\n4\n5\n"
    );
    // Refused by name.
    for args in [&["--cursor", "1.1"][..], &["--show-cursor"]] {
        let mut all = vec!["logs", "--stream", "exec"];
        all.extend(args);
        all.push(&id);
        let run = daemon.taffrail(&all).output();
        assert!(run.err().contains("no cursors"), "{}", run.err());
    }
    let answer = daemon.api(
        "GET",
        &format!("/containers/{id}/logs?streams=exec&cursor=1.1"),
        None,
    );
    assert_eq!(answer.status, 400);
    let answer = daemon.api("GET", &format!("/containers/{id}/logs?streams=stdin"), None);
    assert_eq!(answer.status, 400);
    daemon.finish();
}

#[test]
fn followed_to_the_end() {
    need!(ready());
    let daemon = with_streams(&json!(["events", "exec"]));
    for streams in ["stdout,exec,events", "exec,events"] {
        let id = daemon.run_detached(&[IMAGE, "sh", "-c", "echo hello; exec sleep 1000"]);
        let mut command = daemon.taffrail_command();
        let mut follower = command
            .args(["logs", "-f", "--stream", streams, &id])
            .stdout(Stdio::piped())
            .spawn()
            .expect("taffrail logs");
        let mut lines = BufReader::new(follower.stdout.take().expect("a pipe")).lines();
        let mut until = |wanted: &str| {
            let mut seen = Vec::new();
            for line in lines.by_ref() {
                let line = line.expect("text");
                let found = line.starts_with(wanted);
                seen.push(line);
                if found {
                    return seen;
                }
            }
            panic!("{wanted} does not come: {seen:?}");
        };
        until("start");
        daemon
            .docker(["exec", &id, "echo", "first"])
            .output()
            .code(0);
        until("first");
        daemon
            .docker(["exec", &id, "echo", "second"])
            .output()
            .code(0);
        until("second");
        daemon.docker(["kill", &id]).output().code(0);
        let last = until("die ");
        assert!(
            last.iter().any(|line| line.starts_with("kill ")),
            "{last:?}"
        );
        assert!(lines.next().is_none(), "the end of the follow");
        assert!(follower.wait().expect("an end").success());
    }
    daemon.finish();
}

#[test]
fn another_daemon_torn_lines_and_removal() {
    need!(ready());
    let daemon = Daemon::start();
    let id = daemon.run_detached(&["--log-driver", "none", IMAGE, "sleep", "1000"]);
    exec_logged(&daemon, &id, "echo one; echo two");
    wait_lines(&daemon, &id, "exec", 2);
    daemon.kill();
    // As a daemon that is killed in the middle of a write leaves it.
    let file = daemon
        .data_root
        .join("containers")
        .join(&id)
        .join("extra/log");
    let mut open = OpenOptions::new()
        .append(true)
        .open(&file)
        .expect("the file");
    open.write_all(b"{\"t\":1,\"s\":\"ex").expect("a torn line");
    daemon.launch();
    assert_eq!(logs(&daemon, &["--stream", "exec", &id]), "one\ntwo\n");
    exec_logged(&daemon, &id, "echo three");
    assert_eq!(wait_lines(&daemon, &id, "exec", 3), "one\ntwo\nthree\n");
    // Without a log there is nothing else to read.
    let run = daemon
        .taffrail(["logs", "--stream", "stdout,exec", &id])
        .output();
    assert!(
        run.err().contains("does not support reading"),
        "{}",
        run.err()
    );
    // Much of it: the oldest give way.
    exec_logged(
        &daemon,
        &id,
        "yes 0123456789012345678901234567890123456789 | head -n 60000; echo last",
    );
    let text = wait_for("the last line", SOON, || {
        let text = logs(&daemon, &["--stream", "exec", &id]);
        text.ends_with("\nlast\n").then_some(text)
    });
    assert!(!text.contains("three"));
    let folder = std::fs::read_dir(file.parent().unwrap()).expect("the folder");
    let sum: u64 = folder.map(|e| e.unwrap().metadata().unwrap().len()).sum();
    assert!(sum < 2_200_000, "{sum}");
    daemon.docker(["rm", "-f", &id]).output().code(0);
    assert!(!file.exists());
    daemon.finish();
}
