//! What is kept of an end: `last-words.json` in the container's folder, versioned and replaced
//! atomically like the state beside it.

use std::fs;
use std::io;
use std::path::Path;

use crate::state_file::replace;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// Version that is written, and the newest that is read.
const VERSION: u32 = 1;
/// Name of the file.
pub(in crate::container) const FILE: &str = "last-words.json";
/// Largest file that is read: what is written has some 30 KiB at most, with everything escaped.
const MAX_FILE: u64 = 256 * 1024;

/// One of the last lines.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Line {
    /// RFC 3339.
    pub(super) time: String,
    /// `stdout` or `stderr`.
    pub(super) stream: String,
    /// Without its newline; what is no UTF-8 is replaced.
    pub(super) line: String,
}

/// What is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::container) struct LastWords {
    version: u32,
    /// `die`, `oom` or `unhealthy`.
    pub(super) event: String,
    /// Nanoseconds since 1970.
    pub(super) at_ns: i64,
    pub(super) run: u64,
    /// As the event's `exitCause`; empty if nothing ended.
    pub(super) cause: String,
    /// Of an end.
    pub(super) exit_code: Option<i32>,
    pub(super) lines: Vec<Line>,
    pub(super) cut: bool,
}

impl LastWords {
    pub(super) fn new(event: &str, at_ns: i64, run: u64, lines: super::read::Lines) -> Self {
        Self {
            version: VERSION,
            event: event.to_owned(),
            at_ns,
            run,
            cause: String::new(),
            exit_code: None,
            lines: lines.lines,
            cut: lines.cut,
        }
    }

    /// What a container's folder has; `None` if nothing, or nothing that can be used.
    pub(in crate::container) fn load(dir: &Path) -> Option<Self> {
        let path = dir.join(FILE);
        if fs::metadata(&path).ok()?.len() > MAX_FILE {
            return None;
        }
        let words: Self = serde_json::from_slice(&fs::read(path).ok()?).ok()?;
        (words.version <= VERSION).then_some(words)
    }

    /// # Errors
    /// The disk is full, read-only, or the folder is gone.
    pub(super) fn save(&self, dir: &Path) -> io::Result<()> {
        replace(dir, FILE, &serde_json::to_vec(self)?, true)
    }

    /// Number of the run.
    pub(in crate::container) fn run(&self) -> u64 {
        self.run
    }

    /// `State.LastWords` of inspect: `Event`, `Time`, `Run`, `Cause`, `ExitCode`, `Lines` of `Time`,
    /// `Stream` and `Line`, and `Cut` if something was left out.
    pub(in crate::container) fn shown(&self) -> Value {
        let lines: Vec<Value> = self
            .lines
            .iter()
            .map(|l| json!({"Time": l.time, "Stream": l.stream, "Line": l.line}))
            .collect();
        let mut out = json!({
            "Event": self.event,
            "Time": super::super::time::rfc3339(self.at_ns),
            "Run": self.run,
        });
        if !self.cause.is_empty() {
            out["Cause"] = json!(self.cause);
        }
        if let Some(code) = self.exit_code {
            out["ExitCode"] = json!(code);
        }
        out["Lines"] = json!(lines);
        if self.cut {
            out["Cut"] = json!(true);
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::super::read::Lines;
    use super::*;

    #[test]
    fn kept_and_shown() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(LastWords::load(dir.path()), None);
        let line = Line {
            time: "T".to_owned(),
            stream: "stderr".to_owned(),
            line: "no\u{fffd}".to_owned(),
        };
        let lines = Lines {
            lines: vec![line],
            cut: true,
        };
        let mut words = LastWords::new("die", 1_700_000_000_000_000_000, 3, lines);
        words.cause = "oom".to_owned();
        words.exit_code = Some(137);
        words.save(dir.path()).unwrap();
        assert_eq!(LastWords::load(dir.path()), Some(words.clone()));
        assert_eq!(
            words.shown().to_string(),
            "{\"Event\":\"die\",\"Time\":\"2023-11-14T22:13:20Z\",\"Run\":3,\"Cause\":\"oom\",\"ExitCode\":137,\
             \"Lines\":[{\"Time\":\"T\",\"Stream\":\"stderr\",\"Line\":\"no\u{fffd}\"}],\"Cut\":true}"
        );
        fs::write(dir.path().join(FILE), b"{\"version\":1").unwrap();
        assert_eq!(LastWords::load(dir.path()), None);
        words.version = 2;
        words.save(dir.path()).unwrap();
        assert_eq!(LastWords::load(dir.path()), None);
    }
}
