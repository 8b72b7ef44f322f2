//! Skips: each names its reason, is printed at once and again, with the number of all, when the test binary ends.

use std::io::Write;
use std::sync::Mutex;

static SKIPPED: Mutex<Vec<(String, String)>> = Mutex::new(Vec::new());

extern "C" fn summary() {
    let Ok(skipped) = SKIPPED.lock() else { return };
    let mut err = std::io::stderr().lock();
    let _ = writeln!(err, "\n{} skipped:", skipped.len());
    for (test, reason) in skipped.iter() {
        let _ = writeln!(err, "  {test}: {reason}");
    }
}

/// Records that the running test does not run, and why.
pub(crate) fn skip(reason: &str) {
    let test = std::thread::current()
        .name()
        .unwrap_or("(unnamed)")
        .to_owned();
    // The lock is poisoned only if a thread died while pushing; the list is good all the same.
    let mut skipped = SKIPPED.lock().unwrap_or_else(|poison| poison.into_inner());
    if skipped.is_empty() {
        // SAFETY: the handler is a plain function that lives as long as the program.
        unsafe {
            libc::atexit(summary);
        }
    }
    // Straight to the descriptor: the test runner swallows what a passing test prints.
    let _ = writeln!(std::io::stderr(), "skipped {test}: {reason}");
    skipped.push((test, reason.to_owned()));
}

/// Leaves the test with a reason when something it needs is not there.
#[macro_export]
macro_rules! need {
    ($condition:expr) => {
        if let Err(reason) = $condition {
            $crate::harness::skip::skip(&reason);
            return;
        }
    };
}

pub(crate) fn root() -> Result<(), String> {
    // SAFETY: geteuid has no preconditions.
    if unsafe { libc::geteuid() } == 0 {
        Ok(())
    } else {
        Err("needs root".to_owned())
    }
}

pub(crate) fn program(name: &str) -> Result<(), String> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).any(|folder| folder.join(name).is_file());
    if found {
        Ok(())
    } else {
        Err(format!("{name} is not installed"))
    }
}
