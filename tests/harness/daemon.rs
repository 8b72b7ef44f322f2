//! A private daemon on temporary roots, and everything a case asks of it.

use std::fs::{self, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use serde_json::Value;
use sha2::{Digest, Sha256};

use super::procs::{self, Process};
use super::{Run, binary, command, http, image, leak, skip, target_dir, wait_for};

/// Which engine is under test. Compatibility cases also run on Docker's own, so that the cases themselves are tested.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Engine {
    Taffrail,
    Dockerd,
}

impl Engine {
    /// The engine that `TAFFRAIL_TEST_ENGINE` names.
    pub(crate) fn chosen() -> Self {
        match std::env::var("TAFFRAIL_TEST_ENGINE").as_deref() {
            Err(_) | Ok("" | "taffrail") => Self::Taffrail,
            Ok("dockerd") => Self::Dockerd,
            Ok(other) => panic!("TAFFRAIL_TEST_ENGINE={other}: taffrail or dockerd"),
        }
    }

    /// What this engine needs to run here.
    pub(crate) fn ready(self) -> Result<(), String> {
        skip::root()?;
        image::busybox()?;
        match self {
            Self::Taffrail => Ok(()),
            Self::Dockerd => {
                skip::program("runc")?;
                skip::program("dockerd")
            }
        }
    }
}

/// The reason to skip when a case is about Taffrail and not about what both engines do.
pub(crate) fn taffrail_only() -> Result<(), String> {
    match Engine::chosen() {
        Engine::Taffrail => Engine::Taffrail.ready(),
        Engine::Dockerd => Err("about Taffrail alone".to_owned()),
    }
}

/// How to start a daemon.
#[derive(Debug, Default)]
pub(crate) struct Options {
    /// Text of daemon.json.
    pub(crate) config: Option<String>,
    pub(crate) args: Vec<String>,
    /// With a default network.
    pub(crate) bridge: bool,
    /// Another monitor than the one beside the daemon.
    pub(crate) monitor: Option<PathBuf>,
}

#[derive(Debug)]
pub(crate) struct Daemon {
    pub(crate) engine: Engine,
    pub(crate) root: PathBuf,
    pub(crate) data_root: PathBuf,
    pub(crate) exec_root: PathBuf,
    pub(crate) socket: PathBuf,
    options: Options,
    child: Mutex<Option<Child>>,
    ids: Mutex<Vec<String>>,
    finished: bool,
}

static NUMBER: AtomicU32 = AtomicU32::new(0);

impl Daemon {
    /// The chosen engine with the test image in it.
    pub(crate) fn start() -> Self {
        Self::with(Options::default())
    }

    pub(crate) fn with(options: Options) -> Self {
        Self::of(Engine::chosen(), options)
    }

    pub(crate) fn of(engine: Engine, options: Options) -> Self {
        let daemon = Self::idle(engine, options);
        daemon.launch();
        daemon.import(image::IMAGE);
        daemon
    }

    /// Folders only; `launch` starts the process.
    pub(crate) fn idle(engine: Engine, options: Options) -> Self {
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        // Short, as a unix socket's path has at most 107 bytes.
        let root = std::env::temp_dir().join(format!("tfr-{}-{number}", std::process::id()));
        fs::create_dir(&root).unwrap_or_else(|error| panic!("{}: {error}", root.display()));
        for folder in ["data", "exec", "config", "home"] {
            fs::create_dir(root.join(folder)).expect("a folder for the daemon");
        }
        Self {
            engine,
            data_root: root.join("data"),
            exec_root: root.join("exec"),
            socket: root.join("docker.sock"),
            root,
            options,
            child: Mutex::new(None),
            ids: Mutex::new(Vec::new()),
            finished: false,
        }
    }

    fn log_path(&self) -> PathBuf {
        self.root.join("daemon.log")
    }

