//! Following a log while it is written, rotated and cut.

mod common;

use std::sync::{Arc, Condvar, Mutex};

use common::Rec;
use common::live::{PATIENCE, Writer};
use proptest::prelude::*;
use taffrail_log::{CommitSource, Format, Query, Reader, Step};

const BASE: i64 = 1_700_000_000_000_000_000;

const FOLLOW: Query = {
    let mut query = Query::all();
    query.follow = true;
    query
};

fn rec(n: u64) -> Rec {
    let stream = if n.is_multiple_of(3) {
        "stderr"
    } else {
        "stdout"
    };
    Rec::new(format!("{n}\n"), stream, BASE + n as i64)
}

fn recs(range: std::ops::Range<u64>) -> Vec<Rec> {
    range.map(rec).collect()
}

/// Reads until there is nothing more for now.
fn catch_up(reader: &mut Reader) -> (String, Step) {
    let mut out = Vec::new();
    loop {
        let step = reader.read(&mut out).unwrap();
        if step != Step::Data {
            return (String::from_utf8(out).unwrap(), step);
        }
    }
}

fn text(range: std::ops::Range<u64>) -> String {
    range.map(|n| format!("{n}\n")).collect()
}

#[test]
fn only_what_is_committed_and_then_the_rest() {
    let mut writer = Writer::new(3);
    writer.append(&recs(0..3));
    writer.in_flight(&rec(3).line()[..30]);
    let mut reader = writer.reader(FOLLOW, Format::default());
    let (out, step) = catch_up(&mut reader);
    assert_eq!(out, text(0..3));
    assert_eq!(
        step,
        Step::CaughtUp {
            commit: writer.now().commit
        }
    );
    writer.append(&recs(3..5));
    assert_eq!(catch_up(&mut reader).0, text(3..5));
    writer.end();
    assert_eq!(catch_up(&mut reader), (String::new(), Step::End));
    assert_eq!(catch_up(&mut reader), (String::new(), Step::End));
    assert_eq!(reader.stats().damaged, 0);
}

#[test]
fn without_follow_later_records_are_not_shown() {
    let mut writer = Writer::new(3);
    writer.append(&recs(0..3));
    writer.rotate();
    writer.append(&recs(3..6));
    let mut reader = writer.reader(Query::all(), Format::default());
    writer.append(&recs(6..9));
    writer.rotate();
    writer.append(&recs(9..12));
    writer.rotate();
    writer.rotate();
    assert_eq!(catch_up(&mut reader), (text(0..6), Step::End));
}

#[test]
fn tail_and_since_of_a_live_log() {
    let mut writer = Writer::new(4);
    writer.append(&recs(0..3));
    writer.rotate();
    writer.append(&recs(3..6));
    writer.rotate();
    for (tail, from) in [(0, 6), (1, 5), (3, 3), (4, 2), (6, 0), (99, 0)] {
        let query = Query {
            tail: Some(tail),
            ..FOLLOW
        };
        let mut reader = writer.reader(query, Format::default());
        assert_eq!(catch_up(&mut reader).0, text(from..6), "tail {tail}");
    }
    // A bound in the future: nothing yet, then from there on.
    let query = Query {
        since: Some(BASE + 7),
        until: Some(BASE + 8),
        ..FOLLOW
    };
    let mut reader = writer.reader(query, Format::default());
    assert_eq!(catch_up(&mut reader).0, "");
    writer.append(&recs(6..8));
    assert_eq!(catch_up(&mut reader).0, text(7..8));
    writer.append(&recs(8..10));
    assert_eq!(catch_up(&mut reader), (text(8..9), Step::End));
}

#[test]
fn a_follower_keeps_its_file_through_rotations() {
    let mut writer = Writer::new(1);
    writer.append(&recs(0..2));
    let mut reader = writer.reader(FOLLOW, Format::default());
    assert_eq!(catch_up(&mut reader).0, text(0..2));
    writer.append(&recs(2..4));
    writer.rotate();
    writer.append(&recs(4..6));
    assert_eq!(catch_up(&mut reader).0, text(2..6));
    assert_eq!(reader.stats().gaps, 0);
}

