//! A program on a terminal of its own.

use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use nix::pty::{Winsize, openpty};

/// The program and our end of its terminal.
#[derive(Debug)]
pub(crate) struct Terminal {
    pub(crate) child: Child,
    master: File,
    chunks: Receiver<Vec<u8>>,
    /// Everything it showed so far.
    pub(crate) seen: Vec<u8>,
}

impl Terminal {
    pub(crate) fn start(mut command: Command, rows: u16, columns: u16) -> Self {
        let size = Winsize {
            ws_row: rows,
            ws_col: columns,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        let pty = openpty(&size, None).expect("a pty");
        let slave = File::from(pty.slave);
        let master = File::from(pty.master);
        command
            .stdin(slave.try_clone().expect("dup"))
            .stdout(slave.try_clone().expect("dup"))
            .stderr(slave);
        // SAFETY: setsid and ioctl are async-signal-safe; nothing else runs between fork and exec.
        unsafe {
            command.pre_exec(|| {
                if libc::setsid() < 0 || libc::ioctl(0, libc::TIOCSCTTY, 0) < 0 {
                    return Err(std::io::Error::last_os_error());
                }
                Ok(())
            });
        }
        let child = command.spawn().expect("a program on a pty");
        // The command keeps the slave open; the end of the child is seen only without it.
        drop(command);
        let mut reader = master.try_clone().expect("dup");
        let (sender, chunks) = channel();
        std::thread::spawn(move || {
            let mut buffer = [0; 65536];
            // EIO is the end of a terminal.
            while let Ok(n) = reader.read(&mut buffer) {
                if n == 0 || sender.send(buffer[..n].to_vec()).is_err() {
                    break;
                }
            }
        });
        Self {
            child,
            master,
            chunks,
            seen: Vec::new(),
        }
    }

    pub(crate) fn send(&mut self, text: &[u8]) {
        self.master.write_all(text).expect("write to the pty");
    }

    /// Reads until `text` was shown since `from` (an index into `seen`); gives the index after it.
    #[track_caller]
    pub(crate) fn expect(&mut self, text: &str, from: usize, deadline: Duration) -> usize {
        let end = Instant::now() + deadline;
        loop {
            if let Some(at) = memchr::memmem::find(&self.seen[from..], text.as_bytes()) {
                return from + at + text.len();
            }
            let left = end.saturating_duration_since(Instant::now());
            match self.chunks.recv_timeout(left) {
                Ok(chunk) => self.seen.extend_from_slice(&chunk),
                Err(error) => panic!(
                    "{text:?} did not come ({error}); the terminal showed:\n{}",
                    String::from_utf8_lossy(&self.seen)
                ),
            }
        }
    }

    pub(crate) fn resize(&self, rows: u16, columns: u16) {
        use std::os::fd::AsRawFd;
        let size = Winsize {
            ws_row: rows,
            ws_col: columns,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        // SAFETY: the descriptor is open and `size` is the struct that this request takes.
        let result = unsafe { libc::ioctl(self.master.as_raw_fd(), libc::TIOCSWINSZ, &size) };
        assert_eq!(result, 0, "TIOCSWINSZ");
    }

    /// The exit status; what was still shown is in `seen`.
    #[track_caller]
    pub(crate) fn wait(&mut self, deadline: Duration) -> i32 {
        let Some(code) = super::command::wait(&mut self.child, deadline) else {
            let _ = self.child.kill();
            let _ = self.child.wait();
            panic!(
                "no end within {} s; the terminal showed:\n{}",
                deadline.as_secs(),
                String::from_utf8_lossy(&self.seen)
            );
        };
        while let Ok(chunk) = self.chunks.recv_timeout(Duration::from_millis(200)) {
            self.seen.extend_from_slice(&chunk);
        }
        code
    }
}
