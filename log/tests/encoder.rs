//! What the monitor's encoder writes is read back, with invalid UTF-8 replaced as Docker does.

use std::convert::Infallible;

use proptest::prelude::*;
use taffrail_log::{Decoder, Record, Stream};
use taffrail_log_core::json::{Drain, Out, Tail};
use taffrail_log_core::time::TimeText;

struct Collect(Vec<u8>);

impl Drain for Collect {
    type Error = Infallible;
    fn drain(&mut self, bytes: &[u8]) -> Result<(), Infallible> {
        self.0.extend_from_slice(bytes);
        Ok(())
    }
}

fn replaced(mut bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    while !bytes.is_empty() {
        let valid = std::str::from_utf8(bytes).map_or_else(|e| e.valid_up_to(), str::len);
        out.extend_from_slice(&bytes[..valid]);
        bytes = &bytes[valid..];
        if !bytes.is_empty() {
            out.extend_from_slice("\u{fffd}".as_bytes());
            bytes = &bytes[1..];
        }
    }
    out
}

fn content() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        proptest::collection::vec(any::<u8>(), 0..300),
        ".{0,200}".prop_map(String::into_bytes),
        "[ -~]{0,400}".prop_map(String::into_bytes),
    ]
}

proptest! {
    #[test]
    fn decode_after_encode(
        records in proptest::collection::vec(
            (content(), any::<bool>(), 0usize..2, 0u64..4_000_000_000_000_000_000), 1..10,
        ),
        attrs in proptest::collection::btree_map("\\PC{0,9}", ".{0,9}", 0..4),
    ) {
        let json = if attrs.is_empty() {
            Vec::new()
        } else {
            serde_json::to_vec(&attrs).unwrap()
        };
        let attrs: Vec<(Vec<u8>, Vec<u8>)> =
            attrs.into_iter().map(|(k, v)| (k.into_bytes(), v.into_bytes())).collect();
        let mut decoder = Decoder::new();
        for (content, newline, stream, ns) in records {
            let mut buf = vec![0; 512];
            let mut out = Out::new(&mut buf);
            let mut line = Collect(Vec::new());
            let time = TimeText::new(ns);
            let Ok(()) =
                Tail { attrs: &json }.record(&mut out, &mut line, &content, newline, stream, &time);
            let Ok(()) = out.flush(&mut line);
            let mut line = line.0;
            prop_assert_eq!(line.pop(), Some(b'\n'));
            prop_assert!(!line.contains(&b'\n'));
            let mut log = replaced(&content);
            if newline {
                log.push(b'\n');
            }
            let expected = Record {
                log,
                stream: Some([Stream::Stdout, Stream::Stderr][stream]),
                time: taffrail_log::Moment::from_ns(ns as i64),
                attrs: attrs.clone(),
            };
            prop_assert_eq!(decoder.decode(&line), Some(expected));
        }
    }
}
