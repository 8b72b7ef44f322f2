//! `create`: from a bundle to a container whose first process waits for `start`.

use std::ffi::CString;
use std::fs;
use std::io::Write;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use libcgroups::common::CgroupConfig;
use libcontainer::container::{Container, ContainerStatus};
use libcontainer::notify_socket::{NOTIFY_FILE, NotifyListener};
use libcontainer::oci_spec::runtime::{
    LinuxDeviceCgroup, LinuxDeviceType, LinuxNamespaceType, LinuxWeightDevice, Mount, Spec,
};
use libcontainer::process::args::{ContainerArgs, ContainerType};
use libcontainer::process::container_main_process::container_main_process;
use libcontainer::syscall::syscall::SyscallType;
use libcontainer::user_ns::UserNamespaceConfig;

use crate::args::Create;
use crate::cgroup::{self, Layout};
use crate::payload::{HOME_UNSET, Payload};
use crate::spec::{self, Loaded};
use crate::state::{Record, new_record, start_time};
use crate::{devices, filter, proc_mounts, report};

/// Folder of filters below `--root`. No container has this name: ids have no `@`.
pub(crate) const FILTERS: &str = "@filters";

pub(crate) fn create(root: &Path, args: &Create) -> Result<(), String> {
    let layout = Layout::read().map_err(|e| format!("/sys/fs/cgroup: {e}"))?;
    let bundle = args
        .bundle
        .canonicalize()
        .map_err(|e| format!("bundle {}: {e}", args.bundle.display()))?;
    let loaded = spec::load(&bundle, &args.id, args.console_socket.is_some(), &layout)?;
    // Relative paths on the command line are the caller's.
    let absolute = |p: &Option<PathBuf>| p.as_ref().map(std::path::absolute).transpose();
    let pid_file = absolute(&args.pid_file).map_err(|e| e.to_string())?;
    let root = std::path::absolute(root).map_err(|e| e.to_string())?;
    let dir = root.join(&args.id);
    fs::DirBuilder::new()
        .mode(0o700)
        .recursive(true)
        .create(&root)
        .map_err(|e| format!("{}: {e}", root.display()))?;
    fs::DirBuilder::new()
        .mode(0o700)
        .create(&dir)
        .map_err(|e| match e.kind() {
            std::io::ErrorKind::AlreadyExists => {
                format!("container with id {} exists", args.id)
            }
            _ => format!("{}: {e}", dir.display()),
        })?;
    let mut record = new_record();
    record.oci_version = loaded.spec.version().clone();
    record.id.clone_from(&args.id);
    record.bundle = bundle;
    record.rootfs.clone_from(&loaded.rootfs);
    record.cgroup.clone_from(&loaded.cgroup);
    record.annotations = loaded.spec.annotations().clone().unwrap_or_default();
    record.hooks.clone_from(loaded.spec.hooks());
    let done = make(&root, &dir, args, &layout, loaded, &mut record).and_then(|()| {
        record
            .save(&dir)
            .map_err(|e| format!("{}: {e}", dir.display()))?;
        match &pid_file {
            Some(path) => write_pid(path, record.pid)
                .map_err(|e| format!("--pid-file {}: {e}", path.display())),
            None => Ok(()),
        }
    });
    done.inspect_err(|_| {
        layout.leave_others();
        if record.pid > 0 {
            // SAFETY: our own child, not yet waited for.
            unsafe { libc::kill(record.pid, libc::SIGKILL) };
        }
        let _ = cgroup::signal_all(&layout, &record.cgroup, libc::SIGKILL);
        let _ = cgroup::remove(&layout, &record.cgroup);
        let _ = fs::remove_dir_all(&dir);
    })
}

/// A kernel setting that does not exist, in runc's words: libcontainer does not name it.
fn check_sysctls(spec: &Spec) -> Result<(), String> {
    let linux = spec.linux().as_ref();
    for key in linux
        .and_then(|l| l.sysctl().as_ref())
        .into_iter()
        .flatten()
    {
        let file = Path::new("/proc/sys").join(key.0.replace('.', "/"));
        if !file.exists() {
            return Err(format!(
                "unable to start container process: error during container init: open {}: no such file or directory",
                file.display()
            ));
        }
    }
    Ok(())
}

