//! `stats`: what a container uses, once a second (docs: Engine API `ContainerStats`).
//!
//! One task a container looks, for as long as somebody wants to know; everybody gets the same samples,
//! so that the cost does not grow with their number.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::{Map, Value, json};
use tokio::sync::watch;

use super::exit::blocking;
use super::{Container, time};
use crate::daemon::Daemon;
use crate::runtime;

/// Between two samples.
const PERIOD: Duration = Duration::from_secs(1);
/// Nanoseconds of a tick of `/proc/stat`.
const TICK_NS: u64 = 10_000_000;

type Samples = HashMap<String, watch::Receiver<Option<Arc<Sample>>>>;

/// The last sample of each container that somebody asks about.
static SAMPLES: Mutex<Option<Samples>> = Mutex::new(None);

/// One look at a container.
#[derive(Clone, Debug)]
pub(crate) struct Sample {
    /// Counts the looks; two samples of one number are the same.
    number: u64,
    /// When; `None` of a container that does not run.
    read_ns: Option<i64>,
    usage: runtime::Usage,
    networks: Option<Map<String, Value>>,
}

/// What one client gets.
#[derive(Debug)]
pub(crate) struct StatsStream {
    samples: watch::Receiver<Option<Arc<Sample>>>,
    previous: Option<Arc<Sample>>,
    container: Arc<Container>,
}

impl StatsStream {
    /// The next sample with the one before it; `None` when the container is gone.
    pub(crate) async fn next(&mut self) -> Option<Value> {
        loop {
            self.samples.changed().await.ok()?;
            let sample = self.samples.borrow_and_update().clone();
            let Some(sample) = sample else { continue };
            if self
                .previous
                .as_ref()
                .is_some_and(|before| before.number == sample.number)
            {
                continue;
            }
            let shown = shown(&self.container, &sample, self.previous.as_deref());
            self.previous = Some(sample);
            return Some(shown);
        }
    }
}

impl Daemon {
    /// Samples of a container from now on, a second apart.
    pub(crate) fn stats(self: &Arc<Self>, container: &Arc<Container>) -> StatsStream {
        let samples = {
            let mut all = samples();
            let all = all.get_or_insert_default();
            let known = all
                .get(&container.id)
                // One whose task has ended shows nothing new.
                .filter(|known| known.has_changed().is_ok())
                .cloned();
            match known {
                Some(mut known) => {
                    // What was seen before the question is no answer to it.
                    known.mark_unchanged();
                    known
                }
                None => {
                    let (sender, receiver) = watch::channel(None);
                    all.insert(container.id.clone(), receiver.clone());
                    tokio::spawn(watch_usage(Arc::clone(self), Arc::clone(container), sender));
                    receiver
                }
            }
        };
        StatsStream {
            samples,
            previous: None,
            container: Arc::clone(container),
        }
    }

    /// One sample, at once; zeros of a container that does not run.
    pub(crate) async fn stats_now(&self, container: &Arc<Container>) -> Value {
        let sample = self.sample_usage(container, 0).await;
        shown(container, &sample, None)
    }

    async fn sample_usage(&self, container: &Arc<Container>, number: u64) -> Sample {
        let record = container.record();
        let pid = record.state.pid;
        let nothing = Sample {
            number,
            read_ns: None,
            usage: runtime::Usage::default(),
            networks: None,
        };
        if !record.state.status.has_process() || pid <= 0 {
            return nothing;
        }
        let group = self.cgroup_path(&record);
        let own_network = record.host.network_mode != "host";
        blocking(move || {
            let layout = runtime::cgroup_layout();
            let mut usage = runtime::usage(&layout, &group, memory_total())?;
            usage.cpu["system_cpu_usage"] = system_ns().into();
            usage.cpu["online_cpus"] = online_cpus().into();
            Some(Sample {
                number,
                read_ns: Some(time::now_ns()),
                usage,
                networks: own_network.then(|| networks(pid)).flatten(),
            })
        })
        .await
        .flatten()
        .unwrap_or(nothing)
    }
}

/// Looks once a second until nobody listens or the container is gone.
async fn watch_usage(
    daemon: Arc<Daemon>,
    container: Arc<Container>,
    sender: watch::Sender<Option<Arc<Sample>>>,
) {
    let mut tick = tokio::time::interval(PERIOD);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut number = 0;
    loop {
        tick.tick().await;
        if container.inner().gone {
            break;
        }
        number += 1;
        let sample = daemon.sample_usage(&container, number).await;
        sender.send_replace(Some(Arc::new(sample)));
        let mut all = samples();
        // The map holds one receiver itself.
        if sender.receiver_count() <= 1 {
            all.get_or_insert_default().remove(&container.id);
            return;
        }
    }
    samples().get_or_insert_default().remove(&container.id);
}

fn samples() -> MutexGuard<'static, Option<Samples>> {
    // A map is whole after every statement.
    SAMPLES.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A sample in Docker's shape, with the processor time of the one before.
