//! The journald driver against the real systemd-journald.

mod journal_peer;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use journal_peer::{Journald, wait_for};
use taffrail_drivers::sink::{
    Batch, Connection, Destination, Encoded, Encoder, Environment, FailureKind, Partial, Record,
    Stream,
};
use taffrail_drivers::{ContainerFacts, validate};

const ID: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

fn sink(journald: &Journald) -> (Destination, Box<dyn Encoder>) {
    let options = BTreeMap::from([
        (
            "journald-socket".to_owned(),
            journald.socket().to_str().unwrap().to_owned(),
        ),
        ("labels".to_owned(), "com.example.team".to_owned()),
    ]);
    let found = validate("journald", &options).unwrap();
    let settings = &found.sinks()[0].settings;
    let labels = BTreeMap::from([("com.example.team".to_owned(), "core".to_owned())]);
    let facts = ContainerFacts {
        id: ID,
        name: "/web",
        image_name: "bb:latest",
        labels: Some(&labels),
        ..ContainerFacts::default()
    };
    (
        settings.destination(&Environment::default()).unwrap(),
        settings.encoder(&facts).unwrap(),
    )
}

fn record(seq: u64, line: &[u8]) -> Record<'_> {
    Record {
        epoch: 1,
        seq,
        time_ns: 1_700_000_000_000_000_000 + seq as i64,
        stream: Stream::Stdout,
        line,
        partial: None,
    }
}

fn add(batch: &mut Batch, encoder: &mut dyn Encoder, record: &Record<'_>) {
    assert_eq!(encoder.encode(record, &mut batch.bytes), Encoded::Yes);
    batch.ends.push(batch.bytes.len() as u32);
}

/// Sends numbered records `from..to` in batches of `each`.
fn send_numbered(
    connection: &mut dyn Connection,
    encoder: &mut dyn Encoder,
    from: u64,
    to: u64,
) -> Result<(), taffrail_drivers::sink::Failure> {
    let mut batch = Batch::default();
    for seq in from..to {
        add(
            &mut batch,
            encoder,
            &record(seq, format!("line {seq}").as_bytes()),
        );
        if batch.len() == 1000 || seq + 1 == to {
            connection.send(&mut batch, &|| false)?;
            batch.clear();
        }
    }
    Ok(())
}

fn settle(connection: &mut dyn Connection, count: u64) {
    let until = Instant::now() + Duration::from_secs(60);
    let mut settled = 0;
    while settled < count {
        assert!(Instant::now() < until, "{settled} of {count} settled");
        settled = connection
            .settled(Duration::from_secs(1), &mut Vec::new())
            .unwrap();
    }
    assert_eq!(settled, count);
}

#[test]
fn fields_and_bytes_arrive_as_written() {
    let journald = Journald::start("fields");
    let (destination, mut encoder) = sink(&journald);
    let mut lines = Vec::new();
    let mut connection = destination
        .opener
        .open(&mut |line| lines.push(line))
        .unwrap();
    assert!(lines[0].starts_with("connected to /"), "{lines:?}");
    let mut batch = Batch::default();
    let binary: Vec<u8> = (0..=255).collect();
    let large = vec![b'x'; 16384];
    let sent: [&[u8]; 5] = [b"hello", b"", &binary, b"two\nlines", &large];
    for (seq, line) in (1..).zip(sent) {
        add(&mut batch, encoder.as_mut(), &record(seq, line));
    }
    let mut piece = record(6, b"piece");
    piece.stream = Stream::Stderr;
    piece.partial = Some(Partial {
        id: ID,
        ordinal: 1,
        last: false,
    });
    add(&mut batch, encoder.as_mut(), &piece);
    connection.send(&mut batch, &|| false).unwrap();
    settle(connection.as_mut(), 6);
    assert_eq!(connection.close(), 6);

    wait_for("six records", || journald.values("MESSAGE").len() >= 6);
    let messages = journald.values("MESSAGE");
    assert!(messages[..5] == sent);
    assert_eq!(messages[5], b"piece");
    let export = String::from_utf8_lossy(&journald.export()).into_owned();
    for field in [
        "PRIORITY=3",
        "CONTAINER_ID=0123456789ab",
        "CONTAINER_NAME=web",
        "CONTAINER_TAG=0123456789ab",
        "SYSLOG_IDENTIFIER=0123456789ab",
        "IMAGE_NAME=bb:latest",
        "COM_EXAMPLE_TEAM=core",
        "SYSLOG_TIMESTAMP=2023-11-14T22:13:20.000000001Z",
        "CONTAINER_PARTIAL_ORDINAL=1",
        "CONTAINER_PARTIAL_LAST=false",
        "CONTAINER_PARTIAL_MESSAGE=true",
    ] {
        assert!(export.contains(&format!("\n{field}\n")), "no {field}");
    }
}

#[test]
fn a_hundred_thousand_in_order() {
    let journald = Journald::start("many");
    let (destination, mut encoder) = sink(&journald);
    let mut connection = destination.opener.open(&mut |_| ()).unwrap();
    send_numbered(connection.as_mut(), encoder.as_mut(), 0, 100_000).unwrap();
    settle(connection.as_mut(), 100_000);
    wait_for("all records", || {
        journald.values("CONTAINER_LOG_ORDINAL").len() >= 100_000
    });
    let ordinals = journald.values("CONTAINER_LOG_ORDINAL");
    let expected: Vec<_> = (0..100_000)
        .map(|n: u64| n.to_string().into_bytes())
        .collect();
    assert!(ordinals == expected, "{} records", ordinals.len());
}

