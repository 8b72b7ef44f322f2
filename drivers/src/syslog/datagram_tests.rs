use super::*;

use std::net::UdpSocket;
use std::os::unix::net::UnixDatagram;
use std::sync::atomic::{AtomicBool, Ordering};

const LONG: Duration = Duration::from_secs(10);

fn batch(records: &[&[u8]]) -> Batch {
    let mut batch = Batch::default();
    for record in records {
        batch.bytes.extend_from_slice(record);
        batch.ends.push(batch.bytes.len() as u32);
    }
    batch
}

fn udp() -> (Datagrams, UdpSocket) {
    let peer = UdpSocket::bind("127.0.0.1:0").unwrap();
    peer.set_read_timeout(Some(LONG)).unwrap();
    let ours = UdpSocket::bind("127.0.0.1:0").unwrap();
    ours.connect(peer.local_addr().unwrap()).unwrap();
    let ours = Datagrams::new(ours.into(), "udp://peer:514".into(), &Limits::default());
    (ours, peer)
}

fn settle(ours: &mut Datagrams, records: u64) -> Vec<Rejected> {
    let mut rejected = Vec::new();
    let until = Instant::now() + LONG;
    while ours.settled(LONG, &mut rejected).unwrap() < records {
        assert!(Instant::now() < until);
    }
    rejected
}

#[test]
fn each_record_is_a_datagram() {
    let (mut ours, peer) = udp();
    let records: Vec<Vec<u8>> = (0..150)
        .map(|n| format!("record {n}").into_bytes())
        .collect();
    let slices: Vec<&[u8]> = records.iter().map(Vec::as_slice).collect();
    ours.send(&mut batch(&slices), &|| false).unwrap();
    assert!(settle(&mut ours, 150).is_empty());
    let mut buffer = [0; 100];
    for record in &records {
        let n = peer.recv(&mut buffer).unwrap();
        assert_eq!(&buffer[..n], record);
    }
}

#[test]
fn one_that_is_too_large_is_rejected_and_the_others_go_on() {
    let (mut ours, peer) = udp();
    let large = vec![b'x'; 65_508];
    let mut batch = batch(&[b"a", &large, b"b", &large[..65_507]]);
    ours.send(&mut batch, &|| false).unwrap();
    let rejected = settle(&mut ours, 4);
    assert_eq!(rejected.len(), 1);
    assert_eq!(rejected[0].record, 1);
    assert_eq!(
        rejected[0].reason,
        "65508 bytes are too many for a datagram to udp://peer:514"
    );
    let mut buffer = vec![0; 70_000];
    for bytes in [1, 1, 65_507] {
        assert_eq!(peer.recv(&mut buffer).unwrap(), bytes);
    }
}

#[test]
fn where_nobody_listens_nothing_is_accepted() {
    let (mut ours, peer) = udp();
    drop(peer);
    ours.send(&mut batch(&[b"lost?"]), &|| false).unwrap();
    let failure = ours.settled(LONG, &mut Vec::new()).unwrap_err();
    assert_eq!(failure.kind, FailureKind::Unreachable);
    assert_eq!(failure.text, "nobody listens at udp://peer:514");
    assert_eq!(Box::new(ours).close(), 0);
}

#[test]
fn a_full_unix_receiver_is_waited_for() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log");
    let peer = UnixDatagram::bind(&path).unwrap();
    peer.set_read_timeout(Some(LONG)).unwrap();
    let ours = UnixDatagram::unbound().unwrap();
    ours.connect(&path).unwrap();
    let mut ours = Datagrams::new(ours.into(), "unixgram:///log".into(), &Limits::default());
    let records = vec![&b"0123456789"[..]; 5000];
    let mut buffer = [0; 100];
    std::thread::scope(|scope| {
        let sender = scope.spawn(|| {
            ours.send(&mut batch(&records), &|| false).unwrap();
            settle(&mut ours, 5000);
        });
        for _ in 0..5000 {
            assert_eq!(peer.recv(&mut buffer).unwrap(), 10);
        }
        sender.join().unwrap();
    });
    // Nobody reads: cancelling ends it, the end of the receiver, too.
    let stop = AtomicBool::new(false);
    let failure = std::thread::scope(|scope| {
        let sender = scope.spawn(|| {
            ours.send(&mut batch(&records), &|| stop.load(Ordering::Relaxed))
                .unwrap_err()
        });
        stop.store(true, Ordering::Relaxed);
        sender.join().unwrap()
    });
    assert_eq!(failure.kind, FailureKind::Timeout);
    drop(peer);
    let failure = ours.send(&mut batch(&records), &|| false).unwrap_err();
    assert_eq!(failure.kind, FailureKind::Unreachable);
}