#[test]
fn files_gone_before_they_were_read_are_told() {
    let mut writer = Writer::new(2);
    writer.append(&recs(0..2));
    let format = Format {
        multiplexed: true,
        ..Format::default()
    };
    let mut reader = writer.reader(FOLLOW, format);
    while reader.read(&mut Vec::new()).unwrap() == Step::Data {}
    writer.append(&recs(2..4));
    for n in 0..4 {
        writer.rotate();
        writer.append(&recs(4 + n * 10..14 + n * 10));
    }
    // Files 2 and 3 are gone, with records 4 to 23.
    let mut out = Vec::new();
    while reader.read(&mut out).unwrap() == Step::Data {}
    let message = format!(
        "taffrail: 20 records (? bytes) missing {}..{}: \
         log files were rotated away before they were read\n",
        common::rfc3339(BASE + 3),
        common::rfc3339(BASE + 24)
    );
    let frames = common::joined(&out);
    let notice: Vec<&(u8, Vec<u8>)> = frames
        .iter()
        .filter(|(_, text)| text.windows(9).any(|w| w == b"taffrail:"))
        .collect();
    assert_eq!(notice.len(), 1);
    // Record 24 is of stderr as well and follows at once.
    assert_eq!(notice[0], &(2, format!("3\n{message}24\n").into_bytes()));
    let all: Vec<u8> = frames.into_iter().flat_map(|(_, text)| text).collect();
    let expected = format!("{}{message}{}", text(2..4), text(24..44));
    assert_eq!(String::from_utf8(all).unwrap(), expected);
    assert_eq!(
        (reader.stats().gaps, reader.stats().missed_records),
        (1, 20)
    );
}

#[test]
fn records_lost_at_capture_are_told() {
    let mut writer = Writer::new(2);
    writer.append(&recs(0..2));
    let mut reader = writer.reader(FOLLOW, Format::default());
    catch_up(&mut reader);
    writer.lose(5);
    let (out, _) = catch_up(&mut reader);
    assert!(
        out.starts_with("taffrail: 5 records (? bytes) missing "),
        "{out}"
    );
    assert_eq!(out.lines().count(), 1);
    writer.append(&recs(2..3));
    assert_eq!(catch_up(&mut reader).0, text(2..3));
}

/// What was lost or cut before somebody asked is counted, with the container stopped too, but the
/// answer has no word of it.
#[test]
fn losses_of_the_past_are_counted() {
    let mut writer = Writer::new(3);
    writer.append(&recs(0..2));
    writer.rotate();
    writer.append(&recs(2..4));
    writer.lose(7);
    writer.rotate();
    writer.append(&recs(4..6));
    let files = writer.dir.files.clone();
    let stopped = Reader::open(files, Query::all(), Format::default(), None).unwrap();
    let live = writer.reader(Query::all(), Format::default());
    let follower = writer.reader(FOLLOW, Format::default());
    for mut reader in [stopped, live, follower] {
        assert_eq!(catch_up(&mut reader).0, text(0..6));
        assert_eq!((reader.stats().gaps, reader.stats().missed_records), (1, 7));
    }
    writer.cut(0);
    writer.notice_cut();
    writer.append(&recs(6..8));
    let mut follower = writer.reader(FOLLOW, Format::default());
    assert_eq!(catch_up(&mut follower).0, [text(0..4), text(6..8)].concat());
    assert_eq!(
        (follower.stats().gaps, follower.stats().missed_records),
        (2, 9)
    );
}

#[test]
fn a_cut_file_is_followed_on() {
    let mut writer = Writer::new(2);
    writer.append(&recs(0..10));
    let mut reader = writer.reader(FOLLOW, Format::default());
    catch_up(&mut reader);
    // `> file`, as people do it.
    writer.cut(0);
    assert!(matches!(catch_up(&mut reader), (out, Step::CaughtUp { .. }) if out.is_empty()));
    writer.notice_cut();
    writer.append(&recs(10..13));
    assert_eq!(catch_up(&mut reader).0, text(10..13));
    // Some of the old records stay.
    writer.cut(rec(10).line().len() as u64);
    writer.notice_cut();
    assert_eq!(catch_up(&mut reader).0, "");
    writer.append(&recs(13..14));
    assert_eq!(catch_up(&mut reader).0, text(13..14));
    assert_eq!(reader.stats().gaps, 0);
    assert_eq!(reader.stats().truncations, 2);
    // New records are cut before they were read.
    writer.append(&recs(14..16));
    writer.cut(0);
    writer.notice_cut();
    writer.append(&recs(16..17));
    let (out, _) = catch_up(&mut reader);
    assert!(
        out.starts_with("taffrail: 2 records (? bytes) missing "),
        "{out}"
    );
    assert!(out.ends_with("\n16\n"), "{out}");
    assert_eq!(out.lines().count(), 2);
    writer.append(&recs(17..30));
    writer.end();
    assert_eq!(catch_up(&mut reader), (text(17..30), Step::End));
}

