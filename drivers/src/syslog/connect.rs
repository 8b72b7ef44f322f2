//! Opens the connection that an address asks for.

use std::path::Path;

use super::address::{Address, Network};
use super::datagram::Datagrams;
use super::relp::Relp;
use super::tcp::Acked;
use crate::sink::{Connection, Failure, FailureKind, Limits, Opener, Trace};
use crate::transport::tls::TlsClient;
use crate::transport::{Stream, Timeouts, tcp, udp, unix_datagram, unix_stream};

/// Where a machine's own syslog may listen, in Docker's order.
const LOCAL: [&str; 3] = ["/dev/log", "/var/run/syslog", "/var/run/log"];

/// One receiver.
pub(super) struct To {
    pub(super) address: Address,
    pub(super) tls: Option<TlsClient>,
    pub(super) limits: Limits,
}

impl To {
    fn timeouts(&self) -> Timeouts {
        Timeouts {
            connect: self.limits.connect_timeout,
            // Of the handshakes; behind them the sockets do not block.
            read: Some(self.limits.connect_timeout),
            write: Some(self.limits.write_timeout),
        }
    }

    fn stream(&self, stream: Stream) -> Result<Box<dyn Connection>, Failure> {
        Ok(Box::new(Acked::new(
            stream,
            self.address.to_string(),
            &self.limits,
        )?))
    }

    fn datagrams(&self, path: &Path, trace: Trace<'_>) -> Result<Box<dyn Connection>, Failure> {
        let socket = unix_datagram(path, &self.timeouts(), trace)?;
        Ok(Box::new(Datagrams::new(
            socket.into(),
            format!("unixgram://{}", path.display()),
            &self.limits,
        )))
    }

    fn local(&self, trace: Trace<'_>) -> Result<Box<dyn Connection>, Failure> {
        let mut why = Vec::new();
        for path in LOCAL {
            match self.datagrams(Path::new(path), trace) {
                Ok(connection) => return Ok(connection),
                Err(failure) => why.push(failure.text),
            }
        }
        for path in LOCAL {
            if let Ok(socket) = unix_stream(Path::new(path), &self.timeouts(), trace) {
                return self.stream(Stream::Unix(socket));
            }
        }
        Err(Failure::new(
            FailureKind::Unreachable,
            format!(
                "Unix syslog delivery error: {}; start a syslog daemon on this machine or give syslog-address",
                why.join("; ")
            ),
        ))
    }

    fn host(
        &self,
        network: Network,
        host: &str,
        port: u16,
        trace: Trace<'_>,
    ) -> Result<Box<dyn Connection>, Failure> {
        if network == Network::Udp {
            let socket = udp(host, port, trace)?;
            return Ok(Box::new(Datagrams::new(
                socket.into(),
                self.address.to_string(),
                &self.limits,
            )));
        }
        let socket = tcp(host, port, &self.timeouts(), trace)?;
        let stream = match &self.tls {
            Some(tls) => tls.handshake(socket, host, trace)?,
            None => Stream::Tcp(socket),
        };
        if self.address.relp() {
            let opened = Relp::open(stream, self.address.to_string(), &self.limits, trace)?;
            return Ok(Box::new(opened));
        }
        self.stream(stream)
    }
}

impl Opener for To {
    fn open(&self, trace: Trace<'_>) -> Result<Box<dyn Connection>, Failure> {
        match &self.address {
            Address::Local => self.local(trace),
            Address::Unix(path) => {
                let socket =
                    unix_stream(path, &self.timeouts(), trace).map_err(|mut failure| {
                        // What connect says of a datagram socket.
                        if failure.text.contains("wrong type") {
                            failure.text.push_str(&format!(
                                "; it takes datagrams: write syslog-address=unixgram://{}",
                                path.display()
                            ));
                        }
                        failure
                    })?;
                self.stream(Stream::Unix(socket))
            }
            Address::UnixDatagram(path) => self.datagrams(path, trace).map_err(|mut failure| {
                if failure.text.contains("wrong type") {
                    failure.text.push_str(&format!(
                        "; it takes streams: write syslog-address=unix://{}",
                        path.display()
                    ));
                }
                failure
            }),
            Address::Host(network, host, port) => self.host(*network, host, *port, trace),
        }
    }
}
