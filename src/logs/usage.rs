//! Bytes that a container's log takes on the disk.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use serde::Serialize;

/// Bytes of the disk, by kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct LogUsage {
    /// Files of the log that are not compressed.
    pub(crate) plain: u64,
    /// Compressed files of the log.
    pub(crate) compressed: u64,
    /// Side files.
    pub(crate) index: u64,
    /// Files past the log's own retention that somebody still has to read.
    pub(crate) spool: u64,
}

impl std::ops::AddAssign for LogUsage {
    fn add_assign(&mut self, other: Self) {
        self.plain += other.plain;
        self.compressed += other.compressed;
        self.index += other.index;
        self.spool += other.spool;
    }
}

/// Looks at a container's folder `<data root>/containers/<id>`. What cannot be read counts nothing.
pub(crate) fn usage_of(dir: &Path, id: &str) -> LogUsage {
    let mut usage = LogUsage::default();
    let log = format!("{id}-json.log");
    each(dir, |name, bytes| {
        if name.starts_with(&log) {
            usage.count(name, bytes);
        }
    });
    each(&dir.join("local-logs"), |name, bytes| {
        usage.count(name, bytes);
    });
    each(&dir.join("index"), |_, bytes| usage.index += bytes);
    each(&dir.join("spool"), |_, bytes| usage.spool += bytes);
    usage
}

impl LogUsage {
    fn count(&mut self, name: &str, bytes: u64) {
        if Path::new(name)
            .extension()
            .is_some_and(|e| e == "gz" || e == "zst")
        {
            self.compressed += bytes;
        } else {
            self.plain += bytes;
        }
    }
}

/// Each file of a folder, with the bytes of the disk that it takes.
fn each(dir: &Path, mut see: impl FnMut(&str, u64)) {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let Ok(meta) = entry.metadata() else { continue };
        if meta.is_file() {
            see(&entry.file_name().to_string_lossy(), meta.blocks() * 512);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_told_apart() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str, bytes: usize| {
            let path = dir.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            let file = fs::File::create(&path).unwrap();
            std::io::Write::write_all(&mut &file, &vec![1; bytes]).unwrap();
            // Some file systems give blocks out late.
            file.sync_all().unwrap();
        };
        at("x-json.log", 8192);
        at("x-json.log.1", 4096);
        at("x-json.log.2.gz", 4096);
        at("local-logs/1.seg.zst", 4096);
        at("local-logs/2.seg", 4096);
        at("index/1", 4096);
        at("spool/1.seg", 4096);
        at("hostname", 4096);
        let usage = usage_of(dir.path(), "x");
        let expected = [3 * 4096 + 4096, 2 * 4096, 4096, 4096];
        for (found, expected) in [usage.plain, usage.compressed, usage.index, usage.spool]
            .into_iter()
            .zip(expected)
        {
            // Blocks of a file system may be larger, and small files may take none.
            assert!(found >= expected && found < 4 * expected, "{usage:?}");
        }
        assert_eq!(usage_of(Path::new("/nowhere"), "x"), LogUsage::default());
    }
}
