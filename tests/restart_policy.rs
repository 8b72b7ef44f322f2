//! Restart policies: back-off, counts, stops, and daemons that come and go.

use std::time::Duration;

use serde_json::Value;

use crate::harness::daemon::{Daemon, Options, taffrail_only};
use crate::harness::image::IMAGE;
use crate::harness::{Engine, sized, skip, wait_for};
use crate::lifecycle::{actions, events};
use crate::need;

const LONG: Duration = Duration::from_secs(30);

fn ready() -> Result<(), String> {
    Engine::chosen().ready()?;
    skip::program("docker")
}

fn ours() -> Result<(), String> {
    taffrail_only()?;
    skip::program("docker")
}

fn status(daemon: &Daemon, id: &str) -> String {
    let state = daemon.inspect(id)["State"].clone();
    state["Status"].as_str().expect("Status").to_owned()
}

fn restarts(daemon: &Daemon, id: &str) -> u64 {
    daemon.inspect(id)["RestartCount"]
        .as_u64()
        .expect("a count")
}

fn wait_status(daemon: &Daemon, id: &str, wanted: &str) {
    wait_for(wanted, LONG, || {
        (status(daemon, id) == wanted).then_some(())
    });
}

/// A container that fails at once, waiting for its restart after at least `count` of them.
fn crash_looping(daemon: &Daemon, options: &[&str], count: u64) -> String {
    let mut args = options.to_vec();
    args.extend([IMAGE, "sh", "-c", "echo run; exit 5"]);
    let id = daemon.run_detached(&args);
    wait_for("a long pause before a restart", LONG, || {
        let container = daemon.inspect(&id);
        (container["RestartCount"].as_u64() >= Some(count)
            && container["State"]["Status"] == "restarting")
            .then_some(())
    });
    id
}

#[test]
fn pauses_between_restarts_double() {
    need!(ready());
    let daemon = Daemon::start();
    let id = crash_looping(&daemon, &["--restart", "always"], 5);
    let told = events(&daemon, &id);
    let at = |action: &str| -> Vec<i64> {
        told.iter()
            .filter(|event| event["Action"] == action)
            .map(|event| event["timeNano"].as_i64().expect("timeNano"))
            .collect()
    };
    let (starts, ends) = (at("start"), at("die"));
    assert!(starts.len() >= 5 && ends.len() >= starts.len(), "{told:?}");
    // Each pause is at least as long as it has to be: how much longer is the machine's affair.
    for (n, (end, start)) in ends.iter().zip(&starts[1..]).enumerate() {
        let pause = Duration::from_nanos(u64::try_from(start - end).expect("in order"));
        let least = Duration::from_millis(95 << n);
        assert!(pause >= least, "pause {n}: {pause:?} < {least:?}");
    }
    let die = told.iter().find(|event| event["Action"] == "die");
    let attributes = &die.expect("a die")["Actor"]["Attributes"];
    assert_eq!(attributes["exitCode"], "5");
    if daemon.engine == Engine::Taffrail {
        assert_eq!(attributes["execDuration"], "0");
    }
    let log = daemon.docker(["logs", &id]).output().out();
    assert!(log.lines().count() >= 5, "{log}");
    daemon.finish();
}

