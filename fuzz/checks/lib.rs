//! What must hold for any bytes. Shared by the fuzz targets and by `log/tests/corpus.rs`, which
//! replays their corpora.

#[path = "../../log/tests/common/mod.rs"]
pub mod common;

pub mod damage;
pub mod frames;
pub mod grep;
pub mod input;
pub mod json_line;
pub mod read;
pub mod segment;
pub mod texts;
