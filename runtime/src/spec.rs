//! Reads a bundle's `config.json`, refuses what this runtime cannot enforce, and fills what the
//! specification leaves to runtimes (source: OCI runtime specification 1.2, config.md and
//! config-linux.md; runc where that is silent).

use std::path::{Component, Path, PathBuf};

use libcontainer::oci_spec::runtime::{
    Linux, LinuxDeviceCgroup, LinuxDeviceType, LinuxNamespaceType, LinuxResources, Mount, Process,
    Spec,
};
use libcontainer::validator::Validator;

use crate::cgroup::Layout;

/// A specification that can be enforced.
#[derive(Debug)]
pub(crate) struct Loaded {
    pub(crate) spec: Spec,
    pub(crate) rootfs: PathBuf,
    /// Below the root of each control group hierarchy.
    pub(crate) cgroup: PathBuf,
}

/// Where containers without `linux.cgroupsPath` go.
pub(crate) const DEFAULT_CGROUP: &str = "/taffrail-runtime";

/// Reads and checks `bundle/config.json`. `console` says whether there is a console socket.
///
/// # Errors
/// Words that name the field, its value and what to do.
pub(crate) fn load(
    bundle: &Path,
    id: &str,
    console: bool,
    layout: &Layout,
) -> Result<Loaded, String> {
    let path = bundle.join("config.json");
    let bytes = std::fs::read(&path).map_err(|e| {
        format!(
            "JSON specification file {} cannot be read: {e}",
            path.display()
        )
    })?;
    let mut spec: Spec =
        serde_json::from_slice(&bytes).map_err(|e| format!("{}: {e}", path.display()))?;
    check(&spec, console, layout)?;
    let root = spec.root().as_ref().ok_or("root is missing")?;
    let rootfs = bundle.join(root.path());
    let rootfs = rootfs
        .canonicalize()
        .map_err(|e| format!("root.path {}: {e}", rootfs.display()))?;
    if !rootfs.is_dir() {
        return Err(format!("root.path {}: not a directory", rootfs.display()));
    }
    complete(&mut spec, id);
    let cgroup = spec
        .linux()
        .as_ref()
        .and_then(|l| l.cgroups_path().clone())
        .unwrap_or_default();
    Ok(Loaded {
        spec,
        rootfs,
        cgroup,
    })
}

/// Fills what may be left out.
fn complete(spec: &mut Spec, id: &str) {
    if let Some(mut linux) = spec.linux().clone() {
        let given = linux
            .cgroups_path()
            .as_ref()
            .is_some_and(|p| !p.as_os_str().is_empty());
        // As runc: from the root of each hierarchy, and never above it.
        let path = match linux.cgroups_path().as_ref().filter(|_| given) {
            Some(path) => clean(path),
            None => Path::new(DEFAULT_CGROUP).join(id),
        };
        linux.set_cgroups_path(Some(path));
        if let Some(devices) = linux.devices().clone() {
            let rooted = devices.into_iter().map(|mut device| {
                device.set_path(clean(device.path()));
                device
            });
            linux.set_devices(Some(rooted.collect()));
        }
        // runc and Docker also write the recursive names, which is what the short ones do here.
        let short = match linux.rootfs_propagation().as_deref() {
            Some("rslave") => Some("slave"),
            Some("rprivate") => Some("private"),
            Some("rshared") => Some("shared"),
            Some("runbindable") => Some("unbindable"),
            _ => None,
        };
        if let Some(short) = short {
            linux.set_rootfs_propagation(Some(short.to_owned()));
        }
        spec.set_linux(Some(linux));
    }
    if let Some(mounts) = spec.mounts().clone() {
        let whole = mounts.into_iter().map(|mut mount| {
            mount.set_destination(clean(mount.destination()));
            // A file system without a device needs none; the layer below wants a word.
            if mount.source().is_none() {
                mount.set_source(mount.typ().clone().map(PathBuf::from));
            }
            mount
        });
        spec.set_mounts(Some(whole.collect()));
    }
    // Only its presence is looked at below this layer, as if it were true.
    if let Some(mut process) = spec.process().clone()
        && process.no_new_privileges() == Some(false)
    {
        process.set_no_new_privileges(None);
        spec.set_process(Some(process));
    }
}

