//! SIGHUP: one transaction, live keys, the event, and log defaults by driver.

use std::time::Duration;

use crate::harness::daemon::{Options, taffrail_only};
use crate::harness::image::IMAGE;
use crate::harness::{Daemon, Engine, skip, wait_for};
use crate::need;

const SOON: Duration = Duration::from_secs(20);

fn ready() -> Result<(), String> {
    taffrail_only()?;
    skip::program("docker")
}

fn create(daemon: &Daemon, options: &[&str]) -> serde_json::Value {
    let mut args = vec!["create", "--network", "none"];
    args.extend(options);
    args.extend([IMAGE, "true"]);
    let id = daemon.docker(&args).output().ok();
    daemon.inspect(&id)["HostConfig"]["LogConfig"].clone()
}

#[test]
fn live_keys_change_together_or_not_at_all() {
    need!(ready());
    let write = |daemon: &Daemon, text: &str| {
        std::fs::write(daemon.root.join("config/daemon.json"), text).expect("daemon.json");
    };
    let daemon = Daemon::of(
        Engine::Taffrail,
        Options {
            config: Some(r#"{"log-opts": {"max-size": "1m"}, "labels": ["a=1"]}"#.into()),
            ..Options::default()
        },
    );
    assert_eq!(create(&daemon, &[])["Config"]["max-size"], "1m");

    // A mistake anywhere leaves everything as it is.
    write(
        &daemon,
        r#"{"labels": ["a=2"], "log-drivers": {"json-file": {"max-size": "1q"}}}"#,
    );
    daemon.reload();
    wait_for("the error is logged", SOON, || {
        daemon
            .log()
            .contains("configuration is not reloaded")
            .then_some(())
    });
    assert_eq!(daemon.get("/info")["Labels"][0], "a=1");
    assert_eq!(create(&daemon, &[])["Config"]["max-size"], "1m");

    write(
        &daemon,
        r#"{"labels": ["a=2"], "debug": true, "group": "nogroup", "log-opts": {"max-size": "2m", "tag": "x"},
            "log-drivers": {"json-file": {"max-size": "3m", "max-file": 2}}}"#,
    );
    daemon.reload();
    wait_for("the reload is logged", SOON, || {
        daemon
            .log()
            .contains("daemon.json was read again")
            .then_some(())
    });
    wait_for("the labels are new", SOON, || {
        (daemon.get("/info")["Labels"][0] == "a=2").then_some(())
    });
    let log = daemon.log();
    assert!(log.contains("changed keys that need a restart"), "{log}");
    // A container's own, then log-drivers, then log-opts.
    let shown = create(&daemon, &["--log-opt", "max-file=7"]);
    assert_eq!(
        shown["Config"],
        serde_json::json!({"max-size": "3m", "max-file": "7", "tag": "x"})
    );
    let events = daemon
        .docker([
            "events",
            "--since",
            "10m",
            "--until",
            &crate::harness::unix_now(),
            "-f",
            "type=daemon",
            "-f",
            "event=reload",
            "--format",
            "{{json .Actor.Attributes}}",
        ])
        .output()
        .ok();
    assert_eq!(events.lines().count(), 1, "{events}");
    let attributes: serde_json::Value = serde_json::from_str(&events).expect("json");
    assert_eq!(attributes["labels"], r#"["a=2"]"#);
    assert_eq!(attributes["debug"], "true");
    assert_eq!(attributes["log-driver"], "json-file");
    assert_eq!(
        attributes["log-drivers"],
        r#"{"json-file":{"max-file":"2","max-size":"3m"}}"#
    );
    daemon.finish();
}
