//! `Binds`, `Mounts`, `Tmpfs` and the image's `Volumes`: what is asked for, checked, and as mounts of
//! the specification (source: Docker `--volume`, `--mount`, `--tmpfs`, API 1.43).

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::error::{MountProblem, RuntimeError};
use crate::api::types::{ContainerConfig, HostConfig, MountSpec};

/// What is mounted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Source {
    Bind {
        path: String,
        propagation: Option<String>,
        recursive: bool,
        /// `-v` makes a missing directory, `--mount` does not.
        create: bool,
    },
    /// A directory of the container's own, by number.
    Anonymous(usize),
    Tmpfs {
        options: Vec<String>,
    },
}

/// One mount that the user or the image asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct UserMount {
    pub(super) source: Source,
    pub(super) target: String,
    pub(super) read_only: bool,
    mode: String,
}

const PROPAGATION: [&str; 6] = [
    "private", "rprivate", "shared", "rshared", "slave", "rslave",
];

const NOT_BUILT: &str = "use a bind mount with an absolute path";

/// The data root that a container's directory, `<data-root>/containers/<id>`, lies in.
pub(super) fn data_root(files_dir: &Path) -> Option<&Path> {
    let containers = files_dir.parent()?;
    (containers.file_name()? == "containers").then(|| containers.parent())?
}

/// All mounts of a container, those nearer to the root first. Nothing on disk is looked at.
/// A bind that holds the data root, or lies in it, sees mounts of the host come and go: otherwise
/// it would keep the root file systems of other containers mounted.
pub(super) fn user_mounts(
    config: &ContainerConfig,
    host: &HostConfig,
    data_root: Option<&Path>,
) -> Result<Vec<UserMount>, RuntimeError> {
    let mut out: Vec<UserMount> = Vec::new();
    let mut push = |mut mount: UserMount| {
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
        push(bind(spec)?)?;
    }
    for spec in host.mounts.iter().flatten() {
        push(mount(spec)?)?;
    }
    for (target, options) in host.tmpfs.iter().flatten() {
        let target = clean_target(target).map_err(RuntimeError::TmpfsTarget)?;
        let options: Vec<&str> = options.split(',').filter(|o| !o.is_empty()).collect();
        push(UserMount {
            target,
            read_only: options.contains(&"ro"),
            mode: String::new(),
            source: Source::Tmpfs {
                options: tmpfs_options(&options)?,
            },
        })?;
    }
    for (n, target) in config.volumes.iter().flatten().map(|(k, _)| k).enumerate() {
        let target = clean_target(target).map_err(|cause| RuntimeError::Mount {
            kind: "volume".to_owned(),
            cause,
        })?;
        // What the user mounts there replaces the image's volume.
        if out.iter().all(|m| m.target != target) {
            out.push(UserMount {
                source: Source::Anonymous(n),
                target,
                read_only: false,
                mode: String::new(),
            });
        }
    }
    out.sort_by_key(|m| m.target.matches('/').count());
    Ok(out)
}

