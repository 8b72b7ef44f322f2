//! SIGKILL of monitor, keeper and daemon at numbered steps and at random: the application lives, every line arrives
//! once, the exit code is right. And the proof that these cases can fail: with plain read and write they do.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use nix::fcntl::{Flock, FlockArg};

use crate::harness::daemon::{Options, read_tally, taffrail_only, wait_tally};
use crate::harness::judge::Judge;
use crate::harness::{Daemon, binary, logs, procs, sized, skip, wait_for};
use crate::need;

fn ready() -> Result<(), String> {
    taffrail_only()?;
    skip::program("docker")?;
    if fault_monitor().is_file() {
        Ok(())
    } else {
        Err(format!("{} is not built", fault_monitor().display()))
    }
}

/// The monitor that kills itself at a step named in `<exec-root>/fault`.
fn fault_monitor() -> PathBuf {
    binary("taffrail-monitor-fault")
}

fn steps() -> u64 {
    let output = Command::new(fault_monitor())
        .arg("--steps")
        .output()
        .expect("--steps");
    let text = String::from_utf8_lossy(&output.stdout);
    text.trim()
        .parse()
        .unwrap_or_else(|_| panic!("--steps said {text:?}"))
}

/// A small generator: the order of kills is another in each run, and is printed when one fails.
struct Random(u64);

impl Random {
    fn seeded() -> Self {
        let seed = sized(
            "TAFFRAIL_TEST_SEED",
            std::time::SystemTime::now()
                .duration_since(std::time::UNIX_EPOCH)
                .map_or(1, |t| t.as_nanos() as u64),
        );
        println!("TAFFRAIL_TEST_SEED={seed}");
        Self(seed | 1)
    }

    fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % n
    }
}

/// A writer with a tally under a daemon.
struct Writer {
    id: String,
    tally: PathBuf,
    name: String,
}

const EXIT: i32 = 23;

fn writer(daemon: &Daemon, name: &str, options: &[&str], words: &[&str]) -> Writer {
    let folder = daemon.root.join("tally");
    let _ = std::fs::create_dir(&folder);
    let bind = format!("{}:/tally", folder.display());
    let mut all = vec!["-v", &bind];
    all.extend(options);
    let (tally, exit) = (format!("tally=/tally/{name}"), format!("exit={EXIT}"));
    let mut program = vec!["lines", "lines=0", &tally, &exit];
    program.extend(words);
    let id = daemon.workload(&all, &program);
    let tally = folder.join(name);
    wait_tally(&tally, 1, Duration::from_secs(20));
    Writer {
        id,
        tally,
        name: name.to_owned(),
    }
}

/// The same with a client attached from the start, as `docker run` without `-d` has it.
fn attached_writer(
    daemon: &Daemon,
    name: &str,
    options: &[&str],
    words: &[&str],
) -> (Writer, logs::Follower) {
    let folder = daemon.root.join("tally");
    let _ = std::fs::create_dir(&folder);
    let bind = format!("{}:/tally", folder.display());
    let mut all = vec!["create", "--network", "none", "-v", &bind];
    all.extend(options);
    let (tally, exit) = (format!("tally=/tally/{name}"), format!("exit={EXIT}"));
    all.extend([
        crate::harness::image::IMAGE,
        "workload",
        "lines",
        "lines=0",
        &tally,
        &exit,
    ]);
    all.extend(words);
    let id = daemon.docker(&all).output().ok();
    let client = logs::attached(daemon, &id, EXIT);
    let tally = folder.join(name);
    wait_tally(&tally, 1, Duration::from_secs(20));
    let name = name.to_owned();
    (Writer { id, tally, name }, client)
}

impl Writer {
    fn written(&self) -> (u64, u64) {
        read_tally(&self.tally).expect("tally")
    }

    /// The application still writes: the pipe is read.
    #[track_caller]
    fn advances(&self, lines: u64) {
        let (out, err) = self.written();
        wait_for(
            &format!("{} goes on", self.name),
            Duration::from_secs(20),
            || {
                let now = read_tally(&self.tally)?;
                (now.0 + now.1 >= out + err + lines).then_some(())
            },
        );
    }

