//! Readers of a container's log.
//!
//! [`Reader`] puts out the records of a json-file log, of a stopped container or of a live one
//! while it is written and rotated, in the form in which `GET /containers/{id}/logs` sends them.
//! It blocks on file reads and is meant for a thread where that is allowed.
//!
//! Damage is never an error: what is not a record is skipped and counted.

mod access;
mod attrs;
mod blocks;
mod check;
mod compress;
mod end;
mod error;
mod files;
mod follow;
mod gap;
mod grep;
mod index;
mod json;
mod local;
mod locate;
mod locate_local;
mod marks;
mod ndjson;
mod output;
pub mod packed;
mod query;
mod reader;
mod scan;
mod segment;
mod text;
mod time;

pub use check::{Damage, Place, Repair, Report, check, check_to, repair};
pub use compress::{Codec, Compressed, compress};
pub use end::{LastRecord, count_newlines, last_record, scan_end};
pub use error::ReadError;
pub use grep::{BadPattern, Grep};
pub use json::{Decoder, Record, Stream};
pub use query::{
    BadCursor, CommitSource, Committed, Cursor, Format, LogFiles, LogFormat, PendingGap, Position,
    Query, ReadStats, Run, Step,
};
pub use reader::Reader;
pub use time::Moment;
