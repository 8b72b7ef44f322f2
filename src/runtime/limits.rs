//! Limits: control group resources, ulimits and the out-of-memory score (source: Docker's resource
//! options, API 1.43; OCI runtime specification, Linux).

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::MetadataExt;

use nix::sys::resource::{Resource, getrlimit};
use serde_json::{Map, Value, json};

use super::caps;
use super::cgroup::CgroupLayout;
use super::error::{ResourceProblem as Problem, RuntimeError};
use super::support::Support;
use crate::api::types::{HostConfig, Ulimit};

/// The kernel's bound of `cpu.shares`.
const MAX_SHARES: i64 = 262_144;
/// Docker's smallest memory limit, bytes.
const MIN_MEMORY: i64 = 6 << 20;
/// Docker's period for `NanoCpus`, microseconds.
pub(super) const PERIOD: i64 = 100_000;
/// Docker's `/dev/shm`, bytes.
pub(super) const SHM_SIZE: i64 = 64 << 20;

/// Ulimit names, their type in the specification, and how the daemon's own one is read.
const ULIMITS: [(&str, &str, Option<Resource>); 15] = [
    ("core", "RLIMIT_CORE", Some(Resource::RLIMIT_CORE)),
    ("cpu", "RLIMIT_CPU", Some(Resource::RLIMIT_CPU)),
    ("data", "RLIMIT_DATA", Some(Resource::RLIMIT_DATA)),
    ("fsize", "RLIMIT_FSIZE", Some(Resource::RLIMIT_FSIZE)),
    ("locks", "RLIMIT_LOCKS", Some(Resource::RLIMIT_LOCKS)),
    ("memlock", "RLIMIT_MEMLOCK", Some(Resource::RLIMIT_MEMLOCK)),
    (
        "msgqueue",
        "RLIMIT_MSGQUEUE",
        Some(Resource::RLIMIT_MSGQUEUE),
    ),
    ("nice", "RLIMIT_NICE", Some(Resource::RLIMIT_NICE)),
    ("nofile", "RLIMIT_NOFILE", Some(Resource::RLIMIT_NOFILE)),
    ("nproc", "RLIMIT_NPROC", Some(Resource::RLIMIT_NPROC)),
    ("rss", "RLIMIT_RSS", Some(Resource::RLIMIT_RSS)),
    ("rtprio", "RLIMIT_RTPRIO", Some(Resource::RLIMIT_RTPRIO)),
    ("rttime", "RLIMIT_RTTIME", None),
    (
        "sigpending",
        "RLIMIT_SIGPENDING",
        Some(Resource::RLIMIT_SIGPENDING),
    ),
    ("stack", "RLIMIT_STACK", Some(Resource::RLIMIT_STACK)),
];

/// What the host has, for checks.
#[derive(Debug)]
pub(super) struct HostFacts {
    pub(super) cpus: usize,
    pub(super) online_cpus: String,
    pub(super) online_mems: String,
}

impl HostFacts {
    pub(super) fn read() -> Self {
        let read = |path: &str| fs::read_to_string(path).map(|t| t.trim().to_owned());
        let online_cpus = read("/sys/devices/system/cpu/online").unwrap_or_default();
        let cpus = parse_list(&online_cpus).map_or(0, |set| set.len());
        Self {
            cpus: if cpus > 0 {
                cpus
            } else {
                std::thread::available_parallelism().map_or(1, usize::from)
            },
            online_cpus,
            online_mems: read("/sys/devices/system/node/online").unwrap_or_else(|_| "0".to_owned()),
        }
    }
}

/// A kernel list (`0-3,7`); `None` if it is none.
fn parse_list(text: &str) -> Option<BTreeSet<u32>> {
    let mut out = BTreeSet::new();
    for part in text.split(',').filter(|_| !text.is_empty()) {
        let (from, to) = part.split_once('-').unwrap_or((part, part));
        let (from, to): (u32, u32) = (from.trim().parse().ok()?, to.trim().parse().ok()?);
        // A bound well above any machine, so that a number cannot fill memory.
        if from > to || to >= 1 << 16 {
            return None;
        }
        out.extend(from..=to);
    }
    Some(out)
}