#[test]
fn a_container_that_waits_for_its_restart() {
    need!(ready());
    let daemon = Daemon::start();
    let id = crash_looping(
        &daemon,
        &["--restart", "unless-stopped", "--name", "loop"],
        5,
    );
    let state = daemon.inspect(&id)["State"].clone();
    assert_eq!(state["Running"], true);
    assert_eq!(state["Restarting"], true);
    assert_eq!(state["Pid"], 0);
    assert_eq!(state["ExitCode"], 5);
    let shown = daemon
        .docker(["ps", "--format", "{{.State}} {{.Status}}"])
        .output()
        .ok();
    assert!(shown.starts_with("restarting Restarting (5) "), "{shown}");
    assert_eq!(
        daemon
            .docker(["ps", "-qf", "status=restarting", "--no-trunc"])
            .output()
            .ok(),
        id
    );
    for (args, text) in [
        (
            ["pause", "loop"],
            "is restarting, wait until the container is running",
        ),
        (
            ["top", "loop"],
            "is restarting, wait until the container is running",
        ),
        (["rm", "loop"], "remov"),
        (
            ["attach", "loop"],
            "cannot attach to a restarting container",
        ),
    ] {
        daemon.docker(args).output().code(1).stderr_has(text);
    }
    let attach = daemon.api("POST", "/containers/loop/attach?stream=1&stdout=1", None);
    assert!(
        attach
            .text()
            .contains("container loop is restarting, wait until the container is running"),
        "{}",
        attach.text()
    );
    assert_eq!(attach.status, 409);
    // It is up in the sense of start.
    let start = daemon.api("POST", "/containers/loop/start", None);
    assert_eq!(start.status, 304, "{}", start.text());
    // A wait is answered at its next end.
    assert_eq!(daemon.wait_exit(&id, 60), 5);
    wait_status(&daemon, &id, "restarting");
    daemon.docker(["stop", "loop"]).output().code(0);
    assert_eq!(status(&daemon, &id), "exited");
    assert_eq!(daemon.inspect(&id)["State"]["ExitCode"], 5);
    let starts = actions(&daemon, &id).matches("start").count();
    // A start by a user counts anew.
    daemon.docker(["start", "loop"]).output().code(0);
    wait_for("it goes on", LONG, || {
        (actions(&daemon, &id).matches("start").count() >= starts + 3).then_some(())
    });
    assert!(restarts(&daemon, &id) < 5, "{}", restarts(&daemon, &id));
    daemon.docker(["kill", "loop"]).output();
    wait_status(&daemon, &id, "exited");
    daemon.docker(["rm", "loop"]).output().code(0);
    daemon.finish();
}

#[test]
fn on_failure_ends_with_its_count() {
    need!(ready());
    let daemon = Daemon::start();
    let id = daemon.run_detached(&["--restart", "on-failure:2", IMAGE, "sh", "-c", "exit 9"]);
    wait_status(&daemon, &id, "exited");
    assert_eq!(restarts(&daemon, &id), 2);
    assert_eq!(
        actions(&daemon, &id),
        "create start die start die start die"
    );
    let good = daemon.run_detached(&["--restart", "on-failure", IMAGE, "true"]);
    wait_status(&daemon, &good, "exited");
    assert_eq!(restarts(&daemon, &good), 0);
    // What update sets decides at the next end.
    daemon
        .docker(["update", "--restart", "on-failure:1", &id])
        .output()
        .code(0);
    daemon.docker(["start", &id]).output().code(0);
    wait_for("one restart", LONG, || {
        (status(&daemon, &id) == "exited" && restarts(&daemon, &id) == 1).then_some(())
    });
    daemon
        .docker(["run", "--rm", "--restart", "always", IMAGE])
        .output()
        .code(125)
        .stderr_has("cannot specify both --restart and --rm");
    daemon.finish();
}

#[test]
fn who_stops_a_container_has_the_last_word() {
    need!(ready());
    let daemon = Daemon::start();
    for verb in [["stop", "-t=0"], ["kill", "-s=KILL"], ["kill", "-s=TERM"]] {
        let id = daemon.run_detached(&["--restart", "always", IMAGE, "workload", "trap", "exit=1"]);
        wait_for("ready", LONG, || {
            (daemon.docker(["logs", &id]).output().out() == "ready\n").then_some(())
        });
        daemon.docker([verb[0], verb[1], &id]).output().code(0);
        wait_status(&daemon, &id, "exited");
        daemon.docker(["start", &id]).output().code(0);
        wait_for("ready again", LONG, || {
            let log = daemon.docker(["logs", &id]).output().out();
            (log.matches("ready").count() == 2).then_some(())
        });
        // Started again by hand, it is restarted again.
        // SAFETY: the pid is that of a container that runs.
        unsafe {
            libc::kill(daemon.container_pid(&id), libc::SIGKILL);
        }
        wait_for("a restart by policy", LONG, || {
            (restarts(&daemon, &id) == 1 && status(&daemon, &id) == "running").then_some(())
        });
        daemon.docker(["rm", "-f", &id]).output().code(0);
    }
    daemon.finish();
}

