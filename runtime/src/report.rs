//! What went wrong: the runtime's log line, and the words of processes that cannot write it.
//!
//! A container is made by three processes; the last of them has left the host's file system when
//! most can go wrong, and libcontainer hands only its outermost error back. So all of them share an
//! anonymous file; what the inner ones say in it is the text that the user sees.

use std::fmt::{self, Write as _};
use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::fd::{AsRawFd, FromRawFd};
use std::path::Path;
use std::sync::OnceLock;

use tracing::field::{Field, Visit};
use tracing::{Event, Level, Metadata, Subscriber, span};

/// Bound on what is read back.
const MAX_NOTES: u64 = 64 << 10;
/// First byte of a line: final words, or a detail.
const FINAL: u8 = b'!';
const DETAIL: u8 = b'.';

static NOTES: OnceLock<File> = OnceLock::new();

/// Opens the shared file, before the first process is made, and takes libcontainer's errors into it.
pub(crate) fn start() -> std::io::Result<()> {
    // SAFETY: the name ends with NUL; the descriptor is new and owned by the file made of it.
    let file = unsafe {
        let fd = libc::memfd_create(c"taffrail-runtime".as_ptr(), libc::MFD_CLOEXEC);
        if fd < 0 {
            return Err(std::io::Error::last_os_error());
        }
        File::from_raw_fd(fd)
    };
    // Appended to by several processes.
    // SAFETY: the descriptor is open.
    if unsafe { libc::fcntl(file.as_raw_fd(), libc::F_SETFL, libc::O_APPEND) } < 0 {
        return Err(std::io::Error::last_os_error());
    }
    let _ = NOTES.set(file);
    let _ = tracing::subscriber::set_global_default(Errors);
    Ok(())
}

/// Words that are the whole answer, from a process that the caller cannot hear.
pub(crate) fn note_final(words: &str) {
    note(FINAL, words);
}

fn note(kind: u8, words: &str) {
    if let Some(mut file) = NOTES.get() {
        let mut line = Vec::with_capacity(words.len() + 2);
        line.push(kind);
        line.extend(words.bytes().map(|b| if b == b'\n' { b' ' } else { b }));
        line.push(b'\n');
        let _ = file.write_all(&line);
    }
}

/// Final words of another process, if it had any.
pub(crate) fn final_words() -> Option<String> {
    let text = notes();
    let line = text.lines().find(|l| l.as_bytes().first() == Some(&FINAL));
    line.map(|l| l[1..].to_owned())
}

