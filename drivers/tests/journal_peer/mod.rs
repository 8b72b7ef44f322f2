//! The real systemd-journald, standing alone: own folder, own socket, ended by its process id.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const PROGRAM: &str = "/lib/systemd/systemd-journald";

/// A running journald with an empty journal.
#[derive(Debug)]
pub(crate) struct Journald {
    dir: tempfile::TempDir,
    child: Option<Child>,
    name: String,
}

impl Journald {
    /// Starts one and waits for its socket.
    pub(crate) fn start(name: &str) -> Self {
        assert!(
            Path::new(PROGRAM).exists(),
            "{PROGRAM} is missing: run `make test`, which installs what the tests need"
        );
        let dir = tempfile::tempdir().unwrap();
        for folder in ["run", "logs"] {
            std::fs::create_dir(dir.path().join(folder)).unwrap();
        }
        let mut journald = Self {
            dir,
            child: None,
            name: format!("taffrail-{name}-{}", std::process::id()),
        };
        journald.run();
        journald
    }

    /// Starts it anew after [`Self::kill`].
    pub(crate) fn run(&mut self) {
        assert!(self.child.is_none());
        let _ = std::fs::remove_file(self.socket());
        let child = Command::new(PROGRAM)
            .arg(&self.name)
            .env("RUNTIME_DIRECTORY", self.dir.path().join("run"))
            .env("LOGS_DIRECTORY", self.dir.path().join("logs"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        self.child = Some(child);
        let socket = self.socket();
        wait_for("journald's socket", || {
            std::os::unix::net::UnixDatagram::unbound()
                .and_then(|ours| ours.connect(&socket))
                .is_ok()
        });
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.dir.path().join("run/socket")
    }

    pub(crate) fn signal(&self, signal: i32) {
        let pid = self.child.as_ref().unwrap().id() as i32;
        // SAFETY: kill has no preconditions; the process is a child that was not waited for yet.
        assert_eq!(unsafe { libc::kill(pid, signal) }, 0);
    }

    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// All values of a field in the journal's order.
    pub(crate) fn values(&self, field: &str) -> Vec<Vec<u8>> {
        let start = format!("{field}=");
        let binary = format!("{field}\n");
        let export = self.export();
        let mut rest = export.as_slice();
        let mut found = Vec::new();
        while !rest.is_empty() {
            let end = rest.iter().position(|&b| b == b'\n').unwrap();
            let line = &rest[..end];
            if line.contains(&b'=') || line.is_empty() {
                if let Some(value) = line.strip_prefix(start.as_bytes()) {
                    found.push(value.to_vec());
                }
                rest = &rest[end + 1..];
            } else {
                // NAME, newline, length, value, newline
                let length = u64::from_le_bytes(rest[end + 1..end + 9].try_into().unwrap());
                let (from, to) = (end + 9, end + 9 + usize::try_from(length).unwrap());
                if rest.starts_with(binary.as_bytes()) {
                    found.push(rest[from..to].to_vec());
                }
                rest = &rest[to + 1..];
            }
        }
        found
    }

    /// All that was sent, in the export format.
    pub(crate) fn export(&self) -> Vec<u8> {
        let output = Command::new("journalctl")
            .args(["-o", "export", "--directory"])
            .arg(self.dir.path().join("logs"))
            // not what journald says itself
            .arg("_TRANSPORT=journal")
            .output()
            .unwrap();
        output.stdout
    }
}

impl Drop for Journald {
    fn drop(&mut self) {
        self.kill();
    }
}

pub(crate) fn wait_for(what: &str, mut ready: impl FnMut() -> bool) {
    let until = Instant::now() + Duration::from_secs(60);
    while !ready() {
        assert!(Instant::now() < until, "no {what} within 60 s");
        std::thread::sleep(Duration::from_millis(5));
    }
}
