//! stats: shapes and numbers of what containers use.

use std::io::{BufRead as _, BufReader};
use std::time::Duration;

use serde_json::Value;

use crate::harness::daemon::{Daemon, taffrail_only};
use crate::harness::image::IMAGE;
use crate::harness::{Engine, http, skip};
use crate::need;

const PATIENCE: Duration = Duration::from_secs(30);

fn ready() -> Result<(), String> {
    Engine::chosen().ready()?;
    skip::program("docker")
}

fn samples(daemon: &Daemon, path: &str, count: usize) -> Vec<Value> {
    let path = format!("/v1.41/containers/{path}");
    let stream = http::open(&daemon.socket, "GET", &path, &[], None, PATIENCE).expect("an answer");
    assert_eq!(stream.status, 200, "{path}");
    BufReader::new(stream)
        .lines()
        .take(count)
        .map(|line| serde_json::from_str(&line.expect("a line")).expect("JSON"))
        .collect()
}

fn number(value: &Value) -> u64 {
    value
        .as_u64()
        .unwrap_or_else(|| panic!("no number: {value}"))
}

#[test]
fn a_busy_container_is_seen_to_be() {
    need!(ready());
    let daemon = Daemon::start();
    let id = daemon.run_detached(&["-m", "64m", IMAGE, "sh", "-c", "while :; do :; done"]);
    let found = samples(&daemon, &format!("{id}/stats"), 3);
    assert_eq!(found.len(), 3);
    for sample in &found {
        assert_eq!(sample["id"], id.as_str());
        assert_eq!(number(&sample["memory_stats"]["limit"]), 64 << 20);
        assert!(number(&sample["memory_stats"]["usage"]) > 0);
        assert_eq!(number(&sample["pids_stats"]["current"]), 1);
        assert!(sample["blkio_stats"].is_object() && sample["memory_stats"]["stats"].is_object());
        assert!(
            sample.get("networks").is_none(),
            "there is only the loopback"
        );
    }
    assert_eq!(found[0]["preread"], "0001-01-01T00:00:00Z");
    assert_eq!(found[1]["preread"], found[0]["read"]);
    assert_eq!(found[2]["precpu_stats"], found[1]["cpu_stats"]);
    // By the client's formula it works, and no more than one processor of them.
    let part = |sample: &Value| {
        let of = |key: &str| {
            let cpu = &sample[key];
            (
                number(&cpu["cpu_usage"]["total_usage"]),
                number(&cpu["system_cpu_usage"]),
            )
        };
        let (now, before) = (of("cpu_stats"), of("precpu_stats"));
        let cpus = number(&sample["cpu_stats"]["online_cpus"]) as f64;
        (now.0 - before.0) as f64 / (now.1 - before.1) as f64 * cpus
    };
    let share = part(&found[2]);
    assert!(share > 0.01 && share < 1.5, "{share}");
    // Both ways to ask once.
    let once = &samples(&daemon, &format!("{id}/stats?stream=0"), 1)[0];
    assert!(number(&once["precpu_stats"]["system_cpu_usage"]) > 0);
    let shot = &samples(&daemon, &format!("{id}/stats?stream=0&one-shot=1"), 1)[0];
    assert_eq!(shot["preread"], "0001-01-01T00:00:00Z");
    let both = daemon.api(
        "GET",
        &format!("/v1.41/containers/{id}/stats?stream=1&one-shot=1"),
        None,
    );
    assert_eq!(both.status, 400);
    assert!(
        both.text()
            .contains("cannot have stream=true and one-shot=true")
    );
    assert_eq!(
        daemon.api("GET", "/containers/nope/stats", None).status,
        404
    );
    daemon.finish();
}

#[test]
fn a_container_that_does_not_run_uses_nothing() {
    need!(ready());
    let daemon = Daemon::start();
    let id = daemon.run_detached(&["--name", "over", IMAGE, "true"]);
    daemon.wait_exit(&id, 30);
    for path in ["over/stats?stream=0", "over/stats"] {
        let found = &samples(&daemon, path, 1)[0];
        assert_eq!(found["read"], "0001-01-01T00:00:00Z");
        assert_eq!(found["name"], "/over");
        assert_eq!(found["memory_stats"], serde_json::json!({}));
        assert_eq!(found["cpu_stats"]["cpu_usage"]["total_usage"], 0);
    }
    daemon.finish();
}

#[test]
fn clients_of_one_container_share_its_samples() {
    need!(taffrail_only());
    let daemon = Daemon::start();
    let id = daemon.run_detached(&["--name", "shared", IMAGE, "sleep", "1000"]);
    let read = std::thread::scope(|scope| {
        let ask = || samples(&daemon, "shared/stats", 3);
        let all: Vec<_> = (0..50).map(|_| scope.spawn(ask)).collect();
        all.into_iter()
            .flat_map(|one| one.join().expect("samples"))
            .map(|sample| sample["read"].to_string())
            .collect::<std::collections::BTreeSet<_>>()
    });
    assert!(read.len() < 15, "{} looks for 50 clients", read.len());
    let table = daemon
        .taffrail(["stats", "--no-stream", "shared"])
        .output()
        .ok();
    assert!(
        table.starts_with("CONTAINER ID   NAME      CPU %"),
        "{table}"
    );
    assert!(
        table.contains(&id[..12]) && table.contains("shared"),
        "{table}"
    );
    daemon
        .taffrail(["stats", "--no-stream", "--format", "{{.Name}} {{.PIDs}}"])
        .output()
        .code(0)
        .stdout_is("shared 1\n");
    daemon
        .taffrail(["stats", "--no-stream", "nope"])
        .output()
        .code(1)
        .stderr_has("No such container: nope");
    daemon.finish();
}
