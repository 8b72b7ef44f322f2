//! A log as the monitor writes it, plain or compressed, that is then damaged at one place: what the
//! damage touches may be lost, everything else comes back in order and exact, and a check names
//! the file. What may be lost is worked out here from the layout, without the readers' code.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::path::{Path, PathBuf};

use taffrail_log::{Cursor, Damage, LogFiles, LogFormat, Query, check as check_log, repair};
use taffrail_log_core::local::{ALIGN, BLOCK, Batch, kind, payload_at, pieces};
use taffrail_log_core::side::{ENTRY, Entry};

use super::common::rfc3339;
use super::common::written::{BASE, Want, Written, stored};
use super::input::Input;
use super::read::{Got, assert_same, objects, read};

/// Most bytes that are written to a log.
const MOST: usize = 80_000;

/// How a log is made.
#[derive(Debug)]
struct Plan {
    format: LogFormat,
    max_size: u64,
    attrs: bool,
    /// Of the closed files: bit n % 8 of file n.
    packed: u8,
    /// Compressed json-file has its table.
    table: bool,
    /// Side files are kept.
    index: bool,
    /// Runs end and records are given up, so that there are marks.
    marks: bool,
}

impl Plan {
    fn take(input: &mut Input<'_>, format: LogFormat) -> Self {
        let bits = input.byte();
        Self {
            format,
            max_size: [0, 3_000, 40_000, 150_000][usize::from(bits & 3)],
            attrs: bits & 4 != 0,
            table: bits & 8 == 0,
            index: bits & 16 == 0,
            marks: bits & 32 != 0,
            packed: input.byte(),
        }
    }

    fn build(&self, input: &mut Input<'_>) -> Written {
        let mut attrs = BTreeMap::new();
        if self.attrs {
            attrs.insert("tag".to_owned(), "a b\"c".to_owned());
        }
        let mut log = Written::new(self.format, self.max_size, &attrs);
        let (mut time, mut total, mut number) = (BASE, 0, 0u32);
        while !input.is_empty() && total < MOST {
            let op = input.byte();
            let stream = usize::from(op >> 7);
            let mut bytes = Vec::new();
            match op & 15 {
                // Lines that differ.
                0..=5 => {
                    let (count, length) = (input.byte(), usize::from(input.byte()));
                    for n in 0..=count & 63 {
                        let letter = char::from(b'a' + n % 26);
                        let text = format!("{number} {}\n", letter.to_string().repeat(length));
                        bytes.extend_from_slice(text.as_bytes());
                        number += 1;
                    }
                }
                6 | 7 => {
                    let length = usize::from(input.byte());
                    bytes.extend_from_slice(input.bytes(length));
                }
                // A line in pieces, of characters of one to four bytes.
                8 | 9 => {
                    let length = 1 + input.number(2) as usize;
                    let unit = input.pick(&["x", "é€x😀", "\0", "\\\"<"]).as_bytes();
                    bytes.extend(unit.iter().cycle().take(length));
                    if op & 1 == 1 {
                        bytes.push(b'\n');
                    }
                }
                10 => bytes.resize(1 + input.number(2) as usize % 3000, b'\n'),
                // What a container prints may look like a header, or like a record.
                11 => {
                    let salt = input.number(1) as u32;
                    let fake = Batch {
                        kind: 1 + input.byte() % 3,
                        stream: 1,
                        seq: input.odd_number(),
                        epoch: 1,
                        length: input.number(1) as u32,
                        ..Batch::default()
                    };
                    for _ in 0..1 + input.byte() % 4 {
                        bytes.extend_from_slice(&fake.encode(salt));
                    }
                }
                12 => bytes.extend_from_slice(
                    b"{\"log\":\"x\\n\",\"stream\":\"stdout\",\"time\":\"2023-11-14T22:13:20Z\"}\n",
                ),
                13 => time += input.number(5),
                14 if self.marks => log.next_run(time),
                15 if self.marks => {
                    let length = usize::from(input.byte());
                    let given_up = input.bytes(length);
                    // Nothing at all would be the end of the stream.
                    if !given_up.is_empty() {
                        log.lose(stream, given_up, time);
                    }
                }
                _ => {}
            }
            if !bytes.is_empty() {
                total += bytes.len();
                log.write(stream, &bytes, time);
            }
        }
        log.end(time);
        log
    }
}

