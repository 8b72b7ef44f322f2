//! The terminal of this program: raw mode, its size, and giving it back.

use std::io::{self, IsTerminal};
use std::os::fd::AsFd;
use std::sync::Mutex;

use nix::sys::termios::{self, SetArg, Termios};

/// Settings to go back to. Termios is not Sync on all platforms, hence the lock.
static SAVED: Mutex<Option<Termios>> = Mutex::new(None);

/// Whether standard input is a terminal.
pub(crate) fn stdin_is_terminal() -> bool {
    io::stdin().is_terminal()
}

/// Whether standard output is a terminal.
pub(crate) fn stdout_is_terminal() -> bool {
    io::stdout().is_terminal()
}

/// Whether standard error is a terminal.
pub(crate) fn stderr_is_terminal() -> bool {
    io::stderr().is_terminal()
}

/// Stops showing what is typed until [`restore`].
///
/// # Errors
/// Standard input is no terminal, or refuses.
pub(crate) fn hide_input() -> io::Result<()> {
    let stdin = io::stdin();
    let old = termios::tcgetattr(stdin.as_fd())?;
    let mut hidden = old.clone();
    hidden.local_flags.remove(termios::LocalFlags::ECHO);
    if let Ok(mut saved) = SAVED.lock() {
        saved.get_or_insert(old);
    }
    termios::tcsetattr(stdin.as_fd(), SetArg::TCSANOW, &hidden)?;
    Ok(())
}

/// Switches standard input to raw mode until [`restore`].
///
/// # Errors
/// Standard input is no terminal, or refuses.
pub(crate) fn make_raw() -> io::Result<()> {
    let stdin = io::stdin();
    let old = termios::tcgetattr(stdin.as_fd())?;
    let mut raw = old.clone();
    termios::cfmakeraw(&mut raw);
    if let Ok(mut saved) = SAVED.lock() {
        saved.get_or_insert(old);
    }
    termios::tcsetattr(stdin.as_fd(), SetArg::TCSANOW, &raw)?;
    Ok(())
}

/// Goes back to the settings found by [`make_raw`]; nothing without it.
pub(crate) fn restore() {
    if let Ok(mut saved) = SAVED.lock()
        && let Some(old) = saved.take()
    {
        // There is nobody left to tell.
        let _ = termios::tcsetattr(io::stdin().as_fd(), SetArg::TCSANOW, &old);
    }
}

/// Rows and columns of the terminal at standard output; `None` without one.
pub(crate) fn size() -> Option<(u16, u16)> {
    let mut size = libc::winsize {
        ws_row: 0,
        ws_col: 0,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    // SAFETY: TIOCGWINSZ writes one winsize to the pointer, which is valid for that.
    let rc = unsafe { libc::ioctl(1, libc::TIOCGWINSZ, &raw mut size) };
    (rc == 0 && (size.ws_row, size.ws_col) != (0, 0)).then_some((size.ws_row, size.ws_col))
}
