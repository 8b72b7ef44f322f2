//! `-v SOURCE:TARGET:MODE` and `--volumes-from NAME:MODE` (source: Moby `volume/mounts`).

use super::error::{MountProblem, RuntimeError};
use super::mounts::{MountPoint, PROPAGATION, Source, VOLUME_MODE, clean, clean_target, volume};
use crate::volume::Wish;

/// One of `Binds`: a path of the host or a volume of `driver`.
pub(super) fn bind(spec: &str, driver: &str) -> Result<MountPoint, RuntimeError> {
    let bad = || RuntimeError::VolumeSpec(spec.to_owned());
    let parts: Vec<&str> = spec.split(':').collect();
    let (source, target, mode) = match parts[..] {
        [target] => ("", target, ""),
        [source, target] => (source, target, ""),
        [source, target, mode] => (source, target, mode),
        _ => return Err(bad()),
    };
    if target.is_empty() || (parts.len() > 1 && source.is_empty()) {
        return Err(bad());
    }
    let parsed = parse_mode(mode).ok_or_else(|| RuntimeError::VolumeMode(mode.to_owned()))?;
    // `path:ro` is a forgotten target, not a target named ro.
    if parts.len() == 2 && parse_mode(target).is_some() {
        return Err(bad());
    }
    let is_path = source.starts_with('/');
    let because = |cause| RuntimeError::VolumeSpecBecause {
        spec: spec.to_owned(),
        kind: if is_path { "bind" } else { "volume" },
        cause,
    };
    let target = clean_target(target).map_err(because)?;
    if is_path {
        if parsed.nocopy {
            return Err(because(MountProblem::Extra("VolumeOptions")));
        }
        return Ok(MountPoint {
            source: Source::Bind {
                path: clean(source),
                propagation: parsed.propagation,
                recursive: true,
                all_read_only: false,
                create: true,
            },
            target,
            read_only: parsed.read_only,
            mode: mode.to_owned(),
        });
    }
    if parsed.propagation.is_some() {
        return Err(because(MountProblem::Extra("BindOptions")));
    }
    let wish = Wish {
        name: source.to_owned(),
        driver: driver.to_owned(),
        ..Wish::default()
    };
    Ok(MountPoint {
        source: volume(wish, !parsed.nocopy),
        target,
        read_only: parsed.read_only,
        mode: if mode.is_empty() { VOLUME_MODE } else { mode }.to_owned(),
    })
}

/// `NAME[:MODE]` of `VolumesFrom`: the container, and whether all is to be read-only.
pub(crate) fn volumes_from(spec: &str) -> Result<(&str, bool), RuntimeError> {
    if spec.is_empty() {
        return Err(RuntimeError::VolumesFromEmpty);
    }
    let Some((name, mode)) = spec.split_once(':') else {
        return Ok((spec, false));
    };
    match parse_mode(mode) {
        // What is mounted how was said where the volumes come from.
        Some(parsed) if parsed.propagation.is_none() && !parsed.nocopy => {
            Ok((name, parsed.read_only))
        }
        _ => Err(RuntimeError::VolumeMode(mode.to_owned())),
    }
}

#[derive(Default)]
struct BindMode {
    read_only: bool,
    propagation: Option<String>,
    nocopy: bool,
}

/// The third part of a bind; each kind of option at most once.
fn parse_mode(mode: &str) -> Option<BindMode> {
    let mut out = BindMode::default();
    let (mut rw, mut label, mut consistency) = (false, false, false);
    for option in mode.split(',').filter(|_| !mode.is_empty()) {
        let seen = match option {
            "ro" | "rw" => {
                out.read_only = option == "ro";
                std::mem::replace(&mut rw, true)
            }
            "z" | "Z" => std::mem::replace(&mut label, true),
            "nocopy" => std::mem::replace(&mut out.nocopy, true),
            "consistent" | "cached" | "delegated" | "default" => {
                std::mem::replace(&mut consistency, true)
            }
            p if PROPAGATION.contains(&p) => out.propagation.replace(p.to_owned()).is_some(),
            _ => return None,
        };
        if seen {
            return None;
        }
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::types::{ContainerConfig, HostConfig};
    use crate::runtime::mounts::user_mounts;

    fn binds(list: &[&str]) -> Result<Vec<MountPoint>, RuntimeError> {
        let host = HostConfig {
            binds: Some(list.iter().map(|s| (*s).to_owned()).collect()),
            ..Default::default()
        };
        user_mounts(&ContainerConfig::default(), &host, None, Vec::new())
    }

    #[test]
    fn binds_with_options() {
        let m = binds(&["/a/../b:/x//y:ro,z,rslave", "/c:/d"]).unwrap();
        assert_eq!(m[0].target, "/d");
        assert!(!m[0].read_only);
        assert_eq!((m[1].target.as_str(), m[1].read_only), ("/x/y", true));
        assert!(
            matches!(&m[1].source, Source::Bind { path, propagation: Some(p), .. }
            if path == "/b" && p == "rslave")
        );
    }

    #[test]
    fn bad_binds_in_dockers_words() {
        for (given, text) in [
            ("/a:/b:ro:x", "invalid volume specification: '/a:/b:ro:x'"),
            ("/a:ro", "invalid volume specification: '/a:ro'"),
            (":/b", "invalid volume specification: ':/b'"),
            ("/a:", "invalid volume specification: '/a:'"),
            ("/a:/b:wrong", "invalid mode: wrong"),
            ("/a:/b:ro,rw", "invalid mode: ro,rw"),
            (
                "/a:b",
                "invalid volume specification: '/a:b': invalid mount config for type \"bind\": invalid mount path: 'b' mount path must be absolute",
            ),
            (
                "/a:/",
                "invalid volume specification: '/a:/': invalid mount config for type \"bind\": invalid specification: destination can't be '/'",
            ),
        ] {
            let e = binds(&[given]).unwrap_err();
            assert_eq!(e.to_string(), text);
            assert_eq!(e.kind().status(), 400);
        }
        let e = binds(&["/a:/x", "/b:/x/"]).unwrap_err();
        assert_eq!(e.to_string(), "Duplicate mount point: /x");
        for (given, field) in [
            ("/a:/x:nocopy", "VolumeOptions"),
            ("nn:/x:rshared", "BindOptions"),
        ] {
            let e = binds(&[given]).unwrap_err().to_string();
            assert!(
                e.ends_with(&format!(": field {field} must not be specified")),
                "{e}"
            );
        }
    }

    #[test]
    fn modes_of_volumes_from() {
        assert_eq!(volumes_from("web").unwrap(), ("web", false));
        assert_eq!(volumes_from("web:ro").unwrap(), ("web", true));
        assert_eq!(volumes_from("web:rw,z").unwrap(), ("web", false));
        for bad in ["web:bad", "web:rshared", "web:nocopy"] {
            let error = volumes_from(bad).unwrap_err().to_string();
            assert_eq!(error, format!("invalid mode: {}", &bad[4..]));
        }
        assert!(volumes_from("").is_err());
    }
}
