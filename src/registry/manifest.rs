//! Manifests and indexes, Docker's and OCI's (docs: OCI image specification 1.1; distribution "Image
//! Manifest V2, Schema 2"), and which of several platforms is meant (source: containerd `platforms`).

use serde::{Deserialize, Serialize};

use super::error::RegistryError;
use crate::image::host_architecture;

pub(super) const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
pub(super) const DOCKER_CONFIG: &str = "application/vnd.docker.container.image.v1+json";
pub(super) const DOCKER_LAYER: &str = "application/vnd.docker.image.rootfs.diff.tar.gzip";
const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
const OCI_CONFIG: &str = "application/vnd.oci.image.config.v1+json";
/// What we ask for, the best first.
pub(super) const ACCEPT: [&str; 4] = [DOCKER_MANIFEST, DOCKER_LIST, OCI_MANIFEST, OCI_INDEX];
/// Marks what BuildKit puts beside an image.
const ATTESTATION: &str = "vnd.docker.reference.type";

/// What another file is known by.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Descriptor {
    #[serde(default)]
    pub(super) media_type: String,
    pub(super) size: u64,
    pub(super) digest: String,
    #[serde(default, skip_serializing)]
    platform: Option<Platform>,
    #[serde(default, skip_serializing)]
    annotations: Option<std::collections::BTreeMap<String, String>>,
}

impl Descriptor {
    pub(super) fn new(media_type: &str, digest: String, size: u64) -> Self {
        Self {
            media_type: media_type.to_owned(),
            size,
            digest,
            ..Self::default()
        }
    }
}

/// `os/architecture[/variant]`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Platform {
    #[serde(default)]
    pub(crate) architecture: String,
    #[serde(default)]
    pub(crate) os: String,
    #[serde(
        default,
        rename = "os.version",
        skip_serializing_if = "String::is_empty"
    )]
    os_version: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) variant: String,
}

impl std::fmt::Display for Platform {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        if !self.variant.is_empty() {
            write!(f, "/{}", self.variant)?;
        }
        Ok(())
    }
}

impl Platform {
    /// The host's.
    pub(crate) fn host() -> Self {
        Self {
            architecture: host_architecture().to_owned(),
            os: "linux".to_owned(),
            ..Self::default()
        }
    }

    /// Reads `os`, `architecture` or `os/architecture[/variant]`; the text was checked before.
    pub(crate) fn parse(text: &str) -> Self {
        let lower = text.to_ascii_lowercase();
        let parts: Vec<&str> = lower.split('/').collect();
        let (os, architecture, variant) = match parts.as_slice() {
            [one] if is_os(one) => (*one, host_architecture(), ""),
            [one] => ("linux", *one, ""),
            [os, architecture] => (*os, *architecture, ""),
            [os, architecture, variant, ..] => (*os, *architecture, *variant),
            [] => ("linux", host_architecture(), ""),
        };
        let (architecture, variant) = normal(architecture, variant);
        Self {
            architecture,
            os: if os == "macos" { "darwin" } else { os }.to_owned(),
            variant,
            ..Self::default()
        }
    }

    /// The platforms that run where this one does, the best first.
    fn compatible(&self) -> Vec<(String, String)> {
        let (architecture, variant) = normal(&self.architecture, &self.variant);
        let with =
            |architecture: &str, variant: &str| (architecture.to_owned(), variant.to_owned());
        let number = |variant: &str| variant.strip_prefix('v').and_then(|n| n.parse::<u8>().ok());
        match architecture.as_str() {
            "amd64" => {
                let mut list: Vec<_> = (2..=number(&variant).unwrap_or(1).min(9))
                    .rev()
                    .map(|v| with("amd64", &format!("v{v}")))
                    .collect();
                list.push(with("amd64", ""));
                list.push(with("386", ""));
                list
            }
            "arm" => (5..=number(&variant).unwrap_or(7).min(9))
                .rev()
                .map(|v| with("arm", &format!("v{v}")))
                .collect(),
            "arm64" => {
                let mut list = vec![with("arm64", &variant)];
                if !variant.is_empty() {
                    list.push(with("arm64", ""));
                }
                list.extend((5..=8).rev().map(|v| with("arm", &format!("v{v}"))));
                list
            }
            _ => vec![(architecture, variant)],
        }
    }

