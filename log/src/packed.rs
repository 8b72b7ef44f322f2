//! The form in which records are handed on within the process: a fixed head, then the bytes. Not
//! stored and not sent, so it has no version.

use crate::gap::Gap;
use crate::json::Stream;
use crate::ndjson::Meta;
use crate::query::Cursor;
use crate::time::Moment;

/// Bytes before each payload.
const HEAD: usize = 56;
/// Kinds of items beside the two streams.
const GAP: u8 = 3;
/// Flags of a record.
const HAS_CURSOR: u8 = 1;
const HAS_CHAIN: u8 = 2;
const LAST: u8 = 4;
/// In place of a number that is not known.
const UNKNOWN: u64 = u64::MAX;

/// What a reader with [`Format::packed`](crate::Format::packed) has put out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Item<'a> {
    /// A record, or a piece of a long line.
    Record {
        stream: Stream,
        /// Nanoseconds since 1970.
        time: i64,
        /// `None` if the log's numbers are not known.
        cursor: Option<Cursor>,
        /// Of a piece: its ordinal from 1, the place of the line's first piece, whether it is the
        /// last. json-file does not say.
        chain: Option<(u32, Cursor, bool)>,
        /// With its newline, if it has one.
        line: &'a [u8],
    },
    /// Records that are missing; unknown values are `None`.
    Gap {
        records: Option<u64>,
        bytes: Option<u64>,
        /// Times of the records before and after it.
        from: Option<i64>,
        to: Option<i64>,
        cause: &'a str,
    },
}

/// The first item of a buffer, and how many bytes it takes; `None` if there is no whole one.
#[must_use]
#[inline]
pub fn next(bytes: &[u8]) -> Option<(Item<'_>, usize)> {
    let (head, rest) = bytes.split_first_chunk::<HEAD>()?;
    let word = |at: usize| {
        let mut word = [0; 8];
        word.copy_from_slice(&head[at..at + 8]);
        u64::from_le_bytes(word)
    };
    let first = word(0);
    let payload = rest.get(..first as u32 as usize)?;
    let size = HEAD + payload.len();
    let (kind, flags) = ((first >> 32) as u8, (first >> 40) as u8);
    if kind == GAP {
        let known = |at: usize| Some(word(at)).filter(|n| *n != UNKNOWN);
        let gap = Item::Gap {
            records: known(16),
            bytes: known(24),
            from: known(32).map(u64::cast_signed),
            to: known(40).map(u64::cast_signed),
            cause: std::str::from_utf8(payload).unwrap_or_default(),
        };
        return Some((gap, size));
    }
    let cursor = |at: usize| Cursor {
        epoch: word(at),
        seq: word(at + 8),
    };
    let record = Item::Record {
        stream: if kind == Stream::Stderr as u8 {
            Stream::Stderr
        } else {
            Stream::Stdout
        },
        time: word(8).cast_signed(),
        cursor: (flags & HAS_CURSOR != 0).then(|| cursor(16)),
        chain: (flags & HAS_CHAIN != 0).then(|| {
            let last = flags & LAST != 0;
            (word(48) as u32, cursor(32), last)
        }),
        line: payload,
    };
    Some((record, size))
}

/// The text of missing records: `taffrail: N records (B bytes) missing T1..T2: cause`.
#[must_use]
pub fn gap_text(
    records: Option<u64>,
    bytes: Option<u64>,
    from: Option<i64>,
    to: Option<i64>,
    cause: &str,
) -> Vec<u8> {
    let gap = Gap {
        records,
        bytes,
        from: from.map(Moment::from_ns),
        to: to.map(Moment::from_ns),
        cause: cause.to_owned().into(),
    };
    let mut text = gap.message();
    text.pop();
    text
}

/// Where the head of an item is that is not complete yet.
pub(crate) fn begin(out: &mut Vec<u8>) -> usize {
    let at = out.len();
    out.extend_from_slice(&[0; HEAD]);
    at
}

/// Completes the record whose head is at `at`.
pub(crate) fn end(meta: &Meta, at: usize, out: &mut [u8]) {
    let length = (out.len() - at - HEAD) as u64;
    let mut flags = 0;
    let mut put = |word: usize, value: u64| {
        out[at + word..at + word + 8].copy_from_slice(&value.to_le_bytes());
    };
    put(8, meta.time.ns().cast_unsigned());
    if let Some(cursor) = meta.cursor {
        flags |= HAS_CURSOR;
        put(16, cursor.epoch);
        put(24, cursor.seq);
    }
    if let Some((ordinal, first, last)) = meta.chain {
        flags |= HAS_CHAIN | if last { LAST } else { 0 };
        put(32, first.epoch);
        put(40, first.seq);
        put(48, ordinal.into());
    }
    put(
        0,
        length | u64::from(meta.stream as u8) << 32 | u64::from(flags) << 40,
    );
}

/// Appends missing records.
pub(crate) fn gap(gap: &Gap, out: &mut Vec<u8>) {
    let at = begin(out);
    out.extend_from_slice(gap.cause.as_bytes());
    let time = |m: Option<Moment>| m.map_or(UNKNOWN, |m| m.ns().cast_unsigned());
    let words = [
        gap.cause.len() as u64 | u64::from(GAP) << 32,
        0,
        gap.records.unwrap_or(UNKNOWN),
        gap.bytes.unwrap_or(UNKNOWN),
        time(gap.from),
        time(gap.to),
    ];
    for (n, word) in words.iter().enumerate() {
        out[at + 8 * n..at + 8 * n + 8].copy_from_slice(&word.to_le_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_and_back() {
        let mut out = Vec::new();
        let cursor = Cursor { epoch: 2, seq: 7 };
        let meta = Meta {
            stream: Stream::Stderr,
            time: Moment::from_ns(-5),
            cursor: Some(cursor),
            chain: Some((3, Cursor { epoch: 1, seq: 5 }, true)),
        };
        let at = begin(&mut out);
        out.extend_from_slice(b"a\0b\n");
        end(&meta, at, &mut out);
        gap(
            &Gap {
                records: Some(4),
                bytes: None,
                from: Some(Moment::from_ns(1)),
                to: None,
                cause: "why".into(),
            },
            &mut out,
        );
        let mut found = Vec::new();
        let mut at = 0;
        while let Some((item, size)) = next(&out[at..]) {
            found.push(item);
            at += size;
        }
        assert_eq!(
            found,
            [
                Item::Record {
                    stream: Stream::Stderr,
                    time: -5,
                    cursor: Some(cursor),
                    chain: meta.chain,
                    line: b"a\0b\n",
                },
                Item::Gap {
                    records: Some(4),
                    bytes: None,
                    from: Some(1),
                    to: None,
                    cause: "why",
                },
            ]
        );
        assert_eq!(next(&out[..HEAD + 3]), None);
    }
}
