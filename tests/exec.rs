//! Further processes in running containers: their streams, their codes, who they are, and what is left when anything
//! dies in the middle.

use std::fs;
use std::io::{Read, Write};
use std::net::Shutdown;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::harness::daemon::scratch;
use crate::harness::daemon::{Options, taffrail_only};
use crate::harness::http::{self, Streaming};
use crate::harness::image::IMAGE;
use crate::harness::pty::Terminal;
use crate::harness::{Daemon, Engine, procs, sized, skip, wait_for};
use crate::need;

const SOON: Duration = Duration::from_secs(30);

fn ready() -> Result<(), String> {
    Engine::chosen().ready()?;
    skip::program("docker")
}

/// A container that waits.
fn sleeper(daemon: &Daemon, options: &[&str]) -> String {
    let mut all = options.to_vec();
    all.extend([IMAGE, "workload", "sleep"]);
    daemon.run_detached(&all)
}

/// Creates an exec by the API; its id.
#[track_caller]
fn create(daemon: &Daemon, container: &str, body: &Value) -> String {
    let answer = daemon.api("POST", &format!("/containers/{container}/exec"), Some(body));
    assert_eq!(answer.status, 201, "{}", answer.text());
    answer.json()["Id"].as_str().expect("an id").to_owned()
}

fn command(words: &[&str]) -> Value {
    json!({"AttachStdout": true, "AttachStderr": true, "Cmd": words})
}

/// Starts an exec over a connection of its own.
#[track_caller]
fn start(daemon: &Daemon, exec: &str, version: &str) -> Streaming {
    http::open(
        &daemon.socket,
        "POST",
        &format!("{version}/exec/{exec}/start"),
        &["Connection: Upgrade", "Upgrade: tcp"],
        Some(br#"{"Detach":false,"Tty":false}"#),
        SOON,
    )
    .expect("an answer")
}

/// Runs a command; its frames and its exit code.
#[track_caller]
fn run(daemon: &Daemon, container: &str, words: &[&str]) -> (Vec<(u8, Vec<u8>)>, Value) {
    let exec = create(daemon, container, &command(words));
    let mut stream = start(daemon, &exec, "");
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).expect("output");
    // At once: the code is there before the stream ends.
    let shown = daemon.get(&format!("/exec/{exec}/json"));
    (http::frames(&bytes), shown["ExitCode"].clone())
}

