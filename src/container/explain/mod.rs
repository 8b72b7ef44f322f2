//! `taffrail logs --explain`: why a log is empty, late, or does not arrive.

mod findings;
mod procs;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use taffrail_log::{Cursor, Format, Query};

use self::findings::{Seen, findings};
use self::procs::{Descriptor, OpenFile};
use super::exit::blocking;
use super::{Container, Record, time};
use crate::daemon::Daemon;
use crate::errors::ApiError;
use crate::runtime;
use crate::supervisor::{Capture, log_end};

/// Between two looks at files and pipes.
const BETWEEN: Duration = Duration::from_millis(500);

/// What was seen of the processes.
#[derive(Default)]
struct Looked {
    descriptors: [Option<Descriptor>; 2],
    files: Vec<OpenFile>,
    /// In the pipes, at the second look.
    unread: [u64; 2],
    /// Of these, bytes that lay there all the time.
    stuck: u64,
    processes: usize,
}

impl Daemon {
    /// Everything that is known of the way of a container's records, and what is wrong with it.
    /// Takes half a second while the container runs.
    ///
    /// # Errors
    /// Never by now.
    pub(crate) async fn explain_logs(
        self: &Arc<Self>,
        container: &Arc<Container>,
    ) -> Result<Value, ApiError> {
        let record = container.record();
        let capture = container.capture();
        let looked = match &capture {
            Some(capture) if record.state.status.has_process() => self.look(&record, capture).await,
            _ => Looked::default(),
        };
        let (first, last) = self.ends(container).await;
        let delivery = Arc::clone(&self.delivery);
        let id = record.id.clone();
        let sinks = blocking(move || {
            let sinks = delivery.sinks_of(&id);
            sinks.iter().map(|sink| sink.figures()).collect::<Vec<_>>()
        });
        let figures = container.figures();
        let seen = Seen {
            now_ns: time::now_ns(),
            status: record.state.status,
            started_ns: record.state.started_ns,
            exit_code: record.state.exit_code,
            error: record.state.error.clone(),
            tty: record.config.tty,
            kept: record.log.is_some(),
            unread: container.is_unread(),
            lost_records: figures.lost_records,
            last_ns: last.as_deref().and_then(nanoseconds),
            capture: figures.capture,
            stuck: looked.stuck,
            descriptors: looked.descriptors,
            files: looked.files,
            sinks: sinks.await.unwrap_or_default(),
        };
        let disk = blocking(move || figures.disk()).await.unwrap_or_default();
        let records = match seen.capture {
            Some(figures) => Some(figures.records),
            None => log_end(container.dir()).map(|Cursor { seq, .. }| seq.saturating_sub(1)),
        };
        let path = match container.logs_to_segments() {
            true => container.segments_dir(),
            false => container.log_path(),
        };
        let found = findings(&seen);
        let found: Vec<Value> = found.iter().map(findings::Finding::to_json).collect();
        let sinks = seen.sinks.iter().map(|sink| {
            let mut shown = sink.to_json();
            shown["Text"] = sink.sentence(seen.now_ns).into();
            shown
        });
        Ok(json!({
            "Id": record.id,
            "Name": record.name,
            "State": record.docker_state(),
            "Run": record.state.run(),
            "Processes": looked.processes,
            "LogConfig": record.shown_host().log_config,
            "Log": seen.kept.then(|| json!({
                "Format": if container.logs_to_segments() { "local" } else { "json-file" },
                "Path": path,
                "Bytes": disk.log,
                "SpoolBytes": disk.spool,
                "Records": records,
                "LostRecords": seen.lost_records,
                "First": first,
                "Last": last,
            })),
            "Capture": seen.capture.map(|figures| json!({
                "StdoutBytes": figures.bytes[0],
                "StderrBytes": figures.bytes[1],
                "Unread": looked.unread,
                "LostRecords": figures.lost_records,
                "SpoolLostRecords": figures.spool_lost_records,
                "Waits": figures.waits,
            })),
            "Stdout": seen.descriptors[0].as_ref().map(led_to),
            "Stderr": seen.descriptors[1].as_ref().map(led_to),
            "Files": seen.files.iter().map(|file| json!({
                "Path": file.path,
                "Pid": file.pid,
                "Bytes": file.size,
                "Grown": file.grown,
            })).collect::<Vec<_>>(),
            "LogSinks": sinks.collect::<Vec<_>>(),
            "Findings": found,
        }))
    }

    /// Looks at the processes twice.
    async fn look(&self, record: &Record, capture: &Arc<Capture>) -> Looked {
        let dir = self.supervisor.container_dir(&record.id);
        let pipes = [dir.join("stdout"), dir.join("stderr")];
        let group = self.cgroup_path(record);
        let pid = record.state.pid;
        let first = {
            let pipes = pipes.clone();
            move || {
                let inodes: Vec<_> = pipes.iter().filter_map(|p| procs::inode(p)).collect();
                let at = |fd| procs::descriptor(pid, fd, &inodes);
                let pids: BTreeSet<i32> =
                    runtime::cgroup_members(&runtime::cgroup_layout(), &group);
                let looked = Looked {
                    descriptors: if pid > 0 {
                        [at(1), at(2)]
                    } else {
                        [None, None]
                    },
                    files: procs::written(&pids),
                    processes: pids.len(),
                    ..Looked::default()
                };
                (looked, pipes.map(|pipe| procs::unread(&pipe)))
            }
        };
        let before = capture.figures().bytes;
        let Some((mut looked, lay)) = blocking(first).await else {
            return Looked::default();
        };
        tokio::time::sleep(BETWEEN).await;
        let second = blocking(move || {
            procs::look_again(&mut looked.files);
            looked.unread = pipes.map(|pipe| procs::unread(&pipe));
            looked
        });
        let mut looked = second.await.unwrap_or_default();
        if capture.figures().bytes == before && !record.config.tty {
            let both = lay.iter().zip(&looked.unread);
            looked.stuck = both.map(|(lay, lies)| lay.min(lies)).sum();
        }
        looked
    }

    /// Times of the first and the last record of the log.
    async fn ends(&self, container: &Arc<Container>) -> (Option<String>, Option<String>) {
        let mut times = [None, None];
        for (time, tail) in times.iter_mut().zip([None, Some(1)]) {
            let query = Query {
                tail,
                ..Query::all()
            };
            let format = Format {
                timestamps: true,
                ..Format::default()
            };
            let Ok(mut log) = self.logs(container, query, format, false).await else {
                continue;
            };
            if let Ok(Some(bytes)) = log.next().await {
                let word = bytes.split(|b| *b == b' ').next().unwrap_or_default();
                let word = String::from_utf8_lossy(word).into_owned();
                *time = nanoseconds(&word).map(|_| word);
            }
        }
        let [first, last] = times;
        (first, last)
    }
}

fn led_to(descriptor: &Descriptor) -> Value {
    json!({"Kind": descriptor.kind.as_str(), "Target": descriptor.target})
}

fn nanoseconds(text: &str) -> Option<i64> {
    let at: jiff::Timestamp = text.parse().ok()?;
    i64::try_from(at.as_nanosecond()).ok()
}
