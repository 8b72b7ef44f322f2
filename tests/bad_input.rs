//! Bad input of every kind: a clear error, nothing lost, and the daemon goes on.

use std::io::Write;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use crate::harness::daemon::{Options, taffrail_only};
use crate::harness::image::IMAGE;
use crate::harness::{Daemon, Engine, Run, skip};
use crate::need;

fn ready() -> Result<(), String> {
    taffrail_only()?;
    skip::program("docker")
}

#[test]
fn log_options_are_refused_at_create() {
    need!(ready());
    let daemon = Daemon::start();
    let cases: &[(&[&str], &str)] = &[
        (
            &["--log-driver", "nosuchdriver"],
            "error looking up logging plugin nosuchdriver: plugin \"nosuchdriver\" not found",
        ),
        (
            &["--log-opt", "bogus=1"],
            "unknown log opt 'bogus' for json-file log driver",
        ),
        (&["--log-opt", "max-size=1q"], "q'"),
        (&["--log-opt", "max-size=-5"], "invalid size: '-5'"),
        (
            &["--log-opt", "max-size=0"],
            "max-size must be a positive number",
        ),
        (
            &["--log-opt", "max-size=1k", "--log-opt", "max-file=0"],
            "max-file cannot be less than 1",
        ),
        (&["--log-opt", "max-file=two"], "two"),
        (
            &["--log-opt", "compress=true"],
            "compress cannot be true when max-file is less than 2 or max-size is not set",
        ),
        (
            &["--log-opt", "mode=lossy"],
            "logger: logging mode not supported: lossy",
        ),
        (
            &["--log-opt", "max-buffer-size=1m"],
            "max-buffer-size option is only supported with 'mode=non-blocking'",
        ),
        (&["--log-opt", "labels-regex=("], "error parsing regex"),
        (&["--log-opt", "tag={{.Nope}}"], "Nope"),
        (&["--log-opt", "tag={{.ID"], "template"),
    ];
    for (options, text) in cases {
        let mut all = vec!["create", "--network", "none", "--name", "refused"];
        all.extend(*options);
        all.extend([IMAGE, "true"]);
        let output = daemon.docker(&all).output();
        output.code(1).stderr_has(text);
        // Nothing is left of it: the name is free, the list is empty.
        daemon.docker(["ps", "-aq"]).output().code(0).stdout_is("");
    }
    daemon
        .docker([
            "run",
            "--rm",
            "--network",
            "none",
            "--name",
            "refused",
            IMAGE,
            "true",
        ])
        .output()
        .code(0);
    daemon.finish();
}

#[test]
fn requests_are_bounded_and_checked() {
    need!(Engine::chosen().ready());
    let daemon = Daemon::start();
    let send = |head: &str, body: &[u8]| {
        let mut stream = UnixStream::connect(&daemon.socket).expect("connect");
        stream
            .set_read_timeout(Some(Duration::from_secs(10)))
            .expect("timeout");
        let _ = stream.write_all(head.as_bytes());
        let _ = stream.write_all(body);
        let mut answer = vec![0; 4096];
        let n = std::io::Read::read(&mut stream, &mut answer).unwrap_or(0);
        String::from_utf8_lossy(&answer[..n]).into_owned()
    };
    let json = b"{\"Image\":\"tb\"";
    let answer = send(
        &format!(
            "POST /containers/create HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
            json.len()
        ),
        json,
    );
    assert!(
        answer.starts_with("HTTP/1.1 400") || daemon.engine == Engine::Dockerd,
        "{answer}"
    );
    let answer = send(
        "POST /containers/create HTTP/1.1\r\nHost: x\r\nContent-Type: text/plain\r\nContent-Length: 2\r\nConnection: close\r\n\r\n",
        b"{}",
    );
    assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
    let answer = send(
        "GET /containers/json?filters=nojson HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        b"",
    );
    assert!(
        answer.starts_with("HTTP/1.1 400") || daemon.engine == Engine::Dockerd,
        "{answer}"
    );
    if daemon.engine == Engine::Taffrail {
        let answer = send(
            &format!("GET /{} HTTP/1.1\r\nHost: x\r\n\r\n", "a".repeat(1 << 20)),
            b"",
        );
        assert!(
            answer.is_empty() || answer.starts_with("HTTP/1.1 4"),
            "{answer}"
        );
        let answer = send(
            &format!(
                "GET /_ping HTTP/1.1\r\nHost: x\r\nX: {}\r\n\r\n",
                "a".repeat(2 << 20)
            ),
            b"",
        );
        assert!(
            answer.is_empty() || answer.starts_with("HTTP/1.1 4"),
            "{answer}"
        );
        // A body that never ends being sent is not read without a bound.
        let answer = send(
            "POST /containers/create HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 999999999999\r\n\r\n",
            &vec![b' '; 64 << 20],
        );
        assert!(
            answer.is_empty() || answer.starts_with("HTTP/1.1 4"),
            "{answer}"
        );
        send("complete nonsense\r\n\r\n", b"\0\xff");
    }
    assert_eq!(daemon.api("GET", "/_ping", None).status, 200);
    daemon.finish();
}

