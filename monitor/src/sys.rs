//! System calls, without a C library. Results are `Result<usize, Errno>`; nothing retries EINTR
//! by itself, because no signal handler is ever installed.

use core::arch::asm;

#[cfg(not(all(target_arch = "x86_64", target_os = "linux")))]
compile_error!(
    "the monitor is written for Linux on x86_64; add the system call table of this target in monitor/src/sys.rs"
);

/// An errno value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Errno(pub i32);

impl Errno {
    pub const EPERM: Self = Self(1);
    pub const ENOENT: Self = Self(2);
    pub const EINTR: Self = Self(4);
    pub const EIO: Self = Self(5);
    pub const ENXIO: Self = Self(6);
    pub const EBADF: Self = Self(9);
    pub const ECHILD: Self = Self(10);
    pub const EAGAIN: Self = Self(11);
    pub const EEXIST: Self = Self(17);
    pub const EINVAL: Self = Self(22);
    pub const ENOSPC: Self = Self(28);
    pub const EOWNERDEAD: Self = Self(130);
}

pub type Result<T> = core::result::Result<T, Errno>;
/// A file descriptor number.
pub type Fd = i32;

/// Numbers of the calls (arch/x86/entry/syscalls/syscall_64.tbl).
mod nr {
    pub(super) const READ: usize = 0;
    pub(super) const POLL: usize = 7;
    pub(super) const WRITE: usize = 1;
    pub(super) const CLOSE: usize = 3;
    pub(super) const FSTAT: usize = 5;
    pub(super) const MMAP: usize = 9;
    pub(super) const MUNMAP: usize = 11;
    pub(super) const IOCTL: usize = 16;
    pub(super) const PREAD: usize = 17;
    pub(super) const PWRITE: usize = 18;
    pub(super) const MADVISE: usize = 28;
    pub(super) const DUP2: usize = 33;
    pub(super) const GETPID: usize = 39;
    pub(super) const SOCKET: usize = 41;
    pub(super) const CONNECT: usize = 42;
    pub(super) const SENDMSG: usize = 46;
    pub(super) const RECVMSG: usize = 47;
    pub(super) const BIND: usize = 49;
    pub(super) const LISTEN: usize = 50;
    pub(super) const FORK: usize = 57;
    pub(super) const EXECVE: usize = 59;
    pub(super) const EXIT_GROUP: usize = 231;
    pub(super) const WAIT4: usize = 61;
    pub(super) const KILL: usize = 62;
    pub(super) const FCNTL: usize = 72;
    pub(super) const FLOCK: usize = 73;
    pub(super) const FSYNC: usize = 74;
    pub(super) const FDATASYNC: usize = 75;
    pub(super) const FTRUNCATE: usize = 77;
    pub(super) const CHDIR: usize = 80;
    pub(super) const SETSID: usize = 112;
    pub(super) const PRCTL: usize = 157;
    pub(super) const RT_SIGACTION: usize = 13;
    pub(super) const RT_SIGPROCMASK: usize = 14;
    pub(super) const CLOCK_GETTIME: usize = 228;
    pub(super) const CLOCK_NANOSLEEP: usize = 230;
    pub(super) const EPOLL_CTL: usize = 233;
    pub(super) const OPENAT: usize = 257;
    pub(super) const MKDIRAT: usize = 258;
    pub(super) const UNLINKAT: usize = 263;
    pub(super) const RENAMEAT: usize = 264;
    pub(super) const SPLICE: usize = 275;
    pub(super) const TEE: usize = 276;
    pub(super) const EPOLL_PWAIT: usize = 281;
    pub(super) const PWRITEV: usize = 296;
    pub(super) const ACCEPT4: usize = 288;
    pub(super) const SIGNALFD4: usize = 289;
    pub(super) const EPOLL_CREATE1: usize = 291;
    pub(super) const PIPE2: usize = 293;
    pub(super) const GETRANDOM: usize = 318;
    pub(super) const PIDFD_OPEN: usize = 434;
}

