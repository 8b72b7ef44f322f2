//! Control groups beside what libcgroups does: where they are, what a container sees of version 1,
//! removal, freezing, killing.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

const ROOT: &str = "/sys/fs/cgroup";

/// Hierarchies that libcgroups joins.
const CONTROLLERS: [&str; 12] = [
    "cpu",
    "cpuacct",
    "cpuset",
    "devices",
    "hugetlb",
    "memory",
    "pids",
    "perf_event",
    "blkio",
    "net_prio",
    "net_cls",
    "freezer",
];

/// How long a control group whose processes are gone may stay busy.
const BUSY: Duration = Duration::from_secs(5);

/// This host's control groups.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Layout {
    V2,
    V1(V1),
}

/// Version 1, perhaps with version 2 beside it (hybrid).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct V1 {
    /// Mount points below `/sys/fs/cgroup`, with their controllers or `name=...`.
    mounts: Vec<(PathBuf, Vec<String>)>,
    unified: Option<PathBuf>,
}

impl Layout {
    pub(crate) fn read() -> io::Result<Self> {
        let mut stat = std::mem::MaybeUninit::<libc::statfs>::uninit();
        // SAFETY: the path ends with NUL, and the kernel fills `stat` if the call succeeds.
        let magic = unsafe {
            if libc::statfs(c"/sys/fs/cgroup".as_ptr(), stat.as_mut_ptr()) != 0 {
                return Err(io::Error::last_os_error());
            }
            stat.assume_init().f_type
        };
        if magic == libc::CGROUP2_SUPER_MAGIC {
            return Ok(Self::V2);
        }
        Ok(Self::V1(v1_mounts(&fs::read_to_string(
            "/proc/self/mountinfo",
        )?)))
    }

    #[cfg(test)]
    pub(crate) fn for_test(v2: bool) -> Self {
        if v2 {
            Self::V2
        } else {
            Self::V1(V1::default())
        }
    }

    pub(crate) fn unified(&self) -> bool {
        *self == Self::V2
    }

    /// The folders of a container's control group, as far as they are there.
    pub(crate) fn folders(&self, cgroup: &Path) -> Vec<PathBuf> {
        let below = cgroup.strip_prefix("/").unwrap_or(cgroup);
        match self {
            Self::V2 => vec![Path::new(ROOT).join(below)],
            Self::V1(v1) => v1
                .mounts
                .iter()
                .map(|(at, _)| at)
                .chain(&v1.unified)
                .map(|at| at.join(below))
                .collect(),
        }
        .into_iter()
        .filter(|p| p.is_dir())
        .collect()
    }

    /// The folder of one controller of version 1.
    pub(crate) fn v1_folder(&self, controller: &str, cgroup: &Path) -> Option<PathBuf> {
        let Self::V1(v1) = self else { return None };
        let (at, _) = v1
            .mounts
            .iter()
            .find(|(_, c)| c.iter().any(|c| c == controller))?;
        Some(at.join(cgroup.strip_prefix("/").unwrap_or(cgroup)))
    }

    /// Puts this process into the container's group of the hierarchies that libcgroups leaves out:
    /// named ones and controllers it does not know (else the container would see the host's whole
    /// tree) and, in a hybrid setup, that of version 2.
    pub(crate) fn join_others(&self, cgroup: &Path) -> io::Result<()> {
        let Self::V1(v1) = self else { return Ok(()) };
        let below = cgroup.strip_prefix("/").unwrap_or(cgroup);
        let join = |at: &PathBuf| -> io::Result<()> {
            let dir = at.join(below);
            fs::create_dir_all(&dir)?;
            // 0 is the writer.
            fs::write(dir.join("cgroup.procs"), "0")
        };
        for (at, controllers) in &v1.mounts {
            if !joined(controllers) {
                join(at).map_err(|e| io::Error::new(e.kind(), format!("{}: {e}", at.display())))?;
            }
        }
        if let Some(at) = &v1.unified {
            // It limits nothing there; a delegated or read-only tree may refuse.
            let _ = join(at);
        }
        Ok(())
    }

    /// Puts this process into a running container's group, in every hierarchy in which it has one.
    /// Nothing is made: without any group the container is gone. `first` is its first process, for
    /// version 2, where only groups without groups of their own take processes: a container that
    /// has divided its own is joined where that process is.
    pub(crate) fn enter(&self, cgroup: &Path, first: i32) -> io::Result<()> {
        let unified = match self {
            Self::V2 => None,
            Self::V1(v1) => v1.unified.as_deref(),
        };
        let mut entered = false;
        for dir in self.folders(cgroup) {
            // 0 is the writer.
            match fs::write(dir.join("cgroup.procs"), "0") {
                Ok(()) => entered = true,
                Err(e) if self.unified() && e.raw_os_error() == Some(libc::EBUSY) => {
                    let below = divided(first, cgroup).ok_or(e)?;
                    fs::write(Path::new(ROOT).join(below).join("cgroup.procs"), "0")?;
                    entered = true;
                }
                // It limits nothing there; see `join_others`.
                Err(_) if unified.is_some_and(|at| dir.starts_with(at)) => {}
                Err(e) => {
                    return Err(io::Error::new(e.kind(), format!("{}: {e}", dir.display())));
                }
            }
        }
        if entered {
            Ok(())
        } else {
            Err(io::Error::other("the container has no control group"))
        }
    }

