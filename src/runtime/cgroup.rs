//! Control groups: which hierarchy the host has, where a container's groups are, ending what is left
//! in them and removing them. The file system is used directly (no systemd).

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Map, Value};

use super::error::RuntimeError;
use super::mounts;
use crate::api::types::HostConfig;

/// How long killed processes may take to leave a group.
const LEAVE: Duration = Duration::from_secs(5);
const STEP: Duration = Duration::from_millis(5);

/// The host's control group file systems.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum CgroupLayout {
    /// Version 1, one mount a controller set; in the hybrid form also an (unused) version 2 mount.
    V1 {
        /// Names of the controllers and where they are mounted.
        controllers: Vec<(Vec<String>, PathBuf)>,
        unified: Option<PathBuf>,
    },
    /// Version 2 alone.
    V2 { root: PathBuf },
}

/// Layout of this host, from `/proc/self/mountinfo`.
pub(crate) fn cgroup_layout() -> CgroupLayout {
    parse_layout(&fs::read_to_string("/proc/self/mountinfo").unwrap_or_default())
}

fn parse_layout(mountinfo: &str) -> CgroupLayout {
    let mut controllers: Vec<(Vec<String>, PathBuf)> = Vec::new();
    let mut unified = None;
    for line in mountinfo.lines() {
        let Some((left, right)) = line.split_once(" - ") else {
            continue;
        };
        let Some(point) = left.split(' ').nth(4).map(PathBuf::from) else {
            continue;
        };
        let right: Vec<&str> = right.split(' ').collect();
        match right[..] {
            ["cgroup", _, options] => {
                let names: Vec<String> = options
                    .split(',')
                    .filter(|o| !matches!(*o, "rw" | "ro" | "xattr" | "clone_children"))
                    .map(|o| o.strip_prefix("name=").unwrap_or(o).to_owned())
                    .collect();
                // The same hierarchy may be mounted in several places; the first is enough.
                if controllers.iter().all(|(n, _)| *n != names) {
                    controllers.push((names, point));
                }
            }
            ["cgroup2", ..] if unified.is_none() => unified = Some(point),
            _ => {}
        }
    }
    match unified {
        Some(root) if controllers.is_empty() => CgroupLayout::V2 { root },
        unified => CgroupLayout::V1 {
            controllers,
            unified,
        },
    }
}

impl CgroupLayout {
    /// `CgroupVersion` of `info`.
    pub(crate) fn version(&self) -> &'static str {
        match self {
            Self::V1 { .. } => "1",
            Self::V2 { .. } => "2",
        }
    }

    /// `CgroupDriver` of `info`.
    pub(crate) fn driver(&self) -> &'static str {
        "cgroupfs"
    }

    pub(crate) fn is_v2(&self) -> bool {
        matches!(self, Self::V2 { .. })
    }

    /// What `info` says the kernel can limit, under the Engine API's names, and Docker's warnings for
    /// what it cannot.
    pub(crate) fn support(&self) -> (Map<String, Value>, Vec<String>) {
        let file = |controller: &str, name: &str| match self {
            Self::V1 { .. } => self
                .controller(controller)
                .is_some_and(|d| d.join(name).exists()),
            Self::V2 { root } => fs::read_to_string(root.join("cgroup.controllers"))
                .is_ok_and(|list| list.split_whitespace().any(|c| c == controller)),
        };
        let swap = file("memory", "memory.limit_in_bytes") && self.has_swap_limit();
        let facts = [
            (
                "MemoryLimit",
                file("memory", "memory.limit_in_bytes"),
                "memory limit",
            ),
            ("SwapLimit", swap, "swap limit"),
            (
                "CpuCfsPeriod",
                file("cpu", "cpu.cfs_period_us"),
                "cpu cfs period",
            ),
            (
                "CpuCfsQuota",
                file("cpu", "cpu.cfs_quota_us"),
                "cpu cfs quota",
            ),
            ("CPUShares", file("cpu", "cpu.shares"), "cpu shares"),
            ("CPUSet", file("cpuset", "cpuset.cpus"), "cpuset"),
            // The root group has no file of its own for it.
            ("PidsLimit", file("pids", "cgroup.procs"), "pids limit"),
        ];
        let mut out = Map::new();
        let mut warnings = Vec::new();
        for (key, there, what) in facts {
            out.insert(key.to_owned(), Value::Bool(there));
            if !there {
                warnings.push(format!("WARNING: No {what} support"));
            }
        }
        let oom = matches!(self, Self::V1 { .. }) && file("memory", "memory.oom_control");
        out.insert("OomKillDisable".to_owned(), Value::Bool(oom));
        (out, warnings)
    }

    /// Where the group `path` is in the hierarchy of one controller.
    pub(super) fn group(&self, controller: &str, path: &str) -> Option<PathBuf> {
        let root = self.controller(controller)?;
        Some(root.join(path.trim_start_matches('/')))
    }

    /// Where the group `path` is in every hierarchy, whether it exists or not.
    fn dirs(&self, path: &str) -> Vec<PathBuf> {
        let below = |root: &Path| root.join(path.trim_start_matches('/'));
        match self {
            Self::V1 {
                controllers,
                unified,
            } => controllers
                .iter()
                .map(|(_, root)| below(root))
                .chain(unified.as_deref().map(below))
                .collect(),
            Self::V2 { root } => vec![below(root)],
        }
    }

    /// Mount of one controller (on version 2 the whole tree).
    pub(super) fn controller(&self, name: &str) -> Option<&Path> {
        match self {
            Self::V1 { controllers, .. } => controllers
                .iter()
                .find(|(names, _)| names.iter().any(|n| n == name))
                .map(|(_, root)| root.as_path()),
            Self::V2 { root } => Some(root),
        }
    }

    /// Whether memory and swap can be limited together.
    pub(super) fn has_swap_limit(&self) -> bool {
        match self {
            Self::V1 { .. } => self
                .controller("memory")
                .is_some_and(|dir| dir.join("memory.memsw.limit_in_bytes").exists()),
            // The root group has no such file; it depends on the kernel's configuration alone.
            Self::V2 { .. } => Path::new("/proc/swaps").exists(),
        }
    }

    /// Whether block I/O can be weighted.
    pub(super) fn has_blkio_weight(&self) -> bool {
        match self {
            Self::V1 { .. } => self.controller("blkio").is_some_and(|dir| {
                dir.join("blkio.weight").exists() || dir.join("blkio.bfq.weight").exists()
            }),
            Self::V2 { .. } => true,
        }
    }
}

