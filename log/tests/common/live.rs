//! A live log: a writer that commits and rotates as the monitor does.

use std::fs::File;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use taffrail_log::{CommitSource, Committed, Format, Query, Reader};
use taffrail_log_core::side::Header;

use super::{Dir, Rec};

/// Longest wait for another thread, so that a failure ends a test instead of hanging it.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// The commit state with a bell.
#[derive(Default)]
pub struct Page {
    state: Mutex<Option<Committed>>,
    bell: Condvar,
}

impl CommitSource for Page {
    fn committed(&self) -> Option<Committed> {
        *self.state.lock().unwrap()
    }
}

impl Page {
    fn commit(&self, change: impl FnOnce(&mut Committed)) {
        let mut state = self.state.lock().unwrap();
        let state = state.as_mut().expect("the container is live");
        change(state);
        state.commit += 1;
        self.bell.notify_all();
    }

    /// Waits for a commit after `commit`.
    pub fn wait(&self, commit: u64) {
        let state = self.state.lock().unwrap();
        let still = |s: &mut Option<Committed>| s.is_some_and(|s| s.commit <= commit);
        let (_state, out) = self
            .bell
            .wait_timeout_while(state, PATIENCE, still)
            .unwrap();
        assert!(!out.timed_out(), "no commit after {commit}");
    }
}

pub struct Writer {
    pub dir: Dir,
    pub page: Arc<Page>,
    file: File,
}

impl Writer {
    pub fn new(max_file: u32) -> Self {
        let dir = Dir::new(max_file);
        let page = Arc::new(Page::default());
        *page.state.lock().unwrap() = Some(Committed {
            commit: 1,
            file_no: 1,
            oldest_file_no: 1,
            epoch: 1,
            next_seq: 100,
            ..Committed::default()
        });
        let file = Self::create(&dir, 1, 100);
        Self { dir, page, file }
    }

    fn create(dir: &Dir, number: u64, first_seq: u64) -> File {
        let file = File::create(&dir.files.path).unwrap();
        let header = Header {
            file_no: number,
            inode: file.metadata().unwrap().ino(),
            epoch: 1,
            first_seq,
            time: 0,
        };
        let side = dir.files.index_dir.join(number.to_string());
        std::fs::write(side, header.encode()).unwrap();
        file
    }

    pub fn now(&self) -> Committed {
        self.page.committed().unwrap()
    }

    /// Writes records, the last of them in two pieces, and commits them.
    pub fn append(&mut self, recs: &[Rec]) {
        let bytes: Vec<u8> = recs.iter().flat_map(Rec::line).collect();
        let at = self.now().offset;
        let half = bytes.len().saturating_sub(7);
        self.file.write_all_at(&bytes[..half], at).unwrap();
        self.file
            .write_all_at(&bytes[half..], at + half as u64)
            .unwrap();
        self.page.commit(|c| {
            c.offset += bytes.len() as u64;
            c.next_seq += recs.len() as u64;
        });
    }

    /// Writes bytes that no commit covers.
    pub fn in_flight(&mut self, bytes: &[u8]) {
        self.file.write_all_at(bytes, self.now().offset).unwrap();
    }

    /// Records that could not be kept.
    pub fn lose(&mut self, records: u64) {
        self.page.commit(|c| c.next_seq += records);
    }

    pub fn rotate(&mut self) {
        self.page.commit(|c| c.rotating = true);
        let now = self.now();
        self.file.set_len(now.offset).unwrap();
        let last = self.dir.files.max_file as usize - 1;
        if last == 0 {
            std::fs::remove_file(self.dir.name(0)).unwrap();
        }
        for index in (0..last).rev() {
            let from = self.dir.name(index);
            if from.exists() {
                std::fs::rename(from, self.dir.name(index + 1)).unwrap();
            }
        }
        self.file = Self::create(&self.dir, now.file_no + 1, now.next_seq);
        let oldest = (now.file_no + 1).saturating_sub(last as u64).max(1);
        for gone in now.oldest_file_no..oldest {
            std::fs::remove_file(self.dir.files.index_dir.join(gone.to_string())).unwrap();
        }
        self.page.commit(|c| {
            c.file_no += 1;
            c.offset = 0;
            c.oldest_file_no = oldest;
            c.rotating = false;
        });
    }

    /// Somebody else cuts the file.
    pub fn cut(&mut self, size: u64) {
        self.file.set_len(size).unwrap();
    }

    /// The writer notices that the file is shorter than it left it.
    pub fn notice_cut(&mut self) {
        let size = self.file.metadata().unwrap().len();
        if size < self.now().offset {
            self.page.commit(|c| c.offset = size);
        }
    }

    pub fn end(&mut self) {
        self.page.commit(|c| c.done = true);
    }

    /// The state page is no more.
    pub fn vanish(&mut self) {
        *self.page.state.lock().unwrap() = None;
    }

    pub fn reader(&self, query: Query, format: Format) -> Reader {
        Reader::open(
            self.dir.files.clone(),
            query,
            format,
            Some(self.page.clone()),
        )
        .unwrap()
    }
}