/// One system call with up to six arguments.
///
/// # Safety
/// The arguments must be what the call expects: pointers valid for what the kernel does with them.
#[inline]
unsafe fn call(n: usize, a: [usize; 6]) -> Result<usize> {
    let ret: isize;
    // SAFETY: the `syscall` instruction clobbers rcx and r11 and returns in rax; the caller
    // answers for the arguments.
    unsafe {
        asm!(
            "syscall",
            inlateout("rax") n as isize => ret,
            in("rdi") a[0], in("rsi") a[1], in("rdx") a[2],
            in("r10") a[3], in("r8") a[4], in("r9") a[5],
            lateout("rcx") _, lateout("r11") _,
            options(nostack)
        );
    }
    if ret < 0 && ret > -4096 {
        Err(Errno(-ret as i32))
    } else {
        Ok(ret as usize)
    }
}

/// Arguments as the six that a call takes; what is not given is 0.
#[inline]
fn six<const N: usize>(given: [usize; N]) -> [usize; 6] {
    let mut all = [0; 6];
    all[..N].copy_from_slice(&given);
    all
}

macro_rules! sys {
    ($n:expr $(, $a:expr)*) => {{
        // SAFETY: every wrapper below passes references and slices that live over the call, with
        // their lengths, or plain numbers.
        unsafe { call($n, six([$($a as usize),*])) }
    }};
}

/// A path as the kernel takes it: bytes that end with NUL.
#[derive(Clone, Copy)]
pub struct CPath<'a>(&'a [u8]);

impl<'a> CPath<'a> {
    /// `bytes` must hold a NUL.
    #[must_use]
    pub fn new(bytes: &'a [u8]) -> Self {
        assert!(bytes.contains(&0), "path without its end");
        Self(bytes)
    }

    fn ptr(self) -> *const u8 {
        self.0.as_ptr()
    }
}

impl core::fmt::Debug for CPath<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("CPath")
    }
}

pub const AT_FDCWD: Fd = -100;
pub const O_RDONLY: usize = 0;
pub const O_WRONLY: usize = 1;
pub const O_RDWR: usize = 2;
pub const O_CREAT: usize = 0o100;
pub const O_TRUNC: usize = 0o1000;
pub const O_APPEND: usize = 0o2000;
pub const O_NONBLOCK: usize = 0o4000;
pub const O_DIRECTORY: usize = 0o200_000;
pub const O_NOFOLLOW: usize = 0o400_000;
pub const O_CLOEXEC: usize = 0o2_000_000;

