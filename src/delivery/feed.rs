//! From a container's log to encoded records: one reader a sink, opened when there is something to
//! send.

use std::sync::Arc;
use std::time::Instant;

use sha2::{Digest as _, Sha256};
use taffrail_drivers::sink::{Batch, Encoded, Encoder, Partial, Record, Stream};
use taffrail_log::packed::{self, Item};
use taffrail_log::{
    CommitSource, Cursor, Format, LogFiles, Query, ReadError, Reader, Step, Stream as LogStream,
};

use super::BEGIN;
use super::part::Part;
use crate::supervisor::Capture;

/// How the reader puts records out.
const FORMAT: Format = Format {
    packed: true,
    multiplexed: false,
    timestamps: false,
    details: false,
    coalesce: false,
    ndjson: false,
};

/// Records that were read and not encoded yet. One a lane, so that memory does not grow with the
/// number of sinks.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    pub(super) items: Vec<u8>,
    pub(super) at: usize,
    /// Number of the log file that the first of them lies in.
    pub(super) file: u64,
}

impl Scratch {
    pub(super) fn is_empty(&self) -> bool {
        self.at >= self.items.len()
    }
    pub(super) fn clear(&mut self) {
        self.items.clear();
        self.at = 0;
    }
}

/// What a batch may still take.
#[derive(Clone, Copy, Debug)]
pub(super) struct Room {
    pub(super) bytes: usize,
    pub(super) records: usize,
    /// Records older than this (nanoseconds since 1970) are not sent any more.
    pub(super) oldest: Option<i64>,
}

/// How a fill ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Filled {
    /// The batch is full.
    Full,
    /// All that is committed was read; more is there when the commit number is greater.
    CaughtUp { commit: u64 },
    /// Everything was read, and without a new run there will be no more.
    End,
    /// Only records that are too old were read, and they stand before others: they are passed
    /// whether or not the receiver is there. There is more.
    Aged,
}

/// An unfinished line of a stream.
#[derive(Clone, Copy, Debug)]
struct Chain {
    first: Cursor,
    ordinal: u32,
    time: i64,
}

/// Records that are passed over because of their age.
#[derive(Clone, Copy, Debug)]
struct Aged {
    records: u64,
    bytes: u64,
    from: i64,
    to: i64,
    cursor: Option<Cursor>,
}

/// Reader and encoder of one sink.
pub(super) struct Feed {
    container: String,
    files: LogFiles,
    capture: Option<Arc<Capture>>,
    reader: Option<Reader>,
    encoder: Box<dyn Encoder>,
    /// The last record that was read (not: sent).
    read_to: Option<Cursor>,
    chains: [Option<Chain>; 2],
    /// Text of the last line's id, and whose it is.
    id: (Cursor, String),
    /// Not told of yet.
    aged: Option<Aged>,
    /// Told of in a record that may not have been accepted.
    told: Option<Aged>,
    /// Oldest file that the reader needs.
    pub(super) file: u64,
    /// Everything was read, and no run is under way.
    pub(super) ended: bool,
    /// When it was read last.
    pub(super) used: Instant,
}

impl std::fmt::Debug for Feed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Feed")
            .field("read_to", &self.read_to)
            .field("open", &self.reader.is_some())
            .finish_non_exhaustive()
    }
}

impl Feed {
    pub(super) fn new(
        container: String,
        files: LogFiles,
        encoder: Box<dyn Encoder>,
        read_to: Option<Cursor>,
    ) -> Self {
        Self {
            container,
            files,
            capture: None,
            reader: None,
            encoder,
            read_to: Some(read_to.unwrap_or(BEGIN)),
            chains: [None; 2],
            id: (Cursor::default(), String::new()),
            aged: None,
            told: None,
            file: 0,
            ended: false,
            used: Instant::now(),
        }
    }

    /// A new run begins: its log goes on behind that of the last one.
    pub(super) fn begin_run(&mut self, capture: Arc<Capture>, encoder: Option<Box<dyn Encoder>>) {
        self.capture = Some(capture);
        self.reader = None;
        self.ended = false;
        if let Some(encoder) = encoder {
            self.encoder = encoder;
        }
    }

    /// The log lies elsewhere now, and nothing is added to it any more.
    pub(super) fn move_to(&mut self, files: LogFiles) {
        self.files = files;
        self.capture = None;
        self.reader = None;
        self.ended = false;
    }

    /// The run's capture is gone; what is left is read from the files.
    pub(super) fn end_run(&mut self, of: &Arc<Capture>) {
        if self.capture.as_ref().is_some_and(|c| Arc::ptr_eq(c, of)) {
            self.capture = None;
            self.reader = None;
        }
    }

