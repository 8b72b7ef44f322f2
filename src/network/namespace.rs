//! Network namespaces that outlive processes: each is bind-mounted on a file, made before the
//! container and removed after it.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, setns, unshare};

use super::netlink::Netlink;

/// Makes a namespace with its loopback up, mounted on `path`.
pub(crate) fn create(path: &Path) -> io::Result<()> {
    // A mount point that was left by somebody who died before it was mounted on.
    OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(path)?;
    let target = path.to_owned();
    on_thread(move || {
        unshare(CloneFlags::CLONE_NEWNET)?;
        let mut netlink = Netlink::open()?;
        let lo = netlink
            .link("lo")?
            .ok_or_else(|| io::Error::other("a new network namespace has no loopback"))?;
        netlink.set_up(lo.index)?;
        mount(
            Some("/proc/thread-self/ns/net"),
            &target,
            None::<&str>,
            MsFlags::MS_BIND,
            None::<&str>,
        )?;
        Ok(())
    })
    .inspect_err(|_| {
        // It is empty and ours.
        let _ = std::fs::remove_file(path);
    })
}

/// Runs `work` in a namespace, on a thread of its own.
pub(crate) fn inside<T: Send + 'static>(
    path: &Path,
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    let namespace = File::open(path)?;
    on_thread(move || {
        setns(namespace.as_fd(), CloneFlags::CLONE_NEWNET)?;
        work()
    })
}

/// Unmounts a namespace and removes its file; the kernel takes its interfaces away once its last
/// process is gone. What is not there is no error.
pub(crate) fn remove(path: &Path) -> io::Result<()> {
    match umount2(path, MntFlags::MNT_DETACH) {
        // Not a mount point: it was left half made.
        Ok(()) | Err(nix::Error::EINVAL | nix::Error::ENOENT) => {}
        Err(error) => return Err(error.into()),
    }
    match std::fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        done => done,
    }
}

/// A thread that changes its namespace must never serve anybody else.
fn on_thread<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    std::thread::Builder::new()
        .name("network".to_owned())
        .spawn(work)?
        .join()
        .unwrap_or_else(|_| Err(io::Error::other("the thread in the namespace failed")))
}

/// Where a namespace is found: sets a value below `/proc/sys/net` of the calling thread's
/// namespace. A kernel without the key (no IPv6) is no error.
pub(crate) fn sysctl(key: &str, value: &str) -> io::Result<()> {
    let path = PathBuf::from("/proc/sys/net").join(key);
    match std::fs::write(&path, value) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(io::Error::new(
            error.kind(),
            format!("cannot write {value} to {}: {error}", path.display()),
        )),
        Ok(()) => Ok(()),
    }
}

/// A value below `/proc/sys/net`, without the line's end.
pub(crate) fn read_sysctl(key: &str) -> Option<String> {
    let text = std::fs::read_to_string(Path::new("/proc/sys/net").join(key)).ok()?;
    Some(text.trim().to_owned())
}