fn text_of(frames: &[(u8, Vec<u8>)], stream: u8) -> String {
    let bytes: Vec<u8> = frames
        .iter()
        .filter(|(s, _)| *s == stream)
        .flat_map(|(_, b)| b.clone())
        .collect();
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Parents of exec'd processes.
fn attendants(root: &Path) -> usize {
    procs::naming(root)
        .iter()
        .filter(|p| p.running() && p.cmdline.get(1).is_some_and(|word| word == "attend"))
        .count()
}

#[test]
fn codes_streams_and_surroundings() {
    need!(ready());
    let daemon = Daemon::start();
    let id = sleeper(&daemon, &["--name", "box", "-e", "OWN=1"]);
    let exec = |args: &[&str]| {
        let mut all = vec!["exec"];
        all.extend(args);
        daemon.docker(&all).output()
    };
    exec(&["box", "sh", "-c", "echo out; echo err >&2; exit 7"])
        .code(7)
        .stdout_is("out\n")
        .stderr_is("err\n");
    exec(&["box", "sh", "-c", "kill -9 $$"]).code(137);
    exec(&["-e", "MORE=2", "box", "sh", "-c", "echo $OWN $MORE $HOME"])
        .code(0)
        .stdout_is("1 2 /root\n");
    exec(&["-w", "/tmp", "box", "pwd"])
        .code(0)
        .stdout_is("/tmp\n");
    exec(&["-u", "33:44", "box", "sh", "-c", "id -u; id -g; id -G"])
        .code(0)
        .stdout_is("33\n44\n44\n");
    // Its own pipe can be opened anew by another user.
    exec(&["-u", "33", "box", "sh", "-c", "echo anew > /dev/stdout"])
        .code(0)
        .stdout_is("anew\n");
    exec(&["-u", "nosuch", "box", "true"])
        .code(126)
        .stdout_has("unable to find user nosuch: no matching entries in passwd file");
    // Docker Engine 20.10 says 126, newer ones 127.
    let not_found = match daemon.engine {
        Engine::Taffrail => 127,
        Engine::Dockerd => 126,
    };
    exec(&["box", "nosuch"]).code(not_found).stdout_has(
        "OCI runtime exec failed: exec failed: unable to start container process: \
         exec: \"nosuch\": executable file not found in $PATH: unknown",
    );
    exec(&["box", "/nosuch/x"])
        .code(not_found)
        .stdout_has("exec: \"/nosuch/x\": stat /nosuch/x: no such file or directory");
    exec(&["box", "/proc/self/status"])
        .code(126)
        .stdout_has("permission denied");
    exec(&["-w", "relative", "box", "true"])
        .code(126)
        .stdout_has("Cwd must be an absolute path");
    exec(&["-d", "box", "nosuch"])
        .code(1)
        .stderr_has("executable file not found in $PATH");
    exec(&["-d", "box", "touch", "/tmp/made"])
        .code(0)
        .stdout_is("");
    wait_for("the detached command", SOON, || {
        (run(&daemon, &id, &["test", "-e", "/tmp/made"]).1 == 0).then_some(())
    });
    daemon.finish();
}

#[test]
fn stdin_goes_round_whole() {
    need!(ready());
    let daemon = Daemon::start();
    sleeper(&daemon, &["--name", "box"]);
    let size = sized("TAFFRAIL_TEST_EXEC_BYTES", 50_000_000) as usize;
    let mut state = 1u64;
    let bytes: Vec<u8> = (0..size)
        .map(|_| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            (state >> 33) as u8
        })
        .collect();
    let output = daemon
        .docker(["exec", "-i", "box", "cat"])
        .stdin(bytes.clone())
        .deadline(120)
        .output();
    output.code(0);
    assert_eq!(output.stdout.len(), bytes.len());
    assert_eq!(Sha256::digest(&output.stdout), Sha256::digest(&bytes));
    // The end of the input is the process's, and without -i there is none.
    let sum = daemon
        .docker(["exec", "-i", "box", "wc", "-c"])
        .stdin("abc")
        .output();
    sum.code(0).stdout_is("3\n");
    let none = daemon
        .docker(["exec", "box", "wc", "-c"])
        .stdin("abc")
        .output();
    none.code(0).stdout_is("0\n");
    daemon.finish();
}