fn check_cpuset(
    value: &str,
    available: &str,
    what: &'static str,
    many: &'static str,
) -> Result<(), Problem> {
    let wanted = parse_list(value).ok_or_else(|| Problem::CpusetFormat {
        what,
        value: value.to_owned(),
    })?;
    match parse_list(available) {
        Some(have) if !have.is_empty() && !wanted.is_subset(&have) => Err(Problem::CpusetRange {
            what: many,
            value: value.to_owned(),
            available: available.to_owned(),
        }),
        _ => Ok(()),
    }
}

/// Refuses limits that Docker refuses; what this kernel cannot limit has been taken out before.
pub(super) fn check(
    host: &HostConfig,
    facts: &HostFacts,
    layout: &CgroupLayout,
) -> Result<Vec<String>, RuntimeError> {
    if host.memory == 0 && host.memory_swap > 0 {
        return Err(Problem::SwapAlone.into());
    }
    match host.cpu_shares {
        0 | 2..=MAX_SHARES => {}
        1 => return Err(Problem::SharesBelow.into()),
        n if n < 0 => return Err(Problem::SharesNegative(n).into()),
        _ => return Err(Problem::SharesAbove.into()),
    }
    check_update(host, facts, layout)
}

/// As [`check`], for an update: what is not given stays as it is.
pub(super) fn check_update(
    host: &HostConfig,
    facts: &HostFacts,
    layout: &CgroupLayout,
) -> Result<Vec<String>, RuntimeError> {
    let mut warnings = Vec::new();
    if host.memory != 0 && host.memory < MIN_MEMORY {
        return Err(Problem::MemoryMinimum.into());
    }
    if host.memory > 0 && host.memory_swap > 0 && host.memory_swap < host.memory {
        return Err(Problem::SwapBelowMemory.into());
    }
    if let Some(n) = host.memory_swappiness
        && !(-1..=100).contains(&n)
    {
        return Err(Problem::Swappiness(n).into());
    }
    if host.memory_reservation != 0 && host.memory_reservation < MIN_MEMORY {
        return Err(Problem::ReservationMinimum.into());
    }
    if host.memory > 0 && host.memory_reservation > host.memory {
        return Err(Problem::ReservationAboveMemory.into());
    }
    if host.oom_kill_disable == Some(true) && host.memory == 0 {
        warnings.push(
            "OOM killer is disabled for the container, but no memory limit is set, this can result in the system running out of resources.".to_owned(),
        );
    }
    if host.nano_cpus != 0 {
        if host.cpu_period != 0 {
            return Err(Problem::NanoConflict("Period").into());
        }
        if host.cpu_quota != 0 {
            return Err(Problem::NanoConflict("Quota").into());
        }
        let most = i64::try_from(facts.cpus)
            .unwrap_or(i64::MAX)
            .saturating_mul(1_000_000_000);
        if host.nano_cpus < 10_000_000 || host.nano_cpus > most {
            return Err(Problem::NanoRange(facts.cpus).into());
        }
    }
    if host.cpu_period != 0 && !(1_000..=1_000_000).contains(&host.cpu_period) {
        return Err(Problem::Period.into());
    }
    if host.cpu_quota > 0 && host.cpu_quota < 1_000 {
        return Err(Problem::Quota.into());
    }
    let realtime = (host.cpu_realtime_period, host.cpu_realtime_runtime);
    if realtime != (0, 0) && !Support::of(layout).realtime {
        return Err(Problem::NoRealtime.into());
    }
    if realtime.0 != 0 && realtime.1 > realtime.0 {
        return Err(Problem::RealtimeAbovePeriod.into());
    }
    check_cpuset(&host.cpuset_cpus, &facts.online_cpus, "cpus", "CPUs")?;
    check_cpuset(
        &host.cpuset_mems,
        &facts.online_mems,
        "mems",
        "memory nodes",
    )?;
    if host.blkio_weight > 0 && !(10..=1000).contains(&host.blkio_weight) {
        return Err(Problem::BlkioWeight.into());
    }
    if host.io_maximum_bandwidth != 0 {
        return Err(Problem::WindowsIo("maximum bandwidth").into());
    }
    if host.io_maximum_iops != 0 {
        return Err(Problem::WindowsIo("maximum IOPs").into());
    }
    for list in [
        &host.blkio_weight_device,
        &host.blkio_device_read_bps,
        &host.blkio_device_write_bps,
        &host.blkio_device_read_iops,
        &host.blkio_device_write_iops,
    ] {
        for entry in list.iter().flatten() {
            device_limit(entry)?;
        }
    }
    if !(-1000..=1000).contains(&host.oom_score_adj) {
        return Err(Problem::OomScore(host.oom_score_adj).into());
    }
    if host.shm_size < 0 {
        return Err(Problem::ShmSize.into());
    }
    for limit in host.ulimits.iter().flatten() {
        rlimit(limit)?;
    }
    Ok(warnings)
}

