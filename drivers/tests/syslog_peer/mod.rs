//! Real syslog servers in a folder of their own, and a small delivery loop.

pub(crate) mod certificates;
pub(crate) mod pump;

use std::net::{TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// For everything that is waited for.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

/// A port that was free a moment ago, on TCP and UDP.
pub(crate) fn port() -> u16 {
    for _ in 0..100 {
        let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = tcp.local_addr().unwrap().port();
        if UdpSocket::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
    panic!("no free port");
}

/// Waits until `done` gives a value.
pub(crate) fn until<T>(what: &str, mut done: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + DEADLINE;
    loop {
        if let Some(value) = done() {
            return value;
        }
        assert!(Instant::now() < end, "{what}: not within {DEADLINE:?}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A running server; killed when dropped.
pub(crate) struct Server {
    pub(crate) folder: TempDir,
    command: Vec<String>,
    environment: Vec<(String, String)>,
    child: Option<Child>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

impl Server {
    fn start(folder: TempDir, command: Vec<String>, environment: Vec<(String, String)>) -> Self {
        let mut new = Self {
            folder,
            command,
            environment,
            child: None,
        };
        new.again();
        new
    }

    /// Starts it, also once more.
    pub(crate) fn again(&mut self) {
        let log = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.path("server.log"))
            .unwrap();
        let mut command = Command::new(&self.command[0]);
        command
            .args(&self.command[1..])
            .envs(self.environment.clone())
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log);
        let child = command.spawn().unwrap_or_else(|error| {
            panic!(
                "{} cannot be started ({error}): `make test` installs what the tests need",
                self.command[0]
            )
        });
        self.child = Some(child);
    }

    /// As by `kill -9`.
    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// What it has written so far.
    pub(crate) fn received(&self) -> Vec<u8> {
        std::fs::read(self.path("out")).unwrap_or_default()
    }

    /// Waits for so many lines with `mark` in them; fails with the server's own log.
    pub(crate) fn lines(&self, mark: &str, count: usize) -> Vec<String> {
        let end = Instant::now() + DEADLINE;
        loop {
            let text = String::from_utf8_lossy(&self.received()).into_owned();
            let lines: Vec<String> = text
                .lines()
                .filter(|line| line.contains(mark))
                .map(str::to_owned)
                .collect();
            if lines.len() >= count {
                return lines;
            }
            assert!(
                Instant::now() < end,
                "{} of {count} lines\n{}",
                lines.len(),
                std::fs::read_to_string(self.path("server.log")).unwrap_or_default()
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// rsyslog with these inputs, which may name `{DIR}`. It writes what it gets to `out` before it answers: the queues are direct.
pub(crate) fn rsyslog(folder: TempDir, inputs: &str) -> Server {
    let dir = folder.path().display().to_string();
    let config = r#"
global(workDirectory="{DIR}" maxMessageSize="64k" parser.escapeControlCharactersOnReceive="off" {GLOBAL})
main_queue(queue.type="Direct")
template(name="raw" type="string" string="%rawmsg%\n")
template(name="parts" type="string" string="%pri%|%timereported:::date-rfc3339%|%hostname%|%app-name%|%procid%|%msgid%|%msg%\n")
{INPUTS}
action(type="omfile" file="{DIR}/out" template="raw")
action(type="omfile" file="{DIR}/parts" template="parts")
"#;
    let (global, inputs) = inputs.split_once("---\n").unwrap_or(("", inputs));
    let config = config
        .replace("{INPUTS}", inputs)
        .replace("{GLOBAL}", global)
        .replace("{DIR}", &dir);
    let path = folder.path().join("rsyslog.conf");
    std::fs::write(&path, config).unwrap();
    let command = [
        program("rsyslogd"),
        "-n".into(),
        "-f".into(),
        path.display().to_string(),
        "-i".into(),
        format!("{dir}/pid"),
    ];
    Server::start(folder, command.into(), Vec::new())
}

/// syslog-ng with this source.
pub(crate) fn syslog_ng(folder: TempDir, source: &str) -> Server {
    let dir = folder.path().display().to_string();
    let config = format!(
        "@version: 3.35\noptions {{ keep-hostname(yes); chain-hostnames(no); log-msg-size(65536); flush-lines(1); stats-freq(0); }};\n\
         source s {{ {source} }};\n\
         destination d {{ file(\"{dir}/out\" template(\"${{PRI}}|${{ISODATE}}|${{HOST}}|${{PROGRAM}}|${{PID}}|${{MSGID}}|${{MESSAGE}}\\n\") frac-digits(6) time-zone(\"UTC\")); }};\n\
         log {{ source(s); destination(d); }};\n"
    );
    let path = folder.path().join("syslog-ng.conf");
    std::fs::write(&path, config).unwrap();
    let beside = "/opt/taffrail-peers/syslog-ng/usr";
    let mut command = vec![program("syslog-ng")];
    let mut environment = Vec::new();
    if Path::new(beside).exists() {
        command = vec![format!("{beside}/sbin/syslog-ng")];
        command.push(format!("--module-path={beside}/lib/syslog-ng/3.38"));
        environment.push((
            "LD_LIBRARY_PATH".to_owned(),
            format!("{beside}/lib/syslog-ng"),
        ));
    }
    for argument in ["-F", "--no-caps", "-f"] {
        command.push(argument.to_owned());
    }
    command.push(path.display().to_string());
    for (option, file) in [("-R", "persist"), ("-p", "pid"), ("-c", "ctl")] {
        command.push(option.to_owned());
        command.push(format!("{dir}/{file}"));
    }
    Server::start(folder, command, environment)
}

fn program(name: &str) -> String {
    for folder in ["/usr/sbin", "/usr/bin", "/sbin"] {
        let path = Path::new(folder).join(name);
        if path.exists() {
            return path.display().to_string();
        }
    }
    name.to_owned()
}
