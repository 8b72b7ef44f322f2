//! Prometheus' text exposition format, version 0.0.4.

use std::fmt::{Display, Write as _};
use std::sync::atomic::{AtomicU64, Ordering};

/// A figure that only goes up, from the daemon's start on.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) const fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    pub(crate) fn add(&self, count: u64) {
        self.0.fetch_add(count, Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Families of metrics, written one after the other.
#[derive(Debug, Default)]
pub(crate) struct Text {
    out: String,
    names: Vec<String>,
}

impl Text {
    /// A family that only goes up. Its name ends in `_total`.
    pub(crate) fn counter(&mut self, name: &str, help: &str) -> Family<'_> {
        debug_assert!(name.ends_with("_total"), "{name}");
        self.family(name, "counter", help)
    }

    /// A family that goes up and down.
    pub(crate) fn gauge(&mut self, name: &str, help: &str) -> Family<'_> {
        self.family(name, "gauge", help)
    }

    fn family(&mut self, name: &str, kind: &str, help: &str) -> Family<'_> {
        debug_assert!(
            name.bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_'),
            "{name}"
        );
        debug_assert!(!self.names.iter().any(|other| other == name), "{name}");
        self.names.push(name.to_owned());
        // Writing to a string cannot fail.
        let help = help.replace('\\', "\\\\").replace('\n', "\\n");
        let _ = writeln!(self.out, "# HELP {name} {help}");
        let _ = writeln!(self.out, "# TYPE {name} {kind}");
        Family {
            name: name.to_owned(),
            out: &mut self.out,
        }
    }

    pub(super) fn finish(self) -> String {
        self.out
    }
}

/// The samples of one family.
#[derive(Debug)]
pub(crate) struct Family<'a> {
    name: String,
    out: &'a mut String,
}

impl Family<'_> {
    /// One sample; the labels of different ones differ.
    pub(crate) fn sample(&mut self, labels: &[(&str, &str)], value: impl Display) -> &mut Self {
        self.out.push_str(&self.name);
        for (i, (name, value)) in labels.iter().enumerate() {
            self.out.push(if i == 0 { '{' } else { ',' });
            let _ = write!(self.out, "{name}=\"");
            for c in value.chars() {
                match c {
                    '\\' => self.out.push_str("\\\\"),
                    '"' => self.out.push_str("\\\""),
                    '\n' => self.out.push_str("\\n"),
                    c => self.out.push(c),
                }
            }
            self.out.push('"');
        }
        if !labels.is_empty() {
            self.out.push('}');
        }
        let _ = writeln!(self.out, " {value}");
        self
    }

    /// The only sample of a family without labels.
    pub(crate) fn value(&mut self, value: impl Display) {
        self.sample(&[], value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_form() {
        let mut text = Text::default();
        text.counter("a_total", "Counts\na.").value(7);
        text.gauge("b", "B.")
            .sample(&[("x", "1"), ("y", "a\"b\\c\nd")], 0.5)
            .sample(&[("x", "2"), ("y", "")], 2);
        assert_eq!(
            text.finish(),
            "# HELP a_total Counts\\na.\n# TYPE a_total counter\na_total 7\n\
             # HELP b B.\n# TYPE b gauge\nb{x=\"1\",y=\"a\\\"b\\\\c\\nd\"} 0.5\nb{x=\"2\",y=\"\"} 2\n"
        );
    }

    #[test]
    fn counters_only_go_up() {
        let counter = Counter::new();
        counter.add(2);
        counter.add(3);
        assert_eq!((counter.get(), counter.get()), (5, 5));
    }
}
