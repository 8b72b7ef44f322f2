//! The OCI runtime specification of a container, as Docker makes it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use nix::fcntl::OFlag;
use serde_json::{Map, Value, json};

use super::cgroup::{self, cgroup_layout};
use super::error::RuntimeError;
use super::files;
use super::mount_oci;
use super::mounts::{self, MountPoint};
use super::network::{Network, Shared, is_host, joined};
use super::rootfs::Rootfs;
use super::security::{self, SeccompChoice};
use super::user::{self, ExecUser};
use super::{caps, cdi, devices, limits, propagation, seccomp, volumes};
use crate::api::types::{ContainerConfig, HostConfig, Ulimit};

const DEFAULT_PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
const CGROUP: &str = "/sys/fs/cgroup";
const INIT_PATH: &str = "/sbin/docker-init";
/// Among the modes that a namespace allows: any container's.
const OTHERS: &str = "container:";

/// What a specification is made of.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SpecInput<'a> {
    /// Full id, 64 hex digits.
    pub(crate) id: &'a str,
    pub(crate) name: &'a str,
    /// The image's settings merged in.
    pub(crate) config: &'a ContainerConfig,
    pub(crate) host: &'a HostConfig,
    /// Mounted root file system.
    pub(crate) rootfs: &'a Path,
    /// The container's directory: hosts, hostname and resolv.conf are made here.
    pub(crate) files_dir: &'a Path,
    /// What is mounted, its volumes made.
    pub(crate) mounts: &'a [MountPoint],
    /// Folder of all volumes.
    pub(crate) volumes_dir: &'a Path,
    /// `default-ulimits` of daemon.json, by name.
    pub(crate) default_ulimits: &'a BTreeMap<String, Ulimit>,
    /// Absolute control group that the daemon's containers are below.
    pub(crate) cgroup_parent: &'a str,
    /// Program for `--init`.
    pub(crate) init_binary: Option<&'a Path>,
    /// Rows and columns, with a terminal.
    pub(crate) console_size: Option<(u16, u16)>,
    /// `cdi-spec-dirs` of daemon.json: where devices of `DeviceRequests` are described.
    pub(crate) cdi_dirs: &'a [PathBuf],
    pub(crate) shared: &'a Shared,
}

/// A specification and what the user should know of it.
#[derive(Debug)]
pub(crate) struct Prepared {
    pub(crate) spec: Value,
    pub(crate) warnings: Vec<String>,
}

