//! Reading batches of the `local` format: from a buffer of segment bytes to records.

use taffrail_log_core::crc32c;
use taffrail_log_core::local::{
    self, ALIGN, BATCH_MAGIC, BLOCK, Batch, COPY_MAGIC, copy_at, flag, kind, payload_at, pieces,
    table_entries,
};

use crate::access::Input;
use crate::attrs::Attrs;
use crate::blocks::{Span, block_crc, restore, spans, tables};
use crate::error::ReadError;
use crate::gap::{self, Gap};
use crate::json::Stream;
use crate::ndjson::Meta;
use crate::output::Outcome;
use crate::query::Cursor;
use crate::reader::{OUT_TARGET, Reader};
use crate::scan::read_full;
use crate::segment::{self, Head};
use crate::time::Moment;

/// Usual size of the input buffer: any batch of records fits.
pub(crate) const BUFFER: usize = 384 * 1024;
/// How much of a damaged stretch is kept in the buffer: the copy of a header that stood in it may be
/// so far behind.
const LOOK_BACK: usize = copy_at(local::MAX_RECORDS as u32);
/// Most attributes that are shown. Longer ones are left out, so that a reader has its bound.
const ATTRS_MAX: u32 = 256 * 1024;

/// What is kept from batch to batch.
#[derive(Debug, Default)]
pub(crate) struct State {
    /// Salt of the current segment, once known.
    salt: Option<u32>,
    /// A batch that is put out in parts, because the caller's buffer was full.
    open: Option<Open>,
    /// The buffer begins in a damaged stretch that is counted already.
    damaged: bool,
    /// So many bytes of a damaged stretch at the start of the buffer have been looked at.
    sought: usize,
    /// Something was damaged since the last batch: what is missing is missing for that.
    hurt: bool,
    /// Segment and place of the attributes at hand.
    attrs_at: Option<(u64, u32)>,
    attrs: Attrs,
    /// The end of a cut segment was filled up with zeros.
    padded: bool,
}

/// The batch at the start of the buffer.
#[derive(Debug)]
struct Open {
    batch: Batch,
    /// Stretches of undamaged records.
    spans: Vec<Span>,
    /// Which of them is next.
    span: usize,
    /// Ordinal of the last piece put out and the place of its line's first piece; 0: it was whole.
    chain: (u32, Cursor),
}

impl State {
    /// Another segment is read from now on, or the same one from another place.
    pub(crate) fn restart(&mut self, same_file: bool) {
        if !same_file {
            self.salt = None;
        }
        self.open = None;
        self.damaged = false;
        self.sought = 0;
        self.padded = false;
    }

    /// Whether the buffer begins in a stretch that is counted already.
    pub(crate) fn is_damaged(&self) -> bool {
        self.damaged
    }
}

/// The attributes whose batch begins at `at`; `None` if they are damaged or no attributes.
pub(crate) fn read_attrs(input: &Input, salt: u32, at: u64) -> std::io::Result<Option<Vec<u8>>> {
    let mut head = [0; ALIGN];
    if read_full(input, &mut head, at)? < ALIGN {
        return Ok(None);
    }
    let Some(batch) = Batch::decode(&head, salt) else {
        return Ok(None);
    };
    if batch.kind != kind::ATTRS || batch.length > ATTRS_MAX {
        return Ok(None);
    }
    let mut rest = vec![0; payload_at(batch.length) - ALIGN + batch.length as usize];
    if read_full(input, &mut rest, at + ALIGN as u64)? < rest.len() {
        return Ok(None);
    }
    let (table, payload) = rest.split_at(4 * table_entries(batch.length));
    let whole = payload
        .chunks(BLOCK)
        .enumerate()
        .all(|(n, block)| crc32c::update(0, block) == block_crc(&batch, table, n));
    let from = rest.len() - batch.length as usize;
    rest.drain(..from);
    Ok(whole.then_some(rest))
}

