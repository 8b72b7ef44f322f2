//! A stream without a protocol's acknowledgements (syslog and GELF over TCP, fluentd without `ack`), with the kernel's in their place.
//!
//! A record counts as accepted when the receiver's kernel has acknowledged its last byte. Accepted = bytes written to the socket less
//! bytes not acknowledged (`SIOCOUTQ`). With TLS both are ciphertext: each run of whole records of up to [`RUN`] bytes is encrypted and
//! written by itself, and the socket's position behind it is remembered. Over a unix stream socket the bytes count when the
//! receiver has read them.
//!
//! What its kernel has acknowledged the receiver's program may not have read yet; if it dies, that is gone, and its kernel says so by a
//! reset. So over TCP what is acknowledged is held for a second and while the receiver's window says that it was not read, or until
//! [`HOLD_BYTES`] more than that were acknowledged behind it. An orderly end lets it pass; after a reset what is held is sent again: it may come twice. What cannot
//! be known is a receiver that lets more lie unread for longer, or throws away what it has read.

use std::collections::VecDeque;
use std::io::{self, IoSlice, Read as _, Write};
use std::net::TcpStream;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::time::TimeSpec;
use rustls::{ClientConnection, ProtocolVersion};

use super::Stream;
use super::outq::{silent_for, unacknowledged};
use crate::sink::{Batch, Failure, FailureKind};

/// Most bytes of records that are accepted together, unless one record is larger: what can come twice when only a part of them was
/// acknowledged. The largest TLS record.
pub const RUN: usize = 16 * 1024;
/// How long an acknowledged record waits for a reset.
const HOLD: Duration = Duration::from_secs(1);
/// Or so many bytes acknowledged behind it.
const HOLD_BYTES: u64 = 256 * 1024;
/// How often a wait asks whether it was cancelled.
const SLICE: Duration = Duration::from_millis(200);
/// First and longest pause between two looks at the acknowledgements.
const PAUSE: (Duration, Duration) = (Duration::from_micros(50), Duration::from_millis(5));
/// A TLS 1.3 receiver refuses a client's certificate only after the client may write. Until it said something, or this time has passed,
/// nothing counts as accepted.
const DOUBT: Duration = Duration::from_secs(1);

/// Most bytes that are kept of what a peer says: acknowledgements are small.
const MOST_SAID: usize = 1 << 20;

/// A connected stream that counts what its peer has acknowledged.
#[derive(Debug)]
pub struct AckedStream {
    stream: Stream,
    address: String,
    write_timeout: Duration,
    /// bytes given to the socket
    written: u64,
    /// records given to [`Self::write_batch`], and those of them that are accepted
    records: u64,
    accepted: u64,
    /// the last answer of [`Self::settled`]
    told: u64,
    /// behind which byte of the socket which record has ended
    marks: VecDeque<(u64, u64)>,
    /// the same of what is acknowledged and held, and since when
    held: VecDeque<(u64, u64, Instant)>,
    /// bytes acknowledged at the last look
    acked: u64,
    /// the widest window that the peer has offered
    widest: u64,
    tcp: bool,
    /// until when a refusal after the handshake may come
    doubt: Option<Instant>,
    /// when anything was acknowledged last, or written after all was
    progress: Instant,
    /// what the peer has said and nobody has taken, if that is wanted
    said: Option<Vec<u8>>,
    /// why the connection is of no use any more
    failed: Option<Failure>,
}

impl AckedStream {
    /// Takes a connected stream, any handshake done; makes it non-blocking. `address` is what error texts call the receiver. A TCP peer
    /// that answers nothing at all for `write_timeout`, not even the kernel's questions, is a `Timeout`; one that does not read is waited for.
    ///
    /// # Errors
    /// The socket cannot be set up.
    pub fn new(stream: Stream, address: String, write_timeout: Duration) -> Result<Self, Failure> {
        let set = match &stream {
            Stream::Tcp(socket) => socket.set_nonblocking(true),
            Stream::Tls(tls) => tls.sock.set_nonblocking(true),
            Stream::Unix(socket) => socket.set_nonblocking(true),
        };
        set.map_err(|error| super::dial::failure("cannot set up the socket", &error))?;
        let tcp = !matches!(&stream, Stream::Unix(_));
        let late = matches!(&stream, Stream::Tls(tls) if tls.conn.protocol_version() == Some(ProtocolVersion::TLSv1_3));
        Ok(Self {
            stream,
            address,
            write_timeout,
            written: 0,
            records: 0,
            accepted: 0,
            told: 0,
            marks: VecDeque::new(),
            held: VecDeque::new(),
            acked: 0,
            widest: 0,
            tcp,
            doubt: late.then(|| Instant::now() + DOUBT),
            progress: Instant::now(),
            said: None,
            failed: None,
        })
    }

