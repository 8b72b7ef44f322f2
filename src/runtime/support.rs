//! Limits that this host's kernel does not have: taken out of a container's settings before they are
//! kept, each with Docker's warning, so that inspect shows what holds (source: Moby
//! `daemon/daemon_unix.go`, `pkg/sysinfo`).

use std::fs;
use std::path::Path;

use super::cgroup::CgroupLayout;
use crate::api::types::HostConfig;

/// Limits that not every kernel has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Support {
    memory: bool,
    swap: bool,
    reservation: bool,
    swappiness: bool,
    kernel_tcp: bool,
    oom_kill_disable: bool,
    pids: bool,
    shares: bool,
    bandwidth: bool,
    /// `cpu.rt_period_us` and `cpu.rt_runtime_us`.
    pub(super) realtime: bool,
    cpuset: bool,
    weight: bool,
    weight_device: bool,
    throttle: bool,
}

impl Support {
    /// What the host has. Blocking, a few files.
    pub(super) fn of(layout: &CgroupLayout) -> Self {
        match layout {
            CgroupLayout::V1 { .. } => Self::version_one(layout),
            CgroupLayout::V2 { root } => Self::version_two(root),
        }
    }

    fn version_one(layout: &CgroupLayout) -> Self {
        let has = |controller: &str, file: &str| {
            layout
                .controller(controller)
                .is_some_and(|dir| dir.join(file).exists())
        };
        let memory = |file: &str| has("memory", file);
        Self {
            memory: memory("memory.limit_in_bytes"),
            swap: layout.has_swap_limit(),
            reservation: memory("memory.soft_limit_in_bytes"),
            swappiness: memory("memory.swappiness"),
            kernel_tcp: memory("memory.kmem.tcp.limit_in_bytes"),
            oom_kill_disable: memory("memory.oom_control"),
            // The root group has no file of its own for it.
            pids: has("pids", "cgroup.procs"),
            shares: has("cpu", "cpu.shares"),
            bandwidth: has("cpu", "cpu.cfs_quota_us"),
            realtime: has("cpu", "cpu.rt_runtime_us") && has("cpu", "cpu.rt_period_us"),
            cpuset: has("cpuset", "cpuset.cpus"),
            weight: layout.has_blkio_weight(),
            weight_device: has("blkio", "blkio.weight_device")
                || has("blkio", "blkio.bfq.weight_device"),
            throttle: has("blkio", "blkio.throttle.read_bps_device"),
        }
    }

    /// Version 2 has one file for all controllers; the limits of version 1 alone are none here.
    fn version_two(root: &Path) -> Self {
        let list = fs::read_to_string(root.join("cgroup.controllers")).unwrap_or_default();
        let has = |controller: &str| list.split_whitespace().any(|c| c == controller);
        Self {
            memory: has("memory"),
            swap: has("memory") && Path::new("/proc/swaps").exists(),
            reservation: has("memory"),
            pids: has("pids"),
            shares: has("cpu"),
            bandwidth: has("cpu"),
            cpuset: has("cpuset"),
            weight: has("io"),
            // The weight of one device is a matter of the BFQ scheduler; it is tried at the start.
            weight_device: has("io"),
            throttle: has("io"),
            ..Self::default()
        }
    }

    /// Takes out what this host cannot limit, and what only Windows can, and tells of each.
    pub(super) fn discard(&self, host: &mut HostConfig) -> Vec<String> {
        let mut out = Warnings(Vec::new());
        self.memory(host, &mut out);
        self.cpu(host, &mut out);
        self.block_io(host, &mut out);
        if !self.pids && host.pids_limit.take().is_some_and(|limit| limit > 0) {
            out.kernel("PIDs limit capabilities", "PIDs limit discarded.");
        }
        out.0
    }

    fn memory(&self, host: &mut HostConfig, out: &mut Warnings) {
        const LIMIT: &str = "Limitation discarded.";
        if host.memory > 0 && !self.memory {
            out.kernel("memory limit capabilities", LIMIT);
            (host.memory, host.memory_swap) = (0, -1);
        }
        if host.memory > 0 && host.memory_swap != -1 && !self.swap {
            out.kernel("swap limit capabilities", "Memory limited without swap.");
            host.memory_swap = -1;
        }
        // -1 is the default in other words.
        if host.memory_swappiness.is_some_and(|n| n != -1) && !self.swappiness {
            out.kernel(
                "memory swappiness capabilities",
                "Memory swappiness discarded.",
            );
            host.memory_swappiness = None;
        }
        if host.memory_reservation > 0 && !self.reservation {
            out.kernel("memory soft limit capabilities", LIMIT);
            host.memory_reservation = 0;
        }
        if host.kernel_memory > 0 {
            // No kernel since 5.4 keeps to it, and no runtime sets it any more.
            out.kernel("kernel memory limit capabilities", LIMIT);
            host.kernel_memory = 0;
        }
        if host.kernel_memory_tcp > 0 && !self.kernel_tcp {
            out.kernel("kernel memory TCP limit capabilities", LIMIT);
            host.kernel_memory_tcp = 0;
        }
        if !self.oom_kill_disable && host.oom_kill_disable.take() == Some(true) {
            out.0.push(
                "Your kernel does not support OomKillDisable. OomKillDisable discarded.".to_owned(),
            );
        }
    }

