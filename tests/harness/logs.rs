//! Reading a container's output back and judging it: by the docker CLI, by the API, from the json files.

use std::io::Read;
use std::path::Path;
use std::process::Child;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::judge::{Judge, Verdict};
use super::{Daemon, Run, command, http};

/// Both streams judged.
#[derive(Debug)]
pub(crate) struct Both {
    pub(crate) out: Verdict,
    pub(crate) err: Verdict,
}

impl Both {
    #[track_caller]
    pub(crate) fn assert_complete(&self, out: u64, err: u64, what: &str) {
        self.out.assert_complete(out, &format!("{what}, stdout"));
        self.err.assert_complete(err, &format!("{what}, stderr"));
    }
}

/// `docker logs ARGS ID` judged as it comes; it must succeed.
#[track_caller]
pub(crate) fn cli(daemon: &Daemon, id: &str, args: &[&str], seconds: u64) -> Both {
    follow(daemon, id, args, ('o', 'e')).join(seconds)
}

/// A running `docker logs`.
#[derive(Debug)]
pub(crate) struct Follower {
    child: Child,
    code: i32,
    readers: Vec<JoinHandle<Judge>>,
}

/// Starts `docker logs ARGS ID` and judges what it prints.
#[track_caller]
pub(crate) fn follow(daemon: &Daemon, id: &str, args: &[&str], letters: (char, char)) -> Follower {
    let mut words = vec!["logs"];
    words.extend(args);
    words.push(id);
    watch(daemon.docker(&words), letters, 0)
}

/// Starts a created container with `docker start -a` and judges what that prints; it ends with the container's code.
#[track_caller]
pub(crate) fn attached(daemon: &Daemon, id: &str, code: i32) -> Follower {
    watch(daemon.docker(["start", "-a", id]), ('o', 'e'), code)
}

fn watch(run: Run, letters: (char, char), code: i32) -> Follower {
    let mut child = run.spawn();
    drop(child.stdin.take());
    let out = child.stdout.take().expect("stdout is piped");
    let err = child.stderr.take().expect("stderr is piped");
    let readers = vec![judged(out, letters.0), judged(err, letters.1)];
    Follower {
        child,
        code,
        readers,
    }
}

fn judged(mut pipe: impl Read + Send + 'static, letter: char) -> JoinHandle<Judge> {
    std::thread::spawn(move || {
        let mut judge = Judge::new(letter);
        let mut buffer = vec![0; 1 << 16];
        while let Ok(n) = pipe.read(&mut buffer) {
            if n == 0 {
                break;
            }
            judge.feed(&buffer[..n]);
        }
        judge
    })
}

impl Follower {
    /// Waits for its end by itself.
    #[track_caller]
    pub(crate) fn join(mut self, seconds: u64) -> Both {
        let code = command::wait(&mut self.child, Duration::from_secs(seconds));
        if code.is_none() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
        let mut judges = self
            .readers
            .into_iter()
            .map(|reader| reader.join().expect("a judge").finish());
        let out = judges.next().expect("stdout's judge");
        let err = judges.next().expect("stderr's judge");
        assert_eq!(
            code,
            Some(self.code),
            "the client (within {seconds} s); stdout: {out}; stderr: {err}"
        );
        Both { out, err }
    }
}

/// The json files of a container, oldest first, decoded and judged. `first` is the number expected first.
#[track_caller]
pub(crate) fn json_files(daemon: &Daemon, id: &str) -> Both {
    json(&daemon.json_log(id))
}

#[track_caller]
pub(crate) fn json(bytes: &[u8]) -> Both {
    let mut out = Judge::new('o');
    let mut err = Judge::new('e');
    for (number, line) in bytes.split_inclusive(|byte| *byte == b'\n').enumerate() {
        let record: Record = serde_json::from_slice(line).unwrap_or_else(|error| {
            panic!(
                "record {number}: {error}: {}",
                String::from_utf8_lossy(&line[..line.len().min(300)])
            )
        });
        match record.stream.as_ref() {
            "stdout" => out.feed(record.log.as_bytes()),
            "stderr" => err.feed(record.log.as_bytes()),
            other => panic!("record {number}: stream {other}"),
        }
    }
    Both {
        out: out.finish(),
        err: err.finish(),
    }
}

/// One record of a json file.
#[derive(Debug, serde::Deserialize)]
pub(crate) struct Record {
    #[serde(default)]
    pub(crate) log: String,
    pub(crate) stream: String,
    pub(crate) time: String,
}

/// Follows by the API through every loss of the connection: each time it asks for everything again and checks that
/// what came before is the same, which a follower that goes on from where it stood could not.
#[derive(Debug)]
pub(crate) struct Reconnecting {
    thread: JoinHandle<(u64, Vec<String>)>,
    /// Connections that ended other than by the container's end.
    pub(crate) cuts: Arc<AtomicU64>,
}

/// Follows stdout until the container's end, ten minutes at most.
pub(crate) fn reconnecting(socket: &Path, id: &str) -> Reconnecting {
    let cuts = Arc::new(AtomicU64::new(0));
    let socket = socket.to_owned();
    let path = format!("/containers/{id}/logs?stdout=1&follow=1");
    let thread = std::thread::spawn({
        let cuts = Arc::clone(&cuts);
        move || {
            let mut most = 0;
            let mut findings = Vec::new();
            let end = Instant::now() + Duration::from_secs(600);
            while Instant::now() < end {
                let opened = http::open(&socket, "GET", &path, &[], None, Duration::from_secs(30));
                let Ok(mut stream) = opened else {
                    std::thread::sleep(Duration::from_millis(5));
                    continue;
                };
                if stream.status != 200 {
                    findings.push(format!("status {}", stream.status));
                    break;
                }
                let mut judge = Judge::new('o');
                let whole = frames_into(&mut stream, &mut judge);
                most = most.max(judge.lines());
                let next = judge.next();
                let lines = judge.lines();
                let verdict = judge.finish();
                // A cut may fall within a line; only that one may be torn.
                if verdict.missing > 0 || verdict.doubled > 0 || verdict.torn > u64::from(!whole) {
                    findings.push(format!("{verdict}"));
                }
                if lines != next {
                    findings.push(format!("{lines} lines up to number {next}"));
                }
                if whole {
                    break;
                }
                cuts.fetch_add(1, Ordering::Relaxed);
            }
            (most, findings)
        }
    });
    Reconnecting { thread, cuts }
}

/// Feeds multiplexed frames until the stream ends; true if it ended as HTTP says.
fn frames_into(stream: &mut http::Streaming, judge: &mut Judge) -> bool {
    let mut pending = Vec::new();
    let mut buffer = vec![0; 1 << 16];
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => return true,
            Ok(n) => pending.extend_from_slice(&buffer[..n]),
            Err(_) => return false,
        }
        let mut from = 0;
        while pending.len() - from >= 8 {
            let head = &pending[from..from + 8];
            let length = u32::from_be_bytes([head[4], head[5], head[6], head[7]]) as usize;
            if pending.len() - from < 8 + length {
                break;
            }
            judge.feed(&pending[from + 8..from + 8 + length]);
            from += 8 + length;
        }
        pending.drain(..from);
    }
}

impl Reconnecting {
    /// Waits for the container's end; the lines that the last whole stream had.
    #[track_caller]
    pub(crate) fn finish(self) -> u64 {
        let (lines, findings) = self.thread.join().expect("a follower");
        assert!(
            findings.is_empty(),
            "a follower that reconnects: {}",
            findings.join("\n")
        );
        lines
    }
}
