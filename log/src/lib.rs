//! Signatures only, until the reader is merged.
#![allow(unused, missing_docs, missing_debug_implementations)]
use std::path::PathBuf;
use std::sync::Arc;

#[derive(Clone, Debug)]
pub struct LogFiles {
    pub path: PathBuf,
    pub index_dir: PathBuf,
    pub max_file: u32,
}
#[derive(Clone, Debug, Default)]
pub struct Query {
    pub since: Option<i64>,
    pub until: Option<i64>,
    pub tail: Option<u64>,
    pub stdout: bool,
    pub stderr: bool,
    pub follow: bool,
}
#[derive(Clone, Debug, Default)]
pub struct Format {
    pub multiplexed: bool,
    pub timestamps: bool,
    pub details: bool,
    pub coalesce: bool,
}
#[derive(Clone, Copy, Debug)]
pub struct Committed {
    pub commit: u64,
    pub rotating: bool,
    pub done: bool,
    pub file_no: u64,
    pub offset: u64,
    pub oldest_file_no: u64,
    pub epoch: u64,
    pub next_seq: u64,
}
pub trait CommitSource: Send + Sync {
    fn committed(&self) -> Option<Committed>;
}
#[derive(Debug)]
pub enum Step {
    Data,
    CaughtUp { commit: u64 },
    End,
}
#[derive(Debug, thiserror::Error)]
#[error("not merged")]
pub struct ReadError;
pub struct Reader;
impl Reader {
    pub fn open(
        files: LogFiles,
        query: Query,
        format: Format,
        source: Option<Arc<dyn CommitSource>>,
    ) -> Result<Self, ReadError> {
        Err(ReadError)
    }
    pub fn read(&mut self, out: &mut Vec<u8>) -> Result<Step, ReadError> {
        Err(ReadError)
    }
}
