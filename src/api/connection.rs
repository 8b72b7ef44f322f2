//! One client connection: its phase (waiting for a request or serving one), the socket as hyper
//! sees it, and the socket as a hijacked stream sees it.
//!
//! hyper reads nothing while an answer is under way (`half_close`), so the phase is exact: quiet
//! connections have a deadline and may be closed to make room, serving ones are left alone.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::AsRawFd;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Buf, Bytes};
use nix::sys::socket::{setsockopt, sockopt};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::UnixStream;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::server::{Limits, STANDARD_HEADERS};

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // The data is plain values that are consistent after each statement.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// All connections of a listener.
#[derive(Debug)]
pub(crate) struct Registry {
    limits: Limits,
    inner: Mutex<Counts>,
    /// A serving connection became quiet or ended.
    freed: Notify,
}

#[derive(Debug, Default)]
struct Counts {
    next: u64,
    active: usize,
    /// Connections that wait for a request, the longest waiting first.
    quiet: BTreeMap<u64, Arc<Notify>>,
}

impl Registry {
    pub(crate) fn new(limits: Limits) -> Arc<Self> {
        Arc::new(Self {
            limits,
            inner: Mutex::default(),
            freed: Notify::new(),
        })
    }

    pub(crate) fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Waits until fewer than the allowed number of connections are serving.
    pub(crate) async fn room(&self) {
        loop {
            let freed = self.freed.notified();
            if lock(&self.inner).active < self.limits.active {
                return;
            }
            freed.await;
        }
    }

    /// Closes the connection that has waited longest for a request. False if there is none.
    pub(crate) fn evict_one(&self) -> bool {
        let oldest = lock(&self.inner).quiet.pop_first();
        if let Some((_, evict)) = &oldest {
            evict.notify_one();
        }
        oldest.is_some()
    }

    fn enter_quiet(&self, evict: &Arc<Notify>) -> u64 {
        let mut inner = lock(&self.inner);
        let order = inner.next;
        inner.next += 1;
        inner.quiet.insert(order, Arc::clone(evict));
        let surplus = inner.quiet.len() > self.limits.quiet;
        drop(inner);
        if surplus {
            self.evict_one();
        }
        order
    }

    fn leave_quiet(&self, order: u64) {
        lock(&self.inner).quiet.remove(&order);
    }

    fn add_active(&self) {
        lock(&self.inner).active += 1;
    }

    fn drop_active(&self) {
        lock(&self.inner).active -= 1;
        self.freed.notify_waiters();
    }
}

#[derive(Clone, Copy, Debug)]
enum Phase {
    /// No request is being served.
    Quiet {
        since: Instant,
        /// A request was served before: the connection is kept alive.
        kept: bool,
        /// When the first byte of the next request came.
        head: Option<Instant>,
        order: u64,
    },
    Serving,
    /// The answer is complete, hyper may still have some of it to write.
    Draining,
    Closed,
}

/// Phase of a connection, shared by its driver, hyper's view of the socket and the answer's body.
#[derive(Debug)]
pub(crate) struct ConnState {
    registry: Arc<Registry>,
    phase: Mutex<Phase>,
    evict: Arc<Notify>,
    /// The answer under way is a stream, which may have no end.
    streaming: AtomicBool,
}

impl ConnState {
    pub(crate) fn new(registry: Arc<Registry>) -> Arc<Self> {
        let evict = Arc::new(Notify::new());
        let order = registry.enter_quiet(&evict);
        Arc::new(Self {
            registry,
            phase: Mutex::new(Phase::Quiet {
                since: Instant::now(),
                kept: false,
                head: None,
                order,
            }),
            evict,
            streaming: AtomicBool::new(false),
        })
    }

    /// Says of what kind the answer is that begins now.
    pub(crate) fn streams(&self, streaming: bool) {
        self.streaming.store(streaming, Ordering::Relaxed);
    }

    pub(crate) fn is_streaming(&self) -> bool {
        self.streaming.load(Ordering::Relaxed)
    }

    pub(crate) fn limits(&self) -> &Limits {
        self.registry.limits()
    }

    /// A request was read completely, as far as its head.
    pub(crate) fn request(&self) {
        let mut phase = lock(&self.phase);
        match *phase {
            Phase::Quiet { order, .. } => {
                self.registry.leave_quiet(order);
                self.registry.add_active();
            }
            Phase::Serving | Phase::Draining => {}
            Phase::Closed => return,
        }
        *phase = Phase::Serving;
        self.streams(false);
    }

    /// The last byte of the answer was handed to hyper.
    pub(crate) fn answer_done(&self) {
        let mut phase = lock(&self.phase);
        if matches!(*phase, Phase::Serving) {
            *phase = Phase::Draining;
        }
    }

    fn bytes_read(&self) {
        if let Phase::Quiet { head, .. } = &mut *lock(&self.phase) {
            head.get_or_insert_with(Instant::now);
        }
    }

