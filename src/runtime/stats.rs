//! What a control group has used, in the shapes of the Engine API's `ContainerStats` (source: the
//! kernel's `cgroup-v1` and `cgroup-v2` documents; Moby `daemon/stats_unix.go`).

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use super::cgroup::CgroupLayout;

/// Nanoseconds of a tick of `cpuacct.stat` (USER_HZ is 100 on every Linux that Docker knows).
const TICK_NS: u64 = 10_000_000;
/// Lists of block I/O that newer kernels do not fill.
const EMPTY_LISTS: [&str; 6] = [
    "io_queue_recursive",
    "io_service_time_recursive",
    "io_wait_time_recursive",
    "io_merged_recursive",
    "io_time_recursive",
    "sectors_recursive",
];

/// One look at a group.
#[derive(Clone, Debug, Default)]
pub(crate) struct Usage {
    /// `cpu_stats`, without what is the host's.
    pub(crate) cpu: Value,
    pub(crate) memory: Value,
    pub(crate) blkio: Value,
    pub(crate) pids: Value,
}

/// What the group `path` has used; `memory_total` is the host's, which no limit exceeds. `None` if
/// there is no such group.
pub(crate) fn usage(layout: &CgroupLayout, path: &str, memory_total: u64) -> Option<Usage> {
    let group = |controller: &str| layout.group(controller, path).filter(|dir| dir.is_dir());
    if layout.is_v2() {
        let dir = group("memory")?;
        return Some(Usage {
            cpu: cpu_v2(&dir),
            memory: memory_v2(&dir, memory_total),
            blkio: blkio_v2(&dir),
            pids: pids(&dir),
        });
    }
    let dir = |controller: &str| group(controller).unwrap_or_else(|| PathBuf::from("/nonexistent"));
    let memory = group("memory")?;
    Some(Usage {
        cpu: cpu_v1(&dir("cpuacct"), &dir("cpu")),
        memory: memory_v1(&memory, memory_total),
        blkio: blkio_v1(&dir("blkio")),
        pids: pids(&dir("pids")),
    })
}

fn number(path: &Path) -> Option<u64> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

/// Lines `key value`.
fn table(path: &Path) -> Map<String, Value> {
    let text = fs::read_to_string(path).unwrap_or_default();
    text.lines()
        .filter_map(|line| {
            let (key, value) = line.split_once(' ')?;
            Some((key.to_owned(), value.trim().parse::<u64>().ok()?.into()))
        })
        .collect()
}

fn get(table: &Map<String, Value>, key: &str) -> u64 {
    table.get(key).and_then(Value::as_u64).unwrap_or(0)
}

fn cpu_v1(accounting: &Path, cpu: &Path) -> Value {
    let ticks = table(&accounting.join("cpuacct.stat"));
    let throttled = table(&cpu.join("cpu.stat"));
    let per_cpu: Vec<u64> = fs::read_to_string(accounting.join("cpuacct.usage_percpu"))
        .unwrap_or_default()
        .split_whitespace()
        .filter_map(|word| word.parse().ok())
        .collect();
    json!({
        "cpu_usage": {
            "total_usage": number(&accounting.join("cpuacct.usage")).unwrap_or(0),
            "percpu_usage": per_cpu,
            "usage_in_kernelmode": get(&ticks, "system") * TICK_NS,
            "usage_in_usermode": get(&ticks, "user") * TICK_NS,
        },
        "throttling_data": {
            "periods": get(&throttled, "nr_periods"),
            "throttled_periods": get(&throttled, "nr_throttled"),
            "throttled_time": get(&throttled, "throttled_time"),
        },
    })
}

fn cpu_v2(dir: &Path) -> Value {
    let stat = table(&dir.join("cpu.stat"));
    let ns = |key: &str| get(&stat, key).saturating_mul(1000);
    json!({
        "cpu_usage": {
            "total_usage": ns("usage_usec"),
            "usage_in_kernelmode": ns("system_usec"),
            "usage_in_usermode": ns("user_usec"),
        },
        "throttling_data": {
            "periods": get(&stat, "nr_periods"),
            "throttled_periods": get(&stat, "nr_throttled"),
            "throttled_time": ns("throttled_usec"),
        },
    })
}

