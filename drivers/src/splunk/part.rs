//! Events that go out in one request: a batch, or a part of one after Splunk has refused it.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;

/// A run of a batch's events.
#[derive(Clone, Debug)]
pub(super) struct Part {
    bytes: Bytes,
    /// of the whole batch
    ends: Arc<[u32]>,
    /// of the batch's first event, from the connection's begin
    first: u64,
    /// which of them
    range: Range<usize>,
}

impl Part {
    /// A whole batch.
    pub(super) fn whole(bytes: Vec<u8>, ends: &[u32], first: u64) -> Self {
        Self {
            bytes: bytes.into(),
            ends: ends.into(),
            first,
            range: 0..ends.len(),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.range.len()
    }

    /// Number of its first event on the connection.
    pub(super) fn start(&self) -> u64 {
        self.first + self.range.start as u64
    }

    /// Number behind its last event.
    pub(super) fn end(&self) -> u64 {
        self.first + self.range.end as u64
    }

    /// The events, one behind the other.
    pub(super) fn body(&self) -> Bytes {
        let offset = |event: usize| match event {
            0 => 0,
            event => self.ends[event - 1] as usize,
        };
        self.bytes
            .slice(offset(self.range.start)..offset(self.range.end))
    }

    /// In pieces, in order; none of them empty. With a suspect, that one is alone; otherwise halves. The same again if there is but one event.
    pub(super) fn split(&self, suspect: Option<u64>) -> Vec<Self> {
        let Range { start, end } = self.range;
        let suspect = suspect
            .and_then(|n| usize::try_from(n).ok())
            .filter(|&n| n < self.len());
        let cuts = match suspect {
            Some(n) => [start, start + n, start + n + 1, end],
            None => [start, start + self.len() / 2, end, end],
        };
        cuts.windows(2)
            .filter(|cut| cut[0] < cut[1])
            .map(|cut| Self {
                range: cut[0]..cut[1],
                ..self.clone()
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bodies(parts: &[Part]) -> Vec<&str> {
        parts
            .iter()
            .map(|part| {
                let body = part.body();
                let text = std::str::from_utf8(&body).unwrap().to_owned();
                &*text.leak()
            })
            .collect()
    }

    #[test]
    fn splits_keep_order_and_all_events() {
        let part = Part::whole(b"abbcccdddd".to_vec(), &[1, 3, 6, 10], 100);
        assert_eq!((part.start(), part.end(), part.len()), (100, 104, 4));
        assert_eq!(bodies(&part.split(None)), ["abb", "cccdddd"]);
        assert_eq!(bodies(&part.split(Some(2))), ["abb", "ccc", "dddd"]);
        assert_eq!(bodies(&part.split(Some(0))), ["a", "bbcccdddd"]);
        assert_eq!(bodies(&part.split(Some(3))), ["abbccc", "dddd"]);
        assert_eq!(bodies(&part.split(Some(9))), ["abb", "cccdddd"]);
        let right = &part.split(None)[1];
        assert_eq!((right.start(), right.end()), (102, 104));
        assert_eq!(bodies(&right.split(Some(0))), ["ccc", "dddd"]);
        assert_eq!(bodies(&right.split(None)[0].split(None)), ["ccc"]);
    }
}
