//! Logs of earlier layouts (`data/`): whatever the present layout is, they are read, record by record, and a
//! check finds nothing wrong with them.

mod common;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use common::drain;
use common::written::{BASE, Written, stored};
use taffrail_log::{Cursor, Damage, Format, LogFiles, LogFormat, Query, Run, check};

fn data() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data")
}

fn files(folder: &Path) -> LogFiles {
    let local = folder.join("local-logs").exists();
    LogFiles {
        format: if local {
            LogFormat::Local
        } else {
            LogFormat::JsonFile
        },
        path: folder.join(if local { "local-logs" } else { "c-json.log" }),
        index_dir: folder.join("index"),
        spool_dir: folder.join("spool"),
        max_file: 1000,
    }
}

/// The folders of `data`.
fn kept() -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = std::fs::read_dir(data())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_dir())
        .collect();
    found.sort();
    found
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &to);
        } else {
            std::fs::copy(entry.path(), to).unwrap();
        }
    }
}

fn objects(files: &LogFiles, query: &Query) -> String {
    let format = Format {
        ndjson: true,
        details: true,
        ..Format::default()
    };
    let mut reader =
        taffrail_log::Reader::open(files.clone(), query.clone(), format, None).unwrap();
    let out = drain(&mut reader);
    assert_eq!(reader.stats().damaged, 0, "{}", files.path.display());
    String::from_utf8(out).unwrap()
}

/// A stopped container's json-file log has its numbers only with its own inode, which no copy keeps.
fn own(files: &LogFiles) {
    use std::os::unix::fs::MetadataExt;
    use taffrail_log_core::side::{ENTRY, Header};
    if files.format == LogFormat::Local {
        return;
    }
    let newest = std::fs::read_dir(&files.index_dir)
        .unwrap()
        .filter_map(|entry| entry.unwrap().file_name().to_str()?.parse::<u64>().ok())
        .max()
        .unwrap();
    let path = files.index_dir.join(newest.to_string());
    let mut bytes = std::fs::read(&path).unwrap();
    let header = Header::decode(bytes.first_chunk().unwrap()).unwrap();
    let inode = std::fs::metadata(&files.path).unwrap().ino();
    bytes[..ENTRY].copy_from_slice(&Header { inode, ..header }.encode());
    std::fs::write(path, bytes).unwrap();
}

#[test]
fn are_read() {
    let kept = kept();
    assert!(kept.len() >= 4, "{kept:?}");
    for folder in kept {
        let want = std::fs::read_to_string(folder.join("expected.ndjson")).unwrap();
        let dir = tempfile::tempdir().unwrap();
        copy(&folder, dir.path());
        let files = files(dir.path());
        own(&files);
        let all = objects(&files, &Query::all());
        for (n, (got, want)) in all.lines().zip(want.lines()).enumerate() {
            assert_eq!(got, want, "{}: line {n}", folder.display());
        }
        assert_eq!(all.lines().count(), want.lines().count());
        // From places, by the side files of that time.
        let lines: Vec<&str> = want.lines().collect();
        let records = |from: usize| lines[from..].join("\n") + "\n";
        let wanted: Vec<usize> = (0..lines.len())
            .filter(|n| lines[*n].starts_with("{\"Line\""))
            .collect();
        let at = wanted[wanted.len() * 2 / 3];
        let tail = wanted.iter().filter(|n| **n >= at).count() as u64;
        let query = Query {
            tail: Some(tail),
            ..Query::all()
        };
        assert_eq!(
            objects(&files, &query),
            records(at),
            "{}: tail",
            folder.display()
        );
        let object: serde_json::Value = serde_json::from_str(lines[at - 1]).unwrap();
        let after: Cursor = object["Cursor"].as_str().unwrap().parse().unwrap();
        let query = Query {
            after: Some(after),
            ..Query::all()
        };
        assert_eq!(
            objects(&files, &query),
            records(at),
            "{}: cursor",
            folder.display()
        );
        let query = Query {
            run: Some(Run::Number(2)),
            ..Query::all()
        };
        let second = objects(&files, &query);
        assert!(second.lines().count() > 10, "{}: run", folder.display());
        assert!(all.contains(second.lines().next().unwrap()));
        // And again without them.
        std::fs::remove_dir_all(&files.index_dir).unwrap();
        if files.format == LogFormat::Local {
            assert_eq!(objects(&files, &Query::all()), all);
        }
    }
}

