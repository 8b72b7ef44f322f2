//! Damage costs the records it touches and no other.

mod common;

use common::{Dir, Rec, drain};
use taffrail_log::{Format, Query, count_newlines, last_record, scan_end};

const BASE: i64 = 1_700_000_000_000_000_000;

fn text(n: usize) -> String {
    format!("record {n} with \"some\" text\n")
}

fn rec(n: usize) -> Rec {
    let mut rec = Rec::new(text(n), "stdout", BASE + n as i64);
    if n.is_multiple_of(4) {
        rec.attrs.insert("k".into(), "v".into());
    }
    rec
}

/// Reads `bytes` and asserts that the records outside of `from..to` (places in the undamaged log)
/// are there, in order.
fn check(lines: &[Vec<u8>], bytes: &[u8], from: usize, to: usize, what: &str) {
    let dir = Dir::new(1);
    std::fs::write(&dir.files.path, bytes).unwrap();
    let mut reader = dir.open(Query::all(), Format::default());
    let out = String::from_utf8_lossy(&drain(&mut reader)).into_owned();
    let mut rest = out.as_str();
    let mut at = 0;
    let mut touched = 0;
    for (n, line) in lines.iter().enumerate() {
        let end = at + line.len();
        if end <= from || at >= to {
            // By substring: the damaged record before it may have lost its newline.
            let want = text(n);
            let Some((_, after)) = rest.split_once(&want) else {
                panic!("{what} {from}..{to}: lost {n}:\n{out}");
            };
            rest = after;
        } else {
            touched += 1;
        }
        at = end;
    }
    let (records, damaged) = (reader.stats().records, reader.stats().damaged);
    let whole = lines.len() as u64;
    assert!(
        records <= whole && records + touched >= whole,
        "{what} {from}..{to}"
    );
    assert!(
        damaged <= touched + 2,
        "{what} {from}..{to}: {damaged} damaged"
    );
}

#[test]
fn flipped_bits_and_bytes() {
    let lines: Vec<Vec<u8>> = (0..6).map(|n| rec(n).line()).collect();
    let good = lines.concat();
    for at in 0..good.len() {
        for new in [
            good[at] ^ 1,
            good[at] ^ 0x80,
            0,
            b'"',
            b'\\',
            b'\n',
            b'{',
            b'}',
            0xff,
        ] {
            let mut bad = good.clone();
            bad[at] = new;
            check(&lines, &bad, at, at + 1, "flip");
        }
    }
}

#[test]
fn zeroed_stretches() {
    let lines: Vec<Vec<u8>> = (0..12).map(|n| rec(n).line()).collect();
    let good = lines.concat();
    for length in [1, 7, 64, 100, 300, 512] {
        for at in (0..good.len() - length).step_by(3) {
            let mut bad = good.clone();
            bad[at..at + length].fill(0);
            check(&lines, &bad, at, at + length, "zero");
        }
    }
}

#[test]
fn cut_out_stretches_and_cut_ends() {
    let lines: Vec<Vec<u8>> = (0..12).map(|n| rec(n).line()).collect();
    let good = lines.concat();
    for length in [1, 7, 64, 100, 300] {
        for at in (0..good.len() - length).step_by(3) {
            let mut bad = good.clone();
            bad.drain(at..at + length);
            // What follows the cut on its line is touched too, if the cut began in a record.
            check(&lines, &bad, at, at + length, "cut");
        }
    }
    for at in 0..good.len() {
        check(&lines, &good[..at], at, good.len(), "end");
    }
}

#[test]
fn a_record_after_a_torn_one_is_read() {
    let dir = Dir::new(1);
    let torn = rec(1).line();
    let bytes = [
        &rec(0).line()[..],
        &torn[..20],
        &rec(2).line()[..],
        &rec(3).line()[..],
    ]
    .concat();
    std::fs::write(&dir.files.path, bytes).unwrap();
    let mut reader = dir.open(Query::all(), Format::default());
    let out = String::from_utf8(drain(&mut reader)).unwrap();
    assert_eq!(out, [text(0), text(2), text(3)].concat());
    assert_eq!(reader.stats().damaged, 1);
    assert_eq!(reader.stats().records, 3);
}