/// An absolute path without `.` and `..`, which do not lead above the root.
fn clean(path: &Path) -> PathBuf {
    let mut out = PathBuf::from("/");
    for part in path.components() {
        match part {
            Component::Normal(name) => out.push(name),
            Component::ParentDir => {
                out.pop();
            }
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
        }
    }
    out
}

fn check(spec: &Spec, console: bool, layout: &Layout) -> Result<(), String> {
    if !spec.version().starts_with("1.") {
        return Err(format!("ociVersion {:?}: 1.x is supported", spec.version()));
    }
    if spec.vm().is_some() {
        return Err("vm: virtual machines are not supported".to_owned());
    }
    let process = spec.process().as_ref().ok_or("process is missing")?;
    check_process(process, console)?;
    let linux = spec.linux().as_ref().ok_or("linux is missing")?;
    check_linux(linux)?;
    if let Some(resources) = linux.resources() {
        check_resources(resources, layout)?;
    }
    for mount in spec.mounts().iter().flatten() {
        check_mount(mount)?;
    }
    Validator::validate_spec(spec).map_err(|e| e.to_string())
}

pub(crate) fn check_process(process: &Process, console: bool) -> Result<(), String> {
    if process.args().as_ref().is_none_or(Vec::is_empty) {
        return Err("process.args is empty: there is nothing to run".to_owned());
    }
    if !process.cwd().is_absolute() {
        return Err(format!(
            "process.cwd {:?} is not an absolute path",
            process.cwd().display().to_string()
        ));
    }
    let user = process.user();
    let ids = [("uid", user.uid()), ("gid", user.gid())]
        .into_iter()
        .chain(
            user.additional_gids()
                .iter()
                .flatten()
                .map(|gid| ("additionalGids", *gid)),
        );
    // The last number would leave the process the runtime's own id.
    for (field, id) in ids {
        if i32::try_from(id).is_err() {
            return Err(format!("process.user.{field} {id}: 0 to {}", i32::MAX));
        }
    }
    let strings = process.args().iter().chain(process.env());
    if let Some(text) = strings.flatten().find(|s| s.contains('\0')) {
        return Err(format!("process: {text:?} has a NUL byte"));
    }
    let named = |e: &&String| e.find('=').is_none_or(|at| at == 0);
    if let Some(entry) = process.env().iter().flatten().find(named) {
        return Err(format!("process.env {entry:?}: NAME=VALUE is expected"));
    }
    match (process.terminal().unwrap_or(false), console) {
        (true, false) => {
            return Err("process.terminal is true: a --console-socket is needed".to_owned());
        }
        (false, true) => {
            return Err(
                "--console-socket is given, but process.terminal is not true: leave it out"
                    .to_owned(),
            );
        }
        _ => {}
    }
    if let Some(label) = process.selinux_label().as_ref().filter(|l| !l.is_empty()) {
        return Err(format!(
            "process.selinuxLabel {label:?}: SELinux labels are not supported; leave it out or use another runtime"
        ));
    }
    if let Some(profile) = process
        .apparmor_profile()
        .as_ref()
        .filter(|p| !p.is_empty())
        && !libcontainer::apparmor::is_enabled().unwrap_or(false)
    {
        return Err(format!(
            "process.apparmorProfile {profile:?}: AppArmor is not enabled on this host"
        ));
    }
    Ok(())
}