/// What is done to a file.
#[derive(Clone, Debug)]
enum Harm {
    Flip(u8),
    Fill(u8, usize),
    Cut,
    Splash(Vec<u8>),
}

impl Harm {
    fn take(input: &mut Input<'_>) -> Self {
        let kind = input.byte();
        let length = 1usize << (input.byte() % 15);
        match kind % 5 {
            0 => Self::Flip(1 << (kind >> 5)),
            1 => Self::Fill(0, length),
            2 => Self::Fill(input.byte(), length),
            3 => Self::Cut,
            _ => Self::Splash(input.bytes(8).to_vec()),
        }
    }

    /// Gives the bytes that differ.
    fn apply(&self, bytes: &mut Vec<u8>, at: usize) -> Range<usize> {
        let rest = bytes.len() - at;
        let size = match self {
            Self::Cut => {
                bytes.truncate(at);
                return at..at + rest;
            }
            Self::Flip(bit) => {
                bytes[at] ^= bit;
                1
            }
            Self::Fill(byte, length) => {
                let length = rest.min(*length);
                bytes[at..at + length].fill(*byte);
                length
            }
            Self::Splash(with) => {
                let length = rest.min(with.len());
                bytes[at..at + length].copy_from_slice(&with[..length]);
                length
            }
        };
        at..at + size
    }
}

/// A record that a read should give.
#[derive(Debug)]
struct Expected {
    got: Got,
    seq: u64,
    /// Damage touches it.
    touched: bool,
}

fn expected(log: &Written) -> Vec<Expected> {
    let one = |want: &Want| Expected {
        got: Got {
            bytes: stored(log.files.format, &want.bytes),
            stream: want.stream,
            time: rfc3339(want.time as i64),
            // Numbers of json-file are counted: behind damage they are others.
            cursor: (log.files.format == LogFormat::Local).then_some(Cursor {
                epoch: 1,
                seq: want.seq,
            }),
        },
        seq: want.seq,
        touched: false,
    };
    log.want.iter().map(one).collect()
}

/// Plain bytes of a log file, the places of its frames, if it is compressed, and its name now.
#[derive(Debug)]
struct LogFile {
    number: u64,
    path: PathBuf,
    plain: Vec<u8>,
    /// Compressed and plain sizes.
    frames: Vec<(u32, u32)>,
}

/// Any bytes: what is damaged, where and how, and the records.
pub fn check(data: &[u8], format: LogFormat) {
    let mut input = Input::new(data);
    let plan = Plan::take(&mut input, format);
    let (which, at) = (input.byte(), input.number(3) as usize);
    let harm = Harm::take(&mut input);
    let log = plan.build(&mut input);
    let newest = log.slot().file_no;
    let mut files = Vec::new();
    for number in 1..=newest {
        let mut file = LogFile {
            number,
            path: log.path(number),
            plain: std::fs::read(log.path(number)).expect("a log file"),
            frames: Vec::new(),
        };
        if plan.packed & 1 << (number % 8) != 0
            && let Some((path, frames)) = log.compress_told(number, plan.table)
        {
            (file.path, file.frames) = (path, frames);
        }
        files.push(file);
    }
    let mut side: Vec<PathBuf> = std::fs::read_dir(&log.files.index_dir)
        .expect("the folder of the indexes")
        .map(|entry| entry.expect("a name").path())
        .collect();
    side.sort();
    if !plan.index {
        std::fs::remove_dir_all(&log.files.index_dir).expect("removed");
        side.clear();
    }
    let mut wants = expected(&log);
    undamaged(&log, &plan, &wants);

    let paths: Vec<&Path> = files
        .iter()
        .map(|f| f.path.as_path())
        .chain(side.iter().map(PathBuf::as_path))
        .collect();
    let path = paths[usize::from(which) % paths.len()].to_owned();
    let mut bytes = std::fs::read(&path).expect("a file");
    if bytes.is_empty() {
        return;
    }
    let good = bytes.clone();
    let changed = harm.apply(&mut bytes, at % good.len());
    if bytes == good {
        return;
    }
    std::fs::write(&path, &bytes).expect("written");
    let hurt = files.iter().find(|file| file.path == path);
    let mut guess = false;
    if let Some(file) = hurt {
        let ranges = plain_ranges(file, &changed);
        let lost = match plan.format {
            LogFormat::Local => touched_in_segment(file, &ranges, &mut guess),
            LogFormat::JsonFile => touched_lines(&log, file, &ranges),
        };
        for want in &mut wants {
            want.touched = lost.contains(&want.seq);
        }
    }
    damaged(&log, &plan, &wants, guess, hurt, &changed, &path);
}

