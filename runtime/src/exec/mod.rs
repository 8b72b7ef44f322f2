//! `exec`: another process in a running container.
//!
//! Three processes, as for `create`. This one stays outside: it waits until the program runs, and
//! without `--detach` until it ends. The second joins the container: first its control groups, then
//! its namespaces (`join`). The third is made in the container's pid namespace when nothing of the
//! host is left: until then nobody inside can see it. It takes the container's identity and becomes
//! the program (`tenant`). None of them is dumpable, and all run from a sealed file.

mod fork;
mod join;
mod process;
mod tenant;

use std::fs;
use std::io::{PipeReader, PipeWriter, Read, Write};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::path::Path;

use libcontainer::oci_spec::runtime::Spec;

use crate::cgroup::Layout;
use crate::create::{FILTERS, write_pid};
use crate::exec_args::Exec;
use crate::payload::{Payload, words};
use crate::state::{Record, Status};
use crate::{filter, report};

use self::fork::Parent;
use self::join::Namespaces;
use self::process::Tenant;

/// Signals that reach the program through this process, when it waits for its end.
const FORWARDED: [i32; 8] = [
    libc::SIGHUP,
    libc::SIGINT,
    libc::SIGQUIT,
    libc::SIGTERM,
    libc::SIGUSR1,
    libc::SIGUSR2,
    libc::SIGCONT,
    libc::SIGWINCH,
];

/// Runs a process in a container; with `--detach` the code is 0 once it runs, else the code that it
/// ended with (128 and the signal's number if one killed it).
///
/// # Errors
/// The program does not run, in runc's words.
pub(crate) fn exec(root: &Path, args: &Exec) -> Result<u8, String> {
    let layout = Layout::read().map_err(|e| format!("/sys/fs/cgroup: {e}"))?;
    let record = Record::load(root, &args.id)?
        .ok_or_else(|| format!("container {}: container does not exist", args.id))?;
    match record.status(root, &layout) {
        Status::Stopped => return Err(join::STOPPED.to_owned()),
        Status::Paused if !args.ignore_paused => {
            return Err(
                "cannot exec in a paused container (use --ignore-paused to override)".to_owned(),
            );
        }
        Status::Created | Status::Running | Status::Paused => {}
    }
    let spec = specification(&record.bundle)?;
    let tenant = process::tenant(spec, args)?;
    let filter = tenant
        .seccomp
        .as_ref()
        .map(|profile| filter::build(profile, &root.join(FILTERS)))
        .transpose()?;
    let absolute = |p: &Path| std::path::absolute(p).map_err(|e| format!("{}: {e}", p.display()));
    let pid_file = args.pid_file.as_deref().map(absolute).transpose()?;
    let console = args
        .console_socket
        .as_ref()
        .map(|path| {
            UnixStream::connect(path)
                .map_err(|e| format!("--console-socket {}: {}", path.display(), words(&e)))
        })
        .transpose()?;
    let namespaces = Namespaces::open(&record)?;
    let mut payload = Payload::new(tenant.capabilities.clone());
    payload.no_new_privileges = tenant.no_new_privileges;
    payload.filter = filter;
    payload.umask = tenant.umask;
    payload.console = tenant.console;
    // SAFETY: sets a flag of this process.
    unsafe { libc::prctl(libc::PR_SET_DUMPABLE, 0) };
    if !args.detach {
        block_signals();
    }
    let crossing = Crossing {
        layout,
        record,
        namespaces,
        tenant,
        payload,
        console,
        preserve_fds: args.preserve_fds,
    };
    let failed = |text: String| format!("unable to start container process: {text}");
    let pid = crossing.run().map_err(failed)?;
    if let Some(path) = &pid_file
        && let Err(e) = write_pid(path, pid)
    {
        // SAFETY: our own child, not yet waited for.
        unsafe { libc::kill(pid, libc::SIGKILL) };
        wait(pid);
        return Err(format!("--pid-file {}: {e}", path.display()));
    }
    if args.detach {
        return Ok(0);
    }
    Ok(wait_with_signals(pid))
}

/// The container's own; only what a further process needs is looked at.
fn specification(bundle: &Path) -> Result<Spec, String> {
    let path = bundle.join("config.json");
    let bytes = fs::read(&path).map_err(|e| format!("{}: {e}", path.display()))?;
    serde_json::from_slice(&bytes).map_err(|e| format!("{}: {e}", path.display()))
}

/// All that the inner processes need.
struct Crossing {
    layout: Layout,
    record: Record,
    namespaces: Namespaces,
    tenant: Tenant,
    payload: Payload,
    console: Option<UnixStream>,
    preserve_fds: u16,
}

impl Crossing {
    /// The process that runs the program; a child of this one.
    fn run(self) -> Result<i32, String> {
        let (mut status, status_writer) = std::io::pipe().map_err(|e| e.to_string())?;
        let middle = fork::fork(Parent::This).map_err(|e| format!("fork: {}", words(&e)))?;
        let Some(middle) = middle else {
            drop(status);
            let done = self.cross(status_writer);
            if let Err(text) = &done {
                report::note_final(text);
            }
            fork::end(i32::from(done.is_err()));
        };
        // The pipe ends when the program runs.
        drop((self, status_writer));
        let pid = read_pid(&mut status);
        let crossed = wait(middle) == 0;
        let text = report::final_words();
        match pid {
            Some(pid) if crossed && text.is_none() => Ok(pid),
            pid => {
                if let Some(pid) = pid {
                    // SAFETY: our own child, not yet waited for.
                    unsafe { libc::kill(pid, libc::SIGKILL) };
                    wait(pid);
                }
                Err(text.unwrap_or_else(|| {
                    "the process that joins the container was killed".to_owned()
                }))
            }
        }
    }

