//! From Docker's settings to a running container: what is refused, the OCI bundle, control groups,
//! and the OCI runtime's verbs.
//!
//! The specification follows the OCI runtime specification 1.0.2 and Moby's defaults (API 1.43).
//! Nothing here keeps state; all functions but the verbs block and belong on a blocking thread.

mod binds;
mod caps;
mod cdi;
mod cgroup;
mod devices;
mod error;
mod exec;
mod files;
mod freezer;
mod limits;
mod mount_oci;
mod mounts;
mod network;
mod oci;
mod oom;
mod propagation;
mod rootfs;
mod seccomp;
mod security;
mod spec;
mod stats;
mod support;
#[cfg(test)]
mod tests;
mod tmpfs;
mod update;
mod user;
mod validate;
mod volumes;

pub(crate) use binds::volumes_from;
pub(crate) use cgroup::{
    cgroup_layout, cgroup_members, cgroup_path, kill_cgroup, oom_kills, remove_cgroup,
    remove_parent, waits_for_memory,
};
pub(crate) use exec::{ExecInput, exec_failure, exec_files, exec_process};
pub(crate) use files::change as change_etc;
pub(crate) use freezer::{is_frozen, set_frozen};
pub(crate) use mount_oci::{old_mounts, shown_mounts, target_in};
pub(crate) use mounts::{MountPoint, Source, user_mounts};
pub(crate) use network::{OwnNetwork, Shared, joined};
pub(crate) use oci::{OciRuntime, StartFailure, start_failure};
pub(crate) use oom::OomEvents;
pub(crate) use security::{default_masked_paths, default_readonly_paths, security_options};
pub(crate) use spec::{Prepared, SpecInput, prepare, write_bundle};
pub(crate) use stats::{Usage, usage};
pub(crate) use support::discard_unsupported;
pub(crate) use update::update_limits;
pub(crate) use user::user_ids;
pub(crate) use validate::{retries_without_failure, validate_create, validate_update};
