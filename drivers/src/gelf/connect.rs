//! Connections to a GELF receiver.

use std::net::UdpSocket;
use std::time::Duration;

use super::address::{Address, Scheme};
use super::udp::{Compression, Udp};
use crate::sink::{Batch, Connection, Failure, FailureKind, Limits, Opener, Rejected, Trace};
use crate::transport::tls::TlsClient;
use crate::transport::{AckedStream, Stream, Timeouts, resolve, tcp};

/// Where to, and how.
pub(super) struct To {
    pub(super) address: Address,
    pub(super) compression: Compression,
    pub(super) level: i32,
    pub(super) tls: Option<TlsClient>,
    pub(super) limits: Limits,
}

impl Opener for To {
    fn open(&self, trace: Trace<'_>) -> Result<Box<dyn Connection>, Failure> {
        let Address { scheme, host, port } = &self.address;
        if *scheme == Scheme::Udp {
            let found = resolve(host, *port, trace)?;
            let first = found[0];
            let any = if first.is_ipv6() {
                "[::]:0"
            } else {
                "0.0.0.0:0"
            };
            let socket = UdpSocket::bind(any)
                .and_then(|socket| socket.connect(first).map(|()| socket))
                .map_err(|error| {
                    let text =
                        format!("gelf: cannot connect to GELF endpoint: {host}:{port} {error}");
                    Failure::new(FailureKind::Unreachable, text)
                })?;
            trace(format!("sends to {first}; UDP has no answer"));
            let udp = Udp::new(
                socket,
                self.address.to_string(),
                self.compression,
                self.level,
            );
            return Ok(Box::new(udp));
        }
        let timeouts = Timeouts {
            connect: self.limits.connect_timeout,
            read: Some(self.limits.connect_timeout),
            write: Some(self.limits.write_timeout),
        };
        let socket = tcp(host, *port, &timeouts, trace)?;
        let stream = match &self.tls {
            Some(tls) => tls.handshake(socket, host, trace)?,
            None => Stream::Tcp(socket),
        };
        let address = self.address.to_string();
        let stream = AckedStream::new(stream, address, self.limits.write_timeout)?;
        Ok(Box::new(Messages(stream)))
    }
}

/// Messages over a stream, accepted when the receiver's kernel has them.
struct Messages(AckedStream);

impl Connection for Messages {
    fn send(&mut self, batch: &mut Batch, cancelled: &dyn Fn() -> bool) -> Result<(), Failure> {
        self.0.write_batch(batch, cancelled)
    }

    fn settled(&mut self, wait: Duration, _: &mut Vec<Rejected>) -> Result<u64, Failure> {
        self.0.settled(wait)
    }

    fn close(self: Box<Self>) -> u64 {
        self.0.accepted()
    }
}
