//! The keeper: one process for a daemon's root. Parent of the monitors and, as subreaper, of the
//! applications; holds every pipe and terminal open; writes exit records; starts a dead monitor
//! again. It reads no output and allocates nothing beyond its table.

use taffrail_log_core::state::{StatePage, lifecycle};

use crate::monitor::process_start;
use crate::proto::{self, Message, kind};
use crate::sys::{
    self, AT_FDCWD, CPath, EPOLL_ADD, Errno, Event, Fd, LOCK_EX, LOCK_NB, O_CREAT, O_NONBLOCK,
    O_RDONLY, O_RDWR, O_TRUNC, O_WRONLY, Result,
};
use crate::text::{Name, decimal};

/// Most containers of one keeper.
pub const CONTAINERS: usize = 8192;
/// Most connections: a monitor each, and daemons.
const CONNECTIONS: usize = CONTAINERS + 64;
/// Reaped processes that are remembered because their container may not be known yet.
const RECENT: usize = 64;
/// So many deaths of a monitor within [`DEATH_SPAN`] leave it to the daemon.
const DEATHS: usize = 5;
const DEATH_SPAN: u64 = 10_000_000_000;
/// A keeper without containers and without a daemon ends after this; the next daemon starts another.
const IDLE_MS: i32 = 60_000;
const SIGCHLD: u64 = 17;

const LISTENER: u64 = u64::MAX;
const CHILDREN: u64 = u64::MAX - 1;

#[derive(Clone, Copy)]
struct Container {
    used: bool,
    id: [u8; 32],
    monitor: i32,
    /// Whether `monitor` is a child, so that its death is told by SIGCHLD.
    child: bool,
    /// Index of its connection, or -1.
    connection: i32,
    app: i32,
    app_start: u64,
    pipes: [Fd; 2],
    stdin: Fd,
    master: Fd,
    deaths: [u64; DEATHS],
}

#[derive(Clone, Copy)]
struct Connection {
    fd: Fd,
    /// Index of the container, -1 before REGISTER, -2 for a daemon.
    container: i32,
}

#[derive(Clone, Copy)]
struct Reaped {
    pid: i32,
    status: i32,
    time: u64,
}

/// The tables: zeroed memory of which only the used pages exist.
struct Keeper {
    ep: Fd,
    listener: Fd,
    envp: *const *const u8,
    containers: &'static mut [Container],
    connections: &'static mut [Connection],
    /// How many connections there are.
    connected: usize,
    /// One past the last place in use; keeps searches off memory that was never touched.
    high: usize,
    recent: [Reaped; RECENT],
    next_recent: usize,
}

fn table<T>(count: usize) -> Result<&'static mut [T]> {
    let at = sys::mmap_anonymous(count * size_of::<T>())?.cast::<T>();
    // SAFETY: fresh zeroed memory of that size, page aligned, never unmapped; `Container` and
    // `Connection` are integers, for which zero is a value.
    Ok(unsafe { core::slice::from_raw_parts_mut(at, count) })
}

/// Runs the keeper of the exec root that is the working directory. Returns an exit code: 0 after a
/// shutdown, 3 when another keeper holds the root.
///
/// # Errors
/// What kept it from starting.
pub fn run(envp: *const *const u8) -> Result<i32> {
    sys::setsid();
    for ignored in [1, 2, 3, 13, 15] {
        sys::signal(ignored, true);
    }
    sys::prctl(sys::PR_SET_CHILD_SUBREAPER, 1);
    crate::monitor::protect_from_oom();
    let lock = sys::open(
        AT_FDCWD,
        CPath::new(b"keeper.lock\0"),
        O_RDWR | O_CREAT,
        0o600,
    )?;
    if sys::flock(lock, LOCK_EX | LOCK_NB).is_err() {
        return Ok(3);
    }
    let mut pid = [0; 20];
    let n = decimal(sys::getpid() as u64, &mut pid);
    let _ = sys::ftruncate(lock, 0);
    let _ = sys::pwrite_all(lock, &pid[..n], 0);

    let mask = 1 << (SIGCHLD - 1);
    sys::block_signals(mask);
    let children = sys::signalfd(mask)?;
    let ep = sys::epoll_create()?;
    let listener = sys::listen(
        sys::SOCK_SEQPACKET,
        b"keeper.sock",
        CPath::new(b"keeper.sock\0"),
    )?;
    sys::epoll_ctl(ep, EPOLL_ADD, listener, LISTENER)?;
    sys::epoll_ctl(ep, EPOLL_ADD, children, CHILDREN)?;
    let mut keeper = Keeper {
        ep,
        listener,
        envp,
        containers: table(CONTAINERS)?,
        connections: table(CONNECTIONS)?,
        connected: 0,
        high: 0,
        recent: [Reaped {
            pid: 0,
            status: 0,
            time: 0,
        }; RECENT],
        next_recent: 0,
    };
    loop {
        let mut events = [Event::default(); 32];
        let idle = keeper.high == 0;
        let n = sys::epoll_wait(ep, &mut events, if idle { IDLE_MS } else { -1 }).unwrap_or(0);
        if idle && n == 0 && keeper.connected == 0 {
            return Ok(0);
        }
        let mut reap = false;
        // Messages first: an application is known before its end is looked at.
        for event in &events[..n] {
            match event.data {
                LISTENER => keeper.accept(),
                CHILDREN => {
                    let _ = sys::read(children, &mut [0; 512]);
                    reap = true;
                }
                index => {
                    if let Some(code) = keeper.hear(index as usize) {
                        return Ok(code);
                    }
                }
            }
        }
        if reap {
            keeper.reap();
        }
    }
}

