//! What is kept of a container below `--root`, and what can be seen of it.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use libcontainer::container::{ContainerStatus, State};
use libcontainer::notify_socket::NOTIFY_FILE;
use libcontainer::oci_spec::runtime::Hooks;
use serde::{Deserialize, Serialize};

use crate::cgroup::{self, Layout};

const FILE: &str = "state.json";

/// Version of the file.
const VERSION: u32 = 1;

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Record {
    pub(crate) version: u32,
    pub(crate) oci_version: String,
    pub(crate) id: String,
    pub(crate) pid: i32,
    /// Start time of the first process in clock ticks; with the pid it names one process.
    pub(crate) start: u64,
    pub(crate) bundle: PathBuf,
    pub(crate) rootfs: PathBuf,
    pub(crate) created: String,
    pub(crate) cgroup: PathBuf,
    pub(crate) annotations: HashMap<String, String>,
    pub(crate) hooks: Option<Hooks>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Status {
    Created,
    Running,
    Paused,
    Stopped,
}

impl Status {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Stopped => "stopped",
        }
    }
}

impl Record {
    /// Writes the file; it is there whole or not at all.
    pub(crate) fn save(&self, dir: &Path) -> io::Result<()> {
        let part = dir.join("state.json.part");
        fs::write(&part, serde_json::to_vec(self)?)?;
        fs::rename(part, dir.join(FILE))
    }

    /// `None` if there is no such container.
    pub(crate) fn load(root: &Path, id: &str) -> Result<Option<Self>, String> {
        let path = root.join(id).join(FILE);
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(format!("{}: {e}", path.display())),
        };
        let record: Self =
            serde_json::from_slice(&bytes).map_err(|e| format!("{}: {e}", path.display()))?;
        if record.version != VERSION {
            return Err(format!(
                "{}: version {} is not known to this taffrail-runtime",
                path.display(),
                record.version
            ));
        }
        Ok(Some(record))
    }

    pub(crate) fn status(&self, root: &Path, layout: &Layout) -> Status {
        if start_time(self.pid) != Some(self.start) {
            return Status::Stopped;
        }
        if root.join(&self.id).join(NOTIFY_FILE).exists() {
            return Status::Created;
        }
        if cgroup::frozen(layout, &self.cgroup) {
            return Status::Paused;
        }
        Status::Running
    }

    /// As libcontainer's hooks want it.
    pub(crate) fn for_hooks(&self, status: ContainerStatus) -> State {
        let mut state = State::new(&self.id, status, Some(self.pid), self.bundle.clone());
        state.oci_version.clone_from(&self.oci_version);
        state.annotations = Some(self.annotations.clone());
        state
    }
}

pub(crate) fn new_record() -> Record {
    Record {
        version: VERSION,
        oci_version: String::new(),
        id: String::new(),
        pid: 0,
        start: 0,
        bundle: PathBuf::new(),
        rootfs: PathBuf::new(),
        created: crate::report::now(),
        cgroup: PathBuf::new(),
        annotations: HashMap::new(),
        hooks: None,
    }
}

/// When a process started; `None` if there is none or it is dead.
pub(crate) fn start_time(pid: i32) -> Option<u64> {
    if pid <= 0 {
        return None;
    }
    parse_stat(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

fn parse_stat(stat: &str) -> Option<u64> {
    // The name may have spaces and parentheses.
    let mut fields = stat[stat.rfind(')')? + 1..].split_ascii_whitespace();
    if matches!(fields.next()?, "Z" | "X" | "x") {
        return None;
    }
    fields.nth(18)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_its_pid_and_start() {
        let line = |state| {
            format!("7 (a) b) {state} 1 7 7 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 4711 8 9")
        };
        assert_eq!(parse_stat(&line("S")), Some(4711));
        assert_eq!(parse_stat(&line("Z")), None);
        assert!(start_time(std::process::id() as i32).is_some());
        assert_eq!(start_time(0), None);
    }

    #[test]
    fn records_come_back() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("x")).unwrap();
        assert!(Record::load(dir.path(), "x").unwrap().is_none());
        let mut record = new_record();
        record.id = "x".into();
        record.pid = std::process::id() as i32;
        record.start = start_time(record.pid).unwrap();
        record.save(&dir.path().join("x")).unwrap();
        let back = Record::load(dir.path(), "x").unwrap().unwrap();
        let layout = Layout::for_test(false);
        assert_eq!(back.status(dir.path(), &layout), Status::Running);
        fs::write(dir.path().join("x").join(NOTIFY_FILE), "").unwrap();
        assert_eq!(back.status(dir.path(), &layout), Status::Created);
        record.start += 1;
        assert_eq!(record.status(dir.path(), &layout), Status::Stopped);
        record.version = 2;
        record.save(&dir.path().join("x")).unwrap();
        let e = Record::load(dir.path(), "x").unwrap_err();
        assert!(e.contains("version 2"), "{e}");
    }
}
