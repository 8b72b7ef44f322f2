//! One datagram a record, over UDP or a unix socket.
//!
//! Nobody acknowledges a datagram. It counts as accepted once [`GRACE`] has passed without a refusal: a machine where nobody listens says so
//! (ICMP, `ECONNREFUSED`) within a round trip, and what was sent shortly before is sent again. What a network or a full receiver drops
//! cannot be known.

use std::collections::VecDeque;
use std::io;
use std::mem;
use std::os::fd::{AsFd, AsRawFd as _, OwnedFd};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::socket::{getsockopt, sockopt};
use nix::sys::time::TimeSpec;

use crate::sink::{Batch, Connection, Failure, FailureKind, Limits, Rejected};

/// How long a refusal is waited for.
const GRACE: Duration = Duration::from_millis(10);
/// Most datagrams of a system call.
const GROUP: usize = 64;
/// Most bytes of a UDP datagram over IPv4.
const MAX_UDP: usize = 65_507;
/// How often a wait asks whether it was cancelled.
const SLICE: Duration = Duration::from_millis(200);

/// A connected datagram socket.
pub(super) struct Datagrams {
    socket: OwnedFd,
    address: String,
    write_timeout: Duration,
    sent: u64,
    settled: u64,
    told: u64,
    /// when which number of records had been sent
    marks: VecDeque<(Instant, u64)>,
    rejected: Vec<Rejected>,
}

impl Datagrams {
    pub(super) fn new(socket: OwnedFd, address: String, limits: &Limits) -> Self {
        Self {
            socket,
            address,
            write_timeout: limits.write_timeout,
            sent: 0,
            settled: 0,
            told: 0,
            marks: VecDeque::new(),
            rejected: Vec::new(),
        }
    }

    fn failed(&self, error: &io::Error) -> Failure {
        let text = match error.raw_os_error() {
            Some(libc::ECONNREFUSED) => format!("nobody listens at {}", self.address),
            _ => format!("cannot send to {}: {error}", self.address),
        };
        Failure::new(FailureKind::Unreachable, text)
    }

    /// A refusal of what was sent before.
    fn refused(&self) -> Result<(), Failure> {
        match getsockopt(&self.socket, sockopt::SocketError) {
            Ok(0) => Ok(()),
            Ok(code) => Err(self.failed(&io::Error::from_raw_os_error(code))),
            Err(error) => Err(self.failed(&error.into())),
        }
    }

    fn await_room(&self, since: Instant, cancelled: &dyn Fn() -> bool) -> Result<(), Failure> {
        let full = |text: &str| {
            let text = format!("{} takes nothing{text}", self.address);
            Err(Failure::new(FailureKind::Timeout, text))
        };
        if cancelled() {
            return full(": gave up");
        }
        if since.elapsed() > self.write_timeout {
            return full(&format!(" for {} s", self.write_timeout.as_secs()));
        }
        let mut fds = [PollFd::new(self.socket.as_fd(), PollFlags::POLLOUT)];
        // Woken by room, an error or the time: the next attempt finds out.
        let _ = ppoll(&mut fds, Some(TimeSpec::from(SLICE)), None);
        Ok(())
    }
}

