//! What goes into the extra streams: a copy of an exec's output, in lines, and the container's events.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};

use taffrail_config::{ExtraStream, ExtraStreams};

use super::LABEL;
use super::file::Extra;
use super::record::Record;
use crate::container::exec::{Exec, ExecTap};
use crate::container::exit::blocking;
use crate::container::{Container, Stream};
use crate::daemon::Daemon;
use crate::errors::ApiError;

/// Longest piece of a line; a longer line becomes several records.
const PIECE: usize = 16 * 1024;

/// # Errors
/// 400 for a label that names what is no extra stream.
pub(crate) fn check_label(
    labels: &std::collections::BTreeMap<String, String>,
) -> Result<(), ApiError> {
    match labels.get(LABEL).map(|text| ExtraStreams::parse(text)) {
        Some(Err(why)) => Err(ApiError::invalid(format!("label {LABEL}: {why}"))),
        _ => Ok(()),
    }
}

impl Daemon {
    /// Extra streams that a container's log has: its label's, else the daemon's.
    fn extra_streams(&self, container: &Container) -> ExtraStreams {
        let label = container.inner().record.config.labels.get(LABEL).cloned();
        // Checked at create; an image may still name nonsense.
        label
            .and_then(|text| ExtraStreams::parse(&text).ok())
            .unwrap_or_else(|| self.settings().log_streams)
    }

    /// Where a copy of an exec's output goes, if the container's log is to have it; `asked`: in any
    /// case.
    pub(crate) fn extra_tap(
        &self,
        container: &Container,
        stream: ExtraStream,
        asked: bool,
    ) -> Option<Arc<dyn ExecTap>> {
        if !asked && !self.extra_streams(container).has(stream) {
            return None;
        }
        Some(Arc::new(Tap {
            extra: Arc::clone(&container.extra),
            stream,
            run: container.inner().record.state.run(),
            lines: Mutex::default(),
        }))
    }

    /// Puts an event into the container's log, if it is to have it.
    pub(in crate::container) fn extra_event<const N: usize>(
        &self,
        container: &Container,
        action: &str,
        more: &[(&str, String); N],
    ) {
        // Those of execs are in no proportion: each probe has three.
        if action.starts_with("exec_") || !self.extra_streams(container).has(ExtraStream::Events) {
            return;
        }
        let mut text = action.to_owned();
        for (key, value) in more {
            text.push_str(&format!(" {key}={value}"));
        }
        text.push('\n');
        let extra = Arc::clone(&container.extra);
        extra.push([Record {
            time_ns: 0,
            stream: ExtraStream::Events,
            run: container.inner().record.state.run(),
            exec: String::new(),
            stderr: false,
            bytes: text.into_bytes(),
            missing: 0,
        }]);
        flush_later(extra);
    }
}

/// Writes on a thread for that; who pushed does not wait.
fn flush_later(extra: Arc<Extra>) {
    if let Ok(runtime) = tokio::runtime::Handle::try_current() {
        runtime.spawn_blocking(move || extra.flush());
    }
}

/// A tap of one exec.
#[derive(Debug)]
struct Tap {
    extra: Arc<Extra>,
    stream: ExtraStream,
    run: u64,
    lines: Mutex<Lines>,
}

/// What came of each stream without its newline yet.
#[derive(Debug, Default)]
struct Lines {
    open: [Vec<u8>; 2],
    ended: bool,
}

impl Lines {
    /// Whole lines, and pieces of those that are too long or will not go on.
    fn take(&mut self, stderr: bool, bytes: &[u8]) -> Vec<Vec<u8>> {
        let open = &mut self.open[usize::from(stderr)];
        open.extend_from_slice(bytes);
        let mut out = Vec::new();
        loop {
            let newline = memchr::memchr(b'\n', open).map(|at| at + 1);
            let end = match newline {
                Some(end) if end <= PIECE => end,
                _ if open.len() >= PIECE => PIECE,
                _ if self.ended && !open.is_empty() => open.len(),
                _ => return out,
            };
            out.push(open.drain(..end).collect());
        }
    }
}

impl Tap {
    fn push(&self, exec: &Exec, stderr: bool, bytes: &[u8]) {
        let taken = self
            .lines
            .lock()
            // Plain values, consistent after every statement.
            .unwrap_or_else(PoisonError::into_inner)
            .take(stderr, bytes);
        self.extra.push(taken.into_iter().map(|bytes| Record {
            time_ns: 0,
            stream: self.stream,
            run: self.run,
            exec: exec.id.clone(),
            stderr,
            bytes,
            missing: 0,
        }));
    }
}

impl ExecTap for Tap {
    fn started(&self, _: &Exec) {}

    /// Waits until it is written, so that nothing is missing however much there is.
    fn output<'a>(
        &'a self,
        exec: &'a Exec,
        stream: Stream,
        bytes: &'a [u8],
    ) -> Pin<Box<dyn Future<Output = ()> + Send + 'a>> {
        Box::pin(async move {
            self.push(exec, stream == Stream::Stderr, bytes);
            let extra = Arc::clone(&self.extra);
            blocking(move || extra.flush()).await;
        })
    }

    fn ended(&self, exec: &Exec, _: i32) {
        self.lines
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .ended = true;
        for stderr in [false, true] {
            self.push(exec, stderr, b"");
        }
        flush_later(Arc::clone(&self.extra));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn output_becomes_lines() {
        let mut lines = Lines::default();
        assert_eq!(lines.take(false, b"a\nb"), [b"a\n".to_vec()]);
        assert!(lines.take(true, b"e").is_empty());
        assert_eq!(
            lines.take(false, b"c\n\n"),
            [b"bc\n".to_vec(), b"\n".to_vec()]
        );
        let long = vec![b'x'; PIECE + 3];
        assert_eq!(lines.take(false, &long)[0].len(), PIECE);
        assert_eq!(lines.take(false, b"\n"), [b"xxx\n".to_vec()]);
        lines.ended = true;
        assert_eq!(lines.take(true, b""), [b"e".to_vec()]);
        // What comes behind the end is not held back.
        assert_eq!(lines.take(false, b"late"), [b"late".to_vec()]);
    }

    #[test]
    fn labels() {
        let label = |text: &str| [(LABEL.to_owned(), text.to_owned())].into();
        check_label(&label("exec,events")).unwrap();
        check_label(&label("")).unwrap();
        let error = check_label(&label("stdout")).unwrap_err();
        assert!(error.message.contains("taffrail.log-streams"), "{error}");
    }
}
