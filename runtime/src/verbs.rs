//! All verbs but `create`.

use std::fs;
use std::io::{self, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, Instant};

use libcontainer::container::ContainerStatus;
use libcontainer::hooks::run_hooks;
use libcontainer::notify_socket::{NOTIFY_FILE, NotifySocket};
use serde_json::{Value, json};

use crate::cgroup::{self, Layout};
use crate::filter;
use crate::state::{Record, Status};

/// How long a killed container may take to be gone.
const KILLED: i32 = 10_000;

/// How long `start` waits for the container's program to run.
const STARTED: Duration = Duration::from_secs(1);

fn layout() -> Result<Layout, String> {
    Layout::read().map_err(|e| format!("/sys/fs/cgroup: {e}"))
}

fn load(root: &Path, id: &str) -> Result<Record, String> {
    Record::load(root, id)?.ok_or_else(|| format!("container {id}: container does not exist"))
}

/// Lets the first process go on to its program.
pub(crate) fn start(root: &Path, id: &str) -> Result<(), String> {
    let record = load(root, id)?;
    let status = record.status(root, &layout()?);
    if status != Status::Created {
        return Err(format!(
            "cannot start a container that is {}",
            status.name()
        ));
    }
    let dir = root.join(id);
    let before = program(record.pid);
    NotifySocket::new(dir.join(NOTIFY_FILE))
        .notify_container_start()
        .map_err(|e| format!("cannot start container {id}: {e}"))?;
    fs::remove_file(dir.join(NOTIFY_FILE)).map_err(|e| format!("{}: {e}", dir.display()))?;
    await_program(&record, before);
    if let Some(hooks) = &record.hooks {
        let state = record.for_hooks(ContainerStatus::Running);
        run_hooks(
            hooks.poststart().as_ref(),
            Some(&state),
            Some(&record.bundle),
            None,
            None,
        )
        .map_err(|e| format!("hooks.poststart: {e}"))?;
    }
    Ok(())
}

/// Device and number of the file that a process runs; `None` if it is gone.
fn program(pid: i32) -> Option<(u64, u64)> {
    let meta = fs::metadata(format!("/proc/{pid}/exe")).ok()?;
    Some((meta.dev(), meta.ino()))
}

/// Waits until the first process runs the container's program, or has ended. A signal that is sent
/// after `start` is then the program's; the first process of a pid namespace would ignore it. Not
/// waited for are hooks that run before, nor a program whose file hangs.
fn await_program(record: &Record, before: Option<(u64, u64)>) {
    let hooks = record
        .hooks
        .as_ref()
        .and_then(|h| h.start_container().as_ref());
    if hooks.is_some_and(|h| !h.is_empty()) {
        return;
    }
    let until = Instant::now() + STARTED;
    let mut pause = Duration::from_micros(50);
    while before.is_some() && program(record.pid) == before && Instant::now() < until {
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(5));
    }
}

fn describe(root: &Path, record: &Record, layout: &Layout) -> Value {
    let status = record.status(root, layout);
    let mut out = json!({
        "ociVersion": record.oci_version,
        "id": record.id,
        "pid": if status == Status::Stopped { 0 } else { record.pid },
        "status": status.name(),
        "bundle": record.bundle,
        "rootfs": record.rootfs,
        "created": record.created,
        "owner": "",
    });
    if !record.annotations.is_empty() {
        out["annotations"] = json!(record.annotations);
    }
    out
}

fn print(value: &Value) -> Result<(), String> {
    let text = serde_json::to_string_pretty(value).map_err(|e| e.to_string())?;
    writeln!(io::stdout(), "{text}").map_err(|e| e.to_string())
}

pub(crate) fn state(root: &Path, id: &str) -> Result<(), String> {
    print(&describe(root, &load(root, id)?, &layout()?))
}

pub(crate) fn list(root: &Path, quiet: bool) -> Result<(), String> {
    let layout = layout()?;
    let mut all = Vec::new();
    let entries = match fs::read_dir(root) {
        Ok(entries) => entries,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return print_list(all, quiet),
        Err(e) => return Err(format!("{}: {e}", root.display())),
    };
    let mut ids: Vec<String> = entries
        .flatten()
        .filter_map(|e| e.file_name().into_string().ok())
        .collect();
    ids.sort();
    for id in ids {
        if let Some(record) = Record::load(root, &id)? {
            all.push(describe(root, &record, &layout));
        }
    }
    print_list(all, quiet)
}

fn print_list(all: Vec<Value>, quiet: bool) -> Result<(), String> {
    if !quiet {
        return print(&Value::Array(all));
    }
    for id in all.iter().filter_map(|c| c["id"].as_str()) {
        writeln!(io::stdout(), "{id}").map_err(|e| e.to_string())?;
    }
    Ok(())
}

