//! The API on a port: mutual TLS with the docker CLI and our own, who is refused, and plain TCP.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::harness::daemon::{Options, taffrail_only};
use crate::harness::image::IMAGE;
use crate::harness::{Daemon, Engine, Run, binary, skip, wait_for};
use crate::need;

fn ready() -> Result<(), String> {
    taffrail_only()?;
    skip::program("docker")?;
    skip::program("openssl")
}

/// Two authorities; the first has signed the daemon's certificate and a client's, the second a
/// stranger's. Each client has a folder as `DOCKER_CERT_PATH` wants it.
struct Certificates {
    folder: PathBuf,
}

impl Certificates {
    fn make(folder: &Path) -> Self {
        let this = Self {
            folder: folder.to_owned(),
        };
        std::fs::create_dir_all(folder).expect("folder of certificates");
        for ca in ["ours", "theirs"] {
            this.openssl(&format!(
                "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 \
                 -subj /CN={ca} -addext basicConstraints=critical,CA:TRUE -keyout {ca}.key -out {ca}.pem"
            ));
        }
        this.issue(
            "server",
            "ours",
            "subjectAltName=DNS:localhost,IP:127.0.0.1",
        );
        this.client("friend", "ours", "ours");
        // Knows whom it talks to, but is not known.
        this.client("stranger", "theirs", "ours");
        // Is known, but trusts somebody else.
        this.client("doubter", "ours", "theirs");
        this
    }

    fn openssl(&self, arguments: &str) {
        let mut command = Command::new("openssl");
        command
            .current_dir(&self.folder)
            .args(arguments.split_ascii_whitespace());
        Run::new(command).output().code(0);
    }

    fn issue(&self, name: &str, ca: &str, extension: &str) {
        self.openssl(&format!(
            "req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj /CN={name} -keyout {name}.key -out {name}.csr"
        ));
        std::fs::write(self.folder.join("ext"), extension).expect("extensions");
        self.openssl(&format!(
            "x509 -req -in {name}.csr -CA {ca}.pem -CAkey {ca}.key -CAcreateserial -days 2 -extfile ext -out {name}.pem"
        ));
    }

    fn client(&self, name: &str, by: &str, trusts: &str) {
        self.issue(name, by, "extendedKeyUsage=clientAuth");
        let folder = self.folder.join(format!("{name}.d"));
        std::fs::create_dir(&folder).expect("a client's folder");
        for (from, to) in [
            (format!("{trusts}.pem"), "ca.pem"),
            (format!("{name}.pem"), "cert.pem"),
            (format!("{name}.key"), "key.pem"),
        ] {
            std::fs::copy(self.folder.join(from), folder.join(to)).expect("copy");
        }
    }

    fn path(&self, name: &str) -> String {
        self.folder.join(name).display().to_string()
    }
}

/// A daemon with TLS on a port of the kernel's choice, and its address.
fn with_tls() -> (Daemon, Certificates, String) {
    let folder = std::env::temp_dir().join(format!(
        "tfr-tls-{}-{:?}",
        std::process::id(),
        std::thread::current().id()
    ));
    let certificates = Certificates::make(&folder);
    let args = [
        "-H",
        "tcp://127.0.0.1:0",
        "--tlsverify",
        "--tlscacert",
        &certificates.path("ours.pem"),
        "--tlscert",
        &certificates.path("server.pem"),
        "--tlskey",
        &certificates.path("server.key"),
    ];
    let daemon = Daemon::of(
        Engine::Taffrail,
        Options {
            args: args.map(str::to_owned).to_vec(),
            ..Options::default()
        },
    );
    let host = daemon.logged("API is served\" host=\"tcp", "host");
    (daemon, certificates, host)
}

/// A client as it would be on another machine.
fn client(daemon: &Daemon, program: &Path, host: &str, folder: Option<String>) -> Command {
    let mut command = Command::new(program);
    daemon.client_environment(&mut command);
    command.env("DOCKER_HOST", host);
    if let Some(folder) = folder {
        command
            .env("DOCKER_TLS_VERIFY", "1")
            .env("DOCKER_CERT_PATH", folder);
    }
    command
}

#[test]
fn both_command_lines_work_over_mutual_tls() {
    need!(ready());
    let (daemon, certificates, host) = with_tls();
    for program in [PathBuf::from("docker"), binary("taffrail")] {
        let run = |args: &[&str]| {
            let folder = Some(certificates.path("friend.d"));
            Run::new(client(&daemon, &program, &host, folder)).args(args)
        };
        let output = run(&["run", "--rm", "-i", "--network", "none", IMAGE, "cat"])
            .stdin(vec![b'x'; 3_000_000])
            .output();
        assert_eq!(output.ok().len(), 3_000_000, "{}", program.display());
        let output = run(&[
            "run",
            "--name",
            "kept",
            "--network",
            "none",
            IMAGE,
            "sh",
            "-c",
            "echo out; echo err >&2; exit 7",
        ])
        .output();
        output.code(7);
        assert_eq!(
            (output.out(), output.err()),
            ("out\n".into(), "err\n".into())
        );
        let logs = run(&["logs", "-f", "kept"]).output();
        assert_eq!(logs.ok(), "out");
        run(&["rm", "kept"]).output().ok();
    }
    // The same by flags.
    for program in ["docker".into(), binary("taffrail")] {
        let run = Run::new(client(&daemon, &program, "", None))
            .args(["-H", &host, "--tlsverify"])
            .args(["--tlscacert", &certificates.path("friend.d/ca.pem")])
            .args(["--tlscert", &certificates.path("friend.d/cert.pem")])
            .args(["--tlskey", &certificates.path("friend.d/key.pem")]);
        run.args(["ps", "-q"]).output().ok();
    }
    daemon.finish();
    std::fs::remove_dir_all(&certificates.folder).expect("remove the certificates");
}

