//! The monitor of one container: reads the application's pipes (or terminal) by the exact-read
//! protocol, writes the log, records the end. One thread, one loop, nothing allocated after start.

mod ending;
mod read;
mod store;

pub use ending::process_start;

use core::sync::atomic::Ordering;

use taffrail_log_core::capture::{self, Buffers, Format, LINE, Ring};
use taffrail_log_core::state::{STAGE, Slot, lifecycle, phase};

use crate::conf::Conf;
use crate::create;
use crate::files::{DAEMONS, Files, NO_ROTATION, SEGMENT};
use crate::page::State;
use crate::probe::Probe;
use crate::proto::{self, Message, kind};
use crate::sys::{
    self, AT_FDCWD, CPath, EPOLL_ADD, EPOLL_DEL, Errno, Event, Fd, O_NONBLOCK, O_RDONLY, O_RDWR,
    Result,
};
use crate::text::{Name, parse, stat_field};

/// Bytes of the output buffer: what a full stage of common lines becomes, so that it is one write.
const OUT: usize = 256 * 1024;
/// A pipe that was found full so often is grown: its writer waits for us.
const FULL: u8 = 8;
/// Stage bytes used until a read fills them.
const SMALL: usize = 16 * 1024;
/// The attach spool's bound in bytes (decision 17).
const ATTACH_BOUND: u64 = 64 * SEGMENT;
const MS: u64 = 1_000_000;
/// How long a log that cannot be written holds the application up before a batch is given up.
const LOG_PATIENCE: u64 = 10_000 * MS;
/// How long a foreign process may keep the pipes of an ended application open (decision 16).
const DRAIN_PATIENCE: u64 = 2_000 * MS;
/// How long the exit status is looked for.
const EXIT_PATIENCE: u64 = 5_000 * MS;

/// What an epoll event is about.
mod source {
    pub(super) const STDOUT: u64 = 0;
    pub(super) const STDERR: u64 = 1;
    pub(super) const MASTER: u64 = 2;
    pub(super) const PIDFD: u64 = 3;
    pub(super) const CONTROL: u64 = 4;
    pub(super) const KEEPER: u64 = 5;
    pub(super) const DAEMON: u64 = 16;
}

/// Outcome of one read.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Read {
    Got(usize),
    Empty,
    End,
}

/// See the module.
#[derive(Debug)]
pub struct Monitor<'c, P> {
    files: Files<'c, P>,
    state: State,
    slot: Slot,
    id: [u8; 32],
    ep: Fd,
    fifo: [Fd; 2],
    /// Write end of the terminal's internal pipe, and the terminal itself.
    terminal: Fd,
    master: Fd,
    /// Held so that the application's stdin stays open.
    stdin: Fd,
    scratch: (Fd, Fd),
    control: Fd,
    keeper: Fd,
    pidfd: Fd,
    out: *mut u8,
    sentinel: [u64; 2],
    /// How much of the stage is used by a read, and how much of it is present.
    stage_used: usize,
    stage_ready: usize,
    watched: [bool; 2],
    /// Last batch of each stream, and since when they follow one another closely.
    last_batch: [u64; 2],
    busy_since: [u64; 2],
    no_rotation_until: u64,
    log_fails_since: u64,
    gone_at: u64,
    drained_at: u64,
    keeper_retry_at: u64,
    attach_no: u32,
    /// How often each pipe was found full.
    full: [u8; 2],
}