/// Path of a container's group: below `CgroupParent` if that is given, else below `parent`.
pub(crate) fn cgroup_path(host: &HostConfig, parent: &str, id: &str) -> String {
    let parent = match host.cgroup_parent.as_str() {
        "" => parent,
        given => given,
    };
    mounts::clean(&format!("{parent}/{id}"))
}

/// Groups below `dir` and `dir` itself, the deepest first; empty if there is none.
fn tree(dir: &Path) -> Vec<PathBuf> {
    let mut out = Vec::new();
    let mut todo = vec![dir.to_owned()];
    while let Some(dir) = todo.pop() {
        let Ok(entries) = fs::read_dir(&dir) else {
            continue;
        };
        todo.extend(
            entries
                .flatten()
                .filter(|e| e.file_type().is_ok_and(|t| t.is_dir()))
                .map(|e| e.path()),
        );
        out.push(dir);
    }
    out.reverse();
    out
}

/// Processes in the group `path` and below.
pub(crate) fn cgroup_members(layout: &CgroupLayout, path: &str) -> BTreeSet<i32> {
    let mut out = BTreeSet::new();
    for dir in layout.dirs(path) {
        for group in tree(&dir) {
            if let Ok(text) = fs::read_to_string(group.join("cgroup.procs")) {
                out.extend(text.lines().filter_map(|l| l.parse::<i32>().ok()));
            }
        }
    }
    out
}

