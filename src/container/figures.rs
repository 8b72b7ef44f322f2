//! What is counted of a container, for metrics.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use super::Container;
use crate::daemon::Daemon;
use crate::supervisor::CaptureFigures;

/// Counters and sizes of one container at a moment.
#[derive(Clone, Debug)]
pub(crate) struct Figures {
    id: String,
    pub(crate) name: String,
    pub(crate) created_ns: i64,
    /// As in `State.Status`.
    pub(crate) state: &'static str,
    /// Records and bytes that the log could not take, over all runs.
    pub(crate) lost_records: u64,
    pub(crate) lost_bytes: u64,
    /// Of the present run.
    pub(crate) capture: Option<CaptureFigures>,
    dir: PathBuf,
}

/// Bytes on disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct DiskUse {
    pub(crate) log: u64,
    pub(crate) index: u64,
    pub(crate) spool: u64,
}

impl Figures {
    pub(crate) fn short_id(&self) -> &str {
        &self.id[..12.min(self.id.len())]
    }

    /// Sizes of the log's files, asked of the file system.
    pub(crate) fn disk(&self) -> DiskUse {
        let name = format!("{}-json.log", self.id);
        let log = |file: &str| file.starts_with(&name);
        DiskUse {
            log: allocated(&self.dir, log) + allocated(&self.dir.join("local-logs"), |_| true),
            index: allocated(&self.dir.join("index"), |_| true),
            spool: allocated(&self.dir.join("spool"), |_| true),
        }
    }
}

/// Bytes that the files of a folder take; a folder that is not there has none.
fn allocated(dir: &Path, wanted: impl Fn(&str) -> bool) -> u64 {
    let Ok(entries) = fs::read_dir(dir) else {
        return 0;
    };
    entries
        .flatten()
        .filter(|entry| entry.file_name().to_str().is_some_and(&wanted))
        // A file that rotation has just taken away has no size.
        .filter_map(|entry| entry.metadata().ok())
        .filter(fs::Metadata::is_file)
        // Units of 512 bytes: stat(2).
        .map(|meta| meta.blocks() * 512)
        .sum()
}

impl Container {
    pub(super) fn figures(&self) -> Figures {
        let inner = self.inner();
        let state = &inner.record.state;
        let capture = inner.capture.as_ref().map(|capture| capture.figures());
        let lost =
            |stored: u64, now: fn(&CaptureFigures) -> u64| stored + capture.as_ref().map_or(0, now);
        Figures {
            id: self.id.clone(),
            name: inner.record.name.clone(),
            created_ns: inner.record.created_ns,
            state: state.status.as_str(),
            lost_records: lost(state.lost_records, |capture| capture.lost_records),
            lost_bytes: lost(state.lost_bytes, |capture| capture.lost_bytes),
            capture,
            dir: self.dir.clone(),
        }
    }
}

impl Daemon {
    /// Of all containers, and the lost records of those that were removed.
    pub(crate) fn figures(&self) -> (Vec<Figures>, u64) {
        self.containers
            .with_removed(|container| container.figures())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_of_a_log() {
        let dir = tempfile::tempdir().unwrap();
        let mut record = super::super::state::tests::record();
        record.id = "ab".repeat(32);
        let container = Container::new(dir.path().to_owned(), record);
        assert_eq!(container.figures().disk(), DiskUse::default());
        let write = |name: &str| {
            let path = dir.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            let file = fs::File::create(path).unwrap();
            // Written through, so that the blocks are allocated.
            std::io::Write::write_all(&mut &file, &[1; 8192]).unwrap();
            file.sync_all().unwrap();
        };
        let id = &container.id;
        write(&format!("{id}-json.log"));
        write(&format!("{id}-json.log.1"));
        write("state.json");
        write("local-logs/1.seg");
        write("index/1");
        write("spool/1.seg");
        let disk = container.figures().disk();
        assert_eq!((disk.log, disk.index, disk.spool), (3 * 8192, 8192, 8192));
    }
}