pub fn open(dir: Fd, path: CPath<'_>, flags: usize, mode: usize) -> Result<Fd> {
    sys!(nr::OPENAT, dir, path.ptr(), flags | O_CLOEXEC, mode).map(|fd| fd as Fd)
}
pub fn close(fd: Fd) {
    let _ = sys!(nr::CLOSE, fd);
}
pub fn read(fd: Fd, buf: &mut [u8]) -> Result<usize> {
    sys!(nr::READ, fd, buf.as_mut_ptr(), buf.len())
}
pub fn write(fd: Fd, buf: &[u8]) -> Result<usize> {
    sys!(nr::WRITE, fd, buf.as_ptr(), buf.len())
}
pub fn pread(fd: Fd, buf: &mut [u8], at: u64) -> Result<usize> {
    sys!(nr::PREAD, fd, buf.as_mut_ptr(), buf.len(), at)
}
/// Writes all of `buf`, or fails.
pub fn pwrite_all(fd: Fd, mut buf: &[u8], mut at: u64) -> Result<()> {
    while !buf.is_empty() {
        let n = sys!(nr::PWRITE, fd, buf.as_ptr(), buf.len(), at)?;
        if n == 0 {
            return Err(Errno::ENOSPC);
        }
        buf = &buf[n..];
        at += n as u64;
    }
    Ok(())
}
/// Writes `parts` one after the other from `at` on; at most eight of them.
pub fn pwritev_all(fd: Fd, parts: &[&[u8]], mut at: u64) -> Result<()> {
    let mut vector = [[0usize; 2]; 9];
    let mut n = 0;
    for part in parts.iter().filter(|part| !part.is_empty()) {
        // A tenth part would be a mistake in this program, and is not written silently.
        *vector.get_mut(n).ok_or(Errno::EINVAL)? = [part.as_ptr() as usize, part.len()];
        n += 1;
    }
    let mut rest = &mut vector[..n];
    while !rest.is_empty() {
        let mut done = sys!(nr::PWRITEV, fd, rest.as_ptr(), rest.len(), at, 0)?;
        if done == 0 {
            return Err(Errno::ENOSPC);
        }
        at += done as u64;
        while let [first, ..] = &mut *rest {
            if done < first[1] {
                first[0] += done;
                first[1] -= done;
                break;
            }
            done -= first[1];
            rest = &mut rest[1..];
        }
    }
    Ok(())
}
/// # Errors
/// The file's data may not be on disk.
pub fn fdatasync(fd: Fd) -> Result<()> {
    sys!(nr::FDATASYNC, fd).map(drop)
}
/// # Errors
/// A folder's names may not be on disk.
pub fn fsync(fd: Fd) -> Result<()> {
    sys!(nr::FSYNC, fd).map(drop)
}
pub fn ftruncate(fd: Fd, size: u64) -> Result<()> {
    sys!(nr::FTRUNCATE, fd, size).map(drop)
}
pub fn unlink(dir: Fd, path: CPath<'_>) -> Result<()> {
    sys!(nr::UNLINKAT, dir, path.ptr(), 0).map(drop)
}
pub fn rename(dir: Fd, from: CPath<'_>, to: CPath<'_>) -> Result<()> {
    rename_to(dir, from, dir, to)
}
pub fn rename_to(dir: Fd, from: CPath<'_>, to_dir: Fd, to: CPath<'_>) -> Result<()> {
    sys!(nr::RENAMEAT, dir, from.ptr(), to_dir, to.ptr()).map(drop)
}
pub fn mkdir(dir: Fd, path: CPath<'_>, mode: usize) -> Result<()> {
    sys!(nr::MKDIRAT, dir, path.ptr(), mode).map(drop)
}
pub fn chdir(path: CPath<'_>) -> Result<()> {
    sys!(nr::CHDIR, path.ptr()).map(drop)
}

/// Size and inode of an open file (`struct stat`).
#[derive(Clone, Copy, Debug)]
pub struct Stat {
    pub inode: u64,
    pub size: u64,
}

pub fn fstat(fd: Fd) -> Result<Stat> {
    let mut raw = [0u64; 18];
    sys!(nr::FSTAT, fd, raw.as_mut_ptr())?;
    Ok(Stat {
        inode: raw[1],
        size: raw[6],
    })
}

pub const LOCK_EX: usize = 2;
pub const LOCK_NB: usize = 4;

pub fn flock(fd: Fd, how: usize) -> Result<()> {
    sys!(nr::FLOCK, fd, how).map(drop)
}

/// Maps `len` bytes of `fd` shared and writable, or private and readable.
pub fn mmap(fd: Fd, len: usize, shared: bool) -> Result<*mut u8> {
    let (prot, flags) = if shared { (3, 1) } else { (1, 2) };
    sys!(nr::MMAP, 0, len, prot, flags, fd, 0).map(|p| p as *mut u8)
}
/// Private anonymous zeroed memory.
pub fn mmap_anonymous(len: usize) -> Result<*mut u8> {
    sys!(nr::MMAP, 0, len, 3, 0x22, -1i32, 0).map(|p| p as *mut u8)
}
pub fn munmap(at: *mut u8, len: usize) {
    let _ = sys!(nr::MUNMAP, at, len);
}

pub const MADV_DONTNEED: usize = 4;
pub const MADV_REMOVE: usize = 9;
pub const MADV_POPULATE_WRITE: usize = 23;

