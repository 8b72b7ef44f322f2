//! Any query on any log gives what a naive reader gives.

mod common;

use std::sync::Arc;

use common::{Dir, Rec, drain, joined, naive};
use proptest::prelude::*;
use taffrail_log::{CommitSource, Committed, Format, Query, Reader};

const BASE: i64 = 1_700_000_000_000_000_000;

fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => "[ -~]{0,120}",
        2 => "[\\x00-\\x1f\"\\\\<>&é\u{2028}😀\u{7f}a-c]{0,40}",
        1 => proptest::collection::vec(any::<char>(), 0..30).prop_map(|c| c.into_iter().collect()),
        1 => (1usize..20_000).prop_map(|n| "x".repeat(n)),
    ]
}

prop_compose! {
    fn rec()(
        text in text(),
        newline in prop_oneof![9 => Just(true), 1 => Just(false)],
        stdout in any::<bool>(),
        attrs in prop_oneof![
            3 => Just(std::collections::BTreeMap::new()),
            2 => proptest::collection::btree_map("[a-c./ é\"]{1,3}", "[a-z=,&+ \t<]{0,6}", 1..4),
        ],
        // Steps of zero nanoseconds too: equal times.
        step in prop_oneof![Just(0i64), 1i64..5, 1_000_000i64..3_000_000_000],
    ) -> (String, bool, bool, std::collections::BTreeMap<String, String>, i64) {
        (text, newline, stdout, attrs, step)
    }
}

fn files() -> impl Strategy<Value = Vec<Vec<Rec>>> {
    proptest::collection::vec(proptest::collection::vec(rec(), 0..60), 1..5).prop_map(|files| {
        let mut ns = BASE;
        let one = |(text, newline, stdout, attrs, step): (String, bool, bool, _, i64)| {
            ns += step;
            let mut log = text;
            if newline || log.is_empty() {
                log.push('\n');
            }
            let stream = if stdout { "stdout" } else { "stderr" };
            Rec {
                log,
                stream,
                attrs,
                ns,
            }
        };
        let mut one = one;
        files
            .into_iter()
            .map(|file| file.into_iter().map(&mut one).collect())
            .collect()
    })
}

/// A moment at, just before or just after some record, or far away.
fn bound(files: &[Vec<Rec>], pick: Option<(prop::sample::Index, i64)>) -> Option<i64> {
    let all: Vec<i64> = files.iter().flatten().map(|r| r.ns).collect();
    let (index, off) = pick?;
    if all.is_empty() {
        return Some(BASE);
    }
    Some(index.get(&all) + off)
}

type Pick = Option<(prop::sample::Index, i64)>;

fn pick() -> impl Strategy<Value = Pick> {
    let off = prop_oneof![
        Just(0i64),
        Just(-1),
        Just(1),
        Just(-10_000_000_000),
        Just(10_000_000_000)
    ];
    prop_oneof![
        Just(None),
        (any::<prop::sample::Index>(), off).prop_map(Some)
    ]
}

prop_compose! {
    fn query()(
        since in pick(), until in pick(),
        tail in prop_oneof![Just(None), (0u64..250).prop_map(Some), Just(Some(u64::MAX))],
        stdout in prop_oneof![4 => Just(true), 1 => Just(false)],
        stderr in prop_oneof![4 => Just(true), 1 => Just(false)],
    ) -> (Pick, Pick, Option<u64>, bool, bool) {
        (since, until, tail, stdout, stderr)
    }
}

prop_compose! {
    fn format()(
        multiplexed in any::<bool>(), timestamps in any::<bool>(), details in any::<bool>(),
    ) -> Format {
        Format { multiplexed, timestamps, details, ..Format::default() }
    }
}

/// A live container that does not go on.
struct Still(Committed);

