//! The `syslog` driver against rsyslog and syslog-ng.

mod syslog_peer;

use std::collections::BTreeSet;
use std::time::Duration;

use syslog_peer::certificates::Authority;
use syslog_peer::pump::{Pump, numbers};
use syslog_peer::{Server, port, rsyslog, syslog_ng, until};
use taffrail_drivers::sink::FailureKind;
use tempfile::tempdir;

fn all_once(server: &Server, count: u64) {
    let lines = server.lines("line ", count as usize);
    assert!(numbers(&lines).into_iter().eq(0..count));
}

/// All are there; how many came more than once.
fn duplicates(server: &Server, count: u64) -> usize {
    let mut seen = BTreeSet::new();
    until("all lines", || {
        seen = numbers(&server.lines("line ", 0)).into_iter().collect();
        (0..count).all(|n| seen.contains(&n)).then_some(())
    });
    numbers(&server.lines("line ", 0)).len() - seen.len()
}

fn parts(server: &Server) -> String {
    let text = std::fs::read_to_string(server.path("parts")).unwrap();
    text.lines()
        .find(|line| line.contains("line "))
        .unwrap()
        .to_owned()
}

#[test]
fn rsyslog_tcp_every_format_and_framing() {
    let pid = std::process::id();
    for (format, framing, wanted) in [
        ("", "auto", format!("|0123456789ab|{pid}||")),
        ("rfc3164", "lf", format!("|node1|0123456789ab|{pid}||")),
        (
            "rfc5424",
            "octet-counted",
            format!("30|2023-11-14T22:13:20Z|node1|0123456789ab|{pid}|0123456789ab|line 00000000 "),
        ),
        (
            "rfc5424micro",
            "auto",
            format!(
                "30|2023-11-14T22:13:20.123456Z|node1|0123456789ab|{pid}|0123456789ab|line 00000000 "
            ),
        ),
    ] {
        let port = port();
        let server = rsyslog(
            tempdir().unwrap(),
            &format!(
                r#"module(load="imtcp") input(type="imtcp" address="127.0.0.1" port="{port}")"#
            ),
        );
        let address = format!("tcp://127.0.0.1:{port}");
        let mut pump = Pump::new(&[
            ("syslog-address", &address),
            ("syslog-format", format),
            ("syslog-framing", framing),
        ]);
        pump.run(0, 20_000, |_| ());
        assert_eq!(pump.failures, []);
        all_once(&server, 20_000);
        let parts = parts(&server).replace("|-|", "||");
        assert!(parts.contains(&wanted) || local_zone(), "{parts}");
        // The longest piece of a line.
        pump.padding = 16 * 1024 - 14;
        pump.run(20_000, 20_003, |_| ());
        let long = server.lines("line 0002000", 3);
        assert!(
            long.iter()
                .all(|line| line.ends_with(&"x".repeat(16 * 1024 - 14)))
        );
    }
}

/// The time zone of the machine is not UTC: texts with times are not compared.
fn local_zone() -> bool {
    std::env::var_os("TZ").is_some()
        || std::fs::read_to_string("/etc/timezone").is_ok_and(|zone| !zone.contains("UTC"))
}

#[test]
fn rsyslog_datagrams_and_unix_sockets() {
    let port = port();
    let folder = tempdir().unwrap();
    let dir = folder.path().display().to_string();
    let server = rsyslog(
        folder,
        &format!(
            r#"
module(load="imudp") input(type="imudp" address="127.0.0.1" port="{port}")
module(load="imuxsock" SysSock.Use="off") input(type="imuxsock" Socket="{{DIR}}/datagram" usespecialparser="off")
module(load="imptcp") input(type="imptcp" path="{{DIR}}/stream")
"#
        ),
    );
    let mut from = 0;
    for address in [
        format!("udp://127.0.0.1:{port}"),
        format!("unixgram://{dir}/datagram"),
        format!("unix://{dir}/stream"),
    ] {
        let mut pump = Pump::new(&[("syslog-address", &address), ("syslog-format", "rfc5424")]);
        // Small steps: what a receive buffer of UDP cannot hold is dropped, and nobody is told.
        pump.per_batch = 10;
        pump.destination.limits.window = 1;
        pump.run(from, from + 500, |_| ());
        from += 500;
        server.lines("line ", from as usize);
    }
    all_once(&server, 1500);
    let text = server.received();
    assert!(
        String::from_utf8_lossy(&text)
            .lines()
            .all(|line| line.starts_with("<30>1 2023-"))
    );
    // A stream to a datagram socket: the text says what to write.
    let wrong = Pump::new(&[("syslog-address", &format!("unix://{dir}/datagram"))]);
    let failure = wrong.connect().err().unwrap();
    assert!(
        failure.text.contains("write syslog-address=unixgram://"),
        "{failure}"
    );
}