/// Makes the specification, and the files that it mounts. Blocking.
///
/// # Errors
/// Settings that `validate_create` does not see, because they depend on the image or on the host at
/// this moment: an unknown user, a missing device, `Invalid` settings of a changed image.
pub(crate) fn prepare(input: &SpecInput<'_>) -> Result<Prepared, RuntimeError> {
    let SpecInput { config, host, .. } = *input;
    for path in [input.rootfs, input.files_dir]
        .into_iter()
        .chain(input.init_binary)
    {
        if path.to_str().is_none() {
            return Err(RuntimeError::PathNotUtf8(path.to_owned()));
        }
    }
    let layout = cgroup_layout();
    let network = Network::of(host)?;
    let security = security::parse(host.security_opt.as_deref().unwrap_or_default())?;
    let mut warnings = security.warnings.clone();
    let rootfs = Rootfs::open(input.rootfs)?;
    rootfs.add_dockers_files()?;
    let user = user::resolve(
        &rootfs,
        &config.user,
        host.group_add.as_deref().unwrap_or_default(),
    )?;
    let caps = caps::resolve(
        host.cap_add.as_deref(),
        host.cap_drop.as_deref(),
        host.privileged,
        caps::CapSet::bounding(),
    )?;
    check_working_dir(&rootfs, config)?;
    let hostname = hostname(input, network);
    let mut args = arguments(config)?;
    let user_mounts = input.mounts;
    mount_oci::check_sources(user_mounts)?;
    volumes::prepare(user_mounts, &rootfs, input.files_dir)?;
    let etc = match &input.shared.etc {
        Some(folder) => files::of(folder),
        None => {
            let own = input.shared.own.as_ref();
            files::write(input.files_dir, config, host, network, own, &hostname)?
        }
    };
    let mut mounts = default_mounts(host, input.shared, user_mounts);
    let mut own = Vec::new();
    for m in user_mounts {
        let oci = mount_oci::to_oci(m, input.files_dir, input.volumes_dir)?;
        own.push((m.target.as_str(), oci));
    }
    for (target, path) in &etc.binds {
        if user_mounts.iter().all(|m| m.target != *target) {
            let access = if host.readonly_rootfs { "ro" } else { "rw" };
            let bind = json!({
                "destination": target, "type": "bind", "source": path,
                "options": ["rbind", access, "rprivate"],
            });
            own.push((target, bind));
        }
    }
    // A volume at /etc does not hide the files in it.
    own.sort_by_key(|(target, _)| target.matches('/').count());
    mounts.extend(own.into_iter().map(|(_, mount)| mount));
    if host.init == Some(true) && !is_host(&host.pid_mode) {
        let init = input.init_binary.ok_or(RuntimeError::NoInit)?;
        mounts.push(json!({
            "destination": INIT_PATH, "type": "bind", "source": init, "options": ["bind", "ro"],
        }));
        args.splice(0..0, [INIT_PATH.to_owned(), "--".to_owned()]);
    }

    let linked = input.shared.own.as_ref().map(|own| own.env.as_slice());
    let linked = linked.unwrap_or_default();
    let mut process = json!({
        "terminal": config.tty,
        "user": {"uid": user.uid, "gid": user.gid, "additionalGids": user.groups},
        "args": args,
        "env": environment(config, linked, &hostname, &user),
        "cwd": working_dir(config)?,
        "capabilities": capabilities(&caps, &user),
        "oomScoreAdj": host.oom_score_adj,
    });
    let rlimits = limits::rlimits(
        host.ulimits.as_deref().unwrap_or_default(),
        input.default_ulimits,
        &mut warnings,
    )?;
    if !rlimits.is_empty() {
        process["rlimits"] = Value::Array(rlimits);
    }
    // Left out, not false: a runtime may look for the key alone to decide when to load the filter.
    if security.no_new_privileges {
        process["noNewPrivileges"] = json!(true);
    }
    if let Some(profile) = &security.apparmor {
        process["apparmorProfile"] = json!(profile);
    }
    if let (true, Some((rows, columns))) = (config.tty, input.console_size)
        && rows > 0
        && columns > 0
    {
        process["consoleSize"] = json!({"height": rows, "width": columns});
    }

    let devices = devices::resolve(host)?;
    let mut resources = limits::resources(host, &layout)?;
    resources.insert("devices".into(), Value::Array(devices.rules));
    let mut linux = json!({
        "cgroupsPath": cgroup::cgroup_path(host, input.cgroup_parent, input.id),
        "namespaces": namespaces(host, network, layout.is_v2(), input.shared)?,
        "resources": resources,
        "sysctl": sysctls(config, host, network),
    });
    if !devices.nodes.is_empty() {
        linux["devices"] = Value::Array(devices.nodes);
    }
    let data_root = mounts::data_root(input.files_dir);
    if let Some(propagation) = propagation::of_rootfs(user_mounts, data_root)? {
        linux["rootfsPropagation"] = json!(propagation);
    }
    if !host.privileged {
        let paths = |given: &Option<Vec<String>>, default: fn() -> Vec<String>| match given {
            _ if security.unconfined_paths => Vec::new(),
            Some(list) => list.clone(),
            None => default(),
        };
        linux["maskedPaths"] = json!(paths(&host.masked_paths, security::default_masked_paths));
        linux["readonlyPaths"] = json!(paths(
            &host.readonly_paths,
            security::default_readonly_paths
        ));
    }
    match &security.seccomp {
        SeccompChoice::Custom(profile) => linux["seccomp"] = seccomp::resolve(profile, &caps),
        SeccompChoice::Default if !host.privileged => {
            linux["seccomp"] = seccomp::default_profile(&caps);
        }
        SeccompChoice::Default | SeccompChoice::Unconfined => {}
    }

    let mut spec = json!({
        "ociVersion": "1.0.2",
        "process": process,
        "root": {"path": input.rootfs, "readonly": host.readonly_rootfs},
        "mounts": mounts,
        "linux": linux,
    });
    if !is_host(&host.uts_mode) {
        spec["hostname"] = json!(hostname);
    }
    if let Some(annotations) = host.annotations.as_ref().filter(|a| !a.is_empty()) {
        spec["annotations"] = json!(annotations);
    }
    let requests = host.device_requests.as_deref().unwrap_or_default();
    cdi::inject(requests, input.cdi_dirs, &mut spec)?;
    tracing::debug!(container = input.name, id = input.id, "specification made");
    Ok(Prepared { spec, warnings })
}

