//! SIGKILL of monitor, keeper and daemon at numbered steps and at random: the application lives, every line arrives
//! once, the exit code is right. And the proof that these cases can fail: with plain read and write they do.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

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

    /// Ends it and judges all that it wrote.
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
        logs::json_files(daemon, &self.id).assert_complete(
            out,
            err,
            &format!("{}: the files", self.name),
        );
        logs::cli(daemon, &self.id, &[], 120).assert_complete(
            out,
            err,
            &format!("{}: docker logs", self.name),
        );
    }
}

/// Steps that a monitor of a running application does not come to: 1 is before there is one, 18 and 19 are of an
/// attached client, 22 and 23 of a terminal, 28 of a follower.
const NOT_WITH_A_PIPE: &[u64] = &[1, 18, 19, 22, 23, 28];
const NOT_WITH_A_TERMINAL: &[u64] = &[1, 28];

const ROTATING: [&str; 4] = ["--log-opt", "max-size=1m", "--log-opt", "max-file=2000"];

/// At every numbered step, at its first and at a later time round: the monitor dies there, another takes over.
///
/// A starting monitor takes the order from `<exec-root>/fault`. So when an order has been taken, the monitor that had
/// the one before is dead; one that does not reach its step is killed from here and counted as such.
fn every_step(options: &[&str], words: &[&str], never: &[u64]) {
    let daemon = Daemon::with(Options {
        monitor: Some(fault_monitor()),
        ..Options::default()
    });
    let writer = writer(&daemon, "steps", options, words);
    let fault = daemon.exec_root.join("fault");
    let patience = Duration::from_millis(sized("TAFFRAIL_TEST_STEP_WAIT_MS", 1000));
    let mut holder = None;
    let mut reached = BTreeSet::new();
    let orders = (1..=steps()).flat_map(|step| [(step, 1), (step, 3)]);
    // The last order is taken by one that is never told to die.
    for order in orders.map(Some).chain([None]) {
        let waiting = daemon.exec_root.join("fault.new");
        let (step, nth) = order.unwrap_or((0, 0));
        std::fs::write(&waiting, format!("{step} {nth}\n")).expect("fault");
        std::fs::rename(&waiting, &fault).expect("fault");
        let end = Instant::now() + patience;
        while holder.is_some() && fault.exists() && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(2));
        }
        let died = !fault.exists();
        wait_for(
            "a new monitor takes its order",
            Duration::from_secs(30),
            || {
                if !fault.exists() {
                    return Some(());
                }
                if let Some(monitor) = daemon.monitor(&writer.id) {
                    monitor.kill();
                    monitor.wait_gone(Duration::from_secs(5));
                }
                // Between two deaths the keeper may wait a little.
                std::thread::sleep(Duration::from_millis(50));
                None
            },
        );
        if let Some(step) = holder.filter(|_| died) {
            reached.insert(step);
        }
        holder = order.map(|(step, _)| step);
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
    daemon.finish();
}

#[test]
fn at_every_step_with_a_pipe() {
    need!(ready());
    let mut options = ROTATING.to_vec();
    options[1] = "max-size=200k";
    every_step(&options, &["rate=40000", "stream=both"], NOT_WITH_A_PIPE);
}

#[test]
fn at_every_step_with_a_terminal() {
    need!(ready());
    let mut options = ROTATING.to_vec();
    options[1] = "max-size=200k";
    options.push("-t");
    every_step(&options, &["rate=20000"], NOT_WITH_A_TERMINAL);
}

#[test]
fn at_every_step_rotating_before_each_record() {
    need!(ready());
    // One byte: every record ends its file.
    every_step(
        &["--log-opt", "max-size=1", "--log-opt", "max-file=100000"],
        &["rate=300"],
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
    let writers = [&pipe, &lines, &terminal];
    let follower = logs::follow(&daemon, &lines.id, &["-f"], ('o', 'e'));
    let kills = sized("TAFFRAIL_TEST_MONITOR_KILLS", 120);
    for round in 0..kills {
        let writer = writers[random.below(3) as usize];
        let monitor = wait_for("a monitor", Duration::from_secs(30), || {
            daemon.monitor(&writer.id)
        });
        std::thread::sleep(Duration::from_micros(random.below(40_000)));
        monitor.kill();
        assert!(monitor.wait_gone(Duration::from_secs(5)), "round {round}");
        if round % 4 == 3 {
            // Five deaths in ten seconds are more than the keeper answers by itself; three writers share them here.
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
    let (out, err) = lines.written();
    follower
        .join(60)
        .assert_complete(out, err, "a follower through all deaths");
    daemon.finish();
}

#[test]
fn the_keeper_and_all_together() {
    need!(ready());
    let daemon = Daemon::start();
    let mut random = Random::seeded();
    let pipe = writer(&daemon, "pipe", &ROTATING, &["rate=50000", "stream=both"]);
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
                if let Some(monitor) = daemon.monitor(&pipe.id) {
                    monitor.kill();
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
        terminal.advances(10);
    }
    for writer in [&pipe, &terminal] {
        writer.judge(&daemon);
    }
    daemon.finish();
}

#[test]
fn a_quiet_application_outlives_all_three() {
    need!(ready());
    // Nobody holds the pipe while all three are dead, so only an application that does not write then can live on.
    let daemon = Daemon::start();
    let id = daemon.run_detached(&[
        "-i",
        crate::harness::image::IMAGE,
        "sh",
        "-c",
        "echo one; read x; echo two; exit 5",
    ]);
    wait_for("the first line", Duration::from_secs(20), || {
        (daemon.docker(["logs", &id]).output().out() == "one\n").then_some(())
    });
    let application = daemon.container_pid(&id);
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
    assert_eq!(daemon.docker(["ps", "-q", "--no-trunc"]).output().ok(), id);
    wait_for("a monitor again", Duration::from_secs(20), || {
        daemon.monitor(&id)
    });
    daemon.docker(["kill", "-s", "KILL", &id]).output().code(0);
    let code = daemon.wait_exit(&id, 30);
    // The kernel may not tell the status of a process that nobody of ours was the parent of.
    let state = &daemon.inspect(&id)["State"];
    assert!(
        code == 137
            || (code == 255
                && state["Error"]
                    .as_str()
                    .is_some_and(|e| e.contains("exit status unknown"))),
        "{code} {state}"
    );
    daemon
        .docker(["logs", &id])
        .output()
        .code(0)
        .stdout_is("one\n");
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
