//! The program that the tests run in containers: PID 1, static, standard library only.
//!
//! `workload VERB key=value...`; the verbs are listed in `main`. What `lines` prints can be checked line by line:
//! `S NNNNNNNNNN CCCCCCCC filler\n`, where S is `o` or `e` (the stream), N counts from 0 for each stream and C is
//! FNV-1a over the stream letter, the number and the filler. `tests/harness/judge.rs` is the other side of this.

mod hostile;

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::FromRawFd;
use std::os::unix::fs::FileExt;
use std::process::exit;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

static SIGNALLED: AtomicBool = AtomicBool::new(false);

const SIGTERM: i32 = 15;
const SIGPIPE: i32 = 13;
const SIG_DFL: usize = 0;

unsafe extern "C" {
    fn signal(number: i32, handler: usize) -> usize;
}

extern "C" fn on_signal(_: i32) {
    SIGNALLED.store(true, Ordering::Relaxed);
}

fn catch_term() {
    // SAFETY: the handler only stores to an atomic, which is safe in a signal handler.
    unsafe {
        signal(SIGTERM, on_signal as extern "C" fn(i32) as usize);
    }
}

/// The `key=value` arguments.
struct Options(Vec<(String, String)>);

impl Options {
    fn text(&self, key: &str) -> Option<&str> {
        self.0
            .iter()
            .rev()
            .find(|(k, _)| k == key)
            .map(|(_, v)| v.as_str())
    }

    fn number(&self, key: &str, default: u64) -> u64 {
        match self.text(key) {
            None => default,
            Some(value) => value
                .parse()
                .unwrap_or_else(|_| usage(&format!("{key}={value} is not a number"))),
        }
    }
}

fn usage(why: &str) -> ! {
    eprintln!("workload: {why}");
    exit(64)
}

/// A descriptor written to without any buffer of ours. Dropping it would close the stream, so it is forgotten.
fn stream(fd: i32) -> File {
    // SAFETY: descriptors 1 and 2 are open for the life of the process and the file is never dropped.
    unsafe { File::from_raw_fd(fd) }
}

fn fnv(parts: &[&[u8]]) -> u32 {
    let mut hash = 0x811c_9dc5_u32;
    for part in parts {
        for byte in *part {
            hash = (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193);
        }
    }
    hash
}

const FILLER: &[u8] = b"abcdefghijklmnopqrstuvwxyz0123456789";

/// Appends line `number` of `letter`, `size` bytes with its newline (never less than 23).
fn line(out: &mut Vec<u8>, letter: u8, number: u64, size: usize) {
    let digits = format!("{number:010}");
    let length = size.saturating_sub(23);
    let start = (number % FILLER.len() as u64) as usize;
    let mut filler = Vec::with_capacity(length);
    while filler.len() < length {
        let from = (start + filler.len()) % FILLER.len();
        let take = (FILLER.len() - from).min(length - filler.len());
        filler.extend_from_slice(&FILLER[from..from + take]);
    }
    let sum = fnv(&[&[letter], digits.as_bytes(), &filler]);
    out.push(letter);
    out.push(b' ');
    out.extend_from_slice(digits.as_bytes());
    out.push(b' ');
    out.extend_from_slice(format!("{sum:08x}").as_bytes());
    out.push(b' ');
    out.extend_from_slice(&filler);
    out.push(b'\n');
}

/// What has been written so far, kept outside the container's output: two decimal numbers of 20 digits.
struct Tally(Option<File>);

impl Tally {
    fn open(path: Option<&str>) -> Self {
        Self(path.map(|path| {
            OpenOptions::new()
                .create(true)
                .truncate(true)
                .write(true)
                .open(path)
                .unwrap_or_else(|error| usage(&format!("tally {path}: {error}")))
        }))
    }

    fn note(&self, out: u64, err: u64) {
        if let Some(file) = &self.0 {
            let _ = file.write_at(format!("{out:020} {err:020}\n").as_bytes(), 0);
        }
    }
}

/// lines=N (0: until SIGTERM) size=BYTES mode=line|block rate=LINES/S stream=out|err|both exit=CODE newline=0
/// tally=PATH. With `both`, lines alternate. `newline=0` leaves the newline of the very last line away.
fn lines(options: &Options) -> i32 {
    catch_term();
    let total = options.number("lines", 10);
    let size = options.number("size", 100) as usize;
    let rate = options.number("rate", 0);
    let block = options.text("mode") == Some("block");
    let which = options.text("stream").unwrap_or("out");
    let newline = options.text("newline") != Some("0");
    let tally = Tally::open(options.text("tally"));
    let mut files = [stream(1), stream(2)];
    let mut written = [0_u64; 2];
    let mut pending = [Vec::with_capacity(80_000), Vec::with_capacity(80_000)];
    let started = Instant::now();
    let mut number = 0_u64;
    while (total == 0 || number < total) && !SIGNALLED.load(Ordering::Relaxed) {
        let at = match which {
            "out" => 0,
            "err" => 1,
            "both" => (number % 2) as usize,
            other => usage(&format!("stream={other}")),
        };
        let letter = [b'o', b'e'][at];
        line(&mut pending[at], letter, written[at], size);
        written[at] += 1;
        number += 1;
        let last = total != 0 && number == total;
        if last && !newline {
            pending[at].pop();
        }
        if !block || pending[at].len() >= 65536 {
            flush(&mut files[at], &mut pending[at]);
            tally.note(written[0], written[1]);
        }
        if rate > 0 {
            let due = Duration::from_secs_f64(number as f64 / rate as f64);
            let now = started.elapsed();
            if due > now + Duration::from_millis(1) {
                std::thread::sleep(due - now);
            }
        }
    }
    for at in 0..2 {
        flush(&mut files[at], &mut pending[at]);
    }
    tally.note(written[0], written[1]);
    std::mem::forget(files);
    options.number("exit", 0) as i32
}

