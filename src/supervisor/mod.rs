//! The daemon's side of keeper and monitors: starts them, finds them again, reads their state
//! pages. Nothing here stands between an application and its log.

mod attach;
mod capture;
mod keeper;
mod log_end;
mod log_start;
mod page;
mod publish;
mod seqpacket;
mod spool;
mod stdin;

use std::collections::HashMap;
use std::ffi::OsString;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use taffrail_log_core::local::MAX_SEGMENT;
use taffrail_log_core::state::lifecycle;
use taffrail_monitor::proto::{Message, kind, unhex};

pub(crate) use attach::AttachStream;
pub(crate) use capture::{Capture, CaptureFigures, CommitListener, DAMAGED, Exit, LONG_LINES};
pub(crate) use spool::SpoolState;
pub(crate) use stdin::StdinWriter;

use keeper::Keeper;
use log_end::LogEnd;
pub(crate) use log_end::log_end;
use page::Page;

/// How long a fresh monitor has to begin with the runtime's `create`.
const FIRST_SIGN: Duration = Duration::from_secs(5);

/// Where the supervisor works.
#[derive(Clone, Debug)]
pub(crate) struct SupervisorOptions {
    pub(crate) exec_root: PathBuf,
    pub(crate) data_root: PathBuf,
    /// The `taffrail-monitor` to start; running ones keep their own.
    pub(crate) monitor_binary: PathBuf,
}

/// What a monitor is to do.
#[derive(Clone, Debug)]
pub(crate) struct CapturePlan {
    /// 64 hex digits.
    pub(crate) id: String,
    pub(crate) tty: bool,
    pub(crate) open_stdin: bool,
    /// Rows and columns of the terminal.
    pub(crate) console_size: Option<(u16, u16)>,
    /// The OCI runtime's `create`; the first is the absolute path of the runtime.
    pub(crate) create_argv: Vec<OsString>,
    pub(crate) log: LogPlan,
}

/// Where the output goes.
#[derive(Clone, Debug)]
pub(crate) enum LogPlan {
    Kept(LogFile),
    /// Counted, not kept.
    None,
}

/// A log that is kept.
#[derive(Clone, Debug)]
pub(crate) struct LogFile {
    /// The container's folder. The log's own folders lie in it: `index`, `spool`, `tmp`,
    /// `local-logs`.
    pub(crate) dir: PathBuf,
    pub(crate) format: LogFormat,
    /// Bytes at which the next file is begun; `None` is unlimited.
    pub(crate) max_size: Option<u64>,
    /// Files that are kept, with the current one.
    pub(crate) max_file: u32,
    /// A JSON object, or empty.
    pub(crate) attrs: Vec<u8>,
    /// Number of the run, from 1.
    pub(crate) run: u32,
    /// Each batch is on the disk before it counts (`sync=record`).
    pub(crate) sync: bool,
    /// The application waits rather than that the spool lets go of what a sink needs.
    pub(crate) blocking: bool,
    /// Most bytes of closed files past the log's own retention that are held for readers, until
    /// [`Capture::share_spool`] says another number.
    pub(crate) spool_share: u64,
}

/// How records are stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum LogFormat {
    /// Docker's json-file, with the name of the current file.
    JsonFile(OsString),
    /// Segments of our own format.
    Local,
}

impl LogFile {
    fn index_dir(&self) -> PathBuf {
        self.dir.join("index")
    }

    fn spool_dir(&self) -> PathBuf {
        self.dir.join("spool")
    }

    fn tmp_dir(&self) -> PathBuf {
        self.dir.join("tmp")
    }

    fn segments_dir(&self) -> PathBuf {
        self.dir.join("local-logs")
    }
}

/// What can go wrong between daemon, keeper and monitors.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum SupervisorError {
    #[error("{what} {path}: {source}", path = path.display())]
    Io {
        what: &'static str,
        path: PathBuf,
        source: io::Error,
    },
    #[error("monitor binary {path} not found; install taffrail-monitor beside taffrail or name it with --monitor-binary", path = path.display())]
    NoMonitor { path: PathBuf },
    #[error("the keeper of {path} does not answer", path = path.display())]
    KeeperSilent { path: PathBuf },
    #[error("the keeper could not start a monitor: {0}")]
    Spawn(io::Error),
    #[error("container id {0:?} is not 64 hex digits")]
    BadId(String),
    #[error(transparent)]
    Log(#[from] taffrail_log::ReadError),
    #[error("state file {path} is damaged or of another version", path = path.display())]
    BadState { path: PathBuf },
}

