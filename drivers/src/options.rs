//! The table of a driver's options: validation, reference pages and `--help` texts come from it.

/// What a value must look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum OptionKind {
    /// size with decimal units, or -1
    DecimalSize,
    /// size with binary units
    BinarySize,
    /// whole number
    Integer,
    /// Go's booleans
    Bool,
    /// names separated by commas
    List,
    /// RE2 expression
    Regex,
    /// Go template
    Template,
    /// one of [`OptionSpec::allowed`]
    Choice,
    /// address of a receiver
    Address,
    /// path of a file
    Path,
    /// Go's duration, for example 1m30s
    Duration,
    /// any text
    Text,
    /// token, key or password; also `@/path` or `secret:NAME`. `inspect` shows `xxxx`
    Secret,
    /// accepted as it is, without meaning yet
    Ignored,
}

/// One option of a driver.
#[derive(Clone, Copy, Debug)]
pub struct OptionSpec {
    /// Docker's name
    pub name: &'static str,
    /// shape of the value
    pub kind: OptionKind,
    /// value when the option is not given, as a user would write it; empty for none
    pub default: &'static str,
    /// allowed values in words or as a list
    pub allowed: &'static str,
    /// one line
    pub short: &'static str,
    /// all there is to know
    pub full: &'static str,
}