/// Writes `config.json` into the bundle directory, made if missing. The root file system is named by
/// its absolute path.
pub(crate) fn write_bundle(dir: &Path, spec: &Value) -> Result<(), RuntimeError> {
    fs::create_dir_all(dir).map_err(RuntimeError::file("create", dir))?;
    let path: PathBuf = dir.join("config.json");
    fs::write(&path, spec.to_string()).map_err(RuntimeError::file("write", &path))
}

/// The name inside: the one given, the host's where its UTS namespace or network is used, else the
/// first twelve digits of the id.
fn hostname(input: &SpecInput<'_>, network: Network) -> String {
    let given = input.config.hostname.as_str();
    let shared = is_host(&input.host.uts_mode);
    if !given.is_empty() && !shared {
        return given.to_owned();
    }
    if (shared || network == Network::Host)
        && let Ok(name) = nix::unistd::gethostname()
    {
        return name.to_string_lossy().into_owned();
    }
    input.id.chars().take(12).collect()
}

/// Entrypoint and command. A single empty entrypoint means none (`--entrypoint ""`).
pub(super) fn arguments(config: &ContainerConfig) -> Result<Vec<String>, RuntimeError> {
    let entrypoint = match config.entrypoint.as_deref() {
        Some([empty]) if empty.is_empty() => &[],
        Some(list) => list,
        None => &[],
    };
    let args: Vec<String> = entrypoint
        .iter()
        .chain(config.cmd.iter().flatten())
        .cloned()
        .collect();
    if args.is_empty() {
        return Err(RuntimeError::NoCommand);
    }
    Ok(args)
}

pub(super) fn working_dir(config: &ContainerConfig) -> Result<String, RuntimeError> {
    match config.working_dir.as_str() {
        "" => Ok("/".to_owned()),
        dir if dir.starts_with('/') => Ok(mounts::clean(dir)),
        dir => Err(RuntimeError::WorkingDir(dir.to_owned())),
    }
}

/// What is there in the image's place of the working directory must be a folder.
fn check_working_dir(rootfs: &Rootfs, config: &ContainerConfig) -> Result<(), RuntimeError> {
    let dir = working_dir(config)?;
    let found = rootfs.open_at(Path::new(&dir), OFlag::O_PATH);
    match found.map(|fd| fs::File::from(fd).metadata()) {
        Ok(Ok(meta)) if !meta.is_dir() => Err(RuntimeError::WorkingDirIsFile(dir)),
        _ => Ok(()),
    }
}

/// Docker's variables, those of linked containers, then the container's; a later one replaces an earlier, one without `=`
/// removes it. `HOME` comes from passwd unless it is set to something.
pub(super) fn environment(
    config: &ContainerConfig,
    linked: &[String],
    hostname: &str,
    user: &ExecUser,
) -> Vec<String> {
    let mut out = vec![DEFAULT_PATH.to_owned(), format!("HOSTNAME={hostname}")];
    if config.tty {
        out.push("TERM=xterm".to_owned());
    }
    fn key(entry: &str) -> &str {
        entry.split_once('=').map_or(entry, |(key, _)| key)
    }
    for entry in linked.iter().chain(&config.env) {
        let place = out.iter().position(|e| key(e) == key(entry));
        match (place, entry.contains('=')) {
            (Some(n), true) => out[n].clone_from(entry),
            (Some(n), false) => drop(out.remove(n)),
            (None, true) => out.push(entry.clone()),
            (None, false) => {}
        }
    }
    // An empty one counts as none.
    match out.iter().position(|e| key(e) == "HOME") {
        Some(n) if out[n] == "HOME=" => out[n] = format!("HOME={}", user.home),
        Some(_) => {}
        None => out.push(format!("HOME={}", user.home)),
    }
    out
}

/// As execve would leave them: for another user than root only the bounding set.
pub(super) fn capabilities(caps: &[String], user: &ExecUser) -> Value {
    if user.uid == 0 {
        json!({"bounding": caps, "effective": caps, "permitted": caps})
    } else {
        json!({"bounding": caps})
    }
}

fn sysctls(config: &ContainerConfig, host: &HostConfig, network: Network) -> Value {
    let mut out = Map::new();
    if matches!(network, Network::None | Network::Own) {
        // An own network is no reason to need root for port 80 or ping.
        for (key, value) in [
            ("net.ipv4.ip_unprivileged_port_start", "0"),
            ("net.ipv4.ping_group_range", "0 2147483647"),
        ] {
            if Path::new("/proc/sys").join(key.replace('.', "/")).exists() {
                out.insert(key.to_owned(), json!(value));
            }
        }
    }
    if !config.domainname.is_empty() && !is_host(&host.uts_mode) {
        out.insert("kernel.domainname".to_owned(), json!(config.domainname));
    }
    for (key, value) in host.sysctls.iter().flatten() {
        out.insert(key.clone(), json!(value));
    }
    Value::Object(out)
}

