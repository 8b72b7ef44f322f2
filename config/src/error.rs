//! What can be wrong with file and flags.

use std::path::PathBuf;

use taffrail_drivers::OptionError;

/// Where a setting comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// a line of the file, from 1
    Line(usize),
    /// a flag
    Flag,
    /// the default
    Default,
}

impl std::fmt::Display for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Line(line) => write!(f, "line {line}: "),
            Self::Flag => f.write_str("flag: "),
            Self::Default => Ok(()),
        }
    }
}

/// One thing that is wrong.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("open {path}: {text}; create the file or name another with --config-file", path = path.display(), text = io_text(source))]
    Read {
        /// the file
        path: PathBuf,
        /// why
        source: std::io::Error,
    },
    /// The file is neither UTF-8 nor UTF-16 with a byte order mark.
    #[error("line {line}: invalid JSON: the file is not UTF-8 text; save it as UTF-8")]
    Encoding {
        /// line of the first wrong byte
        line: usize,
    },
    /// The file is no JSON.
    #[error(
        "line {line}, column {column}: invalid JSON: {message}; correct the syntax there or just before"
    )]
    Syntax {
        /// line, from 1
        line: usize,
        /// byte in the line, from 1
        column: usize,
        /// Go's text
        message: String,
    },
    /// The file is JSON, but no object.
    #[error(
        "line {line}: invalid JSON: {found} where the object of settings is expected; write {{ ... }}"
    )]
    NoObject {
        /// line, from 1
        line: usize,
        /// what is there
        found: &'static str,
    },
    /// A key that does not exist.
    #[error(
        "line {line}: the following directives don't match any configuration option: {key}; {}",
        nearest.map_or_else(
            || "remove it (docs/daemon-json.md lists the keys)".to_owned(),
            |nearest| format!("did you mean \"{nearest}\"? Correct the name or remove the line")
        )
    )]
    UnknownKey {
        /// line, from 1
        line: usize,
        /// the key as written, with its parents
        key: String,
        /// the known key most like it
        nearest: Option<&'static str>,
    },
    /// A key that Docker once had.
    #[error("line {line}: key {key:?} no longer exists; {successor}")]
    RetiredKey {
        /// line, from 1
        line: usize,
        /// the key
        key: &'static str,
        /// what to do instead
        successor: &'static str,
    },
    /// One key twice.
    #[error("line {line}: key {key:?} is given twice, first on line {first}; keep one of them")]
    DuplicateKey {
        /// line of the second, from 1
        line: usize,
        /// the key, with its parents
        key: String,
        /// line of the first
        first: usize,
    },
    /// A value of the wrong type.
    #[error("line {line}: key {key:?} is {found} ({value}), but must be {expected}; {example}")]
    WrongType {
        /// line, from 1
        line: usize,
        /// the key, with its parents
        key: String,
        /// type there
        found: &'static str,
        /// value there
        value: String,
        /// type wanted
        expected: &'static str,
        /// what to write
        example: String,
    },
    /// A value that is not allowed.
    #[error("{origin}key {key:?} has value {value:?}: {reason}; {allowed}")]
    BadValue {
        /// where it comes from
        origin: Origin,
        /// the key, with its parents
        key: String,
        /// the value
        value: String,
        /// what is wrong, in Docker's words where it has some
        reason: String,
        /// what is allowed and what to do
        allowed: String,
    },
    /// `log-driver` with `log-opts`.
    #[error(
        "{origin}key {key:?}{}: failed to set log opts: {source}",
        value.as_ref().map_or_else(String::new, |value| format!(" has value {value:?}"))
    )]
    Log {
        /// where the option (or the driver) comes from
        origin: Origin,
        /// `log-driver`, `log-opts.<option>`, or `log-opts` for what concerns several
        key: String,
        /// the option's value, where that is what is wrong
        value: Option<String>,
        /// what is wrong
        source: Box<OptionError>,
    },
    /// Keys given in the file and as flags.
    #[error("the following directives are specified both as a flag and in the configuration file: {}", pairs.join(", "))]
    Conflict {
        /// `key: (from flag: a, from file: b)`
        pairs: Vec<String>,
    },
}

fn io_text(error: &std::io::Error) -> String {
    // Docker's words, without Rust's "(os error 2)".
    match error.kind() {
        std::io::ErrorKind::NotFound => "no such file or directory".to_owned(),
        std::io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
        std::io::ErrorKind::IsADirectory => "is a directory".to_owned(),
        _ => error.to_string(),
    }
}

/// Everything wrong with file and flags; at least one error.
#[derive(Debug)]
pub struct ConfigErrors {
    pub(crate) file: Option<PathBuf>,
    pub(crate) errors: Vec<ConfigError>,
}

impl ConfigErrors {
    /// The errors: the file's in its order, then what concerns several keys.
    pub fn iter(&self) -> impl Iterator<Item = &ConfigError> {
        self.errors.iter()
    }
}

impl std::fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.file {
            Some(file) => write!(
                f,
                "unable to configure the daemon with file {}: ",
                file.display()
            )?,
            None => f.write_str("unable to configure the daemon: ")?,
        }
        if let [error] = self.errors.as_slice() {
            return write!(f, "{error}");
        }
        write!(f, "{} errors", self.errors.len())?;
        for error in &self.errors {
            write!(f, "\n  {error}")?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigErrors {}

/// Something accepted that does not do what Docker's does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    /// line of the file, if it comes from there
    pub line: Option<usize>,
    /// the key
    pub key: String,
    /// what to know
    pub text: String,
}

impl std::fmt::Display for Warning {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if let Some(line) = self.line {
            write!(f, "line {line}: ")?;
        }
        write!(f, "key {:?}: {}", self.key, self.text)
    }
}
