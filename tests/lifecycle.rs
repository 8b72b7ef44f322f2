//! pause, unpause, restart, rename, update, top, prune: what `docker` says and what happens.

use std::time::Duration;

use serde_json::json;

use crate::harness::daemon::Daemon;
use crate::harness::image::IMAGE;
use crate::harness::{Engine, http, skip, unix_now, wait_for};
use crate::need;

fn ready() -> Result<(), String> {
    Engine::chosen().ready()?;
    skip::program("docker")
}

/// All events of a container so far, oldest first.
pub(crate) fn events(daemon: &Daemon, id: &str) -> Vec<serde_json::Value> {
    let path = format!(
        "/events?since=1&until={}&filters=%7B%22container%22%3A%5B%22{id}%22%5D%2C%22type%22%3A%5B%22container%22%5D%7D",
        unix_now()
    );
    let answer = http::request(&daemon.socket, "GET", &path, None, Duration::from_secs(20))
        .expect("events until now");
    answer
        .text()
        .lines()
        .filter(|line| !line.trim().is_empty())
        .map(|line| serde_json::from_str(line).expect("an event"))
        .collect()
}

/// What happened to a container so far, in one line.
pub(crate) fn actions(daemon: &Daemon, id: &str) -> String {
    let actions: Vec<String> = events(daemon, id)
        .iter()
        .map(|event| event["Action"].as_str().expect("Action").to_owned())
        .collect();
    actions.join(" ")
}

fn wait_log(daemon: &Daemon, id: &str, text: &str) {
    wait_for("the log", Duration::from_secs(20), || {
        (daemon.docker(["logs", id]).output().out() == text).then_some(())
    });
}

#[test]
fn a_paused_container_stands_still_and_can_be_killed() {
    need!(ready());
    let daemon = Daemon::start();
    let id = daemon.run_detached(&["--name", "still", IMAGE, "workload", "trap", "exit=7"]);
    wait_log(&daemon, &id, "ready\n");
    daemon
        .docker(["pause", "still"])
        .output()
        .code(0)
        .stdout_is("still\n");
    let state = &daemon.inspect(&id)["State"];
    assert_eq!(state["Status"], "paused");
    assert_eq!(state["Running"], true);
    assert_eq!(state["Paused"], true);
    let status = daemon
        .docker(["ps", "--filter", "status=paused", "--format", "{{.Status}}"])
        .output()
        .ok();
    assert!(
        status.starts_with("Up ") && status.ends_with(" (Paused)"),
        "{status}"
    );
    assert_eq!(daemon.get("/info")["ContainersPaused"], 1);
    // What does not need the application works.
    daemon
        .docker(["logs", "still"])
        .output()
        .stdout_is("ready\n");
    daemon
        .docker(["top", "still", "-o", "pid,args"])
        .output()
        .code(0)
        .stdout_has("workload trap");
    for (args, text) in [
        (["pause", "still"], "is already paused"),
        (["start", "still"], "cannot start a paused container"),
        (["rm", "still"], "paused"),
        (["attach", "still"], "cannot attach to a paused container"),
    ] {
        daemon.docker(args).output().code(1).stderr_has(text);
    }
    let attach = daemon.api("POST", "/containers/still/attach?stream=1&stdout=1", None);
    assert_eq!(attach.status, 409, "{}", attach.text());
    assert!(
        attach
            .text()
            .contains("container still is paused, unpause the container before attach"),
        "{}",
        attach.text()
    );
    // A signal wakes it, else it could not act on it.
    daemon
        .docker(["kill", "-s", "TERM", "still"])
        .output()
        .code(0);
    assert_eq!(daemon.wait_exit(&id, 20), 7);
    daemon
        .docker(["logs", "still"])
        .output()
        .stdout_is("ready\ngot TERM\n");
    let told = actions(&daemon, &id);
    assert!(
        told.starts_with("create start pause top kill") && told.ends_with("die"),
        "{told}"
    );
    daemon
        .docker(["pause", "still"])
        .output()
        .code(1)
        .stderr_has(&format!("{id} is not running"));
    daemon
        .docker(["unpause", "still"])
        .output()
        .code(1)
        .stderr_has(&format!("{id} is not paused"));
    daemon.finish();
}