/// Kills everything in the group `path` and below, until nothing is left or 5 s have passed.
/// Returns how many processes it met. Blocking.
pub(crate) fn kill_cgroup(layout: &CgroupLayout, path: &str) -> usize {
    if is_root(path) {
        return 0;
    }
    let mut met = BTreeSet::new();
    let end = Instant::now() + LEAVE;
    loop {
        let now = cgroup_members(layout, path);
        if now.is_empty() || Instant::now() > end {
            return met.len();
        }
        met.extend(now);
        // One write kills all at once where the kernel has it (5.14), even a fork bomb.
        if let CgroupLayout::V2 { .. } = layout {
            for dir in layout.dirs(path) {
                let _ = fs::write(dir.join("cgroup.kill"), "1");
            }
        }
        // Frozen, version 1 cannot fork away either; the signal acts at the thaw.
        freeze(layout, path, true);
        for pid in cgroup_members(layout, path) {
            met.insert(pid);
            // It may have ended meanwhile.
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
        freeze(layout, path, false);
        thread::sleep(STEP);
    }
}

fn freeze(layout: &CgroupLayout, path: &str, frozen: bool) {
    if let CgroupLayout::V1 { .. } = layout
        && let Some(root) = layout.controller("freezer")
    {
        let state = if frozen { "FROZEN" } else { "THAWED" };
        let _ = fs::write(
            root.join(path.trim_start_matches('/'))
                .join("freezer.state"),
            state,
        );
    }
}

/// The root group is everybody's: never killed, never removed.
fn is_root(path: &str) -> bool {
    mounts::clean(path) == "/"
}

/// Removes the group `path` and all below from every hierarchy. Waits up to 5 s for ended processes
/// to be gone from it. Blocking; not being there is success.
pub(crate) fn remove_cgroup(layout: &CgroupLayout, path: &str) -> Result<(), RuntimeError> {
    if is_root(path) {
        return Ok(());
    }
    let end = Instant::now() + LEAVE;
    for dir in layout.dirs(path) {
        for group in tree(&dir) {
            while let Err(e) = fs::remove_dir(&group) {
                match e.kind() {
                    io::ErrorKind::NotFound => break,
                    io::ErrorKind::ResourceBusy if Instant::now() < end => thread::sleep(STEP),
                    _ => return Err(RuntimeError::file("remove control group", group)(e)),
                }
            }
        }
    }
    Ok(())
}

/// Removes the daemon's parent group from every hierarchy where nothing is in it. Blocking.
pub(crate) fn remove_parent(layout: &CgroupLayout, parent: &str) {
    if is_root(parent) {
        return;
    }
    for dir in layout.dirs(parent) {
        // Not empty or not there: both are as they should be.
        let _ = fs::remove_dir(dir);
    }
}

/// How many processes of the group the kernel has killed for want of memory; `None` if the group or
/// the counter is not there (kernels before 4.13).
pub(crate) fn oom_kills(layout: &CgroupLayout, path: &str) -> Option<u64> {
    let file = match layout {
        CgroupLayout::V1 { .. } => "memory.oom_control",
        CgroupLayout::V2 { .. } => "memory.events",
    };
    let dir = layout.group("memory", path)?;
    let text = fs::read_to_string(dir.join(file)).ok()?;
    text.lines()
        .find_map(|l| l.strip_prefix("oom_kill "))
        .and_then(|n| n.trim().parse().ok())
}

/// Whether processes of a group wait for memory because none may be killed (`--oom-kill-disable`,
/// control groups version 1).
pub(crate) fn waits_for_memory(layout: &CgroupLayout, path: &str) -> bool {
    let Some(dir) = layout.group("memory", path) else {
        return false;
    };
    fs::read_to_string(dir.join("memory.oom_control"))
        .is_ok_and(|text| text.lines().any(|line| line == "under_oom 1"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layouts_are_told_apart() {
        let hybrid = "25 24 0:22 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory\n\
            26 24 0:23 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n\
            27 24 0:24 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,name=systemd\n\
            28 24 0:25 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n";
        let layout = parse_layout(hybrid);
        assert_eq!(layout.version(), "1");
        assert_eq!(
            layout.controller("cpuacct"),
            Some(Path::new("/sys/fs/cgroup/cpu,cpuacct"))
        );
        assert_eq!(layout.dirs("/p/c").len(), 4);
        assert_eq!(
            layout.dirs("/p/c")[3],
            Path::new("/sys/fs/cgroup/unified/p/c")
        );

        let v2 =
            parse_layout("30 24 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n");
        assert_eq!(v2.version(), "2");
        assert_eq!(v2.dirs("/p/c"), [PathBuf::from("/sys/fs/cgroup/p/c")]);
    }

    #[test]
    fn a_containers_group_stays_below_its_parent() {
        let host = HostConfig::default();
        assert_eq!(cgroup_path(&host, "/taffrail", "abc"), "/taffrail/abc");
        let host = HostConfig {
            cgroup_parent: "own/../../x".into(),
            ..Default::default()
        };
        assert_eq!(cgroup_path(&host, "/taffrail", "abc"), "/x/abc");
    }

    #[test]
    fn the_root_group_is_left_alone() {
        let layout = CgroupLayout::V2 {
            root: PathBuf::from("/nonexistent"),
        };
        assert_eq!(kill_cgroup(&layout, "/"), 0);
        assert_eq!(kill_cgroup(&layout, "/a/.."), 0);
        assert!(remove_cgroup(&layout, "").is_ok());
    }
}