/// Runs the monitor of the container whose folder is the working directory. Returns an exit code.
///
/// # Errors
/// What kept it from starting.
pub fn run<P: Probe>(id: [u8; 32], envp: *const *const u8) -> Result<i32> {
    P::start();
    sys::setsid();
    for ignored in [1, 2, 3, 13, 15] {
        sys::signal(ignored, true);
    }
    sys::prctl(sys::PR_SET_TIMERSLACK, 1000);
    protect_from_oom();
    let state = State::open()?;
    let page = state.page();
    page.monitor_pid.store(sys::getpid(), Ordering::Release);
    let conf_bytes = map_file(CPath::new(b"monitor.conf\0"))?;
    let conf = crate::conf::read(conf_bytes).ok_or(Errno::EINVAL)?;
    let keeper = connect_keeper(id);

    match page.lifecycle.load(Ordering::Acquire) {
        lifecycle::NEW => {}
        lifecycle::CREATING => {
            // The monitor before died while the runtime worked. Nothing of the application has run.
            page.create_status
                .store(-Errno::EOWNERDEAD.0, Ordering::Release);
            page.lifecycle.store(lifecycle::FAILED, Ordering::Release);
        }
        lifecycle::FAILED | lifecycle::ENDED => return Ok(0),
        _ => {
            page.takeovers.fetch_add(1, Ordering::Relaxed);
        }
    }

    let slot = state.slot();
    let mut files: Files<'_, P> = Files::open(state, &conf, id, &slot);
    let ep = sys::epoll_create()?;
    let control = sys::listen(sys::SOCK_SEQPACKET, b"ctl.sock", CPath::new(b"ctl.sock\0"))?;
    sys::epoll_ctl(ep, EPOLL_ADD, control, source::CONTROL)?;
    if keeper >= 0 {
        sys::epoll_ctl(ep, EPOLL_ADD, keeper, source::KEEPER)?;
    }
    let mut master = -1;
    if page.lifecycle.load(Ordering::Acquire) == lifecycle::NEW {
        P::step(1);
        match create::run::<P>(&conf, page, envp, keeper, id) {
            Ok(m) => master = m,
            Err(status) => {
                page.create_status.store(status, Ordering::Release);
                page.lifecycle.store(lifecycle::FAILED, Ordering::Release);
            }
        }
    }
    if page.lifecycle.load(Ordering::Acquire) == lifecycle::FAILED {
        return Ok(tell_failure(&mut files, ep, control));
    }

    let scratch = sys::pipe()?;
    let _ = sys::set_pipe_size(scratch.1, 4096);
    let mut sentinel = [0u64; 2];
    for s in &mut sentinel {
        let mut bytes = [0; 8];
        let _ = sys::getrandom(&mut bytes);
        *s = u64::from_le_bytes(bytes);
    }
    if state.word().phase != phase::READING {
        page.sentinel[0].store(sentinel[0], Ordering::Relaxed);
        page.sentinel[1].store(sentinel[1], Ordering::Relaxed);
    }
    let stdin = if conf.stdin && !conf.tty && page.stdin_closed.load(Ordering::Acquire) == 0 {
        sys::open(AT_FDCWD, CPath::new(b"stdin\0"), O_RDWR | O_NONBLOCK, 0).unwrap_or(-1)
    } else {
        -1
    };
    let fifo0 = sys::open(AT_FDCWD, CPath::new(b"stdout\0"), O_RDONLY | O_NONBLOCK, 0)?;
    let (terminal, fifo1) = if conf.tty {
        (
            sys::open(AT_FDCWD, CPath::new(b"stdout\0"), O_RDWR | O_NONBLOCK, 0)?,
            -1,
        )
    } else {
        (
            -1,
            sys::open(AT_FDCWD, CPath::new(b"stderr\0"), O_RDONLY | O_NONBLOCK, 0)?,
        )
    };
    page.pipe_size
        .store(sys::pipe_size(fifo0).unwrap_or(0) as u32, Ordering::Relaxed);

    let mut monitor = Monitor {
        files,
        state,
        slot,
        id,
        ep,
        fifo: [fifo0, fifo1],
        terminal,
        master: -1,
        stdin,
        scratch,
        control,
        keeper,
        pidfd: -1,
        out: sys::mmap_anonymous(OUT + LINE)?,
        sentinel,
        stage_used: SMALL,
        stage_ready: 0,
        watched: [false; 2],
        last_batch: [0; 2],
        busy_since: [0; 2],
        no_rotation_until: 0,
        log_fails_since: 0,
        gone_at: 0,
        drained_at: 0,
        keeper_retry_at: 0,
        attach_no: 0,
        full: [0; 2],
    };
    monitor.recover()?;
    monitor.watch_application();
    if master >= 0 {
        monitor.take_master(master);
    }
    for s in 0..2 {
        monitor.watch(s);
    }
    monitor.files.ring();
    monitor.serve()
}

