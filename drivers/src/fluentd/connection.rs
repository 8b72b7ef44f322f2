//! Batches as messages of the forward protocol, and what counts as accepted.
//!
//! A small batch goes out as Docker's messages, a larger one as `PackedForward`. Where the receiver acknowledges, a record is accepted when its
//! message is. Whether it does is found out with the first larger amount: a message with a chunk's id, which a receiver that does not
//! acknowledge ignores. Until that is known, nothing counts as accepted, unless no more records come for a while; where there are no
//! acknowledgements, the kernel's count.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::acks::{Acks, Learned};
use super::frame::{self, ID, Ids};
use super::value;
use crate::sink::{Batch, Connection, Failure, FailureKind, Rejected};
use crate::transport::AckedStream;

/// A batch of so many records is packed.
const PACKED: usize = 16;
/// After so many records or batches the receiver is asked whether it acknowledges.
const ASK_RECORDS: u64 = 64;
const ASK_BATCHES: u64 = 30;
/// How long the answer is waited for.
const ASK_TIMEOUT: Duration = Duration::from_secs(2);
/// Without new records for so long, what the kernel has acknowledged counts.
const QUIET: Duration = Duration::from_secs(1);
/// Between two looks.
const STEP: Duration = Duration::from_millis(2);

/// A message under way.
#[derive(Debug)]
struct Message {
    id: Option<[u8; ID]>,
    /// Records of the connection up to its end.
    records: u64,
    acked: bool,
    sent: Instant,
}

/// A connected receiver.
pub(super) struct Forward {
    stream: AckedStream,
    address: String,
    gzip: bool,
    ack_timeout: Duration,
    learned: Arc<Learned>,
    acks: Acks,
    /// When the receiver was asked.
    asked: Option<Instant>,
    ids: Ids,
    /// Bytes as they go out.
    wire: Batch,
    messages: VecDeque<Message>,
    /// Messages that are no longer in `messages`, and their records.
    done: u64,
    settled: u64,
    /// Of the connection.
    records: u64,
    batches: u64,
    last_send: Instant,
    said: Vec<u8>,
}

impl Forward {
    pub(super) fn new(
        mut stream: AckedStream,
        address: String,
        request_ack: bool,
        gzip: bool,
        ack_timeout: Duration,
        learned: Arc<Learned>,
    ) -> Result<Self, Failure> {
        stream.keep_said();
        let ids = Ids::new().map_err(|error| Failure::new(FailureKind::Protocol, error))?;
        Ok(Self {
            stream,
            address,
            gzip,
            ack_timeout,
            acks: if request_ack {
                Acks::Yes
            } else {
                learned.get()
            },
            learned,
            asked: None,
            ids,
            wire: Batch::default(),
            messages: VecDeque::new(),
            done: 0,
            settled: 0,
            records: 0,
            batches: 0,
            last_send: Instant::now(),
            said: Vec::new(),
        })
    }

    fn message(&mut self, records: u64, id: Option<[u8; ID]>) {
        self.records += records;
        self.wire
            .ends
            .push(u32::try_from(self.wire.bytes.len()).unwrap_or(u32::MAX));
        self.messages.push_back(Message {
            id,
            records: self.records,
            acked: false,
            sent: Instant::now(),
        });
    }

    /// Hears what the receiver says.
    fn hear(&mut self) -> Result<(), Failure> {
        self.said.extend(self.stream.take_said());
        let protocol = |text: String| Failure::new(FailureKind::Protocol, text);
        loop {
            let found = value::first(&self.said).map_err(|why| {
                protocol(format!(
                    "{} does not speak the forward protocol: {why}",
                    self.address
                ))
            })?;
            let Some((value, length)) = found else {
                return Ok(());
            };
            self.said.drain(..length);
            if let Some(ack) = value.get("ack") {
                let message = self
                    .messages
                    .iter_mut()
                    .find(|message| message.id.is_some_and(|id| id[..] == *ack.bytes()));
                // One that is not known was for a connection before this.
                if let Some(message) = message {
                    message.acked = true;
                    self.acks = Acks::Yes;
                    self.learned.put(true);
                }
            } else if value.named("HELO").is_some() {
                return Err(Failure::new(
                    FailureKind::Denied,
                    format!(
                        "{} asks for a shared key: set fluentd-shared-key",
                        self.address
                    ),
                ));
            }
        }
    }