#[test]
fn a_terminal_its_size_and_its_keys() {
    need!(ready());
    let daemon = Daemon::start();
    let id = sleeper(&daemon, &["--name", "box"]);
    let mut shells = vec![daemon.docker_command()];
    if daemon.engine == Engine::Taffrail {
        shells.push(daemon.taffrail_command());
    }
    for mut shell in shells {
        shell.args(["exec", "-it", "box", "sh"]);
        let mut terminal = Terminal::start(shell, 33, 99);
        let at = terminal.expect("# ", 0, SOON);
        terminal.send(b"until [ \"$(stty size)\" = '33 99' ]; do sleep 0.05; done; echo si''zed\n");
        let at = terminal.expect("sized\r\n", at, SOON);
        terminal.resize(44, 120);
        terminal
            .send(b"until [ \"$(stty size)\" = '44 120' ]; do sleep 0.05; done; echo re''sized\n");
        let at = terminal.expect("resized\r\n", at, SOON);
        terminal.send(b"sh -c 'echo go\"\"ing; exec sleep 100'\n");
        terminal.expect("going\r\n", at, SOON);
        terminal.send(b"\x03");
        terminal.send(b"exit 5\n");
        assert_eq!(terminal.wait(SOON), 5);
    }
    // With docker the client itself leaves; ours hands the keys on, and the daemon tells of it.
    let since = crate::harness::unix_now();
    let ours = daemon.engine == Engine::Taffrail;
    let mut command = if ours {
        daemon.taffrail_command()
    } else {
        daemon.docker_command()
    };
    command.args([
        "exec",
        "-it",
        "--detach-keys",
        "ctrl-a,d",
        "box",
        "sh",
        "-c",
    ]);
    command.arg("echo up; trap '' HUP; while [ ! -e /tmp/stop ]; do sleep 0.1; done");
    let mut terminal = Terminal::start(command, 24, 80);
    terminal.expect("up\r\n", 0, SOON);
    terminal.send(b"\x01d");
    assert_eq!(terminal.wait(SOON), 1);
    terminal.expect("read escape sequence", 0, SOON);
    if ours {
        wait_for("exec_detach", SOON, || {
            let until = crate::harness::unix_now();
            let path = format!("/events?since={since}&until={until}");
            let text = daemon.api("GET", &path, None).text();
            text.contains("\"Action\":\"exec_detach\"").then_some(())
        });
    }
    let running = daemon.inspect(&id)["ExecIDs"].clone();
    assert_eq!(running.as_array().map(Vec::len), Some(1), "{running}");
    let (_, code) = run(&daemon, &id, &["touch", "/tmp/stop"]);
    assert_eq!(code, 0);
    wait_for("the end of what was left", SOON, || {
        daemon.inspect(&id)["ExecIDs"].is_null().then_some(())
    });
    daemon.finish();
}

#[test]
fn what_the_api_answers() {
    need!(ready());
    let daemon = Daemon::start();
    let id = sleeper(&daemon, &["--name", "box"]);
    let refused = |method: &str, path: &str, body: Option<Value>, status: u16, text: &str| {
        let answer = daemon.api(method, path, body.as_ref());
        assert_eq!(answer.status, status, "{path}: {}", answer.text());
        assert!(answer.text().contains(text), "{path}: {}", answer.text());
    };
    let none = Some(json!({"Cmd": []}));
    refused(
        "POST",
        "/containers/box/exec",
        none,
        400,
        "No exec command specified",
    );
    let yes = || Some(command(&["true"]));
    refused(
        "POST",
        "/containers/nosuch/exec",
        yes(),
        404,
        "No such container: nosuch",
    );
    refused(
        "GET",
        "/exec/nosuch/json",
        None,
        404,
        "No such exec instance: nosuch",
    );
    refused(
        "POST",
        "/exec/nosuch/start",
        Some(json!({})),
        404,
        "No such exec instance: nosuch",
    );

    let body = json!({"AttachStdout": true, "Cmd": ["sh", "-c", "exit 3"], "User": "0"});
    let exec = create(&daemon, "box", &body);
    let shown = daemon.get(&format!("/exec/{exec}/json"));
    assert_eq!(shown["ID"], *exec);
    assert_eq!(shown["Running"], false);
    assert_eq!(shown["ExitCode"], Value::Null);
    assert_eq!(shown["Pid"], 0);
    assert_eq!(shown["ContainerID"], *id);
    assert_eq!(shown["OpenStdout"], true);
    assert_eq!(shown["OpenStderr"], false);
    assert_eq!(
        shown["ProcessConfig"],
        json!({"tty": false, "entrypoint": "sh", "arguments": ["-c", "exit 3"], "privileged": false, "user": "0"})
    );
    assert_eq!(daemon.inspect(&id)["ExecIDs"], json!([exec]));
    // What waits for its start does so while the container is paused.
    assert_eq!(
        daemon.api("POST", "/containers/box/pause", None).status,
        204
    );
    let paused = "is paused, unpause the container before exec";
    refused("POST", "/containers/box/exec", yes(), 409, paused);
    let detached = || Some(json!({"Detach": true}));
    let path = format!("/exec/{exec}/start");
    refused("POST", &path, detached(), 409, paused);
    assert_eq!(
        daemon.api("POST", "/containers/box/unpause", None).status,
        204
    );
    let answer = daemon.api("POST", &path, detached().as_ref());
    assert_eq!((answer.status, answer.text().as_str()), (200, ""));
    let ended = wait_for("the exit code", SOON, || {
        let shown = daemon.get(&format!("/exec/{exec}/json"));
        (!shown["ExitCode"].is_null()).then_some(shown)
    });
    assert_eq!(ended["ExitCode"], 3);
    assert_eq!(ended["Running"], false);
    assert!(ended["Pid"].as_i64() > Some(1));
    refused("POST", &path, detached(), 409, "has already run");

    // Frames, and the header that says so.
    let exec = create(
        &daemon,
        "box",
        &command(&["sh", "-c", "echo a; echo b >&2; exit 4"]),
    );
    let mut stream = start(&daemon, &exec, "/v1.41");
    assert_eq!(stream.status, 101);
    let kind = |stream: &Streaming| {
        let found = stream
            .headers
            .iter()
            .find(|(k, _)| k.eq_ignore_ascii_case("content-type"));
        found.map(|(_, v)| v.clone()).unwrap_or_default()
    };
    assert_eq!(kind(&stream), "application/vnd.docker.raw-stream");
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).expect("output");
    let frames = http::frames(&bytes);
    assert_eq!(text_of(&frames, 1), "a\n");
    assert_eq!(text_of(&frames, 2), "b\n");
    assert_eq!(daemon.get(&format!("/exec/{exec}/json"))["ExitCode"], 4);
    if daemon.engine == Engine::Taffrail {
        let exec = create(&daemon, "box", &command(&["true"]));
        let stream = start(&daemon, &exec, "/v1.42");
        assert_eq!(kind(&stream), "application/vnd.docker.multiplexed-stream");
    }

    // A stop forgets what was not started, and nothing runs in what does not.
    let left = create(&daemon, "box", &command(&["true"]));
    daemon.docker(["kill", "box"]).output().code(0);
    let gone = format!("No such exec instance: {left}");
    wait_for("the end", SOON, || {
        (daemon.inspect(&id)["State"]["Running"] == false).then_some(())
    });
    refused(
        "POST",
        &format!("/exec/{left}/start"),
        detached(),
        404,
        &gone,
    );
    let stopped = format!("Container {id} is not running");
    refused("POST", "/containers/box/exec", yes(), 409, &stopped);
    daemon.finish();
}

