//! Sockets from the service manager (`sd_listen_fds(3)`), for `fd://` hosts.

use std::net::TcpListener;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};
use std::os::unix::net::UnixListener;

use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::sys::socket::{AddressFamily, SockType, SockaddrLike as _, SockaddrStorage, getsockname};
use nix::sys::socket::{getsockopt, sockopt};

/// The first descriptor that is handed over.
const FIRST: i32 = 3;

/// A listening socket.
#[derive(Debug)]
pub(super) enum Handed {
    Unix(UnixListener),
    Tcp(TcpListener),
}

/// Why `fd://` cannot be served. The first two texts are Docker's.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ActivationError {
    #[error("no sockets found via socket activation: make sure the service was started by systemd")]
    None,
    #[error("failed to listen on systemd activated file: fd {0}: only {1} were handed over")]
    TooFew(i32, usize),
    #[error("no socket named {0:?} was handed over; there are: {1}")]
    NoName(String, String),
    #[error(
        "socket {name:?} of the service manager cannot be used: it is no listening stream socket"
    )]
    Kind { name: String },
    #[error("socket {0:?} of the service manager is asked for twice in hosts")]
    Twice(String),
}

/// What was handed over: names and descriptors in order.
#[derive(Debug, Default)]
pub(crate) struct HandedOver {
    sockets: Vec<(String, Option<OwnedFd>)>,
}

impl HandedOver {
    /// Takes what is meant for this process; nothing if that is another one. Children do not
    /// inherit them.
    ///
    /// Must be called at most once, before the process opens anything by itself.
    pub(crate) fn take() -> Self {
        let text = |name| std::env::var(name).ok();
        let count = count(
            text("LISTEN_PID").as_deref(),
            text("LISTEN_FDS").as_deref(),
            std::process::id(),
        );
        let names = text("LISTEN_FDNAMES").unwrap_or_default();
        let mut names = names.split(':');
        let sockets = (FIRST..FIRST + count)
            .map(|number| {
                let name = names.next().unwrap_or_default().to_owned();
                // A number that is not open is told when it is asked for.
                let open = fcntl_cloexec(number);
                // SAFETY: the environment says that the descriptor is this process's; nothing else
                // here has opened or knows it yet.
                let fd = open.then(|| unsafe { OwnedFd::from_raw_fd(number) });
                (name, fd)
            })
            .collect();
        Self { sockets }
    }

    /// The sockets that one `fd://` host means: all (empty), one by number (from 3) or by name.
    ///
    /// # Errors
    /// None such, or it is no listening stream socket.
    pub(super) fn listeners(
        &mut self,
        which: &str,
    ) -> Result<Vec<(String, Handed)>, ActivationError> {
        if self.sockets.is_empty() {
            return Err(ActivationError::None);
        }
        let all = self.sockets.len();
        let wanted: Vec<usize> = if which.is_empty() {
            (0..all).collect()
        } else if let Ok(number) = which.parse::<i32>() {
            let index = usize::try_from(number - FIRST).ok().filter(|i| *i < all);
            vec![index.ok_or(ActivationError::TooFew(number, all))?]
        } else {
            let found: Vec<usize> = (0..all).filter(|i| self.sockets[*i].0 == which).collect();
            if found.is_empty() {
                let names: Vec<&str> = self.sockets.iter().map(|(n, _)| n.as_str()).collect();
                return Err(ActivationError::NoName(which.to_owned(), names.join(", ")));
            }
            found
        };
        wanted
            .into_iter()
            .map(|index| {
                let (name, fd) = &mut self.sockets[index];
                let shown = format!("{name} (fd {})", FIRST + i32::try_from(index).unwrap_or(0));
                let fd = fd.take().ok_or(ActivationError::Twice(shown.clone()))?;
                let listener = of_kind(fd).ok_or(ActivationError::Kind {
                    name: shown.clone(),
                })?;
                Ok((shown, listener))
            })
            .collect()
    }
}

fn fcntl_cloexec(number: i32) -> bool {
    // SAFETY: only used for this call, which fails if the number is not open.
    let fd = unsafe { std::os::fd::BorrowedFd::borrow_raw(number) };
    fcntl(fd, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC)).is_ok()
}

fn of_kind(fd: OwnedFd) -> Option<Handed> {
    if getsockopt(&fd, sockopt::SockType) != Ok(SockType::Stream)
        || getsockopt(&fd, sockopt::AcceptConn) != Ok(true)
    {
        return None;
    }
    let address: SockaddrStorage = getsockname(fd.as_raw_fd()).ok()?;
    match address.family()? {
        AddressFamily::Unix => Some(Handed::Unix(fd.into())),
        AddressFamily::Inet | AddressFamily::Inet6 => Some(Handed::Tcp(fd.into())),
        _ => None,
    }
}

fn count(pid: Option<&str>, fds: Option<&str>, own: u32) -> i32 {
    if pid.and_then(|pid| pid.parse().ok()) != Some(own) {
        return 0;
    }
    // No service manager hands over more than this.
    fds.and_then(|fds| fds.parse().ok())
        .filter(|count| (0..=1024).contains(count))
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn for_this_process_only() {
        assert_eq!(count(Some("7"), Some("2"), 7), 2);
        assert_eq!(count(Some("8"), Some("2"), 7), 0);
        assert_eq!(count(None, Some("2"), 7), 0);
        assert_eq!(count(Some("7"), Some("x"), 7), 0);
        assert_eq!(count(Some("7"), Some("-1"), 7), 0);
    }

    #[test]
    fn by_number_name_or_all() {
        let dir = tempfile::tempdir().unwrap();
        let handed = || {
            let unix =
                UnixListener::bind(dir.path().join(format!("{:?}", std::time::Instant::now())))
                    .unwrap();
            let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
            let file = std::fs::File::open("/dev/null").unwrap();
            HandedOver {
                sockets: vec![
                    ("api".to_owned(), Some(unix.into())),
                    ("port".to_owned(), Some(tcp.into())),
                    ("rubbish".to_owned(), Some(file.into())),
                ],
            }
        };
        let mut sockets = handed();
        let found = sockets.listeners("api").unwrap();
        assert!(matches!(found[..], [(_, Handed::Unix(_))]));
        let found = sockets.listeners("4").unwrap();
        assert!(matches!(found[..], [(_, Handed::Tcp(_))]));
        let text = |sockets: &mut HandedOver, which: &str| {
            sockets.listeners(which).unwrap_err().to_string()
        };
        assert!(text(&mut sockets, "api").contains("asked for twice"));
        assert!(text(&mut sockets, "9").contains("only 3 were handed over"));
        assert!(text(&mut sockets, "2").contains("only 3 were handed over"));
        assert!(text(&mut sockets, "x").contains("there are: api, port, rubbish"));
        assert!(text(&mut handed(), "rubbish").contains("no listening stream socket"));
        assert!(text(&mut HandedOver::default(), "").contains("started by systemd"));
    }
}
