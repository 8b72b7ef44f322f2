//! TLS towards receivers: rustls with ring, 1.2 and 1.3. A certificate that equals one of the given CA's is trusted, too (what OpenSSL
//! users have); its name and dates are still checked.

use std::fmt;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{WebPkiServerVerifier, verify_server_name};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, RootCertStore, SignatureScheme,
    StreamOwned,
};

use super::Stream;
use crate::sink::{Failure, FailureKind, Trace};

/// What a user said about TLS.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsOptions {
    /// PEM file of authorities (or of the receiver's own certificate)
    pub ca: Option<PathBuf>,
    /// more such files
    pub more_cas: Vec<PathBuf>,
    /// whether the system's authorities are trusted beside `ca`; without `ca` they always are
    pub system_too: bool,
    /// PEM files of the client's certificate and its key
    pub identity: Option<(PathBuf, PathBuf)>,
    /// trust any certificate
    pub skip_verify: bool,
    /// name to check instead of the address's
    pub name: Option<String>,
}

/// A file for TLS that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TlsFileError {
    /// of authorities: cannot be read
    #[error("could not read CA certificate {path:?}: {why}", path = path.display().to_string())]
    Ca {
        /// the file
        path: PathBuf,
        /// Go's words
        why: String,
    },
    /// of authorities: has none
    #[error("failed to append certificates from PEM file: {path:?}", path = path.display().to_string())]
    NoCa {
        /// the file
        path: PathBuf,
    },
    /// the client's certificate and key
    #[error("could not load X509 key pair: {0}")]
    Pair(String),
    /// what rustls says
    #[error("TLS: {0}")]
    Other(String),
}

/// TLS set up for one destination.
#[derive(Clone)]
pub struct TlsClient {
    config: Arc<ClientConfig>,
    name: Option<String>,
    /// tells destinations apart: what the files held
    fingerprint: String,
}

impl fmt::Debug for TlsClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsClient")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

fn go_open(path: &Path, error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::NotFound => {
            format!("open {}: no such file or directory", path.display())
        }
        std::io::ErrorKind::PermissionDenied => {
            format!("open {}: permission denied", path.display())
        }
        _ => format!("open {}: {error}", path.display()),
    }
}

fn provider() -> Arc<CryptoProvider> {
    CryptoProvider::get_default().map_or_else(
        || Arc::new(rustls::crypto::ring::default_provider()),
        Arc::clone,
    )
}

