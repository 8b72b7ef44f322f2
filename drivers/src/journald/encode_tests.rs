//! Datagrams against what Docker sends.

use super::*;
use crate::selection::select;
use crate::sink::{Partial, Stream};

const ID: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

fn encoder(options: &[(&str, &str)], labels: &[(&str, &str)], env: &[&str]) -> JournalEncoder {
    let map = |pairs: &[(&str, &str)]| -> BTreeMap<String, String> {
        pairs
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
            .collect()
    };
    let mut errors = Vec::new();
    let selection = select(&map(options), &mut errors);
    assert!(errors.is_empty());
    let env: Vec<String> = env.iter().map(|e| (*e).to_owned()).collect();
    let labels = map(labels);
    let facts = ContainerFacts {
        id: ID,
        name: "/web",
        image_name: "bb:latest",
        env: &env,
        labels: Some(&labels),
        ..ContainerFacts::default()
    };
    JournalEncoder::new(&selection, &facts).unwrap()
}

fn record(line: &[u8]) -> Record<'_> {
    Record {
        epoch: 7,
        seq: 42,
        time_ns: 1_700_000_000_120_000_000,
        stream: Stream::Stdout,
        line,
        partial: None,
    }
}

fn bytes(encoder: &mut JournalEncoder, record: &Record<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    assert_eq!(encoder.encode(record, &mut out), Encoded::Yes);
    out
}

const COMMON: &str = "CONTAINER_ID=0123456789ab\n\
    CONTAINER_ID_FULL=0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\n\
    CONTAINER_NAME=web\nCONTAINER_TAG=0123456789ab\nIMAGE_NAME=bb:latest\nSYSLOG_IDENTIFIER=0123456789ab\n\
    SYSLOG_TIMESTAMP=2023-11-14T22:13:20.12Z\n\
    CONTAINER_LOG_EPOCH=EPOCH\nCONTAINER_LOG_ORDINAL=42\n";

fn common(encoder: &mut JournalEncoder) -> String {
    let epoch = String::from_utf8(encoder.epoch(7).to_vec()).unwrap();
    COMMON.replace("=EPOCH", &format!("={epoch}"))
}

#[test]
fn all_fields() {
    let mut encoder = encoder(&[], &[], &[]);
    let common = common(&mut encoder);
    let out = bytes(&mut encoder, &record(b"hello stdout"));
    assert_eq!(
        String::from_utf8(out).unwrap(),
        format!("PRIORITY=6\nMESSAGE=hello stdout\n{common}")
    );
    let mut stderr = record(b"");
    stderr.stream = Stream::Stderr;
    let out = bytes(&mut encoder, &stderr);
    assert_eq!(
        String::from_utf8(out).unwrap(),
        format!("PRIORITY=3\nMESSAGE=\n{common}")
    );
}

#[test]
fn any_bytes() {
    let mut encoder = encoder(&[], &[], &[]);
    let out = bytes(&mut encoder, &record(b"a\nb\0\xff"));
    assert!(out.starts_with(b"PRIORITY=6\nMESSAGE\n\x05\0\0\0\0\0\0\0a\nb\0\xff\nCONTAINER_ID="));
    let out = bytes(&mut encoder, &record(b"bad \xff utf\r"));
    assert!(out.starts_with(b"PRIORITY=6\nMESSAGE=bad \xff utf\r\nCONTAINER_ID="));
}

#[test]
fn pieces_of_a_line() {
    let mut encoder = encoder(&[], &[], &[]);
    let common = common(&mut encoder);
    let mut piece = record(b"x");
    piece.partial = Some(Partial {
        id: ID,
        ordinal: 2,
        last: false,
    });
    let first = String::from_utf8(bytes(&mut encoder, &piece)).unwrap();
    assert_eq!(
        first,
        format!(
            "PRIORITY=6\nMESSAGE=x\n{common}CONTAINER_PARTIAL_ID={ID}\nCONTAINER_PARTIAL_ORDINAL=2\nCONTAINER_PARTIAL_LAST=false\nCONTAINER_PARTIAL_MESSAGE=true\n"
        )
    );
    piece.partial = Some(Partial {
        id: ID,
        ordinal: 3,
        last: true,
    });
    let last = String::from_utf8(bytes(&mut encoder, &piece)).unwrap();
    assert!(last.ends_with("CONTAINER_PARTIAL_ORDINAL=3\nCONTAINER_PARTIAL_LAST=true\n"));
}

#[test]
fn attributes_win_over_the_containers_fields() {
    let mut encoder = encoder(
        &[
            ("labels", "com.example.team,__,container.log.epoch,multi"),
            ("env", "COM_EXAMPLE_TEAM,container_name"),
            ("tag", "{{.Name}}/{{.ID}}"),
        ],
        &[
            ("com.example.team", "label"),
            ("__", "no name"),
            ("container.log.epoch", "mine"),
            ("multi", "1\n2"),
        ],
        &["COM_EXAMPLE_TEAM=variable", "container_name=other"],
    );
    let out = bytes(&mut encoder, &record(b"x"));
    let text = String::from_utf8(out).unwrap();
    for field in [
        "\nCOM_EXAMPLE_TEAM=variable\n",
        "\nCONTAINER_NAME=other\n",
        "\nCONTAINER_TAG=web/0123456789ab\n",
        "\nSYSLOG_IDENTIFIER=web/0123456789ab\n",
        "\nMULTI\n\x03\0\0\0\0\0\0\x001\n2\n",
    ] {
        assert!(text.contains(field), "{field:?} in {text:?}");
    }
    for absent in ["\n=", "label\n", "=mine", "CONTAINER_NAME=web"] {
        assert!(!text.contains(absent), "{absent:?} in {text:?}");
    }
}

#[test]
fn a_place_has_one_name() {
    let mut encoder = encoder(&[], &[], &[]);
    let one = *encoder.epoch(1);
    assert_ne!(one, *encoder.epoch(2));
    assert_eq!(one, *encoder.epoch(1));
    assert!(one.iter().all(u8::is_ascii_hexdigit));
}
