//! Sockets for drivers: names, TCP, unix sockets, TLS. Blocking, with time-outs; each connection has a thread of its own.

mod acked;
mod dial;
mod outq;
mod stream;
pub mod tls;

pub use acked::{AckedStream, RUN};
pub(crate) use dial::failure;
pub use dial::{resolve, tcp, udp, unix_datagram, unix_stream};
pub use stream::Stream;

use std::time::Duration;

/// Time-outs of a connection.
#[derive(Clone, Copy, Debug)]
pub struct Timeouts {
    /// for all addresses of a name together, TLS included
    pub connect: Duration,
    /// of one read
    pub read: Option<Duration>,
    /// of one write without progress
    pub write: Option<Duration>,
}