    /// How well another platform serves in this one's place: 0 is best; `None`: not at all.
    fn rank(&self, other: &Self) -> Option<usize> {
        if self.os != other.os {
            return None;
        }
        let found = normal(&other.architecture, &other.variant);
        self.compatible().iter().position(|one| *one == found)
    }
}

fn is_os(word: &str) -> bool {
    [
        "aix",
        "android",
        "darwin",
        "dragonfly",
        "freebsd",
        "illumos",
        "ios",
        "js",
        "linux",
        "macos",
        "netbsd",
        "openbsd",
        "plan9",
        "solaris",
        "windows",
    ]
    .contains(&word)
}

/// One spelling of each architecture and variant.
fn normal(architecture: &str, variant: &str) -> (String, String) {
    let architecture = architecture.to_ascii_lowercase();
    let variant = variant.to_ascii_lowercase();
    let (architecture, variant) = match (architecture.as_str(), variant.as_str()) {
        ("i386", _) => ("386", ""),
        ("x86_64" | "x86-64" | "amd64", "v1") => ("amd64", ""),
        ("x86_64" | "x86-64", variant) => ("amd64", variant),
        ("aarch64" | "arm64", "8" | "v8") => ("arm64", ""),
        ("aarch64", variant) => ("arm64", variant),
        ("armhf", _) => ("arm", "v7"),
        ("armel", _) => ("arm", "v6"),
        ("arm", "" | "7") => ("arm", "v7"),
        ("arm", "5") => ("arm", "v5"),
        ("arm", "6") => ("arm", "v6"),
        ("arm", "8") => ("arm", "v8"),
        other => other,
    };
    (architecture.to_owned(), variant.to_owned())
}

/// The manifest of one image.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Manifest {
    pub(super) config: Descriptor,
    #[serde(default)]
    pub(super) layers: Vec<Descriptor>,
}

