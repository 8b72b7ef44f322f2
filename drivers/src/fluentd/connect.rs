//! Opens connections: socket, TLS, login.

use std::sync::Arc;

use super::acks::Learned;
use super::address::Address;
use super::connection::Forward;
use super::handshake::{Login, login};
use crate::secret::Secret;
use crate::sink::{Connection, Environment, Failure, FailureKind, Limits, Opener, Trace};
use crate::transport::tls::TlsClient;
use crate::transport::{AckedStream, Stream, Timeouts, tcp, unix_stream};

/// Who we say we are. No `Debug`: it may have secrets.
pub(super) struct Account {
    pub(super) key: Secret,
    pub(super) user: String,
    pub(super) password: Option<Secret>,
    pub(super) hostname: Option<String>,
    pub(super) environment: Environment,
}

impl Account {
    /// With the secrets as they are now.
    fn login(&self) -> Result<Login, Failure> {
        let read = |secret: &Secret| {
            let text = secret.read(&self.environment);
            text.map_err(|error| Failure::new(FailureKind::Denied, error.to_string()))
        };
        let own = || {
            let name = nix::unistd::gethostname().unwrap_or_default();
            name.to_string_lossy().into_owned()
        };
        Ok(Login {
            hostname: self.hostname.clone().unwrap_or_else(own),
            key: read(&self.key)?,
            username: self.user.clone(),
            password: match &self.password {
                Some(password) => read(password)?,
                None => String::new(),
            },
        })
    }
}

/// Where to, and how.
pub(super) struct To {
    pub(super) address: Address,
    pub(super) request_ack: bool,
    pub(super) gzip: bool,
    pub(super) account: Option<Account>,
    pub(super) tls: Option<TlsClient>,
    pub(super) limits: Limits,
    pub(super) learned: Arc<Learned>,
}

impl Opener for To {
    fn open(&self, trace: Trace<'_>) -> Result<Box<dyn Connection>, Failure> {
        let timeouts = Timeouts {
            connect: self.limits.connect_timeout,
            read: Some(self.limits.connect_timeout),
            write: Some(self.limits.write_timeout),
        };
        let mut stream = match &self.address {
            Address::Unix(path) => Stream::Unix(unix_stream(path, &timeouts, trace)?),
            Address::Host { host, port, .. } => {
                let socket = tcp(host, *port, &timeouts, trace)?;
                match &self.tls {
                    Some(tls) => tls.handshake(socket, host, trace)?,
                    None => Stream::Tcp(socket),
                }
            }
        };
        let address = self.address.to_string();
        if let Some(account) = &self.account {
            login(&mut stream, &account.login()?, &address, trace)?;
        }
        let stream = AckedStream::new(stream, address.clone(), self.limits.write_timeout)?;
        let forward = Forward::new(
            stream,
            address,
            self.request_ack,
            self.gzip,
            self.limits.ack_timeout,
            Arc::clone(&self.learned),
        )?;
        Ok(Box::new(forward))
    }
}
