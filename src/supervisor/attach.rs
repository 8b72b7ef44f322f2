//! Raw output for attached clients: read from the spool that the monitor writes beside the log
//! (decision 17), given to every client in turn, removed once read.

use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use taffrail_monitor::files::SEGMENT;
use tokio::sync::{mpsc, watch};

use super::capture::Capture;

/// A client that takes nothing for so long is cut, and the application goes on.
const PATIENCE: Duration = Duration::from_secs(30);
/// Most bytes of one piece.
const PIECE: usize = 32 * 1024;

/// Raw output, in order: stream (1 stdout, 2 stderr) and bytes. Ends with the container, or early
/// for a client that stalled.
#[derive(Debug)]
pub(crate) struct AttachStream {
    receiver: mpsc::Receiver<(u8, Bytes)>,
}

impl AttachStream {
    pub(crate) async fn next(&mut self) -> Option<(u8, Bytes)> {
        self.receiver.recv().await
    }
}

#[derive(Debug, Default)]
struct Clients {
    senders: Vec<mpsc::Sender<(u8, Bytes)>>,
    running: bool,
    ended: bool,
}

/// The reader of one container's spool; works while there are clients.
#[derive(Debug)]
pub(super) struct AttachHub {
    dir: PathBuf,
    clients: Mutex<Clients>,
    idle: watch::Sender<bool>,
}

impl AttachHub {
    pub(super) fn new(dir: PathBuf) -> Self {
        Self {
            dir,
            clients: Mutex::default(),
            idle: watch::Sender::new(true),
        }
    }

    pub(super) fn subscribe(&self, capture: &Arc<Capture>) -> AttachStream {
        let (sender, receiver) = mpsc::channel(16);
        if let Ok(mut clients) = self.clients.lock()
            && !clients.ended
        {
            clients.senders.push(sender);
            if !clients.running {
                clients.running = true;
                self.idle.send_replace(false);
                let page = capture.page().get();
                let start = page.committed().map_or(0, |(_, s)| s.attach_pos);
                page.attach_read.store(start, Ordering::SeqCst);
                capture.page().attach_want(true);
                tokio::spawn(run(Arc::clone(capture), start));
            }
        }
        AttachStream { receiver }
    }

    /// Resolves when all clients have been given everything (or there are none).
    pub(super) async fn drained(&self) {
        let mut idle = self.idle.subscribe();
        let _ = idle.wait_for(|idle| *idle).await;
    }

    fn senders(&self) -> Vec<mpsc::Sender<(u8, Bytes)>> {
        self.clients
            .lock()
            .map(|c| c.senders.clone())
            .unwrap_or_default()
    }

    /// Drops closed clients. True: none is left, and the hub stops.
    fn stop_if_deserted(&self, capture: &Capture) -> bool {
        let Ok(mut clients) = self.clients.lock() else {
            return true;
        };
        clients.senders.retain(|s| !s.is_closed());
        if clients.senders.is_empty() {
            capture.page().attach_want(false);
            capture.kick();
            clients.running = false;
            return true;
        }
        false
    }

    fn end(&self) {
        if let Ok(mut clients) = self.clients.lock() {
            clients.senders.clear();
            clients.ended = true;
            clients.running = false;
        }
    }

    /// Gives a piece to every client. One that takes nothing holds the others up, and with the
    /// spool full the application, too; then it is cut after [`PATIENCE`]. Until the spool is full
    /// it may take its time.
    async fn give(&self, capture: &Capture, stream: u8, bytes: Bytes) {
        for sender in self.senders() {
            while let Err(mpsc::error::SendTimeoutError::Timeout(_)) =
                sender.send_timeout((stream, bytes.clone()), PATIENCE).await
            {
                if capture.page().get().attach_blocked.load(Ordering::Acquire) != 0 {
                    tracing::warn!(
                        container = capture.id(),
                        "an attached client took nothing for 30 s and was cut"
                    );
                    if let Ok(mut clients) = self.clients.lock() {
                        clients.senders.retain(|s| !s.same_channel(&sender));
                    }
                    break;
                }
            }
        }
    }
}

