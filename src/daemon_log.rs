//! The daemon's own log: lines as dockerd writes them (`time="..." level=info msg="..." key=value`), or JSON, on stderr; or the journal.

use std::fmt::{self, Debug, Write as _};
use std::sync::atomic::{AtomicUsize, Ordering};

use taffrail_config::{LogFormat, LogLevel};
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, FormattedFields};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};
use tracing_subscriber::{Registry, reload};

/// Where the daemon's log goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    /// Standard error, in the format asked for.
    Stderr,
    /// The systemd journal, which has a format of its own.
    Journald,
}

impl Target {
    /// The journal if standard error leads there anyway, as under systemd; priorities are kept that way.
    pub(crate) fn detect() -> Self {
        if systemd_journal_logger::connected_to_journal() {
            Self::Journald
        } else {
            Self::Stderr
        }
    }
}

/// Why there is no log.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LogError {
    #[error("cannot reach the systemd journal")]
    Journal(#[source] std::io::Error),
    #[error("the daemon's log is set up already")]
    Logger(#[from] log::SetLoggerError),
    #[error("the daemon's log is set up already")]
    Subscriber(#[from] TryInitError),
}

/// Changes the level of a log that is set up.
#[derive(Clone, Debug)]
pub(crate) struct Handle(Kind);

#[derive(Clone)]
enum Kind {
    Stderr(reload::Handle<Targets, Registry>),
    Journald,
}

impl Debug for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Stderr(_) => "Stderr",
            Self::Journald => "Journald",
        })
    }
}

impl Handle {
    /// From now on lines of `level` and above are written.
    pub(crate) fn set_level(&self, level: LogLevel) {
        match &self.0 {
            // Fails only if the subscriber is gone, and it is never dropped.
            Kind::Stderr(handle) => drop(handle.reload(targets(level))),
            Kind::Journald => set_journal_level(level),
        }
    }
}

/// Sets up the log of this process; to be called once, before the first line.
pub(crate) fn init(level: LogLevel, format: LogFormat, target: Target) -> Result<Handle, LogError> {
    match target {
        Target::Stderr => {
            let (filter, handle) = reload::Layer::new(targets(level));
            let format = Format {
                json: format == LogFormat::Json,
            };
            Registry::default()
                .with(filter)
                .with(layer(format, std::io::stderr))
                .try_init()?;
            Ok(Handle(Kind::Stderr(handle)))
        }
        // No subscriber: tracing then hands its events to the log crate.
        Target::Journald => {
            let journal = systemd_journal_logger::JournalLog::new()
                .map_err(LogError::Journal)?
                .with_syslog_identifier("taffrail".to_owned());
            log::set_boxed_logger(Box::new(Journal(journal)))?;
            set_journal_level(level);
            Ok(Handle(Kind::Journald))
        }
    }
}

fn layer<S, W>(format: Format, writer: W) -> impl tracing_subscriber::Layer<S>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    W: for<'a> tracing_subscriber::fmt::MakeWriter<'a> + 'static,
{
    tracing_subscriber::fmt::layer()
        .with_writer(writer)
        .with_ansi(false)
        .fmt_fields(format)
        .event_format(format)
}

fn filter(level: LogLevel) -> LevelFilter {
    match level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    }
}

/// What libraries say below warnings is of use only at trace.
fn others(level: LogLevel) -> LogLevel {
    match level {
        LogLevel::Trace => level,
        _ => level.min(LogLevel::Warn),
    }
}

fn targets(level: LogLevel) -> Targets {
    Targets::new()
        .with_default(filter(others(level)))
        .with_target("taffrail", filter(level))
}

/// [`log::LevelFilter`] of the daemon's own lines when they go to the journal, as a number.
static JOURNAL_LEVEL: AtomicUsize = AtomicUsize::new(0);
/// The same of libraries.
static JOURNAL_OTHERS: AtomicUsize = AtomicUsize::new(0);