impl Reader {
    /// Puts out the batches of the buffer, until `out` has enough or more input is needed.
    pub(crate) fn batches(&mut self, out: &mut Vec<u8>, mark: usize) -> Result<(), ReadError> {
        let Some(current) = &self.current else {
            return Ok(());
        };
        if self.local.salt.is_none() {
            if current.limit <= ALIGN as u64 {
                // A header alone: nothing of it is torn.
                if current.limit == ALIGN as u64 {
                    self.start = self.end;
                }
                return Ok(());
            }
            let from_start = current.pos == (self.end - self.start) as u64;
            let head = segment::head(&current.file, current.limit);
            match head.map_err(|e| self.read_error(e))? {
                Head::Salt(salt, header) => {
                    self.local.salt = Some(salt);
                    // What is missing before the first batch is known by this alone.
                    if let (Some(header), None, true) = (header, self.seq, from_start) {
                        self.seq = Some((u64::from(header.epoch), header.first_seq));
                    }
                    if header.is_none() {
                        self.stats.damaged += 1;
                    }
                }
                Head::Version(version) => {
                    let path = self.files.path(current.number);
                    return Err(ReadError::Version { path, version });
                }
                Head::Lost => {
                    self.stats.damaged += 1;
                    self.local.hurt = true;
                    let current = self.current.as_mut().filter(|c| c.limit > 0);
                    if let Some(current) = current {
                        current.pos = current.limit;
                    }
                    (self.start, self.end) = (0, 0);
                    return Ok(());
                }
            }
        }
        let Some(salt) = self.local.salt else {
            return Ok(());
        };
        let mut buf = std::mem::take(&mut self.buf);
        let result = self.batches_of(&mut buf, salt, out, mark);
        self.buf = buf;
        result
    }

    fn batches_of(
        &mut self,
        buf: &mut [u8],
        salt: u32,
        out: &mut Vec<u8>,
        mark: usize,
    ) -> Result<(), ReadError> {
        while !self.finished && out.len() - mark < OUT_TARGET {
            let Some(current) = &mut self.current else {
                return Ok(());
            };
            let bytes = &buf[self.start..self.end];
            let offset = current.pos - bytes.len() as u64;
            if offset < ALIGN as u64 {
                // The segment's header.
                let skip = bytes.len().min(ALIGN - offset as usize);
                self.start += skip;
                if skip == 0 {
                    return Ok(());
                }
                continue;
            }
            let Some(head) = bytes.first_chunk::<ALIGN>() else {
                return Ok(());
            };
            let batch = match self.local.open.as_ref() {
                Some(open) => Some(open.batch),
                None => Batch::decode(head, salt),
            };
            let Some(batch) = batch else {
                if !self.resync(buf, salt) {
                    return Ok(());
                }
                continue;
            };
            let size = batch.size();
            if batch.kind == kind::ATTRS && bytes.len() as u64 <= size {
                // Not looked at here and longer than the buffer, perhaps.
                let next = offset + size;
                if next > current.limit {
                    return Ok(());
                }
                current.pos = next;
                (self.start, self.end) = (0, 0);
                self.local.damaged = false;
                self.pass(&batch);
                return Ok(());
            }
            if (bytes.len() as u64) < size {
                return Ok(());
            }
            self.local.damaged = false;
            if self.local.open.is_none() && !self.begin(&batch, bytes, salt, out)? {
                if !self.finished {
                    self.pass(&batch);
                    self.start += size as usize;
                }
                continue;
            }
            let payload = &bytes[payload_at(batch.length)..][..batch.length as usize];
            if self.records(payload, out, mark) && !self.finished {
                self.pass(&batch);
                self.local.open = None;
                self.start += size as usize;
            }
        }
        Ok(())
    }

    /// Whether a header can stand behind the damage: a copy of an older place cannot.
    fn is_next(&self, batch: &Batch) -> bool {
        match self.seq {
            Some(seq) => {
                // One that begins before the wanted record may still have it.
                let end = segment::end_of(batch);
                (u64::from(batch.epoch), batch.seq) >= seq
                    || (end.epoch, end.seq) > seq
                    || batch.kind == kind::GAP
            }
            None => true,
        }
    }

