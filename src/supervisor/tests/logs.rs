//! Logs of both formats under deaths at numbered steps, with files held in the spool, on a full
//! file system, and with bytes made to be taken for something else.

use std::collections::{BTreeMap, BTreeSet};

use taffrail_log_core::crc32c;
use taffrail_log_core::local::{self, Batch, SegmentHeader};
use taffrail_log_core::side::{ENTRY, Entry, Header, Mark};
use taffrail_log_core::state::Slot;

use super::*;

/// What the files of a log hold.
#[derive(Debug, Default)]
struct Found {
    /// By seq: stream and bytes.
    records: BTreeMap<u64, (u8, Vec<u8>)>,
    /// Sum of the gaps.
    gap: u64,
    epochs: BTreeSet<u64>,
    runs: BTreeSet<u64>,
    files: BTreeSet<u64>,
}

impl Found {
    fn of(bench: &Bench, format: &LogFormat, slot: &Slot) -> Self {
        let mut found = Self::default();
        let data = folder(bench);
        for number in slot.spool_oldest..=slot.file_no {
            let index = std::fs::read(data.join(format!("index/{number}"))).unwrap();
            match format {
                LogFormat::Local => {
                    let name = format!("{number}.seg");
                    let place =
                        [data.join("spool"), data.join("local-logs")].map(|dir| dir.join(&name));
                    let path = place.iter().find(|p| p.exists());
                    let path = path.unwrap_or_else(|| panic!("segment {number} is missing"));
                    found.segment(number, &std::fs::read(path).unwrap());
                }
                LogFormat::JsonFile(name) => {
                    let name = name.to_str().unwrap();
                    let path = match slot.file_no - number {
                        _ if number < slot.oldest_file_no => data.join(format!("spool/{number}")),
                        0 => data.join(name),
                        n => data.join(format!("{name}.{n}")),
                    };
                    let text = std::fs::read_to_string(&path)
                        .unwrap_or_else(|e| panic!("{}: {e}", path.display()));
                    found.json(&text, &index);
                }
            }
            found.index(number, &index);
            found.files.insert(number);
        }
        found
    }

    fn add(&mut self, seq: u64, stream: u8, bytes: Vec<u8>) {
        let old = self.records.insert(seq, (stream, bytes));
        assert!(old.is_none(), "seq {seq} was given twice");
    }

    fn segment(&mut self, number: u64, file: &[u8]) {
        let block = |at: usize| -> &[u8; 64] { file[at..at + 64].try_into().unwrap() };
        let header = SegmentHeader::decode(block(0)).unwrap();
        assert_eq!(header.number, number);
        let mut at = 64;
        while at < file.len() {
            let batch = Batch::decode(block(at), header.salt)
                .unwrap_or_else(|| panic!("no batch at {at} of segment {number}"));
            let from = at + local::payload_at(batch.length);
            let payload = &file[from..from + batch.length as usize];
            assert_eq!(
                batch.crc0,
                crc32c::update(0, &payload[..payload.len().min(local::BLOCK)])
            );
            self.epochs.insert(batch.epoch.into());
            self.runs.insert(batch.run.into());
            match batch.kind {
                local::kind::RECORDS => {
                    let pieces: Vec<_> = local::pieces(payload).collect();
                    assert_eq!(pieces.len(), batch.count as usize);
                    for (n, piece) in pieces.into_iter().enumerate() {
                        self.add(batch.seq + n as u64, batch.stream, piece.to_vec());
                    }
                }
                local::kind::GAP => self.gap += u64::from(batch.count),
                _ => assert_eq!(payload, ATTRS),
            }
            at += usize::try_from(batch.size()).unwrap();
        }
        assert_eq!(at, file.len().max(64));
    }

    fn json(&mut self, text: &str, index: &[u8]) {
        let (blocks, _) = index.as_chunks::<ENTRY>();
        let mut seq = Header::decode(&blocks[0]).unwrap().first_seq;
        let mut at = 0;
        for line in text.split_inclusive('\n') {
            for mark in blocks[1..].iter().filter_map(Mark::decode) {
                if let Mark::Gap { offset, count, .. } = mark
                    && offset == at
                {
                    seq += count;
                }
            }
            let value: serde_json::Value = serde_json::from_str(line).unwrap();
            let stream = if value["stream"] == "stdout" { 1 } else { 2 };
            self.add(seq, stream, value["log"].as_str().unwrap().into());
            seq += 1;
            at += line.len() as u64;
        }
    }

