//! Where a registry is reached: mirrors, HTTPS, plain HTTP where that is allowed, and its certificates
//! (source: Moby `registry/service_v2.go`, `registry/registry.go`).

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use taffrail_config::{Cidr, Insecure};
use taffrail_drivers::transport::tls::{TlsClient, TlsOptions};

use super::error::RegistryError;

/// The domain in names of Docker Hub, its registry, its first API, and how logins call it.
pub(crate) const HUB: &str = "docker.io";
const HUB_REGISTRY: &str = "registry-1.docker.io";
pub(crate) const HUB_INDEX: &str = "index.docker.io";
/// Folders with a folder of certificates for each registry. The first is ours, the second Docker's.
const CERTIFICATES: [&str; 2] = ["/etc/taffrail/certs.d", "/etc/docker/certs.d"];
/// Time for a connection.
const CONNECT: Duration = Duration::from_secs(30);
/// Longest pause within an answer.
const PAUSE: Duration = Duration::from_secs(60);
/// Time for a name's addresses.
const LOOKUP: Duration = Duration::from_secs(10);
/// Redirects of one request.
const REDIRECTS: usize = 10;

/// What daemon.json says about registries.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct RegistrySettings {
    /// Of Docker Hub; URLs that end in `/`.
    pub(crate) mirrors: Vec<String>,
    pub(crate) insecure: Insecure,
    /// Layers fetched and sent at a time.
    pub(crate) downloads: u32,
    pub(crate) uploads: u32,
    /// Attempts for a layer.
    pub(crate) attempts: u32,
}

impl RegistrySettings {
    /// Addresses that are trusted without a certificate, for `/info`.
    pub(crate) fn insecure_cidrs(&self) -> Vec<String> {
        let mut list: Vec<String> = self.insecure.cidrs.iter().map(Cidr::to_string).collect();
        list.extend(["::1/128".to_owned(), "127.0.0.0/8".to_owned()]);
        list
    }

    fn is_insecure_address(&self, address: IpAddr) -> bool {
        address.is_loopback()
            || self
                .insecure
                .cidrs
                .iter()
                .any(|cidr| cidr.contains(address))
    }

    /// Whether a registry (`host[:port]`) may do without TLS or with any certificate.
    async fn is_insecure(&self, domain: &str) -> bool {
        if self.insecure.hosts.iter().any(|host| host == domain) {
            return true;
        }
        let (host, port) = split(domain);
        if let Ok(address) = host.trim_matches(['[', ']']).parse() {
            return self.is_insecure_address(address);
        }
        let lookup = tokio::net::lookup_host((host.to_owned(), port.unwrap_or(443)));
        match tokio::time::timeout(LOOKUP, lookup).await {
            Ok(Ok(mut found)) => found.any(|address| self.is_insecure_address(address.ip())),
            // What has no address is not reached anyway.
            _ => false,
        }
    }
}

fn split(domain: &str) -> (&str, Option<u16>) {
    match domain.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, port.parse().ok()),
        _ => (domain, None),
    }
}

/// One way to a registry.
#[derive(Clone, Debug)]
pub(super) struct Endpoint {
    /// Ends in `/`; `v2/` comes behind it.
    pub(super) base: reqwest::Url,
    pub(super) client: reqwest::Client,
    /// Not the registry itself: it gets no credentials.
    pub(super) mirror: bool,
}

/// The ways to a registry in the order in which they are tried. Mirrors are for pulls only.
///
/// # Errors
/// Certificates that cannot be used.
pub(super) async fn endpoints(
    settings: &RegistrySettings,
    domain: &str,
    pull: bool,
) -> Result<Vec<Endpoint>, RegistryError> {
    let mut found = Vec::new();
    let mut wanted: Vec<(String, String, bool, bool)> = Vec::new();
    if domain == HUB {
        if pull {
            for mirror in &settings.mirrors {
                let host = mirror.split('/').nth(2).unwrap_or_default().to_owned();
                let insecure = settings.is_insecure(&host).await;
                wanted.push((mirror.clone(), host, insecure, true));
            }
        }
        wanted.push((
            format!("https://{HUB_REGISTRY}/"),
            HUB_REGISTRY.to_owned(),
            false,
            false,
        ));
    } else {
        let insecure = settings.is_insecure(domain).await;
        wanted.push((
            format!("https://{domain}/"),
            domain.to_owned(),
            insecure,
            false,
        ));
        if insecure {
            wanted.push((
                format!("http://{domain}/"),
                domain.to_owned(),
                insecure,
                false,
            ));
        }
    }
    for (url, host, insecure, mirror) in wanted {
        let base = reqwest::Url::parse(&url)
            .map_err(|error| RegistryError::Invalid(format!("{url}: {error}")))?;
        let client = client(&host, insecure).await?;
        found.push(Endpoint {
            base,
            client,
            mirror,
        });
    }
    Ok(found)
}