#[test]
fn a_thousand_half_open_connections_do_not_stop_it() {
    need!(ready());
    let daemon = Daemon::start();
    let mut held = Vec::new();
    for number in 0..1000 {
        match UnixStream::connect(&daemon.socket) {
            Ok(mut stream) => {
                // Half of them say nothing, half begin a request.
                if number % 2 == 0 {
                    let _ = stream.write_all(b"GET /_ping HTTP/1.1\r\nHo");
                }
                held.push(stream);
            }
            Err(error) => panic!("connection {number}: {error}"),
        }
    }
    daemon
        .docker(["run", "--rm", "--network", "none", IMAGE, "echo", "served"])
        .deadline(30)
        .output()
        .code(0)
        .stdout_is("served\n");
    drop(held);
    assert_eq!(daemon.api("GET", "/_ping", None).status, 200);
    daemon.finish();
}

#[test]
fn an_unwritable_data_root_is_named() {
    need!(ready());
    let mut daemon = Daemon::idle(Engine::Taffrail, Options::default());
    // A file where a folder should be holds for root, too.
    std::fs::remove_dir(&daemon.data_root).expect("remove");
    std::fs::write(&daemon.data_root, "a file").expect("file");
    let output = Run::new(daemon.command()).output();
    assert_ne!(output.code, 0, "{output}");
    output.stderr_has(&daemon.data_root.display().to_string());
    daemon.data_root = daemon.root.join("data/below");
    let output = Run::new(daemon.command()).output();
    assert_ne!(output.code, 0, "{output}");
    assert!(
        !daemon.socket.exists(),
        "a socket of a daemon that did not start"
    );
    daemon.abandon();
}

#[test]
fn one_root_has_one_daemon() {
    need!(ready());
    let daemon = Daemon::start();
    let id = daemon.workload(&[], &["sleep"]);
    let mut second = daemon.command();
    second.args([
        "--host",
        &format!("unix://{}", daemon.root.join("second.sock").display()),
    ]);
    let output = Run::new(second).deadline(20).output();
    assert_ne!(output.code, 0, "{output}");
    assert!(!output.err().is_empty());
    assert_eq!(daemon.docker(["ps", "-q", "--no-trunc"]).output().ok(), id);
    daemon.finish();
}

#[test]
fn stale_files_do_not_block_a_start() {
    need!(ready());
    let daemon = Daemon::idle(Engine::Taffrail, Options::default());
    // A pid file of a process that lives but is no daemon, and a socket that nobody listens on.
    std::fs::write(daemon.root.join("pid"), format!("{}", std::process::id())).expect("pid");
    drop(std::os::unix::net::UnixListener::bind(&daemon.socket).expect("bind"));
    daemon.launch();
    assert_eq!(daemon.stop(), 0);
    std::fs::write(daemon.root.join("pid"), "no number").expect("pid");
    daemon.launch();
    daemon.import(IMAGE);
    daemon
        .docker(["run", "--rm", "--network", "none", IMAGE, "true"])
        .output()
        .code(0);
    daemon.finish();
}

#[test]
fn a_damaged_state_file_costs_one_container() {
    need!(ready());
    let daemon = Daemon::start();
    let good = daemon.run_detached(&["--name", "good", IMAGE, "echo", "kept"]);
    let bad = daemon.run_detached(&["--name", "bad", IMAGE, "echo", "damaged"]);
    daemon.wait_exit(&good, 20);
    daemon.wait_exit(&bad, 20);
    assert_eq!(daemon.stop(), 0);
    let folder = daemon.data_root.join("containers").join(&bad);
    let mut damaged = 0;
    for entry in std::fs::read_dir(&folder)
        .expect("the container's folder")
        .flatten()
    {
        if entry.path().extension().is_some_and(|e| e == "json") {
            std::fs::write(entry.path(), b"{\"torn\": ").expect("damage");
            damaged += 1;
        }
    }
    assert!(damaged > 0, "no state file below {}", folder.display());
    daemon.launch();
    daemon
        .docker(["logs", "good"])
        .output()
        .code(0)
        .stdout_is("kept\n");
    assert!(
        daemon.log().contains(&bad[..12]),
        "the damage is not named in the log"
    );
    assert!(
        daemon
            .data_root
            .join(format!("containers/{bad}/{bad}-json.log"))
            .exists(),
        "its log was taken away"
    );
    daemon
        .docker(["run", "--rm", "--network", "none", IMAGE, "true"])
        .output()
        .code(0);
    // `finish` wants an empty folder at the end.
    std::fs::remove_dir_all(&folder).expect("remove");
    daemon.finish();
}

#[test]
fn an_occupied_socket_is_not_taken() {
    need!(ready());
    let daemon = Daemon::start();
    let other = Daemon::idle(Engine::Taffrail, Options::default());
    let mut command = other.command();
    // The last --host wins nothing: both are asked for, and one is in use.
    command.args(["--host", &format!("unix://{}", daemon.socket.display())]);
    let output = Run::new(command).deadline(20).output();
    assert_ne!(output.code, 0, "{output}");
    assert_eq!(daemon.api("GET", "/_ping", None).status, 200);
    other.abandon();
    daemon.finish();
}