    /// Everything of `batch` was dealt with.
    fn pass(&mut self, batch: &Batch) {
        let end = segment::end_of(batch);
        match self.seq {
            Some(before) if before > (end.epoch, end.seq) => {}
            _ => self.seq = Some((end.epoch, end.seq)),
        }
    }

    /// No header stands where the buffer begins: goes to the next batch in it, by its header or by
    /// the copy of a damaged one. `false`: there is none in what is there so far.
    fn resync(&mut self, buf: &mut [u8], salt: u32) -> bool {
        self.local.hurt = true;
        let mut at = self.start + self.local.sought.max(ALIGN);
        while let Some(block) = buf[..self.end].get(at..).and_then(|b| b.first_chunk()) {
            if block[..4] == BATCH_MAGIC.to_le_bytes()
                && Batch::decode(block, salt).is_some_and(|b| self.is_next(&b))
            {
                self.skip_damage(at);
                return true;
            }
            if block[..4] == COPY_MAGIC.to_le_bytes()
                && let Some(batch) = Batch::decode_copy(block, salt).filter(|b| self.is_next(b))
                && let Some(from) = at.checked_sub(copy_at(batch.length))
                && from >= self.start
            {
                if at + payload_at(batch.length) > self.end {
                    // The copy of the table is still to come.
                    break;
                }
                restore(&batch, salt, &mut buf[from..self.end]);
                self.skip_damage(from);
                return true;
            }
            at += ALIGN;
        }
        let keep = self.end.saturating_sub(LOOK_BACK).max(self.start);
        self.skip_damage(self.start + (keep - self.start) / ALIGN * ALIGN);
        self.local.sought = at - self.start;
        false
    }

    /// The buffer goes on at `to`; what is before it is damaged.
    fn skip_damage(&mut self, to: usize) {
        if to > self.start && !self.local.damaged {
            self.local.damaged = true;
            self.stats.damaged += 1;
        }
        self.start = to;
        self.local.sought = 0;
    }

    /// Before the first record of a batch: tells what is missing before it, and opens it. `false`:
    /// nothing of it is wanted.
    fn begin(
        &mut self,
        batch: &Batch,
        bytes: &[u8],
        salt: u32,
        out: &mut Vec<u8>,
    ) -> Result<bool, ReadError> {
        let first = Cursor {
            epoch: u64::from(batch.epoch),
            seq: batch.seq,
        };
        if let Some(run) = self.run {
            if batch.run > run {
                self.finished = true;
                return Ok(false);
            }
            if batch.run < run {
                return Ok(false);
            }
        }
        let end = segment::end_of(batch);
        if self.floor.is_some_and(|floor| end <= floor) {
            return Ok(false);
        }
        let from = self.floor.map_or(first, |floor| first.max(floor));
        if let Some((epoch, seq)) = self.seq
            && epoch == from.epoch
            && from.seq > seq
        {
            let cause = self.missing_cause();
            let to = Some(moment(batch.time));
            self.tell(Some(from.seq - seq), None, to, cause, out);
        } else if self.skipped && self.seq.is_none_or(|(epoch, _)| epoch != from.epoch) {
            let cause = self.missing_cause();
            self.tell(None, None, Some(moment(batch.time)), cause, out);
        }
        self.skipped = false;
        self.local.hurt = false;
        if batch.kind != kind::GAP {
            self.seq = Some((from.epoch, from.seq));
        }
        match batch.kind {
            kind::GAP => {
                self.stored_gap(batch, bytes, out);
                return Ok(false);
            }
            kind::RECORDS => {}
            _ => return Ok(false),
        }
        let payload = &bytes[payload_at(batch.length)..][..batch.length as usize];
        let stream = stream_of(batch);
        let last = moment(segment::last_time(batch));
        if !self.output.wants(stream) && self.output.is_inside(moment(batch.time), last) {
            return Ok(false);
        }
        let mut found = Vec::with_capacity(1);
        spans(batch, tables(batch, bytes), payload, &mut found);
        if found.len() != 1 || found[0].to - found[0].from != payload.len() {
            self.stats.damaged += 1;
        } else if let Some(grep) = self.output.grep()
            && !grep.may_match(payload)
            && self.output.is_inside(moment(batch.time), last)
        {
            return Ok(false);
        }
        if self.output.wants_attrs() {
            self.load_attrs(batch.attrs, salt)?;
        }
        self.local.open = Some(Open {
            batch: *batch,
            spans: found,
            span: 0,
            chain: (0, first),
        });
        Ok(true)
    }

