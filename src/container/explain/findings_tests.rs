use super::*;

const S: i64 = 1_000_000_000;

fn running() -> Seen {
    let captured = || {
        Some(Descriptor {
            kind: Kind::Captured,
            target: "/x/stdout".to_owned(),
        })
    };
    Seen {
        now_ns: 1000 * S,
        status: Status::Running,
        started_ns: Some(990 * S),
        kept: true,
        last_ns: Some(999 * S),
        capture: Some(CaptureFigures {
            bytes: [10, 0],
            ..CaptureFigures::default()
        }),
        descriptors: [captured(), captured()],
        ..Seen::default()
    }
}

fn codes(seen: &Seen) -> Vec<String> {
    findings(seen).into_iter().map(|f| f.code).collect()
}

#[test]
fn all_is_well() {
    assert_eq!(findings(&running()), []);
}

#[test]
fn states() {
    let mut seen = running();
    seen.status = Status::Paused;
    assert_eq!(codes(&seen), ["paused"]);
    seen.status = Status::Exited;
    seen.capture = None;
    seen.exit_code = 3;
    assert_eq!(codes(&seen), ["not-running"]);
    assert!(findings(&seen)[0].text.contains("status 3"));
    seen.started_ns = None;
    seen.status = Status::Created;
    assert_eq!(codes(&seen), ["never-started"]);
}

#[test]
fn streams_that_lead_elsewhere() {
    let mut seen = running();
    let to = |kind, target: &str| {
        Some(Descriptor {
            kind,
            target: target.to_owned(),
        })
    };
    seen.descriptors = [to(Kind::File, "/tmp/o"), to(Kind::Closed, "")];
    assert_eq!(codes(&seen), ["stdout-is-file", "stderr-closed"]);
    assert!(findings(&seen)[0].text.contains("/tmp/o"));
    seen.descriptors = [
        to(Kind::Null, "/dev/null"),
        to(Kind::Terminal, "/dev/pts/0"),
    ];
    assert_eq!(codes(&seen), ["stdout-is-null", "stderr-is-terminal"]);
    seen.tty = true;
    seen.descriptors[0] = to(Kind::Terminal, "/dev/pts/0");
    assert_eq!(codes(&seen), [""; 0]);
}

#[test]
fn silence() {
    let mut seen = running();
    seen.capture = Some(CaptureFigures::default());
    seen.last_ns = None;
    assert_eq!(codes(&seen), ["block-buffered"]);
    seen.started_ns = Some(998 * S);
    assert_eq!(codes(&seen), [""; 0]);
    seen = running();
    seen.started_ns = Some(1);
    seen.last_ns = Some(600 * S);
    assert_eq!(codes(&seen), ["block-buffered"]);
    seen.tty = true;
    assert_eq!(codes(&seen), ["silent"]);
}

#[test]
fn capture_and_sinks() {
    let mut seen = running();
    seen.stuck = 7;
    seen.lost_records = 2;
    seen.capture = Some(CaptureFigures {
        bytes: [1, 0],
        waits: true,
        spool_lost_records: 3,
        ..CaptureFigures::default()
    });
    let codes_now = codes(&seen);
    let wanted = [
        "unread-pipe",
        "waits-for-spool",
        "records-lost",
        "spool-full",
    ];
    assert_eq!(codes_now, wanted);
    let mut seen = running();
    let mut sink = crate::delivery::sentence::tests::retrying();
    sink.rejected = 1;
    sink.dropped = 2;
    sink.last_rejection = Some((S, "too long".to_owned()));
    seen.sinks = vec![sink];
    assert_eq!(
        codes(&seen),
        ["sink-retrying", "sink-rejects", "sink-dropped"]
    );
}

#[test]
fn names_of_logs() {
    assert!(looks_like_log("/var/log/nginx/access"));
    assert!(looks_like_log("/a/x.log"));
    assert!(!looks_like_log("/data/db.mdb"));
}
