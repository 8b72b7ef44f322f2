//! `logs --explain` and `log-test`: what they say of containers and receivers that are as the case has made them.

use std::io::Read as _;
use std::net::{TcpListener, UdpSocket};
use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::daemon::taffrail_only;
use crate::harness::image::IMAGE;
use crate::harness::{Daemon, wait_for};
use crate::need;

fn explained(daemon: &Daemon, id: &str) -> Value {
    daemon.get(&format!("/containers/{id}/logs/explain"))
}

fn codes(told: &Value) -> Vec<&str> {
    let found = told["Findings"].as_array().expect("findings");
    found.iter().filter_map(|f| f["Code"].as_str()).collect()
}

/// Runs a shell's script; `{}` of it is up when the container says so by the API.
fn script(daemon: &Daemon, options: &[&str], script: &str) -> String {
    let mut all = options.to_vec();
    all.extend([IMAGE, "sh", "-c", script]);
    daemon.run_detached(&all)
}

#[test]
fn explain_says_where_output_goes() {
    need!(taffrail_only());
    let daemon = Daemon::start();
    let until = |id: &str, code: &str| {
        wait_for(code, Duration::from_secs(30), || {
            let told = explained(&daemon, id);
            codes(&told).contains(&code).then_some(told)
        })
    };

    let well = script(
        &daemon,
        &["--name", "well"],
        "echo one; echo two; exec sleep 600",
    );
    let told = wait_for("two records", Duration::from_secs(20), || {
        let told = explained(&daemon, &well);
        (told["Log"]["Records"] == 2).then_some(told)
    });
    assert_eq!(codes(&told), [""; 0], "{told}");
    assert_eq!(told["Stdout"]["Kind"], "captured");
    assert_eq!(told["Capture"]["StdoutBytes"], 8);
    assert!(
        told["Log"]["First"].is_string() && told["Log"]["Last"].is_string(),
        "{told}"
    );
    let text = daemon.taffrail(["logs", "--explain", "well"]).output().ok();
    assert!(text.contains("findings:   none, all is well"), "{text}");

    let file = script(&daemon, &[], "exec sleep 600 > /tmp/out.txt 2> /dev/null");
    let told = until(&file, "stdout-is-file");
    assert_eq!(told["Stdout"]["Target"], "/tmp/out.txt", "{told}");
    assert!(codes(&told).contains(&"stderr-is-null"), "{told}");

    let grows = script(
        &daemon,
        &[],
        "mkdir -p /var/log; (while true; do echo line; sleep 0.05; done >> /var/log/app.log) & wait",
    );
    let told = until(&grows, "file-grows");
    let files = told["Files"].as_array().expect("files");
    let grown = files.iter().find(|f| f["Path"] == "/var/log/app.log");
    assert!(
        grown.is_some_and(|f| f["Grown"].as_u64() > Some(0)),
        "{told}"
    );

    let silent = script(&daemon, &[], "exec sleep 600");
    let told = until(&silent, "block-buffered");
    assert_eq!(codes(&told), ["block-buffered"], "{told}");
    let tty = script(&daemon, &["-t"], "echo hello; exec sleep 600");
    wait_for("a terminal's record", Duration::from_secs(20), || {
        let told = explained(&daemon, &tty);
        (told["Log"]["Records"] == 1 && codes(&told).is_empty()).then_some(())
    });

    daemon.docker(["stop", "-t", "0", &well]).output().ok();
    let told = explained(&daemon, &well);
    assert_eq!(codes(&told), ["not-running"], "{told}");
    assert_eq!(told["Log"]["Records"], 2, "{told}");
    let made = daemon
        .docker(["create", "--name", "made", IMAGE, "true"])
        .output()
        .ok();
    assert_eq!(codes(&explained(&daemon, &made)), ["never-started"]);
    assert_eq!(
        daemon
            .api("GET", "/containers/nobody/logs/explain", None)
            .status,
        404
    );
    daemon.finish();
}

#[test]
fn explain_tells_of_receivers_that_are_away() {
    need!(taffrail_only());
    let daemon = Daemon::start();
    // A port that was free a moment ago.
    let port = TcpListener::bind("127.0.0.1:0")
        .and_then(|l| l.local_addr())
        .expect("a port")
        .port();
    let address = format!("syslog-address=tcp://127.0.0.1:{port}");
    let id = script(
        &daemon,
        &["--log-driver", "local,syslog", "--log-opt", &address],
        "echo one; echo two; exec sleep 600",
    );
    let told = wait_for("retrying", Duration::from_secs(30), || {
        let told = explained(&daemon, &id);
        codes(&told).contains(&"sink-retrying").then_some(told)
    });
    let text = told["LogSinks"][0]["Text"].as_str().expect("a sentence");
    assert!(
        text.starts_with(&format!("syslog tcp://127.0.0.1:{port}: retrying for ")),
        "{text}"
    );
    assert!(text.contains("2 records wait, none is lost"), "{text}");

    // A test with the container's own settings finds the same.
    let tested = daemon.taffrail(["log-test", &id]).output();
    assert_eq!(tested.code, 1, "{tested}");
    assert!(tested.out().contains("failed connect"), "{tested}");
    daemon.finish();
}

#[test]
fn explain_log_test_tells_each_step() {
    need!(taffrail_only());
    let daemon = Daemon::start();
    let listener = TcpListener::bind("127.0.0.1:0").expect("a listener");
    let address = format!(
        "syslog-address=tcp://{}",
        listener.local_addr().expect("an address")
    );
    let heard = std::thread::spawn(move || {
        let (mut socket, _) = listener.accept().expect("a connection");
        let mut text = String::new();
        let _ = socket.read_to_string(&mut text);
        text
    });
    let words = ["log-test", "--log-driver", "syslog", "--log-opt", &address];
    let tested = daemon.taffrail(words).output();
    assert_eq!(tested.code, 0, "{tested}");
    for wanted in [
        "ok     options",
        "ok     resolve",
        "ok     connect",
        "ok     send",
        "ok     accept",
        "accepted after",
    ] {
        assert!(tested.out().contains(wanted), "{wanted}: {tested}");
    }
    let heard = heard.join().expect("the listener");
    assert!(heard.contains("taffrail log-test: hello from "), "{heard}");

    let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    let body = json!({"Type": "syslog", "Message": "over udp", "Config": {
        "syslog-address": format!("udp://{}", socket.local_addr().expect("an address"))}});
    let answer = daemon.api("POST", "/logs/test", Some(&body));
    assert_eq!(answer.status, 200, "{}", answer.text());
    let told = answer.json();
    assert_eq!(told["Sinks"][0]["Result"], "sent", "{told}");
    assert!(told.to_string().contains("UDP has no answer"), "{told}");
    let mut bytes = [0; 2000];
    let n = socket.recv(&mut bytes).expect("a datagram");
    assert!(String::from_utf8_lossy(&bytes[..n]).ends_with("over udp\n"));

    let formats = daemon.taffrail(["log-test"]).output().ok();
    assert!(formats.contains("nothing is sent anywhere"), "{formats}");

    let body = json!({"Type": "syslog", "Config": {"syslog-address": "x://y", "nope": "1"}});
    let answer = daemon.api("POST", "/logs/test", Some(&body));
    assert_eq!(answer.status, 400, "{}", answer.text());
    daemon.finish();
}
