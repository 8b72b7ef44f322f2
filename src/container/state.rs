//! What is stored of a container, and how: `state.json` is ours (versioned, replaced atomically,
//! synced), `config.v2.json` and `hostconfig.json` are Docker-shaped copies for collectors and
//! scripts, and are never read back.

use std::collections::VecDeque;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::health::Health;
use super::{Container, time};
use crate::api::types::{ContainerConfig, HostConfig};
use crate::runtime::{MountPoint, old_mounts};
use crate::state_file::{Unusable, parse, replace};

/// Version of `state.json` that is written, and the newest that is read.
pub(crate) const VERSION: u32 = 1;
/// Our state file.
pub(crate) const STATE_FILE: &str = "state.json";

/// Where a container is in its life (docs: Engine API `State.Status`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Status {
    #[default]
    Created,
    Running,
    /// Its processes are frozen.
    Paused,
    /// It has ended and is started again by its policy after a pause.
    Restarting,
    Exited,
    Removing,
    Dead,
}

impl Status {
    /// Docker's `State.Running`: it runs, is paused, or is about to be started again.
    pub(crate) fn is_up(self) -> bool {
        matches!(self, Self::Running | Self::Paused | Self::Restarting)
    }

    /// There is a process.
    pub(crate) fn has_process(self) -> bool {
        matches!(self, Self::Running | Self::Paused)
    }

    /// Docker's word.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Restarting => "restarting",
            Self::Exited => "exited",
            Self::Removing => "removing",
            Self::Dead => "dead",
        }
    }
}

/// The changing part of a container.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct State {
    pub(crate) status: Status,
    /// Process id in the daemon's pid namespace; 0 if none runs.
    #[serde(default)]
    pub(crate) pid: i32,
    /// Start time of that process in clock ticks (`/proc/<pid>/stat`, field 22): with it the pid
    /// is not taken for another process.
    #[serde(default)]
    pub(crate) pid_start: u64,
    #[serde(default)]
    pub(crate) exit_code: i32,
    /// `State.Error`.
    #[serde(default)]
    pub(crate) error: String,
    #[serde(default)]
    pub(crate) oom_killed: bool,
    /// Why the last run ended, as the event `die` says it; empty before the first end.
    #[serde(default)]
    pub(crate) exit_cause: String,
    /// Of a container with a health check; kept in a file of its own.
    #[serde(skip)]
    pub(crate) health: Option<Arc<Health>>,
    /// Nanoseconds since 1970; `None` if it never happened.
    #[serde(default)]
    pub(crate) started_ns: Option<i64>,
    #[serde(default)]
    pub(crate) finished_ns: Option<i64>,
    /// Records and bytes of all runs that the log could not take.
    #[serde(default)]
    pub(crate) lost_records: u64,
    #[serde(default)]
    pub(crate) lost_bytes: u64,
    /// A user stopped it: it is not restarted by policy.
    #[serde(default)]
    pub(crate) manually_stopped: bool,
    /// Restarts by policy since the last start by a user.
    #[serde(default)]
    pub(crate) restart_count: u64,
    /// Milliseconds that the last restart by policy waits (or waited); 0 after a start by a user.
    #[serde(default)]
    pub(crate) restart_delay_ms: u64,
    /// It ended with the daemon and its policy would have started it: the next daemon does.
    #[serde(default)]
    pub(crate) start_with_daemon: bool,
    /// Kills for want of memory in this run that were told of in an event.
    #[serde(default)]
    pub(crate) oom_told: u64,
    /// The newest runs, oldest first; at most [`RUNS_KEPT`].
    #[serde(default)]
    pub(crate) runs: VecDeque<Run>,
}

/// Runs that are kept of a container: their number goes on, only where they began is forgotten.
pub(crate) const RUNS_KEPT: usize = 64;

/// One run of a container, from a start to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Run {
    /// Counts all starts of the container, from 1.
    pub(crate) number: u64,
    /// Nanoseconds since 1970; no record of the run is older.
    pub(crate) started_ns: i64,
    /// Position in the log that the run's first record has.
    pub(crate) epoch: u64,
    pub(crate) seq: u64,
}

impl State {
    /// Number of the present or last run; 0 before the first start.
    pub(crate) fn run(&self) -> u64 {
        self.runs.back().map_or(0, |run| run.number)
    }

    /// A run begins.
    pub(crate) fn add_run(&mut self, started_ns: i64, (epoch, seq): (u64, u64)) {
        let number = self.run() + 1;
        while self.runs.len() >= RUNS_KEPT {
            self.runs.pop_front();
        }
        self.runs.push_back(Run {
            number,
            started_ns,
            epoch,
            seq,
        });
    }
}

/// How a container's log is stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum LogFormat {
    #[default]
    JsonFile,
    Local,
}

/// The log of a container as resolved at create: what the driver's options mean.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LogSettings {
    #[serde(default)]
    pub(crate) format: LogFormat,
    /// Bytes at which a file is rotated; `None` is unlimited.
    pub(crate) max_size: Option<u64>,
    /// Files that are kept, with the current one.
    pub(crate) max_file: u32,
}