fn make(
    root: &Path,
    dir: &Path,
    args: &Create,
    layout: &Layout,
    loaded: Loaded,
    record: &mut Record,
) -> Result<(), String> {
    let Loaded {
        mut spec,
        rootfs,
        cgroup,
    } = loaded;
    check_binds(&rootfs, &spec)?;
    proc_mounts::check(&rootfs, &spec)?;
    let payload = payload(&mut spec, layout, &cgroup, &root.join(FILTERS))?;
    working_dir(&rootfs, &spec);
    check_sysctls(&spec)?;
    let console: Option<OwnedFd> = args
        .console_socket
        .as_ref()
        .map(|path| {
            let path = std::path::absolute(path).map_err(|e| e.to_string())?;
            libcontainer::tty::setup_console_socket(dir, &path, "console-socket")
                .map_err(|e| format!("--console-socket {}: {e}", path.display()))
        })
        .transpose()?;
    let user_ns_config =
        UserNamespaceConfig::new(&spec).map_err(|e| format!("user namespace: {e}"))?;
    let listener =
        NotifyListener::new(&dir.join(NOTIFY_FILE)).map_err(|e| format!("start socket: {e}"))?;
    let score = spec.process().as_ref().and_then(|p| p.oom_score_adj());
    if let Some(score) = score {
        fs::write("/proc/self/oom_score_adj", score.to_string())
            .map_err(|e| format!("process.oomScoreAdj {score}: {e}"))?;
    }
    // Processes in joined namespaces must not look into this one.
    // SAFETY: sets a flag of this process.
    unsafe { libc::prctl(libc::PR_SET_DUMPABLE, 0) };
    // The processes that are made from here on are members where this one is.
    layout
        .join_others(&cgroup)
        .map_err(|e| format!("control groups: {e}"))?;
    let rules = spec
        .linux()
        .as_ref()
        .and_then(|l| l.resources().as_ref())
        .and_then(|r| r.devices().clone());
    let no_oom_killer = spec
        .linux()
        .as_ref()
        .and_then(|l| l.resources().as_ref())
        .and_then(|r| r.memory().as_ref())
        .is_some_and(|m| m.disable_oom_killer() == Some(true));
    let weights = spec
        .linux()
        .as_ref()
        .and_then(|l| l.resources().as_ref())
        .and_then(|r| r.block_io().as_ref())
        .and_then(|b| b.weight_device().clone());
    let container = Container {
        state: record.for_hooks(ContainerStatus::Creating),
        root: dir.to_owned(),
    };
    let container_args = ContainerArgs {
        container_type: ContainerType::InitContainer,
        syscall: SyscallType::default(),
        spec: Rc::new(spec),
        rootfs,
        console_socket: console.as_ref().map(AsRawFd::as_raw_fd),
        notify_listener: listener,
        preserve_fds: i32::from(args.preserve_fds),
        container: Some(container),
        user_ns_config,
        cgroup_config: CgroupConfig {
            cgroup_path: cgroup.clone(),
            systemd_cgroup: false,
            container_name: args.id.clone(),
        },
        detached: true,
        executor: Box::new(payload),
        no_pivot: args.no_pivot,
        stdin: None,
        stdout: None,
        stderr: None,
        as_sibling: false,
        pid_file: None,
    };
    let pid = container_main_process(&container_args).map_err(|e| {
        format!(
            "unable to start container process: {}",
            mount_words(&container_args.spec, report::noted(chain(&e)))
        )
    })?;
    record.pid = pid.as_raw();
    record.start = start_time(record.pid).ok_or("the container's first process ended at once")?;
    // The container's program does not run yet: what is still to be limited is limited in time.
    if layout.unified()
        && let Some(rules) = rules.filter(|r| !r.is_empty())
    {
        for group in layout.folders(&cgroup) {
            devices::restrict(&group, &rules)
                .map_err(|e| format!("linux.resources.devices: {}: {e}", group.display()))?;
        }
    }
    // libcgroups leaves these out on version 1.
    if !layout.unified() {
        block_weights(layout, &cgroup, weights.as_deref().unwrap_or(&[]))?;
    }
    if no_oom_killer {
        let file = layout
            .v1_folder("memory", &cgroup)
            .ok_or("linux.resources.memory.disableOOMKiller: no memory control group")?
            .join("memory.oom_control");
        fs::write(&file, "1").map_err(|e| format!("{}: {e}", file.display()))?;
    }
    // Copies of the listener share one descriptor, which must not be closed twice.
    std::mem::forget(container_args);
    Ok(())
}

