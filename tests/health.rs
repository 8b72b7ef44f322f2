//! Health checks: states, the log of probes, events, and what a daemon that comes later knows of them.

use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::daemon::{Daemon, Options, taffrail_only};
use crate::harness::hook::{Hook, Manner};
use crate::harness::image::IMAGE;
use crate::harness::{Engine, http, skip, wait_for};
use crate::lifecycle::{actions, events};
use crate::need;

const SOON: Duration = Duration::from_secs(60);

fn ready() -> Result<(), String> {
    Engine::chosen().ready()?;
    skip::program("docker")
}

fn health(daemon: &Daemon, id: &str) -> Value {
    daemon.inspect(id)["State"]["Health"].clone()
}

#[track_caller]
fn wait_status(daemon: &Daemon, id: &str, status: &str) -> Value {
    wait_for(status, SOON, || {
        let health = health(daemon, id);
        (health["Status"] == status).then_some(health)
    })
}

fn status_text(daemon: &Daemon, id: &str) -> String {
    let path = "/containers/json?all=1";
    let all = daemon.get(path);
    let one = all.as_array().unwrap().iter().find(|c| c["Id"] == id);
    one.expect("in the list")["Status"]
        .as_str()
        .unwrap()
        .to_owned()
}

/// Ids of `docker ps` with a filter.
fn filtered(daemon: &Daemon, health: &str) -> String {
    let filter = format!("health={health}");
    daemon
        .docker(["ps", "-q", "--no-trunc", "-f", &filter])
        .output()
        .ok()
}

/// A container whose health is a file in it.
fn by_file(daemon: &Daemon, options: &[&str]) -> String {
    let mut args = vec![
        "--health-cmd",
        "cat /state && echo fine",
        "--health-interval",
        "200ms",
    ];
    args.extend(options);
    args.extend([IMAGE, "sh", "-c", "exec sleep 1000"]);
    daemon.run_detached(&args)
}

fn exec(daemon: &Daemon, id: &str, script: &str) {
    daemon
        .docker(["exec", id, "sh", "-c", script])
        .output()
        .code(0);
}

#[test]
fn from_starting_over_unhealthy_to_healthy() {
    need!(ready());
    let daemon = Daemon::start();
    let id = by_file(
        &daemon,
        &["--health-retries", "2", "--health-timeout", "20s"],
    );
    assert!(["starting", "unhealthy"].contains(&health(&daemon, &id)["Status"].as_str().unwrap()));
    let sick = wait_status(&daemon, &id, "unhealthy");
    assert!(sick["FailingStreak"].as_u64().unwrap() >= 2, "{sick}");
    let last = sick["Log"].as_array().unwrap().last().unwrap().clone();
    assert_eq!(last["ExitCode"], 1);
    assert!(
        last["Output"].as_str().unwrap().contains("No such file"),
        "{last}"
    );
    assert!(last["Start"].as_str().unwrap() < last["End"].as_str().unwrap());
    assert!(status_text(&daemon, &id).ends_with(" (unhealthy)"));
    assert_eq!(filtered(&daemon, "unhealthy"), id);
    assert_eq!(filtered(&daemon, "healthy"), "");
    exec(&daemon, &id, "echo up > /state");
    let well = wait_status(&daemon, &id, "healthy");
    assert_eq!(well["FailingStreak"], 0);
    let well = wait_for("five probes", SOON, || {
        let health = health(&daemon, &id);
        (health["Log"].as_array()?.len() == 5).then_some(health)
    });
    assert_eq!(
        well["Log"].as_array().unwrap().last().unwrap()["Output"],
        "up\nfine\n"
    );
    assert!(status_text(&daemon, &id).ends_with(" (healthy)"));
    assert_eq!(filtered(&daemon, "healthy"), id);
    let told = actions(&daemon, &id);
    let sick = told.find("health_status: unhealthy").expect("told");
    let well = told.find("health_status: healthy").expect("told");
    assert!(sick < well, "{told}");
    assert!(
        told.contains("exec_create: /bin/sh -c cat /state && echo fine"),
        "{told}"
    );
    assert!(
        told.contains("exec_start: /bin/sh -c cat /state") && told.contains("exec_die"),
        "{told}"
    );
    // Nothing that has ended is healthy, and it begins anew.
    daemon.docker(["stop", "-t", "0", &id]).output().code(0);
    assert_eq!(health(&daemon, &id)["Status"], "unhealthy");
    daemon.docker(["start", &id]).output().code(0);
    wait_status(&daemon, &id, "healthy");
    daemon.finish();
}