    fn index(&mut self, number: u64, index: &[u8]) {
        let (blocks, rest) = index.as_chunks::<ENTRY>();
        assert!(rest.is_empty());
        assert_eq!(Header::decode(&blocks[0]).unwrap().file_no, number);
        for block in &blocks[1..] {
            match Mark::decode(block) {
                Some(Mark::Gap { count, .. }) => self.gap += count,
                Some(Mark::Run { run, epoch, .. }) => {
                    self.runs.insert(run);
                    self.epochs.insert(epoch);
                }
                None => assert!(Entry::decode(block).is_some(), "index {number}"),
            }
        }
    }

    fn text(&self, stream: u8) -> Vec<u8> {
        let mine = self.records.values().filter(|(s, _)| *s == stream);
        mine.flat_map(|(_, bytes)| bytes.iter().copied()).collect()
    }
}

const ATTRS: &[u8] = br#"{"tag":"web"}"#;

/// The container's folder.
fn folder(bench: &Bench) -> PathBuf {
    let dir = bench.root.join("data/containers").join("e".repeat(64));
    std::fs::create_dir_all(&dir).unwrap();
    dir
}

fn json() -> LogFormat {
    LogFormat::JsonFile("x-json.log".into())
}

fn plan(
    bench: &Bench,
    script: &str,
    format: &LogFormat,
    change: impl Fn(&mut LogFile),
) -> CapturePlan {
    let mut plan = bench.plan('e', script, None);
    if let LogPlan::Kept(log) = &mut plan.log {
        log.dir = folder(bench);
        log.format = format.clone();
        log.run = 3;
        if *format == LogFormat::Local {
            log.attrs = ATTRS.to_vec();
        }
        change(log);
    }
    plan
}

async fn create(bench: &Bench, plan: impl Fn() -> CapturePlan) -> Arc<Capture> {
    let created = match bench.supervisor.create(plan()).await {
        Err(CreateError::MonitorDied) => {
            bench.supervisor.discard(&plan().id).await;
            bench.supervisor.create(plan()).await
        }
        other => other,
    };
    created.unwrap()
}

fn slot(capture: &Capture) -> Slot {
    capture.page().get().committed().unwrap().1
}

/// One life with a death in it: everything is there once, or was let go of by the spool's bound
/// and counted.
async fn life(format: &LogFormat, max_size: u64, share: u64, fault: (u32, u32)) -> bool {
    let bench = Bench::new("taffrail-monitor-fault").await;
    let (step, nth) = fault;
    std::fs::write(bench.root.join("exec/fault"), format!("{step} {nth}\n")).unwrap();
    // Slow at first, so that there are batches enough for each death.
    let script = MIXED.replace("; done", "; [ $i -gt 8 ] || sleep 0.01; done");
    let plan = || {
        plan(&bench, &script, format, |log| {
            log.max_size = Some(max_size);
            log.max_file = 3;
            log.spool_share = share;
            log.sync = true;
        })
    };
    let capture = create(&bench, plan).await;
    capture.hold_from(Some(1));
    bench.go();
    let exit = capture.exited().await;
    let name = format!("{format:?}, max-size {max_size}, share {share}, fault {fault:?}");
    assert_eq!((exit.code, exit.lost_records), (5, 0), "{name}");
    let end = slot(&capture);
    let found = Found::of(&bench, format, &end);
    assert_eq!(
        found.records.len() as u64 + end.spool_lost_records,
        end.next_seq - 1,
        "{name}"
    );
    let first = end.next_seq - found.records.len() as u64;
    assert!(
        found.records.keys().copied().eq(first..end.next_seq),
        "{name}"
    );
    assert_eq!(
        (found.gap, &found.epochs),
        (0, &BTreeSet::from([1])),
        "{name}"
    );
    assert_eq!(found.runs, BTreeSet::from([3]), "{name}");
    if end.spool_lost_records == 0 {
        let all = [found.text(1), found.text(2)].concat();
        let text = String::from_utf8(all).unwrap();
        // The open end of stdout stands between the two streams.
        mixed(&text.replacen("end", "", 1).add_end()).unwrap_or_else(|e| panic!("{name}: {e}"));
    }
    let spool = std::fs::read_dir(folder(&bench).join("spool")).unwrap();
    let bytes: u64 = spool.map(|e| e.unwrap().metadata().unwrap().len()).sum();
    assert_eq!(bytes, end.spool_bytes, "{name}: what the spool has");
    assert!(bytes <= share, "{name}: the spool's bound");
    let died = capture
        .page()
        .get()
        .takeovers
        .load(std::sync::atomic::Ordering::Relaxed)
        > 0;
    capture.release().await;
    bench.end().await;
    died
}