#[test]
fn a_container_goes_on_after_unpause() {
    need!(ready());
    let daemon = Daemon::start();
    let id = daemon.run_detached(&["-i", "--name", "ice", IMAGE, "cat"]);
    daemon.docker(["pause", "ice"]).output().code(0);
    daemon.docker(["unpause", "ice"]).output().code(0);
    assert_eq!(daemon.inspect(&id)["State"]["Status"], "running");
    daemon.docker(["pause", "ice"]).output().code(0);
    daemon.docker(["stop", "-t", "1", "ice"]).output().code(0);
    assert_eq!(daemon.inspect(&id)["State"]["ExitCode"], 137);
    daemon.docker(["start", "ice"]).output().code(0);
    daemon.docker(["pause", "ice"]).output().code(0);
    daemon.docker(["rm", "-f", "ice"]).output().code(0);
    let told = actions(&daemon, &id);
    assert!(
        told.starts_with("create start pause unpause pause kill"),
        "{told}"
    );
    daemon.finish();
}

#[test]
fn restart_stops_and_starts() {
    need!(ready());
    let daemon = Daemon::start();
    let id = daemon.run_detached(&["--name", "again", IMAGE, "workload", "trap", "exit=3"]);
    wait_log(&daemon, &id, "ready\n");
    let first = daemon.container_pid(&id);
    daemon
        .docker(["restart", "again"])
        .output()
        .code(0)
        .stdout_is("again\n");
    assert_ne!(daemon.container_pid(&id), first);
    wait_log(&daemon, &id, "ready\ngot TERM\nready\n");
    assert_eq!(daemon.inspect(&id)["RestartCount"], 0);
    assert_eq!(
        actions(&daemon, &id),
        "create start kill die stop start restart"
    );
    daemon.docker(["stop", "again"]).output().code(0);
    // One that does not run is started.
    daemon
        .docker(["restart", "-t", "0", "again"])
        .output()
        .code(0);
    assert_eq!(daemon.inspect(&id)["State"]["Running"], true);
    daemon
        .docker(["restart", "nosuch"])
        .output()
        .code(1)
        .stderr_has("No such container: nosuch");
    daemon.finish();
}

#[test]
fn a_restart_is_finished_without_its_client() {
    need!(ready());
    let daemon = Daemon::start();
    let id = daemon.run_detached(&["--name", "deaf", IMAGE, "workload", "sleep"]);
    let mut client = std::os::unix::net::UnixStream::connect(&daemon.socket).expect("connect");
    std::io::Write::write_all(
        &mut client,
        b"POST /containers/deaf/restart?t=1 HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n",
    )
    .expect("send");
    wait_for("the stop has begun", Duration::from_secs(20), || {
        actions(&daemon, &id).contains("kill").then_some(())
    });
    drop(client);
    wait_for("the restart", Duration::from_secs(20), || {
        actions(&daemon, &id)
            .ends_with("start restart")
            .then_some(())
    });
    assert_eq!(daemon.inspect(&id)["State"]["Running"], true);
    daemon.finish();
}

#[test]
fn restart_keeps_a_container_that_goes_with_its_end() {
    need!(ready());
    let daemon = Daemon::start();
    let id = daemon.run_detached(&["--rm", "--name", "brief", IMAGE, "workload", "sleep"]);
    daemon
        .docker(["restart", "-t", "0", "brief"])
        .output()
        .code(0);
    assert_eq!(daemon.inspect(&id)["State"]["Running"], true);
    daemon.docker(["stop", "-t", "0", "brief"]).output().code(0);
    wait_for("it is gone", Duration::from_secs(20), || {
        (daemon
            .api("GET", &format!("/containers/{id}/json"), None)
            .status
            == 404)
            .then_some(())
    });
    daemon.finish();
}

