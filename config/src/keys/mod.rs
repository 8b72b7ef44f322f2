//! All keys of daemon.json: which mean something here, which are only accepted, which are gone.

mod table;

pub use table::KEYS;

/// Shape of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Kind {
    /// string
    Str,
    /// boolean
    Bool,
    /// whole number
    Int,
    /// list of strings
    Strings,
    /// object
    Object,
    /// object of strings; numbers and booleans are taken as strings
    Options,
    /// list of objects
    Objects,
    /// object of objects of strings, as [`Self::Options`]
    OptionSets,
}

impl Kind {
    /// Name in error messages.
    pub fn name(self) -> &'static str {
        match self {
            Self::Str => "a string",
            Self::Bool => "a boolean",
            Self::Int => "a whole number",
            Self::Strings => "a list of strings",
            Self::Object => "an object",
            Self::Options => "an object of strings",
            Self::Objects => "a list of objects",
            Self::OptionSets => "an object of objects of strings",
        }
    }
    /// A value of that shape, as it would be written.
    pub(crate) fn example(self) -> &'static str {
        match self {
            Self::Str => "\"...\"",
            Self::Bool => "true or false",
            Self::Int => "10",
            Self::Strings => "[\"...\"]",
            Self::Object => "{ ... }",
            Self::Options => "{\"max-size\": \"10m\"}",
            Self::Objects => "[{ ... }]",
            Self::OptionSets => "{\"json-file\": {\"max-size\": \"10m\"}}",
        }
    }
}

/// What a key does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Meaning {
    /// It has its meaning.
    Used(Used),
    /// Docker knows it; accepted with one warning that gives the reason.
    Accepted(&'static str),
    /// Docker no longer knows it; refused with what to do.
    Retired(&'static str),
}

/// What there is to know of a key that means something. The reference page and the schema come from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Used {
    /// whether a reload (SIGHUP) applies it
    pub live: bool,
    /// allowed values in words; empty: what [`Kind`] says
    pub value: &'static str,
    /// default as JSON; empty if it is not one fixed value
    pub default: &'static str,
    /// default in words, or what is to be said beside it
    pub note: &'static str,
    /// meaning, in Markdown
    pub text: &'static str,
    /// the flag; empty: none
    pub flag: &'static str,
    /// the only values allowed; empty: not a choice
    pub choice: &'static [&'static str],
}

/// One key.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    /// as in the file
    pub name: &'static str,
    /// shape of the value
    pub kind: Kind,
    /// what it does
    pub meaning: Meaning,
}

/// The key of that name.
pub fn find(name: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.name == name)
}

/// The candidate most like `name`, if any is near.
pub(crate) fn nearest(
    name: &str,
    candidates: impl Iterator<Item = &'static str>,
) -> Option<&'static str> {
    let name: Vec<char> = name
        .to_lowercase()
        .replace(['_', ' '], "-")
        .chars()
        .take(64)
        .collect();
    candidates
        .map(|candidate| (distance(&name, candidate), candidate))
        .filter(|(distance, candidate)| *distance <= 3 && *distance * 2 <= candidate.len())
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// Edits (insert, delete, replace, swap of neighbours) between two words.
fn distance(a: &[char], b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut rows = vec![vec![0; b.len() + 1]; a.len() + 1];
    for (i, row) in rows.iter_mut().enumerate() {
        row[0] = i;
    }
    for (j, cell) in rows[0].iter_mut().enumerate() {
        *cell = j;
    }
    for i in 1..=a.len() {
        for j in 1..=b.len() {
            let replace = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut best = replace.min(rows[i - 1][j] + 1).min(rows[i][j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(rows[i - 2][j - 2] + 1);
            }
            rows[i][j] = best;
        }
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_spelt() {
        for (i, key) in KEYS.iter().enumerate() {
            assert!(
                key.name
                    .bytes()
                    .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
            );
            assert!(
                KEYS[..i].iter().all(|other| other.name != key.name),
                "{}",
                key.name
            );
        }
    }

    #[test]
    fn the_nearest_name() {
        let near = |name| nearest(name, KEYS.iter().map(|key| key.name));
        assert_eq!(near("log-drvier"), Some("log-driver"));
        assert_eq!(near("LogDriver"), Some("log-driver"));
        assert_eq!(near("log_opts"), Some("log-opts"));
        assert_eq!(near("host"), Some("hosts"));
        assert_eq!(near("completely-else"), None);
    }
}
