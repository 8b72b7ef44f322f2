//! Any bytes as a compressed file, with any frame table: read by frames it gives what the plain file
//! gives, as far as the usual decoder of its format takes it; else it comes to an end.

use std::io::Read as _;

use taffrail_log::{LogFiles, LogFormat, Query, check as check_log, repair};

use super::input::Input;
use super::read::{assert_same, objects, read};
use super::segment::{folder, query};

/// Frames of the format, each as the fuzzer wants it.
struct Packed {
    bytes: Vec<u8>,
    /// What the table says of them.
    table: Vec<(u32, u32)>,
    /// Nothing was forged.
    sound: bool,
}

fn sizes(input: &mut Input<'_>, table: &mut [(u32, u32)]) -> bool {
    let Some((size, plain)) = table.last_mut() else {
        return true;
    };
    let bits = input.byte();
    if bits & 3 == 1 {
        *size = input.number(4) as u32;
    }
    if bits & 12 == 4 {
        *plain = input.number(4) as u32;
    }
    bits & 3 != 1 && bits & 12 != 4
}

fn plain<'l>(input: &mut Input<'_>, log: &'l [u8], at: &mut usize) -> &'l [u8] {
    let length = input.number(2) as usize;
    let from = *at;
    *at = (from + length).min(log.len());
    &log[from..*at]
}

fn zstd(input: &mut Input<'_>, log: &[u8]) -> Packed {
    let mut packed = Packed {
        bytes: Vec::new(),
        table: Vec::new(),
        sound: true,
    };
    let mut at = 0;
    while !input.is_empty() && packed.bytes.len() < 200_000 {
        let op = input.byte();
        let start = packed.bytes.len();
        match op & 7 {
            0..=5 => {
                let plain = plain(input, log, &mut at);
                let mut codec = zstd::bulk::Compressor::new(1).expect("a compressor");
                codec.include_checksum(op & 1 == 0).expect("a setting");
                codec.include_contentsize(op & 2 == 0).expect("a setting");
                let frame = codec.compress(plain).expect("compressed");
                packed.bytes.extend_from_slice(&frame);
                packed.table.push((frame.len() as u32, plain.len() as u32));
            }
            6 => {
                let length = usize::from(input.byte());
                packed.bytes.extend_from_slice(input.bytes(length));
                let size = (packed.bytes.len() - start) as u32;
                packed.table.push((size, input.number(3) as u32));
                packed.sound = false;
            }
            _ => {
                // A skippable frame of any length, or what claims to be one.
                let length = input.number(4) as u32;
                packed
                    .bytes
                    .extend_from_slice(&0x184d_2a5e_u32.to_le_bytes());
                packed.bytes.extend_from_slice(&length.to_le_bytes());
                packed.sound = false;
            }
        }
        packed.sound &= sizes(input, &mut packed.table);
    }
    let footer = input.byte();
    if footer & 1 == 0 {
        let mut table = 0x184d_2a5e_u32.to_le_bytes().to_vec();
        table.extend_from_slice(&((8 * packed.table.len() + 9) as u32).to_le_bytes());
        for (size, plain) in &packed.table {
            table.extend_from_slice(&size.to_le_bytes());
            table.extend_from_slice(&plain.to_le_bytes());
        }
        table.extend_from_slice(&(packed.table.len() as u32).to_le_bytes());
        table.push(footer & 0xfe);
        table.extend_from_slice(&0x8f92_eab1_u32.to_le_bytes());
        packed.bytes.extend_from_slice(&table);
    }
    packed
}

