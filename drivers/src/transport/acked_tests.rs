use super::*;

use std::net::{Shutdown, TcpListener};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};

const LONG: Duration = Duration::from_secs(10);
const SHORT: Duration = Duration::from_millis(50);

fn batch(records: usize, bytes: usize) -> Batch {
    let mut batch = Batch::default();
    for n in 0..records {
        batch.bytes.extend(std::iter::repeat_n(n as u8, bytes));
        batch.ends.push(batch.bytes.len() as u32);
    }
    batch
}

fn pair() -> (AckedStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let ours = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (peer, _) = listener.accept().unwrap();
    peer.set_read_timeout(Some(LONG)).unwrap();
    let ours = AckedStream::new(Stream::Tcp(ours), "the peer".into(), LONG).unwrap();
    (ours, peer)
}

fn settle(stream: &mut AckedStream, records: u64) {
    let until = Instant::now() + LONG;
    while stream.settled(SHORT).unwrap() < records {
        assert!(Instant::now() < until, "only {}", stream.accepted());
    }
    assert_eq!(stream.accepted(), records);
}

#[test]
fn acknowledged_records_settle() {
    let (mut ours, mut peer) = pair();
    assert_eq!(ours.settled(Duration::ZERO).unwrap(), 0);
    ours.write_batch(&batch(1000, 100), &|| false).unwrap();
    let mut got = vec![0; 100_000];
    peer.read_exact(&mut got).unwrap();
    assert_eq!(got, batch(1000, 100).bytes);
    settle(&mut ours, 1000);
    assert_eq!(ours.acked_bytes(), 100_000);
}

#[test]
fn a_peer_that_does_not_read_is_waited_for_and_only_cancelling_ends_it() {
    let (mut ours, peer) = pair();
    let stop = AtomicBool::new(false);
    let big = batch(4000, 8192);
    let stalled = &mut ours;
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| stalled.write_batch(&big, &|| stop.load(Ordering::Relaxed)));
        std::thread::sleep(Duration::from_millis(300));
        assert!(!writer.is_finished());
        stop.store(true, Ordering::Relaxed);
        let failure = writer.join().unwrap().unwrap_err();
        assert_eq!(failure.kind, FailureKind::Timeout);
    });
    let accepted = ours.accepted();
    assert!(accepted < 4000, "{accepted}");
    assert!(
        accepted * 8192 <= ours.acked_bytes(),
        "no more than acknowledged"
    );
    drop(peer);
}

#[test]
fn an_orderly_end_is_a_failure_after_what_was_accepted() {
    let (mut ours, peer) = pair();
    ours.write_batch(&batch(3, 10), &|| false).unwrap();
    settle(&mut ours, 3);
    peer.shutdown(Shutdown::Write).unwrap();
    let failure = ours.settled(LONG).unwrap_err();
    assert_eq!(failure.kind, FailureKind::Unreachable);
    assert_eq!(failure.text, "the peer closed the connection");
    assert!(ours.write_batch(&batch(1, 1), &|| false).is_err());
    assert_eq!(ours.accepted(), 3);
}

#[test]
fn a_reset_accepts_nothing_more() {
    let (mut ours, peer) = pair();
    ours.write_batch(&batch(10, 1000), &|| false).unwrap();
    // Unread data: closing resets.
    drop(peer);
    let until = Instant::now() + LONG;
    while ours.stream_error().is_none() {
        assert!(Instant::now() < until);
    }
    let before = ours.accepted();
    assert_eq!(before, 0);
    assert!(ours.settled(LONG).is_err());
    assert_eq!(ours.accepted(), 0);
}

impl AckedStream {
    /// Waits for the socket's end without taking its error.
    fn stream_error(&self) -> Option<PollFlags> {
        let found = self.poll(PollFlags::POLLIN, SHORT).unwrap();
        (found.contains(PollFlags::POLLERR) || found.contains(PollFlags::POLLHUP)).then_some(found)
    }
}

#[test]
fn a_unix_stream_settles_when_it_is_read() {
    let (ours, mut peer) = UnixStream::pair().unwrap();
    let mut ours = AckedStream::new(Stream::Unix(ours), "the peer".into(), LONG).unwrap();
    ours.write_batch(&batch(5, 100), &|| false).unwrap();
    assert_eq!(ours.settled(SHORT).unwrap(), 0);
    peer.read_exact(&mut [0; 500]).unwrap();
    settle(&mut ours, 5);
    ours.write_batch(&batch(5, 100), &|| false).unwrap();
    // Closed without reading: the bytes are gone, and none of them counts.
    drop(peer);
    assert!(ours.settled(LONG).is_err());
    assert_eq!(ours.accepted(), 5);
}

#[test]
fn records_larger_than_a_run_count_alone() {
    let (mut ours, peer) = pair();
    let mut batch = batch(2, 40_000);
    batch.bytes.extend([1, 2, 3]);
    batch.ends.push(batch.bytes.len() as u32);
    ours.write_batch(&batch, &|| false).unwrap();
    settle(&mut ours, 3);
    drop(peer);
}

/// What a peer's kernel had and its program did not read is not accepted when the peer dies.
#[test]
fn what_a_reset_threw_away_is_not_accepted() {
    let (mut ours, mut peer) = pair();
    ours.write_batch(&batch(40, 1024), &|| false).unwrap();
    let mut read = vec![0; 30 * 1024];
    peer.read_exact(&mut read).unwrap();
    let until = Instant::now() + LONG;
    while ours.acked_bytes() < 40 * 1024 {
        assert!(Instant::now() < until);
    }
    assert_eq!(ours.settled(SHORT).unwrap(), 0);
    // Unread data makes this a reset.
    drop(peer);
    while ours.settled(SHORT).is_ok() {
        assert!(Instant::now() < until);
    }
    // Half of it passes, so that a receiver that does this always gets on.
    let accepted = ours.accepted();
    assert!(accepted > 0 && accepted <= 20, "{accepted}");
}
