//! The last process: the container's identity, then the program.

use std::ffi::CString;
use std::fs;
use std::io;
use std::os::fd::{IntoRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

use libcontainer::capabilities::reset_effective;
use libcontainer::syscall::syscall::create_syscall;
use libcontainer::{apparmor, tty};

use super::process::Tenant;
use crate::payload::{Payload, words};

impl Tenant {
    /// Limits that children inherit, set while the host's rights are there.
    pub(super) fn limit(&self) -> Result<(), String> {
        if let Some(score) = self.oom_score_adj {
            fs::write("/proc/self/oom_score_adj", score.to_string())
                .map_err(|e| format!("process.oomScoreAdj {score}: {}", words(&e)))?;
        }
        let syscall = create_syscall();
        for limit in &self.rlimits {
            syscall
                .set_rlimit(limit)
                .map_err(|e| format!("process.rlimits {:?}: {e}", limit.typ()))?;
        }
        Ok(())
    }

    /// Returns only with the words of what failed.
    pub(super) fn become_program(self, console: Option<OwnedFd>, payload: &Payload) -> String {
        match self.prepare(console, payload) {
            Ok(()) => payload.run(&self.spec).err().unwrap_or_default(),
            Err(text) => text,
        }
    }

    fn prepare(&self, console: Option<OwnedFd>, payload: &Payload) -> Result<(), String> {
        let syscall = create_syscall();
        let user = self.spec.process().as_ref().ok_or("process is missing")?;
        let user = user.user();
        // SAFETY: makes this process the leader of a session of its own.
        unsafe { libc::setsid() };
        if let Some(console) = console {
            // Closed by it.
            tty::setup_console(syscall.as_ref(), console.into_raw_fd(), false)
                .map_err(|e| format!("terminal: {e}"))?;
        }
        own_stdio(user.uid());
        if let Some(personality) = self.personality {
            // SAFETY: sets a number of this process.
            if unsafe { libc::personality(personality) } < 0 {
                return Err(format!(
                    "linux.personality: {}",
                    words(&io::Error::last_os_error())
                ));
            }
        }
        if let Some(profile) = &self.apparmor {
            apparmor::apply_profile(profile)
                .map_err(|e| format!("process.apparmorProfile {profile:?}: {e}"))?;
        }
        // A folder that only root may enter, or only the user.
        let entered = self.change_dir();
        if self.no_new_privileges {
            // SAFETY: sets a flag of this process.
            if unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) } < 0 {
                return Err(format!(
                    "process.noNewPrivileges: {}",
                    words(&io::Error::last_os_error())
                ));
            }
        }
        set_groups(user.additional_gids().as_deref().unwrap_or(&[]))?;
        set_ids(user.uid(), user.gid()).map_err(|e| format!("process.user: {}", words(&e)))?;
        reset_effective(syscall.as_ref()).map_err(|e| format!("capabilities: {e}"))?;
        payload.prepare(&self.spec)?;
        if let Err(e) = entered {
            match e.raw_os_error() {
                Some(libc::EACCES | libc::EPERM) => self.change_dir(),
                _ => Err(e),
            }
            .map_err(|e| {
                let cwd = self.cwd.display().to_string();
                format!(
                    "chdir to cwd ({cwd:?}) set in config.json failed: {}",
                    words(&e)
                )
            })?;
        }
        // A folder of the host would have no path here (CVE-2024-21626).
        match std::env::current_dir() {
            Ok(dir) if dir.is_absolute() => Ok(()),
            _ => Err("current working directory is outside of container mount namespace root -- possible container breakout detected".to_owned()),
        }
    }

    fn change_dir(&self) -> io::Result<()> {
        let path = CString::new(self.cwd.as_os_str().as_bytes())?;
        // SAFETY: the path ends with NUL.
        if unsafe { libc::chdir(path.as_ptr()) } < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(())
    }
}

/// Pipes and terminals become the user's, so that it may open them again (`/dev/stdout`), as with
/// runc. What else was handed over stays as it is.
fn own_stdio(uid: u32) {
    for fd in 0..3 {
        let mut stat = std::mem::MaybeUninit::<libc::stat>::uninit();
        // SAFETY: `stat` is filled if the call succeeds; the other calls take numbers. A refusal
        // leaves the user without the right to open it anew, no more.
        unsafe {
            if libc::fstat(fd, stat.as_mut_ptr()) != 0 {
                continue;
            }
            let kind = stat.assume_init().st_mode & libc::S_IFMT;
            if kind == libc::S_IFIFO || (kind == libc::S_IFCHR && libc::isatty(fd) == 1) {
                libc::fchown(fd, uid, libc::gid_t::MAX);
            }
        }
    }
}

/// All ids of this process. Capabilities stay permitted: the container's are taken next.
fn set_ids(uid: u32, gid: u32) -> io::Result<()> {
    // SAFETY: these set numbers of this process, which has one thread.
    unsafe {
        if libc::prctl(libc::PR_SET_KEEPCAPS, 1, 0, 0, 0) < 0
            || libc::setresgid(gid, gid, gid) < 0
            || libc::setresuid(uid, uid, uid) < 0
        {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

/// Exactly these: none of the caller's stays.
fn set_groups(gids: &[u32]) -> Result<(), String> {
    // SAFETY: the list has the length that is given.
    if unsafe { libc::setgroups(gids.len(), gids.as_ptr()) } == 0 {
        return Ok(());
    }
    let e = io::Error::last_os_error();
    let denied = e.raw_os_error() == Some(libc::EPERM)
        && fs::read_to_string("/proc/self/setgroups").is_ok_and(|t| t.trim() == "deny");
    if gids.is_empty() && denied {
        return Ok(());
    }
    Err(format!("process.user.additionalGids: {}", words(&e)))
}