/// An HTTP client that trusts what this registry's folder of certificates says.
pub(super) async fn client(host: &str, insecure: bool) -> Result<reqwest::Client, RegistryError> {
    let name = host.to_owned();
    let tls = tokio::task::spawn_blocking(move || tls(&name, insecure))
        .await
        .map_err(|error| RegistryError::Invalid(error.to_string()))??;
    reqwest::Client::builder()
        .use_preconfigured_tls(tls.config().as_ref().clone())
        .user_agent(concat!("taffrail/", env!("CARGO_PKG_VERSION"), " (linux)"))
        .connect_timeout(CONNECT)
        .read_timeout(PAUSE)
        .redirect(reqwest::redirect::Policy::limited(REDIRECTS))
        // Compressed layers are stored as they are.
        .build()
        .map_err(|error| RegistryError::Certificates {
            host: host.to_owned(),
            why: error.to_string(),
        })
}

fn tls(host: &str, insecure: bool) -> Result<TlsClient, RegistryError> {
    let failed = |why: String| RegistryError::Certificates {
        host: host.to_owned(),
        why,
    };
    let mut options = TlsOptions {
        system_too: true,
        skip_verify: insecure,
        ..TlsOptions::default()
    };
    for folder in CERTIFICATES {
        let files = Files::find(&Path::new(folder).join(host)).map_err(failed)?;
        options.more_cas.extend(files.authorities);
        options.identity = options.identity.or(files.identity);
    }
    TlsClient::new(&options).map_err(|error| failed(error.to_string()))
}

/// A registry's files: `*.crt` are authorities, `x.cert` with `x.key` is the client's pair.
#[derive(Debug, Default, PartialEq, Eq)]
struct Files {
    authorities: Vec<PathBuf>,
    identity: Option<(PathBuf, PathBuf)>,
}

impl Files {
    fn find(folder: &Path) -> Result<Self, String> {
        let mut files = Self::default();
        let entries = match std::fs::read_dir(folder) {
            Ok(entries) => entries,
            Err(error)
                if matches!(
                    error.kind(),
                    std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory
                ) =>
            {
                return Ok(files);
            }
            Err(error) => return Err(format!("{}: {error}", folder.display())),
        };
        let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
        paths.sort();
        for path in &paths {
            match path.extension().and_then(|ending| ending.to_str()) {
                Some("crt") => files.authorities.push(path.clone()),
                Some("cert") => {
                    let key = path.with_extension("key");
                    if !paths.contains(&key) {
                        return Err(format!(
                            "missing key {} for client certificate {}",
                            key.display(),
                            path.display()
                        ));
                    }
                    files.identity.get_or_insert((path.clone(), key));
                }
                Some("key") => {
                    let cert = path.with_extension("cert");
                    if !paths.contains(&cert) {
                        return Err(format!(
                            "missing client certificate {} for key {}",
                            cert.display(),
                            path.display()
                        ));
                    }
                }
                _ => {}
            }
        }
        Ok(files)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn who_may_be_insecure() {
        let settings = RegistrySettings {
            insecure: Insecure {
                hosts: vec!["r.invalid:5000".to_owned()],
                cidrs: vec![Cidr::parse("10.0.0.0/8").unwrap()],
            },
            ..RegistrySettings::default()
        };
        for (domain, insecure) in [
            ("r.invalid:5000", true),
            ("r.invalid", false),
            ("10.1.2.3:80", true),
            ("10.1.2.3", true),
            ("11.1.2.3", false),
            ("127.0.0.1:5000", true),
            ("localhost:5000", true),
            ("[::1]:5000", true),
            ("[fd00::1]:5000", false),
        ] {
            assert_eq!(settings.is_insecure(domain).await, insecure, "{domain}");
        }
    }

    #[test]
    fn files_of_a_registry() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        assert_eq!(Files::find(&path("none")), Ok(Files::default()));
        for name in ["a.crt", "b.crt", "c.cert", "c.key", "readme"] {
            std::fs::write(path(name), "").unwrap();
        }
        let files = Files::find(folder.path()).unwrap();
        assert_eq!(files.authorities, [path("a.crt"), path("b.crt")]);
        assert_eq!(files.identity, Some((path("c.cert"), path("c.key"))));
        std::fs::remove_file(path("c.key")).unwrap();
        assert!(
            Files::find(folder.path())
                .unwrap_err()
                .starts_with("missing key")
        );
    }
}