/// `Path` and `Weight` or `Rate` of a block device limit.
fn device_limit(entry: &Value) -> Result<(&str, u64), Problem> {
    let number = entry.get("Rate").or_else(|| entry.get("Weight"));
    match (
        entry.get("Path").and_then(Value::as_str),
        number.and_then(Value::as_u64),
    ) {
        (Some(path), Some(n)) if !path.is_empty() => Ok((path, n)),
        _ => Err(Problem::BlkioDevice(entry.to_string())),
    }
}

/// `linux.resources` without the devices.
pub(super) fn resources(
    host: &HostConfig,
    layout: &CgroupLayout,
) -> Result<Map<String, Value>, RuntimeError> {
    let mut out = Map::new();
    let mut memory = Map::new();
    if host.memory > 0 {
        memory.insert("limit".into(), json!(host.memory));
        let swap = match host.memory_swap {
            0 => host.memory.saturating_mul(2),
            swap => swap,
        };
        if layout.has_swap_limit() {
            memory.insert("swap".into(), json!(swap));
        }
    }
    if host.memory_reservation > 0 {
        memory.insert("reservation".into(), json!(host.memory_reservation));
    }
    if let Some(n) = host.memory_swappiness.filter(|n| (0..=100).contains(n))
        && !layout.is_v2()
    {
        memory.insert("swappiness".into(), json!(n));
    }
    if host.oom_kill_disable == Some(true) && !layout.is_v2() {
        memory.insert("disableOOMKiller".into(), json!(true));
    }
    if host.kernel_memory_tcp > 0 && !layout.is_v2() {
        memory.insert("kernelTCP".into(), json!(host.kernel_memory_tcp));
    }
    let mut cpu = Map::new();
    for (key, value) in [
        ("realtimePeriod", host.cpu_realtime_period),
        ("realtimeRuntime", host.cpu_realtime_runtime),
    ] {
        if value != 0 {
            cpu.insert(key.into(), json!(value));
        }
    }
    if host.cpu_shares > 0 {
        cpu.insert("shares".into(), json!(host.cpu_shares));
    }
    if host.nano_cpus > 0 {
        let quota = i128::from(host.nano_cpus) * i128::from(PERIOD) / 1_000_000_000;
        cpu.insert("period".into(), json!(PERIOD));
        cpu.insert(
            "quota".into(),
            json!(i64::try_from(quota).unwrap_or(i64::MAX)),
        );
    }
    if host.cpu_period > 0 {
        cpu.insert("period".into(), json!(host.cpu_period));
    }
    if host.cpu_quota != 0 {
        cpu.insert("quota".into(), json!(host.cpu_quota));
    }
    for (key, value) in [("cpus", &host.cpuset_cpus), ("mems", &host.cpuset_mems)] {
        if !value.is_empty() {
            cpu.insert(key.into(), json!(value));
        }
    }
    let mut block = Map::new();
    if host.blkio_weight > 0 && layout.has_blkio_weight() {
        block.insert("weight".into(), json!(host.blkio_weight));
    }
    for (key, field, list) in [
        ("weightDevice", "weight", &host.blkio_weight_device),
        ("throttleReadBpsDevice", "rate", &host.blkio_device_read_bps),
        (
            "throttleWriteBpsDevice",
            "rate",
            &host.blkio_device_write_bps,
        ),
        (
            "throttleReadIOPSDevice",
            "rate",
            &host.blkio_device_read_iops,
        ),
        (
            "throttleWriteIOPSDevice",
            "rate",
            &host.blkio_device_write_iops,
        ),
    ] {
        let mut entries = Vec::new();
        for entry in list.iter().flatten() {
            let (path, n) = device_limit(entry)?;
            let dev = fs::metadata(path)
                .map_err(|source| RuntimeError::BlkioDevice {
                    path: path.to_owned(),
                    source,
                })?
                .rdev();
            entries.push(json!({
                "major": libc::major(dev), "minor": libc::minor(dev), field: n,
            }));
        }
        if !entries.is_empty() {
            block.insert(key.into(), Value::Array(entries));
        }
    }
    for (key, part) in [("memory", memory), ("cpu", cpu), ("blockIO", block)] {
        if !part.is_empty() {
            out.insert(key.into(), Value::Object(part));
        }
    }
    if let Some(limit) = host.pids_limit.filter(|n| *n > 0) {
        out.insert("pids".into(), json!({"limit": limit}));
    }
    Ok(out)
}

