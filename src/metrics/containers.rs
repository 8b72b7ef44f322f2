//! Containers: their states, and what is captured of each.

use super::Text;
use crate::container::Figures;
use crate::daemon::Daemon;

/// Containers with samples of their own. On a host with more, those created first have them, and
/// `taffrail_metrics_containers_left_out` says how many have none.
const MOST: usize = 1000;

pub(super) fn write(text: &mut Text, daemon: &Daemon) {
    let (mut containers, removed) = daemon.figures();
    states(text, &containers);
    totals(text, &containers, removed);
    containers.sort_by_key(|one| one.created_ns);
    text.gauge(
        "taffrail_metrics_containers_left_out",
        "Containers without samples of their own, because there are more than 1000.",
    )
    .value(containers.len().saturating_sub(MOST));
    containers.truncate(MOST);
    capture(text, &containers);
    disk(text, &containers);
}

fn states(text: &mut Text, containers: &[Figures]) {
    let count = |state: &str| containers.iter().filter(|one| one.state == state).count();
    text.gauge(
        "engine_daemon_container_states_containers",
        "The count of containers in various states.",
    )
    .sample(&[("state", "paused")], count("paused"))
    .sample(
        &[("state", "running")],
        count("running") + count("restarting"),
    )
    .sample(
        &[("state", "stopped")],
        containers.len() - count("paused") - count("running") - count("restarting"),
    );
}

/// Docker's counters of its loggers.
fn totals(text: &mut Text, containers: &[Figures], removed: u64) {
    text.counter(
        "logger_log_write_operations_failed_total",
        "Number of log records that could not be written.",
    )
    .value(removed + containers.iter().map(|one| one.lost_records).sum::<u64>());
    text.counter(
        "logger_log_read_operations_failed_total",
        "Number of captures that ended because they could not be read any more.",
    )
    .value(crate::supervisor::DAMAGED.get());
    let running = containers.iter().filter_map(|one| one.capture.as_ref());
    text.counter(
        "logger_log_entries_size_greater_than_buffer_total",
        "Number of log entries that are larger than 16 KiB, or have no end.",
    )
    .value(
        crate::supervisor::LONG_LINES.get()
            + running.map(|capture| capture.long_lines).sum::<u64>(),
    );
}

/// A family of one sample a container.
fn each(
    text: &mut Text,
    name: &str,
    help: &str,
    containers: &[Figures],
    value: impl Fn(&Figures) -> Option<u64>,
) {
    let mut family = if name.ends_with("_total") {
        text.counter(name, help)
    } else {
        text.gauge(name, help)
    };
    for one in containers {
        if let Some(value) = value(one) {
            family.sample(&labels(one), value);
        }
    }
}

fn labels(one: &Figures) -> [(&str, &str); 2] {
    [("id", one.short_id()), ("name", one.name.as_str())]
}

fn capture(text: &mut Text, containers: &[Figures]) {
    each(
        text,
        "taffrail_container_log_records_total",
        "Records in the log of a running container, from the log's first on.",
        containers,
        |one| one.capture.as_ref().map(|capture| capture.records),
    );
    let mut family = text.counter(
        "taffrail_container_output_bytes_total",
        "Bytes read from a running container, since its start.",
    );
    for one in containers {
        let Some(capture) = &one.capture else {
            continue;
        };
        for (stream, bytes) in [("stdout", capture.bytes[0]), ("stderr", capture.bytes[1])] {
            let [id, name] = labels(one);
            family.sample(&[id, name, ("stream", stream)], bytes);
        }
    }
    each(
        text,
        "taffrail_container_lost_records_total",
        "Records that the log could not take, over all starts.",
        containers,
        |one| Some(one.lost_records),
    );
    each(
        text,
        "taffrail_container_lost_bytes_total",
        "Bytes that the log could not take, over all starts.",
        containers,
        |one| Some(one.lost_bytes),
    );
    each(
        text,
        "taffrail_container_spool_lost_records_total",
        "Records that the bound of the spool took from readers that had not read them, since the start.",
        containers,
        |one| {
            one.capture
                .as_ref()
                .map(|capture| capture.spool_lost_records)
        },
    );
    each(
        text,
        "taffrail_container_spool_lost_bytes_total",
        "The same in bytes.",
        containers,
        |one| one.capture.as_ref().map(|capture| capture.spool_lost_bytes),
    );
    each(
        text,
        "taffrail_container_capture_anomalies_total",
        "Reads of a running container's output that gave less than the kernel had announced: somebody else reads it, too.",
        containers,
        |one| one.capture.as_ref().map(|capture| capture.anomalies),
    );
    each(
        text,
        "taffrail_container_monitors_respawned_total",
        "Monitors of a running container that died and were replaced.",
        containers,
        |one| one.capture.as_ref().map(|capture| capture.takeovers),
    );
    each(
        text,
        "taffrail_container_capture_waits",
        "1 while a running container waits because its spool is full (mode=blocking).",
        containers,
        |one| one.capture.as_ref().map(|capture| capture.waits.into()),
    );
}

fn disk(text: &mut Text, containers: &[Figures]) {
    let mut family = text.gauge(
        "taffrail_container_log_disk_bytes",
        "Disk space of a container's log: its files, their indexes, and files held past their retention.",
    );
    for one in containers {
        let used = one.disk();
        for (kind, bytes) in [
            ("log", used.log),
            ("index", used.index),
            ("spool", used.spool),
        ] {
            let [id, name] = labels(one);
            family.sample(&[id, name, ("kind", kind)], bytes);
        }
    }
}
