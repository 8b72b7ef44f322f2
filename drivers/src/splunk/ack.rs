//! Indexer acknowledgement: when to ask, and what is known.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use serde::Deserialize;

/// First and longest pause between questions.
const PAUSES: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));
/// Questions in a row that may fail: what was taken can be indexed all the same, and would be there twice if it were sent again.
const MAX_FAILURES: u32 = 3;

/// Events that Splunk has taken, or refused for good, in the order in which they were sent.
#[derive(Debug)]
struct Entry {
    /// number behind the last event
    end: u64,
    since: Instant,
    /// the number to ask for, until it is indexed
    id: Option<u64>,
}

/// What is settled, and what Splunk has yet to index.
#[derive(Debug)]
pub(super) struct Ledger {
    entries: VecDeque<Entry>,
    settled: u64,
    pause: Duration,
    next: Instant,
    failures: u32,
}

#[derive(Deserialize)]
struct Acks {
    acks: HashMap<String, bool>,
}

impl Ledger {
    pub(super) fn new() -> Self {
        Self {
            entries: VecDeque::new(),
            settled: 0,
            pause: PAUSES.0,
            next: Instant::now(),
            failures: 0,
        }
    }

    /// Events up to `end` were taken; with a number if they are to be asked for.
    pub(super) fn taken(&mut self, end: u64, id: Option<u64>) {
        if id.is_some() && !self.is_waiting() {
            self.pause = PAUSES.0;
            self.next = Instant::now() + self.pause;
        }
        self.entries.push_back(Entry {
            end,
            since: Instant::now(),
            id,
        });
        self.advance();
    }

    fn advance(&mut self) {
        while let Some(entry) = self.entries.front().filter(|entry| entry.id.is_none()) {
            self.settled = entry.end;
            self.entries.pop_front();
        }
    }

    /// Number of events settled.
    pub(super) fn settled(&self) -> u64 {
        self.settled
    }

    /// Whether Splunk has yet to index something.
    pub(super) fn is_waiting(&self) -> bool {
        !self.entries.is_empty()
    }

    /// When to ask next, if there is something to ask for.
    pub(super) fn next(&self) -> Option<Instant> {
        self.is_waiting().then_some(self.next)
    }

    /// How long the oldest has been waiting.
    pub(super) fn oldest(&self) -> Option<Duration> {
        self.entries.front().map(|entry| entry.since.elapsed())
    }

    /// The question.
    pub(super) fn question(&self) -> String {
        let ids: Vec<_> = self.entries.iter().filter_map(|entry| entry.id).collect();
        serde_json::json!({ "acks": ids }).to_string()
    }

    /// Its answer; false if it is none.
    pub(super) fn answer(&mut self, body: &[u8]) -> bool {
        let Ok(answer) = serde_json::from_slice::<Acks>(body) else {
            return false;
        };
        self.failures = 0;
        let mut progress = false;
        for entry in &mut self.entries {
            let indexed = entry
                .id
                .is_some_and(|id| answer.acks.get(&id.to_string()) == Some(&true));
            if indexed {
                entry.id = None;
                progress = true;
            }
        }
        self.advance();
        self.pause = match progress {
            true => PAUSES.0,
            false => (self.pause * 2).min(PAUSES.1),
        };
        self.next = Instant::now() + self.pause;
        true
    }

    /// A question that was not answered; whether to ask again.
    pub(super) fn unanswered(&mut self) -> bool {
        self.failures += 1;
        self.next = Instant::now() + PAUSES.1;
        self.failures < MAX_FAILURES
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settled_in_order() {
        let mut ledger = Ledger::new();
        assert!(ledger.next().is_none());
        ledger.taken(10, Some(0));
        ledger.taken(11, None);
        ledger.taken(20, Some(1));
        assert_eq!(ledger.settled(), 0);
        assert_eq!(ledger.question(), r#"{"acks":[0,1]}"#);
        assert!(ledger.answer(br#"{"acks":{"0":false,"1":true}}"#));
        assert_eq!(ledger.settled(), 0);
        assert_eq!(ledger.question(), r#"{"acks":[0]}"#);
        assert!(!ledger.answer(b"<html>"));
        assert!(ledger.unanswered());
        assert!(ledger.answer(br#"{"acks":{"0":true}}"#));
        assert_eq!(ledger.settled(), 20);
        assert!(!ledger.is_waiting());
        ledger.taken(21, None);
        assert_eq!(ledger.settled(), 21);
    }

    #[test]
    fn asks_ever_less_often() {
        let mut ledger = Ledger::new();
        ledger.taken(1, Some(7));
        for _ in 0..10 {
            assert!(ledger.answer(br#"{"acks":{"7":false}}"#));
        }
        assert_eq!(ledger.pause, PAUSES.1);
        assert!(ledger.unanswered() && ledger.unanswered() && !ledger.unanswered());
    }
}