    /// Ends it and judges all that it wrote. Segments of `local` are read by `docker logs` alone.
    #[track_caller]
    fn judge(&self, daemon: &Daemon) {
        daemon
            .docker(["kill", "-s", "TERM", &self.id])
            .output()
            .code(0);
        assert_eq!(
            daemon.wait_exit(&self.id, 60),
            EXIT,
            "exit code of {}",
            self.name
        );
        let (out, err) = self.written();
        let driver = &daemon.inspect(&self.id)["HostConfig"]["LogConfig"]["Type"];
        if driver == "json-file" {
            logs::json_files(daemon, &self.id).assert_complete(
                out,
                err,
                &format!("{}: the files", self.name),
            );
        }
        logs::cli(daemon, &self.id, &[], 120).assert_complete(
            out,
            err,
            &format!("{}: docker logs", self.name),
        );
    }
}

/// Steps that a monitor of a running application does not come to: 1 is before there is one, 24 to 27 are of its end,
/// 18 and 19 of an attached client, 22 and 23 of a terminal, 29 to 34 of compressed files, `sync=record` and the spool.
const NOT_WITH_A_PIPE: &[u64] = &[1, 18, 19, 22, 23, 24, 25, 26, 27, 29, 30, 31, 32, 33, 34];
/// As with a pipe; 13 is behind the removal of a segment past max-file, and there are too few. 29 and 30 are come to
/// when the daemon finds the time to compress.
const NOT_WITH_LOCAL: &[u64] = &[
    1, 13, 18, 19, 22, 23, 24, 25, 26, 27, 29, 30, 31, 32, 33, 34,
];
const NOT_WITH_A_TERMINAL: &[u64] = &[1, 18, 19, 24, 25, 26, 27, 29, 30, 31, 32, 33, 34];
const NOT_WITH_A_CLIENT: &[u64] = &[1, 22, 23, 24, 25, 26, 27, 29, 30, 31, 32, 33, 34];

/// `local` in small segments, which the daemon compresses while monitors die.
const LOCAL: [&str; 8] = [
    "--log-driver",
    "local",
    "--log-opt",
    "max-size=200k",
    "--log-opt",
    "max-file=2000",
    "--log-opt",
    "compress=true",
];

const ROTATING: [&str; 4] = ["--log-opt", "max-size=1m", "--log-opt", "max-file=2000"];

/// How often another monitor has taken over, as its state page says.
fn takeovers(daemon: &Daemon, id: &str) -> u32 {
    let path = daemon.exec_root.join("c").join(id).join("state");
    let page = std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let at = std::mem::offset_of!(taffrail_log_core::state::StatePage, takeovers);
    u32::from_ne_bytes([page[at], page[at + 1], page[at + 2], page[at + 3]])
}

/// Makes the monitor of `id` one that dies at `step`. Only a monitor that starts takes an order, so the one that is
/// there is killed first. Gives the number of take-overs before.
fn order(daemon: &Daemon, id: &str, step: u64, nth: u64) -> u32 {
    let fault = daemon.exec_root.join("fault");
    let waiting = daemon.exec_root.join("fault.new");
    std::fs::write(&waiting, format!("{step} {nth}\n")).expect("fault");
    std::fs::rename(&waiting, &fault).expect("fault");
    let before = takeovers(daemon, id);
    let monitor = wait_for("a monitor", Duration::from_secs(30), || daemon.monitor(id));
    monitor.kill();
    wait_for(
        "a new monitor takes its order",
        Duration::from_secs(30),
        || (!fault.exists()).then_some(()),
    );
    before
}

