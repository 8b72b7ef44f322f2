//! `attend`: the daemon's way to run `exec`, with any OCI runtime.
//!
//! An exec'd process needs a parent that waits for it: the daemon may be killed and come back, the
//! first process of the host may reap late, and until its processes are reaped a container does not
//! end. So each `exec` has a small parent of its own. It runs the runtime's `exec --detach`, adopts
//! the process that the runtime leaves behind, and tells the daemon by lines over a socket:
//!
//! | line | |
//! |---|---|
//! | `started PID` | the runtime was content; PID as its pid file has it |
//! | `failed CODE` | the runtime ended with this code, there is no process |
//! | `exited CODE` | 128 and the signal's number if one killed it |
//!
//! The daemon sends `k` to have the process's group killed with SIGKILL, which only its parent can
//! do without hitting a stranger. The end of the socket changes nothing: the process goes on.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, FromRawFd};
use std::os::unix::net::UnixStream;
use std::process::Command;

use crate::exec::code;
use crate::exec_args::Attend;

/// Runs to the end of the process.
///
/// # Errors
/// What keeps the runtime from being run; the daemon was told.
pub(crate) fn attend(args: &Attend) -> Result<(), String> {
    // SAFETY: the daemon hands this descriptor over; asked first, and nobody else here uses it.
    let socket = unsafe {
        if libc::fcntl(args.socket, libc::F_SETFD, libc::FD_CLOEXEC) < 0 {
            return Err(format!("--socket {}: not open", args.socket));
        }
        UnixStream::from_raw_fd(args.socket)
    };
    let mut daemon = Some(socket);
    let done = run(args, &mut daemon);
    if done.is_err() {
        tell(&mut daemon, "failed 255");
    }
    done
}

fn run(args: &Attend, daemon: &mut Option<UnixStream>) -> Result<(), String> {
    let text = |e: io::Error| e.to_string();
    if let Some(socket) = daemon {
        socket.set_nonblocking(true).map_err(text)?;
    }
    // SAFETY: numbers of this process.
    unsafe {
        // A signal to the daemon's terminal is not the process's.
        libc::setsid();
        if libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1) < 0 {
            return Err(io::Error::last_os_error().to_string());
        }
    }
    let ends = child_signals().map_err(text)?;
    let runtime = Command::new(&args.command[0])
        .args(&args.command[1..])
        .spawn()
        .map_err(|e| format!("{}: {e}", args.command[0].display()))?;
    let mut attended = Attended {
        runtime: i32::try_from(runtime.id()).unwrap_or(-1),
        process: None,
        killed: false,
        ended: Vec::new(),
    };
    // The process's own: an end that is held here would never come.
    leave_stdio().map_err(text)?;
    loop {
        wait_for_news(&ends, daemon, &mut attended);
        for (pid, status) in reap() {
            attended.ended.push((pid, status));
        }
        if attended.process.is_none()
            && let Some(status) = attended.take(attended.runtime)
        {
            let pid = std::fs::read_to_string(&args.pid_file)
                .ok()
                .and_then(|text| text.trim().parse::<i32>().ok())
                .filter(|pid| *pid > 0);
            match (code(status), pid) {
                (0, Some(pid)) => {
                    attended.process = Some(pid);
                    tell(daemon, &format!("started {pid}"));
                    if attended.killed {
                        attended.kill();
                    }
                }
                (code, _) => {
                    tell(daemon, &format!("failed {code}"));
                    return Ok(());
                }
            }
        }
        if let Some(pid) = attended.process
            && let Some(status) = attended.take(pid)
        {
            tell(daemon, &format!("exited {}", code(status)));
            return Ok(());
        }
        if attended.process.is_some() {
            // Strangers that were left to us.
            attended.ended.clear();
        }
    }
}

struct Attended {
    runtime: i32,
    process: Option<i32>,
    /// A kill came before the process.
    killed: bool,
    /// Reaped and not yet looked at.
    ended: Vec<(i32, i32)>,
}

impl Attended {
    fn take(&mut self, pid: i32) -> Option<i32> {
        let at = self.ended.iter().position(|(p, _)| *p == pid)?;
        Some(self.ended.swap_remove(at).1)
    }

    /// Its whole group: runtimes make it the leader of a session.
    fn kill(&mut self) {
        self.killed = true;
        let Some(pid) = self.process else {
            return;
        };
        // SAFETY: the process was not waited for, so the number is still its own.
        unsafe {
            libc::kill(-pid, libc::SIGKILL);
            libc::kill(pid, libc::SIGKILL);
        }
    }
}

/// Ends of children become readable.
fn child_signals() -> io::Result<File> {
    let mut set = std::mem::MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: the first call fills the set; the descriptor is new and owned by the file.
    unsafe {
        libc::sigemptyset(set.as_mut_ptr());
        libc::sigaddset(set.as_mut_ptr(), libc::SIGCHLD);
        let set = set.assume_init();
        libc::sigprocmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut());
        let fd = libc::signalfd(-1, &raw const set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK);
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(File::from_raw_fd(fd))
    }
}

fn leave_stdio() -> io::Result<()> {
    let null = File::options().read(true).write(true).open("/dev/null")?;
    for fd in 0..3 {
        // SAFETY: both descriptors are open.
        if unsafe { libc::dup2(null.as_raw_fd(), fd) } < 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

/// Waits until a child has ended, and does what the daemon asks for meanwhile.
fn wait_for_news(mut ends: &File, daemon: &mut Option<UnixStream>, attended: &mut Attended) {
    loop {
        let poll = |fd| libc::pollfd {
            fd,
            events: libc::POLLIN,
            revents: 0,
        };
        let mut polls = [
            poll(ends.as_raw_fd()),
            // A negative number is left out.
            poll(daemon.as_ref().map_or(-1, AsRawFd::as_raw_fd)),
        ];
        // SAFETY: two entries are given, and they live through the call.
        unsafe { libc::poll(polls.as_mut_ptr(), 2, -1) };
        if polls[1].revents != 0
            && let Some(socket) = daemon
        {
            let mut byte = [0];
            match socket.read(&mut byte) {
                Ok(1) if byte[0] == b'k' => attended.kill(),
                Ok(1) => {}
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
                // The daemon is gone.
                Ok(_) | Err(_) => *daemon = None,
            }
        }
        if polls[0].revents != 0 {
            let mut info = [0; size_of::<libc::signalfd_siginfo>()];
            let _ = ends.read(&mut info);
            return;
        }
    }
}

/// All children that have ended.
fn reap() -> Vec<(i32, i32)> {
    let mut out = Vec::new();
    loop {
        let mut status = 0;
        // SAFETY: `status` lives through the call.
        let pid = unsafe { libc::waitpid(-1, &raw mut status, libc::WNOHANG) };
        if pid <= 0 {
            return out;
        }
        out.push((pid, status));
    }
}

/// Never waits: a daemon that does not listen must not keep a process from being reaped.
fn tell(daemon: &mut Option<UnixStream>, line: &str) {
    if let Some(socket) = daemon
        && socket.write_all(format!("{line}\n").as_bytes()).is_err()
    {
        *daemon = None;
    }
}