/// Weights of single block devices, in the file that this kernel's scheduler has.
fn block_weights(
    layout: &Layout,
    cgroup: &Path,
    weights: &[LinuxWeightDevice],
) -> Result<(), String> {
    for device in weights {
        let Some(weight) = device.weight().filter(|w| *w > 0) else {
            continue;
        };
        let name = format!("{}:{}", device.major(), device.minor());
        let what = format!("linux.resources.blockIO.weightDevice {name}");
        let folder = layout
            .v1_folder("blkio", cgroup)
            .ok_or_else(|| format!("{what}: this host has no blkio control group"))?;
        let file = ["blkio.weight_device", "blkio.bfq.weight_device"]
            .map(|file| folder.join(file))
            .into_iter()
            .find(|file| file.exists())
            .ok_or_else(|| format!("{what}: this kernel has no weights of block devices"))?;
        fs::write(&file, format!("{name} {weight}"))
            .map_err(|e| format!("{what}: {}: {e}", file.display()))?;
    }
    Ok(())
}

/// What is done by us inside the container; those parts are taken out of the specification.
fn payload(
    spec: &mut Spec,
    layout: &Layout,
    cgroup: &Path,
    filters: &Path,
) -> Result<Payload, String> {
    let mut process = spec.process().clone().ok_or("process is missing")?;
    // None at all is not all.
    let mut payload = Payload::new(process.capabilities().clone().unwrap_or_else(none));
    process.set_capabilities(None);
    payload.no_new_privileges = process.no_new_privileges() == Some(true);
    if let Some(umask) = process.user().umask() {
        payload.umask = umask & 0o777;
    }
    let size = process
        .console_size()
        .filter(|_| process.terminal() == Some(true));
    payload.console = size.and_then(|s| {
        let size = (
            u16::try_from(s.height()).ok()?,
            u16::try_from(s.width()).ok()?,
        );
        (size != (0, 0)).then_some(size)
    });
    let mut env = process.env().clone().unwrap_or_default();
    env.retain(|e| e != "HOME=");
    if !env.iter().any(|e| e.starts_with("HOME=")) {
        env.push(HOME_UNSET.to_owned());
        process.set_env(Some(env));
    }
    spec.set_process(Some(process));
    let mut linux = spec.linux().clone().ok_or("linux is missing")?;
    if let Some(profile) = linux.seccomp() {
        payload.filter = Some(filter::build(profile, filters)?);
    }
    linux.set_seccomp(None);
    // As runc: what no rule allows is refused, also without any rules.
    let mut resources = linux.resources().clone().unwrap_or_default();
    let mut rules = vec![deny_all()];
    rules.extend(
        resources
            .devices()
            .clone()
            .unwrap_or_default()
            .into_iter()
            .map(every),
    );
    resources.set_devices(Some(rules));
    linux.set_resources(Some(resources));
    // Below /dev libcontainer makes them; elsewhere, which runc allows, it refuses.
    let (nodes, devices) = linux
        .devices()
        .clone()
        .unwrap_or_default()
        .into_iter()
        .partition(|d| !d.path().starts_with("/dev"));
    payload.nodes = nodes;
    linux.set_devices(Some(devices));
    payload.loopback = linux.namespaces().iter().flatten().any(|n| {
        n.typ() == LinuxNamespaceType::Network
            && n.path().as_ref().is_none_or(|p| p.as_os_str().is_empty())
    });
    spec.set_linux(Some(linux));
    for mount in spec.mounts().iter().flatten() {
        for flags in propagation(mount) {
            payload
                .propagation
                .push((c_path(mount.destination())?, flags));
        }
    }
    if !layout.unified() {
        let mounts = spec.mounts().clone().unwrap_or_default();
        let mut done = Vec::with_capacity(mounts.len());
        for mount in mounts {
            if mount.typ().as_deref() == Some("cgroup") {
                cgroup_view(&mount, layout, cgroup, &mut done, &mut payload)?;
            } else {
                done.push(mount);
            }
        }
        spec.set_mounts(Some(done));
    }
    // Last of all: what is made in it is made before.
    if let Some(mut root) = spec.root().clone()
        && root.readonly() == Some(true)
    {
        payload.remounts.push((c"/".to_owned(), libc::MS_RDONLY));
        root.set_readonly(None);
        spec.set_root(Some(root));
    }
    Ok(payload)
}

