//! Logs written by the monitor's own capture code, and what a reader must make of them.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use taffrail_log::{Codec, Format, LogFiles, LogFormat, Query, Reader, compress};
use taffrail_log_core::capture::{self, Buffers, Log, Ring};
use taffrail_log_core::local::{ALIGN, SegmentHeader};
use taffrail_log_core::segment;
use taffrail_log_core::side::{ENTRY, Header};
use taffrail_log_core::state::{RING, Slot, phase};

pub const BASE: u64 = 1_700_000_000_000_000_000;

/// What one record must read as.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Want {
    pub bytes: Vec<u8>,
    pub stream: u8,
    pub seq: u64,
    pub time: u64,
    pub run: u32,
    pub file: u64,
}

struct Disk {
    files: LogFiles,
    log: File,
    side: File,
    committed: Slot,
    attrs: Rc<str>,
    run: u32,
    max_size: u64,
    now: u64,
    /// Refuses writes, as a full disk does.
    full: bool,
}

#[derive(Debug)]
pub struct Full;

impl Log for Disk {
    type Error = Full;
    fn write(&mut self, at: u64, bytes: &[u8]) -> Result<(), Full> {
        if self.full {
            return Err(Full);
        }
        self.log.write_all_at(bytes, at).unwrap();
        Ok(())
    }
    fn write_parts(&mut self, at: u64, parts: &[&[u8]]) -> Result<(), Full> {
        self.write(at, &parts.concat())
    }
    fn write_side(&mut self, at: u64, entry: &[u8; ENTRY]) -> bool {
        self.side.write_all_at(entry, at).unwrap();
        true
    }
    fn sync(&mut self) -> Result<(), Full> {
        Ok(())
    }
    fn commit(&mut self, slot: &Slot, _: u8) {
        self.committed = *slot;
    }
    fn rotate(&mut self, slot: &mut Slot) -> Result<(), Full> {
        if self.files.format == LogFormat::JsonFile {
            for n in (0..slot.file_no).rev() {
                let name = |n: u64| match n {
                    0 => self.files.path.clone(),
                    n => PathBuf::from(format!("{}.{n}", self.files.path.display())),
                };
                for end in ["", ".gz"] {
                    let with = |p: PathBuf| PathBuf::from(format!("{}{end}", p.display()));
                    if with(name(n)).exists() {
                        std::fs::rename(with(name(n)), with(name(n + 1))).unwrap();
                    }
                }
            }
        }
        slot.file_no += 1;
        slot.offset = 0;
        slot.block_offset = 0;
        slot.block_crc = 0;
        slot.segment_used = 0;
        self.begin(slot);
        self.commit(slot, phase::BATCH);
        Ok(())
    }
}

impl Disk {
    fn format<'a>(&self, attrs: &'a str) -> capture::Format<'a> {
        capture::Format {
            local: self.files.format == LogFormat::Local,
            run: self.run,
            max_size: self.max_size,
            attrs: attrs.as_bytes(),
            discard: false,
        }
    }

    /// As the monitor begins a file.
    fn begin(&mut self, slot: &mut Slot) {
        let path = path_of(&self.files, slot.file_no, slot.file_no);
        self.log = File::create(path).unwrap();
        self.side = File::create(self.files.index_dir.join(slot.file_no.to_string())).unwrap();
        slot.inode = self.log.metadata().unwrap().ino();
        let header = Header {
            file_no: slot.file_no,
            inode: slot.inode,
            epoch: slot.epoch,
            first_seq: slot.next_seq,
            time: self.now,
        };
        self.write_side(0, &header.encode());
        slot.index_offset = ENTRY as u64;
        if self.files.format == LogFormat::Local {
            slot.salt = 0xfeed_0000 + slot.file_no as u32;
            let header = SegmentHeader {
                salt: slot.salt,
                number: slot.file_no,
                first_seq: segment::next_seq(slot),
                epoch: slot.epoch as u32,
                run: self.run,
                time: self.now,
            };
            self.write(0, &header.encode()).unwrap();
            slot.offset = ALIGN as u64;
            slot.block_offset = slot.offset;
            slot.attrs_at = 0;
            let attrs = Rc::clone(&self.attrs);
            let format = self.format(&attrs);
            let time = self.now.max(slot.last_time);
            segment::write_attrs(self, slot, &format, time).unwrap();
        }
    }
}

