//! The client's side: a TCP connection as a unix socket.

use std::io;
use std::os::unix::net::UnixStream as StdUnixStream;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::oneshot;
use tokio_rustls::TlsConnector;

use super::carry::carry;

/// To a connection with TLS. As Docker's clients have it.
const CONNECT: Duration = Duration::from_secs(30);

/// Why a connection that was made broke: with TLS 1.3 a daemon refuses a client's certificate only
/// after the client's side is through.
#[derive(Clone, Debug, Default)]
pub(crate) struct Failure(Arc<Mutex<Option<String>>>);

impl Failure {
    pub(crate) fn take(&self) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn set(&self, text: String) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(text);
    }
}

/// Connects to `host:port`. A thread of its own carries the bytes, because a command may use the
/// connection while its runtime stands still.
///
/// # Errors
/// No such host, nobody listening, no TLS on the other side or with the wrong certificate.
pub(crate) async fn dial(
    host: String,
    port: u16,
    tls: Option<Arc<ClientConfig>>,
    failure: Failure,
) -> io::Result<UnixStream> {
    let (ours, theirs) = StdUnixStream::pair()?;
    ours.set_nonblocking(true)?;
    theirs.set_nonblocking(true)?;
    let (told, connected) = oneshot::channel();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    std::thread::spawn(move || runtime.block_on(run(host, port, tls, theirs, told, failure)));
    // The thread tells always.
    connected.await.map_err(io::Error::other)??;
    UnixStream::from_std(ours)
}

async fn run(
    host: String,
    port: u16,
    tls: Option<Arc<ClientConfig>>,
    inner: StdUnixStream,
    told: oneshot::Sender<io::Result<()>>,
    failure: Failure,
) {
    let connect = async {
        let inner = UnixStream::from_std(inner)?;
        let outer = TcpStream::connect((host.as_str(), port)).await?;
        outer.set_nodelay(true)?;
        let Some(tls) = tls else {
            return Ok((inner, Err(outer)));
        };
        let name = ServerName::try_from(host).map_err(io::Error::other)?;
        let outer = TlsConnector::from(tls).connect(name, outer).await?;
        Ok((inner, Ok(outer)))
    };
    let connected = tokio::time::timeout(CONNECT, connect)
        .await
        .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
    let (inner, outer) = match connected {
        Ok(parts) => parts,
        Err(error) => {
            // Who asked may have given up.
            let _ = told.send(Err(error));
            return;
        }
    };
    let _ = told.send(Ok(()));
    let result = match outer {
        Ok(outer) => carry(outer, &inner).await,
        Err(outer) => carry(outer, &inner).await,
    };
    if let Err(error) = result {
        failure.set(explain(&error));
    }
    // Only now does the command see that the connection is gone.
    drop(inner);
}

/// A refusal by the daemon in words that say whose certificate it is about.
fn explain(error: &io::Error) -> String {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref());
    match inner {
        Some(rustls::Error::AlertReceived(alert)) => format!(
            "the daemon refused this client's certificate: {alert:?}; it has to be signed by the daemon's tlscacert"
        ),
        _ => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_names_the_certificate() {
        let alert = rustls::Error::AlertReceived(rustls::AlertDescription::UnknownCA);
        let text = explain(&io::Error::new(io::ErrorKind::InvalidData, alert));
        assert!(text.contains("certificate: UnknownCA"), "{text}");
        assert_eq!(explain(&io::Error::other("x")), "x");
    }
}