#[test]
fn events_tell_of_it() {
    need!(ready());
    let daemon = Daemon::start();
    let id = sleeper(&daemon, &["--name", "box"]);
    let since = crate::harness::unix_now();
    let (_, code) = run(&daemon, &id, &["sh", "-c", "exit 6"]);
    assert_eq!(code, 6);
    let events = wait_for("exec_die", SOON, || {
        let path = format!("/events?since={since}&until={}", crate::harness::unix_now());
        let text = daemon.api("GET", &path, None).text();
        let events: Vec<Value> = text
            .lines()
            .filter_map(|line| serde_json::from_str(line).ok())
            .filter(|e: &Value| e["Action"].as_str().is_some_and(|a| a.starts_with("exec_")))
            .collect();
        (events.len() == 3).then_some(events)
    });
    let actions: Vec<&str> = events.iter().filter_map(|e| e["Action"].as_str()).collect();
    assert_eq!(
        actions,
        [
            "exec_create: sh -c exit 6",
            "exec_start: sh -c exit 6",
            "exec_die"
        ]
    );
    let attributes = &events[2]["Actor"]["Attributes"];
    assert_eq!(attributes["exitCode"], "6");
    assert_eq!(
        attributes["execID"],
        events[0]["Actor"]["Attributes"]["execID"]
    );
    daemon.finish();
}

