//! The server's side: connections accepted on a TCP port, handed on as unix sockets.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use nix::sys::socket::{setsockopt, sockopt};
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio_rustls::TlsAcceptor;

use super::carry::{carry, hung_up};
use crate::metrics::{Counter, Text};

/// From a connection to the end of its TLS handshake.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// Silence after which the kernel asks whether the other side is still there, in seconds.
const KEEPALIVE: u32 = 60;

/// What Go's server says to plain HTTP on a TLS port.
const NO_TLS: &[u8] = b"HTTP/1.0 400 Bad Request\r\nConnection: close\r\n\r\nClient sent an HTTP request to an HTTPS server.\n";

/// Connections that did not make their TLS handshake.
static REFUSED: Counter = Counter::new();

/// What is counted here.
pub(crate) fn metrics(text: &mut Text) {
    text.counter(
        "taffrail_api_tls_handshakes_failed_total",
        "Connections to tcp:// hosts that did not get through TLS: no or a wrong certificate, no TLS, too slow.",
    )
    .value(REFUSED.get());
}

/// A TCP port, with or without TLS.
pub(crate) struct Front {
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
}

impl std::fmt::Debug for Front {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Front")
            .field("listener", &self.listener)
            .field("tls", &self.tls.is_some())
            .finish()
    }
}

impl Front {
    pub(crate) fn new(listener: TcpListener, tls: Option<TlsAcceptor>) -> Self {
        Self { listener, tls }
    }

    /// The next connection. With TLS its handshake is still to come: a connection that does not
    /// make it is closed from the other side.
    ///
    /// # Errors
    /// As `accept(2)`, and no descriptors left.
    pub(crate) async fn accept(&self) -> io::Result<UnixStream> {
        let (outer, peer) = self.listener.accept().await?;
        let (ours, theirs) = UnixStream::pair()?;
        outer.set_nodelay(true)?;
        setsockopt(&outer, sockopt::KeepAlive, &true)?;
        setsockopt(&outer, sockopt::TcpKeepIdle, &KEEPALIVE)?;
        let tls = self.tls.clone();
        tokio::spawn(async move {
            match tls {
                // The other side's failures are its own; ours show in the answers.
                None => drop(carry(outer, &theirs).await),
                Some(tls) => secured(outer, theirs, &tls, peer).await,
            }
        });
        Ok(ours)
    }
}

async fn secured(mut outer: TcpStream, inner: UnixStream, tls: &TlsAcceptor, peer: SocketAddr) {
    let handshake = async {
        let mut first = [0];
        // A TLS record begins with its type, 22; HTTP with a letter.
        if outer.peek(&mut first).await? == 1 && first[0].is_ascii_uppercase() {
            // Best effort: the client did not ask for us.
            let _ = outer.write_all(NO_TLS).await;
            let _ = outer.shutdown().await;
            return Err(io::Error::other(
                "client sent an HTTP request to an HTTPS server",
            ));
        }
        tls.accept(outer).await
    };
    let result = tokio::select! {
        result = tokio::time::timeout(HANDSHAKE, handshake) => result,
        // The server made room for others.
        () = hung_up(&inner, false) => return,
    };
    match result {
        Ok(Ok(outer)) => drop(carry(outer, &inner).await),
        Ok(Err(error)) => refused(peer, &error.to_string()),
        Err(_) => refused(peer, "no handshake within 10 s"),
    }
}

/// Says that a connection was refused, at most once a second: anyone can make it happen.
fn refused(peer: SocketAddr, error: &str) {
    REFUSED.add(1);
    static LAST: AtomicU64 = AtomicU64::new(0);
    static HELD_BACK: AtomicU64 = AtomicU64::new(0);
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs());
    if LAST.swap(now, Ordering::Relaxed) == now {
        HELD_BACK.fetch_add(1, Ordering::Relaxed);
        return;
    }
    let held_back = HELD_BACK.swap(0, Ordering::Relaxed);
    tracing::warn!(%peer, error, held_back, "TLS handshake failed");
}
