//! Our own command line: the same flags, the same columns, over the same API.

use crate::harness::image::IMAGE;
use crate::harness::{Daemon, daemon::taffrail_only, image};
use crate::need;

#[test]
fn run_shows_both_streams_and_gives_the_exit_code() {
    need!(taffrail_only());
    let daemon = Daemon::start();
    daemon
        .taffrail([
            "run",
            "--rm",
            "--network",
            "none",
            IMAGE,
            "sh",
            "-c",
            "echo out; echo err >&2; exit 7",
        ])
        .output()
        .code(7)
        .stdout_is("out\n")
        .stderr_is("err\n");
    daemon
        .taffrail(["run", "--rm", "--network", "none", IMAGE, "/nosuch"])
        .output()
        .code(127)
        .stderr_has("no such file");
    daemon
        .taffrail(["run", "--rm", "-i", "--network", "none", IMAGE, "cat"])
        .stdin("piped\n")
        .output()
        .code(0)
        .stdout_is("piped\n");
    daemon
        .taffrail(["run", "--nosuchflag", IMAGE])
        .output()
        .code(125);
    daemon.finish();
}

#[test]
fn life_of_a_container() {
    need!(taffrail_only());
    let daemon = Daemon::start();
    let id = daemon
        .taffrail(["run", "-d", "--name", "web", "--network", "none", IMAGE])
        .args([
            "sh",
            "-c",
            "echo one; echo two >&2; sleep 0.2; exec workload trap exit=3",
        ])
        .output()
        .ok();
    assert_eq!(id.len(), 64, "{id}");
    let ps = daemon.taffrail(["ps"]).output();
    ps.code(0)
        .stdout_has("CONTAINER ID")
        .stdout_has(&id[..12])
        .stdout_has("web");
    assert!(
        !ps.out().contains('\x1b'),
        "colours only on terminals: {ps}"
    );
    let json = daemon.taffrail(["ps", "--format", "json"]).output().ok();
    let row: serde_json::Value =
        serde_json::from_str(json.lines().next().expect("a row")).expect("json");
    assert_eq!(row["Names"], "web");
    crate::harness::wait_for("ready", std::time::Duration::from_secs(20), || {
        daemon
            .taffrail(["logs", "web"])
            .output()
            .out()
            .contains("ready")
            .then_some(())
    });
    daemon
        .taffrail(["logs", "web"])
        .output()
        .code(0)
        .stdout_is("one\nready\n")
        .stderr_is("two\n");
    daemon
        .taffrail(["logs", "--tail", "1", "web"])
        .output()
        .code(0)
        .stdout_is("ready\n");
    daemon
        .taffrail(["stop", "web"])
        .output()
        .code(0)
        .stdout_is("web\n");
    assert_eq!(daemon.taffrail(["wait", "web"]).output().ok(), "3");
    let inspect = daemon.taffrail(["inspect", "web"]).output().ok();
    let inspect: serde_json::Value = serde_json::from_str(&inspect).expect("json");
    assert_eq!(inspect[0]["State"]["ExitCode"], 3);
    daemon.taffrail(["start", "web"]).output().code(0);
    daemon.taffrail(["kill", "web"]).output().code(0);
    assert_eq!(daemon.wait_exit(&id, 20), 137);
    daemon
        .taffrail(["rm", "web"])
        .output()
        .code(0)
        .stdout_is("web\n");
    daemon
        .taffrail(["rm", "web"])
        .output()
        .code(1)
        .stderr_has("No such container: web");
    daemon.finish();
}