    fn flushed(&self) {
        let mut phase = lock(&self.phase);
        if matches!(*phase, Phase::Draining) {
            self.registry.drop_active();
            *phase = Phase::Quiet {
                since: Instant::now(),
                kept: true,
                head: None,
                order: self.registry.enter_quiet(&self.evict),
            };
        }
    }

    pub(crate) fn is_quiet(&self) -> bool {
        matches!(*lock(&self.phase), Phase::Quiet { .. })
    }

    /// When a quiet connection is to be closed; `None` while it serves.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        let limits = self.registry.limits();
        match *lock(&self.phase) {
            Phase::Quiet {
                head: Some(began), ..
            } => Some(began + limits.head_time),
            Phase::Quiet {
                since, kept: false, ..
            } => Some(since + limits.head_time),
            Phase::Quiet { since, .. } => Some(since + limits.idle_time),
            _ => None,
        }
    }

    /// Resolves when this connection has to make room for others.
    pub(crate) async fn evicted(&self) {
        self.evict.notified().await;
    }

    /// The connection has ended.
    pub(crate) fn close(&self) {
        let mut phase = lock(&self.phase);
        match *phase {
            Phase::Quiet { order, .. } => self.registry.leave_quiet(order),
            Phase::Serving | Phase::Draining => self.registry.drop_active(),
            Phase::Closed => {}
        }
        *phase = Phase::Closed;
    }
}

/// Send buffer of a connection that streams in bulk; the kernel doubles it.
const BULK: usize = 512 * 1024;

/// The other end of a connection, to notice that it is gone.
#[derive(Clone, Debug)]
pub(crate) struct Peer {
    stream: Arc<UnixStream>,
    /// The end of the client's sending counts as its end: over TCP nothing else tells.
    half: bool,
}

impl Peer {
    pub(crate) fn new(stream: Arc<UnixStream>, half: bool) -> Self {
        Self { stream, half }
    }

    /// Much will be sent: the kernel may hold more of it, so that the two sides wait less for one
    /// another. A writer is woken only once three quarters of this were taken.
    pub(crate) fn expect_bulk(&self) {
        let stream = self.stream.as_ref();
        // Without CAP_NET_ADMIN as much as `net.core.wmem_max` lets it; slower, that is all.
        if setsockopt(&stream, sockopt::SndBufForce, &BULK).is_err() {
            let _ = setsockopt(&stream, sockopt::SndBuf, &BULK);
        }
    }

    /// Resolves when the client has closed its socket. A client on a unix socket that only ended
    /// its sending side (half-close) is still there.
    pub(crate) async fn gone(&self) {
        crate::net::hung_up(&self.stream, self.half).await;
    }
}

/// The socket as hyper sees it.
#[derive(Debug)]
pub(crate) struct ConnIo {
    stream: Arc<UnixStream>,
    state: Arc<ConnState>,
    /// Our own text for an error that hyper found before there was a request.
    refusal: Bytes,
}

impl ConnIo {
    pub(crate) fn new(stream: Arc<UnixStream>, state: Arc<ConnState>) -> Self {
        Self {
            stream,
            state,
            refusal: Bytes::new(),
        }
    }