    /// Takes this process out of those groups again, so that they can be emptied and removed.
    pub(crate) fn leave_others(&self) {
        if let Self::V1(v1) = self {
            let others = v1.mounts.iter().filter(|(_, c)| !joined(c));
            for at in others.map(|(at, _)| at).chain(&v1.unified) {
                let _ = fs::write(at.join("cgroup.procs"), "0");
            }
        }
    }

    /// What a container sees below its `/sys/fs/cgroup` on version 1: a name, and the folder of its
    /// own group in that hierarchy.
    pub(crate) fn v1_views(&self, cgroup: &Path) -> Vec<(&OsStr, PathBuf)> {
        let Self::V1(v1) = self else {
            return Vec::new();
        };
        let below = cgroup.strip_prefix("/").unwrap_or(cgroup);
        v1.mounts
            .iter()
            .filter_map(|(at, _)| Some((at.file_name()?, at.join(below))))
            .collect()
    }
}

/// Where a process is below `cgroup` on version 2, from the root; `None` if it is not below.
fn divided(pid: i32, cgroup: &Path) -> Option<PathBuf> {
    let text = fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?;
    let at = Path::new(text.lines().find_map(|l| l.strip_prefix("0::"))?);
    let own = Path::new("/").join(cgroup.strip_prefix("/").unwrap_or(cgroup));
    let plain = !at
        .components()
        .any(|c| c == std::path::Component::ParentDir);
    (at.starts_with(own) && plain).then(|| at.strip_prefix("/").unwrap_or(at).to_owned())
}

fn joined(controllers: &[String]) -> bool {
    controllers
        .iter()
        .any(|c| CONTROLLERS.contains(&c.as_str()))
}

fn v1_mounts(mountinfo: &str) -> V1 {
    let mut out = V1::default();
    for line in mountinfo.lines() {
        let Some((head, tail)) = line.split_once(" - ") else {
            continue;
        };
        let mut tail = tail.split(' ');
        let (kind, options) = (tail.next(), tail.nth(1).unwrap_or_default());
        let Some(at) = head.split(' ').nth(4).map(PathBuf::from) else {
            continue;
        };
        if !at.starts_with(ROOT) || out.mounts.iter().any(|(p, _)| *p == at) {
            continue;
        }
        match kind {
            Some("cgroup") => out
                .mounts
                .push((at, options.split(',').map(str::to_owned).collect())),
            Some("cgroup2") => out.unified = Some(at),
            _ => {}
        }
    }
    out
}

/// Removes a container's control group in all hierarchies, and what it made inside; kills what is
/// left in it. The default parent goes with its last container; others belong to the caller.
pub(crate) fn remove(layout: &Layout, cgroup: &Path) -> io::Result<()> {
    // Nothing but a container's own group is ever removed.
    if cgroup.as_os_str().is_empty() || cgroup == Path::new("/") {
        return Ok(());
    }
    let folders = layout.folders(cgroup);
    for dir in &folders {
        remove_folder(dir, Instant::now() + BUSY)?;
        if cgroup.starts_with(crate::spec::DEFAULT_CGROUP)
            && let Some(parent) = dir.parent()
        {
            // In use by other containers: stays.
            let _ = fs::remove_dir(parent);
        }
    }
    Ok(())
}

fn remove_folder(dir: &Path, until: Instant) -> io::Result<()> {
    let mut pause = Duration::from_micros(200);
    loop {
        let e = match fs::remove_dir(dir) {
            Ok(()) => return Ok(()),
            Err(e) => e,
        };
        match e.raw_os_error() {
            Some(libc::ENOENT) => return Ok(()),
            Some(libc::EBUSY | libc::ENOTEMPTY) if Instant::now() < until => {}
            _ => {
                return Err(io::Error::new(e.kind(), format!("{}: {e}", dir.display())));
            }
        }
        for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
            if entry.file_type().is_ok_and(|t| t.is_dir()) {
                remove_folder(&entry.path(), until)?;
            }
        }
        signal_folder(dir, libc::SIGKILL)?;
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(50));
    }
}

/// Sends a signal to all processes in a control group and those below it.
pub(crate) fn signal_all(layout: &Layout, cgroup: &Path, signal: i32) -> io::Result<()> {
    let dir = match layout {
        Layout::V2 => layout.folders(cgroup).into_iter().next(),
        Layout::V1(_) => ["pids", "devices", "memory", "cpu"]
            .iter()
            .find_map(|c| layout.v1_folder(c, cgroup))
            .filter(|d| d.is_dir()),
    };
    match dir {
        Some(dir) => signal_tree(&dir, signal),
        None => Ok(()),
    }
}

