//! Processes of one daemon, found from outside by /proc; ended by their id only.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// A process as /proc shows it.
#[derive(Clone, Debug)]
pub(crate) struct Process {
    pub(crate) pid: i32,
    /// Field 22 of /proc/PID/stat: with the pid, the identity of a process.
    pub(crate) start: u64,
    pub(crate) state: char,
    pub(crate) exe: PathBuf,
    pub(crate) cwd: PathBuf,
    pub(crate) cmdline: Vec<String>,
}

impl Process {
    pub(crate) fn read(pid: i32) -> Option<Self> {
        let base = PathBuf::from(format!("/proc/{pid}"));
        let stat = fs::read_to_string(base.join("stat")).ok()?;
        let fields: Vec<&str> = stat.rsplit_once(") ")?.1.split(' ').collect();
        let cmdline = fs::read(base.join("cmdline")).unwrap_or_default();
        Some(Self {
            pid,
            state: fields.first()?.chars().next()?,
            start: fields.get(19)?.parse().ok()?,
            exe: fs::read_link(base.join("exe")).unwrap_or_default(),
            cwd: fs::read_link(base.join("cwd")).unwrap_or_default(),
            cmdline: cmdline
                .split(|byte| *byte == 0)
                .filter(|part| !part.is_empty())
                .map(|part| String::from_utf8_lossy(part).into_owned())
                .collect(),
        })
    }

    /// Zombies do not run.
    pub(crate) fn running(&self) -> bool {
        !matches!(self.state, 'Z' | 'X')
    }

    /// Still the same process, and running.
    pub(crate) fn alive(&self) -> bool {
        Self::read(self.pid).is_some_and(|now| now.start == self.start && now.running())
    }

    fn mentions(&self, path: &Path) -> bool {
        let text = path.as_os_str().as_bytes();
        let inside = |bytes: &[u8]| bytes.windows(text.len()).any(|window| window == text);
        inside(self.exe.as_os_str().as_bytes())
            || inside(self.cwd.as_os_str().as_bytes())
            || self.cmdline.iter().any(|part| inside(part.as_bytes()))
    }

    /// The keeper or a monitor: they run from `<data root>/bin/<hash>`, or from the file beside the daemon.
    pub(crate) fn is_supervisor(&self, data_root: &Path) -> bool {
        self.exe.starts_with(data_root.join("bin"))
            || self.exe.to_string_lossy().contains("taffrail-monitor")
    }

    pub(crate) fn is_keeper(&self) -> bool {
        self.cmdline.iter().any(|part| part == "--keeper")
    }

    /// SIGKILL, if it is still this process.
    pub(crate) fn kill(&self) {
        if self.alive() {
            // SAFETY: kill has no memory effects; the pid was just compared with its start time.
            unsafe {
                libc::kill(self.pid, libc::SIGKILL);
            }
        }
    }

    pub(crate) fn wait_gone(&self, deadline: Duration) -> bool {
        let end = Instant::now() + deadline;
        while self.alive() {
            if Instant::now() > end {
                return false;
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        true
    }
}

/// All running processes whose program, folder or arguments name `path`, but for this one and its threads.
pub(crate) fn naming(path: &Path) -> Vec<Process> {
    let own = std::process::id() as i32;
    all()
        .into_iter()
        .filter(|process| process.pid != own && process.running() && process.mentions(path))
        .collect()
}

pub(crate) fn all() -> Vec<Process> {
    let Ok(entries) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter_map(Process::read)
        .collect()
}

/// A field of /proc/PID/smaps_rollup in KiB.
pub(crate) fn smaps_kib(pid: i32, field: &str) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
    let line = text.lines().find(|line| line.starts_with(field))?;
    line.split_whitespace().nth(1)?.parse().ok()
}