fn table(name: &str) -> Option<&'static (&'static str, &'static str, Option<Resource>)> {
    ULIMITS.iter().find(|(n, _, _)| *n == name)
}

/// -1 is unlimited.
fn raw(limit: i64) -> u64 {
    u64::try_from(limit).unwrap_or(u64::MAX)
}

fn rlimit(limit: &Ulimit) -> Result<Value, RuntimeError> {
    let (_, kind, _) =
        table(&limit.name).ok_or_else(|| RuntimeError::UlimitName(limit.name.clone()))?;
    let (soft, hard) = (raw(limit.soft), raw(limit.hard));
    if soft > hard {
        return Err(RuntimeError::UlimitOrder {
            soft: limit.soft,
            hard: limit.hard,
        });
    }
    Ok(json!({"type": kind, "hard": hard, "soft": soft}))
}

/// `process.rlimits`: the container's own, then the daemon's defaults for the rest. A default that
/// this process may not grant is lowered to what it may, with a warning; one that was asked for is
/// handed on and fails at the start.
pub(super) fn rlimits(
    own: &[Ulimit],
    defaults: &BTreeMap<String, Ulimit>,
    warnings: &mut Vec<String>,
) -> Result<Vec<Value>, RuntimeError> {
    let may_raise = caps::may_raise_limits();
    let ceiling = |name: &str| {
        let (_, _, resource) = table(name)?;
        getrlimit((*resource)?).ok().map(|(_, hard)| hard)
    };
    rlimits_below(own, defaults, warnings, &|name| {
        if may_raise { None } else { ceiling(name) }
    })
}

