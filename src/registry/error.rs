//! What can go wrong between the daemon and a registry. The texts are Docker's where it has one.

use std::error::Error;
use std::io;

use serde::Deserialize;

use crate::errors::{ApiError, ErrorKind};
use crate::image::ImageError;

/// Longest body of an error that is read, and shown if it is no JSON.
pub(super) const MAX_ERROR_BODY: usize = 64 * 1024;
const MAX_SHOWN: usize = 256;

/// An exchange with a registry that failed, or an image that is refused.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RegistryError {
    /// No connection, or it broke.
    #[error("{method} \"{url}\": {why}")]
    Transport {
        /// As Go writes it: `Get`.
        method: &'static str,
        url: String,
        why: String,
    },
    /// The registry's word.
    #[error("{text}")]
    Answer {
        status: u16,
        /// Codes of the answer's errors: `MANIFEST_UNKNOWN`.
        codes: Vec<String>,
        text: String,
    },
    /// The registry wants a login, and there is none for it.
    #[error("{method} \"{url}\": no basic auth credentials")]
    NoCredentials { method: &'static str, url: String },
    /// A 401 with a scheme that is not known, or none.
    #[error("{url}: unsupported authentication challenge {challenge:?}")]
    Challenge { url: String, challenge: String },
    /// Of the server that gives tokens.
    #[error("cannot get a token from {realm}: {why}")]
    Token { realm: String, why: String },
    #[error(
        "pull access denied for {name}, repository does not exist or may require 'docker login': {cause}"
    )]
    Denied {
        /// Familiar.
        name: String,
        cause: String,
    },
    #[error("manifest for {name} not found: {cause}")]
    NoManifest {
        /// Familiar.
        name: String,
        cause: String,
    },
    #[error("no matching manifest for {0} in the manifest list entries")]
    NoPlatform(String),
    /// A manifest, index or configuration that is not what its digest or size says.
    #[error("{what} verification failed for digest {digest}")]
    Verification { what: &'static str, digest: String },
    /// What a registry sent in place of a manifest.
    #[error("{name}: {why}")]
    Manifest { name: String, why: String },
    #[error("unsupported media type {media_type}: {hint}")]
    MediaType {
        media_type: String,
        hint: &'static str,
    },
    #[error("image operating system \"{0}\" cannot be used on this platform")]
    OperatingSystem(String),
    /// Push: no such name here.
    #[error("An image does not exist locally with the tag: {0}")]
    NoSuchTag(String),
    #[error("invalid X-Registry-Auth header: {0}")]
    AuthHeader(String),
    /// What the client asked for makes no sense.
    #[error("{0}")]
    Named(String),
    /// What has no better name.
    #[error("{0}")]
    Invalid(String),
    /// TLS files of a registry.
    #[error("certificates of registry {host}: {why}")]
    Certificates { host: String, why: String },
    /// Temporary files.
    #[error("cannot {action}")]
    Io {
        action: &'static str,
        source: io::Error,
    },
    #[error(transparent)]
    Image(#[from] ImageError),
    /// The client is gone, or the daemon is ending.
    #[error("context canceled")]
    Cancelled,
}

impl RegistryError {
    /// For `map_err` on file operations.
    pub(super) fn io(action: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { action, source }
    }

    /// Whether another attempt may do better.
    pub(super) fn is_transient(&self) -> bool {
        match self {
            Self::Transport { .. } => true,
            Self::Answer { status, .. } => *status >= 500 || matches!(status, 408 | 429),
            _ => false,
        }
    }

    /// As the error of a pull of `name` (familiar, with tag) from `repository` (familiar).
    pub(super) fn of_pull(self, name: &str, repository: &str) -> Self {
        let Self::Answer {
            status,
            codes,
            text,
        } = &self
        else {
            return self;
        };
        let says = |code: &str| codes.iter().any(|known| known == code);
        if says("DENIED") {
            return Self::Denied {
                name: repository.to_owned(),
                cause: text.clone(),
            };
        }
        if says("MANIFEST_UNKNOWN") || says("NAME_UNKNOWN") || (*status == 404 && codes.is_empty())
        {
            return Self::NoManifest {
                name: name.to_owned(),
                cause: text.clone(),
            };
        }
        self
    }
}

impl From<RegistryError> for ApiError {
    fn from(error: RegistryError) -> Self {
        let kind = match &error {
            RegistryError::Denied { .. }
            | RegistryError::NoManifest { .. }
            | RegistryError::NoPlatform(_)
            | RegistryError::NoSuchTag(_) => ErrorKind::NotFound,
            RegistryError::Answer { status: 404, .. } => ErrorKind::NotFound,
            RegistryError::AuthHeader(_) | RegistryError::Named(_) => ErrorKind::Invalid,
            RegistryError::Image(error) => error.kind(),
            _ => ErrorKind::System,
        };
        Self::new(kind, crate::errors::chain(&error))
    }
}

/// Body of a registry's error (docs: distribution API, "Errors").
#[derive(Deserialize)]
struct Body {
    errors: Option<Vec<Entry>>,
    /// Of token servers.
    details: Option<String>,
}

#[derive(Deserialize)]
struct Entry {
    #[serde(default)]
    code: String,
    #[serde(default)]
    message: String,
}

/// Codes and text of an answer with an error's status, as Docker words them.
pub(super) fn parse_answer(status: reqwest::StatusCode, body: &[u8]) -> RegistryError {
    let (codes, text) = match serde_json::from_slice::<Body>(body) {
        Ok(Body {
            errors: Some(errors),
            ..
        }) if !errors.is_empty() => {
            let words: Vec<String> = errors.iter().map(said).collect();
            let text = match words.as_slice() {
                [one] => one.clone(),
                several => format!("errors:\n{}\n", several.join("\n")),
            };
            (errors.into_iter().map(|entry| entry.code).collect(), text)
        }
        Ok(Body {
            details: Some(details),
            ..
        }) if !details.is_empty() => (Vec::new(), details),
        _ => {
            let text = String::from_utf8_lossy(body);
            let text = text.trim();
            let shown: String = text.chars().take(MAX_SHOWN).collect();
            let text = if shown.is_empty() || shown.contains(char::is_control) {
                format!("received unexpected HTTP status: {status}")
            } else {
                format!("received unexpected HTTP status: {status}: {shown}")
            };
            (Vec::new(), text)
        }
    };
    let codes: Vec<String> = if codes.is_empty() && status == 401 {
        vec!["UNAUTHORIZED".to_owned()]
    } else {
        codes
    };
    RegistryError::Answer {
        status: status.as_u16(),
        codes,
        text,
    }
}

/// `manifest unknown: manifest unknown`.
fn said(entry: &Entry) -> String {
    let code = entry.code.to_ascii_lowercase().replace('_', " ");
    if entry.message.is_empty() {
        code
    } else {
        format!("{code}: {}", entry.message)
    }
}

/// Why reqwest could not do it, in Go's words where it has some.
pub(super) fn transport(
    method: &'static str,
    url: &reqwest::Url,
    error: &reqwest::Error,
) -> RegistryError {
    RegistryError::Transport {
        method,
        url: url.to_string(),
        why: why(url, error),
    }
}

fn why(url: &reqwest::Url, error: &reqwest::Error) -> String {
    let host = url.host_str().unwrap_or_default();
    let mut last = error.to_string();
    let mut dns = false;
    let mut next: Option<&(dyn Error + 'static)> = error.source();
    while let Some(cause) = next {
        if let Some(tls) = find_tls(cause) {
            return tls_words(tls);
        }
        let text = cause.to_string();
        dns |= text.contains("dns error") || text.contains("failed to lookup address");
        if let Some(code) = cause
            .downcast_ref::<io::Error>()
            .and_then(io::Error::raw_os_error)
        {
            let words = nix::errno::Errno::from_raw(code).desc().to_lowercase();
            return if error.is_connect() {
                let port = url.port_or_known_default().unwrap_or_default();
                format!("dial tcp {host}:{port}: connect: {words}")
            } else {
                words
            };
        }
        last = text;
        next = cause.source();
    }
    if dns {
        return format!("dial tcp: lookup {host}: no such host");
    }
    if error.is_timeout() {
        return "context deadline exceeded (Client.Timeout exceeded while awaiting headers)"
            .to_owned();
    }
    last
}

fn find_tls<'a>(cause: &'a (dyn Error + 'static)) -> Option<&'a rustls::Error> {
    if let Some(tls) = cause.downcast_ref::<rustls::Error>() {
        return Some(tls);
    }
    // What is wrapped in an `io::Error` is no source of it.
    let mut inner = cause.downcast_ref::<io::Error>()?.get_ref()?;
    loop {
        if let Some(tls) = inner.downcast_ref::<rustls::Error>() {
            return Some(tls);
        }
        inner = inner.downcast_ref::<io::Error>()?.get_ref()?;
    }
}

fn tls_words(error: &rustls::Error) -> String {
    use rustls::CertificateError as Bad;
    match error {
        rustls::Error::InvalidMessage(_) => {
            "http: server gave HTTP response to HTTPS client".to_owned()
        }
        rustls::Error::InvalidCertificate(Bad::UnknownIssuer) => {
            "x509: certificate signed by unknown authority".to_owned()
        }
        rustls::Error::InvalidCertificate(Bad::Expired | Bad::ExpiredContext { .. }) => {
            "x509: certificate has expired or is not yet valid".to_owned()
        }
        rustls::Error::InvalidCertificate(other) => format!("x509: {other}"),
        other => format!("tls: {other}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_in_dockers_words() {
        let parse = |status: u16, body: &str| {
            parse_answer(
                reqwest::StatusCode::from_u16(status).unwrap(),
                body.as_bytes(),
            )
        };
        let unknown = parse(
            404,
            r#"{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown","detail":{"Tag":"2"}}]}"#,
        );
        assert_eq!(unknown.to_string(), "manifest unknown: manifest unknown");
        let of_pull = unknown.of_pull("r:5000/a:2", "r:5000/a");
        assert_eq!(
            of_pull.to_string(),
            "manifest for r:5000/a:2 not found: manifest unknown: manifest unknown"
        );
        let denied = parse(
            401,
            r#"{"errors":[{"code":"DENIED","message":"requested access to the resource is denied"}]}"#,
        );
        assert_eq!(
            denied.of_pull("a:2", "a").to_string(),
            "pull access denied for a, repository does not exist or may require 'docker login': denied: requested access to the resource is denied"
        );
        let odd = parse(502, "<html>");
        assert!(odd.is_transient());
        assert_eq!(
            odd.to_string(),
            "received unexpected HTTP status: 502 Bad Gateway: <html>"
        );
        assert!(!parse(404, "").is_transient());
    }
}
