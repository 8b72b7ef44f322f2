//! The monitor of one container: reads the application's pipes (or terminal) by the exact-read
//! protocol, writes the log, records the end. One thread, one loop, nothing allocated after start.

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

    /// Brings what a dead monitor left to a committed state.
    fn recover(&mut self) -> Result<()> {
        let page = self.state.page();
        let stream = (page.batch_stream.load(Ordering::Relaxed) & 1) as usize;
        let want = (page.batch_want.load(Ordering::Relaxed) as usize).min(STAGE);
        self.attach_no = page.batch_no.load(Ordering::Relaxed);
        match self.state.word().phase {
            phase::READING => {
                let got = self.read_happened(want);
                page.sentinel[0].store(self.sentinel[0], Ordering::Relaxed);
                page.sentinel[1].store(self.sentinel[1], Ordering::Relaxed);
                if got == 0 {
                    self.state.set_phase(phase::IDLE);
                } else {
                    self.take_batch(stream, got);
                }
            }
            phase::BATCH => self.process(stream, want),
            phase::ROTATING => {
                let until = sys::now(sys::MONOTONIC) + LOG_PATIENCE;
                while self.files.run_rotation(&mut self.slot).is_err() {
                    self.slot = self.state.slot();
                    let now = sys::now(sys::MONOTONIC);
                    if now >= until {
                        self.files.call_off_rotation(&self.slot);
                        self.no_rotation_until = now + 1000 * MS;
                        self.log_fails_since = now - LOG_PATIENCE;
                        break;
                    }
                    sys::sleep(100 * MS);
                }
                self.process(stream, want);
            }
            _ => {}
        }
        let mut slot = self.slot;
        self.files.settle(&mut slot);
        if slot != self.slot {
            self.slot = slot;
            use capture::Log;
            self.files.commit(&slot, phase::IDLE);
        }
        Ok(())
    }

    /// After a death in [`phase::READING`]: how many bytes of the announced read are in the stage.
    fn read_happened(&self, want: usize) -> usize {
        let page = self.state.page();
        let stage = self.state.staged(want);
        let marks = [
            page.sentinel[0].load(Ordering::Relaxed),
            page.sentinel[1].load(Ordering::Relaxed),
        ];
        if want < 16 {
            let poison = page.batch_poison.load(Ordering::Relaxed) as u8;
            return if stage.first() == Some(&poison) {
                0
            } else {
                want
            };
        }
        let mut mark = [0; 16];
        mark[..8].copy_from_slice(&marks[0].to_le_bytes());
        mark[8..].copy_from_slice(&marks[1].to_le_bytes());
        if stage[..16] == mark {
            return 0;
        }
        // A page whose mark still stands was not reached: somebody else took the bytes.
        let mut at = 4096;
        while at + 8 <= want {
            if stage[at..at + 8] == mark[..8] {
                page.anomalies.fetch_add(1, Ordering::Relaxed);
                return at;
            }
            at += 4096;
        }
        want
    }

    /// One exact read of `stream` and all that follows from it.
    fn read_stream(&mut self, stream: usize) -> Read {
        let fd = self.fifo[stream];
        if fd < 0 || self.slot.eof & 1 << stream != 0 {
            return Read::End;
        }
        let available = sys::fionread(fd).unwrap_or(0);
        if available == 0 {
            return match sys::tee(fd, self.scratch.1, 1) {
                Ok(0) => Read::End,
                Ok(_) => {
                    let _ = sys::read(self.scratch.0, &mut [0; 16]);
                    Read::Got(0)
                }
                Err(_) => Read::Empty,
            };
        }
        self.grow(stream, available);
        let n = available.min(self.stage_used);
        if !self.stage_present(n) {
            // No memory for the stage: wait, the bytes are safe in the pipe.
            sys::sleep(10 * MS);
            return Read::Empty;
        }
        let page = self.state.page();
        if P::naive() {
            return self.read_naive(stream, n);
        }
        P::step(2);
        let stage = self.state.stage();
        if n < 16 {
            let mut first = [0];
            if sys::tee(fd, self.scratch.1, 1) != Ok(1)
                || sys::read(self.scratch.0, &mut first) != Ok(1)
            {
                return Read::Empty;
            }
            page.batch_poison
                .store(u32::from(!first[0]), Ordering::Relaxed);
            // SAFETY: the stage is mapped and present.
            unsafe { stage.write_volatile(!first[0]) };
        } else {
            // SAFETY: the stage is mapped, present up to `n`, and page aligned.
            unsafe {
                stage.cast::<u64>().write_volatile(self.sentinel[0]);
                stage.cast::<u64>().add(1).write_volatile(self.sentinel[1]);
                let mut at = 4096;
                while at + 8 <= n {
                    stage.add(at).cast::<u64>().write_volatile(self.sentinel[0]);
                    at += 4096;
                }
            }
        }
        page.batch_stream.store(stream as u32, Ordering::Relaxed);
        page.batch_want.store(n as u32, Ordering::Relaxed);
        self.next_batch_no();
        P::step(3);
        self.state.set_phase(phase::READING);
        P::step(4);
        // SAFETY: the stage is mapped and at least `n` bytes long.
        let target = unsafe { core::slice::from_raw_parts_mut(stage, n) };
        let got = sys::read(fd, target).unwrap_or(0);
        P::step(5);
        if got != n {
            page.anomalies.fetch_add(1, Ordering::Relaxed);
            if got == 0 {
                self.state.set_phase(phase::IDLE);
                return Read::Empty;
            }
        }
        self.take_batch(stream, got);
        if n == self.stage_used && self.stage_used < STAGE {
            self.stage_used = STAGE;
        }
        Read::Got(got)
    }

    /// Grows a pipe that is full again and again. Larger writes to the log cost less for each byte;
    /// a pipe that is never full costs nothing more.
    fn grow(&mut self, stream: usize, available: usize) {
        let page = self.state.page();
        if available < page.pipe_size.load(Ordering::Relaxed) as usize || self.full[stream] > FULL {
            return;
        }
        self.full[stream] += 1;
        if self.full[stream] == FULL {
            // A per-user limit may refuse; the pipe stays as it is then, and is not tried again.
            self.full[stream] = FULL + 1;
            if let Ok(size) = sys::set_pipe_size(self.fifo[stream], STAGE) {
                page.pipe_size.store(size as u32, Ordering::Relaxed);
            }
        }
    }

    /// Read and write with nothing in between that could be found again; tests show that this
    /// loses.
    fn read_naive(&mut self, stream: usize, n: usize) -> Read {
        // SAFETY: the stage is mapped and present up to `n`.
        let target = unsafe { core::slice::from_raw_parts_mut(self.state.stage(), n) };
        let Ok(got) = sys::read(self.fifo[stream], target) else {
            return Read::Empty;
        };
        P::step(5);
        self.next_batch_no();
        self.state
            .page()
            .batch_time
            .store(sys::now(sys::REALTIME), Ordering::Relaxed);
        self.process(stream, got);
        Read::Got(got)
    }

    fn next_batch_no(&mut self) {
        self.attach_no = self.attach_no.wrapping_add(1);
        self.state
            .page()
            .batch_no
            .store(self.attach_no, Ordering::Relaxed);
    }

    /// The stage holds `got` bytes of `stream`: give them a time, then the log.
    fn take_batch(&mut self, stream: usize, got: usize) {
        let page = self.state.page();
        page.batch_want.store(got as u32, Ordering::Relaxed);
        page.batch_time
            .store(sys::now(sys::REALTIME), Ordering::Relaxed);
        self.state.set_phase(phase::BATCH);
        P::step(6);
        self.process(stream, got);
    }

    /// Takes the batch in the stage into the log, whatever it needs.
    fn process(&mut self, stream: usize, got: usize) {
        let stage = self.state.staged(got);
        let page = self.state.page();
        let time = page.batch_time.load(Ordering::Relaxed);
        let begin = |slot: &mut Slot, no: u32| {
            if slot.batch_mark != no {
                slot.batch_mark = no;
                slot.consumed = 0;
                true
            } else {
                false
            }
        };
        loop {
            let mut slot = self.slot;
            let first = begin(&mut slot, self.attach_no);
            if first || !self.files.has_log() {
                self.files.settle(&mut slot);
            }
            if first && page.attach_want.load(Ordering::Acquire) != 0 {
                self.files.attach(&mut slot, stream, stage);
            }
            let done = self.encode(&mut slot, |files, slot, format, buffers, ring| {
                capture::batch(files, slot, format, buffers, ring, stream, stage, time)
            });
            self.slot = self.state.slot();
            match done {
                Ok(()) => {
                    self.log_fails_since = 0;
                    return;
                }
                Err(e) if self.log_failed(e) => {}
                Err(e) => {
                    let mut slot = self.slot;
                    // The log is all that does not get it.
                    if begin(&mut slot, self.attach_no)
                        && page.attach_want.load(Ordering::Acquire) != 0
                    {
                        self.files.attach(&mut slot, stream, stage);
                    }
                    capture::drop_batch(&mut self.files, &mut slot, stream, stage, e.0 as u32);
                    self.slot = slot;
                    return;
                }
            }
        }
    }

    /// Runs one capture step with the buffers.
    fn encode(
        &mut self,
        slot: &mut Slot,
        step: impl FnOnce(
            &mut Files<'_, P>,
            &mut Slot,
            &Format<'_>,
            &mut Buffers<'_>,
            &mut Ring<'_>,
        ) -> Result<()>,
    ) -> Result<()> {
        let stream = (self.state.page().batch_stream.load(Ordering::Relaxed) & 1) as usize;
        let rotate = sys::now(sys::MONOTONIC) >= self.no_rotation_until;
        let format = Format {
            max_size: if rotate { self.conf().max_size } else { 0 },
            attrs: self.files.conf.attrs,
            discard: self.conf().discard,
        };
        // SAFETY: `out` is a private mapping of OUT + LINE bytes, lent to one step at a time.
        let (out, line) = unsafe {
            (
                core::slice::from_raw_parts_mut(self.out, OUT),
                core::slice::from_raw_parts_mut(self.out.add(OUT), LINE),
            )
        };
        let mut buffers = Buffers { out, line };
        step(
            &mut self.files,
            slot,
            &format,
            &mut buffers,
            &mut Ring::new(self.state.ring(stream)),
        )
    }

    /// The log did not take a batch: waits a little and says whether to try again.
    fn log_failed(&mut self, e: Errno) -> bool {
        let now = sys::now(sys::MONOTONIC);
        if e == NO_ROTATION {
            self.no_rotation_until = now + 1000 * MS;
            return true;
        }
        if self.log_fails_since == 0 {
            self.log_fails_since = now;
        }
        if now - self.log_fails_since >= LOG_PATIENCE {
            return false;
        }
        sys::sleep(50 * MS);
        true
    }

    /// End of a stream: its open line becomes a record.
    fn finish(&mut self, stream: usize) {
        self.unwatch(stream);
        if self.slot.eof & 1 << stream != 0 {
            return;
        }
        self.state
            .page()
            .batch_stream
            .store(stream as u32, Ordering::Relaxed);
        loop {
            let mut slot = self.slot;
            let time = sys::now(sys::REALTIME);
            let done = self.encode(&mut slot, |files, slot, format, buffers, ring| {
                capture::finish(files, slot, format, buffers, ring, stream, time)
            });
            P::step(24);
            self.slot = self.state.slot();
            match done {
                Ok(()) => return,
                Err(e) if self.log_failed(e) => {}
                Err(e) => {
                    let mut slot = self.slot;
                    slot.eof |= 1 << stream;
                    capture::drop_batch(&mut self.files, &mut slot, stream, &[], e.0 as u32);
                    self.slot = slot;
                    return;
                }
            }
        }
    }

    /// Makes the first `n` bytes of the stage present, so that no read can fail on them.
    fn stage_present(&mut self, n: usize) -> bool {
        if n > self.stage_ready {
            let want = (n + 4095) & !4095;
            if sys::madvise(self.state.stage(), want, sys::MADV_POPULATE_WRITE).is_err() {
                return false;
            }
            self.stage_ready = want;
        }
        true
    }

    /// Gives memory back that only a busy monitor needs.
    fn rest(&mut self) {
        if self.stage_ready > 0 && self.state.word().phase == phase::IDLE {
            if sys::madvise(self.state.stage(), STAGE, sys::MADV_REMOVE).is_err() {
                let _ = sys::madvise(self.state.stage(), STAGE, sys::MADV_DONTNEED);
            }
            let _ = sys::madvise(self.out, OUT + LINE, sys::MADV_DONTNEED);
            self.stage_ready = 0;
            self.stage_used = SMALL;
        }
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

    /// Moves what the terminal has into the internal pipe, then reads that.
    fn read_terminal(&mut self) -> Read {
        P::step(22);
        let moved = match sys::splice(self.master, self.terminal, STAGE) {
            Err(Errno::EINVAL) => self.copy_terminal(),
            other => other,
        };
        P::step(23);
        let ended = matches!(moved, Ok(0) | Err(Errno::EIO));
        match self.read_stream(0) {
            Read::Got(n) => Read::Got(n),
            _ if ended => {
                let _ = sys::epoll_ctl(self.ep, EPOLL_DEL, self.master, 0);
                sys::close(self.terminal);
                self.terminal = -1;
                Read::End
            }
            other => other,
        }
    }

    /// For kernels without splice on terminals: what is in `buf` at a death is lost (decision 18).
    fn copy_terminal(&mut self) -> Result<usize> {
        let mut buf = [0; 1024];
        let n = sys::read(self.master, &mut buf)?;
        let mut rest = &buf[..n];
        while !rest.is_empty() {
            match sys::write(self.terminal, rest) {
                Ok(m) => rest = &rest[m..],
                Err(Errno::EAGAIN) => {
                    self.read_stream(0);
                }
                Err(e) => return Err(e),
            }
        }
        Ok(n)
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

    /// The pause after a short read (decision 10).
    fn pause(&mut self, stream: usize, got: usize) {
        let now = self.state.page().batch_time.load(Ordering::Relaxed);
        if now.wrapping_sub(self.last_batch[stream]) > 10 * MS {
            self.busy_since[stream] = now;
        }
        self.last_batch[stream] = now;
        if got < self.stage_used / 4
            && self.terminal < 0
            && now.wrapping_sub(self.busy_since[stream]) > 10 * MS
        {
            let followed = self.state.page().followers.load(Ordering::Relaxed) > 0;
            sys::sleep(if followed { 150_000 } else { 500_000 });
        }
    }

    /// The loop.
    fn serve(&mut self) -> Result<i32> {
        let mut held = false;
        loop {
            let full = self.attach_full();
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
            if self.ended() {
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

    /// Whether a message of the keeper is about this container's process.
    fn is_application(&self, m: &Message) -> bool {
        let page = self.state.page();
        m.a == page.app_pid.load(Ordering::Relaxed) && m.c == page.app_start.load(Ordering::Relaxed)
    }

    /// The application has ended (or its pid is somebody else's).
    fn application_gone(&mut self) {
        if self.pidfd >= 0 {
            let _ = sys::epoll_ctl(self.ep, EPOLL_DEL, self.pidfd, 0);
        }
        if self.gone_at == 0 {
            self.gone_at = sys::now(sys::MONOTONIC);
        }
    }

    fn exit_is(&self, status: i32, time: u64) {
        let page = self.state.page();
        if page.exit_known.load(Ordering::Acquire) != 1 {
            page.exit_status.store(status, Ordering::Relaxed);
            page.exit_time.store(time, Ordering::Relaxed);
            page.exit_known.store(1, Ordering::Release);
            P::step(27);
        }
    }

    /// Looks for the exit status where the keeper did not bring it: its record, the kernel's
    /// memory of the process, the process table.
    fn find_exit(&mut self) -> bool {
        let page = self.state.page();
        if page.exit_known.load(Ordering::Acquire) != 0 {
            return true;
        }
        let (pid, start) = (
            page.app_pid.load(Ordering::Relaxed),
            page.app_start.load(Ordering::Relaxed),
        );
        let found = exit_record(pid, start)
            .or_else(|| sys::pidfd_exit(self.pidfd).map(|s| (s, sys::now(sys::REALTIME))))
            .or_else(|| zombie_status(pid, start).map(|s| (s, sys::now(sys::REALTIME))));
        if let Some((status, time)) = found {
            self.exit_is(status, time);
            return true;
        }
        if sys::now(sys::MONOTONIC) - self.gone_at > EXIT_PATIENCE {
            page.exit_time
                .store(sys::now(sys::REALTIME), Ordering::Relaxed);
            page.exit_known.store(2, Ordering::Release);
            return true;
        }
        false
    }

    /// True once the application is gone, its status is known and its output is drained.
    fn ended(&mut self) -> bool {
        if self.gone_at == 0 || !self.find_exit() {
            return false;
        }
        // A pipe whose last writer went before this monitor opened it never reports its end by
        // itself, so it is asked.
        for stream in 0..2 {
            if self.fifo[stream] < 0 || self.slot.eof & 1 << stream != 0 {
                continue;
            }
            match self.read_stream(stream) {
                Read::Got(_) => self.drained_at = 0,
                Read::End => self.finish(stream),
                // The terminal never came back to this monitor: what is in its pipe is all.
                Read::Empty if self.conf().tty && self.master < 0 => self.finish(stream),
                Read::Empty => {}
            }
        }
        let both = if self.fifo[1] < 0 { 1 } else { 3 };
        if self.slot.eof & both == both {
            return true;
        }
        let now = sys::now(sys::MONOTONIC);
        if self.drained_at == 0 {
            self.drained_at = now;
        }
        if now - self.drained_at < DRAIN_PATIENCE {
            return false;
        }
        self.finish(0);
        if self.fifo[1] >= 0 {
            self.finish(1);
        }
        true
    }

    /// The last commit.
    fn end(&mut self) -> i32 {
        P::step(25);
        use capture::Log;
        let page = self.state.page();
        self.files.commit(&self.slot, phase::DONE);
        page.lifecycle.store(lifecycle::ENDED, Ordering::Release);
        P::step(26);
        self.files.ring();
        0
    }
}

/// Start time of a process in clock ticks.
#[must_use]
pub fn process_start(pid: i32) -> Option<u64> {
    let mut buf = [0; 512];
    let n = read_stat(pid, &mut buf)?;
    parse(stat_field(&buf[..n], 22)?)
}

fn read_stat(pid: i32, buf: &mut [u8; 512]) -> Option<usize> {
    let mut name = Name::new(&[b"/proc/"]).number(pid.max(0) as u64);
    name.push(b"/stat");
    let fd = sys::open(AT_FDCWD, name.path(), O_RDONLY, 0).ok()?;
    let n = sys::read(fd, buf);
    sys::close(fd);
    n.ok()
}

/// The wait status of a process that ended and was not reaped yet (proc(5), field 52).
fn zombie_status(pid: i32, start: u64) -> Option<i32> {
    let mut buf = [0; 512];
    let n = read_stat(pid, &mut buf)?;
    let stat = &buf[..n];
    if stat_field(stat, 3)? != b"Z" || parse(stat_field(stat, 22)?)? != start {
        return None;
    }
    let last = stat_field(stat, 52)?;
    parse(last).map(|s| s as i32)
}

/// What the keeper wrote down: `pid start status time`.
fn exit_record(pid: i32, start: u64) -> Option<(i32, u64)> {
    let fd = sys::open(AT_FDCWD, CPath::new(b"exit\0"), O_RDONLY, 0).ok()?;
    let mut buf = [0; 128];
    let n = sys::read(fd, &mut buf);
    sys::close(fd);
    let mut fields = buf[..n.ok()?].split(|b| *b == b' ').map(parse);
    let mut next = || fields.next().flatten();
    if next()? != pid as u64 || next()? != start {
        return None;
    }
    Some((next()? as i32, next()?))
}
