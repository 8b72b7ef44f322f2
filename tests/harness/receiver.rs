//! A receiver of lines over TCP (syslog's unframed form), whose misbehaviour is chosen: what it has read is counted
//! line by line.

use std::collections::HashMap;
use std::io::{BufRead as _, BufReader, Read as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use super::wait_for;

/// What has arrived.
#[derive(Clone, Debug, Default)]
pub(crate) struct Got {
    /// Numbers of the workload's lines, in the order of their arrival.
    pub(crate) numbers: Vec<u64>,
    /// Lines that are none of the workload's.
    pub(crate) others: Vec<String>,
    /// Records that say what is missing.
    pub(crate) notices: Vec<String>,
}

impl Got {
    /// Different numbers below `lines`, and how many arrived more than once.
    pub(crate) fn count(&self, lines: u64) -> (u64, u64) {
        let mut seen: HashMap<u64, u64> = HashMap::new();
        for number in &self.numbers {
            assert!(*number < lines, "line {number} was never written");
            *seen.entry(*number).or_default() += 1;
        }
        let different = seen.len() as u64;
        (different, self.numbers.len() as u64 - different)
    }

    /// Records that the notices say are missing.
    pub(crate) fn told_missing(&self) -> u64 {
        let number = |text: &String| -> u64 {
            let rest = text.split("taffrail: ").nth(1).unwrap();
            rest.split(' ').next().unwrap().parse().unwrap()
        };
        self.notices.iter().map(number).sum()
    }

    fn take(&mut self, line: &str) {
        // `<30>Nov 26 10:00:00 tag[pid]: o 0000000007 ...`
        let text = line.split_once("]: ").map_or(line, |(_, text)| text);
        let mut words = text.split(' ');
        match (words.next(), words.next().and_then(|n| n.parse().ok())) {
            (Some("o" | "e"), Some(number)) => self.numbers.push(number),
            (Some("taffrail:"), _) => self.notices.push(text.to_owned()),
            _ => self.others.push(text.to_owned()),
        }
    }
}

/// How the receiver treats who connects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Manner {
    Reads,
    /// Accepts connections and never reads.
    NeverReads,
}

/// See the module.
pub(crate) struct Receiver {
    pub(crate) port: u16,
    got: Arc<Mutex<Got>>,
    open: Option<Open>,
}

struct Open {
    acceptor: JoinHandle<()>,
    /// Set when it is to end.
    end: Arc<Mutex<bool>>,
    streams: Arc<Mutex<Vec<TcpStream>>>,
    readers: Arc<Mutex<Vec<JoinHandle<()>>>>,
}

impl Receiver {
    /// A port that nobody listens on.
    pub(crate) fn absent() -> Self {
        let port = TcpListener::bind("127.0.0.1:0")
            .and_then(|l| l.local_addr())
            .expect("a port")
            .port();
        Self {
            port,
            got: Arc::default(),
            open: None,
        }
    }

    pub(crate) fn listening(manner: Manner) -> Self {
        let mut this = Self::absent();
        this.open(manner);
        this
    }

    pub(crate) fn open(&mut self, manner: Manner) {
        assert!(self.open.is_none());
        let port = self.port;
        let listener = wait_for("the receiver's port", Duration::from_secs(10), || {
            TcpListener::bind(("127.0.0.1", port)).ok()
        });
        let end = Arc::new(Mutex::new(false));
        let streams: Arc<Mutex<Vec<TcpStream>>> = Arc::default();
        let readers: Arc<Mutex<Vec<JoinHandle<()>>>> = Arc::default();
        let (ended, got) = (Arc::clone(&end), Arc::clone(&self.got));
        let (kept, threads) = (Arc::clone(&streams), Arc::clone(&readers));
        let acceptor = std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if *ended.lock().unwrap() {
                    return;
                }
                kept.lock()
                    .unwrap()
                    .push(stream.try_clone().expect("a descriptor"));
                if manner == Manner::Reads {
                    let got = Arc::clone(&got);
                    let reader = std::thread::spawn(move || read(stream, &got));
                    threads.lock().unwrap().push(reader);
                }
            }
        });
        self.open = Some(Open {
            acceptor,
            end,
            streams,
            readers,
        });
    }

    /// Goes away: refuses connections, says goodbye on the open ones and reads them to their end, or with `rudely`
    /// drops them with whatever lies unread.
    pub(crate) fn close(&mut self, rudely: bool) {
        let Some(open) = self.open.take() else { return };
        *open.end.lock().unwrap() = true;
        // Wakes the acceptor.
        let _ = TcpStream::connect(("127.0.0.1", self.port));
        open.acceptor.join().unwrap();
        for stream in open.streams.lock().unwrap().drain(..) {
            let how = if rudely {
                Shutdown::Both
            } else {
                Shutdown::Write
            };
            let _ = stream.shutdown(how);
        }
        for reader in open.readers.lock().unwrap().drain(..) {
            reader.join().unwrap();
        }
    }

    pub(crate) fn got(&self) -> Got {
        self.got.lock().unwrap().clone()
    }

    /// Waits until so many different lines are here.
    pub(crate) fn wait_lines(&self, lines: u64, seconds: u64) -> Got {
        let what = format!("{lines} lines at the receiver");
        wait_for(&what, Duration::from_secs(seconds), || {
            let arrived = self.got.lock().unwrap().numbers.len() as u64;
            let got = (arrived >= lines).then(|| self.got())?;
            (got.count(u64::MAX).0 >= lines).then_some(got)
        })
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.close(true);
    }
}

fn read(stream: TcpStream, got: &Mutex<Got>) {
    let mut lines = BufReader::with_capacity(256 * 1024, stream);
    let mut line = Vec::new();
    loop {
        line.clear();
        match lines.by_ref().take(1 << 20).read_until(b'\n', &mut line) {
            Ok(0) | Err(_) => return,
            Ok(_) if line.pop() == Some(b'\n') => {
                got.lock().unwrap().take(&String::from_utf8_lossy(&line));
            }
            // Cut in the middle: the sender has to send it again.
            Ok(_) => return,
        }
    }
}
