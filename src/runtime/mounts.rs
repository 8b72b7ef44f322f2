//! `Binds`, `Mounts`, `Tmpfs` and the image's `Volumes`: what is asked for, checked (source: Docker
//! `--volume`, `--mount`, `--tmpfs`, API 1.43).

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::binds::bind;
use super::error::{MountProblem, RuntimeError};
use super::tmpfs::tmpfs_options;
use crate::api::types::{ContainerConfig, HostConfig, MountSpec};
use crate::volume::{LOCAL, Wish};

/// What is mounted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub(crate) enum Source {
    Bind {
        path: String,
        propagation: Option<String>,
        recursive: bool,
        /// Read-only with all that is mounted below it, or an error.
        #[serde(default)]
        all_read_only: bool,
        /// `-v` makes a missing directory, `--mount` does not.
        create: bool,
    },
    /// A volume of the store; its name is empty until it is made.
    Volume {
        name: String,
        /// Nobody has named it: it may go with its container.
        anonymous: bool,
        /// How it is to be made, of a container that is being created.
        #[serde(skip)]
        wish: Wish,
        /// It is filled from the image if it is empty.
        #[serde(skip)]
        copy: bool,
    },
    /// A directory of the container's own, by number: an anonymous volume of a container that was
    /// created before there were volumes.
    Own { number: usize },
    Tmpfs {
        options: Vec<String>,
        /// Of `--tmpfs`, which Docker does not list.
        hidden: bool,
    },
}

/// One mount that the user or the image asks for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct MountPoint {
    pub(crate) source: Source,
    pub(crate) target: String,
    pub(crate) read_only: bool,
    /// `Mode` of inspect.
    pub(crate) mode: String,
}

impl MountPoint {
    /// The volume that is mounted, if one is.
    pub(crate) fn volume(&self) -> Option<&str> {
        match &self.source {
            Source::Volume { name, .. } if !name.is_empty() => Some(name),
            _ => None,
        }
    }
}

pub(super) const PROPAGATION: [&str; 6] = [
    "private", "rprivate", "shared", "rshared", "slave", "rslave",
];

/// `Mode` that Docker shows for a volume without one.
pub(super) const VOLUME_MODE: &str = "z";

/// The data root that a container's directory, `<data-root>/containers/<id>`, lies in.
pub(super) fn data_root(files_dir: &Path) -> Option<&Path> {
    let containers = files_dir.parent()?;
    (containers.file_name()? == "containers").then(|| containers.parent())?
}

/// All mounts of a container, those nearer to the root first. Nothing on disk is looked at.
/// `inherited` are those of `VolumesFrom`, which others replace. A bind that holds the data root, or
/// lies in it, sees mounts of the host come and go: otherwise it would keep the root file systems of
/// other containers mounted.
pub(crate) fn user_mounts(
    config: &ContainerConfig,
    host: &HostConfig,
    data_root: Option<&Path>,
    inherited: Vec<MountPoint>,
) -> Result<Vec<MountPoint>, RuntimeError> {
    let mut out: Vec<MountPoint> = Vec::new();
    let mut push = |mut mount: MountPoint| {
        if let Some(root) = data_root {
            follow_host(&mut mount, root)?;
        }
        if out.iter().any(|m| m.target == mount.target) {
            return Err(RuntimeError::DuplicateMount(mount.target));
        }
        out.push(mount);
        Ok(())
    };
    for spec in host.binds.iter().flatten() {
        push(bind(spec, &host.volume_driver)?)?;
    }
    for spec in host.mounts.iter().flatten() {
        push(mount(spec)?)?;
    }
    for (target, options) in host.tmpfs.iter().flatten() {
        let target = clean_target(target).map_err(RuntimeError::TmpfsTarget)?;
        let options: Vec<&str> = options.split(',').filter(|o| !o.is_empty()).collect();
        push(MountPoint {
            target,
            read_only: options.contains(&"ro"),
            mode: String::new(),
            source: Source::Tmpfs {
                options: tmpfs_options(&options)?,
                hidden: true,
            },
        })?;
    }
    let own = out.len();
    for mount in inherited {
        match out.iter().position(|m| m.target == mount.target) {
            None => out.push(mount),
            // A later one of the same place replaces an earlier.
            Some(at) if at >= own => out[at] = mount,
            Some(_) => {}
        }
    }
    for target in config.volumes.iter().flatten().map(|(target, _)| target) {
        let target = clean_target(target).map_err(|cause| RuntimeError::Mount {
            kind: "volume".to_owned(),
            cause,
        })?;
        // What the user mounts there replaces the image's volume.
        if out.iter().all(|m| m.target != target) {
            let wish = Wish {
                driver: host.volume_driver.clone(),
                ..Wish::default()
            };
            out.push(MountPoint {
                source: volume(wish, true),
                target,
                read_only: false,
                mode: String::new(),
            });
        }
    }
    out.sort_by_key(|m| m.target.matches('/').count());
    Ok(out)
}