#[test]
fn a_torn_end_is_counted_and_not_shown() {
    let dir = Dir::new(2);
    let whole = rec(1).line();
    std::fs::write(
        dir.name(1),
        [&rec(0).line()[..], &whole[..whole.len() - 1]].concat(),
    )
    .unwrap();
    std::fs::write(dir.name(0), [&rec(2).line()[..], b"{"].concat()).unwrap();
    let mut reader = dir.open(Query::all(), Format::default());
    let out = String::from_utf8(drain(&mut reader)).unwrap();
    assert_eq!(out, [text(0), text(2)].concat());
    assert_eq!(reader.stats().damaged, 2);
    let query = Query {
        tail: Some(2),
        ..Query::all()
    };
    let out = drain(&mut dir.open(query, Format::default()));
    assert_eq!(String::from_utf8(out).unwrap(), [text(0), text(2)].concat());
}

#[test]
fn megabytes_without_a_newline() {
    let dir = Dir::new(1);
    for (junk, after) in [(0u8, true), (b'x', false), (b'{', false), (b'"', true)] {
        for size in [100_000, 524_287, 524_288, 524_300, 3_000_000] {
            let mut bytes = rec(0).line();
            bytes.resize(bytes.len() + size, junk);
            if !after {
                bytes.push(b'\n');
            }
            bytes.extend_from_slice(&rec(1).line());
            bytes.extend_from_slice(&rec(2).line());
            std::fs::write(&dir.files.path, &bytes).unwrap();
            let mut reader = dir.open(Query::all(), Format::default());
            let out = String::from_utf8(drain(&mut reader)).unwrap();
            assert_eq!(out, [text(0), text(1), text(2)].concat(), "{junk} {size}");
            assert_eq!(reader.stats().damaged, 1, "{junk} {size}");
            // From the back.
            let query = Query {
                tail: Some(1),
                ..Query::all()
            };
            let out = drain(&mut dir.open(query, Format::default()));
            assert_eq!(String::from_utf8(out).unwrap(), text(2));
            let query = Query {
                since: Some(BASE + 1),
                ..Query::all()
            };
            let out = drain(&mut dir.open(query, Format::default()));
            assert_eq!(String::from_utf8(out).unwrap(), [text(1), text(2)].concat());
        }
    }
}

#[test]
fn the_longest_record_is_read() {
    let dir = Dir::new(1);
    for size in [98_304, 400_000, 500_000] {
        let long = Rec::new(format!("{}\n", "z".repeat(size)), "stderr", BASE);
        let bytes = [rec(0).line(), long.line(), rec(2).line()].concat();
        std::fs::write(&dir.files.path, bytes).unwrap();
        let mut reader = dir.open(Query::all(), Format::default());
        let out = String::from_utf8(drain(&mut reader)).unwrap();
        assert_eq!(out, [text(0), long.log, text(2)].concat());
        assert_eq!(reader.stats().damaged, 0);
    }
}

#[test]
fn where_a_writer_may_go_on() {
    let dir = Dir::new(3);
    assert_eq!(last_record(&dir.files).unwrap(), None);
    assert_eq!(scan_end(&dir.files.path).unwrap(), None);

    let whole = [rec(0).line(), rec(1).line()].concat();
    for torn in [0, 1, 30, 200_000] {
        let mut bytes = whole.clone();
        bytes.resize(whole.len() + torn, b'x');
        std::fs::write(dir.name(0), &bytes).unwrap();
        let end = scan_end(&dir.files.path).unwrap().unwrap();
        assert_eq!(end.valid_len, whole.len() as u64);
        assert_eq!(end.torn, torn as u64);
        assert_eq!(end.time_ns, Some(BASE + 1));
        assert_eq!(last_record(&dir.files).unwrap(), Some(end));
        assert_eq!(count_newlines(&dir.files.path, end.valid_len).unwrap(), 2);
    }
    // The last lines are not records.
    std::fs::write(dir.name(0), [&whole[..], b"junk\n\0\0\n"].concat()).unwrap();
    let end = scan_end(&dir.files.path).unwrap().unwrap();
    assert_eq!(
        (end.valid_len, end.time_ns),
        (whole.len() as u64 + 8, Some(BASE + 1))
    );
    // Nothing but a torn record, and an older file.
    std::fs::write(dir.name(0), b"{\"log\":").unwrap();
    std::fs::write(dir.name(2), rec(5).line()).unwrap();
    let end = last_record(&dir.files).unwrap().unwrap();
    assert_eq!(
        (end.valid_len, end.torn, end.time_ns),
        (0, 7, Some(BASE + 5))
    );
    // Times of a line longer than a block.
    let long = Rec::new("q".repeat(200_000), "stdout", BASE + 77);
    std::fs::write(dir.name(0), long.line()).unwrap();
    assert_eq!(
        scan_end(&dir.files.path).unwrap().unwrap().time_ns,
        Some(BASE + 77)
    );
}