fn c_path(path: &Path) -> Result<CString, String> {
    CString::new(path.as_os_str().as_bytes()).map_err(|e| format!("{}: {e}", path.display()))
}

/// What a mount of type `cgroup` stands for on version 1: a folder in memory with one mount for each
/// hierarchy, of the container's own group, and names for controllers that are mounted together.
///
/// libcontainer's own would be writable whatever the options say, and with the host's process ids
/// show the whole tree of hierarchies that it does not join.
fn cgroup_view(
    given: &Mount,
    layout: &Layout,
    cgroup: &Path,
    mounts: &mut Vec<Mount>,
    payload: &mut Payload,
) -> Result<(), String> {
    let at = given.destination();
    let mount = |at: &Path, kind: &str, source: &Path, options: Vec<String>| {
        let mut mount = Mount::default();
        mount
            .set_destination(at.to_owned())
            .set_typ(Some(kind.to_owned()))
            .set_source(Some(source.to_owned()))
            .set_options(Some(options));
        mount
    };
    let options = ["nosuid", "nodev", "noexec", "mode=755"].map(str::to_owned);
    mounts.push(mount(at, "tmpfs", Path::new("tmpfs"), options.to_vec()));
    let mut options: Vec<String> = given.options().clone().unwrap_or_default();
    options.retain(|o| flag(o) != 0);
    // Folders and links are made in it first.
    if options.iter().any(|o| o == "ro") {
        payload.remounts.push((c_path(at)?, libc::MS_RDONLY));
    }
    options.push("bind".to_owned());
    for (name, folder) in layout.v1_views(cgroup) {
        mounts.push(mount(&at.join(name), "bind", &folder, options.clone()));
        let together = name.to_str().filter(|n| n.contains(','));
        for one in together.iter().flat_map(|n| n.split(',')) {
            payload.links.push((at.join(one), PathBuf::from(name)));
        }
    }
    Ok(())
}

fn deny_all() -> LinuxDeviceCgroup {
    let mut rule = LinuxDeviceCgroup::default();
    rule.set_allow(false)
        .set_typ(Some(LinuxDeviceType::A))
        .set_access(Some("rwm".to_owned()));
    rule
}

/// Negative numbers stand for every one, as in Docker's specifications.
fn every(mut rule: LinuxDeviceCgroup) -> LinuxDeviceCgroup {
    let (major, minor) = (rule.major(), rule.minor());
    rule.set_major(major.filter(|n| *n >= 0))
        .set_minor(minor.filter(|n| *n >= 0));
    rule
}

pub(crate) fn none() -> libcontainer::oci_spec::runtime::LinuxCapabilities {
    let empty = || Some(Default::default());
    let mut caps = libcontainer::oci_spec::runtime::LinuxCapabilities::default();
    caps.set_bounding(empty())
        .set_effective(empty())
        .set_permitted(empty())
        .set_inheritable(empty())
        .set_ambient(empty());
    caps
}

fn flag(option: &str) -> libc::c_ulong {
    match option {
        "ro" => libc::MS_RDONLY,
        "nosuid" => libc::MS_NOSUID,
        "nodev" => libc::MS_NODEV,
        "noexec" => libc::MS_NOEXEC,
        _ => 0,
    }
}

