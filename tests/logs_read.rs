//! `docker logs`: tail, since, until, follow, timestamps, streams.

use std::time::Duration;

use crate::harness::image::IMAGE;
use crate::harness::{Daemon, Engine, http, logs, skip, wait_for};
use crate::need;

fn ready() -> Result<(), String> {
    Engine::chosen().ready()?;
    skip::program("docker")
}

#[test]
fn tail_counts_from_the_end() {
    need!(ready());
    let daemon = Daemon::start();
    let id = daemon.workload(&[], &["lines", "lines=5000", "size=60", "mode=block"]);
    daemon.wait_exit(&id, 30);
    for (tail, expected) in [
        ("0", 0),
        ("1", 1),
        ("10", 10),
        ("4999", 4999),
        ("5000", 5000),
        ("9999", 5000),
        ("all", 5000),
        ("-1", 5000),
        ("x", 5000),
    ] {
        let shown = daemon.docker(["logs", "--tail", tail, &id]).output();
        shown.code(0);
        let mut judge = crate::harness::judge::Judge::from('o', 5000 - expected);
        judge.feed(&shown.stdout);
        judge
            .finish()
            .assert_complete(expected, &format!("--tail {tail}"));
    }
    daemon.finish();
}

#[test]
fn streams_are_selected() {
    need!(ready());
    let daemon = Daemon::start();
    let id = daemon.run_detached(&[
        IMAGE,
        "sh",
        "-c",
        "echo o1; sleep 0.1; echo e1 >&2; sleep 0.1; echo o2",
    ]);
    daemon.wait_exit(&id, 20);
    let get = |query: &str| {
        let answer = daemon.api("GET", &format!("/containers/{id}/logs?{query}"), None);
        assert_eq!(answer.status, 200, "{query}: {}", answer.text());
        http::frames(&answer.body)
    };
    let frame = |stream, text: &str| (stream, text.as_bytes().to_vec());
    assert_eq!(get("stdout=1"), [frame(1, "o1\n"), frame(1, "o2\n")]);
    assert_eq!(get("stderr=1"), [frame(2, "e1\n")]);
    assert_eq!(
        get("stdout=1&stderr=1"),
        [frame(1, "o1\n"), frame(2, "e1\n"), frame(1, "o2\n")]
    );
    // Tail counts both streams before it selects.
    assert_eq!(
        get("stdout=1&stderr=1&tail=2"),
        [frame(2, "e1\n"), frame(1, "o2\n")]
    );
    assert_eq!(get("stderr=1&tail=1"), []);
    let none = daemon.api("GET", &format!("/containers/{id}/logs"), None);
    assert_eq!(none.status, 400, "{}", none.text());
    assert!(
        none.text().to_lowercase().contains("at least one"),
        "{}",
        none.text()
    );
    let bad = daemon.api(
        "GET",
        &format!("/containers/{id}/logs?stdout=1&since=abc"),
        None,
    );
    // Docker 20.10 says 500.
    assert!(
        bad.status == 400 || daemon.engine == Engine::Dockerd,
        "{}",
        bad.text()
    );
    daemon.finish();
}

#[test]
fn since_and_until_are_inclusive() {
    need!(ready());
    let daemon = Daemon::start();
    let id = daemon.run_detached(&[
        IMAGE,
        "sh",
        "-c",
        "for i in 0 1 2 3 4 5; do echo $i; sleep 0.05; done",
    ]);
    daemon.wait_exit(&id, 20);
    let stamped = daemon.docker(["logs", "-t", &id]).output().ok();
    let stamps: Vec<&str> = stamped
        .lines()
        .map(|line| line.split(' ').next().unwrap_or(""))
        .collect();
    assert_eq!(stamps.len(), 6, "{stamped}");
    let shown = |args: &[&str]| {
        let mut all = vec!["logs"];
        all.extend(args);
        all.push(&id);
        daemon.docker(&all).output().ok().replace('\n', "")
    };
    assert_eq!(shown(&["--since", stamps[2]]), "2345");
    assert_eq!(shown(&["--until", stamps[2]]), "012");
    assert_eq!(shown(&["--since", stamps[1], "--until", stamps[4]]), "1234");
    assert_eq!(shown(&["--since", stamps[1], "--tail", "2"]), "45");
    assert_eq!(shown(&["--since", "1h"]), "012345");
    assert_eq!(shown(&["--until", "1h"]), "");
    assert_eq!(shown(&["--since", "2099-01-01T00:00:00Z"]), "");
    assert_eq!(shown(&["-f", "--until", stamps[3]]), "0123");
    daemon.finish();
}

#[test]
fn follow_shows_each_line_as_it_comes_and_ends_with_the_container() {
    need!(ready());
    let daemon = Daemon::start();
    let id = daemon.run_detached(&["-i", IMAGE, "cat"]);
    let path = format!("/containers/{id}/logs?stdout=1&stderr=1&follow=1");
    let mut stream = http::open(
        &daemon.socket,
        "GET",
        &path,
        &[],
        None,
        Duration::from_secs(20),
    )
    .expect("headers at once");
    let attach = http::open(
        &daemon.socket,
        "POST",
        &format!("/containers/{id}/attach?stdin=1&stream=1"),
        &["Connection: Upgrade", "Upgrade: tcp"],
        None,
        Duration::from_secs(20),
    )
    .expect("attach");
    assert_eq!(attach.status, 101);
    let mut buffer = [0; 256];
    for number in 0..50 {
        let line = format!("line {number}\n");
        std::io::Write::write_all(&mut attach.socket(), line.as_bytes()).expect("stdin");
        let mut got = Vec::new();
        while got.len() < 8 + line.len() {
            let n = std::io::Read::read(&mut stream, &mut buffer).expect("a frame in time");
            assert!(n > 0, "the stream ended early");
            got.extend_from_slice(&buffer[..n]);
        }
        assert_eq!(http::frames(&got), [(1, line.into_bytes())]);
    }
    daemon.docker(["kill", &id]).output().code(0);
    assert_eq!(
        std::io::Read::read(&mut stream, &mut buffer).expect("the end"),
        0
    );
    daemon.finish();
}