fn gzip(input: &mut Input<'_>, log: &[u8]) -> Packed {
    let mut packed = Packed {
        bytes: Vec::new(),
        table: Vec::new(),
        sound: true,
    };
    // A file of ours tells the sizes of all members, one of Docker those of none.
    let (mut told_some, mut told_all) = (false, true);
    let mut at = 0;
    while !input.is_empty() && packed.bytes.len() < 200_000 {
        let op = input.byte();
        let start = packed.bytes.len();
        match op & 7 {
            0..=5 => {
                told_some |= op & 7 < 4;
                told_all &= op & 7 < 4;
                let plain = plain(input, log, &mut at);
                let mut deflated = Vec::new();
                flate2::read::DeflateEncoder::new(plain, flate2::Compression::fast())
                    .read_to_end(&mut deflated)
                    .expect("compressed");
                let mut told = [(deflated.len() as u32, plain.len() as u32)];
                packed.sound &= sizes(input, &mut told);
                let (size, claimed) = told[0];
                let extra = match op & 7 {
                    0..=2 => {
                        let mut extra = b"TF\x08\0".to_vec();
                        extra.extend_from_slice(&size.to_le_bytes());
                        extra.extend_from_slice(&claimed.to_le_bytes());
                        extra
                    }
                    3 => format!(
                        "{{\"lastTime\":\"2023-11-14T22:13:20Z\",\"deflated\":{size},\"plain\":{claimed}}}"
                    )
                    .into_bytes(),
                    4 => b"{\"lastTime\":\"2023-11-14T22:13:20Z\"}".to_vec(),
                    _ => {
                        let length = usize::from(input.byte());
                        input.bytes(length).to_vec()
                    }
                };
                packed
                    .bytes
                    .extend_from_slice(&[0x1f, 0x8b, 8, 4, 0, 0, 0, 0, 0, 0xff]);
                packed
                    .bytes
                    .extend_from_slice(&(extra.len() as u16).to_le_bytes());
                packed.bytes.extend_from_slice(&extra);
                packed.bytes.extend_from_slice(&deflated);
                let mut crc = flate2::Crc::new();
                crc.update(plain);
                packed.bytes.extend_from_slice(&crc.sum().to_le_bytes());
                packed
                    .bytes
                    .extend_from_slice(&(plain.len() as u32).to_le_bytes());
                let size = (packed.bytes.len() - start) as u32;
                packed.table.push((size, plain.len() as u32));
            }
            6 => {
                let length = usize::from(input.byte());
                packed.bytes.extend_from_slice(input.bytes(length));
                packed.table.push(((packed.bytes.len() - start) as u32, 0));
                packed.sound = false;
            }
            _ => packed.sound &= sizes(input, &mut packed.table),
        }
    }
    packed.sound &= told_all || !told_some;
    packed
}

/// What the monitor may have written: lines, or a segment with one batch after the other.
fn log_of(format: LogFormat) -> Vec<u8> {
    use super::common::written::{BASE, Written};
    let mut log = Written::new(format, 0, &std::collections::BTreeMap::new());
    for n in 0..60u64 {
        let text: String = (0..n)
            .map(|line| format!("{n} {line} {}\n", "x".repeat(30)))
            .collect();
        log.write(
            (n % 2) as usize,
            format!("{text}end\n").as_bytes(),
            BASE + n * 1000,
        );
    }
    log.end(BASE + 100_000);
    std::fs::read(log.path(1)).expect("a log file")
}

fn plain_log(format: LogFormat) -> &'static [u8] {
    static LOCAL: std::sync::OnceLock<Vec<u8>> = std::sync::OnceLock::new();
    static JSON: std::sync::OnceLock<Vec<u8>> = std::sync::OnceLock::new();
    match format {
        LogFormat::Local => LOCAL.get_or_init(|| log_of(format)),
        LogFormat::JsonFile => JSON.get_or_init(|| log_of(format)),
    }
}

