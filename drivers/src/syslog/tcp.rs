//! Records over a stream, accepted when the receiver's kernel has them. See [`AckedStream`].

use std::time::Duration;

use crate::sink::{Batch, Connection, Failure, Limits, Rejected};
use crate::transport::{AckedStream, Stream};

/// TCP, TLS or a unix stream socket.
pub(super) struct Acked(AckedStream);

impl Acked {
    pub(super) fn new(stream: Stream, address: String, limits: &Limits) -> Result<Self, Failure> {
        AckedStream::new(stream, address, limits.write_timeout).map(Self)
    }
}

impl Connection for Acked {
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
