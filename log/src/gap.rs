//! Missing records: learning how many they are, and telling the client.

use std::borrow::Cow;
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use taffrail_log_core::side::{self, Header};

use crate::query::LogFiles;
use crate::time::Moment;

/// Cause of a gap: files that are gone.
pub(crate) const ROTATED: &str = "log files were rotated away before they were read";
/// Cause of a gap: the numbers of the records that are there say so.
pub(crate) const LOST: &str = "lost at capture, or cut from the log file";

/// Cause of a gap: what the log holds there cannot be read.
pub(crate) const DAMAGED: &str = "the log is damaged there";

/// Cause of a gap that capture has stored.
pub(crate) fn capture_cause(errno: u32) -> String {
    let error = std::io::Error::from_raw_os_error(i32::try_from(errno).unwrap_or(0));
    let text = error.to_string();
    let text = text.split(" (os error").next().unwrap_or_default();
    format!("the log could not be written: {text}")
}

/// What is known of a stretch of missing records.
#[derive(Clone, Debug)]
pub(crate) struct Gap {
    pub(crate) records: Option<u64>,
    pub(crate) bytes: Option<u64>,
    /// Times of the records before and after it.
    pub(crate) from: Option<Moment>,
    pub(crate) to: Option<Moment>,
    pub(crate) cause: Cow<'static, str>,
}

impl Gap {
    /// `taffrail: N records (B bytes) missing T1..T2: cause`, with `?` for what is not known.
    pub(crate) fn message(&self) -> Vec<u8> {
        let number = |n: Option<u64>| n.map_or_else(|| "?".to_owned(), |n| n.to_string());
        let mut text = format!(
            "taffrail: {} records ({} bytes) missing ",
            number(self.records),
            number(self.bytes)
        )
        .into_bytes();
        let moment = |m: Option<Moment>, text: &mut Vec<u8>| match m {
            Some(m) => m.write(text),
            None => text.push(b'?'),
        };
        moment(self.from, &mut text);
        text.extend_from_slice(b"..");
        moment(self.to, &mut text);
        text.extend_from_slice(b": ");
        text.extend_from_slice(self.cause.as_bytes());
        text.push(b'\n');
        text
    }
}

fn header(side_file: &Path) -> Option<Header> {
    let mut bytes = [0; side::ENTRY];
    File::open(side_file).ok()?.read_exact(&mut bytes).ok()?;
    Header::decode(&bytes)
}

/// Number of a stopped container's current file: that of the newest side file, if it was made for
/// this very file.
pub(crate) fn current_number(files: &LogFiles) -> Option<u64> {
    let newest = std::fs::read_dir(&files.index_dir)
        .ok()?
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u64>().ok())
        .max()?;
    let header = header(&files.index_dir.join(newest.to_string()))?;
    let inode = std::fs::metadata(&files.path).ok()?.ino();
    (header.file_no == newest && header.inode == inode).then_some(newest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts() {
        let gap = Gap {
            records: Some(3),
            bytes: None,
            from: Some(Moment::from_ns(0)),
            to: None,
            cause: ROTATED.into(),
        };
        assert_eq!(
            String::from_utf8(gap.message()).unwrap(),
            "taffrail: 3 records (? bytes) missing 1970-01-01T00:00:00.000000000Z..?: \
             log files were rotated away before they were read\n"
        );
    }
}