/// Where file `number` lies while `newest` is the current one.
pub fn path_of(files: &LogFiles, number: u64, newest: u64) -> PathBuf {
    match (files.format, newest - number) {
        (LogFormat::Local, _) => files.path.join(format!("{number}.seg")),
        (LogFormat::JsonFile, 0) => files.path.clone(),
        (LogFormat::JsonFile, n) => PathBuf::from(format!("{}.{n}", files.path.display())),
    }
}

pub struct Written {
    _dir: tempfile::TempDir,
    pub files: LogFiles,
    disk: Disk,
    slot: Slot,
    rings: [Vec<u8>; 2],
    /// Bytes of each stream that are in no record yet.
    open: [Vec<u8>; 2],
    pub want: Vec<Want>,
    /// Records given up: before which record, how many.
    pub gaps: Vec<(u64, u64)>,
}

impl Written {
    pub fn new(format: LogFormat, max_size: u64, attrs: &BTreeMap<String, String>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let files = LogFiles {
            format,
            path: match format {
                LogFormat::Local => dir.path().join("local-logs"),
                LogFormat::JsonFile => dir.path().join("c-json.log"),
            },
            index_dir: dir.path().join("index"),
            spool_dir: dir.path().join("spool"),
            max_file: 100_000,
        };
        for folder in [&files.index_dir, &files.spool_dir] {
            std::fs::create_dir(folder).unwrap();
        }
        if format == LogFormat::Local {
            std::fs::create_dir(&files.path).unwrap();
        }
        let mut slot = Slot {
            file_no: 1,
            oldest_file_no: 1,
            epoch: 1,
            next_seq: 1,
            ..Slot::default()
        };
        let scratch = || File::open("/dev/null").unwrap();
        let mut disk = Disk {
            log: scratch(),
            side: scratch(),
            committed: slot,
            attrs: if attrs.is_empty() {
                "".into()
            } else {
                serde_json::to_string(attrs).unwrap().into()
            },
            run: 1,
            max_size,
            now: BASE,
            full: false,
            files: files.clone(),
        };
        disk.begin(&mut slot);
        capture::mark_run(&mut disk, &mut slot, 1, BASE);
        Self {
            _dir: dir,
            files,
            disk,
            slot,
            rings: [vec![0; RING], vec![0; RING]],
            open: [Vec::new(), Vec::new()],
            want: Vec::new(),
            gaps: Vec::new(),
        }
    }

    pub fn slot(&self) -> &Slot {
        &self.slot
    }

    pub fn run(&self) -> u32 {
        self.disk.run
    }

    fn is_local(&self) -> bool {
        self.files.format == LogFormat::Local
    }

    /// Cuts what is open of `stream` by the rule, naively, and expects it.
    fn expect(&mut self, stream: usize, time: u64, last_time: u64, seq: u64, end: bool) {
        let mut time = time.max(last_time + 1);
        let mut seq = seq;
        loop {
            let open = &self.open[stream];
            let line = open.iter().position(|b| *b == b'\n');
            let n = match line {
                Some(at) if at < capture::PIECE => at + 1,
                _ if open.len() >= capture::PIECE => {
                    let cut = &open[..capture::PIECE];
                    // Not inside of a character.
                    let keep = (1..4).find(|k| {
                        std::str::from_utf8(&cut[cut.len() - k..])
                            .is_err_and(|e| e.valid_up_to() == 0 && e.error_len().is_none())
                    });
                    capture::PIECE - keep.unwrap_or(0)
                }
                _ if end && !open.is_empty() => open.len(),
                _ => break,
            };
            let bytes: Vec<u8> = self.open[stream].drain(..n).collect();
            self.want.push(Want {
                bytes,
                stream: stream as u8 + 1,
                seq,
                time,
                run: self.disk.run,
                file: 0,
            });
            seq += 1;
            time += 1;
        }
    }

