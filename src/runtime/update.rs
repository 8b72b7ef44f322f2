//! New limits for a control group that is in use, written to the kernel's files, whichever OCI
//! runtime made it (source: OCI runtime specification; runc's libcontainer `cgroups/fs`, `fs2` for the
//! order of writes).

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use super::cgroup::CgroupLayout;
use super::error::RuntimeError;
use super::limits::PERIOD;
use crate::api::types::{HostConfig, RestartPolicy};

/// Refuses by name what an update cannot change: Docker takes it and does nothing.
pub(super) fn refuse_fixed(given: &HostConfig) -> Result<(), RuntimeError> {
    let mut rest = given.clone();
    for number in [
        &mut rest.memory,
        &mut rest.memory_swap,
        &mut rest.memory_reservation,
        &mut rest.cpu_shares,
        &mut rest.cpu_period,
        &mut rest.cpu_quota,
        &mut rest.cpu_realtime_period,
        &mut rest.cpu_realtime_runtime,
        &mut rest.nano_cpus,
        // These two are checked with the other limits, or were taken out with a warning.
        &mut rest.io_maximum_iops,
        &mut rest.io_maximum_bandwidth,
    ] {
        *number = 0;
    }
    rest.blkio_weight = 0;
    rest.pids_limit = None;
    rest.cpuset_cpus.clear();
    rest.cpuset_mems.clear();
    rest.restart_policy = RestartPolicy::default();
    // What clients send without meaning it.
    rest.memory_swappiness = rest.memory_swappiness.filter(|n| *n != -1);
    rest.oom_kill_disable = rest.oom_kill_disable.filter(|on| *on);
    let fields = |host: &HostConfig| match serde_json::to_value(host) {
        Ok(Value::Object(fields)) => fields,
        _ => Map::new(),
    };
    let defaults = fields(&HostConfig::default());
    let empty = |value: &Value| match value {
        Value::Null => true,
        Value::Array(list) => list.is_empty(),
        Value::Object(map) => map.is_empty(),
        _ => false,
    };
    let mut rest = fields(&rest).into_iter();
    match rest.find(|(key, value)| !empty(value) && defaults.get(key) != Some(value)) {
        Some((key, _)) => Err(RuntimeError::NotUpdatable(key)),
        None => Ok(()),
    }
}

/// What to write where, in this order.
#[derive(Debug, PartialEq, Eq)]
struct Write {
    controller: &'static str,
    file: &'static str,
    value: String,
}

fn write(controller: &'static str, file: &'static str, value: impl ToString) -> Write {
    Write {
        controller,
        file,
        value: value.to_string(),
    }
}

/// Gives the group `path` the limits of `host` as far as `given` names them: all or none. Blocking.
///
/// # Errors
/// A file that the kernel does not have, or a value that it does not take. What was written before
/// is written back.
pub(crate) fn update_limits(
    layout: &CgroupLayout,
    path: &str,
    given: &HostConfig,
    host: &HostConfig,
) -> Result<(), RuntimeError> {
    let writes = match layout {
        CgroupLayout::V1 { .. } => version_one(given, host, layout, |controller, file| {
            let text = fs::read_to_string(layout.group(controller, path)?.join(file)).ok()?;
            text.trim().parse().ok()
        }),
        CgroupLayout::V2 { .. } => version_two(given, host, |file| {
            layout
                .group("", path)
                .is_some_and(|dir| dir.join(file).exists())
        }),
    };
    let mut before = Vec::new();
    let mut all = || {
        for Write {
            controller,
            file,
            value,
        } in &writes
        {
            let dir = layout.group(controller, path).ok_or_else(|| {
                RuntimeError::file("use control group", *controller)(io::ErrorKind::NotFound.into())
            })?;
            let old = fs::read_to_string(dir.join(file)).unwrap_or_default();
            put(&dir, file, value)?;
            before.push((dir.join(file), old));
        }
        Ok(())
    };
    let result = all();
    if result.is_err() {
        for (file, old) in before.iter().rev() {
            if let Err(error) = fs::write(file, old.trim_end()) {
                tracing::warn!(file = %file.display(), %error, "limit cannot be set back");
            }
        }
    }
    result
}

