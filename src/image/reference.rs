//! Names of images, as Docker writes them (source: distribution `reference` grammar).
//!
//! A name is kept in its full form (`docker.io/library/busybox:latest`) and shown in its familiar
//! one (`busybox:latest`).

use std::sync::LazyLock;

use regex::Regex;

use super::error::ImageError;

const DOMAIN: &str = "docker.io";
const LEGACY_DOMAIN: &str = "index.docker.io";
const OFFICIAL: &str = "library/";
/// Domain and path together (source: `reference.RepositoryNameTotalLengthMax`).
const MAX_NAME: usize = 255;

// The patterns are constants: they compile or no test passes.
#[allow(clippy::unwrap_used)]
fn regex(pattern: &str) -> Regex {
    Regex::new(pattern).unwrap()
}

static REPOSITORY: LazyLock<Regex> = LazyLock::new(|| {
    let part = "[a-z0-9]+(?:(?:\\.|_|__|-+)[a-z0-9]+)*";
    regex(&format!("^{part}(?:/{part})*$"))
});
static HOST: LazyLock<Regex> = LazyLock::new(|| {
    let label = "(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])";
    regex(&format!(
        "^(?:{label}(?:\\.{label})*|\\[[a-fA-F0-9:]+\\])(?::[0-9]+)?$"
    ))
});
static TAG: LazyLock<Regex> = LazyLock::new(|| regex("^[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$"));

/// A parsed name with what follows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Reference {
    /// `docker.io/library/busybox`
    pub(crate) repository: String,
    pub(crate) tag: Option<String>,
    /// `sha256:<64 hex>`
    pub(crate) digest: Option<String>,
}

impl Reference {
    /// Parses `[domain/]path[:tag][@digest]`.
    pub(crate) fn parse(text: &str) -> Result<Self, ImageError> {
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) => {
                hex_of(digest).ok_or_else(|| invalid(""))?;
                (rest, Some(digest.to_owned()))
            }
            None => (text, None),
        };
        // A colon before the last slash belongs to a port.
        let name_start = rest.rfind('/').map_or(0, |slash| slash + 1);
        let (name, tag) = match rest[name_start..].split_once(':') {
            Some((_, tag)) => (&rest[..rest.len() - tag.len() - 1], Some(tag)),
            None => (rest, None),
        };
        let repository = normalise(name)?;
        if let Some(tag) = tag {
            check_tag(tag)?;
        }
        Ok(Self {
            repository,
            tag: tag.map(str::to_owned),
            digest,
        })
    }

    /// Adds `latest` to a name that has neither tag nor digest.
    pub(crate) fn with_default_tag(mut self) -> Self {
        if self.tag.is_none() && self.digest.is_none() {
            self.tag = Some("latest".to_owned());
        }
        self
    }

    /// Whether `name:tag` would read like a digest (source: Moby `image/store.go`).
    pub(super) fn is_digest_algorithm(&self) -> bool {
        familiar(&self.repository) == "sha256"
    }

    /// Key of a tagged name in the store: `docker.io/library/x:latest`.
    pub(crate) fn tagged(&self) -> Option<String> {
        let tag = self.tag.as_ref()?;
        Some(format!("{}:{tag}", self.repository))
    }

    /// Key of a name with a digest in the store: `docker.io/library/x@sha256:...`.
    pub(crate) fn digested(&self) -> Option<String> {
        let digest = self.digest.as_ref()?;
        Some(format!("{}@{digest}", self.repository))
    }

    /// The registry and the path in it: `docker.io` and `library/x`.
    pub(crate) fn split(&self) -> (&str, &str) {
        // A full name has a domain.
        self.repository
            .split_once('/')
            .unwrap_or((DOMAIN, &self.repository))
    }

    /// The repository as users write it: `x`.
    pub(crate) fn familiar_repository(&self) -> &str {
        familiar(&self.repository)
    }

    /// As users write it: `x:latest`.
    pub(crate) fn familiar(&self) -> String {
        let mut text = familiar(&self.repository).to_owned();
        if let Some(tag) = &self.tag {
            text.push(':');
            text.push_str(tag);
        }
        if let Some(digest) = &self.digest {
            text.push('@');
            text.push_str(digest);
        }
        text
    }
}

/// The hexadecimal part of `sha256:<64 lower-case hex>`.
pub(super) fn hex_of(digest: &str) -> Option<&str> {
    digest.strip_prefix("sha256:").filter(|hex| is_hex64(hex))
}

/// Whether a text is 64 lower-case hexadecimal digits.
pub(super) fn is_hex64(text: &str) -> bool {
    text.len() == 64 && is_hex(text)
}