    /// Goes back to the last record that is known to be accepted.
    pub(super) fn rewind(&mut self, to: Option<Cursor>) {
        self.reader = None;
        self.ended = false;
        self.read_to = Some(to.unwrap_or(BEGIN));
        self.chains = [None; 2];
        // They are passed for good; only what says so is sent again.
        if let Some(told) = self.told.take() {
            self.aged = Some(match self.aged {
                Some(aged) => Aged {
                    records: told.records + aged.records,
                    bytes: told.bytes + aged.bytes,
                    from: told.from,
                    ..aged
                },
                None => told,
            });
        }
    }

    /// Something is still to be told.
    pub(super) fn has_word(&self) -> bool {
        self.aged.is_some()
    }

    /// Everything that was read is settled.
    pub(super) fn settled(&mut self) {
        self.told = None;
    }

    /// Lets memory go that only reading needs; `far`: also what can be opened again.
    pub(super) fn park(&mut self, far: bool) {
        if far {
            self.reader = None;
        } else if let Some(reader) = &mut self.reader {
            reader.park();
        }
    }

    pub(super) fn files(&self) -> &LogFiles {
        &self.files
    }

    pub(super) fn scope(&self) -> Option<&str> {
        self.encoder.scope()
    }

    fn read(&mut self, scratch: &mut Scratch) -> Result<Step, ReadError> {
        let reader = match &mut self.reader {
            Some(reader) => reader,
            None => {
                let source = self
                    .capture
                    .as_ref()
                    .map(|c| Arc::clone(c) as Arc<dyn CommitSource>);
                let query = Query {
                    follow: source.is_some(),
                    after: self.read_to,
                    ..Query::all()
                };
                let reader = Reader::open(self.files.clone(), query, FORMAT, source)?;
                self.reader.insert(reader)
            }
        };
        self.used = Instant::now();
        scratch.file = reader.position().file;
        let step = reader.read(&mut scratch.items)?;
        let position = reader.position();
        self.file = position.file;
        self.read_to = position.cursor.or(self.read_to);
        Ok(step)
    }

    /// Puts records into the batch until it is full or there are none.
    pub(super) fn fill(
        &mut self,
        scratch: &mut Scratch,
        batch: &mut Batch,
        part: &mut Part,
        room: Room,
    ) -> Result<Filled, ReadError> {
        loop {
            while let Some((item, size)) = packed::next(&scratch.items[scratch.at..]) {
                if self.ages(part) && !is_old(&item, room.oldest) {
                    return Ok(Filled::Aged);
                }
                if batch.bytes.len() >= room.bytes || batch.len() >= room.records {
                    return Ok(Filled::Full);
                }
                scratch.at += size;
                self.take(&item, batch, part, room.oldest);
            }
            scratch.clear();
            let step = self.read(scratch)?;
            if step != Step::Data && self.ages(part) {
                return Ok(Filled::Aged);
            }
            match step {
                Step::Data => {}
                Step::CaughtUp { commit } => {
                    self.tell_aged(batch, part);
                    return Ok(Filled::CaughtUp { commit });
                }
                Step::End => {
                    self.reader = None;
                    self.ended = true;
                    self.tell_aged(batch, part);
                    return Ok(Filled::End);
                }
            }
        }
    }

    /// Whether nothing but records that are too old is in the part.
    fn ages(&self, part: &Part) -> bool {
        self.aged.is_some() && part.sent == 0 && part.dropped > 0
    }

    fn take(&mut self, item: &Item<'_>, batch: &mut Batch, part: &mut Part, oldest: Option<i64>) {
        match *item {
            Item::Gap {
                records,
                bytes,
                from,
                to,
                cause,
            } => {
                part.dropped += records.unwrap_or(1);
                part.dropped_bytes += bytes.unwrap_or(0);
                let text = packed::gap_text(records, bytes, from, to, cause);
                let time = to.or(from).unwrap_or_default();
                self.notice(&text, time, part.end, batch, part);
            }
            Item::Record {
                stream,
                time,
                cursor,
                chain,
                line,
            } => {
                part.first_time.get_or_insert(time);
                if oldest.is_some_and(|oldest| time < oldest) {
                    self.age(time, line.len() as u64, cursor, part);
                    return;
                }
                self.tell_aged(batch, part);
                self.record(stream, time, cursor, chain, line, batch, part);
            }
        }
    }

