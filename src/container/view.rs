//! A container's files as the container sees them, for whoever is outside.
//!
//! Of one that runs it is the root of its mount namespace, whatever its processes have made their own
//! root. For one that does not, a private mount namespace is made in which the root file system and the
//! binds and volumes are mounted as at a start; a tmpfs has no content without a run and is left out.
//! The namespace lives as long as the descriptor of it: nothing is left after a crash.
//!
//! Nothing of the container's is trusted: paths are resolved by `openat2` below the root.

use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::stat::{Mode, mkdirat};
use nix::unistd::{fchdir, pivot_root};
use serde_json::Value;
use tokio::sync::{Semaphore, SemaphorePermit};

use super::exit::blocking;
use super::{Container, Record, signal};
use crate::daemon::Daemon;
use crate::errors::{ApiError, ErrorKind, chain};
use crate::files::Root;
use crate::image::HeldRootfs;
use crate::runtime::{self, MountPoint};
use crate::volume::VolumeStore;

/// Views of all containers at a time: each holds a thread for as long as its client takes.
const MAX_VIEWS: usize = 64;
static VIEWS: Semaphore = Semaphore::const_new(MAX_VIEWS);
/// Tells views of one container apart.
static NUMBER: AtomicU64 = AtomicU64::new(0);
/// How long a request waits for its turn.
const TURN: Duration = Duration::from_secs(60);
/// Files of the daemon's that are mounted into each container.
const OWN_FILES: [&str; 3] = ["resolv.conf", "hostname", "hosts"];

/// The files of one container.
#[derive(Debug)]
pub(super) struct View {
    pub(super) root: Root,
    /// Keeps the mounts together.
    _namespace: OwnedFd,
    _volumes: Volumes,
    _held: HeldRootfs,
    _turn: SemaphorePermit<'static>,
}

/// Volumes that are mounted for one view, as for a container of its own.
#[derive(Debug)]
struct Volumes {
    store: Arc<VolumeStore>,
    user: String,
    names: Vec<String>,
}

impl Drop for Volumes {
    fn drop(&mut self) {
        for name in &self.names {
            self.store.unmount(name, &self.user);
            self.store.release(name, &self.user);
        }
    }
}

/// Something that is mounted for a container that does not run.
#[derive(Clone, Debug)]
struct Bind {
    source: PathBuf,
    target: String,
    read_only: bool,
}

impl Daemon {
    /// Opens the files of a container, which may run or not, or change that meanwhile.
    ///
    /// # Errors
    /// 409 for one that is being removed, 503 if too many are open, 500 from the kernel.
    pub(super) async fn view(&self, container: &Arc<Container>) -> Result<View, ApiError> {
        let turn = tokio::time::timeout(TURN, VIEWS.acquire())
            .await
            .ok()
            .and_then(Result::ok)
            .ok_or_else(|| {
                ApiError::new(
                    ErrorKind::Unavailable,
                    format!("{MAX_VIEWS} copies from and to containers are under way: try again"),
                )
            })?;
        let record = container.record();
        if matches!(
            record.state.status,
            super::Status::Removing | super::Status::Dead
        ) {
            return Err(ApiError::conflict(format!(
                "container {} is marked for removal and its files cannot be read",
                container.id
            )));
        }
        let images = Arc::clone(&self.images);
        let dir = container.dir().to_owned();
        let mut volumes = Volumes {
            store: Arc::clone(&self.volumes),
            user: format!(
                "{}/view/{}",
                record.id,
                NUMBER.fetch_add(1, Ordering::Relaxed)
            ),
            names: Vec::new(),
        };
        blocking(move || {
            let held = images
                .hold_rootfs(&record.id)
                .map_err(|error| ApiError::system(chain(&error)))?;
            let opened = match running(&record) {
                Some(opened) => opened,
                None => {
                    for name in record.points().iter().filter_map(MountPoint::volume) {
                        volumes.store.mount(name, &volumes.user)?;
                        volumes.names.push(name.to_owned());
                    }
                    let binds = binds(&record, &dir, volumes.store.root());
                    stopped(record.host.readonly_rootfs, held.path(), binds)
                }
            };
            let (root, namespace) = opened.map_err(|error| {
                ApiError::system(format!(
                    "cannot open the files of container {}: {error}",
                    record.id
                ))
            })?;
            Ok(View {
                root,
                _namespace: namespace,
                _volumes: volumes,
                _held: held,
                _turn: turn,
            })
        })
        .await
        .unwrap_or_else(|| Err(ApiError::system("the daemon is ending")))
    }
}

type Opened = Result<(Root, OwnedFd), String>;

/// The root of the namespace of a container's process; `None` if there is no process.
fn running(record: &Record) -> Option<Opened> {
    let (pid, start) = (record.state.pid, record.state.pid_start);
    if pid <= 0 || !record.state.status.has_process() {
        return None;
    }
    let path = format!("/proc/{pid}/ns/mnt");
    let namespace = open(
        path.as_str(),
        OFlag::O_RDONLY | OFlag::O_CLOEXEC,
        Mode::empty(),
    )
    .ok()?;
    // What was opened is the container's only if the number still was when it was opened.
    if signal::start_time(pid) != Some(start) {
        return None;
    }
    Some(on_a_thread(move || {
        // This thread's root and working directory alone.
        unshare(CloneFlags::CLONE_FS).map_err(|e| failed("unshare", e))?;
        setns(&namespace, CloneFlags::CLONE_NEWNS).map_err(|e| failed("join its mounts", e))?;
        let root = open_root("/")?;
        Ok((Root::new(root), namespace))
    }))
}