fn memory_v1(dir: &Path, total: u64) -> Value {
    let file = |name: &str| number(&dir.join(format!("memory.{name}"))).unwrap_or(0);
    let mut memory = json!({
        "usage": file("usage_in_bytes"),
        "max_usage": file("max_usage_in_bytes"),
        "stats": table(&dir.join("memory.stat")),
    });
    if let failures @ 1.. = file("failcnt") {
        memory["failcnt"] = failures.into();
    }
    memory["limit"] = limit(number(&dir.join("memory.limit_in_bytes")), total).into();
    memory
}

fn memory_v2(dir: &Path, total: u64) -> Value {
    let mut memory = json!({
        "usage": number(&dir.join("memory.current")).unwrap_or(0),
        "stats": table(&dir.join("memory.stat")),
    });
    if let failures @ 1.. = get(&table(&dir.join("memory.events")), "oom") {
        memory["failcnt"] = failures.into();
    }
    // `max` is no number.
    memory["limit"] = limit(number(&dir.join("memory.max")), total).into();
    memory
}

fn limit(own: Option<u64>, total: u64) -> u64 {
    match own {
        Some(own) if total == 0 || own < total => own,
        _ => total,
    }
}

fn blkio_v1(dir: &Path) -> Value {
    let list = |names: [&str; 2]| {
        let text = names
            .iter()
            .find_map(|name| fs::read_to_string(dir.join(name)).ok());
        let mut entries = Vec::new();
        for line in text.unwrap_or_default().lines() {
            let words: Vec<&str> = line.split_whitespace().collect();
            // The last line is a sum without a device.
            let [device, op, value] = words[..] else {
                continue;
            };
            if let (Some((major, minor)), Ok(value)) = (numbers(device), value.parse::<u64>()) {
                entries.push(json!({"major": major, "minor": minor, "op": op, "value": value}));
            }
        }
        entries
    };
    let mut blkio = json!({
        "io_service_bytes_recursive": list([
            "blkio.throttle.io_service_bytes_recursive",
            "blkio.throttle.io_service_bytes",
        ]),
        "io_serviced_recursive": list([
            "blkio.throttle.io_serviced_recursive",
            "blkio.throttle.io_serviced",
        ]),
    });
    for name in EMPTY_LISTS {
        blkio[name] = json!([]);
    }
    blkio
}

fn blkio_v2(dir: &Path) -> Value {
    let text = fs::read_to_string(dir.join("io.stat")).unwrap_or_default();
    let (mut bytes, mut operations) = (Vec::new(), Vec::new());
    for line in text.lines() {
        let mut words = line.split(' ');
        let Some((major, minor)) = words.next().and_then(numbers) else {
            continue;
        };
        for word in words {
            let Some((key, value)) = word.split_once('=') else {
                continue;
            };
            let (list, op) = match key {
                "rbytes" => (&mut bytes, "read"),
                "wbytes" => (&mut bytes, "write"),
                "rios" => (&mut operations, "read"),
                "wios" => (&mut operations, "write"),
                _ => continue,
            };
            let value: u64 = value.parse().unwrap_or(0);
            list.push(json!({"major": major, "minor": minor, "op": op, "value": value}));
        }
    }
    let mut blkio = json!({
        "io_service_bytes_recursive": bytes,
        "io_serviced_recursive": operations,
    });
    for name in EMPTY_LISTS {
        blkio[name] = Value::Null;
    }
    blkio
}

