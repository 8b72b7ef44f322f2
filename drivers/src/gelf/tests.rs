use std::collections::BTreeMap;
use std::io::Read as _;
use std::net::{TcpListener, UdpSocket};
use std::time::Duration;

use super::*;
use crate::sink::{Batch, Record, Rejected, Stream};

fn settings(pairs: &[(&str, &str)]) -> Result<Arc<dyn SinkSettings>, String> {
    let options: BTreeMap<_, _> = pairs
        .iter()
        .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
        .collect();
    crate::validate("gelf", &options)
        .map(|valid| Arc::clone(&valid.sinks()[0].settings))
        .map_err(|errors| errors.to_string())
}

fn facts() -> ContainerFacts<'static> {
    ContainerFacts {
        id: "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
        name: "/web",
        image_id: "sha256:77",
        image_name: "bb:latest",
        path: "sh",
        hostname: "node1",
        created: "2023-11-14T22:13:19.5Z",
        ..ContainerFacts::default()
    }
}

fn record(line: &[u8], time_ns: i64) -> Record<'_> {
    Record {
        epoch: 1,
        seq: 1,
        time_ns,
        stream: Stream::Stderr,
        line,
        partial: None,
    }
}

/// Batch of the lines as the driver makes it.
fn batch(settings: &dyn SinkSettings, lines: &[&[u8]]) -> Batch {
    let mut encoder = settings.encoder(&facts()).unwrap();
    let mut batch = Batch::default();
    for line in lines {
        if encoder.encode(&record(line, 1_700_000_000_120_456_789), &mut batch.bytes)
            == crate::sink::Encoded::Yes
        {
            batch.ends.push(u32::try_from(batch.bytes.len()).unwrap());
        }
    }
    batch
}

const END: &str = r#","_command":"sh","_container_id":"0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef","_container_name":"web","_created":"2023-11-14T22:13:19.5Z","_image_id":"sha256:77","_image_name":"bb:latest","_tag":"0123456789ab"}"#;

#[test]
fn messages_are_dockers() {
    let settings = settings(&[("gelf-address", "udp://h:1")]).unwrap();
    let batch = batch(&*settings, &[b"a <b> \xff", b"", b"c"]);
    let texts: Vec<_> = batch
        .records()
        .map(|r| String::from_utf8(r.to_vec()).unwrap())
        .collect();
    assert_eq!(
        texts,
        [
            format!(
                r#"{{"version":"1.1","host":"node1","short_message":"a \u003cb\u003e \ufffd","timestamp":1700000000.12,"level":3{END}"#
            ),
            format!(
                r#"{{"version":"1.1","host":"node1","short_message":"c","timestamp":1700000000.12,"level":3{END}"#
            ),
        ]
    );
}