fn flush(file: &mut File, pending: &mut Vec<u8>) {
    if !pending.is_empty()
        && let Err(error) = file.write_all(pending)
    {
        // The one loss that only the application sees: its output ended under it.
        let _ = std::fs::write("/tally/error", error.to_string());
        exit(70);
    }
    pending.clear();
}

/// size=BYTES newline=0|1 utf8=1: one line, of ASCII or of characters of one to four bytes. With utf8 a four-byte
/// character lies across the first border of 16 KiB.
fn long(options: &Options) -> i32 {
    let size = options.number("size", 1) as usize;
    let unit: &[u8] = if options.text("utf8") == Some("1") {
        // 16 384 is 4 above a multiple of 6: two bytes into the character.
        "xy😀".as_bytes()
    } else {
        FILLER
    };
    let mut out = stream(1);
    let mut buffer = Vec::with_capacity(unit.len() * 4096);
    while buffer.len() + unit.len() <= unit.len() * 4096 {
        buffer.extend_from_slice(unit);
    }
    let mut left = size;
    while left > 0 {
        let mut take = left.min(buffer.len());
        if take < buffer.len() {
            take -= take % unit.len();
        }
        if take == 0 {
            // The rest that is shorter than a unit.
            flush(&mut out, &mut vec![b'z'; left]);
            break;
        }
        flush(&mut out, &mut buffer[..take].to_vec());
        left -= take;
    }
    if options.text("newline") != Some("0") {
        flush(&mut out, &mut b"\n".to_vec());
    }
    std::mem::forget(out);
    0
}

/// hex=BYTES fd=1|2 repeat=N: raw bytes.
fn bytes(options: &Options) -> i32 {
    let hex = options.text("hex").unwrap_or("");
    let mut data: Vec<u8> = (0..hex.len() / 2)
        .map(|i| {
            u8::from_str_radix(&hex[2 * i..2 * i + 2], 16).unwrap_or_else(|_| usage("hex digits"))
        })
        .collect();
    data = data.repeat(options.number("repeat", 1) as usize);
    let mut file = stream(options.number("fd", 1) as i32);
    flush(&mut file, &mut data);
    std::mem::forget(file);
    options.number("exit", 0) as i32
}

/// size=BYTES seed=N: what `hostile.rs` makes of the seed, in writes of many sizes.
fn hostile(options: &Options) -> i32 {
    let size = options.number("size", 1_000_000) as usize;
    let data = hostile::bytes(options.number("seed", 1), size);
    let mut out = stream(1);
    let mut rest = &data[..];
    let mut step = 1;
    while !rest.is_empty() {
        let (now, later) = rest.split_at(step.min(rest.len()));
        flush(&mut out, &mut now.to_vec());
        rest = later;
        step = step * 7 % 99_991 + 1;
    }
    std::mem::forget(out);
    0
}

/// Copies stdin to stdout until its end; `stdin ends at N bytes` on stderr.
fn echo() -> i32 {
    let mut buffer = vec![0; 65536];
    let mut total = 0_u64;
    let mut out = stream(1);
    loop {
        match io::stdin().lock().read(&mut buffer) {
            Ok(0) => break,
            Ok(n) => {
                flush(&mut out, &mut buffer[..n].to_vec());
                total += n as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => usage(&format!("stdin: {error}")),
        }
    }
    let mut err = stream(2);
    flush(
        &mut err,
        &mut format!("stdin ends at {total} bytes\n").into_bytes(),
    );
    std::mem::forget((out, err));
    0
}

/// exit=CODE: sleeps until SIGTERM, then says so and exits.
fn trap(options: &Options) -> i32 {
    catch_term();
    println!("ready");
    while !SIGNALLED.load(Ordering::Relaxed) {
        std::thread::sleep(Duration::from_millis(5));
    }
    println!("got TERM");
    options.number("exit", 0) as i32
}

/// Opens /dev/stdout and /dev/stderr as many programs do, and writes a line to each.
fn reopen() -> i32 {
    for (path, text) in [
        ("/dev/stdout", "to stdout\n"),
        ("/dev/stderr", "to stderr\n"),
    ] {
        match OpenOptions::new().append(true).open(path) {
            Ok(mut file) => flush(&mut file, &mut text.as_bytes().to_vec()),
            Err(error) => {
                eprintln!("{path}: {error}");
                return 1;
            }
        }
    }
    0
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let verb = arguments.next().unwrap_or_default();
    let options = Options(
        arguments
            .map(|argument| match argument.split_once('=') {
                Some((key, value)) => (key.to_owned(), value.to_owned()),
                None => usage(&format!("{argument}: key=value is expected")),
            })
            .collect(),
    );
    // Rust ignores SIGPIPE; a container's program mostly does not.
    // SAFETY: SIG_DFL is no handler of ours.
    unsafe {
        signal(SIGPIPE, SIG_DFL);
    }
    let code = match verb.as_str() {
        "lines" => lines(&options),
        "long" => long(&options),
        "bytes" => bytes(&options),
        "hostile" => hostile(&options),
        "echo" => echo(),
        "trap" => trap(&options),
        "reopen" => reopen(),
        "sleep" => loop {
            std::thread::sleep(Duration::from_secs(3600));
        },
        other => usage(&format!("unknown verb {other:?}")),
    };
    exit(code)
}