/// Before anything is damaged, everything is there and the check finds nothing.
fn undamaged(log: &Written, plan: &Plan, wants: &[Expected]) {
    let whole = objects(&log.files, &Query::all()).expect("a log that can be read");
    for (got, want) in whole.records.iter().zip(wants) {
        assert!(
            same(got, &want.got, true),
            "{plan:?}: {got:?} is no {want:?}"
        );
    }
    assert_eq!(whole.records.len(), wants.len(), "{plan:?}");
    assert_eq!(whole.stats.damaged, 0);
    let report = check_log(&log.files, None).expect("a log that can be checked");
    // What was removed on purpose, and can be made again.
    let known = |what: &Damage| match what {
        Damage::Index => !plan.index,
        Damage::FrameTable => plan.format == LogFormat::JsonFile && !plan.table,
        _ => false,
    };
    let places: Vec<_> = report.places.iter().filter(|p| !known(&p.what)).collect();
    assert!(places.is_empty(), "{plan:?}: {places:?}");
    assert_eq!(report.records, wants.len() as u64);
}

/// Whether a record is the wanted one; the numbers are those of `local`.
fn same(got: &Got, want: &Got, numbers: bool) -> bool {
    got.bytes == want.bytes
        && got.stream == want.stream
        && (!numbers || got.time == want.time)
        && (!numbers || want.cursor.is_none() || got.cursor == want.cursor)
}

fn damaged(
    log: &Written,
    plan: &Plan,
    wants: &[Expected],
    guess: bool,
    hurt: Option<&LogFile>,
    changed: &Range<usize>,
    path: &Path,
) {
    let what = || format!("{plan:?} {} {changed:?}", path.display());
    let local = plan.format == LogFormat::Local;
    let left = read(&log.files, &Query::all()).expect("a log that can be read");
    let numbers = local && !guess;
    in_order(&left.records, wants, local, numbers).unwrap_or_else(|e| panic!("{}: {e}", what()));
    let untouched = wants.iter().filter(|w| !w.touched).count();
    assert!(left.records.len() >= untouched);
    if local {
        assert!(left.records.len() <= wants.len());
    }

    let report = check_log(&log.files, None).expect("a log that can be checked");
    let complete = left.records.len() == wants.len()
        && left
            .records
            .iter()
            .zip(wants)
            .all(|(got, want)| same(got, &want.got, local));
    let named = report.places.iter().any(|p| p.file == path);
    if !complete {
        let file = hurt.unwrap_or_else(|| panic!("{}: a side file cost records", what()));
        // Behind the newest file's end nothing says that there was more, nor behind an older one's
        // without its index.
        let last = file.number == log.slot().file_no || !local && !plan.index;
        let cut = std::fs::metadata(path).map_or(0, |m| m.len() as usize) == changed.start;
        if last && cut && report.places.iter().all(|p| p.what == Damage::Index) {
            // Nothing can be named.
        } else if local || covered(&log.files, file, changed) || left.records.len() < untouched {
            assert!(
                named,
                "{}: {} of {} records and nothing is named: {report:?}",
                what(),
                left.records.len(),
                wants.len()
            );
        }
    }
    if local {
        assert_eq!(report.records, left.records.len() as u64, "{}", what());
        let gone = wants.len() - left.records.len();
        let missed = left.stats.missed_records;
        assert!(missed <= (gone + lost_at_capture(log)) as u64, "{}", what());
        if !guess {
            // What is missing before a record that is there is told by the numbers.
            // A lost beginning of the oldest segment is known only by what of it can be read.
            let place = |got: Option<&Got>| got.and_then(|got| got.cursor);
            let headless =
                hurt.is_some_and(|file| overlap(&plain_ranges(file, changed), 0, 2 * ALIGN));
            let (first, last) = (place(left.records.first()), place(left.records.last()));
            let before = wants.iter().map(|w| w.got.cursor).filter(|c| *c <= last);
            let told = before.filter(|c| !headless || *c >= first).count() - left.records.len();
            assert!(missed >= told as u64, "{}: {missed} of {told} told", what());
            narrowed(&log.files, &left.records, &what);
        }
    } else {
        let query = Query {
            tail: Some(7),
            ..Query::all()
        };
        objects(&log.files, &query).expect("a log that can be read");
    }

    // Nothing that could be read is gone after a repair, and what it can make again is whole.
    repair(&log.files).expect("a log that can be repaired");
    let after = objects(&log.files, &Query::all()).expect("a log that can be read");
    assert_eq!(
        after.records.len(),
        left.records.len(),
        "{}: repaired",
        what()
    );
    for (after, before) in after.records.iter().zip(&left.records) {
        assert!(same(after, before, local), "{}: repaired", what());
    }
    let report = check_log(&log.files, None).expect("a log that can be checked");
    let again = |d: &Damage| {
        *d == Damage::FrameTable || local && matches!(d, Damage::Index | Damage::IndexEntry)
    };
    // A segment without a batch has nothing to make an index from.
    let empty = |number: u64| {
        let mut numbers = log.want.iter().filter(|w| w.file == number).map(|w| w.seq);
        !numbers.any(|seq| {
            let mut left = left.records.iter().filter_map(|got| got.cursor);
            left.any(|cursor| cursor.seq == seq)
        })
    };
    let of_index = path
        .file_name()
        .and_then(|name| name.to_str()?.parse().ok());
    let number = hurt.map(|file| file.number).or(of_index);
    if !number.is_some_and(empty) || !local {
        let unrepaired = report.places.iter().find(|p| again(&p.what));
        assert!(unrepaired.is_none(), "{}: still {unrepaired:?}", what());
    }
}