#[test]
fn a_new_name_is_nobody_elses() {
    need!(ready());
    let daemon = Daemon::start();
    let id = daemon.run_detached(&["--name", "old", IMAGE, "workload", "sleep"]);
    let other = daemon.run_detached(&["--name", "other", IMAGE, "workload", "sleep"]);
    daemon
        .docker(["rename", "old", "new"])
        .output()
        .code(0)
        .stdout_is("");
    assert_eq!(daemon.inspect("new")["Name"], "/new");
    assert_eq!(daemon.inspect("new")["Id"], id.as_str());
    daemon
        .docker(["inspect", "--type", "container", "old"])
        .output()
        .code(1);
    for (from, to, text) in [
        (
            "new",
            "other",
            format!("The container name \"/other\" is already in use by container \"{other}\""),
        ),
        (
            "new",
            "new",
            "Renaming a container with the same name as its current name".to_owned(),
        ),
        (
            "new",
            "/new",
            "Renaming a container with the same name as its current name".to_owned(),
        ),
        (
            "new",
            "bad!",
            "Invalid container name (/bad!), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed".to_owned(),
        ),
        ("new", "/", "name".to_owned()),
        ("gone", "x1", "No such container: gone".to_owned()),
    ] {
        daemon
            .docker(["rename", from, to])
            .output()
            .code(1)
            .stderr_has(&text);
    }
    let conflict = daemon.api("POST", "/containers/new/rename?name=other", None);
    assert_eq!(conflict.status, 409);
    // The old name is free, and a leading slash is no part of a name.
    daemon.docker(["rename", "other", "/old"]).output().code(0);
    assert_eq!(daemon.inspect("old")["Id"], other.as_str());
    let renamed = events(&daemon, &id);
    let renamed = renamed.last().expect("events");
    assert_eq!(renamed["Action"], "rename");
    assert_eq!(renamed["Actor"]["Attributes"]["name"], "new");
    assert_eq!(renamed["Actor"]["Attributes"]["oldName"], "/old");
    if daemon.engine == Engine::Taffrail {
        daemon.kill();
        daemon.launch();
        assert_eq!(daemon.inspect("new")["Id"], id.as_str());
        assert_eq!(daemon.inspect("old")["Id"], other.as_str());
    }
    daemon.finish();
}

/// First line of a file that the container's own control groups have, as the container sees it on
/// version 1 or 2.
fn limit(daemon: &Daemon, id: &str, v1: (&str, &str), v2: &str) -> String {
    let pid = daemon.container_pid(id);
    let groups = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).expect("cgroup");
    let of = |controller: &str| {
        groups.lines().find_map(|line| {
            let mut parts = line.splitn(3, ':').skip(1);
            let names = parts.next()?;
            let path = parts.next()?;
            names
                .split(',')
                .any(|name| name == controller)
                .then(|| path.to_owned())
        })
    };
    let file = match of(v1.0) {
        Some(path) => format!("/sys/fs/cgroup/{}{path}/{}", v1.0, v1.1),
        None => format!(
            "/sys/fs/cgroup{}/{v2}",
            of("").expect("a unified hierarchy")
        ),
    };
    std::fs::read_to_string(&file)
        .unwrap_or_else(|error| panic!("{file}: {error}"))
        .trim()
        .to_owned()
}

#[test]
fn update_reaches_a_container_that_runs() {
    need!(ready());
    let daemon = Daemon::start();
    let id = daemon.run_detached(&[
        "--name",
        "up",
        "--memory",
        "64m",
        "--memory-swap",
        "128m",
        IMAGE,
        "workload",
        "sleep",
    ]);
    daemon
        .docker([
            "update",
            "--memory",
            "100m",
            "--memory-reservation",
            "32m",
            "--cpu-shares",
            "512",
            "--cpu-period",
            "50000",
            "--cpu-quota",
            "20000",
            "--pids-limit",
            "50",
            "--restart",
            "on-failure:4",
            "up",
        ])
        .output()
        .code(0)
        .stdout_has("up\n");
    assert_eq!(
        limit(
            &daemon,
            &id,
            ("memory", "memory.limit_in_bytes"),
            "memory.max"
        ),
        (100 << 20).to_string()
    );
    assert_eq!(limit(&daemon, &id, ("pids", "pids.max"), "pids.max"), "50");
    let shares = limit(&daemon, &id, ("cpu", "cpu.shares"), "cpu.weight");
    assert!(shares == "512" || shares == "20", "{shares}");
    let quota = limit(&daemon, &id, ("cpu", "cpu.cfs_quota_us"), "cpu.max");
    assert!(quota == "20000" || quota == "20000 50000", "{quota}");
    let host = &daemon.inspect(&id)["HostConfig"];
    assert_eq!(host["Memory"], 100 << 20);
    assert_eq!(host["MemorySwap"], 128 << 20);
    assert_eq!(host["MemoryReservation"], 32 << 20);
    assert_eq!(host["CpuShares"], 512);
    assert_eq!(host["PidsLimit"], 50);
    assert_eq!(
        host["RestartPolicy"],
        json!({"Name": "on-failure", "MaximumRetryCount": 4})
    );
    // More than memory and swap together were, both at once; then less again.
    for size in [300, 50] {
        let (memory, swap) = (format!("{size}m"), format!("{}m", size * 2));
        daemon
            .docker(["update", "-m", &memory, "--memory-swap", &swap, "up"])
            .output()
            .code(0);
        assert_eq!(
            limit(
                &daemon,
                &id,
                ("memory", "memory.limit_in_bytes"),
                "memory.max"
            ),
            (size << 20).to_string()
        );
    }
    daemon
        .docker(["update", "--pids-limit", "-1", "up"])
        .output()
        .code(0);
    assert_eq!(limit(&daemon, &id, ("pids", "pids.max"), "pids.max"), "max");
    // The next start has them, too.
    daemon.docker(["restart", "-t", "0", "up"]).output().code(0);
    assert_eq!(
        limit(
            &daemon,
            &id,
            ("memory", "memory.limit_in_bytes"),
            "memory.max"
        ),
        (50 << 20).to_string()
    );
    let told = actions(&daemon, &id);
    assert!(
        told.starts_with("create start update update update update kill"),
        "{told}"
    );
    let answer = daemon.api(
        "POST",
        "/containers/up/update",
        Some(&json!({"CpuShares": 300, "Memory": 0, "PidsLimit": null})),
    );
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert!(answer.json()["Warnings"].is_null(), "{}", answer.text());
    daemon.finish();
}

