use super::*;

use std::net::{TcpListener, TcpStream};
use std::thread::JoinHandle;

const LONG: Duration = Duration::from_secs(10);
const OPENED: &[u8] =
    b"1 rsp 75 200 OK\nrelp_version=0\nrelp_software=double,1,x://y\ncommands=syslog,eventlog\n";

/// A receiver that speaks by a script: reads until `after` has come, then says `words`.
fn peer(script: Vec<(Vec<u8>, Vec<u8>)>) -> (TcpStream, JoinHandle<TcpStream>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let ours = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    ours.set_read_timeout(Some(LONG)).unwrap();
    let (mut theirs, _) = listener.accept().unwrap();
    theirs.set_read_timeout(Some(LONG)).unwrap();
    let thread = std::thread::spawn(move || {
        for (after, words) in script {
            let mut got = vec![0; after.len()];
            theirs.read_exact(&mut got).unwrap();
            assert_eq!(
                String::from_utf8_lossy(&got),
                String::from_utf8_lossy(&after)
            );
            theirs.write_all(&words).unwrap();
        }
        theirs
    });
    (ours, thread)
}

fn hello() -> Vec<u8> {
    let offers = format!(
        "relp_version=0\nrelp_software=taffrail,{}\ncommands=syslog",
        env!("CARGO_PKG_VERSION")
    );
    format!("1 open {} {offers}\n", offers.len()).into_bytes()
}

fn open(stream: TcpStream, limits: &Limits) -> Result<Relp, Failure> {
    Relp::open(
        Stream::Tcp(stream),
        "relp://peer:2514".into(),
        limits,
        &mut |_| (),
    )
}

fn batch(records: &[&str]) -> Batch {
    let mut batch = Batch::default();
    for record in records {
        batch.bytes.extend_from_slice(record.as_bytes());
        batch.ends.push(batch.bytes.len() as u32);
    }
    batch
}

#[test]
fn answers_settle_in_order_and_other_codes_reject() {
    let frames = b"2 syslog 1 a\n3 syslog 1 b\n4 syslog 1 c\n";
    let (stream, thread) = peer(vec![
        (hello(), OPENED.to_vec()),
        (frames.to_vec(), b"3 rsp 10 500 no way\n".to_vec()),
        (b"5 syslog 1 d\n".to_vec(), b"2 rsp 6 200 OK\n".to_vec()),
        (
            b"6 syslog 1 e\n".to_vec(),
            b"4 rsp 6 200 OK\n5 rsp 6 200 OK\n6 rsp 6 200 OK\n7 rsp 0\n".to_vec(),
        ),
    ]);
    let mut relp = open(stream, &Limits::default()).unwrap();
    let mut rejected = Vec::new();
    relp.send(&mut batch(&["a", "b", "c"]), &|| false).unwrap();
    assert_eq!(
        relp.settled(Duration::from_millis(50), &mut rejected)
            .unwrap(),
        0
    );
    relp.send(&mut batch(&["d"]), &|| false).unwrap();
    assert_eq!(relp.settled(LONG, &mut rejected).unwrap(), 2);
    let wanted = Rejected {
        record: 1,
        reason: "500 no way".into(),
    };
    assert_eq!(rejected, [wanted]);
    relp.send(&mut batch(&["e"]), &|| false).unwrap();
    let mut settled = 2;
    while settled < 5 {
        settled = relp.settled(LONG, &mut rejected).unwrap();
    }
    let failure = relp.settled(LONG, &mut rejected).unwrap_err();
    assert_eq!(failure.kind, FailureKind::Protocol);
    assert_eq!(
        failure.text,
        "relp://peer:2514: answer to frame 7, which is not open"
    );
    assert_eq!(Box::new(relp).close(), 5);
    thread.join().unwrap();
}