/// `254:0`
fn numbers(device: &str) -> Option<(u64, u64)> {
    let (major, minor) = device.split_once(':')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

fn pids(dir: &Path) -> Value {
    let mut pids = json!({});
    if let Some(current) = number(&dir.join("pids.current")) {
        pids["current"] = current.into();
    }
    // `max` is no number.
    if let Some(limit) = number(&dir.join("pids.max")) {
        pids["limit"] = limit.into();
    }
    pids
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(dir: &Path, files: &[(&str, &str)]) {
        fs::create_dir_all(dir).unwrap();
        for (name, text) in files {
            fs::write(dir.join(name), text).unwrap();
        }
    }

    #[test]
    fn a_group_of_version_2() {
        let dir = tempfile::tempdir().unwrap();
        write(
            &dir.path().join("c"),
            &[
                (
                    "cpu.stat",
                    "usage_usec 7\nuser_usec 4\nsystem_usec 3\nnr_periods 2\nnr_throttled 1\nthrottled_usec 5\n",
                ),
                ("memory.current", "4096\n"),
                ("memory.max", "max\n"),
                ("memory.stat", "anon 1\ninactive_file 2\n"),
                (
                    "io.stat",
                    "8:0 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=0 dios=0\n",
                ),
                ("pids.current", "3\n"),
                ("pids.max", "10\n"),
            ],
        );
        let layout = CgroupLayout::V2 {
            root: dir.path().to_owned(),
        };
        let found = usage(&layout, "/c", 1000).unwrap();
        assert_eq!(found.cpu["cpu_usage"]["total_usage"], 7000);
        assert_eq!(found.cpu["throttling_data"]["throttled_time"], 5000);
        assert_eq!(
            found.memory,
            json!({"usage": 4096, "stats": {"anon": 1, "inactive_file": 2}, "limit": 1000})
        );
        assert_eq!(
            found.blkio["io_service_bytes_recursive"][1],
            json!({"major": 8, "minor": 0, "op": "write", "value": 2})
        );
        assert_eq!(found.pids, json!({"current": 3, "limit": 10}));
        assert!(usage(&layout, "/none", 1000).is_none());
    }

    #[test]
    fn a_group_of_version_1() {
        let dir = tempfile::tempdir().unwrap();
        let names = ["cpu", "cpuacct", "memory", "blkio", "pids"];
        let controllers = names
            .map(|name| (vec![name.to_owned()], dir.path().join(name)))
            .to_vec();
        let of = |name: &str| dir.path().join(name).join("c");
        write(
            &of("cpu"),
            &[(
                "cpu.stat",
                "nr_periods 1\nnr_throttled 2\nthrottled_time 3\n",
            )],
        );
        write(
            &of("cpuacct"),
            &[
                ("cpuacct.usage", "99\n"),
                ("cpuacct.usage_percpu", "40 59 \n"),
                ("cpuacct.stat", "user 1\nsystem 2\n"),
            ],
        );
        write(
            &of("memory"),
            &[
                ("memory.usage_in_bytes", "10\n"),
                ("memory.max_usage_in_bytes", "20\n"),
                ("memory.limit_in_bytes", "30\n"),
                ("memory.stat", "total_inactive_file 4\n"),
            ],
        );
        write(
            &of("blkio"),
            &[(
                "blkio.throttle.io_service_bytes",
                "254:0 Read 5\n254:0 Total 5\nTotal 5\n",
            )],
        );
        write(
            &of("pids"),
            &[("pids.current", "1\n"), ("pids.max", "max\n")],
        );
        let layout = CgroupLayout::V1 {
            controllers,
            unified: None,
        };
        let found = usage(&layout, "/c", 1000).unwrap();
        assert_eq!(found.cpu["cpu_usage"]["percpu_usage"], json!([40, 59]));
        assert_eq!(found.cpu["cpu_usage"]["usage_in_kernelmode"], 20_000_000);
        assert_eq!(found.memory["limit"], 30);
        assert_eq!(
            found.blkio["io_service_bytes_recursive"]
                .as_array()
                .unwrap()
                .len(),
            2
        );
        assert_eq!(found.blkio["io_time_recursive"], json!([]));
        assert_eq!(found.pids, json!({"current": 1}));
    }
}