fn check_linux(linux: &Linux) -> Result<(), String> {
    let mut seen: Vec<LinuxNamespaceType> = Vec::new();
    for namespace in linux.namespaces().iter().flatten() {
        if seen.contains(&namespace.typ()) {
            return Err(format!(
                "linux.namespaces: {} is there twice",
                namespace.typ()
            ));
        }
        seen.push(namespace.typ());
    }
    if let Some(label) = linux.mount_label().as_ref().filter(|l| !l.is_empty()) {
        return Err(format!(
            "linux.mountLabel {label:?}: SELinux labels are not supported; leave it out or use another runtime"
        ));
    }
    if linux.intel_rdt().is_some() {
        return Err(
            "linux.intelRdt is not supported; leave it out or use another runtime".to_owned(),
        );
    }
    let flags = linux.personality().as_ref().and_then(|p| p.flags().clone());
    if flags.is_some_and(|f| !f.is_empty()) {
        return Err("linux.personality.flags: none is supported".to_owned());
    }
    if linux.seccomp().is_some() && !crate::filter::AVAILABLE {
        return Err(crate::filter::UNAVAILABLE.to_owned());
    }
    Ok(())
}

fn check_mount(mount: &Mount) -> Result<(), String> {
    let at = mount.destination().display();
    let options = mount.options().as_deref().unwrap_or(&[]);
    if mount.uid_mappings().is_some()
        || mount.gid_mappings().is_some()
        || options.iter().any(|o| o == "idmap" || o == "ridmap")
    {
        return Err(format!(
            "mounts: {at}: idmapped mounts are not supported; use another runtime, such as --runtime runc"
        ));
    }
    let unsupported = ["tmpcopyup", "sync", "dirsync", "mand", "remount"];
    if let Some(option) = options.iter().find(|o| unsupported.contains(&o.as_str())) {
        return Err(format!(
            "mounts: {at}: option {option} is not supported; leave it out or use another runtime, such as --runtime runc"
        ));
    }
    if mount.source().is_none()
        && (mount.typ().is_none() || mount.typ().as_deref() == Some("bind") || binds(options))
    {
        return Err(format!("mounts: {at}: source is missing"));
    }
    Ok(())
}

fn binds(options: &[String]) -> bool {
    options.iter().any(|o| o == "bind" || o == "rbind")
}

/// The kernel's own words would be "invalid argument".
fn check_device_rules(rules: &[LinuxDeviceCgroup]) -> Result<(), String> {
    for (i, rule) in rules.iter().enumerate() {
        let kind = rule.typ().unwrap_or_default();
        if matches!(kind, LinuxDeviceType::P | LinuxDeviceType::U) {
            return Err(format!(
                "linux.resources.devices[{i}].type {:?}: a, b or c",
                kind.as_str()
            ));
        }
        let access = rule.access().as_deref().unwrap_or("");
        if access.is_empty() || !access.chars().all(|c| "rwm".contains(c)) {
            return Err(format!(
                "linux.resources.devices[{i}].access {access:?}: one or more of r, w and m"
            ));
        }
    }
    Ok(())
}