    fn missing_cause(&self) -> &'static str {
        if self.skipped {
            gap::ROTATED
        } else if self.local.hurt {
            gap::DAMAGED
        } else {
            gap::LOST
        }
    }

    /// Records that capture gave up, at their place.
    fn stored_gap(&mut self, batch: &Batch, bytes: &[u8], out: &mut Vec<u8>) {
        let end = segment::end_of(batch);
        if self.seq.is_some_and(|seq| seq >= (end.epoch, end.seq)) && batch.count > 0 {
            // Told when it happened.
            return;
        }
        let payload = &bytes[payload_at(batch.length)..][..batch.length as usize];
        let stored = (crc32c::update(0, payload) == batch.crc0)
            .then(|| local::Gap::decode(payload))
            .flatten();
        let until = stored.map_or(batch.time, |g| g.until);
        let (first, last) = (moment(batch.time), moment(until));
        if self.output.is_before(last) || self.output.is_past(first) {
            return;
        }
        self.stats
            .miss(u64::from(batch.count), stored.map_or(0, |g| g.bytes));
        let gap = Gap {
            records: Some(u64::from(batch.count)),
            bytes: stored.map(|g| g.bytes),
            from: Some(first),
            to: Some(last),
            cause: stored
                .map_or_else(|| gap::LOST.to_owned(), |g| gap::capture_cause(g.cause))
                .into(),
        };
        self.output.notice(&gap, out);
    }

    fn load_attrs(&mut self, place: u32, salt: u32) -> Result<(), ReadError> {
        let Some(current) = &self.current else {
            return Ok(());
        };
        if self.local.attrs_at == Some((current.number, place)) {
            return Ok(());
        }
        let at = u64::from(place) * ALIGN as u64;
        let found = match place {
            0 => Ok(None),
            _ => read_attrs(&current.file, salt, at),
        };
        let number = current.number;
        match found.map_err(|e| self.read_error(e))? {
            Some(object) => {
                self.local.attrs.parse(&object);
            }
            None => self.local.attrs.clear(),
        }
        self.local.attrs_at = Some((number, place));
        Ok(())
    }

    /// Puts out records of the open batch; `false`: not all of them, `out` is full.
    fn records(&mut self, payload: &[u8], out: &mut Vec<u8>, mark: usize) -> bool {
        let Some(mut open) = self.local.open.take() else {
            return true;
        };
        let batch = open.batch;
        let stream = stream_of(&batch);
        let epoch = u64::from(batch.epoch);
        while let Some(span) = open.spans.get(open.span).copied() {
            let first = Cursor {
                epoch,
                seq: batch.seq + u64::from(span.first),
            };
            if let Some((_, seq)) = self.seq.filter(|seq| *seq < (epoch, first.seq)) {
                let to = Some(moment(batch.time + u64::from(span.first)));
                self.tell(Some(first.seq - seq), None, to, gap::DAMAGED, out);
            }
            let bytes = &payload[span.from..span.to];
            // Only a span that ends the batch is known to have as many records as there are
            // numbers left.
            let whole = span.from == 0 && span.to == payload.len();
            let count = batch.count.saturating_sub(span.first);
            let last = moment(batch.time + u64::from(batch.count.saturating_sub(1)));
            if whole
                && span.first == 0
                && self.floor.is_none_or(|floor| floor <= first)
                && self.output.is_plain()
                && self.output.wants(stream)
                && self.output.is_inside(moment(batch.time), last)
            {
                self.output.bulk(stream, bytes, last, out);
                self.stats.records += u64::from(count);
                self.seq = Some((epoch, first.seq + u64::from(count)));
                open.span += 1;
                continue;
            }
            let mut number = span.first;
            let mut from = span.from;
            for record in pieces(bytes) {
                let cursor = Cursor {
                    epoch,
                    seq: batch.seq + u64::from(number),
                };
                let chain = open.link(record, number, cursor);
                if self.floor.is_none_or(|floor| cursor >= floor) {
                    let meta = Meta {
                        stream,
                        time: moment(batch.time + u64::from(number)),
                        cursor: Some(cursor),
                        chain,
                    };
                    match self.output.piece(&meta, record, &self.local.attrs, out) {
                        Outcome::Written => self.stats.records += 1,
                        Outcome::Past => {
                            self.finished = true;
                            return true;
                        }
                        Outcome::Filtered | Outcome::Damaged => {}
                    }
                }
                self.seq = Some((epoch, cursor.seq + 1));
                number += 1;
                from += record.len();
                if out.len() - mark >= OUT_TARGET && from < span.to {
                    let span = &mut open.spans[open.span];
                    (span.from, span.first) = (from, number);
                    self.local.open = Some(open);
                    return false;
                }
            }
            open.span += 1;
            // Behind damage a line begins.
            open.chain.0 = 0;
        }
        let end = segment::end_of(&batch);
        if let Some((_, seq)) = self.seq.filter(|seq| *seq < (epoch, end.seq)) {
            self.tell(Some(end.seq - seq), None, None, gap::DAMAGED, out);
        }
        true
    }

    /// Counts and tells missing records.
    fn tell(
        &mut self,
        records: Option<u64>,
        bytes: Option<u64>,
        to: Option<Moment>,
        cause: &'static str,
        out: &mut Vec<u8>,
    ) {
        self.stats.miss(records.unwrap_or(0), bytes.unwrap_or(0));
        let gap = Gap {
            records,
            bytes,
            from: self.output.last_time(),
            to,
            cause: cause.into(),
        };
        self.output.notice(&gap, out);
    }

    /// The segment ends here for good. A batch that is cut there is filled up with zeros, so that
    /// its undamaged blocks are read; `true`: there is one.
    pub(crate) fn pad_cut_batch(&mut self) -> bool {
        let (Some(salt), Some(current)) = (self.local.salt, &mut self.current) else {
            return false;
        };
        let have = self.end - self.start;
        let Some(head) = self.buf[self.start..self.end].first_chunk::<ALIGN>() else {
            return false;
        };
        let batch = Batch::decode(head, salt).filter(|b| b.kind == kind::RECORDS);
        let Some(batch) = batch.filter(|b| !self.local.padded && b.size() > have as u64) else {
            return false;
        };
        let size = batch.size() as usize;
        self.buf.copy_within(self.start..self.end, 0);
        self.buf.resize(self.buf.len().max(size), 0);
        self.buf[have..size].fill(0);
        (self.start, self.end) = (0, size);
        current.pos += (size - have) as u64;
        current.limit = current.limit.max(current.pos);
        self.local.padded = true;
        true
    }
}

impl Open {
    /// Follows the pieces of long lines; gives a piece's place in its line, if it is one.
    #[inline]
    fn link(&mut self, record: &[u8], number: u32, cursor: Cursor) -> Option<(u32, Cursor, bool)> {
        let ended = record.last() == Some(&b'\n');
        let (mut ordinal, mut first) = self.chain;
        if number == 0 {
            ordinal = self.batch.ordinal;
            first.seq = self.batch.chain_seq;
        } else if ordinal > 0 {
            ordinal = ordinal.saturating_add(1);
        } else if !ended {
            (ordinal, first) = (1, cursor);
        }
        let last =
            ended || self.batch.flags & flag::STREAM_END != 0 && number + 1 == self.batch.count;
        self.chain = (if ended { 0 } else { ordinal }, first);
        (ordinal > 0).then_some((ordinal, first, last))
    }
}

fn stream_of(batch: &Batch) -> Stream {
    if batch.stream == 2 {
        Stream::Stderr
    } else {
        Stream::Stdout
    }
}

fn moment(ns: u64) -> Moment {
    Moment::from_ns(i64::try_from(ns).unwrap_or(i64::MAX))
}