#[test]
fn a_container_that_vanishes_ends_the_follow() {
    let mut writer = Writer::new(3);
    writer.append(&recs(0..2));
    let mut reader = writer.reader(FOLLOW, Format::default());
    catch_up(&mut reader);
    writer.append(&recs(2..4));
    writer.rotate();
    writer.append(&recs(4..6));
    // What the reader has seen of the page counts; then the page goes.
    let mut out = Vec::new();
    while reader.read(&mut out).unwrap() == Step::Data {}
    writer.append(&recs(6..7));
    writer.vanish();
    assert_eq!(catch_up(&mut reader), (text(6..7), Step::End));
    assert_eq!(String::from_utf8(out).unwrap(), text(2..6));
}

#[test]
fn the_current_file_was_removed() {
    let mut writer = Writer::new(3);
    writer.append(&recs(0..2));
    std::fs::remove_file(writer.dir.name(0)).unwrap();
    let mut reader = writer.reader(FOLLOW, Format::default());
    let (out, step) = catch_up(&mut reader);
    assert_eq!(out, "");
    assert!(matches!(step, Step::CaughtUp { .. }));
    writer.rotate();
    writer.append(&recs(2..4));
    assert_eq!(catch_up(&mut reader).0, text(2..4));
}

#[derive(Clone, Debug)]
enum Op {
    Append(u64),
    Rotate,
    Read,
    CatchUp,
    InFlight,
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    /// Whatever the interleaving: in order, nothing twice, and what is not seen is counted.
    #[test]
    fn seen_and_missed_are_all(
        ops in proptest::collection::vec(
            prop_oneof![
                4 => (1u64..40).prop_map(Op::Append),
                2 => Just(Op::Rotate),
                2 => Just(Op::Read),
                1 => Just(Op::CatchUp),
                1 => Just(Op::InFlight),
            ],
            0..60,
        ),
        max_file in 1u32..5,
        joins_at in 0usize..10,
    ) {
        let mut writer = Writer::new(max_file);
        let mut reader = None;
        let mut n = 0;
        let mut first = 0;
        let mut out = Vec::new();
        for (i, op) in ops.iter().enumerate() {
            if i == joins_at {
                reader = Some(writer.reader(Query { tail: Some(5), ..FOLLOW }, Format::default()));
                // Where it begins is tested elsewhere.
                let mut past = Vec::new();
                while reader.as_mut().unwrap().read(&mut past).unwrap() == Step::Data {}
                first = n;
            }
            match (op, &mut reader) {
                (Op::Append(count), _) => {
                    writer.append(&recs(n..n + count));
                    n += count;
                }
                (Op::Rotate, _) => writer.rotate(),
                (Op::InFlight, _) => writer.in_flight(b"{\"log\":\"not yet"),
                (Op::Read, Some(reader)) => {
                    reader.read(&mut out).unwrap();
                }
                (Op::CatchUp, Some(reader)) => {
                    while reader.read(&mut out).unwrap() == Step::Data {}
                }
                _ => {}
            }
        }
        let Some(mut reader) = reader else { return Ok(()) };
        writer.end();
        while reader.read(&mut out).unwrap() == Step::Data {}
        let out = String::from_utf8(out).unwrap();
        let seen: Vec<u64> = out.lines().filter_map(|l| l.parse().ok()).collect();
        prop_assert!(seen.windows(2).all(|w| w[0] < w[1]), "{:?}", seen);
        prop_assert!(seen.iter().all(|s| *s >= first));
        let stats = reader.stats();
        prop_assert_eq!(seen.len() as u64 + stats.missed_records, n - first);
        prop_assert_eq!(stats.damaged, 0);
        let notices = out.lines().filter(|l| l.starts_with("taffrail: ")).count();
        prop_assert_eq!(notices as u64, stats.gaps);
    }
}

/// How far each follower is, for a writer that does not rotate unread records away.
#[derive(Default)]
struct Progress {
    seen: Mutex<Vec<u64>>,
    bell: Condvar,
}