impl CommitSource for Still {
    fn committed(&self) -> Option<Committed> {
        Some(self.0)
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn as_the_naive_reader(
        recs in files(), query in query(), format in format(), torn in any::<bool>(),
    ) {
        let (since, until, tail, stdout, stderr) = query;
        let query = Query {
            since: bound(&recs, since), until: bound(&recs, until), tail, stdout, stderr,
            follow: false, ..Query::all()
        };
        let mut bytes: Vec<Vec<u8>> = recs
            .iter()
            .map(|file| file.iter().flat_map(Rec::line).collect())
            .collect();
        let whole = bytes.last().unwrap().len() as u64;
        if torn {
            // A record without its newline at the end of the newest file.
            let extra = Rec::new("torn\n", "stdout", BASE).line();
            bytes.last_mut().unwrap().extend_from_slice(&extra[..extra.len() - 1]);
        }
        let dir = Dir::new(recs.len() as u32);
        dir.write(&bytes);
        let expected = naive(&recs, &query, &format);

        let mut reader = dir.open(query.clone(), format);
        let out = drain(&mut reader);
        prop_assert_eq!(&out, &expected);

        // The same as a live log whose last record is still in flight.
        let count = recs.len() as u64;
        let source = Arc::new(Still(Committed {
            commit: 1, file_no: 6 + count, offset: whole, oldest_file_no: 7,
            ..Committed::default()
        }));
        let mut reader = Reader::open(dir.files.clone(), query.clone(), format, Some(source)).unwrap();
        prop_assert_eq!(&drain(&mut reader), &expected);
        prop_assert_eq!(reader.stats().damaged, 0);

        if format.multiplexed {
            let mut reader = dir.open(query.clone(), Format { coalesce: true, ..format });
            prop_assert_eq!(joined(&drain(&mut reader)), joined(&expected));
        }
    }
}

/// Files of many blocks: the search by time and the tail must cross them.
#[test]
fn big_files() {
    let recs: Vec<Vec<Rec>> = (0..3)
        .map(|f| {
            (0..5000)
                .map(|i| {
                    let n = f * 5000 + i;
                    let stream = if n % 3 == 0 { "stderr" } else { "stdout" };
                    let text = format!("{n} {}\n", "y".repeat(n as usize * 7 % 300));
                    Rec::new(text, stream, BASE + i64::from(n) * 1000)
                })
                .collect()
        })
        .collect();
    let bytes: Vec<Vec<u8>> = recs
        .iter()
        .map(|file| file.iter().flat_map(Rec::line).collect())
        .collect();
    assert!(bytes[0].len() > 1_000_000);
    let dir = Dir::new(3);
    dir.write(&bytes);
    let format = Format {
        timestamps: true,
        multiplexed: true,
        ..Format::default()
    };
    for n in (0..15_001)
        .step_by(617)
        .chain([1, 4999, 5000, 5001, 10_000, 14_999])
    {
        for off in [-1, 0, 1] {
            let query = Query {
                since: Some(BASE + n * 1000 + off),
                until: Some(BASE + (n + 40) * 1000),
                ..Query::all()
            };
            let out = drain(&mut dir.open(query.clone(), format));
            assert_eq!(out, naive(&recs, &query, &format), "since {n} {off}");
        }
        let query = Query {
            tail: Some(n as u64),
            ..Query::all()
        };
        let out = drain(&mut dir.open(query.clone(), format));
        assert!(out == naive(&recs, &query, &format), "tail {n}");
    }
}

/// A stopped container's files beyond `max-file` are not read, and names that only look alike are
/// none of its files.
#[test]
fn only_its_own_files() {
    let dir = Dir::new(3);
    let line = |n: usize| Rec::new(format!("{n}\n"), "stdout", BASE).line();
    for n in 0..5 {
        std::fs::write(dir.name(n), line(n)).unwrap();
    }
    for other in [
        "c-json.log.x",
        "c-json.log.01",
        "c-json.log2",
        "c-json.log.1.gz",
        "c-json.log.",
    ] {
        std::fs::write(dir.files.path.with_file_name(other), line(9)).unwrap();
    }
    let out = drain(&mut dir.open(Query::all(), Format::default()));
    assert_eq!(out, b"2\n1\n0\n");
    // A hole in the row.
    std::fs::remove_file(dir.name(1)).unwrap();
    let out = drain(&mut dir.open(Query::all(), Format::default()));
    assert_eq!(out, b"2\n0\n");
    std::fs::remove_file(dir.name(0)).unwrap();
    let out = drain(&mut dir.open(Query::all(), Format::default()));
    assert_eq!(out, b"2\n");
}

#[test]
fn no_file_is_an_empty_log() {
    let dir = Dir::new(3);
    assert_eq!(drain(&mut dir.open(Query::all(), Format::default())), b"");
    let query = Query {
        tail: Some(3),
        since: Some(0),
        ..Query::all()
    };
    assert_eq!(drain(&mut dir.open(query, Format::default())), b"");
}
