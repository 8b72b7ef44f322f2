use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

use super::*;
use crate::sink::{Batch, Connection, Encoded, Partial, Record, Stream};

fn settings(pairs: &[(&str, &str)]) -> Result<Arc<dyn SinkSettings>, String> {
    let options: BTreeMap<_, _> = pairs
        .iter()
        .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
        .collect();
    crate::validate("fluentd", &options)
        .map(|valid| Arc::clone(&valid.sinks()[0].settings))
        .map_err(|errors| errors.to_string())
}

fn facts() -> ContainerFacts<'static> {
    ContainerFacts {
        id: "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
        name: "web",
        ..ContainerFacts::default()
    }
}

fn batch(settings: &dyn SinkSettings, lines: usize) -> Batch {
    let mut encoder = settings.encoder(&facts()).unwrap();
    let mut batch = Batch {
        scope: encoder.scope().map(str::to_owned),
        ..Batch::default()
    };
    for n in 0..lines {
        let line = format!("line {n}");
        let record = Record {
            epoch: 1,
            seq: n as u64 + 1,
            time_ns: 1_700_000_000_123_456_789,
            stream: Stream::Stdout,
            line: line.as_bytes(),
            partial: None,
        };
        assert_eq!(encoder.encode(&record, &mut batch.bytes), Encoded::Yes);
        batch.ends.push(u32::try_from(batch.bytes.len()).unwrap());
    }
    batch
}

/// Docker's bytes for `hello`.
fn dockers() -> Vec<u8> {
    let mut bytes =
        b"\x94\xac0123456789ab\xd2\x65\x53\xf1\x00\x84\xaccontainer_id\xd9\x40".to_vec();
    bytes.extend_from_slice(facts().id.as_bytes());
    bytes.extend_from_slice(b"\xaecontainer_name\xa4/web\xa6source\xa6stdout\xa3log\xa6line 0\x80");
    bytes
}

#[test]
fn wrong_values() {
    for (option, value, text) in [
        (
            "fluentd-address",
            "udp://x",
            "invalid fluentd-address (udp://x): unsupported scheme: 'udp'",
        ),
        (
            "fluentd-async",
            "x",
            "strconv.ParseBool: parsing \"x\": invalid syntax",
        ),
        (
            "fluentd-async-reconnect-interval",
            "50ms",
            "invalid value for fluentd-async-reconnect-interval: value (\"50ms\") must be between 100ms and 10s",
        ),
        (
            "fluentd-async-reconnect-interval",
            "x",
            "invalid value for fluentd-async-reconnect-interval: time: invalid duration \"x\"",
        ),
        ("fluentd-buffer-limit", "xx", "invalid size: 'xx'"),
        (
            "fluentd-max-retries",
            "x",
            "strconv.ParseUint: parsing \"x\": invalid syntax",
        ),
        (
            "fluentd-max-retries",
            "2147483648",
            "invalid fluentd-max-retries: value out of range",
        ),
        (
            "fluentd-retry-wait",
            "10",
            "time: missing unit in duration \"10\"",
        ),
        (
            "fluentd-sub-second-precision",
            "2",
            "strconv.ParseBool: parsing \"2\"",
        ),
        (
            "fluentd-request-ack",
            "2",
            "strconv.ParseBool: parsing \"2\"",
        ),
        (
            "fluentd-write-timeout",
            "-1s",
            "invalid value for fluentd-write-timeout: value must be a duration that is non-negative",
        ),
        (
            "fluentd-read-timeout",
            "x",
            "invalid value for fluentd-read-timeout: value must be a duration: time: invalid duration \"x\"",
        ),
        ("fluentd-compress", "zstd", "no such compression"),
        ("fluentd-shared-key", "@x", "must be absolute"),
        ("fluentd-password", "secret:/", "no name of a secret"),
        ("fluentd-username", "u", "a user needs fluentd-shared-key"),
        ("fluentd-tls-ca-cert", "/x", "only valid for tls://"),
        ("fluentd-tls-skip-verify", "x", "strconv.ParseBool"),
        (
            "fluentd-tls-server-name",
            "a b",
            "no name for a certificate",
        ),
        (
            "fluentd-bogus",
            "1",
            "unknown log opt 'fluentd-bogus' for fluentd log driver",
        ),
    ] {
        let error = settings(&[(option, value)]).unwrap_err();
        assert!(error.contains(text), "{option}: {error}");
        assert!(
            option.ends_with("bogus") || error.contains("allowed"),
            "{error}"
        );
    }
    let error = settings(&[("fluentd-shared-key", "@geheim")]).unwrap_err();
    assert!(error.contains("fluentd-shared-key=\"xxxx\""), "{error}");
    settings(&[
        ("fluentd-address", "tls://h"),
        ("fluentd-async", "true"),
        ("fluentd-async-reconnect-interval", "1s"),
        ("fluentd-buffer-limit", "8m"),
        ("fluentd-max-retries", "3"),
        ("fluentd-retry-wait", "500ms"),
        ("fluentd-write-timeout", "5s"),
        ("fluentd-read-timeout", "0"),
        ("fluentd-shared-key", "k"),
        ("fluentd-username", "u"),
        ("fluentd-password", "p"),
        ("fluentd-compress", "gzip"),
    ])
    .unwrap();
}