#[test]
fn a_start_that_fails_ends_the_restarts() {
    need!(ready());
    let daemon = Daemon::start();
    let folder = daemon.root.join("bin");
    std::fs::create_dir(&folder).expect("folder");
    let program = folder.join("prog");
    std::fs::write(&program, "#!/bin/sh\nexit 3\n").expect("program");
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(&program, mode).expect("mode");
    let bind = format!("{}:/prog", folder.display());
    let id = daemon.run_detached(&["--restart", "always", "-v", &bind, IMAGE, "/prog/prog"]);
    wait_for("restarts", LONG, || {
        (restarts(&daemon, &id) >= 2).then_some(())
    });
    std::fs::remove_file(&program).expect("remove");
    wait_status(&daemon, &id, "exited");
    let state = daemon.inspect(&id)["State"].clone();
    assert!(
        state["Error"]
            .as_str()
            .is_some_and(|text| text.contains("no such file")),
        "{state}"
    );
    daemon.finish();
}

#[test]
fn a_killed_daemon_leaves_the_pause_to_the_next() {
    need!(ours());
    let daemon = Daemon::start();
    let id = crash_looping(&daemon, &["--restart", "always"], 5);
    daemon.kill();
    daemon.launch();
    let found = daemon.inspect(&id);
    let count = found["RestartCount"].as_u64().expect("a count");
    assert!(count >= 5, "{count}");
    wait_for("it is started again", LONG, || {
        (actions(&daemon, &id).contains("start die") && restarts(&daemon, &id) > count)
            .then_some(())
    });
    // The pauses go on to grow, and a stop is kept over a daemon's end.
    wait_status(&daemon, &id, "restarting");
    daemon.docker(["stop", &id]).output().code(0);
    daemon.kill();
    daemon.launch();
    wait_for("always: with the daemon", LONG, || {
        actions(&daemon, &id).contains("start").then_some(())
    });
    daemon.finish();
}

/// At whatever moment of ending, waiting and starting it comes, nothing of the container is left.
#[test]
fn removal_meets_a_container_that_restarts() {
    need!(ready());
    let daemon = Daemon::start();
    for round in 0..25 {
        let id = daemon.run_detached(&["--restart", "always", IMAGE, "sh", "-c", "exit 5"]);
        if round % 3 > 0 {
            wait_for("an end", LONG, || {
                actions(&daemon, &id).contains("die").then_some(())
            });
        }
        let removed = daemon.docker(["rm", "-f", &id]).output();
        assert_eq!(removed.code, 0, "round {round}: {}", removed.err());
        let folder = daemon.data_root.join("containers").join(&id);
        assert!(!folder.exists(), "round {round}: {}", folder.display());
    }
    daemon.finish();
}