fn rlimits_below(
    own: &[Ulimit],
    defaults: &BTreeMap<String, Ulimit>,
    warnings: &mut Vec<String>,
    ceiling: &dyn Fn(&str) -> Option<u64>,
) -> Result<Vec<Value>, RuntimeError> {
    let mut out = own.iter().map(rlimit).collect::<Result<Vec<_>, _>>()?;
    for (name, limit) in defaults {
        if own.iter().any(|u| u.name == *name) {
            continue;
        }
        let limit = Ulimit {
            name: name.clone(),
            ..limit.clone()
        };
        let mut value = rlimit(&limit)?;
        if let Some(most) = ceiling(name).filter(|most| raw(limit.hard) > *most) {
            value["hard"] = json!(most);
            value["soft"] = json!(raw(limit.soft).min(most));
            warnings.push(format!(
                "default ulimit {name} lowered to {most}: the daemon may not grant more"
            ));
        }
        out.push(value);
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What daemon.json and the command line accept is what a container can be given.
    #[test]
    fn names_are_those_of_the_configuration() {
        let names: Vec<&str> = ULIMITS.iter().map(|(name, ..)| *name).collect();
        assert_eq!(names, taffrail_config::ULIMITS);
    }
    use std::path::PathBuf;

    fn facts() -> HostFacts {
        HostFacts {
            cpus: 4,
            online_cpus: "0-3".into(),
            online_mems: "0".into(),
        }
    }

    fn v2() -> CgroupLayout {
        CgroupLayout::V2 {
            root: PathBuf::from("/nonexistent"),
        }
    }

    fn refusal(change: impl FnOnce(&mut HostConfig)) -> String {
        let mut host = HostConfig::default();
        change(&mut host);
        let e = check(&host, &facts(), &v2()).unwrap_err();
        assert_eq!(e.kind().status(), 400);
        e.to_string()
    }

    #[test]
    fn limits_are_refused_in_dockers_words() {
        assert_eq!(
            refusal(|h| h.memory = 1 << 20),
            "Minimum memory limit allowed is 6MB"
        );
        assert!(refusal(|h| h.memory_swap = 1 << 30).starts_with("You should always set"));
        assert_eq!(
            refusal(|h| h.nano_cpus = 5_000_000_000),
            "Range of CPUs is from 0.01 to 4.00, as there are only 4 CPUs available"
        );
        assert_eq!(
            refusal(|h| {
                h.nano_cpus = 1_000_000_000;
                h.cpu_quota = 5000;
            }),
            "Conflicting options: Nano CPUs and CPU Quota cannot both be set"
        );
        assert_eq!(
            refusal(|h| h.cpuset_cpus = "0,9".into()),
            "Requested CPUs are not available - requested 0,9, available: 0-3"
        );
        assert_eq!(
            refusal(|h| h.cpuset_cpus = "0-x".into()),
            "Invalid value 0-x for cpuset cpus: invalid format: 0-x"
        );
        assert_eq!(
            refusal(|h| h.oom_score_adj = 1001),
            "Invalid value 1001, range for oom score adj is [-1000, 1000]"
        );
        let ulimit = |name: &str, soft, hard| Ulimit {
            name: name.into(),
            soft,
            hard,
        };
        assert_eq!(
            refusal(|h| h.ulimits = Some(vec![ulimit("nofiles", 1, 1)])),
            "invalid ulimit: nofiles"
        );
        assert_eq!(
            refusal(|h| h.ulimits = Some(vec![ulimit("nofile", -1, 1)])),
            "ulimit soft limit must be less than or equal to hard limit: -1 > 1"
        );
    }

    #[test]
    fn what_the_cli_sends_by_default_is_accepted() {
        let host = HostConfig {
            memory_swappiness: Some(-1),
            pids_limit: Some(0),
            oom_kill_disable: Some(false),
            ..Default::default()
        };
        assert!(check(&host, &facts(), &v2()).unwrap().is_empty());
        assert!(resources(&host, &v2()).unwrap().is_empty());
    }

    #[test]
    fn swap_is_twice_the_memory_unless_given() {
        let mut host = HostConfig {
            memory: 10 << 20,
            nano_cpus: 1_500_000_000,
            pids_limit: Some(7),
            ..Default::default()
        };
        let r = Value::Object(resources(&host, &v2()).unwrap());
        assert_eq!(r["memory"]["swap"], 20 << 20);
        assert_eq!(r["cpu"], json!({"period": 100_000, "quota": 150_000}));
        assert_eq!(r["pids"]["limit"], 7);
        host.memory_swap = -1;
        let r = Value::Object(resources(&host, &v2()).unwrap());
        assert_eq!(r["memory"]["swap"], -1);
    }

    #[test]
    fn only_a_default_ulimit_is_lowered() {
        let limit = |name: &str, n| Ulimit {
            name: name.into(),
            soft: n,
            hard: n,
        };
        let defaults: BTreeMap<String, Ulimit> = [
            ("nofile".to_owned(), limit("nofile", 1 << 20)),
            ("nproc".to_owned(), limit("nproc", -1)),
        ]
        .into();
        let mut warnings = Vec::new();
        let own = [limit("nproc", 1 << 20)];
        let out = rlimits_below(&own, &defaults, &mut warnings, &|_| Some(1000)).unwrap();
        assert_eq!(
            out,
            [
                json!({"type": "RLIMIT_NPROC", "hard": 1 << 20, "soft": 1 << 20}),
                json!({"type": "RLIMIT_NOFILE", "hard": 1000, "soft": 1000}),
            ]
        );
        assert_eq!(warnings.len(), 1);
        let out = rlimits_below(&[], &defaults, &mut warnings, &|_| None).unwrap();
        assert_eq!(out[1]["hard"], u64::MAX);
        assert_eq!(warnings.len(), 1);
    }
}
