//! Which records match: a regular expression on a record's bytes, with a search for a literal that
//! every match must contain before anything is decoded.

use std::fmt;
use std::sync::Arc;

use memchr::memmem;
use regex::bytes::{Regex, RegexBuilder};
use regex_syntax::hir::{Hir, HirKind};

/// Most bytes of a compiled expression, so that a pattern from outside cannot take more memory.
const SIZE_LIMIT: usize = 1024 * 1024;
/// Longest pattern in bytes.
const PATTERN_LIMIT: usize = 4096;

/// A pattern that records are searched for. Cheap to clone.
#[derive(Clone)]
pub struct Grep(Arc<Inner>);

struct Inner {
    regex: Regex,
    /// Bytes that every match contains.
    literal: Option<memmem::Finder<'static>>,
    /// The pattern is the literal, so finding it is a match.
    exact: bool,
}

/// A pattern that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid pattern {pattern:?}: {cause}")]
pub struct BadPattern {
    pub pattern: String,
    pub cause: String,
}

impl Grep {
    /// A regular expression in the syntax of the `regex` crate. It is searched for in the bytes of
    /// each record without its newline; `.` is any character, and `(?-u)` allows for any byte.
    ///
    /// # Errors
    /// A syntax error, or a pattern of more than 4 KiB or 1 MiB compiled.
    pub fn new(pattern: &str) -> Result<Self, BadPattern> {
        let bad = |cause: String| BadPattern {
            pattern: pattern.chars().take(200).collect(),
            cause,
        };
        if pattern.len() > PATTERN_LIMIT {
            return Err(bad(format!("it is longer than {PATTERN_LIMIT} bytes")));
        }
        let regex = RegexBuilder::new(pattern)
            .size_limit(SIZE_LIMIT)
            .dfa_size_limit(SIZE_LIMIT / 4)
            .build()
            .map_err(|e| bad(e.to_string()))?;
        let hir = regex_syntax::ParserBuilder::new()
            .utf8(false)
            .build()
            .parse(pattern)
            .ok();
        let literal = hir.as_ref().and_then(required);
        let exact = matches!(hir.as_ref().map(Hir::kind), Some(HirKind::Literal(_)));
        Ok(Self(Arc::new(Inner {
            regex,
            literal: literal.map(|l| memmem::Finder::new(l).into_owned()),
            exact,
        })))
    }

    /// `false`: no record in these bytes matches.
    pub(crate) fn may_match(&self, bytes: &[u8]) -> bool {
        self.0
            .literal
            .as_ref()
            .is_none_or(|literal| literal.find(bytes).is_some())
    }

    /// The literal, if there is only one way to write it in JSON that Docker and we use.
    pub(crate) fn json_literal(&self) -> Option<&memmem::Finder<'static>> {
        let plain = |b: &u8| matches!(b, 0x20..=0x7e) && !br#""\\<>&"#.contains(b);
        let literal = self.0.literal.as_ref();
        literal.filter(|l| l.needle().iter().all(plain))
    }

    /// Whether a record matches; its newline is not looked at.
    #[must_use]
    #[inline]
    pub fn matches(&self, record: &[u8]) -> bool {
        let record = record.strip_suffix(b"\n").unwrap_or(record);
        if let Some(literal) = &self.0.literal {
            let found = literal.find(record).is_some();
            if !found || self.0.exact {
                return found;
            }
        }
        self.0.regex.is_match(record)
    }
}

/// The longest literal that stands in every match.
fn required(hir: &Hir) -> Option<&[u8]> {
    match hir.kind() {
        HirKind::Literal(literal) => Some(&literal.0),
        HirKind::Capture(capture) => required(&capture.sub),
        HirKind::Repetition(repetition) if repetition.min > 0 => required(&repetition.sub),
        HirKind::Concat(parts) => parts
            .iter()
            .filter_map(required)
            .max_by_key(|literal| literal.len()),
        _ => None,
    }
}

impl PartialEq for Grep {
    fn eq(&self, other: &Self) -> bool {
        self.0.regex.as_str() == other.0.regex.as_str()
    }
}

impl Eq for Grep {}

impl fmt::Debug for Grep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Grep").field(&self.0.regex.as_str()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn literals() {
        let literal = |pattern: &str| {
            let grep = Grep::new(pattern).unwrap();
            let inner = &grep.0;
            inner
                .literal
                .as_ref()
                .map(|l| String::from_utf8_lossy(l.needle()).into_owned())
        };
        assert_eq!(literal("error").as_deref(), Some("error"));
        assert_eq!(
            literal("a+connection (re)+set").as_deref(),
            Some("connection ")
        );
        assert_eq!(literal("(?i)error"), None);
        assert_eq!(literal("a|b"), None);
        assert_eq!(literal("(ab)*"), None);
    }

    #[test]
    fn matches_without_the_newline() {
        assert!(Grep::new("b$").unwrap().matches(b"ab\n"));
        assert!(!Grep::new("^$").unwrap().matches(b"ab\n"));
        assert!(Grep::new("^$").unwrap().matches(b"\n"));
        assert!(Grep::new("(?-u)\\xff").unwrap().matches(b"a\xffb"));
        assert!(!Grep::new("abc").unwrap().matches(b"ab\n"));
    }

    #[test]
    fn refused() {
        let error = Grep::new("(").unwrap_err().to_string();
        assert!(error.contains("invalid pattern \"(\""), "{error}");
        assert!(Grep::new(&"a".repeat(5000)).is_err());
        assert!(Grep::new("(?:a{1000}){1000}").is_err());
    }
}
