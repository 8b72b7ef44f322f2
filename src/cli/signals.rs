//! Signals to this program go on to the container (`--sig-proxy`).

use std::sync::Arc;

use nix::sys::signal::Signal;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use crate::client::{Body, Client, Query, segment};

/// Signals that stay here: those that cannot be caught, faults of this program, those about its
/// children, sockets and terminal. SIGWINCH too: a size goes by `resize`, and without a terminal
/// some servers take the signal for a request to end.
const KEPT: [Signal; 13] = [
    Signal::SIGKILL,
    Signal::SIGSTOP,
    Signal::SIGILL,
    Signal::SIGFPE,
    Signal::SIGSEGV,
    Signal::SIGBUS,
    Signal::SIGCHLD,
    Signal::SIGPIPE,
    Signal::SIGURG,
    Signal::SIGTSTP,
    Signal::SIGTTIN,
    Signal::SIGTTOU,
    Signal::SIGWINCH,
];

/// Catches signals from now on, to be sent on by [`Proxy::forward`].
#[derive(Debug)]
pub(crate) struct Proxy(mpsc::UnboundedReceiver<String>);

impl Proxy {
    /// Installs the handlers, for the life of the program. Needs a runtime.
    pub(crate) fn install() -> Self {
        let (tx, rx) = mpsc::unbounded_channel();
        let named = Signal::iterator()
            .filter(|s| !KEPT.contains(s))
            .map(|s| (s as i32, s.as_str().trim_start_matches("SIG").to_owned()));
        let (min, max) = (libc::SIGRTMIN(), libc::SIGRTMAX());
        let realtime = (min..=max).map(|n| {
            let name = match n - min {
                0 => "RTMIN".to_owned(),
                k => format!("RTMIN+{k}"),
            };
            (n, name)
        });
        for (number, name) in named.chain(realtime) {
            // One that cannot be caught keeps its default action.
            let Ok(mut stream) = signal(SignalKind::from_raw(number)) else {
                continue;
            };
            let tx = tx.clone();
            tokio::spawn(async move {
                while stream.recv().await.is_some() {
                    if tx.send(name.clone()).is_err() {
                        return;
                    }
                }
            });
        }
        Self(rx)
    }

    /// Sends each signal to `container`, those included that came before.
    pub(crate) fn forward(mut self, client: Arc<Client>, container: String) {
        tokio::spawn(async move {
            while let Some(name) = self.0.recv().await {
                let mut query = Query::new();
                query.push("signal", &name);
                let path = format!("/containers/{}/kill{}", segment(&container), query.as_str());
                // Not started yet, or over: as in Docker, the signal is dropped.
                let _ = client.post(&path, Body::Empty).await;
            }
        });
    }
}
