//! Supervisor, keeper and monitor together, with a shell in the place of the OCI runtime. Needs no
//! root. The monitor binaries are built before (`make build`).

use super::*;
use taffrail_log_core::state::phase;

fn binary(name: &str) -> PathBuf {
    let exe = std::env::current_exe().unwrap();
    let target = exe.ancestors().nth(3).unwrap();
    let built = ["debug", "fast", "release"].map(|profile| target.join(profile).join(name));
    let newest = built
        .iter()
        .filter(|p| p.exists())
        .max_by_key(|p| p.metadata().unwrap().modified().unwrap());
    newest
        .unwrap_or_else(|| {
            panic!(
                "no {name} below {}: run `make build` first",
                target.display()
            )
        })
        .clone()
}

struct Bench {
    _dir: tempfile::TempDir,
    root: PathBuf,
    supervisor: Arc<Supervisor>,
}

impl Bench {
    async fn new(monitor: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().to_owned();
        let supervisor = Supervisor::start(SupervisorOptions {
            exec_root: root.join("exec"),
            data_root: root.join("data"),
            monitor_binary: binary(monitor),
        })
        .await
        .unwrap();
        Self {
            _dir: dir,
            root,
            supervisor,
        }
    }

    fn log(&self) -> PathBuf {
        self.root.join("data/x-json.log")
    }

    fn plan(&self, id: char, script: &str, max_size: Option<u64>) -> CapturePlan {
        let id: String = std::iter::repeat_n(id, 64).collect();
        // As a runtime does: the application runs on when `create` has ended, its pid in `pid`.
        let go = self.root.join("go");
        let create = format!(
            "setsid sh -c 'while [ ! -e {} ]; do sleep 0.005; done; {script}' & echo $! > pid",
            go.display()
        );
        CapturePlan {
            id,
            tty: false,
            open_stdin: false,
            console_size: None,
            create_argv: ["/bin/sh", "-c", &create].map(Into::into).to_vec(),
            log: LogPlan::Kept(LogFile {
                dir: self.root.join("data"),
                format: LogFormat::JsonFile("x-json.log".into()),
                max_size,
                max_file: 5,
                attrs: Vec::new(),
                run: 1,
                sync: false,
                blocking: false,
                spool_share: 256 << 20,
            }),
        }
    }

    /// As the runtime's `start`: lets the application run.
    fn go(&self) {
        std::fs::write(self.root.join("go"), "").unwrap();
    }

    async fn end(self) {
        self.supervisor.shutdown_if_idle().await;
    }
}

