//! TLS for both sides: rustls with ring, TLS 1.2 and 1.3.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::{self, PemObject as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, ServerConfig, SignatureScheme};
use taffrail_config::Tls;

/// Why TLS cannot be had. The texts are Docker's where it has one.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TlsError {
    #[error("invalid TLS configuration: could not load X509 key pair (cert: {cert:?}, key: {key:?}): {why}", cert = cert.display().to_string(), key = key.display().to_string())]
    Pair {
        cert: PathBuf,
        key: PathBuf,
        why: String,
    },
    #[error("invalid TLS configuration: could not read CA certificate {path:?}: {why}", path = path.display().to_string())]
    Ca { path: PathBuf, why: String },
    #[error("invalid TLS configuration: {0}")]
    Refused(#[from] rustls::Error),
    #[error("invalid TLS configuration: {0}")]
    Verifier(#[from] rustls::server::VerifierBuilderError),
}

/// Makes ring the provider of this process. Once, in `main`.
pub(crate) fn install_provider() {
    // An error says that there is one already: that one is ring, too.
    let _ = rustls::crypto::ring::default_provider().install_default();
}

fn provider() -> Arc<CryptoProvider> {
    CryptoProvider::get_default().map_or_else(
        || Arc::new(rustls::crypto::ring::default_provider()),
        Arc::clone,
    )
}

/// Go's words for a file that cannot be read.
fn why(path: &Path, error: &pem::Error) -> String {
    match error {
        pem::Error::Io(error) if error.kind() == io::ErrorKind::NotFound => {
            format!("open {}: no such file or directory", path.display())
        }
        pem::Error::Io(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            format!("open {}: permission denied", path.display())
        }
        pem::Error::NoItemsFound => format!("{} has none in PEM form", path.display()),
        error => format!("{}: {error}", path.display()),
    }
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let found: Vec<_> = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect)
        .map_err(|error| why(path, &error))?;
    if found.is_empty() {
        return Err(format!("{} has no certificate in PEM form", path.display()));
    }
    Ok(found)
}

fn roots(path: &Path) -> Result<RootCertStore, TlsError> {
    let failed = |why| TlsError::Ca {
        path: path.to_owned(),
        why,
    };
    let mut store = RootCertStore::empty();
    for certificate in certificates(path).map_err(failed)? {
        store
            .add(certificate)
            .map_err(|error| failed(error.to_string()))?;
    }
    Ok(store)
}

type Pair = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

fn pair(cert: &Path, key: &Path) -> Result<Pair, TlsError> {
    let failed = |why| TlsError::Pair {
        cert: cert.to_owned(),
        key: key.to_owned(),
        why,
    };
    let chain = certificates(cert).map_err(failed)?;
    let secret = PrivateKeyDer::from_pem_file(key).map_err(|error| failed(why(key, &error)))?;
    Ok((chain, secret))
}

/// The daemon's side of its `tcp://` hosts. Reads the files.
///
/// # Errors
/// A file that cannot be read or has not what it should have; a key that is not the
/// certificate's.
pub(crate) fn server(tls: &Tls) -> Result<Arc<ServerConfig>, TlsError> {
    let (chain, key) = pair(&tls.cert, &tls.key)?;
    let builder =
        ServerConfig::builder_with_provider(provider()).with_safe_default_protocol_versions()?;
    let builder = match &tls.ca {
        Some(ca) => builder.with_client_cert_verifier(
            WebPkiClientVerifier::builder_with_provider(Arc::new(roots(ca)?), provider())
                .build()?,
        ),
        None => builder.with_no_client_auth(),
    };
    let config = builder
        .with_single_cert(chain, key)
        .map_err(|error| TlsError::Pair {
            cert: tls.cert.clone(),
            key: tls.key.clone(),
            why: error.to_string(),
        })?;
    Ok(Arc::new(config))
}

/// A client's side. Without `ca` the daemon's certificate is not checked; with `pair` (certificate
/// and key) the client shows its own. Reads the files.
///
/// # Errors
/// As [`server`].
pub(crate) fn client(
    ca: Option<&Path>,
    own: Option<(&Path, &Path)>,
) -> Result<Arc<ClientConfig>, TlsError> {
    let builder =
        ClientConfig::builder_with_provider(provider()).with_safe_default_protocol_versions()?;
    let builder = match ca {
        Some(ca) => builder.with_root_certificates(roots(ca)?),
        None => builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Unchecked(provider()))),
    };
    let config = match own {
        Some((cert, key)) => {
            let (chain, secret) = pair(cert, key)?;
            builder
                .with_client_auth_cert(chain, secret)
                .map_err(|error| TlsError::Pair {
                    cert: cert.to_owned(),
                    key: key.to_owned(),
                    why: error.to_string(),
                })?
        }
        None => builder.with_no_client_auth(),
    };
    Ok(Arc::new(config))
}

/// `--tls` without `--tlsverify`: encrypted, but with whomever.
#[derive(Debug)]
struct Unchecked(Arc<CryptoProvider>);

impl ServerCertVerifier for Unchecked {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let known = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, cert, signature, known)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let known = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, cert, signature, known)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_that_are_not_there_or_not_right() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        std::fs::write(path("empty"), "no pem").unwrap();
        let tls = |ca: Option<&str>, cert: &str, key: &str| {
            server(&Tls {
                verify: ca.is_some(),
                ca: ca.map(path),
                cert: path(cert),
                key: path(key),
            })
            .unwrap_err()
            .to_string()
        };
        let missing = tls(None, "missing", "missing");
        assert!(
            missing.contains("could not load X509 key pair") && missing.contains("no such file"),
            "{missing}"
        );
        let empty = tls(None, "empty", "empty");
        assert!(empty.contains("no certificate in PEM form"), "{empty}");
        let ca = client(Some(&path("missing")), None)
            .unwrap_err()
            .to_string();
        assert!(ca.contains("could not read CA certificate"), "{ca}");
    }
}