fn signal_tree(dir: &Path, signal: i32) -> io::Result<()> {
    signal_folder(dir, signal)?;
    for entry in fs::read_dir(dir)?.flatten() {
        if entry.file_type().is_ok_and(|t| t.is_dir()) {
            signal_tree(&entry.path(), signal)?;
        }
    }
    Ok(())
}

fn signal_folder(dir: &Path, signal: i32) -> io::Result<()> {
    if signal == libc::SIGKILL && fs::write(dir.join("cgroup.kill"), "1").is_ok() {
        return Ok(());
    }
    let text = match fs::read_to_string(dir.join("cgroup.procs")) {
        Ok(text) => text,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(e),
    };
    for pid in text.lines().filter_map(|l| l.parse::<i32>().ok()) {
        // 0 is a process of another pid namespace.
        if pid > 0 && pid != std::process::id() as i32 {
            // SAFETY: sends a signal, no more.
            unsafe { libc::kill(pid, signal) };
        }
    }
    Ok(())
}

/// Freezes or thaws all processes of a control group, and waits until they are.
pub(crate) fn freeze(layout: &Layout, cgroup: &Path, frozen: bool) -> io::Result<()> {
    let missing = || io::Error::other("there is no freezer control group");
    let (file, text, seen, line) = match layout {
        Layout::V2 => {
            let dir = layout
                .folders(cgroup)
                .into_iter()
                .next()
                .ok_or_else(missing)?;
            let text = if frozen { "1" } else { "0" };
            let line = if frozen { "frozen 1" } else { "frozen 0" };
            (
                dir.join("cgroup.freeze"),
                text,
                dir.join("cgroup.events"),
                line,
            )
        }
        Layout::V1(_) => {
            let dir = layout.v1_folder("freezer", cgroup).ok_or_else(missing)?;
            let text = if frozen { "FROZEN" } else { "THAWED" };
            (
                dir.join("freezer.state"),
                text,
                dir.join("freezer.state"),
                text,
            )
        }
    };
    let until = Instant::now() + BUSY;
    loop {
        fs::write(&file, text)?;
        if fs::read_to_string(&seen)?.lines().any(|l| l == line) {
            return Ok(());
        }
        if Instant::now() > until {
            return Err(io::Error::other("the processes do not freeze"));
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Whether the control group is frozen.
pub(crate) fn frozen(layout: &Layout, cgroup: &Path) -> bool {
    let (file, word) = match layout {
        Layout::V2 => (
            layout
                .folders(cgroup)
                .into_iter()
                .next()
                .map(|d| d.join("cgroup.freeze")),
            "1",
        ),
        Layout::V1(_) => (
            layout
                .v1_folder("freezer", cgroup)
                .map(|d| d.join("freezer.state")),
            "FROZEN",
        ),
    };
    file.and_then(|f| fs::read_to_string(f).ok())
        .is_some_and(|t| t.trim_end() == word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn version_1_mounts() {
        let text = "\
24 1 0:22 / /sys rw - sysfs sysfs rw
30 24 0:26 / /sys/fs/cgroup rw - tmpfs tmpfs rw
31 30 0:27 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw
32 30 0:28 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct
33 30 0:29 / /sys/fs/cgroup/memory rw shared:1 - cgroup cgroup rw,memory
34 30 0:29 / /elsewhere/memory rw - cgroup cgroup rw,memory
35 30 0:30 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,name=systemd
";
        let layout = Layout::V1(v1_mounts(text));
        let views = ["cpu,cpuacct", "memory", "systemd"];
        assert_eq!(
            layout.v1_views(Path::new("/a/b")),
            views.map(|n| {
                let folder = Path::new("/sys/fs/cgroup").join(n).join("a/b");
                (OsStr::new(n), folder)
            })
        );
        let Layout::V1(v1) = &layout else { panic!() };
        assert_eq!(
            v1.unified.as_deref(),
            Some(Path::new("/sys/fs/cgroup/unified"))
        );
        let others: Vec<_> = v1.mounts.iter().filter(|(_, c)| !joined(c)).collect();
        assert_eq!(others.len(), 1, "{others:?}");
        assert_eq!(
            layout.v1_folder("cpuacct", Path::new("/a/b")).unwrap(),
            Path::new("/sys/fs/cgroup/cpu,cpuacct/a/b")
        );
        assert_eq!(layout.v1_folder("freezer", Path::new("/a")), None);
        assert_eq!(Layout::V2.v1_views(Path::new("/a")), Vec::new());
    }

    #[test]
    fn the_root_is_never_removed() {
        for path in ["", "/"] {
            remove(&Layout::V2, Path::new(path)).unwrap();
        }
    }
}