#[test]
fn it_is_what_the_first_process_is() {
    need!(ready());
    let daemon = Daemon::start();
    let limits: &[&[&str]] = &[
        &[],
        &[
            "--cap-drop",
            "ALL",
            "--cap-add",
            "KILL",
            "--security-opt",
            "no-new-privileges",
        ],
        &[
            "--security-opt",
            "seccomp=unconfined",
            "--ulimit",
            "nofile=77:88",
        ],
        &["--user", "33:44", "--group-add", "55"],
        &["--pid", "host", "--ipc", "host", "--uts", "host"],
    ];
    for options in limits {
        let id = sleeper(&daemon, options);
        let first = daemon.container_pid(&id);
        // What the host sees of both: nothing inside can be in the way.
        let exec = create(&daemon, &id, &command(&["sleep", "1000"]));
        let _stream = start(&daemon, &exec, "");
        let other = wait_for("the process", SOON, || {
            let pid = daemon.get(&format!("/exec/{exec}/json"))["Pid"].as_i64()?;
            (pid > 0).then_some(pid)
        });
        let read = |pid: i64, name: &str| {
            fs::read_to_string(format!("/proc/{pid}/{name}")).expect("a process's file")
        };
        let lines = |pid: i64| -> Vec<String> {
            let status = read(pid, "status");
            let of = [
                "Uid",
                "Gid",
                "Groups",
                "CapInh",
                "CapPrm",
                "CapEff",
                "CapBnd",
                "CapAmb",
                "NoNewPrivs",
                "Seccomp",
                "Umask",
                "SigBlk",
            ];
            status
                .lines()
                .filter(|line| of.iter().any(|name| line.split(':').next() == Some(name)))
                .map(str::to_owned)
                .collect()
        };
        let first = i64::from(first);
        wait_for("the program", SOON, || {
            read(other, "cmdline").starts_with("sleep").then_some(())
        });
        assert_eq!(lines(other), lines(first), "{options:?}");
        for name in ["cgroup", "limits", "oom_score_adj"] {
            assert_eq!(read(other, name), read(first, name), "{options:?}: {name}");
        }
        for kind in ["cgroup", "ipc", "mnt", "net", "pid", "user", "uts"] {
            let of = |pid: i64| fs::read_link(format!("/proc/{pid}/ns/{kind}")).expect("namespace");
            assert_eq!(of(other), of(first), "{options:?}: {kind}");
        }
        let open: Vec<String> = fs::read_dir(format!("/proc/{other}/fd"))
            .expect("descriptors")
            .flatten()
            .map(|e| e.file_name().to_string_lossy().into_owned())
            .collect();
        assert_eq!(open.len(), 3, "{options:?}: {open:?}");
        // With the host's process ids, too, it goes with the container.
        daemon.docker(["rm", "-f", &id]).output().code(0);
        wait_for("the process's end", SOON, || {
            procs::Process::read(other as i32)
                .is_none_or(|p| !p.running())
                .then_some(())
        });
    }
    if daemon.engine == Engine::Taffrail {
        let id = sleeper(&daemon, &["--cap-drop", "ALL"]);
        let all = daemon
            .docker([
                "exec",
                "--privileged",
                &id,
                "grep",
                "CapEff",
                "/proc/self/status",
            ])
            .output();
        let own = fs::read_to_string("/proc/self/status").expect("status");
        let bounding = own
            .lines()
            .find_map(|l| l.strip_prefix("CapBnd:"))
            .expect("a set");
        all.code(0).stdout_has(bounding.trim());
    }
    daemon.finish();
}

