//! `start`: root file system, bundle, capture, runtime; undone in the opposite order when one of
//! them fails.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::exit::blocking;
use super::state::LogFormat;
use super::{Container, Record, State, Status, log_config, signal, time, volumes};
use crate::daemon::Daemon;
use crate::errors::{ApiError, ErrorKind, chain};
use crate::runtime::{self, OciRuntime, Prepared, SpecInput, StartFailure};
use crate::supervisor::{self, Capture, CapturePlan, CreateError, LogFile, LogPlan};

/// Longest path in a `sockaddr_un`.
const MAX_SOCKET_PATH: usize = 107;

impl Daemon {
    /// Starts a container (docs: Engine API `ContainerStart`).
    ///
    /// # Errors
    /// 304 if it runs, 409 while it is being removed, 400 if its command is not found or cannot be
    /// run, else 500. A container that could not be started stays created (or exited), with the
    /// text in `State.Error`.
    pub(crate) async fn start(
        self: &Arc<Self>,
        container: &Arc<Container>,
    ) -> Result<(), ApiError> {
        let verb = container.verb.lock().await;
        self.check_not_ending()?;
        match container.inner().record.state.status {
            Status::Paused => {
                return Err(ApiError::conflict(
                    "cannot start a paused container, try unpause instead",
                ));
            }
            Status::Running | Status::Restarting => {
                return Err(ApiError::new(ErrorKind::NotModified, ""));
            }
            Status::Removing | Status::Dead => {
                return Err(ApiError::conflict(
                    "container is marked for removal and cannot be started",
                ));
            }
            Status::Created | Status::Exited => {}
        }
        match self.run(container, Starter::User).await {
            Ok(()) => Ok(()),
            Err(failure) => {
                let auto_remove = {
                    let mut inner = container.inner();
                    let state = &mut inner.record.state;
                    state.exit_code = failure.exit_code;
                    state.error = failure.message.clone();
                    inner.record.host.auto_remove
                };
                if !auto_remove {
                    self.save(container).await;
                }
                {
                    let mut inner = container.inner();
                    inner.end_attach();
                    inner.answer_exit_waiters();
                    inner.notify();
                }
                if auto_remove {
                    // Who is told of the failure finds nothing left, as with Docker.
                    drop(verb);
                    self.auto_remove(container).await;
                }
                Err(ApiError::new(failure.kind, failure.message))
            }
        }
    }

    /// Starts a container whose `verb` the caller holds.
    pub(super) async fn run(
        self: &Arc<Self>,
        container: &Arc<Container>,
        starter: Starter,
    ) -> Result<(), StartFailure> {
        self.take_names(container).map_err(broken)?;
        let record = container.record();
        let oci = self.oci_runtime(&record.host.runtime).map_err(broken)?;
        let mut again = true;
        let capture = loop {
            match self.create_in_runtime(container, &record, &oci).await {
                Ok(capture) => break capture,
                Err(CreateFailure::MonitorDied) if again => {
                    again = false;
                    tracing::warn!(
                        container = container.id,
                        "monitor died while the container was created, once more"
                    );
                    self.undo_create(container).await;
                }
                Err(failure) => {
                    self.undo_create(container).await;
                    return Err(failure.into());
                }
            }
        };
        let pid = capture.pid();
        // The application is not running yet, so the process is surely there.
        let pid_start = signal::start_time(pid).unwrap_or_default();
        {
            let mut inner = container.inner();
            inner.capture = Some(Arc::clone(&capture));
            inner.answer_attach(&capture);
        }
        self.begin_delivery(container, &capture).await;
        container.holds().watch(&capture);
        self.network_events(container, "connect");
        self.volume_events(container, "mount");
        let position = capture
            .source()
            .committed()
            .map_or((1, 1), |c| (c.epoch, c.next_seq));
        // The application's first output is never older than its start.
        let started_ns = time::now_ns();
        let (restart_count, restart_delay_ms) = match starter {
            Starter::User => (0, 0),
            Starter::Policy => {
                let state = &container.inner().record.state;
                (state.restart_count, state.restart_delay_ms)
            }
        };
        let starting = Starting {
            run: record.state.run() + 1,
            pid,
            pid_start,
            started_ns,
            epoch: position.0,
            seq: position.1,
            restart_count,
            restart_delay_ms,
        };
        self.note_starting(container, &starting).await;
        if let Err(error) = oci.start(&container.id).await {
            let failure = runtime::start_failure(&error.to_string());
            self.clear_runtime(container).await;
            container.inner().capture = None;
            capture.release().await;
            return Err(failure);
        }
        {
            let mut inner = container.inner();
            inner.between_runs = false;
            let state = &mut inner.record.state;
            // A stop or kill that came while a policy started it has the last word.
            let stopped = starter == Starter::Policy && state.manually_stopped;
            starting.begin(state);
            state.manually_stopped = stopped;
            inner.begin_health();
            inner.notify();
        }
        self.save(container).await;
        self.container_event(container, "start", []);
        self.watch_oom(container);
        self.watch_health(container, false);
        self.watch_exit(container, capture);
        Ok(())
    }