    fn cpu(&self, host: &mut HostConfig, out: &mut Warnings) {
        if host.cpu_shares > 0 && !self.shares {
            out.kernel("CPU shares", "Shares discarded.");
            host.cpu_shares = 0;
        }
        if (host.cpu_period != 0 || host.cpu_quota != 0) && !self.bandwidth {
            out.0.push(
                "Your kernel does not support CPU CFS scheduler. CPU period/quota discarded."
                    .to_owned(),
            );
            (host.cpu_period, host.cpu_quota) = (0, 0);
        }
        let pinned = !host.cpuset_cpus.is_empty() || !host.cpuset_mems.is_empty();
        if pinned && !self.cpuset {
            out.kernel("cpuset", "Cpuset discarded.");
            host.cpuset_cpus.clear();
            host.cpuset_mems.clear();
        }
        for (what, value) in [
            ("percent. Percent", &mut host.cpu_percent),
            ("count. Count", &mut host.cpu_count),
        ] {
            if *value > 0 {
                out.0
                    .push(format!("linux does not support CPU {what} discarded."));
                *value = 0;
            }
        }
    }

    fn block_io(&self, host: &mut HostConfig, out: &mut Warnings) {
        if host.blkio_weight > 0 && !self.weight {
            out.kernel("Block I/O weight", "Weight discarded.");
            host.blkio_weight = 0;
        }
        let lists = [
            (
                &mut host.blkio_weight_device,
                self.weight_device,
                "Block I/O weight_device",
                "Weight-device discarded.",
            ),
            (
                &mut host.blkio_device_read_bps,
                self.throttle,
                "BPS Block I/O read limit",
                "Block I/O BPS read limit discarded.",
            ),
            (
                &mut host.blkio_device_write_bps,
                self.throttle,
                "BPS Block I/O write limit",
                "Block I/O BPS write limit discarded.",
            ),
            (
                &mut host.blkio_device_read_iops,
                self.throttle,
                "IOPS Block read limit",
                "Block I/O IOPS read limit discarded.",
            ),
            (
                &mut host.blkio_device_write_iops,
                self.throttle,
                "IOPS Block write limit",
                "Block I/O IOPS write limit discarded.",
            ),
        ];
        for (list, there, what, then) in lists {
            if !there && list.as_ref().is_some_and(|list| !list.is_empty()) {
                out.kernel(what, then);
                *list = Some(Vec::new());
            }
        }
    }
}

struct Warnings(Vec<String>);

impl Warnings {
    fn kernel(&mut self, what: &str, then: &str) {
        self.0.push(format!(
            "Your kernel does not support {what} or the cgroup is not mounted. {then}"
        ));
    }
}

/// Takes out of the settings of a container, or of its update, what this host cannot limit.
/// Blocking, a few files. Gives a warning for each.
pub(crate) fn discard_unsupported(host: &mut HostConfig) -> Vec<String> {
    Support::of(&super::cgroup_layout()).discard(host)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn everything() -> HostConfig {
        HostConfig {
            memory: 64 << 20,
            memory_swap: 128 << 20,
            memory_swappiness: Some(10),
            memory_reservation: 32 << 20,
            kernel_memory: 16 << 20,
            kernel_memory_tcp: 16 << 20,
            oom_kill_disable: Some(true),
            pids_limit: Some(9),
            cpu_shares: 100,
            cpu_period: 50_000,
            cpu_quota: 20_000,
            cpuset_cpus: "0".into(),
            cpuset_mems: "0".into(),
            cpu_percent: 5,
            cpu_count: 1,
            blkio_weight: 300,
            blkio_weight_device: Some(vec![json!({"Path": "/dev/sda", "Weight": 100})]),
            blkio_device_read_bps: Some(vec![json!({"Path": "/dev/sda", "Rate": 1})]),
            ..HostConfig::default()
        }
    }

    #[test]
    fn a_kernel_without_any_limit() {
        let mut host = everything();
        let warnings = Support::default().discard(&mut host);
        assert_eq!(warnings.len(), 15, "{warnings:#?}");
        for text in [
            "Your kernel does not support memory limit capabilities or the cgroup is not mounted. Limitation discarded.",
            "Your kernel does not support OomKillDisable. OomKillDisable discarded.",
            "Your kernel does not support BPS Block I/O read limit or the cgroup is not mounted. Block I/O BPS read limit discarded.",
            "linux does not support CPU percent. Percent discarded.",
        ] {
            assert!(warnings.iter().any(|w| w == text), "{text}: {warnings:#?}");
        }
        let left = HostConfig {
            memory_swap: -1,
            blkio_weight_device: Some(Vec::new()),
            blkio_device_read_bps: Some(Vec::new()),
            ..HostConfig::default()
        };
        assert_eq!(host, left);
    }

    #[test]
    fn what_version_two_does_not_have() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(
            dir.path().join("cgroup.controllers"),
            "cpuset cpu io memory pids\n",
        )
        .unwrap();
        let support = Support::version_two(dir.path());
        assert!(!support.realtime);
        let mut host = everything();
        let warnings = support.discard(&mut host);
        assert_eq!(warnings.len(), 6, "{warnings:#?}");
        assert_eq!(host.memory_swappiness, None);
        assert_eq!(host.oom_kill_disable, None);
        assert_eq!((host.memory, host.blkio_weight), (64 << 20, 300));
    }

    #[test]
    fn defaults_of_the_client_are_no_reason_to_warn() {
        let mut host = HostConfig {
            memory_swappiness: Some(-1),
            oom_kill_disable: Some(false),
            pids_limit: Some(0),
            blkio_weight_device: Some(Vec::new()),
            ..HostConfig::default()
        };
        assert!(Support::default().discard(&mut host).is_empty());
    }
}