/// Containers that end, or were stopped, while no daemon is there; and what the next one does.
#[test]
fn policies_act_when_the_daemon_is_back() {
    need!(ours());
    let daemon = Daemon::start();
    let run = |policy: &str, exit: &str| {
        daemon.run_detached(&["--restart", policy, IMAGE, "workload", "trap", exit])
    };
    // Ends without a daemon: (policy, exit code, it runs again).
    let cases = [
        ("no", "exit=1", false),
        ("always", "exit=0", true),
        ("unless-stopped", "exit=0", true),
        ("on-failure", "exit=1", true),
        ("on-failure", "exit=0", false),
    ];
    let ids: Vec<String> = cases.iter().map(|(p, e, _)| run(p, e)).collect();
    // Stopped by hand while there is one.
    let always = run("always", "exit=0");
    let unless = run("unless-stopped", "exit=0");
    // Goes on without a daemon.
    let lasting = run("always", "exit=0");
    for id in ids.iter().chain([&always, &unless, &lasting]) {
        wait_for("ready", LONG, || {
            (daemon.docker(["logs", id]).output().out() == "ready\n").then_some(())
        });
    }
    daemon.docker(["stop", &always, &unless]).output().code(0);
    let pids: Vec<i32> = ids.iter().map(|id| daemon.container_pid(id)).collect();
    let pid = daemon.container_pid(&lasting);
    daemon.kill();
    for pid in &pids {
        // SAFETY: the pids are those of containers that wait for this signal.
        unsafe {
            libc::kill(*pid, libc::SIGTERM);
        }
        wait_for("the end", LONG, || {
            crate::harness::procs::Process::read(*pid)
                .is_none_or(|process| !process.running())
                .then_some(())
        });
    }
    daemon.launch();
    for (id, (policy, exit, again)) in ids.iter().zip(cases) {
        let wanted = if again { "running" } else { "exited" };
        wait_for(&format!("{policy} {exit}: {wanted}"), LONG, || {
            (status(&daemon, id) == wanted).then_some(())
        });
    }
    wait_status(&daemon, &always, "running");
    assert_eq!(status(&daemon, &unless), "exited");
    assert_eq!(daemon.container_pid(&lasting), pid);
    daemon.finish();
}