pub(crate) fn kill(root: &Path, id: &str, signal: &str, all: bool) -> Result<(), String> {
    let number = signal_number(signal).ok_or_else(|| format!("unknown signal {signal:?}"))?;
    let record = load(root, id)?;
    let layout = layout()?;
    if all {
        return cgroup::signal_all(&layout, &record.cgroup, number).map_err(|e| e.to_string());
    }
    if record.status(root, &layout) == Status::Stopped {
        return Err("container not running".to_owned());
    }
    send(&record, number).map_err(|e| format!("signal {signal}: {e}"))?;
    // A frozen process of version 1 dies only when it is thawed.
    if number == libc::SIGKILL && cgroup::frozen(&layout, &record.cgroup) {
        cgroup::freeze(&layout, &record.cgroup, false).map_err(|e| e.to_string())?;
    }
    Ok(())
}

/// By descriptor: a pid that was given anew meanwhile is not hit.
fn send(record: &Record, signal: i32) -> io::Result<()> {
    let Some(fd) = process(record)? else {
        return Ok(());
    };
    // SAFETY: the descriptor is a process's; the null pointer asks for default values.
    let n = unsafe {
        libc::syscall(
            libc::SYS_pidfd_send_signal,
            fd.as_raw_fd(),
            signal,
            std::ptr::null::<libc::siginfo_t>(),
            0,
        )
    };
    if n < 0 {
        let e = io::Error::last_os_error();
        if e.raw_os_error() != Some(libc::ESRCH) {
            return Err(e);
        }
    }
    Ok(())
}

/// The first process; `None` if it is gone.
fn process(record: &Record) -> io::Result<Option<OwnedFd>> {
    // SAFETY: the descriptor is new.
    let fd = unsafe {
        let n = libc::syscall(libc::SYS_pidfd_open, record.pid, 0);
        if n < 0 {
            let e = io::Error::last_os_error();
            return if e.raw_os_error() == Some(libc::ESRCH) {
                Ok(None)
            } else {
                Err(e)
            };
        }
        OwnedFd::from_raw_fd(n as i32)
    };
    let same = crate::state::start_time(record.pid) == Some(record.start);
    Ok(same.then_some(fd))
}

fn signal_number(text: &str) -> Option<i32> {
    if let Ok(number) = text.parse() {
        return (1..=64).contains(&number).then_some(number);
    }
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    let names = [
        ("HUP", libc::SIGHUP),
        ("INT", libc::SIGINT),
        ("QUIT", libc::SIGQUIT),
        ("ILL", libc::SIGILL),
        ("TRAP", libc::SIGTRAP),
        ("ABRT", libc::SIGABRT),
        ("IOT", libc::SIGABRT),
        ("BUS", libc::SIGBUS),
        ("FPE", libc::SIGFPE),
        ("KILL", libc::SIGKILL),
        ("USR1", libc::SIGUSR1),
        ("SEGV", libc::SIGSEGV),
        ("USR2", libc::SIGUSR2),
        ("PIPE", libc::SIGPIPE),
        ("ALRM", libc::SIGALRM),
        ("TERM", libc::SIGTERM),
        ("STKFLT", libc::SIGSTKFLT),
        ("CHLD", libc::SIGCHLD),
        ("CLD", libc::SIGCHLD),
        ("CONT", libc::SIGCONT),
        ("STOP", libc::SIGSTOP),
        ("TSTP", libc::SIGTSTP),
        ("TTIN", libc::SIGTTIN),
        ("TTOU", libc::SIGTTOU),
        ("URG", libc::SIGURG),
        ("XCPU", libc::SIGXCPU),
        ("XFSZ", libc::SIGXFSZ),
        ("VTALRM", libc::SIGVTALRM),
        ("PROF", libc::SIGPROF),
        ("WINCH", libc::SIGWINCH),
        ("IO", libc::SIGIO),
        ("POLL", libc::SIGIO),
        ("PWR", libc::SIGPWR),
        ("SYS", libc::SIGSYS),
    ];
    if let Some((_, n)) = names.iter().find(|(n, _)| *n == name) {
        return Some(*n);
    }
    // The C library keeps the first two for itself.
    let offset = |text: &str| text.parse::<i32>().ok().filter(|n| (0..=30).contains(n));
    match (name.strip_prefix("RTMIN"), name.strip_prefix("RTMAX")) {
        (Some(""), _) => Some(34),
        (Some(rest), _) => offset(rest.strip_prefix('+')?).map(|n| 34 + n),
        (_, Some("")) => Some(64),
        (_, Some(rest)) => offset(rest.strip_prefix('-')?).map(|n| 64 - n),
        _ => None,
    }
}