/// A writer thread that rotates often, and followers that must see each record once.
#[test]
fn three_followers_of_a_busy_writer() {
    const RECORDS: u64 = 60_000;
    const MAX_FILE: u32 = 4;
    let mut writer = Writer::new(MAX_FILE);
    let progress = Arc::new(Progress::default());
    progress.seen.lock().unwrap().resize(3, 0);
    let followers: Vec<_> = (0..3)
        .map(|who| {
            let mut reader = writer.reader(FOLLOW, Format::default());
            let (page, progress) = (writer.page.clone(), progress.clone());
            std::thread::spawn(move || {
                let mut out = Vec::new();
                loop {
                    match reader.read(&mut out).unwrap() {
                        Step::Data => {
                            let lines = out.iter().filter(|b| **b == b'\n').count() as u64;
                            progress.seen.lock().unwrap()[who] = lines;
                            progress.bell.notify_all();
                        }
                        Step::CaughtUp { commit } => page.wait(commit),
                        Step::End => return (out, *reader.stats()),
                    }
                }
            })
        })
        .collect();

    let mut n = 0;
    let mut rotated_at = Vec::new();
    while n < RECORDS {
        for size in [1, 7, 100, 30] {
            writer.append(&recs(n..n + size));
            n += size;
        }
        rotated_at.push(n);
        // The rotation removes the file that ended so many rotations ago.
        if let Some(at) = rotated_at.len().checked_sub(MAX_FILE as usize) {
            let unread = |seen: &mut Vec<u64>| seen.iter().any(|s| *s < rotated_at[at]);
            let seen = progress.seen.lock().unwrap();
            let waited = progress.bell.wait_timeout_while(seen, PATIENCE, unread);
            assert!(!waited.unwrap().1.timed_out(), "a follower stands still");
        }
        writer.rotate();
    }
    writer.end();
    for follower in followers {
        let (out, stats) = follower.join().unwrap();
        assert_eq!(stats.gaps, 0);
        assert_eq!(stats.damaged, 0);
        assert_eq!(stats.records, n);
        assert!(String::from_utf8(out).unwrap() == text(0..n));
    }
}

/// Nobody waits for anybody: what the followers miss is counted, to the record.
#[test]
fn followers_too_slow_for_the_writer() {
    let mut writer = Writer::new(2);
    let followers: Vec<_> = (0..2)
        .map(|_| {
            let mut reader = writer.reader(FOLLOW, Format::default());
            let page = writer.page.clone();
            std::thread::spawn(move || {
                let mut out = Vec::new();
                loop {
                    match reader.read(&mut out).unwrap() {
                        Step::Data => {}
                        Step::CaughtUp { commit } => page.wait(commit),
                        Step::End => return (out, *reader.stats()),
                    }
                }
            })
        })
        .collect();
    let mut n = 0;
    for _ in 0..1500 {
        writer.append(&recs(n..n + 11));
        n += 11;
        writer.rotate();
    }
    writer.end();
    for follower in followers {
        let (out, stats) = follower.join().unwrap();
        let out = String::from_utf8(out).unwrap();
        let seen: Vec<u64> = out.lines().filter_map(|l| l.parse().ok()).collect();
        assert!(seen.windows(2).all(|w| w[0] < w[1]));
        assert_eq!(seen.len() as u64, stats.records);
        assert_eq!(stats.records + stats.missed_records, n);
        assert_eq!(stats.damaged, 0);
    }
}

/// Whoever asks while files are being renamed gets each record once, up to some commit between
/// his question and the answer.
#[test]
fn snapshots_of_a_busy_writer() {
    let mut writer = Writer::new(2000);
    let (page, files) = (writer.page.clone(), writer.dir.files.clone());
    let asker = std::thread::spawn(move || {
        let mut asked = 0;
        loop {
            let before = page.committed().unwrap();
            let open = |query| {
                Reader::open(files.clone(), query, Format::default(), Some(page.clone())).unwrap()
            };
            let mut all = open(Query::all());
            let mut last = open(Query {
                tail: Some(30),
                ..Query::all()
            });
            let after = page.committed().unwrap();
            let seen = catch_up(&mut all).0;
            let n = seen.lines().count() as u64;
            assert!(seen == text(0..n));
            assert!((before.next_seq - 100..=after.next_seq - 100).contains(&n));
            let tail = catch_up(&mut last).0;
            let end = tail
                .lines()
                .last()
                .map_or(0, |l| l.parse::<u64>().unwrap() + 1);
            assert!(
                end >= n && tail == text(end.saturating_sub(30)..end),
                "{tail}"
            );
            asked += 1;
            if before.done {
                return asked;
            }
        }
    });
    let mut n = 0;
    for _ in 0..250 {
        writer.append(&recs(n..n + 5));
        writer.append(&recs(n + 5..n + 9));
        n += 9;
        writer.rotate();
    }
    writer.end();
    assert!(asker.join().unwrap() >= 2);
}
