//! Messages over UDP: compressed, and cut into chunks where they are long (GELF, "Chunking").
//!
//! Nobody acknowledges a datagram: one counts as accepted once a moment has passed without a refusal.

use std::collections::VecDeque;
use std::io;
use std::net::UdpSocket;
use std::time::{Duration, Instant};

use flate2::{Compress, Crc, FlushCompress, Status};

use crate::sink::{Batch, Connection, Failure, FailureKind, Rejected};

/// Longest datagram.
const MAX_DATAGRAM: usize = 1420;
/// What a chunk carries of a message.
const CHUNK: usize = MAX_DATAGRAM - HEAD;
/// Magic, message id, number, count.
const HEAD: usize = 12;
/// Most chunks of a message.
const MAX_CHUNKS: usize = 128;
/// RFC 1952: deflate, no name, no time, as Docker has it.
const GZIP_HEAD: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 4, 0xff];
/// How long a full device is waited for.
const FULL: Duration = Duration::from_millis(1);
/// How long a refusal (ICMP) is waited for.
const GRACE: Duration = Duration::from_millis(10);

/// `gelf-compression-type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Compression {
    Gzip,
    Zlib,
    None,
}

impl Compression {
    pub(super) fn parse(text: &str) -> Option<Self> {
        match text {
            "gzip" => Some(Self::Gzip),
            "zlib" => Some(Self::Zlib),
            "none" => Some(Self::None),
            _ => None,
        }
    }
}

/// Compresses one message after the other with the same memory.
struct Packer {
    compression: Compression,
    deflate: Compress,
}

impl Packer {
    fn new(compression: Compression, level: i32) -> Self {
        let level = u32::try_from(level)
            .map_or_else(|_| flate2::Compression::default(), flate2::Compression::new);
        Self {
            compression,
            deflate: Compress::new(level, compression == Compression::Zlib),
        }
    }

    /// Puts the message into `out`, which is emptied first.
    fn pack(&mut self, message: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
        out.clear();
        if self.compression == Compression::None {
            out.extend_from_slice(message);
            return Ok(());
        }
        if self.compression == Compression::Gzip {
            out.extend_from_slice(&GZIP_HEAD);
        }
        self.deflate.reset();
        loop {
            let taken = usize::try_from(self.deflate.total_in()).unwrap_or(usize::MAX);
            let left = message.get(taken..).unwrap_or_default();
            out.reserve(left.len() / 2 + 256);
            let status = self
                .deflate
                .compress_vec(left, out, FlushCompress::Finish)
                .map_err(io::Error::other)?;
            if status == Status::StreamEnd {
                break;
            }
        }
        if self.compression == Compression::Gzip {
            let mut crc = Crc::new();
            crc.update(message);
            out.extend_from_slice(&crc.sum().to_le_bytes());
            out.extend_from_slice(&crc.amount().to_le_bytes());
        }
        Ok(())
    }
}

/// A connected socket.
pub(super) struct Udp {
    socket: UdpSocket,
    address: String,
    packer: Packer,
    packed: Vec<u8>,
    /// First half of message ids; the other half counts.
    id: [u8; 4],
    count: u32,
    sent: u64,
    settled: u64,
    /// When so many had been sent.
    marks: VecDeque<(Instant, u64)>,
    rejected: Vec<Rejected>,
}

impl Udp {
    pub(super) fn new(
        socket: UdpSocket,
        address: String,
        compression: Compression,
        level: i32,
    ) -> Self {
        let mut id = [0; 4];
        // Ids need only differ within a few seconds: the port tells two senders apart.
        let now = std::time::UNIX_EPOCH.elapsed().unwrap_or_default();
        id.copy_from_slice(&(now.subsec_nanos() ^ std::process::id()).to_be_bytes());
        Self {
            socket,
            address,
            packer: Packer::new(compression, level),
            packed: Vec::new(),
            id,
            count: 0,
            sent: 0,
            settled: 0,
            marks: VecDeque::new(),
            rejected: Vec::new(),
        }
    }