#[test]
fn are_whole() {
    for folder in kept() {
        let dir = tempfile::tempdir().unwrap();
        copy(&folder, dir.path());
        let files = files(dir.path());
        own(&files);
        let report = check(&files, None).unwrap();
        assert_eq!(report.places, [], "{}", folder.display());
        let want = std::fs::read_to_string(folder.join("expected.ndjson")).unwrap();
        let records = want.lines().filter(|l| l.starts_with("{\"Line\"")).count();
        assert_eq!(report.records as usize, records);
        // A file that is damaged is found out: the data says something.
        let path = match files.format {
            LogFormat::Local => std::fs::read_dir(&files.path)
                .unwrap()
                .next()
                .unwrap()
                .unwrap()
                .path(),
            LogFormat::JsonFile => files.path.clone(),
        };
        let mut bytes = std::fs::read(&path).unwrap();
        let at = bytes.len() / 2;
        bytes[at..at + 40].fill(0);
        std::fs::write(&path, bytes).unwrap();
        let report = check(&files, None).unwrap();
        assert!(report.places.iter().any(|p| p.what != Damage::Index));
    }
}

/// Makes the folders that are missing, by the present writer: see `data/README.md`.
#[test]
#[ignore = "writes into the sources, on purpose only"]
fn make() {
    for (format, name) in [
        (LogFormat::Local, "local-1"),
        (LogFormat::JsonFile, "json-file-1"),
    ] {
        for packed in [false, true] {
            let end = if packed { "-compressed" } else { "" };
            let to = data().join(format!("{name}{end}"));
            if !to.exists() {
                write(format, packed, &to);
            }
        }
    }
}

fn write(format: LogFormat, packed: bool, to: &Path) {
    let attrs = BTreeMap::from([("tag".to_owned(), "a \"b\" <é>".to_owned())]);
    let mut log = Written::new(format, 9_000, &attrs);
    let mut time = BASE;
    for n in 0..90u64 {
        let text: String = (0..n % 13)
            .map(|line| format!("{n} {line} äöü <&>\n"))
            .collect();
        log.write((n % 2) as usize, text.as_bytes(), time);
        time += 1_000_000_007;
        match n {
            20 => log.write(0, "é€x😀".repeat(2_000).as_bytes(), time),
            25 => log.write(0, b"\n", time),
            30 => log.lose(1, b"lost\nlost\n", time),
            45 => log.next_run(time),
            60 => log.write(1, b"a\xff\xfe\0\x1b[0mb\n\n\n", time),
            _ => {}
        }
    }
    log.write(0, b"an open end", time);
    log.end(time);
    assert!(log.slot().file_no >= 3);
    if packed {
        for number in 1..log.slot().file_no {
            log.compress(number, true).unwrap();
        }
        log.spool(1);
    }
    let root = log.files.index_dir.parent().unwrap();
    copy(root, to);
    let dir = tempfile::tempdir().unwrap();
    copy(to, dir.path());
    let files = files(dir.path());
    own(&files);
    let expected = objects(&files, &Query::all());
    let lines: Vec<serde_json::Value> = expected
        .lines()
        .filter(|line| line.starts_with("{\"Line\""))
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(lines.len(), log.want.len());
    for (line, want) in lines.iter().zip(&log.want) {
        assert_eq!(line["Cursor"], format!("1.{}", want.seq));
        if let Ok(text) = std::str::from_utf8(&stored(format, &want.bytes)) {
            assert_eq!(line["Line"], text);
        }
    }
    std::fs::write(to.join("expected.ndjson"), expected).unwrap();
}