    pub(crate) fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(self.log_path()).unwrap_or_default()).into_owned()
    }

    /// The command that starts the daemon, with everything but where its output goes.
    pub(crate) fn command(&self) -> Command {
        let config = self.root.join("config/daemon.json");
        if let Some(text) = &self.options.config {
            fs::write(&config, text).expect("daemon.json");
        }
        let mut command = match self.engine {
            Engine::Taffrail => {
                let mut command = Command::new(binary("taffrail"));
                command.arg("daemon");
                command
            }
            Engine::Dockerd => {
                let mut command = Command::new("dockerd");
                command.args(["--bridge", "none", "--iptables=false", "--live-restore"]);
                command
            }
        };
        if self.options.config.is_some() {
            command.arg("--config-file").arg(&config);
        } else if self.engine == Engine::Taffrail {
            // Not the machine's own configuration.
            fs::write(&config, "{}").expect("daemon.json");
            command.arg("--config-file").arg(&config);
        }
        command
            .arg("--data-root")
            .arg(&self.data_root)
            .arg("--exec-root")
            .arg(&self.exec_root)
            .arg("--host")
            .arg(format!("unix://{}", self.socket.display()))
            .arg("--pidfile")
            .arg(self.root.join("pid"))
            .args(["--log-level", "debug"])
            .args(&self.options.args);
        // Cases that are not about networks do without a bridge.
        let named = self
            .options
            .config
            .as_ref()
            .is_some_and(|c| c.contains("\"bridge\""));
        if self.engine == Engine::Taffrail && !self.options.bridge && !named {
            command.arg("--bridge=none");
        }
        if let Some(monitor) = &self.options.monitor {
            command.arg("--monitor-binary").arg(monitor);
        }
        command
    }

    /// Starts the process and waits until it answers.
    #[track_caller]
    pub(crate) fn launch(&self) {
        self.spawn(self.command());
        self.await_answer();
    }

    /// Starts the daemon by another command than [`Daemon::command`]'s own.
    #[track_caller]
    pub(crate) fn spawn(&self, mut command: Command) {
        let log = OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.log_path())
            .expect("the daemon's log file");
        let child = command
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("dup"))
            .stderr(log)
            .spawn()
            .unwrap_or_else(|error| panic!("the daemon: {error}"));
        *self.child.lock().expect("child") = Some(child);
    }

    #[track_caller]
    pub(crate) fn await_answer(&self) {
        wait_for("the daemon answers _ping", Duration::from_secs(60), || {
            let ended = {
                let mut child = self.child.lock().expect("child");
                let child = child.as_mut().expect("just started");
                child.try_wait().expect("wait for the daemon")
            };
            if let Some(status) = ended {
                panic!("the daemon ended with {status}:\n{}", tail(&self.log()));
            }
            let answer = http::request(&self.socket, "GET", "/_ping", None, Duration::from_secs(5));
            answer
                .is_ok_and(|answer| answer.status == 200)
                .then_some(())
        });
    }

    pub(crate) fn pid(&self) -> i32 {
        self.child
            .lock()
            .expect("child")
            .as_ref()
            .map_or(0, |child| child.id() as i32)
    }

    /// SIGKILL, and waits for the process' end.
    pub(crate) fn kill(&self) {
        if let Some(mut child) = self.child.lock().expect("child").take() {
            child.kill().expect("kill the daemon");
            child.wait().expect("wait for the daemon");
        }
    }

    /// SIGHUP: reads the configuration again.
    pub(crate) fn reload(&self) {
        let child = self.child.lock().expect("child");
        let child = child.as_ref().expect("the daemon runs");
        // SAFETY: the child was not waited for yet, so the pid is its own.
        unsafe {
            libc::kill(child.id() as i32, libc::SIGHUP);
        }
    }

    /// What follows `key=` in the daemon's log, once it is there.
    #[track_caller]
    pub(crate) fn logged(&self, message: &str, key: &str) -> String {
        let key = format!("{key}=");
        wait_for(message, Duration::from_secs(20), || {
            let log = self.log();
            let line = log
                .lines()
                .find(|line| line.contains(message) && line.contains(&key))?;
            let (_, value) = line.split_once(&key)?;
            Some(value.split(' ').next()?.trim_matches('"').to_owned())
        })
    }

    /// SIGTERM; the exit code.
    #[track_caller]
    pub(crate) fn stop(&self) -> i32 {
        let mut child = self
            .child
            .lock()
            .expect("child")
            .take()
            .expect("the daemon runs");
        // SAFETY: the child was not waited for yet, so the pid is its own.
        unsafe {
            libc::kill(child.id() as i32, libc::SIGTERM);
        }
        let code = command::wait(&mut child, Duration::from_secs(60));
        if code.is_none() {
            let _ = child.kill();
            let _ = child.wait();
        }
        code.unwrap_or_else(|| {
            panic!(
                "the daemon does not stop on SIGTERM:\n{}",
                tail(&self.log())
            )
        })
    }

    /// The unmodified docker CLI.
    pub(crate) fn docker<S: AsRef<std::ffi::OsStr>>(
        &self,
        args: impl IntoIterator<Item = S>,
    ) -> Run {
        Run::new(self.docker_command()).args(args)
    }

    pub(crate) fn docker_command(&self) -> Command {
        let mut command = Command::new("docker");
        self.client_environment(&mut command);
        command
            .arg("-H")
            .arg(format!("unix://{}", self.socket.display()));
        command
    }

    /// Our own CLI.
    pub(crate) fn taffrail<S: AsRef<std::ffi::OsStr>>(
        &self,
        args: impl IntoIterator<Item = S>,
    ) -> Run {
        Run::new(self.taffrail_command()).args(args)
    }

    pub(crate) fn taffrail_command(&self) -> Command {
        let mut command = Command::new(binary("taffrail"));
        self.client_environment(&mut command);
        command
            .arg("-H")
            .arg(format!("unix://{}", self.socket.display()));
        command
    }

    pub(crate) fn client_environment(&self, command: &mut Command) {
        for name in [
            "DOCKER_HOST",
            "DOCKER_CONTEXT",
            "DOCKER_API_VERSION",
            "TAFFRAIL_HOST",
            "DOCKER_TLS",
            "DOCKER_TLS_VERIFY",
            "DOCKER_CERT_PATH",
        ] {
            command.env_remove(name);
        }
        command
            .env("DOCKER_CONFIG", self.root.join("home"))
            .env("HOME", self.root.join("home"))
            .env("DOCKER_CLI_HINTS", "false")
            .env("TERM", "xterm")
            .env("LC_ALL", "C.UTF-8");
    }

    /// A request without a version in its path.
    #[track_caller]
    pub(crate) fn api(&self, method: &str, path: &str, body: Option<&Value>) -> http::Answer {
        let body = body.map(|body| body.to_string().into_bytes());
        http::request(
            &self.socket,
            method,
            path,
            body.as_deref(),
            Duration::from_secs(60),
        )
        .unwrap_or_else(|error| panic!("{method} {path}: {error}\n{}", tail(&self.log())))
    }

    pub(crate) fn get(&self, path: &str) -> Value {
        let answer = self.api("GET", path, None);
        assert_eq!(answer.status, 200, "GET {path}: {}", answer.text());
        answer.json()
    }

    #[track_caller]
    pub(crate) fn import(&self, reference: &str) {
        let (repo, tag) = reference.split_once(':').unwrap_or((reference, "latest"));
        let path = format!("/images/create?fromSrc=-&repo={repo}&tag={tag}");
        let mut stream = http::open(
            &self.socket,
            "POST",
            &path,
            &["Content-Type: application/x-tar", "Connection: close"],
            Some(image::tar()),
            Duration::from_secs(60),
        )
        .unwrap_or_else(|error| panic!("import: {error}\n{}", tail(&self.log())));
        let mut body = String::new();
        std::io::Read::read_to_string(&mut stream, &mut body)
            .unwrap_or_else(|error| panic!("import: {error}: {body}"));
        assert!(
            stream.status == 200 && !body.contains("errorDetail"),
            "import: {} {body}",
            stream.status
        );
    }

    /// `docker run -d --network none ARGS`, the container's id.
    #[track_caller]
    pub(crate) fn run_detached(&self, args: &[&str]) -> String {
        let mut all = vec!["run", "-d", "--network", "none"];
        all.extend(args);
        let id = self.docker(&all).output().ok();
        assert_eq!(id.len(), 64, "an id: {id}");
        self.ids.lock().expect("ids").push(id.clone());
        id
    }

    /// Runs the workload detached: `options` before the image, `words` after the program's name.
    #[track_caller]
    pub(crate) fn workload(&self, options: &[&str], words: &[&str]) -> String {
        let mut all = options.to_vec();
        all.extend([image::IMAGE, "workload"]);
        all.extend(words);
        self.run_detached(&all)
    }

    /// Waits for the container's end; its exit code.
    #[track_caller]
    pub(crate) fn wait_exit(&self, id: &str, seconds: u64) -> i32 {
        let path = format!("/containers/{id}/wait");
        let answer = http::request(
            &self.socket,
            "POST",
            &path,
            Some(b""),
            Duration::from_secs(seconds),
        )
        .unwrap_or_else(|error| panic!("{path}: {error} (within {seconds} s)"));
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
        answer.json()["StatusCode"]
            .as_i64()
            .unwrap_or_else(|| panic!("{path}: {}", answer.text())) as i32
    }

    #[track_caller]
    pub(crate) fn inspect(&self, id: &str) -> Value {
        self.get(&format!("/containers/{id}/json"))
    }

    #[track_caller]
    pub(crate) fn container_pid(&self, id: &str) -> i32 {
        let pid = self.inspect(id)["State"]["Pid"].as_i64().unwrap_or(0) as i32;
        assert!(pid > 0, "{id} does not run: {}", self.inspect(id)["State"]);
        pid
    }

    /// The container's json files, oldest first.
    #[track_caller]
    pub(crate) fn json_files(&self, id: &str) -> Vec<PathBuf> {
        let current = self
            .data_root
            .join("containers")
            .join(id)
            .join(format!("{id}-json.log"));
        let mut files = Vec::new();
        for number in 1.. {
            let rotated = PathBuf::from(format!("{}.{number}", current.display()));
            if !rotated.exists() {
                break;
            }
            files.push(rotated);
        }
        files.reverse();
        files.push(current);
        files
    }

    /// All json files of a container, oldest first, as one text.
    #[track_caller]
    pub(crate) fn json_log(&self, id: &str) -> Vec<u8> {
        let mut all = Vec::new();
        for path in self.json_files(id) {
            all.extend(
                fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display())),
            );
        }
        all
    }

    /// The keeper and the monitors of this daemon.
    pub(crate) fn supervisors(&self) -> Vec<Process> {
        procs::naming(&self.root)
            .into_iter()
            .filter(|process| process.is_supervisor(&self.data_root))
            .collect()
    }

    pub(crate) fn keeper(&self) -> Option<Process> {
        self.supervisors().into_iter().find(Process::is_keeper)
    }

    /// The monitor of one container: the process that names its id, or the only one there is.
    pub(crate) fn monitor(&self, id: &str) -> Option<Process> {
        let monitors: Vec<Process> = self
            .supervisors()
            .into_iter()
            .filter(|process| !process.is_keeper())
            .collect();
        let named = monitors.iter().find(|process| {
            process.cmdline.iter().any(|part| part.contains(id))
                || process.cwd.to_string_lossy().contains(id)
        });
        match named {
            Some(process) => Some(process.clone()),
            None if monitors.len() == 1 => monitors.into_iter().next(),
            None => None,
        }
    }

    fn collect_ids(&self) -> Vec<String> {
        let mut ids = self.ids.lock().expect("ids").clone();
        let list = http::request(
            &self.socket,
            "GET",
            "/containers/json?all=1",
            None,
            Duration::from_secs(20),
        );
        if let Ok(answer) = list
            && answer.status == 200
        {
            for container in answer.json().as_array().into_iter().flatten() {
                if let Some(id) = container["Id"].as_str() {
                    ids.push(id.to_owned());
                }
            }
        }
        ids.sort();
        ids.dedup();
        ids
    }

    /// Removes every container, stops the daemon and fails if anything is left.
    #[track_caller]
    pub(crate) fn finish(mut self) {
        let ids = self.collect_ids();
        for id in &ids {
            let answer = self.api("DELETE", &format!("/containers/{id}?force=1&v=1"), None);
            assert!(
                matches!(answer.status, 204 | 404),
                "rm -f {id}: {} {}",
                answer.status,
                answer.text()
            );
        }
        let code = self.stop();
        assert_eq!(code, 0, "exit of the daemon:\n{}", tail(&self.log()));
        let mut groups = ids;
        groups.push(self.cgroup_parent());
        let mut left = leak::find(&self.root, &groups, Duration::from_secs(10));
        if self.engine == Engine::Dockerd {
            // Docker leaves a mount of its network folder and its own files; ours may not.
            left.retain(|line| !line.contains("/netns") && !line.starts_with("mount"));
            leak::sweep(&self.root, &[]);
        } else {
            for path in [&self.socket, &self.root.join("pid")] {
                if path.exists() {
                    left.push(format!("file {}", path.display()));
                }
            }
            let data = self.data_root.join("containers");
            for entry in fs::read_dir(data).into_iter().flatten().flatten() {
                left.push(format!("container folder {}", entry.path().display()));
            }
            left.extend(self.networks_left());
            for entry in fs::read_dir(self.exec_root.join("c"))
                .into_iter()
                .flatten()
                .flatten()
            {
                left.push(format!("runtime folder {}", entry.path().display()));
            }
        }
        assert!(
            left.is_empty(),
            "left behind:\n  {}\n{}",
            left.join("\n  "),
            tail(&self.log())
        );
        self.finished = true;
        fs::remove_dir_all(&self.root).expect("remove the test's folder");
    }

    /// Interfaces and rules that are still there; the kernel takes an interface away a little after
    /// its namespace.
    fn networks_left(&self) -> Vec<String> {
        let end = std::time::Instant::now() + Duration::from_secs(10);
        loop {
            let left = leak::networks(&self.tag());
            if left.is_empty() || std::time::Instant::now() > end {
                return left;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// The control group above this daemon's containers: it goes with the daemon.
    fn cgroup_parent(&self) -> String {
        format!("taffrail-{}", self.tag())
    }

    /// What tells this daemon's groups, interfaces and rules from others'.
    fn tag(&self) -> String {
        let digest = Sha256::digest(self.exec_root.as_os_str().as_encoded_bytes());
        digest
            .iter()
            .take(4)
            .map(|byte| format!("{byte:02x}"))
            .collect()
    }

    /// Ends without asking anything of the daemon: for cases that break it on purpose.
    pub(crate) fn abandon(mut self) {
        self.finished = true;
        self.clear();
    }

    fn clear(&self) {
        let mut ids = self.collect_ids();
        ids.push(self.cgroup_parent());
        self.kill();
        leak::sweep(&self.root, &ids);
        leak::sweep_networks(&self.tag());
        for _ in 0..20 {
            if fs::remove_dir_all(&self.root).is_ok() || !self.root.exists() {
                break;
            }
            leak::sweep(&self.root, &ids);
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

/// The last lines of a log.
pub(crate) fn tail(log: &str) -> String {
    let lines: Vec<&str> = log.lines().collect();
    let from = lines.len().saturating_sub(60);
    format!(
        "--- daemon's log, last {} lines\n{}",
        lines.len() - from,
        lines[from..].join("\n")
    )
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if self.finished {
            return;
        }
        // A failed test: keep the log, show its end, leave nothing running.
        let name = std::thread::current()
            .name()
            .unwrap_or("test")
            .replace("::", "-");
        let kept = target_dir().join("e2e-failed").join(format!("{name}.log"));
        if let Some(folder) = kept.parent() {
            let _ = fs::create_dir_all(folder);
        }
        let _ = fs::copy(self.log_path(), &kept);
        eprintln!(
            "the daemon's log is kept in {}\n{}",
            kept.display(),
            tail(&self.log())
        );
        self.clear();
    }
}

/// A file that a case writes beside the daemon's folders.
pub(crate) fn scratch(daemon: &Daemon, name: &str, bytes: &[u8]) -> PathBuf {
    let path = daemon.root.join(name);
    fs::write(&path, bytes).expect("a scratch file");
    path
}

/// Waits until `file` holds the workload's tally of at least `lines`.
#[track_caller]
pub(crate) fn wait_tally(file: &Path, lines: u64, deadline: Duration) -> (u64, u64) {
    wait_for("the workload's tally", deadline, || {
        let tally = read_tally(file)?;
        (tally.0 + tally.1 >= lines).then_some(tally)
    })
}

/// Lines that the workload has handed to the kernel: stdout, stderr.
pub(crate) fn read_tally(file: &Path) -> Option<(u64, u64)> {
    let text = fs::read_to_string(file).ok()?;
    let (out, err) = text.trim().split_once(' ')?;
    Some((out.parse().ok()?, err.parse().ok()?))
}
