//! ps, inspect, stop, kill, wait, rm, create and start, attach: what `docker` says of containers that live and die.

use std::time::{Duration, Instant};

use crate::harness::image::IMAGE;
use crate::harness::{Daemon, Engine, skip, wait_for};
use crate::need;

fn ready() -> Result<(), String> {
    Engine::chosen().ready()?;
    skip::program("docker")
}

#[test]
fn ps_shows_and_filters() {
    need!(ready());
    let daemon = Daemon::start();
    let up = daemon.run_detached(&["--name", "up", "--label", "a=b", IMAGE, "workload", "sleep"]);
    let down = daemon.run_detached(&[
        "--name", "down", "--label", "a=c", IMAGE, "sh", "-c", "exit 3",
    ]);
    assert_eq!(daemon.wait_exit(&down, 20), 3);
    let made = daemon
        .docker([
            "create",
            "--name",
            "made",
            "--network",
            "none",
            IMAGE,
            "sh",
            "-c",
            "echo a",
        ])
        .output()
        .ok();
    let ps = |args: &[&str]| {
        let mut all = vec!["ps", "--no-trunc", "--format", "{{.Names}}"];
        all.extend(args);
        let mut names: Vec<String> = daemon
            .docker(&all)
            .output()
            .ok()
            .lines()
            .map(str::to_owned)
            .collect();
        names.sort();
        names.join(" ")
    };
    assert_eq!(ps(&[]), "up");
    assert_eq!(ps(&["-a"]), "down made up");
    assert_eq!(ps(&["-f", "status=exited"]), "down");
    assert_eq!(ps(&["-f", "status=created"]), "made");
    assert_eq!(ps(&["-a", "-f", "exited=3"]), "down");
    assert_eq!(ps(&["-a", "-f", "name=own"]), "down");
    assert_eq!(ps(&["-a", "-f", "name=^/up$"]), "up");
    assert_eq!(ps(&["-a", "-f", "label=a"]), "down up");
    assert_eq!(ps(&["-a", "-f", "label=a=c"]), "down");
    assert_eq!(ps(&["-a", "-f", &format!("id={}", &made[..8])]), "made");
    assert_eq!(ps(&["-a", "-f", "ancestor=tb"]), "down made up");
    assert_eq!(ps(&["-a", "-f", "before=down"]), "up");
    assert_eq!(ps(&["-a", "-f", "since=down"]), "made");
    assert_eq!(ps(&["-n", "1"]), "made");
    assert_eq!(ps(&["-l"]), "made");
    assert_eq!(ps(&["-a", "-f", "network=none"]), "down made up");
    assert_eq!(ps(&["-a", "-f", "publish=80"]), "");
    assert_eq!(ps(&["-f", "isolation=default"]), "up");
    assert_eq!(ps(&["-f", "is-task=false"]), "up");
    assert_eq!(ps(&["-f", "is-task=true"]), "");
    assert_eq!(ps(&["-f", "health=none"]), "up");
    assert_eq!(ps(&["-a", "-f", "volume=/nosuch"]), "");
    // These choose among those that run.
    for filter in ["exited=3", "since=up", "before=up"] {
        assert_eq!(ps(&["-f", filter]), "", "{filter}");
    }
    assert_eq!(
        ps(&["-f", "status=created", "-f", "status=running"]),
        "made up"
    );
    for (filter, text) in [
        (
            "publish=1:2",
            "filter for 'publish' should not contain ':': 1:2",
        ),
        ("expose=x", "error while looking up for expose x"),
        ("status=foo", "invalid filter 'status=foo'"),
        ("exited=x", "x"),
        ("before=nosuch", "no such container"),
    ] {
        daemon
            .docker(["ps", "-a", "-f", filter])
            .output()
            .code(1)
            .stderr_has(text);
    }
    daemon
        .docker(["ps", "-a", "-f", "nosuch=1"])
        .output()
        .code(1)
        .stderr_has("invalid filter 'nosuch'");

    let line = |name: &str, format: &str| {
        daemon
            .docker([
                "ps",
                "-a",
                "--no-trunc",
                "-f",
                &format!("name=^/{name}$"),
                "--format",
                format,
            ])
            .output()
            .ok()
    };
    assert_eq!(
        line("up", "{{.ID}} {{.Image}} {{.State}}"),
        format!("{up} {IMAGE} running")
    );
    assert!(
        line("up", "{{.Status}}").starts_with("Up "),
        "{}",
        line("up", "{{.Status}}")
    );
    assert!(line("down", "{{.Status}}").starts_with("Exited (3) "));
    assert_eq!(line("made", "{{.Status}}"), "Created");
    assert_eq!(line("made", "{{.Command}}"), "\"sh -c 'echo a'\"");
    assert!(line("up", "{{.Size}}").contains('B'));
    daemon.finish();
}

