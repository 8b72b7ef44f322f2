//! `docker events`: order, attributes, replay, filters.

use std::time::Duration;

use crate::harness::image::IMAGE;
use crate::harness::{Daemon, Engine, http, skip};
use crate::need;

fn ready() -> Result<(), String> {
    Engine::chosen().ready()?;
    skip::program("docker")
}

#[test]
fn the_life_of_a_container_is_told_in_order() {
    need!(ready());
    let daemon = Daemon::start();
    // A listener sees the headers before anything happens, and each event as it comes.
    let mut stream = http::open(
        &daemon.socket,
        "GET",
        "/events?filters=%7B%22type%22%3A%5B%22container%22%5D%7D",
        &[],
        None,
        Duration::from_secs(30),
    )
    .expect("headers at once");
    assert_eq!(stream.status, 200);
    daemon
        .docker([
            "run",
            "--rm",
            "--name",
            "told",
            "--label",
            "k=v",
            "--network",
            "none",
            IMAGE,
            "sh",
            "-c",
            "exit 3",
        ])
        .output()
        .code(3);
    let mut seen = Vec::new();
    let mut text = Vec::new();
    let mut buffer = [0; 4096];
    while !seen.iter().any(|(action, _)| action == "destroy") {
        let n = std::io::Read::read(&mut stream, &mut buffer).expect("an event");
        text.extend_from_slice(&buffer[..n]);
        while let Some(end) = text.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = text.drain(..=end).collect();
            if line.len() > 1 {
                let event: serde_json::Value = serde_json::from_slice(&line).expect("json");
                seen.push((event["Action"].as_str().expect("Action").to_owned(), event));
            }
        }
    }
    let actions: Vec<&str> = seen.iter().map(|(action, _)| action.as_str()).collect();
    assert_eq!(actions, ["create", "attach", "start", "die", "destroy"]);
    let die = &seen[3].1;
    assert_eq!(die["Actor"]["Attributes"]["exitCode"], "3");
    assert_eq!(die["Actor"]["Attributes"]["name"], "told");
    assert_eq!(die["Actor"]["Attributes"]["k"], "v");
    assert_eq!(die["Actor"]["Attributes"]["image"], IMAGE);
    assert_eq!(die["scope"], "local");
    let time = die["timeNano"].as_i64().expect("timeNano");
    assert_eq!(time / 1_000_000_000, die["time"].as_i64().expect("time"));
    daemon.finish();
}

#[test]
fn events_are_replayed_and_filtered() {
    need!(ready());
    let daemon = Daemon::start();
    for name in ["first", "second"] {
        let id = daemon.run_detached(&["--name", name, IMAGE, "true"]);
        daemon.wait_exit(&id, 20);
    }
    let replay = |filters: &[&str]| {
        // The CLI cuts `0s` to whole seconds.
        let until = crate::harness::unix_now();
        let mut all = vec![
            "events",
            "--since",
            "10m",
            "--until",
            &until,
            "--format",
            "{{.Actor.Attributes.name}} {{.Action}}",
        ];
        for filter in filters {
            all.extend(["-f", filter]);
        }
        daemon.docker(&all).output().ok()
    };
    assert_eq!(
        replay(&["container=second", "type=container"]),
        "second create\nsecond start\nsecond die"
    );
    assert_eq!(replay(&["event=die"]), "first die\nsecond die");
    assert_eq!(replay(&["event=die", "container=first"]), "first die");
    daemon.finish();
}

/// Each filter, and a window in the past, with the docker CLI and (of Taffrail) its own.
#[test]
fn every_filter_and_a_window_in_the_past() {
    need!(ready());
    let daemon = Daemon::start();
    let id = daemon.run_detached(&["--name", "web", "--label", "team=core", IMAGE, "true"]);
    daemon.wait_exit(&id, 20);
    let middle = crate::harness::unix_now();
    let other = daemon.run_detached(&["--name", "db", "--label", "team=data", IMAGE, "true"]);
    daemon.wait_exit(&other, 20);
    let now = crate::harness::unix_now();
    let image = daemon.inspect(&id)["Image"]
        .as_str()
        .expect("Image")
        .to_owned();
    for own in [false, true] {
        if own && daemon.engine == Engine::Dockerd {
            continue;
        }
        let ask = |since: &str, until: &str, filters: &[&str]| {
            let mut all = vec!["events", "--since", since, "--until", until];
            all.extend(["--format", "{{.Actor.Attributes.name}} {{.Action}}"]);
            for filter in filters {
                all.extend(["-f", filter]);
            }
            let run = if own {
                daemon.taffrail(&all)
            } else {
                daemon.docker(&all)
            };
            // A window in the past ends at once.
            run.deadline(20).output().ok()
        };
        for (filters, wanted) in [
            (&["label=team=core"][..], "web create\nweb start\nweb die"),
            (&["label=team", "event=die"], "web die\ndb die"),
            (&["label=team=core", "label=team=data"], ""),
            (
                &["container=web", "event=create", "event=die"],
                "web create\nweb die",
            ),
            (
                &[&format!("container={}", &other[..12]), "event=start"],
                "db start",
            ),
            (
                &["type=container", "scope=local", "event=start"],
                "web start\ndb start",
            ),
            (&["scope=swarm"], ""),
            (&["type=volume"], ""),
            (&["daemon=nobody"], ""),
            (&["image=nosuchimage"], ""),
            (&[&format!("image={IMAGE}"), "event=die"], "web die\ndb die"),
        ] {
            assert_eq!(ask("10m", &now, filters), wanted, "own {own}: {filters:?}");
        }
        // By the image's name without its tag, too.
        let repository = IMAGE.split(':').next().expect("a name");
        let by_name = format!("image={repository}");
        assert_eq!(
            ask("10m", &now, &[&by_name, "event=start"]),
            "web start\ndb start"
        );
        assert_eq!(ask(&middle, &now, &["event=die"]), "db die");
        assert_eq!(ask("10m", &middle, &["event=die"]), "web die");
        assert_eq!(ask(&now, &now, &["type=container"]), "");
        let import = ask("10m", &now, &["type=image", &format!("image={image}")]);
        assert!(import.ends_with("import"), "{import}");
    }
    for (path, text) in [
        ("since=x", "since"),
        ("since=5&until=4", "cannot be after"),
        ("filters=%7B%22nope%22%3A%5B%22x%22%5D%7D", "Invalid filter"),
    ] {
        let answer = daemon.api("GET", &format!("/events?{path}"), None);
        assert_eq!(answer.status, 400, "{path}: {}", answer.text());
        assert!(answer.text().contains(text), "{path}: {}", answer.text());
    }
    daemon.finish();
}