#[test]
fn who_has_no_right_certificate_is_refused() {
    need!(ready());
    let (daemon, certificates, host) = with_tls();
    for program in [PathBuf::from("docker"), binary("taffrail")] {
        for (name, text) in [
            ("stranger.d", "certificate"),
            // The client itself says no.
            ("doubter.d", "certificate"),
        ] {
            let folder = Some(certificates.path(name));
            let output = Run::new(client(&daemon, &program, &host, folder))
                .args(["ps"])
                .output();
            assert_eq!(output.code, 1, "{name}: {output}");
            assert!(
                output.err().to_lowercase().contains(text),
                "{name}: {output}"
            );
        }
        // No certificate at all.
        let mut command = client(&daemon, &program, &host, None);
        command.env("DOCKER_CERT_PATH", "/nonexistent");
        let output = Run::new(command).args(["--tls", "ps"]).output();
        assert_eq!(output.code, 1, "{output}");
    }
    // No TLS at all: Go's answer.
    let address = host.strip_prefix("tcp://").expect("a port");
    let mut stream = TcpStream::connect(address).expect("connect");
    stream
        .write_all(b"GET /_ping HTTP/1.1\r\nHost: x\r\n\r\n")
        .expect("send");
    let mut answer = String::new();
    let _ = stream.read_to_string(&mut answer);
    assert!(answer.starts_with("HTTP/1.0 400 "), "{answer}");
    assert!(
        answer.ends_with("Client sent an HTTP request to an HTTPS server.\n"),
        "{answer}"
    );
    daemon.logged("TLS handshake failed", "error");
    daemon.finish();
    std::fs::remove_dir_all(&certificates.folder).expect("remove the certificates");
}

#[test]
fn plain_tcp_works_and_is_warned_of() {
    need!(ready());
    let daemon = Daemon::of(
        Engine::Taffrail,
        Options {
            args: vec!["-H".into(), "tcp://127.0.0.1:0".into()],
            ..Options::default()
        },
    );
    let host = daemon.logged("API is served\" host=\"tcp", "host");
    assert!(daemon.log().contains("gives root access on this machine"));
    let info = daemon.get("/info");
    let warnings = info["Warnings"].to_string();
    assert!(warnings.contains("without encryption"), "{warnings}");
    for program in [PathBuf::from("docker"), binary("taffrail")] {
        let output = Run::new(client(&daemon, &program, &host, None))
            .args(["run", "--rm", "-i", "--network", "none", IMAGE, "cat"])
            .stdin("over tcp\n")
            .output();
        assert_eq!(output.ok(), "over tcp");
    }
    // A client that is gone is noticed although the stream is silent.
    let listeners = || daemon.get("/info")["NEventsListener"].as_u64();
    let mut child = Run::new(client(&daemon, Path::new("docker"), &host, None))
        .args(["events", "-f", "type=plugin"])
        .spawn();
    let soon = Duration::from_secs(20);
    wait_for("the client listens", soon, || {
        (listeners() == Some(1)).then_some(())
    });
    child.kill().expect("kill the client");
    child.wait().expect("wait for the client");
    wait_for("the client is gone", soon, || {
        (listeners() == Some(0)).then_some(())
    });
    daemon.finish();
}

#[test]
fn tls_files_are_checked_without_starting() {
    need!(skip::program("openssl"));
    let folder = std::env::temp_dir().join(format!("tfr-tls-{}-check", std::process::id()));
    let certificates = Certificates::make(&folder);
    let validate = |cert: &str, key: &str| {
        let config = folder.join("daemon.json");
        let text = serde_json::json!({
            "tlsverify": true,
            "tlscacert": certificates.path("ours.pem"),
            "tlscert": certificates.path(cert),
            "tlskey": certificates.path(key),
        });
        std::fs::write(&config, text.to_string()).expect("daemon.json");
        Run::new(Command::new(binary("taffrail")))
            .args(["daemon", "--validate", "--config-file"])
            .args([&config])
            .output()
    };
    assert_eq!(
        validate("server.pem", "server.key").ok(),
        "configuration OK"
    );
    for (cert, key) in [
        ("server.pem", "friend.key"),
        ("missing.pem", "server.key"),
        ("server.key", "server.key"),
    ] {
        let output = validate(cert, key);
        assert_eq!(output.code, 1, "{output}");
        assert!(
            output
                .err()
                .contains("invalid TLS configuration: could not load X509 key pair"),
            "{output}"
        );
    }
    std::fs::remove_dir_all(&folder).expect("remove the certificates");
}
