//! A connection: one request with events at a time, so that they stay in order, and questions for acknowledgements beside it.

use std::collections::VecDeque;
use std::io::Write as _;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use tokio::task::JoinHandle;

use super::ack::Ledger;
use super::answer::{Answer, Verdict};
use super::client::{HecClient, Outcome};
use super::part::Part;
use crate::sink::{Batch, Connection, Failure, FailureKind, Limits, Rejected};

/// How long is waited before `cancelled` is asked again.
const SLICE: Duration = Duration::from_millis(100);

/// What a request led to.
enum Event {
    Posted(Outcome),
    Asked(Outcome),
}

/// A request under way. Given up when the connection is dropped: Splunk takes no request that is cut short.
struct Request(JoinHandle<()>);

impl Drop for Request {
    fn drop(&mut self) {
        self.0.abort();
    }
}

pub(super) struct HecConnection {
    client: HecClient,
    gzip: Option<u32>,
    ack: bool,
    ack_timeout: Duration,
    outcomes: (Sender<Event>, Receiver<Event>),
    /// what goes out next, in order; empty unless something was split, or a stop did not wait
    queue: VecDeque<Part>,
    posting: Option<(Part, Request)>,
    asking: Option<Request>,
    ledger: Ledger,
    sent: u64,
    /// the last number of `settled`
    told: u64,
    /// since then
    rejected: Vec<Rejected>,
}

impl HecConnection {
    pub(super) fn new(client: HecClient, gzip: Option<u32>, ack: bool, limits: &Limits) -> Self {
        Self {
            client,
            gzip,
            ack,
            ack_timeout: limits.ack_timeout,
            outcomes: channel(),
            queue: VecDeque::new(),
            posting: None,
            asking: None,
            ledger: Ledger::new(),
            sent: 0,
            told: 0,
            rejected: Vec::new(),
        }
    }

    /// Starts what can be started.
    fn start(&mut self) -> Result<(), Failure> {
        if self.posting.is_none()
            && let Some(part) = self.queue.pop_front()
        {
            let body = self.packed(part.body())?;
            let request =
                self.client
                    .post_events(body, self.gzip.is_some(), &self.outcomes.0, Event::Posted);
            self.posting = Some((part, Request(request)));
        }
        let due = self.ledger.next().is_some_and(|at| at <= Instant::now());
        if self.asking.is_none() && due {
            let question = self.ledger.question();
            let request = self
                .client
                .post_acks(question, &self.outcomes.0, Event::Asked);
            self.asking = Some(Request(request));
        }
        Ok(())
    }

    fn packed(&self, body: Bytes) -> Result<Bytes, Failure> {
        let Some(level) = self.gzip else {
            return Ok(body);
        };
        let mut encoder = GzEncoder::new(Vec::new(), Compression::new(level));
        encoder
            .write_all(&body)
            .and_then(|()| encoder.finish())
            .map(Bytes::from)
            .map_err(|error| {
                let why = format!("{}: cannot compress: {error}", self.client.address);
                Failure::new(FailureKind::Protocol, why)
            })
    }

    /// Starts what can be started and waits up to `wait` for one thing to happen.
    fn step(&mut self, wait: Duration) -> Result<(), Failure> {
        self.start()?;
        let asking = self.asking.is_some();
        let wait = match self.ledger.next() {
            Some(at) if !asking => wait.min(at.saturating_duration_since(Instant::now())),
            _ => wait,
        };
        match self.outcomes.1.recv_timeout(wait) {
            Ok(Event::Posted(outcome)) => self.posted(outcome?)?,
            Ok(Event::Asked(outcome)) => self.asked(outcome)?,
            // Both ends are ours: it is never disconnected.
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {}
        }
        if self.ledger.oldest() > Some(self.ack_timeout) {
            let why = format!(
                "{}: what Splunk has taken was not indexed within {:?}",
                self.client.address, self.ack_timeout
            );
            return Err(Failure::new(FailureKind::Timeout, why));
        }
        self.start()
    }

    fn posted(&mut self, answer: Answer) -> Result<(), Failure> {
        let Some((part, _request)) = self.posting.take() else {
            return Ok(());
        };
        match answer.verdict(&self.client.address, self.ack) {
            Verdict::Taken(id) => self.ledger.taken(part.end(), id),
            // Alone and still unwanted: it is this one. Splunk's number alone is not believed: for some errors it counts from 1.
            Verdict::Unwanted { reason, .. } if part.len() == 1 => {
                self.rejected.push(Rejected {
                    record: part.start(),
                    reason,
                });
                self.ledger.taken(part.end(), None);
            }
            Verdict::Unwanted { suspect, .. } => {
                for piece in part.split(suspect).into_iter().rev() {
                    self.queue.push_front(piece);
                }
            }
            Verdict::Failed(failure) => return Err(failure),
        }
        Ok(())
    }

    fn asked(&mut self, outcome: Outcome) -> Result<(), Failure> {
        self.asking = None;
        let failure = match outcome {
            Ok(answer) if answer.status == 200 && self.ledger.answer(&answer.body) => {
                return Ok(());
            }
            Ok(answer) => answer.failure(&self.client.address),
            Err(failure) => failure,
        };
        let passing = matches!(
            failure.kind,
            FailureKind::Busy(_) | FailureKind::Unreachable | FailureKind::Timeout
        );
        if passing && self.ledger.unanswered() {
            return Ok(());
        }
        Err(failure)
    }

    fn is_busy(&self) -> bool {
        self.posting.is_some() || !self.queue.is_empty()
    }
}

impl Connection for HecConnection {
    /// Waits for the answer to the batch before; returns with this one under way.
    fn send(&mut self, batch: &mut Batch, cancelled: &dyn Fn() -> bool) -> Result<(), Failure> {
        while self.is_busy() && !cancelled() {
            self.step(SLICE)?;
        }
        if batch.is_empty() {
            return Ok(());
        }
        let bytes = std::mem::take(&mut batch.bytes);
        self.queue
            .push_back(Part::whole(bytes, &batch.ends, self.sent));
        self.sent += batch.len() as u64;
        self.start()
    }

    fn settled(&mut self, wait: Duration, rejected: &mut Vec<Rejected>) -> Result<u64, Failure> {
        let until = Instant::now() + wait;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            self.step(if self.ledger.settled() > self.told {
                Duration::ZERO
            } else {
                left
            })?;
            let settled = self.ledger.settled();
            if settled > self.told || settled == self.sent || left.is_zero() {
                self.told = settled;
                // An unwanted record may be known before those that were sent earlier are indexed.
                rejected.extend(self.rejected.extract_if(.., |one| one.record < settled));
                return Ok(settled);
            }
        }
    }

    fn close(self: Box<Self>) -> u64 {
        // A rejected record that was not handed over must be found again.
        let first = self.rejected.first().map_or(u64::MAX, |one| one.record);
        self.ledger.settled().min(first).max(self.told)
    }
}