fn log_filter(level: LogLevel) -> log::LevelFilter {
    match level {
        LogLevel::Error => log::LevelFilter::Error,
        LogLevel::Warn => log::LevelFilter::Warn,
        LogLevel::Info => log::LevelFilter::Info,
        LogLevel::Debug => log::LevelFilter::Debug,
        LogLevel::Trace => log::LevelFilter::Trace,
    }
}

fn set_journal_level(level: LogLevel) {
    JOURNAL_LEVEL.store(log_filter(level) as usize, Ordering::Relaxed);
    JOURNAL_OTHERS.store(log_filter(others(level)) as usize, Ordering::Relaxed);
    log::set_max_level(log_filter(level));
}

struct Journal(systemd_journal_logger::JournalLog);

impl log::Log for Journal {
    fn enabled(&self, metadata: &log::Metadata<'_>) -> bool {
        let limit = if metadata.target().starts_with("taffrail") {
            &JOURNAL_LEVEL
        } else {
            &JOURNAL_OTHERS
        };
        metadata.level() as usize <= limit.load(Ordering::Relaxed)
    }

    fn log(&self, record: &log::Record<'_>) {
        if self.enabled(record.metadata()) {
            self.0.log(record);
        }
    }

    fn flush(&self) {
        self.0.flush();
    }
}

/// Lines as logrus writes them. Spans' fields are kept in the form in which they appear in a line.
#[derive(Clone, Copy, Debug)]
struct Format {
    json: bool,
}

/// Fields in the form of a line, each with its separator in front; the message apart.
struct Fields {
    json: bool,
    message: String,
    out: String,
}

impl Fields {
    fn new(json: bool) -> Self {
        Self {
            json,
            message: String::new(),
            out: String::new(),
        }
    }

    fn text(&mut self, name: &str, value: &str) {
        if name == "message" {
            value.clone_into(&mut self.message);
        } else {
            self.start(name);
            string(&mut self.out, self.json, value);
        }
    }

    fn start(&mut self, name: &str) {
        // Writing to a String cannot fail.
        if self.json {
            let _ = write!(self.out, ",{}:", json(name));
        } else {
            let _ = write!(self.out, " {name}=");
        }
    }

    fn bare(&mut self, name: &str, value: &dyn fmt::Display) {
        self.start(name);
        let _ = write!(self.out, "{value}");
    }
}

fn json(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

fn string(out: &mut String, as_json: bool, value: &str) {
    // logrus leaves these without quotes.
    let plain = !value.is_empty()
        && value
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"-._/@^+".contains(&b));
    if as_json {
        out.push_str(&json(value));
    } else if plain {
        out.push_str(value);
    } else {
        out.push_str(&taffrail_drivers::quote(value));
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.text(field.name(), &format!("{value:?}"));
    }
    fn record_str(&mut self, field: &Field, value: &str) {
        self.text(field.name(), value);
    }
    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        // The whole chain: the cause is often all that helps.
        let mut text = value.to_string();
        let mut cause = value.source();
        while let Some(error) = cause {
            let _ = write!(text, ": {error}");
            cause = error.source();
        }
        self.text(field.name(), &text);
    }
    fn record_i64(&mut self, field: &Field, value: i64) {
        self.bare(field.name(), &value);
    }
    fn record_u64(&mut self, field: &Field, value: u64) {
        self.bare(field.name(), &value);
    }
    fn record_bool(&mut self, field: &Field, value: bool) {
        self.bare(field.name(), &value);
    }
}

impl<'w> FormatFields<'w> for Format {
    fn format_fields<R: tracing_subscriber::field::RecordFields>(
        &self,
        mut writer: Writer<'w>,
        fields: R,
    ) -> fmt::Result {
        let mut found = Fields::new(self.json);
        fields.record(&mut found);
        writer.write_str(&found.out)
    }
}