#[test]
fn pieces_and_attributes() {
    let labels = BTreeMap::from([
        ("log".to_owned(), "never".to_owned()),
        ("source".to_owned(), "mine".to_owned()),
    ]);
    let facts = ContainerFacts {
        labels: Some(&labels),
        ..facts()
    };
    let settings = settings(&[
        ("labels", "log,source"),
        ("fluentd-sub-second-precision", "true"),
    ])
    .unwrap();
    let mut encoder = settings.encoder(&facts).unwrap();
    let record = Record {
        epoch: 1,
        seq: 1,
        time_ns: 1_700_000_000_123_456_789,
        stream: Stream::Stderr,
        line: b"\xff",
        partial: Some(Partial {
            id: "ab",
            ordinal: 12,
            last: false,
        }),
    };
    let mut out = Vec::new();
    encoder.encode(&record, &mut out);
    assert!(
        out.starts_with(b"\x92\xd7\x00\x65\x53\xf1\x00\x07\x5b\xcd\x15\x88"),
        "{out:02x?}"
    );
    let has = |part: &[u8]| memchr::memmem::find(&out, part).is_some();
    assert!(has(b"\xa6source\xa4mine") && has(b"\xa3log\xa1\xff") && !has(b"never"));
    assert!(has(b"\xafpartial_message\xa4true\xaapartial_id\xa2ab\xafpartial_ordinal\xa212\xacpartial_last\xa5false"));
}

/// A receiver of this test and a connection to it.
fn connected(
    pairs: &[(&str, &str)],
) -> (
    Arc<dyn SinkSettings>,
    Box<dyn Connection>,
    TcpStream,
    Destination,
) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let mut options = vec![("fluentd-address", address.as_str())];
    options.extend(pairs);
    let settings = settings(&options).unwrap();
    let destination = settings.destination(&Environment::default()).unwrap();
    let connection = destination.opener.open(&mut |_| {}).unwrap();
    let (receiver, _) = listener.accept().unwrap();
    receiver
        .set_read_timeout(Some(Duration::from_secs(5)))
        .unwrap();
    (settings, connection, receiver, destination)
}

fn read(receiver: &mut TcpStream, bytes: usize) -> Vec<u8> {
    let mut found = vec![0; bytes];
    receiver.read_exact(&mut found).unwrap();
    found
}

fn settle(connection: &mut dyn Connection, records: u64) {
    let end = Instant::now() + Duration::from_secs(10);
    while connection
        .settled(Duration::from_millis(100), &mut Vec::new())
        .unwrap()
        < records
    {
        assert!(Instant::now() < end, "{records} were not settled");
    }
}

#[test]
fn a_small_batch_is_dockers_messages() {
    let (settings, mut connection, mut receiver, _) = connected(&[]);
    connection
        .send(&mut batch(&*settings, 1), &|| false)
        .unwrap();
    assert_eq!(read(&mut receiver, dockers().len()), dockers());
    // The kernel's word counts after a while.
    settle(&mut *connection, 1);
    assert_eq!(connection.close(), 1);
}

