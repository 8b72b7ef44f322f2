//! Replays the corpus of the fuzz target `json_line`, as it is and with every byte changed.

#[path = "../../fuzz/checks/json_line.rs"]
#[allow(unreachable_pub, reason = "shared with the fuzz target")]
mod json_line;

use proptest::prelude::*;

fn corpus() -> Vec<Vec<u8>> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../fuzz/corpus/json_line");
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| std::fs::read(entry.unwrap().path()).unwrap())
        .collect();
    files.sort();
    assert!(files.len() >= 10);
    files
}

#[test]
fn replay() {
    for data in corpus() {
        json_line::check(&data);
    }
}

#[test]
fn replay_with_each_byte_changed() {
    for data in corpus() {
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

proptest! {
    #[test]
    fn spliced(
        picks in proptest::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>(), 1usize..80), 1..8),
    ) {
        let corpus = corpus();
        let mut data = Vec::new();
        for (file, at, length) in picks {
            let file = file.get(&corpus);
            let at = at.index(file.len());
            data.extend_from_slice(&file[at..file.len().min(at + length)]);
        }
        json_line::check(&data);
    }
}