    pub fn write(&mut self, stream: usize, bytes: &[u8], time: u64) {
        for bytes in bytes.chunks(128 * 1024) {
            self.disk.now = time;
            let before = self.slot;
            let mark = self.want.len();
            self.open[stream].extend_from_slice(bytes);
            self.expect(stream, time, before.last_time, before.next_seq, false);
            self.slot.batch_mark = self.slot.batch_mark.wrapping_add(1);
            self.slot.consumed = 0;
            self.feed(stream, Some(bytes), time);
            self.place(mark, before.file_no);
        }
    }

    fn feed(&mut self, stream: usize, bytes: Option<&[u8]>, time: u64) {
        let (mut out, mut line) = (vec![0; 64 * 1024], vec![0; capture::LINE]);
        let mut buffers = Buffers {
            out: &mut out,
            line: &mut line,
        };
        let attrs = Rc::clone(&self.disk.attrs);
        let format = self.disk.format(&attrs);
        let mut ring = Ring::new(&mut self.rings[stream]);
        let (disk, slot) = (&mut self.disk, &mut self.slot);
        match bytes {
            Some(bytes) => capture::batch(
                disk,
                slot,
                &format,
                &mut buffers,
                &mut ring,
                stream,
                bytes,
                time,
            ),
            None => capture::finish(disk, slot, &format, &mut buffers, &mut ring, stream, time),
        }
        .unwrap();
    }

    /// In which file the records from `mark` on are: by the first numbers of the side files.
    fn place(&mut self, mark: usize, from: u64) {
        let first = |number: u64| {
            let bytes = std::fs::read(self.files.index_dir.join(number.to_string())).unwrap();
            Header::decode(bytes.first_chunk().unwrap())
                .unwrap()
                .first_seq
        };
        let firsts: Vec<(u64, u64)> = (from..=self.slot.file_no).map(|n| (n, first(n))).collect();
        for want in &mut self.want[mark..] {
            let (number, _) = firsts.iter().rev().find(|f| f.1 <= want.seq).unwrap();
            want.file = *number;
        }
    }

    /// A batch that the disk does not take.
    pub fn lose(&mut self, stream: usize, bytes: &[u8], time: u64) {
        let before = self.slot.next_seq;
        self.slot.consumed = 0;
        // What is ended goes; the open line goes on.
        let mark = self.want.len();
        self.open[stream].extend_from_slice(bytes);
        self.expect(stream, time, 0, 0, false);
        self.want.truncate(mark);
        let mut ring = Ring::new(&mut self.rings[stream]);
        let (disk, slot) = (&mut self.disk, &mut self.slot);
        capture::drop_batch(disk, slot, &mut ring, stream, bytes, time, 28);
        let lost = self.slot.next_seq - before;
        if lost > 0 {
            self.gaps.push((before, lost));
        }
    }

    /// The streams end.
    pub fn end(&mut self, time: u64) {
        self.end_streams(time);
        let attrs = Rc::clone(&self.disk.attrs);
        let format = self.disk.format(&attrs);
        capture::end_log(&mut self.disk, &mut self.slot, &format).unwrap();
    }

    fn end_streams(&mut self, time: u64) {
        for stream in 0..2 {
            self.disk.now = time;
            let before = self.slot;
            let mark = self.want.len();
            self.expect(stream, time, before.last_time, before.next_seq, true);
            self.feed(stream, None, time);
            self.place(mark, before.file_no);
            self.slot.ordinal[stream] = 0;
            self.slot.chain_seq[stream] = 0;
        }
    }

    /// The container ends and is started again.
    pub fn next_run(&mut self, time: u64) {
        if self.slot.gap_records > 0 {
            // The disk is still full: the gap stays pending.
            self.end_streams(time);
        } else {
            self.end(time);
        }
        self.disk.run += 1;
        self.slot.run_marked = 0;
        self.slot.attrs_at = 0;
        if self.is_local() {
            let attrs = Rc::clone(&self.disk.attrs);
            let format = self.disk.format(&attrs);
            let at = time.max(self.slot.last_time);
            segment::write_attrs(&mut self.disk, &mut self.slot, &format, at).unwrap();
        }
        let run = self.disk.run;
        capture::mark_run(&mut self.disk, &mut self.slot, run, time);
    }