    fn failed(&self, error: &io::Error) -> Failure {
        let text = match error.kind() {
            io::ErrorKind::ConnectionRefused => format!("nobody listens at {}", self.address),
            _ => format!("cannot send to {}: {error}", self.address),
        };
        Failure::new(FailureKind::Unreachable, text)
    }

    fn datagram(&self, bytes: &[u8], cancelled: &dyn Fn() -> bool) -> Result<(), Failure> {
        loop {
            match self.socket.send(bytes) {
                Ok(_) => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // The device's queue is full, which passes.
                Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) && !cancelled() => {
                    std::thread::sleep(FULL);
                }
                Err(error) => return Err(self.failed(&error)),
            }
        }
    }

    /// Sends one message; `Ok(false)`: it needs too many chunks.
    fn message(&mut self, message: &[u8], cancelled: &dyn Fn() -> bool) -> Result<bool, Failure> {
        let mut packed = std::mem::take(&mut self.packed);
        let done = self.packer.pack(message, &mut packed);
        done.map_err(|error| self.failed(&error))?;
        let count = packed.len().div_ceil(CHUNK);
        let sent = if packed.len() <= MAX_DATAGRAM {
            self.datagram(&packed, cancelled).map(|()| true)
        } else if let Ok(total @ 1..=128) = u8::try_from(count) {
            self.chunks(&packed, total, cancelled).map(|()| true)
        } else {
            self.rejected.push(Rejected {
                record: self.sent,
                reason: format!(
                    "gelf: cannot send GELF message: msg too large, would need {count} chunks, at most {MAX_CHUNKS} are allowed"
                ),
            });
            Ok(false)
        };
        self.packed = packed;
        sent
    }

    fn chunks(
        &mut self,
        packed: &[u8],
        total: u8,
        cancelled: &dyn Fn() -> bool,
    ) -> Result<(), Failure> {
        self.count = self.count.wrapping_add(1);
        let mut datagram = Vec::with_capacity(MAX_DATAGRAM);
        for (number, part) in (0..total).zip(packed.chunks(CHUNK)) {
            datagram.clear();
            datagram.extend_from_slice(&[0x1e, 0x0f]);
            datagram.extend_from_slice(&self.id);
            datagram.extend_from_slice(&self.count.to_be_bytes());
            datagram.extend_from_slice(&[number, total]);
            datagram.extend_from_slice(part);
            self.datagram(&datagram, cancelled)?;
        }
        Ok(())
    }

    /// What was sent long enough ago, if nobody refused it.
    fn look(&mut self) -> Result<(), Failure> {
        match self.socket.take_error() {
            Ok(None) => {}
            Ok(Some(error)) | Err(error) => return Err(self.failed(&error)),
        }
        while let Some((at, sent)) = self.marks.front().copied() {
            if at.elapsed() < GRACE {
                break;
            }
            self.settled = sent;
            self.marks.pop_front();
        }
        Ok(())
    }
}

impl Connection for Udp {
    fn send(&mut self, batch: &mut Batch, cancelled: &dyn Fn() -> bool) -> Result<(), Failure> {
        for message in batch.records() {
            self.message(message, cancelled)?;
            self.sent += 1;
        }
        self.marks.push_back((Instant::now(), self.sent));
        Ok(())
    }

    fn settled(&mut self, wait: Duration, rejected: &mut Vec<Rejected>) -> Result<u64, Failure> {
        let before = self.settled;
        self.look()?;
        if self.settled == before
            && let Some((at, _)) = self.marks.front()
        {
            std::thread::sleep(GRACE.saturating_sub(at.elapsed()).min(wait));
            self.look()?;
        }
        rejected.append(&mut self.rejected);
        Ok(self.settled)
    }

    fn close(self: Box<Self>) -> u64 {
        self.settled
    }
}