fn put(dir: &Path, file: &str, value: &str) -> Result<(), RuntimeError> {
    let path: PathBuf = dir.join(file);
    fs::write(&path, value).map_err(|source| {
        let usage = |name: &str| fs::read_to_string(dir.join(name)).unwrap_or_default();
        // The kernel says no more than "busy".
        if source.kind() == io::ErrorKind::ResourceBusy && file == "memory.limit_in_bytes" {
            return RuntimeError::MemoryInUse {
                limit: value.to_owned(),
                usage: usage("memory.usage_in_bytes").trim().to_owned(),
                peak: usage("memory.max_usage_in_bytes").trim().to_owned(),
            };
        }
        RuntimeError::file("write", path)(source)
    })
}

/// Period and quota in microseconds, if `given` changes them; a quota of -1 is none.
fn bandwidth(given: &HostConfig, host: &HostConfig) -> Option<(Option<i64>, Option<i64>)> {
    if given.nano_cpus > 0 {
        let quota = i128::from(host.nano_cpus) * i128::from(PERIOD) / 1_000_000_000;
        return Some((Some(PERIOD), i64::try_from(quota).ok()));
    }
    let some = |n: i64| (n != 0).then_some(n);
    let changed = given.cpu_period != 0 || given.cpu_quota != 0;
    changed.then(|| (some(host.cpu_period), some(host.cpu_quota)))
}

fn version_one(
    given: &HostConfig,
    host: &HostConfig,
    layout: &CgroupLayout,
    now: impl Fn(&str, &str) -> Option<i64>,
) -> Vec<Write> {
    let mut out = Vec::new();
    if given.memory != 0 || given.memory_swap != 0 {
        let limit =
            (host.memory > 0).then(|| write("memory", "memory.limit_in_bytes", host.memory));
        let swap = (host.memory_swap != 0 && layout.has_swap_limit())
            .then(|| write("memory", "memory.memsw.limit_in_bytes", host.memory_swap));
        // The limit with swap is never below the one without, not even in between.
        let before = now("memory", "memory.memsw.limit_in_bytes").unwrap_or(i64::MAX);
        if host.memory_swap == -1 || host.memory_swap > before {
            out.extend(swap);
            out.extend(limit);
        } else {
            out.extend(limit);
            out.extend(swap);
        }
    }
    if given.memory_reservation != 0 {
        out.push(write(
            "memory",
            "memory.soft_limit_in_bytes",
            host.memory_reservation,
        ));
    }
    if given.cpu_shares != 0 {
        out.push(write("cpu", "cpu.shares", host.cpu_shares));
    }
    if let Some((period, quota)) = bandwidth(given, host) {
        let mut period = period.map(|n| write("cpu", "cpu.cfs_period_us", n));
        let mut quota = quota.map(|n| write("cpu", "cpu.cfs_quota_us", n));
        // No more than the parent's share at any moment: what makes it smaller comes first.
        let longer = now("cpu", "cpu.cfs_period_us")
            .zip(period.as_ref())
            .is_none_or(|(now, then)| then.value.parse().is_ok_and(|then: i64| then >= now));
        if longer {
            out.extend(period.take());
        }
        out.extend(quota.take());
        out.extend(period);
    }
    // The period holds the run time that is there already, so it comes first.
    for (file, given, now) in [
        (
            "cpu.rt_period_us",
            given.cpu_realtime_period,
            host.cpu_realtime_period,
        ),
        (
            "cpu.rt_runtime_us",
            given.cpu_realtime_runtime,
            host.cpu_realtime_runtime,
        ),
    ] {
        if given != 0 {
            out.push(write("cpu", file, now));
        }
    }
    out.extend(cpusets(given, host));
    out.extend(pids(given, host));
    if given.blkio_weight != 0 && layout.has_blkio_weight() {
        let file = if now("blkio", "blkio.weight").is_some() {
            "blkio.weight"
        } else {
            "blkio.bfq.weight"
        };
        out.push(write("blkio", file, host.blkio_weight));
    }
    out
}