#[test]
fn inspect_has_what_clients_read() {
    need!(ready());
    let daemon = Daemon::start();
    let id = daemon.run_detached(&[
        "--name",
        "web",
        "-e",
        "A=b",
        "--label",
        "l=v",
        "--log-opt",
        "max-size=1m",
        "--log-opt",
        "max-file=3",
        IMAGE,
        "sh",
        "-c",
        "echo hi; exit 5",
    ]);
    assert_eq!(daemon.wait_exit(&id, 20), 5);
    let c = daemon.inspect(&id);
    assert_eq!(c["Id"], id.as_str());
    assert_eq!(c["Name"], "/web");
    assert_eq!(c["Path"], "sh");
    assert_eq!(c["Args"], serde_json::json!(["-c", "echo hi; exit 5"]));
    assert_eq!(c["State"]["Status"], "exited");
    assert_eq!(c["State"]["Running"], false);
    assert_eq!(c["State"]["ExitCode"], 5);
    assert_eq!(c["State"]["Pid"], 0);
    assert_eq!(c["State"]["OOMKilled"], false);
    for key in ["StartedAt", "FinishedAt"] {
        let time = c["State"][key].as_str().expect("a time");
        assert!(
            time.starts_with("20") && time.ends_with('Z'),
            "{key} {time}"
        );
    }
    assert_eq!(c["HostConfig"]["LogConfig"]["Type"], "json-file");
    assert_eq!(
        c["HostConfig"]["LogConfig"]["Config"],
        serde_json::json!({"max-file": "3", "max-size": "1m"})
    );
    assert_eq!(c["HostConfig"]["NetworkMode"], "none");
    assert_eq!(c["HostConfig"]["RestartPolicy"]["Name"], "no");
    assert_eq!(c["HostConfig"]["ShmSize"], 67_108_864);
    assert_eq!(c["Config"]["Labels"]["l"], "v");
    assert_eq!(c["Config"]["Image"], IMAGE);
    assert!(
        c["Config"]["Env"]
            .as_array()
            .is_some_and(|e| e.iter().any(|v| v == "A=b"))
    );
    assert!(c["Mounts"].is_array());
    let log = c["LogPath"].as_str().expect("LogPath");
    assert_eq!(
        log,
        daemon
            .data_root
            .join(format!("containers/{id}/{id}-json.log"))
            .to_str()
            .expect("a text path")
    );
    daemon.finish();
}

#[test]
fn stop_asks_first_then_kills() {
    need!(ready());
    let daemon = Daemon::start();
    let polite = daemon.run_detached(&[IMAGE, "workload", "trap", "exit=9"]);
    let deaf = daemon.run_detached(&[IMAGE, "workload", "sleep"]);
    wait_for("ready", Duration::from_secs(20), || {
        (daemon.docker(["logs", &polite]).output().out() == "ready\n").then_some(())
    });
    let begun = Instant::now();
    daemon
        .docker(["stop", "-t", "20", &polite])
        .output()
        .code(0);
    assert!(
        begun.elapsed() < Duration::from_secs(10),
        "{:?}",
        begun.elapsed()
    );
    assert_eq!(daemon.inspect(&polite)["State"]["ExitCode"], 9);
    // PID 1 without a handler does not see SIGTERM.
    let begun = Instant::now();
    daemon.docker(["stop", "-t", "1", &deaf]).output().code(0);
    let took = begun.elapsed();
    assert!(took >= Duration::from_millis(900), "killed after {took:?}");
    assert_eq!(daemon.inspect(&deaf)["State"]["ExitCode"], 137);
    // A stop of what has stopped is no error; a kill is.
    daemon.docker(["stop", &deaf]).output().code(0);
    daemon
        .docker(["kill", &deaf])
        .output()
        .code(1)
        .stderr_has("is not running");
    daemon
        .docker(["kill", "-s", "NOSUCH", &deaf])
        .output()
        .code(1)
        .stderr_has("Invalid signal: NOSUCH");
    daemon.finish();
}

#[test]
fn rm_refuses_what_runs() {
    need!(ready());
    let daemon = Daemon::start();
    let id = daemon.run_detached(&["--name", "busy", IMAGE, "workload", "sleep"]);
    daemon
        .docker(["rm", "busy"])
        .output()
        .code(1)
        .stderr_has("remov")
        .stderr_has("running");
    daemon.docker(["rm", "-f", "busy"]).output().code(0);
    daemon
        .docker(["rm", &id])
        .output()
        .code(1)
        .stderr_has("No such container");
    daemon.finish();
}