fn tls_server(authority: &Authority, folder: tempfile::TempDir, mode: &str, port: u16) -> Server {
    let (cert, key) = authority.sign("server", &["localhost", "127.0.0.1"], false);
    let inputs = format!(
        r#"defaultNetstreamDriver="gtls" defaultNetstreamDriverCAFile="{}" defaultNetstreamDriverCertFile="{}" defaultNetstreamDriverKeyFile="{}"---
module(load="imtcp" streamDriver.name="gtls" streamDriver.mode="1" streamDriver.authMode="{mode}")
input(type="imtcp" address="127.0.0.1" port="{port}")
"#,
        authority.ca.display(),
        cert.display(),
        key.display()
    );
    rsyslog(folder, &inputs)
}

#[test]
fn rsyslog_tls() {
    let (folder, port) = (tempdir().unwrap(), port());
    let authority = Authority::new(folder.path());
    let ca = authority.ca.display().to_string();
    let server = tls_server(&authority, folder, "anon", port);
    let address = format!("tcp+tls://127.0.0.1:{port}");
    let mut pump = Pump::new(&[
        ("syslog-address", &address),
        ("syslog-format", "rfc5424micro"),
        ("syslog-tls-ca-cert", &ca),
    ]);
    pump.run(0, 20_000, |_| ());
    assert_eq!(pump.failures, []);
    all_once(&server, 20_000);
    // Without the authority: refused, and by name.
    let stranger = Pump::new(&[("syslog-address", &address)]);
    let failure = stranger.connect().err().unwrap();
    assert_eq!(failure.kind, FailureKind::Tls, "{failure}");
    let name = [
        ("syslog-address", &address[..]),
        ("syslog-tls-ca-cert", &ca),
        ("syslog-tls-server-name", "other.example.org"),
    ];
    let failure = Pump::new(&name).connect().err().unwrap();
    assert_eq!(failure.kind, FailureKind::Tls, "{failure}");
    Pump::new(&[("syslog-address", &address), ("syslog-tls-skip-verify", "")])
        .connect()
        .unwrap();
}

#[test]
fn rsyslog_tls_asks_for_a_certificate() {
    let (folder, port) = (tempdir().unwrap(), port());
    let authority = Authority::new(folder.path());
    let ca = authority.ca.display().to_string();
    let (cert, key) = authority.sign("client", &["client"], false);
    let server = tls_server(&authority, folder, "x509/certvalid", port);
    let address = format!("tcp+tls://127.0.0.1:{port}");
    let (cert, key) = (cert.display().to_string(), key.display().to_string());
    let with = [
        ("syslog-address", &address[..]),
        ("syslog-tls-ca-cert", &ca),
        ("syslog-tls-cert", &cert),
        ("syslog-tls-key", &key),
    ];
    let mut pump = Pump::new(&with);
    pump.run(0, 1000, |_| ());
    all_once(&server, 1000);
    // Without one, nothing counts as accepted, though TLS 1.3 lets the client write before it is refused.
    let mut without = Pump::new(&with[..2]);
    let mut batch = without.batch(1000, 1010);
    let accepted = match without.connect() {
        Err(_) => 0,
        Ok(mut connection) => {
            let failure = connection.send(&mut batch, &|| false).and_then(|()| {
                connection
                    .settled(Duration::from_millis(900), &mut Vec::new())
                    .map(|_| ())
            });
            assert!(failure.is_err());
            connection.close()
        }
    };
    assert_eq!(accepted, 0);
}

fn relp(options: &str, port: u16) -> String {
    format!(
        r#"module(load="imrelp") input(type="imrelp" address="127.0.0.1" port="{port}" maxDataSize="64k" {options})"#
    )
}