#[test]
fn a_probe_that_hangs_is_killed() {
    need!(ready());
    let daemon = Daemon::start();
    let id = daemon.run_detached(&[
        "--health-cmd",
        "echo stuck; sleep 900",
        "--health-interval",
        "100ms",
        "--health-timeout",
        "1s",
        "--health-retries",
        "1",
        IMAGE,
        "sleep",
        "1000",
    ]);
    let sick = wait_status(&daemon, &id, "unhealthy");
    let last = &sick["Log"][0];
    assert_eq!(last["ExitCode"], -1);
    let output = last["Output"].as_str().unwrap();
    assert!(
        output.starts_with("Health check exceeded timeout (1s)"),
        "{output}"
    );
    if daemon.engine == Engine::Taffrail {
        // At most the next one's.
        wait_for("the probe's end", SOON, || {
            let top = daemon.docker(["top", &id, "-eo", "pid,args"]).output().ok();
            (top.matches("sleep 900").count() <= 2).then_some(())
        });
    }
    daemon.docker(["kill", &id]).output().code(0);
    daemon.finish();
}

#[test]
fn failures_of_the_start_period_do_not_count() {
    need!(ready());
    let daemon = Daemon::start();
    let id = by_file(
        &daemon,
        &["--health-retries", "1", "--health-start-period", "10m"],
    );
    wait_for("failures", SOON, || {
        (!health(&daemon, &id)["Log"].as_array()?.is_empty()).then_some(())
    });
    assert_eq!(health(&daemon, &id)["Status"], "starting");
    assert!(status_text(&daemon, &id).ends_with(" (health: starting)"));
    assert_eq!(filtered(&daemon, "starting"), id);
    exec(&daemon, &id, "echo up > /state");
    wait_status(&daemon, &id, "healthy");
    // Once it was healthy, they do.
    exec(&daemon, &id, "rm /state");
    wait_status(&daemon, &id, "unhealthy");
    daemon.finish();
}

#[test]
fn long_output_is_cut_and_none_is_no_check() {
    need!(ready());
    let daemon = Daemon::start();
    let id = daemon.run_detached(&[
        "--health-cmd",
        "yes x | head -n 5000",
        "--health-interval",
        "100ms",
        IMAGE,
        "sleep",
        "1000",
    ]);
    let well = wait_status(&daemon, &id, "healthy");
    let output = well["Log"][0]["Output"].as_str().unwrap();
    assert_eq!(output.len(), 4099);
    assert!(output.ends_with("x\n..."), "{}", &output[4000..]);
    let none = daemon.run_detached(&["--no-healthcheck", IMAGE, "sleep", "1000"]);
    assert_eq!(health(&daemon, &none), Value::Null);
    assert_eq!(filtered(&daemon, "none"), none);
    let body = json!({"Image": IMAGE, "Cmd": ["true"], "Healthcheck": {"Test": ["CMD", "true"], "Interval": 10}});
    let answer = daemon.api("POST", "/containers/create", Some(&body));
    assert!(
        answer
            .text()
            .contains("Interval in Healthcheck cannot be less than 1ms"),
        "{}",
        answer.text()
    );
    daemon.finish();
}

#[test]
fn the_image_s_check_and_what_a_client_changes_of_it() {
    need!(taffrail_only());
    need!(skip::program("docker"));
    let daemon = Daemon::start();
    let change = "/images/create?fromSrc=-&repo=checked&tag=1&changes=HEALTHCHECK%20--interval%3D200ms%20--retries%3D7%20CMD%20true";
    let mut answer = http::open(
        &daemon.socket,
        "POST",
        change,
        &["Content-Type: application/x-tar", "Connection: close"],
        Some(crate::harness::image::tar()),
        SOON,
    )
    .expect("import");
    let mut text = String::new();
    std::io::Read::read_to_string(&mut answer, &mut text).expect("an answer");
    assert!(!text.contains("errorDetail"), "{text}");
    let id = daemon.run_detached(&["--health-retries", "2", "checked:1", "sleep", "1000"]);
    let check = daemon.inspect(&id)["Config"]["Healthcheck"].clone();
    assert_eq!(check["Test"], json!(["CMD-SHELL", "true"]));
    assert_eq!(
        (&check["Interval"], &check["Retries"]),
        (&json!(200_000_000), &json!(2))
    );
    wait_status(&daemon, &id, "healthy");
    let off = daemon.run_detached(&["--no-healthcheck", "checked:1", "sleep", "1000"]);
    assert_eq!(health(&daemon, &off), Value::Null);
    daemon.finish();
}