#[test]
fn a_hundred_at_once_leave_nothing() {
    need!(taffrail_only());
    let daemon = Daemon::start();
    let id = sleeper(&daemon, &[]);
    let open = || {
        fs::read_dir(format!("/proc/{}/fd", daemon.pid()))
            .expect("descriptors")
            .count()
    };
    let (_, code) = run(&daemon, &id, &["true"]);
    assert_eq!(code, 0);
    let before = open();
    std::thread::scope(|scope| {
        let (daemon, id) = (&daemon, &id);
        for n in 0..100 {
            scope.spawn(move || {
                let script = format!("echo o{n}; echo e{n} >&2; exit {n}");
                let (frames, code) = run(daemon, id, &["sh", "-c", &script]);
                assert_eq!(text_of(&frames, 1), format!("o{n}\n"));
                assert_eq!(text_of(&frames, 2), format!("e{n}\n"));
                assert_eq!(code, n);
            });
        }
    });
    wait_for("the parents' ends", SOON, || {
        (attendants(&daemon.root) == 0).then_some(())
    });
    let zombies = || {
        procs::all()
            .iter()
            .filter(|p| {
                let stat = fs::read_to_string(format!("/proc/{}/stat", p.pid)).unwrap_or_default();
                stat.contains(&format!(") Z {} ", daemon.pid()))
            })
            .count()
    };
    wait_for("no dead children", SOON, || (zombies() == 0).then_some(()));
    wait_for("the descriptors of before", SOON, || {
        (open() <= before + 2).then_some(())
    });
    let left = fs::read_dir(daemon.exec_root.join("exec"))
        .expect("folder")
        .count();
    assert_eq!(left, 0);
    assert_eq!(daemon.inspect(&id)["ExecIDs"], Value::Null);
    daemon.finish();
}

#[test]
fn the_containers_end_is_its_end() {
    need!(ready());
    let daemon = Daemon::start();
    let id = sleeper(&daemon, &["--name", "box"]);
    let exec = create(&daemon, &id, &command(&["sh", "-c", "echo up; sleep 1000"]));
    let mut stream = start(&daemon, &exec, "");
    let mut head = [0; 11];
    stream.read_exact(&mut head).expect("the first line");
    daemon.docker(["kill", "box"]).output().code(0);
    let mut rest = Vec::new();
    stream
        .read_to_end(&mut rest)
        .expect("the end of the stream");
    assert_eq!(daemon.wait_exit(&id, 20), 137);
    daemon.finish();
}

#[test]
fn clients_that_leave_or_never_read() {
    need!(ready());
    let daemon = Daemon::start();
    let id = sleeper(&daemon, &[]);
    // It goes on without its client, and its output goes nowhere.
    let script = "n=0; while [ $n -lt 3000 ]; do echo $n line that nobody reads; n=$((n+1)); done; touch /tmp/through; sleep 1000";
    let exec = create(&daemon, &id, &command(&["sh", "-c", script]));
    let stream = start(&daemon, &exec, "");
    let _ = stream.socket().shutdown(Shutdown::Both);
    drop(stream);
    let there = || run(&daemon, &id, &["test", "-e", "/tmp/through"]).1 == 0;
    wait_for("what goes on", SOON, || there().then_some(()));
    // One that takes nothing holds up its own process, and nothing else.
    let exec = create(
        &daemon,
        &id,
        &command(&["yes", "a line that waits to be read"]),
    );
    let stuck = start(&daemon, &exec, "");
    let (frames, code) = run(&daemon, &id, &["echo", "fine"]);
    assert_eq!((text_of(&frames, 1).as_str(), code), ("fine\n", json!(0)));
    // Docker Engine's stop waits for the client.
    let stuck = (daemon.engine == Engine::Taffrail).then_some(stuck);
    daemon
        .docker(["stop", "-t", "1", &id])
        .deadline(30)
        .output()
        .code(0);
    daemon
        .docker(["rm", "-f", &id])
        .deadline(30)
        .output()
        .code(0);
    drop(stuck);
    daemon.finish();
}

