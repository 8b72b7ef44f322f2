//! From what was seen of a container to what is wrong with its log.

use serde_json::{Value, json};

use super::procs::{Descriptor, Kind, OpenFile};
use crate::container::{Status, time};
use crate::delivery::SinkFigures;
use crate::supervisor::CaptureFigures;

/// Programs have had time to write something.
const SETTLED_NS: i64 = 5_000_000_000;
/// Nothing was written for long.
const SILENT_NS: i64 = 300_000_000_000;
/// A record that waits for so long is late.
const LATE_NS: i64 = 60_000_000_000;
/// Growing files that are told of.
const FILES: usize = 10;

/// What is wrong, or may be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Finding {
    /// Never changes; for scripts.
    pub(crate) code: String,
    pub(crate) text: String,
    /// What can be done.
    pub(crate) remedy: String,
}

impl Finding {
    fn new(code: impl Into<String>, text: impl Into<String>, remedy: &str) -> Self {
        Self {
            code: code.into(),
            text: text.into(),
            remedy: remedy.to_owned(),
        }
    }

    pub(super) fn to_json(&self) -> Value {
        json!({"Code": self.code, "Text": self.text, "Remedy": self.remedy})
    }
}

/// What was seen.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    pub(crate) now_ns: i64,
    pub(crate) status: Status,
    pub(crate) started_ns: Option<i64>,
    pub(crate) exit_code: i32,
    /// `State.Error`.
    pub(crate) error: String,
    pub(crate) tty: bool,
    /// A log is kept on this machine.
    pub(crate) kept: bool,
    /// `cache-disabled`.
    pub(crate) unread: bool,
    pub(crate) lost_records: u64,
    pub(crate) last_ns: Option<i64>,
    pub(crate) capture: Option<CaptureFigures>,
    /// Bytes that lie in the pipes though nothing was read for a while.
    pub(crate) stuck: u64,
    /// Of process 1: stdout and stderr.
    pub(crate) descriptors: [Option<Descriptor>; 2],
    pub(crate) files: Vec<OpenFile>,
    pub(crate) sinks: Vec<SinkFigures>,
}

/// Everything that is wrong, the nearest to the application first. Empty: all is well.
pub(crate) fn findings(seen: &Seen) -> Vec<Finding> {
    let mut found = Vec::new();
    found.extend(state(seen));
    if seen.status.has_process() {
        for (descriptor, name) in seen.descriptors.iter().zip(["stdout", "stderr"]) {
            found.extend(
                descriptor
                    .as_ref()
                    .and_then(|d| led_away(d, name, seen.tty)),
            );
        }
        files(seen, &mut found);
        found.extend(silent(seen));
    }
    capture(seen, &mut found);
    for sink in &seen.sinks {
        self::sink(sink, seen.now_ns, &mut found);
    }
    found
}

fn state(seen: &Seen) -> Option<Finding> {
    Some(match seen.status {
        _ if seen.started_ns.is_none() && !seen.status.is_up() => Finding::new(
            "never-started",
            match seen.error.as_str() {
                "" => "the container was never started".to_owned(),
                error => format!("the container could not be started: {error}"),
            },
            "start it",
        ),
        Status::Running => return None,
        Status::Paused => Finding::new(
            "paused",
            "the container is paused: its processes write nothing",
            "unpause it",
        ),
        Status::Restarting => Finding::new(
            "restarting",
            format!(
                "the container has ended with status {} and waits for its restart",
                seen.exit_code
            ),
            "look at what it has written last",
        ),
        Status::Removing => Finding::new(
            "removing",
            "the container is being removed: its log cannot be read",
            "",
        ),
        Status::Created | Status::Exited | Status::Dead => Finding::new(
            "not-running",
            match seen.error.as_str() {
                "" => format!(
                    "the container does not run: it ended with status {}",
                    seen.exit_code
                ),
                error => format!(
                    "the container does not run: it ended with status {}: {error}",
                    seen.exit_code
                ),
            },
            "nothing more is written until it is started",
        ),
    })
}

