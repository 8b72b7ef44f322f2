//! The splunk driver against a strict double of the event collector: events arrive once and in order, faults lose nothing.

mod hec;

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hec::{Fault, Hec, Settings};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use taffrail_drivers::sink::{
    Batch, Destination, Encoded, Encoder, Environment, Failure, FailureKind, Record, Rejected,
    Stream,
};
use taffrail_drivers::{ContainerFacts, validate};

/// A sink and what an engine would keep of it: batches begin again at the cursor after a failure.
struct Sender {
    destination: Destination,
    encoder: Box<dyn Encoder>,
    cursor: u64,
    rejected: Vec<u64>,
    failures: Vec<Failure>,
    line: fn(u64) -> String,
}

fn plain(seq: u64) -> String {
    format!("line {seq}")
}

impl Sender {
    fn new(url: &str, options: &[(&str, &str)]) -> Self {
        let mut all = BTreeMap::from([
            ("splunk-url".to_owned(), url.to_owned()),
            ("splunk-token".to_owned(), "good-token".to_owned()),
        ]);
        for (name, value) in options {
            all.insert((*name).to_owned(), (*value).to_owned());
        }
        let found = validate("splunk", &all).unwrap();
        let settings = &found.sinks()[0].settings;
        let facts = ContainerFacts {
            id: "0123456789abcdef",
            name: "/web",
            hostname: "node1",
            ..ContainerFacts::default()
        };
        Self {
            destination: settings.destination(&Environment::default()).unwrap(),
            encoder: settings.encoder(&facts).unwrap(),
            cursor: 0,
            rejected: Vec::new(),
            failures: Vec::new(),
            line: plain,
        }
    }

    fn to(hec: &Hec, options: &[(&str, &str)]) -> Self {
        Self::new(&format!("http://{}", hec.address()), options)
    }

    fn batch(&mut self, from: u64, to: u64) -> Batch {
        let mut batch = Batch::default();
        for seq in from..to {
            let line = (self.line)(seq);
            let record = Record {
                epoch: 1,
                seq,
                time_ns: 1_700_000_000_000_000_000 + seq as i64 * 1000,
                stream: Stream::Stdout,
                line: line.as_bytes(),
                partial: None,
            };
            assert_eq!(self.encoder.encode(&record, &mut batch.bytes), Encoded::Yes);
            batch.ends.push(batch.bytes.len() as u32);
        }
        batch
    }

    /// One connection until all are settled or it fails.
    fn attempt(&mut self, total: u64, each: u64) -> Result<(), Failure> {
        let mut connection = self.destination.opener.open(&mut |_| ())?;
        let start = self.cursor;
        let mut sent = start;
        let mut unsettled = std::collections::VecDeque::new();
        let mut rejected: Vec<Rejected> = Vec::new();
        let until = Instant::now() + Duration::from_secs(40);
        let result = loop {
            if self.cursor >= total {
                break Ok(());
            }
            assert!(Instant::now() < until, "{} of {total}", self.cursor);
            if sent < total && unsettled.len() < self.destination.limits.window {
                let to = (sent + each).min(total);
                let mut batch = self.batch(sent, to);
                if let Err(failure) = connection.send(&mut batch, &|| false) {
                    break Err(failure);
                }
                sent = to;
                unsettled.push_back(to);
                continue;
            }
            match connection.settled(Duration::from_millis(200), &mut rejected) {
                Ok(settled) => {
                    self.cursor = start + settled;
                    while unsettled.front().is_some_and(|end| *end <= self.cursor) {
                        unsettled.pop_front();
                    }
                }
                Err(failure) => break Err(failure),
            }
        };
        self.cursor = start + connection.close();
        self.rejected
            .extend(rejected.iter().map(|one| start + one.record));
        result
    }

    /// As often as it takes.
    fn deliver(&mut self, total: u64, each: u64) {
        for _ in 0..50 {
            match self.attempt(total, each) {
                Ok(()) => return,
                Err(failure) => self.failures.push(failure),
            }
        }
        panic!("{} of {total}: {:?}", self.cursor, self.failures);
    }

    fn failure(&mut self) -> Failure {
        self.attempt(1, 1).unwrap_err()
    }
}