#[test]
fn wait_has_its_conditions() {
    need!(ready());
    let daemon = Daemon::start();
    let id = daemon.run_detached(&[IMAGE, "sh", "-c", "exit 4"]);
    assert_eq!(daemon.docker(["wait", &id]).output().ok(), "4");
    // Of a stopped one: at once; `next-exit` only at the next end.
    assert_eq!(daemon.wait_exit(&id, 5), 4);
    let path = format!("/containers/{id}/wait?condition=next-exit");
    let mut stream = crate::harness::http::open(
        &daemon.socket,
        "POST",
        &path,
        &[],
        Some(b""),
        Duration::from_secs(30),
    )
    .expect("headers at once");
    assert_eq!(stream.status, 200);
    daemon.docker(["start", &id]).output().code(0);
    let mut body = String::new();
    std::io::Read::read_to_string(&mut stream, &mut body).expect("an answer at the next exit");
    let answer: serde_json::Value = serde_json::from_str(&body).expect("json");
    assert_eq!(answer["StatusCode"], 4);
    let bad = daemon.api(
        "POST",
        &format!("/containers/{id}/wait?condition=never"),
        None,
    );
    assert!(
        bad.status == 400 || daemon.engine == Engine::Dockerd,
        "{}",
        bad.text()
    );
    // `removed` is answered when it is gone.
    let path = format!("/containers/{id}/wait?condition=removed");
    let mut stream = crate::harness::http::open(
        &daemon.socket,
        "POST",
        &path,
        &[],
        Some(b""),
        Duration::from_secs(30),
    )
    .expect("headers at once");
    daemon.docker(["rm", &id]).output().code(0);
    body.clear();
    std::io::Read::read_to_string(&mut stream, &mut body).expect("an answer at the removal");
    assert!(body.contains("\"StatusCode\":4"), "{body}");
    daemon.finish();
}

#[test]
fn a_container_starts_again_and_keeps_its_log() {
    need!(ready());
    let daemon = Daemon::start();
    let id = daemon
        .docker(["create", "--network", "none", "--name", "twice", IMAGE])
        .args(["sh", "-c", "echo run; echo x >> /count; cat /count | wc -l"])
        .output()
        .ok();
    daemon
        .docker(["start", "-a", "twice"])
        .output()
        .code(0)
        .stdout_is("run\n1\n");
    daemon
        .docker(["start", "-a", "twice"])
        .output()
        .code(0)
        .stdout_is("run\n2\n");
    daemon
        .docker(["logs", &id])
        .output()
        .code(0)
        .stdout_is("run\n1\nrun\n2\n");
    daemon.finish();
}

#[test]
fn attach_sees_what_comes_and_gives_the_exit_code() {
    need!(ready());
    let daemon = Daemon::start();
    let id = daemon.run_detached(&["-i", IMAGE, "sh", "-c", "read line; echo got $line; exit 6"]);
    let mut attached = daemon.docker(["attach", &id]).spawn();
    wait_for("the attach", Duration::from_secs(20), || {
        let events = daemon
            .docker([
                "events",
                "--since",
                "1",
                "--until",
                "0s",
                "-f",
                "event=attach",
                "--format",
                "{{.Action}}",
            ])
            .output();
        (events.out().contains("attach")).then_some(())
    });
    let mut stdin = attached.stdin.take().expect("piped");
    std::io::Write::write_all(&mut stdin, b"hello\n").expect("write");
    let mut out = String::new();
    std::io::Read::read_to_string(&mut attached.stdout.take().expect("piped"), &mut out)
        .expect("read");
    let code = crate::harness::command::wait(&mut attached, Duration::from_secs(20));
    assert_eq!((out.as_str(), code), ("got hello\n", Some(6)));
    daemon
        .docker(["attach", &id])
        .output()
        .code(1)
        .stderr_has("cannot attach to a stopped container");
    daemon.finish();
}

#[test]
fn a_failed_start_leaves_a_created_container() {
    need!(ready());
    let daemon = Daemon::start();
    daemon
        .docker([
            "run",
            "--name",
            "broken",
            "--network",
            "none",
            IMAGE,
            "/nosuch",
        ])
        .output()
        .code(127);
    let state = &daemon.inspect("broken")["State"];
    assert_eq!(state["Status"], "created");
    assert_eq!(state["ExitCode"], 127);
    assert!(
        state["Error"]
            .as_str()
            .is_some_and(|e| e.contains("no such file")),
        "{state}"
    );
    daemon.finish();
}

#[test]
fn out_of_memory_is_told() {
    need!(ready());
    let daemon = Daemon::start();
    let id = daemon.run_detached(&[
        "--memory",
        "16m",
        "--memory-swap",
        "16m",
        IMAGE,
        "sh",
        "-c",
        "tail /dev/zero",
    ]);
    let code = daemon.wait_exit(&id, 60);
    assert!(code == 137 || code == 1, "exit code {code}");
    if code == 137 {
        assert_eq!(daemon.inspect(&id)["State"]["OOMKilled"], true);
    }
    daemon.finish();
}
