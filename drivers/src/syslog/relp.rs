//! RELP: each record is acknowledged by the receiver itself once it has taken it (rsyslog: into its queue), so none is lost when
//! connection or receiver die. Frames are written without waiting for answers; how many are on their way is the engine's window.

use std::collections::VecDeque;
use std::io::{self, Read as _, Write as _};
use std::os::fd::AsFd as _;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::time::TimeSpec;

use super::relp_frame::{self, LAST};
use crate::sink::{Batch, Connection, Failure, FailureKind, Limits, Rejected, Trace};
use crate::transport::Stream;

/// How often a wait asks whether it was cancelled.
const SLICE: Duration = Duration::from_millis(200);

/// An open session.
pub(super) struct Relp {
    stream: Stream,
    address: String,
    limits: Limits,
    /// number of the next frame
    number: u32,
    /// number of the first record that is not settled
    oldest: u32,
    /// of each record on its way, whether it was answered; the oldest first
    waiting: VecDeque<bool>,
    settled: u64,
    told: u64,
    rejected: Vec<Rejected>,
    /// what came and is no whole frame yet
    input: Vec<u8>,
    output: Vec<u8>,
    /// when the last answer came, or the first record after a pause was sent
    progress: Instant,
    failed: Option<Failure>,
}

fn next(number: u32) -> u32 {
    if number >= LAST { 1 } else { number + 1 }
}

impl Relp {
    /// Opens a session on a connected stream that still blocks.
    pub(super) fn open(
        stream: Stream,
        address: String,
        limits: &Limits,
        trace: Trace<'_>,
    ) -> Result<Self, Failure> {
        let mut new = Self {
            stream,
            address,
            limits: *limits,
            number: 2,
            oldest: 2,
            waiting: VecDeque::new(),
            settled: 0,
            told: 0,
            rejected: Vec::new(),
            input: Vec::new(),
            output: Vec::new(),
            progress: Instant::now(),
            failed: None,
        };
        let offers = concat!(
            "relp_version=0\nrelp_software=taffrail,",
            env!("CARGO_PKG_VERSION"),
            "\ncommands=syslog"
        );
        let mut hello = Vec::new();
        relp_frame::write(1, "open", offers.as_bytes(), &mut hello);
        let sent = new.stream.write_all(&hello);
        sent.and_then(|()| new.stream.flush())
            .map_err(|error| new.broken(&error))?;
        let software = new.answer_to_open()?;
        trace(format!("RELP session with {software}"));
        let set = match &new.stream {
            Stream::Tcp(socket) => socket.set_nonblocking(true),
            Stream::Tls(tls) => tls.sock.set_nonblocking(true),
            Stream::Unix(socket) => socket.set_nonblocking(true),
        };
        set.map_err(|error| new.broken(&error))?;
        Ok(new)
    }

    fn answer_to_open(&mut self) -> Result<String, Failure> {
        let until = Instant::now() + self.limits.connect_timeout;
        loop {
            let found = relp_frame::read(&self.input).map_err(|why| self.protocol(&why))?;
            if let Some((frame, taken)) = found {
                let text = String::from_utf8_lossy(frame.data).into_owned();
                if frame.command != "rsp" || frame.number != 1 {
                    let why = format!("{:?} instead of an answer to open", frame.command);
                    return Err(self.protocol(&why));
                }
                if !text.starts_with("200") {
                    return Err(self.protocol(&format!("it refused the session: {text:?}")));
                }
                let offer = |name: &str| text.lines().find_map(|line| line.strip_prefix(name));
                let commands = offer("commands=").unwrap_or_default();
                if !commands.split(',').any(|command| command == "syslog") {
                    let why = format!("it does not take syslog; its offers: {text:?}");
                    return Err(self.protocol(&why));
                }
                let software = offer("relp_software=").unwrap_or("a receiver without a name");
                let software = software.to_owned();
                self.input.drain(..taken);
                return Ok(software);
            }
            if Instant::now() > until {
                return Err(self.silent("open", self.limits.connect_timeout));
            }
            let mut buffer = [0; 4096];
            match self.stream.read(&mut buffer) {
                Ok(0) => return Err(self.closed()),
                Ok(n) => self.input.extend_from_slice(&buffer[..n]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.broken(&error)),
            }
        }
    }

    fn broken(&self, error: &io::Error) -> Failure {
        if let Some(tls) = error
            .get_ref()
            .and_then(|inner| inner.downcast_ref::<rustls::Error>())
        {
            return Failure::new(
                FailureKind::Tls,
                format!("TLS with {}: {tls}", self.address),
            );
        }
        crate::transport::failure(&format!("connection to {}", self.address), error)
    }
    fn closed(&self) -> Failure {
        let text = format!("{} closed the connection", self.address);
        Failure::new(FailureKind::Unreachable, text)
    }
    fn protocol(&self, why: &str) -> Failure {
        Failure::new(FailureKind::Protocol, format!("{}: {why}", self.address))
    }
    fn silent(&self, what: &str, time: Duration) -> Failure {
        let (address, seconds) = (&self.address, time.as_secs());
        let text = format!("{address} has not answered {what} for {seconds} s");
        Failure::new(FailureKind::Timeout, text)
    }

    /// Takes what has come, without waiting.
    fn hear(&mut self) -> Result<(), Failure> {
        let mut buffer = [0; 16 * 1024];
        loop {
            match self.stream.read(&mut buffer) {
                Ok(0) => return Err(self.closed()),
                Ok(n) => {
                    self.input.extend_from_slice(&buffer[..n]);
                    self.understand()?;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.broken(&error)),
            }
        }
    }

