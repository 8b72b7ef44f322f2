//! Rotation: names, sizes, and followers that miss nothing while files turn over.

use crate::harness::daemon::taffrail_only;
use crate::harness::{Daemon, Engine, logs, sized, skip};
use crate::need;

fn ready() -> Result<(), String> {
    Engine::chosen().ready()?;
    skip::program("docker")
}

#[test]
fn files_have_dockers_names_and_sizes() {
    need!(ready());
    let daemon = Daemon::start();
    let id = daemon.workload(
        &["--log-opt", "max-size=2k", "--log-opt", "max-file=3"],
        &["lines", "lines=400", "size=40"],
    );
    daemon.wait_exit(&id, 20);
    let files = daemon.json_files(&id);
    let names: Vec<String> = files
        .iter()
        .map(|path| {
            path.file_name()
                .expect("a name")
                .to_string_lossy()
                .replace(&id, "F")
        })
        .collect();
    assert_eq!(names, ["F-json.log.2", "F-json.log.1", "F-json.log"]);
    let longest = std::fs::read_to_string(&files[0])
        .expect("a file")
        .lines()
        .map(str::len)
        .max()
        .expect("a line") as u64
        + 1;
    for (number, file) in files.iter().enumerate() {
        let size = std::fs::metadata(file).expect("a file").len();
        // Docker 20.10 counts 1024, newer releases 1000.
        assert!(size < 2048 + longest, "{}: {size}", file.display());
        if number + 1 < files.len() {
            assert!(size >= 2000, "{}: {size}", file.display());
        }
    }
    // What is left is the end, without a gap; `logs` reads across the files.
    let shown = daemon.docker(["logs", &id]).output();
    let first: u64 = String::from_utf8_lossy(&shown.stdout[2..12])
        .parse()
        .expect("a number");
    assert!(first > 300);
    let mut judge = crate::harness::judge::Judge::from('o', first);
    judge.feed(&shown.stdout);
    judge
        .finish()
        .assert_complete(400 - first, "across the files");
    for tail in [1, 10, 30] {
        let shown = daemon
            .docker(["logs", "--tail", &tail.to_string(), &id])
            .output();
        assert_eq!(shown.out().lines().count(), tail);
    }
    let mode = std::os::unix::fs::PermissionsExt::mode(
        &std::fs::metadata(&files[0]).expect("a file").permissions(),
    );
    assert_eq!(mode & 0o777, 0o640);
    daemon.docker(["rm", &id]).output().code(0);
    daemon.finish();
}

#[test]
fn max_size_alone_keeps_one_file() {
    need!(ready());
    let daemon = Daemon::start();
    let id = daemon.workload(
        &["--log-opt", "max-size=1k"],
        &["lines", "lines=1000", "size=40"],
    );
    daemon.wait_exit(&id, 20);
    let folder = daemon.data_root.join("containers").join(&id);
    let logs: Vec<String> = std::fs::read_dir(folder)
        .expect("the container's folder")
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .filter(|name| name.contains("-json.log"))
        .collect();
    if daemon.engine == Engine::Taffrail {
        // Docker 20.10 of Debian keeps a second file here; newer releases do not.
        assert_eq!(logs, [format!("{id}-json.log")]);
    }
    let shown = daemon.docker(["logs", "--tail", "1", &id]).output().ok();
    assert!(shown.starts_with("o 0000000999 "), "{shown}");
    daemon.finish();
}

#[test]
fn without_options_the_log_is_bounded() {
    need!(taffrail_only());
    let daemon = Daemon::start();
    let id = daemon.workload(&[], &["lines", "lines=1"]);
    daemon.wait_exit(&id, 20);
    // inspect shows what the user gave: nothing.
    assert_eq!(
        daemon.inspect(&id)["HostConfig"]["LogConfig"]["Config"],
        serde_json::json!({})
    );
    daemon.finish();
}

/// The central promise at size: 3 million lines, two kinds of writers, three followers, rotation all the while.
fn followers_through_rotation(mode: &str) {
    let daemon = Daemon::start();
    let lines = sized("TAFFRAIL_TEST_LINES", 3_000_000);
    let id = daemon.workload(
        &["--log-opt", "max-size=20m", "--log-opt", "max-file=50"],
        &[
            "lines",
            &format!("lines={lines}"),
            "size=100",
            &format!("mode={mode}"),
        ],
    );
    let followers: Vec<_> = (0..3)
        .map(|_| logs::follow(&daemon, &id, &["-f"], ('o', 'e')))
        .collect();
    assert_eq!(daemon.wait_exit(&id, 300), 0);
    for follower in followers {
        follower.join(300).assert_complete(lines, 0, "a follower");
    }
    logs::cli(&daemon, &id, &[], 300).assert_complete(lines, 0, "docker logs");
    let files = daemon.json_files(&id);
    let bytes: u64 = files
        .iter()
        .map(|f| std::fs::metadata(f).expect("a file").len())
        .sum();
    assert!(
        files.len() as u64 > bytes / 21_000_000,
        "{} files of {bytes} bytes",
        files.len()
    );
    logs::json_files(&daemon, &id).assert_complete(lines, 0, "the files");
    daemon.finish();
}

#[test]
fn three_followers_block_writer() {
    need!(taffrail_only());
    need!(skip::program("docker"));
    followers_through_rotation("block");
}

#[test]
fn three_followers_line_writer() {
    need!(taffrail_only());
    need!(skip::program("docker"));
    followers_through_rotation("line");
}
