//! The way to journald: a connected datagram socket.
//!
//! The kernel keeps datagrams in a queue until journald reads them; if journald ends without systemd holding its socket, what is in the
//! queue is gone. So a record counts as settled once journald has read it, which the kernel tells by what is still charged to us.

use std::io;
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::{memfd, queue};
use crate::sink::{Batch, Connection, Failure, FailureKind, Limits, Opener, Rejected, Trace};
use crate::transport::{Timeouts, unix_datagram};

/// How long is waited before `cancelled` is asked again.
const SLICE: Duration = Duration::from_millis(100);
/// First and longest pause between looks at the queue: nothing wakes a sender when its datagrams are read.
const LOOKS: (Duration, Duration) = (Duration::from_micros(100), Duration::from_millis(5));

/// Opens the socket.
#[derive(Debug)]
pub(super) struct JournalOpener {
    path: PathBuf,
    limits: Limits,
}

impl JournalOpener {
    pub(super) fn new(path: PathBuf, limits: Limits) -> Self {
        Self { path, limits }
    }
}

impl Opener for JournalOpener {
    fn open(&self, trace: Trace<'_>) -> Result<Box<dyn Connection>, Failure> {
        let timeouts = Timeouts {
            connect: self.limits.connect_timeout,
            read: None,
            write: Some(self.limits.write_timeout),
        };
        let socket = unix_datagram(&self.path, &timeouts, trace).map_err(|failure| {
            // Docker's words first.
            let text = format!("journald is not enabled on this host: {}", failure.text);
            Failure::new(failure.kind, text)
        })?;
        Ok(Box::new(JournalConnection {
            socket,
            path: self.path.clone(),
            patience: self.limits.write_timeout,
            sent: 0,
            settled: 0,
            failed: false,
        }))
    }
}

struct JournalConnection {
    socket: UnixDatagram,
    path: PathBuf,
    /// how long a full queue may stay full
    patience: Duration,
    /// taken by the socket
    sent: u64,
    /// read by journald
    settled: u64,
    failed: bool,
}

impl JournalConnection {
    fn failure(&mut self, kind: FailureKind, why: &str) -> Failure {
        self.failed = true;
        let path = self.path.display();
        Failure::new(kind, format!("journald at {path}: {why}"))
    }

    fn gone(&mut self, error: &io::Error) -> Failure {
        self.failure(FailureKind::Unreachable, &error.to_string())
    }

    /// Waits until the queue may have room again.
    fn wait(&mut self, since: Instant, cancelled: &dyn Fn() -> bool) -> Result<(), Failure> {
        if cancelled() {
            return Err(self.failure(
                FailureKind::Timeout,
                "stopped while journald's queue was full",
            ));
        }
        if since.elapsed() >= self.patience {
            let why = format!(
                "its queue has been full for {} s: journald does not read (is it stopped?)",
                self.patience.as_secs()
            );
            return Err(self.failure(FailureKind::Timeout, &why));
        }
        let timeout = PollTimeout::try_from(SLICE).unwrap_or(PollTimeout::MAX);
        match poll(
            &mut [PollFd::new(self.socket.as_fd(), PollFlags::POLLOUT)],
            timeout,
        ) {
            Ok(_) | Err(Errno::EINTR) => Ok(()),
            Err(errno) => Err(self.gone(&errno.into())),
        }
    }

    fn send_large(&mut self, record: &[u8], cancelled: &dyn Fn() -> bool) -> Result<(), Failure> {
        let file = memfd::sealed(record).map_err(|error| {
            let why = format!("no memory for a record of {} bytes: {error}", record.len());
            self.failure(FailureKind::Unreachable, &why)
        })?;
        let since = Instant::now();
        loop {
            match memfd::send(self.socket.as_fd(), &file) {
                Ok(()) => return Ok(()),
                // Descriptors in flight are limited (ETOOMANYREFS): room comes as with the queue.
                Err(error) if is_full(&error) => self.wait(since, cancelled)?,
                Err(error) => return Err(self.gone(&error)),
            }
        }
    }
}

fn is_full(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::WouldBlock
        || error.kind() == io::ErrorKind::Interrupted
        || error.raw_os_error() == Some(libc::ETOOMANYREFS)
}

fn record(batch: &Batch, n: usize) -> &[u8] {
    let start = n.checked_sub(1).map_or(0, |before| batch.ends[before]);
    &batch.bytes[start as usize..batch.ends[n] as usize]
}

impl Connection for JournalConnection {
    fn send(&mut self, batch: &mut Batch, cancelled: &dyn Fn() -> bool) -> Result<(), Failure> {
        let mut done = 0;
        let mut since = Instant::now();
        while done < batch.len() {
            let rest = (done..batch.len()).map(|n| record(batch, n));
            match queue::send_group(self.socket.as_fd(), rest) {
                Ok(taken) => {
                    done += taken;
                    self.sent += taken as u64;
                    since = Instant::now();
                }
                Err(error) if is_full(&error) => self.wait(since, cancelled)?,
                Err(error)
                    if matches!(error.raw_os_error(), Some(libc::EMSGSIZE | libc::ENOBUFS)) =>
                {
                    self.send_large(record(batch, done), cancelled)?;
                    done += 1;
                    self.sent += 1;
                    since = Instant::now();
                }
                Err(error) => return Err(self.gone(&error)),
            }
        }
        Ok(())
    }

    fn settled(&mut self, wait: Duration, _: &mut Vec<Rejected>) -> Result<u64, Failure> {
        let until = Instant::now() + wait;
        let mut pause = LOOKS.0;
        loop {
            let unread = queue::unread(self.socket.as_fd()).map_err(|e| self.gone(&e))?;
            let read = self.sent.saturating_sub(unread);
            if read > self.settled {
                // In this order: a queue that is empty because journald's socket is gone must not look like one that was read.
                queue::probe(self.socket.as_fd()).map_err(|e| self.gone(&e))?;
                self.settled = read;
                return Ok(read);
            }
            let left = until.saturating_duration_since(Instant::now());
            if self.sent == self.settled || left.is_zero() {
                return Ok(self.settled);
            }
            std::thread::sleep(pause.min(left));
            pause = (pause * 2).min(LOOKS.1);
        }
    }

    fn close(mut self: Box<Self>) -> u64 {
        if !self.failed {
            let _ = self.settled(Duration::ZERO, &mut Vec::new());
        }
        self.settled
    }
}
