//! Standard output and error. A reader that has gone away ends the program quietly, as SIGPIPE
//! would; Rust ignores that signal so that sockets can report it.

use std::fs::File;
use std::io::{ErrorKind, IsTerminal, Write};
use std::mem::ManuallyDrop;
use std::os::fd::{AsFd, FromRawFd};

use nix::sys::stat::fstat;

use super::terminal;

/// Which of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum To {
    Out,
    Err,
}

/// Exit status of a program that died of SIGPIPE, as a shell shows it.
const SIGPIPE_STATUS: i32 = 141;

/// Writes all of `bytes`, unbuffered.
pub(crate) fn write(to: To, bytes: &[u8]) {
    let fd = match to {
        To::Out => 1,
        To::Err => 2,
    };
    // SAFETY: 1 and 2 are open for the life of the program (the runtime sees to it at start), and
    // ManuallyDrop keeps this borrowed handle from closing them.
    let mut file = ManuallyDrop::new(unsafe { File::from_raw_fd(fd) });
    if let Err(e) = file.write_all(bytes) {
        match e.kind() {
            ErrorKind::BrokenPipe => finish(SIGPIPE_STATUS),
            // A message that cannot be shown is lost; a result must not be.
            _ if to == To::Err => {}
            _ => {
                line(To::Err, &format!("write /dev/stdout: {e}"));
                finish(1);
            }
        }
    }
}

/// Writes `text` and a newline.
pub(crate) fn line(to: To, text: &str) {
    let mut bytes = Vec::with_capacity(text.len() + 1);
    bytes.extend_from_slice(text.as_bytes());
    bytes.push(b'\n');
    write(to, &bytes);
}

/// Leaves the program at once, with the terminal as it was found.
pub(crate) fn finish(status: i32) -> ! {
    terminal::restore();
    std::process::exit(status)
}

/// Whether both lead to the same pipe, terminal or file, so that their order shows.
pub(crate) fn same_target() -> bool {
    let (Ok(out), Ok(err)) = (
        fstat(std::io::stdout().as_fd()),
        fstat(std::io::stderr().as_fd()),
    ) else {
        return true;
    };
    (out.st_dev, out.st_ino) == (err.st_dev, err.st_ino)
}

/// Whether standard output is a terminal.
pub(crate) fn is_terminal() -> bool {
    std::io::stdout().is_terminal()
}