fn logged(path: &Path) -> String {
    let text = std::fs::read_to_string(path).unwrap();
    let values = text
        .lines()
        .map(|l| serde_json::from_str::<serde_json::Value>(l).unwrap());
    values
        .map(|v| v["log"].as_str().unwrap().to_owned())
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn output_and_exit_code() {
    let bench = Bench::new("taffrail-monitor").await;
    let plan = bench.plan('a', "echo out; echo err >&2; printf tail; exit 7", None);
    let id = plan.id.clone();
    let capture = bench.supervisor.create(plan).await.unwrap();
    bench.go();
    let exit = capture.exited().await;
    assert_eq!((exit.code, exit.known, exit.lost_bytes), (7, true, 0));
    let text = logged(&bench.log());
    assert_eq!(text.len(), 12, "{text:?}");
    assert!(text.contains("out\n") && text.contains("err\n") && text.contains("tail"));
    assert_eq!(
        capture.page().get().committed().unwrap().0.phase,
        phase::DONE
    );
    capture.release().await;
    assert!(!bench.supervisor.container_dir(&id).exists());
    bench.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn attach_gives_all_raw_bytes_and_a_failed_create_its_status() {
    let bench = Bench::new("taffrail-monitor").await;
    let capture = bench
        .supervisor
        .create(bench.plan('b', "head -c 3000000 /dev/zero", None))
        .await
        .unwrap();
    let mut stream = capture.attach();
    bench.go();
    let mut n = 0;
    while let Some((stream, bytes)) = stream.next().await {
        assert_eq!(stream, 1);
        assert!(bytes.iter().all(|b| *b == 0));
        n += bytes.len();
    }
    assert_eq!(n, 3_000_000);
    assert_eq!(capture.exited().await.code, 0);
    capture.release().await;

    let mut plan = bench.plan('c', "", None);
    plan.create_argv = ["/bin/sh", "-c", "exit 3"].map(Into::into).to_vec();
    let id = plan.id.clone();
    assert!(matches!(
        bench.supervisor.create(plan).await,
        Err(CreateError::Runtime { status: 0x300 })
    ));
    bench.supervisor.discard(&id).await;
    bench.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_monitor_loses_nothing() {
    let bench = Bench::new("taffrail-monitor").await;
    let script = "i=0; while [ $i -lt 20000 ]; do i=$((i+1)); echo line $i; done; exit 9";
    let plan = bench.plan('d', script, Some(20_000));
    let capture = bench.supervisor.create(plan).await.unwrap();
    bench.go();
    let mut killed = 0;
    while !capture.ended() && killed < 4 {
        let pid = capture
            .page()
            .get()
            .monitor_pid
            .load(std::sync::atomic::Ordering::Acquire);
        let seen = capture.page().get().committed().unwrap().0.commit;
        capture.wait_commit(seen + 3).await;
        if nix::sys::signal::kill(
            nix::unistd::Pid::from_raw(pid),
            nix::sys::signal::Signal::SIGKILL,
        )
        .is_ok()
        {
            killed += 1;
        }
        // The next one has taken over when its pid is in the page.
        while !capture.ended()
            && capture
                .page()
                .get()
                .monitor_pid
                .load(std::sync::atomic::Ordering::Acquire)
                == pid
        {
            tokio::task::yield_now().await;
        }
    }
    assert_eq!(capture.exited().await.code, 9);
    assert!(killed > 0, "nothing was tested");
    let mut text = String::new();
    for n in (0..5).rev() {
        let path = if n == 0 {
            bench.log()
        } else {
            bench.root.join(format!("data/x-json.log.{n}"))
        };
        if path.exists() {
            text += &logged(&path);
        }
    }
    let lines: Vec<&str> = text.lines().collect();
    let first: usize = lines[0].strip_prefix("line ").unwrap().parse().unwrap();
    for (i, line) in lines.iter().enumerate() {
        assert_eq!(*line, format!("line {}", first + i));
    }
    assert_eq!(first + lines.len(), 20_001);
    let slot = capture.page().get().committed().unwrap().1;
    assert_eq!(slot.next_seq, 20_001, "every line was a record once");
    capture.release().await;
    bench.end().await;
}

/// The log's files, oldest first, as one text of `log` values.
fn whole_log(bench: &Bench) -> String {
    let mut text = String::new();
    for n in (0..2000).rev() {
        let path = if n == 0 {
            bench.log()
        } else {
            bench.root.join(format!("data/x-json.log.{n}"))
        };
        if path.exists() {
            text += &logged(&path);
        }
    }
    text
}

/// Writes lines on both streams, some of them open for a while.
const MIXED: &str = "i=0; while [ $i -lt 40 ]; do i=$((i+1)); echo line $i; printf part; printf t$i >&2; printf \"ial $i\\n\"; echo >&2; done; printf end; exit 5";

fn mixed(text: &str) -> Result<(), String> {
    let mut want: Vec<String> = (1..=40)
        .flat_map(|i| [format!("line {i}"), format!("partial {i}"), format!("t{i}")])
        .collect();
    let body = text
        .strip_suffix("end")
        .map_or_else(|| text.replacen("end", "", 1), str::to_owned);
    let mut got: Vec<String> = body.lines().map(str::to_owned).collect();
    want.sort();
    got.sort();
    if got == want && text.contains("end") {
        return Ok(());
    }
    let missing: Vec<_> = want.iter().filter(|w| !got.contains(w)).collect();
    let extra: Vec<_> = got.iter().filter(|g| !want.contains(g)).collect();
    Err(format!(
        "{} of {} lines; missing {missing:?}; extra {extra:?}",
        got.len(),
        want.len()
    ))
}

async fn mixed_with_fault(fault: &str, max_size: u64) -> (Result<(), String>, u32) {
    let bench = Bench::new("taffrail-monitor-fault").await;
    std::fs::write(bench.root.join("exec/fault"), fault).unwrap();
    let plan = || {
        let mut plan = bench.plan('e', MIXED, Some(max_size));
        if let LogPlan::Kept(log) = &mut plan.log {
            log.max_file = 2000;
        }
        plan
    };
    let capture = match bench.supervisor.create(plan()).await {
        Err(CreateError::MonitorDied) => {
            bench.supervisor.discard(&plan().id).await;
            bench.supervisor.create(plan()).await
        }
        other => other,
    };
    let capture = capture.unwrap();
    bench.go();
    let exit = capture.exited().await;
    assert_eq!((exit.code, exit.known), (5, true), "fault {fault}");
    let outcome = mixed(&whole_log(&bench));
    let takeovers = capture
        .page()
        .get()
        .takeovers
        .load(std::sync::atomic::Ordering::Relaxed);
    capture.release().await;
    bench.end().await;
    (outcome, takeovers)
}

#[tokio::test(flavor = "multi_thread")]
async fn death_at_every_numbered_step_loses_nothing() {
    let mut hit = std::collections::BTreeSet::new();
    for max_size in [1, 1000, 1_000_000] {
        for step in 1..=taffrail_monitor::probe::STEPS {
            for nth in [1, 7] {
                let (outcome, takeovers) =
                    mixed_with_fault(&format!("{step} {nth}\n"), max_size).await;
                outcome.unwrap_or_else(|e| {
                    panic!("step {step}, time {nth}, max-size {max_size}: {e}")
                });
                if takeovers > 0 {
                    hit.insert(step);
                }
            }
        }
    }
    // Terminal (22, 23) and attach (18, 19) steps need those; 1 dies before there is an
    // application; 20 and 21 need 256 KiB or a rotation; 28 needs a follower.
    for step in (2..=17).chain([20, 21, 24, 25]) {
        assert!(
            hit.contains(&step),
            "no monitor died at step {step}: {hit:?}"
        );
    }
}

/// The tests above would notice: with plain read and write in the protocol's place, a death between
/// the two loses what was read.
#[tokio::test(flavor = "multi_thread")]
async fn plain_read_and_write_loses_lines() {
    let (outcome, takeovers) = mixed_with_fault("naive 5 1", 1_000_000).await;
    assert!(takeovers > 0, "no monitor died");
    outcome.expect_err("the protocol was not needed");
}

/// Nothing that a container is started with may keep a start waiting for ever.
#[tokio::test(flavor = "multi_thread")]
async fn a_monitor_that_cannot_begin_fails_the_start() {
    let bench = Bench::new("taffrail-monitor").await;
    let mut plan = bench.plan('c', "true", None);
    // More than a monitor takes: it ends before it has read its settings.
    plan.create_argv.extend((0..100).map(|_| "x".into()));
    let id = plan.id.clone();
    let created = tokio::time::timeout(FIRST_SIGN * 4, bench.supervisor.create(plan)).await;
    let error = created.expect("hangs").unwrap_err();
    assert!(matches!(error, CreateError::MonitorDied), "{error}");
    bench.supervisor.discard(&id).await;
    assert!(bench.supervisor.watched(&id).is_none());
    bench.end().await;
}

/// The log's place is taken while its monitor is killed: the application goes on, what does not
/// fit is counted, and capture goes on when the place is free again.
#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_cannot_be_opened_holds_nobody_up() {
    let bench = Bench::new("taffrail-monitor").await;
    let (free, wrote) = (bench.root.join("free"), bench.root.join("wrote"));
    let script = format!(
        "echo first; while [ ! -e {0} ]; do sleep 0.01; done; i=0; \
         while [ $i -lt 30000 ]; do echo lost$i; i=$((i+1)); done; touch {1}; \
         while [ -e {0} ]; do sleep 0.01; done; echo last",
        free.display(),
        wrote.display()
    );
    let plan = bench.plan('d', &script, None);
    let capture = bench.supervisor.create(plan).await.unwrap();
    bench.go();
    while !std::fs::read_to_string(bench.log()).is_ok_and(|t| t.contains("first")) {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let moved = bench.root.join("data/moved");
    std::fs::rename(bench.log(), &moved).unwrap();
    std::fs::create_dir(bench.log()).unwrap();
    let monitor = capture
        .page()
        .get()
        .monitor_pid
        .load(std::sync::atomic::Ordering::Acquire);
    let kill = nix::sys::signal::Signal::SIGKILL;
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(monitor), kill).unwrap();
    std::fs::write(&free, "").unwrap();
    let until = tokio::time::Instant::now() + Duration::from_secs(30);
    while !wrote.exists() {
        assert!(
            tokio::time::Instant::now() < until,
            "the application stands still"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    // Everything is out of the pipe before the place is free again: a monitor that still had
    // something to store would make a new file between the next two calls.
    let lost: u64 = (0..30_000).map(|i| format!("lost{i}\n").len() as u64).sum();
    while capture.page().get().committed().unwrap().1.bytes_in[0] < "first\n".len() as u64 + lost {
        assert!(tokio::time::Instant::now() < until, "the pipe is not read");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    std::fs::remove_dir(bench.log()).unwrap();
    std::fs::rename(&moved, bench.log()).unwrap();
    std::fs::remove_file(&free).unwrap();
    let exit = capture.exited().await;
    assert!(exit.known && exit.lost_records > 20_000, "{exit:?}");
    let text = logged(&bench.log());
    assert!(
        text.starts_with("first\n") && text.ends_with("last\n"),
        "{}",
        text.len()
    );
    capture.release().await;
    bench.end().await;
}

mod logs;