trait AddEnd {
    fn add_end(self) -> String;
}

impl AddEnd for String {
    fn add_end(mut self) -> String {
        self.push_str("end");
        self
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn death_at_every_step_of_either_format_with_a_spool() {
    for format in [LogFormat::Local, json()] {
        let mut hit = BTreeSet::new();
        for (max_size, share, nth) in [(1, u64::MAX, 1), (1, 1500, 1), (1000, 3000, 3)] {
            for step in 2..=taffrail_monitor::probe::STEPS {
                if life(&format, max_size, share, (step, nth)).await {
                    hit.insert(step);
                }
            }
        }
        for step in (2..=17).chain([20, 21, 24, 25, 31, 32, 33, 34]) {
            assert!(
                hit.contains(&step),
                "{format:?}: nobody died at {step}: {hit:?}"
            );
        }
    }
}

/// The daemon compressed a file: it takes the plain one's place, whenever the monitor dies.
#[tokio::test(flavor = "multi_thread")]
async fn a_compressed_file_takes_its_place() {
    for format in [LogFormat::Local, json()] {
        for fault in ["0 0", "29 1", "30 1"] {
            let bench = Bench::new("taffrail-monitor-fault").await;
            std::fs::write(bench.root.join("exec/fault"), fault).unwrap();
            let script = format!(
                "i=0; while [ $i -lt 5 ]; do i=$((i+1)); echo $i; sleep 0.05; done; \
                 while [ ! -e {}/over ]; do sleep 0.01; done",
                bench.root.display()
            );
            let plan = || {
                plan(&bench, &script, &format, |log| {
                    log.max_size = Some(1);
                })
            };
            let capture = create(&bench, plan).await;
            bench.go();
            let dir = bench.supervisor.container_dir(&plan().id);
            while slot(&capture).file_no < 5 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            let data = folder(&bench);
            let (tmp, plain, packed) = match &format {
                LogFormat::Local => ("2.zst", "local-logs/2.seg", "local-logs/2.seg.zst"),
                LogFormat::JsonFile(_) => ("2.gz", "x-json.log.3", "x-json.log.3.gz"),
            };
            std::fs::write(data.join("tmp").join(tmp), "packed").unwrap();
            let mut answers = Vec::new();
            for number in [2, 5, 9] {
                let answer = loop {
                    if let Some(answer) = ask(&dir, &plan().id, number).await {
                        break answer;
                    }
                    tokio::time::sleep(Duration::from_millis(5)).await;
                };
                answers.push((answer.kind, answer.a, answer.c));
            }
            let enoent = nix::libc::ENOENT;
            assert_eq!(
                answers[1..],
                [(kind::FAILED, enoent, 5), (kind::FAILED, enoent, 9)]
            );
            assert_eq!(
                std::fs::read(data.join(packed)).unwrap(),
                b"packed",
                "{fault}"
            );
            // Killed between the two, both are there, and readers take the plain one.
            assert_eq!(data.join(plain).exists(), fault == "30 1", "{fault}");
            assert!(!data.join("tmp").join(tmp).exists());
            std::fs::write(bench.root.join("over"), "").unwrap();
            assert!(capture.exited().await.known);
            capture.release().await;
            bench.end().await;
        }
    }
}

/// The monitor's answer to PUBLISH; `None` if it died.
async fn ask(dir: &Path, id: &str, number: u64) -> Option<Message> {
    let socket = seqpacket::SeqPacket::connect(dir, "ctl.sock").ok()?;
    let message = Message {
        c: number,
        ..Message::new(kind::PUBLISH, unhex(id.as_bytes()).unwrap())
    };
    socket.send(&message, None).await.ok()?;
    loop {
        let (answer, _) = socket.recv().await.ok()??;
        if answer.kind == kind::OK || answer.kind == kind::FAILED {
            return Some(answer);
        }
    }
}

/// What comes out and what is counted as lost is what went in.
#[tokio::test(flavor = "multi_thread")]
async fn a_full_file_system_loses_nothing_that_is_not_counted() {
    for format in [LogFormat::Local, json()] {
        let bench = Bench::new("taffrail-monitor").await;
        let data = folder(&bench);
        let mounted = nix::mount::mount(
            Some("none"),
            &data,
            Some("tmpfs"),
            nix::mount::MsFlags::empty(),
            Some("size=1m"),
        );
        if mounted.is_err() {
            // Only root may mount.
            return;
        }
        let ballast = data.join("ballast");
        std::fs::write(&ballast, vec![0; 900_000]).unwrap();
        let free = bench.root.join("free");
        let script = format!(
            "seq 100000 160000; while [ ! -e {0} ]; do sleep 0.01; done; seq 200000 200099",
            free.display()
        );
        let capture = create(&bench, || plan(&bench, &script, &format, |_| {})).await;
        bench.go();
        while slot(&capture).bytes_in[0] < 60_001 * 7 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        std::fs::remove_file(&ballast).unwrap();
        std::fs::write(&free, "").unwrap();
        let exit = capture.exited().await;
        let end = slot(&capture);
        let found = Found::of(&bench, &format, &end);
        assert!(exit.lost_records > 1000, "{format:?}: it was full");
        assert_eq!(found.gap, exit.lost_records, "{format:?}");
        assert_eq!(found.records.len() as u64 + found.gap, 60_101, "{format:?}");
        assert_eq!(end.next_seq, 60_102);
        let out = found.text(1).len() as u64;
        assert_eq!(out + exit.lost_bytes, 60_101 * 7, "{format:?}");
        // Each record has the number that it would have without the loss.
        for (seq, (_, bytes)) in &found.records {
            let want = if *seq <= 60_001 {
                99_999 + seq
            } else {
                200_000 + seq - 60_002
            };
            assert_eq!(bytes, format!("{want}\n").as_bytes());
        }
        capture.release().await;
        bench.end().await;
        nix::mount::umount(&data).unwrap();
    }
}

/// Headers as a container might print them, NULs, no newlines, random bytes: all of it comes back.
#[tokio::test(flavor = "multi_thread")]
async fn hostile_bytes_come_back_as_they_were() {
    let bench = Bench::new("taffrail-monitor").await;
    let mut bytes = Vec::new();
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    while bytes.len() < 35_000_000 {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        match random % 5 {
            0 => {
                let header = Batch {
                    seq: random,
                    length: 64,
                    count: 9,
                    kind: local::kind::RECORDS,
                    stream: 1,
                    ..Batch::default()
                };
                bytes.resize(bytes.len().next_multiple_of(64), b'\n');
                bytes.extend_from_slice(&header.encode(random as u32));
            }
            1 => bytes.resize(bytes.len() + 100_000, 0),
            2 => bytes.resize(bytes.len() + 300_000, 0xe2),
            3 => bytes.resize(bytes.len() + 3000, b'\n'),
            _ => {
                for _ in 0..10_000 {
                    random ^= random << 13;
                    random ^= random >> 7;
                    random ^= random << 17;
                    bytes.extend_from_slice(&random.to_le_bytes());
                }
            }
        }
    }
    let path = bench.root.join("hostile");
    std::fs::write(&path, &bytes).unwrap();
    let script = format!("cat {}", path.display());
    let plan = || {
        plan(&bench, &script, &LogFormat::Local, |log| {
            log.max_size = Some(5_000_000);
            log.max_file = 100;
        })
    };
    let capture = create(&bench, plan).await;
    bench.go();
    capture.exited().await;
    let end = slot(&capture);
    let found = Found::of(&bench, &LogFormat::Local, &end);
    assert!(found.text(1) == bytes, "other bytes came back");
    assert!(found.files.len() > 6);
    capture.release().await;
    bench.end().await;
}

/// A second run goes on behind a clean end in the same epoch, and after any other in a new one.
#[tokio::test(flavor = "multi_thread")]
async fn runs_follow_one_another() {
    for format in [LogFormat::Local, json()] {
        let bench = Bench::new("taffrail-monitor").await;
        let dir = folder(&bench);
        let mut places = Vec::new();
        for (run, note_stays) in [(1, true), (2, true), (3, false), (4, true)] {
            let plan = || {
                plan(&bench, "echo run", &format, |log| {
                    log.run = run;
                })
            };
            let _ = std::fs::remove_file(bench.root.join("go"));
            let capture = create(&bench, plan).await;
            bench.go();
            capture.exited().await;
            let end = slot(&capture);
            places.push((end.epoch, end.next_seq, end.file_no));
            capture.release().await;
            if !note_stays {
                // As after a power loss.
                std::fs::remove_file(dir.join("log-end")).unwrap();
            }
        }
        let files = if format == LogFormat::Local {
            [1, 1, 1, 2]
        } else {
            [1; 4]
        };
        let want = [(1, 2), (1, 3), (1, 4), (2, 5)];
        let want: Vec<_> = want
            .into_iter()
            .zip(files)
            .map(|((e, s), f)| (e, s, f))
            .collect();
        assert_eq!(places, want, "{format:?}");
        bench.end().await;
    }
}
