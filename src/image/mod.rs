//! Signatures only, until the image store is merged.
#![allow(unused)]
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::api::types::ContainerConfig;
use crate::errors::ErrorKind;

#[derive(Debug)]
pub(crate) struct ImageStore;
#[derive(Debug, thiserror::Error)]
#[error("not merged")]
pub(crate) struct ImageError;
impl ImageError {
    pub(crate) fn kind(&self) -> ErrorKind {
        ErrorKind::System
    }
}
#[derive(Clone, Debug)]
pub(crate) struct Image {
    pub(crate) id: String,
    pub(crate) repo_tags: Vec<String>,
    pub(crate) repo_digests: Vec<String>,
    pub(crate) created: String,
    pub(crate) size: u64,
    pub(crate) config: ContainerConfig,
    pub(crate) architecture: String,
    pub(crate) os: String,
    pub(crate) layers: Vec<String>,
}
#[derive(Clone, Debug)]
pub(crate) enum InUse {
    Running(String),
    Stopped(String),
}
#[derive(Clone, Debug)]
pub(crate) enum Removed {
    Untagged(String),
    Deleted(String),
}
impl ImageStore {
    pub(crate) fn open(data_root: &Path) -> Result<Self, ImageError> {
        Err(ImageError)
    }
    pub(crate) fn resolve(&self, reference: &str) -> Result<Arc<Image>, ImageError> {
        Err(ImageError)
    }
    pub(crate) fn list(&self) -> Vec<Arc<Image>> {
        Vec::new()
    }
    pub(crate) fn load(
        &self,
        tar: &mut dyn Read,
        progress: &mut dyn FnMut(LoadEvent),
    ) -> Result<(), ImageError> {
        Err(ImageError)
    }
    pub(crate) fn import(
        &self,
        tar: &mut dyn Read,
        reference: Option<&str>,
        message: &str,
        changes: &[String],
    ) -> Result<Arc<Image>, ImageError> {
        Err(ImageError)
    }
    pub(crate) fn tag(&self, image: &str, repo: &str, tag: &str) -> Result<(), ImageError> {
        Err(ImageError)
    }
    pub(crate) fn remove(
        &self,
        reference: &str,
        force: bool,
        no_prune: bool,
        in_use: &dyn Fn(&str) -> Option<InUse>,
    ) -> Result<Vec<Removed>, ImageError> {
        Err(ImageError)
    }
    pub(crate) fn prepare_rootfs(&self, container: &str, image: &Image) -> Result<(), ImageError> {
        Err(ImageError)
    }
    pub(crate) fn mount_rootfs(&self, container: &str) -> Result<PathBuf, ImageError> {
        Err(ImageError)
    }
    pub(crate) fn unmount_rootfs(&self, container: &str) -> Result<(), ImageError> {
        Err(ImageError)
    }
    pub(crate) fn remove_rootfs(&self, container: &str) -> Result<(), ImageError> {
        Err(ImageError)
    }
}
#[derive(Clone, Debug)]
pub(crate) enum LoadEvent {
    Loaded { id: String, name: Option<String> },
}
