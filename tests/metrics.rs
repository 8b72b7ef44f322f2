//! A real scrape, read by a strict reader of Prometheus' text form (and by promtool, where it is installed).

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::time::Duration;

use crate::harness::daemon::{Options, taffrail_only};
use crate::harness::image::IMAGE;
use crate::harness::{Daemon, Engine, Run, skip, wait_for};
use crate::need;

const SOON: Duration = Duration::from_secs(30);

pub(crate) fn get(address: &str, path: &str) -> (String, String) {
    let mut stream = TcpStream::connect(address).expect("connect");
    stream.set_read_timeout(Some(SOON)).expect("a deadline");
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    )
    .expect("send");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    (head.to_owned(), body.to_owned())
}

type Samples = BTreeMap<String, f64>;

/// Reads the text form; anything that is not as it must be is a panic.
fn parse(text: &str) -> Samples {
    let mut samples = Samples::new();
    let mut families = BTreeSet::new();
    let mut family = None;
    assert!(text.ends_with('\n'), "no final newline");
    let mut lines = text.lines().peekable();
    while let Some(line) = lines.next() {
        if let Some(help) = line.strip_prefix("# HELP ") {
            let (name, words) = help.split_once(' ').expect("help");
            assert!(
                !words.is_empty() && families.insert(name.to_owned()),
                "{line}"
            );
            let kind = lines.next().expect("a type");
            let kind = kind
                .strip_prefix(&format!("# TYPE {name} "))
                .unwrap_or_else(|| panic!("{kind}"));
            assert!(matches!(kind, "counter" | "gauge"), "{kind}");
            assert_eq!(
                kind == "counter",
                name.ends_with("_total") && kind != "gauge",
                "{name}"
            );
            family = Some(name.to_owned());
            continue;
        }
        let (series, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("{line}"));
        let name = series.split('{').next().expect("a name");
        assert_eq!(
            Some(name),
            family.as_deref(),
            "outside of its family: {line}"
        );
        assert!(
            series.len() == name.len() || series.ends_with("\"}"),
            "labels: {line}"
        );
        let value: f64 = value.parse().unwrap_or_else(|_| panic!("{line}"));
        assert!(value >= 0.0, "{line}");
        assert!(
            samples.insert(series.to_owned(), value).is_none(),
            "twice: {line}"
        );
    }
    samples
}

fn scrape(address: &str) -> Samples {
    let (head, body) = get(address, "/metrics");
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    assert!(
        head.to_lowercase()
            .contains("content-type: text/plain; version=0.0.4; charset=utf-8"),
        "{head}"
    );
    if skip::program("promtool").is_ok() {
        let output = Run::new(Command::new("promtool"))
            .args(["check", "metrics"])
            .stdin(body.clone())
            .output();
        // Docker's own name of this gauge is against the rules.
        let told = output.err();
        let ours = told
            .lines()
            .filter(|line| !line.is_empty() && !line.contains("events_subscribers_total"));
        assert_eq!(ours.count(), 0, "{told}");
    }
    parse(&body)
}

const LONG_LINES: &str = "logger_log_entries_size_greater_than_buffer_total";

#[test]
fn what_is_captured_is_counted() {
    need!(taffrail_only());
    need!(skip::program("docker"));
    let daemon = Daemon::of(
        Engine::Taffrail,
        Options {
            args: vec!["--metrics-addr".into(), "127.0.0.1:0".into()],
            ..Options::default()
        },
    );
    let address = daemon.logged("metrics are served", "address");
    let before = scrape(&address);
    for name in [
        "logger_log_write_operations_failed_total",
        "logger_log_read_operations_failed_total",
        LONG_LINES,
        "engine_daemon_container_states_containers{state=\"running\"}",
        "engine_daemon_events_total",
        "taffrail_api_tls_handshakes_failed_total",
        "process_open_fds",
    ] {
        assert!(before.contains_key(name), "{name}");
    }
    assert!(get(&address, "/").0.starts_with("HTTP/1.1 404 "));

    let script = "i=0; while [ $i -lt 1000 ]; do echo line; i=$((i+1)); done; echo oops >&2; cat";
    let id = daemon.run_detached(&["-i", "--name", "counted", IMAGE, "sh", "-c", script]);
    let labels = format!("id=\"{}\",name=\"counted\"", &id[..12]);
    let find = |samples: &Samples, name: &str| {
        let series = format!("taffrail_container_{name}");
        samples.get(&series.replace("@", &labels)).copied()
    };
    let samples = wait_for("all is captured", SOON, || {
        let samples = scrape(&address);
        (find(&samples, "log_records_total{@}") == Some(1001.0)).then_some(samples)
    });
    for (name, value) in [
        ("output_bytes_total{@,stream=\"stdout\"}", 5000.0),
        ("output_bytes_total{@,stream=\"stderr\"}", 5.0),
        ("lost_records_total{@}", 0.0),
        ("capture_anomalies_total{@}", 0.0),
        ("monitors_respawned_total{@}", 0.0),
        ("log_disk_bytes{@,kind=\"spool\"}", 0.0),
    ] {
        assert_eq!(find(&samples, name), Some(value), "{name}");
    }
    let size = std::fs::metadata(daemon.json_files(&id).pop().expect("a log")).expect("its size");
    let disk = find(&samples, "log_disk_bytes{@,kind=\"log\"}").expect("disk");
    assert!(
        disk > 0.0 && disk < size.len() as f64 + 65536.0,
        "{disk} of {}",
        size.len()
    );
    let running = "engine_daemon_container_states_containers{state=\"running\"}";
    assert_eq!(samples[running], 1.0);

    let monitor = daemon.monitor(&id).expect("a monitor");
    // SAFETY: the pid is the monitor's: it was found by its command line just now.
    unsafe {
        libc::kill(monitor.pid, libc::SIGKILL);
    }
    wait_for("another monitor", SOON, || {
        (find(&scrape(&address), "monitors_respawned_total{@}") == Some(1.0)).then_some(())
    });
    daemon.docker(["rm", "-f", "counted"]).output().ok();
    let after = scrape(&address);
    assert!(
        !after.keys().any(|series| series.contains("counted")),
        "{after:?}"
    );
    assert!(after["engine_daemon_events_total"] > before["engine_daemon_events_total"]);

    // A long line and one without an end, in each format, also once they are over.
    assert_eq!(after[LONG_LINES], 0.0);
    for (driver, count) in [("json-file", 2.0), ("local", 4.0)] {
        let script = "head -c 40000 /dev/zero | tr '\\0' x; echo; echo short; printf end";
        let id = daemon.run_detached(&["--log-driver", driver, IMAGE, "sh", "-c", script]);
        assert_eq!(daemon.wait_exit(&id, 30), 0);
        assert_eq!(scrape(&address)[LONG_LINES], count, "{driver}");
    }
    daemon.finish();
}
