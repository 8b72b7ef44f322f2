//! commit, export, and what becomes of the images.

use std::time::Duration;

use crate::harness::daemon::{Daemon, taffrail_only};
use crate::harness::image::IMAGE;
use crate::harness::{Engine, http, skip};
use crate::need;

fn ready() -> Result<(), String> {
    Engine::chosen().ready()?;
    skip::program("docker")
}

/// A container that has run `script` to its end.
fn ended(daemon: &Daemon, script: &str) -> String {
    let id = daemon.run_detached(&["-e", "OWN=1", "-l", "own=1", IMAGE, "sh", "-c", script]);
    assert_eq!(daemon.wait_exit(&id, 30), 0);
    id
}

#[test]
fn an_image_of_a_container_has_what_it_wrote() {
    need!(ready());
    let daemon = Daemon::start();
    let id = ended(
        &daemon,
        "mkdir /new; echo n > /new/n; rm /etc/group; rm -r /home; mkdir /home; echo h > /home/h; ln /new/n /new/again",
    );
    let made = daemon
        .docker([
            "commit",
            "-a",
            "me",
            "-m",
            "why",
            "-c",
            "CMD [\"cat\", \"/new/n\"]",
            "-c",
            "ENV A=b",
            &id,
            "made:1",
        ])
        .output()
        .ok();
    assert!(made.starts_with("sha256:"), "{made}");
    let image = daemon.get("/images/made:1/json");
    assert_eq!(image["Id"], made);
    assert_eq!(
        (&image["Author"], &image["Comment"]),
        (&"me".into(), &"why".into())
    );
    let config = &image["Config"];
    assert_eq!(config["Cmd"], serde_json::json!(["cat", "/new/n"]));
    assert_eq!(config["Labels"]["own"], "1");
    let env = config["Env"].to_string();
    assert!(env.contains("A=b") && env.contains("OWN=1"), "{env}");
    let base = daemon.get(&format!("/images/{IMAGE}/json"));
    assert_eq!(image["Parent"], base["Id"]);
    let layers = |image: &serde_json::Value| {
        image["RootFS"]["Layers"]
            .as_array()
            .expect("layers")
            .clone()
    };
    assert!(
        layers(&image).starts_with(&layers(&base)),
        "layers below are shared"
    );
    assert_eq!(layers(&image).len(), layers(&base).len() + 1);
    let history = daemon
        .docker(["history", "--format", "{{.Comment}}", "made:1"])
        .output()
        .ok();
    assert_eq!(history.lines().next(), Some("why"));
    // The image is what the container was.
    let shown = daemon
        .docker(["run", "--rm", "--network", "none", "made:1"])
        .output()
        .ok();
    assert_eq!(shown, "n");
    let list = "ls /etc /home /new; stat -c %h /new/n";
    let shown = daemon
        .docker([
            "run",
            "--rm",
            "--network",
            "none",
            "made:1",
            "sh",
            "-c",
            list,
        ])
        .output()
        .ok();
    assert!(!shown.contains("group"), "{shown}");
    assert!(shown.contains("\nh\n"), "{shown}");
    assert!(shown.ends_with('2'), "{shown}");
    for (args, text) in [
        (vec!["commit", "nope"], "No such container: nope"),
        (
            vec!["commit", "-c", "RUN x", &id],
            "run is not a valid change command",
        ),
        (vec!["commit", &id, "BAD"], "must be lowercase"),
    ] {
        daemon.docker(args).output().code(1).stderr_has(text);
    }
    daemon.docker(["rm", &id]).output().code(0);
    daemon.docker(["rmi", "made:1"]).output().code(0);
    daemon.finish();
}

#[test]
fn a_running_container_stands_still_for_a_commit() {
    need!(ready());
    let daemon = Daemon::start();
    let id = daemon.run_detached(&[IMAGE, "sleep", "1000"]);
    daemon.docker(["commit", &id, "still:1"]).output().code(0);
    daemon
        .docker(["commit", "--pause=false", &id, "still:2"])
        .output()
        .code(0);
    let actions = super::lifecycle::actions(&daemon, &id);
    assert!(
        actions.ends_with("start pause unpause commit commit")
            || actions.ends_with("start pause commit unpause commit"),
        "{actions}"
    );
    assert_eq!(daemon.inspect(&id)["State"]["Status"], "running");
    daemon.finish();
}

#[test]
fn an_export_is_the_file_system_without_volumes() {
    need!(ready());
    let daemon = Daemon::start();
    let shared = daemon.root.join("shared");
    std::fs::create_dir(&shared).expect("a folder");
    std::fs::write(shared.join("not-there"), "x").expect("a file");
    let bind = format!("{}:/data", shared.display());
    let id = daemon.run_detached(&["-v", &bind, IMAGE, "sh", "-c", "echo own > /own"]);
    assert_eq!(daemon.wait_exit(&id, 30), 0);
    let path = format!("/containers/{id}/export");
    let answer = http::request(&daemon.socket, "GET", &path, None, Duration::from_secs(60))
        .expect("an answer");
    assert_eq!(answer.status, 200);
    let mut names = Vec::new();
    for entry in tar::Archive::new(&answer.body[..])
        .entries()
        .expect("an archive")
    {
        let entry = entry.expect("an entry");
        names.push(String::from_utf8_lossy(&entry.path_bytes()).into_owned());
    }
    for name in ["own", "bin/busybox", "data/", "etc/passwd"] {
        assert!(names.iter().any(|found| found == name), "{name}: {names:?}");
    }
    assert!(
        !names.iter().any(|name| name.contains("not-there")),
        "{names:?}"
    );
    assert_eq!(
        http::request(
            &daemon.socket,
            "GET",
            "/containers/nope/export",
            None,
            Duration::from_secs(20)
        )
        .expect("an answer")
        .status,
        404
    );
    daemon.finish();
}

#[test]
fn our_client_commits_and_exports() {
    need!(taffrail_only());
    let daemon = Daemon::start();
    let id = ended(&daemon, "echo own > /own");
    let made = daemon
        .taffrail(["commit", "-m", "ours", &id, "ours"])
        .output()
        .ok();
    assert_eq!(daemon.get("/images/ours:latest/json")["Id"], made);
    let file = daemon.root.join("out.tar");
    daemon
        .taffrail([
            "container",
            "export",
            "-o",
            &file.display().to_string(),
            &id,
        ])
        .output()
        .code(0);
    assert!(std::fs::metadata(&file).expect("the archive").len() > 100_000);
    daemon
        .taffrail(["port", &id])
        .output()
        .code(0)
        .stdout_is("");
    daemon
        .taffrail(["port", &id, "80"])
        .output()
        .code(1)
        .stderr_has(&format!("Error: No public port '80' published for {id}"));
    daemon.finish();
}
