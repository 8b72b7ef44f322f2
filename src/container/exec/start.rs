//! `POST /exec/{id}/start`.

use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::console::Console;
use super::create::check_running;
use super::io::{Channel, ExecInput, ExecOutput, read_output};
use super::process::{self, Ends, Folder, News, Open, Started};
use super::{Exec, Phase};
use crate::container::exit::blocking;
use crate::container::{Container, Stream};
use crate::daemon::Daemon;
use crate::errors::{ApiError, ErrorKind, chain};
use crate::runtime::{self, ExecInput as ProcessInput, OciRuntime, StartFailure, exec_files};

/// How long a runtime may take. In a container that is paused meanwhile it stands still.
const START: Duration = Duration::from_secs(120);
/// How long it may take to be gone once it is to be given up.
const GIVE_UP: Duration = Duration::from_secs(5);

/// The right to start an exec, which is given once. Dropped without a start, the exec has failed.
#[derive(Debug)]
pub(crate) struct Claim {
    daemon: Arc<Daemon>,
    exec: Arc<Exec>,
    container: Arc<Container>,
    used: bool,
}

/// A started exec, as its client has it.
#[derive(Debug)]
pub(crate) struct ExecSession {
    /// `None` if it has no stdin, or no client wants to write.
    pub(crate) input: Option<ExecInput>,
    pub(crate) output: ExecOutput,
}

/// How an exec is started (docs: Engine API `ExecStart`).
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct ExecStart {
    /// Nobody reads or writes.
    pub(crate) detach: bool,
    /// Rows and columns, instead of those of the exec's creation.
    pub(crate) console_size: Option<(u16, u16)>,
}

impl Daemon {
    /// Takes an exec for its start.
    ///
    /// # Errors
    /// 404 if there is none, 409 if it was started before, or its container does not run now.
    pub(crate) fn exec_claim(self: &Arc<Self>, id: &str) -> Result<Claim, ApiError> {
        self.check_not_ending()?;
        let exec = self.execs.find(id)?;
        let container = exec
            .of
            .upgrade()
            .ok_or_else(|| ApiError::not_found(format!("No such exec instance: {id}")))?;
        check_running(&container, &container.id)?;
        {
            let mut inner = exec.inner();
            let what = match inner.phase {
                Phase::Created => None,
                Phase::Starting | Phase::Running => Some("is already running"),
                Phase::Ended => Some("has already run"),
            };
            if let Some(what) = what {
                return Err(ApiError::conflict(format!(
                    "Error: Exec command {id} {what}"
                )));
            }
            inner.phase = Phase::Starting;
        }
        Ok(Claim {
            daemon: Arc::clone(self),
            exec,
            container,
            used: false,
        })
    }

    /// Where the runtime finds an exec's files. Wiped at the daemon's start.
    fn exec_dir(&self, id: &str) -> PathBuf {
        // Short, as there is a socket in it.
        let name = id.get(..16).unwrap_or(id);
        self.settings().exec_root.join("exec").join(name)
    }

    /// Removes what an earlier daemon has left of execs that were being started. Blocking.
    pub(crate) fn clear_execs(exec_root: &Path) {
        let dir = exec_root.join("exec");
        if let Err(error) = std::fs::remove_dir_all(&dir)
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(dir = %dir.display(), %error, "files of earlier execs cannot be removed");
        }
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        if !self.used && self.exec.end(126) {
            tracing::debug!(exec = self.exec.id, "exec was claimed and not started");
        }
    }
}

impl Claim {
    pub(crate) fn exec(&self) -> &Arc<Exec> {
        &self.exec
    }

