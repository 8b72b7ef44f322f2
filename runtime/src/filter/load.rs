//! Loads a filter into this process.

use std::io;

use super::Filter;

pub(super) const FLAG_LOG: u64 = 2;
pub(super) const FLAG_SPEC_ALLOW: u64 = 4;
const SET_MODE_FILTER: libc::c_long = 1;

/// From here on the filter holds for this process and all that it becomes. Needs no_new_privs or
/// CAP_SYS_ADMIN.
pub(crate) fn load(filter: &Filter) -> io::Result<()> {
    match try_load(filter, filter.flags) {
        // A kernel that does not know speculation flags is older than what they would change.
        Err(e) if e.raw_os_error() == Some(libc::EINVAL) && filter.flags & FLAG_SPEC_ALLOW != 0 => {
            try_load(filter, filter.flags & !FLAG_SPEC_ALLOW)
        }
        done => done,
    }
}

fn try_load(filter: &Filter, flags: u64) -> io::Result<()> {
    let program: Vec<libc::sock_filter> = filter
        .program
        .chunks_exact(8)
        .map(|c| libc::sock_filter {
            code: u16::from_ne_bytes([c[0], c[1]]),
            jt: c[2],
            jf: c[3],
            k: u32::from_ne_bytes([c[4], c[5], c[6], c[7]]),
        })
        .collect();
    let len = u16::try_from(program.len())
        .map_err(|_| io::Error::other("the system call filter is too long"))?;
    let prog = libc::sock_fprog {
        len,
        filter: program.as_ptr().cast_mut(),
    };
    // SAFETY: `prog` and the instructions that it points to live through the call, which only reads
    // them; the kernel checks the program itself.
    let n = unsafe { libc::syscall(libc::SYS_seccomp, SET_MODE_FILTER, flags, &prog) };
    if n == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}
