//! One running container as the daemon sees it: its state page, its monitor's doorbell, its end.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering, fence};
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use taffrail_log::{CommitSource, Committed, PendingGap};
use taffrail_log_core::state::{lifecycle, phase};
use taffrail_monitor::proto::{Message, kind, unhex};
use tokio::sync::{Notify, watch};

use super::attach::{AttachHub, AttachStream};
use super::log_end::LogEnd;
use super::page::Page;
use super::publish::Publishes;
use super::seqpacket::SeqPacket;
use super::stdin::StdinWriter;
use super::{Supervisor, SupervisorError, open_fifo};
use crate::metrics::Counter;

/// How an application ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Exit {
    /// Exit code, 128 + n for signal n, 255 if it could not be learned.
    pub(crate) code: i32,
    /// False: the status could not be learned (`State.Error` says so).
    pub(crate) known: bool,
    /// The signal that ended it.
    pub(crate) signal: Option<i32>,
    /// Nanoseconds since 1970.
    pub(crate) at_ns: u64,
    /// Records and bytes that the log could not take.
    pub(crate) lost_records: u64,
    pub(crate) lost_bytes: u64,
}

/// Captures that ended because their state page was damaged or every monitor died of it.
pub(crate) static DAMAGED: Counter = Counter::new();

/// Long lines of runs that have ended.
pub(crate) static LONG_LINES: Counter = Counter::new();

/// Counters of a capture at a moment.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct CaptureFigures {
    /// Records in the log, from its first on.
    pub(crate) records: u64,
    /// Read from stdout and stderr in this run.
    pub(crate) bytes: [u64; 2],
    /// What the log could not take in this run.
    pub(crate) lost_records: u64,
    pub(crate) lost_bytes: u64,
    /// What the spool's bound took from readers.
    pub(crate) spool_lost_records: u64,
    pub(crate) spool_lost_bytes: u64,
    /// Reads that gave less than announced.
    pub(crate) anomalies: u64,
    /// Monitors that took over from a dead one.
    pub(crate) takeovers: u64,
    /// Lines of this run that were longer than a piece, or had no end.
    pub(crate) long_lines: u64,
    /// The application waits because the spool is full.
    pub(crate) waits: bool,
}

/// Hears of changes of a capture: commits that it has armed the doorbell for, and the end.
pub(crate) trait CommitListener: Send + Sync {
    fn changed(self: Arc<Self>);
}

/// See the module. Dropped when nobody is interested any more; the container runs on.
pub(crate) struct Capture {
    id: String,
    raw: [u8; 32],
    dir: PathBuf,
    pub(super) page: Page,
    tty: bool,
    supervisor: Weak<Supervisor>,
    changes: watch::Sender<u64>,
    listeners: Mutex<Vec<Weak<dyn CommitListener>>>,
    stopped: AtomicBool,
    /// How often the keeper gave its monitor up.
    respawns: AtomicU32,
    /// A message to the monitor is wanted.
    kick: Notify,
    master: Mutex<Option<Arc<OwnedFd>>>,
    hub: AttachHub,
    publishes: Publishes,
    /// The third holder of the pipes, beside monitor and keeper.
    _pipes: Vec<File>,
}

impl Capture {
    pub(super) fn new(
        supervisor: &Arc<Supervisor>,
        id: String,
        dir: PathBuf,
        page: Page,
        tty: bool,
    ) -> Result<Arc<Self>, SupervisorError> {
        let raw = unhex(id.as_bytes()).ok_or_else(|| SupervisorError::BadId(id.clone()))?;
        let pipes = ["stdout", "stderr"]
            .iter()
            .filter_map(|n| open_fifo(&dir.join(n)).ok())
            .collect();
        Ok(Arc::new(Self {
            id,
            raw,
            page,
            tty,
            supervisor: Arc::downgrade(supervisor),
            changes: watch::Sender::new(0),
            listeners: Mutex::default(),
            stopped: AtomicBool::new(false),
            respawns: AtomicU32::new(0),
            kick: Notify::new(),
            master: Mutex::default(),
            hub: AttachHub::new(dir.join("attach")),
            publishes: Publishes::default(),
            _pipes: pipes,
            dir,
        }))
    }

    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    pub(super) fn page(&self) -> &Page {
        &self.page
    }

    /// Pid of the application.
    pub(crate) fn pid(&self) -> i32 {
        self.page.get().app_pid.load(Ordering::Acquire)
    }