    pub fn path(&self, number: u64) -> PathBuf {
        path_of(&self.files, number, self.slot.file_no)
    }

    /// Compresses a closed file, with or without its table.
    pub fn compress(&self, number: u64, table: bool) -> Option<PathBuf> {
        Some(self.compress_told(number, table)?.0)
    }

    /// The same; gives compressed and plain sizes of the frames, too.
    pub fn compress_told(&self, number: u64, table: bool) -> Option<(PathBuf, Vec<(u32, u32)>)> {
        let path = self.path(number);
        if number >= self.slot.file_no || !path.exists() {
            return None;
        }
        let to = compressed_name(&self.files, &path);
        let done = compress_to(&self.files, &path, &to);
        if table && !done.is_empty() {
            std::fs::write(self.files.index_dir.join(format!("{number}.gz")), &done).unwrap();
        }
        std::fs::remove_file(path).unwrap();
        let sizes = frame_sizes(&self.files, &to, &done);
        Some((to, sizes))
    }

    /// Moves a closed file into the spool.
    pub fn spool(&self, number: u64) {
        let plain = self.path(number);
        let packed = compressed_name(&self.files, &plain);
        let end = if self.is_local() { ".seg" } else { "" };
        let to = self.files.spool_dir.join(format!("{number}{end}"));
        for (from, to) in [
            (plain, to.clone()),
            (packed, compressed_name(&self.files, &to)),
        ] {
            if from.exists() {
                std::fs::rename(from, to).unwrap();
            }
        }
    }

    pub fn open(&self, query: Query, format: Format) -> Reader {
        Reader::open(self.files.clone(), query, format, None).unwrap()
    }
}

/// What a log of `format` makes of a record's bytes: json-file cannot hold what is no UTF-8.
pub fn stored(format: LogFormat, bytes: &[u8]) -> Vec<u8> {
    if format == LogFormat::Local {
        return bytes.to_vec();
    }
    let mut out = Vec::new();
    let mut rest = bytes;
    while !rest.is_empty() {
        let n = std::str::from_utf8(rest).map_or_else(|e| e.valid_up_to(), str::len);
        out.extend_from_slice(&rest[..n]);
        rest = &rest[n..];
        if !rest.is_empty() {
            out.extend_from_slice("\u{fffd}".as_bytes());
            rest = &rest[1..];
        }
    }
    out
}

pub fn compressed_name(files: &LogFiles, path: &Path) -> PathBuf {
    let end = match files.format {
        LogFormat::Local => "zst",
        LogFormat::JsonFile => "gz",
    };
    PathBuf::from(format!("{}.{end}", path.display()))
}

/// Sizes of a compressed file's frames: by the table, or the seek table at the file's end.
fn frame_sizes(files: &LogFiles, path: &Path, table: &[u8]) -> Vec<(u32, u32)> {
    let number = |bytes: &[u8]| u32::from_le_bytes(bytes.try_into().unwrap());
    let packed = std::fs::read(path).unwrap();
    let entries = match files.format {
        LogFormat::JsonFile => &table[12..table.len() - 4],
        LogFormat::Local => {
            let (rest, footer) = packed.split_at(packed.len() - 9);
            let count = number(&footer[..4]) as usize;
            &rest[rest.len() - 8 * count..]
        }
    };
    entries
        .chunks(8)
        .map(|entry| (number(&entry[..4]), number(&entry[4..])))
        .collect()
}

/// Compresses a file; gives the frame table.
pub fn compress_to(files: &LogFiles, from: &Path, to: &Path) -> Vec<u8> {
    let codec = match files.format {
        LogFormat::Local => Codec::Zstd,
        LogFormat::JsonFile => Codec::Gzip,
    };
    let (input, output) = (File::open(from).unwrap(), File::create(to).unwrap());
    let length = input.metadata().unwrap().len();
    let done = compress(codec, &input, length, &output, &mut |_| true)
        .unwrap()
        .unwrap();
    assert_eq!(done.plain_bytes, length);
    assert_eq!(done.compressed_bytes, output.metadata().unwrap().len());
    done.table
}
