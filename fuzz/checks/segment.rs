//! Any bytes as a segment, an index or a json-file log: a reader with any question comes to an end,
//! and what it hands out stands in the file. Headers and entries have right checksums wherever the
//! fuzzer asks for one, so that what they say is believed.

use std::path::Path;

use taffrail_log::{
    Codec, Cursor, Grep, LogFiles, LogFormat, Query, Run, check as check_log, compress, repair,
};
use taffrail_log_core::crc32c;
use taffrail_log_core::local::{ALIGN, BLOCK, Batch, SegmentHeader, copy_at, flag, payload_at};
use taffrail_log_core::side::{Entry, Header, Mark};

use super::input::Input;
use super::read::{Got, assert_same, objects, read};

const SALT: u32 = 0xfeed_0001;
const TIME: u64 = 1_700_000_000_000_000_000;
/// Most bytes of a forged file.
const MOST: usize = 300_000;

/// A folder for one log.
pub(super) fn folder(format: LogFormat) -> (tempfile::TempDir, LogFiles) {
    let dir = tempfile::tempdir().expect("a folder");
    let path = match format {
        LogFormat::Local => dir.path().join("local-logs"),
        LogFormat::JsonFile => dir.path().join("c-json.log"),
    };
    let files = LogFiles {
        format,
        path,
        index_dir: dir.path().join("index"),
        spool_dir: dir.path().join("spool"),
        max_file: 5,
    };
    std::fs::create_dir(&files.index_dir).expect("a folder");
    if format == LogFormat::Local {
        std::fs::create_dir(&files.path).expect("a folder");
    }
    (dir, files)
}

pub(super) fn query(input: &mut Input<'_>) -> Query {
    let bits = input.byte();
    let mut query = Query::all();
    if bits & 1 != 0 {
        query.tail = Some(input.odd_number());
    }
    if bits & 2 != 0 {
        query.since = Some(time(input) as i64);
    }
    if bits & 4 != 0 {
        query.until = Some(time(input) as i64);
    }
    if bits & 8 != 0 {
        let epoch = input.odd_number();
        let seq = input.odd_number();
        query.after = Some(Cursor { epoch, seq });
    }
    if bits & 16 != 0 {
        let number = input.odd_number() as u32;
        query.run = Some(if input.flag() {
            Run::Number(number)
        } else {
            Run::Back(number)
        });
    }
    if bits & 32 != 0 {
        let pattern = input.pick(&["a", "a.*b", "^$", "(?-u)\\xff"]);
        query.grep = Grep::new(pattern).ok();
    }
    query.stdout = bits & 64 == 0;
    query.stderr = bits & 128 == 0 || !query.stdout;
    query
}

fn time(input: &mut Input<'_>) -> u64 {
    let time = input.odd_number();
    if input.flag() {
        time
    } else {
        TIME.wrapping_add(time)
    }
}

/// A batch with right checksums. `false`: its length is another than it says, so that it and the next
/// one claim the same bytes, which no damage does.
fn batch(input: &mut Input<'_>, salt: u32, out: &mut Vec<u8>) -> bool {
    let bits = input.byte();
    let payload: Vec<u8> = match bits & 3 {
        0 => {
            let length = usize::from(input.byte());
            input.bytes(length).to_vec()
        }
        1 => vec![input.byte(); input.number(2) as usize],
        2 => b"ab\n".repeat(usize::from(input.byte())),
        _ => Vec::new(),
    };
    let claimed = if bits & 4 != 0 {
        input.number(3) as u32
    } else {
        payload.len() as u32
    };
    let count = if bits & 8 != 0 {
        input.odd_number() as u32
    } else {
        taffrail_log_core::local::pieces(&payload).count() as u32
    };
    let header = Batch {
        attrs: if bits & 16 != 0 {
            input.odd_number() as u32
        } else {
            0
        },
        seq: input.odd_number(),
        time: time(input),
        epoch: if bits & 32 != 0 {
            input.odd_number() as u32
        } else {
            1
        },
        run: input.byte().into(),
        length: claimed,
        count,
        kind: if bits & 64 != 0 { input.byte() } else { 1 },
        stream: 1 + (bits >> 7),
        flags: u16::from(input.byte()) & !flag::COPIED,
        ordinal: input.odd_number() as u32,
        chain_seq: input.odd_number(),
        crc0: payload
            .chunks(BLOCK)
            .next()
            .map_or(0, |b| crc32c::update(0, b)),
    };
    let start = out.len();
    out.extend_from_slice(&header.encode(salt));
    for block in payload.chunks(BLOCK).skip(1) {
        out.extend_from_slice(&crc32c::update(0, block).to_le_bytes());
    }
    if claimed as usize == payload.len() {
        assert_eq!(out.len() - start, payload_at(claimed));
    }
    out.extend_from_slice(&payload);
    let size = copy_at(payload.len() as u32);
    out.resize(start + size, 0);
    claimed as usize == payload.len()
}

fn segment(input: &mut Input<'_>) -> (Vec<u8>, bool) {
    let mut out = Vec::new();
    let mut honest = true;
    let bits = input.byte();
    if bits & 3 != 3 {
        let header = SegmentHeader {
            salt: SALT,
            number: 1,
            first_seq: input.odd_number(),
            epoch: 1,
            run: 1,
            time: time(input),
        };
        out.extend_from_slice(&header.encode());
    }
    while !input.is_empty() && out.len() < MOST {
        let op = input.byte();
        match op & 7 {
            0..=4 => honest &= batch(input, SALT, &mut out),
            5 => honest &= batch(input, u32::from(op), &mut out),
            6 => {
                let length = usize::from(input.byte());
                out.extend_from_slice(input.bytes(length));
            }
            _ => out.resize(out.len().next_multiple_of(ALIGN), op),
        }
    }
    (out, honest)
}

