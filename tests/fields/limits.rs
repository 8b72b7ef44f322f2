//! The limits of `HostConfig`: Docker's `Resources`.

use serde_json::json;

use super::{Around, Row, row};

pub(super) fn rows(around: &Around) -> Vec<Row> {
    [
        memory(around),
        cpu(around),
        block_io(around),
        others(around),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn memory(around: &Around) -> Vec<Row> {
    let limited = json!({"HostConfig": {"Memory": 64 << 20}});
    let mut rows = vec![
        row("HostConfig.Memory", json!(64 << 20)).group(
            around,
            ("memory/memory.limit_in_bytes", "67108864"),
            ("memory.max", "67108864"),
        ),
        row("HostConfig.Memory", json!(1)).refused(400, "Minimum memory limit allowed is 6MB"),
        row("HostConfig.MemorySwap", json!(96 << 20))
            .with(limited.clone())
            .group(
                around,
                ("memory/memory.memsw.limit_in_bytes", "100663296"),
                ("memory.swap.max", "33554432"),
            ),
        row("HostConfig.MemorySwap", json!(96 << 20))
            .refused(400, "You should always set the Memory limit"),
        row("HostConfig.MemoryReservation", json!(32 << 20)).group(
            around,
            ("memory/memory.soft_limit_in_bytes", "33554432"),
            ("memory.low", "33554432"),
        ),
        row("HostConfig.MemoryReservation", json!(1))
            .refused(400, "Minimum memory reservation allowed is 6MB"),
        row("HostConfig.MemorySwappiness", json!(200))
            .refused(400, "valid memory swappiness range is 0-100"),
        row("HostConfig.OomKillDisable", json!(false)).prints("echo in", "in"),
    ];
    if around.v2 {
        rows.extend([
            row("HostConfig.MemorySwappiness", json!(10))
                .shown(json!(null))
                .warned("Memory swappiness discarded."),
            row("HostConfig.OomKillDisable", json!(true))
                .shown(json!(null))
                .warned("OomKillDisable discarded."),
        ]);
    } else {
        rows.extend([
            row("HostConfig.MemorySwappiness", json!(10))
                .prints("cat /sys/fs/cgroup/memory/memory.swappiness", "10"),
            row("HostConfig.OomKillDisable", json!(true))
                .with(limited)
                .has(
                    "cat /sys/fs/cgroup/memory/memory.oom_control",
                    "oom_kill_disable 1",
                ),
            row("HostConfig.OomKillDisable", json!(true)).warned("OOM killer is disabled"),
        ]);
    }
    let tcp = row("HostConfig.KernelMemoryTCP", json!(16 << 20));
    rows.push(if around.v1_file("memory/memory.kmem.tcp.limit_in_bytes") {
        tcp.prints(
            "cat /sys/fs/cgroup/memory/memory.kmem.tcp.limit_in_bytes",
            "16777216",
        )
    } else {
        tcp.shown(json!(null)).warned("Limitation discarded.")
    });
    // No field of this version; old clients send it.
    rows.push(
        row("HostConfig.KernelMemory", json!(16 << 20))
            .shown(json!(null))
            .warned("kernel memory limit capabilities"),
    );
    rows
}

fn cpu(around: &Around) -> Vec<Row> {
    let mut rows = vec![
        row("HostConfig.CpuShares", json!(512)).group(
            around,
            ("cpu/cpu.shares", "512"),
            ("cpu.weight", "20"),
        ),
        row("HostConfig.CpuShares", json!(1)).refused(400, "the minimum allowed cpu-shares is 2"),
        row("HostConfig.CpuPeriod", json!(50_000)).group(
            around,
            ("cpu/cpu.cfs_period_us", "50000"),
            ("cpu.max", "max 50000"),
        ),
        row("HostConfig.CpuPeriod", json!(1)).refused(400, "CPU cfs period can not be less than"),
        row("HostConfig.CpuQuota", json!(20_000)).group(
            around,
            ("cpu/cpu.cfs_quota_us", "20000"),
            ("cpu.max", "20000 100000"),
        ),
        row("HostConfig.CpuQuota", json!(1)).refused(400, "CPU cfs quota can not be less than"),
        row("HostConfig.NanoCpus", json!(500_000_000)).group(
            around,
            ("cpu/cpu.cfs_quota_us", "50000"),
            ("cpu.max", "50000 100000"),
        ),
        row("HostConfig.NanoCpus", json!(500_000_000))
            .with(json!({"HostConfig": {"CpuQuota": 20_000}}))
            .refused(400, "Nano CPUs and CPU Quota cannot both be set"),
        row("HostConfig.CpusetCpus", json!("0"))
            .prints("grep Cpus_allowed_list /proc/self/status | cut -f2", "0"),
        row("HostConfig.CpusetCpus", json!("x")).refused(400, "Invalid value x for cpuset cpus"),
        row("HostConfig.CpusetMems", json!("0"))
            .prints("grep Mems_allowed_list /proc/self/status | cut -f2", "0"),
        row("HostConfig.CpusetMems", json!("99"))
            .refused(400, "Requested memory nodes are not available"),
        row("HostConfig.CpuCount", json!(1))
            .shown(json!(0))
            .warned("linux does not support CPU count. Count discarded."),
        row("HostConfig.CpuPercent", json!(50))
            .shown(json!(0))
            .warned("linux does not support CPU percent. Percent discarded."),
        row("HostConfig.CpuRealtimeRuntime", json!(2_000_000))
            .with(json!({"HostConfig": {"CpuRealtimePeriod": 1_000_000}}))
            .refused(400, "real-time"),
    ];
    let period = row("HostConfig.CpuRealtimePeriod", json!(900_000));
    rows.push(if around.v1_file("cpu/cpu.rt_period_us") {
        period.prints("cat /sys/fs/cgroup/cpu/cpu.rt_period_us", "900000")
    } else {
        period.refused(400, "Your kernel does not support CPU real-time scheduler")
    });
    rows
}

fn block_io(around: &Around) -> Vec<Row> {
    let mut rows = Vec::new();
    let weight = row("HostConfig.BlkioWeight", json!(300));
    let v1 = ["blkio.weight", "blkio.bfq.weight"]
        .into_iter()
        .find(|file| around.v1_file(&format!("blkio/{file}")));
    rows.push(match v1 {
        Some(file) => weight.prints(&format!("cat /sys/fs/cgroup/blkio/{file}"), "300"),
        None if around.v2 => weight.has("cat /sys/fs/cgroup/io.weight", "default 2930"),
        None => weight.shown(json!(0)).warned("Weight discarded."),
    });
    let disk = around
        .disk
        .clone()
        .unwrap_or_else(|| "/dev/nosuch".to_owned());
    let device_weight = row(
        "HostConfig.BlkioWeightDevice",
        json!([{"Path": disk, "Weight": 300}]),
    );
    let has_weights = ["blkio.weight_device", "blkio.bfq.weight_device"]
        .into_iter()
        .any(|file| around.v1_file(&format!("blkio/{file}")));
    rows.push(if has_weights || around.v2 {
        // Which scheduler the disk has decides at the start.
        device_weight.elsewhere("unit tests of the specification")
    } else {
        device_weight
            .shown(json!([]))
            .warned("Weight-device discarded.")
    });
    let numbers = around.disk.as_ref().map(|disk| numbers(disk));
    for (field, v1, v2) in [
        ("HostConfig.BlkioDeviceReadBps", "read_bps", "rbps=1048576"),
        (
            "HostConfig.BlkioDeviceWriteBps",
            "write_bps",
            "wbps=1048576",
        ),
        (
            "HostConfig.BlkioDeviceReadIOps",
            "read_iops",
            "riops=1048576",
        ),
        (
            "HostConfig.BlkioDeviceWriteIOps",
            "write_iops",
            "wiops=1048576",
        ),
    ] {
        let limit = row(field, json!([{"Path": disk, "Rate": 1 << 20}]));
        rows.push(match &numbers {
            // Without a disk there is nothing to limit.
            None => limit.not_started(500, "no such file or directory"),
            Some(_) if around.v2 => limit.has(&format!("grep -o {v2} /sys/fs/cgroup/io.max"), v2),
            Some(numbers) => limit.prints(
                &format!("cat /sys/fs/cgroup/blkio/blkio.throttle.{v1}_device"),
                &format!("{numbers} 1048576"),
            ),
        });
        rows.push(row(field, json!([{"Path": ""}])).refused(400, "blkio device limit"));
    }
    rows.extend([
        row("HostConfig.IOMaximumIOps", json!(1)).refused(
            400,
            "Invalid QoS settings: linux does not support configuration of maximum IOPs",
        ),
        row("HostConfig.IOMaximumBandwidth", json!(1)).refused(
            400,
            "Invalid QoS settings: linux does not support configuration of maximum bandwidth",
        ),
    ]);
    rows
}

/// `major:minor` of a device node.
fn numbers(node: &str) -> String {
    use std::os::unix::fs::MetadataExt as _;
    let device = std::fs::metadata(node).expect("the node").rdev();
    format!(
        "{}:{}",
        nix::sys::stat::major(device),
        nix::sys::stat::minor(device)
    )
}

fn others(around: &Around) -> Vec<Row> {
    vec![
        row("HostConfig.PidsLimit", json!(77)).group(
            around,
            ("pids/pids.max", "77"),
            ("pids.max", "77"),
        ),
        row("HostConfig.PidsLimit", json!(-1))
            .shown(json!(null))
            .group(around, ("pids/pids.max", "max"), ("pids.max", "max")),
        row(
            "HostConfig.Ulimits",
            json!([{"Name": "nofile", "Soft": 100, "Hard": 200}]),
        )
        .prints("ulimit -Sn; ulimit -Hn", "100\n200"),
        row(
            "HostConfig.Ulimits",
            json!([{"Name": "nosuch", "Soft": 1, "Hard": 1}]),
        )
        .refused(400, "invalid ulimit"),
    ]
}
