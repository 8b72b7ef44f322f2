//! TCP and TLS, for the API and for our own command line.
//!
//! HTTP is spoken over unix sockets only, whose half-close and hang-up are exact. A TCP connection
//! is carried to one end of a socket pair ([`carry`]), after TLS has been taken off ([`tls`]).

mod carry;
mod dial;
mod front;
pub(crate) mod tls;

pub(crate) use carry::hung_up;
pub(crate) use dial::{Failure, dial};
pub(crate) use front::{Front, metrics};