    /// Mounts the root file system and writes the bundle.
    async fn prepare(&self, record: &Record, bundle: &Path) -> Result<Prepared, StartFailure> {
        let shared = self.shared(record).await.map_err(broken)?;
        let images = Arc::clone(&self.images);
        let volumes = Arc::clone(&self.volumes);
        let settings = self.settings();
        let record = record.clone();
        let files_dir = self.container_dir(&record.id);
        let bundle = bundle.to_owned();
        let cgroup_parent = self.cgroup_parent.clone();
        let init_binary = self.init_binary();
        blocking(move || {
            let rootfs = images
                .mount_rootfs(&record.id)
                .map_err(|error| broken(ApiError::system(chain(&error))))?;
            volumes::mount(&volumes, &record).map_err(broken)?;
            let input = SpecInput {
                id: &record.id,
                name: &record.name,
                config: &record.config,
                host: &record.host,
                rootfs: &rootfs,
                files_dir: &files_dir,
                mounts: record.points(),
                volumes_dir: volumes.root(),
                default_ulimits: &settings.default_ulimits,
                cgroup_parent: &cgroup_parent,
                init_binary: init_binary.as_deref(),
                console_size: console_size(&record),
                cdi_dirs: &settings.cdi_spec_dirs,
                shared: &shared,
            };
            let prepared =
                runtime::prepare(&input).map_err(|error| broken(ApiError::from(error)))?;
            runtime::write_bundle(&bundle, &prepared.spec)
                .map_err(|error| broken(ApiError::from(error)))?;
            Ok(prepared)
        })
        .await
        .unwrap_or_else(|| Err(broken(ApiError::system("the daemon is ending"))))
    }

    /// Has a monitor create the container with its output captured.
    async fn create_in_runtime(
        &self,
        container: &Arc<Container>,
        record: &Record,
        oci: &OciRuntime,
    ) -> Result<Arc<Capture>, CreateFailure> {
        let dir = self.supervisor.container_dir(&container.id);
        let bundle = dir.join("bundle");
        let prepared = self.prepare(record, &bundle).await?;
        for warning in &prepared.warnings {
            tracing::warn!(
                container = container.id,
                warning,
                "container starts not quite as asked"
            );
        }
        let runtime_log = dir.join("runtime.log");
        let console = record.config.tty.then(|| console_socket(&dir));
        let plan = CapturePlan {
            id: container.id.clone(),
            tty: record.config.tty,
            open_stdin: record.config.open_stdin,
            console_size: console_size(record),
            create_argv: oci.create_argv(
                &container.id,
                &bundle,
                &dir.join("pid"),
                console.as_deref(),
                &runtime_log,
            ),
            log: log_plan(container, record)?,
        };
        let error = match self.supervisor.create(plan).await {
            Ok(capture) => return Ok(capture),
            Err(CreateError::MonitorDied) => return Err(CreateFailure::MonitorDied),
            Err(error) => error,
        };
        let said = blocking(move || OciRuntime::read_error(&runtime_log)).await;
        Err(CreateFailure::Said(match said.flatten() {
            Some(text) => runtime::start_failure(&text),
            None => broken(ApiError::system(format!(
                "failed to create task for container: {}",
                chain(&error)
            ))),
        }))
    }

    async fn note_starting(&self, container: &Container, starting: &Starting) {
        let dir = self.supervisor.container_dir(&container.id);
        let starting = *starting;
        let written = blocking(move || starting.write(&dir)).await;
        if let Some(Err(error)) = written {
            // It is of use only if the daemon dies in the next moments.
            tracing::warn!(container = container.id, %error, "the start cannot be noted");
        }
    }

    /// Takes everything back that a create has done, as far as it came.
    async fn undo_create(self: &Arc<Self>, container: &Arc<Container>) {
        self.clear_runtime(container).await;
        self.supervisor.discard(&container.id).await;
    }
}