/// A stream that does not lead to the captured pipe, or the terminal.
fn led_away(descriptor: &Descriptor, name: &str, tty: bool) -> Option<Finding> {
    let fd = if name == "stdout" { 1 } else { 2 };
    let to = match descriptor.kind {
        Kind::Captured => return None,
        Kind::Terminal if tty => return None,
        Kind::Terminal => "another terminal",
        Kind::Null => "/dev/null",
        Kind::File => "a file in the container",
        Kind::Pipe => "a pipe of its own",
        Kind::Socket => "a socket",
        Kind::Closed => {
            return Some(Finding::new(
                format!("{name}-closed"),
                format!("process 1 has closed its {name}: what it would write there is lost"),
                "have the program log to stdout or stderr and not run as a background daemon",
            ));
        }
        Kind::Other => "something else",
    };
    let target = match descriptor.kind {
        Kind::Null => String::new(),
        _ => format!(", {}", descriptor.target),
    };
    let remedy = match descriptor.kind {
        Kind::File => format!(
            "link {} to /dev/{name}, or leave out the redirection",
            descriptor.target
        ),
        Kind::Null => format!("leave out the redirection of {name}"),
        _ => format!(
            "let {name} be what the container was started with, descriptor {fd}; what goes elsewhere is not captured"
        ),
    };
    Some(Finding::new(
        format!("{name}-is-{}", descriptor.kind.as_str()),
        format!("{name} of process 1 is {to}{target}: it is not captured"),
        &remedy,
    ))
}

fn files(seen: &Seen, found: &mut Vec<Finding>) {
    let bytes = seen.capture.unwrap_or_default().bytes;
    let quiet = bytes == [0, 0];
    for file in seen.files.iter().take(FILES) {
        // Told of already.
        let streams = seen.descriptors.iter().flatten();
        if streams.into_iter().any(|d| d.target == file.path) {
            continue;
        }
        let like_log = looks_like_log(&file.path);
        let remedy = format!(
            "if it is a log: ln -sf /dev/stdout {} in the image (as nginx's image does), or have the program log to stdout",
            file.path
        );
        if file.grown > 0 {
            found.push(Finding::new(
                "file-grows",
                format!(
                    "process {} writes to the file {} in the container, {} bytes in half a second: that is not captured",
                    file.pid, file.path, file.grown
                ),
                &remedy,
            ));
        } else if quiet && like_log {
            found.push(Finding::new(
                "log-file-open",
                format!(
                    "process {} has the file {} ({} bytes) open for writing, and nothing came from stdout and stderr",
                    file.pid, file.path, file.size
                ),
                &remedy,
            ));
        }
    }
}

fn looks_like_log(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or(path);
    name.ends_with(".log")
        || name.ends_with(".err")
        || path.contains("/log/")
        || path.contains("/logs/")
}

/// Nothing came, or nothing for long, though it could.
fn silent(seen: &Seen) -> Option<Finding> {
    let capture = seen.capture?;
    let age = seen.now_ns.saturating_sub(seen.started_ns?);
    let captured = |d: &Option<Descriptor>| d.as_ref().is_some_and(|d| d.kind == Kind::Captured);
    if seen.status != Status::Running || age < SETTLED_NS || seen.stuck > 0 || capture.waits {
        return None;
    }
    let none = capture.bytes == [0, 0];
    let last = seen.last_ns.map(|at| seen.now_ns.saturating_sub(at));
    if !none && last.is_none_or(|silent| silent < SILENT_NS) {
        return None;
    }
    let what = match last.filter(|_| !none) {
        Some(silent) => format!(
            "nothing was written for {}",
            time::human(silent).to_lowercase()
        ),
        None => format!(
            "nothing was written since the start, {} ago",
            time::human(age).to_lowercase()
        ),
    };
    if seen.tty || !seen.descriptors.iter().any(captured) {
        return Some(Finding::new(
            "silent",
            format!("{what}, though a process lives"),
            "see whether the program logs elsewhere, or nothing at this level",
        ));
    }
    Some(Finding::new(
        "block-buffered",
        format!(
            "{what}, though a process lives: it may have nothing to say, or hold it back; C, Python, Ruby and others \
             collect 4 to 64 KiB before they write when stdout is no terminal"
        ),
        "PYTHONUNBUFFERED=1 for Python, $stdout.sync = true for Ruby, stdbuf -oL PROGRAM for C, or a terminal (-t)",
    ))
}