#[test]
fn the_daemon_is_killed_in_the_middle() {
    need!(taffrail_only());
    let daemon = Daemon::start();
    let id = sleeper(&daemon, &["--name", "box"]);
    let words = [
        "sh",
        "-c",
        "trap '' PIPE; while :; do echo on; sleep 0.1; date > /tmp/alive; done",
    ];
    let exec = create(&daemon, &id, &command(&words));
    let mut stream = start(&daemon, &exec, "");
    let mut head = [0; 11];
    stream.read_exact(&mut head).expect("the first line");
    let pid = daemon.get(&format!("/exec/{exec}/json"))["Pid"]
        .as_i64()
        .expect("a pid");
    daemon.kill();
    drop(stream);
    daemon.launch();
    // It lives, and nobody knows it; its parent waits for it.
    assert!(procs::Process::read(pid as i32).is_some_and(|p| p.running()));
    assert_eq!(attendants(&daemon.root), 1);
    assert_eq!(
        daemon
            .api("GET", &format!("/exec/{exec}/json"), None)
            .status,
        404
    );
    assert_eq!(daemon.inspect(&id)["ExecIDs"], Value::Null);
    let (frames, code) = run(&daemon, &id, &["echo", "again"]);
    assert_eq!((text_of(&frames, 1).as_str(), code), ("again\n", json!(0)));
    assert!(!daemon.exec_root.join("exec").join(&exec[..16]).exists());
    daemon
        .docker(["stop", "-t", "1", "box"])
        .deadline(30)
        .output()
        .code(0);
    wait_for("its parent's end", SOON, || {
        (attendants(&daemon.root) == 0).then_some(())
    });
    daemon.finish();
}

#[test]
fn other_runtimes() {
    need!(taffrail_only());
    need!(skip::program("docker"));
    let config = json!({"runtimes": {"crun": {"path": "/usr/bin/crun"}}});
    let daemon = Daemon::with(Options {
        config: Some(config.to_string()),
        ..Options::default()
    });
    let mut tried = 0;
    for runtime in ["runc", "crun"] {
        if skip::program(runtime).is_err() {
            continue;
        }
        let made = daemon
            .docker([
                "run",
                "-d",
                "--network",
                "none",
                "--runtime",
                runtime,
                "--name",
                runtime,
            ])
            .args([IMAGE, "workload", "sleep"])
            .output();
        if made.code != 0 {
            // It does not run here at all (crun 1.8 and a hybrid layout of control groups).
            daemon.docker(["rm", "-f", runtime]).output();
            continue;
        }
        tried += 1;
        let script = "cat; echo err >&2; exit 9";
        daemon
            .docker(["exec", "-i", runtime, "sh", "-c", script])
            .stdin("in\n")
            .output()
            .code(9)
            .stdout_is("in\n")
            .stderr_is("err\n");
        let missing = daemon.docker(["exec", runtime, "nosuch"]).output();
        missing.code(127).stdout_has("OCI runtime exec failed: ");
        let mut command = daemon.docker_command();
        command.args(["exec", "-it", runtime, "sh", "-c", "stty size; tty; exit 3"]);
        let mut terminal = Terminal::start(command, 30, 90);
        terminal.expect("/dev/pts/", 0, SOON);
        assert_eq!(terminal.wait(SOON), 3);
        daemon.docker(["rm", "-f", runtime]).output().code(0);
    }
    assert!(
        tried > 0 || skip::program("runc").is_err(),
        "runc runs nothing"
    );
    daemon.finish();
}

#[test]
fn our_own_client() {
    need!(taffrail_only());
    let daemon = Daemon::start();
    sleeper(&daemon, &["--name", "box"]);
    let file = scratch(&daemon, "vars", b"A=1\nB=2\n");
    let vars = file.to_string_lossy().into_owned();
    let exec = |args: &[&str]| daemon.taffrail(args).output();
    exec(&["exec", "box", "sh", "-c", "echo out; echo err >&2; exit 7"])
        .code(7)
        .stdout_is("out\n")
        .stderr_is("err\n");
    exec(&[
        "container",
        "exec",
        "--env-file",
        &vars,
        "-e",
        "B=3",
        "box",
        "sh",
        "-c",
        "echo $A$B",
    ])
    .code(0)
    .stdout_is("13\n");
    exec(&[
        "exec",
        "-u",
        "33",
        "-w",
        "/tmp",
        "box",
        "sh",
        "-c",
        "id -u; pwd",
    ])
    .code(0)
    .stdout_is("33\n/tmp\n");
    exec(&["exec", "box", "nosuch"])
        .code(127)
        .stdout_has("executable file not found in $PATH");
    exec(&["exec", "box"])
        .code(1)
        .stderr_has("requires at least 2 arguments");
    exec(&["exec", "nosuch", "true"])
        .code(1)
        .stderr_has("No such container: nosuch");
    exec(&["exec", "-d", "box", "touch", "/tmp/x"])
        .code(0)
        .stdout_is("");
    daemon
        .taffrail(["exec", "-i", "box", "cat"])
        .stdin("abc")
        .output()
        .code(0)
        .stdout_is("abc");
    daemon
        .taffrail(["exec", "-it", "box", "cat"])
        .stdin("abc")
        .output()
        .code(1)
        .stderr_has("the input device is not a TTY");
    daemon.finish();
}