/// Checks the namespace modes and gives the namespaces that the container does not have in common
/// with the host: its own, and those of other containers with their paths.
pub(super) fn namespaces(
    host: &HostConfig,
    network: Network,
    v2: bool,
    shared: &Shared,
) -> Result<Vec<Value>, RuntimeError> {
    let own = |what, mode: &str, allowed: &[&str]| match mode {
        "host" => Ok(false),
        "" => Ok(true),
        mode if mode != OTHERS && allowed.contains(&mode) => Ok(true),
        mode if allowed.contains(&OTHERS) && joined(mode).is_some() => Ok(true),
        mode => Err(RuntimeError::InvalidMode {
            what,
            value: mode.to_owned(),
        }),
    };
    let mut out: Vec<(&str, Option<&PathBuf>)> = vec![("mount", None)];
    if network != Network::Host {
        out.push(("network", shared.network.as_ref()));
    }
    if own("invalid UTS mode", &host.uts_mode, &[])? {
        out.push(("uts", None));
    }
    if own("invalid PID mode", &host.pid_mode, &["private", OTHERS])? {
        out.push(("pid", shared.pid.as_ref()));
    }
    if own(
        "invalid IPC mode",
        &host.ipc_mode,
        &["private", "shareable", "none", OTHERS],
    )? {
        out.push(("ipc", shared.ipc.as_ref()));
    }
    own("invalid user namespace mode", &host.userns_mode, &[])?;
    // Docker's default: the host's on version 1 and for privileged containers.
    let private = own(
        "invalid cgroup namespace mode",
        &host.cgroupns_mode,
        &["private"],
    )?;
    if private && (host.cgroupns_mode == "private" || (v2 && !host.privileged)) {
        out.push(("cgroup", None));
    }
    let entry = |(kind, path): (&str, Option<&PathBuf>)| match path {
        Some(path) => json!({"type": kind, "path": path}),
        None => json!({"type": kind}),
    };
    Ok(out.into_iter().map(entry).collect())
}

