//! Signals by name or number, and sending one to a process that is surely the one meant.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use super::State;
use crate::errors::ApiError;

const SIGRTMIN: i32 = 34;
const SIGRTMAX: i32 = 64;

/// Names without `SIG` (docs: signal(7), Moby `moby/sys/signal`), Linux numbers for x86-64 and
/// arm64.
const NAMES: &[(&str, i32)] = &[
    ("ABRT", libc::SIGABRT),
    ("ALRM", libc::SIGALRM),
    ("BUS", libc::SIGBUS),
    ("CHLD", libc::SIGCHLD),
    ("CLD", libc::SIGCHLD),
    ("CONT", libc::SIGCONT),
    ("FPE", libc::SIGFPE),
    ("HUP", libc::SIGHUP),
    ("ILL", libc::SIGILL),
    ("INT", libc::SIGINT),
    ("IO", libc::SIGIO),
    ("IOT", libc::SIGIOT),
    ("KILL", libc::SIGKILL),
    ("PIPE", libc::SIGPIPE),
    ("POLL", libc::SIGPOLL),
    ("PROF", libc::SIGPROF),
    ("PWR", libc::SIGPWR),
    ("QUIT", libc::SIGQUIT),
    ("SEGV", libc::SIGSEGV),
    ("STKFLT", libc::SIGSTKFLT),
    ("STOP", libc::SIGSTOP),
    ("SYS", libc::SIGSYS),
    ("TERM", libc::SIGTERM),
    ("TRAP", libc::SIGTRAP),
    ("TSTP", libc::SIGTSTP),
    ("TTIN", libc::SIGTTIN),
    ("TTOU", libc::SIGTTOU),
    ("URG", libc::SIGURG),
    ("USR1", libc::SIGUSR1),
    ("USR2", libc::SIGUSR2),
    ("VTALRM", libc::SIGVTALRM),
    ("WINCH", libc::SIGWINCH),
    ("XCPU", libc::SIGXCPU),
    ("XFSZ", libc::SIGXFSZ),
];

/// What is no signal, in Docker's two ways to say it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SignalError {
    #[error("Invalid signal: {0}")]
    Invalid(String),
    /// A number that the kernel does not have, as Go prints it.
    #[error("The linux daemon does not support signal {0}")]
    Unsupported(u64),
}

impl From<SignalError> for ApiError {
    fn from(error: SignalError) -> Self {
        Self::invalid(error.to_string())
    }
}

/// Reads a signal: `INT`, `SIGINT`, `2`, `RTMIN+3`, in any case.
pub(crate) fn parse(given: &str) -> Result<i32, SignalError> {
    let bad = || SignalError::Invalid(given.to_owned());
    let real_time = |n: i32| {
        Some(n)
            .filter(|n| (SIGRTMIN..=SIGRTMAX).contains(n))
            .ok_or_else(bad)
    };
    if let Ok(number) = given.parse::<i64>() {
        return match i32::try_from(number) {
            Ok(0) => Err(bad()),
            Ok(number @ 1..=SIGRTMAX) => Ok(number),
            _ => Err(SignalError::Unsupported(number.cast_unsigned())),
        };
    }
    let upper = given.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    if let Some((_, number)) = NAMES.iter().find(|(known, _)| *known == name) {
        return Ok(*number);
    }
    if let Some(rest) = name.strip_prefix("RTMIN") {
        return match rest.strip_prefix('+') {
            None if rest.is_empty() => Ok(SIGRTMIN),
            Some(n) => n
                .parse()
                .map_err(|_| bad())
                .and_then(|n: u8| real_time(SIGRTMIN + i32::from(n))),
            None => Err(bad()),
        };
    }
    if let Some(rest) = name.strip_prefix("RTMAX") {
        return match rest.strip_prefix('-') {
            None if rest.is_empty() => Ok(SIGRTMAX),
            Some(n) => n
                .parse()
                .map_err(|_| bad())
                .and_then(|n: u8| real_time(SIGRTMAX - i32::from(n))),
            None => Err(bad()),
        };
    }
    Err(bad())
}

/// Name of a signal, with `SIG`; a number that has none as it is.
pub(crate) fn name(number: i32) -> String {
    if let Some((name, _)) = NAMES.iter().find(|(_, known)| *known == number) {
        return format!("SIG{name}");
    }
    match number {
        SIGRTMIN => "SIGRTMIN".to_owned(),
        _ if (SIGRTMIN..=SIGRTMAX).contains(&number) => format!("SIGRTMIN+{}", number - SIGRTMIN),
        other => other.to_string(),
    }
}

/// Start time of a process in clock ticks since boot; `None` if there is no such process.
pub(crate) fn start_time(pid: i32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses may hold anything, also blanks and parentheses.
    let (_, rest) = stat.rsplit_once(')')?;
    // After the name come fields 3 and up; the start time is field 22.
    rest.split_ascii_whitespace().nth(19)?.parse().ok()
}

