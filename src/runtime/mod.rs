//! Signatures only, until the runtime is merged.
#![allow(unused)]
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::api::types::{ContainerConfig, HostConfig, Ulimit};

#[derive(Debug, thiserror::Error)]
#[error("not merged")]
pub(crate) struct RuntimeError;
#[derive(Debug)]
pub(crate) struct SpecInput<'a> {
    pub(crate) id: &'a str,
    pub(crate) name: &'a str,
    pub(crate) config: &'a ContainerConfig,
    pub(crate) host: &'a HostConfig,
    pub(crate) rootfs: &'a Path,
    pub(crate) files_dir: &'a Path,
    pub(crate) default_ulimits: &'a BTreeMap<String, Ulimit>,
    pub(crate) cgroup_parent: &'a str,
    pub(crate) init_binary: Option<&'a Path>,
    pub(crate) console_size: Option<(u16, u16)>,
}
#[derive(Debug)]
pub(crate) struct Prepared {
    pub(crate) spec: Value,
    pub(crate) warnings: Vec<String>,
}
pub(crate) fn prepare(input: &SpecInput<'_>) -> Result<Prepared, RuntimeError> {
    Err(RuntimeError)
}
pub(crate) fn validate_create(
    config: &ContainerConfig,
    host: &HostConfig,
) -> Result<Vec<String>, RuntimeError> {
    Err(RuntimeError)
}
pub(crate) fn write_bundle(dir: &Path, spec: &Value) -> Result<(), RuntimeError> {
    Err(RuntimeError)
}
#[derive(Clone, Debug)]
pub(crate) struct OciRuntime {
    pub(crate) path: PathBuf,
    pub(crate) args: Vec<String>,
    pub(crate) root: PathBuf,
}
impl OciRuntime {
    pub(crate) fn create_argv(
        &self,
        id: &str,
        bundle: &Path,
        pid_file: &Path,
        console_socket: Option<&Path>,
        log: &Path,
    ) -> Vec<OsString> {
        Vec::new()
    }
    pub(crate) async fn start(&self, id: &str) -> Result<(), RuntimeError> {
        Err(RuntimeError)
    }
    pub(crate) async fn kill(&self, id: &str, signal: i32, all: bool) -> Result<(), RuntimeError> {
        Err(RuntimeError)
    }
    pub(crate) async fn delete(&self, id: &str, force: bool) -> Result<(), RuntimeError> {
        Err(RuntimeError)
    }
    pub(crate) fn read_error(log: &Path) -> Option<String> {
        None
    }
}
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CgroupLayout {
    V1,
    V2,
}
pub(crate) fn cgroup_layout() -> CgroupLayout {
    CgroupLayout::V1
}