/// At every numbered step, at its first and at a later time round: the monitor dies there, another takes over.
fn every_step(options: &[&str], words: &[&str], attached: bool, never: &[u64]) {
    let daemon = Daemon::with(Options {
        monitor: Some(fault_monitor()),
        ..Options::default()
    });
    let (writer, client) = if attached {
        let (writer, client) = attached_writer(&daemon, "steps", options, words);
        (writer, client)
    } else {
        let writer = writer(&daemon, "steps", options, words);
        let client = logs::follow(&daemon, &writer.id, &["-f"], ('o', 'e'));
        (writer, client)
    };
    let patience = Duration::from_millis(sized("TAFFRAIL_TEST_STEP_WAIT_MS", 2000));
    let mut reached = BTreeSet::new();
    for step in 1..=steps() {
        for nth in [1, 3] {
            let before = order(&daemon, &writer.id, step, nth);
            let wait = if never.contains(&step) {
                patience / 20
            } else {
                patience
            };
            let end = Instant::now() + wait;
            // One take-over by the killing from here, one more by the order.
            while takeovers(&daemon, &writer.id) < before + 2 && Instant::now() < end {
                std::thread::sleep(Duration::from_millis(2));
            }
            if takeovers(&daemon, &writer.id) >= before + 2 {
                reached.insert(step);
            }
        }
        if step % 5 == 0 {
            writer.advances(20);
        }
    }
    println!("died at the steps {reached:?}");
    for step in 1..=steps() {
        assert!(
            reached.contains(&step) || never.contains(&step),
            "no monitor died at step {step}, only at {reached:?}"
        );
    }
    writer.judge(&daemon);
    let (out, err) = writer.written();
    client
        .join(120)
        .assert_complete(out, err, "the client that watched all of it");
    daemon.finish();
}

/// Deaths while the last bytes are taken and the end is written down.
fn every_step_of_the_end(driver: &str) {
    let daemon = Daemon::with(Options {
        monitor: Some(fault_monitor()),
        ..Options::default()
    });
    for step in 2..=steps() {
        let id = daemon.run_detached(&[
            "-i",
            "--log-driver",
            driver,
            "--log-opt",
            "max-size=1k",
            "--log-opt",
            "max-file=100",
            crate::harness::image::IMAGE,
            "sh",
            "-c",
            "read x; workload lines lines=50 stream=both; printf open; printf cut >&2; exit 5",
        ]);
        order(&daemon, &id, step, 1);
        let mut attached = daemon.docker(["attach", "--no-stdin=false", &id]).spawn();
        let mut stdin = attached.stdin.take().expect("piped");
        std::io::Write::write_all(&mut stdin, b"go\n").expect("stdin");
        assert_eq!(daemon.wait_exit(&id, 60), 5, "step {step}");
        let _ = attached.kill();
        let _ = attached.wait();
        let shown = daemon.docker(["logs", &id]).output();
        shown.code(0);
        for (bytes, letter, end) in [(&shown.stdout, 'o', "open"), (&shown.stderr, 'e', "cut")] {
            let body = bytes
                .strip_suffix(end.as_bytes())
                .unwrap_or_else(|| panic!("step {step}: {end:?} is missing: {shown}"));
            let mut judge = Judge::new(letter);
            judge.feed(body);
            judge.finish().assert_complete(25, &format!("step {step}"));
        }
        daemon.docker(["rm", "-f", &id]).output().code(0);
    }
    daemon.finish();
}

#[test]
fn at_every_step_of_the_end() {
    need!(ready());
    every_step_of_the_end("json-file");
}

#[test]
fn at_every_step_of_the_end_of_local() {
    need!(ready());
    every_step_of_the_end("local");
}

#[test]
fn at_every_step_with_a_pipe() {
    need!(ready());
    let mut options = ROTATING.to_vec();
    options[1] = "max-size=200k";
    every_step(
        &options,
        &["rate=40000", "stream=both"],
        false,
        NOT_WITH_A_PIPE,
    );
}

#[test]
fn at_every_step_of_local() {
    need!(ready());
    every_step(
        &LOCAL,
        &["rate=40000", "stream=both"],
        false,
        NOT_WITH_LOCAL,
    );
}

#[test]
fn at_every_step_with_an_attached_client() {
    need!(ready());
    every_step(
        &ROTATING,
        &["rate=20000", "stream=both"],
        true,
        NOT_WITH_A_CLIENT,
    );
}

#[test]
fn at_every_step_with_a_terminal() {
    need!(ready());
    let mut options = ROTATING.to_vec();
    options[1] = "max-size=200k";
    options.push("-t");
    every_step(&options, &["rate=20000"], false, NOT_WITH_A_TERMINAL);
}