/// A volume that is to be made, or is there already.
pub(super) fn volume(wish: Wish, copy: bool) -> Source {
    Source::Volume {
        name: wish.name.clone(),
        anonymous: wish.name.is_empty(),
        wish,
        copy,
    }
}

/// Binds around the data root are `rslave` or `rshared` (source: Moby `daemon/volumes_linux.go`).
fn follow_host(mount: &mut MountPoint, root: &Path) -> Result<(), RuntimeError> {
    let Source::Bind {
        path, propagation, ..
    } = &mut mount.source
    else {
        return Ok(());
    };
    if !Path::new(path).starts_with(root) && !root.starts_with(&path) {
        return Ok(());
    }
    match propagation.as_deref() {
        Some("rslave" | "rshared") => Ok(()),
        None => {
            *propagation = Some("rslave".to_owned());
            Ok(())
        }
        Some(given) => Err(RuntimeError::AroundDataRoot {
            root: root.to_owned(),
            source_path: path.clone(),
            propagation: given.to_owned(),
        }),
    }
}

/// Cleans a target lexically: absolute, no `.`, `..` or doubled slashes, not the root itself.
pub(super) fn clean_target(target: &str) -> Result<String, MountProblem> {
    if target.is_empty() {
        return Err(MountProblem::NoTarget);
    }
    if !target.starts_with('/') {
        return Err(MountProblem::NotAbsolute(target.to_owned()));
    }
    let clean = clean(target);
    if clean == "/" {
        return Err(MountProblem::Root);
    }
    Ok(clean)
}

/// An absolute path without `.`, `..` and empty parts.
pub(super) fn clean(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    format!("/{}", parts.join("/"))
}

fn mount(spec: &MountSpec) -> Result<MountPoint, RuntimeError> {
    let refuse = |cause| RuntimeError::Mount {
        kind: spec.kind.clone(),
        cause,
    };
    let target = clean_target(&spec.target).map_err(refuse)?;
    let options = [
        ("bind", "BindOptions", &spec.bind_options),
        ("volume", "VolumeOptions", &spec.volume_options),
        ("tmpfs", "TmpfsOptions", &spec.tmpfs_options),
    ];
    if options.iter().any(|(kind, ..)| *kind == spec.kind) {
        for (kind, field, given) in options {
            if kind != spec.kind && given.is_some() {
                return Err(refuse(MountProblem::Extra(field)));
            }
        }
    }
    let source = match spec.kind.as_str() {
        "bind" => bind_source(spec).map_err(refuse)?,
        "tmpfs" => {
            if !spec.source.is_empty() {
                return Err(refuse(MountProblem::Extra("Source")));
            }
            tmpfs_source(spec)?
        }
        "volume" => volume_source(spec, &target).map_err(refuse)?,
        _ => return Err(refuse(MountProblem::Type)),
    };
    let is_volume = matches!(source, Source::Volume { .. });
    Ok(MountPoint {
        source,
        target,
        read_only: spec.read_only,
        mode: if is_volume { VOLUME_MODE } else { "" }.to_owned(),
    })
}

fn bind_source(spec: &MountSpec) -> Result<Source, MountProblem> {
    if spec.source.is_empty() {
        return Err(MountProblem::NoSource);
    }
    if !spec.source.starts_with('/') {
        return Err(MountProblem::NotAbsolute(spec.source.clone()));
    }
    let option = |key: &str| spec.bind_options.as_ref().and_then(|o| o.get(key));
    let flag = |key: &str| option(key).and_then(Value::as_bool).unwrap_or(false);
    let propagation = option("Propagation")
        .and_then(Value::as_str)
        .filter(|p| !p.is_empty())
        .map(str::to_owned);
    if let Some(p) = propagation.as_deref().filter(|p| !PROPAGATION.contains(p)) {
        return Err(MountProblem::Propagation(p.to_owned()));
    }
    let all_read_only = flag("ReadOnlyForceRecursive");
    if all_read_only {
        // What comes later from elsewhere could be written to.
        let alone = propagation.as_deref().is_none_or(|p| p == "rprivate");
        if !spec.read_only || flag("NonRecursive") || flag("ReadOnlyNonRecursive") || !alone {
            return Err(MountProblem::ForceRecursive);
        }
    }
    Ok(Source::Bind {
        path: clean(&spec.source),
        propagation,
        recursive: !flag("NonRecursive"),
        all_read_only,
        create: flag("CreateMountpoint"),
    })
}

