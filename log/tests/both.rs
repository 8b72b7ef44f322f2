//! Logs as the monitor writes them, in both formats, plain, compressed and spooled, with and
//! without their side files: any query gives what a naive reader gives.

mod common;

use std::collections::BTreeMap;

use common::drain;
use common::written::{BASE, Want, Written, stored};
use proptest::prelude::*;
use taffrail_log::{Cursor, Damage, Format, Grep, LogFormat, Query, Run};

#[derive(Clone, Debug)]
enum Op {
    Write(usize, Vec<u8>),
    Wait(u64),
    NextRun,
    Lose(usize, Vec<u8>),
}

fn bytes() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        6 => "([ -~]{0,60}\n){1,30}".prop_map(String::into_bytes),
        2 => "[a-c\n]{1,40}".prop_map(String::into_bytes),
        1 => proptest::collection::vec(any::<u8>(), 1..200),
        1 => (1usize..60_000, any::<bool>()).prop_map(|(n, end)| {
            let mut line = "é€x😀".repeat(n / 10 + 1).into_bytes();
            if end {
                line.push(b'\n');
            }
            line
        }),
        1 => (1usize..3000).prop_map(|n| b"\n".repeat(n)),
    ]
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        12 => (0usize..2, bytes()).prop_map(|(s, b)| Op::Write(s, b)),
        3 => (1u64..5_000_000_000).prop_map(Op::Wait),
        1 => Just(Op::NextRun),
        1 => (0usize..2, bytes()).prop_map(|(s, b)| Op::Lose(s, b)),
    ]
}

#[derive(Clone, Debug)]
struct Shape {
    max_size: u64,
    attrs: bool,
    compress: Vec<bool>,
    spool: usize,
    index: bool,
    table: bool,
}

fn shape() -> impl Strategy<Value = Shape> {
    (
        prop_oneof![Just(0u64), Just(3_000), Just(40_000), Just(200_000)],
        any::<bool>(),
        proptest::collection::vec(any::<bool>(), 8),
        0usize..3,
        prop_oneof![3 => Just(true), 1 => Just(false)],
        any::<bool>(),
    )
        .prop_map(|(max_size, attrs, compress, spool, index, table)| Shape {
            max_size,
            attrs,
            compress,
            spool,
            index,
            table,
        })
}

#[derive(Clone, Debug)]
struct Ask {
    since: Option<(prop::sample::Index, i64)>,
    until: Option<(prop::sample::Index, i64)>,
    tail: Option<u64>,
    after: Option<prop::sample::Index>,
    run: Option<u32>,
    grep: Option<&'static str>,
    stdout: bool,
    stderr: bool,
    coalesce: bool,
}

fn place() -> impl Strategy<Value = Option<(prop::sample::Index, i64)>> {
    proptest::option::weighted(0.4, (any::<prop::sample::Index>(), -1i64..2))
}

fn ask() -> impl Strategy<Value = Ask> {
    (
        place(),
        place(),
        proptest::option::weighted(0.4, prop_oneof![0u64..20, 0u64..3000]),
        proptest::option::weighted(0.4, any::<prop::sample::Index>()),
        proptest::option::weighted(0.2, 0u32..4),
        proptest::option::weighted(
            0.3,
            prop_oneof![Just("ab"), Just("a.*b$"), Just("^$"), Just("(?-u)\\xff")],
        ),
        (
            prop_oneof![4 => Just(true), 1 => Just(false)],
            any::<bool>(),
        ),
        any::<bool>(),
    )
        .prop_map(
            |(since, until, tail, after, run, grep, (stdout, stderr), coalesce)| Ask {
                since,
                until,
                tail,
                after,
                run,
                grep,
                stdout,
                stderr: stderr || !stdout,
                coalesce,
            },
        )
}

fn select<'w>(log: &'w Written, query: &Query) -> Vec<&'w Want> {
    let all = &log.want;
    let from = query.tail.map_or(0, |n| {
        all.len()
            .saturating_sub(usize::try_from(n).unwrap_or(usize::MAX))
    });
    let mut started = query.since.is_none();
    let mut out = Vec::new();
    for want in &all[from..] {
        let time = want.time as i64;
        if query.after.is_some_and(|after| want.seq <= after.seq) {
            continue;
        }
        if let Some(run) = query.run {
            let run = match run {
                Run::Number(run) => run,
                Run::Back(_) => unreachable!(),
            };
            if want.run != run {
                continue;
            }
        }
        started |= query.since.is_some_and(|since| time >= since);
        if !started {
            continue;
        }
        if query.until.is_some_and(|until| time > until) {
            break;
        }
        let wanted = if want.stream == 1 {
            query.stdout
        } else {
            query.stderr
        };
        let bytes = stored(log.files.format, &want.bytes);
        if wanted && query.grep.as_ref().is_none_or(|g| g.matches(&bytes)) {
            out.push(want);
        }
    }
    out
}