/// Binds around the data root are `rslave` or `rshared` (source: Moby `daemon/volumes_linux.go`).
fn follow_host(mount: &mut UserMount, root: &Path) -> Result<(), RuntimeError> {
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
fn clean_target(target: &str) -> Result<String, MountProblem> {
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

fn bind(spec: &str) -> Result<UserMount, RuntimeError> {
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
    let kind = if source.starts_with('/') {
        "bind"
    } else {
        "volume"
    };
    let because = |cause| RuntimeError::VolumeSpecBecause {
        spec: spec.to_owned(),
        kind,
        cause,
    };
    let target = clean_target(target).map_err(because)?;
    if !source.starts_with('/') {
        return Err(RuntimeError::NotBuilt {
            what: match source {
                "" => format!("anonymous volume '{spec}' in Binds"),
                name => format!("named volume '{name}'"),
            },
            hint: NOT_BUILT,
        });
    }
    if parsed.nocopy {
        return Err(RuntimeError::VolumeMode(mode.to_owned()));
    }
    Ok(UserMount {
        source: Source::Bind {
            path: clean(source),
            propagation: parsed.propagation,
            recursive: true,
            create: true,
        },
        target,
        read_only: parsed.read_only,
        mode: mode.to_owned(),
    })
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

fn mount(spec: &MountSpec) -> Result<UserMount, RuntimeError> {
    let refuse = |cause| RuntimeError::Mount {
        kind: spec.kind.clone(),
        cause,
    };
    let target = clean_target(&spec.target).map_err(refuse)?;
    let source = match spec.kind.as_str() {
        "bind" => {
            if spec.source.is_empty() {
                return Err(refuse(MountProblem::NoSource));
            }
            if !spec.source.starts_with('/') {
                return Err(refuse(MountProblem::NotAbsolute(spec.source.clone())));
            }
            let option = |key: &str| spec.bind_options.as_ref().and_then(|o| o.get(key));
            let flag = |key: &str| option(key).and_then(Value::as_bool).unwrap_or(false);
            let propagation = option("Propagation")
                .and_then(Value::as_str)
                .filter(|p| !p.is_empty())
                .map(str::to_owned);
            if let Some(p) = propagation.as_deref().filter(|p| !PROPAGATION.contains(p)) {
                return Err(refuse(MountProblem::Propagation(p.to_owned())));
            }
            Source::Bind {
                path: clean(&spec.source),
                propagation,
                recursive: !flag("NonRecursive"),
                create: flag("CreateMountpoint"),
            }
        }
        "tmpfs" => {
            if !spec.source.is_empty() {
                return Err(refuse(MountProblem::SourceGiven));
            }
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
            Source::Tmpfs {
                options: tmpfs_options(&options)?,
            }
        }
        "volume" => {
            return Err(RuntimeError::NotBuilt {
                what: format!("volume mount at {target}"),
                hint: NOT_BUILT,
            });
        }
        _ => return Err(refuse(MountProblem::Type)),
    };
    Ok(UserMount {
        source,
        target,
        read_only: spec.read_only,
        mode: String::new(),
    })
}

/// Options of a tmpfs: Docker's safe ones first, each user option replacing its opposite.
fn tmpfs_options(given: &[&str]) -> Result<Vec<String>, RuntimeError> {
    const PAIRS: [(&str, &str); 11] = [
        ("ro", "rw"),
        ("suid", "nosuid"),
        ("dev", "nodev"),
        ("exec", "noexec"),
        ("sync", "async"),
        ("mand", "nomand"),
        ("atime", "noatime"),
        ("diratime", "nodiratime"),
        ("relatime", "norelatime"),
        ("strictatime", "nostrictatime"),
        ("dirsync", ""),
    ];
    const DATA: [&str; 6] = ["mode", "uid", "gid", "size", "nr_inodes", "nr_blocks"];
    let mut out: Vec<String> = ["noexec", "nosuid", "nodev", "rprivate"]
        .iter()
        .map(|o| (*o).to_owned())
        .collect();
    for option in given {
        if let Some((key, value)) = option.split_once('=') {
            if value.is_empty() || !DATA.contains(&key) {
                return Err(RuntimeError::TmpfsOption((*option).to_owned()));
            }
            out.retain(|o| o.split_once('=').is_none_or(|(k, _)| k != key));
        } else if PROPAGATION.contains(option) {
            out.retain(|o| !PROPAGATION.contains(&o.as_str()));
        } else {
            let pair = PAIRS.iter().find(|(a, b)| a == option || b == option);
            let Some((a, b)) = pair.filter(|_| !option.is_empty()) else {
                return Err(RuntimeError::TmpfsOption((*option).to_owned()));
            };
            out.retain(|o| o != a && o != b);
        }
        out.push((*option).to_owned());
    }
    Ok(out)
}

/// Refuses what `--mount` may not create: sources that do not exist.
pub(super) fn check_sources(mounts: &[UserMount]) -> Result<(), RuntimeError> {
    for m in mounts {
        if let Source::Bind { path, create, .. } = &m.source
            && !create
            && !Path::new(path).exists()
        {
            return Err(RuntimeError::Mount {
                kind: "bind".to_owned(),
                cause: MountProblem::NoSuchSource(path.clone()),
            });
        }
    }
    Ok(())
}

/// Where an anonymous volume's files are.
pub(super) fn anonymous_dir(files_dir: &Path, n: usize) -> PathBuf {
    files_dir.join("volumes").join(n.to_string())
}

/// `linux.rootfsPropagation` that the binds need, if any.
pub(super) fn rootfs_propagation(mounts: &[UserMount]) -> Option<&'static str> {
    let has = |names: [&str; 2]| {
        mounts.iter().any(|m| {
            matches!(&m.source, Source::Bind { propagation: Some(p), .. }
                if names.contains(&p.as_str()))
        })
    };
    if has(["shared", "rshared"]) {
        Some("shared")
    } else if has(["slave", "rslave"]) {
        Some("rslave")
    } else {
        None
    }
}

/// The mount as the OCI specification has it; makes a missing source of `-v`.
pub(super) fn to_oci(mount: &UserMount, files_dir: &Path) -> Result<Value, RuntimeError> {
    let bind_mount = |source: &Path, recursive: bool, propagation: &str| {
        json!({
            "destination": mount.target, "type": "bind", "source": source,
            "options": [
                if recursive { "rbind" } else { "bind" },
                if mount.read_only { "ro" } else { "rw" },
                propagation,
            ],
        })
    };
    Ok(match &mount.source {
        Source::Bind {
            path,
            propagation,
            recursive,
            create,
        } => {
            let path = Path::new(path);
            if *create && !path.exists() {
                std::fs::create_dir_all(path).map_err(RuntimeError::file("create", path))?;
            }
            bind_mount(
                path,
                *recursive,
                propagation.as_deref().unwrap_or("rprivate"),
            )
        }
        Source::Anonymous(n) => bind_mount(&anonymous_dir(files_dir, *n), true, "rprivate"),
        Source::Tmpfs { options } => json!({
            "destination": mount.target, "type": "tmpfs", "source": "tmpfs", "options": options,
        }),
    })
}

/// `Mounts` of inspect and list. Settings that `validate_create` refuses give an empty list.
pub(crate) fn mount_points(
    config: &ContainerConfig,
    host: &HostConfig,
    files_dir: &Path,
) -> Vec<Value> {
    let list = user_mounts(config, host, data_root(files_dir)).unwrap_or_default();
    // Docker lists a tmpfs of `--mount`, but not one of `--tmpfs`.
    let by_mount = |target: &str| {
        let mounts = host.mounts.iter().flatten();
        mounts
            .map(|mount| clean(&mount.target))
            .any(|t| t == target)
    };
    list.iter()
        .filter(|m| !matches!(m.source, Source::Tmpfs { .. }) || by_mount(&m.target))
        .map(|m| match &m.source {
            Source::Bind {
                path, propagation, ..
            } => json!({
                "Type": "bind", "Source": path, "Destination": m.target, "Mode": m.mode,
                "RW": !m.read_only,
                "Propagation": propagation.as_deref().unwrap_or("rprivate"),
            }),
            Source::Anonymous(n) => json!({
                "Type": "volume", "Name": n.to_string(),
                "Source": anonymous_dir(files_dir, *n), "Destination": m.target,
                "Driver": "local", "Mode": "", "RW": true, "Propagation": "",
            }),
            Source::Tmpfs { .. } => json!({
                "Type": "tmpfs", "Source": "", "Destination": m.target, "Mode": "",
                "RW": !m.read_only, "Propagation": "",
            }),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn binds(list: &[&str]) -> Result<Vec<UserMount>, RuntimeError> {
        let host = HostConfig {
            binds: Some(list.iter().map(|s| (*s).to_owned()).collect()),
            ..Default::default()
        };
        user_mounts(&ContainerConfig::default(), &host, None)
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
        assert_eq!(rootfs_propagation(&m), Some("rslave"));
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
        let e = binds(&["data:/x"]).unwrap_err();
        assert!(
            e.to_string()
                .starts_with("named volume 'data' is not built yet"),
            "{e}"
        );
    }

    #[test]
    fn tmpfs_defaults_yield_to_options() {
        let o = tmpfs_options(&["exec", "size=1m", "size=2m", "uid=5"]).unwrap();
        assert_eq!(
            o,
            ["nosuid", "nodev", "rprivate", "exec", "size=2m", "uid=5"]
        );
        let e = tmpfs_options(&["bogus"]).unwrap_err();
        assert_eq!(e.to_string(), "invalid tmpfs option [\"bogus\"]");
        assert!(tmpfs_options(&["size="]).is_err());
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
            let list = user_mounts(&ContainerConfig::default(), &host, Some(root))?;
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
                tmpfs_options: Some(json!({"SizeBytes": 4096, "Mode": 0o700})),
                ..Default::default()
            })
        };
        let m = of("tmpfs", "", "/t").unwrap();
        assert!(matches!(m.source, Source::Tmpfs { options }
            if options.contains(&"size=4096".to_owned()) && options.contains(&"mode=700".to_owned())));
        assert_eq!(
            of("bind", "", "/t").unwrap_err().to_string(),
            "invalid mount config for type \"bind\": field Source must not be empty"
        );
        assert_eq!(
            of("bogus", "/a", "/t").unwrap_err().to_string(),
            "invalid mount config for type \"bogus\": mount type unknown"
        );
        let m = of("bind", "/nosuchdirectory/x", "/t").unwrap();
        assert_eq!(
            check_sources(&[m]).unwrap_err().to_string(),
            "invalid mount config for type \"bind\": bind source path does not exist: /nosuchdirectory/x"
        );
        assert!(
            of("volume", "v", "/t")
                .unwrap_err()
                .to_string()
                .contains("not built yet")
        );
    }

    #[test]
    fn a_bind_replaces_the_images_volume() {
        let config = ContainerConfig {
            volumes: Some(
                [
                    ("/data".to_owned(), json!({})),
                    ("/z".to_owned(), json!({})),
                ]
                .into(),
            ),
            ..Default::default()
        };
        let host = HostConfig {
            binds: Some(vec!["/srv:/data".into()]),
            ..Default::default()
        };
        let points = mount_points(&config, &host, Path::new("/f"));
        assert_eq!(points.len(), 2);
        assert_eq!(points[0]["Type"], "bind");
        assert_eq!(points[1]["Source"], "/f/volumes/1");
    }
}
