//! What a daemon may have left behind: processes, mounts, cgroups, sockets.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::procs;

/// Everything found below or naming `root`, and cgroups of the containers `ids`; waits a little for what is on its way.
pub(crate) fn find(root: &Path, ids: &[String], deadline: Duration) -> Vec<String> {
    let end = Instant::now() + deadline;
    loop {
        let left = now(root, ids);
        if left.is_empty() || Instant::now() > end {
            return left;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn now(root: &Path, ids: &[String]) -> Vec<String> {
    let mut left = Vec::new();
    for process in procs::naming(root) {
        left.push(format!(
            "process {}: {} {:?}",
            process.pid,
            process.exe.display(),
            process.cmdline
        ));
    }
    for mount in mounts(root) {
        left.push(format!("mount {}", mount.display()));
    }
    for cgroup in cgroups(ids) {
        left.push(format!("cgroup {}", cgroup.display()));
    }
    let sockets = fs::read_to_string("/proc/net/unix").unwrap_or_default();
    let root = root.to_string_lossy();
    for line in sockets.lines().filter(|line| line.contains(&*root)) {
        left.push(format!("socket {line}"));
    }
    left
}

/// Interfaces and rules of the daemon with this tag: bridges by their alias, its table, ends of
/// pairs that are on no bridge any more.
pub(crate) fn networks(tag: &str) -> Vec<String> {
    let mut left: Vec<String> = bridges(tag)
        .into_iter()
        .map(|name| format!("interface {name}"))
        .collect();
    for (name, path) in interfaces() {
        if name.starts_with("tfv") && !path.join("master").exists() {
            left.push(format!("interface {name}"));
        }
    }
    let table = format!("taffrail_{tag}");
    if command("nft", &["list", "tables"]).is_some_and(|tables| tables.contains(&table)) {
        left.push(format!("nft table {table}"));
    }
    let comment = format!("taffrail-{tag}");
    for program in ["iptables", "ip6tables"] {
        if command(program, &["-S"]).is_some_and(|rules| rules.contains(&comment)) {
            left.push(format!("rules of {program}"));
        }
    }
    left
}

fn interfaces() -> Vec<(String, PathBuf)> {
    let entries = fs::read_dir("/sys/class/net")
        .into_iter()
        .flatten()
        .flatten();
    entries
        .map(|entry| {
            (
                entry.file_name().to_string_lossy().into_owned(),
                entry.path(),
            )
        })
        .collect()
}

fn bridges(tag: &str) -> Vec<String> {
    let alias = format!("taffrail {tag}");
    let ours = |path: &Path| {
        fs::read_to_string(path.join("ifalias")).is_ok_and(|text| text.trim() == alias)
    };
    let all = interfaces().into_iter();
    all.filter(|(_, path)| ours(path))
        .map(|(name, _)| name)
        .collect()
}

fn command(program: &str, args: &[&str]) -> Option<String> {
    let output = std::process::Command::new(program)
        .args(args)
        .output()
        .ok()?;
    Some(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Removes what a failed test left of networks.
pub(crate) fn sweep_networks(tag: &str) {
    for name in bridges(tag) {
        command("ip", &["link", "delete", &name]);
    }
    command(
        "nft",
        &["delete", "table", "inet", &format!("taffrail_{tag}")],
    );
}

/// Mount points below `root`, deepest first.
pub(crate) fn mounts(root: &Path) -> Vec<PathBuf> {
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let mut found: Vec<PathBuf> = table
        .lines()
        .filter_map(|line| line.split(' ').nth(4))
        .map(PathBuf::from)
        .filter(|path| path.starts_with(root))
        .collect();
    found.sort_by_key(|path| std::cmp::Reverse(path.components().count()));
    found
}

/// Control groups that carry a container's id, or a daemon's own parent group that is given as an id.
pub(crate) fn cgroups(ids: &[String]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    if !ids.is_empty() {
        walk(Path::new("/sys/fs/cgroup"), 5, &mut |path| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            if ids.iter().any(|id| name.contains(id.as_str())) {
                found.push(path.to_owned());
            }
        });
    }
    found.sort_by_key(|path| std::cmp::Reverse(path.components().count()));
    found
}

fn walk(folder: &Path, depth: u32, visit: &mut impl FnMut(&Path)) {
    let Ok(entries) = fs::read_dir(folder) else {
        return;
    };
    for entry in entries.flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            let path = entry.path();
            visit(&path);
            if depth > 0 {
                walk(&path, depth - 1, visit);
            }
        }
    }
}

/// Ends what a failed test left: its processes by id, its cgroups' members, its mounts.
pub(crate) fn sweep(root: &Path, ids: &[String]) {
    for _ in 0..3 {
        for process in procs::naming(root) {
            process.kill();
        }
    }
    for cgroup in cgroups(ids) {
        let members = fs::read_to_string(cgroup.join("cgroup.procs")).unwrap_or_default();
        for pid in members.lines().filter_map(|line| line.parse().ok()) {
            if let Some(process) = procs::Process::read(pid) {
                process.kill();
                process.wait_gone(Duration::from_secs(2));
            }
        }
    }
    for mount in mounts(root) {
        let _ = nix::mount::umount2(&mount, nix::mount::MntFlags::MNT_DETACH);
    }
    for cgroup in cgroups(ids) {
        let _ = fs::remove_dir(cgroup);
    }
}