pub fn madvise(at: *mut u8, len: usize, what: usize) -> Result<()> {
    sys!(nr::MADVISE, at, len, what).map(drop)
}

/// Bytes that can be read from a pipe.
pub fn fionread(fd: Fd) -> Result<usize> {
    let mut n = 0i32;
    sys!(nr::IOCTL, fd, 0x541b, &raw mut n)?;
    Ok(n.max(0) as usize)
}
/// Sets a terminal's window size.
pub fn set_window(fd: Fd, rows: u16, cols: u16) -> Result<()> {
    let size = [rows, cols, 0, 0];
    sys!(nr::IOCTL, fd, 0x5414, size.as_ptr()).map(drop)
}
pub fn set_pipe_size(fd: Fd, size: usize) -> Result<usize> {
    sys!(nr::FCNTL, fd, 1031, size)
}
pub fn pipe_size(fd: Fd) -> Result<usize> {
    sys!(nr::FCNTL, fd, 1032, 0)
}
pub fn set_nonblock(fd: Fd) -> Result<()> {
    let flags = sys!(nr::FCNTL, fd, 3, 0)?;
    sys!(nr::FCNTL, fd, 4, flags | O_NONBLOCK).map(drop)
}

pub fn set_block(fd: Fd) -> Result<()> {
    let flags = sys!(nr::FCNTL, fd, 3, 0)?;
    sys!(nr::FCNTL, fd, 4, flags & !O_NONBLOCK).map(drop)
}
pub fn dup2(from: Fd, to: Fd) -> Result<()> {
    sys!(nr::DUP2, from, to).map(drop)
}
/// Waits for events on pairs of descriptor and `events | revents << 16` (`struct pollfd`); a
/// negative descriptor is left out.
pub fn poll(fds: &mut [(Fd, u32)], timeout: i32) -> Result<usize> {
    let mut raw = [[0i32; 2]; 4];
    for (r, (fd, events)) in raw.iter_mut().zip(fds.iter()) {
        *r = [*fd, *events as i32];
    }
    sys!(
        nr::POLL,
        raw.as_mut_ptr(),
        fds.len().min(4),
        timeout as isize
    )
}

pub const SPLICE_NONBLOCK: usize = 2;

/// Copies up to `len` bytes from pipe to pipe without taking them.
pub fn tee(from: Fd, to: Fd, len: usize) -> Result<usize> {
    sys!(nr::TEE, from, to, len, SPLICE_NONBLOCK)
}
pub fn splice(from: Fd, to: Fd, len: usize) -> Result<usize> {
    sys!(nr::SPLICE, from, 0, to, 0, len, SPLICE_NONBLOCK)
}
/// A pipe: read end, write end.
pub fn pipe() -> Result<(Fd, Fd)> {
    let mut fds = [0i32; 2];
    sys!(nr::PIPE2, fds.as_mut_ptr(), O_NONBLOCK | O_CLOEXEC)?;
    Ok((fds[0], fds[1]))
}
pub fn getrandom(buf: &mut [u8]) -> Result<usize> {
    sys!(nr::GETRANDOM, buf.as_mut_ptr(), buf.len(), 0)
}

pub const REALTIME: usize = 0;
pub const MONOTONIC: usize = 1;

/// Nanoseconds of a clock; 0 if it cannot be read.
pub fn now(clock: usize) -> u64 {
    let mut ts = [0u64; 2];
    match sys!(nr::CLOCK_GETTIME, clock, ts.as_mut_ptr()) {
        Ok(_) => ts[0] * 1_000_000_000 + ts[1],
        Err(_) => 0,
    }
}
pub fn sleep(ns: u64) {
    let ts = [ns / 1_000_000_000, ns % 1_000_000_000];
    let _ = sys!(nr::CLOCK_NANOSLEEP, MONOTONIC, 0, ts.as_ptr(), 0);
}

/// `struct epoll_event` of x86_64: packed.
#[repr(C, packed)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Event {
    pub events: u32,
    pub data: u64,
}