#[test]
fn update_refuses_what_cannot_be() {
    need!(ready());
    let daemon = Daemon::start();
    daemon.run_detached(&[
        "--name", "lim", "--memory", "64m", "--cpus", "0.5", IMAGE, "workload", "sleep",
    ]);
    daemon.run_detached(&["--name", "free", IMAGE, "workload", "sleep"]);
    daemon.run_detached(&["--rm", "--name", "brief", IMAGE, "workload", "sleep"]);
    for (args, text) in [
        (
            vec!["--memory", "1m", "lim"],
            "Minimum memory limit allowed is",
        ),
        (
            vec!["--memory", "1g", "lim"],
            "Memory limit should be smaller than already set memoryswap limit, update the memoryswap at the same time",
        ),
        (
            vec!["--memory", "100m", "free"],
            "Memory limit should be smaller than already set memoryswap limit",
        ),
        (
            vec!["--memory", "100m", "--memory-swap", "50m", "lim"],
            "Minimum memoryswap limit should be larger than memory limit, see usage",
        ),
        (
            vec!["--cpu-quota", "20000", "lim"],
            "Conflicting options: CPU Quota cannot be updated as NanoCPUs has already been set",
        ),
        (
            vec!["--cpu-period", "20000", "lim"],
            "Conflicting options: CPU Period cannot be updated as NanoCPUs has already been set",
        ),
        (
            vec!["--cpus", "1000", "lim"],
            "Range of CPUs is from 0.01 to",
        ),
        (
            vec!["--cpuset-cpus", "900", "lim"],
            "Requested CPUs are not available",
        ),
        (
            vec!["--restart", "always", "brief"],
            "Restart policy cannot be updated because AutoRemove is enabled for the container",
        ),
        (
            vec!["--restart", "sometimes", "lim"],
            "invalid restart policy",
        ),
        (
            vec!["--cpu-shares", "5", "nosuch"],
            "No such container: nosuch",
        ),
        (vec!["lim"], "you must provide one or more flags"),
    ] {
        let mut all = vec!["update"];
        all.extend(args);
        daemon.docker(&all).output().code(1).stderr_has(text);
    }
    let host = &daemon.inspect("lim")["HostConfig"];
    assert_eq!(host["Memory"], 64 << 20);
    assert_eq!(host["NanoCpus"], 500_000_000);
    assert_eq!(host["RestartPolicy"]["Name"], "no");
    daemon.finish();
}

#[test]
fn top_shows_processes_as_ps_does() {
    need!(ready());
    need!(skip::program("ps"));
    let daemon = Daemon::start();
    let id = daemon.run_detached(&["--name", "busy", IMAGE, "sh", "-c", "sleep 1000 & wait"]);
    let lines = wait_for("two processes", Duration::from_secs(20), || {
        let out = daemon.docker(["top", "busy"]).output().ok();
        let lines: Vec<String> = out.lines().map(str::to_owned).collect();
        (lines.len() == 3).then_some(lines)
    });
    assert!(lines[0].starts_with("UID  "), "{lines:?}");
    assert!(lines[0].ends_with("CMD"), "{lines:?}");
    assert!(
        lines.iter().any(|line| line.ends_with("sleep 1000")),
        "{lines:?}"
    );
    let pid = daemon.container_pid(&id).to_string();
    let top = daemon.get("/containers/busy/top?ps_args=-o+pid%2Ccomm");
    assert_eq!(top["Titles"], json!(["PID", "COMMAND"]));
    let processes = top["Processes"].as_array().expect("processes");
    assert_eq!(processes.len(), 2, "{top}");
    assert!(processes.contains(&json!([pid, "sh"])), "{top}");
    // `f` does not go together with a list of processes: all are looked through.
    daemon
        .docker(["top", "busy", "axfo", "pid,args"])
        .output()
        .code(0)
        .stdout_has("sleep 1000");
    for (args, text) in [
        (vec!["busy", "--nosuch"], "ps:"),
        (
            vec!["busy", "-o", "user"],
            "Couldn't find PID field in ps output",
        ),
        (vec!["nosuch"], "No such container: nosuch"),
    ] {
        let mut all = vec!["top"];
        all.extend(args);
        daemon.docker(&all).output().code(1).stderr_has(text);
    }
    daemon.docker(["stop", "-t", "0", "busy"]).output().code(0);
    daemon
        .docker(["top", "busy"])
        .output()
        .code(1)
        .stderr_has("is not running");
    daemon.finish();
}

