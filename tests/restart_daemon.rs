//! The daemon stopped and started under running containers, and side by side with another.

use std::time::Duration;

use crate::harness::daemon::{Options, read_tally, taffrail_only, wait_tally};
use crate::harness::image::IMAGE;
use crate::harness::{Daemon, logs, skip};
use crate::need;

fn ready() -> Result<(), String> {
    taffrail_only()?;
    skip::program("docker")
}

#[test]
fn containers_go_on_while_the_daemon_is_away() {
    need!(ready());
    let daemon = Daemon::start();
    let folder = daemon.root.join("tally");
    std::fs::create_dir(&folder).expect("folder");
    let bind = format!("{}:/tally", folder.display());
    let id = daemon.workload(
        &["-v", &bind, "--name", "on"],
        &[
            "lines",
            "lines=0",
            "rate=20000",
            "stream=both",
            "tally=/tally/t",
            "exit=9",
        ],
    );
    let ended = daemon.workload(&[], &["trap", "exit=11"]);
    let ended_pid = daemon.container_pid(&ended);
    let pid = daemon.container_pid(&id);
    for round in 0..5 {
        wait_tally(&folder.join("t"), 1, Duration::from_secs(20));
        assert_eq!(daemon.stop(), 0);
        assert!(
            !daemon.socket.exists(),
            "the socket is left after a clean stop"
        );
        let (out, err) = read_tally(&folder.join("t")).expect("tally");
        wait_tally(&folder.join("t"), out + err + 5000, Duration::from_secs(20));
        if round == 2 {
            // SAFETY: the pid is that of a container that waits for this signal.
            unsafe {
                libc::kill(ended_pid, libc::SIGTERM);
            }
        }
        daemon.launch();
        assert_eq!(daemon.container_pid(&id), pid);
    }
    assert_eq!(daemon.wait_exit(&ended, 20), 11);
    let names = daemon
        .docker(["ps", "--format", "{{.Names}} {{.Status}}"])
        .output()
        .ok();
    assert!(names.starts_with("on Up "), "{names}");
    let follower = logs::follow(&daemon, &id, &["-f"], ('o', 'e'));
    daemon.docker(["kill", "-s", "TERM", &id]).output().code(0);
    assert_eq!(daemon.wait_exit(&id, 20), 9);
    let (out, err) = read_tally(&folder.join("t")).expect("tally");
    follower.join(60).assert_complete(out, err, "logs -f");
    logs::json_files(&daemon, &id).assert_complete(out, err, "the file");
    daemon.finish();
}

#[test]
fn stdin_and_attach_work_again_after_a_restart() {
    need!(ready());
    let daemon = Daemon::start();
    let id = daemon.run_detached(&["-i", IMAGE, "sh", "-c", "read line; echo got $line; exit 6"]);
    assert_eq!(daemon.stop(), 0);
    daemon.launch();
    let mut attached = daemon.docker(["attach", &id]).spawn();
    let mut stdin = attached.stdin.take().expect("piped");
    std::io::Write::write_all(&mut stdin, b"later\n").expect("write");
    let code = crate::harness::command::wait(&mut attached, Duration::from_secs(20));
    assert_eq!(code, Some(6));
    daemon
        .docker(["logs", &id])
        .output()
        .code(0)
        .stdout_is("got later\n");
    daemon.finish();
}

#[test]
fn without_live_restore_a_stop_ends_them() {
    need!(ready());
    let daemon = Daemon::with(Options {
        config: Some(r#"{"live-restore": false, "shutdown-timeout": 5}"#.to_owned()),
        ..Options::default()
    });
    let id = daemon.workload(&[], &["trap", "exit=3"]);
    let pid = daemon.container_pid(&id);
    crate::harness::wait_for("ready", Duration::from_secs(20), || {
        (daemon.docker(["logs", &id]).output().out() == "ready\n").then_some(())
    });
    assert_eq!(daemon.stop(), 0);
    assert!(
        crate::harness::procs::Process::read(pid).is_none_or(|p| !p.running()),
        "it still runs"
    );
    daemon.launch();
    assert_eq!(daemon.inspect(&id)["State"]["ExitCode"], 3);
    daemon
        .docker(["logs", &id])
        .output()
        .code(0)
        .stdout_is("ready\ngot TERM\n");
    daemon.finish();
}

#[test]
fn defaults_come_from_daemon_json() {
    need!(ready());
    let daemon = Daemon::with(Options {
        config: Some(r#"{"log-opts": {"max-size": "1m", "tag": "{{.Name}}"}, "default-ulimits": {"nofile": {"Name": "nofile", "Soft": 77, "Hard": 99}}}"#.to_owned()),
        ..Options::default()
    });
    let id = daemon.run_detached(&[
        "--name",
        "def",
        "--log-opt",
        "max-size=2m",
        IMAGE,
        "sh",
        "-c",
        "ulimit -n",
    ]);
    daemon.wait_exit(&id, 20);
    assert_eq!(
        daemon.inspect(&id)["HostConfig"]["LogConfig"],
        serde_json::json!({"Type": "json-file", "Config": {"max-size": "2m", "tag": "{{.Name}}"}})
    );
    daemon
        .docker(["logs", "--details", &id])
        .output()
        .code(0)
        .stdout_is("tag=def 77\n");
    daemon.finish();
}

#[test]
fn two_daemons_live_side_by_side() {
    need!(ready());
    let one = Daemon::start();
    let two = Daemon::start();
    let a = one.run_detached(&["--name", "same", IMAGE, "workload", "sleep"]);
    let b = two.run_detached(&["--name", "same", IMAGE, "workload", "sleep"]);
    assert_eq!(one.docker(["ps", "-q", "--no-trunc"]).output().ok(), a);
    assert_eq!(two.docker(["ps", "-q", "--no-trunc"]).output().ok(), b);
    one.finish();
    assert_eq!(two.docker(["ps", "-q", "--no-trunc"]).output().ok(), b);
    two.finish();
}