/// What a registry gives for a tag.
#[derive(Clone, Debug)]
pub(super) enum Document {
    Image(Manifest),
    Index(Vec<Descriptor>),
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Raw {
    #[serde(default)]
    schema_version: u64,
    #[serde(default)]
    media_type: String,
    config: Option<Descriptor>,
    layers: Option<Vec<Descriptor>>,
    manifests: Option<Vec<Descriptor>>,
}

/// Reads a document; `header` is the answer's content type. Returns its media type, too.
///
/// # Errors
/// Neither an image's manifest nor an index, or one of a kind that is refused.
pub(super) fn parse(
    name: &str,
    header: &str,
    bytes: &[u8],
) -> Result<(Document, String), RegistryError> {
    let header = header.split(';').next().unwrap_or_default().trim();
    let raw: Raw = serde_json::from_slice(bytes).map_err(|error| RegistryError::Manifest {
        name: name.to_owned(),
        why: format!("the registry's answer is no manifest: {error}"),
    })?;
    if header.starts_with("application/vnd.docker.distribution.manifest.v1")
        || raw.schema_version == 1
    {
        return Err(RegistryError::MediaType {
            media_type: "application/vnd.docker.distribution.manifest.v1+prettyjws".to_owned(),
            hint: "Docker Image manifest version 2, schema 1 is not supported; push the image again with a newer client",
        });
    }
    let kind = if raw.media_type.is_empty() {
        header.to_owned()
    } else {
        raw.media_type
    };
    if let Some(manifests) = raw.manifests {
        let kind = if kind == DOCKER_LIST {
            DOCKER_LIST
        } else {
            OCI_INDEX
        };
        return Ok((Document::Index(manifests), kind.to_owned()));
    }
    let Some(config) = raw.config else {
        return Err(RegistryError::MediaType {
            media_type: kind,
            hint: "neither the manifest of an image nor an index of them",
        });
    };
    let known = ["", DOCKER_CONFIG, OCI_CONFIG, "application/json"];
    if !known.contains(&config.media_type.as_str()) {
        return Err(RegistryError::MediaType {
            media_type: config.media_type,
            hint: "the configuration is not that of a container image",
        });
    }
    let kind = if kind == OCI_MANIFEST || config.media_type == OCI_CONFIG {
        OCI_MANIFEST
    } else {
        DOCKER_MANIFEST
    };
    let manifest = Manifest {
        config,
        layers: raw.layers.unwrap_or_default(),
    };
    Ok((Document::Image(manifest), kind.to_owned()))
}

/// The best image of an index for a platform.
///
/// # Errors
/// There is none.
pub(super) fn choose<'a>(
    manifests: &'a [Descriptor],
    wanted: &Platform,
) -> Result<&'a Descriptor, RegistryError> {
    manifests
        .iter()
        .filter(|item| ACCEPT.contains(&item.media_type.as_str()) || item.media_type.is_empty())
        .filter(|item| {
            item.annotations
                .as_ref()
                .is_none_or(|notes| !notes.contains_key(ATTESTATION))
        })
        .filter_map(|item| Some((wanted.rank(item.platform.as_ref()?)?, item)))
        // The first of equals.
        .min_by_key(|(rank, _)| *rank)
        .map(|(_, item)| item)
        .ok_or_else(|| RegistryError::NoPlatform(wanted.to_string()))
}

/// The platforms of an index.
pub(super) fn platforms(manifests: &[Descriptor]) -> Vec<Platform> {
    manifests
        .iter()
        .filter_map(|item| item.platform.clone())
        .collect()
}

/// Whether layers of a media type can be unpacked here.
///
/// # Errors
/// They cannot, by name.
pub(super) fn check_layer(layer: &Descriptor) -> Result<(), RegistryError> {
    let kind = layer.media_type.as_str();
    let hint = match kind {
        ""
        | DOCKER_LAYER
        | "application/vnd.docker.image.rootfs.diff.tar"
        | "application/vnd.docker.image.rootfs.diff.tar.zstd"
        | "application/vnd.oci.image.layer.v1.tar"
        | "application/vnd.oci.image.layer.v1.tar+gzip"
        | "application/vnd.oci.image.layer.v1.tar+zstd" => return Ok(()),
        _ if kind.contains("foreign") || kind.contains("nondistributable") => {
            "layers that may not be distributed (foreign layers) are not supported"
        }
        _ if kind.ends_with("+encrypted") => "encrypted layers are not supported",
        _ => "a layer must be a tar, plain or compressed with gzip or zstd",
    };
    Err(RegistryError::MediaType {
        media_type: kind.to_owned(),
        hint,
    })
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Made<'a> {
    schema_version: u32,
    media_type: &'static str,
    config: &'a Descriptor,
    layers: &'a [Descriptor],
}

