//! SIGKILL of the daemon, again and again, under containers that write.

use std::time::Duration;

use crate::harness::daemon::{read_tally, taffrail_only, wait_tally};
use crate::harness::image::IMAGE;
use crate::harness::{Daemon, logs, sized, skip};
use crate::need;

#[test]
fn no_line_is_lost_however_often_the_daemon_dies() {
    need!(taffrail_only());
    need!(skip::program("docker"));
    let daemon = Daemon::start();
    let kills = sized("TAFFRAIL_TEST_DAEMON_KILLS", 50);
    let folder = daemon.root.join("tally");
    std::fs::create_dir(&folder).expect("folder");
    let bind = format!("{}:/tally", folder.display());
    let rotated = [
        "-v",
        &bind,
        "--log-opt",
        "max-size=2m",
        "--log-opt",
        "max-file=1000",
    ];
    let pipe = daemon.workload(
        &rotated,
        &[
            "lines",
            "lines=0",
            "rate=20000",
            "tally=/tally/pipe",
            "exit=7",
        ],
    );
    let mut terminal = vec!["-t"];
    terminal.extend(rotated);
    let terminal = daemon.workload(
        &terminal,
        &[
            "lines",
            "lines=0",
            "rate=2000",
            "tally=/tally/tty",
            "exit=8",
        ],
    );
    // One that ends while the daemon is away, one that is gone before it comes back.
    let follower = logs::reconnecting(&daemon.socket, &pipe);
    wait_tally(&folder.join("pipe"), 1000, Duration::from_secs(20));
    for round in 0..kills {
        daemon.kill();
        let before = read_tally(&folder.join("pipe")).expect("tally").0;
        // The application goes on without a daemon.
        if round % 10 == 0 {
            wait_tally(&folder.join("pipe"), before + 2000, Duration::from_secs(20));
        }
        daemon.launch();
        let running = daemon.docker(["ps", "-q", "--no-trunc"]).output().ok();
        assert_eq!(running.lines().count(), 2, "round {round}: {running}");
        if round % 10 == 9 {
            let at = read_tally(&folder.join("pipe")).expect("tally").0;
            crate::harness::wait_for("the newest line", Duration::from_secs(10), || {
                let shown = daemon.docker(["logs", "--tail", "1", &pipe]).output().ok();
                let number: u64 = shown.get(2..12)?.parse().ok()?;
                (number + 1 >= at).then_some(())
            });
        }
    }
    assert!(
        follower.cuts.load(std::sync::atomic::Ordering::Relaxed) > 0,
        "the follower was never cut"
    );
    // The end of one falls into the daemon's absence.
    daemon
        .docker(["kill", "-s", "TERM", &terminal])
        .output()
        .code(0);
    assert_eq!(daemon.wait_exit(&terminal, 20), 8);
    let application = daemon.container_pid(&pipe);
    daemon.kill();
    // SAFETY: the pid is the container's own, which runs until it is told to end.
    unsafe {
        libc::kill(application, libc::SIGTERM);
    }
    crate::harness::wait_for("the application ends", Duration::from_secs(20), || {
        crate::harness::procs::Process::read(application)
            .is_none_or(|p| !p.running())
            .then_some(())
    });
    daemon.launch();
    assert_eq!(daemon.wait_exit(&pipe, 20), 7);
    let written = read_tally(&folder.join("pipe")).expect("tally").0;
    assert_eq!(follower.finish(), written, "the follower's last stream");
    logs::cli(&daemon, &pipe, &[], 60).assert_complete(written, 0, "docker logs");
    logs::json_files(&daemon, &pipe).assert_complete(written, 0, "the files");
    let written = read_tally(&folder.join("tty")).expect("tally").0;
    logs::cli(&daemon, &terminal, &[], 60).assert_complete(
        written,
        0,
        "docker logs of the terminal",
    );
    daemon.finish();
}

#[test]
fn exit_codes_are_known_after_the_daemons_death() {
    need!(taffrail_only());
    need!(skip::program("docker"));
    let daemon = Daemon::start();
    let mut ids = Vec::new();
    for code in [0, 1, 42, 255] {
        ids.push((
            daemon.workload(&[], &["trap", &format!("exit={code}")]),
            code,
        ));
    }
    let removed = daemon
        .docker([
            "run",
            "-d",
            "--rm",
            "--network",
            "none",
            IMAGE,
            "workload",
            "trap",
        ])
        .output()
        .ok();
    let mut pids: Vec<i32> = ids.iter().map(|(id, _)| daemon.container_pid(id)).collect();
    pids.push(daemon.container_pid(&removed));
    for (id, _) in &ids {
        crate::harness::wait_for("ready", Duration::from_secs(20), || {
            (daemon.docker(["logs", id]).output().out() == "ready\n").then_some(())
        });
    }
    daemon.kill();
    for pid in &pids {
        // SAFETY: these are the pids of containers that sleep until they are told to end.
        unsafe {
            libc::kill(*pid, libc::SIGTERM);
        }
    }
    for pid in &pids {
        crate::harness::wait_for("the end", Duration::from_secs(20), || {
            crate::harness::procs::Process::read(*pid)
                .is_none_or(|p| !p.running())
                .then_some(())
        });
    }
    daemon.launch();
    for (id, code) in &ids {
        assert_eq!(daemon.wait_exit(id, 20), *code);
        daemon
            .docker(["logs", id])
            .output()
            .code(0)
            .stdout_is("ready\ngot TERM\n");
        let state = &daemon.inspect(id)["State"];
        assert_eq!(state["Status"], "exited", "{state}");
    }
    crate::harness::wait_for(
        "--rm after the daemon's death",
        Duration::from_secs(20),
        || {
            (daemon
                .api("GET", &format!("/containers/{removed}/json"), None)
                .status
                == 404)
                .then_some(())
        },
    );
    daemon.finish();
}