#[test]
fn a_megabyte_goes_as_a_file() {
    let journald = Journald::start("large");
    let (destination, mut encoder) = sink(&journald);
    let mut connection = destination.opener.open(&mut |_| ()).unwrap();
    // More than any socket buffer on this machine takes.
    let large: Vec<u8> = (0..9 << 20).map(|n: u32| (n % 251) as u8).collect();
    let mut batch = Batch::default();
    add(&mut batch, encoder.as_mut(), &record(1, b"before"));
    add(&mut batch, encoder.as_mut(), &record(2, &large[..1 << 20]));
    add(&mut batch, encoder.as_mut(), &record(3, &large));
    add(&mut batch, encoder.as_mut(), &record(4, b"after"));
    connection.send(&mut batch, &|| false).unwrap();
    settle(connection.as_mut(), 4);
    wait_for("four records", || {
        journald.values("CONTAINER_LOG_ORDINAL").len() == 4
    });
    let messages = journald.values("MESSAGE");
    assert!(messages == [&b"before"[..], &large[..1 << 20], &large, b"after"]);
}

#[test]
fn a_stopped_journald_is_back_pressure_and_can_be_cancelled() {
    let journald = Journald::start("full");
    let (destination, mut encoder) = sink(&journald);
    let mut connection = destination.opener.open(&mut |_| ()).unwrap();
    journald.signal(libc::SIGSTOP);
    let until = Instant::now() + Duration::from_millis(400);
    let mut batch = Batch::default();
    for seq in 0..2000 {
        add(&mut batch, encoder.as_mut(), &record(seq, b"x"));
    }
    let failure = connection
        .send(&mut batch, &|| Instant::now() >= until)
        .unwrap_err();
    assert_eq!(failure.kind, FailureKind::Timeout, "{failure}");
    let settled = connection.close();
    journald.signal(libc::SIGCONT);
    assert_eq!(settled, 0);
}

/// What a journald that dies has not read is not counted; after the restart each record is there.
#[test]
fn a_killed_journald_loses_nothing_that_was_not_read() {
    let mut journald = Journald::start("killed");
    let (destination, mut encoder) = sink(&journald);
    let total = 20_000;
    let mut cursor = 0;
    let mut failures = 0;
    let mut kill_at = [1500, 7000, 13_000].into_iter().peekable();
    let until = Instant::now() + Duration::from_secs(60);
    'connections: while cursor < total {
        assert!(Instant::now() < until, "{cursor} of {total}");
        let Ok(mut connection) = destination.opener.open(&mut |_| ()) else {
            journald.run();
            continue;
        };
        let start = cursor;
        let mut sent = cursor;
        while cursor < total {
            let to = (sent + 500).min(total);
            let stop = kill_at.next_if(|&at| sent >= at).is_some();
            if stop {
                // A full queue at the moment of death.
                journald.signal(libc::SIGSTOP);
            }
            let result = if stop {
                let until = Instant::now() + Duration::from_millis(50);
                let mut batch = Batch::default();
                for seq in sent..to {
                    add(&mut batch, encoder.as_mut(), &record(seq, b"x"));
                }
                let result = connection.send(&mut batch, &|| Instant::now() >= until);
                journald.kill();
                result
            } else {
                send_numbered(connection.as_mut(), encoder.as_mut(), sent, to)
            };
            let result = result.and_then(|()| {
                sent = to;
                connection.settled(Duration::from_millis(20), &mut Vec::new())
            });
            match result {
                Ok(settled) => cursor = start + settled,
                Err(_) => {
                    failures += 1;
                    cursor = start + connection.close();
                    continue 'connections;
                }
            }
        }
    }
    assert_eq!(failures, 3);
    // What was read is written; a killed journald's file is rotated and still read.
    let mut found = vec![0_u32; total as usize];
    wait_for("the last record", || {
        found.fill(0);
        for ordinal in journald.values("CONTAINER_LOG_ORDINAL") {
            let text = String::from_utf8(ordinal).unwrap();
            found[text.parse::<usize>().unwrap()] += 1;
        }
        found.last() > Some(&0)
    });
    let lost = found.iter().filter(|&&n| n == 0).count();
    let twice = found.iter().filter(|&&n| n > 1).count();
    eprintln!("lost {lost}, twice {twice}");
    // One that journald had read and was about to write when it was killed, for each kill.
    assert!(lost <= 3, "{lost} lost");
}

#[test]
fn nobody_there_is_unreachable() {
    let mut journald = Journald::start("absent");
    let (destination, mut encoder) = sink(&journald);
    let mut connection = destination.opener.open(&mut |_| ()).unwrap();
    journald.kill();
    let failure = send_numbered(connection.as_mut(), encoder.as_mut(), 0, 1).unwrap_err();
    assert_eq!(failure.kind, FailureKind::Unreachable);
    assert_eq!(connection.close(), 0);
    let failure = destination.opener.open(&mut |_| ()).err().unwrap();
    assert_eq!(failure.kind, FailureKind::Unreachable);
    assert!(
        failure
            .text
            .starts_with("journald is not enabled on this host: cannot connect to /"),
        "{failure}"
    );
}