/// How often each number arrived; strict rules were kept.
fn counts(hec: &Hec, total: u64) -> Vec<u32> {
    let state = hec.state();
    assert_eq!(state.violations, Vec::<String>::new());
    let mut counts = vec![0; total as usize];
    for event in &state.events {
        let line = event["event"]["line"].as_str().unwrap();
        let number: String = line.chars().filter(char::is_ascii_digit).collect();
        counts[number.parse::<usize>().unwrap()] += 1;
    }
    counts
}

#[test]
fn events_arrive_once_and_in_order() {
    for options in [
        &[][..],
        &[("splunk-gzip", "true")],
        &[("splunk-verify-connection", "false")],
        &[("splunk-gzip", "true"), ("splunk-gzip-level", "0")],
    ] {
        let hec = Hec::start(Settings::default(), None);
        let mut sender = Sender::to(&hec, options);
        sender.deliver(10_000, 1000);
        assert!(sender.failures.is_empty());
        assert!(counts(&hec, 10_000).iter().all(|&n| n == 1));
        let state = hec.state();
        let lines: Vec<_> = state.events.iter().map(|e| &e["event"]["line"]).collect();
        assert!((0..10_000).all(|n| lines[n] == &format!("line {n}")));
        assert_eq!(state.connections, 1);
        let first = &state.requests[0];
        let verify = !options.contains(&("splunk-verify-connection", "false"));
        assert_eq!(first.method == "OPTIONS", verify);
        let last = state.requests.last().unwrap();
        assert_eq!(last.headers["authorization"], "Splunk good-token");
        assert!(!last.headers.contains_key("x-splunk-request-channel"));
        assert_eq!(
            last.headers.contains_key("content-encoding"),
            options.contains(&("splunk-gzip", "true"))
        );
    }
}

#[test]
fn acknowledged_once_indexed() {
    let hec = Hec::start(
        Settings {
            ack: true,
            indexed_after: Some(3),
            ..Settings::default()
        },
        None,
    );
    let mut sender = Sender::to(&hec, &[("splunk-index-acknowledgment", "true")]);
    sender.deliver(5000, 500);
    assert!(sender.failures.is_empty(), "{:?}", sender.failures);
    assert!(counts(&hec, 5000).iter().all(|&n| n == 1));
    let state = hec.state();
    let channels: std::collections::HashSet<_> = state
        .requests
        .iter()
        .filter_map(|r| r.headers.get("x-splunk-request-channel"))
        .collect();
    assert_eq!(channels.len(), 1);
}

#[test]
fn what_is_never_indexed_is_not_settled() {
    let hec = Hec::start(
        Settings {
            ack: true,
            indexed_after: None,
            ..Settings::default()
        },
        None,
    );
    let mut sender = Sender::to(
        &hec,
        &[
            ("splunk-index-acknowledgment", "true"),
            ("splunk-ack-timeout", "300ms"),
        ],
    );
    let failure = sender.failure();
    assert_eq!(failure.kind, FailureKind::Timeout);
    assert!(
        failure.text.contains("not indexed within 300ms"),
        "{failure}"
    );
    assert_eq!(sender.cursor, 0);
    hec.state().settings.indexed_after = Some(1);
    sender.deliver(1, 1);
}

#[test]
fn acknowledgement_that_one_side_lacks_is_denied() {
    let hec = Hec::start(Settings::default(), None);
    let failure = Sender::to(&hec, &[("splunk-index-acknowledgment", "true")]).failure();
    assert_eq!(failure.kind, FailureKind::Denied);
    assert!(failure.text.contains("no ackId"), "{failure}");
    hec.state().settings.ack = true;
    let failure = Sender::to(&hec, &[]).failure();
    assert_eq!(failure.kind, FailureKind::Denied);
    assert!(
        failure
            .text
            .contains("Data channel is missing (code 10): the token wants acknowledgements"),
        "{failure}"
    );
}

