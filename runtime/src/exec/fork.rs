//! Making a process that runs on with what this one has.

use std::io;

/// Whose child the new process is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Parent {
    This,
    /// This one's parent, which then can wait for it.
    Same,
}

/// The new process's number as this one sees it; `None` in the new process.
pub(super) fn fork(parent: Parent) -> io::Result<Option<i32>> {
    let pid = match parent {
        // SAFETY: this program has one thread.
        Parent::This => libc::c_long::from(unsafe { libc::fork() }),
        Parent::Same => {
            // SAFETY: a structure of numbers, all zero but the flags: the new process has a copy of
            // this one's memory, and its end is told as this one's. There is one thread, so the
            // library has nothing to put in order.
            unsafe {
                let mut args: libc::clone_args = std::mem::zeroed();
                args.flags = libc::CLONE_PARENT as u64;
                libc::syscall(
                    libc::SYS_clone3,
                    &raw const args,
                    size_of::<libc::clone_args>(),
                )
            }
        }
    };
    match pid {
        0 => Ok(None),
        // Numbers of processes have at most 22 bits.
        pid if pid > 0 => Ok(Some(pid as i32)),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Ends a forked process, without what its original has registered for its own end.
pub(super) fn end(code: i32) -> ! {
    // SAFETY: ends the process.
    unsafe { libc::_exit(code) }
}