#[test]
fn prune_removes_what_does_not_run() {
    need!(ready());
    let daemon = Daemon::start();
    daemon.run_detached(&["--name", "runs", IMAGE, "workload", "sleep"]);
    daemon.run_detached(&["--name", "halted", IMAGE, "workload", "sleep"]);
    daemon.docker(["pause", "halted"]).output().code(0);
    let mut ended = Vec::new();
    for (name, label) in [("one", "keep=yes"), ("two", "keep=no"), ("three", "x=y")] {
        let id = daemon.run_detached(&[
            "--name",
            name,
            "--label",
            label,
            IMAGE,
            "sh",
            "-c",
            "echo data > /file",
        ]);
        daemon.wait_exit(&id, 20);
        ended.push(id);
    }
    let prune = |filters: &[&str]| {
        let mut all = vec!["container", "prune", "-f"];
        for filter in filters {
            all.extend(["--filter", filter]);
        }
        daemon.docker(&all).output().ok()
    };
    let left = || {
        let mut names: Vec<String> = daemon
            .docker(["ps", "-a", "--format", "{{.Names}}"])
            .output()
            .ok()
            .lines()
            .map(str::to_owned)
            .collect();
        names.sort();
        names.join(" ")
    };
    assert!(prune(&["until=1h"]).contains("Total reclaimed space: 0B"));
    assert_eq!(left(), "halted one runs three two");
    assert!(prune(&["label=keep=no"]).contains(&ended[1]));
    assert_eq!(left(), "halted one runs three");
    let pruned = prune(&["label!=keep"]);
    assert!(
        pruned.contains(&ended[2]) && pruned.contains("Total reclaimed space: 5B"),
        "{pruned}"
    );
    assert_eq!(left(), "halted one runs");
    prune(&[]);
    assert_eq!(left(), "halted runs");
    daemon
        .docker(["container", "prune", "-f", "--filter", "nosuch=1"])
        .output()
        .code(1)
        .stderr_has("invalid filter 'nosuch'");
    daemon.finish();
}

#[test]
fn a_limit_that_the_kernel_does_not_take_changes_nothing() {
    need!(ready());
    if !std::path::Path::new("/sys/fs/cgroup/memory/memory.limit_in_bytes").exists() {
        skip::skip("control groups of version 2 take any limit and kill");
        return;
    }
    let daemon = Daemon::start();
    let script = "x=$(head -c 30000000 /dev/zero | tr '\\0' a); echo ready; sleep 1000; echo $x";
    let id = daemon.run_detached(&[
        "--name",
        "full",
        "-m",
        "200m",
        "--memory-swap",
        "200m",
        IMAGE,
        "sh",
        "-c",
        script,
    ]);
    wait_log(&daemon, &id, "ready\n");
    daemon
        .docker([
            "update",
            "-m",
            "8m",
            "--memory-swap",
            "8m",
            "--cpu-shares",
            "77",
            "--pids-limit",
            "33",
            "full",
        ])
        .output()
        .code(1)
        .stderr_has("Cannot update container")
        .stderr_has("unable to set memory limit to 8388608 (current usage: ");
    assert_eq!(
        limit(
            &daemon,
            &id,
            ("memory", "memory.limit_in_bytes"),
            "memory.max"
        ),
        (200 << 20).to_string()
    );
    let host = &daemon.inspect(&id)["HostConfig"];
    assert_eq!(host["Memory"], 200 << 20);
    assert_eq!(host["CpuShares"], 0);
    assert_ne!(host["PidsLimit"], 33);
    assert_eq!(daemon.inspect(&id)["State"]["Running"], true);
    daemon.finish();
}