/// A manifest as Docker makes it, byte for byte.
pub(super) fn make(config: &Descriptor, layers: &[Descriptor]) -> Result<Vec<u8>, RegistryError> {
    let made = Made {
        schema_version: 2,
        media_type: DOCKER_MANIFEST,
        config,
        layers,
    };
    let mut bytes = Vec::new();
    let form = serde_json::ser::PrettyFormatter::with_indent(b"   ");
    let mut out = serde_json::Serializer::with_formatter(&mut bytes, form);
    made.serialize(&mut out)
        .map_err(|error| RegistryError::Invalid(error.to_string()))?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn index(platforms: &[&str]) -> Vec<Descriptor> {
        platforms
            .iter()
            .map(|text| {
                let mut parts = text.split('/');
                let mut next = || parts.next().unwrap_or_default().to_owned();
                Descriptor {
                    platform: Some(Platform {
                        os: next(),
                        architecture: next(),
                        variant: next(),
                        os_version: String::new(),
                    }),
                    ..Descriptor::new(OCI_MANIFEST, (*text).to_owned(), 1)
                }
            })
            .collect()
    }

    #[test]
    fn the_best_platform() {
        let list = index(&[
            "windows/amd64",
            "linux/386",
            "linux/arm/v5",
            "linux/arm/v7",
            "linux/amd64",
            "linux/arm64/v8",
            "linux/amd64",
        ]);
        for (wanted, found) in [
            ("linux/amd64", "linux/amd64"),
            ("linux/x86_64", "linux/amd64"),
            (
                "linux",
                if host_architecture() == "amd64" {
                    "linux/amd64"
                } else {
                    "linux/arm64/v8"
                },
            ),
            ("arm64", "linux/arm64/v8"),
            ("linux/arm64/v8", "linux/arm64/v8"),
            ("linux/arm", "linux/arm/v7"),
            ("linux/arm/v6", "linux/arm/v5"),
            ("linux/i386", "linux/386"),
            ("windows/amd64", "windows/amd64"),
        ] {
            let chosen = choose(&list, &Platform::parse(wanted)).unwrap();
            assert_eq!(chosen.digest, found, "{wanted}");
        }
        let list = index(&["linux/arm/v7"]);
        let error = choose(&list, &Platform::parse("linux/arm/v6"));
        assert_eq!(
            error.unwrap_err().to_string(),
            "no matching manifest for linux/arm/v6 in the manifest list entries"
        );
    }

    #[test]
    fn kinds() {
        let (document, kind) = parse(
            "x",
            "application/vnd.oci.image.index.v1+json; charset=x",
            b"{\"manifests\":[]}",
        )
        .unwrap();
        assert!(matches!(document, Document::Index(list) if list.is_empty()));
        assert_eq!(kind, OCI_INDEX);
        let refuse =
            |header: &str, text: &str| parse("x", header, text.as_bytes()).unwrap_err().to_string();
        assert!(
            refuse(
                "application/vnd.docker.distribution.manifest.v1+prettyjws",
                r#"{"schemaVersion":1,"fsLayers":[]}"#
            )
            .contains("schema 1")
        );
        assert!(refuse("", "{}").contains("neither"));
        assert!(refuse("", "<html>").contains("no manifest"));
        assert!(refuse("", r#"{"config":{"mediaType":"application/vnd.cncf.helm.config.v1+json","digest":"","size":1},"layers":[]}"#).contains("helm"));
        let foreign = Descriptor::new(
            "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
            String::new(),
            1,
        );
        assert!(
            check_layer(&foreign)
                .unwrap_err()
                .to_string()
                .contains("foreign")
        );
    }

    #[test]
    fn made_as_docker_makes_it() {
        let config = Descriptor::new(DOCKER_CONFIG, "sha256:5f".to_owned(), 895);
        let layer = Descriptor::new(DOCKER_LAYER, "sha256:e3".to_owned(), 1_064_346);
        let text = String::from_utf8(make(&config, &[layer]).unwrap()).unwrap();
        assert_eq!(
            text,
            "{\n   \"schemaVersion\": 2,\n   \"mediaType\": \"application/vnd.docker.distribution.manifest.v2+json\",\n   \"config\": {\n      \"mediaType\": \"application/vnd.docker.container.image.v1+json\",\n      \"size\": 895,\n      \"digest\": \"sha256:5f\"\n   },\n   \"layers\": [\n      {\n         \"mediaType\": \"application/vnd.docker.image.rootfs.diff.tar.gzip\",\n         \"size\": 1064346,\n         \"digest\": \"sha256:e3\"\n      }\n   ]\n}"
        );
    }
}
