//! Hearing from the kernel that a control group is short of memory.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::path::PathBuf;

use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::cgroup::CgroupLayout;

/// A subscription: an eventfd with version 1, a watch on `memory.events` with version 2.
#[derive(Debug)]
pub(crate) struct OomEvents {
    ready: AsyncFd<File>,
    dir: PathBuf,
    /// The kernel counts it as the subscription's subject.
    _control: Option<File>,
}

impl OomEvents {
    /// Subscribes to the group `path`. Needs the runtime's context.
    ///
    /// # Errors
    /// No memory controller, no such group, no descriptors.
    pub(crate) fn open(layout: &CgroupLayout, path: &str) -> io::Result<Self> {
        let dir = layout
            .group("memory", path)
            .ok_or(io::ErrorKind::NotFound)?;
        let (fd, control): (OwnedFd, _) = match layout {
            CgroupLayout::V1 { .. } => {
                let control = File::open(dir.join("memory.oom_control"))?;
                let event = EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?;
                let line = format!("{} {}", event.as_raw_fd(), control.as_raw_fd());
                File::options()
                    .write(true)
                    .open(dir.join("cgroup.event_control"))?
                    .write_all(line.as_bytes())?;
                (event.into(), Some(control))
            }
            CgroupLayout::V2 { .. } => {
                let inotify = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK)?;
                inotify.add_watch(&dir.join("memory.events"), AddWatchFlags::IN_MODIFY)?;
                (inotify.into(), None)
            }
        };
        // SAFETY: the descriptor is owned by what is registered, and closed with it only.
        let ready = unsafe {
            AsyncFd::register_with_interest(File::from(fd), Interest::READABLE)
                .map_err(io::Error::from)?
        };
        Ok(Self {
            ready,
            dir,
            _control: control,
        })
    }

    /// Resolves at the next event, which may be before the kernel has killed. False: the group is
    /// gone.
    ///
    /// # Errors
    /// The descriptor cannot be read.
    pub(crate) async fn next(&mut self) -> io::Result<bool> {
        loop {
            let mut guard = self.ready.readable_mut().await?;
            // One eventfd counter, or some inotify events; what they say is of no interest.
            let mut buffer = [0; 4096];
            match guard.try_io(|fd| fd.get_mut().read(&mut buffer)) {
                Ok(read) => {
                    read?;
                    return Ok(self.dir.exists());
                }
                Err(_would_block) => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn version_two_tells_of_changes_and_of_the_end() {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("p");
        std::fs::create_dir(&dir).unwrap();
        let file = dir.join("memory.events");
        std::fs::write(&file, "oom_kill 0\n").unwrap();
        let layout = CgroupLayout::V2 {
            root: root.path().to_owned(),
        };
        assert!(OomEvents::open(&layout, "/none").is_err());
        let mut events = OomEvents::open(&layout, "/p").unwrap();
        std::fs::write(&file, "oom_kill 1\n").unwrap();
        assert!(events.next().await.unwrap());
        std::fs::remove_dir_all(&dir).unwrap();
        assert!(!events.next().await.unwrap());
    }
}
