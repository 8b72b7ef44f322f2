//! All families, one after the other.

use super::{Text, containers, process};
use crate::daemon::Daemon;

/// What a scrape gets. Asks the file system for the sizes of log files.
pub(super) fn gather(daemon: &Daemon) -> String {
    let mut text = Text::default();
    engine(&mut text, daemon);
    containers::write(&mut text, daemon);
    crate::logs::metrics(&mut text, &daemon.log_counters, daemon.spool_bound());
    daemon.delivery.metrics(&mut text);
    crate::container::health_metrics(&mut text);
    crate::container::extra::metrics(&mut text);
    daemon.webhooks.metrics(&mut text);
    crate::net::metrics(&mut text);
    process::write(&mut text);
    text.finish()
}

/// What Docker has, under Docker's names.
fn engine(text: &mut Text, daemon: &Daemon) {
    let version = env!("CARGO_PKG_VERSION");
    text.gauge(
        "engine_daemon_engine_info",
        "The information related to the engine and the OS it is running on.",
    )
    .sample(
        &[
            ("daemon_id", daemon.id.as_str()),
            ("version", version),
            ("os_type", "linux"),
            ("architecture", std::env::consts::ARCH),
        ],
        1,
    );
    text.gauge(
        "engine_daemon_engine_cpus_cpus",
        "The number of cpus that the host system of the engine has.",
    )
    .value(std::thread::available_parallelism().map_or(1, std::num::NonZero::get));
    text.counter("engine_daemon_events_total", "The number of events logged.")
        .value(daemon.events.published());
    text.gauge(
        "engine_daemon_events_subscribers_total",
        "The number of current subscribers to events.",
    )
    .value(daemon.events.subscribers());
}