pub(crate) fn pause(root: &Path, id: &str, frozen: bool) -> Result<(), String> {
    let record = load(root, id)?;
    let layout = layout()?;
    let status = record.status(root, &layout);
    let right = if frozen {
        matches!(status, Status::Running | Status::Created)
    } else {
        status == Status::Paused
    };
    if !right {
        return Err(format!(
            "container {id} is {}: not {}",
            status.name(),
            if frozen { "running" } else { "paused" }
        ));
    }
    cgroup::freeze(&layout, &record.cgroup, frozen).map_err(|e| e.to_string())
}

pub(crate) fn delete(root: &Path, id: &str, force: bool) -> Result<(), String> {
    let Some(record) = Record::load(root, id)? else {
        // A create that did not come to its end leaves a folder without a record.
        let gone = fs::remove_dir_all(root.join(id)).is_ok();
        return if force || gone {
            Ok(())
        } else {
            Err(format!("container {id}: container does not exist"))
        };
    };
    let layout = layout()?;
    match record.status(root, &layout) {
        Status::Stopped => {}
        Status::Running | Status::Paused if !force => {
            return Err(format!(
                "cannot delete container {id} that is not stopped: {}",
                record.status(root, &layout).name()
            ));
        }
        _ => end(&record, &layout)?,
    }
    cgroup::remove(&layout, &record.cgroup).map_err(|e| format!("control group: {e}"))?;
    let dir = root.join(id);
    fs::remove_dir_all(&dir).map_err(|e| format!("{}: {e}", dir.display()))?;
    if let Some(hooks) = &record.hooks {
        let state = record.for_hooks(ContainerStatus::Stopped);
        run_hooks(hooks.poststop().as_ref(), Some(&state), None, None, None)
            .map_err(|e| format!("hooks.poststop: {e}"))?;
    }
    Ok(())
}

/// Kills the first process and waits for its end.
fn end(record: &Record, layout: &Layout) -> Result<(), String> {
    let Some(fd) = process(record).map_err(|e| e.to_string())? else {
        return Ok(());
    };
    send(record, libc::SIGKILL).map_err(|e| e.to_string())?;
    if cgroup::frozen(layout, &record.cgroup) {
        cgroup::freeze(layout, &record.cgroup, false).map_err(|e| e.to_string())?;
    }
    let mut poll = libc::pollfd {
        fd: fd.as_raw_fd(),
        events: libc::POLLIN,
        revents: 0,
    };
    // SAFETY: one entry is given, and it lives through the call.
    match unsafe { libc::poll(&mut poll, 1, KILLED) } {
        1 => Ok(()),
        _ => Err(format!(
            "container {} does not end after SIGKILL",
            record.id
        )),
    }
}

/// The OCI features structure, of this build and this host.
pub(crate) fn features() -> Result<(), String> {
    let library = filter::library_version();
    print(&json!({
        "ociVersionMin": "1.0.0",
        "ociVersionMax": "1.2.0",
        "hooks": ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"],
        "linux": {
            "namespaces": ["cgroup", "ipc", "mount", "network", "pid", "time", "user", "uts"],
            "cgroup": {"v1": true, "v2": true, "systemd": false, "systemdUser": false, "rdma": false},
            "seccomp": {
                "enabled": filter::AVAILABLE,
                "actions": ["SCMP_ACT_ALLOW", "SCMP_ACT_ERRNO", "SCMP_ACT_KILL", "SCMP_ACT_KILL_PROCESS", "SCMP_ACT_KILL_THREAD", "SCMP_ACT_LOG", "SCMP_ACT_TRACE", "SCMP_ACT_TRAP"],
                "operators": ["SCMP_CMP_NE", "SCMP_CMP_LT", "SCMP_CMP_LE", "SCMP_CMP_EQ", "SCMP_CMP_GE", "SCMP_CMP_GT", "SCMP_CMP_MASKED_EQ"],
            },
            "apparmor": {"enabled": true},
            "selinux": {"enabled": false},
            "intelRdt": {"enabled": false},
            "mountExtensions": {"idmap": {"enabled": false}},
        },
        "annotations": {"io.github.seccomp.libseccomp.version": library},
    }))
}

pub(crate) fn version() -> Result<(), String> {
    let library = filter::library_version().map_or_else(
        || "libseccomp: none".to_owned(),
        |v| format!("libseccomp: {v}"),
    );
    writeln!(
        io::stdout(),
        "taffrail-runtime version {}\nspec: 1.2.0\n{library}",
        env!("CARGO_PKG_VERSION")
    )
    .map_err(|e| e.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals() {
        for (text, number) in [
            ("9", Some(9)),
            ("KILL", Some(9)),
            ("SIGTERM", Some(15)),
            ("sigusr1", Some(10)),
            ("SIGRTMIN", Some(34)),
            ("RTMIN+3", Some(37)),
            ("RTMAX-1", Some(63)),
            ("0", None),
            ("65", None),
            ("SIGNOSUCH", None),
            ("RTMIN3", None),
        ] {
            assert_eq!(signal_number(text), number, "{text}");
        }
    }
}