    /// Runs the process. On return it runs, and its output is being read.
    ///
    /// # Errors
    /// In Docker's words: 400 if the program is not found or cannot be run, else 500. The exec has
    /// then ended with 126 or 127.
    pub(crate) async fn start(mut self, start: ExecStart) -> Result<ExecSession, ApiError> {
        self.used = true;
        let (daemon, exec) = (Arc::clone(&self.daemon), Arc::clone(&self.exec));
        // Goes on to its end also when the client leaves meanwhile: half a start helps nobody.
        let run = tokio::spawn(async move {
            let result = self.run(start).await;
            if let Err(failure) = &result {
                self.exec.end(failure.exit_code);
            }
            result
        });
        let result = run.await.unwrap_or_else(|_| {
            exec.end(126);
            Err(broken("the start of the exec was not finished"))
        });
        drop(daemon);
        result.map_err(|failure| ApiError::new(failure.kind, failure.message))
    }

    async fn run(&self, start: ExecStart) -> Result<ExecSession, StartFailure> {
        let (daemon, exec, container) = (&self.daemon, &self.exec, &self.container);
        let config = &exec.config;
        let record = container.record();
        let oci = daemon
            .oci_runtime(&record.host.runtime)
            .map_err(|e| broken(e.message))?;
        let argv = oci
            .exec_argv(&container.id, config.tty)
            .map_err(|e| broken(chain(&e)))?;
        daemon.exec_event(container, exec, "exec_start", true, None);
        let tapped = exec.tap.get().is_some();
        let wanted = !start.detach;
        let open = Open {
            tty: config.tty,
            stdin: config.attach_stdin && wanted,
            stdout: (config.attach_stdout && wanted) || tapped,
            stderr: (config.attach_stderr && wanted) || tapped,
            merged: config.merged,
        };
        let console_size = {
            let mut inner = exec.inner();
            if start.console_size.is_some() {
                inner.size = start.console_size;
            }
            inner.size
        };
        if !config.working_dir.is_empty() && !config.working_dir.starts_with('/') {
            // The runtime's words, before it has its turn.
            let text = "exec failed: Cwd must be an absolute path";
            return Err(runtime::exec_failure(text));
        }
        let (folder, console) = self.prepare(console_size).await?;
        let (started, parent, ends) = process::spawn(&daemon.attendant(), argv, &folder.0, open)
            .await
            .map_err(|e| broken(format!("cannot run taffrail-runtime: {e}")))?;
        exec.has_parent(parent);
        let begun = self.begin(started, console.as_ref(), &folder).await;
        // The runtime has read its files.
        blocking(move || drop((folder, console))).await;
        let (started, pid, terminal) = begun?;
        self.running(started, pid, terminal, ends, start)
    }

    /// The folder, and in it the socket for a terminal.
    async fn prepare(
        &self,
        console_size: Option<(u16, u16)>,
    ) -> Result<(Folder, Option<Console>), StartFailure> {
        let record = self.container.record();
        let exec = Arc::clone(&self.exec);
        let bundle = self
            .daemon
            .supervisor
            .container_dir(&record.id)
            .join("bundle");
        let rootfs = self.daemon.overlay_dir(&record.id).join("merged");
        let dir = self.daemon.exec_dir(&exec.id);
        let runtime = tokio::runtime::Handle::current();
        blocking(move || {
            let config = &exec.config;
            let process = runtime::exec_process(&ProcessInput {
                config: &record.config,
                host: &record.host,
                bundle: &bundle,
                rootfs: &rootfs,
                args: &config.cmd,
                env: &config.env,
                user: &config.user,
                working_dir: &config.working_dir,
                tty: config.tty,
                privileged: config.privileged,
                console_size,
            })
            .map_err(|error| {
                let error = ApiError::from(error);
                StartFailure {
                    message: error.message,
                    exit_code: 126,
                    kind: error.kind,
                }
            })?;
            let failed = |e: io::Error| broken(format!("{}: {e}", dir.display()));
            let folder = Folder::make(dir.clone(), &process).map_err(failed)?;
            let _within = runtime.enter();
            let console = config
                .tty
                .then(|| Console::bind(&folder.0.join(exec_files::CONSOLE)))
                .transpose()
                .map_err(failed)?;
            Ok((folder, console))
        })
        .await
        .unwrap_or_else(|| Err(broken("the daemon is ending")))
    }