#[test]
fn at_every_step_rotating_before_each_record() {
    need!(ready());
    // One byte: every record ends its file. Slowly, as each rotation renames all files there are.
    every_step(
        &["--log-opt", "max-size=1", "--log-opt", "max-file=100000"],
        &["rate=30"],
        false,
        NOT_WITH_A_PIPE,
    );
}

#[test]
fn at_random_under_load() {
    need!(ready());
    let daemon = Daemon::start();
    let mut random = Random::seeded();
    let pipe = writer(
        &daemon,
        "pipe",
        &ROTATING,
        &["rate=100000", "mode=block", "stream=both"],
    );
    let lines = writer(&daemon, "lines", &ROTATING, &["rate=20000"]);
    let terminal = [&ROTATING[..], &["-t"]].concat();
    let terminal = writer(&daemon, "terminal", &terminal, &["rate=10000"]);
    let local = writer(
        &daemon,
        "local",
        &LOCAL,
        &["rate=50000", "mode=block", "stream=both"],
    );
    let writers = [&pipe, &lines, &terminal, &local];
    let followers = [
        (
            &lines,
            logs::follow(&daemon, &lines.id, &["-f"], ('o', 'e')),
        ),
        (
            &local,
            logs::follow(&daemon, &local.id, &["-f"], ('o', 'e')),
        ),
    ];
    let kills = sized("TAFFRAIL_TEST_MONITOR_KILLS", 120);
    for round in 0..kills {
        let writer = writers[random.below(4) as usize];
        let monitor = wait_for("a monitor", Duration::from_secs(30), || {
            daemon.monitor(&writer.id)
        });
        std::thread::sleep(Duration::from_micros(random.below(40_000)));
        monitor.kill();
        assert!(monitor.wait_gone(Duration::from_secs(5)), "round {round}");
        if round % 4 == 3 {
            // Five deaths in ten seconds are more than the keeper answers by itself; four writers share them here.
            std::thread::sleep(Duration::from_millis(300));
        }
        if round % 20 == 19 {
            for writer in writers {
                writer.advances(100);
            }
        }
    }
    for writer in writers {
        writer.judge(&daemon);
    }
    for (writer, follower) in followers {
        let (out, err) = writer.written();
        let what = format!("{}: a follower through all deaths", writer.name);
        follower.join(60).assert_complete(out, err, &what);
    }
    daemon.finish();
}

#[test]
fn the_keeper_and_all_together() {
    need!(ready());
    let daemon = Daemon::start();
    let mut random = Random::seeded();
    let pipe = writer(&daemon, "pipe", &ROTATING, &["rate=50000", "stream=both"]);
    let local = writer(&daemon, "local", &LOCAL, &["rate=20000", "stream=both"]);
    let terminal = [&ROTATING[..], &["-t"]].concat();
    let terminal = writer(&daemon, "terminal", &terminal, &["rate=5000"]);
    let rounds = sized("TAFFRAIL_TEST_KEEPER_KILLS", 12);
    for round in 0..rounds {
        let keeper = wait_for("a keeper", Duration::from_secs(30), || daemon.keeper());
        std::thread::sleep(Duration::from_micros(random.below(30_000)));
        // The keeper; keeper and monitors; keeper and daemon. The daemon's and keeper's deaths together end terminals'
        // masters unless a monitor lives, so never all three with a terminal: that is the next case.
        match round % 3 {
            0 => keeper.kill(),
            1 => {
                keeper.kill();
                for writer in [&pipe, &local] {
                    if let Some(monitor) = daemon.monitor(&writer.id) {
                        monitor.kill();
                    }
                }
            }
            _ => {
                keeper.kill();
                daemon.kill();
                daemon.launch();
            }
        }
        assert!(keeper.wait_gone(Duration::from_secs(5)));
        pipe.advances(100);
        local.advances(100);
        terminal.advances(10);
    }
    for writer in [&pipe, &local, &terminal] {
        writer.judge(&daemon);
    }
    daemon.finish();
}