fn shown(container: &Container, sample: &Sample, before: Option<&Sample>) -> Value {
    let moment = |sample: Option<&Sample>| {
        sample
            .and_then(|sample| sample.read_ns)
            .map_or_else(|| time::ZERO.to_owned(), time::rfc3339)
    };
    let cpu = |sample: Option<&Sample>| match sample.map(|sample| &sample.usage.cpu) {
        Some(cpu) if !cpu.is_null() => cpu.clone(),
        _ => json!({
            "cpu_usage": {"total_usage": 0, "usage_in_kernelmode": 0, "usage_in_usermode": 0},
            "throttling_data": {"periods": 0, "throttled_periods": 0, "throttled_time": 0},
        }),
    };
    let blkio = match &sample.usage.blkio {
        Value::Null => json!({
            "io_service_bytes_recursive": null, "io_serviced_recursive": null,
            "io_queue_recursive": null, "io_service_time_recursive": null,
            "io_wait_time_recursive": null, "io_merged_recursive": null,
            "io_time_recursive": null, "sectors_recursive": null,
        }),
        blkio => blkio.clone(),
    };
    let or_empty = |value: &Value| match value {
        Value::Null => json!({}),
        value => value.clone(),
    };
    let mut out = json!({
        "read": moment(Some(sample)),
        "preread": moment(before),
        "pids_stats": or_empty(&sample.usage.pids),
        "blkio_stats": blkio,
        "num_procs": 0,
        "storage_stats": {},
        "cpu_stats": cpu(Some(sample)),
        "precpu_stats": cpu(before),
        "memory_stats": or_empty(&sample.usage.memory),
        "name": format!("/{}", container.name()),
        "id": container.id,
    });
    if let Some(networks) = &sample.networks {
        out["networks"] = Value::Object(networks.clone());
    }
    out
}

/// Time of all processors since the host's start: user, nice, system, idle, iowait, irq, softirq
/// (source: Moby `daemon/stats`, proc(5)).
fn system_ns() -> u64 {
    let text = std::fs::read_to_string("/proc/stat").unwrap_or_default();
    let line = text.lines().next().unwrap_or("");
    let ticks: u64 = line
        .split_whitespace()
        .skip(1)
        .take(7)
        .filter_map(|word| word.parse::<u64>().ok())
        .sum();
    ticks.saturating_mul(TICK_NS)
}

fn online_cpus() -> u64 {
    // SAFETY: the call takes a number and touches no memory.
    let count = unsafe { libc::sysconf(libc::_SC_NPROCESSORS_ONLN) };
    u64::try_from(count).unwrap_or(1)
}

/// Bytes of the host's memory; 0 if that cannot be told.
fn memory_total() -> u64 {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    text.lines()
        .find_map(|line| line.strip_prefix("MemTotal:"))
        .and_then(|rest| rest.split_whitespace().next())
        .and_then(|kib| kib.parse::<u64>().ok())
        .map_or(0, |kib| kib << 10)
}

/// Counters of each interface but the loopback; `None` if there is no other.
fn networks(pid: i32) -> Option<Map<String, Value>> {
    parse_networks(&std::fs::read_to_string(format!("/proc/{pid}/net/dev")).ok()?)
}

fn parse_networks(text: &str) -> Option<Map<String, Value>> {
    let mut found = Map::new();
    // Two lines of headings.
    for line in text.lines().skip(2) {
        let Some((name, numbers)) = line.split_once(':') else {
            continue;
        };
        let numbers: Vec<u64> = numbers
            .split_whitespace()
            .filter_map(|word| word.parse().ok())
            .collect();
        let name = name.trim();
        if name == "lo" || numbers.len() < 12 {
            continue;
        }
        found.insert(
            name.to_owned(),
            json!({
                "rx_bytes": numbers[0], "rx_packets": numbers[1],
                "rx_errors": numbers[2], "rx_dropped": numbers[3],
                "tx_bytes": numbers[8], "tx_packets": numbers[9],
                "tx_errors": numbers[10], "tx_dropped": numbers[11],
            }),
        );
    }
    (!found.is_empty()).then_some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interfaces_are_counted() {
        let text = "Inter-|   Receive    |  Transmit\n face |bytes packets errs drop\n\
                    \x20   lo: 9 9 0 0 0 0 0 0 9 9 0 0 0 0 0 0\n\
                    \x20 eth0: 1 2 3 4 0 0 0 0 5 6 7 8 0 0 0 0\n";
        let found = parse_networks(text).unwrap();
        assert_eq!(found.len(), 1);
        assert_eq!(found["eth0"]["rx_dropped"], 4);
        assert_eq!(found["eth0"]["tx_bytes"], 5);
        assert!(parse_networks("a\nb\n lo: 1\n").is_none());
        assert!(system_ns() > 0 && online_cpus() > 0 && memory_total() > 0);
    }
}
