//! The port proxy, seen from the daemon: a process for each container that publishes ports. It
//! holds their sockets, and answers where the kernel's address translation does not reach: on
//! loopback, on IPv6 addresses of a container that has none, and for calls from the container's own
//! bridge. It outlives the daemon, and is found again by its command line.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsRawFd as _, OwnedFd, RawFd};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use super::model::{Protocol, Published};
use crate::container::{process_start, send_signal};

/// Name of the hidden subcommand.
pub(crate) const COMMAND: &str = "port-proxy";

/// One port of a proxy.
#[derive(Debug)]
pub(crate) struct Port {
    pub(crate) published: Published,
    pub(crate) socket: OwnedFd,
    /// Where connections go; `None`: the socket only holds the port.
    pub(crate) target: Option<IpAddr>,
}

/// A proxy that runs.
#[derive(Debug)]
pub(crate) struct Proxy {
    pid: i32,
    start: u64,
    /// Of this daemon's own making: it must be waited for.
    child: Option<Child>,
}

/// Starts a container's proxy.
pub(crate) fn start(run: &Path, container: &str, ports: Vec<Port>) -> io::Result<Proxy> {
    let mut command = Command::new(std::env::current_exe()?);
    // The folder tells daemons apart, the container whose ports they are.
    command.arg(COMMAND).arg(run).arg(container);
    let mut descriptors: Vec<RawFd> = Vec::new();
    for port in &ports {
        let fd = port.socket.as_raw_fd();
        descriptors.push(fd);
        let target = match port.target {
            Some(ip) => SocketAddr::new(ip, port.published.port).to_string(),
            None => "-".to_owned(),
        };
        command.arg(format!(
            "{}={fd}={target}",
            port.published.protocol.as_str()
        ));
    }
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .current_dir("/");
    // SAFETY: only calls that may be made between fork and exec; nothing is allocated.
    unsafe {
        command.pre_exec(move || {
            for fd in &descriptors {
                if libc::fcntl(*fd, libc::F_SETFD, 0) == -1 {
                    return Err(io::Error::last_os_error());
                }
            }
            // A signal to the daemon's group is not for it.
            libc::setsid();
            Ok(())
        });
    }
    let child = command.spawn()?;
    let pid = i32::try_from(child.id()).unwrap_or(0);
    Ok(Proxy {
        pid,
        start: process_start(pid).unwrap_or_default(),
        child: Some(child),
    })
}

impl Proxy {
    /// Whether the process is there.
    pub(crate) fn lives(&mut self) -> bool {
        match &mut self.child {
            Some(child) => matches!(child.try_wait(), Ok(None)),
            None => process_start(self.pid) == Some(self.start),
        }
    }

    /// Ends it; its ports are free when this returns.
    pub(crate) fn stop(mut self) {
        let killed = match &mut self.child {
            Some(child) => child.kill().and_then(|()| child.wait()).map(drop),
            None => send_signal(self.pid, self.start, libc::SIGKILL).map(|()| self.wait()),
        };
        if let Err(error) = killed
            && self.lives()
        {
            tracing::warn!(pid = self.pid, %error, "port proxy cannot be ended");
        }
    }

    /// Waits until a process that is nobody's child here is gone.
    fn wait(&self) {
        /// A killed process is gone in less than a millisecond, unless the machine is busy.
        const PATIENCE: std::time::Duration = std::time::Duration::from_secs(5);
        let end = std::time::Instant::now() + PATIENCE;
        while process_start(self.pid) == Some(self.start) && std::time::Instant::now() < end {
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
    }
}

/// Finds the proxies of a daemon whose folder is `run`: container and process.
pub(crate) fn find(run: &Path) -> Vec<(String, Proxy)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|n| n.parse().ok()) else {
            continue;
        };
        let Ok(line) = std::fs::read(entry.path().join("cmdline")) else {
            continue;
        };
        let words: Vec<&[u8]> = line.split(|byte| *byte == 0).collect();
        if let [_, command, folder, container, ..] = words[..]
            && command == COMMAND.as_bytes()
            && folder == run.as_os_str().as_encoded_bytes()
            && let Some(start) = process_start(pid)
        {
            let container = String::from_utf8_lossy(container).into_owned();
            let proxy = Proxy {
                pid,
                start,
                child: None,
            };
            found.push((container, proxy));
        }
    }
    found
}

/// A word of the command line: protocol, descriptor, target.
pub(super) fn parse(word: &str) -> Option<(Protocol, RawFd, Option<SocketAddr>)> {
    let mut parts = word.splitn(3, '=');
    let protocol = Protocol::parse(parts.next()?)?;
    let fd = parts.next()?.parse().ok().filter(|fd| *fd > 2)?;
    let target = match parts.next()? {
        "-" => None,
        address => Some(address.parse().ok()?),
    };
    Some((protocol, fd, target))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_the_command_line() {
        let target = "[fd00::2]:80".parse().ok();
        assert_eq!(
            parse("tcp=7=[fd00::2]:80"),
            Some((Protocol::Tcp, 7, target))
        );
        assert_eq!(parse("udp=7=-"), Some((Protocol::Udp, 7, None)));
        for bad in ["", "tcp=7", "tcp=1=-", "x=7=-", "tcp=7=x"] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }
}