fn tmpfs_source(spec: &MountSpec) -> Result<Source, RuntimeError> {
    let number = |key: &str| {
        let options = spec.tmpfs_options.as_ref()?;
        options.get(key)?.as_i64().filter(|n| *n > 0)
    };
    let mut options = Vec::new();
    if let Some(bytes) = number("SizeBytes") {
        options.push(format!("size={bytes}"));
    }
    if let Some(mode) = number("Mode") {
        options.push(format!("mode={mode:o}"));
    }
    if spec.read_only {
        options.push("ro".to_owned());
    }
    let options: Vec<&str> = options.iter().map(String::as_str).collect();
    Ok(Source::Tmpfs {
        options: tmpfs_options(&options)?,
        hidden: false,
    })
}

fn volume_source(spec: &MountSpec, target: &str) -> Result<Source, MountProblem> {
    if spec.source.is_empty() && spec.read_only {
        return Err(MountProblem::AnonymousReadOnly);
    }
    let given = spec.volume_options.as_ref().unwrap_or(&Value::Null);
    if given["Subpath"]
        .as_str()
        .is_some_and(|path| !path.is_empty())
    {
        return Err(MountProblem::Subpath(target.to_owned()));
    }
    let map = |value: &Value| -> Option<BTreeMap<String, String>> {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let object = value.as_object()?;
        Some(object.iter().map(|(k, v)| (k.clone(), text(v))).collect())
    };
    let driver = &given["DriverConfig"];
    let wish = Wish {
        name: spec.source.clone(),
        driver: driver["Name"].as_str().unwrap_or(LOCAL).to_owned(),
        labels: map(&given["Labels"]),
        options: map(&driver["Options"]),
    };
    let nocopy = given["NoCopy"].as_bool().unwrap_or(false);
    Ok(volume(wish, !nocopy))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn binds(list: &[&str]) -> Result<Vec<MountPoint>, RuntimeError> {
        let host = HostConfig {
            binds: Some(list.iter().map(|s| (*s).to_owned()).collect()),
            ..Default::default()
        };
        user_mounts(&ContainerConfig::default(), &host, None, Vec::new())
    }

    #[test]
    fn binds_around_the_data_root_follow_the_host() {
        let root = Path::new("/var/lib/taffrail");
        let dir = root.join("containers/abc");
        assert_eq!(data_root(&dir), Some(root));
        assert_eq!(data_root(Path::new("/tmp/x/y")), None);
        let propagation = |bind: &str| {
            let host = HostConfig {
                binds: Some(vec![bind.to_owned()]),
                ..HostConfig::default()
            };
            let list = user_mounts(&ContainerConfig::default(), &host, Some(root), Vec::new())?;
            match &list[0].source {
                Source::Bind { propagation, .. } => Ok(propagation.clone()),
                other => panic!("{other:?}"),
            }
        };
        let rslave = Some("rslave".to_owned());
        for around in [
            "/:/host",
            "/var/lib:/l",
            "/var/lib/taffrail/containers:/c:ro",
        ] {
            assert_eq!(propagation(around).unwrap(), rslave, "{around}");
        }
        assert_eq!(propagation("/var/lib/taffrail2:/x").unwrap(), None);
        assert_eq!(
            propagation("/:/host:rshared").unwrap().as_deref(),
            Some("rshared")
        );
        let error: RuntimeError = propagation("/:/host:private").unwrap_err();
        assert!(
            error
                .to_string()
                .contains("must use either propagation mode"),
            "{error}"
        );
    }

    #[test]
    fn mounts_by_type() {
        let of = |kind: &str, source: &str, target: &str| {
            mount(&MountSpec {
                kind: kind.into(),
                source: source.into(),
                target: target.into(),
                // Another type's are refused first.
                tmpfs_options: (kind != "bind").then(|| json!({"SizeBytes": 4096, "Mode": 0o700})),
                ..Default::default()
            })
        };
        let m = of("tmpfs", "", "/t").unwrap();
        assert!(matches!(m.source, Source::Tmpfs { options, .. }
            if options.contains(&"size=4096".to_owned()) && options.contains(&"mode=700".to_owned())));
        assert_eq!(
            of("bind", "", "/t").unwrap_err().to_string(),
            "invalid mount config for type \"bind\": field Source must not be empty"
        );
        assert_eq!(
            of("bogus", "/a", "/t").unwrap_err().to_string(),
            "invalid mount config for type \"bogus\": mount type unknown"
        );
        let m = of("volume", "vv", "/t").unwrap_err().to_string();
        assert_eq!(
            m,
            "invalid mount config for type \"volume\": field TmpfsOptions must not be specified"
        );
    }

    #[test]
    fn volumes_of_binds_and_mounts() {
        let list = binds(&["data:/x:ro", "/own", "more:/deep/y:nocopy"]).unwrap();
        let shown: Vec<_> = list
            .iter()
            .map(|m| match &m.source {
                Source::Volume {
                    name,
                    anonymous,
                    copy,
                    ..
                } => (
                    m.target.as_str(),
                    name.as_str(),
                    *anonymous,
                    *copy,
                    m.mode.as_str(),
                ),
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(
            shown,
            [
                ("/x", "data", false, true, "ro"),
                ("/own", "", true, true, "z"),
                ("/deep/y", "more", false, false, "nocopy"),
            ]
        );
        let spec = |source: &str, options: Value| MountSpec {
            kind: "volume".into(),
            source: source.into(),
            target: "/t".into(),
            read_only: source.is_empty(),
            volume_options: Some(options),
            ..Default::default()
        };
        let options = json!({"NoCopy": true, "Labels": {"a": "b"},
            "DriverConfig": {"Name": "x", "Options": {"o": "ro"}}});
        let Source::Volume { wish, copy, .. } = mount(&spec("vv", options)).unwrap().source else {
            panic!("no volume");
        };
        assert!(!copy);
        assert_eq!((wish.name.as_str(), wish.driver.as_str()), ("vv", "x"));
        assert_eq!(wish.labels.unwrap()["a"], "b");
        assert_eq!(wish.options.unwrap()["o"], "ro");
        let error = mount(&spec("", Value::Null)).unwrap_err().to_string();
        assert!(error.ends_with("must not set ReadOnly mode when using anonymous volumes"));
        let error = mount(&spec("vv", json!({"Subpath": "a"}))).unwrap_err();
        assert!(error.to_string().contains("Subpath"), "{error}");
    }

    #[test]
    fn read_only_with_all_below_stands_alone() {
        let bind = |read_only, options: Value| {
            mount(&MountSpec {
                kind: "bind".into(),
                source: "/a".into(),
                target: "/t".into(),
                read_only,
                bind_options: Some(options),
                ..Default::default()
            })
        };
        let force = json!({"ReadOnlyForceRecursive": true});
        assert!(matches!(
            bind(true, force.clone()).unwrap().source,
            Source::Bind {
                all_read_only: true,
                ..
            }
        ));
        assert!(bind(false, force).is_err());
        for more in [
            json!({"ReadOnlyForceRecursive": true, "NonRecursive": true}),
            json!({"ReadOnlyForceRecursive": true, "Propagation": "rshared"}),
        ] {
            assert!(bind(true, more).is_err());
        }
    }

    #[test]
    fn a_bind_replaces_the_images_volume_and_an_inherited_one() {
        let config = ContainerConfig {
            volumes: Some(
                [
                    ("/data".to_owned(), json!({})),
                    ("/z".to_owned(), json!({})),
                    ("/from".to_owned(), json!({})),
                ]
                .into(),
            ),
            ..Default::default()
        };
        let host = HostConfig {
            binds: Some(vec!["/srv:/data".into()]),
            ..Default::default()
        };
        let inherited = binds(&["one:/data", "two:/from"]).unwrap();
        let list = user_mounts(&config, &host, None, inherited).unwrap();
        let of = |target: &str| &list.iter().find(|m| m.target == target).unwrap().source;
        assert_eq!(list.len(), 3);
        assert!(matches!(of("/data"), Source::Bind { path, .. } if path == "/srv"));
        assert!(matches!(of("/from"), Source::Volume { name, .. } if name == "two"));
        assert!(matches!(
            of("/z"),
            Source::Volume {
                anonymous: true,
                ..
            }
        ));
    }
}
