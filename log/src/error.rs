//! What can go wrong while a log is read. Damage inside a log is not an error: it is skipped and
//! counted in [`ReadStats`](crate::ReadStats).

use std::io;
use std::path::{Path, PathBuf};

/// Why a log could not be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// The file exists but could not be opened.
    #[error("cannot open log file {}", path.display())]
    Open { path: PathBuf, source: io::Error },
    /// Reading, or asking for the size of an open file, failed.
    #[error("cannot read log file {}", path.display())]
    Read { path: PathBuf, source: io::Error },
    /// The folder of the log could not be listed.
    #[error("cannot list log folder {}", path.display())]
    List { path: PathBuf, source: io::Error },
    /// The segment was written by a newer version, whose layout is not known.
    #[error(
        "log segment {} has version {version}, this program reads version 1: use a newer one",
        path.display()
    )]
    Version { path: PathBuf, version: u32 },
    /// The log's numbers say that the wanted run of the container has left nothing.
    #[error("no records of run {run}: the log has runs {first} to {last}")]
    NoRun { run: i64, first: u32, last: u32 },
    /// A rotation was under way the whole time, so file names meant nothing.
    #[error("log file {} is being rotated for too long", path.display())]
    Rotating { path: PathBuf },
}

impl ReadError {
    pub(crate) fn open(path: &Path, source: io::Error) -> Self {
        Self::Open {
            path: path.to_owned(),
            source,
        }
    }

    pub(crate) fn read(path: &Path, source: io::Error) -> Self {
        Self::Read {
            path: path.to_owned(),
            source,
        }
    }
}
