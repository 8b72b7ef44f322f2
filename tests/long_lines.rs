//! Lines around and far beyond Docker's 16 KiB: the file's records, and what `docker logs` gives back.

use crate::harness::image::IMAGE;
use crate::harness::{Daemon, Engine, logs, sized, skip};
use crate::need;

const CHUNK: usize = 16_384;

fn ready() -> Result<(), String> {
    Engine::chosen().ready()?;
    skip::program("docker")
}

fn records(daemon: &Daemon, id: &str) -> Vec<logs::Record> {
    daemon
        .json_log(id)
        .split_inclusive(|byte| *byte == b'\n')
        .map(|line| serde_json::from_slice(line).expect("a record"))
        .collect()
}

/// What the workload's `long` prints, without the newline.
fn long(size: usize, utf8: bool) -> Vec<u8> {
    let unit: &[u8] = if utf8 {
        "xy😀".as_bytes()
    } else {
        b"abcdefghijklmnopqrstuvwxyz0123456789"
    };
    let buffer = unit.len() * 4096;
    let mut line = Vec::with_capacity(size);
    let mut left = size;
    while left > 0 {
        let mut take = left.min(buffer);
        if take < buffer {
            take -= take % unit.len();
        }
        if take == 0 {
            line.extend(std::iter::repeat_n(b'z', left));
            break;
        }
        line.extend(unit.iter().cycle().take(take));
        left -= take;
    }
    line
}

#[test]
fn lines_around_the_border_are_cut_as_docker_cuts() {
    need!(ready());
    let daemon = Daemon::start();
    for size in [1, 16_383, 16_384, 16_385, 32_767, 32_768, 40_000, 1 << 20] {
        for newline in [true, false] {
            let (size_word, newline_word) = (
                format!("size={size}"),
                format!("newline={}", u8::from(newline)),
            );
            let id = daemon.workload(&[], &["long", &size_word, &newline_word]);
            assert_eq!(daemon.wait_exit(&id, 60), 0);
            let what = format!("{size} bytes, newline {newline}");
            let mut expected: Vec<usize> = vec![CHUNK; size / CHUNK];
            if size % CHUNK > 0 || newline {
                expected.push(size % CHUNK + usize::from(newline));
            }
            let records = records(&daemon, &id);
            let got: Vec<usize> = records.iter().map(|record| record.log.len()).collect();
            assert_eq!(got, expected, "records of {what}");
            let mut whole = long(size, false);
            if newline {
                whole.push(b'\n');
            }
            let shown = daemon.docker(["logs", &id]).output();
            assert!(
                shown.stdout == whole,
                "docker logs of {what}: {} bytes",
                shown.stdout.len()
            );
            daemon.docker(["rm", &id]).output().code(0);
        }
    }
    daemon.finish();
}

#[test]
fn a_character_is_never_torn() {
    need!(ready());
    need!(crate::harness::daemon::taffrail_only());
    let daemon = Daemon::start();
    for size in [16_386, 40_002, 600_000] {
        let id = daemon.workload(&[], &["long", &format!("size={size}"), "utf8=1"]);
        assert_eq!(daemon.wait_exit(&id, 60), 0);
        let records = records(&daemon, &id);
        assert!(records.len() > 1);
        for record in &records {
            assert!(record.log.len() <= CHUNK + 1, "{} bytes", record.log.len());
            assert!(
                !record.log.contains('\u{fffd}'),
                "a torn character in a line of {size}"
            );
        }
        for record in &records[..records.len() - 1] {
            assert!(record.log.len() > CHUNK - 4, "{} bytes", record.log.len());
        }
        let mut whole = long(size, true);
        whole.push(b'\n');
        let shown = daemon.docker(["logs", &id]).output();
        assert!(
            shown.stdout == whole,
            "docker logs of {size} bytes gave {}",
            shown.stdout.len()
        );
    }
    daemon.finish();
}

#[test]
fn a_line_of_100_mb_comes_back_whole() {
    need!(ready());
    let daemon = Daemon::start();
    let size = sized("TAFFRAIL_TEST_LONG_LINE", 100_000_000) as usize;
    let id = daemon.workload(&[], &["long", &format!("size={size}")]);
    assert_eq!(daemon.wait_exit(&id, 120), 0);
    let shown = daemon.docker(["logs", &id]).deadline(120).output();
    let mut whole = long(size, false);
    whole.push(b'\n');
    assert!(
        shown.stdout == whole,
        "docker logs gave {} bytes of {}",
        shown.stdout.len(),
        whole.len()
    );
    daemon.finish();
}

#[test]
fn binary_output_keeps_its_valid_parts() {
    need!(ready());
    let daemon = Daemon::start();
    // NUL, CR, ESC, then every byte that UTF-8 never has: each invalid byte is one U+FFFD.
    let id = daemon.workload(&[], &["bytes", "hex=00410d1b0ac0c1f5ffe2820a"]);
    assert_eq!(daemon.wait_exit(&id, 20), 0);
    let shown = daemon.docker(["logs", &id]).output();
    let bad = "\u{fffd}";
    let expected = format!("\0A\r\u{1b}\n{}\n", bad.repeat(6));
    assert_eq!(String::from_utf8_lossy(&shown.stdout), expected);
    // Attached, the bytes are the program's own.
    let raw = daemon
        .docker([
            "run",
            "--rm",
            "--network",
            "none",
            IMAGE,
            "workload",
            "bytes",
            "hex=00ff0d0ae282",
        ])
        .output();
    assert_eq!(raw.stdout, [0x00, 0xff, 0x0d, 0x0a, 0xe2, 0x82]);
    daemon.finish();
}
