//! What is told when a receiver goes away or comes back: once in the daemon's own log, and an event
//! for each container that sends to it.

use std::sync::Weak;
use std::time::Duration;

use super::lane::{Lane, Tell};
use crate::daemon::Daemon;

pub(super) struct Teller {
    driver: String,
    daemon: Weak<Daemon>,
}

impl Teller {
    pub(super) fn new(driver: String, daemon: Weak<Daemon>) -> Self {
        Self { driver, daemon }
    }

    fn event(&self, lane: &Lane, action: &str, more: &[(&str, String)]) {
        let Some(daemon) = self.daemon.upgrade() else {
            return;
        };
        for sink in lane.sinks() {
            let mut attributes = vec![
                ("sink", sink.name.clone()),
                ("driver", self.driver.clone()),
                ("address", lane.destination.address.clone()),
            ];
            attributes.extend(more.iter().cloned());
            daemon.sink_event(&sink, action, attributes);
        }
    }
}

impl Tell for Teller {
    fn down(&self, lane: &Lane, error: &str) {
        tracing::warn!(
            driver = self.driver,
            address = lane.destination.address,
            sinks = lane.sinks().len(),
            error,
            "log receiver is down, records wait in the log"
        );
        self.event(lane, "log_sink_down", &[("error", error.to_owned())]);
    }

    fn up(&self, lane: &Lane, down_for: Duration) {
        let seconds = format!("{:.1}", down_for.as_secs_f64());
        tracing::info!(
            driver = self.driver,
            address = lane.destination.address,
            seconds,
            "log receiver is back"
        );
        self.event(lane, "log_sink_up", &[("downFor", seconds)]);
    }
}