fn version_two(given: &HostConfig, host: &HostConfig, has: impl Fn(&str) -> bool) -> Vec<Write> {
    let mut out = Vec::new();
    if given.memory != 0 || given.memory_swap != 0 {
        match host.memory_swap {
            0 => {}
            -1 => out.push(write("memory", "memory.swap.max", "max")),
            swap => out.push(write("memory", "memory.swap.max", swap - host.memory)),
        }
        if host.memory > 0 {
            out.push(write("memory", "memory.max", host.memory));
        }
    }
    if given.memory_reservation != 0 {
        out.push(write("memory", "memory.low", host.memory_reservation));
    }
    if given.cpu_shares != 0 {
        // runc's conversion from 2..262144 to 1..10000.
        let weight = 1 + (host.cpu_shares.clamp(2, 262_144) - 2) * 9_999 / 262_142;
        out.push(write("cpu", "cpu.weight", weight));
    }
    if let Some((period, quota)) = bandwidth(given, host) {
        let quota = match quota {
            Some(quota) if quota > 0 => quota.to_string(),
            _ => "max".to_owned(),
        };
        let value = format!("{quota} {}", period.unwrap_or(PERIOD));
        out.push(write("cpu", "cpu.max", value));
    }
    out.extend(cpusets(given, host));
    out.extend(pids(given, host));
    if given.blkio_weight != 0 {
        let weight = i64::from(host.blkio_weight);
        if has("io.bfq.weight") {
            out.push(write("io", "io.bfq.weight", weight));
        } else if has("io.weight") {
            let weight = 1 + (weight - 10) * 9_999 / 990;
            out.push(write("io", "io.weight", weight));
        }
    }
    out
}

fn cpusets<'a>(given: &HostConfig, host: &'a HostConfig) -> impl Iterator<Item = Write> + use<'a> {
    let cpus =
        (!given.cpuset_cpus.is_empty()).then(|| write("cpuset", "cpuset.cpus", &host.cpuset_cpus));
    let mems =
        (!given.cpuset_mems.is_empty()).then(|| write("cpuset", "cpuset.mems", &host.cpuset_mems));
    cpus.into_iter().chain(mems)
}