/// Whether a text consists of lower-case hexadecimal digits.
pub(super) fn is_hex(text: &str) -> bool {
    text.bytes()
        .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

/// The familiar form of a full name, with or without what follows it.
pub(super) fn familiar(full: &str) -> &str {
    let Some(path) = full
        .strip_prefix(DOMAIN)
        .and_then(|rest| rest.strip_prefix('/'))
    else {
        return full;
    };
    match path.strip_prefix(OFFICIAL) {
        // `library/a/b` is not an official image.
        Some(name) if !name.contains('/') => name,
        _ => path,
    }
}

/// The repository of a key in the store.
pub(super) fn repository_of(key: &str) -> &str {
    if let Some((repository, _)) = key.split_once('@') {
        return repository;
    }
    key.rsplit_once(':')
        .map_or(key, |(repository, _)| repository)
}

pub(super) fn check_tag(tag: &str) -> Result<(), ImageError> {
    if TAG.is_match(tag) {
        Ok(())
    } else {
        Err(invalid(""))
    }
}

fn normalise(name: &str) -> Result<String, ImageError> {
    if is_hex64(name) {
        return Err(invalid(&format!(
            ": invalid repository name ({name}), cannot specify 64-byte hexadecimal strings"
        )));
    }
    let (domain, path) = match name.split_once('/') {
        Some((first, rest))
            if first.contains(['.', ':'])
                || first == "localhost"
                || first.bytes().any(|b| b.is_ascii_uppercase()) =>
        {
            (first, rest)
        }
        _ => (DOMAIN, name),
    };
    let domain = if domain == LEGACY_DOMAIN {
        DOMAIN
    } else {
        domain
    };
    let path = if domain == DOMAIN && !path.contains('/') {
        format!("{OFFICIAL}{path}")
    } else {
        path.to_owned()
    };
    if !REPOSITORY.is_match(&path) {
        if REPOSITORY.is_match(&path.to_ascii_lowercase()) {
            return Err(invalid(": repository name must be lowercase"));
        }
        return Err(invalid(""));
    }
    if !HOST.is_match(domain) {
        return Err(invalid(""));
    }
    let full = format!("{domain}/{path}");
    if full.len() > MAX_NAME {
        return Err(invalid(&format!(
            ": repository name must not be more than {MAX_NAME} characters"
        )));
    }
    Ok(full)
}

fn invalid(detail: &str) -> ImageError {
    ImageError::Reference {
        detail: detail.to_owned(),
    }
}

/// The familiar name that an image gets of a repository and a tag, which may be empty.
///
/// # Errors
/// 400 for what is no name, and for a digest.
pub(crate) fn checked_name(repo: &str, tag: &str) -> Result<String, ImageError> {
    let mut name = Reference::parse(repo)?;
    if name.digest.is_some() {
        return Err(ImageError::DigestReference(
            "refusing to create a tag with a",
        ));
    }
    if !tag.is_empty() {
        check_tag(tag)?;
        name.tag = Some(tag.to_owned());
    }
    Ok(name.with_default_tag().familiar())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_normalised_and_shown_familiar() {
        for (text, full, shown) in [
            ("x", "docker.io/library/x:latest", "x:latest"),
            ("x:1", "docker.io/library/x:1", "x:1"),
            ("a/x", "docker.io/a/x:latest", "a/x:latest"),
            ("docker.io/library/x:2", "docker.io/library/x:2", "x:2"),
            ("docker.io/x:2", "docker.io/library/x:2", "x:2"),
            ("index.docker.io/a/x", "docker.io/a/x:latest", "a/x:latest"),
            ("localhost/x", "localhost/x:latest", "localhost/x:latest"),
            ("h:5000/a/b:t", "h:5000/a/b:t", "h:5000/a/b:t"),
            ("h:5000/a", "h:5000/a:latest", "h:5000/a:latest"),
            (
                "r.example/a__b-c",
                "r.example/a__b-c:latest",
                "r.example/a__b-c:latest",
            ),
        ] {
            let name = Reference::parse(text).unwrap().with_default_tag();
            assert_eq!(name.tagged().unwrap(), full, "{text}");
            assert_eq!(name.familiar(), shown, "{text}");
            assert_eq!(repository_of(full), name.repository, "{text}");
        }
    }

    #[test]
    fn bad_names_are_refused() {
        let long = "a".repeat(300);
        let hex = "a".repeat(64);
        for text in [
            "",
            ":",
            "x:",
            ":x",
            "/x",
            "x/",
            "a//b",
            "-x",
            "x-",
            "x..y",
            "a___b",
            "X",
            "x:ta g",
            "x:-t",
            "x@sha256:12",
            "x@",
            "http://x",
            "../x",
            "x\n",
            &long,
            &hex,
        ] {
            let error = Reference::parse(text).unwrap_err().to_string();
            assert!(
                error.starts_with("invalid reference format"),
                "{text}: {error}"
            );
        }
        assert_eq!(
            Reference::parse("Abc").unwrap_err().to_string(),
            "invalid reference format: repository name must be lowercase"
        );
    }

    #[test]
    fn digests() {
        let digest = format!("sha256:{}", "0".repeat(64));
        let name = Reference::parse(&format!("x:1@{digest}")).unwrap();
        assert_eq!(name.tag.as_deref(), Some("1"));
        assert_eq!(
            name.digested().unwrap(),
            format!("docker.io/library/x@{digest}")
        );
        assert_eq!(hex_of("sha256:xyz"), None);
    }
}