/// The mounts of every container, but those that the user mounts over.
fn default_mounts(host: &HostConfig, shared: &Shared, user: &[MountPoint]) -> Vec<Value> {
    let system = if host.privileged { "rw" } else { "ro" };
    let shm_size = if host.shm_size > 0 {
        host.shm_size
    } else {
        limits::SHM_SIZE
    };
    let bind = |folder: &Path| {
        Some(json!({
            "destination": "/dev/shm", "type": "bind", "source": folder,
            "options": ["rbind", "rprivate"],
        }))
    };
    let shm = match (host.ipc_mode.as_str(), &shared.shm) {
        ("none", _) => None,
        ("host", _) => bind(Path::new("/dev/shm")),
        (_, Some(folder)) => bind(folder),
        _ => Some(json!({
            "destination": "/dev/shm", "type": "tmpfs", "source": "shm",
            "options": ["nosuid", "noexec", "nodev", "mode=1777", format!("size={shm_size}")],
        })),
    };
    let mqueue = (host.ipc_mode != "none").then(|| {
        json!({
            "destination": "/dev/mqueue", "type": "mqueue", "source": "mqueue",
            "options": ["nosuid", "noexec", "nodev"],
        })
    });
    let all = [
        Some(json!({
            "destination": "/proc", "type": "proc", "source": "proc",
            "options": ["nosuid", "noexec", "nodev"],
        })),
        Some(json!({
            "destination": "/dev", "type": "tmpfs", "source": "tmpfs",
            "options": ["nosuid", "strictatime", "mode=755", "size=65536k"],
        })),
        Some(json!({
            "destination": "/dev/pts", "type": "devpts", "source": "devpts",
            "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"],
        })),
        Some(json!({
            "destination": "/sys", "type": "sysfs", "source": "sysfs",
            "options": ["nosuid", "noexec", "nodev", system],
        })),
        Some(json!({
            "destination": CGROUP, "type": "cgroup", "source": "cgroup",
            "options": [system, "nosuid", "noexec", "nodev"],
        })),
        mqueue,
        shm,
    ];
    all.into_iter()
        .flatten()
        .filter(|m| user.iter().all(|u| m["destination"] != u.target))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_entrypoint_and_command() {
        let of = |entrypoint: Option<&[&str]>, cmd: Option<&[&str]>| {
            let list = |l: &[&str]| l.iter().map(|s| (*s).to_owned()).collect();
            arguments(&ContainerConfig {
                entrypoint: entrypoint.map(list),
                cmd: cmd.map(list),
                ..Default::default()
            })
        };
        assert_eq!(
            of(Some(&["a", "b"]), Some(&["c"])).unwrap(),
            ["a", "b", "c"]
        );
        assert_eq!(of(Some(&[""]), Some(&["c"])).unwrap(), ["c"]);
        let e = of(Some(&[""]), None).unwrap_err();
        assert_eq!(e.to_string(), "No command specified");
        assert_eq!(e.kind().status(), 400);
    }

    #[test]
    fn later_variables_replace_and_remove() {
        let user = ExecUser {
            uid: 0,
            gid: 0,
            groups: vec![0],
            home: "/root".into(),
        };
        let mut config = ContainerConfig {
            tty: true,
            env: ["A=1", "A=2=3", "TERM=vt100", "HOSTNAME", "GONE"]
                .map(String::from)
                .to_vec(),
            ..Default::default()
        };
        assert_eq!(
            environment(&config, &[], "web", &user),
            [DEFAULT_PATH, "TERM=vt100", "A=2=3", "HOME=/root"]
        );
        config.env = vec!["PATH=/x".into(), "HOME=/y".into()];
        config.tty = false;
        assert_eq!(
            environment(&config, &[], "web", &user),
            ["PATH=/x", "HOSTNAME=web", "HOME=/y"]
        );
        config.env = vec!["HOME=".into()];
        assert_eq!(
            environment(&config, &[], "web", &user),
            [DEFAULT_PATH, "HOSTNAME=web", "HOME=/root"]
        );
    }

    #[test]
    fn namespace_modes() {
        let kinds = |host: &HostConfig, v2| -> Vec<String> {
            namespaces(host, Network::of(host).unwrap(), v2, &Shared::default())
                .unwrap()
                .iter()
                .map(|n| n["type"].as_str().unwrap().to_owned())
                .collect()
        };
        let mut host = HostConfig::default();
        assert_eq!(
            kinds(&host, false),
            ["mount", "network", "uts", "pid", "ipc"]
        );
        assert_eq!(kinds(&host, true).last().unwrap(), "cgroup");
        host.network_mode = "host".into();
        host.pid_mode = "host".into();
        host.ipc_mode = "host".into();
        host.uts_mode = "host".into();
        host.cgroupns_mode = "private".into();
        assert_eq!(kinds(&host, false), ["mount", "cgroup"]);
        host.cgroupns_mode.clear();
        host.network_mode = "container:x".into();
        host.pid_mode = "container:y".into();
        host.ipc_mode = "container:z".into();
        let others = Shared {
            pid: Some("/proc/2/ns/pid".into()),
            ipc: Some("/proc/3/ns/ipc".into()),
            network: Some("/proc/1/ns/net".into()),
            ..Shared::default()
        };
        assert_eq!(
            namespaces(&host, Network::of(&host).unwrap(), false, &others).unwrap(),
            [
                json!({"type": "mount"}),
                json!({"type": "network", "path": "/proc/1/ns/net"}),
                json!({"type": "pid", "path": "/proc/2/ns/pid"}),
                json!({"type": "ipc", "path": "/proc/3/ns/ipc"}),
            ]
        );
        let refusal = |host: &HostConfig| {
            namespaces(host, Network::Host, true, &Shared::default())
                .unwrap_err()
                .to_string()
        };
        for bad in ["bogus", "container:"] {
            host.pid_mode = bad.into();
            assert_eq!(refusal(&host), format!("invalid PID mode: {bad}"));
        }
        host.pid_mode.clear();
        host.uts_mode = "container:x".into();
        assert_eq!(refusal(&host), "invalid UTS mode: container:x");
    }

    #[test]
    fn a_working_directory_is_absolute() {
        let with = |dir: &str| {
            working_dir(&ContainerConfig {
                working_dir: dir.into(),
                ..Default::default()
            })
        };
        assert_eq!(with("/a/./b/").unwrap(), "/a/b");
        assert_eq!(
            with("a").unwrap_err().to_string(),
            "the working directory 'a' is invalid, it needs to be an absolute path"
        );
    }
}
