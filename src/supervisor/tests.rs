//! Supervisor, keeper and monitor together, with a shell in the place of the OCI runtime. Needs no
//! root. The monitor binaries are built beside the test's own (`cargo build` before).

use super::*;
use taffrail_log_core::state::phase;

fn binary(name: &str) -> PathBuf {
    let exe = std::env::current_exe().unwrap();
    let path = exe.ancestors().nth(2).unwrap().join(name);
    assert!(path.exists(), "{} is missing: run `cargo build -p taffrail-monitor` first", path.display());
    path
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
        Self { _dir: dir, root, supervisor }
    }

    fn log(&self) -> PathBuf {
        self.root.join("data/x-json.log")
    }

    fn plan(&self, id: char, script: &str, max_size: Option<u64>) -> CapturePlan {
        let id: String = std::iter::repeat_n(id, 64).collect();
        // As a runtime does: the application runs on when `create` has ended, its pid in `pid`.
        let create = format!("setsid sh -c '{script}' & echo $! > pid");
        CapturePlan {
            id,
            tty: false,
            open_stdin: false,
            console_size: None,
            create_argv: ["/bin/sh", "-c", &create].map(Into::into).to_vec(),
            log: LogPlan::JsonFile {
                path: self.log(),
                index_dir: self.root.join("data/index"),
                max_size,
                max_file: 5,
                attrs: Vec::new(),
            },
        }
    }

    async fn end(self) {
        self.supervisor.shutdown_if_idle().await;
    }
}

fn logged(path: &Path) -> String {
    let text = std::fs::read_to_string(path).unwrap();
    let values = text.lines().map(|l| serde_json::from_str::<serde_json::Value>(l).unwrap());
    values.map(|v| v["log"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn output_and_exit_code() {
    let bench = Bench::new("taffrail-monitor").await;
    let plan = bench.plan('a', "echo out; echo err >&2; printf tail; exit 7", None);
    let id = plan.id.clone();
    let capture = bench.supervisor.create(plan).await.unwrap();
    let exit = capture.exited().await;
    assert_eq!((exit.code, exit.known, exit.lost_bytes), (7, true, 0));
    let text = logged(&bench.log());
    assert_eq!(text.len(), 12, "{text:?}");
    assert!(text.contains("out\n") && text.contains("err\n") && text.contains("tail"));
    assert_eq!(capture.page().get().committed().unwrap().0.phase, phase::DONE);
    capture.release().await;
    assert!(!bench.supervisor.container_dir(&id).exists());
    bench.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn attach_gives_all_raw_bytes_and_a_failed_create_its_status() {
    let bench = Bench::new("taffrail-monitor").await;
    let go = bench.root.join("go");
    let script = format!("while [ ! -e {} ]; do sleep 0.01; done; head -c 3000000 /dev/zero", go.display());
    let capture = bench.supervisor.create(bench.plan('b', &script, None)).await.unwrap();
    let mut stream = capture.attach();
    std::fs::write(&go, "").unwrap();
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
    assert!(matches!(bench.supervisor.create(plan).await, Err(CreateError::Runtime { status: 0x300 })));
    bench.supervisor.discard(&id).await;
    bench.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_monitor_loses_nothing() {
    let bench = Bench::new("taffrail-monitor").await;
    let script = "i=0; while [ $i -lt 20000 ]; do i=$((i+1)); echo line $i; done; exit 9";
    let plan = bench.plan('d', script, Some(20_000));
    let capture = bench.supervisor.create(plan).await.unwrap();
    let mut killed = 0;
    while !capture.ended() && killed < 4 {
        let pid = capture.page().get().monitor_pid.load(std::sync::atomic::Ordering::Acquire);
        let seen = capture.page().get().committed().unwrap().0.commit;
        capture.wait_commit(seen + 3).await;
        if nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL).is_ok() {
            killed += 1;
        }
        // The next one has taken over when its pid is in the page.
        while !capture.ended() && capture.page().get().monitor_pid.load(std::sync::atomic::Ordering::Acquire) == pid {
            tokio::task::yield_now().await;
        }
    }
    assert_eq!(capture.exited().await.code, 9);
    assert!(killed > 0, "nothing was tested");
    let mut text = String::new();
    for n in (0..5).rev() {
        let path = if n == 0 { bench.log() } else { bench.root.join(format!("data/x-json.log.{n}")) };
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