impl TlsClient {
    /// Reads the files.
    ///
    /// # Errors
    /// One of them cannot be used.
    pub fn new(options: &TlsOptions) -> Result<Self, TlsFileError> {
        let mut fingerprint = format!("{options:?}");
        let mut roots = RootCertStore::empty();
        let mut own = Vec::new();
        for path in options.ca.iter().chain(&options.more_cas) {
            let pem = std::fs::read(path).map_err(|error| TlsFileError::Ca {
                path: path.clone(),
                why: go_open(path, &error),
            })?;
            fingerprint.push_str(&String::from_utf8_lossy(&pem));
            let before = own.len();
            for certificate in CertificateDer::pem_slice_iter(&pem).flatten() {
                // One that is no authority is still trusted as itself.
                let _ = roots.add(certificate.clone());
                own.push(certificate);
            }
            if own.len() == before {
                return Err(TlsFileError::NoCa { path: path.clone() });
            }
        }
        if options.ca.is_none() || options.system_too {
            roots.add_parsable_certificates(system_roots());
        }
        let builder = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .map_err(|error| TlsFileError::Other(error.to_string()))?;
        let verifier = Verifier {
            chain: if options.skip_verify || roots.is_empty() {
                None
            } else {
                let built =
                    WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider())
                        .build();
                Some(built.map_err(|error| TlsFileError::Other(error.to_string()))?)
            },
            own,
            // For clients that do TLS themselves and know only the address.
            name: options
                .name
                .as_ref()
                .and_then(|name| ServerName::try_from(name.clone()).ok()),
            skip: options.skip_verify,
            provider: provider(),
        };
        let builder = builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier));
        let config = match &options.identity {
            None => builder.with_no_client_auth(),
            Some((cert, key)) => {
                let read = |path: &Path| {
                    std::fs::read(path).map_err(|error| TlsFileError::Pair(go_open(path, &error)))
                };
                let (cert_pem, key_pem) = (read(cert)?, read(key)?);
                fingerprint.push_str(&String::from_utf8_lossy(&cert_pem));
                let chain: Vec<_> = CertificateDer::pem_slice_iter(&cert_pem)
                    .flatten()
                    .collect();
                if chain.is_empty() {
                    return Err(TlsFileError::Pair(format!(
                        "{} has no certificate in PEM form",
                        cert.display()
                    )));
                }
                let secret = PrivateKeyDer::from_pem_slice(&key_pem).map_err(|_| {
                    TlsFileError::Pair(format!("{} has no key in PEM form", key.display()))
                })?;
                builder
                    .with_client_auth_cert(chain, secret)
                    .map_err(|error| TlsFileError::Pair(error.to_string()))?
            }
        };
        Ok(Self {
            config: Arc::new(config),
            name: options.name.clone(),
            fingerprint,
        })
    }

    /// A text that differs where options or files differ.
    #[must_use]
    pub fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    /// For a client that does TLS itself (reqwest's `use_preconfigured_tls`).
    #[must_use]
    pub fn config(&self) -> &Arc<ClientConfig> {
        &self.config
    }

    /// Does the handshake on a connected socket; `host` is the name to check if the options give none.
    ///
    /// # Errors
    /// The receiver's certificate is not trusted, is of another name or out of date; or the socket fails.
    pub fn handshake(
        &self,
        mut socket: TcpStream,
        host: &str,
        trace: Trace<'_>,
    ) -> Result<Stream, Failure> {
        let name = self.name.as_deref().unwrap_or(host);
        let failed =
            |text: String| Failure::new(FailureKind::Tls, format!("TLS with {name}: {text}"));
        let server = ServerName::try_from(name.to_owned())
            .map_err(|_| failed("that is no name for a certificate".to_owned()))?;
        let mut connection = ClientConnection::new(Arc::clone(&self.config), server)
            .map_err(|error| failed(error.to_string()))?;
        while connection.is_handshaking() {
            connection.complete_io(&mut socket).map_err(|error| {
                match error
                    .get_ref()
                    .and_then(|e| e.downcast_ref::<rustls::Error>())
                {
                    Some(error) => failed(error.to_string()),
                    None => super::dial::failure(&format!("TLS with {name}"), &error),
                }
            })?;
        }
        let version = connection
            .protocol_version()
            .map_or("TLS", |version| version.as_str().unwrap_or("TLS"));
        trace(format!("{version} with {name}"));
        Ok(Stream::Tls(Box::new(StreamOwned::new(connection, socket))))
    }
}

/// A set-up that trusts nobody, for clients that want one though they do not use it.
pub(crate) fn untrusting() -> Result<ClientConfig, rustls::Error> {
    Ok(ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()?
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth())
}

/// The system's authorities: the file of Debian, then of others.
fn system_roots() -> Vec<CertificateDer<'static>> {
    let given = std::env::var_os("SSL_CERT_FILE").map(PathBuf::from);
    let known = [
        "/etc/ssl/certs/ca-certificates.crt",
        "/etc/pki/tls/certs/ca-bundle.crt",
        "/etc/ssl/cert.pem",
    ];
    given
        .into_iter()
        .chain(known.map(PathBuf::from))
        .find_map(|path| std::fs::read(path).ok())
        .map(|pem| CertificateDer::pem_slice_iter(&pem).flatten().collect())
        .unwrap_or_default()
}

fn is_date(error: &rustls::Error) -> bool {
    use rustls::CertificateError::{Expired, ExpiredContext, NotValidYet, NotValidYetContext};
    matches!(
        error,
        rustls::Error::InvalidCertificate(
            Expired | ExpiredContext { .. } | NotValidYet | NotValidYetContext { .. }
        )
    )
}

/// Checks chains with webpki, and trusts a certificate that was given itself.
#[derive(Debug)]
struct Verifier {
    chain: Option<Arc<WebPkiServerVerifier>>,
    own: Vec<CertificateDer<'static>>,
    name: Option<ServerName<'static>>,
    skip: bool,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        if self.skip {
            return Ok(ServerCertVerified::assertion());
        }
        let server_name = self.name.as_ref().unwrap_or(server_name);
        let by_chain = match &self.chain {
            Some(chain) => {
                chain.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
            }
            None => Err(rustls::Error::InvalidCertificate(
                rustls::CertificateError::UnknownIssuer,
            )),
        };
        match by_chain {
            // webpki looks at the dates first; the name is looked at here.
            Err(error) if !is_date(&error) && self.own.iter().any(|own| own == end_entity) => {
                let parsed = ParsedCertificate::try_from(end_entity)?;
                verify_server_name(&parsed, server_name)?;
                Ok(ServerCertVerified::assertion())
            }
            other => other,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(
            message,
            cert,
            dss,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(
            message,
            cert,
            dss,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}