/// Frames without our notices; how many of those.
fn frames(mut bytes: &[u8]) -> (Vec<(u8, Vec<u8>)>, usize) {
    let mut out = Vec::new();
    let mut notices = 0;
    while !bytes.is_empty() {
        let n = u32::from_be_bytes(bytes[4..8].try_into().unwrap()) as usize;
        let payload = &bytes[8..8 + n];
        if payload.starts_with(b"taffrail: ") {
            notices += 1;
        } else {
            out.push((bytes[0], payload.to_vec()));
        }
        bytes = &bytes[8 + n..];
    }
    (out, notices)
}

fn join(frames: Vec<(u8, Vec<u8>)>) -> Vec<(u8, Vec<u8>)> {
    let mut out: Vec<(u8, Vec<u8>)> = Vec::new();
    for (stream, bytes) in frames {
        match out.last_mut() {
            Some((s, before)) if *s == stream => before.extend_from_slice(&bytes),
            _ => out.push((stream, bytes)),
        }
    }
    out
}

fn build(format: LogFormat, ops: &[Op], shape: &Shape) -> Written {
    let mut attrs = BTreeMap::new();
    if shape.attrs {
        attrs.insert("tag".to_owned(), "a b\"c".to_owned());
    }
    let mut log = Written::new(format, shape.max_size, &attrs);
    let mut time = BASE;
    for op in ops {
        match op {
            Op::Write(stream, bytes) => log.write(*stream, bytes, time),
            Op::Wait(ns) => time += ns,
            Op::NextRun => log.next_run(time),
            Op::Lose(stream, bytes) => log.lose(*stream, bytes, time),
        }
    }
    log.end(time);
    let newest = log.slot().file_no;
    for (number, packed) in (1..newest).zip(shape.compress.iter().cycle()) {
        if *packed {
            log.compress(number, shape.table);
        }
    }
    if shape.index {
        for number in 1..newest.min(1 + shape.spool as u64) {
            log.spool(number);
        }
    } else {
        std::fs::remove_dir_all(&log.files.index_dir).unwrap();
    }
    log
}

