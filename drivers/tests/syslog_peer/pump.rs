//! Delivers numbered records as the engine does: batches, a window, and after a failure again from what was settled.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use taffrail_drivers::sink::{
    Batch, Connection, Destination, Encoded, Encoder, Environment, Failure, Record, SinkSettings,
    Stream,
};
use taffrail_drivers::{ContainerFacts, validate};

use super::DEADLINE;

pub(crate) const ID: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
/// 2023-11-14T22:13:20.123456789Z
pub(crate) const TIME: i64 = 1_700_000_000_123_456_789;

pub(crate) struct Pump {
    pub(crate) destination: Destination,
    encoder: Box<dyn Encoder>,
    pub(crate) per_batch: usize,
    pub(crate) failures: Vec<Failure>,
    /// bytes behind the number
    pub(crate) padding: usize,
}

pub(crate) fn settings(options: &[(&str, &str)]) -> std::sync::Arc<dyn SinkSettings> {
    let map: BTreeMap<_, _> = options
        .iter()
        .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
        .collect();
    let found = validate("syslog", &map).unwrap();
    std::sync::Arc::clone(&found.sinks()[0].settings)
}

impl Pump {
    pub(crate) fn new(options: &[(&str, &str)]) -> Self {
        let settings = settings(options);
        let container = ContainerFacts {
            id: ID,
            name: "/web",
            hostname: "node1",
            ..ContainerFacts::default()
        };
        Self {
            destination: settings.destination(&Environment::default()).unwrap(),
            encoder: settings.encoder(&container).unwrap(),
            per_batch: 500,
            failures: Vec::new(),
            padding: 0,
        }
    }

    pub(crate) fn connect(&self) -> Result<Box<dyn Connection>, Failure> {
        self.destination.opener.open(&mut |_| ())
    }

    /// Connects; tries again until the server is there.
    pub(crate) fn connect_patiently(&self) -> Box<dyn Connection> {
        let mut last = None;
        let end = Instant::now() + DEADLINE;
        while Instant::now() < end {
            match self.connect() {
                Ok(connection) => return connection,
                Err(failure) => last = Some(failure),
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        panic!("no connection: {last:?}");
    }

    pub(crate) fn batch(&mut self, from: u64, to: u64) -> Batch {
        let mut batch = Batch::default();
        for n in from..to {
            let line = format!("line {n:08} {}", "x".repeat(self.padding));
            let record = Record {
                epoch: 1,
                seq: n,
                time_ns: TIME,
                stream: Stream::Stdout,
                line: line.as_bytes(),
                partial: None,
            };
            assert_eq!(self.encoder.encode(&record, &mut batch.bytes), Encoded::Yes);
            batch.ends.push(batch.bytes.len() as u32);
        }
        batch
    }

    /// Sends records `from..to` until all are settled. `at` hears of progress.
    pub(crate) fn run(&mut self, from: u64, to: u64, mut at: impl FnMut(u64)) {
        let end = Instant::now() + DEADLINE;
        let mut cursor = from;
        while cursor < to {
            let connection = self.connect_patiently();
            let (settled, failure) = self.session(connection, cursor, to, end, &mut at);
            cursor += settled;
            if let Some(failure) = failure {
                self.failures.push(failure);
            }
        }
    }

    fn session(
        &mut self,
        mut connection: Box<dyn Connection>,
        from: u64,
        to: u64,
        end: Instant,
        at: &mut impl FnMut(u64),
    ) -> (u64, Option<Failure>) {
        let window = self.destination.limits.window;
        let per_batch = self.per_batch.min(self.destination.limits.batch_records) as u64;
        let (mut sent, mut settled) = (from, 0);
        let mut open = VecDeque::new();
        let mut rejected = Vec::new();
        let late = || Instant::now() > end;
        while from + settled < to {
            assert!(!late(), "{settled} records settled");
            let mut wait = Duration::from_secs(1);
            if sent < to && open.len() < window {
                let next = (sent + per_batch).min(to);
                let mut batch = self.batch(sent, next);
                sent = next;
                open.push_back(sent - from);
                if let Err(failure) = connection.send(&mut batch, &late) {
                    return (connection.close(), Some(failure));
                }
                wait = Duration::ZERO;
            }
            match connection.settled(wait, &mut rejected) {
                Ok(total) => settled = total,
                Err(failure) => return (connection.close(), Some(failure)),
            }
            assert!(rejected.is_empty(), "{rejected:?}");
            while open.front().is_some_and(|end| *end <= settled) {
                open.pop_front();
            }
            at(from + settled);
        }
        assert_eq!(connection.close(), to - from);
        (to - from, None)
    }
}

/// The numbers of lines, in order of arrival.
pub(crate) fn numbers(lines: &[String]) -> Vec<u64> {
    let number = |line: &String| {
        let at = line.find("line ")? + 5;
        line.get(at..at + 8)?.parse().ok()
    };
    lines.iter().filter_map(number).collect()
}
