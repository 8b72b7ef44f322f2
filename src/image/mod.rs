//! Images: import, load, names, removal, and the root file systems that containers get from them.
//!
//! On disk, below the data root:
//! - `image/repositories.json`: images and names (module `state`); `image/configs/<hex>`: configurations;
//!   `image/manifests/<hex>`: of pulled images; `image/blobs/<hex>`: where a layer is in registries (module
//!   `blobs`)
//! - `overlay-layers/<chain id>/`: unpacked layers (module `layers`), and what gives back their tars
//!   (module `tape`)
//! - `overlay/<container>/`: root file systems (module `rootfs`)
//! - `tmp/image-*`: work in progress, removed at the next start
//!
//! A load or import is unpacked in `tmp`, synced, renamed into place, and becomes visible with the one
//! replacement of repositories.json. A crash or error before that leaves nothing that is seen.
//! All functions block.

mod archive;
mod blobs;
mod changes;
mod commit;
pub(crate) mod compress;
mod config;
mod error;
mod files;
mod held;
mod layers;
mod oci;
mod pull;
mod push;
mod reference;
mod remove;
mod rootfs;
mod save;
mod state;
mod store;
mod tape;
pub(crate) mod tarball;
#[cfg(test)]
mod tests;
mod unpack;
mod upper;

// Each is part of the store's interface; not every one is named by its callers.
#[allow(unused_imports)]
pub(crate) use self::{
    blobs::KnownBlob,
    changes::apply_changes,
    commit::Commit,
    compress::digest,
    config::{History, Image, host_architecture},
    error::{ImageError, TarError},
    held::HeldRootfs,
    pull::Pull,
    push::{PushLayer, PushSource},
    reference::{Reference, checked_name},
    remove::{InUse, Removed},
    save::Archive,
    store::{ImageStore, LoadEvent},
    upper::ChangeKind,
};
