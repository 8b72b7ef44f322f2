//! Certificates made for a test.

use std::path::{Path, PathBuf};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, date_time_ymd};

/// An authority, and files signed by it.
pub(crate) struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    pub(crate) ca: PathBuf,
    folder: PathBuf,
}

impl Authority {
    pub(crate) fn new(folder: &Path) -> Self {
        let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params
            .distinguished_name
            .push(rcgen::DnType::CommonName, "test authority");
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let ca = folder.join("ca.pem");
        std::fs::write(&ca, issuer.pem()).unwrap();
        Self {
            issuer,
            ca,
            folder: folder.to_owned(),
        }
    }

    /// A certificate for these names, and its key.
    pub(crate) fn sign(&self, file: &str, names: &[&str], expired: bool) -> (PathBuf, PathBuf) {
        let key = KeyPair::generate().unwrap();
        let pem = params(names, expired)
            .signed_by(&key, &self.issuer)
            .unwrap()
            .pem();
        write(&self.folder, file, &pem, &key)
    }
}

fn params(names: &[&str], expired: bool) -> CertificateParams {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let mut params = CertificateParams::new(names).unwrap();
    params
        .distinguished_name
        .push(rcgen::DnType::CommonName, "taffrail test");
    if expired {
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(2021, 1, 1);
    }
    params
}

fn write(folder: &Path, file: &str, pem: &str, key: &KeyPair) -> (PathBuf, PathBuf) {
    let paths = (
        folder.join(format!("{file}.pem")),
        folder.join(format!("{file}.key")),
    );
    std::fs::write(&paths.0, pem).unwrap();
    std::fs::write(&paths.1, key.serialize_pem()).unwrap();
    paths
}