    #[inline]
    #[expect(clippy::too_many_arguments, reason = "the parts of one record")]
    fn record(
        &mut self,
        stream: LogStream,
        time: i64,
        cursor: Option<Cursor>,
        chain: Option<(u32, Cursor, bool)>,
        line: &[u8],
        batch: &mut Batch,
        part: &mut Part,
    ) {
        let (slot, stream) = match stream {
            LogStream::Stdout => (0, Stream::Stdout),
            LogStream::Stderr => (1, Stream::Stderr),
        };
        let (text, ended) = match line.strip_suffix(b"\n") {
            Some(text) => (text, true),
            None => (line, false),
        };
        let place = cursor.unwrap_or_default();
        let mut at = time;
        let mut piece = None;
        if chain.is_some() || !ended || self.chains[slot].is_some() {
            // json-file does not say which pieces belong together; their order does.
            let now = match (chain, self.chains[slot]) {
                (Some((ordinal, first, _)), open) => Chain {
                    first,
                    ordinal,
                    time: open.filter(|c| c.first == first).map_or(time, |c| c.time),
                },
                (None, Some(open)) => Chain {
                    ordinal: open.ordinal.saturating_add(1),
                    ..open
                },
                (None, None) => Chain {
                    first: place,
                    ordinal: 1,
                    time,
                },
            };
            self.chains[slot] = (!ended).then_some(now);
            // As in Docker all pieces have the time of the first.
            at = now.time;
            self.name(now.first);
            piece = Some((now.ordinal, ended));
        }
        let record = Record {
            epoch: place.epoch,
            seq: place.seq,
            time_ns: at,
            stream,
            line: text,
            partial: piece.map(|(ordinal, last)| Partial {
                id: &self.id.1,
                ordinal,
                last,
            }),
        };
        match self.encoder.encode(&record, &mut batch.bytes) {
            Encoded::Yes => {
                batch.ends.push(end_of(batch));
                part.bytes += line.len() as u64;
                part.push(cursor, true);
            }
            Encoded::Skipped => {
                part.skipped += 1;
                part.push(cursor, false);
            }
            Encoded::Refused(reason) => {
                part.dropped += 1;
                part.dropped_bytes += line.len() as u64;
                part.sink.note_refused(&reason);
                part.push(cursor, false);
            }
        }
    }

    /// Makes the id of the line that begins at `first` the one at hand: the same one each time it is
    /// sent.
    fn name(&mut self, first: Cursor) {
        use std::fmt::Write as _;
        if self.id.0 == first && !self.id.1.is_empty() {
            return;
        }
        let mut hash = Sha256::new();
        hash.update(self.container.as_bytes());
        hash.update(first.epoch.to_le_bytes());
        hash.update(first.seq.to_le_bytes());
        self.id.1.clear();
        for byte in hash.finalize() {
            // Writing to a string cannot fail.
            let _ = write!(self.id.1, "{byte:02x}");
        }
        self.id.0 = first;
    }

    fn age(&mut self, time: i64, bytes: u64, cursor: Option<Cursor>, part: &mut Part) {
        let aged = self.aged.get_or_insert(Aged {
            records: 0,
            bytes: 0,
            from: time,
            to: time,
            cursor,
        });
        aged.records += 1;
        aged.bytes += bytes;
        aged.to = time;
        aged.cursor = cursor;
        part.dropped += 1;
        part.dropped_bytes += bytes;
        part.push(cursor, false);
    }

    /// Says how many records were too old, once some are not.
    fn tell_aged(&mut self, batch: &mut Batch, part: &mut Part) {
        let Some(aged) = self.aged.take() else {
            return;
        };
        self.told = Some(aged);
        let text = packed::gap_text(
            Some(aged.records),
            Some(aged.bytes),
            Some(aged.from),
            Some(aged.to),
            "not delivered within max-spool-age",
        );
        self.notice(&text, aged.to, aged.cursor, batch, part);
    }

    /// A record that says what is missing, in its place.
    fn notice(
        &mut self,
        text: &[u8],
        time: i64,
        cursor: Option<Cursor>,
        batch: &mut Batch,
        part: &mut Part,
    ) {
        let place = cursor.unwrap_or_default();
        let record = Record {
            epoch: place.epoch,
            seq: place.seq,
            time_ns: time,
            stream: Stream::Stderr,
            line: text,
            partial: None,
        };
        if self.encoder.encode(&record, &mut batch.bytes) == Encoded::Yes {
            batch.ends.push(end_of(batch));
            part.notices += 1;
            part.push(None, true);
        }
    }
}

fn is_old(item: &Item<'_>, oldest: Option<i64>) -> bool {
    match item {
        Item::Record { time, .. } => oldest.is_some_and(|oldest| *time < oldest),
        Item::Gap { .. } => false,
    }
}

/// Batches are far smaller than 4 GiB: one more record than fits is at most a line.
fn end_of(batch: &Batch) -> u32 {
    u32::try_from(batch.bytes.len()).unwrap_or(u32::MAX)
}
