//! Missing records: learning how many they are, and telling the client.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use crate::time::Moment;

/// Cause of a gap: files that are gone.
pub(crate) const ROTATED: &str = "log files were rotated away before they were read";
/// Cause of a gap: the numbers of the records that are there say so.
pub(crate) const LOST: &str = "lost at capture, or cut from the log file";

/// What is known of a stretch of missing records.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Gap {
    pub(crate) records: Option<u64>,
    pub(crate) bytes: Option<u64>,
    /// Times of the records before and after it.
    pub(crate) from: Option<Moment>,
    pub(crate) to: Option<Moment>,
    pub(crate) cause: &'static str,
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

/// Epoch and sequence number of a log file's first record, from the header of its side file.
/// `None` if there is none or it is damaged.
pub(crate) fn first_seq(side_file: &Path, number: u64) -> Option<(u64, u64)> {
    let mut header = [0; 64];
    File::open(side_file).ok()?.read_exact(&mut header).ok()?;
    let (words, _) = header.as_chunks::<8>();
    let word = |i: usize| u64::from_le_bytes(words[i]);
    let crc = u32::from_le_bytes([header[60], header[61], header[62], header[63]]);
    (crc32c::crc32c(&header[..60]) == crc
        && word(0) == u64::from_le_bytes(*b"TAFSIDE1")
        && word(1) == number)
        .then(|| (word(3), word(4)))
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
            cause: ROTATED,
        };
        assert_eq!(
            String::from_utf8(gap.message()).unwrap(),
            "taffrail: 3 records (? bytes) missing 1970-01-01T00:00:00.000000000Z..?: \
             log files were rotated away before they were read\n"
        );
    }
}