fn pids(given: &HostConfig, host: &HostConfig) -> Option<Write> {
    given.pids_limit?;
    Some(match host.pids_limit.filter(|limit| *limit > 0) {
        Some(limit) => write("pids", "pids.max", limit),
        None => write("pids", "pids.max", "max"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(writes: &[Write]) -> Vec<String> {
        writes
            .iter()
            .map(|w| format!("{} {}", w.file, w.value))
            .collect()
    }

    fn layout(root: &Path) -> CgroupLayout {
        CgroupLayout::V1 {
            controllers: vec![(vec!["memory".to_owned()], root.to_owned())],
            unified: None,
        }
    }

    #[test]
    fn version_one_in_an_order_that_the_kernel_takes() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("memory.memsw.limit_in_bytes"), "").unwrap();
        let layout = layout(dir.path());
        let host = HostConfig {
            memory: 200,
            memory_swap: 400,
            cpu_period: 50_000,
            cpu_quota: 20_000,
            pids_limit: Some(0),
            ..HostConfig::default()
        };
        let now = |memsw: i64| {
            move |_: &str, file: &str| match file {
                "memory.memsw.limit_in_bytes" => Some(memsw),
                "cpu.cfs_period_us" => Some(100_000),
                _ => None,
            }
        };
        assert_eq!(
            shown(&version_one(&host, &host, &layout, now(300))),
            [
                "memory.memsw.limit_in_bytes 400",
                "memory.limit_in_bytes 200",
                "cpu.cfs_quota_us 20000",
                "cpu.cfs_period_us 50000",
                "pids.max max",
            ]
        );
        assert_eq!(
            shown(&version_one(&host, &host, &layout, now(500)))[..2],
            [
                "memory.limit_in_bytes 200",
                "memory.memsw.limit_in_bytes 400"
            ]
        );
        // What is not given is not touched.
        assert!(version_one(&HostConfig::default(), &host, &layout, now(0)).is_empty());
    }

    #[test]
    fn what_an_update_cannot_change_is_refused_by_name() {
        let refusal = |given: &str| {
            let given: HostConfig = serde_json::from_str(given).unwrap();
            refuse_fixed(&given).err().map(|error| error.to_string())
        };
        // As the docker CLI and docker-py send it.
        for taken in [
            r#"{"Memory": 1, "CpusetCpus": "0", "PidsLimit": 0, "Devices": [], "Ulimits": null,
                "BlkioWeightDevice": [], "OomKillDisable": false, "MemorySwappiness": -1,
                "RestartPolicy": {"Name": "always"}, "CgroupParent": ""}"#,
            r#"{"CpuRealtimePeriod": 1000000, "CpuRealtimeRuntime": 950000, "BlkioWeight": 300}"#,
        ] {
            assert_eq!(refusal(taken), None, "{taken}");
        }
        for (given, field) in [
            (r#"{"Privileged": true}"#, "Privileged"),
            (
                r#"{"Ulimits": [{"Name": "core", "Soft": 1, "Hard": 1}]}"#,
                "Ulimits",
            ),
            (r#"{"Binds": ["/a:/b"]}"#, "Binds"),
            (r#"{"MemorySwappiness": 5}"#, "MemorySwappiness"),
            (r#"{"OomKillDisable": true}"#, "OomKillDisable"),
        ] {
            let text = refusal(given).unwrap();
            assert!(
                text.starts_with(&format!("{field} cannot be changed")),
                "{text}"
            );
        }
    }

    #[test]
    fn a_failure_leaves_everything_as_it_was() {
        let dir = tempfile::tempdir().unwrap();
        let group = dir.path().join("p");
        fs::create_dir_all(group.join("pids.max")).unwrap();
        for (file, old) in [("memory.max", "max\n"), ("cpu.weight", "100\n")] {
            fs::write(group.join(file), old).unwrap();
        }
        let layout = CgroupLayout::V2 {
            root: dir.path().to_owned(),
        };
        let host = HostConfig {
            memory: 200,
            cpu_shares: 1024,
            pids_limit: Some(9),
            ..HostConfig::default()
        };
        // The file of the last one is a folder, which takes no value.
        assert!(update_limits(&layout, "/p", &host, &host).is_err());
        let now = |file: &str| fs::read_to_string(group.join(file)).unwrap();
        assert_eq!(
            (now("memory.max"), now("cpu.weight")),
            ("max".to_owned(), "100".to_owned())
        );
        fs::remove_dir(group.join("pids.max")).unwrap();
        update_limits(&layout, "/p", &host, &host).unwrap();
        assert_eq!(
            (now("memory.max"), now("pids.max")),
            ("200".to_owned(), "9".to_owned())
        );
    }

    #[test]
    fn version_two_has_other_units() {
        let host = HostConfig {
            memory: 200,
            memory_swap: 500,
            memory_reservation: 100,
            cpu_shares: 1024,
            nano_cpus: 1_500_000_000,
            cpuset_cpus: "0".to_owned(),
            pids_limit: Some(9),
            blkio_weight: 1000,
            ..HostConfig::default()
        };
        assert_eq!(
            shown(&version_two(&host, &host, |file| file == "io.weight")),
            [
                "memory.swap.max 300",
                "memory.max 200",
                "memory.low 100",
                "cpu.weight 39",
                "cpu.max 150000 100000",
                "cpuset.cpus 0",
                "pids.max 9",
                "io.weight 10000",
            ]
        );
        let unlimited = HostConfig {
            memory: 200,
            memory_swap: -1,
            cpu_quota: -1,
            ..HostConfig::default()
        };
        assert_eq!(
            shown(&version_two(&unlimited, &unlimited, |_| false)),
            [
                "memory.swap.max max",
                "memory.max 200",
                "cpu.max max 100000"
            ]
        );
    }
}