/// Why a container could not be created.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum CreateError {
    /// The OCI runtime's `create` ended with this wait status; its log says why.
    #[error("the runtime's create ended with wait status {status:#x}")]
    Runtime { status: i32 },
    /// The monitor died while the runtime worked. Nothing of the application has run.
    #[error("the monitor died during create")]
    MonitorDied,
    #[error("the monitor could not run the runtime: {0}")]
    Monitor(io::Error),
    #[error(transparent)]
    System(#[from] SupervisorError),
}

pub(crate) fn at<'a>(
    what: &'static str,
    path: &'a Path,
) -> impl FnOnce(io::Error) -> SupervisorError + 'a {
    move |source| SupervisorError::Io {
        what,
        path: path.to_owned(),
        source,
    }
}

/// One a daemon.
#[derive(Debug)]
pub(crate) struct Supervisor {
    options: SupervisorOptions,
    /// The monitor binary under its hash below the data root.
    monitor: PathBuf,
    keeper: Keeper,
    captures: Mutex<HashMap<String, Weak<Capture>>>,
}

impl Supervisor {
    /// Finds the keeper of the exec root or starts one.
    ///
    /// # Errors
    /// Folders that cannot be made, no monitor binary, a keeper that does not come up.
    pub(crate) async fn start(options: SupervisorOptions) -> Result<Arc<Self>, SupervisorError> {
        let containers = options.exec_root.join("c");
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&containers)
            .map_err(at("cannot make", &containers))?;
        let monitor = install_monitor(&options)?;
        let this = Arc::new_cyclic(|weak: &Weak<Self>| Self {
            keeper: Keeper::new(options.exec_root.clone(), monitor.clone(), weak.clone()),
            options,
            monitor,
            captures: Mutex::default(),
        });
        this.keeper.ensure().await?;
        Ok(this)
    }

    /// Folder of a container below the exec root.
    pub(crate) fn container_dir(&self, id: &str) -> PathBuf {
        self.options.exec_root.join("c").join(id)
    }

    /// Folder of a container's log below the data root.
    fn log_dir(&self, id: &str) -> PathBuf {
        self.options.data_root.join("containers").join(id)
    }

    /// Starts a monitor that runs the runtime's `create`, and waits for that.
    ///
    /// # Errors
    /// See [`CreateError`]. The folder is left for the caller to read the runtime's log; call
    /// [`Supervisor::discard`] then.
    pub(crate) async fn create(
        self: &Arc<Self>,
        plan: CapturePlan,
    ) -> Result<Arc<Capture>, CreateError> {
        let id = plan.id.clone();
        unhex(id.as_bytes()).ok_or_else(|| SupervisorError::BadId(id.clone()))?;
        let dir = self.container_dir(&id);
        let monitor = self.monitor.clone();
        let prepared = {
            let dir = dir.clone();
            tokio::task::spawn_blocking(move || prepare(&dir, &plan, &monitor).map(|()| plan.tty))
                .await
                .map_err(|e| CreateError::Monitor(io::Error::other(e)))?
        }?;
        let page = Page::map(&dir)?;
        let capture =
            Capture::new(self, id.clone(), dir, page, prepared).map_err(CreateError::System)?;
        self.remember(&capture);
        self.spawn_monitor(&id).await?;
        capture.connect();
        let deadline = tokio::time::Instant::now() + FIRST_SIGN;
        loop {
            let mut seen = capture.changes();
            seen.mark_unchanged();
            match capture.page().lifecycle() {
                lifecycle::CREATED | lifecycle::ENDED => return Ok(capture),
                lifecycle::FAILED => {
                    let status = capture.page().create_status();
                    capture.stop_watching();
                    return Err(match status {
                        s if s == -nix::libc::EOWNERDEAD => CreateError::MonitorDied,
                        s if s < 0 => CreateError::Monitor(io::Error::from_raw_os_error(-s)),
                        status => CreateError::Runtime { status },
                    });
                }
                // It dies before it can say why: no start may wait for it for ever.
                lifecycle::NEW if tokio::time::Instant::now() > deadline => {
                    capture.stop_watching();
                    return Err(CreateError::MonitorDied);
                }
                _ => {}
            }
            let _ = tokio::time::timeout(Duration::from_millis(100), seen.changed()).await;
        }
    }

    /// Finds the capture of a container that a daemon before this one started. `None`: there is
    /// nothing, or the container never got as far as an application.
    ///
    /// # Errors
    /// A state file that is damaged or of another version, a keeper that does not answer.
    pub(crate) async fn adopt(
        self: &Arc<Self>,
        id: &str,
    ) -> Result<Option<Arc<Capture>>, SupervisorError> {
        let dir = self.container_dir(id);
        if !dir.join("state").exists() {
            return Ok(None);
        }
        let page = Page::map(&dir)?;
        match page.lifecycle() {
            lifecycle::CREATED | lifecycle::ENDED => {}
            _ => return Ok(None),
        }
        let tty = !dir.join("stderr").exists();
        let ended = page.lifecycle() == lifecycle::ENDED;
        // Whoever was attached went with the daemon.
        page.attach_want(false);
        page.get()
            .followers
            .store(0, std::sync::atomic::Ordering::Relaxed);
        let capture = Capture::new(self, id.to_owned(), dir, page, tty)?;
        self.remember(&capture);
        if ended {
            capture.finish();
        } else {
            // A keeper that lost this one's monitor (or is new) starts another; one that lives
            // is left alone.
            self.keeper.ensure().await?;
            capture.connect();
        }
        Ok(Some(capture))
    }

    /// Removes what [`Supervisor::create`] left of a container that could not be created, or what
    /// an earlier daemon left.
    pub(crate) async fn discard(&self, id: &str) {
        if let Some(raw) = unhex(id.as_bytes()) {
            let _ = self
                .keeper
                .request(Message::new(kind::FORGET, raw), None)
                .await;
        }
        if let Ok(mut captures) = self.captures.lock() {
            captures.remove(id);
        }
        let dir = self.container_dir(id);
        let log_dir = self.log_dir(id);
        let _ = tokio::task::spawn_blocking(move || {
            // A run that never wrote to its log leaves it as it was.
            if let Ok(page) = Page::map(&dir)
                && let Some((word, slot)) = page.get().committed()
                && word.commit == 1
                && slot.run != 0
            {
                let _ = LogEnd::of(&slot).store(&log_dir);
            }
            std::fs::remove_dir_all(dir)
        })
        .await;
    }

    /// Ends the keeper if it holds no container.
    pub(crate) async fn shutdown_if_idle(&self) {
        self.keeper.shutdown().await;
    }

    fn remember(&self, capture: &Arc<Capture>) {
        if let Ok(mut captures) = self.captures.lock() {
            captures.insert(capture.id().to_owned(), Arc::downgrade(capture));
        }
    }

    /// The capture of a container that is not forgotten, and whose end was not seen.
    fn watched(&self, id: &str) -> Option<Arc<Capture>> {
        let captures = self.captures.lock().ok()?;
        let capture = captures.get(id).and_then(Weak::upgrade)?;
        (!capture.is_stopped()).then_some(capture)
    }

    /// Asks the keeper for a monitor, and gives it the terminal back if this daemon holds it.
    async fn spawn_monitor(&self, id: &str) -> Result<(), SupervisorError> {
        let raw = unhex(id.as_bytes()).ok_or_else(|| SupervisorError::BadId(id.to_owned()))?;
        let reply = self
            .keeper
            .request(Message::new(kind::SPAWN, raw), None)
            .await?;
        if reply.kind != kind::OK {
            return Err(SupervisorError::Spawn(io::Error::from_raw_os_error(
                reply.a,
            )));
        }
        let capture = self
            .captures
            .lock()
            .ok()
            .and_then(|c| c.get(id).and_then(Weak::upgrade));
        if let Some(master) = capture.and_then(|c| c.master()) {
            self.keeper
                .send(Message::new(kind::MASTER, raw), Some(master))
                .await;
        }
        Ok(())
    }
}

