//! Replays the corpora of the fuzz targets of this library: `json_line` with every byte changed, too,
//! and the damage of whole logs with places and kinds of damage by chance.

#[path = "../../fuzz/checks/lib.rs"]
#[allow(
    dead_code,
    missing_debug_implementations,
    unreachable_pub,
    reason = "shared with the fuzz targets"
)]
mod checks;

use checks::{damage, frames, grep, json_line, segment, texts};
use proptest::prelude::*;
use taffrail_log::LogFormat;

fn corpus(target: &str) -> Vec<Vec<u8>> {
    let folder = format!("{}/../fuzz/corpus/{target}", env!("CARGO_MANIFEST_DIR"));
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| std::fs::read(entry.unwrap().path()).unwrap())
        .collect();
    files.sort();
    assert!(files.len() >= 3, "{target}");
    files
}

fn local(data: &[u8]) {
    damage::check(data, LogFormat::Local);
}

fn json_file(data: &[u8]) {
    damage::check(data, LogFormat::JsonFile);
}

type Check = fn(&[u8]);

#[test]
fn replay() {
    let targets: [(&str, Check); 9] = [
        ("json_line", json_line::check),
        ("damage_local", local),
        ("damage_json", json_file),
        ("segment", segment::segments),
        ("json_file", segment::json_files),
        ("zstd_frames", frames::segments),
        ("gzip_members", frames::members),
        ("grep", grep::check),
        ("texts", texts::check),
    ];
    for (target, check) in targets {
        for data in corpus(target) {
            check(&data);
        }
    }
}

#[test]
fn replay_with_each_byte_changed() {
    for data in corpus("json_line") {
        for at in 0..data.len() {
            for new in *b"\"\\{}:,0uZ\n\0\xff" {
                let mut changed = data.clone();
                changed[at] = new;
                json_line::check(&changed);
            }
            let mut cut = data.clone();
            cut.remove(at);
            json_line::check(&cut);
        }
    }
}

/// How a log is made and damaged (the first ten bytes), then what is written to it.
fn damaged() -> impl Strategy<Value = Vec<u8>> {
    let op = prop_oneof![
        8 => (any::<bool>(), any::<u8>(), any::<u8>())
            .prop_map(|(err, count, length)| vec![u8::from(err) << 7, count, length]),
        1 => (0u8..16, proptest::collection::vec(any::<u8>(), 3..12))
            .prop_map(|(op, bytes)| [vec![op], bytes].concat()),
    ];
    let head = proptest::collection::vec(any::<u8>(), 10);
    (head, proptest::collection::vec(op, 4..24))
        .prop_map(|(head, ops)| [head, ops.concat()].concat())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn spliced(
        picks in proptest::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>(), 1usize..80), 1..8),
    ) {
        let corpus = corpus("json_line");
        let mut data = Vec::new();
        for (file, at, length) in picks {
            let file = file.get(&corpus);
            let at = at.index(file.len());
            data.extend_from_slice(&file[at..file.len().min(at + length)]);
        }
        json_line::check(&data);
    }
}

/// Cases of damage; `TAFFRAIL_TEST_DAMAGE_CASES` for a long night.
fn cases() -> u32 {
    let asked = std::env::var("TAFFRAIL_TEST_DAMAGE_CASES");
    asked.ok().and_then(|n| n.parse().ok()).unwrap_or(48)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn damage_costs_what_it_touches_in_local(data in damaged()) {
        local(&data);
    }

    #[test]
    fn damage_costs_what_it_touches_in_json_file(data in damaged()) {
        json_file(&data);
    }
}