/// −900 where that is allowed (decision 2).
pub(crate) fn protect_from_oom() {
    if let Ok(fd) = sys::open(
        AT_FDCWD,
        CPath::new(b"/proc/self/oom_score_adj\0"),
        sys::O_WRONLY,
        0,
    ) {
        let _ = sys::write(fd, b"-900");
        sys::close(fd);
    }
}

/// Maps a whole small file for reading.
fn map_file(path: CPath<'_>) -> Result<&'static [u8]> {
    let fd = sys::open(AT_FDCWD, path, O_RDONLY, 0)?;
    let size = sys::fstat(fd)?.size as usize;
    if size == 0 {
        return Err(Errno::EINVAL);
    }
    let at = sys::mmap(fd, size, false)?;
    sys::close(fd);
    // SAFETY: the mapping is `size` bytes long, private, and never unmapped.
    Ok(unsafe { core::slice::from_raw_parts(at, size) })
}

fn connect_keeper(id: [u8; 32]) -> Fd {
    let Ok(fd) = sys::connect(sys::SOCK_SEQPACKET, b"../../keeper.sock") else {
        return -1;
    };
    let message = Message {
        a: sys::getpid(),
        ..Message::new(kind::REGISTER, id)
    };
    let _ = sys::send(fd, &message.encode(), None);
    fd
}

/// Waits until a daemon has seen that `create` failed, for at most ten seconds.
fn tell_failure<P: Probe>(files: &mut Files<'_, P>, ep: Fd, control: Fd) -> i32 {
    let until = sys::now(sys::MONOTONIC) + LOG_PATIENCE;
    let mut told = false;
    while !told && sys::now(sys::MONOTONIC) < until {
        let mut events = [Event::default(); 1];
        let _ = sys::epoll_wait(ep, &mut events, 1000);
        if let Ok(fd) = sys::accept(control) {
            files.daemons[0] = fd;
            files.ring();
            told = true;
        } else {
            sys::sleep(MS);
        }
    }
    0
}

impl<P: Probe> Monitor<'_, P> {
    fn conf(&self) -> &Conf<'_> {
        self.files.conf
    }

    fn watch(&mut self, stream: usize) {
        let fd = self.fifo[stream];
        if fd >= 0 && !self.watched[stream] && self.slot.eof & 1 << stream == 0 {
            self.watched[stream] = sys::epoll_ctl(self.ep, EPOLL_ADD, fd, stream as u64).is_ok();
        }
    }

    fn unwatch(&mut self, stream: usize) {
        if self.watched[stream] {
            let _ = sys::epoll_ctl(self.ep, EPOLL_DEL, self.fifo[stream], 0);
            self.watched[stream] = false;
        }
    }

    /// Opens the application's pidfd and tells the keeper.
    fn watch_application(&mut self) {
        let page = self.state.page();
        let (pid, start) = (
            page.app_pid.load(Ordering::Acquire),
            page.app_start.load(Ordering::Acquire),
        );
        let message = Message {
            a: pid,
            c: start,
            ..Message::new(kind::APP, self.id)
        };
        let _ = sys::send(self.keeper, &message.encode(), None);
        if self.pidfd >= 0 || self.gone_at != 0 {
            return;
        }
        match sys::pidfd_open(pid) {
            // The pid may be another process by now.
            Ok(fd) if process_start(pid) == Some(start) => {
                self.pidfd = fd;
                let _ = sys::epoll_ctl(self.ep, EPOLL_ADD, fd, source::PIDFD);
            }
            Ok(fd) => {
                sys::close(fd);
                self.gone_at = sys::now(sys::MONOTONIC);
            }
            Err(_) => self.gone_at = sys::now(sys::MONOTONIC),
        }
    }

    fn take_master(&mut self, fd: Fd) {
        if self.master >= 0 {
            sys::close(fd);
            return;
        }
        let _ = sys::set_nonblock(fd);
        self.master = fd;
        let _ = sys::epoll_ctl(self.ep, EPOLL_ADD, fd, source::MASTER);
        for daemon in self.files.daemons {
            if daemon >= 0 {
                let _ = sys::send(
                    daemon,
                    &Message::new(kind::MASTER, self.id).encode(),
                    Some(fd),
                );
            }
        }
    }

    /// Whether the attach spool is at its bound and a daemon is there to empty it.
    fn attach_full(&mut self) -> bool {
        let page = self.state.page();
        let want = page.attach_want.load(Ordering::Acquire) != 0;
        let full =
            want && self.slot.attach_pos - page.attach_read.load(Ordering::Acquire) >= ATTACH_BOUND;
        if full && self.files.daemons.iter().all(|fd| *fd < 0) {
            page.attach_want.store(0, Ordering::Release);
            page.attach_blocked.store(0, Ordering::Release);
            return false;
        }
        page.attach_blocked.store(u32::from(full), Ordering::SeqCst);
        // The daemon may have read on before it could see that we wait.
        full && self.slot.attach_pos - page.attach_read.load(Ordering::SeqCst) >= ATTACH_BOUND
    }

    /// Whether the application has to wait because the spool is full (`mode=blocking`). Once it has
    /// ended, what is left waits for no longer than for a log that fails: the oldest then gives way.
    fn spool_full(&mut self) -> bool {
        if !self.conf().blocking {
            return false;
        }
        let over = self.gone_at != 0 && sys::now(sys::MONOTONIC) - self.gone_at >= LOG_PATIENCE;
        self.files.keep_all = !over;
        let full = !over && self.files.spool_is_full(&self.slot);
        let page = self.state.page();
        page.spool_blocked.store(full.into(), Ordering::SeqCst);
        if full && !self.files.spool_is_full(&self.slot) {
            // The daemon gave more before it could see that somebody waits for it.
            page.spool_blocked.store(0, Ordering::SeqCst);
            return false;
        }
        full
    }

    /// The loop.
    fn serve(&mut self) -> Result<i32> {
        let mut held = false;
        loop {
            let waits = self.spool_full();
            let full = self.attach_full() || waits;
            if full != held {
                held = full;
                for s in 0..2 {
                    if held { self.unwatch(s) } else { self.watch(s) }
                }
                if self.master >= 0 && self.terminal >= 0 {
                    let op = if held { EPOLL_DEL } else { EPOLL_ADD };
                    let _ = sys::epoll_ctl(self.ep, op, self.master, source::MASTER);
                }
            }
            if !waits && self.ended() {
                return Ok(self.end());
            }
            let mut events = [Event::default(); 12];
            let n = sys::epoll_wait(self.ep, &mut events, self.timeout()).unwrap_or(0);
            if n == 0 && self.gone_at == 0 {
                self.rest();
            }
            for event in &events[..n] {
                let data = event.data;
                match data {
                    source::STDOUT | source::STDERR => {
                        let stream = data as usize;
                        match self.read_stream(stream) {
                            Read::Got(got) => {
                                self.drained_at = 0;
                                self.pause(stream, got);
                            }
                            // A terminal's pipe is held open by the monitor itself.
                            Read::End => self.finish(stream),
                            Read::Empty => {}
                        }
                    }
                    source::MASTER => match self.read_terminal() {
                        Read::Got(_) => self.drained_at = 0,
                        Read::End => self.finish(0),
                        Read::Empty => {}
                    },
                    source::PIDFD => self.application_gone(),
                    source::CONTROL => self.accept(),
                    source::KEEPER => self.hear_keeper(),
                    _ => self.hear_daemon((data - source::DAEMON) as usize),
                }
            }
            if self.keeper < 0 && sys::now(sys::MONOTONIC) >= self.keeper_retry_at {
                self.find_keeper();
            }
        }
    }

    /// Milliseconds until something is to be done without an event.
    fn timeout(&self) -> i32 {
        if self.gone_at != 0 {
            20
        } else if self.stage_ready > 0 {
            1000
        } else if self.keeper < 0 {
            500
        } else {
            -1
        }
    }

    fn find_keeper(&mut self) {
        self.keeper = connect_keeper(self.id);
        self.keeper_retry_at = sys::now(sys::MONOTONIC) + 200 * MS;
        if self.keeper >= 0 {
            let _ = sys::epoll_ctl(self.ep, EPOLL_ADD, self.keeper, source::KEEPER);
            self.watch_application();
            if self.master >= 0 {
                let _ = sys::send(
                    self.keeper,
                    &Message::new(kind::MASTER, self.id).encode(),
                    Some(self.master),
                );
            }
        }
    }

    fn hear_keeper(&mut self) {
        let mut buf = [0; proto::SIZE];
        match sys::recv(self.keeper, &mut buf) {
            Ok((0, _)) | Err(Errno(104)) => {
                sys::close(self.keeper);
                self.keeper = -1;
                self.keeper_retry_at = sys::now(sys::MONOTONIC) + 100 * MS;
            }
            Ok((n, fd)) => match (Message::decode(&buf[..n]), fd) {
                (Some(m), Some(fd)) if m.kind == kind::MASTER => self.take_master(fd),
                (m, fd) => {
                    if let Some(fd) = fd {
                        sys::close(fd);
                    }
                    if let Some(m) = m.filter(|m| m.kind == kind::EXITED && self.is_application(m))
                    {
                        self.exit_is(m.b, m.d);
                        self.application_gone();
                    }
                }
            },
            Err(_) => {}
        }
    }

    /// Lets go of spooled files that nobody needs any more.
    fn let_go(&mut self) {
        if self.slot.spool_oldest >= self.slot.oldest_file_no
            || self.state.word().phase != phase::IDLE
        {
            return;
        }
        let mut slot = self.slot;
        let gone = self.files.bound_spool(&mut slot);
        if slot != self.slot {
            use capture::Log;
            self.slot = slot;
            self.files.commit(&slot, phase::IDLE);
            self.files.drop_spooled(gone);
        }
    }

    fn accept(&mut self) {
        let Ok(fd) = sys::accept(self.control) else {
            return;
        };
        // One daemon at a time is the rule; a new one replaces the oldest.
        let place = self.files.daemons.iter().position(|d| *d < 0).unwrap_or(0);
        if self.files.daemons[place] >= 0 {
            sys::close(self.files.daemons[place]);
        }
        self.files.daemons[place] = fd;
        let _ = sys::epoll_ctl(self.ep, EPOLL_ADD, fd, source::DAEMON + place as u64);
    }

    fn hear_daemon(&mut self, place: usize) {
        let Some(&fd) = self.files.daemons.get(place % DAEMONS) else {
            return;
        };
        let mut buf = [0; proto::SIZE];
        match sys::recv(fd, &mut buf) {
            Ok((0, _)) | Err(Errno(104)) => {
                sys::close(fd);
                self.files.daemons[place % DAEMONS] = -1;
            }
            Ok((n, given)) => match Message::decode(&buf[..n]).map(|m| m.kind) {
                Some(kind::HELLO) => {
                    let hello = Message {
                        a: sys::getpid(),
                        ..Message::new(kind::HELLO, self.id)
                    };
                    let _ = sys::send(fd, &hello.encode(), None);
                    if self.master >= 0 {
                        let _ = sys::send(
                            fd,
                            &Message::new(kind::MASTER, self.id).encode(),
                            Some(self.master),
                        );
                    }
                    let _ = sys::send(fd, &Message::new(kind::BELL, self.id).encode(), None);
                }
                Some(kind::MASTER) => {
                    if let Some(given) = given {
                        self.take_master(given);
                    }
                }
                Some(kind::KICK) => {
                    if self.state.page().stdin_closed.load(Ordering::Acquire) != 0
                        && self.stdin >= 0
                    {
                        sys::close(self.stdin);
                        self.stdin = -1;
                    }
                    self.let_go();
                }
                Some(kind::PUBLISH) => {
                    let number = Message::decode(&buf[..n]).map_or(0, |m| m.c);
                    let done = self.files.publish(&self.slot, number);
                    let reply = Message {
                        a: done.map_or_else(|e| e.0, |()| 0),
                        c: number,
                        ..Message::new(if done.is_ok() { kind::OK } else { kind::FAILED }, self.id)
                    };
                    let _ = sys::send(fd, &reply.encode(), None);
                }
                other => {
                    let reply = Message {
                        a: i32::from(other.unwrap_or(0)),
                        ..Message::new(kind::UNSUPPORTED, self.id)
                    };
                    let _ = sys::send(fd, &reply.encode(), None);
                }
            },
            Err(_) => {}
        }
    }
}