    /// The second process: into the container, and the third one made there.
    fn cross(self, mut status: PipeWriter) -> Result<(), String> {
        let Self {
            layout,
            record,
            namespaces,
            tenant,
            payload,
            console,
            preserve_fds,
        } = self;
        layout
            .enter(&record.cgroup, record.pid)
            .map_err(|e| format!("control groups: {}", words(&e)))?;
        tenant.limit()?;
        namespaces.join()?;
        let console = console.map(OwnedFd::from);
        let mut kept: Vec<RawFd> = vec![status.as_raw_fd()];
        kept.extend(console.as_ref().map(AsRawFd::as_raw_fd));
        kept.extend(report::descriptor());
        close_others(3 + i32::from(preserve_fds), kept);
        let pid = fork::fork(Parent::Same).map_err(|e| format!("fork: {}", words(&e)))?;
        let Some(pid) = pid else {
            report::note_final(&tenant.become_program(console, &payload));
            fork::end(1);
        };
        status
            .write_all(&pid.to_ne_bytes())
            .map_err(|e| e.to_string())
    }
}

/// Reads to the end, which is when the program runs or nobody is left.
fn read_pid(status: &mut PipeReader) -> Option<i32> {
    let mut bytes = Vec::new();
    let _ = status.read_to_end(&mut bytes);
    Some(i32::from_ne_bytes(bytes.try_into().ok()?))
}

/// Closes all descriptors from `first` on but those that are kept. They are all closed by the
/// program's execution, too; so nobody inside finds them in the meantime.
fn close_others(first: RawFd, mut kept: Vec<RawFd>) {
    kept.sort_unstable();
    kept.push(RawFd::MAX);
    let mut from = first;
    for fd in kept {
        if fd > from {
            // SAFETY: nothing uses the descriptors in this range any more; the process makes one
            // more and ends. A kernel that does not know the call leaves them to the execution.
            unsafe {
                libc::syscall(libc::SYS_close_range, from, fd - 1, 0);
            }
        }
        from = from.max(fd.saturating_add(1));
    }
}

/// Waits for a child's end; its code, or 128 and the number of the signal that killed it.
fn wait(pid: i32) -> i32 {
    let mut status = 0;
    loop {
        // SAFETY: `status` lives through the call.
        let n = unsafe { libc::waitpid(pid, &raw mut status, 0) };
        if n == pid {
            return code(status);
        }
        if std::io::Error::last_os_error().kind() != std::io::ErrorKind::Interrupted {
            return 255;
        }
    }
}

pub(crate) fn code(status: i32) -> i32 {
    if libc::WIFEXITED(status) {
        libc::WEXITSTATUS(status)
    } else {
        128 + libc::WTERMSIG(status)
    }
}

fn signal_set() -> libc::sigset_t {
    let mut set = std::mem::MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: the first call fills the set.
    unsafe {
        libc::sigemptyset(set.as_mut_ptr());
        for signal in FORWARDED.into_iter().chain([libc::SIGCHLD]) {
            libc::sigaddset(set.as_mut_ptr(), signal);
        }
        set.assume_init()
    }
}

/// They are waited for instead of acting on this process; the program's own mask is empty.
fn block_signals() {
    let set = signal_set();
    // SAFETY: the set lives through the call.
    unsafe { libc::sigprocmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut()) };
}

/// Waits for the program's end and hands signals on to it.
fn wait_with_signals(pid: i32) -> u8 {
    let set = signal_set();
    loop {
        let mut status = 0;
        // SAFETY: `status` lives through the call.
        let n = unsafe { libc::waitpid(pid, &raw mut status, libc::WNOHANG) };
        if n != 0 {
            let code = if n == pid { code(status) } else { 255 };
            return u8::try_from(code).unwrap_or(255);
        }
        // SAFETY: the set lives through the call, which needs no more of the signal.
        let signal = unsafe { libc::sigwaitinfo(&raw const set, std::ptr::null_mut()) };
        if FORWARDED.contains(&signal) {
            // SAFETY: the child was not waited for yet.
            unsafe { libc::kill(pid, signal) };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kept_descriptors_stay_open() {
        // In a process of its own: everything else is closed.
        // SAFETY: the child makes system calls only and ends.
        let pid = unsafe { libc::fork() };
        if pid == 0 {
            // SAFETY: as above.
            unsafe {
                let kept = libc::dup(1);
                let other = libc::dup(1);
                close_others(3, vec![kept]);
                let open = |fd| libc::fcntl(fd, libc::F_GETFD) >= 0;
                libc::_exit(i32::from(!(open(kept) && !open(other) && open(1))));
            }
        }
        assert_eq!(wait(pid), 0);
    }
}
