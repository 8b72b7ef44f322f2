//! What a container's life means for the delivery of its log.

use std::sync::Arc;

use taffrail_drivers::{ContainerFacts, Validated};

use super::exit::blocking;
use super::{Container, Record, log_config};
use crate::daemon::Daemon;
use crate::delivery::{Sink, Subject};
use crate::supervisor::Capture;

impl Daemon {
    /// A run begins, or is found again. Before anything of the log can be removed.
    pub(super) async fn begin_delivery(&self, container: &Arc<Container>, capture: &Arc<Capture>) {
        self.with_subject(container, |daemon, subject| {
            daemon.delivery.begin_run(&subject, capture);
        });
    }

    /// After a start of the daemon, for a container that does not run.
    pub(super) async fn resume_delivery(&self, container: &Arc<Container>) {
        if container.record().state.started_ns.is_none() {
            return;
        }
        self.with_subject(container, |daemon, subject| {
            daemon.delivery.resume(&subject);
        });
    }

    fn with_subject(&self, container: &Arc<Container>, of: impl FnOnce(&Self, Subject<'_>)) {
        let record = container.record();
        let Some(files) = container.kept_files() else {
            return;
        };
        let log_path = container.log_path().display().to_string();
        let call = |facts: &ContainerFacts<'_>, validated: &Validated| {
            if validated.sinks().is_empty() {
                return;
            }
            let subject = Subject {
                facts: *facts,
                validated,
                files,
                dir: container.dir(),
                holds: container.holds(),
            };
            of(self, subject);
        };
        if let Err(error) = log_config::with_facts(&record, &log_path, call) {
            tracing::error!(
                container = container.id,
                error,
                "log settings of another version, nothing is delivered"
            );
        }
    }

    /// Goes on with the logs of containers that were removed before everything was delivered.
    pub(crate) fn resume_removed(&self) {
        let entries = std::fs::read_dir(self.delivery.kept_dir());
        for entry in entries.into_iter().flatten().flatten() {
            let id = entry.file_name().to_string_lossy().into_owned();
            match Record::load(&entry.path(), &id) {
                Ok(record) => {
                    let container = Container::new(entry.path(), record);
                    self.with_subject(&container, |daemon, subject| {
                        daemon.delivery.resume_kept(&subject);
                    });
                }
                Err(error) => {
                    tracing::error!(container = id, error = %crate::errors::chain(&error), "log of a removed container cannot be delivered, its files are left alone");
                }
            }
        }
    }

    /// An event of a sink.
    pub(crate) fn sink_event(&self, sink: &Sink, action: &str, more: Vec<(&str, String)>) {
        let mut attributes: std::collections::BTreeMap<String, String> = more
            .into_iter()
            .map(|(key, value)| (key.to_owned(), value))
            .collect();
        attributes.insert("name".to_owned(), sink.container_name());
        self.events
            .publish("container", action, &sink.container, attributes);
    }

    /// At the end of the daemon.
    pub(crate) async fn stop_delivery(self: &Arc<Self>) {
        let daemon = Arc::clone(self);
        blocking(move || daemon.delivery.stop()).await;
    }
}
