//! Processes that the kernel kills for want of memory: told of while the container lives on, and
//! after a time without a daemon.

use std::time::Duration;

use crate::harness::daemon::{Daemon, taffrail_only};
use crate::harness::image::IMAGE;
use crate::harness::{Engine, skip, wait_for};
use crate::lifecycle::actions;
use crate::need;

fn ready() -> Result<(), String> {
    Engine::chosen().ready()?;
    skip::program("docker")
}

const LIMITED: [&str; 4] = ["--memory", "16m", "--memory-swap", "16m"];

#[test]
fn a_child_that_is_killed_is_told_of_at_once() {
    need!(ready());
    let daemon = Daemon::start();
    let mut args = LIMITED.to_vec();
    args.extend([
        IMAGE,
        "sh",
        "-c",
        "tail /dev/zero; echo goes on; exec sleep 1000",
    ]);
    let id = daemon.run_detached(&args);
    wait_for("the child's end", Duration::from_secs(60), || {
        daemon
            .docker(["logs", &id])
            .output()
            .out()
            .contains("goes on")
            .then_some(())
    });
    wait_for("the event", Duration::from_secs(20), || {
        actions(&daemon, &id).contains("oom").then_some(())
    });
    let state = &daemon.inspect(&id)["State"];
    // Docker 20.10 says so at the end only.
    assert!(
        state["OOMKilled"] == true || daemon.engine == Engine::Dockerd,
        "{state}"
    );
    assert_eq!(state["Running"], true);
    daemon.docker(["kill", &id]).output().code(0);
    let told = actions(&daemon, &id);
    assert!(told.starts_with("create start oom"), "{told}");
    assert!(told.ends_with("kill die"), "{told}");
    daemon.finish();
}

#[test]
fn the_end_for_want_of_memory_is_told_in_order() {
    need!(ready());
    let daemon = Daemon::start();
    let mut args = LIMITED.to_vec();
    args.extend([IMAGE, "tail", "/dev/zero"]);
    let id = daemon.run_detached(&args);
    assert_eq!(daemon.wait_exit(&id, 60), 137);
    assert_eq!(daemon.inspect(&id)["State"]["OOMKilled"], true);
    assert_eq!(actions(&daemon, &id), "create start oom die");
    daemon.finish();
}

/// Control groups version 2 have no such switch.
#[test]
fn a_container_that_waits_for_memory_is_told_of() {
    need!(ready());
    if std::path::Path::new("/sys/fs/cgroup/cgroup.controllers").exists() {
        skip::skip("control groups version 2: nothing can wait for memory");
        return;
    }
    let daemon = Daemon::start();
    let mut args = LIMITED.to_vec();
    // By touching memory: a system call that needs some would fail instead.
    let grow = "x=a; while true; do x=$x$x$x$x; done";
    args.extend(["--oom-kill-disable", IMAGE, "sh", "-c", grow]);
    let id = daemon.run_detached(&args);
    wait_for("the event", Duration::from_secs(60), || {
        actions(&daemon, &id).contains("oom").then_some(())
    });
    assert_eq!(daemon.inspect(&id)["State"]["Running"], true);
    daemon.docker(["kill", &id]).output().code(0);
    daemon.finish();
}

#[test]
fn kills_without_a_daemon_are_told_by_the_next_one() {
    need!(taffrail_only());
    need!(skip::program("docker"));
    let daemon = Daemon::start();
    let folder = daemon.root.join("go");
    std::fs::create_dir(&folder).expect("folder");
    let bind = format!("{}:/go", folder.display());
    let mut ids = Vec::new();
    for after in ["exec sleep 1000", "exit 4"] {
        let script = format!(
            "until [ -e /go/now ]; do sleep 0.05; done; tail /dev/zero; echo x > /go/$1; {after}"
        );
        let mut args = LIMITED.to_vec();
        args.extend(["-v", &bind, IMAGE, "sh", "-c", &script, "sh", &after[5..6]]);
        ids.push(daemon.run_detached(&args));
    }
    daemon.kill();
    std::fs::write(folder.join("now"), "").expect("the signal");
    for name in ["s", "4"] {
        wait_for("the child's end", Duration::from_secs(60), || {
            folder.join(name).exists().then_some(())
        });
    }
    daemon.launch();
    for (id, running) in ids.iter().zip([true, false]) {
        wait_for("the state", Duration::from_secs(20), || {
            let state = daemon.inspect(id)["State"].clone();
            (state["OOMKilled"] == true && state["Running"] == running).then_some(())
        });
    }
    assert_eq!(actions(&daemon, &ids[0]), "oom");
    assert_eq!(actions(&daemon, &ids[1]), "oom die");
    assert_eq!(daemon.inspect(&ids[1])["State"]["ExitCode"], 4);
    // It was told of: no third daemon says it again.
    daemon.kill();
    daemon.launch();
    assert_eq!(actions(&daemon, &ids[0]), "");
    assert_eq!(daemon.inspect(&ids[0])["State"]["OOMKilled"], true);
    daemon.finish();
}