fn capture(seen: &Seen, found: &mut Vec<Finding>) {
    if seen.unread {
        found.push(Finding::new(
            "not-readable",
            "cache-disabled=true: \"logs\" has nothing to read, the log is only delivered",
            "leave cache-disabled out, or read at the receiver",
        ));
    } else if !seen.kept {
        found.push(Finding::new(
            "no-log",
            "the log driver is \"none\": nothing is kept",
            "create the container with another --log-driver",
        ));
    }
    if seen.stuck > 0 && seen.status == Status::Running {
        found.push(Finding::new(
            "unread-pipe",
            format!(
                "{} bytes lie in the pipe and are not read: the container's monitor does not keep up or hangs",
                seen.stuck
            ),
            "look at the daemon's log and at the disk; if it stays so, report it",
        ));
    }
    let figures = seen.capture.unwrap_or_default();
    if figures.waits {
        found.push(Finding::new(
            "waits-for-spool",
            "mode=blocking: the spool is full, and the application waits until a receiver takes records",
            "see to the receiver, or raise max-spool-size",
        ));
    }
    if seen.lost_records > 0 {
        found.push(Finding::new(
            "records-lost",
            format!(
                "{} records could not be written to the log (gaps in it say when and why)",
                seen.lost_records
            ),
            "see whether the disk is full",
        ));
    }
    if figures.spool_lost_records > 0 {
        found.push(Finding::new(
            "spool-full",
            format!(
                "{} records were removed before every reader had them: the spool was full",
                figures.spool_lost_records
            ),
            "raise max-spool-size, or log-spool-size of the daemon",
        ));
    }
}

fn sink(sink: &SinkFigures, now_ns: i64, found: &mut Vec<Finding>) {
    let state = sink.lane.status.as_str();
    if sink.lane.status.is_down() {
        found.push(Finding::new(
            format!("sink-{state}"),
            sink.sentence(now_ns),
            match state {
                "denied" => "see to token, key or password",
                "stalled" => "see why the receiver does not read",
                _ => "see whether the receiver runs and can be reached: taffrail log-test tries it",
            },
        ));
    } else if let Some(oldest) = sink.oldest_pending_ns.filter(|at| now_ns - at > LATE_NS) {
        found.push(Finding::new(
            "sink-late",
            format!(
                "{}: records are {} late",
                sink.name,
                time::human(now_ns - oldest).to_lowercase()
            ),
            "the receiver takes records more slowly than they are written",
        ));
    }
    if let Some((at, text)) = &sink.last_rejection {
        found.push(Finding::new(
            "sink-rejects",
            format!(
                "{}: {} records were rejected, the last at {}: {text}",
                sink.name,
                sink.rejected,
                time::rfc3339(*at)
            ),
            "the receiver does not want these records; they are counted as dropped",
        ));
    }
    if sink.dropped > sink.rejected {
        found.push(Finding::new(
            "sink-dropped",
            format!(
                "{}: {} records were dropped before they were delivered",
                sink.name, sink.dropped
            ),
            "raise max-spool-size or max-spool-age",
        ));
    }
    if let Some((at, text)) = &sink.read_error {
        found.push(Finding::new(
            "sink-cannot-read",
            format!(
                "{}: the log cannot be read for delivery since {}: {text}",
                sink.name,
                time::rfc3339(*at)
            ),
            "taffrail log-check names what is damaged",
        ));
    }
}

#[cfg(test)]
#[path = "findings_tests.rs"]
mod tests;