#[test]
fn refused_events_are_told_and_the_others_arrive() {
    for (number_off, keeps_before) in [
        (Some(0), true),
        (Some(1), false),
        (None, true),
        (None, false),
    ] {
        let hec = Hec::start(
            Settings {
                refused: Some("BAD"),
                number_off,
                keeps_before,
                ..Settings::default()
            },
            None,
        );
        let mut sender = Sender::to(&hec, &[]);
        sender.line = |seq| match seq {
            0 | 700 | 701 | 1999 => format!("BAD {seq}"),
            seq => plain(seq),
        };
        sender.deliver(2000, 500);
        assert!(sender.failures.is_empty(), "{:?}", sender.failures);
        assert_eq!(sender.rejected, [0, 700, 701, 1999]);
        let counts = counts(&hec, 2000);
        for (seq, count) in counts.iter().enumerate() {
            let bad = sender.rejected.contains(&(seq as u64));
            match (bad, keeps_before) {
                (true, _) => assert_eq!(*count, 0, "{seq}"),
                (false, false) => assert_eq!(*count, 1, "{seq}"),
                (false, true) => assert!(*count >= 1, "{seq}"),
            }
        }
        let requests = hec.state().requests.len();
        assert!(requests < 120, "{requests} requests");
    }
}

#[test]
fn requests_that_are_too_large_are_halved() {
    let hec = Hec::start(
        Settings {
            max_body: 10_000,
            ..Settings::default()
        },
        None,
    );
    let mut sender = Sender::to(&hec, &[]);
    sender.line = |seq| match seq {
        77 => format!("77{}", "x".repeat(20_000)),
        seq => plain(seq),
    };
    sender.deliver(1000, 1000);
    assert_eq!(sender.rejected, [77]);
    let counts = counts(&hec, 1000);
    assert!(
        counts
            .iter()
            .enumerate()
            .all(|(n, &c)| c == u32::from(n != 77))
    );
}