#[test]
fn a_paused_container_is_not_probed() {
    need!(taffrail_only());
    need!(skip::program("docker"));
    let daemon = Daemon::start();
    let id = by_file(
        &daemon,
        &["--health-retries", "1", "--health-timeout", "1s"],
    );
    exec(&daemon, &id, "echo up > /state");
    wait_status(&daemon, &id, "healthy");
    daemon.docker(["pause", &id]).output().code(0);
    let probes = || {
        events(&daemon, &id)
            .iter()
            .filter(|e| e["Action"].as_str().unwrap().starts_with("exec_create"))
            .count()
    };
    // One may have been under way. Others are probed meanwhile, many times.
    let other = by_file(&daemon, &[]);
    let before = probes();
    wait_for("probes of the other one", SOON, || {
        (health(&daemon, &other)["FailingStreak"].as_u64()? >= 8).then_some(())
    });
    assert!(probes() <= before + 1);
    assert_eq!(health(&daemon, &id)["Status"], "healthy");
    assert!(status_text(&daemon, &id).ends_with(" (Paused)"));
    daemon.docker(["unpause", &id]).output().code(0);
    wait_for("probes go on", SOON, || {
        (probes() > before + 1).then_some(())
    });
    assert_eq!(health(&daemon, &id)["Status"], "healthy");
    assert!(!actions(&daemon, &id).contains("unhealthy"));
    daemon.finish();
}

#[test]
fn another_daemon_goes_on_with_the_state() {
    need!(taffrail_only());
    need!(skip::program("docker"));
    let daemon = Daemon::start();
    let sick = by_file(&daemon, &["--health-retries", "2"]);
    let slow = by_file(&daemon, &["--health-interval", "1h"]);
    let ended = daemon.run_detached(&[
        "--health-cmd",
        "true",
        "--health-interval",
        "100ms",
        IMAGE,
        "sleep",
        "1000",
    ]);
    wait_status(&daemon, &sick, "unhealthy");
    wait_status(&daemon, &ended, "healthy");
    daemon.docker(["kill", &ended]).output().code(0);
    for _ in 0..3 {
        let before = health(&daemon, &sick)["FailingStreak"].as_u64().unwrap();
        daemon.kill();
        daemon.launch();
        let after = health(&daemon, &sick);
        assert_eq!(after["Status"], "unhealthy");
        assert!(
            after["FailingStreak"].as_u64().unwrap() >= before,
            "{after}"
        );
        wait_for("probes go on", SOON, || {
            (health(&daemon, &sick)["FailingStreak"].as_u64()? > before + 1).then_some(())
        });
        // It was told of before.
        assert!(!actions(&daemon, &sick).contains("health_status"));
    }
    assert_eq!(health(&daemon, &slow)["Status"], "starting");
    assert_eq!(health(&daemon, &slow)["Log"], json!([]));
    assert_eq!(health(&daemon, &ended)["Status"], "unhealthy");
    exec(&daemon, &sick, "echo up > /state");
    wait_status(&daemon, &sick, "healthy");
    assert!(actions(&daemon, &sick).contains("health_status: healthy"));
    daemon.finish();
}

#[test]
fn unhealthy_has_last_words_and_a_post() {
    need!(taffrail_only());
    need!(skip::program("docker"));
    let hook = Hook::listening(Manner::Answers(200));
    let config = json!({"webhook": {"url": hook.url()}});
    let daemon = Daemon::of(
        Engine::Taffrail,
        Options {
            config: Some(config.to_string()),
            ..Options::default()
        },
    );
    let id = daemon.run_detached(&[
        "--health-cmd",
        "echo ill; exit 3",
        "--health-interval",
        "100ms",
        "--health-retries",
        "2",
        IMAGE,
        "sh",
        "-c",
        "echo working; exec sleep 1000",
    ]);
    let post = hook.wait_taken("the post", |body| body["event"] == "unhealthy");
    let body = &post.body;
    assert_eq!(body["container"]["id"], id.as_str());
    assert_eq!(
        body["health"],
        json!({"failingStreak": 2, "exitCode": 3, "output": "ill\n"})
    );
    assert_eq!(body["lines"][0]["line"], "working");
    assert!(body["exitCode"].is_null() && body["cause"].is_null());
    let words = wait_for("the words", SOON, || {
        let words = daemon.inspect(&id)["State"]["LastWords"].clone();
        (words["Event"] == "unhealthy").then_some(words)
    });
    assert_eq!(words["Lines"][0]["Line"], "working");
    let all = events(&daemon, &id);
    let told = all
        .iter()
        .find(|e| e["Action"] == "health_status: unhealthy")
        .expect("told");
    assert_eq!(told["Actor"]["Attributes"]["failingStreak"], "2");
    assert_eq!(told["Actor"]["Attributes"]["runNumber"], "1");
    daemon.finish();
}