#[test]
fn follow_with_tail_goes_on_without_a_seam() {
    need!(ready());
    let daemon = Daemon::start();
    let id = daemon.workload(&[], &["lines", "lines=20000", "rate=10000", "stream=both"]);
    std::thread::sleep(Duration::from_millis(500));
    // From wherever the tail begins, nothing is missing up to the end.
    let shown = daemon.docker(["logs", "-f", "--tail", "100", &id]).output();
    shown.code(0);
    for (bytes, letter) in [(&shown.stdout, 'o'), (&shown.stderr, 'e')] {
        let first: u64 = String::from_utf8_lossy(&bytes[2..12])
            .parse()
            .expect("a number");
        let mut judge = crate::harness::judge::Judge::from(letter, first);
        judge.feed(bytes);
        judge
            .finish()
            .assert_complete(10_000 - first, "from the tail to the end");
    }
    daemon.finish();
}

#[test]
fn three_followers_and_a_late_reader_see_the_same() {
    need!(ready());
    let daemon = Daemon::start();
    let id = daemon.workload(&[], &["lines", "lines=100000", "rate=50000", "stream=both"]);
    let followers: Vec<_> = (0..3)
        .map(|_| logs::follow(&daemon, &id, &["-f"], ('o', 'e')))
        .collect();
    for follower in followers {
        follower
            .join(60)
            .assert_complete(50_000, 50_000, "a follower");
    }
    logs::cli(&daemon, &id, &[], 30).assert_complete(50_000, 50_000, "afterwards");
    logs::json_files(&daemon, &id).assert_complete(50_000, 50_000, "the file");
    daemon.finish();
}

#[test]
fn a_client_that_goes_away_costs_nothing() {
    need!(ready());
    let daemon = Daemon::start();
    let id = daemon.workload(&[], &["lines", "lines=0", "rate=2000"]);
    for _ in 0..20 {
        let path = format!("/containers/{id}/logs?stdout=1&follow=1");
        let stream = http::open(
            &daemon.socket,
            "GET",
            &path,
            &[],
            None,
            Duration::from_secs(20),
        )
        .expect("headers");
        drop(stream);
    }
    let pid = daemon.pid();
    wait_for(
        "the daemon lets go of its clients",
        Duration::from_secs(20),
        || {
            let open = std::fs::read_dir(format!("/proc/{pid}/fd")).ok()?.count();
            (open < 60).then_some(())
        },
    );
    daemon.finish();
}

#[test]
fn a_damaged_record_costs_only_itself() {
    need!(ready());
    need!(crate::harness::daemon::taffrail_only());
    let daemon = Daemon::start();
    let id = daemon.workload(&[], &["lines", "lines=1000"]);
    daemon.wait_exit(&id, 20);
    let path = daemon.json_files(&id).pop().expect("a file");
    let mut bytes = std::fs::read(&path).expect("the log");
    let at = bytes
        .split_inclusive(|b| *b == b'\n')
        .take(500)
        .map(<[u8]>::len)
        .sum::<usize>();
    bytes[at + 3] = b'!';
    std::fs::write(&path, &bytes).expect("damage");
    let shown = daemon.docker(["logs", &id]).output();
    let mut judge = crate::harness::judge::Judge::new('o');
    judge.feed(&shown.stdout);
    let verdict = judge.finish();
    assert_eq!(
        (verdict.lines, verdict.missing, verdict.doubled),
        (999, 1, 0),
        "{verdict}"
    );
    daemon.finish();
}

#[test]
fn a_log_cut_from_outside_goes_on() {
    need!(ready());
    need!(crate::harness::daemon::taffrail_only());
    let daemon = Daemon::start();
    let folder = daemon.root.join("tally");
    std::fs::create_dir(&folder).expect("folder");
    let bind = format!("{}:/tally", folder.display());
    let id = daemon.workload(
        &["-v", &bind],
        &["lines", "lines=0", "rate=5000", "tally=/tally/t"],
    );
    crate::harness::daemon::wait_tally(&folder.join("t"), 2000, Duration::from_secs(20));
    let path = daemon.json_files(&id).pop().expect("a file");
    std::fs::File::options()
        .write(true)
        .open(&path)
        .expect("open")
        .set_len(0)
        .expect("truncate");
    let before = crate::harness::daemon::read_tally(&folder.join("t"))
        .expect("tally")
        .0;
    crate::harness::daemon::wait_tally(&folder.join("t"), before + 5000, Duration::from_secs(20));
    daemon.docker(["stop", &id]).output().code(0);
    let file = std::fs::read(&path).expect("the log");
    assert!(!file.contains(&0), "the file has a hole");
    let shown = daemon.docker(["logs", &id]).output();
    shown.code(0);
    let text = shown.out();
    let mut numbers = text
        .lines()
        .filter_map(|line| line.get(2..12)?.parse::<u64>().ok());
    let first = numbers.next().expect("lines after the cut");
    let total = crate::harness::daemon::read_tally(&folder.join("t"))
        .expect("tally")
        .0;
    let rest: Vec<u64> = numbers.collect();
    assert!(
        rest.iter().zip(first + 1..).all(|(a, b)| *a == b),
        "gaps after the cut"
    );
    assert_eq!(rest.last().copied(), Some(total - 1), "to the end");
    daemon.finish();
}
