//! How fast a json-file log is read: `reader_speed [MEGABYTES] [LINE_BYTES]` (256 and 100).
//!
//! Writes a log of so many megabytes of payload to a temporary folder (`TMPDIR`), reads it in each
//! format, and reports payload per second. Beside it: what `cat` needs for the
//! same file, and how long the last ten records take. Build with `--profile fast` or `--release`.

use std::io::{BufWriter, Read, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use taffrail_log::{Format, LogFiles, LogFormat, Query, Reader, Step};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let megabytes: usize = args.next().map_or(Ok(256), |a| a.parse())?;
    let line: usize = args.next().map_or(Ok(100), |a| a.parse())?;
    let dir = std::env::temp_dir().join(format!("taffrail-reader-speed-{}", std::process::id()));
    std::fs::create_dir(&dir)?;
    let result = run(&dir, megabytes * 1_000_000, line);
    std::fs::remove_dir_all(&dir)?;
    result
}

fn run(dir: &Path, payload: usize, line: usize) -> Result<(), Box<dyn std::error::Error>> {
    let path = dir.join("c-json.log");
    let mut file = BufWriter::new(std::fs::File::create(&path)?);
    let count = payload / line;
    for n in 0..count {
        let text = format!("{n:>width$}", width = line - 1);
        let (s, ns) = (n / 1_000_000 % 60, n % 1_000_000 * 1000 + 1);
        writeln!(
            file,
            "{{\"log\":\"{text}\\n\",\"stream\":\"stdout\",\"time\":\"2023-11-14T22:13:{s:02}.{ns:09}Z\"}}"
        )?;
    }
    file.flush()?;
    let size = std::fs::metadata(&path)?.len();
    println!("{count} records, {size} bytes");

    let start = Instant::now();
    let mut cat = Command::new("cat")
        .arg(&path)
        .stdout(Stdio::piped())
        .spawn()?;
    let mut pipe = cat.stdout.take().ok_or("no pipe")?;
    let mut buf = vec![0; 128 * 1024];
    while pipe.read(&mut buf)? > 0 {}
    cat.wait()?;
    report("cat, through a pipe (file bytes)", start, size as usize);

    let files = LogFiles {
        format: LogFormat::JsonFile,
        spool_dir: dir.join("spool"),
        path,
        index_dir: dir.join("index"),
        max_file: 1,
    };
    let frames = Format {
        multiplexed: true,
        ..Format::default()
    };
    for (name, format) in [
        ("payload only", Format::default()),
        ("a frame a record", frames),
        (
            "shared frames",
            Format {
                coalesce: true,
                ..frames
            },
        ),
        (
            "frames, timestamps",
            Format {
                timestamps: true,
                ..frames
            },
        ),
        (
            "frames, details",
            Format {
                details: true,
                ..frames
            },
        ),
    ] {
        let start = Instant::now();
        let mut reader = Reader::open(files.clone(), Query::all(), format, None)?;
        let mut out = Vec::new();
        while reader.read(&mut out)? != Step::End {
            out.clear();
        }
        assert_eq!(reader.stats().records, count as u64);
        report(name, start, payload);
    }

    let start = Instant::now();
    let query = Query {
        tail: Some(10),
        ..Query::all()
    };
    let mut reader = Reader::open(files.clone(), query, frames, None)?;
    let mut out = Vec::new();
    while reader.read(&mut out)? != Step::End {}
    println!(
        "last 10 records: {:?}, {} records",
        start.elapsed(),
        reader.stats().records
    );

    let start = Instant::now();
    let query = Query {
        since: Some(1_699_999_981_500_000_000),
        until: Some(1_699_999_981_500_100_000),
        ..Query::all()
    };
    let mut reader = Reader::open(files, query, frames, None)?;
    while reader.read(&mut out)? != Step::End {}
    println!(
        "since and until: {:?}, {} records",
        start.elapsed(),
        reader.stats().records
    );
    Ok(())
}

fn report(name: &str, start: Instant, bytes: usize) {
    let elapsed = start.elapsed().as_secs_f64();
    println!("{name}: {:.0} MB/s", bytes as f64 / 1e6 / elapsed);
}