#[test]
fn labels_override() {
    let labels = BTreeMap::from([
        ("tag".to_owned(), "x".to_owned()),
        ("_y".to_owned(), "z".to_owned()),
    ]);
    let facts = ContainerFacts {
        labels: Some(&labels),
        ..facts()
    };
    let settings = settings(&[("gelf-address", "tcp://h:1"), ("labels", "tag,_y")]).unwrap();
    let mut out = Vec::new();
    let mut encoder = settings.encoder(&facts).unwrap();
    encoder.encode(&record(b"a", 1_700_000_000_000_000_000), &mut out);
    let text = String::from_utf8(out).unwrap();
    assert!(
        text.ends_with(r#","_tag":"x","_y":"z"}"#.to_owned().as_str())
            || text.ends_with("\"_tag\":\"x\",\"_y\":\"z\"}\0"),
        "{text}"
    );
    assert!(text.contains("\"timestamp\":1700000000,"), "{text}");
}

#[test]
fn wrong_values() {
    for (pairs, text) in [
        (&[][..], "gelf-address is a required parameter"),
        (
            &[("gelf-address", "http://h:1")],
            "gelf: endpoint needs to be TCP or UDP",
        ),
        (
            &[("gelf-address", "udp://h")],
            "gelf: please provide gelf-address as proto://host:port",
        ),
        (
            &[("gelf-address", "udp://h:x")],
            "gelf: please provide gelf-address as proto://host:port",
        ),
        (
            &[
                ("gelf-address", "udp://h:1"),
                ("gelf-compression-type", "lz4"),
            ],
            "unknown value \"lz4\" for log opt \"gelf-compression-type\" for gelf log driver",
        ),
        (
            &[
                ("gelf-address", "udp://h:1"),
                ("gelf-compression-level", "10"),
            ],
            "unknown value \"10\" for log opt \"gelf-compression-level\" for gelf log driver",
        ),
        (
            &[
                ("gelf-address", "tcp://h:1"),
                ("gelf-compression-level", "1"),
            ],
            "compression is only supported on UDP",
        ),
        (
            &[
                ("gelf-address", "tcp://h:1"),
                ("gelf-compression-type", "none"),
            ],
            "compression is only supported on UDP",
        ),
        (
            &[
                ("gelf-address", "udp://h:1"),
                ("gelf-tcp-max-reconnect", "1"),
            ],
            "\"gelf-tcp-max-reconnect\" is only valid for TCP",
        ),
        (
            &[
                ("gelf-address", "tcp://h:1"),
                ("gelf-tcp-max-reconnect", "-1"),
            ],
            "\"gelf-tcp-max-reconnect\" must be a positive integer",
        ),
        (
            &[
                ("gelf-address", "tcp://h:1"),
                ("gelf-tcp-reconnect-delay", "x"),
            ],
            "\"gelf-tcp-reconnect-delay\" must be a positive integer",
        ),
        (
            &[("gelf-address", "tcp://h:1"), ("gelf-tls-ca-cert", "/x")],
            "gelf-tls-ca-cert is only valid for tls://",
        ),
        (
            &[("gelf-address", "tls://h:1"), ("gelf-tls-cert", "/x")],
            "a certificate needs its key",
        ),
        (
            &[
                ("gelf-address", "tls://h:1"),
                ("gelf-tls-skip-verify", "maybe"),
            ],
            "strconv.ParseBool: parsing \"maybe\": invalid syntax",
        ),
        (
            &[
                ("gelf-address", "tls://h:1"),
                ("gelf-tls-server-name", "a b"),
            ],
            "no name for a certificate",
        ),
        (
            &[("gelf-address", "udp://h:1"), ("bogus", "1")],
            "unknown log opt \"bogus\" for gelf log driver",
        ),
    ] {
        let error = settings(pairs).unwrap_err();
        assert!(error.starts_with(text) || error.contains(text), "{error}");
    }
    for good in [
        &[
            ("gelf-address", "udp://[::1]:12201"),
            ("gelf-compression-type", "zlib"),
            ("gelf-compression-level", "-1"),
        ][..],
        &[
            ("gelf-address", "tcp://h:1"),
            ("gelf-tcp-max-reconnect", "0"),
            ("gelf-tcp-reconnect-delay", "5"),
        ],
    ] {
        settings(good).unwrap();
    }
}

/// Sends the lines to a socket of this test; the messages that a receiver puts together.
fn over_udp(more: &[(&str, &str)], lines: &[&[u8]]) -> (Vec<Vec<u8>>, usize, Vec<Rejected>) {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket
        .set_read_timeout(Some(Duration::from_secs(5)))
        .unwrap();
    let address = format!("udp://{}", socket.local_addr().unwrap());
    let mut options = vec![("gelf-address", address.as_str())];
    options.extend(more);
    let settings = settings(&options).unwrap();
    let destination = settings.destination(&Environment::default()).unwrap();
    let mut connection = destination.opener.open(&mut |_| {}).unwrap();
    let mut batch = batch(&*settings, lines);
    let count = batch.len() as u64;
    connection.send(&mut batch, &|| false).unwrap();
    let mut rejected = Vec::new();
    while connection
        .settled(Duration::from_secs(1), &mut rejected)
        .unwrap()
        < count
    {}
    let (mut messages, mut longest) = (Vec::new(), 0);
    let mut chunks: BTreeMap<Vec<u8>, Vec<Vec<u8>>> = BTreeMap::new();
    while messages.len() < lines.len() - rejected.len() {
        let mut buffer = [0; 65536];
        let got = socket.recv(&mut buffer).unwrap();
        longest = longest.max(got);
        let datagram = &buffer[..got];
        if !datagram.starts_with(&[0x1e, 0x0f]) {
            messages.push(datagram.to_vec());
            continue;
        }
        let parts = chunks.entry(datagram[2..10].to_vec()).or_default();
        assert_eq!(
            parts.len(),
            usize::from(datagram[10]),
            "in order on this machine"
        );
        assert!(datagram.len() > 12, "an empty chunk");
        parts.push(datagram[12..].to_vec());
        if parts.len() == usize::from(datagram[11]) {
            messages.push(parts.concat());
        }
    }
    (messages, longest, rejected)
}

#[test]
fn datagrams_are_compressed_and_chunked() {
    let mut noise = vec![0u8; 9000];
    let mut state = 7u32;
    for byte in &mut noise {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        *byte = b'a' + (state >> 24) as u8 % 26;
    }
    let (gzip, longest, _) = over_udp(&[], &[b"hello", &noise]);
    assert!(longest <= MAX && gzip.len() == 2);
    for message in &gzip {
        let mut text = String::new();
        flate2::read::GzDecoder::new(&message[..])
            .read_to_string(&mut text)
            .unwrap();
        assert!(text.ends_with(END));
    }
    let (zlib, ..) = over_udp(&[("gelf-compression-type", "zlib")], &[&noise]);
    let mut text = String::new();
    flate2::read::ZlibDecoder::new(&zlib[0][..])
        .read_to_string(&mut text)
        .unwrap();
    assert!(text.contains(std::str::from_utf8(&noise).unwrap()));
    let (plain, ..) = over_udp(&[("gelf-compression-type", "none")], &[&noise]);
    assert!(plain[0].starts_with(b"{\"version\"") && plain[0].ends_with(END.as_bytes()));
    // 128 chunks of 1,408 bytes are the most.
    let huge = vec![b'x'; 200_000];
    let (_, _, rejected) = over_udp(&[("gelf-compression-type", "none")], &[&huge, b"after"]);
    assert_eq!((rejected.len(), rejected[0].record), (1, 0));
    assert!(
        rejected[0].reason.contains("would need 143 chunks"),
        "{}",
        rejected[0].reason
    );
}

const MAX: usize = 1420;

#[test]
fn nobody_at_the_port_is_a_failure() {
    let port = UdpSocket::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let address = format!("udp://{port}");
    let settings = settings(&[("gelf-address", &address)]).unwrap();
    let destination = settings.destination(&Environment::default()).unwrap();
    let mut connection = destination.opener.open(&mut |_| {}).unwrap();
    let failure = connection
        .send(&mut batch(&*settings, &[b"a"]), &|| false)
        .and_then(|()| {
            connection
                .settled(Duration::from_secs(1), &mut Vec::new())
                .map(drop)
        })
        .unwrap_err();
    assert!(failure.text.contains("nobody listens"), "{failure}");
    assert_eq!(connection.close(), 0);
}

#[test]
fn a_stream_ends_each_message_with_nul() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("tcp://{}", listener.local_addr().unwrap());
    let settings = settings(&[("gelf-address", &address)]).unwrap();
    let destination = settings.destination(&Environment::default()).unwrap();
    assert_eq!(destination.address, address);
    let reader = std::thread::spawn(move || {
        let mut all = Vec::new();
        listener.accept().unwrap().0.read_to_end(&mut all).unwrap();
        all
    });
    let mut connection = destination.opener.open(&mut |_| {}).unwrap();
    connection
        .send(&mut batch(&*settings, &[b"a", b"b"]), &|| false)
        .unwrap();
    while connection
        .settled(Duration::from_secs(1), &mut Vec::new())
        .unwrap()
        < 2
    {}
    assert_eq!(connection.close(), 2);
    let all = reader.join().unwrap();
    let messages: Vec<_> = all.split(|b| *b == 0).collect();
    assert_eq!(messages.len(), 3);
    assert!(messages[2].is_empty());
    for message in &messages[..2] {
        serde_json::from_slice::<serde_json::Value>(message).unwrap();
    }
}