/// What the daemon knows of a run just before it begins. It lies in the container's run folder, so
/// that a daemon that comes after one that died before it had written the state down finds the run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Starting {
    /// Number of the run.
    pub(super) run: u64,
    pub(super) pid: i32,
    pub(super) pid_start: u64,
    started_ns: i64,
    epoch: u64,
    seq: u64,
    restart_count: u64,
    restart_delay_ms: u64,
}

impl Starting {
    const FILE: &str = "starting";

    fn write(&self, dir: &Path) -> std::io::Result<()> {
        let part = dir.join("starting.tmp");
        std::fs::write(&part, serde_json::to_vec(self)?)?;
        std::fs::rename(part, dir.join(Self::FILE))
    }

    /// `None` if no run was about to begin.
    pub(super) fn read(dir: &Path) -> Option<Self> {
        serde_json::from_slice(&std::fs::read(dir.join(Self::FILE)).ok()?).ok()
    }

    pub(super) fn remove(dir: &Path) {
        let _ = std::fs::remove_file(dir.join(Self::FILE));
    }

    /// The run has begun.
    pub(super) fn begin(&self, state: &mut State) {
        *state = State {
            status: Status::Running,
            pid: self.pid,
            pid_start: self.pid_start,
            started_ns: Some(self.started_ns),
            finished_ns: state.finished_ns,
            lost_records: state.lost_records,
            lost_bytes: state.lost_bytes,
            restart_count: self.restart_count,
            restart_delay_ms: self.restart_delay_ms,
            runs: std::mem::take(&mut state.runs),
            health: state.health.take(),
            ..State::default()
        };
        state.add_run(self.started_ns, (self.epoch, self.seq));
    }
}

/// Who wants a container to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Starter {
    /// The count of restarts and their pauses begin anew.
    User,
    Policy,
}

/// Why the runtime has no container.
enum CreateFailure {
    /// Nothing was wrong with the container; it can be tried again.
    MonitorDied,
    Said(StartFailure),
}

impl From<StartFailure> for CreateFailure {
    fn from(failure: StartFailure) -> Self {
        Self::Said(failure)
    }
}

impl From<CreateFailure> for StartFailure {
    fn from(failure: CreateFailure) -> Self {
        match failure {
            CreateFailure::Said(failure) => failure,
            CreateFailure::MonitorDied => broken(ApiError::system(
                "failed to create task for container: the monitor died twice",
            )),
        }
    }
}

fn log_plan(container: &Container, record: &Record) -> Result<LogPlan, StartFailure> {
    let Some(log) = &record.log else {
        return Ok(LogPlan::None);
    };
    let run = log_config::run_settings(record, &container.log_path().display().to_string())
        .map_err(|text| {
            broken(ApiError::system(format!(
                "failed to create task for container: failed to initialize logging driver: {text}"
            )))
        })?;
    let format = match log.format {
        LogFormat::JsonFile => supervisor::LogFormat::JsonFile(
            container
                .log_path()
                .file_name()
                .unwrap_or_default()
                .to_owned(),
        ),
        LogFormat::Local => supervisor::LogFormat::Local,
    };
    Ok(LogPlan::Kept(LogFile {
        dir: container.dir().to_owned(),
        format,
        max_size: log.max_size,
        max_file: log.max_file,
        attrs: run.attrs,
        run: u32::try_from(record.state.run() + 1).unwrap_or(u32::MAX),
        sync: run.sync,
        blocking: run.blocking,
        spool_share: run.spool_share,
    }))
}

/// Where the runtime finds the socket for the terminal. Socket paths are short: with a long exec
/// root it is named relative to the bundle, which runtimes make their working directory first.
fn console_socket(dir: &Path) -> PathBuf {
    let absolute = dir.join("console.sock");
    if absolute.as_os_str().len() <= MAX_SOCKET_PATH {
        absolute
    } else {
        PathBuf::from("../console.sock")
    }
}

/// Rows and columns that the client asked for, if there is a terminal.
fn console_size(record: &Record) -> Option<(u16, u16)> {
    let [rows, columns] = record.host.console_size;
    let size = (u16::try_from(rows).ok()?, u16::try_from(columns).ok()?);
    (record.config.tty && size != (0, 0)).then_some(size)
}

/// A failure before the runtime had its turn.
fn broken(error: ApiError) -> StartFailure {
    StartFailure {
        message: error.message,
        exit_code: 128,
        kind: error.kind,
    }
}