#[test]
fn rsyslog_relp() {
    let port = port();
    let server = rsyslog(tempdir().unwrap(), &relp("", port));
    let address = format!("relp://127.0.0.1:{port}");
    let mut pump = Pump::new(&[("syslog-address", &address), ("syslog-format", "rfc5424")]);
    pump.run(0, 20_000, |_| ());
    assert_eq!(pump.failures, []);
    // The answers came after the lines were written.
    assert!(numbers(&server.lines("line ", 0)).into_iter().eq(0..20_000));
}

#[test]
fn rsyslog_relp_tls() {
    let (folder, port) = (tempdir().unwrap(), port());
    let authority = Authority::new(folder.path());
    let (cert, key) = authority.sign("server", &["localhost", "127.0.0.1"], false);
    let ca = authority.ca.display().to_string();
    let tls = format!(
        r#"tls="on" tls.authMode="certvalid" tls.caCert="{ca}" tls.myCert="{}" tls.myPrivKey="{}""#,
        cert.display(),
        key.display()
    );
    let (cert, key) = authority.sign("client", &["client"], false);
    let server = rsyslog(folder, &relp(&tls, port));
    let address = format!("relp+tls://127.0.0.1:{port}");
    let mut pump = Pump::new(&[
        ("syslog-address", &address),
        ("syslog-tls-ca-cert", &ca),
        ("syslog-tls-cert", &cert.display().to_string()),
        ("syslog-tls-key", &key.display().to_string()),
    ]);
    pump.run(0, 5_000, |_| ());
    all_once(&server, 5_000);
}

#[test]
fn relp_loses_nothing_when_rsyslog_is_killed() {
    const COUNT: u64 = 60_000;
    let port = port();
    let mut server = rsyslog(tempdir().unwrap(), &relp("", port));
    let address = format!("relp://127.0.0.1:{port}");
    let mut pump = Pump::new(&[("syslog-address", &address), ("syslog-format", "rfc5424")]);
    let mut kills = vec![45_000, 30_000, 15_000, 3_000];
    let in_flight = pump.per_batch * pump.destination.limits.window;
    pump.run(0, COUNT, |settled| {
        if kills.last().is_some_and(|at| settled >= *at) {
            kills.pop();
            server.kill();
            server.again();
        }
    });
    assert!(kills.is_empty());
    assert!(pump.failures.len() >= 4, "{:?}", pump.failures);
    let duplicates = duplicates(&server, COUNT);
    assert!(
        duplicates <= in_flight * pump.failures.len(),
        "{duplicates}"
    );
    eprintln!("{} kills, {duplicates} duplicates, none lost", 4);
}

#[test]
fn tcp_comes_back_after_a_kill() {
    let port = port();
    let mut server = rsyslog(
        tempdir().unwrap(),
        &format!(r#"module(load="imtcp") input(type="imtcp" address="127.0.0.1" port="{port}")"#),
    );
    let address = format!("tcp://127.0.0.1:{port}");
    let mut pump = Pump::new(&[("syslog-address", &address), ("syslog-format", "rfc5424")]);
    pump.run(0, 5_000, |_| ());
    all_once(&server, 5_000);
    // Nothing is under way: nothing is lost, and the end is noticed before anything is given to the dead.
    server.kill();
    server.again();
    pump.run(5_000, 10_000, |_| ());
    all_once(&server, 10_000);
}

#[test]
fn syslog_ng_counted_and_lines() {
    for (source, framing, id) in [
        (
            "syslog(ip(127.0.0.1) port({PORT}) transport(tcp));",
            "octet-counted",
            "0123456789ab",
        ),
        (
            "network(ip(127.0.0.1) port({PORT}) transport(tcp) flags(syslog-protocol));",
            "auto",
            "0123456789ab",
        ),
    ] {
        let port = port();
        let server = syslog_ng(
            tempdir().unwrap(),
            &source.replace("{PORT}", &port.to_string()),
        );
        let address = format!("tcp://127.0.0.1:{port}");
        let mut pump = Pump::new(&[
            ("syslog-address", &address),
            ("syslog-format", "rfc5424micro"),
            ("syslog-framing", framing),
        ]);
        pump.run(0, 20_000, |_| ());
        all_once(&server, 20_000);
        let pid = std::process::id();
        let wanted =
            format!("30|2023-11-14T22:13:20.123456+00:00|node1|{id}|{pid}|{id}|line 00000000 ");
        assert_eq!(server.lines("line ", 1)[0], wanted);
    }
}