    fn poll_refusal(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.refusal.is_empty() {
            std::task::ready!(self.stream.poll_write_ready(cx))?;
            match self.stream.try_write(&self.refusal) {
                Ok(written) => self.refusal.advance(written),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
        Poll::Ready(Ok(()))
    }

    /// hyper answers a broken head by itself, without a body and without our headers. It does so
    /// only while no request is served, which is how such an answer is told from all others.
    fn replace_refusal(&mut self, written: &[u8]) -> bool {
        if !self.state.is_quiet() || !written.starts_with(b"HTTP/1.1 4") {
            return false;
        }
        let (status, message) = match &written[9..12] {
            b"431" => (
                "431 Request Header Fields Too Large",
                "request head is too large: at most 65536 bytes and 100 headers",
            ),
            b"414" => ("414 URI Too Long", "request line is too long"),
            _ => ("400 Bad Request", "malformed HTTP request"),
        };
        let body = format!("{{\"message\":\"{message}\"}}\n");
        let mut head = format!("HTTP/1.1 {status}\r\n");
        for (name, value) in STANDARD_HEADERS {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str(&format!(
            "content-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
            body.len()
        ));
        self.refusal = head.into();
        true
    }
}

impl AsyncRead for ConnIo {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            std::task::ready!(self.stream.poll_read_ready(cx))?;
            match self.stream.try_read(buf.initialize_unfilled()) {
                Ok(read) => {
                    buf.advance(read);
                    if read > 0 {
                        self.state.bytes_read();
                    }
                    return Poll::Ready(Ok(()));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }
}

impl AsyncWrite for ConnIo {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.replace_refusal(buf) {
            return Poll::Ready(Ok(buf.len()));
        }
        loop {
            std::task::ready!(self.stream.poll_write_ready(cx))?;
            match self.stream.try_write(buf) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                result => return Poll::Ready(result),
            }
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if bufs
            .first()
            .is_some_and(|first| self.replace_refusal(first))
        {
            return Poll::Ready(Ok(bufs.iter().map(|buf| buf.len()).sum()));
        }
        loop {
            std::task::ready!(self.stream.poll_write_ready(cx))?;
            match self.stream.try_write_vectored(bufs) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                result => return Poll::Ready(result),
            }
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // hyper flushes the socket only when it has written all it had.
        std::task::ready!(self.poll_refusal(cx))?;
        self.state.flushed();
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        std::task::ready!(self.poll_refusal(cx))?;
        Poll::Ready(shutdown_write(&self.stream))
    }
}

fn shutdown_write(stream: &UnixStream) -> io::Result<()> {
    match nix::sys::socket::shutdown(stream.as_raw_fd(), nix::sys::socket::Shutdown::Write) {
        Ok(()) | Err(nix::errno::Errno::ENOTCONN) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

/// Ends the sending side and takes what the client still sends, within bounds, so that a client in
/// the middle of a large request reads the answer instead of an error.
pub(crate) async fn linger(stream: &UnixStream) {
    const TIME: Duration = Duration::from_secs(2);
    const BYTES: usize = 8 << 20;
    if shutdown_write(stream).is_err() {
        return;
    }
    let drain = async {
        let mut buf = vec![0; 64 * 1024];
        let mut total = 0;
        while total < BYTES {
            match read(stream, &mut buf).await {
                Ok(0) | Err(_) => return,
                Ok(count) => total += count,
            }
        }
    };
    // At the time limit the rest is cut off, which is what a lingering close is for.
    let _ = tokio::time::timeout(TIME, drain).await;
}

async fn read(stream: &UnixStream, buf: &mut [u8]) -> io::Result<usize> {
    loop {
        stream.readable().await?;
        match stream.try_read(buf) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            result => return result,
        }
    }
}

/// A connection taken from HTTP: raw bytes in both directions, nothing sent yet.
#[derive(Debug)]
pub(crate) struct Hijacked {
    pub(crate) reader: RawReader,
    pub(crate) writer: RawWriter,
    pub(crate) peer: Peer,
}

impl Hijacked {
    /// `pending` is what came with the request's head: the first bytes of the client's stream.
    pub(crate) fn new(stream: Arc<UnixStream>, pending: Bytes) -> Self {
        Self {
            peer: Peer::new(Arc::clone(&stream), false),
            reader: RawReader {
                stream: Arc::clone(&stream),
                pending,
            },
            writer: RawWriter { stream },
        }
    }
}

/// Client to server.
#[derive(Debug)]
pub(crate) struct RawReader {
    stream: Arc<UnixStream>,
    pending: Bytes,
}

impl RawReader {
    /// Takes what nobody wants, to the end, so that the client is not held up.
    pub(crate) async fn drain(&mut self, buf: &mut [u8]) {
        while let Ok(1..) = self.read(buf).await {}
    }

    /// Next bytes; 0 at the end of the client's sending side. May be cancelled without loss.
    pub(crate) async fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if !self.pending.is_empty() {
            let count = self.pending.len().min(buf.len());
            self.pending.copy_to_slice(&mut buf[..count]);
            return Ok(count);
        }
        read(&self.stream, buf).await
    }
}

nix::ioctl_read_bad!(
    /// Memory of what was written to a socket and not read by its peer.
    outq,
    libc::TIOCOUTQ,
    libc::c_int
);

fn unread(stream: &UnixStream) -> io::Result<libc::c_int> {
    let mut count = 0;
    // SAFETY: the descriptor is open, and `count` is the integer that this request fills.
    unsafe { outq(stream.as_raw_fd(), &raw mut count) }?;
    Ok(count)
}

/// Server to client.
#[derive(Debug)]
pub(crate) struct RawWriter {
    stream: Arc<UnixStream>,
}

impl RawWriter {
    pub(crate) async fn write_all(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            self.stream.writable().await?;
            match self.stream.try_write(bytes) {
                Ok(count) => bytes = &bytes[count..],
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Writes the head of the answer and gives the client a moment to read it. docker-py reads it
    /// through a buffer that it then forgets: output that comes with the head would be lost.
    ///
    /// # Errors
    /// As [`RawWriter::write_all`].
    pub(crate) async fn write_head(&mut self, head: &str) -> io::Result<()> {
        const TRIES: u32 = 50;
        self.write_all(head.as_bytes()).await?;
        for _ in 0..TRIES {
            if unread(&self.stream)? == 0 {
                break;
            }
            // No event tells that a peer has read; the time is bounded and short.
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        Ok(())
    }

    /// Ends the output, and gives the client a moment to close its side.
    pub(crate) async fn finish(self) {
        linger(&self.stream).await;
    }
}
