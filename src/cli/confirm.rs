//! Asking before something is removed.

use std::io::BufRead;

use super::error::CliError;
use super::out::{self, To};

/// Shows a warning and asks; only `y` is yes.
///
/// # Errors
/// Standard input cannot be read.
pub(crate) fn confirm(warning: &str) -> Result<bool, CliError> {
    let text = format!("{warning}\nAre you sure you want to continue? [y/N] ");
    out::write(To::Out, text.as_bytes());
    let mut line = String::new();
    std::io::stdin()
        .lock()
        .read_line(&mut line)
        .map_err(CliError::io("read the answer"))?;
    Ok(line.trim().eq_ignore_ascii_case("y"))
}