impl Connection for Datagrams {
    fn send(&mut self, batch: &mut Batch, cancelled: &dyn Fn() -> bool) -> Result<(), Failure> {
        let mut records = batch.records().peekable();
        let mut group: Vec<&[u8]> = Vec::with_capacity(GROUP);
        let mut stalled = None;
        let udp = self.address.starts_with("udp:");
        loop {
            while group.len() < GROUP
                && let Some(record) = records.next()
            {
                group.push(record);
            }
            if group.is_empty() {
                break;
            }
            match send_group(&self.socket, &group, !udp) {
                Ok(n) => {
                    group.drain(..n);
                    self.sent += n as u64;
                    stalled = None;
                    // The kernel forgets a refusal that ends a group early. UDP sends block, so it was one, or a size.
                    if udp && group.first().is_some_and(|next| next.len() <= MAX_UDP) {
                        return Err(self.failed(&io::Error::from_raw_os_error(libc::ECONNREFUSED)));
                    }
                }
                Err(error) => match error.raw_os_error() {
                    Some(libc::EINTR) => {}
                    // Too large for any datagram: the others go on.
                    Some(libc::EMSGSIZE) => {
                        let bytes = group.remove(0).len();
                        self.rejected.push(Rejected {
                            record: self.sent,
                            reason: format!(
                                "{bytes} bytes are too many for a datagram to {}",
                                self.address
                            ),
                        });
                        self.sent += 1;
                    }
                    Some(libc::EAGAIN | libc::ENOBUFS) => {
                        let since = *stalled.get_or_insert_with(Instant::now);
                        self.await_room(since, cancelled)?;
                    }
                    _ => return Err(self.failed(&error)),
                },
            }
        }
        self.marks.push_back((Instant::now(), self.sent));
        Ok(())
    }

    fn settled(&mut self, wait: Duration, rejected: &mut Vec<Rejected>) -> Result<u64, Failure> {
        let until = Instant::now() + wait;
        loop {
            // In this order: what is old enough by now has been refused by now.
            let now = Instant::now();
            self.refused()?;
            while let Some((_, records)) = self
                .marks
                .front()
                .filter(|(at, _)| now.duration_since(*at) >= GRACE)
            {
                self.settled = *records;
                self.marks.pop_front();
            }
            if self.settled > self.told || now >= until {
                break;
            }
            let due = self.marks.front().map_or(until, |(at, _)| *at + GRACE);
            let nap = due.min(until).saturating_duration_since(now);
            // An error of the socket wakes it without being asked for.
            let mut fds = [PollFd::new(self.socket.as_fd(), PollFlags::empty())];
            let _ = ppoll(&mut fds, Some(TimeSpec::from(nap)), None);
        }
        self.told = self.settled;
        let settled = self.settled;
        rejected.extend(self.rejected.extract_if(.., |one| one.record < settled));
        Ok(settled)
    }

    fn close(self: Box<Self>) -> u64 {
        // One that is rejected and was not told of is sent again, so that it is counted.
        let untold = self.rejected.iter().map(|one| one.record).min();
        untold.map_or(self.settled, |record| record.min(self.settled))
    }
}

/// Sends each record as a datagram; how many were sent.
fn send_group(socket: &impl AsFd, records: &[&[u8]], at_once: bool) -> io::Result<usize> {
    let mut parts = [libc::iovec {
        iov_base: std::ptr::null_mut(),
        iov_len: 0,
    }; GROUP];
    // SAFETY: mmsghdr is plain numbers and pointers; all zero is a message without address, parts and control data.
    let mut messages: [libc::mmsghdr; GROUP] = unsafe { mem::zeroed() };
    let count = records.len().min(GROUP);
    for ((part, message), record) in parts.iter_mut().zip(&mut messages).zip(records) {
        part.iov_base = record.as_ptr().cast_mut().cast();
        part.iov_len = record.len();
        message.msg_hdr.msg_iov = part;
        message.msg_hdr.msg_iovlen = 1;
    }
    let flags = libc::MSG_NOSIGNAL | if at_once { libc::MSG_DONTWAIT } else { 0 };
    // SAFETY: the first `count` (at most 64) messages point to one part each, which points to a record; messages, parts and records live
    // through the call, and sending does not write to the records.
    let sent = unsafe {
        libc::sendmmsg(
            socket.as_fd().as_raw_fd(),
            messages.as_mut_ptr(),
            u32::try_from(count).unwrap_or(0),
            flags,
        )
    };
    usize::try_from(sent).map_err(|_| io::Error::last_os_error())
}

#[cfg(test)]
#[path = "datagram_tests.rs"]
mod tests;