fn lost_at_capture(log: &Written) -> usize {
    log.gaps.iter().map(|(_, n)| *n as usize).sum()
}

/// Every record that was not touched is there, in order; of touched ones there is what damage has
/// left: in `local` nothing but what was written, of a line of json-file anything.
fn in_order(left: &[Got], wants: &[Expected], local: bool, numbers: bool) -> Result<(), String> {
    // Where in `wants` the records so far may have come to: more than one place only where
    // neighbours are alike, or where any records may be.
    let mut places = BTreeSet::from([0usize]);
    for (n, got) in left.iter().enumerate() {
        let mut next = BTreeSet::new();
        for from in &places {
            for (at, want) in wants.iter().enumerate().skip(*from) {
                if want.touched && !local {
                    next.insert(*from);
                } else if same(got, &want.got, if local { numbers } else { true }) {
                    next.insert(at + 1);
                }
                if !want.touched {
                    break;
                }
            }
        }
        if next.is_empty() {
            let at = places.first().copied().unwrap_or(0);
            let due = wants[at..].iter().find(|w| !w.touched).map(|w| &w.got);
            return Err(format!(
                "record {n} of {} is {got:?}, due is {due:?}",
                left.len()
            ));
        }
        places = next;
    }
    if places
        .iter()
        .any(|from| wants[*from..].iter().all(|w| w.touched))
    {
        return Ok(());
    }
    let from = places.last().copied().unwrap_or(0);
    let due = wants[from..].iter().find(|w| !w.touched).map(|w| &w.got);
    Err(format!("after {} records {due:?} is missing", left.len()))
}

/// What is asked for by place is what a whole read shows from there on.
fn narrowed(files: &LogFiles, all: &[Got], what: &dyn Fn() -> String) {
    let ask = |query: Query| {
        objects(files, &query)
            .expect("a log that can be read")
            .records
    };
    let tail = all.len() as u64 * 2 / 3;
    let got = ask(Query {
        tail: Some(tail),
        ..Query::all()
    });
    assert!(got.len() as u64 <= tail, "{}: tail {tail}", what());
    assert_same(
        &got,
        &all[all.len() - got.len()..],
        &format!("{}: tail {tail}", what()),
    );
    if let Some(after) = all.get(all.len() / 3).and_then(|got| got.cursor) {
        let got = ask(Query {
            after: Some(after),
            ..Query::all()
        });
        let from = all.partition_point(|got| got.cursor <= Some(after));
        assert_same(&got, &all[from..], &format!("{}: after {after}", what()));
    }
}

