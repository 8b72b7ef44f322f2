//! Namespaces of other containers: `--pid`, `--ipc` and `--network container:x`.

use crate::harness::image::IMAGE;
use crate::harness::{Daemon, Engine};
use crate::need;

fn run<'a>(options: &[&'a str], command: &[&'a str]) -> Vec<&'a str> {
    [&["run", "--rm"], options, &[IMAGE], command].concat()
}

#[test]
fn processes_memory_and_network_of_another_are_joined() {
    need!(Engine::chosen().ready());
    let daemon = Daemon::start();
    daemon.run_detached(&[
        "--name",
        "one",
        "--ipc",
        "shareable",
        "-h",
        "onehost",
        "--add-host",
        "db:10.0.0.7",
        IMAGE,
        "sh",
        "-c",
        "echo kept > /dev/shm/mark; exec sleep 1000",
    ]);
    let none = ["--network", "none"];
    let of = |options: &[&'static str], command: &[&'static str]| {
        daemon.docker(run(options, command)).output().ok()
    };
    let processes = of(&[none[0], none[1], "--pid", "container:one"], &["ps"]);
    assert!(processes.contains("sleep 1000"), "{processes}");
    assert_eq!(
        of(
            &[none[0], none[1], "--ipc", "container:one"],
            &["cat", "/dev/shm/mark"]
        ),
        "kept"
    );
    let net = ["--network", "container:one"];
    assert_eq!(of(&net, &["hostname"]), "onehost");
    assert!(of(&net, &["cat", "/etc/hosts"]).contains("10.0.0.7\tdb"));
    let name = |id: &str| {
        let pid = daemon.container_pid(id);
        std::fs::read_link(format!("/proc/{pid}/ns/net")).expect("a namespace")
    };
    daemon
        .docker([
            "run", "-d", "--name", "two", net[0], net[1], IMAGE, "sleep", "1000",
        ])
        .output()
        .ok();
    assert_eq!(name("one"), name("two"));
    // By id, so that a new name of the other changes nothing.
    daemon.docker(["rename", "one", "uno"]).output().ok();
    daemon.docker(["restart", "-t", "0", "two"]).output().ok();
    assert_eq!(name("uno"), name("two"));
    let mode = daemon.inspect("two")["HostConfig"]["NetworkMode"].to_string();
    assert!(
        mode.contains(daemon.inspect("uno")["Id"].as_str().expect("an id")),
        "{mode}"
    );
    daemon.docker(["rm", "-f", "two", "uno"]).output().ok();
    daemon.finish();
}

#[test]
fn what_cannot_be_joined_is_said() {
    need!(Engine::chosen().ready());
    let daemon = Daemon::start();
    daemon.run_detached(&["--name", "one", IMAGE, "sleep", "1000"]);
    daemon
        .docker([
            "create",
            "--name",
            "idle",
            "--network",
            "none",
            IMAGE,
            "true",
        ])
        .output()
        .ok();
    for (options, text) in [
        (["--pid", "container:nosuch"], "No such container: nosuch"),
        (["--ipc", "container:nosuch"], "No such container: nosuch"),
        (["--pid", "container:idle"], "is not running"),
        (["--ipc", "container:idle"], "is not running"),
        (
            ["--ipc", "container:one"],
            "non-shareable IPC (hint: use IpcMode:shareable for the donor container)",
        ),
    ] {
        let output = daemon
            .docker(run(
                &["--network", "none", options[0], options[1]],
                &["true"],
            ))
            .output();
        output.code(125).stderr_has(text);
        // Nothing was looked for at a registry.
        assert!(
            !output.err().contains("Unable to find image"),
            "{}",
            output.err()
        );
    }
    for (network, text) in [
        ("container:nosuch", "No such container: nosuch"),
        (
            "container:idle",
            "cannot join network of a non running container",
        ),
    ] {
        let output = daemon
            .docker(run(&["--network", network], &["true"]))
            .output();
        output.code(125).stderr_has(text);
    }
    // One that was there at create and has ended.
    daemon
        .docker([
            "create",
            "--name",
            "late",
            "--network",
            "none",
            "--pid",
            "container:one",
            IMAGE,
            "true",
        ])
        .output()
        .ok();
    daemon.docker(["rm", "-f", "one"]).output().ok();
    daemon
        .docker(["start", "late"])
        .output()
        .code(1)
        .stderr_has("No such container");
    daemon.docker(["rm", "late", "idle"]).output().ok();
    daemon.finish();
}

/// The shared memory is a mount of the host: it goes with the container, also if the daemon was
/// away at its end, and a daemon that is started anew finds it.
#[test]
fn shared_memory_outlives_the_daemon_and_goes_with_the_container() {
    need!(crate::harness::daemon::taffrail_only());
    let daemon = Daemon::start();
    daemon.run_detached(&[
        "--name",
        "one",
        "--ipc",
        "shareable",
        IMAGE,
        "sh",
        "-c",
        "echo kept > /dev/shm/mark; exec sleep 1000",
    ]);
    daemon.kill();
    daemon.launch();
    let cat = run(
        &["--network", "none", "--ipc", "container:one"],
        &["cat", "/dev/shm/mark"],
    );
    assert_eq!(daemon.docker(cat).output().ok(), "kept");
    let pid = daemon.container_pid("one");
    daemon.kill();
    nix::sys::signal::kill(
        nix::unistd::Pid::from_raw(pid),
        nix::sys::signal::Signal::SIGKILL,
    )
    .expect("the container's process is killed");
    daemon.launch();
    daemon.wait_exit("one", 20);
    let mounted = std::fs::read_to_string("/proc/self/mountinfo").expect("mounts");
    let id = daemon.inspect("one")["Id"]
        .as_str()
        .expect("an id")
        .to_owned();
    assert!(!mounted.contains(&format!("{id}/shm")), "{mounted}");
    daemon.docker(["rm", "one"]).output().ok();
    daemon.finish();
}