/// Puts the monitor binary at `<data root>/bin/<hash>` (decision 4), so that a container's monitor
/// is started again from the same file after an upgrade.
fn install_monitor(options: &SupervisorOptions) -> Result<PathBuf, SupervisorError> {
    use sha2::{Digest, Sha256};
    let source = &options.monitor_binary;
    let bytes = std::fs::read(source).map_err(|_| SupervisorError::NoMonitor {
        path: source.clone(),
    })?;
    let hash = Sha256::digest(&bytes);
    let name: String = hash.iter().take(16).map(|b| format!("{b:02x}")).collect();
    let bin = options.data_root.join("bin");
    std::fs::create_dir_all(&bin).map_err(at("cannot make", &bin))?;
    let target = bin.join(name);
    if !target.exists() {
        let fresh = bin.join(format!("new.{}", std::process::id()));
        std::fs::write(&fresh, &bytes).map_err(at("cannot write", &fresh))?;
        std::fs::set_permissions(&fresh, std::fs::Permissions::from_mode(0o755))
            .map_err(at("cannot set mode of", &fresh))?;
        std::fs::rename(&fresh, &target).map_err(at("cannot name", &target))?;
    }
    Ok(target)
}

/// Makes what a monitor finds in its folder: pipes, state file, settings, itself.
fn prepare(dir: &Path, plan: &CapturePlan, monitor: &Path) -> Result<(), SupervisorError> {
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
        .map_err(at("cannot make", dir))?;
    for old in [
        "stdout",
        "stderr",
        "stdin",
        "state",
        "monitor.conf",
        "monitor",
        "exit",
        "pid",
        "ctl.sock",
    ] {
        let path = dir.join(old);
        match std::fs::remove_file(&path) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => {
                return Err(at("cannot remove", &path)(e));
            }
            _ => {}
        }
    }
    let attach = dir.join("attach");
    let _ = std::fs::remove_dir_all(&attach);
    std::fs::DirBuilder::new()
        .mode(0o700)
        .create(&attach)
        .map_err(at("cannot make", &attach))?;
    // 0622: the application may run as any user and open /dev/stdout, which is this inode; the
    // folder is 0700, so nobody else gets here.
    let mut pipes = vec![("stdout", 0o622)];
    if !plan.tty {
        pipes.push(("stderr", 0o622));
        if plan.open_stdin {
            pipes.push(("stdin", 0o644));
        }
    }
    for (name, mode) in pipes {
        let path = dir.join(name);
        let made = nix::unistd::mkfifo(&path, nix::sys::stat::Mode::from_bits_truncate(mode));
        made.map_err(|e| at("cannot make pipe", &path)(e.into()))?;
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode))
            .map_err(at("cannot set mode of", &path))?;
    }
    let link = dir.join("monitor");
    std::os::unix::fs::symlink(monitor, &link).map_err(at("cannot link", &link))?;
    let conf = dir.join("monitor.conf");
    std::fs::write(&conf, settings(plan)).map_err(at("cannot write", &conf))?;
    let (slot, share) = match &plan.log {
        LogPlan::Kept(log) => (log_start::first_slot(log)?, log.spool_share),
        LogPlan::None => (log_start::no_log(), 0),
    };
    Page::make(dir, &plan.id, &slot, share)
}