/// Whether a closed block of the side file has a checksum over the place.
fn covered(files: &LogFiles, file: &LogFile, changed: &Range<usize>) -> bool {
    if !file.frames.is_empty() {
        return false;
    }
    let bytes = std::fs::read(files.index_dir.join(file.number.to_string())).unwrap_or_default();
    let (slots, _) = bytes.as_chunks::<ENTRY>();
    slots.iter().filter_map(Entry::decode).any(|entry| {
        (entry.offset as usize) < changed.end
            && (entry.offset + entry.length) as usize > changed.start
    })
}

/// The plain bytes of what was changed.
fn plain_ranges(file: &LogFile, changed: &Range<usize>) -> Vec<Range<usize>> {
    if file.frames.is_empty() {
        return vec![changed.clone()];
    }
    let (mut at, mut plain_at) = (0, 0);
    let mut out = Vec::new();
    for (size, plain) in &file.frames {
        let (size, plain) = (*size as usize, *plain as usize);
        if at < changed.end && at + size > changed.start {
            out.push(plain_at..plain_at + plain);
        }
        at += size;
        plain_at += plain;
    }
    out
}

fn overlap(ranges: &[Range<usize>], from: usize, to: usize) -> bool {
    ranges.iter().any(|r| r.start < to && r.end > from)
}

/// Numbers of the records that may be lost by damage in `ranges`, as the design says: with a
/// header its batch; with a block what touches it, up to behind the next newline.
fn touched_in_segment(file: &LogFile, ranges: &[Range<usize>], guess: &mut bool) -> BTreeSet<u64> {
    let salt = u32::from_le_bytes(file.plain[12..16].try_into().expect("four bytes"));
    let mut lost = BTreeSet::new();
    let mut at = ALIGN;
    while let Some(head) = file.plain.get(at..).and_then(|rest| rest.first_chunk()) {
        let batch = Batch::decode(head, salt).expect("a batch of the writer");
        let payload_from = at + payload_at(batch.length);
        let payload = &file.plain[payload_from..payload_from + batch.length as usize];
        if batch.kind == kind::RECORDS {
            let numbers = batch.seq..batch.seq + u64::from(batch.count);
            if overlap(ranges, at, at + ALIGN) {
                lost.extend(numbers);
            } else {
                let bad: Vec<bool> = payload
                    .chunks(BLOCK)
                    .enumerate()
                    .map(|(n, block)| {
                        let from = payload_from + n * BLOCK;
                        let entry = at + ALIGN + 4 * n;
                        overlap(ranges, from, from + block.len())
                            || n > 0 && overlap(ranges, entry - 4, entry)
                    })
                    .collect();
                let stretches = stretches(&bad, payload);
                *guess |= stretches.len() > 1;
                let mut from = 0;
                for (seq, piece) in numbers.zip(pieces(payload)) {
                    let to = from + piece.len();
                    // At the border of a damaged block only a newline ends a record.
                    let open = usize::from(piece.last() != Some(&b'\n'));
                    if stretches
                        .iter()
                        .any(|s| from < s.end && to + open > s.start)
                    {
                        lost.insert(seq);
                    }
                    from = to;
                }
            }
        }
        at += batch.size() as usize;
    }
    lost
}

/// Damaged stretches of a payload, each up to behind the next newline.
fn stretches(bad: &[bool], payload: &[u8]) -> Vec<Range<usize>> {
    let mut out = Vec::new();
    let mut n = 0;
    while n < bad.len() {
        if !bad[n] {
            n += 1;
            continue;
        }
        let from = n * BLOCK;
        while n < bad.len() && bad[n] {
            n += 1;
        }
        let border = (n * BLOCK).min(payload.len());
        let newline = payload[border..].iter().position(|b| *b == b'\n');
        out.push(from..newline.map_or(payload.len(), |at| border + at + 1));
    }
    out
}

/// Numbers of the records whose lines are touched.
fn touched_lines(log: &Written, file: &LogFile, ranges: &[Range<usize>]) -> BTreeSet<u64> {
    let mut lost = BTreeSet::new();
    let mut from = 0;
    let lines = file.plain.split_inclusive(|b| *b == b'\n');
    let wants = log.want.iter().filter(|want| want.file == file.number);
    for (line, want) in lines.zip(wants) {
        if overlap(ranges, from, from + line.len()) {
            lost.insert(want.seq);
        }
        from += line.len();
    }
    lost
}
