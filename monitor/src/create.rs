//! Runs the OCI runtime's `create` with the application's pipes as its stdio.

use core::sync::atomic::Ordering;

use taffrail_log_core::state::{StatePage, lifecycle};

use crate::conf::{ARGS, Conf};
use crate::monitor::process_start;
use crate::probe::Probe;
use crate::proto::{Message, kind};
use crate::sys::{self, AT_FDCWD, CPath, Errno, Fd, O_NONBLOCK, O_RDONLY, O_RDWR};
use crate::text::parse;

/// Runs `create` and records the application. Returns the terminal's master, or -1 without one.
///
/// # Errors
/// The runtime's wait status, or a negative errno.
pub fn run<P: Probe>(
    conf: &Conf<'_>,
    page: &StatePage,
    envp: *const *const u8,
    keeper: Fd,
    id: [u8; 32],
) -> Result<Fd, i32> {
    page.lifecycle.store(lifecycle::CREATING, Ordering::Release);
    let errno = |e: Errno| -e.0;
    let console = if conf.tty {
        sys::listen(
            sys::SOCK_STREAM,
            b"console.sock",
            CPath::new(b"console.sock\0"),
        )
        .map_err(errno)?
    } else {
        -1
    };
    let stdio = Stdio::open(conf).map_err(errno)?;
    let mut argv = [core::ptr::null(); ARGS + 1];
    for (slot, arg) in argv.iter_mut().zip(&conf.args[..conf.arg_count]) {
        *slot = arg.as_ptr();
    }
    if conf.arg_count == 0 {
        return Err(-Errno::EINVAL.0);
    }
    // SAFETY: the child only sets up descriptors and signals and then executes the runtime.
    let pid = unsafe { sys::fork() }.map_err(errno)?;
    if pid == 0 {
        stdio.install();
        for signal in [1, 2, 3, 13, 15] {
            sys::signal(signal, false);
        }
        sys::block_signals(0);
        let e = sys::execve(CPath::new(conf.args[0]), argv.as_ptr(), envp);
        sys::exit(if e == Errno::ENOENT { 127 } else { 126 });
    }
    stdio.close();
    let (status, master) = await_runtime(pid, console);
    if console >= 0 {
        sys::close(console);
        let _ = sys::unlink(AT_FDCWD, CPath::new(b"console.sock\0"));
    }
    if status != 0 {
        return Err(status);
    }
    if conf.tty && master < 0 {
        return Err(-Errno::ENXIO.0);
    }
    let app = read_pid().ok_or(-Errno::ENOENT.0)?;
    if conf.tty {
        if conf.rows > 0 && conf.cols > 0 {
            let _ = sys::set_window(master, conf.rows, conf.cols);
        }
        // The keeper has the master before the application can write to it.
        let _ = sys::send(
            keeper,
            &Message::new(kind::MASTER, id).encode(),
            Some(master),
        );
    }
    let start = process_start(app).ok_or(-Errno::ENOENT.0)?;
    page.app_pid.store(app, Ordering::Relaxed);
    page.app_start.store(start, Ordering::Relaxed);
    let message = Message {
        a: app,
        c: start,
        ..Message::new(kind::APP, id)
    };
    let _ = sys::send(keeper, &message.encode(), None);
    page.lifecycle.store(lifecycle::CREATED, Ordering::Release);
    Ok(master)
}

/// The application's stdio.
struct Stdio {
    fds: [Fd; 3],
}

impl Stdio {
    fn open(conf: &Conf<'_>) -> sys::Result<Self> {
        let null = |flags| sys::open(AT_FDCWD, CPath::new(b"/dev/null\0"), flags, 0);
        if conf.tty {
            return Ok(Self {
                fds: [null(O_RDONLY)?, null(O_RDWR)?, null(O_RDWR)?],
            });
        }
        let stdin = if conf.stdin {
            // Opened without blocking, because no writer need be there; the application gets a
            // blocking descriptor.
            let fd = sys::open(AT_FDCWD, CPath::new(b"stdin\0"), O_RDONLY | O_NONBLOCK, 0)?;
            sys::set_block(fd)?;
            fd
        } else {
            null(O_RDONLY)?
        };
        // Read-write: the application is then a reader of its own pipe, so it neither gets SIGPIPE
        // nor loses what it wrote when daemon, keeper and monitor are all dead at once.
        let out = sys::open(AT_FDCWD, CPath::new(b"stdout\0"), O_RDWR, 0)?;
        let err = sys::open(AT_FDCWD, CPath::new(b"stderr\0"), O_RDWR, 0)?;
        Ok(Self {
            fds: [stdin, out, err],
        })
    }

    /// In the child: descriptors 0, 1, 2.
    fn install(&self) {
        // Sources are above 2, because the monitor was started with all three open.
        for (to, from) in self.fds.iter().enumerate() {
            let _ = sys::dup2(*from, to as Fd);
        }
    }

    fn close(&self) {
        for fd in self.fds {
            sys::close(fd);
        }
    }
}

/// Waits for the runtime, and takes the terminal's master that it sends meanwhile.
fn await_runtime(pid: i32, console: Fd) -> (i32, Fd) {
    let mut master = -1;
    let Ok(pidfd) = sys::pidfd_open(pid) else {
        return (sys::wait(pid, true).map_or(1, |(_, s)| s), master);
    };
    let mut connection = -1;
    loop {
        let mut fds = [
            (pidfd, 1u32),
            (if connection >= 0 { connection } else { console }, 1),
        ];
        let _ = sys::poll(&mut fds, -1);
        if console >= 0 && connection < 0 {
            connection = sys::accept(console).unwrap_or(-1);
        }
        if connection >= 0 && master < 0 {
            let mut name = [0; 64];
            if let Ok((_, Some(fd))) = sys::recv(connection, &mut name) {
                master = fd;
            }
        }
        match sys::wait(pid, false) {
            Ok((0, _)) => {}
            Ok((_, status)) => {
                sys::close(pidfd);
                if connection >= 0 {
                    if master < 0
                        && let Ok((_, Some(fd))) = sys::recv(connection, &mut [0; 64])
                    {
                        master = fd;
                    }
                    sys::close(connection);
                }
                return (status, master);
            }
            Err(_) => return (1, master),
        }
    }
}

fn read_pid() -> Option<i32> {
    let fd = sys::open(AT_FDCWD, CPath::new(b"pid\0"), O_RDONLY, 0).ok()?;
    let mut buf = [0; 16];
    let n = sys::read(fd, &mut buf);
    sys::close(fd);
    parse(&buf[..n.ok()?]).map(|p| p as i32)
}
