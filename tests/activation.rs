//! The service manager's side: sockets that it hands over, what it is told, and our units.

use std::os::unix::net::UnixDatagram;
use std::process::Command;
use std::time::Duration;

use crate::harness::daemon::{Options, taffrail_only};
use crate::harness::{Daemon, Engine, Run, binary, http, repository, skip, wait_for};
use crate::need;

const SOON: Duration = Duration::from_secs(30);

#[test]
fn sockets_that_are_handed_over_are_served() {
    need!(taffrail_only());
    need!(skip::program("systemd-socket-activate"));
    let options = Options {
        args: vec!["-H".into(), "fd://".into()],
        ..Options::default()
    };
    let daemon = Daemon::idle(Engine::Taffrail, options);
    let socket = std::env::temp_dir().join(format!("tfr-handed-{}.sock", std::process::id()));
    let own = daemon.command();
    let mut command = Command::new("systemd-socket-activate");
    command
        .arg("-l")
        .arg(&socket)
        // An abstract one, too.
        .args(["-l", &format!("@tfr-handed-{}", std::process::id())])
        .arg(own.get_program())
        .args(own.get_args());
    daemon.spawn(command);
    wait_for("the socket", SOON, || socket.exists().then_some(()));
    // The first connection starts the daemon, and waits for it.
    let answer = http::request(&socket, "GET", "/_ping", None, SOON).expect("an answer");
    assert_eq!((answer.status, answer.text().as_str()), (200, "OK"));
    daemon.await_answer();
    let log = daemon.log();
    assert_eq!(log.matches("API is served").count(), 3, "{log}");
    daemon.finish();
    // It is the service manager's, who goes on listening.
    std::fs::remove_file(&socket).expect("the socket is still there");
}

#[test]
fn without_such_sockets_it_does_not_start() {
    need!(taffrail_only());
    let options = Options {
        args: vec!["-H".into(), "fd://".into()],
        ..Options::default()
    };
    let daemon = Daemon::idle(Engine::Taffrail, options);
    let output = Run::new(daemon.command()).output();
    assert_eq!(output.code, 1, "{output}");
    assert!(
        output.err().contains(
            "no sockets found via socket activation: make sure the service was started by systemd"
        ),
        "{output}"
    );
    assert!(!daemon.socket.exists(), "the other socket is left");
    daemon.abandon();
}

#[test]
fn the_service_manager_is_told() {
    need!(taffrail_only());
    let daemon = Daemon::idle(Engine::Taffrail, Options::default());
    let path = daemon.root.join("notify");
    let notify = UnixDatagram::bind(&path).expect("the notify socket");
    notify.set_read_timeout(Some(SOON)).expect("a deadline");
    let mut command = daemon.command();
    command
        .env("NOTIFY_SOCKET", &path)
        .env("WATCHDOG_USEC", "200000");
    daemon.spawn(command);
    let next = |wanted: &str| {
        let mut buffer = [0; 4096];
        loop {
            let count = notify
                .recv(&mut buffer)
                .unwrap_or_else(|error| panic!("{wanted}: {error}"));
            let text = String::from_utf8_lossy(&buffer[..count]).into_owned();
            if text.starts_with(wanted) {
                return text;
            }
            assert_eq!(text, "WATCHDOG=1", "before {wanted}");
        }
    };
    next("READY=1\nSTATUS=");
    daemon.await_answer();
    next("WATCHDOG=1");
    daemon.reload();
    let reloading = next("RELOADING=1\n");
    assert!(reloading.contains("\nMONOTONIC_USEC="), "{reloading}");
    next("READY=1\n");
    next("WATCHDOG=1");
    let code = daemon.stop();
    next("STOPPING=1\n");
    assert_eq!(code, 0);
    daemon.abandon();
}

#[test]
fn units_are_well_formed() {
    need!(skip::program("systemd-analyze"));
    let folder = std::env::temp_dir().join(format!("tfr-units-{}", std::process::id()));
    std::fs::create_dir(&folder).expect("a folder");
    let program = binary("taffrail").display().to_string();
    let mut command = Command::new("systemd-analyze");
    command.args(["verify", "--man=no"]);
    for name in ["taffrail.service", "taffrail.socket"] {
        let text = std::fs::read_to_string(repository().join("config/systemd").join(name))
            .expect("the unit");
        if name == "taffrail.service" {
            for line in ["KillMode=process", "Delegate=yes"] {
                assert!(text.lines().any(|other| other == line), "{line} is missing");
            }
        }
        let unit = folder.join(name);
        std::fs::write(&unit, text.replace("/usr/local/bin/taffrail", &program)).expect("copy");
        command.arg(unit);
    }
    let output = Run::new(command).output();
    // Units of the machine itself may have faults of their own.
    let ours: Vec<String> = output
        .err()
        .lines()
        .filter(|line| line.contains("taffrail"))
        .map(str::to_owned)
        .collect();
    assert!(ours.is_empty(), "{ours:#?}");
    std::fs::remove_dir_all(&folder).expect("remove the folder");
}