#[test]
fn a_daemon_that_takes_containers_along_starts_them_again() {
    need!(ours());
    let daemon = Daemon::with(Options {
        config: Some(r#"{"live-restore": false, "shutdown-timeout": 5}"#.to_owned()),
        ..Options::default()
    });
    let again = daemon.run_detached(&["--restart", "unless-stopped", IMAGE, "workload", "sleep"]);
    let failed = daemon.run_detached(&[
        "--restart",
        "on-failure",
        IMAGE,
        "workload",
        "trap",
        "exit=2",
    ]);
    let once = daemon.run_detached(&[IMAGE, "workload", "trap", "exit=0"]);
    for id in [&failed, &once] {
        wait_for("ready", LONG, || {
            (daemon.docker(["logs", id]).output().out() == "ready\n").then_some(())
        });
    }
    assert_eq!(daemon.stop(), 0);
    daemon.launch();
    wait_status(&daemon, &again, "running");
    wait_status(&daemon, &failed, "running");
    assert_eq!(status(&daemon, &once), "exited");
    assert_eq!(restarts(&daemon, &again), 0);
    daemon.finish();
}

/// The runs of a container are counted, with where each begins in the log.
#[test]
fn runs_are_counted_on_disk() {
    need!(ours());
    let daemon = Daemon::start();
    let id = daemon.run_detached(&[
        "--restart",
        "on-failure:2",
        IMAGE,
        "sh",
        "-c",
        "echo a; exit 1",
    ]);
    wait_status(&daemon, &id, "exited");
    daemon.docker(["start", "-a", &id]).output();
    wait_for("the last end", LONG, || {
        (status(&daemon, &id) == "exited").then_some(())
    });
    let path = daemon.data_root.join(format!("containers/{id}/state.json"));
    let state: Value =
        serde_json::from_slice(&std::fs::read(path).expect("state.json")).expect("json");
    let runs = state["state"]["runs"].as_array().expect("runs").clone();
    assert!(runs.len() >= 4, "{runs:?}");
    for (n, run) in runs.iter().enumerate() {
        assert_eq!(run["number"], n + 1);
        assert_eq!(run["seq"], n + 1, "one record a run: {runs:?}");
    }
    assert!(
        runs.windows(2)
            .all(|w| w[0]["started_ns"].as_i64() < w[1]["started_ns"].as_i64())
    );
    daemon.finish();
}

/// Daemons that die at random moments, in pauses, starts and ends: every container goes on by its
/// policy, and each line of each run is in the log.
#[test]
fn no_restart_and_no_line_is_lost_however_often_the_daemon_dies() {
    need!(ours());
    let daemon = Daemon::start();
    let kills = sized("TAFFRAIL_TEST_DAEMON_KILLS", 50).div_ceil(5);
    let seed = sized(
        "TAFFRAIL_TEST_SEED",
        std::time::UNIX_EPOCH
            .elapsed()
            .map_or(1, |now| u64::from(now.subsec_nanos())),
    );
    println!("TAFFRAIL_TEST_SEED={seed}");
    let folder = daemon.root.join("count");
    std::fs::create_dir(&folder).expect("folder");
    let bind = format!("{}:/c", folder.display());
    // The number is used up once its line is printed, so a line may come twice, but none is left out.
    let script = "n=$(cat /c/$0 || echo 0); echo run $n; echo $((n+1)) > /c/$0.new; \
                  mv /c/$0.new /c/$0; exit 1";
    let policies = ["always", "unless-stopped", "on-failure"];
    let ids: Vec<String> = policies
        .iter()
        .map(|policy| {
            daemon.run_detached(&[
                "--restart",
                policy,
                "-v",
                &bind,
                IMAGE,
                "sh",
                "-c",
                script,
                policy,
            ])
        })
        .collect();
    let mut random = seed | 1;
    for round in 0..kills {
        // A restart by a user: the pauses begin anew, so that there is something to disturb.
        for id in &ids {
            daemon.docker(["restart", "-t", "0", id]).output().code(0);
        }
        random = random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        std::thread::sleep(Duration::from_millis((random >> 33) % 400));
        daemon.kill();
        daemon.launch();
        for (id, policy) in ids.iter().zip(policies) {
            let now = status(&daemon, id);
            assert!(
                matches!(now.as_str(), "running" | "restarting"),
                "round {round}, {policy}: {now}"
            );
        }
    }
    for (id, policy) in ids.iter().zip(policies) {
        daemon.docker(["stop", id]).output().code(0);
        let log = daemon.docker(["logs", id]).output().ok();
        let mut next = 0;
        for line in log.lines() {
            let number: u64 = line
                .strip_prefix("run ")
                .and_then(|n| n.parse().ok())
                .unwrap_or_else(|| panic!("{policy}: {line}"));
            assert!(
                number == next || number + 1 == next,
                "{policy}: run {number} after {next} runs:\n{log}"
            );
            next = number + 1;
        }
        let used: u64 = std::fs::read_to_string(folder.join(policy))
            .expect("the count")
            .trim()
            .parse()
            .expect("a number");
        assert!(next >= used, "{policy}: {used} runs, {next} in the log");
        assert!(next > kills, "{policy}: only {next} runs");
    }
    daemon.finish();
}

/// A stop or kill may meet a start by policy that is under way: it must not be forgotten by it.
#[test]
fn a_stop_in_the_midst_of_a_restart_is_not_lost() {
    need!(ready());
    let daemon = Daemon::start();
    for round in 0..24 {
        let id = daemon.run_detached(&["--restart", "always", IMAGE, "false"]);
        wait_for("a restart", LONG, || {
            (restarts(&daemon, &id) >= 1).then_some(())
        });
        // Anywhere between an end and the end of the next start.
        std::thread::sleep(Duration::from_millis(round * 9 % 220));
        let verb = if round % 2 == 0 { "stop?t=5" } else { "kill" };
        let ended = daemon.api("POST", &format!("/containers/{id}/{verb}"), None);
        assert_eq!(ended.status, 204, "{verb}: {}", ended.text());
        wait_status(&daemon, &id, "exited");
        let count = restarts(&daemon, &id);
        std::thread::sleep(Duration::from_millis(400));
        assert_eq!(status(&daemon, &id), "exited", "{verb}, round {round}");
        assert_eq!(restarts(&daemon, &id), count, "{verb}, round {round}");
        daemon.docker(["rm", &id]).output().ok();
    }
    daemon.finish();
}