/// The chunk's id in a message.
fn chunk_of(bytes: &[u8]) -> Vec<u8> {
    let at = memchr::memmem::find(bytes, b"\xa5chunk\xb8").unwrap();
    bytes[at + 7..at + 31].to_vec()
}

fn acknowledge(receiver: &mut TcpStream, id: &[u8]) {
    receiver
        .write_all(&[b"\x81\xa3ack\xb8".as_slice(), id].concat())
        .unwrap();
}

#[test]
fn requested_acknowledgements_count() {
    let (settings, mut connection, mut receiver, _) = connected(&[("fluentd-request-ack", "true")]);
    connection
        .send(&mut batch(&*settings, 2), &|| false)
        .unwrap();
    let size = dockers().len() + 31;
    let first = read(&mut receiver, size);
    assert_eq!(
        first[..dockers().len() - 1],
        dockers()[..dockers().len() - 1]
    );
    let second = read(&mut receiver, size);
    assert_eq!(
        connection
            .settled(Duration::from_millis(50), &mut Vec::new())
            .unwrap(),
        0
    );
    // In whatever order they come.
    acknowledge(&mut receiver, &chunk_of(&second));
    assert_eq!(
        connection
            .settled(Duration::from_millis(50), &mut Vec::new())
            .unwrap(),
        0
    );
    acknowledge(&mut receiver, &chunk_of(&first));
    settle(&mut *connection, 2);
}

/// Reads a packed message of these entries, which asks for an acknowledgement.
fn packed(receiver: &mut TcpStream, entries: &[u8], records: u8) -> Vec<u8> {
    let mut bytes = Vec::new();
    while memchr::memmem::find(&bytes, b"\xa5chunk\xb8").is_none_or(|at| bytes.len() < at + 31) {
        bytes.extend(read(receiver, 1));
    }
    assert!(bytes.starts_with(b"\x93\xac0123456789ab"), "{bytes:02x?}");
    assert!(memchr::memmem::find(&bytes, entries).is_some());
    let size = [b"\x82\xa4size".as_slice(), &[records]].concat();
    assert!(memchr::memmem::find(&bytes, &size).is_some());
    bytes
}

#[test]
fn whether_it_acknowledges_is_found_out() {
    let (settings, mut connection, mut receiver, destination) = connected(&[]);
    connection
        .send(&mut batch(&*settings, 70), &|| false)
        .unwrap();
    // No id yet: the first batch of a connection is not the question.
    let entries = batch(&*settings, 70).bytes;
    let options = 1 + 5 + 1;
    let first = read(&mut receiver, 1 + 13 + 3 + entries.len() + options);
    assert!(memchr::memmem::find(&first, b"chunk").is_none());
    connection
        .send(&mut batch(&*settings, 1), &|| false)
        .unwrap();
    let question = packed(&mut receiver, &batch(&*settings, 1).bytes, 1);
    assert_eq!(
        connection
            .settled(Duration::from_millis(50), &mut Vec::new())
            .unwrap(),
        0
    );
    acknowledge(&mut receiver, &chunk_of(&question));
    settle(&mut *connection, 71);
    // Known now: also small ones ask, on this connection and on the next.
    connection
        .send(&mut batch(&*settings, 1), &|| false)
        .unwrap();
    let small = read(&mut receiver, dockers().len() + 31);
    acknowledge(&mut receiver, &chunk_of(&small));
    settle(&mut *connection, 72);
    drop(destination);
}

#[test]
fn one_that_does_not_answer_is_believed_by_its_kernel() {
    let (settings, mut connection, mut receiver, _) = connected(&[]);
    let reader = std::thread::spawn(move || {
        let mut all = Vec::new();
        let _ = receiver.set_read_timeout(None);
        receiver.read_to_end(&mut all).unwrap();
        all
    });
    connection
        .send(&mut batch(&*settings, 70), &|| false)
        .unwrap();
    connection
        .send(&mut batch(&*settings, 70), &|| false)
        .unwrap();
    settle(&mut *connection, 140);
    connection
        .send(&mut batch(&*settings, 3), &|| false)
        .unwrap();
    settle(&mut *connection, 143);
    drop(connection);
    let all = reader.join().unwrap();
    assert_eq!(
        memchr::memmem::find_iter(&all, b"container_id").count(),
        143
    );
}