pub const EPOLLIN: u32 = 1;
pub const EPOLLHUP: u32 = 16;
pub const EPOLL_ADD: usize = 1;
pub const EPOLL_DEL: usize = 2;

pub fn epoll_create() -> Result<Fd> {
    sys!(nr::EPOLL_CREATE1, O_CLOEXEC).map(|fd| fd as Fd)
}
pub fn epoll_ctl(ep: Fd, op: usize, fd: Fd, data: u64) -> Result<()> {
    let event = Event {
        events: EPOLLIN,
        data,
    };
    sys!(nr::EPOLL_CTL, ep, op, fd, &raw const event).map(drop)
}
/// `timeout` in milliseconds, -1 for ever.
pub fn epoll_wait(ep: Fd, events: &mut [Event], timeout: i32) -> Result<usize> {
    sys!(
        nr::EPOLL_PWAIT,
        ep,
        events.as_mut_ptr(),
        events.len(),
        timeout as isize,
        0,
        8
    )
}

pub fn getpid() -> i32 {
    sys!(nr::GETPID).map_or(0, |p| p as i32)
}
pub fn setsid() {
    let _ = sys!(nr::SETSID);
}
/// # Safety
/// As `fork(2)`: the child has a copy of everything and must soon call [`execve`] or [`exit`].
pub unsafe fn fork() -> Result<i32> {
    sys!(nr::FORK).map(|p| p as i32)
}
pub fn execve(path: CPath<'_>, argv: *const *const u8, envp: *const *const u8) -> Errno {
    match sys!(nr::EXECVE, path.ptr(), argv, envp) {
        Err(e) => e,
        Ok(_) => Errno(0),
    }
}
pub fn exit(code: i32) -> ! {
    loop {
        let _ = sys!(nr::EXIT_GROUP, code);
    }
}
/// Reaps a child: (pid, wait status); (0, 0) when none has ended and `block` is false.
pub fn wait(pid: i32, block: bool) -> Result<(i32, i32)> {
    let mut status = 0i32;
    let n = sys!(
        nr::WAIT4,
        pid as isize,
        &raw mut status,
        usize::from(!block),
        0
    )?;
    Ok((n as i32, status))
}
pub fn kill(pid: i32, signal: i32) -> Result<()> {
    sys!(nr::KILL, pid, signal).map(drop)
}
pub fn pidfd_open(pid: i32) -> Result<Fd> {
    sys!(nr::PIDFD_OPEN, pid, 0).map(|fd| fd as Fd)
}

/// The wait status of an ended process, from its pidfd (`PIDFD_GET_INFO` with `PIDFD_INFO_EXIT`,
/// kernel 6.15 and later; whoever reaped it).
pub fn pidfd_exit(pidfd: Fd) -> Option<i32> {
    const EXIT: u64 = 1 << 3;
    // struct pidfd_info, first version: mask, cgroupid, then 32-bit fields; exit_code at byte 60.
    let mut info = [0u64; 8];
    info[0] = EXIT;
    // _IOWR(0xFF, 11, 64 bytes)
    let request = 3u32 << 30 | 64 << 16 | 0xff << 8 | 11;
    sys!(nr::IOCTL, pidfd, request, info.as_mut_ptr()).ok()?;
    (info[0] & EXIT != 0).then_some((info[7] >> 32) as i32)
}

pub const PR_SET_NAME: usize = 15;
pub const PR_SET_TIMERSLACK: usize = 29;
pub const PR_SET_CHILD_SUBREAPER: usize = 36;

pub fn prctl(what: usize, arg: usize) {
    let _ = sys!(nr::PRCTL, what, arg, 0, 0, 0);
}

/// Ignores or restores the default of a signal.
pub fn signal(number: usize, ignore: bool) {
    // struct sigaction of the kernel: handler, flags, restorer, mask.
    let action = [usize::from(ignore), 0, 0, 0];
    let _ = sys!(nr::RT_SIGACTION, number, action.as_ptr(), 0, 8);
}
pub fn block_signals(mask: u64) {
    let _ = sys!(nr::RT_SIGPROCMASK, 2, &raw const mask, 0, 8);
}
pub fn signalfd(mask: u64) -> Result<Fd> {
    sys!(
        nr::SIGNALFD4,
        -1isize,
        &raw const mask,
        8,
        O_NONBLOCK | O_CLOEXEC
    )
    .map(|fd| fd as Fd)
}

