//! Volumes: directories below `<data-root>/volumes` that containers mount and that outlive them.
//!
//! Each volume is a folder `<name>` with the content in `_data` and what is stored of it in
//! `volume.json`. A folder is made under another name and renamed when it is complete, and renamed
//! away before it is emptied, so that a daemon that dies leaves a whole volume or none. There is one
//! driver, `local`, as Docker has it: a plain directory, or whatever its options have mounted there.
//! All functions block.

mod error;
mod fill;
mod mount;
mod mountinfo;
mod name;
mod options;
mod slot;
mod state;
mod store;

pub(crate) use error::VolumeError;
pub(crate) use fill::copy_tree;
pub(crate) use mountinfo::{Mounted, mounts_of_host};
pub(crate) use store::{Volume, VolumeStore, Wish, data_dir};

/// The only driver.
pub(crate) const LOCAL: &str = "local";