/// Everything stored of a container.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Record {
    pub(crate) version: u32,
    pub(crate) id: String,
    /// Without the leading `/`.
    pub(crate) name: String,
    /// Nanoseconds since 1970.
    pub(crate) created_ns: i64,
    /// `sha256:...`.
    pub(crate) image_id: String,
    /// The image's configuration is merged into it.
    pub(crate) config: ContainerConfig,
    /// Defaults are filled in.
    pub(crate) host: HostConfig,
    /// What is mounted, as create found it; `None` in the files of a daemon before there were volumes.
    #[serde(default)]
    pub(crate) mounts: Option<Vec<MountPoint>>,
    /// `None`: no log is kept (driver `none`).
    pub(crate) log: Option<LogSettings>,
    /// What it asks of networks; the first is that of its mode.
    #[serde(default)]
    pub(crate) networks: Vec<crate::network::model::Wish>,
    pub(crate) state: State,
}

/// Why a container's files are not used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StateError {
    #[error("cannot read {path}")]
    Read { path: PathBuf, source: io::Error },
    #[error("cannot write {path}")]
    Write { path: PathBuf, source: io::Error },
    #[error("{path} is damaged")]
    Damaged {
        path: PathBuf,
        source: serde_json::Error,
    },
    #[error("{path} has version {found}, this daemon knows versions up to {VERSION}")]
    Newer { path: PathBuf, found: u64 },
    #[error("{path} is of container {found:?}")]
    Foreign { path: PathBuf, found: String },
}

impl Record {
    /// First word of the command line, as `inspect` has it.
    pub(crate) fn command(&self) -> (String, Vec<String>) {
        let mut words = self
            .config
            .entrypoint
            .iter()
            .flatten()
            .chain(self.config.cmd.iter().flatten())
            .cloned();
        let path = words.next().unwrap_or_default();
        (path, words.collect())
    }

    /// What is mounted.
    pub(crate) fn points(&self) -> &[MountPoint] {
        self.mounts.as_deref().unwrap_or_default()
    }

    /// Files the log may have; `None` if none is kept.
    pub(super) fn log_files(&self) -> Option<u32> {
        self.log.as_ref().map(|log| log.max_file)
    }

    /// Reads a container's state file.
    ///
    /// # Errors
    /// Unreadable, damaged, of a newer version, or of another container.
    pub(crate) fn load(dir: &Path, id: &str) -> Result<Self, StateError> {
        let path = dir.join(STATE_FILE);
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(source) => return Err(StateError::Read { path, source }),
        };
        let mut record: Self = parse(&bytes, VERSION).map_err(|error| match error {
            Unusable::Damaged(source) => StateError::Damaged {
                path: path.clone(),
                source,
            },
            Unusable::Newer(found) => StateError::Newer {
                path: path.clone(),
                found,
            },
        })?;
        if record.id != id {
            return Err(StateError::Foreign {
                path,
                found: record.id,
            });
        }
        if record.mounts.is_none() {
            record.mounts = Some(old_mounts(&record.config, &record.host, dir));
        }
        record.add_networks();
        // Of a daemon that counted no runs.
        if let (Some(started), true) = (record.state.started_ns, record.state.runs.is_empty()) {
            record.state.add_run(started, (1, 1));
        }
        Ok(record)
    }

    /// Replaces the container's files. `state.json` is on the disk when this returns.
    ///
    /// # Errors
    /// The disk is full, read-only, or the folder is gone.
    pub(crate) fn save(&self, dir: &Path) -> Result<(), StateError> {
        let path = dir.join(STATE_FILE);
        let mut bytes = serde_json::to_vec_pretty(self).map_err(|error| StateError::Write {
            path: path.clone(),
            source: error.into(),
        })?;
        bytes.push(b'\n');
        replace(dir, STATE_FILE, &bytes, true)
            .map_err(|source| StateError::Write { path, source })?;
        // The copies are for others: losing one must not keep the container from running.
        for (name, value) in [
            ("config.v2.json", self.docker_config(dir)),
            ("hostconfig.json", json!(self.shown_host())),
        ] {
            if let Err(error) = replace(dir, name, value.to_string().as_bytes(), false) {
                tracing::warn!(container = self.id, error = %error, file = name, "copy of the configuration cannot be written");
            }
        }
        Ok(())
    }

    /// The host configuration as others may see it: without secrets among the log options.
    pub(crate) fn shown_host(&self) -> HostConfig {
        let mut host = self.host.clone();
        host.log_config.config = taffrail_drivers::masked(&host.log_config.config);
        host
    }

    /// The part of Docker's `config.v2.json` that collectors read.
    fn docker_config(&self, dir: &Path) -> Value {
        let (path, args) = self.command();
        json!({
            "ID": self.id,
            "Name": format!("/{}", self.name),
            "Created": time::rfc3339(self.created_ns),
            "Path": path,
            "Args": args,
            "Config": self.config,
            "Image": self.image_id,
            "State": self.docker_state(),
            "Driver": "overlay2",
            "OS": "linux",
            "LogPath": self.log_path(dir),
            "RestartCount": self.state.restart_count,
            "HasBeenStartedBefore": self.state.started_ns.is_some(),
            "HasBeenManuallyStopped": self.state.manually_stopped,
        })
    }

    /// `State` as `inspect` has it.
    pub(crate) fn docker_state(&self) -> Value {
        let state = &self.state;
        let at = |ns: Option<i64>| ns.map_or_else(|| time::ZERO.to_owned(), time::rfc3339);
        let mut shown = json!({
            "Status": state.status.as_str(),
            "Running": state.status.is_up(),
            "Paused": state.status == Status::Paused,
            "Restarting": state.status == Status::Restarting,
            "OOMKilled": state.oom_killed,
            "Dead": state.status == Status::Dead,
            "Pid": state.pid,
            "ExitCode": state.exit_code,
            "Error": state.error,
            "StartedAt": at(state.started_ns),
            "FinishedAt": at(state.finished_ns),
        });
        if let Some(health) = &state.health {
            shown["Health"] = health.shown();
        }
        // Beyond Docker's fields, and only where there is something to tell.
        if state.lost_records > 0 || state.lost_bytes > 0 {
            shown["LostRecords"] = state.lost_records.into();
            shown["LostBytes"] = state.lost_bytes.into();
        }
        shown
    }

    /// `LogPath`: the json-file log once there is one, else empty.
    pub(crate) fn log_path(&self, dir: &Path) -> String {
        let json = self
            .log
            .as_ref()
            .is_some_and(|log| log.format == LogFormat::JsonFile);
        if !json || self.state.started_ns.is_none() {
            return String::new();
        }
        log_file(dir, &self.id).display().to_string()
    }
}