/// `struct sockaddr_un` for a path relative to the working directory.
fn address(path: &[u8]) -> Result<([u8; 110], usize)> {
    let mut raw = [0u8; 110];
    raw[0] = 1;
    if path.len() > 107 {
        return Err(Errno::EINVAL);
    }
    raw[2..2 + path.len()].copy_from_slice(path);
    Ok((raw, 2 + path.len() + 1))
}

pub const SOCK_STREAM: usize = 1;
pub const SOCK_SEQPACKET: usize = 5;

pub fn socket(kind: usize) -> Result<Fd> {
    sys!(nr::SOCKET, 1, kind | O_NONBLOCK | O_CLOEXEC, 0).map(|fd| fd as Fd)
}
/// Binds and listens; a leftover of the same name is replaced.
pub fn listen(kind: usize, path: &[u8], pathz: CPath<'_>) -> Result<Fd> {
    let fd = socket(kind)?;
    let _ = unlink(AT_FDCWD, pathz);
    let (raw, len) = address(path)?;
    let bound = sys!(nr::BIND, fd, raw.as_ptr(), len).and_then(|_| sys!(nr::LISTEN, fd, 64));
    bound.map(|_| fd).inspect_err(|_| close(fd))
}
pub fn connect(kind: usize, path: &[u8]) -> Result<Fd> {
    let fd = socket(kind)?;
    let (raw, len) = address(path)?;
    sys!(nr::CONNECT, fd, raw.as_ptr(), len)
        .map(|_| fd)
        .inspect_err(|_| close(fd))
}
pub fn accept(fd: Fd) -> Result<Fd> {
    sys!(nr::ACCEPT4, fd, 0, 0, O_NONBLOCK | O_CLOEXEC).map(|fd| fd as Fd)
}

/// `struct msghdr`.
#[repr(C)]
struct MsgHdr {
    name: usize,
    namelen: usize,
    iov: *const [usize; 2],
    iovlen: usize,
    control: *mut u64,
    controllen: usize,
    flags: usize,
}

/// Sends one message, with a descriptor if `fd` is given. Never blocks, raises no SIGPIPE.
pub fn send(socket: Fd, bytes: &[u8], fd: Option<Fd>) -> Result<usize> {
    let iov = [bytes.as_ptr() as usize, bytes.len()];
    // struct cmsghdr {len 20, SOL_SOCKET, SCM_RIGHTS} and the descriptor.
    let mut control = [20u64, 1 | 1 << 32, fd.unwrap_or(0) as u64];
    let header = MsgHdr {
        name: 0,
        namelen: 0,
        iov: &raw const iov,
        iovlen: 1,
        control: control.as_mut_ptr(),
        controllen: if fd.is_some() { 24 } else { 0 },
        flags: 0,
    };
    sys!(nr::SENDMSG, socket, &raw const header, 0x4040)
}

/// Receives one message; 0 bytes is the end. A descriptor that came with it is closed on exec.
pub fn recv(socket: Fd, buf: &mut [u8]) -> Result<(usize, Option<Fd>)> {
    let iov = [buf.as_mut_ptr() as usize, buf.len()];
    let mut control = [0u64; 4];
    let mut header = MsgHdr {
        name: 0,
        namelen: 0,
        iov: &raw const iov,
        iovlen: 1,
        control: control.as_mut_ptr(),
        controllen: 24,
        flags: 0,
    };
    let n = sys!(nr::RECVMSG, socket, &raw mut header, 0x4000_0040)?;
    let got = header.controllen >= 20 && control[1] == (1 | 1 << 32);
    Ok((n, got.then_some(control[2] as u32 as Fd)))
}
