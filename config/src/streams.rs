//! `log-streams`: the streams beside stdout and stderr that a container's log can have.

use std::fmt;

use crate::check::{Errors, bad};
use crate::error::Origin;
use crate::load::Source;

/// A stream that the daemon writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ExtraStream {
    /// output of `exec`
    Exec,
    /// output of health checks
    Health,
    /// what happened to the container
    Events,
}

impl ExtraStream {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Exec, Self::Health, Self::Events];

    /// The name in files, queries and records.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Exec => "exec",
            Self::Health => "health",
            Self::Events => "events",
        }
    }

    fn bit(self) -> u8 {
        1 << self as u8
    }
}

/// A set of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ExtraStreams(u8);

impl ExtraStreams {
    /// None of them.
    pub const NONE: Self = Self(0);

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Whether `stream` is one of them.
    #[must_use]
    pub fn has(self, stream: ExtraStream) -> bool {
        self.0 & stream.bit() != 0
    }

    /// Adds one.
    pub fn add(&mut self, stream: ExtraStream) {
        self.0 |= stream.bit();
    }

    /// Reads names with commas between them; an empty text is none.
    ///
    /// # Errors
    /// A name that is none of them, with what is allowed.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut found = Self::default();
        for name in text.split(',').map(str::trim).filter(|n| !n.is_empty()) {
            found.add(one(name)?);
        }
        Ok(found)
    }
}

impl fmt::Display for ExtraStreams {
    /// Names with commas between them.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = ExtraStream::ALL.iter().filter(|stream| self.has(**stream));
        let names: Vec<&str> = names.map(|stream| stream.as_str()).collect();
        f.write_str(&names.join(","))
    }
}

fn one(name: &str) -> Result<ExtraStream, String> {
    let found = ExtraStream::ALL.into_iter().find(|s| s.as_str() == name);
    found.ok_or_else(|| format!("there is no extra stream {name:?}: write exec, health or events"))
}

pub(crate) fn streams(source: &Source<'_>, errors: &mut Errors) -> ExtraStreams {
    let mut found = ExtraStreams::default();
    for (line, name) in source.file.strings("log-streams").unwrap_or_default() {
        match one(name) {
            Ok(stream) => found.add(stream),
            Err(_) => errors.push(bad(
                Origin::Line(line),
                "log-streams",
                name,
                "there is no such stream",
                "write exec, health or events",
            )),
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        let all = ExtraStreams::parse("events, exec,health,exec").unwrap();
        assert_eq!(all.to_string(), "exec,health,events");
        assert!(ExtraStreams::parse(",").unwrap().is_empty());
        let error = ExtraStreams::parse("exec,stdout").unwrap_err();
        assert!(error.contains("\"stdout\""), "{error}");
    }
}