fn log_file(dir: &Path, id: &str) -> PathBuf {
    dir.join(format!("{id}-json.log"))
}

impl Container {
    /// The current file of the log.
    pub(crate) fn log_path(&self) -> PathBuf {
        log_file(&self.dir, &self.id)
    }

    /// Folder of the log's side files.
    pub(crate) fn index_dir(&self) -> PathBuf {
        self.dir.join("index")
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::container) fn record() -> Record {
        Record {
            version: VERSION,
            id: "ab".repeat(32),
            name: "web".to_owned(),
            created_ns: 1_700_000_000_123_000_000,
            image_id: "sha256:00".to_owned(),
            config: ContainerConfig::default(),
            host: HostConfig::default(),
            mounts: Some(Vec::new()),
            log: Some(LogSettings {
                format: LogFormat::JsonFile,
                max_size: None,
                max_file: 1,
            }),
            networks: vec![crate::network::model::Wish {
                network: "bridge".to_owned(),
                ..Default::default()
            }],
            state: State::default(),
        }
    }

    #[test]
    fn round_trip_and_copies() {
        let dir = tempfile::tempdir().unwrap();
        let record = record();
        record.save(dir.path()).unwrap();
        assert_eq!(Record::load(dir.path(), &record.id).unwrap(), record);
        let copy: Value =
            serde_json::from_slice(&fs::read(dir.path().join("config.v2.json")).unwrap()).unwrap();
        assert_eq!(copy["ID"], record.id);
        assert_eq!(copy["Name"], "/web");
        assert_eq!(copy["LogPath"], "");
        assert_eq!(copy["Created"], "2023-11-14T22:13:20.123Z");
        let names: Vec<_> = fs::read_dir(dir.path())
            .unwrap()
            .map(|e| e.unwrap().file_name().into_string().unwrap())
            .filter(|n| n.contains("tmp"))
            .collect();
        assert!(names.is_empty(), "{names:?}");
    }

    #[test]
    fn refused_by_name() {
        let dir = tempfile::tempdir().unwrap();
        let id = "ab".repeat(32);
        let path = dir.path().join(STATE_FILE);
        assert!(matches!(
            Record::load(dir.path(), &id),
            Err(StateError::Read { .. })
        ));
        record().save(dir.path()).unwrap();
        let good = fs::read(&path).unwrap();
        for cut in [0, 1, good.len() / 2, good.len() - 3] {
            fs::write(&path, &good[..cut]).unwrap();
            assert!(
                matches!(
                    Record::load(dir.path(), &id),
                    Err(StateError::Damaged { .. })
                ),
                "{cut}"
            );
        }
        fs::write(&path, br#"{"version":2,"unlike":"anything"}"#).unwrap();
        let error = Record::load(dir.path(), &id).unwrap_err().to_string();
        assert!(error.contains("version 2"), "{error}");
        fs::write(&path, &good).unwrap();
        assert!(matches!(
            Record::load(dir.path(), &"cd".repeat(32)),
            Err(StateError::Foreign { .. })
        ));
    }
}