#[test]
fn faults_lose_nothing() {
    let hec = Hec::start(Settings::default(), None);
    hec.state().faults = [
        Fault::Close,
        Fault::Status(503, r#"{"text":"Server is busy","code":9}"#, None),
        Fault::Reset,
        Fault::Status(429, "", Some(3)),
        Fault::AnswerLost,
        Fault::Status(500, r#"{"text":"Internal server error","code":8}"#, None),
        Fault::Hang,
        Fault::Status(403, r#"{"text":"Invalid token","code":4}"#, None),
        Fault::Status(400, "<html>from a proxy</html>", None),
        Fault::Status(404, "", None),
    ]
    .into();
    let mut sender = Sender::to(&hec, &[("splunk-timeout", "500ms")]);
    sender.deliver(5000, 500);
    let kinds: Vec<_> = sender.failures.iter().map(|failure| failure.kind).collect();
    assert_eq!(
        kinds,
        [
            FailureKind::Unreachable,
            FailureKind::Busy(None),
            FailureKind::Unreachable,
            FailureKind::Busy(Some(Duration::from_secs(3))),
            FailureKind::Unreachable,
            FailureKind::Busy(None),
            FailureKind::Timeout,
            FailureKind::Denied,
            FailureKind::Protocol,
            FailureKind::Protocol,
        ]
    );
    assert!(sender.rejected.is_empty());
    let counts = counts(&hec, 5000);
    assert!(counts.iter().all(|&n| n >= 1));
    // Only what the lost answer was about.
    let twice = counts.iter().filter(|&&n| n > 1).count();
    assert_eq!(twice, 500);
}

#[test]
fn faults_lose_nothing_that_was_to_be_indexed() {
    let hec = Hec::start(
        Settings {
            ack: true,
            ..Settings::default()
        },
        None,
    );
    hec.state().faults = [
        Fault::AnswerLost,
        Fault::Status(503, "", None),
        Fault::Close,
        Fault::Reset,
    ]
    .into();
    let mut sender = Sender::to(&hec, &[("splunk-index-acknowledgment", "true")]);
    sender.deliver(5000, 500);
    assert_eq!(sender.failures.len(), 4);
    assert!(counts(&hec, 5000).iter().all(|&n| n >= 1));
}

#[test]
fn a_wrong_token_is_denied_and_not_shown() {
    let hec = Hec::start(Settings::default(), None);
    let failure = Sender::to(&hec, &[("splunk-token", "s3cret")]).failure();
    assert_eq!(failure.kind, FailureKind::Denied);
    let address = hec.address();
    assert_eq!(
        failure.text,
        format!("http://{address}: 403 Forbidden: Invalid token (code 4): check splunk-token")
    );
}

#[test]
fn a_token_in_a_file_is_read_anew() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("token");
    std::fs::write(&file, "old\n").unwrap();
    let hec = Hec::start(Settings::default(), None);
    let token = format!("@{}", file.display());
    let mut sender = Sender::to(&hec, &[("splunk-token", &token)]);
    assert_eq!(sender.failure().kind, FailureKind::Denied);
    std::fs::write(&file, "good-token\n").unwrap();
    sender.deliver(10, 10);
}

#[test]
fn verification_is_a_state_of_the_sink() {
    let hec = Hec::start(
        Settings {
            verify_status: 404,
            ..Settings::default()
        },
        None,
    );
    let failure = Sender::to(&hec, &[]).failure();
    assert_eq!(failure.kind, FailureKind::Protocol);
    assert!(
        failure
            .text
            .starts_with("splunk: failed to verify connection - http://127.0.0.1:"),
        "{failure}"
    );
    let url = format!("http://{}", hec.address());
    drop(hec);
    let failure = Sender::new(&url, &[]).failure();
    assert_eq!(failure.kind, FailureKind::Unreachable, "{failure}");
    let failure = Sender::new("http://nowhere.invalid", &[]).failure();
    assert_eq!(failure.kind, FailureKind::Unreachable, "{failure}");
}

#[test]
fn a_send_can_be_cancelled() {
    let hec = Hec::start(Settings::default(), None);
    hec.state().faults.push_back(Fault::Hang);
    let mut sender = Sender::to(&hec, &[]);
    let mut connection = sender.destination.opener.open(&mut |_| ()).unwrap();
    let mut first = sender.batch(0, 10);
    connection.send(&mut first, &|| false).unwrap();
    hec.wait_for("request", |state| state.faults.is_empty());
    let mut second = sender.batch(10, 20);
    let until = Instant::now() + Duration::from_millis(150);
    connection
        .send(&mut second, &|| Instant::now() >= until)
        .unwrap();
    assert!(until.elapsed() < Duration::from_secs(5));
    assert_eq!(connection.close(), 0);
}

/// A certificate for `splunk.test`, by openssl.
fn certificate(dir: &Path) -> Arc<rustls::ServerConfig> {
    let run = Command::new("openssl")
        .args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
        ])
        .args(["-nodes", "-days", "2", "-subj", "/CN=splunk.test"])
        .args(["-addext", "subjectAltName=DNS:splunk.test"])
        .arg("-keyout")
        .arg(dir.join("key.pem"))
        .arg("-out")
        .arg(dir.join("cert.pem"))
        .output()
        .expect("openssl is missing: run `make test`, which installs what the tests need");
    assert!(run.status.success(), "{run:?}");
    let chain = vec![CertificateDer::from_pem_file(dir.join("cert.pem")).unwrap()];
    let key = PrivateKeyDer::from_pem_file(dir.join("key.pem")).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    Arc::new(config)
}

#[test]
fn https() {
    let dir = tempfile::tempdir().unwrap();
    let hec = Hec::start(Settings::default(), Some(certificate(dir.path())));
    let url = format!("https://{}", hec.address());
    let ca = dir.path().join("cert.pem");
    let ca = ca.to_str().unwrap();

    // The right name, whoever is asked.
    let mut sender = Sender::new(
        &url,
        &[("splunk-capath", ca), ("splunk-caname", "splunk.test")],
    );
    sender.deliver(3000, 500);
    assert!(sender.failures.is_empty(), "{:?}", sender.failures);
    assert!(counts(&hec, 3000).iter().all(|&n| n == 1));
    let host = hec.state().requests[0].headers["host"].clone();
    assert_eq!(host, hec.address().to_string());

    let mut skips = Sender::new(&url, &[("splunk-insecureskipverify", "true")]);
    skips.deliver(1, 1);
    for options in [
        &[("splunk-capath", ca)][..],
        &[("splunk-capath", ca), ("splunk-caname", "other.test")],
        &[("splunk-capath", ca), ("splunk-caname", "10.1.2.3")],
        &[("splunk-caname", "splunk.test")],
    ] {
        let failure = Sender::new(&url, options).failure();
        assert_eq!(failure.kind, FailureKind::Tls, "{options:?}: {failure}");
    }
}