    pub(super) fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    fn changed(&self) {
        self.changes.send_modify(|n| *n += 1);
        let live: Vec<_> = match self.listeners.lock() {
            Ok(mut listeners) if !listeners.is_empty() => {
                listeners.retain(|one| one.strong_count() > 0);
                listeners.iter().filter_map(Weak::upgrade).collect()
            }
            _ => return,
        };
        for listener in live {
            listener.changed();
        }
    }

    /// Has `listener` hear of changes from now on.
    pub(crate) fn listen_to_commits(&self, listener: Weak<dyn CommitListener>) {
        if let Ok(mut listeners) = self.listeners.lock() {
            listeners.push(listener);
        }
    }

    /// No monitor is to be waited for any more.
    pub(super) fn stop_watching(&self) {
        self.stopped.store(true, Ordering::Release);
        self.kick.notify_one();
        self.changed();
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Acquire)
    }

    /// How long to wait before a monitor that dies all the time is started again: 200 ms, and
    /// twice as long each time, up to 5 s.
    pub(super) fn next_pause(&self) -> Duration {
        let times = self.respawns.fetch_add(1, Ordering::Relaxed).min(5);
        Duration::from_millis((200 << times).min(5000))
    }

    /// For a capture that had ended before this daemon came.
    pub(super) fn finish(&self) {
        self.stop_watching();
    }

    pub(super) fn master(&self) -> Option<Arc<OwnedFd>> {
        self.master.lock().ok().and_then(|m| m.clone())
    }

    /// Has the application ended, and is its log complete?
    pub(super) fn ended(&self) -> bool {
        self.page.lifecycle() == lifecycle::ENDED
    }

    /// Keeps a connection to the monitor, whichever process that is at the moment.
    pub(super) fn connect(self: &Arc<Self>) {
        let weak = Arc::downgrade(self);
        tokio::spawn(async move {
            let mut failures = 0u32;
            loop {
                let Some(this) = weak.upgrade() else { return };
                if this.stopped.load(Ordering::Acquire) || this.ended() {
                    this.changed();
                    return;
                }
                match SeqPacket::connect(&this.dir, "ctl.sock") {
                    Ok(socket) => {
                        failures = 0;
                        this.listen(socket).await;
                        this.changed();
                    }
                    Err(_) => failures += 1,
                }
                // The keeper starts a dead monitor within 100 ms; if none comes, ask for one.
                if failures > 0
                    && failures.is_multiple_of(50)
                    && !this.ended()
                    && !this.stopped.load(Ordering::Acquire)
                {
                    let supervisor = this.supervisor.upgrade();
                    if let Some(supervisor) = supervisor
                        && let Err(error) = supervisor.spawn_monitor(&this.id).await
                    {
                        tracing::warn!(container = %this.id, %error, "no monitor yet");
                    }
                }
                drop(this);
                let pause = if failures < 20 { 2 } else { 20 };
                tokio::time::sleep(Duration::from_millis(pause)).await;
            }
        });
    }

    /// Hears the monitor until it is gone.
    async fn listen(&self, socket: SeqPacket) {
        if socket
            .send(&Message::new(kind::HELLO, self.raw), None)
            .await
            .is_err()
        {
            return;
        }
        if let Some(master) = self.master() {
            use std::os::fd::AsFd;
            let _ = socket
                .send(&Message::new(kind::MASTER, self.raw), Some(master.as_fd()))
                .await;
        }
        loop {
            tokio::select! {
                message = socket.recv() => match message {
                    Ok(Some((m, fd))) => {
                        self.publishes.answered(&m);
                        if m.kind == kind::MASTER
                            && let (Some(fd), Ok(mut master)) = (fd, self.master.lock())
                            && master.is_none()
                        {
                            *master = Some(Arc::new(fd));
                        }
                        self.changed();
                    }
                    _ => return,
                },
                () = self.kick.notified() => {
                    if self.stopped.load(Ordering::Acquire)
                        || socket.send(&Message::new(kind::KICK, self.raw), None).await.is_err()
                    {
                        return;
                    }
                    for c in self.publishes.take_unsent() {
                        let message = Message {
                            c,
                            ..Message::new(kind::PUBLISH, self.raw)
                        };
                        if socket.send(&message, None).await.is_err() {
                            return;
                        }
                    }
                }
            }
        }
    }

    pub(super) fn kick(&self) {
        self.kick.notify_one();
    }

    /// Asks for the doorbell. What is committed after this call rings.
    pub(crate) fn arm(&self) {
        self.page.get().armed.store(1, Ordering::SeqCst);
        fence(Ordering::SeqCst);
    }

    /// Resolves when the application has ended and its log and attach output are complete.
    pub(crate) async fn exited(&self) -> Exit {
        let mut seen = self.changes();
        loop {
            seen.mark_unchanged();
            if self.ended() {
                self.hub.drained().await;
                return self.exit();
            }
            // The monitor rings at the end without being asked; the timeout is for one that died
            // right after its last commit, before it could.
            let _ = tokio::time::timeout(Duration::from_secs(1), seen.changed()).await;
        }
    }

    /// For a container whose application has ended: resolves when its state page turns out to be
    /// damaged, or every monitor dies of it, so that none will ever say that the log is complete.
    pub(crate) async fn damaged(&self) -> Exit {
        let given_up = self.respawns.load(Ordering::Relaxed) + 5;
        while self.page.intact() && self.respawns.load(Ordering::Relaxed) < given_up {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        DAMAGED.add(1);
        tracing::error!(container = %self.id, "state page is damaged; the end of the log may be missing");
        let now = std::time::UNIX_EPOCH.elapsed().unwrap_or_default();
        Exit {
            code: 255,
            known: false,
            signal: None,
            at_ns: u64::try_from(now.as_nanos()).unwrap_or(u64::MAX),
            lost_records: 0,
            lost_bytes: 0,
        }
    }

    pub(crate) fn figures(&self) -> CaptureFigures {
        let page = self.page.get();
        let slot = page.committed().map(|(_, slot)| slot).unwrap_or_default();
        CaptureFigures {
            records: slot.next_seq.saturating_sub(1),
            bytes: slot.bytes_in,
            lost_records: slot.lost_records,
            lost_bytes: slot.lost_bytes,
            spool_lost_records: slot.spool_lost_records,
            spool_lost_bytes: slot.spool_lost_bytes,
            anomalies: page.anomalies.load(Ordering::Relaxed).into(),
            takeovers: page.takeovers.load(Ordering::Relaxed).into(),
            long_lines: page.long_lines.load(Ordering::Relaxed),
            waits: page.spool_blocked.load(Ordering::Relaxed) != 0,
        }
    }

    fn exit(&self) -> Exit {
        let page = self.page.get();
        let known = page.exit_known.load(Ordering::Acquire) == 1;
        let status = page.exit_status.load(Ordering::Relaxed);
        let code = if !known {
            255
        } else if status & 0x7f == 0 {
            status >> 8 & 0xff
        } else {
            128 + (status & 0x7f)
        };
        let slot = page.committed().map(|(_, s)| s).unwrap_or_default();
        Exit {
            code,
            known,
            signal: Some(status & 0x7f).filter(|signal| known && *signal != 0),
            at_ns: page.exit_time.load(Ordering::Relaxed),
            lost_records: slot.lost_records,
            lost_bytes: slot.lost_bytes,
        }
    }

    /// What readers of the log ask for the committed end.
    pub(crate) fn source(self: &Arc<Self>) -> Arc<dyn CommitSource> {
        Arc::clone(self) as Arc<dyn CommitSource>
    }

    /// Waits until more than `beyond` is committed. False: the container has ended and nothing
    /// more will come (what came meanwhile must still be read).
    pub(crate) async fn wait_commit(&self, beyond: u64) -> bool {
        let followers = &self.page.get().followers;
        followers.fetch_add(1, Ordering::Relaxed);
        let _guard = scopeguard(|| {
            followers.fetch_sub(1, Ordering::Relaxed);
        });
        let mut seen = self.changes();
        loop {
            seen.mark_unchanged();
            self.arm();
            let now = self.page.get().committed();
            match now {
                Some((word, _)) if word.phase == phase::DONE || self.ended() => {
                    return word.commit > beyond;
                }
                Some((word, _)) if word.commit > beyond => return true,
                None => return false,
                _ => {}
            }
            if self.stopped.load(Ordering::Acquire) {
                return false;
            }
            let _ = seen.changed().await;
        }
    }

    /// Raw output from now on; ends with the container. Call it before the runtime's `start` to
    /// get all of it.
    pub(crate) fn attach(self: &Arc<Self>) -> AttachStream {
        self.hub.subscribe(self)
    }

    pub(super) fn publishes(&self) -> &Publishes {
        &self.publishes
    }

    pub(super) fn hub(&self) -> &AttachHub {
        &self.hub
    }

    /// A way to the application's stdin.
    ///
    /// # Errors
    /// The container has none, or it was closed for good.
    pub(crate) async fn stdin(&self) -> io::Result<StdinWriter> {
        if self.tty {
            let mut seen = self.changes();
            let deadline = tokio::time::Instant::now() + Duration::from_secs(10);
            loop {
                seen.mark_unchanged();
                if let Some(master) = self.master() {
                    return StdinWriter::terminal(&master);
                }
                if self.ended()
                    || tokio::time::timeout_at(deadline, seen.changed())
                        .await
                        .is_err()
                {
                    return Err(io::ErrorKind::NotConnected.into());
                }
            }
        }
        if self.page.get().stdin_closed.load(Ordering::Acquire) != 0 {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        StdinWriter::pipe(&self.dir.join("stdin"))
    }

    /// Ends the application's stdin for good (`StdinOnce`).
    pub(crate) async fn close_stdin(&self) {
        self.page.get().stdin_closed.store(1, Ordering::SeqCst);
        self.kick();
        if let Some(supervisor) = self.supervisor.upgrade() {
            let _ = supervisor
                .keeper
                .request(Message::new(kind::STDIN_CLOSED, self.raw), None)
                .await;
        }
    }

    /// Sets the terminal's window size; the application gets SIGWINCH.
    ///
    /// # Errors
    /// No terminal (yet), or it is gone.
    pub(crate) fn resize(&self, rows: u16, cols: u16) -> io::Result<()> {
        nix::ioctl_write_ptr_bad!(set_window, nix::libc::TIOCSWINSZ, nix::libc::winsize);
        use std::os::fd::AsRawFd;
        let master = self.master().ok_or(io::ErrorKind::NotConnected)?;
        let size = nix::libc::winsize {
            ws_row: rows,
            ws_col: cols,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        // SAFETY: an open descriptor and a whole `winsize`.
        unsafe { set_window(master.as_raw_fd(), &raw const size) }?;
        Ok(())
    }

    /// After the end: notes where the log ended, lets the keeper forget the container and removes
    /// its folder.
    pub(crate) async fn release(&self) {
        self.stop_watching();
        LONG_LINES.add(self.page.get().long_lines.swap(0, Ordering::Relaxed));
        let end = self.page.get().committed();
        if let (Some((word, slot)), Some(supervisor)) = (end, self.supervisor.upgrade())
            && word.phase == phase::DONE
            && slot.run != 0
        {
            let dir = supervisor.log_dir(&self.id);
            let stored = tokio::task::spawn_blocking(move || LogEnd::of(&slot).store(&dir)).await;
            if let Ok(Err(error)) = stored {
                // The next run then begins a new epoch.
                tracing::warn!(container = %self.id, %error, "end of the log cannot be noted");
            }
        }
        if let Some(supervisor) = self.supervisor.upgrade() {
            supervisor.discard(&self.id).await;
        }
    }
}

impl std::fmt::Debug for Capture {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Capture")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

impl CommitSource for Capture {
    fn committed(&self) -> Option<Committed> {
        let (word, slot) = self.page.get().committed()?;
        Some(Committed {
            commit: word.commit,
            rotating: word.phase == phase::ROTATING,
            done: word.phase == phase::DONE,
            file_no: slot.file_no,
            offset: slot.offset,
            oldest_file_no: slot.oldest_file_no,
            spool_oldest: slot.spool_oldest,
            epoch: slot.epoch,
            next_seq: slot.next_seq,
            gap: (slot.gap_records > 0).then_some(PendingGap {
                records: slot.gap_records,
                bytes: slot.gap_bytes,
                from: slot.gap_from,
                until: slot.gap_until,
                cause: slot.gap_cause,
            }),
        })
    }
}

/// Runs `f` when dropped, also when the future that holds it is.
fn scopeguard<F: FnMut()>(f: F) -> impl Drop {
    struct Guard<F: FnMut()>(F);
    impl<F: FnMut()> Drop for Guard<F> {
        fn drop(&mut self) {
            (self.0)();
        }
    }
    Guard(f)
}
