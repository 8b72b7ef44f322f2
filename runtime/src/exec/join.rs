//! The namespaces of a running container.

use std::fs::{self, File};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;

use crate::payload::words;
use crate::state::{Record, start_time};

/// In the order in which they are joined. The mount namespace is last of those that root may join
/// from outside; then comes the user namespace, after which the host's rights are gone.
const KINDS: [(&str, libc::c_int); 8] = [
    ("ipc", libc::CLONE_NEWIPC),
    ("uts", libc::CLONE_NEWUTS),
    ("net", libc::CLONE_NEWNET),
    ("pid", libc::CLONE_NEWPID),
    ("cgroup", libc::CLONE_NEWCGROUP),
    // CLONE_NEWTIME, which libc does not have for all targets.
    ("time", 0x80),
    ("mnt", libc::CLONE_NEWNS),
    ("user", libc::CLONE_NEWUSER),
];

/// runc's words.
pub(super) const STOPPED: &str = "cannot exec in a stopped container";

/// A container's namespaces as open files: those that are not this process's own.
#[derive(Debug)]
pub(super) struct Namespaces {
    files: Vec<(&'static str, libc::c_int, File)>,
    /// Its root, if it has no mount namespace of its own.
    root: Option<File>,
}

impl Namespaces {
    /// Opens the namespaces of the container's first process.
    pub(super) fn open(record: &Record) -> Result<Self, String> {
        let pid = record.pid;
        let mut files = Vec::new();
        for (kind, flag) in KINDS {
            let path = format!("/proc/{pid}/ns/{kind}");
            let file = match File::open(&path) {
                Ok(file) => file,
                // Every kernel has this kind: the process is ending.
                Err(e) if e.kind() == io::ErrorKind::NotFound && kind == "mnt" => {
                    return Err(STOPPED.to_owned());
                }
                Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
                Err(e) => return Err(format!("{path}: {}", words(&e))),
            };
            let own = fs::metadata(format!("/proc/self/ns/{kind}"));
            let theirs = file.metadata().map_err(|e| format!("{path}: {e}"))?;
            if own.is_ok_and(|own| (own.dev(), own.ino()) == (theirs.dev(), theirs.ino())) {
                continue;
            }
            files.push((kind, flag, file));
        }
        let root = if files.iter().any(|(kind, ..)| *kind == "mnt") {
            None
        } else {
            let path = format!("/proc/{pid}/root");
            Some(File::open(&path).map_err(|e| format!("{path}: {}", words(&e)))?)
        };
        // What was opened is the container's only if its process was there to the last.
        if start_time(pid) != Some(record.start) {
            return Err(STOPPED.to_owned());
        }
        Ok(Self { files, root })
    }

    /// Joins them. The pid namespace is that of children from then on.
    pub(super) fn join(self) -> Result<(), String> {
        let mut later = Vec::new();
        for (kind, flag, file) in self.files {
            match setns(&file, flag) {
                Ok(()) => {}
                // Not root outside: what the user namespace owns is joined from within it.
                Err(e) if e.raw_os_error() == Some(libc::EPERM) && kind != "user" => {
                    later.push((kind, flag, file));
                }
                Err(e) => return Err(format!("joining the {kind} namespace: {}", words(&e))),
            }
        }
        for (kind, flag, file) in later {
            setns(&file, flag)
                .map_err(|e| format!("joining the {kind} namespace: {}", words(&e)))?;
        }
        if let Some(root) = self.root {
            // SAFETY: an open folder and a path that ends with NUL.
            let done =
                unsafe { libc::fchdir(root.as_raw_fd()) == 0 && libc::chroot(c".".as_ptr()) == 0 };
            if !done {
                let e = io::Error::last_os_error();
                return Err(format!("changing to the container's root: {}", words(&e)));
            }
        }
        Ok(())
    }
}

fn setns(file: &File, flag: libc::c_int) -> io::Result<()> {
    // SAFETY: the descriptor is open; there is one thread.
    if unsafe { libc::setns(file.as_raw_fd(), flag) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}