#[test]
fn images_events_info_version() {
    need!(taffrail_only());
    let daemon = Daemon::start();
    let id = daemon
        .taffrail(["import", "-", "own:1"])
        .stdin(image::tar())
        .output()
        .ok();
    daemon.taffrail(["tag", "own:1", "own:2"]).output().code(0);
    daemon
        .taffrail(["images"])
        .output()
        .code(0)
        .stdout_has("REPOSITORY")
        .stdout_has("own");
    daemon
        .taffrail(["rmi", "own:1", "own:2"])
        .output()
        .code(0)
        .stdout_has(&id);
    daemon
        .taffrail(["version"])
        .output()
        .code(0)
        .stdout_has("Server");
    daemon
        .taffrail(["info"])
        .output()
        .code(0)
        .stdout_has("json-file");
    daemon
        .taffrail([
            "run",
            "--rm",
            "--name",
            "seen",
            "--network",
            "none",
            IMAGE,
            "true",
        ])
        .output()
        .code(0);
    let events = daemon
        .taffrail([
            "events",
            "--since",
            "10m",
            "--until",
            &crate::harness::unix_now(),
        ])
        .output();
    for action in ["create", "start", "die", "destroy"] {
        events.stdout_has(action);
    }
    daemon.finish();
}

#[test]
fn the_rest_of_a_life() {
    need!(taffrail_only());
    let daemon = Daemon::start();
    let run = |name: &str| {
        let args = ["run", "-d", "--name", name, "--network", "none"];
        let id = daemon.taffrail(args).args([IMAGE, "workload", "sleep"]);
        id.output().ok()
    };
    let id = run("web");
    run("db");
    let both = |verb: &str| {
        daemon
            .taffrail([verb, "web", "db"])
            .output()
            .code(0)
            .stdout_is("web\ndb\n");
    };
    both("pause");
    daemon
        .taffrail([
            "ps",
            "-f",
            "status=paused",
            "--format",
            "{{.Names}} {{.Status}}",
        ])
        .output()
        .code(0)
        .stdout_has("web Up ")
        .stdout_has(" (Paused)");
    daemon
        .taffrail(["pause", "web"])
        .output()
        .code(1)
        .stderr_has("is already paused");
    both("unpause");
    daemon
        .taffrail(["restart", "-t", "0", "web", "db"])
        .output()
        .code(0)
        .stdout_is("web\ndb\n");
    daemon
        .taffrail(["rename", "web", "front"])
        .output()
        .code(0)
        .stdout_is("");
    daemon
        .taffrail(["rename", "front", "db"])
        .output()
        .code(1)
        .stderr_has("Error when allocating new name: Conflict.");
    daemon
        .taffrail(["rename", "front"])
        .output()
        .code(1)
        .stderr_has("'taffrail rename' requires 2 arguments");
    daemon
        .taffrail([
            "update",
            "-m",
            "64m",
            "--memory-swap",
            "-1",
            "--restart",
            "always",
            "front",
            "nosuch",
        ])
        .output()
        .code(1)
        .stdout_has("front\n")
        .stderr_has("No such container: nosuch");
    let host = &daemon.inspect(&id)["HostConfig"];
    assert_eq!(host["Memory"], 64 << 20);
    assert_eq!(host["MemorySwap"], -1);
    assert_eq!(host["RestartPolicy"]["Name"], "always");
    daemon
        .taffrail(["update", "front"])
        .output()
        .code(1)
        .stderr_is("you must provide one or more flags when using this command\n");
    let top = daemon.taffrail(["top", "front", "-o", "pid,comm"]).output();
    let pid = daemon.container_pid(&id);
    top.code(0)
        .stdout_is(&format!("PID                 COMMAND\n{pid:<20}workload\n"));
    daemon.taffrail(["stop", "-t", "0", "db"]).output().code(0);
    daemon
        .taffrail(["container", "prune"])
        .stdin("n\n")
        .output()
        .code(1)
        .stdout_has("Are you sure you want to continue? [y/N]")
        .stderr_has("container prune has been cancelled");
    let pruned = daemon
        .taffrail(["container", "prune"])
        .stdin("y\n")
        .output();
    pruned
        .code(0)
        .stdout_has("Deleted Containers:")
        .stdout_has("Total reclaimed space: 0B");
    daemon
        .taffrail(["ps", "-a", "--format", "{{.Names}}"])
        .output()
        .stdout_is("front\n");
    daemon.finish();
}
