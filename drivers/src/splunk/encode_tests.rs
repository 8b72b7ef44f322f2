//! Events against what Docker sends.

use super::*;
use crate::sink::Stream;

fn encode(format: Format, change: impl Fn(&mut Constant<'_>), line: &[u8]) -> Option<String> {
    let none = BTreeMap::new();
    let mut constant = Constant {
        host: "node1",
        source: "",
        sourcetype: "",
        index: "",
        tag: "0123456789ab",
        attrs: &none,
    };
    change(&mut constant);
    let mut out = Vec::new();
    let record = Record {
        epoch: 1,
        seq: 1,
        time_ns: 1_700_000_000_123_456_789,
        stream: Stream::Stdout,
        line,
        partial: None,
    };
    match EventEncoder::new(format, &constant).encode(&record, &mut out) {
        Encoded::Yes => Some(String::from_utf8(out).unwrap()),
        _ => {
            assert!(out.is_empty());
            None
        }
    }
}

fn attrs() -> &'static BTreeMap<String, String> {
    let pairs = [("z", "1"), ("a", "2")].map(|(k, v)| (k.to_owned(), v.to_owned()));
    Box::leak(Box::new(pairs.into()))
}

#[test]
fn inline() {
    assert_eq!(
        encode(Format::Inline, |c| c.attrs = attrs(), b"hi <b>").unwrap(),
        r#"{"event":{"line":"hi \u003cb\u003e","source":"stdout","tag":"0123456789ab","attrs":{"a":"2","z":"1"}},"time":"1700000000.123457","host":"node1"}"#
    );
    assert_eq!(
        encode(Format::Inline, |c| c.tag = "", b"").unwrap(),
        r#"{"event":{"line":"","source":"stdout"},"time":"1700000000.123457","host":"node1"}"#
    );
    assert_eq!(
        encode(
            Format::Inline,
            |_| (),
            b"tab\there \"quote\" back\\slash <&> \xc3\xa9 \xff\x01"
        )
        .unwrap(),
        r#"{"event":{"line":"tab\there \"quote\" back\\slash \u003c\u0026\u003e é \ufffd\u0001","source":"stdout","tag":"0123456789ab"},"time":"1700000000.123457","host":"node1"}"#
    );
}

#[test]
fn members_of_an_event() {
    let change = |c: &mut Constant<'_>| {
        c.source = "src";
        c.sourcetype = "stype";
        c.index = "idx";
    };
    assert_eq!(
        encode(Format::Inline, change, b"one line").unwrap(),
        r#"{"event":{"line":"one line","source":"stdout","tag":"0123456789ab"},"time":"1700000000.123457","host":"node1","source":"src","sourcetype":"stype","index":"idx"}"#
    );
}

#[test]
fn json() {
    for (line, value) in [
        (r#"{"a": 1,  "b":"<x>"}"#, r#"{"a":1,"b":"\u003cx\u003e"}"#),
        (r#"{"b": 1,   "a":2}"#, r#"{"b":1,"a":2}"#),
        ("123", "123"),
        ("\"str\"", "\"str\""),
        ("null", "null"),
        ("[1, 2]", "[1,2]"),
        (r#"{"a":1} trailing"#, r#""{\"a\":1} trailing""#),
        ("{bad", "\"{bad\""),
        ("plain", "\"plain\""),
        ("", "\"\""),
    ] {
        let event = encode(Format::Json, |_| (), line.as_bytes()).unwrap();
        assert_eq!(
            event,
            format!(
                r#"{{"event":{{"line":{value},"source":"stdout","tag":"0123456789ab"}},"time":"1700000000.123457","host":"node1"}}"#
            )
        );
    }
}

#[test]
fn raw() {
    let event =
        |text: &str| format!(r#"{{"event":"{text}","time":"1700000000.123457","host":"node1"}}"#);
    let with = |line: &[u8]| encode(Format::Raw, |c| c.attrs = attrs(), line);
    assert_eq!(with(b"hello").unwrap(), event("0123456789ab a=2 z=1 hello"));
    assert_eq!(
        with(b" <\xff>").unwrap(),
        event(r"0123456789ab a=2 z=1  \u003c\ufffd\u003e")
    );
    for blank in ["", " \t\r", "\u{a0}\u{2003}\u{85}"] {
        assert_eq!(with(blank.as_bytes()), None);
    }
    let bare = encode(Format::Raw, |c| c.tag = "", b"x");
    assert_eq!(bare.unwrap(), event("x"));
}
