//! `--tls`, `--tlsverify` and their files, with Docker's variables as defaults.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::Args;

use crate::client::TlsChoice;

#[derive(Args, Clone, Debug, Default)]
pub(crate) struct TlsFlags {
    /// Use TLS; implied by --tlsverify
    #[arg(
        long,
        value_name = "BOOL",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true"
    )]
    tls: Option<bool>,
    /// Use TLS and verify the remote
    #[arg(
        long,
        value_name = "BOOL",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true"
    )]
    tlsverify: Option<bool>,
    /// Trust certs signed only by this CA (default ~/.docker/ca.pem)
    #[arg(long, value_name = "FILE")]
    tlscacert: Option<PathBuf>,
    /// Path to TLS certificate file (default ~/.docker/cert.pem)
    #[arg(long, value_name = "FILE")]
    tlscert: Option<PathBuf>,
    /// Path to TLS key file (default ~/.docker/key.pem)
    #[arg(long, value_name = "FILE")]
    tlskey: Option<PathBuf>,
}

impl TlsFlags {
    /// The flags, else `DOCKER_TLS_VERIFY`, `DOCKER_TLS` and `DOCKER_CERT_PATH`.
    pub(super) fn choice(&self, variable: impl Fn(&str) -> Option<OsString>) -> TlsChoice {
        let set = |name: &str| variable(name).filter(|value| !value.is_empty());
        let verify = self
            .tlsverify
            .or_else(|| set("DOCKER_TLS_VERIFY").map(|_| true));
        let on = self.tls.unwrap_or_else(|| set("DOCKER_TLS").is_some());
        let folder = set("DOCKER_CERT_PATH")
            .or_else(|| set("DOCKER_CONFIG"))
            .map(PathBuf::from)
            .or_else(|| set("HOME").map(|home| PathBuf::from(home).join(".docker")));
        TlsChoice {
            verify: verify.or(on.then_some(false)),
            ca: self.tlscacert.clone(),
            cert: self.tlscert.clone(),
            key: self.tlskey.clone(),
            folder,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_then_variables() {
        let choice = |flags: &TlsFlags, variables: &[(&str, &str)]| {
            flags.choice(|name| {
                let found = variables.iter().find(|(other, _)| *other == name);
                found.map(|(_, value)| (*value).into())
            })
        };
        let none = TlsFlags::default();
        assert_eq!(choice(&none, &[]).verify, None);
        assert_eq!(choice(&none, &[("DOCKER_TLS_VERIFY", "")]).verify, None);
        let by_variable = choice(&none, &[("DOCKER_TLS_VERIFY", "1"), ("HOME", "/h")]);
        assert_eq!(by_variable.verify, Some(true));
        assert_eq!(by_variable.folder, Some("/h/.docker".into()));
        assert_eq!(choice(&none, &[("DOCKER_TLS", "1")]).verify, Some(false));
        let folder = choice(&none, &[("HOME", "/h"), ("DOCKER_CERT_PATH", "/c")]).folder;
        assert_eq!(folder, Some("/c".into()));
        let tls = TlsFlags {
            tls: Some(true),
            ..TlsFlags::default()
        };
        assert_eq!(choice(&tls, &[]).verify, Some(false));
        // Given at all, tlsverify turns TLS on.
        let unverified = TlsFlags {
            tlsverify: Some(false),
            ..TlsFlags::default()
        };
        let variables = [("DOCKER_TLS_VERIFY", "1")];
        assert_eq!(choice(&unverified, &variables).verify, Some(false));
    }
}
