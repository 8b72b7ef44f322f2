//! Query strings.

use std::fmt::Write as _;

/// Builds `?a=b&c=d`, percent-encoded; empty without pairs.
#[derive(Debug, Default)]
pub(crate) struct Query(String);

impl Query {
    /// No pairs yet.
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// Appends a pair.
    pub(crate) fn push(&mut self, key: &str, value: &str) -> &mut Self {
        self.0.push(if self.0.is_empty() { '?' } else { '&' });
        escape(&mut self.0, key);
        self.0.push('=');
        escape(&mut self.0, value);
        self
    }

    /// Appends `key=1` when `on`.
    pub(crate) fn flag(&mut self, key: &str, on: bool) -> &mut Self {
        if on {
            self.push(key, "1");
        }
        self
    }

    /// Appends a pair when there is a value.
    pub(crate) fn option(&mut self, key: &str, value: Option<&str>) -> &mut Self {
        if let Some(value) = value {
            self.push(key, value);
        }
        self
    }

    /// The text with its leading `?`.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

/// One path segment or image reference, percent-encoded; `/`, `:` and `@` stay.
pub(crate) fn segment(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~/:@".contains(&byte) {
            out.push(char::from(byte));
        } else {
            // Writing to a String cannot fail.
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

fn escape(out: &mut String, text: &str) {
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_are_escaped() {
        let mut q = Query::new();
        q.push("filters", r#"{"a b":["c&d"]}"#)
            .flag("x", true)
            .flag("y", false)
            .option("t", Some("-1"));
        assert_eq!(
            q.as_str(),
            "?filters=%7B%22a%20b%22%3A%5B%22c%26d%22%5D%7D&x=1&t=-1"
        );
        assert_eq!(segment("a/b:c@d e?"), "a/b:c@d%20e%3F");
    }
}