/// A keeper that finds the root held, as by one that is dying, ends at once; it is not the last attempt.
#[test]
fn a_keeper_that_cannot_begin_is_started_again() {
    need!(ready());
    let daemon = Daemon::start();
    let writer = writer(&daemon, "pipe", &ROTATING, &["rate=20000", "stream=both"]);
    let path = daemon.exec_root.join("keeper.lock");
    let held = wait_for("the keeper's lock", Duration::from_secs(30), || {
        if let Some(keeper) = daemon.keeper() {
            keeper.kill();
        }
        let file = std::fs::File::open(&path).expect("the lock");
        Flock::lock(file, FlockArg::LockExclusiveNonblock).ok()
    });
    let started = || daemon.log().matches("keeper started").count();
    let before = started();
    wait_for("two attempts in vain", Duration::from_secs(30), || {
        (started() >= before + 2).then_some(())
    });
    drop(held);
    wait_for("a keeper", Duration::from_secs(30), || daemon.keeper());
    daemon.monitor(&writer.id).expect("a monitor").kill();
    writer.advances(1000);
    writer.judge(&daemon);
    daemon.finish();
}

#[test]
fn a_writing_application_outlives_all_three() {
    need!(ready());
    let daemon = Daemon::start();
    let writer = writer(&daemon, "all", &ROTATING, &["rate=50000", "stream=both"]);
    let application = daemon.container_pid(&writer.id);
    for _ in 0..sized("TAFFRAIL_TEST_ALL_KILLS", 3) {
        let all = daemon.supervisors();
        daemon.kill();
        for process in &all {
            process.kill();
        }
        for process in &all {
            assert!(process.wait_gone(Duration::from_secs(5)));
        }
        daemon.launch();
        assert!(
            procs::Process::read(application).is_some_and(|p| p.running()),
            "the application died"
        );
        assert_eq!(
            daemon.docker(["ps", "-q", "--no-trunc"]).output().ok(),
            writer.id
        );
        writer.advances(1000);
    }
    daemon
        .docker(["kill", "-s", "TERM", &writer.id])
        .output()
        .code(0);
    let code = daemon.wait_exit(&writer.id, 60);
    // The kernel may not tell the status of a process that nobody of ours is the parent of.
    let state = &daemon.inspect(&writer.id)["State"];
    let unknown = code == 255
        && state["Error"]
            .as_str()
            .is_some_and(|error| error.contains("exit status unknown"));
    assert!(code == EXIT || unknown, "{code} {state}");
    let (out, err) = writer.written();
    logs::json_files(&daemon, &writer.id).assert_complete(out, err, "the files");
    daemon.finish();
}

/// The cases above prove something only if they fail for a monitor that just reads and writes.
#[test]
fn plain_read_and_write_is_found_out() {
    need!(ready());
    let daemon = Daemon::with(Options {
        monitor: Some(fault_monitor()),
        ..Options::default()
    });
    std::fs::write(daemon.exec_root.join("fault"), "naive\n").expect("fault");
    let mut random = Random::seeded();
    let writer = writer(&daemon, "naive", &[], &["mode=block", "rate=400000"]);
    let rounds = sized("TAFFRAIL_TEST_NAIVE_KILLS", 60);
    let mut damaged = 0;
    for _ in 0..rounds {
        let Some(monitor) = daemon.monitor(&writer.id) else {
            std::thread::sleep(Duration::from_millis(20));
            continue;
        };
        std::thread::sleep(Duration::from_micros(random.below(20_000)));
        monitor.kill();
        assert!(monitor.wait_gone(Duration::from_secs(5)));
        std::thread::sleep(Duration::from_millis(150));
        let mut judge = Judge::new('o');
        for line in daemon
            .json_log(&writer.id)
            .split_inclusive(|byte| *byte == b'\n')
        {
            match serde_json::from_slice::<logs::Record>(line) {
                Ok(record) => judge.feed(record.log.as_bytes()),
                Err(_) => judge.feed(b"torn\n"),
            }
        }
        let verdict = judge.finish();
        damaged = verdict.missing + verdict.doubled + verdict.torn.saturating_sub(1);
        if damaged > 0 {
            println!("found out: {verdict}");
            break;
        }
    }
    assert!(
        damaged > 0,
        "{rounds} kills of a monitor without the protocol, and no line was lost: the case proves nothing"
    );
    daemon.finish();
}
