//! Keeps a container from overwriting this program (CVE-2019-5736).
//!
//! Until its own program runs, a container's first process is this one, and `/proc/PID/exe` leads
//! from inside to its file. So `create` runs from a file that cannot be written: a detached
//! read-only mount of its own file (no copy; Linux 5.12), else a sealed copy in memory. Where the
//! program already lies on a read-only mount nothing is done.

use std::ffi::{CString, OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

const SELF: &std::ffi::CStr = c"/proc/self/exe";
/// Says that this is the second execution; a program that is then still not sealed must not run.
const MARK: &str = "_TAFFRAIL_RUNTIME_SEALED";

/// Executes this program again from a sealed file, unless it runs from one.
pub(crate) fn ensure() -> io::Result<()> {
    let again = std::env::var_os(MARK).is_some();
    if sealed()? {
        if again {
            // SAFETY: there is one thread yet.
            unsafe { std::env::remove_var(MARK) };
        }
        return Ok(());
    }
    if again {
        return Err(io::Error::other("the sealed copy is not sealed"));
    }
    let file = read_only_mount().or_else(|_| copy())?;
    let argv = strings(std::env::args_os())?;
    let mut envp = strings(std::env::vars_os().map(|(mut k, v)| {
        k.push("=");
        k.push(v);
        k
    }))?;
    envp.push(c"_TAFFRAIL_RUNTIME_SEALED=1".to_owned());
    let pointers = |list: &[CString]| -> Vec<*const libc::c_char> {
        list.iter()
            .map(|s| s.as_ptr())
            .chain([std::ptr::null()])
            .collect()
    };
    // SAFETY: both lists end with NULL and their strings with NUL; they live until the call returns,
    // which it does only with an error.
    unsafe {
        libc::syscall(
            libc::SYS_execveat,
            file.as_raw_fd(),
            c"".as_ptr(),
            pointers(&argv).as_ptr(),
            pointers(&envp).as_ptr(),
            libc::AT_EMPTY_PATH,
        );
    }
    Err(io::Error::last_os_error())
}

fn strings(list: impl Iterator<Item = OsString>) -> io::Result<Vec<CString>> {
    list.map(|s| CString::new(AsRef::<OsStr>::as_ref(&s).as_bytes()).map_err(io::Error::other))
        .collect()
}

fn check(n: libc::c_long) -> io::Result<libc::c_int> {
    if n < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(n as libc::c_int)
    }
}

/// Whether the file that runs cannot be written through the path by which it runs.
fn sealed() -> io::Result<bool> {
    // SAFETY: the path ends with NUL; `stat` is plain data that the kernel fills.
    let flags = unsafe {
        let mut stat: libc::statvfs = std::mem::zeroed();
        check(libc::c_long::from(libc::statvfs(SELF.as_ptr(), &mut stat)))?;
        stat.f_flag
    };
    if flags & libc::ST_RDONLY != 0 {
        return Ok(true);
    }
    let file = File::open("/proc/self/exe")?;
    // SAFETY: the descriptor is open; other files than those in memory give an error.
    let seals = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_GET_SEALS) };
    Ok(seals >= 0 && seals & SEALS == SEALS)
}

const SEALS: libc::c_int =
    libc::F_SEAL_SEAL | libc::F_SEAL_SHRINK | libc::F_SEAL_GROW | libc::F_SEAL_WRITE;

/// A mount of this program's file alone, read-only, in no mount namespace: nobody inside a container
/// can find it to make it writable.
fn read_only_mount() -> io::Result<OwnedFd> {
    #[repr(C)]
    struct MountAttr {
        attr_set: u64,
        attr_clr: u64,
        propagation: u64,
        userns_fd: u64,
    }
    let attr = MountAttr {
        attr_set: libc::MOUNT_ATTR_RDONLY,
        attr_clr: 0,
        propagation: 0,
        userns_fd: 0,
    };
    // SAFETY: paths end with NUL, `attr` has the size that is given, and the descriptor is new.
    unsafe {
        let fd = check(libc::syscall(
            libc::SYS_open_tree,
            libc::AT_FDCWD,
            SELF.as_ptr(),
            libc::OPEN_TREE_CLONE | libc::OPEN_TREE_CLOEXEC,
        ))?;
        let fd = OwnedFd::from_raw_fd(fd);
        check(libc::syscall(
            libc::SYS_mount_setattr,
            fd.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH,
            &attr,
            size_of::<MountAttr>(),
        ))?;
        Ok(fd)
    }
}

/// A copy in memory that nobody can change.
fn copy() -> io::Result<OwnedFd> {
    let mut from = File::open("/proc/self/exe")?;
    // SAFETY: the name ends with NUL; the descriptor is new and owned by the file made of it.
    let mut to = unsafe {
        File::from_raw_fd(check(libc::c_long::from(libc::memfd_create(
            c"taffrail-runtime-program".as_ptr(),
            libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING,
        )))?)
    };
    io::copy(&mut from, &mut to)?;
    // SAFETY: the descriptor is open.
    check(libc::c_long::from(unsafe {
        libc::fcntl(to.as_raw_fd(), libc::F_ADD_SEALS, SEALS)
    }))?;
    Ok(to.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn a_copy_cannot_be_written() {
        let fd = copy().unwrap();
        let mut file = File::options()
            .append(true)
            .open(format!("/proc/self/fd/{}", fd.as_raw_fd()))
            .unwrap();
        let e = file.write_all(b"x").unwrap_err();
        assert_eq!(e.raw_os_error(), Some(libc::EPERM));
        assert!(!sealed().unwrap());
    }

    #[test]
    fn a_mount_cannot_be_written() {
        let fd = match read_only_mount() {
            Ok(fd) => fd,
            Err(e) => {
                eprintln!("skipped: no detached mounts here: {e}");
                return;
            }
        };
        // Opening it for writing says "text file busy" while this test runs from it, so the mount is
        // asked.
        // SAFETY: `stat` is a plain structure of numbers, filled by the call for an open descriptor.
        let stat = unsafe {
            let mut stat: libc::statvfs = std::mem::zeroed();
            assert_eq!(libc::fstatvfs(fd.as_raw_fd(), &raw mut stat), 0);
            stat
        };
        assert_ne!(stat.f_flag & libc::ST_RDONLY, 0);
    }
}