/// Propagation options, which libcontainer reads and does not apply.
fn propagation(mount: &Mount) -> Vec<libc::c_ulong> {
    let flag = |option: &String| {
        let (name, recursive) = match option.strip_prefix('r') {
            Some(rest) if ["private", "slave", "shared", "unbindable"].contains(&rest) => {
                (rest, libc::MS_REC)
            }
            _ => (option.as_str(), 0),
        };
        Some(
            recursive
                | match name {
                    "private" => libc::MS_PRIVATE,
                    "slave" => libc::MS_SLAVE,
                    "shared" => libc::MS_SHARED,
                    "unbindable" => libc::MS_UNBINDABLE,
                    _ => return None,
                },
        )
    };
    mount.options().iter().flatten().filter_map(flag).collect()
}

/// Says in Docker's words what is wrong with a bind mount, where that can be seen beforehand:
/// libcontainer's error would not name it.
fn check_binds(rootfs: &Path, spec: &Spec) -> Result<(), String> {
    let mounts: &[Mount] = spec.mounts().as_deref().unwrap_or(&[]);
    for (i, mount) in mounts.iter().enumerate() {
        let options = mount.options().as_deref().unwrap_or(&[]);
        let bind = mount.typ().as_deref() == Some("bind")
            || options.iter().any(|o| o == "bind" || o == "rbind");
        let (true, Some(source)) = (bind, mount.source()) else {
            continue;
        };
        let at = mount.destination();
        let wrong = |words: &str| {
            Err(format!(
                "unable to start container process: error mounting {:?} to rootfs at {:?}: {words}",
                source.display().to_string(),
                at.display().to_string()
            ))
        };
        let directory = match fs::metadata(source) {
            Ok(meta) => meta.is_dir(),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                return wrong(&format!(
                    "stat {}: no such file or directory",
                    source.display()
                ));
            }
            Err(_) => continue,
        };
        // Below another mount the image's files do not count.
        if mounts[..i].iter().any(|m| at.starts_with(m.destination())) {
            continue;
        }
        let there = pathrs::Root::open(rootfs).and_then(|root| root.resolve(at));
        if let Ok(handle) = there
            && let Ok(meta) = fs::File::from(std::os::fd::OwnedFd::from(handle)).metadata()
            && meta.is_dir() != directory
        {
            return wrong("not a directory");
        }
    }
    Ok(())
}

/// runc's words for a mount that failed, in place of the structure that libcontainer prints.
fn mount_words(spec: &Spec, mut text: String) -> String {
    for mount in spec.mounts().iter().flatten() {
        let printed = format!("failed to mount {mount:?}");
        if !text.contains(&printed) {
            continue;
        }
        let path = |p: &Path| p.display().to_string();
        let words = format!(
            "error mounting {:?} to rootfs at {:?}, type {}, options {}",
            mount.source().as_deref().map(path).unwrap_or_default(),
            path(mount.destination()),
            mount.typ().as_deref().unwrap_or("none"),
            mount.options().as_deref().unwrap_or(&[]).join(","),
        );
        text = text.replace(
            &format!("{printed}: syscall"),
            &format!("{words}: the kernel refuses it"),
        );
        text = text.replace(&printed, &words);
    }
    text
}

/// As runc: a working directory that is not there is made. A file system that refuses, or a mount
/// over it, shows when the container changes to it.
fn working_dir(rootfs: &Path, spec: &Spec) {
    use std::os::unix::fs::PermissionsExt;
    let Some(process) = spec.process() else {
        return;
    };
    let below = process.cwd().strip_prefix("/").unwrap_or(process.cwd());
    if below.as_os_str().is_empty() || rootfs.join(below).is_dir() {
        return;
    }
    if let Ok(root) = pathrs::Root::open(rootfs) {
        let _ = root.mkdir_all(below, &fs::Permissions::from_mode(0o755));
    }
}

/// The file is there whole or not at all.
pub(crate) fn write_pid(path: &Path, pid: i32) -> std::io::Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".part");
    let part = path.with_file_name(name);
    let mut file = fs::File::create(&part)?;
    write!(file, "{pid}")?;
    fs::rename(part, path)
}

/// An error and its causes.
fn chain(e: &dyn std::error::Error) -> String {
    let mut out = e.to_string();
    let mut cause = e.source();
    while let Some(e) = cause {
        let text = e.to_string();
        if !out.ends_with(&text) {
            out.push_str(": ");
            out.push_str(&text);
        }
        cause = e.source();
    }
    out
}