fn side_file(input: &mut Input<'_>, number: u64) -> Vec<u8> {
    let mut out = Vec::new();
    let slots = input.byte() % 32;
    let header = Header {
        file_no: number,
        inode: 0,
        epoch: 1,
        first_seq: input.odd_number(),
        time: time(input),
    };
    out.extend_from_slice(&header.encode());
    for _ in 0..slots {
        let (offset, seq, at) = (input.odd_number(), input.odd_number(), time(input));
        out.extend_from_slice(&match input.byte() % 4 {
            0 | 1 => Entry {
                offset: offset.wrapping_mul(64),
                length: input.odd_number(),
                seq,
                time: at,
                epoch: input.odd_number(),
                crc: 0,
            }
            .encode(),
            2 => Mark::Gap {
                offset,
                seq,
                count: input.odd_number(),
                bytes: input.odd_number(),
                time: at,
                until: time(input),
                cause: input.odd_number() as u32,
            }
            .encode(),
            _ => Mark::Run {
                offset,
                seq,
                time: at,
                epoch: input.odd_number(),
                run: input.odd_number(),
            }
            .encode(),
        });
    }
    out
}

/// Records stand in the file as they are, or as JSON.
fn inside(records: &[Got], file: &[u8], what: &str) {
    let mut from = 0;
    for got in records {
        let rest = &file[from..];
        let Some(at) = memchr::memmem::find(rest, &got.bytes) else {
            panic!("{what}: {got:?} stands nowhere behind {from}");
        };
        from += at + got.bytes.len();
    }
}

/// A segment of any batches, with an index of any entries, plain or compressed.
pub fn segments(data: &[u8]) {
    let mut input = Input::new(data);
    let (_dir, files) = folder(LogFormat::Local);
    let bits = input.byte();
    let query = query(&mut input);
    if bits & 1 != 0 {
        let side = side_file(&mut input, 1);
        std::fs::write(files.index_dir.join("1"), side).expect("written");
    }
    let (bytes, honest) = segment(&mut input);
    let path = files.path.join("1.seg");
    std::fs::write(&path, &bytes).expect("written");
    if bits & 2 != 0 {
        pack(Codec::Zstd, &path, &files.path.join("1.seg.zst"));
    }
    let Ok(got) = read(&files, &query) else {
        // A run that the log does not have.
        assert!(query.run.is_some());
        return;
    };
    inside(&got.records, &bytes, "a segment");
    let all = objects(&files, &Query::all()).expect("a log that can be read");
    let report = check_log(&files, None).expect("a log that can be checked");
    if report.is_clean() {
        assert_eq!(all.stats.damaged, 0, "nothing is named");
    }
    repair(&files).expect("a log that can be repaired");
    let after = objects(&files, &Query::all()).expect("a log that can be read");
    if honest {
        assert_same(&after.records, &all.records, "repaired");
    }
}

/// A json-file log of any bytes with an index of any entries.
pub fn json_files(data: &[u8]) {
    let mut input = Input::new(data);
    let (_dir, files) = folder(LogFormat::JsonFile);
    let bits = input.byte();
    let query = query(&mut input);
    let side = (bits & 1 != 0).then(|| side_file(&mut input, 2));
    let mut rest = input.rest();
    // Two files: what is written before the byte 0xfe is the older one.
    if let Some(at) = rest.iter().position(|b| *b == 0xfe) {
        let old = Path::new(&files.path).with_extension("log.1");
        std::fs::write(&old, &rest[..at]).expect("written");
        if bits & 2 != 0 {
            pack(Codec::Gzip, &old, &old.with_extension("1.gz"));
        }
        rest = &rest[at + 1..];
    }
    std::fs::write(&files.path, rest).expect("written");
    if let Some(mut side) = side {
        let inode =
            std::os::unix::fs::MetadataExt::ino(&std::fs::metadata(&files.path).expect("a file"));
        if let Some(header) = side.first_chunk().and_then(Header::decode) {
            side[..64].copy_from_slice(&Header { inode, ..header }.encode());
        }
        std::fs::write(files.index_dir.join("2"), side).expect("written");
    }
    if read(&files, &query).is_err() {
        assert!(query.run.is_some());
    }
    let all = objects(&files, &Query::all()).expect("a log that can be read");
    let report = check_log(&files, None).expect("a log that can be checked");
    let bad = |d| {
        !matches!(
            d,
            taffrail_log::Damage::Index | taffrail_log::Damage::FrameTable
        )
    };
    if !report.places.iter().any(|p| bad(p.what)) {
        assert_eq!(all.stats.damaged, 0, "nothing is named");
    }
    repair(&files).expect("a log that can be repaired");
    let after = objects(&files, &Query::all()).expect("a log that can be read");
    assert_same(&after.records, &all.records, "repaired");
}

pub(super) fn pack(codec: Codec, from: &Path, to: &Path) {
    let (input, output) = (
        std::fs::File::open(from).expect("a file"),
        std::fs::File::create(to).expect("a file"),
    );
    let length = input.metadata().expect("a file").len();
    compress(codec, &input, length, &output, &mut |_| true).expect("compressed");
    std::fs::remove_file(from).expect("removed");
}
