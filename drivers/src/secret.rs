//! Tokens, keys and passwords among the options: as they are, in a file, or by name.

use std::fmt;
use std::path::PathBuf;

use crate::sink::Environment;

/// What stands for a secret wherever it could be seen, as in Docker.
pub(crate) const MASK: &str = "xxxx";

/// The value of an option of kind [`Secret`](crate::OptionKind::Secret).
#[derive(Clone, PartialEq, Eq)]
pub enum Secret {
    /// the secret itself
    Given(String),
    /// `@/path`: the file's content without the newline at its end
    File(PathBuf),
    /// `secret:NAME`: the file of that name in the daemon's folder of secrets
    Named(String),
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Given(_) => f.write_str(MASK),
            Self::File(path) => write!(f, "@{}", path.display()),
            Self::Named(name) => write!(f, "secret:{name}"),
        }
    }
}

/// A secret's file that cannot be read. Never holds the secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("cannot read the secret in {}: {why}", path.display())]
pub struct SecretError {
    /// the file
    pub path: PathBuf,
    /// the system's words
    pub why: String,
}

/// Most bytes of a secret's file.
const MAX_BYTES: u64 = 64 * 1024;

impl Secret {
    /// Of an option's value.
    ///
    /// # Errors
    /// What is wrong with it: a path that is not absolute, a name that is no file name.
    pub fn parse(value: &str) -> Result<Self, String> {
        if let Some(path) = value.strip_prefix('@') {
            if !path.starts_with('/') {
                return Err(format!("the path in \"@{path}\" must be absolute"));
            }
            return Ok(Self::File(path.into()));
        }
        if let Some(name) = value.strip_prefix("secret:") {
            let ok = !name.is_empty()
                && !name.starts_with('.')
                && name
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'));
            if !ok {
                return Err(format!(
                    "{name:?} is no name of a secret: letters, digits, '.', '_', '-'"
                ));
            }
            return Ok(Self::Named(name.to_owned()));
        }
        Ok(Self::Given(value.to_owned()))
    }

    /// The secret. A file is read anew at each call, so that a changed one is used from the next connection on.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn read(&self, environment: &Environment) -> Result<String, SecretError> {
        let path = match self {
            Self::Given(secret) => return Ok(secret.clone()),
            Self::File(path) => path.clone(),
            Self::Named(name) => environment.secrets_dir.join(name),
        };
        let failed = |why: String| SecretError {
            path: path.clone(),
            why,
        };
        let size = std::fs::metadata(&path).map_err(|e| failed(e.to_string()))?;
        if size.len() > MAX_BYTES {
            return Err(failed(format!("it is larger than {MAX_BYTES} bytes")));
        }
        let text = std::fs::read_to_string(&path).map_err(|e| failed(e.to_string()))?;
        Ok(text.trim_end_matches(['\r', '\n']).to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_forms() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("hec"), "from-file\n").unwrap();
        let environment = Environment {
            secrets_dir: dir.path().to_owned(),
        };
        let read = |value: &str| Secret::parse(value).unwrap().read(&environment);
        assert_eq!(read("plain").unwrap(), "plain");
        assert_eq!(read("secret:hec").unwrap(), "from-file");
        let path = format!("@{}/hec", dir.path().display());
        assert_eq!(read(&path).unwrap(), "from-file");
        assert!(
            read("secret:none")
                .unwrap_err()
                .to_string()
                .contains("/none")
        );
        for bad in ["@relative", "secret:", "secret:../x", "secret:a/b"] {
            assert!(Secret::parse(bad).is_err(), "{bad}");
        }
        assert_eq!(format!("{:?}", Secret::parse("plain").unwrap()), "xxxx");
    }
}