fn notes() -> String {
    let mut bytes = Vec::new();
    if let Some(mut file) = NOTES.get() {
        let _ = file.seek(SeekFrom::Start(0));
        let _ = file.take(MAX_NOTES).read_to_end(&mut bytes);
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The descriptor of what is shared, for who closes all others.
pub(crate) fn descriptor() -> Option<std::os::fd::RawFd> {
    NOTES.get().map(AsRawFd::as_raw_fd)
}

/// What the other processes said: final words, else `outer` with the first detail.
pub(crate) fn noted(outer: String) -> String {
    let text = notes();
    let of = |kind: u8| {
        text.lines()
            .find(|l| l.as_bytes().first() == Some(&kind))
            .map(|l| &l[1..])
    };
    match (of(FINAL), of(DETAIL)) {
        (Some(words), _) => words.to_owned(),
        // What a control group refuses is said in full by the outermost error.
        (None, Some(detail)) if !detail.starts_with("failed to apply cgroup") => {
            let detail = plain(detail);
            let outer = plain(bare(&outer));
            if outer.contains(&detail) {
                outer
            } else {
                format!("{outer}: {detail}")
            }
        }
        (None, _) => plain(bare(&outer)),
    }
}

/// Without the words that only say through which layers an error came.
fn bare(mut text: &str) -> &str {
    const LAYERS: [&str; 6] = [
        "intermediate process error ",
        "exec process failed with error ",
        "error in executing process : ",
        "cgroup error: ",
        "io error: ",
        "failed to prepare rootfs: ",
    ];
    while let Some(rest) = LAYERS.iter().find_map(|layer| text.strip_prefix(layer)) {
        text = rest;
    }
    text
}

/// Error numbers in words as Docker has them: `EACCES: Permission denied` is `permission denied`.
fn plain(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(": ") {
        let (head, tail) = (&rest[..at], &rest[at + 2..]);
        let name_at = head
            .rfind(|c: char| !c.is_ascii_uppercase() && !c.is_ascii_digit())
            .map_or(0, |i| {
                i + head[i..].chars().next().map_or(1, char::len_utf8)
            });
        let name = &head[name_at..];
        if name.len() > 2 && name.starts_with('E') {
            out.push_str(&head[..name_at]);
            let mut chars = tail.chars();
            if let Some(first) = chars.next() {
                out.extend(first.to_lowercase());
            }
            rest = chars.as_str();
        } else {
            out.push_str(head);
            out.push_str(": ");
            rest = tail;
        }
    }
    out.push_str(rest);
    for (from, to) in [
        ("No such file or directory", "no such file or directory"),
        ("Permission denied", "permission denied"),
        ("Not a directory", "not a directory"),
        ("Is a directory", "is a directory"),
        ("ENOENT", "no such file or directory"),
        ("ENOTDIR", "not a directory"),
        ("EACCES", "permission denied"),
    ] {
        if out.contains(from) {
            out = out.replace(from, to);
        }
    }
    out
}

/// `sysctl x not allowed` with the name in quotes, as runc has it.
pub(crate) fn quote_sysctl(text: String) -> String {
    let quoted = text.split_once("sysctl ").and_then(|(before, rest)| {
        let (name, after) = rest.split_once(' ')?;
        let refused = after.starts_with("not allowed") || after.starts_with("is not allowed");
        refused.then(|| format!("{before}sysctl \"{name}\" {after}"))
    });
    quoted.unwrap_or(text)
}

/// One line in the log that `--log` names, else on standard error.
pub(crate) fn log_error(log: Option<&Path>, json: bool, message: &str) {
    let line = if json {
        let text = serde_json::Value::from(message);
        format!(
            "{{\"level\":\"error\",\"msg\":{text},\"time\":\"{}\"}}\n",
            now()
        )
    } else {
        format!("time=\"{}\" level=error msg={message:?}\n", now())
    };
    let file = log.and_then(|path| {
        std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(path)
            .ok()
    });
    match file {
        Some(mut file) => {
            let _ = file.write_all(line.as_bytes());
            // As runc: a person at a terminal sees it, too.
            let _ = writeln!(std::io::stderr(), "{message}");
        }
        None => {
            let _ = std::io::stderr().write_all(line.as_bytes());
        }
    }
}

/// RFC 3339, UTC, seconds.
pub(crate) fn now() -> String {
    let seconds = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |d| d.as_secs());
    utc(seconds)
}

fn utc(seconds: u64) -> String {
    // Days to a date: Howard Hinnant's civil_from_days, for years after 1970.
    let days = seconds / 86400 + 719_468;
    let era = days / 146_097;
    let of_era = days % 146_097;
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let shifted = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 {
        shifted + 3
    } else {
        shifted - 9
    };
    let year = year + era * 400 + u64::from(month <= 2);
    let time = seconds % 86400;
    format!(
        "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z",
        time / 3600,
        time / 60 % 60,
        time % 60
    )
}

/// Takes libcontainer's error events; nothing else is enabled.
struct Errors;

impl Subscriber for Errors {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() == Level::ERROR && metadata.is_event()
    }

    fn max_level_hint(&self) -> Option<tracing::level_filters::LevelFilter> {
        Some(tracing::level_filters::LevelFilter::ERROR)
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut words = Words::default();
        event.record(&mut words);
        note(DETAIL, &format!("{}{}", words.message, words.fields));
    }

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}

#[derive(Default)]
struct Words {
    message: String,
    fields: String,
}

impl Visit for Words {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let _ = match field.name() {
            "message" => write!(self.message, "{value:?}"),
            "err" | "error" | "ret" => write!(self.fields, ": {value:?}"),
            name => write!(self.fields, " {name}={value:?}"),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn error_numbers_have_dockers_words() {
        assert_eq!(
            plain("failed to mount /a: ENOENT: No such file or directory"),
            "failed to mount /a: no such file or directory"
        );
        assert_eq!(
            plain("x: EACCES: Permission denied"),
            "x: permission denied"
        );
        assert_eq!(plain("Nix(ENOTDIR)"), "Nix(not a directory)");
        assert_eq!(plain("Error: Ex: y"), "Error: Ex: y");
        assert_eq!(
            plain("ü: EPERM: Operation not permitted"),
            "ü: operation not permitted"
        );
    }

    #[test]
    fn layers_are_left_out() {
        let text = "intermediate process error cgroup error: io error: failed to write 5 to /x";
        assert_eq!(bare(text), "failed to write 5 to /x");
        assert_eq!(bare("no layer: io error: x"), "no layer: io error: x");
    }

    #[test]
    fn times() {
        assert_eq!(utc(0), "1970-01-01T00:00:00Z");
        assert_eq!(utc(951_782_400), "2000-02-29T00:00:00Z");
        assert_eq!(utc(1_798_761_599), "2026-12-31T23:59:59Z");
    }

    #[test]
    fn names_of_refused_settings_are_quoted() {
        for (text, quoted) in [
            (
                "sysctl a.b not allowed in host network namespace",
                "sysctl \"a.b\" not allowed in host network namespace",
            ),
            (
                "x: sysctl a.b is not allowed in the hosts ipc namespace",
                "x: sysctl \"a.b\" is not allowed in the hosts ipc namespace",
            ),
            ("sysctl a.b: no such file", "sysctl a.b: no such file"),
        ] {
            assert_eq!(quote_sysctl(text.to_owned()), quoted);
        }
    }
}