/// A private namespace with the root file system and what is mounted into it.
fn stopped(read_only: bool, merged: &Path, binds: Vec<Bind>) -> Opened {
    let merged = merged.to_owned();
    on_a_thread(move || {
        // With a root and a working directory of its own, too.
        unshare(CloneFlags::CLONE_NEWNS).map_err(|e| failed("unshare", e))?;
        let flags = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
        mount(None::<&str>, "/", None::<&str>, flags, None::<&str>)
            .map_err(|e| failed("make mounts private", e))?;
        let root = Root::new(open_root(&merged)?);
        for bind in &binds {
            bind_into(&root, bind).map_err(|e| {
                failed(
                    &format!("mount {} at {}", bind.source.display(), bind.target),
                    e,
                )
            })?;
        }
        if read_only {
            remount_read_only(&by_descriptor(&root)).map_err(|e| failed("remount", e))?;
        }
        let namespace = open(
            "/proc/thread-self/ns/mnt",
            OFlag::O_RDONLY | OFlag::O_CLOEXEC,
            Mode::empty(),
        )
        .map_err(|e| failed("open the mounts", e))?;
        // The host's mounts go: here they would keep file systems busy that the host unmounts. A host
        // whose root cannot be left (an initial RAM disk) keeps them until the end of the copy.
        let left = fchdir(root.fd())
            .and_then(|()| pivot_root(".", "."))
            .and_then(|()| umount2(".", MntFlags::MNT_DETACH));
        if let Err(errno) = left {
            tracing::debug!(
                error = errno.desc(),
                "the host's mounts stay in a view of files"
            );
        }
        Ok((root, namespace))
    })
}

/// What is mounted into a container, nearest to the root first.
fn binds(record: &Record, dir: &Path, volumes: &Path) -> Vec<Bind> {
    let points = runtime::shown_mounts(record.points(), dir, volumes);
    let text = |point: &Value, key: &str| point[key].as_str().unwrap_or("").to_owned();
    let mut binds: Vec<Bind> = points
        .iter()
        .map(|point| Bind {
            source: PathBuf::from(text(point, "Source")),
            target: text(point, "Destination"),
            read_only: point["RW"] == false,
        })
        .collect();
    for name in OWN_FILES {
        let target = format!("/etc/{name}");
        if binds.iter().all(|bind| bind.target != target) {
            binds.push(Bind {
                source: dir.join(name),
                target,
                read_only: false,
            });
        }
    }
    // A tmpfs has no source; a file or volume that no start has made yet is not there.
    binds.retain(|bind| bind.source.is_absolute() && bind.source.exists());
    binds.sort_by_key(|bind| bind.target.matches('/').count());
    binds
}

fn bind_into(root: &Root, bind: &Bind) -> Result<(), Errno> {
    let folder = bind.source.is_dir();
    let target = bind.target.as_bytes();
    let flags = OFlag::O_PATH;
    let at = match root.at(target, flags) {
        Err(Errno::ENOENT) => {
            make_target(root, &bind.target, folder)?;
            root.at(target, flags)?
        }
        other => other?,
    };
    mount(
        Some(&bind.source),
        &descriptor(&at),
        None::<&str>,
        MsFlags::MS_BIND | MsFlags::MS_REC,
        None::<&str>,
    )?;
    if bind.read_only {
        // What is on top there now.
        remount_read_only(&descriptor(&root.at(target, flags)?))?;
    }
    Ok(())
}

fn remount_read_only(at: &Path) -> Result<(), Errno> {
    let flags = MsFlags::MS_REMOUNT | MsFlags::MS_BIND | MsFlags::MS_RDONLY;
    mount(None::<&str>, at, None::<&str>, flags, None::<&str>)
}

/// Makes what is mounted over, as a start would.
fn make_target(root: &Root, target: &str, folder: bool) -> Result<(), Errno> {
    let parts: Vec<&str> = target.split('/').filter(|part| !part.is_empty()).collect();
    let mut path = String::from("/");
    for (n, part) in parts.iter().enumerate() {
        let above = root.at(path.as_bytes(), OFlag::O_PATH | OFlag::O_DIRECTORY)?;
        path = format!("{}/{part}", path.trim_end_matches('/'));
        let mode = Mode::from_bits_truncate(0o755);
        let made = if n + 1 < parts.len() || folder {
            mkdirat(&above, *part, mode)
        } else {
            let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_CLOEXEC;
            nix::fcntl::openat(&above, *part, flags, mode).map(drop)
        };
        match made {
            Ok(()) | Err(Errno::EEXIST) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

fn open_root(path: impl AsRef<Path>) -> Result<OwnedFd, String> {
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    open(path.as_ref(), flags, Mode::empty()).map_err(|e| failed("open the root", e))
}

fn by_descriptor(root: &Root) -> PathBuf {
    descriptor(&root.fd())
}

fn descriptor(fd: &impl AsFd) -> PathBuf {
    use std::os::fd::AsRawFd as _;
    PathBuf::from(format!("/proc/self/fd/{}", fd.as_fd().as_raw_fd()))
}

fn failed(action: &str, errno: Errno) -> String {
    format!("{action}: {}", errno.desc())
}

/// Runs what changes the thread that it runs on; the thread ends with it.
fn on_a_thread(work: impl FnOnce() -> Opened + Send + 'static) -> Opened {
    std::thread::Builder::new()
        .name("view".to_owned())
        .spawn(work)
        .map_err(|error| error.to_string())?
        .join()
        .unwrap_or_else(|_| Err("the thread that opens them has failed".to_owned()))
}
