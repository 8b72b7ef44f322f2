//! Patterns of image names: Go's `path.Match`, which Docker's `reference` filter is made of.

use crate::errors::ApiError;

/// A pattern with an open class or a backslash at its end, in Go's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("syntax error in pattern")]
pub(super) struct BadPattern;

impl From<BadPattern> for ApiError {
    fn from(error: BadPattern) -> Self {
        Self::invalid(error.to_string())
    }
}

/// Whether a text matches as a whole: `*` and `?` match anything but `/`, `[a-z]` and `[^a-z]` one
/// character, a backslash takes the next one literally.
///
/// # Errors
/// The pattern is malformed, also where it would not have been looked at.
pub(super) fn glob(pattern: &str, text: &str) -> Result<bool, BadPattern> {
    let pattern: Vec<char> = pattern.chars().collect();
    let text: Vec<char> = text.chars().collect();
    let (mut pattern, mut text) = (pattern.as_slice(), text.as_slice());
    while !pattern.is_empty() {
        let (star, chunk, rest) = next_chunk(pattern);
        pattern = rest;
        if star && chunk.is_empty() {
            return Ok(!text.contains(&'/'));
        }
        // The last chunk must reach the end; an earlier one leaves the rest to those behind it. Go
        // never goes back to an earlier star, nor is there need to: the shortest match is as good.
        let mut skipped = 0;
        let found = loop {
            match match_chunk(chunk, &text[skipped..])? {
                Some(left) if left.is_empty() || !pattern.is_empty() => break Some(left),
                _ => {}
            }
            if !star || text.get(skipped).is_none_or(|c| *c == '/') {
                break None;
            }
            skipped += 1;
        };
        match found {
            Some(left) => text = left,
            None => {
                while !pattern.is_empty() {
                    let (_, chunk, rest) = next_chunk(pattern);
                    match_chunk(chunk, &[])?;
                    pattern = rest;
                }
                return Ok(false);
            }
        }
    }
    Ok(text.is_empty())
}

/// Whether stars come first, what follows up to the next star, and the rest.
fn next_chunk(pattern: &[char]) -> (bool, &[char], &[char]) {
    let stars = pattern.iter().take_while(|c| **c == '*').count();
    let pattern = &pattern[stars..];
    let mut in_class = false;
    let mut at = 0;
    while let Some(c) = pattern.get(at) {
        match c {
            '\\' => at += 1,
            '[' => in_class = true,
            ']' => in_class = false,
            '*' if !in_class => break,
            _ => {}
        }
        at += 1;
    }
    let (chunk, rest) = pattern.split_at(at.min(pattern.len()));
    (stars > 0, chunk, rest)
}

/// What is left of a text that begins as the chunk says. All of the chunk is read in any case.
fn match_chunk<'a>(mut chunk: &[char], text: &'a [char]) -> Result<Option<&'a [char]>, BadPattern> {
    let mut left = Some(text);
    while let Some((first, rest)) = chunk.split_first() {
        let next = left.and_then(<[char]>::split_first);
        chunk = rest;
        let fits = match first {
            '[' => {
                let negated = chunk.first() == Some(&'^');
                if negated {
                    chunk = &chunk[1..];
                }
                let mut hit = false;
                let mut ranges = 0;
                while ranges == 0 || chunk.first() != Some(&']') {
                    let low = member(&mut chunk)?;
                    let mut high = low;
                    if chunk.first() == Some(&'-') {
                        chunk = &chunk[1..];
                        high = member(&mut chunk)?;
                    }
                    hit |= next.is_some_and(|(c, _)| (low..=high).contains(c));
                    ranges += 1;
                }
                chunk = &chunk[1..];
                hit != negated
            }
            '?' => next.is_some_and(|(c, _)| *c != '/'),
            '\\' => {
                let (literal, rest) = chunk.split_first().ok_or(BadPattern)?;
                chunk = rest;
                next.is_some_and(|(c, _)| c == literal)
            }
            literal => next.is_some_and(|(c, _)| c == literal),
        };
        left = next.filter(|_| fits).map(|(_, rest)| rest);
    }
    Ok(left)
}

/// A character of a class; the class must go on behind it.
fn member(chunk: &mut &[char]) -> Result<char, BadPattern> {
    let mut rest = *chunk;
    if let Some(['\\', more @ ..]) = Some(rest) {
        rest = more;
    } else if matches!(rest.first(), Some('-' | ']')) {
        return Err(BadPattern);
    }
    let (c, rest) = rest.split_first().ok_or(BadPattern)?;
    if rest.is_empty() {
        return Err(BadPattern);
    }
    *chunk = rest;
    Ok(*c)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Mostly the cases of Go's own test.
    #[test]
    fn as_go_matches() {
        for (pattern, text, expected) in [
            ("busybox", "busybox", true),
            ("busy*", "busybox:1", true),
            ("*", "a/b", false),
            ("*/*", "a/b", true),
            ("b?sybox", "busybox", true),
            ("busybox:1", "busybox:2", false),
            ("a*c*e", "abcde", true),
            ("", "x", false),
            ("*", "", true),
            ("a*", "ab/c", false),
            ("a*/b", "a/c/b", false),
            ("a*b*c*d*e*/f", "axbxcxdxe/f", true),
            ("a*b*c*d*e*/f", "axbxcxdxexxx/fff", false),
            ("a*b?c*x", "abxbbxdbxebxczzx", true),
            ("a*b?c*x", "abxbbxdbxebxczzy", false),
            ("ab[c]", "abc", true),
            ("ab[b-d]", "abc", true),
            ("ab[e-g]", "abc", false),
            ("ab[^e-g]", "abc", true),
            ("ab[^b-d]", "abc", false),
            ("a\\*b", "a*b", true),
            ("a\\*b", "ab", false),
            ("a[^a]b", "aäb", true),
            ("[\\]a]", "]", true),
            ("[\\-x]", "-", true),
            ("[x\\-]", "z", false),
            ("*x", "xxx", true),
            ("[*]*", "*b", true),
        ] {
            assert_eq!(glob(pattern, text), Ok(expected), "{pattern} {text}");
        }
        for (pattern, text) in [
            ("[", "a"),
            ("[]a]", "]"),
            ("[-x]", "x"),
            ("[x-]", "z"),
            ("[a-b-c]", "a"),
            ("[^", "a"),
            ("[^bc", "a"),
            ("a[", "a"),
            ("a[", "ab"),
            ("x[", "ab"),
            ("a\\", "a"),
            ("*[", "b/c"),
        ] {
            assert_eq!(glob(pattern, text), Err(BadPattern), "{pattern} {text}");
        }
    }

    #[test]
    fn many_stars_are_no_burden() {
        let pattern = "*a".repeat(200) + "b";
        assert_eq!(glob(&pattern, &"a".repeat(2_000)), Ok(false));
    }
}
