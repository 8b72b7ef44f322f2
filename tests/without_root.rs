//! What works without root and without a container: the command line and the check of a configuration.

use std::process::Command;

use crate::harness::{Output, Run, binary};

fn taffrail(args: &[&str]) -> Output {
    let mut command = Command::new(binary("taffrail"));
    for name in ["DOCKER_HOST", "TAFFRAIL_HOST"] {
        command.env_remove(name);
    }
    Run::new(command).args(args).output()
}

/// `daemon --validate` of a text.
fn validate(text: &str) -> Output {
    let folder = std::env::temp_dir().join(format!(
        "tfr-validate-{}-{:?}",
        std::process::id(),
        std::thread::current().id()
    ));
    std::fs::create_dir_all(&folder).expect("folder");
    let path = folder.join("daemon.json");
    std::fs::write(&path, text).expect("daemon.json");
    let output = taffrail(&[
        "daemon",
        "--validate",
        "--config-file",
        path.to_str().expect("a text path"),
    ]);
    std::fs::remove_dir_all(&folder).expect("remove");
    output
}

#[test]
fn a_good_configuration_is_accepted() {
    let output = validate(
        r#"{"log-driver": "json-file", "log-opts": {"max-size": "10m", "max-file": "3"}, "data-root": "/var/lib/x", "debug": true}"#,
    );
    output.code(0);
    assert!(
        format!("{}{}", output.out(), output.err()).contains("configuration OK"),
        "{output}"
    );
}

#[test]
fn every_error_of_a_configuration_is_named_at_once() {
    let output = validate(
        r#"{"log-drivr": "json-file", "debug": "yes", "shutdown-timeout": "x", "log-level": "loud"}"#,
    );
    output.code(1);
    for text in [
        "log-drivr",
        "log-driver",
        "debug",
        "shutdown-timeout",
        "log-level",
        "loud",
    ] {
        output.stderr_has(text);
    }
}

#[test]
fn log_options_are_checked_too() {
    for (text, named) in [
        (r#"{"log-opts": {"max-size": "10q"}}"#, "'q'"),
        (r#"{"log-opts": {"bogus": "1"}}"#, "bogus"),
        (r#"{"log-driver": "nosuch"}"#, "nosuch"),
    ] {
        validate(text)
            .code(1)
            .stderr_has(named)
            .stderr_has("key \"log-");
    }
}

#[test]
fn dockers_other_keys_are_accepted() {
    validate(
        r#"{"storage-driver": "overlay2", "features": {"buildkit": true}, "registry-mirrors": []}"#,
    )
    .code(0);
}

#[test]
fn broken_json_is_placed() {
    validate("{\"debug\": tru")
        .code(1)
        .stderr_has("daemon.json");
    let missing = taffrail(&[
        "daemon",
        "--validate",
        "--config-file",
        "/no/such/daemon.json",
    ]);
    missing.code(1).stderr_has("/no/such/daemon.json");
}

#[test]
fn the_command_line_explains_itself() {
    for command in [
        "daemon", "run", "create", "start", "attach", "stop", "kill", "rm", "ps", "logs",
        "inspect", "wait", "images", "import", "load", "tag", "rmi", "events", "info", "version",
    ] {
        let output = taffrail(&[command, "--help"]);
        output.code(0);
        assert!(output.out().to_lowercase().contains("usage"), "{output}");
    }
    let output = taffrail(&["nosuchcommand"]);
    assert_ne!(output.code, 0);
    output.stderr_has("nosuchcommand");
}

#[test]
fn an_absent_daemon_is_named() {
    let output = taffrail(&["-H", "unix:///no/such/docker.sock", "ps"]);
    assert_ne!(output.code, 0);
    output.stderr_has("/no/such/docker.sock");
}