/// `monitor.conf` (`taffrail_monitor::conf`).
fn settings(plan: &CapturePlan) -> Vec<u8> {
    let mut out = Vec::new();
    let mut put = |key: &str, value: &[u8]| {
        out.extend_from_slice(key.as_bytes());
        out.push(b'=');
        out.extend_from_slice(value);
        out.push(0);
    };
    match &plan.log {
        LogPlan::Kept(log) => {
            match &log.format {
                LogFormat::JsonFile(name) => {
                    put("format", b"json-file");
                    put("log_dir", log.dir.as_os_str().as_bytes());
                    put("log_name", name.as_bytes());
                    put("max_size", log.max_size.unwrap_or(0).to_string().as_bytes());
                    put("max_file", log.max_file.to_string().as_bytes());
                }
                LogFormat::Local => {
                    put("format", b"local");
                    put("log_dir", log.segments_dir().as_os_str().as_bytes());
                    // Zero is never to the monitor, and a segment for each batch to the user.
                    let size = log.max_size.unwrap_or(MAX_SEGMENT).clamp(1, MAX_SEGMENT);
                    put("max_size", size.to_string().as_bytes());
                    let files = log.max_size.map_or(u64::MAX >> 1, |_| log.max_file.into());
                    put("max_file", files.to_string().as_bytes());
                }
            }
            put("index_dir", log.index_dir().as_os_str().as_bytes());
            put("spool_dir", log.spool_dir().as_os_str().as_bytes());
            put("tmp_dir", log.tmp_dir().as_os_str().as_bytes());
            put("run", log.run.to_string().as_bytes());
            put("sync", if log.sync { b"1" } else { b"0" });
            put("blocking", if log.blocking { b"1" } else { b"0" });
            put("attrs", &log.attrs);
        }
        LogPlan::None => put("discard", b"1"),
    }
    put("tty", if plan.tty { b"1" } else { b"0" });
    put("stdin", if plan.open_stdin { b"1" } else { b"0" });
    if let Some((rows, cols)) = plan.console_size {
        put("rows", rows.to_string().as_bytes());
        put("cols", cols.to_string().as_bytes());
    }
    for arg in &plan.create_argv {
        put("arg", arg.as_bytes());
    }
    out
}

/// Opens a FIFO without waiting for its other end.
pub(crate) fn open_fifo(path: &Path) -> io::Result<std::fs::File> {
    std::fs::OpenOptions::new()
        .read(true)
        .custom_flags(nix::libc::O_NONBLOCK)
        .open(path)
}

#[cfg(test)]
mod tests;