#[test]
fn numbers_go_round() {
    let (stream, thread) = peer(vec![
        (hello(), OPENED.to_vec()),
        (
            b"999999999 syslog 1 a\n1 syslog 1 b\n".to_vec(),
            b"1 rsp 6 200 OK\n999999999 rsp 6 200 OK\n".to_vec(),
        ),
    ]);
    let mut relp = open(stream, &Limits::default()).unwrap();
    (relp.number, relp.oldest) = (LAST, LAST);
    relp.send(&mut batch(&["a", "b"]), &|| false).unwrap();
    let mut settled = 0;
    while settled < 2 {
        settled = relp.settled(LONG, &mut Vec::new()).unwrap();
    }
    assert_eq!((relp.number, relp.oldest), (2, 2));
    thread.join().unwrap();
}

#[test]
fn the_end_of_a_session_counts_what_was_answered_before() {
    let (stream, thread) = peer(vec![
        (hello(), OPENED.to_vec()),
        (
            b"2 syslog 1 a\n3 syslog 1 b\n".to_vec(),
            b"2 rsp 6 200 OK\n0 serverclose 0\n".to_vec(),
        ),
    ]);
    let mut relp = open(stream, &Limits::default()).unwrap();
    relp.send(&mut batch(&["a", "b"]), &|| false).unwrap();
    assert_eq!(relp.settled(LONG, &mut Vec::new()).unwrap(), 1);
    let failure = relp.settled(LONG, &mut Vec::new()).unwrap_err();
    assert_eq!(failure.text, "relp://peer:2514 ended the session");
    assert_eq!(failure.kind, FailureKind::Unreachable);
    assert!(relp.send(&mut batch(&["c"]), &|| false).is_err());
    assert_eq!(Box::new(relp).close(), 1);
    drop(thread.join().unwrap());
}

#[test]
fn a_rejection_that_nobody_heard_of_is_not_closed_over() {
    let (stream, thread) = peer(vec![
        (hello(), OPENED.to_vec()),
        (
            b"2 syslog 1 a\n3 syslog 1 b\n".to_vec(),
            b"2 rsp 6 200 OK\n3 rsp 6 500 no\n".to_vec(),
        ),
    ]);
    let mut relp = open(stream, &Limits::default()).unwrap();
    relp.send(&mut batch(&["a", "b"]), &|| false).unwrap();
    let theirs = thread.join().unwrap();
    let until = Instant::now() + LONG;
    while relp.settled < 2 {
        assert!(Instant::now() < until);
        relp.hear().unwrap();
    }
    assert_eq!(Box::new(relp).close(), 1);
    drop(theirs);
}

#[test]
fn no_answer_is_a_time_out() {
    let (stream, thread) = peer(vec![(hello(), OPENED.to_vec())]);
    let limits = Limits {
        ack_timeout: Duration::from_millis(50),
        ..Limits::default()
    };
    let mut relp = open(stream, &limits).unwrap();
    let theirs = thread.join().unwrap();
    relp.send(&mut batch(&["a"]), &|| false).unwrap();
    let failure = relp.settled(LONG, &mut Vec::new()).unwrap_err();
    assert_eq!(failure.kind, FailureKind::Timeout);
    drop(theirs);
}

#[test]
fn what_does_not_open_says_why() {
    for (words, text) in [
        (
            &b"HTTP/1.1 400 Bad Request\r\n"[..],
            "relp://peer:2514: no RELP: \"HTTP/1.1 400 Bad Request\\r\\n\"",
        ),
        (
            b"1 rsp 7 500 off\n",
            "relp://peer:2514: it refused the session: \"500 off\"",
        ),
        (
            b"1 rsp 21 200 OK\ncommands=other\n",
            "relp://peer:2514: it does not take syslog; its offers: \"200 OK\\ncommands=other\"",
        ),
    ] {
        let (stream, thread) = peer(vec![(hello(), words.to_vec())]);
        let failure = open(stream, &Limits::default()).err().unwrap();
        assert_eq!(failure.text, text);
        assert_eq!(failure.kind, FailureKind::Protocol);
        thread.join().unwrap();
    }
}