impl<S> FormatEvent<S, Self> for Format
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, Self>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut fields = Fields::new(self.json);
        event.record(&mut fields);
        let level = match *event.metadata().level() {
            Level::ERROR => "error",
            // logrus writes it in full
            Level::WARN => "warning",
            Level::INFO => "info",
            Level::DEBUG => "debug",
            Level::TRACE => "trace",
        };
        let now = jiff::Timestamp::now();
        let mut message = String::new();
        // The message of a text line is always quoted if it has a blank, as any other value.
        string(&mut message, self.json, &fields.message);
        if self.json {
            write!(
                writer,
                "{{\"level\":\"{level}\",\"msg\":{message},\"time\":\"{now:.9}\""
            )?;
        } else {
            write!(writer, "time=\"{now:.9}\" level={level} msg={message}")?;
        }
        writer.write_str(&fields.out)?;
        for span in context.event_scope().into_iter().flatten() {
            if let Some(fields) = span.extensions().get::<FormattedFields<Self>>() {
                writer.write_str(fields)?;
            }
        }
        writer.write_str(if self.json { "}\n" } else { "\n" })
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Sink(Arc<Mutex<Vec<u8>>>);

    impl Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[derive(Debug, thiserror::Error)]
    #[error("outer")]
    struct Outer(#[source] std::io::Error);

    fn lines(json: bool, level: LogLevel, write: impl FnOnce(&dyn Fn(LogLevel))) -> Vec<String> {
        let sink = Sink::default();
        let writer = sink.clone();
        let (filter, handle) = reload::Layer::new(targets(level));
        let subscriber = Registry::default()
            .with(filter)
            .with(layer(Format { json }, move || writer.clone()));
        let handle = Handle(Kind::Stderr(handle));
        tracing::subscriber::with_default(subscriber, || write(&|level| handle.set_level(level)));
        let bytes = sink.0.lock().unwrap().clone();
        let text = String::from_utf8(bytes).unwrap();
        text.lines().map(str::to_owned).collect()
    }

    #[test]
    fn text_lines_as_dockerd() {
        let lines = lines(false, LogLevel::Info, |_| {
            let span = tracing::info_span!(target: "taffrail", "container", container = "abc");
            let _in = span.enter();
            let error = Outer(std::io::Error::other("in\nner"));
            let error: &(dyn std::error::Error + 'static) = &error;
            tracing::warn!(target: "taffrail", path = "/a b", code = 7, error, "cannot read log");
            tracing::info!(target: "taffrail::x", "ready");
            tracing::debug!(target: "taffrail", "not shown");
            tracing::info!(target: "hyper", "not shown");
        });
        let (time, rest) = lines[0].split_once(" level").unwrap();
        assert_eq!(
            rest,
            "=warning msg=\"cannot read log\" path=\"/a b\" code=7 error=\"outer: in\\nner\" container=abc"
        );
        assert_eq!(time.len(), "time=\"2023-11-14T22:13:20.123456789Z\"".len());
        assert!(lines[1].ends_with(" level=info msg=ready container=abc"));
        assert_eq!(lines.len(), 2);
    }

    #[test]
    fn json_lines_are_json() {
        let lines = lines(true, LogLevel::Info, |_| {
            let span = tracing::info_span!(target: "taffrail", "container", container = "a\"b");
            let _in = span.enter();
            tracing::error!(target: "taffrail", n = -3, on = true, "bad \u{1} thing");
        });
        let line: serde_json::Value = serde_json::from_str(&lines[0]).unwrap();
        assert_eq!(line["level"], "error");
        assert_eq!(line["msg"], "bad \u{1} thing");
        assert_eq!(line["n"], -3);
        assert_eq!(line["on"], true);
        assert_eq!(line["container"], "a\"b");
    }

    #[test]
    fn the_level_can_be_changed() {
        let lines = lines(false, LogLevel::Error, |set| {
            tracing::info!(target: "taffrail", "one");
            set(LogLevel::Debug);
            tracing::debug!(target: "taffrail", "two");
            tracing::debug!(target: "hyper", "three");
            set(LogLevel::Warn);
            tracing::info!(target: "taffrail", "four");
        });
        assert_eq!(lines.len(), 1);
        assert!(lines[0].ends_with("level=debug msg=two"));
    }
}