#[test]
fn what_was_not_acknowledged_is_not_settled() {
    let (settings, mut connection, mut receiver, _) = connected(&[
        ("fluentd-request-ack", "true"),
        ("fluentd-read-timeout", "200ms"),
    ]);
    connection
        .send(&mut batch(&*settings, 20), &|| false)
        .unwrap();
    let message = packed(&mut receiver, &batch(&*settings, 20).bytes, 20);
    acknowledge(&mut receiver, &chunk_of(&message));
    settle(&mut *connection, 20);
    connection
        .send(&mut batch(&*settings, 20), &|| false)
        .unwrap();
    let end = Instant::now() + Duration::from_secs(5);
    let failure = loop {
        match connection.settled(Duration::from_millis(50), &mut Vec::new()) {
            Ok(settled) => assert_eq!(settled, 20),
            Err(failure) => break failure,
        }
        assert!(Instant::now() < end);
    };
    assert!(
        failure.text.contains("has acknowledged nothing"),
        "{failure}"
    );
    assert_eq!(connection.close(), 20);
}

/// One that acknowledges is followed by one that does not, at the same address.
#[test]
fn what_was_learned_is_not_believed_for_ever() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let options = [
        ("fluentd-address", address.as_str()),
        ("fluentd-read-timeout", "200ms"),
    ];
    let settings = settings(&options).unwrap();
    let destination = settings.destination(&Environment::default()).unwrap();
    let open = || {
        let connection = destination.opener.open(&mut |_| {}).unwrap();
        let (receiver, _) = listener.accept().unwrap();
        receiver
            .set_read_timeout(Some(Duration::from_secs(5)))
            .unwrap();
        (connection, receiver)
    };
    let (mut connection, mut receiver) = open();
    connection
        .send(&mut batch(&*settings, 70), &|| false)
        .unwrap();
    connection
        .send(&mut batch(&*settings, 1), &|| false)
        .unwrap();
    let mut bytes = Vec::new();
    while memchr::memmem::find(&bytes, b"\xa5chunk\xb8").is_none_or(|at| bytes.len() < at + 31) {
        bytes.extend(read(&mut receiver, 1));
    }
    acknowledge(&mut receiver, &chunk_of(&bytes));
    settle(&mut *connection, 71);
    drop((connection, receiver));
    let end = Instant::now() + Duration::from_secs(20);
    // The first connection finds that nothing is acknowledged any more; the next one asks anew.
    loop {
        assert!(Instant::now() < end, "it never gets on");
        let (mut connection, mut receiver) = open();
        let reader = std::thread::spawn(move || std::io::copy(&mut receiver, &mut std::io::sink()));
        connection
            .send(&mut batch(&*settings, 70), &|| false)
            .unwrap();
        connection
            .send(&mut batch(&*settings, 1), &|| false)
            .unwrap();
        let settled = loop {
            match connection.settled(Duration::from_millis(50), &mut Vec::new()) {
                Ok(71) => break true,
                Ok(_) => assert!(Instant::now() < end, "it never gets on"),
                Err(_) => break false,
            }
        };
        drop(connection);
        let _ = reader.join();
        if settled {
            break;
        }
    }
}

#[test]
fn one_that_wants_a_key_is_named() {
    let (_, mut connection, mut receiver, _) = connected(&[]);
    receiver
        .write_all(b"\x92\xa4HELO\x81\xa5nonce\xa1x")
        .unwrap();
    let end = Instant::now() + Duration::from_secs(5);
    let failure = loop {
        if let Err(failure) = connection.settled(Duration::from_millis(50), &mut Vec::new()) {
            break failure;
        }
        assert!(Instant::now() < end);
    };
    assert!(failure.text.contains("set fluentd-shared-key"), "{failure}");
    assert_eq!(failure.kind, crate::sink::FailureKind::Denied);
}