    /// From now on what the peer says is kept for [`Self::take_said`], up to 1 MiB.
    pub fn keep_said(&mut self) {
        self.said = Some(Vec::new());
    }

    /// What the peer has said since the last call.
    pub fn take_said(&mut self) -> Vec<u8> {
        self.said.as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// Writes all records of a batch; does not wait until they are acknowledged. While the receiver takes nothing, it asks `cancelled`
    /// every 200 ms.
    ///
    /// # Errors
    /// The connection is of no use any more, or the wait was cancelled. Part of the batch may have been sent.
    pub fn write_batch(
        &mut self,
        batch: &Batch,
        cancelled: &dyn Fn() -> bool,
    ) -> Result<(), Failure> {
        if let Some(failure) = &self.failed {
            return Err(failure.clone());
        }
        let result = self.write_runs(batch, cancelled);
        if let Err(failure) = &result {
            self.failed = Some(failure.clone());
        }
        result
    }

    fn write_runs(&mut self, batch: &Batch, cancelled: &dyn Fn() -> bool) -> Result<(), Failure> {
        // A receiver that has gone is noticed before anything is given to it.
        self.look()?;
        if self.marks.is_empty() {
            self.progress = Instant::now();
        }
        let encrypted = matches!(self.stream, Stream::Tls(_));
        let start = self.written;
        let (mut from, mut first) = (0_usize, 0_usize);
        while first < batch.len() {
            let fits = batch.ends[first..].partition_point(|end| *end as usize - from <= RUN);
            first += fits.max(1);
            let to = batch.ends[first - 1] as usize;
            self.records += fits.max(1) as u64;
            if encrypted {
                self.write(&batch.bytes[from..to], cancelled)?;
                self.marks.push_back((self.written, self.records));
            } else {
                self.marks.push_back((start + to as u64, self.records));
            }
            from = to;
        }
        if encrypted {
            Ok(())
        } else {
            self.write(&batch.bytes[..from], cancelled)
        }
    }

    /// How many records, from the first on, are accepted. Waits up to `wait` until they are more than at the last call; if none is
    /// on its way, until the receiver ends the connection.
    ///
    /// # Errors
    /// The receiver has closed or reset the connection, or does not answer at all.
    pub fn settled(&mut self, wait: Duration) -> Result<u64, Failure> {
        let until = Instant::now() + wait;
        let mut pause = PAUSE.0;
        loop {
            if let Some(failure) = &self.failed {
                return Err(failure.clone());
            }
            let looked = self.look();
            if self.accepted > self.told {
                // What was accepted is told first; the failure at the next call.
                self.failed = looked.err();
                break;
            }
            if let Err(failure) = looked {
                self.failed = Some(failure.clone());
                return Err(failure);
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            let nap = if self.marks.is_empty() && self.held.is_empty() {
                left
            } else {
                pause.min(left)
            };
            self.poll(PollFlags::POLLIN, nap)?;
            pause = (pause * 2).min(PAUSE.1);
        }
        self.told = self.accepted;
        Ok(self.told)
    }

    /// Records known to be accepted, without asking anybody.
    #[must_use]
    pub fn accepted(&self) -> u64 {
        self.accepted
    }

    /// Bytes on the socket (with TLS ciphertext) that the peer has acknowledged; at least.
    #[must_use]
    pub fn acked_bytes(&self) -> u64 {
        let missing = unacknowledged(self.stream.as_fd()).unwrap_or(u64::MAX);
        self.written.saturating_sub(missing)
    }

    /// Brings up to date what is accepted, then looks whether the receiver is still there. What it says is thrown away.
    fn look(&mut self) -> Result<(), Failure> {
        // In this order: bytes that a dying receiver threw away count as acknowledged on a unix socket, and it has said so by then.
        let acked = self.acked_bytes();
        let mut said = self.said.as_mut();
        let heard = hear(&mut self.stream, &mut |bytes| {
            if let Some(said) = &mut said
                && said.len() < MOST_SAID
            {
                said.extend_from_slice(bytes);
            }
        });
        let (spoke, gone) = match heard {
            Ok(spoke) => (spoke, None),
            Err(Gone::Closed) => (
                true,
                Some(Failure::new(
                    FailureKind::Unreachable,
                    format!("{} closed the connection", self.address),
                )),
            ),
            Err(Gone::Broken(error)) => {
                self.after_reset();
                return Err(self.broken(&error));
            }
            Err(Gone::Tls(error)) => {
                return Err(Failure::new(
                    FailureKind::Tls,
                    format!("TLS with {}: {error}", self.address),
                ));
            }
        };
        if spoke || self.doubt.is_some_and(|until| Instant::now() >= until) {
            self.doubt = None;
        }
        if self.doubt.is_none() {
            while let Some((at, records)) = self.marks.front().filter(|(at, _)| *at <= acked) {
                self.progress = Instant::now();
                self.held.push_back((*at, *records, self.progress));
                self.marks.pop_front();
            }
            self.acked = self.acked.max(acked);
            self.accept(gone.is_some());
        }
        match gone {
            Some(failure) => Err(failure),
            None => self.dead(),
        }
    }

    /// Lets pass what was held for long enough, or `all` of it.
    fn accept(&mut self, all: bool) {
        let unread = match super::outq::window(self.stream.as_fd()) {
            Some(window) if self.tcp => {
                self.widest = self.widest.max(window);
                self.widest - window
            }
            _ => 0,
        };
        // A peer that has read everything says so only once its window has doubled: less than half of it means nothing.
        let stale = unread <= self.widest / 2;
        while let Some((end, records, since)) = self.held.front() {
            let behind = self.acked.saturating_sub(*end);
            let passes = all
                || !self.tcp
                || behind >= HOLD_BYTES + unread
                || (since.elapsed() >= HOLD && (stale || behind >= unread));
            if !passes {
                break;
            }
            self.accepted = *records;
            self.held.pop_front();
        }
    }

    /// The peer has thrown away what it had not read. A receiver that does so again and again before anything has passed would get the same
    /// records for ever: half of what it acknowledged on this connection passes then.
    fn after_reset(&mut self) {
        if self.accepted > 0 {
            return;
        }
        let half = self.acked / 2;
        while let Some((_, records, _)) = self.held.front().filter(|(end, ..)| *end <= half) {
            self.accepted = *records;
            self.held.pop_front();
        }
    }

    /// A peer that answers nothing at all.
    fn dead(&self) -> Result<(), Failure> {
        if self.marks.is_empty() || self.progress.elapsed() < self.write_timeout {
            return Ok(());
        }
        match silent_for(self.stream.as_fd()) {
            Some(silent) if silent >= self.write_timeout => Err(Failure::new(
                FailureKind::Timeout,
                format!(
                    "{} has acknowledged nothing for {} s",
                    self.address,
                    silent.as_secs()
                ),
            )),
            _ => Ok(()),
        }
    }

    fn broken(&self, error: &io::Error) -> Failure {
        super::dial::failure(&format!("connection to {}", self.address), error)
    }

    fn write(&mut self, mut bytes: &[u8], cancelled: &dyn Fn() -> bool) -> Result<(), Failure> {
        loop {
            let done = match &mut self.stream {
                Stream::Tcp(socket) => write_plain(socket, &mut bytes, &mut self.written),
                Stream::Unix(socket) => write_plain(socket, &mut bytes, &mut self.written),
                Stream::Tls(tls) => {
                    write_tls(&mut tls.conn, &mut tls.sock, &mut bytes, &mut self.written)
                }
            };
            match done {
                Ok(()) => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.await_room(cancelled)?;
                }
                Err(error) => {
                    self.after_reset();
                    return Err(self.broken(&error));
                }
            }
        }
    }

    fn await_room(&mut self, cancelled: &dyn Fn() -> bool) -> Result<(), Failure> {
        let wanted = PollFlags::POLLOUT | PollFlags::POLLIN;
        loop {
            let found = self.poll(wanted, SLICE)?;
            self.look()?;
            if found.contains(PollFlags::POLLOUT) {
                return Ok(());
            }
            if cancelled() {
                return Err(Failure::new(
                    FailureKind::Timeout,
                    format!("gave up waiting for {}: it reads nothing", self.address),
                ));
            }
        }
    }

    fn poll(&self, wanted: PollFlags, wait: Duration) -> Result<PollFlags, Failure> {
        let mut fds = [PollFd::new(self.stream.as_fd(), wanted)];
        match ppoll(&mut fds, Some(TimeSpec::from(wait)), None) {
            Ok(_) | Err(nix::errno::Errno::EINTR) => {
                Ok(fds[0].revents().unwrap_or(PollFlags::empty()))
            }
            Err(error) => Err(self.broken(&error.into())),
        }
    }
}

fn write_plain(to: &mut impl Write, bytes: &mut &[u8], written: &mut u64) -> io::Result<()> {
    while !bytes.is_empty() {
        match to.write(bytes) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(n) => {
                *bytes = &bytes[n..];
                *written += n as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Encrypts what fits, and writes all that is encrypted, also what an earlier call left.
fn write_tls(
    connection: &mut ClientConnection,
    socket: &mut TcpStream,
    bytes: &mut &[u8],
    written: &mut u64,
) -> io::Result<()> {
    let mut counted = Counted { socket, written };
    loop {
        while connection.wants_write() {
            connection.write_tls(&mut counted)?;
        }
        if bytes.is_empty() {
            return Ok(());
        }
        let taken = connection.writer().write(bytes)?;
        *bytes = &bytes[taken..];
    }
}

struct Counted<'a> {
    socket: &'a mut TcpStream,
    written: &'a mut u64,
}

impl Write for Counted<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let n = self.socket.write(bytes)?;
        *self.written += n as u64;
        Ok(n)
    }
    fn write_vectored(&mut self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        let n = self.socket.write_vectored(parts)?;
        *self.written += n as u64;
        Ok(n)
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Why nothing more can be heard.
enum Gone {
    /// an orderly end: what was acknowledged until then has been read
    Closed,
    /// reset, or another error of the socket
    Broken(io::Error),
    /// an alert, or something that is no TLS
    Tls(rustls::Error),
}

/// Reads what the peer has said and hands it to `take`; whether it said anything.
fn hear(stream: &mut Stream, take: &mut dyn FnMut(&[u8])) -> Result<bool, Gone> {
    let mut scratch = [0; 4096];
    match stream {
        Stream::Tcp(socket) => drain(|into| socket.read(into), &mut scratch, take),
        Stream::Unix(socket) => drain(|into| socket.read(into), &mut scratch, take),
        Stream::Tls(tls) => {
            let mut spoke = false;
            loop {
                match tls.conn.read_tls(&mut tls.sock) {
                    Ok(0) => return Err(Gone::Closed),
                    Ok(_) => {}
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(spoke),
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                    Err(error) => return Err(Gone::Broken(error)),
                }
                spoke = true;
                let state = tls.conn.process_new_packets().map_err(Gone::Tls)?;
                if state.peer_has_closed() {
                    return Err(Gone::Closed);
                }
                if state.plaintext_bytes_to_read() > 0 {
                    match drain(|into| tls.conn.reader().read(into), &mut scratch, take) {
                        Ok(_) => {}
                        Err(gone) => return Err(gone),
                    }
                }
            }
        }
    }
}

fn drain(
    mut read: impl FnMut(&mut [u8]) -> io::Result<usize>,
    scratch: &mut [u8],
    take: &mut dyn FnMut(&[u8]),
) -> Result<bool, Gone> {
    let mut spoke = false;
    loop {
        match read(scratch) {
            Ok(0) => return Err(Gone::Closed),
            Ok(n) => {
                spoke = true;
                take(&scratch[..n]);
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(spoke),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(Gone::Broken(error)),
        }
    }
}

impl std::os::fd::AsFd for AckedStream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

#[cfg(test)]
#[path = "acked_tests.rs"]
mod tests;