impl Keeper {
    fn accept(&mut self) {
        let Ok(fd) = sys::accept(self.listener) else {
            return;
        };
        let free = self.connections.iter().position(|c| c.fd == 0);
        match free {
            Some(i) if sys::epoll_ctl(self.ep, EPOLL_ADD, fd, i as u64).is_ok() => {
                self.connections[i] = Connection { fd, container: -1 };
                self.connected += 1;
            }
            _ => sys::close(fd),
        }
    }

    fn find(&self, id: &[u8; 32]) -> Option<usize> {
        self.containers[..self.high]
            .iter()
            .position(|c| c.used && c.id == *id)
    }

    /// The entry of `id`, made and with its pipes opened if it is new.
    fn entry(&mut self, id: [u8; 32]) -> Result<usize> {
        if let Some(i) = self.find(&id) {
            return Ok(i);
        }
        let i = self
            .containers
            .iter()
            .position(|c| !c.used)
            .ok_or(Errno(24))?;
        let hex = proto::hex(&id);
        let open = |name: &[u8], flags| {
            sys::open(
                AT_FDCWD,
                Name::new(&[b"c/", &hex, name]).path(),
                flags | O_NONBLOCK,
                0,
            )
            .unwrap_or(-1)
        };
        let stdin = if stdin_closed(&hex) {
            -1
        } else {
            open(b"/stdin", O_RDWR)
        };
        self.containers[i] = Container {
            used: true,
            id,
            monitor: 0,
            child: false,
            connection: -1,
            app: 0,
            app_start: 0,
            pipes: [open(b"/stdout", O_RDONLY), open(b"/stderr", O_RDONLY)],
            stdin,
            master: -1,
            deaths: [0; DEATHS],
        };
        self.high = self.high.max(i + 1);
        Ok(i)
    }

    fn spawn(&mut self, i: usize) -> Result<i32> {
        let hex = proto::hex(&self.containers[i].id);
        let mut arg = [0; 65];
        arg[..64].copy_from_slice(&hex);
        let argv = [
            c"taffrail-monitor".as_ptr().cast(),
            arg.as_ptr(),
            core::ptr::null(),
        ];
        // SAFETY: the child only changes folder and signals and then executes the monitor.
        let pid = unsafe { sys::fork() }?;
        if pid == 0 {
            sys::block_signals(0);
            if sys::chdir(Name::new(&[b"c/", &hex]).path()).is_ok() {
                let _ = sys::execve(CPath::new(b"./monitor\0"), argv.as_ptr(), self.envp);
            }
            sys::exit(126);
        }
        let c = &mut self.containers[i];
        c.monitor = pid;
        c.child = true;
        Ok(pid)
    }

