//! System call filters: a profile becomes a BPF program before the first process is made, and one
//! system call loads it just before the container's program runs.
//!
//! Why not libcontainer's own way: it needs a cargo feature that cannot follow from whether the
//! library is there, it builds the program anew for each container, and it loads it so early that a
//! profile must allow the runtime's own system calls.

mod cache;
#[cfg(libseccomp)]
mod compile;
mod load;

use std::path::Path;

use libcontainer::oci_spec::runtime::{LinuxSeccomp, LinuxSeccompAction, LinuxSeccompFilterFlag};

pub(crate) use load::load;

/// A BPF program of the kernel's instructions, and flags for `seccomp(2)`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Filter {
    /// 8 bytes an instruction.
    pub(crate) program: Vec<u8>,
    pub(crate) flags: u64,
}

/// Whether this build can make filters.
pub(crate) const AVAILABLE: bool = cfg!(libseccomp);

pub(crate) const UNAVAILABLE: &str = "linux.seccomp: this taffrail-runtime was built without libseccomp and cannot enforce a profile; \
    install libseccomp-dev and build it again, use another runtime (--runtime runc), or run without a filter (--security-opt seccomp=unconfined)";

/// `2.5.4`, for `--version` and `features`.
pub(crate) fn library_version() -> Option<String> {
    #[cfg(libseccomp)]
    return Some(compile::version());
    #[cfg(not(libseccomp))]
    None
}

/// The filter of a profile. `cache` is a folder where programs are kept for the next container.
///
/// # Errors
/// Words that name what cannot be enforced; nothing of a profile is ever left out silently.
pub(crate) fn build(profile: &LinuxSeccomp, cache: &Path) -> Result<Filter, String> {
    let notify = profile.default_action() == LinuxSeccompAction::ScmpActNotify
        || profile
            .syscalls()
            .iter()
            .flatten()
            .any(|c| c.action() == LinuxSeccompAction::ScmpActNotify);
    if notify || profile.listener_path().is_some() {
        return Err(
            "linux.seccomp: SCMP_ACT_NOTIFY and listenerPath are not supported by the built-in runtime; use another one, such as --runtime runc"
                .to_owned(),
        );
    }
    let mut flags = 0;
    for flag in profile.flags().iter().flatten() {
        flags |= match flag {
            // One thread: nothing to synchronise.
            LinuxSeccompFilterFlag::SeccompFilterFlagTsync => 0,
            LinuxSeccompFilterFlag::SeccompFilterFlagLog => load::FLAG_LOG,
            LinuxSeccompFilterFlag::SeccompFilterFlagSpecAllow => load::FLAG_SPEC_ALLOW,
            // Has a meaning for listeners only.
            LinuxSeccompFilterFlag::SeccompFilterFlagWaitKillableRecv => 0,
        };
    }
    if profile.flags().is_none() {
        flags |= load::FLAG_SPEC_ALLOW;
    }
    let program = cache::get(profile, cache, || {
        #[cfg(libseccomp)]
        return compile::compile(profile);
        #[cfg(not(libseccomp))]
        Err(UNAVAILABLE.to_owned())
    })?;
    Ok(Filter { program, flags })
}