/// A message or another frame of a web socket's client.
fn frame(kind: u8, payload: &[u8]) -> Vec<u8> {
    let mask = [7, 11, 13, 17];
    let mut out = vec![0x80 | kind, 0x80 | payload.len() as u8];
    out.extend_from_slice(&mask);
    out.extend(payload.iter().zip(mask.iter().cycle()).map(|(b, m)| b ^ m));
    out
}

/// Reads a server's frame: its kind and payload.
fn read_frame(stream: &mut Streaming) -> (u8, Vec<u8>) {
    let mut head = [0; 2];
    stream.read_exact(&mut head).expect("a frame");
    assert_eq!(head[1] & 0x80, 0, "servers do not mask");
    let length = match head[1] {
        126 => {
            let mut bytes = [0; 2];
            stream.read_exact(&mut bytes).expect("a length");
            usize::from(u16::from_be_bytes(bytes))
        }
        short => usize::from(short),
    };
    let mut payload = vec![0; length];
    stream.read_exact(&mut payload).expect("a payload");
    (head[0] & 0x0f, payload)
}

#[test]
fn attach_over_a_web_socket() {
    need!(ready());
    let daemon = Daemon::start();
    let id = daemon.run_detached(&["-i", "--name", "box", IMAGE, "sh", "-c", "echo before; cat"]);
    wait_for("the first line", SOON, || {
        let log = daemon.docker(["logs", "box"]).output();
        (log.out() == "before\n").then_some(())
    });
    let handshake = [
        "Connection: Upgrade",
        "Upgrade: websocket",
        "Origin: http://localhost",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    ];
    let path = format!("/containers/{id}/attach/ws?stream=1&logs=1&stdin=1&stdout=1&stderr=1");
    let open = |path: &str, extra: &[&str]| {
        http::open(&daemon.socket, "GET", path, extra, None, SOON).expect("an answer")
    };
    let mut stream = open(&path, &handshake);
    assert_eq!(stream.status, 101);
    let accept = stream
        .headers
        .iter()
        .find(|(k, _)| k.eq_ignore_ascii_case("sec-websocket-accept"));
    assert_eq!(
        accept.map(|(_, v)| v.as_str()),
        Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo=")
    );
    let mut seen = Vec::new();
    while seen.len() < 7 {
        let (kind, payload) = read_frame(&mut stream);
        assert_eq!(kind, 2);
        seen.extend(payload);
    }
    assert_eq!(seen, b"before\n");
    let send = |stream: &Streaming, bytes: &[u8]| {
        let mut socket = stream.socket();
        socket.write_all(bytes).expect("sent");
    };
    send(&stream, &frame(9, b"there?"));
    assert_eq!(read_frame(&mut stream), (10, b"there?".to_vec()));
    send(&stream, &frame(2, b"round\n"));
    assert_eq!(read_frame(&mut stream), (2, b"round\n".to_vec()));
    daemon.docker(["kill", "box"]).output().code(0);
    // An end that is said, or at least an end.
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).expect("the end");
    if daemon.engine == Engine::Taffrail {
        assert_eq!(rest[..2], [0x88, 2]);
        let refused = open(&path, &["Connection: Upgrade", "Upgrade: websocket"]);
        assert_eq!(refused.status, 400);
    }
    let missing = open("/containers/nosuch/attach/ws", &handshake);
    assert_eq!(missing.status, 404);
    daemon.finish();
}