    /// One message, or the end of a connection. Returns an exit code to end with.
    fn hear(&mut self, index: usize) -> Option<i32> {
        let Connection { fd, container } = self.connections[index];
        let mut buf = [0; proto::SIZE];
        let (n, given) = match sys::recv(fd, &mut buf) {
            Ok((0, _)) | Err(Errno(104)) => {
                sys::close(fd);
                self.connected -= 1;
                self.connections[index] = Connection {
                    fd: 0,
                    container: 0,
                };
                if let Ok(c) = usize::try_from(container)
                    && self.containers[c].connection == index as i32
                {
                    self.containers[c].connection = -1;
                    if !self.containers[c].child {
                        self.monitor_died(c);
                    }
                }
                return None;
            }
            Ok(got) => got,
            Err(_) => return None,
        };
        let Some(message) = Message::decode(&buf[..n]) else {
            if let Some(given) = given {
                sys::close(given);
            }
            let _ = sys::send(fd, &Message::new(kind::UNSUPPORTED, [0; 32]).encode(), None);
            return None;
        };
        self.answer(index, message, given)
    }

    fn answer(&mut self, index: usize, m: Message, given: Option<Fd>) -> Option<i32> {
        let fd = self.connections[index].fd;
        let reply = |kind, a| {
            let _ = sys::send(
                fd,
                &Message {
                    a,
                    ..Message::new(kind, m.id)
                }
                .encode(),
                None,
            );
        };
        match m.kind {
            kind::HELLO => {
                self.connections[index].container = -2;
                reply(kind::HELLO, sys::getpid());
            }
            kind::SPAWN => {
                let done = self.entry(m.id).and_then(|i| {
                    self.containers[i].deaths = [0; DEATHS];
                    let c = &self.containers[i];
                    // One that lives is enough: as a child, or by its connection.
                    if (c.child && c.monitor != 0) || c.connection >= 0 {
                        Ok(c.monitor)
                    } else {
                        self.spawn(i)
                    }
                });
                match done {
                    Ok(pid) => reply(kind::OK, pid),
                    Err(e) => reply(kind::FAILED, e.0),
                }
            }
            kind::FORGET => {
                if let Some(i) = self.find(&m.id) {
                    let c = self.containers[i];
                    for fd in [c.pipes[0], c.pipes[1], c.stdin, c.master] {
                        if fd >= 0 {
                            sys::close(fd);
                        }
                    }
                    if let Ok(k) = usize::try_from(c.connection) {
                        self.connections[k].container = -1;
                    }
                    self.containers[i].used = false;
                    while self.high > 0 && !self.containers[self.high - 1].used {
                        self.high -= 1;
                    }
                }
                reply(kind::OK, 0);
            }
            kind::REGISTER => {
                if let Ok(i) = self.entry(m.id) {
                    let c = &mut self.containers[i];
                    if c.monitor != m.a {
                        // A child that was reaped before its message was read has a successor
                        // already; only one that outlived another keeper is new here.
                        if (c.child && c.monitor != 0) || sys::kill(m.a, 0).is_err() {
                            return None;
                        }
                        c.monitor = m.a;
                        c.child = false;
                    }
                    c.connection = index as i32;
                    let master = c.master;
                    self.connections[index].container = i as i32;
                    if master >= 0 {
                        let _ =
                            sys::send(fd, &Message::new(kind::MASTER, m.id).encode(), Some(master));
                    }
                }
            }
            kind::APP => {
                if let Some(i) = self.find(&m.id) {
                    // One that is there, if only to be reaped, was not reaped: what is remembered
                    // of its number is about a process that had it before.
                    let there = process_start(m.a) == Some(m.c);
                    let ended = self.recent.iter_mut().find(|r| r.pid == m.a && r.pid > 0);
                    self.containers[i].app = if there { m.a } else { 0 };
                    self.containers[i].app_start = m.c;
                    if let Some(r) = ended {
                        let reaped = *r;
                        r.pid = 0;
                        if !there {
                            self.application_ended(i, reaped);
                        }
                    }
                }
            }
            kind::MASTER => {
                if let (Some(i), Some(fd)) = (self.find(&m.id), given) {
                    if self.containers[i].master >= 0 {
                        sys::close(fd);
                    } else {
                        self.containers[i].master = fd;
                        if let Ok(k) = usize::try_from(self.containers[i].connection)
                            && k != index
                        {
                            let _ = sys::send(
                                self.connections[k].fd,
                                &Message::new(kind::MASTER, m.id).encode(),
                                Some(fd),
                            );
                        }
                    }
                    return None;
                }
            }
            kind::STDIN_CLOSED => {
                if let Some(i) = self.find(&m.id) {
                    let stdin = core::mem::replace(&mut self.containers[i].stdin, -1);
                    if stdin >= 0 {
                        sys::close(stdin);
                    }
                }
                reply(kind::OK, 0);
            }
            kind::SHUTDOWN => {
                if self.high == 0 {
                    reply(kind::OK, 0);
                    return Some(0);
                }
                reply(kind::FAILED, 16);
            }
            other => reply(kind::UNSUPPORTED, i32::from(other)),
        }
        if let Some(given) = given {
            sys::close(given);
        }
        None
    }