/// Limits that would be left out on this host's kind of control groups.
fn check_resources(r: &LinuxResources, layout: &Layout) -> Result<(), String> {
    let refuse = |field: &str, why: &str| Err(format!("linux.resources.{field}: {why}"));
    if r.rdma().as_ref().is_some_and(|m| !m.is_empty()) {
        return refuse("rdma", "not supported");
    }
    if let Some(block) = r.block_io() {
        let leaf = block.leaf_weight().is_some_and(|w| w > 0)
            || block
                .weight_device()
                .iter()
                .flatten()
                .any(|d| d.leaf_weight().is_some_and(|w| w > 0));
        if leaf {
            return refuse("blockIO.leafWeight", "this kernel does not have it");
        }
    }
    check_device_rules(r.devices().as_deref().unwrap_or(&[]))?;
    let v2 = layout.unified();
    let not_v2 = "this host has control groups version 2, which does not have it";
    if !v2 && r.unified().as_ref().is_some_and(|m| !m.is_empty()) {
        return refuse("unified", "this host has control groups version 1");
    }
    if v2 && r.network().is_some() {
        return refuse("network", not_v2);
    }
    if let Some(memory) = r.memory() {
        let set = |v: Option<i64>| v.is_some_and(|v| v > 0);
        if v2 && set(memory.kernel()) {
            return refuse("memory.kernel", not_v2);
        }
        if v2 && set(memory.kernel_tcp()) {
            return refuse("memory.kernelTCP", not_v2);
        }
        if v2 && memory.swappiness().is_some() {
            return refuse("memory.swappiness", not_v2);
        }
        if v2 && memory.disable_oom_killer() == Some(true) {
            return refuse("memory.disableOOMKiller", not_v2);
        }
    }
    if let Some(cpu) = r.cpu()
        && cpu.burst().is_some_and(|b| b > 0)
        && cpu.quota().is_none_or(|q| q <= 0)
    {
        return refuse("cpu.burst", "there is no cpu.quota to exceed");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn base() -> Value {
        json!({
            "ociVersion": "1.0.2",
            "process": {"args": ["true"], "cwd": "/", "user": {"uid": 0, "gid": 0}},
            "root": {"path": "rootfs"},
            "linux": {"namespaces": [{"type": "mount"}, {"type": "pid"}]},
        })
    }

    fn of(config: &Value, v2: bool) -> Result<Loaded, String> {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("rootfs")).unwrap();
        std::fs::write(dir.path().join("config.json"), config.to_string()).unwrap();
        load(dir.path(), "x", false, &Layout::for_test(v2))
    }

    fn with(pointer: &str, value: Value) -> Value {
        let mut config = base();
        let mut at = &mut config;
        for key in pointer.split('/') {
            if at.is_null() {
                *at = json!({});
            }
            at = &mut at[key];
        }
        *at = value;
        config
    }

    #[test]
    fn what_is_left_out_is_filled() {
        let loaded = of(&base(), false).unwrap();
        assert_eq!(loaded.cgroup, Path::new("/taffrail-runtime/x"));
        let loaded = of(&with("linux/cgroupsPath", json!("/a/b")), true).unwrap();
        assert_eq!(loaded.cgroup, Path::new("/a/b"));
        let loaded = of(&with("linux/cgroupsPath", json!("../../a/./../b")), true).unwrap();
        assert_eq!(loaded.cgroup, Path::new("/b"));
        let mounts = json!([{"destination": "x/../../y", "type": "tmpfs"}]);
        let loaded = of(&with("mounts", mounts), true).unwrap();
        let mount = &loaded.spec.mounts().as_ref().unwrap()[0];
        assert_eq!(mount.destination(), Path::new("/y"));
        assert_eq!(mount.source().as_deref(), Some(Path::new("tmpfs")));
        let loaded = of(&with("process/noNewPrivileges", json!(false)), true).unwrap();
        let process = loaded.spec.process().as_ref().unwrap();
        assert_eq!(process.no_new_privileges(), None);
    }

    /// Every field of the specification that this runtime knows and cannot enforce.
    #[test]
    fn nothing_is_left_out_silently() {
        let mapping = json!([{"containerID": 0, "hostID": 1, "size": 1}]);
        let both = [
            ("ociVersion", json!("2.0.0"), "1.x"),
            ("vm", json!({"kernel": {"path": "/k"}}), "vm"),
            ("process/args", json!([]), "process.args"),
            ("process/cwd", json!("tmp"), "process.cwd"),
            ("process/terminal", json!(true), "--console-socket"),
            (
                "process/selinuxLabel",
                json!("a:b:c"),
                "process.selinuxLabel",
            ),
            ("linux/mountLabel", json!("a:b:c"), "linux.mountLabel"),
            ("linux/intelRdt", json!({"closID": "x"}), "linux.intelRdt"),
            (
                "linux/personality",
                json!({"domain": "LINUX", "flags": ["x"]}),
                "personality",
            ),
            (
                "linux/namespaces",
                json!([{"type": "pid"}, {"type": "pid"}]),
                "twice",
            ),
            (
                "linux/timeOffsets",
                json!({"monotonic": {"secs": 1}}),
                "time",
            ),
            ("linux/uidMappings", mapping.clone(), "user"),
            ("linux/sysctl", json!({"kernel.panic": "1"}), "kernel.panic"),
            ("linux/maskedPaths", Value::Null, ""),
            (
                "linux/resources/rdma",
                json!({"mlx5": {"hcaHandles": 3}}),
                "rdma",
            ),
            ("linux/resources/cpu", json!({"burst": 5}), "cpu.burst"),
            (
                "mounts",
                json!([{"destination": "/a", "type": "bind", "source": "/", "uidMappings": mapping, "gidMappings": mapping}]),
                "idmapped",
            ),
            (
                "mounts",
                json!([{"destination": "/a", "type": "bind", "source": "/", "options": ["ridmap"]}]),
                "idmapped",
            ),
            (
                "mounts",
                json!([{"destination": "/a", "type": "tmpfs", "source": "t", "options": ["tmpcopyup"]}]),
                "tmpcopyup",
            ),
            (
                "mounts",
                json!([{"destination": "/a", "type": "tmpfs", "source": "t", "options": ["sync"]}]),
                "option sync",
            ),
            (
                "mounts",
                json!([{"destination": "/a", "type": "bind", "options": ["ro"]}]),
                "source is missing",
            ),
            (
                "linux/resources/devices",
                json!([{"allow": true, "type": "c", "access": "rwx"}]),
                "devices[0].access",
            ),
            (
                "linux/resources/devices",
                json!([{"allow": false, "access": "rwm"}, {"allow": true, "type": "c"}]),
                "devices[1].access",
            ),
            (
                "linux/resources/devices",
                json!([{"allow": true, "type": "p", "access": "r"}]),
                "a, b or c",
            ),
            (
                "process/user",
                json!({"uid": u32::MAX, "gid": 0}),
                "process.user.uid",
            ),
            (
                "process/user",
                json!({"uid": 0, "gid": 0, "additionalGids": [5, 1_u32 << 31]}),
                "additionalGids",
            ),
            ("process/env", json!(["A"]), "NAME=VALUE"),
            ("process/env", json!(["=a"]), "NAME=VALUE"),
            ("process/args", json!(["a\u{0}b"]), "NUL"),
            (
                "linux/resources/blockIO",
                json!({"leafWeight": 500}),
                "leafWeight",
            ),
            ("root/path", json!("nosuch"), "root.path"),
            ("hostname", json!("h"), "UTS"),
        ];
        for (pointer, value, word) in both {
            for v2 in [false, true] {
                if word.is_empty() {
                    continue;
                }
                let e = of(&with(pointer, value.clone()), v2).unwrap_err();
                assert!(
                    e.to_lowercase().contains(&word.to_lowercase()),
                    "{pointer}: {e}"
                );
            }
        }
        let limits = [
            ("unified", json!({"memory.high": "1"}), false),
            ("network", json!({"classID": 5}), true),
            ("memory", json!({"kernel": 1_000_000}), true),
            ("memory", json!({"kernelTCP": 1_000_000}), true),
            ("memory", json!({"swappiness": 5}), true),
            ("memory", json!({"disableOOMKiller": true}), true),
        ];
        for (field, value, v2) in limits {
            let config = with(&format!("linux/resources/{field}"), value);
            let e = of(&config, v2).unwrap_err();
            assert!(e.contains(&format!("linux.resources.{field}")), "{e}");
            of(&config, !v2).unwrap();
        }
    }

    #[test]
    fn a_profile_that_cannot_be_enforced_is_refused() {
        let config = with("linux/seccomp", json!({"defaultAction": "SCMP_ACT_ALLOW"}));
        let refused = of(&config, true).err();
        assert_eq!(refused.is_none(), crate::filter::AVAILABLE, "{refused:?}");
        if let Some(e) = refused {
            assert!(e.contains("libseccomp-dev"), "{e}");
        }
    }
}