/// Reads frames from `position` on until nobody listens or the container has ended.
async fn run(capture: Arc<Capture>, mut position: u64) {
    let hub = capture.hub();
    let mut frames = Frames::default();
    let mut seen = capture.changes();
    loop {
        seen.mark_unchanged();
        capture.arm();
        // The order matters: an end that is seen here comes after its last bytes.
        let ended = capture.ended();
        let committed = capture
            .page()
            .get()
            .committed()
            .map_or(position, |(_, s)| s.attach_pos);
        while position < committed {
            let (no, within) = (position / SEGMENT, position % SEGMENT);
            let want = (committed - position)
                .min(SEGMENT - within)
                .min(PIECE as u64) as usize;
            let path = hub.dir.join(no.to_string());
            let read = tokio::task::spawn_blocking(move || {
                let mut buf = vec![0; want];
                std::fs::File::open(path)?.read_exact_at(&mut buf, within)?;
                Ok::<_, std::io::Error>(buf)
            });
            let Ok(Ok(buf)) = read.await else {
                tracing::error!(
                    container = capture.id(),
                    "the attach spool cannot be read; attached clients are cut"
                );
                hub.end();
                capture.page().attach_want(false);
                capture.kick();
                hub.idle.send_replace(true);
                return;
            };
            position += want as u64;
            for (stream, bytes) in frames.feed(Bytes::from(buf)) {
                hub.give(&capture, stream, bytes).await;
            }
            let page = capture.page().get();
            page.attach_read.store(position, Ordering::SeqCst);
            if page.attach_blocked.load(Ordering::SeqCst) != 0 {
                capture.kick();
            }
            if position / SEGMENT != no {
                let _ = std::fs::remove_file(hub.dir.join(no.to_string()));
            }
        }
        if ended {
            hub.end();
            break;
        }
        if hub.stop_if_deserted(&capture) {
            break;
        }
        // Clients that went away are noticed within the second even if nothing is written.
        let _ = tokio::time::timeout(Duration::from_secs(1), seen.changed()).await;
    }
    hub.idle.send_replace(true);
}

/// Takes frames (`[stream, 0, 0, 0, length BE]`, payload) apart, wherever they were cut.
#[derive(Debug, Default)]
struct Frames {
    header: Vec<u8>,
    stream: u8,
    left: usize,
}

impl Frames {
    fn feed(&mut self, mut bytes: Bytes) -> Vec<(u8, Bytes)> {
        let mut out = Vec::new();
        while !bytes.is_empty() {
            if self.left > 0 {
                let n = self.left.min(bytes.len());
                out.push((self.stream, bytes.split_to(n)));
                self.left -= n;
                continue;
            }
            let n = (8 - self.header.len()).min(bytes.len());
            self.header.extend_from_slice(&bytes.split_to(n));
            if let [stream, _, _, _, a, b, c, d] = self.header[..] {
                self.stream = stream;
                self.left = u32::from_be_bytes([a, b, c, d]) as usize;
                self.header.clear();
            }
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_survive_any_cut() {
        let mut wire = Vec::new();
        for (stream, text) in [(1u8, "hello\n"), (2, ""), (2, "err"), (1, "x")] {
            wire.extend_from_slice(&[stream, 0, 0, 0]);
            wire.extend_from_slice(&(text.len() as u32).to_be_bytes());
            wire.extend_from_slice(text.as_bytes());
        }
        for size in 1..wire.len() {
            let mut frames = Frames::default();
            let mut got = [Vec::new(), Vec::new(), Vec::new()];
            for cut in wire.chunks(size) {
                for (stream, bytes) in frames.feed(Bytes::copy_from_slice(cut)) {
                    got[usize::from(stream)].extend_from_slice(&bytes);
                }
            }
            assert_eq!(got[1], b"hello\nx");
            assert_eq!(got[2], b"err");
        }
    }
}