    fn reap(&mut self) {
        while let Ok((pid, status)) = sys::wait(-1, false) {
            if pid == 0 {
                return;
            }
            let reaped = Reaped {
                pid,
                status,
                time: sys::now(sys::REALTIME),
            };
            let used = &self.containers[..self.high];
            if let Some(i) = used
                .iter()
                .position(|c| c.used && c.child && c.monitor == pid)
            {
                self.monitor_died(i);
            } else if let Some(i) = used.iter().position(|c| c.used && c.app == pid) {
                self.application_ended(i, reaped);
            } else {
                self.recent[self.next_recent] = reaped;
                self.next_recent = (self.next_recent + 1) % RECENT;
            }
        }
    }

    /// Writes the exit record and tells the monitor.
    fn application_ended(&mut self, i: usize, r: Reaped) {
        let c = self.containers[i];
        // The number may be given to another process from now on.
        self.containers[i].app = 0;
        let hex = proto::hex(&c.id);
        let mut line = Name::new(&[]).number(r.pid as u64);
        for value in [c.app_start, r.status as u32 as u64, r.time] {
            line.push(b" ");
            line = line.number(value);
        }
        line.push(b"\n");
        let fresh = Name::new(&[b"c/", &hex, b"/exit.new"]);
        if let Ok(fd) = sys::open(AT_FDCWD, fresh.path(), O_WRONLY | O_CREAT | O_TRUNC, 0o600) {
            let _ = sys::write(fd, line.as_bytes());
            sys::close(fd);
            let _ = sys::rename(
                AT_FDCWD,
                fresh.path(),
                Name::new(&[b"c/", &hex, b"/exit"]).path(),
            );
        }
        if let Ok(k) = usize::try_from(c.connection) {
            let message = Message {
                a: r.pid,
                b: r.status,
                c: c.app_start,
                d: r.time,
                ..Message::new(kind::EXITED, c.id)
            };
            let _ = sys::send(self.connections[k].fd, &message.encode(), None);
        }
    }

    /// Starts a dead monitor again, unless its work is done or it dies too often.
    fn monitor_died(&mut self, i: usize) {
        self.containers[i].monitor = 0;
        self.containers[i].child = false;
        let hex = proto::hex(&self.containers[i].id);
        match lifecycle_of(&hex) {
            None | Some(lifecycle::FAILED | lifecycle::ENDED) => return,
            Some(_) => {}
        }
        let now = sys::now(sys::MONOTONIC);
        let deaths = &mut self.containers[i].deaths;
        deaths.rotate_right(1);
        deaths[0] = now;
        let oldest = deaths[DEATHS - 1];
        if (oldest != 0 && now - oldest < DEATH_SPAN) || self.spawn(i).is_err() {
            let message = Message::new(kind::GAVE_UP, self.containers[i].id).encode();
            for c in self
                .connections
                .iter()
                .filter(|c| c.fd != 0 && c.container == -2)
            {
                let _ = sys::send(c.fd, &message, None);
            }
        }
    }
}

/// Reads one 32-bit field of a container's state page.
fn page_field(hex: &[u8; 64], offset: usize) -> Option<u32> {
    let fd = sys::open(
        AT_FDCWD,
        Name::new(&[b"c/", hex, b"/state"]).path(),
        O_RDONLY,
        0,
    )
    .ok()?;
    let mut buf = [0; 4];
    let n = sys::pread(fd, &mut buf, offset as u64);
    sys::close(fd);
    (n == Ok(4)).then(|| u32::from_le_bytes(buf))
}

fn lifecycle_of(hex: &[u8; 64]) -> Option<u32> {
    page_field(hex, core::mem::offset_of!(StatePage, lifecycle))
}

fn stdin_closed(hex: &[u8; 64]) -> bool {
    page_field(hex, core::mem::offset_of!(StatePage, stdin_closed)).is_some_and(|v| v != 0)
}
