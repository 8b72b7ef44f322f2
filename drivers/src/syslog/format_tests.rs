use super::*;

use proptest::prelude::*;

/// 2023-11-14T22:13:20.123456789Z
const TIME: i64 = 1_700_000_000_123_456_789;

fn encoder(format: &str, framing: Framing, zone: &str) -> Syslog {
    let fields = Fields {
        format: Format::parse(format).unwrap(),
        framing,
        facility: 3,
        hostname: "node1",
        tag: "0123456789ab",
        pid: 1234,
    };
    Syslog::new(&fields, TimeZone::posix(zone).unwrap())
}

fn record(line: &[u8], stream: Stream, time_ns: i64) -> Record<'_> {
    Record {
        epoch: 1,
        seq: 1,
        time_ns,
        stream,
        line,
        partial: None,
    }
}

fn text(format: &str, framing: Framing, zone: &str, time_ns: i64) -> String {
    let mut out = Vec::new();
    let done =
        encoder(format, framing, zone).encode(&record(b"hello", Stream::Stdout, time_ns), &mut out);
    assert_eq!(done, Encoded::Yes);
    String::from_utf8(out).unwrap()
}

#[test]
fn bytes_are_docker_s() {
    let lf = Framing::Newline;
    for (format, bytes) in [
        ("", "<30>Nov 14 22:13:20 0123456789ab[1234]: hello\n"),
        (
            "rfc3164",
            "<30>Nov 14 22:13:20 node1 0123456789ab[1234]: hello\n",
        ),
        (
            "rfc5424",
            "<30>1 2023-11-14T22:13:20Z node1 0123456789ab 1234 0123456789ab - hello\n",
        ),
        (
            "rfc5424micro",
            "<30>1 2023-11-14T22:13:20.123456Z node1 0123456789ab 1234 0123456789ab - hello\n",
        ),
    ] {
        assert_eq!(text(format, lf, "UTC0", TIME), bytes);
        assert_eq!(
            text(format, Framing::Bare, "UTC0", TIME),
            bytes.trim_end_matches('\n')
        );
        assert_eq!(
            text(format, Framing::Counted, "UTC0", TIME),
            format!("{} {bytes}", bytes.len())
        );
    }
    assert!(text("rfc5424", Framing::Counted, "UTC0", TIME).starts_with("72 <30>1 "));
    assert!(text("rfc5424micro", Framing::Counted, "UTC0", TIME).starts_with("79 <30>1 "));
}

#[test]
fn local_time_with_summer_time() {
    let zone = "CET-1CEST,M3.5.0,M10.5.0/3";
    let lf = Framing::Newline;
    assert!(text("rfc5424", lf, zone, TIME).starts_with("<30>1 2023-11-14T23:13:20+01:00 "));
    let summer = 1_690_000_000 * 1_000_000_000;
    assert!(
        text("rfc5424micro", lf, zone, summer)
            .starts_with("<30>1 2023-07-22T06:26:40.000000+02:00 ")
    );
    assert!(text("rfc5424", lf, "NST3:30", TIME).starts_with("<30>1 2023-11-14T18:43:20-03:30 "));
    // One digit: with a blank before it.
    let fourth = 1_699_059_723 * 1_000_000_000;
    assert!(text("", lf, "UTC0", fourth).starts_with("<30>Nov  4 01:02:03 "));
    // Before 1970.
    assert!(text("rfc5424micro", lf, "UTC0", -1).contains("1969-12-31T23:59:59.999999Z"));
}

#[test]
fn any_bytes_both_streams_and_no_empty_line() {
    let mut encoder = encoder("rfc5424", Framing::Newline, "UTC0");
    let mut out = Vec::new();
    let empty = encoder.encode(&record(b"", Stream::Stdout, TIME), &mut out);
    assert_eq!(empty, Encoded::Skipped);
    assert!(out.is_empty());
    encoder.encode(&record(b"nul\0in\xff\r", Stream::Stderr, TIME), &mut out);
    assert_eq!(
        out,
        b"<27>1 2023-11-14T22:13:20Z node1 0123456789ab 1234 0123456789ab - nul\0in\xff\r\n"
    );
}

#[test]
fn facilities() {
    assert_eq!(facility(""), Some(3));
    for (name, number) in FACILITIES {
        assert_eq!(facility(name), Some(number));
        assert_eq!(facility(&number.to_string()), Some(number));
    }
    assert_eq!(facility("12"), Some(12));
    for bad in ["24", "-1", "local8", "Daemon", " 3", "3.0"] {
        assert_eq!(facility(bad), None, "{bad}");
    }
}

proptest! {
    /// The count is right whatever the record; a receiver that counts finds each record.
    #[test]
    fn counts_are_right(lines in proptest::collection::vec((proptest::collection::vec(any::<u8>(), 1..300), any::<i64>()), 1..20)) {
        let mut encoder = encoder("rfc5424micro", Framing::Counted, "UTC0");
        let mut out = Vec::new();
        for (line, time) in &lines {
            encoder.encode(&record(line, Stream::Stdout, *time), &mut out);
        }
        let mut rest = &out[..];
        for (line, _) in &lines {
            let blank = rest.iter().position(|b| *b == b' ').unwrap();
            let count: usize = std::str::from_utf8(&rest[..blank]).unwrap().parse().unwrap();
            let frame = &rest[blank + 1..blank + 1 + count];
            prop_assert!(frame.starts_with(b"<30>1 "));
            prop_assert!(frame.ends_with(&[&line[..], b"\n"].concat()));
            rest = &rest[blank + 1 + count..];
        }
        prop_assert!(rest.is_empty());
    }
}