    fn understand(&mut self) -> Result<(), Failure> {
        let mut input = std::mem::take(&mut self.input);
        let mut at = 0;
        let result = loop {
            match relp_frame::read(&input[at..]) {
                Ok(Some((frame, taken))) => {
                    if let Err(failure) = self.take(&frame) {
                        break Err(failure);
                    }
                    at += taken;
                }
                Ok(None) => break Ok(()),
                Err(why) => break Err(self.protocol(&why)),
            }
        };
        input.drain(..at);
        self.input = input;
        result
    }

    fn take(&mut self, frame: &relp_frame::Frame<'_>) -> Result<(), Failure> {
        match frame.command {
            "rsp" => {}
            "serverclose" => {
                let text = format!("{} ended the session", self.address);
                return Err(Failure::new(FailureKind::Unreachable, text));
            }
            other => return Err(self.protocol(&format!("unknown command {other:?}"))),
        }
        // Numbers go round from LAST to 1.
        let distance = (frame.number + LAST - self.oldest) % LAST;
        let Some(answered) = self.waiting.get_mut(distance as usize) else {
            let why = format!("answer to frame {}, which is not open", frame.number);
            return Err(self.protocol(&why));
        };
        *answered = true;
        if !frame.data.starts_with(b"200") {
            self.rejected.push(Rejected {
                record: self.settled + u64::from(distance),
                reason: String::from_utf8_lossy(frame.data).into_owned(),
            });
        }
        while self.waiting.front() == Some(&true) {
            self.waiting.pop_front();
            self.oldest = next(self.oldest);
            self.settled += 1;
        }
        self.progress = Instant::now();
        Ok(())
    }

    /// Waits for bytes or, with `room`, until it can be written.
    fn poll(&self, room: bool, wait: Duration) {
        let mut wanted = PollFlags::POLLIN;
        wanted.set(PollFlags::POLLOUT, room);
        let mut fds = [PollFd::new(self.stream.as_fd(), wanted)];
        // Whatever it says: the next read or write finds out.
        let _ = ppoll(&mut fds, Some(TimeSpec::from(wait)), None);
    }

    fn late(&self) -> Result<(), Failure> {
        let limit = self.limits.ack_timeout;
        if !self.waiting.is_empty() && self.progress.elapsed() > limit {
            return Err(self.silent("records", limit));
        }
        Ok(())
    }

    fn write(&mut self, bytes: &[u8], cancelled: &dyn Fn() -> bool) -> Result<(), Failure> {
        let mut at = 0;
        loop {
            let done = if at < bytes.len() {
                self.stream.write(&bytes[at..]).map(|n| at += n)
            } else {
                match self.stream.flush() {
                    Ok(()) => return Ok(()),
                    Err(error) => Err(error),
                }
            };
            match done {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.poll(true, SLICE);
                    // Answers are taken meanwhile, lest both wait for each other.
                    self.hear()?;
                    self.late()?;
                    if cancelled() {
                        let text =
                            format!("gave up waiting for {}: it reads nothing", self.address);
                        return Err(Failure::new(FailureKind::Timeout, text));
                    }
                }
                Err(error) => return Err(self.broken(&error)),
            }
        }
    }
}

impl Connection for Relp {
    fn send(&mut self, batch: &mut Batch, cancelled: &dyn Fn() -> bool) -> Result<(), Failure> {
        if let Some(failure) = &self.failed {
            return Err(failure.clone());
        }
        if self.waiting.is_empty() {
            self.progress = Instant::now();
        }
        let mut output = std::mem::take(&mut self.output);
        output.clear();
        for record in batch.records() {
            relp_frame::write(self.number, "syslog", record, &mut output);
            self.number = next(self.number);
            self.waiting.push_back(false);
        }
        let mut result = self.write(&output, cancelled);
        self.output = output;
        if let Err(failure) = &result {
            // What was answered before the end counts.
            let _ = self.hear();
            self.failed = Some(failure.clone());
            result = Err(failure.clone());
        }
        result
    }

    fn settled(&mut self, wait: Duration, rejected: &mut Vec<Rejected>) -> Result<u64, Failure> {
        let until = Instant::now() + wait;
        loop {
            if let Some(failure) = &self.failed {
                return Err(failure.clone());
            }
            let heard = self.hear().and_then(|()| self.late());
            if self.settled > self.told {
                // What was answered is told first; the failure at the next call.
                self.failed = heard.err();
                break;
            }
            if let Err(failure) = heard {
                self.failed = Some(failure.clone());
                return Err(failure);
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            self.poll(false, left.min(SLICE));
        }
        self.told = self.settled;
        let settled = self.settled;
        rejected.extend(self.rejected.extract_if(.., |one| one.record < settled));
        Ok(settled)
    }

    fn close(mut self: Box<Self>) -> u64 {
        if self.failed.is_none() {
            let mut bye = Vec::new();
            relp_frame::write(self.number, "close", b"", &mut bye);
            // A courtesy: the receiver notices the end anyway.
            let _ = self.stream.write(&bye);
        }
        // One that is rejected and was not told of is sent again, so that it is counted.
        let untold = self.rejected.iter().map(|one| one.record).min();
        untold.map_or(self.settled, |record| record.min(self.settled))
    }
}

#[cfg(test)]
#[path = "relp_tests.rs"]
mod tests;