/// The moments between the runtime's `start` and the daemon's own note of it.
#[test]
fn a_start_that_the_daemon_did_not_live_to_write_down() {
    use std::os::unix::fs::PermissionsExt;

    need!(taffrail_only());
    need!(skip::program("docker"));
    let folder = tempfile::tempdir().expect("folder");
    let at = |name: &str| folder.path().join(name);
    // A runtime that hangs before or after it has started a container, if a file says so.
    let script = at("slow");
    let text = format!(
        "#!/bin/sh\nhang() {{ [ -e {0}/$1 ] || return 0; echo $$ >{0}/hangs.part; mv {0}/hangs.part {0}/hangs; exec sleep 60; }}\n\
         case \" $* \" in *' start '*) hang before; {1} \"$@\" || exit; hang after; exit 0;; esac\nexec {1} \"$@\"\n",
        folder.path().display(),
        crate::harness::binary("taffrail-runtime").display(),
    );
    std::fs::write(&script, text).expect("script");
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).expect("mode");
    let config = serde_json::json!({"runtimes": {"slow": {"path": script}}});
    let daemon = Daemon::with(crate::harness::daemon::Options {
        config: Some(config.to_string()),
        ..Default::default()
    });
    let create = |words: &[&str]| {
        let mut args = vec!["create", "--runtime", "slow", "--network", "none", IMAGE];
        args.extend(words);
        daemon.docker(args).output().ok().trim().to_owned()
    };
    // The start is cut off where the runtime hangs.
    let cut = |id: &str, point: &str| {
        std::fs::write(at(point), "").expect("file");
        let mut client = daemon.docker(["start", id]).spawn();
        let pid: i32 =
            crate::harness::wait_for("the runtime hangs", Duration::from_secs(20), || {
                std::fs::read_to_string(at("hangs"))
                    .ok()?
                    .trim()
                    .parse()
                    .ok()
            });
        daemon.kill();
        client.wait().expect("the client ends");
        // SAFETY: the script's own pid, which sleeps.
        unsafe {
            libc::kill(pid, libc::SIGKILL);
        }
        std::fs::remove_file(at(point)).expect("file");
        std::fs::remove_file(at("hangs")).expect("file");
    };

    let lives = create(&["workload", "trap", "exit=7"]);
    cut(&lives, "after");
    daemon.launch();
    let state = &daemon.inspect(&lives)["State"];
    assert_eq!(state["Status"], "running", "{state}");
    assert_ne!(state["StartedAt"], "0001-01-01T00:00:00Z", "{state}");
    crate::harness::wait_for("ready", Duration::from_secs(20), || {
        (daemon.docker(["logs", &lives]).output().out() == "ready\n").then_some(())
    });
    daemon.docker(["stop", &lives]).output().code(0);
    assert_eq!(daemon.wait_exit(&lives, 20), 7);
    daemon
        .docker(["logs", &lives])
        .output()
        .code(0)
        .stdout_is("ready\ngot TERM\n");

    let ends = create(&["sh", "-c", "echo said; exit 5"]);
    cut(&ends, "after");
    daemon.launch();
    assert_eq!(daemon.wait_exit(&ends, 20), 5);
    let logs = daemon.docker(["logs", &ends]).output();
    logs.code(0).stdout_is("said\n");
    // It is known to have ended once, by the next daemon, too.
    daemon.kill();
    daemon.launch();
    let state = &daemon.inspect(&ends)["State"];
    assert_eq!(
        (&state["Status"], &state["ExitCode"]),
        (&"exited".into(), &5.into())
    );

    let waits = create(&["sh", "-c", "echo said; exit 6"]);
    cut(&waits, "before");
    daemon.launch();
    let state = &daemon.inspect(&waits)["State"];
    assert_eq!(state["Status"], "created", "{state}");
    daemon
        .docker(["start", "-a", &waits])
        .output()
        .code(6)
        .stdout_is("said\n");
    daemon.finish();
}