/// Resolves when the process that had this pid and start time has ended.
pub(crate) async fn gone(pid: i32, start: u64) {
    if pid <= 0 {
        return;
    }
    // SAFETY: plain integers; the result is checked before it is used as a descriptor.
    let raw = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
    if raw < 0 {
        if io::Error::last_os_error().raw_os_error() == Some(libc::ESRCH) {
            return;
        }
        // No descriptor to be had: nothing can be said about it.
        return std::future::pending().await;
    }
    // SAFETY: the kernel has just given us this descriptor, nobody else has it. It fits an int.
    let fd = unsafe { OwnedFd::from_raw_fd(raw as i32) };
    if start_time(pid) != Some(start) {
        return;
    }
    // SAFETY: the descriptor is owned by what is registered, and closed with it only.
    let watched = unsafe {
        tokio::io::unix::AsyncFd::register_with_interest(fd, tokio::io::Interest::READABLE)
    };
    match watched {
        Ok(fd) => drop(fd.readable().await),
        Err(_) => std::future::pending().await,
    }
}

/// Sends a signal to the process that has this pid and start time; a pid that now means another
/// process gets nothing.
///
/// # Errors
/// `ESRCH` if that process is gone, `EPERM` and the like of `pidfd_send_signal(2)`.
pub(crate) fn send(pid: i32, start: u64, signal: i32) -> io::Result<()> {
    let gone = || io::Error::from_raw_os_error(libc::ESRCH);
    if pid <= 0 {
        return Err(gone());
    }
    // SAFETY: plain integers; the result is checked before it is used as a descriptor.
    let raw = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
    if raw < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just given us this descriptor, nobody else has it. It fits an int.
    let fd = unsafe { OwnedFd::from_raw_fd(raw as i32) };
    // With the descriptor open the pid cannot be given to another process unseen.
    if start_time(pid) != Some(start) {
        return Err(gone());
    }
    // SAFETY: a descriptor that lives until the end of the call, an integer and a null siginfo.
    let sent = unsafe {
        libc::syscall(
            libc::SYS_pidfd_send_signal,
            fd.as_raw_fd(),
            signal,
            std::ptr::null::<libc::siginfo_t>(),
            0,
        )
    };
    if sent < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// Whether the process that a container's state tells of is there.
pub(crate) fn process_lives(state: &State) -> bool {
    state.status.has_process() && start_time(state.pid) == Some(state.pid_start)
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt as _;

    use super::*;

    #[test]
    fn names_and_numbers() {
        for (given, number) in [
            ("INT", 2),
            ("SIGINT", 2),
            ("sigint", 2),
            ("2", 2),
            ("kill", 9),
            ("RTMIN", 34),
            ("RTMIN+3", 37),
            ("SIGRTMIN+3", 37),
            ("RTMAX", 64),
            ("RTMAX-1", 63),
            ("64", 64),
        ] {
            assert_eq!(parse(given).unwrap(), number, "{given}");
        }
        for bad in [
            "X",
            "",
            "0",
            "SIG",
            "RTMIN+31",
            "RTMIN-1",
            "RTMIN+",
            "RTMAX-31",
            "INT ",
            "SIGSIGINT",
        ] {
            assert_eq!(
                parse(bad).unwrap_err().to_string(),
                format!("Invalid signal: {bad}")
            );
        }
        for (given, number) in [
            ("-1", u64::MAX),
            ("65", 65),
            ("99999999999", 99_999_999_999),
        ] {
            assert_eq!(parse(given), Err(SignalError::Unsupported(number)));
        }
    }

    #[tokio::test]
    async fn the_end_of_a_process_is_seen() {
        let mut child = std::process::Command::new("sleep")
            .arg("60")
            .spawn()
            .unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        let start = start_time(pid).unwrap();
        // Another process under this number: the one that is meant has ended.
        gone(pid, start + 1).await;
        let mut end = std::pin::pin!(gone(pid, start));
        let early = tokio::time::timeout(std::time::Duration::from_millis(50), &mut end).await;
        assert!(early.is_err());
        child.kill().unwrap();
        // Not reaped yet.
        end.await;
        child.wait().unwrap();
        gone(pid, start).await;
    }

    #[test]
    fn only_the_process_that_is_meant() {
        let mut child = std::process::Command::new("sleep")
            .arg("60")
            .spawn()
            .unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        let start = start_time(pid).unwrap();
        let error = send(pid, start + 1, libc::SIGKILL).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::ESRCH));
        assert!(child.try_wait().unwrap().is_none());
        send(pid, start, libc::SIGTERM).unwrap();
        assert_eq!(child.wait().unwrap().signal(), Some(libc::SIGTERM));
        let error = send(pid, start, libc::SIGTERM).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::ESRCH));
    }
}