    /// Waits until the runtime has done its part.
    async fn begin(
        &self,
        mut started: Started,
        console: Option<&Console>,
        folder: &Folder,
    ) -> Result<(Started, i32, Option<OwnedFd>), StartFailure> {
        let mut terminal = None;
        let given_up = async {
            let ended = self
                .container
                .wait_until(|inner| !inner.record.state.status.has_process());
            let _ = tokio::time::timeout(START, ended).await;
        };
        tokio::pin!(given_up);
        // Neither must be lost when the other comes while it is half there.
        let sent = process::terminal(console);
        tokio::pin!(sent);
        let news = {
            let news = started.news();
            tokio::pin!(news);
            loop {
                tokio::select! {
                    news = &mut news => break Some(news),
                    sent = &mut sent, if terminal.is_none() => terminal = Some(sent),
                    () = &mut given_up => break None,
                }
            }
        };
        let text = match news {
            Some(News::Started(pid)) => {
                let terminal = match (console, terminal) {
                    (None, _) => None,
                    (Some(_), Some(sent)) => Some(sent),
                    // It was sent before the program began, and is there to be taken.
                    (Some(_), None) => Some(
                        tokio::time::timeout(GIVE_UP, &mut sent)
                            .await
                            .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())),
                    ),
                };
                match terminal.transpose() {
                    Ok(terminal) => return Ok((started, pid, terminal)),
                    Err(error) => {
                        self.exec.kill();
                        Some(format!("no terminal from the runtime: {error}"))
                    }
                }
            }
            Some(_) => None,
            None => {
                self.exec.kill();
                Some("the container has ended, or the runtime does not answer".to_owned())
            }
        };
        started.reap();
        let log = folder.0.join(exec_files::LOG);
        let text = match text {
            Some(text) => text,
            None => blocking(move || OciRuntime::read_error(&log))
                .await
                .flatten()
                .unwrap_or_else(|| "the runtime does not say why".to_owned()),
        };
        Err(runtime::exec_failure(&text))
    }

    /// Notes that the process runs, and waits for its end in the background.
    fn running(
        &self,
        started: Started,
        pid: i32,
        terminal: Option<OwnedFd>,
        mut ends: Ends,
        start: ExecStart,
    ) -> Result<ExecSession, StartFailure> {
        let exec = &self.exec;
        ends.terminal = terminal
            .map(Channel::new)
            .transpose()
            .unwrap_or_else(|error| {
                tracing::warn!(exec = exec.id, %error, "terminal of an exec cannot be used");
                None
            });
        if let Some(terminal) = &ends.terminal {
            ends.outputs.push((Stream::Stdout, Arc::clone(terminal)));
        }
        {
            let mut inner = exec.inner();
            inner.phase = Phase::Running;
            inner.pid = pid;
            inner.terminal.clone_from(&ends.terminal);
            // One that came while it was being started.
            if let (Some(terminal), Some((rows, columns))) = (&ends.terminal, inner.size) {
                let _ = terminal.resize(rows, columns);
            }
        }
        exec.changed.send_replace(());
        if let Some(tap) = exec.tap.get() {
            tap.started(exec);
        }
        let (daemon, container) = (Arc::clone(&self.daemon), Arc::clone(&self.container));
        let ended = Arc::clone(exec);
        tokio::spawn(async move {
            let code = started.exited().await;
            ended.end(code);
            if let Some(tap) = ended.tap.get() {
                tap.ended(&ended, code);
            }
            daemon.exec_event(&container, &ended, "exec_die", false, Some(code));
        });
        let wanted = !start.detach && (exec.config.attach_stdout || exec.config.attach_stderr);
        let input = ends
            .stdin
            .take()
            .or_else(|| {
                let wants = exec.config.attach_stdin && !start.detach;
                ends.terminal.take().filter(|_| wants)
            })
            .map(ExecInput);
        Ok(ExecSession {
            input,
            output: read_output(exec, ends.outputs, wanted),
        })
    }
}

/// A failure before the runtime had its turn, or beside it.
fn broken(text: impl Into<String>) -> StartFailure {
    StartFailure {
        message: text.into(),
        exit_code: 126,
        kind: ErrorKind::System,
    }
}