fn check(format: LogFormat, ops: &[Op], shape: &Shape, ask: &Ask) -> Result<(), TestCaseError> {
    let log = build(format, ops, shape);
    let pick = |index: &prop::sample::Index| (!log.want.is_empty()).then(|| index.get(&log.want));
    let time = |place: &Option<(prop::sample::Index, i64)>| {
        let (index, off) = place.as_ref()?;
        Some(pick(index)?.time as i64 + off)
    };
    // Without side files json-file has no positions.
    let positions = shape.index || format == LogFormat::Local;
    let query = Query {
        since: time(&ask.since),
        until: time(&ask.until),
        tail: ask.tail,
        stdout: ask.stdout,
        stderr: ask.stderr,
        follow: false,
        after: ask.after.as_ref().filter(|_| positions).and_then(|i| {
            let seq = pick(i)?.seq;
            Some(Cursor { epoch: 1, seq })
        }),
        grep: ask.grep.map(|g| Grep::new(g).unwrap()),
        run: ask
            .run
            .filter(|run| positions && *run > 0 && *run <= log.run())
            // The runs that json-file knows of are those that are marked.
            .filter(|_| format == LogFormat::Local || log.want.len() > 3)
            .map(Run::Number),
    };
    let want = select(&log, &query);
    let payload: Vec<(u8, Vec<u8>)> = want
        .iter()
        .map(|w| (w.stream, stored(format, &w.bytes)))
        .collect();
    let multiplexed = Format {
        multiplexed: true,
        coalesce: ask.coalesce,
        ..Format::default()
    };
    let mut reader = log.open(query.clone(), multiplexed);
    let (got, notices) = frames(&drain(&mut reader));
    prop_assert_eq!(reader.stats().damaged, 0);
    prop_assert_eq!(reader.stats().records, want.len() as u64);
    if ask.coalesce {
        prop_assert_eq!(join(got), join(payload.clone()));
    } else {
        prop_assert_eq!(&got, &payload);
    }
    let plain = query
        == Query {
            stdout: true,
            stderr: true,
            ..Query::all()
        };
    if plain && positions {
        // One behind the last record is stored at the log's end.
        let stored: std::collections::BTreeSet<Option<u64>> = log
            .gaps
            .iter()
            .map(|(seq, _)| log.want.iter().map(|w| w.seq).find(|next| next > seq))
            .collect();
        prop_assert_eq!(notices, stored.len());
        let missed: u64 = log.gaps.iter().map(|(_, n)| n).sum();
        prop_assert_eq!(reader.stats().missed_records, missed);
    }
    // The same as objects, with times and places.
    let ndjson = Format {
        ndjson: true,
        details: true,
        ..Format::default()
    };
    let out = drain(&mut log.open(query.clone(), ndjson));
    let mut objects: Vec<serde_json::Value> = out
        .split(|b| *b == b'\n')
        .filter(|l| !l.is_empty())
        .map(|l| serde_json::from_slice(l).unwrap())
        .collect();
    let trailer = objects.pop().unwrap();
    prop_assert_eq!(&trailer["End"], true);
    objects.retain(|o| o.get("Gap").is_none());
    prop_assert_eq!(objects.len(), want.len());
    for (object, want) in objects.iter().zip(&want) {
        let mut time = Vec::new();
        taffrail_log::Moment::from_ns(want.time as i64).write(&mut time);
        prop_assert_eq!(object["Timestamp"].as_str().unwrap().as_bytes(), &time[..]);
        let bytes = stored(format, &want.bytes);
        if let Ok(text) = std::str::from_utf8(&bytes) {
            prop_assert_eq!(object["Line"].as_str().unwrap(), text);
        } else {
            prop_assert!(object["LineBase64"].is_string());
        }
        if positions {
            let cursor = format!("1.{}", want.seq);
            prop_assert_eq!(object["Cursor"].as_str(), Some(cursor.as_str()));
        }
        prop_assert_eq!(object.get("Attrs").is_some(), shape.attrs);
    }
    let report = taffrail_log::check(&log.files, None).unwrap();
    let damaged = report
        .places
        .iter()
        .filter(|p| !matches!(p.what, Damage::FrameTable | Damage::Index));
    prop_assert_eq!(damaged.count(), 0, "{:?}", report.places);
    prop_assert_eq!(report.records as usize, log.want.len());
    // A read that goes on from the trailer finds nothing that is left out.
    if positions && query.until.is_none() && query.run.is_none() && !log.want.is_empty() {
        let cursor: Cursor = trailer["Cursor"].as_str().unwrap().parse().unwrap();
        prop_assert_eq!(cursor.seq >= log.want.last().unwrap().seq, true);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn local(
        ops in proptest::collection::vec(op(), 1..40), shape in shape(), ask in ask(),
    ) {
        check(LogFormat::Local, &ops, &shape, &ask)?;
    }

    #[test]
    fn json_file(
        ops in proptest::collection::vec(op(), 1..40), shape in shape(), ask in ask(),
    ) {
        check(LogFormat::JsonFile, &ops, &shape, &ask)?;
    }
}

/// What a reader of everything is told of `log`: records, places that are damaged, notices, records missing.
fn told(log: &Written) -> (u64, u64, usize, u64) {
    let format = Format {
        multiplexed: true,
        ..Format::default()
    };
    let mut reader = log.open(Query::all(), format);
    let (got, notices) = frames(&drain(&mut reader));
    let stats = reader.stats();
    assert_eq!(got.len() as u64, stats.records);
    (stats.records, stats.damaged, notices, stats.missed_records)
}

/// A segment that has its header and nothing else is whole.
#[test]
fn a_run_that_wrote_nothing() {
    for attrs in [
        BTreeMap::new(),
        BTreeMap::from([("tag".into(), "x".into())]),
    ] {
        let mut log = Written::new(LogFormat::Local, 0, &attrs);
        log.end(BASE);
        assert_eq!(told(&log), (0, 0, 0, 0));
        std::fs::remove_dir_all(&log.files.index_dir).unwrap();
        assert_eq!(told(&log), (0, 0, 0, 0));
    }
}

/// The attributes of the next run lie before a gap that was not stored yet: it is told once.
#[test]
fn a_gap_over_a_restart_is_told_once() {
    let attrs = BTreeMap::from([("tag".to_owned(), "x".to_owned())]);
    for format in [LogFormat::Local, LogFormat::JsonFile] {
        let mut log = Written::new(format, 0, &attrs);
        log.write(0, b"a\n", BASE);
        log.lose(0, b"b\n", BASE + 10);
        log.next_run(BASE + 20);
        log.lose(0, b"c\n", BASE + 30);
        log.write(0, b"d\n", BASE + 40);
        log.end(BASE + 50);
        assert_eq!(told(&log), (2, 0, 1, 2), "{format:?}");
    }
}