/// The frames are what a decoder takes: by them the same is read as from the plain file.
fn compare(files: &LogFiles, plain: &[u8], query: &Query, sound: bool) {
    let (_dir, other) = folder(files.format);
    let to = match files.format {
        LogFormat::Local => other.path.join("1.seg"),
        LogFormat::JsonFile => other.path.with_extension("log.1"),
    };
    std::fs::write(to, plain).expect("written");
    // Only one of the two may have numbers.
    let query = Query {
        run: None,
        after: None,
        ..query.clone()
    };
    let packed = read(files, &query).expect("a log that can be read");
    let same = objects(&other, &query).expect("a log that can be read");
    if sound {
        assert_same(&packed.records, &same.records, "compressed and plain");
    }
}

/// Any bytes as the frames of a compressed segment and its seek table.
pub fn segments(data: &[u8]) {
    let mut input = Input::new(data);
    let (_dir, files) = folder(LogFormat::Local);
    let query = query(&mut input);
    let raw = input.flag();
    let packed = if raw {
        Packed {
            bytes: input.rest().to_vec(),
            table: Vec::new(),
            sound: false,
        }
    } else {
        zstd(&mut input, plain_log(LogFormat::Local))
    };
    std::fs::write(files.path.join("1.seg.zst"), &packed.bytes).expect("written");
    finish(&files, &query, &packed, |bytes| {
        let mut plain = Vec::new();
        let decoder = zstd::stream::read::Decoder::new(bytes).ok()?;
        decoder.take(4 << 20).read_to_end(&mut plain).ok()?;
        Some(plain)
    });
}

/// Any bytes as the members of a compressed json-file log and its table.
pub fn members(data: &[u8]) {
    let mut input = Input::new(data);
    let (_dir, files) = folder(LogFormat::JsonFile);
    let query = query(&mut input);
    let bits = input.byte();
    let packed = if bits & 1 != 0 {
        Packed {
            bytes: input.rest().to_vec(),
            table: Vec::new(),
            sound: false,
        }
    } else {
        gzip(&mut input, plain_log(LogFormat::JsonFile))
    };
    std::fs::write(files.path.with_extension("log.1.gz"), &packed.bytes).expect("written");
    if bits & 2 != 0 {
        // The current file, with a side file, so that the older one has a number and a table.
        std::fs::write(&files.path, b"").expect("written");
        let inode =
            std::os::unix::fs::MetadataExt::ino(&std::fs::metadata(&files.path).expect("a file"));
        let header = taffrail_log_core::side::Header {
            file_no: 2,
            inode,
            epoch: 1,
            first_seq: 9,
            time: 0,
        };
        std::fs::write(files.index_dir.join("2"), header.encode()).expect("written");
        let mut table = b"TAFGZT01".to_vec();
        table.extend_from_slice(&(packed.table.len() as u32).to_le_bytes());
        for (size, plain) in &packed.table {
            table.extend_from_slice(&size.to_le_bytes());
            table.extend_from_slice(&plain.to_le_bytes());
        }
        let crc = taffrail_log_core::crc32c::update(0, &table);
        table.extend_from_slice(&crc.to_le_bytes());
        std::fs::write(files.index_dir.join("1.gz"), table).expect("written");
    }
    finish(&files, &query, &packed, |bytes| {
        let mut plain = Vec::new();
        let decoder = flate2::read::MultiGzDecoder::new(bytes);
        decoder.take(4 << 20).read_to_end(&mut plain).ok()?;
        Some(plain)
    });
}

fn finish(
    files: &LogFiles,
    query: &Query,
    packed: &Packed,
    decode: impl FnOnce(&[u8]) -> Option<Vec<u8>>,
) {
    match decode(&packed.bytes) {
        Some(plain) => compare(files, &plain, query, packed.sound),
        None => {
            let query = Query {
                run: None,
                ..query.clone()
            };
            read(files, &query).expect("a log that can be read");
        }
    }
    let before = objects(files, &Query::all()).expect("a log that can be read");
    check_log(files, None).expect("a log that can be checked");
    repair(files).expect("a log that can be repaired");
    let after = objects(files, &Query::all()).expect("a log that can be read");
    assert_same(&after.records, &before.records, "repaired");
}