    /// Moves on what is settled; `units` messages were acknowledged by the kernel.
    fn advance(&mut self, units: u64) -> Result<(), Failure> {
        if self.acks == Acks::Unknown
            && let Some(asked) = self.asked
            && asked.elapsed() > ASK_TIMEOUT.min(self.ack_timeout)
        {
            self.acks = Acks::No;
            self.learned.put(false);
        }
        let quiet = self.last_send.elapsed() > QUIET;
        while let Some(message) = self.messages.front() {
            let by_kernel = self.done < units;
            let accepted = match (self.acks, message.id) {
                (Acks::Yes, Some(_)) => message.acked,
                // Sent before it was known.
                (Acks::Yes | Acks::No, _) => by_kernel,
                (Acks::Unknown, _) => by_kernel && quiet && self.asked.is_none(),
            };
            if !accepted {
                break;
            }
            self.settled = message.records;
            self.done += 1;
            self.messages.pop_front();
        }
        match self.messages.front() {
            Some(message)
                if self.acks == Acks::Yes
                    && message.id.is_some()
                    && message.sent.elapsed() > self.ack_timeout =>
            {
                self.learned.forget();
                Err(Failure::new(
                    FailureKind::Timeout,
                    format!(
                        "{} has acknowledged nothing for {} s",
                        self.address,
                        self.ack_timeout.as_secs()
                    ),
                ))
            }
            _ => Ok(()),
        }
    }
}

impl Connection for Forward {
    fn send(&mut self, batch: &mut Batch, cancelled: &dyn Fn() -> bool) -> Result<(), Failure> {
        let asks = self.acks == Acks::Unknown
            && self.asked.is_none()
            && (self.records >= ASK_RECORDS || self.batches >= ASK_BATCHES);
        if asks {
            self.asked = Some(Instant::now());
        }
        let with_id =
            self.acks == Acks::Yes || (self.acks == Acks::Unknown && self.asked.is_some());
        let tag = batch.scope.as_deref().unwrap_or_default();
        self.wire.clear();
        if batch.len() < PACKED && !asks {
            for entry in batch.records() {
                let id = with_id.then(|| self.ids.next());
                frame::message(&mut self.wire.bytes, tag, entry, id.as_ref());
                self.message(1, id);
            }
        } else {
            let id = with_id.then(|| self.ids.next());
            frame::packed(
                &mut self.wire.bytes,
                tag,
                &batch.bytes,
                batch.len(),
                id.as_ref(),
                self.gzip,
            );
            self.message(batch.len() as u64, id);
        }
        self.batches += 1;
        self.last_send = Instant::now();
        self.stream.write_batch(&self.wire, cancelled)
    }

    fn settled(&mut self, wait: Duration, _: &mut Vec<Rejected>) -> Result<u64, Failure> {
        let until = Instant::now() + wait;
        let before = self.settled;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let units = self.stream.settled(left.min(STEP));
            // What it said before it went away counts.
            let heard = self.hear();
            let units = match units {
                Ok(units) => units,
                Err(failure) => {
                    self.advance(self.stream.accepted())?;
                    if self.settled > before {
                        return Ok(self.settled);
                    }
                    return Err(heard.err().unwrap_or(failure));
                }
            };
            heard?;
            let advanced = self.advance(units);
            if self.settled > before || left.is_zero() {
                return match advanced {
                    Err(failure) if self.settled == before => Err(failure),
                    _ => Ok(self.settled),
                };
            }
            advanced?;
        }
    }

    fn close(self: Box<Self>) -> u64 {
        self.settled
    }
}
