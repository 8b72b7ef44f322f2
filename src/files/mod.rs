//! Trees of files as tar archives, both ways: what `cp`, `export` and `commit` are made of, on the
//! daemon's side and on the command line's.
//!
//! A tree may change while it is read or written, and whoever changes it may mean harm. So a path is
//! resolved by the kernel below a descriptor (`openat2`, `RESOLVE_IN_ROOT`), the last component is not
//! followed, and metadata are set through the descriptor of the very object that was looked at.
//! All functions block.

mod error;
mod extract;
mod header;
mod pack;
mod path;
mod sparse;
mod stat;
#[cfg(test)]
mod tests;

pub(crate) use error::FileError;
pub(crate) use extract::{Extract, Owner};
pub(crate) use header::{Header, Kind};
pub(crate) use pack::{PackOptions, Packer, read_folder, xattr};
pub(crate) use path::{Root, WantedPath};
pub(crate) use stat::PathStat;
